//! Whose key a call travels with.
//!
//! Order: a profile named with the model, stored profiles, the environment,
//! the configuration, `models.json`. Servers on this host or in the local
//! network may go without.

use serde_json::Value;

use crate::agents::auth_profiles::Profiles;
use crate::agents::models::reference::Named;
use crate::agents::models::{Lookup, ResolveError, catalog};
use crate::agents::providers::ModelRef;
use crate::base::secret::Secret;
use crate::config::schema::models::Provider as ProviderConfig;

/// Where a key came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A stored profile.
    Profile(String),
    /// A variable of the environment.
    Env(String),
    /// `models.providers.<id>.apiKey`.
    Config,
    /// `models.json` of the agent.
    ModelsFile,
    /// None is needed.
    None,
}

impl Lookup<'_> {
    pub(in crate::agents) fn add_key(
        &self,
        named: &Named,
        configured: Option<&ProviderConfig>,
        file: Option<&ProviderConfig>,
        model: &mut ModelRef,
    ) -> Result<KeySource, ResolveError> {
        let agent_dir = self.agent_dir();
        let main_dir = self.main_agent_dir();
        let profiles = Profiles::read(&agent_dir, &main_dir);
        if let Some(wanted) = &named.profile {
            let profile = profiles
                .get(wanted, self.env, self.secrets, self.now)
                .ok_or_else(|| ResolveError::NoProfile(wanted.clone()))?;
            model.api_key = Some(Secret::new(profile.secret));
            return Ok(KeySource::Profile(wanted.clone()));
        }
        let stored =
            profiles.candidates(&named.provider, self.config, self.env, self.secrets, self.now);
        if let Some(profile) = stored.into_iter().next() {
            model.api_key = Some(Secret::new(profile.secret));
            return Ok(KeySource::Profile(profile.id.to_owned()));
        }
        if let Some((name, key)) = self.env_key(&named.provider) {
            model.api_key = Some(Secret::new(key));
            return Ok(KeySource::Env(name.to_owned()));
        }
        let path = format!("models.providers.{}.apiKey", named.provider);
        let sources = [(configured, KeySource::Config), (file, KeySource::ModelsFile)];
        for (provider, source) in sources {
            let Some(value) = provider.and_then(|provider| provider.api_key.as_ref()) else {
                continue;
            };
            if let Some(key) = self.secret(value, &path)? {
                model.api_key = Some(Secret::new(key));
                return Ok(source);
            }
        }
        if is_near(&model.base_url) {
            return Ok(KeySource::None);
        }
        Err(ResolveError::NoKey {
            provider: named.provider.clone(),
            store: agent_dir.join("auth-profiles.json").display().to_string(),
            agent_dir: agent_dir.display().to_string(),
        })
    }

    pub(in crate::agents) fn add_headers(
        &self,
        provider: &str,
        configured: Option<&ProviderConfig>,
        model: &mut ModelRef,
    ) -> Result<(), ResolveError> {
        let Some(configured) = configured else {
            return Ok(());
        };
        let mut headers = Vec::new();
        for (name, value) in &configured.headers {
            let path = format!("models.providers.{provider}.headers.{name}");
            if let Some(value) = self.secret(value, &path)? {
                headers.push((name.clone(), value));
            }
        }
        // A model's own headers come after, so that they win.
        headers.append(&mut model.headers);
        model.headers = headers;
        Ok(())
    }

    /// Whether a key for `provider` can be seen, be it good or not.
    pub fn has_key(&self, provider: &str) -> bool {
        let main_dir = self.main_agent_dir();
        self.env_key(provider).is_some()
            || Profiles::read(&self.agent_dir(), &main_dir).has(provider)
            || self
                .config
                .models
                .providers
                .get(provider)
                .is_some_and(|provider| provider.api_key.is_some())
    }

    fn env_key(&self, provider: &str) -> Option<(&'static str, String)> {
        let names = catalog::vendor_of(provider)?.env;
        names.iter().find_map(|name| Some((*name, self.env.get(name)?.to_owned())))
    }

    /// A secret input: text, the name of a variable as `models.json` has it,
    /// or a reference to one. `None` when it holds nothing.
    pub(in crate::agents) fn secret(
        &self,
        value: &Value,
        path: &str,
    ) -> Result<Option<String>, ResolveError> {
        let missing = |detail: String| ResolveError::Secret { path: path.to_owned(), detail };
        match value {
            Value::String(text) => {
                let text = text.trim();
                let is_marker = text == "secretref-managed"
                    || catalog::VENDORS.iter().any(|vendor| vendor.env.contains(&text));
                Ok(if is_marker {
                    self.env.get(text).map(str::to_owned)
                } else {
                    Some(text.to_owned()).filter(|text| !text.is_empty())
                })
            }
            Value::Object(reference) => {
                let source = reference.get("source").and_then(Value::as_str).unwrap_or_default();
                let id = reference.get("id").and_then(Value::as_str).unwrap_or_default();
                match (source, self.env.get(id)) {
                    ("env", Some(secret)) => Ok(Some(secret.to_owned())),
                    ("env", None) => {
                        Err(missing(format!("environment variable `{id}` is not set")))
                    }
                    _ => Err(missing(format!(
                        "secret reference with source `{source}` is unresolved"
                    ))),
                }
            }
            _ => Ok(None),
        }
    }
}

/// Whether an address is on this host or in a private network, where servers
/// usually ask for no key.
fn is_near(base_url: &str) -> bool {
    let rest = base_url.split_once("://").map_or(base_url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let is_near_ip = |ip: std::net::IpAddr| match ip {
        std::net::IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        std::net::IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local(),
    };
    host == "localhost"
        || host.rsplit('.').next() == Some("local")
        || host == "host.docker.internal"
        || host.parse().is_ok_and(is_near_ip)
}
