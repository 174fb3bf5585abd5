//! Units that were changed and not read again.

use crate::doctor::checks::{Check, Scope};
use crate::doctor::drift::{Drift, Label, units};
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Repair, Severity};
use crate::doctor::steps::{Step, Verb};

pub(super) const CHECK: Check = Check {
    id: "service-reload",
    section: "Gateway service config",
    scope: Scope::Systemd,
    severity: Severity::Warning,
    finds: "units or drop-ins that were edited and not reloaded; values that the manager has and no file says",
    matters: "the edit has no effect until the manager reads it",
    repairs: "lets the manager read its units again; the process is restarted only when what it runs has changed",
    inspect,
};

fn inspect(facts: &Facts<'_>) -> Vec<Finding> {
    let service = facts.service();
    let system = service.system;
    let differences = units::not_in_force(service);
    let started_with = ["Service.Type", "Service.WatchdogSec"];
    let restart =
        differences.iter().any(|one| one.is_command || started_with.contains(&one.key.as_str()));
    let mut steps = vec![Step::Ask(Verb::Reload { system })];
    if restart {
        steps.push(Step::Ask(Verb::Restart { system, socket: false }));
    }
    let repair = Repair::new("let the manager read its units again", steps);
    let drift = Drift::default();
    differences
        .iter()
        .map(|difference| {
            let finding = drift.finding(difference);
            let stale = difference.label == Label::NotReloaded;
            finding.mend(stale.then(|| repair.clone()))
        })
        .collect()
}
