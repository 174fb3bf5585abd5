//! `gateway status` for people. What is well goes to stdout, what is wrong to
//! stderr, in reading order.

use std::path::{Path, PathBuf};

use crate::cli::commands::gateway_status::collect::{ConfigFile, Port, Report, is_asleep};
use crate::cli::commands::logs;
use crate::cli::context::Context;
use crate::cli::ui::Outcome;
use crate::config::standing;
use crate::supervise::host;
use crate::supervise::report::RunState;

/// Lines of a probe's error that are shown.
const ERROR_LINES: usize = 12;

/// What the page shows besides the report.
#[derive(Debug)]
pub struct Surroundings {
    /// `openclaw`, with the profile if there is one.
    pub program: String,
    pub log_file: PathBuf,
    pub home: PathBuf,
    /// What to try while the service manager cannot be reached.
    pub unavailable: Vec<String>,
    /// What to try while there is no service.
    pub missing: Vec<String>,
    /// What the gateway serves with instead of a refused file.
    pub degraded: Option<String>,
    /// Whether the gateway of which that is said is gone.
    pub is_over: bool,
}

impl Surroundings {
    pub fn of(context: &Context) -> Self {
        let texts = |hints: Vec<host::Hint>| hints.into_iter().map(|hint| hint.text).collect();
        let where_am_i = host::Surroundings::detect(&context.env);
        let uid = nix::unistd::getuid().as_raw();
        let manager = host::manager(&context.env, &context.paths, host::Choice::Existing);
        let standing = standing::read(&context.paths);
        Self {
            program: context.program(),
            log_file: logs::local_file(context),
            home: context.paths.home.clone(),
            degraded: standing.complaint(),
            is_over: standing.is_over(),
            unavailable: texts(host::unavailable_hints(where_am_i, uid)),
            missing: texts(host::start_hints(&context.env, &context.program(), &manager.target())),
        }
    }

    fn short(&self, path: &Path) -> String {
        match path.strip_prefix(&self.home) {
            Ok(rest) => format!("~/{}", rest.display()),
            Err(_) => path.display().to_string(),
        }
    }
}

pub fn render(report: &Report, around: &Surroundings) -> Outcome {
    let mut page = Outcome::default();
    service(&mut page, report, around);
    configs(&mut page, report, around);
    gateway(&mut page, report);
    runtime(&mut page, report);
    troubles(&mut page, report, around);
    page.say(format!(
        "Troubles: run {} status\nTroubleshooting: https://docs.openclaw.ai/troubleshooting",
        around.program
    ));
    page
}

fn service(page: &mut Outcome, report: &Report, around: &Surroundings) {
    let service = &report.service;
    page.say(format!("Service: {} ({})", service.summary.label, service.summary.text()));
    page.say(format!("File logs: {}", around.log_file.display()));
    if let Some(command) = &service.command {
        page.say(format!("Command: {}", command.program_arguments.join(" ")));
        page.say(format!("Service file: {}", around.short(&command.source_path)));
        if let Some(dir) = &command.working_directory {
            page.say(format!("Working dir: {dir}"));
        }
        if !command.environment.is_empty() {
            let pairs: Vec<String> =
                command.environment.iter().map(|(key, value)| format!("{key}={value}")).collect();
            page.say(format!("Service env: {}", pairs.join(" ")));
        }
    }
    page.say("");
    if !service.config_audit.ok {
        page.warn("Service config looks out of date or non-standard.");
        for issue in &service.config_audit.issues {
            let detail = issue.detail.as_ref().map(|detail| format!(" ({detail})"));
            page.warn(format!(
                "Service config issue: {}{}",
                issue.message,
                detail.unwrap_or_default()
            ));
        }
        page.warn(format!(
            "Recommendation: run \"{0} doctor\" (or \"{0} doctor --repair\").",
            around.program
        ));
    }
}

fn configs(page: &mut Outcome, report: &Report, around: &Surroundings) {
    let mut show = |who: &str, file: &ConfigFile| {
        let missing = if file.exists { "" } else { " (missing)" };
        let invalid = if file.valid { "" } else { " (invalid)" };
        page.say(format!("Config ({who}): {}{missing}{invalid}", around.short(&file.path)));
        for issue in file.issues.iter().take(5) {
            page.warn(format!("Config issue: {issue}"));
        }
    };
    show("cli", &report.config.cli);
    show("service", &report.config.daemon);
    if report.config.mismatch {
        page.warn("Root cause: CLI and service are using different config paths (likely a profile/state-dir mismatch).");
        page.warn(format!(
            "Fix: rerun `{} gateway install --force` from the same --profile / OPENCLAW_STATE_DIR you expect.",
            around.program
        ));
    }
    page.say("");
}

fn gateway(page: &mut Outcome, report: &Report) {
    let gateway = &report.gateway;
    page.say(format!(
        "Gateway: bind={} ({}), port={} ({})",
        gateway.bind_mode, gateway.bind_host, gateway.port, gateway.port_source
    ));
    page.say(format!("Probe target: {}", gateway.probe_url));
    page.say(format!("Dashboard: {}", gateway.dashboard.as_deref().unwrap_or("disabled")));
    if let Some(note) = gateway.probe_note {
        page.say(format!("Probe note: {note}"));
    }
    page.say("");
}

