//! The files of a workspace that make an agent what it is. Only the known
//! names can be read or written, and never through a link out of the workspace.

use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::base::hex;
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
    #[error("agent file \"{name}\" changed since it was read")]
    Changed { name: String, current: Option<String> },
    #[error("{path}: {source}")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl From<FileError> for ErrorShape {
    fn from(err: FileError) -> Self {
        match &err {
            FileError::Io { .. } => Self::unavailable(format!("Error: {err}")),
            FileError::Changed { name, current } => {
                let mut details = json!({"type": "agent_file_conflict", "name": name});
                if let Some(current) = current {
                    details["currentHash"] = current.clone().into();
                }
                Self::invalid(err.to_string()).with_details(details)
            }
            _ => Self::invalid(err.to_string()),
        }
    }
}

/// Result of `agents.files.list`.
pub fn list(agent: &str, workspace: &Path, newer: bool) -> Value {
    let mut names: Vec<&str> = NAMES.to_vec();
    if is_set_up(workspace) {
        names.retain(|name| *name != "BOOTSTRAP.md");
    }
    let memory = MEMORY.iter().find(|name| workspace.join(name).exists());
    names.push(memory.unwrap_or(&MEMORY[0]));
    let mut files: Vec<Value> =
        names.iter().map(|name| entry(workspace, name, plain_file(workspace, name))).collect();
    // Memory comes with what is remembered.
    if newer && let Some(file) = files.last_mut().filter(|file| file["missing"] == true) {
        file["expectedAbsent"] = true.into();
    }
    json!({ "agentId": agent, "workspace": workspace, "files": files })
}

/// Result of `agents.files.get`.
pub fn get(agent: &str, workspace: &Path, name: &str, newer: bool) -> Result<Value, FileError> {
    check(workspace, name)?;
    let meta = plain_file(workspace, name);
    let exists = meta.is_some();
    let mut file = entry(workspace, name, meta);
    if exists {
        let path = workspace.join(name);
        let bytes = fs::read(&path).map_err(|source| FileError::Io { path, source })?;
        if newer {
            file["hash"] = hash(&bytes).into();
        }
        file["content"] = String::from_utf8_lossy(&bytes).into();
    }
    Ok(json!({ "agentId": agent, "workspace": workspace, "file": file }))
}

/// Result of `agents.files.set`. With `expected`, a file that is another by now stays.
pub fn set(
    agent: &str,
    workspace: &Path,
    name: &str,
    content: &str,
    expected: Option<&str>,
) -> Result<Value, FileError> {
    static ONE_BY_ONE: Mutex<()> = Mutex::new(());
    check(workspace, name)?;
    let path = workspace.join(name);
    let _turn = ONE_BY_ONE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(expected) = expected {
        let current = fs::read(&path).ok().map(|bytes| hash(&bytes));
        if current.as_deref() != Some(expected) {
            return Err(FileError::Changed { name: name.to_owned(), current });
        }
    }
    atomic::write(&path, content.as_bytes(), Sync::Yes)
        .map_err(|source| FileError::Io { path, source })?;
    let mut file = entry(workspace, name, plain_file(workspace, name));
    file["hash"] = hash(content.as_bytes()).into();
    file["content"] = content.into();
    Ok(json!({ "ok": true, "agentId": agent, "workspace": workspace, "file": file }))
}

fn hash(bytes: &[u8]) -> String {
    hex::encode(&Sha256::digest(bytes))
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
        let written = set("main", dir.path(), "SOUL.md", "calm", None).unwrap();
        assert_eq!(written["file"]["size"], 4);
        let read = get("main", dir.path(), "SOUL.md", true).unwrap();
        assert_eq!(read["file"]["hash"], written["file"]["hash"]);
        assert_eq!(read["file"]["content"], "calm");
        let missing = get("main", dir.path(), "USER.md", true).unwrap();
        assert_eq!(missing["file"]["missing"], true);
        let listed = list("main", dir.path(), false);
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
        let refused = get("main", dir.path(), "../x", true).unwrap_err();
        assert_eq!(refused.to_string(), "unsupported file \"../x\"");
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("USER.md")).unwrap();
        let refused = get("main", dir.path(), "USER.md", true).unwrap_err();
        assert_eq!(refused.to_string(), "unsafe workspace file \"USER.md\"");
        assert!(set("main", dir.path(), "USER.md", "x", None).is_err());
    }
}
