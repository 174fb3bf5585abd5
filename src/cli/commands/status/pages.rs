//! `status` for people: the overview, and the full report of `--all`.

use serde_json::{Value, json};

use crate::base::VERSION;
use crate::cli::args::look::StatusArgs;
use crate::cli::commands::dashboard;
use crate::cli::commands::gateway_status::{collect as port, render};
use crate::cli::commands::health;
use crate::cli::commands::status::collect::Facts;
use crate::cli::commands::status::sessions;
use crate::cli::context::Context;
use crate::cli::ui::age;
use crate::cli::ui::page::Page;
use crate::cli::ui::table::{Fit, PIPE_WIDTH, Table};
use crate::client::target;
use crate::config::standing::{self, Standing};

pub fn overview(context: &Context, facts: &Facts, args: &StatusArgs) -> String {
    let mut page = Page::default();
    page.line(context.ui.out.heading("OpenClaw status"));
    page.gap();
    if args.verbose {
        page.line("Gateway connection:");
        page.lines(facts.gateway.target.details().lines().map(|line| format!("  {line}")));
        page.gap();
    }
    page.line(context.ui.out.heading("Overview"));
    let mut table = Table::new(&[("Item", Fit::Content), ("Value", Fit::Rest)]);
    table.row(["Dashboard", &dashboard::address(context)]);
    table.row(["OS", &format!("{} · openclaw {VERSION} (native)", facts.os.label())]);
    table.row(["Gateway", &gateway(facts, true)]);
    table.row(["Gateway service", &service(facts)]);
    let standing = standing::read(&context.paths);
    if let Some(complaint) = complaint(&standing, facts) {
        table.row(["Config", &format!("degraded · {complaint}")]);
    }
    if let Some(pending) = standing.pending().filter(|_| facts.gateway.error.is_none()) {
        table.row(["Config", &pending]);
    }
    table.row(["Agents", &agents(facts)]);
    let probes = if args.deep { "enabled" } else { "skipped (use --deep)" };
    table.row(["Probes", probes]);
    table.row(["Events", &events(facts)]);
    table.row(["Tasks", &tasks(facts)]);
    table.row(["Heartbeat", &heartbeats(facts)]);
    if args.deep {
        table.row(["Last heartbeat", &last_heartbeat(facts)]);
    }
    table.row(["Sessions", &sessions_cell(context, facts)]);
    page.lines([table.render(PIPE_WIDTH)]);
    channels(context, facts, &mut page);
    page.line(context.ui.out.heading("Sessions"));
    page.lines([sessions_table(facts)]);
    if args.deep {
        page.line(context.ui.out.heading("Health"));
        page.lines([health_table(facts)]);
    }
    if args.usage {
        page.line(context.ui.out.heading("Usage"));
        page.lines([usage(facts)]);
    }
    let program = context.program();
    page.line("FAQ: https://docs.openclaw.ai/faq");
    page.line("Troubleshooting: https://docs.openclaw.ai/troubleshooting");
    page.gap();
    page.line("Next steps:");
    page.line(format!("  Need to share?      {program} status --all"));
    page.line(format!("  Need to debug live? {program} logs --follow"));
    if facts.reachable() {
        page.line(format!("  Need to test channels? {program} status --deep"));
    } else {
        page.line(format!("  Fix reachability first: {program} gateway probe"));
    }
    page.into()
}

