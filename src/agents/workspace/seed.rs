//! First start of a workspace: our own templates, a git repository and the
//! state file that remembers the seeding.

use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use serde_json::Value;
use serde_json::json;

use crate::agents::sessions::iso_time;
use crate::store::atomic;

const STATE_FILE: &str = ".openclaw/workspace-state.json";

const TEMPLATES: &[(&str, &str)] = &[
    ("AGENTS.md", include_str!("templates/AGENTS.md")),
    ("SOUL.md", include_str!("templates/SOUL.md")),
    ("TOOLS.md", include_str!("templates/TOOLS.md")),
    ("IDENTITY.md", include_str!("templates/IDENTITY.md")),
    ("USER.md", include_str!("templates/USER.md")),
    ("HEARTBEAT.md", include_str!("templates/HEARTBEAT.md")),
];
const BOOTSTRAP: (&str, &str) = ("BOOTSTRAP.md", include_str!("templates/BOOTSTRAP.md"));

/// Seeds a workspace once; later calls look at one file and return.
pub(crate) fn ensure(dir: &Path, now_ms: u64) -> io::Result<()> {
    let state_path = dir.join(STATE_FILE);
    let state = read_state(&state_path)?;
    if state["bootstrapSeededAt"].is_string() {
        if state["setupCompletedAt"].is_null() && !dir.join(BOOTSTRAP.0).exists() {
            note(&state_path, state, "setupCompletedAt", now_ms)?;
        }
        return Ok(());
    }
    let is_new = !dir.exists() || is_untouched(dir)?;
    std::fs::create_dir_all(dir)?;
    for (name, text) in TEMPLATES {
        write_once(&dir.join(name), text)?;
    }
    // Someone who brought own files has introduced himself already.
    if is_new {
        write_once(&dir.join(BOOTSTRAP.0), BOOTSTRAP.1)?;
        init_git(dir);
    }
    note(&state_path, state, "bootstrapSeededAt", now_ms)
}

fn read_state(path: &Path) -> io::Result<Value> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)
            .ok()
            .filter(Value::is_object)
            .unwrap_or_else(|| json!({"version": 1}))),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(json!({"version": 1})),
        Err(err) => Err(err),
    }
}

fn note(path: &Path, mut state: Value, field: &str, now_ms: u64) -> io::Result<()> {
    state[field] = iso_time(now_ms).into();
    let mut text = serde_json::to_string_pretty(&state)?;
    text.push('\n');
    atomic::write(path, text.as_bytes(), atomic::Sync::No)
}

/// Whether none of the templates nor a memory exists yet.
fn is_untouched(dir: &Path) -> io::Result<bool> {
    for name in TEMPLATES.iter().map(|(name, _)| *name).chain(["MEMORY.md", "memory.md", "memory"])
    {
        if dir.join(name).try_exists()? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn write_once(path: &Path, text: &str) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(mut file) => file.write_all(text.as_bytes()),
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(err) => Err(err),
    }
}

/// A workspace without git works as well; it only has no history.
fn init_git(dir: &Path) {
    if dir.join(".git").exists() {
        return;
    }
    let result = Command::new("git")
        .args(["init", "--quiet"])
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if let Err(err) = result {
        tracing::debug!(%err, "workspace has no git history");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_workspace_gets_all_templates_once() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("workspace");
        ensure(&home, 0).unwrap();
        assert!(home.join("BOOTSTRAP.md").exists());
        let state = read_state(&home.join(STATE_FILE)).unwrap();
        assert_eq!(state["bootstrapSeededAt"], "1970-01-01T00:00:00.000Z");
        std::fs::remove_file(home.join("SOUL.md")).unwrap();
        std::fs::remove_file(home.join("BOOTSTRAP.md")).unwrap();
        ensure(&home, 1).unwrap();
        assert!(!home.join("SOUL.md").exists(), "what was removed stays removed");
        assert!(read_state(&home.join(STATE_FILE)).unwrap()["setupCompletedAt"].is_string());
    }

    #[test]
    fn own_files_are_kept_and_need_no_introduction() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("SOUL.md"), "mine").unwrap();
        ensure(dir.path(), 0).unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join("SOUL.md")).unwrap(), "mine");
        assert!(dir.path().join("AGENTS.md").exists());
        assert!(!dir.path().join("BOOTSTRAP.md").exists());
    }
}
