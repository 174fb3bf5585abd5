//! Copies of the gateway's token that do not say the same.

use crate::doctor::checks::{Check, Scope};
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Severity};

pub(super) const CHECK: Check = Check {
    id: "token-drift",
    section: "Gateway auth",
    scope: Scope::Local,
    severity: Severity::Warning,
    finds: "a token or password in the environment, in `.env` or in the unit that is not the configured one",
    matters: "client and service disagree: commands are refused, or work only in one shell",
    repairs: "",
    inspect,
};

fn inspect(facts: &Facts<'_>) -> Vec<Finding> {
    let snapshot = facts.snapshot();
    let auth = &snapshot.config.gateway.auth;
    let mut found = Vec::new();
    for (name, configured, path) in [
        ("OPENCLAW_GATEWAY_TOKEN", &auth.token, "gateway.auth.token"),
        ("OPENCLAW_GATEWAY_PASSWORD", &auth.password, "gateway.auth.password"),
    ] {
        let configured = configured
            .as_ref()
            .and_then(serde_json::Value::as_str)
            .filter(|text| !text.is_empty() && !text.starts_with("${"));
        let shell = facts.host.env().get(name);
        let file = snapshot.env.get(name);
        let unit = if facts.host.is_macos() || !facts.has_service() {
            None
        } else {
            facts.service().environment().into_iter().find(|(key, _)| key == name)
        };
        let unit = unit.as_ref().map(|(_, value)| value.as_str());
        let Some(truth) = configured.or(unit) else { continue };
        let place = if configured.is_some() { path } else { "the unit" };
        if shell.is_some_and(|value| value != truth) {
            found.push(
                Finding::warning(format!("{name} of this shell is not what {place} says"))
                    .at(name)
                    .advise(format!("unset {name}")),
            );
        } else if file.is_some_and(|value| value != truth) {
            found.push(
                Finding::warning(format!("{name} in .env is not what {place} says"))
                    .at(facts.state().join(".env"))
                    .advise(format!(
                        "remove {name} from {}",
                        facts.short(&facts.state().join(".env"))
                    )),
            );
        }
        if configured.is_some() && unit.is_some_and(|value| value != truth) {
            found.push(
                Finding::warning(
                    "Config token differs from service token. The daemon will use the configured one.",
                )
                .at(path)
                .advise(format!("{} doctor --fix", facts.program())),
            );
        }
    }
    found
}