pub fn all(context: &Context, facts: &Facts) -> String {
    let mut page = Page::default();
    page.line(context.ui.out.heading("OpenClaw status --all"));
    page.gap();
    page.line(context.ui.out.heading("Overview"));
    let mut table = Table::new(&[("Item", Fit::Content), ("Value", Fit::Rest)]);
    table.row(["Version", VERSION]);
    table.row(["OS", &facts.os.label()]);
    table.row(["Config", &context.short(&context.paths.config)]);
    table.row(["Dashboard", &dashboard::address(context)]);
    table.row(["Gateway", &gateway(facts, false)]);
    if let Some(own) = &facts.gateway.own {
        table.row(["Gateway self", &own_line(own)]);
    }
    table.row(["Gateway service", &service(facts)]);
    let pending = facts.agents.iter().filter(|agent| agent.bootstrap).count();
    let active = facts.agents.iter().filter(|agent| facts.idle_ms(agent).is_some()).count();
    table.row([
        "Agents",
        &format!(
            "{} total · {pending} bootstrapping · {active} active · {} sessions",
            facts.agents.len(),
            facts.session_count()
        ),
    ]);
    page.lines([table.render(PIPE_WIDTH)]);
    channels(context, facts, &mut page);
    page.line(context.ui.out.heading("Agents"));
    let mut table = Table::new(&[
        ("Agent", Fit::Content),
        ("Bootstrap file", Fit::Content),
        ("Sessions", Fit::Number),
        ("Active", Fit::Content),
        ("Store", Fit::Rest),
    ]);
    for agent in &facts.agents {
        let file = if agent.bootstrap { "PRESENT" } else { "ABSENT" };
        let idle = facts.idle_ms(agent).map_or("unknown".to_owned(), age::ago);
        table.row([
            agent.sessions.agent.clone(),
            file.to_owned(),
            agent.sessions.rows.len().to_string(),
            idle,
            context.short(&agent.sessions.store),
        ]);
    }
    page.lines([table.render(PIPE_WIDTH)]);
    diagnosis(context, facts, &mut page);
    page.gap();
    page.line("Pasteable debug report. Auth tokens redacted.");
    page.line("Troubleshooting: https://docs.openclaw.ai/troubleshooting");
    page.into()
}

fn diagnosis(context: &Context, facts: &Facts, page: &mut Page) {
    let palette = context.ui.out;
    let (good, note, bad) = (palette.good("✓"), palette.warn("!"), palette.bad("✗"));
    page.line(palette.heading("Diagnosis (read-only)"));
    page.gap();
    page.line("Gateway connection details:");
    page.lines(facts.gateway.target.details().lines().map(|line| format!("  {line}")));
    page.gap();
    let snapshot = context.config();
    let path = snapshot.path.display();
    if snapshot.is_valid() {
        page.line(format!("{good} Config: {path}"));
    } else {
        page.line(format!("{bad} Config: {path}"));
        page.lines(snapshot.issues.iter().map(|issue| format!("  - {issue}")));
    }
    let standing = standing::read(&context.paths);
    if let Some(complaint) = complaint(&standing, facts) {
        page.line(format!("{bad} Config standing: {complaint}"));
    }
    if let Some(pending) = standing.pending().filter(|_| facts.gateway.error.is_none()) {
        page.line(format!("{note} Config standing: {pending}"));
    }
    let sentinel = context.paths.state.join("restart-sentinel.json");
    if sentinel.exists() {
        page.line(format!("{note} Restart sentinel: {}", context.short(&sentinel)));
    } else {
        page.line(format!("{good} Restart sentinel: none"));
    }
    let port = port::inspect(target::port(&snapshot.env, &snapshot.config));
    if port.status == "busy" {
        page.line(format!("{note} Port {}", port.port));
        page.lines(render::busy(&port).lines().map(|line| format!("  {line}")));
    } else {
        page.line(format!("{good} Port {}", port.port));
    }
    match &facts.gateway.error {
        Some(error) => page.line(format!("{bad} Gateway: {error}")),
        None => page.line(format!("{good} Gateway answers")),
    }
    for issue in &facts.service.config_audit.issues {
        page.line(format!("{note} Service: {}", issue.message));
    }
}

/// What is in force instead of the file. What a gateway wrote that is gone says
/// nothing any more.
fn complaint(standing: &Standing, facts: &Facts) -> Option<String> {
    let answers = facts.gateway.error.is_none();
    standing.complaint().filter(|_| answers || !standing.is_over())
}

