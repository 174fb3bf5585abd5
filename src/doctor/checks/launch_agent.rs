//! The LaunchAgent, key by key, against what this version would write.

use crate::doctor::checks::{Check, Scope};
use crate::doctor::drift::agent;
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Severity};

pub(super) const CHECK: Check = Check {
    id: "launch-agent",
    section: "Gateway service config",
    scope: Scope::Launchd,
    severity: Severity::Warning,
    finds: "keys of ours that are missing or changed in the LaunchAgent, another command line, secrets in it, keys the operator added",
    matters: "restarts, logs and the port depend on these keys",
    repairs: "puts our keys back and leaves every other byte; the command line only with `--force`",
    inspect,
};

fn inspect(facts: &Facts<'_>) -> Vec<Finding> {
    let drift = agent::compare(facts);
    let mut found: Vec<Finding> =
        drift.differences.iter().map(|difference| drift.finding(difference)).collect();
    let secrets = agent::secrets(facts);
    if !secrets.is_empty() {
        let env = facts.short(&facts.state().join(".env"));
        found.push(
            Finding::error(format!("Gateway service embeds secrets: {}", secrets.join(", ")))
                .at(agent::path(facts))
                .advise(format!(
                    "move them to {env}, then: {} gateway install --force",
                    facts.program()
                )),
        );
    }
    found
}
