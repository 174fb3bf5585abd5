//! Asking the providers: each once per activation, side by side.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};
use serde_json::Value;

use crate::config::Snapshot;
use crate::profile::env::Env;
use crate::secrets::{SecretError, SecretRef, Source, exec, file};

/// Alias of the file provider that is there without being configured: the
/// credentials of the service (`LoadCredential=`). A reference's id is the
/// credential's name behind a slash.
pub const SYSTEMD: &str = "systemd";

/// The providers of one configuration.
#[derive(Debug)]
pub struct Resolver<'c> {
    config: &'c Value,
    env: &'c Env,
    home: &'c Path,
}

/// A provider: its kind and its alias.
type Key = (Source, String);

/// The values of one provider, or the error of all.
type Values = Result<BTreeMap<String, Value>, SecretError>;

impl<'c> Resolver<'c> {
    pub fn new(config: &'c Value, env: &'c Env, home: &'c Path) -> Self {
        Self { config, env, home }
    }

    /// The providers of a snapshot.
    pub fn of(snapshot: &'c Snapshot) -> Self {
        Self::new(&snapshot.runtime, &snapshot.env, &snapshot.home)
    }

    /// Whether the provider of a reference is there, without asking it.
    pub fn check(&self, reference: &SecretRef) -> Result<(), SecretError> {
        self.provider(reference.source, &reference.provider, &reference.id).map(|_| ())
    }

    /// The values of `references`, in their order. The first error wins.
    pub async fn resolve(&self, references: &[SecretRef]) -> Result<Vec<Value>, SecretError> {
        let mut wanted: BTreeMap<(Source, &str), BTreeSet<&str>> = BTreeMap::new();
        for reference in references {
            let ids = wanted.entry((reference.source, &reference.provider)).or_default();
            ids.insert(&reference.id);
        }
        let limits = &self.config["secrets"]["resolution"];
        let max_refs = limits["maxRefsPerProvider"].as_u64().unwrap_or(512);
        let at_once = limits["maxProviderConcurrency"].as_u64().unwrap_or(4);
        for ((_, provider), ids) in &wanted {
            if ids.len() as u64 > max_refs {
                return Err(SecretError::Provider(format!(
                    "Secret provider \"{provider}\" exceeded maxRefsPerProvider ({max_refs})."
                )));
            }
        }
        let mut asked: Vec<BoxFuture<'_, (Key, Values)>> = Vec::with_capacity(wanted.len());
        for ((source, provider), ids) in wanted {
            asked.push(Box::pin(async move {
                let ids: Vec<&str> = ids.into_iter().collect();
                ((source, provider.to_owned()), self.ask(source, provider, &ids).await)
            }));
        }
        let at_once = usize::try_from(at_once).unwrap_or(1).clamp(1, 16);
        let answers: Vec<(Key, Values)> = stream::iter(asked).buffered(at_once).collect().await;
        let mut values = BTreeMap::new();
        for (key, answer) in answers {
            values.insert(key, answer?);
        }
        references
            .iter()
            .map(|reference| {
                values
                    .get(&(reference.source, reference.provider.clone()))
                    .and_then(|values| values.get(&reference.id))
                    .cloned()
                    .ok_or_else(|| SecretError::Reference(format!("{reference} has no value.")))
            })
            .collect()
    }

    async fn ask(&self, source: Source, provider: &str, ids: &[&str]) -> Values {
        let settings = self.provider(source, provider, ids.first().copied().unwrap_or_default())?;
        match source {
            Source::Env => self.variables(provider, settings, ids),
            Source::File if settings.is_none() => {
                file::credentials(Path::new(self.credentials().unwrap_or_default()), ids).await
            }
            Source::File => {
                let path = settings.map_or(&Value::Null, |settings| &settings["path"]);
                let path =
                    crate::profile::paths::expand(path.as_str().unwrap_or_default(), self.home);
                file::read(provider, settings.unwrap_or(&Value::Null), path, ids).await
            }
            Source::Exec => {
                let limit = self.config["secrets"]["resolution"]["maxBatchBytes"].as_u64();
                let settings = settings.unwrap_or(&Value::Null);
                exec::ask(provider, settings, self.env, ids, limit.unwrap_or(262_144)).await
            }
        }
    }

    /// The provider's settings. The default environment provider needs none, and
    /// neither do the credentials of the service.
    fn provider(
        &self,
        source: Source,
        name: &str,
        id: &str,
    ) -> Result<Option<&'c Value>, SecretError> {
        let secrets = &self.config["secrets"];
        let default = secrets["defaults"]["env"].as_str().unwrap_or("default");
        let Some(settings) = secrets["providers"].get(name) else {
            if source == Source::Env && name == default {
                return Ok(None);
            }
            if source == Source::File && name == SYSTEMD && self.credentials().is_some() {
                return Ok(None);
            }
            return Err(SecretError::Provider(format!(
                "Secret provider \"{name}\" is not configured (ref: {}:{name}:{id}).",
                source.as_str()
            )));
        };
        let actual = settings["source"].as_str().unwrap_or_default();
        if actual != source.as_str() {
            return Err(SecretError::Provider(format!(
                "Secret provider \"{name}\" has source \"{actual}\" but ref requests \"{}\".",
                source.as_str()
            )));
        }
        Ok(Some(settings))
    }

    /// The directory of the credentials that systemd passed to the service.
    fn credentials(&self) -> Option<&'c str> {
        self.env.get("CREDENTIALS_DIRECTORY").filter(|dir| Path::new(dir).is_absolute())
    }

    fn variables(&self, provider: &str, settings: Option<&Value>, ids: &[&str]) -> Values {
        let allowed = settings.and_then(|settings| settings["allowlist"].as_array());
        ids.iter()
            .map(|id| {
                if allowed.is_some_and(|names| !names.iter().any(|name| name == id)) {
                    return Err(SecretError::Reference(format!("Environment variable \"{id}\" is not allowlisted in secrets.providers.{provider}.allowlist.")));
                }
                match self.env.raw(id).filter(|value| !value.trim().is_empty()) {
                    Some(value) => Ok(((*id).to_owned(), Value::from(value))),
                    None => Err(SecretError::Reference(format!(
                        "Environment variable \"{id}\" is missing or empty."
                    ))),
                }
            })
            .collect()
    }
}