fn gateway(facts: &Facts, with_self: bool) -> String {
    let asked = &facts.gateway;
    let mode = if asked.target.bind.is_some() { "local" } else { "remote" };
    let place = format!("{mode} · {} ({})", asked.target.shown_url(), asked.target.source);
    let Some(latency) = asked.latency_ms else {
        return format!("{place} · unreachable ({})", asked.error.as_deref().unwrap_or("unknown"));
    };
    let own = asked.own.as_ref().filter(|_| with_self).map(|own| format!(" · {}", own_line(own)));
    format!("{place} · reachable {latency}ms · auth {}{}", asked.auth, own.unwrap_or_default())
}

fn own_line(own: &Value) -> String {
    let text = |key: &str| own[key].as_str().unwrap_or("unknown").to_owned();
    format!("{} ({}) app {} {}", text("host"), text("ip"), text("version"), text("platform"))
}

fn service(facts: &Facts) -> String {
    let service = &facts.service;
    if service.command.is_none() {
        return format!("{} not installed", service.summary.label);
    }
    format!(
        "{} installed · {} · {}",
        service.summary.label,
        service.summary.text(),
        facts.runtime_short()
    )
}

fn agents(facts: &Facts) -> String {
    let pending = facts.agents.iter().filter(|agent| agent.bootstrap).count();
    let files = match pending {
        0 => "no bootstrap files".to_owned(),
        1 => "1 bootstrap file present".to_owned(),
        many => format!("{many} bootstrap files present"),
    };
    let default = facts.agents.iter().find(|agent| agent.sessions.agent == facts.default_agent);
    let active =
        default.and_then(|agent| facts.idle_ms(agent)).map_or("unknown".to_owned(), age::ago);
    format!(
        "{} · {files} · sessions {} · default {} active {active}",
        facts.agents.len(),
        facts.session_count(),
        facts.default_agent
    )
}

fn events(facts: &Facts) -> String {
    let status = facts.gateway.status.as_ref();
    let queued = status.and_then(|status| status["queuedSystemEvents"].as_array()).map(Vec::len);
    match queued {
        None => "unknown".to_owned(),
        Some(0) => "none".to_owned(),
        Some(count) => format!("{count} queued"),
    }
}

fn tasks(facts: &Facts) -> String {
    let Some(tasks) = facts.gateway.status.as_ref().map(|status| &status["tasks"]) else {
        return "unknown".to_owned();
    };
    let count = |value: &Value| value.as_u64().unwrap_or(0);
    if count(&tasks["total"]) == 0 {
        return "none".to_owned();
    }
    let failures = match count(&tasks["failures"]) {
        0 => "no issues".to_owned(),
        failures => format!("{failures} failed"),
    };
    format!(
        "{} active · {} queued · {} running · {failures} · {} tracked",
        count(&tasks["active"]),
        count(&tasks["byStatus"]["queued"]),
        count(&tasks["byStatus"]["running"]),
        count(&tasks["total"])
    )
}

fn heartbeats(facts: &Facts) -> String {
    let shown: Vec<String> = facts
        .heartbeats
        .iter()
        .map(|beat| {
            let every = if beat["enabled"] == json!(false) { None } else { beat["every"].as_str() };
            let agent = beat["agentId"].as_str().unwrap_or("?");
            format!("{} ({agent})", every.unwrap_or("disabled"))
        })
        .collect();
    if shown.is_empty() { "disabled".to_owned() } else { shown.join(", ") }
}

fn last_heartbeat(facts: &Facts) -> String {
    let Some(last) = facts.gateway.last_heartbeat.as_ref().filter(|last| !last.is_null()) else {
        return if facts.reachable() { "none" } else { "unavailable" }.to_owned();
    };
    let ago = last["ts"]
        .as_u64()
        .map_or("unknown".to_owned(), |ts| age::ago(facts.now.saturating_sub(ts)));
    format!("{} · {ago}", last["status"].as_str().unwrap_or("unknown"))
}

