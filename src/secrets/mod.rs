//! Floor 2: secret references: where they may stand, which of them are in
//! use, and what they stand for.
//!
//! Resolution is eager and all or nothing: [`activate`] turns a configuration
//! into one without references, or says which reference has no value. Request
//! paths never resolve anything.

pub mod collect;
mod exec;
mod file;
pub mod resolve;
pub mod start;

use serde_json::Value;

use crate::config::{Snapshot, edit};
use crate::secrets::resolve::Resolver;

/// A reference as it stands in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SecretRef {
    pub source: Source,
    pub provider: String,
    pub id: String,
}

/// The kind of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    Env,
    File,
    Exec,
}

impl Source {
    /// The name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Env => "env",
            Self::File => "file",
            Self::Exec => "exec",
        }
    }

    /// The source of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Env, Self::File, Self::Exec].into_iter().find(|source| source.as_str() == name)
    }
}

impl std::fmt::Display for SecretRef {
    /// `env:default:NAME`, as messages and plans name it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.source.as_str(), self.provider, self.id)
    }
}

/// Why a reference has no value. The class is part of the contract: it is
/// shown in logs and replies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// One reference.
    #[error("SecretRefResolutionError: {0}")]
    Reference(String),
    /// A provider as a whole.
    #[error("SecretProviderResolutionError: {0}")]
    Provider(String),
    /// A value of a kind that the field cannot hold.
    #[error("Error: {0}")]
    Value(String),
}

/// A configuration with every active reference replaced by its value.
#[derive(Clone)]
pub struct Activation {
    /// Holds secrets in clear: never log it, never send it.
    pub resolved: Value,
    /// Lines for the log, each with its code.
    pub warnings: Vec<String>,
    pub surfaces: Vec<String>,
}

impl std::fmt::Debug for Activation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Activation").field("warnings", &self.warnings).finish_non_exhaustive()
    }
}

/// Resolves every reference of the configuration that is in use.
pub async fn activate(snapshot: &Snapshot) -> Result<Activation, SecretError> {
    let found = collect::collect(&snapshot.runtime, &snapshot.env);
    let warnings = found
        .inactive
        .iter()
        .map(|(path, reason)| format!("[SECRETS_REF_IGNORED_INACTIVE_SURFACE] {path}: {reason}"))
        .collect();
    let resolver = Resolver::new(&snapshot.runtime, &snapshot.env, &snapshot.home);
    let references: Vec<SecretRef> =
        found.active.iter().map(|field| field.reference.clone()).collect();
    let values = resolver.resolve(&references).await?;
    let mut resolved = snapshot.runtime.clone();
    for (field, value) in found.active.iter().zip(values) {
        let usable = match &value {
            Value::String(text) => !text.is_empty(),
            Value::Object(_) => field.path.ends_with("serviceAccount"),
            _ => false,
        };
        if !usable {
            return Err(SecretError::Value(format!(
                "{} resolved to a non-string or empty value.",
                field.path
            )));
        }
        if let Some(place) = place(&mut resolved, &field.keys) {
            *place = value;
        }
    }
    Ok(Activation { resolved, warnings, surfaces: found.surfaces })
}

fn place<'v>(document: &'v mut Value, keys: &[String]) -> Option<&'v mut Value> {
    debug_assert!(edit::get(document, keys).is_some(), "collected from this document");
    keys.iter().try_fold(document, |value, key| match value {
        Value::Array(items) => items.get_mut(key.parse::<usize>().ok()?),
        Value::Object(object) => object.get_mut(key),
        _ => None,
    })
}

/// Reads a value as a reference: an object, or a `${NAME}` that had no value.
pub fn reference(value: &Value, config: &Value) -> Option<SecretRef> {
    let default = |source: Source| {
        config["secrets"]["defaults"][source.as_str()].as_str().unwrap_or("default").to_owned()
    };
    match value {
        Value::Object(object) => {
            let source = Source::parse(object.get("source")?.as_str()?)?;
            let provider = object.get("provider").and_then(Value::as_str);
            Some(SecretRef {
                source,
                provider: provider.map_or_else(|| default(source), str::to_owned),
                id: object.get("id")?.as_str()?.to_owned(),
            })
        }
        Value::String(text) => {
            let name = crate::config::substitute::whole_variable(text.trim())?;
            Some(SecretRef {
                source: Source::Env,
                provider: default(Source::Env),
                id: name.to_owned(),
            })
        }
        _ => None,
    }
}
