//! Whether `openclaw.json` can be used, and which of its keys nobody knows.

use crate::config::edit;
use crate::doctor::checks::{Check, Scope};
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Repair, Severity};
use crate::doctor::steps::{ConfigChange, Step};

pub(super) const CHECK: Check = Check {
    id: "config-validity",
    section: "Config",
    scope: Scope::Everywhere,
    severity: Severity::Error,
    finds: "a configuration that does not parse or does not fit the schema; keys that nobody knows",
    matters: "the gateway does not start with it, and a running one keeps the configuration before it",
    repairs: "removes unknown keys; everything else is left to you",
    inspect,
};

fn inspect(facts: &Facts<'_>) -> Vec<Finding> {
    let snapshot = facts.snapshot();
    let unknown = unknown_keys(&snapshot.issues);
    let written = |path: &Vec<String>| edit::get(&snapshot.parsed, path).is_some();
    let own: Vec<Vec<String>> = unknown.iter().filter(|path| written(path)).cloned().collect();
    let repair = (!own.is_empty()).then(|| {
        let names: Vec<String> = own.iter().map(|path| path.join(".")).collect();
        Repair::new(
            format!("remove {} from the configuration", names.join(", ")),
            vec![Step::Config(ConfigChange::Remove(own))],
        )
    });
    let file = facts.short(&snapshot.path);
    snapshot
        .issues
        .iter()
        .map(|issue| {
            let is_key = issue.message.starts_with("Unrecognized key");
            let message = match issue.path.as_str() {
                "" => format!("{file}: {}", issue.message),
                _ => issue.message.clone(),
            };
            let finding = Finding::error(message).at(issue.shown_path());
            if is_key && repair.is_some() {
                finding.mend(repair.clone())
            } else {
                finding
                    .advise(format!("edit {file}, then run: {} config validate", facts.program()))
            }
        })
        .collect()
}

/// The full paths of the keys that validation did not recognise.
fn unknown_keys(issues: &[crate::config::Issue]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for issue in issues {
        let Some((_, names)) = issue.message.split_once("Unrecognized key") else { continue };
        let names = names.trim_start_matches('s').trim_start_matches(':').trim();
        let Ok(names) = serde_json::from_str::<Vec<String>>(&format!("[{names}]")) else {
            continue;
        };
        for name in names {
            let parent = issue.path.split('.').filter(|key| !key.is_empty()).map(str::to_owned);
            found.push(parent.chain([name]).collect());
        }
    }
    found
}
