//! The skills a model may choose from, as the prompt lists them. Blocking.

use std::fmt::Write as _;
use std::path::Path;

use crate::agents::skills::discover;
use crate::agents::skills::judge;
use crate::config::Snapshot;
use crate::profile::env::Env;
use crate::profile::paths::Paths;

/// Characters that the list may take.
const MOST_CHARS: usize = 30_000;

/// The `<available_skills>` block; empty without eligible skills.
pub(crate) fn skills(workspace: &Path, paths: &Paths, env: &Env, snapshot: &Snapshot) -> String {
    let mut list = String::new();
    for skill in discover(workspace, paths, &snapshot.config) {
        let verdict = judge(&skill, env, &snapshot.config, &snapshot.resolved);
        if !verdict.eligible || verdict.disabled || list.len() > MOST_CHARS {
            continue;
        }
        // Writing to a String cannot fail.
        let _ = writeln!(
            list,
            "  <skill>\n    <name>{}</name>\n    <description>{}</description>\n    \
             <location>{}</location>\n  </skill>",
            escaped(&skill.manifest.name),
            escaped(&skill.manifest.description),
            escaped(&skill.file.display().to_string()),
        );
    }
    if list.is_empty() { list } else { format!("\n<available_skills>\n{list}</available_skills>") }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
