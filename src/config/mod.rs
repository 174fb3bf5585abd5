//! Floor 2: `openclaw.json`, from bytes on disk to a validated snapshot.
//!
//! The file stays valid for the reference's strict schema at all times; there
//! are no keys of our own. A [`Snapshot`] is taken once per request.

pub mod assign;
pub mod audit;
pub mod defaults;
pub mod edit;
pub mod environment;
pub mod gate;
pub mod include;
pub mod json5;
pub mod last_good;
pub mod legacy;
pub mod load;
pub mod redact;
pub mod reload;
pub mod roster;
pub mod schema;
pub mod standing;
pub mod substitute;
pub mod validate;
pub mod write;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;

use crate::base::secret::Secret;
use crate::profile::env::Env;
use crate::profile::paths;

pub use schema::{Config, Gateway};

/// The values of secret references by their name, `env:default:NAME`.
pub type SecretValues = BTreeMap<String, Secret>;

/// Something wrong, or noteworthy, at one place of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Issue {
    /// Dotted path, for example `gateway.port`; empty for the whole document.
    pub path: String,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_values: Option<Vec<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_values_hidden_count: Option<usize>,
    /// What may have been meant; for people, not on the wire.
    #[serde(skip)]
    pub hint: Option<String>,
}

impl Issue {
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            message: message.into(),
            allowed_values: None,
            allowed_values_hidden_count: None,
            hint: None,
        }
    }

    /// The path as people read it: `<root>` for the whole document.
    pub fn shown_path(&self) -> &str {
        if self.path.is_empty() { "<root>" } else { &self.path }
    }
}

impl fmt::Display for Issue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.shown_path(), self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// One reading of the configuration file.
#[derive(Clone)]
pub struct Snapshot {
    pub path: PathBuf,
    /// Base of `~` in messages.
    pub home: PathBuf,
    /// Where this configuration's gateway keeps its things.
    pub state: PathBuf,
    pub exists: bool,
    /// The file's text as read; empty when it does not exist.
    pub raw: String,
    /// SHA-256 of the raw bytes, lower-case hex.
    pub hash: String,
    /// JSON as written, includes not yet merged.
    pub parsed: Value,
    /// Includes merged, `${VAR}` substituted, legacy keys migrated.
    pub resolved: Value,
    /// `resolved` with defaults in place and `~` expanded.
    pub runtime: Value,
    /// Typed view of `runtime`. Of an invalid file, what could be read.
    pub config: Config,
    /// What the references in force stand for; empty until they are resolved.
    pub secrets: Arc<SecretValues>,
    /// The process environment with `.env` files and the `env` section added.
    pub env: Arc<Env>,
    /// The environment before that, for reading again.
    pub process_env: Arc<Env>,
    /// Files that `$include` pulled in.
    pub includes: include::Files,
    /// Empty exactly when the file is valid.
    pub issues: Vec<Issue>,
    pub warnings: Vec<Issue>,
    /// What legacy migration changed, one sentence each.
    pub migrations: Vec<String>,
}

impl fmt::Debug for Snapshot {
    /// Leaves out the document: it may hold secrets in clear.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("path", &self.path)
            .field("exists", &self.exists)
            .field("hash", &self.hash)
            .field("issues", &self.issues)
            .finish_non_exhaustive()
    }
}

impl Snapshot {
    pub fn is_valid(&self) -> bool {
        self.issues.is_empty()
    }

    /// The file's path with the home directory as `~`.
    pub fn shown_file(&self) -> String {
        paths::shorten(&self.path, &self.home)
    }

    /// `logging.file`, if lines go to one file and not to one per day.
    pub fn log_file(&self) -> Option<PathBuf> {
        let file = self.config.logging.get("file").and_then(Value::as_str).map(str::trim);
        file.filter(|file| !file.is_empty()).map(|file| paths::expand(file, &self.home))
    }

    /// What commands print when they need a valid file. Part of the contract.
    pub fn invalid_block(&self) -> Vec<String> {
        let mut lines = vec!["Config invalid".to_owned(), format!("File: {}", self.shown_file())];
        lines.push("Problem:".to_owned());
        lines.extend(self.issues.iter().map(|issue| format!("  - {issue}")));
        lines.extend([String::new(), "Run: openclaw doctor --fix".to_owned()]);
        lines
    }
}

/// The configuration in force; readers take one snapshot per request.
#[derive(Debug, Clone)]
pub struct Live(Arc<InForce>);

#[derive(Debug)]
struct InForce {
    snapshot: ArcSwap<Snapshot>,
    rejected: ArcSwapOption<Rejected>,
    changes: watch::Sender<()>,
}

/// An edit that could not be taken over; the configuration before it stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rejected {
    /// Of the file that was refused.
    pub hash: String,
    pub reasons: Vec<String>,
    /// Milliseconds since the Unix epoch.
    pub since: u64,
}

impl Live {
    pub fn new(snapshot: Snapshot) -> Self {
        Self(Arc::new(InForce {
            snapshot: ArcSwap::from_pointee(snapshot),
            rejected: ArcSwapOption::empty(),
            changes: watch::Sender::new(()),
        }))
    }

    pub fn load(&self) -> Arc<Snapshot> {
        self.0.snapshot.load_full()
    }

    /// Puts a configuration in force; an earlier refusal is history.
    pub fn replace(&self, snapshot: Snapshot) {
        self.refresh(snapshot);
        self.clear_rejected();
    }

    /// The same configuration with other secrets; a refusal stays.
    pub fn refresh(&self, snapshot: Snapshot) {
        self.0.snapshot.store(Arc::new(snapshot));
        self.0.changes.send_replace(());
    }

    /// Tells who keeps something made of the configuration in force that it is
    /// old, and may hold secrets that were replaced.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.0.changes.subscribe()
    }

    /// Remembers that the file cannot be used as it is.
    pub fn reject(&self, rejected: Rejected) {
        self.0.rejected.store(Some(Arc::new(rejected)));
    }

    /// Why the file is not in force, if it is not.
    pub fn rejected(&self) -> Option<Arc<Rejected>> {
        self.0.rejected.load_full()
    }

    pub fn clear_rejected(&self) {
        self.0.rejected.store(None);
    }
}
