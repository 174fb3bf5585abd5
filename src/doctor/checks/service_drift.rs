//! The unit files, key by key, against what this version would write.

use crate::doctor::checks::{Check, Scope};
use crate::doctor::drift::{Label, units};
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Severity};

pub(super) const CHECK: Check = Check {
    id: "service-drift",
    section: "Gateway service config",
    scope: Scope::Systemd,
    severity: Severity::Warning,
    finds: "keys of ours that are missing or changed in the unit and the socket unit; what the operator added or overrides with drop-ins; units of a package; lines without effect",
    matters: "readiness, restarts, the watchdog and the drain depend on these keys",
    repairs: "puts our keys back and leaves every other byte; additions and drop-ins are never touched",
    inspect,
};

fn inspect(facts: &Facts<'_>) -> Vec<Finding> {
    let drift = units::compare(facts);
    let service = facts.service();
    let socket = service.places.units.join(&service.socket_name);
    let mut found: Vec<Finding> = drift
        .differences
        .iter()
        // Told by checks of their own.
        .filter(|one| !(one.is_command || one.file == socket && service.socket.is_none()))
        .map(|difference| drift.finding(difference))
        .collect();
    if drift.foreign {
        // A unit for another program differs in everything; one line says so.
        found.retain(|finding| {
            !finding.message.starts_with(Label::OursMissing.as_str())
                && !finding.message.starts_with(Label::OursChanged.as_str())
        });
    }
    found
}
