//! Sections that are accepted for the sake of the file's other readers and do
//! nothing here.

use crate::config::schema::support;
use crate::doctor::checks::{Check, Scope};
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Severity};

pub(super) const CHECK: Check = Check {
    id: "config-inert",
    section: "Config",
    scope: Scope::Everywhere,
    severity: Severity::Info,
    finds: "sections that are accepted and have no effect in this gateway",
    matters: "what you expect of them does not happen",
    repairs: "",
    inspect,
};

fn inspect(facts: &Facts<'_>) -> Vec<Finding> {
    let document = &facts.snapshot().resolved;
    support::inert_sections(document)
        .into_iter()
        .filter(|name| document[*name].as_object().is_some_and(|section| !section.is_empty()))
        .map(|name| {
            Finding::info(format!(
                "config: {name} is accepted but has no effect in the native gateway"
            ))
            .at(name)
        })
        .collect()
}
