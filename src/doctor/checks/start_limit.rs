//! A service that the manager gave up on.

use crate::doctor::checks::{Check, Scope};
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Repair, Severity};
use crate::doctor::steps::{Step, Verb};

pub(super) const CHECK: Check = Check {
    id: "start-limit",
    section: "Gateway",
    scope: Scope::Systemd,
    severity: Severity::Error,
    finds: "a service or socket that failed, among them those that were started too often",
    matters: "nothing starts it any more, and after too many starts the socket closes the port as well",
    repairs: "clears the failed state and starts it, if a start would not be refused",
    inspect,
};

fn inspect(facts: &Facts<'_>) -> Vec<Finding> {
    let service = facts.service();
    let (shown, socket) = (&service.shown.0, &service.shown.1);
    let limit = socket.get("Result") == "service-start-limit-hit"
        || shown.get("Result") == "start-limit-hit"
        || socket.get("Result") == "trigger-limit-hit";
    let latched = limit && !service.is_active();
    if shown.get("ActiveState") != "failed" && !latched {
        return Vec::new();
    }
    let result = shown.get("Result");
    let status = shown.get("ExecMainStatus");
    let restarts = shown.get("NRestarts");
    let reason = match result {
        _ if limit => format!("it was started too often ({restarts} restarts)"),
        "exit-code" => format!("it exited with status {status}"),
        "watchdog" => "it hung and the watchdog ended it".to_owned(),
        "timeout" => "it took too long".to_owned(),
        "oom-kill" => "the kernel ran out of memory".to_owned(),
        other => other.to_owned(),
    };
    let system = service.system;
    let steps = vec![
        Step::Ask(Verb::ResetFailed { system, unit: service.service_name.clone() }),
        Step::Ask(Verb::ResetFailed { system, unit: service.socket_name.clone() }),
        Step::Ask(Verb::Start { system }),
    ];
    let repair = Repair::new("clear the failed state and start the gateway", steps);
    let scope = if system { "" } else { "--user " };
    vec![
        Finding::error(format!("{} has failed: {reason}", service.service_name))
            .advise(format!("journalctl {scope}-u {} -n 50 --no-pager", service.service_name))
            .mend(facts.snapshot().is_valid().then_some(repair)),
    ]
}
