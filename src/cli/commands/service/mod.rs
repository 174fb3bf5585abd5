//! `gateway install|uninstall|start|stop|restart`: from outcomes to the
//! reference's words, JSON and exit statuses.

mod install;
mod said;
mod unmanaged;

use crate::cli::args::Command;
use crate::cli::args::gateway::{DaemonCommand, GatewayCommand, RunArgs};
use crate::cli::args::service::{ActionArgs, InstallArgs};
use crate::cli::context::Context;
use crate::cli::ui::CommandResult;
use crate::config;
use crate::config::Snapshot;
use crate::profile::paths::DEFAULT_PORT;
use crate::supervise::host::{self, Choice};
use crate::supervise::manager::{
    ManageError, Restarted, ServiceManager, Started, Stopped, Uninstalled,
};
use crate::supervise::report::ServiceSummary;

use said::Said;

/// Runs a service command; `None` when the command is another one.
pub fn dispatch(context: &Context, command: &Command) -> Option<CommandResult> {
    match command {
        Command::Gateway(args) => Some(match args.command.as_ref()? {
            GatewayCommand::Install(install_args) => {
                install(context, &inherit(install_args, &args.run))
            }
            GatewayCommand::Uninstall(args) => uninstall(context, args),
            GatewayCommand::Start(args) => start(context, args),
            GatewayCommand::Stop(args) => stop(context, args),
            GatewayCommand::Restart(args) => restart(context, args),
            _ => return None,
        }),
        Command::Daemon(args) => Some(match &args.command {
            DaemonCommand::Install(args) => install(context, args),
            DaemonCommand::Uninstall(args) => uninstall(context, args),
            DaemonCommand::Start(args) => start(context, args),
            DaemonCommand::Stop(args) => stop(context, args),
            DaemonCommand::Restart(args) => restart(context, args),
            DaemonCommand::Status(_) => return None,
        }),
        _ => None,
    }
}

/// Options given before the word `install` count too.
fn inherit(args: &InstallArgs, before: &RunArgs) -> InstallArgs {
    let mut args = args.clone();
    args.port = args.port.or_else(|| before.port.clone());
    args.token = args.token.or_else(|| before.token.clone());
    args.force |= before.force.is_some();
    args
}

/// `gateway install`.
pub fn install(context: &Context, args: &InstallArgs) -> CommandResult {
    Ok(install::run(context, args).finish(args.json))
}

/// `gateway uninstall`.
pub fn uninstall(context: &Context, args: &ActionArgs) -> CommandResult {
    let said = Said::of("uninstall");
    if context.env.is_on("OPENCLAW_NIX_MODE") {
        let said = said.failed("Nix mode detected; service uninstall is disabled.");
        return Ok(said.finish(args.json));
    }
    let manager = manager(context, args.system);
    let said = match manager.uninstall() {
        Ok(gone) => uninstalled(said, manager.as_ref(), gone),
        Err(err) => failed(said, context, "uninstall", &err),
    };
    Ok(said.finish(args.json))
}

/// `gateway start`.
pub fn start(context: &Context, args: &ActionArgs) -> CommandResult {
    let said = Said::of("start");
    if let Some(problem) = refuse_invalid_config(context) {
        return Ok(said
            .failed(format!("Gateway start failed: Error: {problem}"))
            .finish(args.json));
    }
    let manager = manager(context, args.system);
    let noun = manager.noun();
    let said = match manager.start() {
        Ok(Started::Started) => said
            .done("started", format!("Started {noun}: {}", manager.target()))
            .with_service(manager.summary()),
        Ok(Started::AlreadyRunning) => said
            .done("started", format!("{} already running: {}", sentence(noun), manager.target()))
            .with_service(manager.summary()),
        Ok(Started::NotInstalled) => not_loaded(said, context, manager.as_ref(), true),
        Err(err) => failed(said, context, "start", &err),
    };
    Ok(said.finish(args.json))
}

