//! The directories in which agents work.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use crate::agents::workspace;
use crate::doctor::checks::{Check, Scope};
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Severity};

pub(super) const CHECK: Check = Check {
    id: "workspace-status",
    section: "Workspace",
    scope: Scope::Local,
    severity: Severity::Warning,
    finds: "a workspace that is no directory, belongs to another user or cannot be written; bootstrap files that are too large to be used whole",
    matters: "tools of the agent fail there, or the agent sees only the beginning of its instructions",
    repairs: "",
    inspect,
};

/// Longest bootstrap file that is put into the prompt whole.
const MAX_CHARS: u64 = 20_000;

/// Files that shape every prompt.
const BOOTSTRAP: [&str; 6] =
    ["AGENTS.md", "SOUL.md", "TOOLS.md", "IDENTITY.md", "USER.md", "HEARTBEAT.md"];

/// The workspace of each configured agent, once.
pub(super) fn directories(facts: &Facts<'_>) -> Vec<PathBuf> {
    let snapshot = facts.snapshot();
    let agents = &snapshot.config.agents;
    let mut ids: Vec<&str> = agents.list.iter().map(|agent| agent.id.as_str()).collect();
    if ids.is_empty() {
        ids.push(agents.default_id());
    }
    let mut found: Vec<PathBuf> = ids
        .into_iter()
        .map(|id| workspace::directory(&snapshot.config, facts.host.paths(), id))
        .collect();
    found.sort();
    found.dedup();
    found
}

fn inspect(facts: &Facts<'_>) -> Vec<Finding> {
    let me = facts.host.account().uid;
    let mut found = Vec::new();
    for dir in directories(facts) {
        let shown = facts.short(&dir);
        // A workspace that is not there yet is made with the first turn.
        let Ok(metadata) = dir.metadata() else { continue };
        if !metadata.is_dir() {
            found.push(
                Finding::warning(format!("the workspace {shown} is not a directory"))
                    .at(&dir)
                    .advise(format!("mv {0} {0}.old", dir.display())),
            );
        } else if metadata.uid() != me {
            found.push(
                Finding::warning(format!("the workspace {shown} belongs to another user"))
                    .at(&dir)
                    .advise(format!(
                        "sudo chown -R {} {}",
                        facts.host.account().name,
                        dir.display()
                    )),
            );
        } else if metadata.mode() & 0o200 == 0 {
            found.push(
                Finding::warning(format!("the workspace {shown} cannot be written"))
                    .at(&dir)
                    .advise(format!("chmod u+w {}", dir.display())),
            );
        }
        for name in BOOTSTRAP {
            let file = dir.join(name);
            if let Ok(metadata) = file.metadata()
                && metadata.len() > MAX_CHARS
            {
                found.push(
                    Finding::warning(format!(
                        "{} has {} bytes; only the first {MAX_CHARS} characters reach the model",
                        facts.short(&file),
                        metadata.len()
                    ))
                    .at(&file)
                    .advise("move what is not needed in every turn into files of its own"),
                );
            }
        }
    }
    found
}
