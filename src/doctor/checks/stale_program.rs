//! A gateway that runs a program file which was replaced.

use crate::doctor::checks::{Check, Scope};
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Repair, Severity};
use crate::doctor::steps::{Step, Verb};

pub(super) const CHECK: Check = Check {
    id: "stale-program",
    section: "Gateway",
    scope: Scope::Systemd,
    severity: Severity::Warning,
    finds: "a running gateway whose program file was replaced or removed",
    matters: "the upgrade has no effect until the restart",
    repairs: "restarts the service; clients wait and are served",
    inspect,
};

fn inspect(facts: &Facts<'_>) -> Vec<Finding> {
    let service = facts.service();
    let Some(owner) = service.main_pid().and_then(|pid| facts.host.owner(pid)) else {
        return Vec::new();
    };
    let gone = owner
        .executable
        .as_ref()
        .is_some_and(|path| path.to_string_lossy().ends_with(" (deleted)"));
    if !gone {
        return Vec::new();
    }
    let steps = vec![Step::Ask(Verb::Restart { system: service.system, socket: false })];
    vec![
        Finding::warning(format!("process {} runs a program file that was replaced", owner.pid))
            .mend(Repair::new("restart the gateway", steps)),
    ]
}