/// `gateway stop`.
pub fn stop(context: &Context, args: &ActionArgs) -> CommandResult {
    let said = Said::of("stop");
    let manager = manager(context, args.system);
    let noun = manager.noun();
    let said = match manager.stop() {
        Ok(Stopped::Stopped) => said
            .done("stopped", format!("Stopped {noun}: {}", manager.target()))
            .with_service(manager.summary()),
        Ok(Stopped::AlreadyStopped) => said
            .done("stopped", format!("{} already stopped: {}", sentence(noun), manager.target()))
            .with_service(manager.summary()),
        Ok(Stopped::NotInstalled) => match unmanaged::stop(port(context), &manager.target()) {
            Some(text) => said.done("stopped", text).with_service(manager.summary()),
            None => not_loaded(said, context, manager.as_ref(), false),
        },
        Err(err) if is_unavailable(&err) => match unmanaged::stop(port(context), &manager.target())
        {
            Some(text) => said.done("stopped", text),
            None => failed(said, context, "stop", &err),
        },
        Err(err) => failed(said, context, "stop", &err),
    };
    Ok(said.finish(args.json))
}

/// `gateway restart`.
pub fn restart(context: &Context, args: &ActionArgs) -> CommandResult {
    let said = Said::of("restart");
    // A healthy gateway is not stopped for a configuration it cannot start with.
    if let Some(problem) = refuse_invalid_config(context) {
        return Ok(said
            .failed(format!("Gateway restart failed: Error: {problem}"))
            .finish(args.json));
    }
    let manager = manager(context, args.system);
    let noun = manager.noun();
    let turn = unmanaged::take_turn(&context.paths.state);
    let said = match turn.joined(|| manager.restart(), || manager.start()) {
        Ok(Restarted::Restarted) => said
            .done("restarted", format!("Restarted {noun}: {}", manager.target()))
            .with_service(manager.summary()),
        Ok(Restarted::Scheduled) => said
            .done("scheduled", "restart scheduled, gateway will restart momentarily".to_owned())
            .with_service(manager.summary()),
        Ok(Restarted::NotInstalled) => match unmanaged::restart(port(context), &manager.target()) {
            Some(text) => said.done("restarted", text).with_service(manager.summary()),
            None => not_loaded(said, context, manager.as_ref(), true),
        },
        Err(err) if is_unavailable(&err) => {
            match unmanaged::restart(port(context), &manager.target()) {
                Some(text) => said.done("restarted", text),
                None => failed(said, context, "restart", &err),
            }
        }
        Err(err) => failed(said, context, "restart", &err),
    };
    Ok(said.finish(args.json))
}

fn manager(context: &Context, system: bool) -> Box<dyn ServiceManager> {
    let choice = if system { Choice::System } else { Choice::Existing };
    host::manager(&context.env, &context.paths, choice)
}

fn uninstalled(said: Said, manager: &dyn ServiceManager, gone: Uninstalled) -> Said {
    let noun = manager.noun();
    let mut lines = Vec::new();
    if gone.stopped {
        lines.push(format!("Stopped {noun}: {}", manager.target()));
    }
    let path = gone.path.display();
    if gone.path.exists() {
        lines.push(format!("Disabled {noun}: {}", manager.target()));
    } else if gone.removed.is_empty() {
        lines.push(format!("{} not found at {path}", sentence(noun)));
    } else if noun == "LaunchAgent" {
        lines.push(format!("Moved LaunchAgent to Trash: {path}"));
    } else {
        lines.push(format!("Removed {noun}: {path}"));
    }
    said.done("uninstalled", lines.join("\n"))
        .with_service(ServiceSummary { loaded: false, ..manager.summary() })
        .with_warnings(gone.warnings)
        .without_message()
}

