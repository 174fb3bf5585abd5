//! Restarts that the manager made by itself.

use crate::doctor::checks::{Check, Scope};
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Severity};

pub(super) const CHECK: Check = Check {
    id: "watchdog",
    section: "Gateway",
    scope: Scope::Systemd,
    severity: Severity::Warning,
    finds: "restarts after a hang or a crash since the service was last started by hand",
    matters: "each of them cut off runs and clients; something on this host or in a tool makes the gateway stop answering",
    repairs: "",
    inspect,
};

/// Lines of the journal that are searched.
const LINES: usize = 500;

fn inspect(facts: &Facts<'_>) -> Vec<Finding> {
    let service = facts.service();
    let restarts: u64 = service.shown.0.get("NRestarts").parse().unwrap_or(0);
    if restarts == 0 {
        return Vec::new();
    }
    let journal = facts.host.systemctl(service.system).journal(&service.service_name, LINES);
    let hung = journal.iter().filter(|line| line.contains("Watchdog timeout")).count();
    let scope = if service.system { "" } else { "--user " };
    let advice = format!("journalctl {scope}-u {} -n 200 --no-pager", service.service_name);
    let message = if hung > 0 {
        format!("the watchdog replaced a hung gateway {hung} time(s); {restarts} restart(s) in all")
    } else {
        format!("the manager restarted the gateway {restarts} time(s)")
    };
    vec![Finding::warning(message).advise(advice)]
}
