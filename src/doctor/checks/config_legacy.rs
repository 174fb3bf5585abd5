//! Old spellings in `openclaw.json`, which are understood but not written any
//! more.

use crate::doctor::checks::{Check, Scope};
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Repair, Severity};
use crate::doctor::steps::{ConfigChange, Step};

pub(super) const CHECK: Check = Check {
    id: "config-legacy-keys",
    section: "Config",
    scope: Scope::Everywhere,
    severity: Severity::Warning,
    finds: "old spellings in the configuration",
    matters: "they work here, but other programs that read the file may ignore them",
    repairs: "writes the current spellings; comments and order stay",
    inspect,
};

fn inspect(facts: &Facts<'_>) -> Vec<Finding> {
    let snapshot = facts.snapshot();
    let repair = Repair::new(
        "write the current spellings into the configuration",
        vec![Step::Config(ConfigChange::Migrate)],
    );
    snapshot
        .migrations
        .iter()
        .map(|change| {
            Finding::warning(format!("old spelling: {change}"))
                .at(&snapshot.path)
                .mend(repair.clone())
        })
        .collect()
}
