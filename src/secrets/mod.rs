//! Floor 2: secret references: where they may stand, which of them are in
//! use, and what they stand for.
//!
//! Resolution is eager and all or nothing: [`activate`] turns a configuration
//! into one without references, or says which reference has no value. Request
//! paths never resolve anything.

pub mod apply;
pub mod audit;
pub mod collect;
mod exec;
mod file;
pub mod plan;
pub mod resolve;
pub mod start;
pub mod stores;
pub mod targets;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::base::secret::Secret;
use crate::config::{SecretValues, Snapshot};
use crate::lifecycle;
use crate::profile::env::Env;
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

impl SecretError {
    /// The text without its class.
    pub fn detail(&self) -> &str {
        match self {
            Self::Reference(text) | Self::Provider(text) | Self::Value(text) => text,
        }
    }
}

/// A configuration with every active reference replaced by its value.
#[derive(Clone)]
pub struct Activation {
    /// Holds secrets in clear: never log it, never send it.
    pub resolved: Value,
    /// What each reference stands for.
    pub values: Arc<SecretValues>,
    /// Lines for the log, each with its code.
    pub warnings: Vec<String>,
    pub surfaces: Vec<String>,
}

impl std::fmt::Debug for Activation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Activation").field("warnings", &self.warnings).finish_non_exhaustive()
    }
}

/// The stores of the agents, by path.
pub type Stores = BTreeMap<PathBuf, Map<String, Value>>;

/// Resolves every reference of the configuration and of the agents' stored
/// credentials that is in use.
pub async fn activate(snapshot: &Snapshot) -> Result<Activation, SecretError> {
    let (config, env) = (snapshot.resolved.clone(), Arc::clone(&snapshot.env));
    let (state, home) = (snapshot.state.clone(), snapshot.home.clone());
    let read = move || stores_on_disk(&config, &state, &home, &env);
    let stores = lifecycle::spawn_blocking(read).await.unwrap_or_default();
    activate_with(snapshot, &stores).await
}

/// The settings and stored profiles behind a reference that an error names.
fn needed_by(snapshot: &Snapshot, err: &SecretError) -> Vec<String> {
    let text = err.detail();
    let is_named = |reference: &SecretRef| {
        let [id, provider] = [&reference.id, &reference.provider].map(|it| format!("\"{it}\""));
        let path = format!("secrets.providers.{}.", reference.provider);
        text.contains(&id) || text.contains(&provider) || text.contains(&path)
    };
    let found = collect::collect(&snapshot.runtime, &snapshot.env);
    let fields = found.active.into_iter().filter(|field| is_named(&field.reference));
    let mut places: Vec<String> = fields.map(|field| field.path).collect();
    let (config, env) = (&snapshot.resolved, &snapshot.env);
    for (path, store) in stores_on_disk(config, &snapshot.state, &snapshot.home, env) {
        for credential in stores::credentials(&store, config) {
            if credential.reference.as_ref().is_some_and(is_named) {
                places.push(format!("{}: profiles.{}", path.display(), credential.id));
            }
        }
    }
    places
}

/// Every store that can be read. A broken one is the agents' to report.
pub fn stores_on_disk(config: &Value, state: &Path, home: &Path, env: &Env) -> Stores {
    stores::agent_dirs(config, state, home, env)
        .into_iter()
        .map(|dir| dir.join("auth-profiles.json"))
        .filter_map(|path| Some((path.clone(), stores::read_object(&path).ok()??)))
        .collect()
}

/// The same with the stores as given.
pub async fn activate_with(
    snapshot: &Snapshot,
    stores: &Stores,
) -> Result<Activation, SecretError> {
    let found = collect::collect(&snapshot.runtime, &snapshot.env);
    let ignored = found.inactive.iter();
    let mut warnings: Vec<String> = ignored
        .map(|(path, reason)| format!("[SECRETS_REF_IGNORED_INACTIVE_SURFACE] {path}: {reason}"))
        .chain(
            found.overrides.iter().map(|line| format!("[SECRETS_REF_OVERRIDES_PLAINTEXT] {line}")),
        )
        .collect();
    let mut references: Vec<SecretRef> =
        found.active.iter().map(|field| field.reference.clone()).collect();
    for store in stores.values() {
        for credential in stores::credentials(store, &snapshot.resolved) {
            let Some(reference) = credential.reference else { continue };
            let mode = &snapshot.resolved["auth"]["profiles"][credential.id]["mode"];
            let (field, ref_field) = credential.kind.fields();
            if mode == "oauth" {
                return Err(SecretError::Value(format!(
                    "auth-profiles policy validation failed: OAuth + SecretRef is not supported.\n- profiles.{id}.{field}: SecretRef is not allowed when auth.profiles.{id}.mode is \"oauth\" (OAuth credentials are runtime-mutable).",
                    id = credential.id
                )));
            }
            if credential.plain.is_some() {
                warnings.push(format!(
                    "[SECRETS_REF_OVERRIDES_PLAINTEXT] auth-profiles {}: {ref_field} is set; runtime will ignore plaintext {field}.",
                    credential.id
                ));
            }
            references.push(reference);
        }
    }
    let values = Resolver::of(snapshot).resolve(&references).await?;
    let mut resolved = snapshot.runtime.clone();
    for (field, value) in found.active.iter().zip(&values) {
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
            *place = value.clone();
        }
    }
    let known = references.iter().zip(&values).filter_map(|(reference, value)| {
        Some((reference.to_string(), Secret::new(value.as_str()?)))
    });
    let known = Arc::new(known.collect());
    Ok(Activation { resolved, values: known, warnings, surfaces: found.surfaces })
}

/// The place of a collected field; one that is named beside it may be missing.
fn place<'v>(document: &'v mut Value, keys: &[String]) -> Option<&'v mut Value> {
    let (last, parents) = keys.split_last()?;
    let parent = parents.iter().try_fold(document, |value, key| match value {
        Value::Array(items) => items.get_mut(key.parse::<usize>().ok()?),
        Value::Object(object) => object.get_mut(key),
        _ => None,
    })?;
    match parent {
        Value::Array(items) => items.get_mut(last.parse::<usize>().ok()?),
        Value::Object(object) => Some(object.entry(last.as_str()).or_insert(Value::Null)),
        _ => None,
    }
}

/// What a configured secret stands for, where a command needs it by itself:
/// text, or the value behind a reference. Blocking.
pub fn look_up(value: &Value, snapshot: &Snapshot) -> Result<Option<String>, SecretError> {
    let Some(reference) = reference(value, &snapshot.resolved) else {
        return Ok(value.as_str().map(str::to_owned));
    };
    let failed = SecretError::Provider;
    let ask = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|err| failed(err.to_string()))?;
        runtime.block_on(Resolver::of(snapshot).resolve(std::slice::from_ref(&reference)))
    };
    // A thread of its own: the caller may be at work for a runtime already.
    let values = std::thread::scope(|scope| scope.spawn(ask).join());
    let values = values.map_err(|_panic| failed(format!("{reference} could not be read")))??;
    Ok(values.first().and_then(Value::as_str).map(str::to_owned))
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
