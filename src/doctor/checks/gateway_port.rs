//! Who has the gateway's port.

use crate::doctor::checks::{Check, Scope};
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Severity};
use crate::supervise::listeners::Owner;

pub(super) const CHECK: Check = Check {
    id: "gateway-port",
    section: "Gateway port",
    scope: Scope::Local,
    severity: Severity::Error,
    finds: "a port that another program has, or that several gateways share",
    matters: "the gateway cannot start, or clients talk to something else",
    repairs: "",
    inspect,
};

fn inspect(facts: &Facts<'_>) -> Vec<Finding> {
    let port = facts.port();
    let mut owners: Vec<&Owner> =
        facts.listeners().iter().flat_map(|listener| &listener.owners).collect();
    owners.sort_by_key(|owner| owner.pid);
    owners.dedup_by_key(|owner| owner.pid);
    let (gateways, others): (Vec<&Owner>, Vec<&Owner>) = owners
        .into_iter()
        .filter(|owner| !owner.is_service_manager())
        .partition(|owner| owner.is_gateway());
    let mut found: Vec<Finding> = others
        .into_iter()
        .map(|owner| {
            let unit = owner.unit.as_ref().map(|unit| format!(", {unit}")).unwrap_or_default();
            let what =
                if owner.command.starts_with("ssh") { "an SSH tunnel" } else { "another program" };
            Finding::error(format!(
                "Port {port} is held by {what}: pid {} {} ({}{unit})",
                owner.pid, owner.user, owner.command
            ))
            .advise(format!(
                "stop it, or choose another port: {} config set gateway.port …",
                facts.program()
            ))
        })
        .collect();
    if gateways.len() > 1 {
        let pids: Vec<String> = gateways.iter().map(|owner| owner.pid.to_string()).collect();
        found.push(
            Finding::error(format!(
                "Port {port} is shared by several gateways: pids {}",
                pids.join(", ")
            ))
            .advise(format!("{} gateway stop", facts.program())),
        );
    }
    found
}
