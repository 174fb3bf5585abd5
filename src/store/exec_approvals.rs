//! `exec-approvals.json`: who may run which program without being asked.
//!
//! The official apps and the command line edit it too; the hash of its bytes
//! guards against overwriting each other's changes. Blocking.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::base::{hex, id};
use crate::store::atomic::{self, Sync};

/// One reading of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    pub path: PathBuf,
    pub exists: bool,
    /// SHA-256 of the bytes, lower-case hex.
    pub hash: String,
    /// With every section present; the socket's token included.
    pub file: Value,
    /// Why what is on the disk cannot be used; `file` is empty then.
    pub broken: Option<String>,
}

impl Reading {
    /// As callers see it: without the socket's token.
    pub fn public(&self) -> Value {
        let mut file = self.file.clone();
        if let Some(socket) = file.get_mut("socket").and_then(Value::as_object_mut) {
            socket.shift_remove("token");
        }
        json!({
            "path": self.path,
            "exists": self.exists,
            "hash": self.hash,
            "file": file,
        })
    }
}

/// Why the file was not replaced.
#[derive(Debug, thiserror::Error)]
pub enum ReplaceError {
    #[error("exec approvals base hash required; re-run exec.approvals.get and retry")]
    HashRequired,
    #[error("exec approvals changed since last load; re-run exec.approvals.get and retry")]
    Changed,
    #[error("{path} cannot be used: {source}")]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// The file of a state directory.
pub fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("exec-approvals.json")
}

/// Reads the file; one that is missing or broken counts as empty.
pub fn read(state_dir: &Path) -> io::Result<Reading> {
    let path = path(state_dir);
    let bytes = match fs::read(&path) {
        Ok(bytes) => Some(bytes),
        Err(err) if err.kind() == io::ErrorKind::NotFound => None,
        Err(err) => return Err(err),
    };
    let parsed = match bytes.as_deref().map(serde_json::from_slice::<Value>) {
        None => Ok(Value::Null),
        Some(Ok(value)) if value.is_object() => Ok(value),
        Some(Ok(_)) => Err("it holds no object".to_owned()),
        Some(Err(err)) => Err(err.to_string()),
    };
    let broken = parsed.as_ref().err().cloned();
    let file = complete(parsed.unwrap_or_default(), None, state_dir);
    Ok(Reading {
        broken,
        exists: bytes.is_some(),
        hash: hash(bytes.as_deref().unwrap_or_default()),
        path,
        file,
    })
}

/// As [`read`]; a missing file is created, so that editors of it have a hash
/// to name.
pub fn read_or_create(state_dir: &Path) -> Result<Reading, ReplaceError> {
    let fail = |source| ReplaceError::File { path: path(state_dir), source };
    let current = read(state_dir).map_err(fail)?;
    if current.exists { Ok(current) } else { replace(state_dir, Value::Null, None) }
}

/// Replaces the file. `base_hash` must name what is on disk, unless nothing is.
pub fn replace(
    state_dir: &Path,
    file: Value,
    base_hash: Option<&str>,
) -> Result<Reading, ReplaceError> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _writing = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let fail = |source| ReplaceError::File { path: path(state_dir), source };
    let current = read(state_dir).map_err(fail)?;
    if current.exists {
        match base_hash.map(str::trim) {
            None | Some("") => return Err(ReplaceError::HashRequired),
            Some(base) if base != current.hash => return Err(ReplaceError::Changed),
            Some(_) => {}
        }
    }
    let file = complete(file, current.file["socket"].as_object(), state_dir);
    let mut bytes = serde_json::to_vec_pretty(&file).map_err(|err| fail(err.into()))?;
    bytes.push(b'\n');
    atomic::write(&current.path, &bytes, Sync::Yes).map_err(fail)?;
    Ok(Reading { path: current.path, exists: true, hash: hash(&bytes), file, broken: None })
}

/// Adds the sections that are missing. The socket of `known` is kept where the
/// new file says nothing.
fn complete(file: Value, known: Option<&Map<String, Value>>, state_dir: &Path) -> Value {
    let mut given = match file {
        Value::Object(given) => given,
        _ => Map::new(),
    };
    let mut socket = match given.shift_remove("socket") {
        Some(Value::Object(socket)) => socket,
        _ => Map::new(),
    };
    for (key, value) in known.into_iter().flatten() {
        socket.entry(key.clone()).or_insert_with(|| value.clone());
    }
    socket.entry("path").or_insert_with(|| json!(state_dir.join("exec-approvals.sock")));
    let mut whole = Map::new();
    whole.insert("version".into(), json!(1));
    whole.insert("socket".into(), socket.into());
    for section in ["defaults", "agents"] {
        let value = given.shift_remove(section).filter(Value::is_object);
        whole.insert(section.into(), value.unwrap_or_else(|| json!({})));
    }
    name_entries(&mut whole["agents"]);
    given.shift_remove("version");
    whole.extend(given);
    Value::Object(whole)
}

/// Gives every entry of the agents' lists the id by which it is told from others.
fn name_entries(agents: &mut Value) {
    let lists = agents.as_object_mut().into_iter().flat_map(|agents| agents.values_mut());
    for entry in lists.filter_map(|agent| agent.get_mut("allowlist")?.as_array_mut()).flatten() {
        if let Some(pattern) = entry.as_str() {
            *entry = json!({ "pattern": pattern });
        }
        if let Some(fields) = entry.as_object_mut()
            && fields.get("id").and_then(Value::as_str).is_none_or(str::is_empty)
        {
            fields.insert("id".into(), id::uuid().into());
        }
    }
}

fn hash(bytes: &[u8]) -> String {
    hex::encode(&Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_needs_the_hash_of_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let absent = read(dir.path()).unwrap();
        assert!(!absent.exists);
        let first =
            replace(dir.path(), json!({"version": 1, "socket": {"token": "t"}}), None).unwrap();
        assert_eq!(first.file["agents"], json!({}));
        let error = |hash| replace(dir.path(), json!({}), hash).unwrap_err().to_string();
        assert!(error(None).contains("base hash required"));
        assert!(error(Some("zz")).contains("changed since last load"));

        let next = json!({"agents": {"main": {"security": "full"}}});
        let second = replace(dir.path(), next, Some(&first.hash)).unwrap();
        assert_eq!(second.file["socket"]["token"], "t");
        assert!(second.public()["file"]["socket"].get("token").is_none());
        assert_eq!(read(dir.path()).unwrap(), second);
    }
}
