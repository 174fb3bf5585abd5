//! Whether the user's services outlive the user's sessions.

use crate::doctor::checks::{Check, Scope};
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Repair, Severity};
use crate::doctor::steps::{Step, Verb};

pub(super) const CHECK: Check = Check {
    id: "systemd-linger",
    section: "Systemd",
    scope: Scope::Systemd,
    severity: Severity::Warning,
    finds: "an enabled service of the user without lingering",
    matters: "the gateway stops at logout and does not start at boot",
    repairs: "runs `loginctl enable-linger`; where that needs root, the command is named",
    inspect,
};

fn inspect(facts: &Facts<'_>) -> Vec<Finding> {
    let service = facts.service();
    let dir = &service.places.linger;
    let user = &facts.host.account().name;
    let lingers = dir.join(user).exists();
    if service.system || !facts.has_service() || !service.shown.0.is_enabled() || lingers {
        return Vec::new();
    }
    if !dir.is_dir() && facts.surroundings() != crate::supervise::host::Surroundings::Host {
        // No logind, hence no sessions whose end could matter.
        return Vec::new();
    }
    vec![
        Finding::warning(format!(
            "Lingering is off: the gateway stops when {user} logs out and does not start at boot."
        ))
        .advise(format!("sudo loginctl enable-linger {user}"))
        .mend(Repair::new(
            format!("let services of {user} run without a login"),
            vec![Step::Ask(Verb::Linger)],
        )),
    ]
}
