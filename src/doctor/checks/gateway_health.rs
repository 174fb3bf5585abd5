//! Whether the gateway answers, and with the credentials that clients have.

use crate::doctor::checks::{Check, Scope};
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Severity};
use crate::doctor::host::Answer;
use crate::supervise::report::BLOCKED;

pub(super) const CHECK: Check = Check {
    id: "gateway-health",
    section: "Gateway",
    scope: Scope::Local,
    severity: Severity::Error,
    finds: "a gateway that does not run, does not answer, is blocked, or refuses this configuration's credentials",
    matters: "commands and clients of this host cannot use it",
    repairs: "",
    inspect,
};

fn inspect(facts: &Facts<'_>) -> Vec<Finding> {
    let program = facts.program();
    if !facts.host.is_macos()
        && let Some(reason) = facts.service().shown.0.get("StatusText").strip_prefix(BLOCKED)
    {
        return vec![
            Finding::error(format!("the gateway is up but cannot serve: {reason}"))
                .advise("it starts by itself when this is mended"),
        ];
    }
    match facts.answer() {
        None | Some(Answer::Admitted) => Vec::new(),
        Some(Answer::Refused(reason)) => {
            let token = reason.contains("token") || reason.contains("password");
            let advice = if token {
                format!("{program} doctor --only token-drift")
            } else {
                format!("{program} gateway status")
            };
            vec![
                Finding::error(format!("the gateway refuses this host's client: {reason}"))
                    .advise(advice),
            ]
        }
        Some(Answer::Silent(reason)) => {
            let free = facts.listeners().is_empty();
            if free {
                return vec![
                    Finding::info("Gateway not running.")
                        .advise(format!("{program} gateway start")),
                ];
            }
            vec![
                Finding::error(format!(
                    "something listens on port {} but does not answer as a gateway: {reason}",
                    facts.port()
                ))
                .advise(format!("{program} gateway status")),
            ]
        }
    }
}