/// There is no service: say so, and how to get one. Exit status 0, on which
/// scripts rely.
fn not_loaded(said: Said, context: &Context, manager: &dyn ServiceManager, hints: bool) -> Said {
    let summary = ServiceSummary { loaded: false, ..manager.summary() };
    let text = if summary.label == "systemd" {
        format!("Gateway service {}.", summary.not_loaded_text)
    } else {
        format!("Gateway service {}.", summary.text())
    };
    let mut said = said.done("not-loaded", text).with_message().with_service(summary);
    let target = manager.target();
    let port = port(context);
    if let Some(unit) = unmanaged::other_unit(port, &target) {
        said = said.with_warnings(vec![format!(
            "Port {port} is served by {unit}, the gateway of another profile; it was left alone."
        )]);
    }
    if hints {
        said.with_hints(
            host::start_hints(&context.env, &context.program(), &target),
            "Start with: ",
        )
    } else {
        said
    }
}

fn failed(said: Said, context: &Context, verb: &str, err: &ManageError) -> Said {
    let said = said.failed(format!("Gateway {verb} failed: Error: {err}"));
    let surroundings = host::Surroundings::detect(&context.env);
    match err {
        ManageError::NoUserManager { .. } | ManageError::NoSystemd { .. } => {
            let uid = nix::unistd::geteuid().as_raw();
            let mut hints = Vec::new();
            if verb != "install" {
                let names =
                    crate::supervise::spec::ServiceNames::resolve(&context.env, &context.paths);
                hints = host::start_hints(&context.env, &context.program(), &names.service());
            }
            hints.extend(host::unavailable_hints(surroundings, uid));
            said.with_hints(hints, "Tip: ")
        }
        ManageError::PortTaken { addresses, owners } => {
            said.with_details(said::port_taken(addresses, owners))
        }
        ManageError::NotReady { journal, .. } => said.with_details(journal.clone()),
        ManageError::RolledBack { problem } | ManageError::RollbackFailed { problem, .. } => {
            match problem.as_ref() {
                ManageError::NotReady { journal, .. } => said.with_details(journal.clone()),
                ManageError::PortTaken { addresses, owners } => {
                    said.with_details(said::port_taken(addresses, owners))
                }
                _ => said,
            }
        }
        ManageError::Unloadable { .. } => said.with_details(vec![format!(
            "To write it anew (a copy of it is kept): {} gateway install --force",
            context.program()
        )]),
        ManageError::Blocked { .. } => said.with_details(vec![format!(
            "It starts by itself when this is fixed; see: {} gateway status",
            context.program()
        )]),
        _ => said,
    }
}

fn is_unavailable(err: &ManageError) -> bool {
    matches!(err, ManageError::NoUserManager { .. } | ManageError::NoSystemd { .. })
}

fn refuse_invalid_config(context: &Context) -> Option<String> {
    invalid(&config::load::read(&context.paths, &context.env))
}

fn invalid(snapshot: &Snapshot) -> Option<String> {
    if snapshot.is_valid() {
        return None;
    }
    let mut lines = vec![format!("Invalid config at {}:", snapshot.path.display())];
    lines.extend(snapshot.issues.iter().map(|issue| format!("- {issue}")));
    Some(lines.join("\n"))
}

/// The port of the gateway of this profile, as environment and file have it.
fn port(context: &Context) -> u16 {
    let snapshot = config::load::read(&context.paths, &context.env);
    configured_port(context, &snapshot)
}

/// The port that the environment or the configuration names.
pub(super) fn configured_port(context: &Context, snapshot: &Snapshot) -> u16 {
    let variable = context.env.get("OPENCLAW_GATEWAY_PORT");
    let variable = variable.and_then(|text| text.rsplit(':').next()?.parse().ok());
    let file = || snapshot.config.gateway.port.and_then(|port| u16::try_from(port).ok());
    variable.or_else(file).filter(|port| *port > 0).unwrap_or(DEFAULT_PORT)
}

/// The noun at the beginning of a sentence.
fn sentence(noun: &str) -> String {
    let mut letters = noun.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}
