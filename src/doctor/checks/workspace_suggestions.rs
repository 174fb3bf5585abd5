//! What would make the agent's workspace safer. Only suggestions.

use crate::doctor::checks::{Check, Scope, workspace_status};
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Severity};

pub(super) const CHECK: Check = Check {
    id: "workspace-suggestions",
    section: "Workspace",
    scope: Scope::Local,
    severity: Severity::Info,
    finds: "a workspace without version control; left out with `--no-workspace-suggestions`",
    matters: "an agent's mistakes in its own memory files cannot be taken back",
    repairs: "",
    inspect,
};

fn inspect(facts: &Facts<'_>) -> Vec<Finding> {
    if facts.depth.no_suggestions {
        return Vec::new();
    }
    workspace_status::directories(facts)
        .into_iter()
        .filter(|dir| dir.is_dir() && !dir.ancestors().any(|dir| dir.join(".git").exists()))
        .map(|dir| {
            Finding::info(format!("{} is not under version control", facts.short(&dir)))
                .at(&dir)
                .advise(format!("git -C {} init", dir.display()))
        })
        .collect()
}
