//! Which nodes an operator has approved: `<state>/nodes/{pending,paired}.json`.
//!
//! The official command line reads and writes these files too, so they are
//! read anew for each operation and written whole. Blocking; callers hold the
//! one lock of the [`Book`].

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::base::id::uuid;
use crate::gateway::nodes::policy::runs_programs;
use crate::store::atomic::{self, Sync};

/// A request that nobody answered is forgotten after this time.
const PENDING_TTL_MS: u64 = 300_000;

/// What a node says about itself. Absent keys stay absent on disk.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Description {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub core_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ui_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_family: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_identifier: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caps: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commands: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_ip: Option<String>,
}

/// A node that asks to be approved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pending {
    pub request_id: String,
    pub node_id: String,
    #[serde(flatten)]
    pub description: Description,
    #[serde(default)]
    pub silent: bool,
    /// Milliseconds since the Unix epoch.
    pub ts: u64,
}

/// An approved node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Paired {
    pub node_id: String,
    /// Proof that `node.pair.verify` checks.
    pub token: String,
    #[serde(flatten)]
    pub description: Description,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bins: Option<Vec<String>>,
    pub created_at_ms: u64,
    pub approved_at_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_connected_at_ms: Option<u64>,
    /// Keys of other programs.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl Paired {
    /// As operators see it: without the token.
    pub fn public(&self) -> Value {
        let mut value = serde_json::to_value(self).unwrap_or_default();
        if let Some(map) = value.as_object_mut() {
            map.shift_remove("token");
        }
        value
    }
}

