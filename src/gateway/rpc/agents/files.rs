//! The files of a workspace that make an agent what it is. Only the known
//! names can be read or written, and never through a link out of the workspace.

use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde_json::{Value, json};

use crate::protocol::error::ErrorShape;
use crate::store::atomic::{self, Sync};

/// In the order in which they are listed; memory comes last.
const NAMES: [&str; 7] =
    ["AGENTS.md", "SOUL.md", "TOOLS.md", "IDENTITY.md", "USER.md", "HEARTBEAT.md", "BOOTSTRAP.md"];
const MEMORY: [&str; 2] = ["MEMORY.md", "memory.md"];

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("unsupported file \"{0}\"")]
    Unsupported(String),
    #[error("unsafe workspace file \"{0}\"")]
    Unsafe(String),
    #[error("{path}: {source}")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl From<FileError> for ErrorShape {
    fn from(err: FileError) -> Self {
        match err {
            FileError::Io { .. } => Self::unavailable(format!("Error: {err}")),
            _ => Self::invalid(err.to_string()),
        }
    }
}

/// Result of `agents.files.list`.
pub fn list(agent: &str, workspace: &Path) -> Value {
    let mut names: Vec<&str> = NAMES.to_vec();
    if is_set_up(workspace) {
        names.retain(|name| *name != "BOOTSTRAP.md");
    }
    let memory = MEMORY.iter().find(|name| workspace.join(name).exists());
    names.push(memory.unwrap_or(&MEMORY[0]));
    let files: Vec<Value> =
        names.iter().map(|name| entry(workspace, name, plain_file(workspace, name))).collect();
    json!({ "agentId": agent, "workspace": workspace, "files": files })
}

/// Result of `agents.files.get`.
pub fn get(agent: &str, workspace: &Path, name: &str) -> Result<Value, FileError> {
    check(workspace, name)?;
    let meta = plain_file(workspace, name);
    let exists = meta.is_some();
    let mut file = entry(workspace, name, meta);
    if exists {
        let path = workspace.join(name);
        let bytes = fs::read(&path).map_err(|source| FileError::Io { path, source })?;
        file["content"] = String::from_utf8_lossy(&bytes).into();
    }
    Ok(json!({ "agentId": agent, "workspace": workspace, "file": file }))
}

/// Result of `agents.files.set`.
pub fn set(agent: &str, workspace: &Path, name: &str, content: &str) -> Result<Value, FileError> {
    check(workspace, name)?;
    let path = workspace.join(name);
    atomic::write(&path, content.as_bytes(), Sync::Yes)
        .map_err(|source| FileError::Io { path, source })?;
    let mut file = entry(workspace, name, plain_file(workspace, name));
    file["content"] = content.into();
    Ok(json!({ "ok": true, "agentId": agent, "workspace": workspace, "file": file }))
}

fn check(workspace: &Path, name: &str) -> Result<(), FileError> {
    if !NAMES.contains(&name) && !MEMORY.contains(&name) {
        return Err(FileError::Unsupported(name.to_owned()));
    }
    // A link or a folder in its place would lead elsewhere.
    match fs::symlink_metadata(workspace.join(name)) {
        Ok(meta) if !meta.is_file() => Err(FileError::Unsafe(name.to_owned())),
        _ => Ok(()),
    }
}

fn plain_file(workspace: &Path, name: &str) -> Option<Metadata> {
    fs::symlink_metadata(workspace.join(name)).ok().filter(Metadata::is_file)
}

fn entry(workspace: &Path, name: &str, meta: Option<Metadata>) -> Value {
    let path = workspace.join(name);
    let Some(meta) = meta else {
        return json!({ "name": name, "path": path, "missing": true });
    };
    let modified = meta.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let modified = u64::try_from(modified.unwrap_or_default().as_millis()).unwrap_or(u64::MAX);
    json!({
        "name": name,
        "path": path,
        "missing": false,
        "size": meta.len(),
        "updatedAtMs": modified,
    })
}

/// Whether the first conversation, which `BOOTSTRAP.md` is for, is over.
fn is_set_up(workspace: &Path) -> bool {
    let bytes = fs::read(workspace.join(".openclaw/workspace-state.json")).unwrap_or_default();
    let state: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let done = ["setupCompletedAt", "onboardingCompletedAt"];
    done.iter().any(|key| state.get(key).is_some_and(Value::is_string))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_written_read_and_listed() {
        let dir = tempfile::tempdir().unwrap();
        let written = set("main", dir.path(), "SOUL.md", "calm").unwrap();
        assert_eq!(written["file"]["size"], 4);
        let read = get("main", dir.path(), "SOUL.md").unwrap();
        assert_eq!(read["file"]["content"], "calm");
        let missing = get("main", dir.path(), "USER.md").unwrap();
        assert_eq!(missing["file"]["missing"], true);
        let listed = list("main", dir.path());
        let names: Vec<&str> = listed["files"]
            .as_array()
            .unwrap()
            .iter()
            .map(|f| f["name"].as_str().unwrap())
            .collect();
        assert_eq!(names[1], "SOUL.md");
        assert_eq!(names[6..], ["BOOTSTRAP.md", "MEMORY.md"]);
        assert_eq!(listed["files"][0]["missing"], true);
    }

    #[test]
    fn other_names_and_links_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let refused = get("main", dir.path(), "../x").unwrap_err();
        assert_eq!(refused.to_string(), "unsupported file \"../x\"");
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("USER.md")).unwrap();
        let refused = get("main", dir.path(), "USER.md").unwrap_err();
        assert_eq!(refused.to_string(), "unsafe workspace file \"USER.md\"");
        assert!(set("main", dir.path(), "USER.md", "x").is_err());
    }
}
