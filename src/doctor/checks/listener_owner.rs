//! A gateway that runs beside its service.

use crate::doctor::checks::{Check, Scope};
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Severity};

pub(super) const CHECK: Check = Check {
    id: "listener-owner",
    section: "Gateway port",
    scope: Scope::Systemd,
    severity: Severity::Warning,
    finds: "a gateway on the service's port that is not in the service's control group",
    matters: "the manager neither sees it nor restarts it, and the service cannot have the port",
    repairs: "",
    inspect,
};

fn inspect(facts: &Facts<'_>) -> Vec<Finding> {
    if !facts.has_service() {
        return Vec::new();
    }
    let service = facts.service();
    facts
        .listeners()
        .iter()
        .flat_map(|listener| &listener.owners)
        .filter(|owner| owner.is_gateway() && !owner.is_service_manager())
        .filter(|owner| owner.unit.as_ref() != Some(&service.service_name))
        .filter(|owner| service.main_pid() != Some(owner.pid))
        .map(|owner| {
            let unit = owner.unit.as_deref().unwrap_or("no unit");
            Finding::warning(format!(
                "process {} listens for the gateway but belongs to {unit}, not to {}",
                owner.pid, service.service_name
            ))
            .advise(format!(
                "kill {}, then: {} gateway start",
                owner.pid,
                facts.program()
            ))
        })
        .take(1)
        .collect()
}
