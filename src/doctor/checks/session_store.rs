//! The session index of each agent and the transcripts it names.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::doctor::checks::{Check, Scope};
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Severity};

pub(super) const CHECK: Check = Check {
    id: "session-transcripts",
    section: "State integrity",
    scope: Scope::Everywhere,
    severity: Severity::Error,
    finds: "a session index that is no JSON, sessions whose transcript is gone, transcripts that no session names, transcripts with damaged lines",
    matters: "a conversation without its transcript begins anew; a damaged index hides all of them",
    repairs: "",
    inspect,
};

fn inspect(facts: &Facts<'_>) -> Vec<Finding> {
    facts.agents().iter().flat_map(|agent| of_agent(facts, &agent.join("sessions"))).collect()
}

fn of_agent(facts: &Facts<'_>, dir: &Path) -> Vec<Finding> {
    let index = dir.join("sessions.json");
    let Ok(bytes) = std::fs::read(&index) else { return Vec::new() };
    let entries = match serde_json::from_slice::<Value>(&bytes) {
        Ok(Value::Object(entries)) => entries,
        Ok(_) => {
            return vec![
                Finding::error("the session index is not a JSON object")
                    .at(&index)
                    .advise(format!("move it away: mv {0} {0}.broken", index.display())),
            ];
        }
        Err(err) => {
            return vec![
                Finding::error(format!("the session index is not valid JSON: {err}"))
                    .at(&index)
                    .on_line(err.line())
                    .advise(format!(
                        "mend it, or move it away: mv {0} {0}.broken",
                        index.display()
                    )),
            ];
        }
    };
    let mut named = BTreeSet::new();
    let mut found = Vec::new();
    let mut lost = Vec::new();
    for (key, entry) in &entries {
        let Some(id) = entry["sessionId"].as_str() else { continue };
        let file = entry["sessionFile"].as_str();
        let path = match file.map(Path::new) {
            Some(path) if path.is_absolute() => path.to_owned(),
            Some(path) => dir.join(path),
            None => dir.join(format!("{id}.jsonl")),
        };
        let exists = path.exists();
        named.insert(path.clone());
        // A session that never had a turn has no transcript yet.
        let had_turns = entry["totalTokens"].as_u64().unwrap_or(0) > 0 || file.is_some();
        if !exists && had_turns {
            lost.push(key.clone());
        } else if exists && let Some(line) = damaged_line(&path) {
            found.push(
                Finding::warning(format!(
                    "a line of the transcript of {key} is not JSON; it is left out"
                ))
                .at(&path)
                .on_line(line)
                .advise(format!("sed -n {line}p {}", path.display())),
            );
        }
    }
    if !lost.is_empty() {
        found.push(
            Finding::warning(format!(
                "{} session(s) without transcript: {}",
                lost.len(),
                shorten(&lost)
            ))
            .at(&index)
            .advise(format!("{} sessions", facts.program())),
        );
    }
    let orphans: Vec<String> = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "jsonl") && !named.contains(path))
        .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
        .collect();
    if !orphans.is_empty() {
        found.push(
            Finding::info(format!(
                "{} transcript(s) that no session names: {}",
                orphans.len(),
                shorten(&orphans)
            ))
            .at(dir)
            .advise("they are kept; remove them when you do not need them"),
        );
    }
    found
}

/// The first line that is no JSON; the last may be in the middle of a write.
fn damaged_line(path: &Path) -> Option<usize> {
    const LONGEST: u64 = 64 * 1024 * 1024;
    if path.metadata().ok()?.len() > LONGEST {
        return None;
    }
    let text = std::fs::read(path).ok()?;
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    let whole = lines.len().saturating_sub(1);
    lines[..whole].iter().enumerate().find_map(|(index, line)| {
        let broken =
            !line.is_empty() && serde_json::from_slice::<serde::de::IgnoredAny>(line).is_err();
        broken.then_some(index + 1)
    })
}

fn shorten(names: &[String]) -> String {
    const SHOWN: usize = 3;
    let mut text = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(", …");
    }
    text
}
