//! Whether the running gateway serves with what the file says.

use crate::config::standing;
use crate::doctor::checks::{Check, Scope};
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Severity};
use crate::doctor::host::Answer;

pub(super) const CHECK: Check = Check {
    id: "config-standing",
    section: "Config",
    scope: Scope::Local,
    severity: Severity::Error,
    finds: "a gateway that serves with an earlier configuration because the file is refused; changes that wait for a restart",
    matters: "what the file says has no effect",
    repairs: "",
    inspect,
};

fn inspect(facts: &Facts<'_>) -> Vec<Finding> {
    if matches!(facts.answer(), Some(Answer::Silent(_))) {
        // Nobody serves; what an earlier process left is of no interest.
        return Vec::new();
    }
    let standing = standing::read(facts.host.paths());
    let file = &facts.snapshot().path;
    let mut found = Vec::new();
    if let Some(complaint) = standing.complaint() {
        let advice = format!("{} config validate", facts.program());
        found.push(Finding::error(complaint).at(file).advise(advice));
    }
    if let Some(pending) = standing.pending() {
        let advice = format!("{} gateway restart", facts.program());
        found.push(Finding::warning(pending).at(file).advise(advice));
    }
    found
}
