//! The socket unit, which keeps the port open while the gateway restarts.

use crate::doctor::checks::{Check, Scope};
use crate::doctor::drift::units;
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Repair, Severity};
use crate::doctor::steps::{Step, Verb};
use crate::supervise::addresses;

pub(super) const CHECK: Check = Check {
    id: "socket-unit",
    section: "Gateway service config",
    scope: Scope::Systemd,
    severity: Severity::Warning,
    finds: "a service without its socket unit; a socket that is masked, disabled, failed or not listening while the service runs; one that listens elsewhere than the configuration says",
    matters: "without it clients are refused while the gateway restarts, and after a reboot the port is closed until the service is up",
    repairs: "installs and enables the socket unit",
    inspect,
};

fn inspect(facts: &Facts<'_>) -> Vec<Finding> {
    let service = facts.service();
    if !facts.has_service() || service.service.as_ref().is_some_and(|file| file.masked) {
        return Vec::new();
    }
    let name = &service.socket_name;
    let Some(socket) = &service.socket else {
        let path = service.places.units.join(name);
        let drift = units::compare(facts);
        let repair = if drift.foreign { drift.forced } else { drift.repair };
        return vec![Finding::warning(format!("{name} is not installed")).at(path).mend(repair)];
    };
    if socket.masked {
        return vec![
            Finding::warning(format!("{name} is masked"))
                .at(&socket.path)
                .advise(service.spell(&format!("unmask {name}"))),
        ];
    }
    let mut found = Vec::new();
    let shown = &service.shown.1;
    let system = service.system;
    if service.unreachable.is_none() && shown.is_loaded() {
        if !shown.is_enabled() && service.shown.0.is_enabled() {
            let repair = Repair::new(
                format!("enable {name}"),
                vec![Step::Ask(Verb::Enable { system, unit: name.clone() })],
            );
            found.push(
                Finding::warning(format!("{name} is not enabled")).at(&socket.path).mend(repair),
            );
        }
        if shown.get("ActiveState") == "failed" {
            let steps = vec![
                Step::Ask(Verb::ResetFailed { system, unit: name.clone() }),
                Step::Ask(Verb::Start { system }),
            ];
            found.push(
                Finding::error(format!(
                    "{name} has failed ({}); the port is closed",
                    shown.get("Result")
                ))
                .at(&socket.path)
                .mend(Repair::new(format!("start {name} again"), steps)),
            );
        } else if service.is_active() && !shown.is_up() {
            let repair = Repair::new(
                "restart the service together with its socket",
                vec![Step::Ask(Verb::Restart { system, socket: true })],
            );
            found.push(
                Finding::warning(format!("{name} does not listen although the service runs"))
                    .at(&socket.path)
                    .mend(repair),
            );
        }
    }
    found.extend(elsewhere(facts));
    found
}

/// Compares addresses in force with the configured ones. What a drop-in says
/// is the operator's decision, and worth knowing.
fn elsewhere(facts: &Facts<'_>) -> Option<Finding> {
    let service = facts.service();
    let socket = service.socket.as_ref()?;
    let wanted = addresses::wanted(&facts.snapshot().config.gateway, facts.port()).ok()?;
    let merged = socket.merged();
    let expand = |text: &str| service.specifiers().expand(text);
    let have: Vec<String> = merged.all("Socket", "ListenStream").into_iter().map(expand).collect();
    let missing: Vec<String> =
        wanted.iter().map(ToString::to_string).filter(|address| !have.contains(address)).collect();
    let own = socket.unit();
    let by_drop_in =
        missing.iter().all(|address| own.all("Socket", "ListenStream").contains(&address.as_str()));
    if missing.is_empty() || !by_drop_in && !socket.vendor {
        // A changed fragment is told key by key by `service-drift`.
        return None;
    }
    let program = facts.program();
    let (who, advice) = if by_drop_in {
        (
            "a drop-in lets the socket",
            format!("{program} config set gateway.bind …, if clients should find it"),
        )
    } else {
        ("the package lets the socket", format!("{program} gateway install --force"))
    };
    let (have, missing) = (have.join(", "), missing.join(", "));
    Some(
        Finding::info(format!("{who} listen on {have} instead of {missing}"))
            .at(&socket.path)
            .advise(advice),
    )
}
