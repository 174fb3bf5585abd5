//! Whether clients have to sign in.

use serde_json::Value;

use crate::config::Issue;
use crate::doctor::checks::{Check, Scope};
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Repair, Severity};
use crate::doctor::steps::{ConfigChange, Step};

pub(super) const CHECK: Check = Check {
    id: "gateway-auth",
    section: "Gateway auth",
    scope: Scope::Local,
    severity: Severity::Warning,
    finds: "a gateway without token or password; both without `gateway.auth.mode`",
    matters: "every program and every user of this host could give the gateway orders",
    repairs: "makes up a token and stores it as `gateway.auth.token`; a secret reference is never replaced",
    inspect,
};

fn inspect(facts: &Facts<'_>) -> Vec<Finding> {
    let snapshot = facts.snapshot();
    let auth = &snapshot.config.gateway.auth;
    let given = |value: &Option<Value>, name: &str| {
        let written = match value {
            Some(Value::String(text)) => !text.trim().is_empty(),
            Some(Value::Object(_)) => true,
            _ => false,
        };
        written || snapshot.env.get(name).is_some()
    };
    let token = given(&auth.token, "OPENCLAW_GATEWAY_TOKEN");
    let password = given(&auth.password, "OPENCLAW_GATEWAY_PASSWORD");
    let open = || {
        Finding::warning(
            "Gateway auth is off or missing a token. Token auth is now the recommended default (including loopback).",
        )
        .at("gateway.auth.token")
    };
    match auth.mode.as_deref() {
        Some("none") => vec![
            open().advise(format!("{} config set gateway.auth.mode token", facts.program())),
        ],
        None if auth.token.is_some() && auth.password.is_some() => vec![
            Finding::warning(
                "gateway.auth.token and gateway.auth.password are both set while gateway.auth.mode is unset.",
            )
            .at("gateway.auth.mode")
            .advise(format!("{} config set gateway.auth.mode token", facts.program())),
        ],
        None | Some("token") if !(token || auth.mode.is_none() && password) => {
            // A file that stays invalid cannot be written; unknown keys go in
            // the same repair, the rest is told elsewhere.
            let removable = |issue: &Issue| issue.message.starts_with("Unrecognized key");
            let repair = snapshot.issues.iter().all(removable).then(|| {
                Repair::new(
                    "make up a gateway token and store it in the configuration",
                    vec![Step::Config(ConfigChange::GenerateToken)],
                )
            });
            vec![open().mend(repair)]
        }
        _ => Vec::new(),
    }
}
