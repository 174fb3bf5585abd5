//! Boots that did not end in order, and the safe mode they lead to.

use serde::Deserialize;

use crate::doctor::checks::{Check, Scope};
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Severity};

pub(super) const CHECK: Check = Check {
    id: "unclean-boots",
    section: "Gateway",
    scope: Scope::Local,
    severity: Severity::Warning,
    finds: "boots of the last five minutes that did not end in order; safe mode",
    matters: "after three of them channels and scheduled work stay off until the next orderly restart",
    repairs: "",
    inspect,
};

/// How long an unclean boot counts.
const WINDOW_MS: u64 = 300_000;
/// So many of them lead to safe mode.
const LIMIT: usize = 3;

/// What the gateway notes about its boots.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Record {
    pub(super) unclean: Vec<u64>,
    pub(super) last: u64,
}

pub(super) fn read(facts: &Facts<'_>) -> Option<Record> {
    serde_json::from_slice(&std::fs::read(facts.state().join("boots.json")).ok()?).ok()
}

fn inspect(facts: &Facts<'_>) -> Vec<Finding> {
    let Some(record) = read(facts) else { return Vec::new() };
    let now = facts.host.now_ms();
    let recent = record.unclean.iter().filter(|at| now.saturating_sub(**at) < WINDOW_MS).count();
    if recent == 0 {
        return Vec::new();
    }
    let message = if recent >= LIMIT {
        format!(
            "safe mode: {recent} boots within 5 minutes did not end in order; channels and scheduled work are off"
        )
    } else {
        format!("{recent} boot(s) within 5 minutes did not end in order")
    };
    vec![
        Finding::warning(message)
            .at(facts.state().join("boots.json"))
            .advise(format!("{} logs --limit 200", facts.program())),
    ]
}
