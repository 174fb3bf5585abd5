//! Floor 2: `openclaw.json`, from bytes on disk to a validated snapshot.
//!
//! The file stays valid for the reference's strict schema at all times; there
//! are no keys of our own. A [`Snapshot`] is taken once per request.

pub mod schema;

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::Serialize;
use serde_json::Value;

pub use schema::Config;

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
}

/// One reading of the configuration file.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub path: PathBuf,
    pub exists: bool,
    /// The file's text as read; empty when it does not exist.
    pub raw: String,
    /// SHA-256 of the raw bytes, lower-case hex.
    pub hash: String,
    /// JSON as written, includes not yet merged.
    pub parsed: Value,
    /// Includes merged, `${VAR}` substituted, legacy keys migrated.
    pub resolved: Value,
    /// Typed view with defaults.
    pub config: Config,
    /// Empty exactly when the file is valid.
    pub issues: Vec<Issue>,
    pub warnings: Vec<Issue>,
    /// What legacy migration changed, one sentence each.
    pub migrations: Vec<String>,
}

impl Snapshot {
    pub fn is_valid(&self) -> bool {
        self.issues.is_empty()
    }
}

/// The configuration in force; readers take one snapshot per request.
#[derive(Debug, Clone)]
pub struct Live(Arc<ArcSwap<Snapshot>>);

impl Live {
    pub fn new(snapshot: Snapshot) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(snapshot)))
    }

    pub fn load(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    pub fn replace(&self, snapshot: Snapshot) {
        self.0.store(Arc::new(snapshot));
    }
}
