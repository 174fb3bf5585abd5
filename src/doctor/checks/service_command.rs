//! What the unit runs.

use crate::doctor::checks::{Check, Scope};
use crate::doctor::drift::{Label, units};
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Severity};
use crate::doctor::service;

pub(super) const CHECK: Check = Check {
    id: "service-command",
    section: "Gateway service config",
    scope: Scope::Systemd,
    severity: Severity::Error,
    finds: "a command line that is not the one this version writes: another program, another entry point, other arguments, another port than the configured one",
    matters: "the service runs something else than the commands of this program expect",
    repairs: "writes our command line, only with `--force`, because somebody may have meant it",
    inspect,
};

fn inspect(facts: &Facts<'_>) -> Vec<Finding> {
    let drift = units::compare(facts);
    let service = facts.service();
    let Some(file) = service.service.as_ref().filter(|file| !file.masked) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    // What stands beside a package's unit is ours as well.
    let argv =
        if file.vendor { service.argv() } else { file.unit().exec_start(&service.specifiers()) };
    let program = std::path::Path::new(
        argv.as_ref().and_then(|argv| argv.first()).map_or("", String::as_str),
    );
    for difference in drift.differences.iter().filter(|difference| difference.is_command) {
        let mut finding = drift.finding(difference);
        if matches!(difference.label, Label::OursMissing) {
            found.push(finding);
            continue;
        }
        if difference.label == Label::OperatorOverride {
            found.push(finding);
            continue;
        }
        let words = argv.as_deref().unwrap_or_default();
        finding.message = if words.is_empty() {
            format!("{}; the line cannot be read", finding.message)
        } else if !words.iter().any(|word| word == "gateway") {
            finding.severity = Severity::Error;
            format!("Service command does not include the gateway subcommand ({})", words.join(" "))
        } else if !service::is_ours(words) {
            format!("the unit starts another program: {}", words.join(" "))
        } else if program != facts.host.program() {
            let exists = program.exists();
            if !exists {
                finding.severity = Severity::Error;
            }
            let missing = if exists { "" } else { ", which does not exist" };
            format!(
                "Gateway service entrypoint does not match the current install: {}{missing}",
                program.display()
            )
        } else {
            format!("Custom or unexpected service edits detected: {}", words.join(" "))
        };
        found.push(finding);
    }
    found.extend(port(facts, service.port(), file.vendor, &drift));
    found
}

/// The port of the command against the one that clients try.
fn port(
    facts: &Facts<'_>,
    installed: Option<u16>,
    vendor: bool,
    drift: &crate::doctor::drift::Drift,
) -> Option<Finding> {
    let configured = facts.configured_port();
    let installed = installed.filter(|port| *port != configured)?;
    let message =
        format!("the service listens on port {installed}, the configuration says {configured}");
    let finding = Finding::warning(message).at("gateway.port");
    Some(if vendor {
        finding.advise(format!("{} gateway install --force", facts.program()))
    } else if facts.snapshot().config.gateway.port.is_some() {
        finding.mend(drift.forced.clone())
    } else {
        finding.advise(format!("{} config set gateway.port {installed}", facts.program()))
    })
}