fn runtime(page: &mut Outcome, report: &Report) {
    page.say(format!("Runtime: {}", report.service.runtime.line()));
    if let Some(text) = &report.service.details.status_text {
        page.say(format!("Service says: {text}"));
    }
    let Some(rpc) = &report.rpc else {
        if is_asleep(&report.service) {
            page.say(
                "RPC probe: skipped (the socket is armed; the next client starts the gateway)",
            );
        }
        page.say("");
        return;
    };
    if rpc.ok {
        page.say("RPC probe: ok");
    } else {
        let said = report.service.details.status_text.as_deref().unwrap_or_default();
        if report.service.runtime.status == RunState::Running && !said.starts_with("blocked") {
            page.say("Warm-up: launch agents can take a few seconds. Try again shortly.");
        }
        page.say("RPC probe: failed");
        page.say(format!("RPC target: {}", rpc.url));
        for line in rpc.error.iter().flat_map(|error| error.lines()).take(ERROR_LINES) {
            page.say(format!("  {line}"));
        }
    }
    page.say("");
}

fn troubles(page: &mut Outcome, report: &Report, around: &Surroundings) {
    let service = &report.service;
    let answers = report.rpc.as_ref().is_some_and(|rpc| rpc.ok);
    if let Some(complaint) = around.degraded.as_ref().filter(|_| answers || !around.is_over) {
        page.warn(format!("Config degraded: {complaint}"));
    }
    if let Some(health) =
        report.health.as_ref().filter(|health| !health.stale_gateway_pids.is_empty())
    {
        let pids: Vec<String> = health.stale_gateway_pids.iter().map(i32::to_string).collect();
        page.warn(format!(
            "Gateway runtime PID does not own the listening port. Other gateway process(es) are listening: {}\n",
            pids.join(", ")
        ));
    }
    if service.runtime.missing_unit {
        page.warn("Service unit not found.");
        around.missing.iter().for_each(|hint| page.warn(hint));
        page.say("");
    } else if service.runtime.status == RunState::Unknown && service.summary.label == "systemd" {
        page.warn("systemd user services unavailable.");
        around.unavailable.iter().for_each(|hint| page.warn(hint));
        page.say("");
    } else if is_asleep(service) && service.details.result.is_none() {
        // That is how it sleeps after an idle exit.
    } else if service.summary.loaded && service.runtime.status == RunState::Stopped {
        page.warn("Service is loaded but not running (likely exited immediately).");
        page.warn(format!("File logs: {}", around.log_file.display()));
        page.warn(format!("Logs: {}", journal(report)));
        page.say("");
    }
    // A service that serves why it is blocked has its own port.
    let own = service.runtime.pid;
    let is_own = report.port.listeners.iter().any(|one| own.is_some() && one.pid == own);
    if !answers && !is_own && report.port.status == "busy" {
        page.warn(busy(&report.port));
        page.say("");
    }
    if report.port.status == "busy" {
        let mut addresses: Vec<&str> =
            report.port.listeners.iter().map(|listener| listener.address.as_str()).collect();
        addresses.dedup();
        page.say(format!("Listening: {}", addresses.join(", ")));
    } else if service.runtime.status == RunState::Running {
        page.warn(format!(
            "Gateway port {} is not listening (service appears running).\nLogs: {}",
            report.port.port,
            journal(report)
        ));
    }
    if let Some(port) = &report.port_cli {
        page.say(format!(
            "Note: CLI config resolves gateway port={} ({}).",
            port.port, port.status
        ));
    }
    if let Some(mismatch) = &report.socket_mismatch {
        page.warn(format!("Note: {mismatch}"));
    }
    if !report.extra_services.is_empty() {
        page.warn("Other gateway-like services detected (best effort):");
        for extra in &report.extra_services {
            page.warn(format!("- {} ({}, {})", extra.label, extra.scope, extra.detail));
        }
        page.warn("Recommendation: run a single gateway per machine for most setups.");
    }
}

fn journal(report: &Report) -> String {
    let flag = if report.service.details.scope == "system" { "" } else { " --user" };
    format!("journalctl{flag} -u {} -n 200 --no-pager", report.service.details.unit)
}

/// Who has the port and what to do about it.
pub fn busy(port: &Port) -> String {
    let mut lines = vec![format!("Port {} is already in use.", port.port)];
    for listener in &port.listeners {
        let who = match (listener.pid, &listener.user) {
            (Some(pid), Some(user)) => format!("pid {pid} {user}"),
            (Some(pid), None) => format!("pid {pid}"),
            _ => "owner unknown".to_owned(),
        };
        let what = listener.command_line.as_deref().filter(|line| !line.is_empty());
        let what = what.or(listener.command.as_deref()).unwrap_or("?");
        lines.push(format!("- {who}: {what} ({})", listener.address));
    }
    lines.extend(port.hints.iter().map(|hint| format!("- {hint}")));
    lines.join("\n")
}