fn sessions_cell(context: &Context, facts: &Facts) -> String {
    let (_, model, window) = &facts.model;
    let stores: Vec<String> =
        facts.agents.iter().map(|agent| context.short(&agent.sessions.store)).collect();
    let place = match stores.as_slice() {
        [one] => one.clone(),
        many => format!("{} stores", many.len()),
    };
    format!(
        "{} active · default {model} ({}k ctx) · {place}",
        facts.session_count(),
        (window + 500) / 1000
    )
}

fn channels(context: &Context, facts: &Facts, page: &mut Page) {
    page.line(context.ui.out.heading("Channels"));
    let mut table = Table::new(&[
        ("Channel", Fit::Content),
        ("Enabled", Fit::Content),
        ("State", Fit::Content),
        ("Detail", Fit::Rest),
    ]);
    let configured = &context.config().config.channels;
    let answer = facts.gateway.channels.as_ref();
    for (id, settings) in configured.iter().filter(|(id, _)| *id != "defaults") {
        let label = answer.and_then(|answer| answer["channelLabels"][id].as_str()).unwrap_or(id);
        let enabled = if settings["enabled"] == json!(false) { "OFF" } else { "ON" };
        let accounts = answer.and_then(|answer| answer["channelAccounts"][id].as_array());
        let (state, detail) = match accounts {
            None => ("unknown", "the gateway does not report it".to_owned()),
            Some(accounts) => {
                let fine = accounts.iter().all(|account| account["lastError"].is_null());
                let errors: Vec<&str> =
                    accounts.iter().filter_map(|account| account["lastError"].as_str()).collect();
                let count = format!("{} accounts", accounts.len());
                (
                    if fine { "OK" } else { "WARN" },
                    [vec![count.as_str()], errors].concat().join(" · "),
                )
            }
        };
        table.row([label, enabled, state, &detail]);
    }
    page.lines([table.render(PIPE_WIDTH)]);
}

fn sessions_table(facts: &Facts) -> String {
    let mut table = Table::new(&[
        ("Key", Fit::Rest),
        ("Kind", Fit::Content),
        ("Age", Fit::Content),
        ("Model", Fit::Content),
        ("Tokens", Fit::Content),
    ]);
    for row in facts.recent() {
        let text = |key: &str| row[key].as_str().unwrap_or("unknown").to_owned();
        let ago = row["age"].as_u64().map_or("unknown".to_owned(), age::ago);
        table.row([text("key"), text("kind"), ago, text("model"), sessions::tokens(&row)]);
    }
    table.render(PIPE_WIDTH)
}

fn health_table(facts: &Facts) -> String {
    let mut table =
        Table::new(&[("Item", Fit::Content), ("Status", Fit::Content), ("Detail", Fit::Rest)]);
    match &facts.gateway.health {
        None => table.row(["Gateway", "unreachable", ""]),
        Some(report) => {
            let took = report["durationMs"].as_u64().unwrap_or(0);
            table.row(["Gateway".to_owned(), "reachable".to_owned(), format!("{took}ms")]);
            for line in health::channel_lines(report) {
                let (name, state) = line.split_once(": ").unwrap_or((&line, ""));
                let verdict = if state.starts_with("failed") { "WARN" } else { "OK" };
                table.row([name, verdict, state]);
            }
        }
    }
    table.render(PIPE_WIDTH)
}

fn usage(facts: &Facts) -> String {
    let providers = facts.gateway.usage.as_ref().and_then(|usage| usage["providers"].as_array());
    let mut page = Page::default();
    match providers {
        None => page.line("unknown: the gateway does not answer"),
        Some(providers) if providers.is_empty() => page.line("no provider reports its quota"),
        Some(providers) => page.lines(providers.iter().map(|provider| {
            let name = provider["displayName"].as_str().or(provider["provider"].as_str());
            let windows: Vec<String> = provider["windows"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|window| {
                    let used = window["usedPercent"].as_f64().unwrap_or(0.0);
                    format!("{} {used:.0}% used", window["label"].as_str().unwrap_or("?"))
                })
                .collect();
            format!("{}: {}", name.unwrap_or("?"), windows.join(" · "))
        })),
    }
    page.into()
}