/// Why a pairing operation failed.
#[derive(Debug, thiserror::Error)]
pub enum PairingError {
    #[error("unknown requestId")]
    UnknownRequest,
    #[error("missing scope: {0}")]
    MissingScope(&'static str),
    #[error("unknown nodeId")]
    UnknownNode,
    #[error("nodeId required")]
    NoNodeId,
    #[error("{file} cannot be used: {source}")]
    File {
        file: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// The pairing files of one state directory.
#[derive(Debug)]
pub struct Book {
    dir: PathBuf,
    lock: Mutex<()>,
}

#[derive(Debug, Default)]
struct Pages {
    pending: IndexMap<String, Pending>,
    paired: IndexMap<String, Paired>,
}

impl Book {
    pub fn new(state_dir: &Path) -> Self {
        Self { dir: state_dir.join("nodes"), lock: Mutex::new(()) }
    }

    /// Pending requests, newest first, and nodes, newest approval first.
    pub fn list(&self, now: u64) -> Result<(Vec<Pending>, Vec<Paired>), PairingError> {
        let pages = self.with(now, |pages| Ok(std::mem::take(pages)), false)?;
        let mut pending: Vec<Pending> = pages.pending.into_values().collect();
        pending.sort_by_key(|request| std::cmp::Reverse(request.ts));
        let mut paired: Vec<Paired> = pages.paired.into_values().collect();
        paired.sort_by_key(|node| std::cmp::Reverse(node.approved_at_ms));
        Ok((pending, paired))
    }

    pub fn paired(&self, node: &str, now: u64) -> Result<Option<Paired>, PairingError> {
        self.with(now, |pages| Ok(pages.paired.get(node.trim()).cloned()), false)
    }

    /// Records that a node wants to be approved. A second request of the same
    /// node refreshes the first. Returns the request and whether it is fresh.
    pub fn request(
        &self,
        node: &str,
        description: Description,
        silent: bool,
        now: u64,
    ) -> Result<(Pending, bool), PairingError> {
        let node = node.trim();
        if node.is_empty() {
            return Err(PairingError::NoNodeId);
        }
        self.with(
            now,
            |pages| {
                let known = pages.pending.values_mut().find(|request| request.node_id == node);
                if let Some(request) = known {
                    request.description.update(description);
                    request.silent &= silent;
                    request.ts = now;
                    return Ok((request.clone(), false));
                }
                let request = Pending {
                    request_id: uuid(),
                    node_id: node.to_owned(),
                    description,
                    silent,
                    ts: now,
                };
                pages.pending.insert(request.request_id.clone(), request.clone());
                Ok((request, true))
            },
            true,
        )
    }

    /// Approves a request; `may` tells whether the caller holds a scope.
    pub fn approve(
        &self,
        request_id: &str,
        may: impl Fn(&'static str) -> bool,
        now: u64,
    ) -> Result<Paired, PairingError> {
        self.with(
            now,
            |pages| {
                let request = pages.pending.get(request_id).ok_or(PairingError::UnknownRequest)?;
                if let Some(scope) = scope_to_approve(&request.description)
                    && !may(scope)
                {
                    return Err(PairingError::MissingScope(scope));
                }
                let request =
                    pages.pending.shift_remove(request_id).ok_or(PairingError::UnknownRequest)?;
                let known = pages.paired.get(&request.node_id);
                let node = Paired {
                    node_id: request.node_id.clone(),
                    token: fresh_token(),
                    created_at_ms: known.map_or(now, |node| node.created_at_ms),
                    approved_at_ms: now,
                    bins: known.and_then(|node| node.bins.clone()),
                    last_connected_at_ms: known.and_then(|node| node.last_connected_at_ms),
                    rest: known.map(|node| node.rest.clone()).unwrap_or_default(),
                    description: request.description,
                };
                pages.paired.insert(request.node_id, node.clone());
                Ok(node)
            },
            true,
        )
    }

    /// Drops a request. Returns the node that asked.
    pub fn reject(&self, request_id: &str, now: u64) -> Result<String, PairingError> {
        self.with(
            now,
            |pages| {
                let request = pages.pending.shift_remove(request_id);
                request.map(|request| request.node_id).ok_or(PairingError::UnknownRequest)
            },
            true,
        )
    }

    /// The approved node, if `token` is its token.
    pub fn verify(
        &self,
        node: &str,
        token: &str,
        now: u64,
    ) -> Result<Option<Paired>, PairingError> {
        let known = self.paired(node, now)?;
        Ok(known.filter(|node| crate::base::secret::Secret::new(&node.token).matches(token)))
    }

    pub fn rename(&self, node: &str, name: &str, now: u64) -> Result<(), PairingError> {
        self.with(
            now,
            |pages| {
                let node = pages.paired.get_mut(node).ok_or(PairingError::UnknownNode)?;
                node.description.display_name = Some(name.to_owned());
                Ok(())
            },
            true,
        )
    }

    /// Notes that an approved node connected.
    pub fn connected(&self, node: &str, now: u64) -> Result<(), PairingError> {
        self.with(
            now,
            |pages| {
                if let Some(node) = pages.paired.get_mut(node) {
                    node.last_connected_at_ms = Some(now);
                }
                Ok(())
            },
            true,
        )
    }

    /// Forgets a node and its requests.
    pub fn remove(&self, node: &str, now: u64) -> Result<bool, PairingError> {
        self.with(
            now,
            |pages| {
                pages.pending.retain(|_, request| request.node_id != node);
                Ok(pages.paired.shift_remove(node).is_some())
            },
            true,
        )
    }

    fn with<R>(
        &self,
        now: u64,
        work: impl FnOnce(&mut Pages) -> Result<R, PairingError>,
        write: bool,
    ) -> Result<R, PairingError> {
        let _turn = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let (pending, paired) = (self.dir.join("pending.json"), self.dir.join("paired.json"));
        let mut pages = Pages { pending: read(&pending)?, paired: read(&paired)? };
        pages.pending.retain(|_, request| now.saturating_sub(request.ts) <= PENDING_TTL_MS);
        let result = work(&mut pages)?;
        if write {
            save(&pending, &pages.pending)?;
            save(&paired, &pages.paired)?;
        }
        Ok(result)
    }
}

impl Description {
    /// Takes over what `next` says; silence changes nothing.
    fn update(&mut self, next: Self) {
        macro_rules! take {
            ($($field:ident),*) => { $(if next.$field.is_some() { self.$field = next.$field; })* };
        }
        take!(
            display_name,
            platform,
            version,
            core_version,
            ui_version,
            device_family,
            model_identifier,
            caps,
            commands,
            permissions,
            remote_ip
        );
    }
}

/// The scope that approving these commands asks for, besides pairing.
fn scope_to_approve(description: &Description) -> Option<&'static str> {
    let commands = description.commands.as_deref().unwrap_or_default();
    if commands.iter().any(|command| runs_programs(command)) {
        Some("operator.admin")
    } else if commands.is_empty() {
        None
    } else {
        Some("operator.write")
    }
}

fn fresh_token() -> String {
    use base64::Engine;
    let mut bytes = [0; 32];
    if getrandom::fill(&mut bytes).is_err() {
        // Two random UUIDs carry enough entropy where the system call fails.
        return format!("{}{}", uuid(), uuid());
    }
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

fn read<T: serde::de::DeserializeOwned>(file: &Path) -> Result<IndexMap<String, T>, PairingError> {
    let fail = |source| PairingError::File { file: file.to_owned(), source };
    match fs::read(file) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|err| fail(err.into())),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(IndexMap::new()),
        Err(err) => Err(fail(err)),
    }
}

fn save<T: Serialize>(file: &Path, map: &IndexMap<String, T>) -> Result<(), PairingError> {
    if map.is_empty() && !file.exists() {
        return Ok(());
    }
    let fail = |source| PairingError::File { file: file.to_owned(), source };
    let bytes = serde_json::to_vec_pretty(map).map_err(|err| fail(err.into()))?;
    atomic::write(file, &bytes, Sync::No).map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> Description {
        Description {
            display_name: Some("test node".into()),
            platform: Some("linux".into()),
            commands: Some(vec!["system.run".into()]),
            ..Description::default()
        }
    }

    #[test]
    fn a_node_is_requested_once_and_approved_by_an_admin() {
        let dir = tempfile::tempdir().unwrap();
        let book = Book::new(dir.path());
        let (first, fresh) = book.request("n1", node(), false, 10).unwrap();
        let (again, second) = book.request(" n1 ", Description::default(), false, 20).unwrap();
        assert!(fresh && !second);
        assert_eq!((&again.request_id, &again.description), (&first.request_id, &node()));

        let denied = book.approve(&first.request_id, |_| false, 30).unwrap_err();
        assert_eq!(denied.to_string(), "missing scope: operator.admin");
        let paired = book.approve(&first.request_id, |_| true, 40).unwrap();
        assert!(book.verify("n1", &paired.token, 50).unwrap().is_some());
        assert!(book.verify("n1", "other", 50).unwrap().is_none());
        assert!(paired.public().get("token").is_none());
        let (pending, known) = book.list(60).unwrap();
        assert_eq!((pending.len(), known.len()), (0, 1));
        assert!(book.remove("n1", 70).unwrap());
    }

    #[test]
    fn a_request_expires_and_a_broken_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let book = Book::new(dir.path());
        let (request, _) = book.request("n1", node(), false, 10).unwrap();
        let late = book.reject(&request.request_id, 11 + PENDING_TTL_MS).unwrap_err();
        assert_eq!(late.to_string(), "unknown requestId");
        fs::write(dir.path().join("nodes/paired.json"), "[").unwrap();
        let broken = book.list(10).unwrap_err().to_string();
        assert!(broken.contains("paired.json"), "{broken}");
    }

    #[test]
    fn keys_of_other_programs_survive() {
        let dir = tempfile::tempdir().unwrap();
        let book = Book::new(dir.path());
        fs::create_dir(dir.path().join("nodes")).unwrap();
        let file = dir.path().join("nodes/paired.json");
        let text = r#"{"n1":{"nodeId":"n1","token":"t","createdAtMs":1,"approvedAtMs":2,"x":3}}"#;
        fs::write(&file, text).unwrap();
        book.rename("n1", "box", 10).unwrap();
        let saved: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        assert_eq!((&saved["n1"]["x"], &saved["n1"]["displayName"]), (&3.into(), &"box".into()));
    }
}
