//! The same gateway as a service of the user and of the host.

use crate::doctor::checks::{Check, Scope};
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Repair, Severity};
use crate::doctor::steps::{Step, Verb};

pub(super) const CHECK: Check = Check {
    id: "service-duplicates",
    section: "Gateway service config",
    scope: Scope::Systemd,
    severity: Severity::Warning,
    finds: "this gateway installed both as a service of the user and as one of the host",
    matters: "both want the same port and the same state; which one serves depends on who was first",
    repairs: "keeps the one that runs, else the user's; stops and disables the other. Root is needed to retire the host's",
    inspect,
};

fn inspect(facts: &Facts<'_>) -> Vec<Finding> {
    let user = facts.user_service();
    let own = user.service.as_ref().filter(|file| !file.vendor || user.shown.0.is_enabled());
    let (Some(own), Some(system)) = (own, facts.system_service()) else { return Vec::new() };
    // A unit that was taken out of service harms nobody.
    if user.rests() || system.rests() {
        return Vec::new();
    }
    let other = system.service.as_ref().map(|file| file.path.clone()).unwrap_or_default();
    let keep_system = system.is_active() && !user.is_active();
    let retired = if keep_system { user } else { system };
    let (kept, gone) = if keep_system { (&other, &own.path) } else { (&own.path, &other) };
    let mut finding = Finding::warning(format!(
        "installed twice: {} and {}",
        facts.short(&own.path),
        other.display()
    ))
    .at(gone);
    let steps: Vec<Step> = [&retired.socket_name, &retired.service_name]
        .into_iter()
        .map(|unit| Step::Ask(Verb::Retire { system: retired.system, unit: unit.clone() }))
        .collect();
    if retired.system && facts.host.account().uid != 0 {
        finding = finding.advise(format!(
            "sudo systemctl disable --now {} {}",
            retired.socket_name, retired.service_name
        ));
    } else {
        finding = finding.mend(Repair::new(
            format!("keep {} and take the other out of service", facts.short(kept)),
            steps,
        ));
    }
    vec![finding]
}
