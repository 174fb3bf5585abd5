//! Lock files that nobody holds any more.

use std::path::Path;

use serde_json::Value;

use crate::doctor::checks::{Check, Scope};
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Repair, Severity};
use crate::doctor::steps::Step;

pub(super) const CHECK: Check = Check {
    id: "session-locks",
    section: "Session locks",
    scope: Scope::Everywhere,
    severity: Severity::Warning,
    finds: "lock files of sessions and of the configuration whose process is gone, or that are older than 30 minutes",
    matters: "runs wait for them until they give up",
    repairs: "removes them",
    inspect,
};

/// Age at which a lock is stale whoever holds it.
const STALE_AFTER_MS: u64 = 30 * 60 * 1000;
/// A lock without readable content is being written; after this it is a leftover.
const UNREADABLE_AFTER_MS: u64 = 5_000;

fn inspect(facts: &Facts<'_>) -> Vec<Finding> {
    let mut dirs = Vec::new();
    for agent in facts.agents() {
        dirs.push(agent.join("sessions"));
        dirs.push(agent.join("agent"));
    }
    let mut found = Vec::new();
    for path in dirs.iter().flat_map(|dir| std::fs::read_dir(dir).into_iter().flatten().flatten()) {
        let path = path.path();
        // The configuration's own lock is held by the kernel and may stay.
        if path.extension().is_none_or(|ext| ext != "lock") || !path.is_file() {
            continue;
        }
        let Some(reason) = stale(facts, &path) else { continue };
        let shown = facts.short(&path);
        let repair =
            Repair::new(format!("remove {shown}"), vec![Step::Remove { path: path.clone() }]);
        found
            .push(Finding::warning(format!("stale lock {shown}: {reason}")).at(&path).mend(repair));
    }
    found
}

/// Why a lock is stale, if it is.
fn stale(facts: &Facts<'_>, path: &Path) -> Option<String> {
    let modified = path.metadata().ok()?.modified().ok()?;
    let since = modified.duration_since(std::time::UNIX_EPOCH).ok()?.as_millis();
    let age = facts.host.now_ms().saturating_sub(u64::try_from(since).unwrap_or(u64::MAX));
    let note: Value = std::fs::read(path)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    let Some(pid) = note["pid"].as_u64().and_then(|pid| i32::try_from(pid).ok()) else {
        return (age > UNREADABLE_AFTER_MS).then(|| "it names no process".to_owned());
    };
    if facts.host.owner(pid).is_none() && !facts.host.is_macos() {
        return Some(format!("process {pid} is gone"));
    }
    (age > STALE_AFTER_MS)
        .then(|| format!("process {pid} has held it for {} minutes", age / 60_000))
}
