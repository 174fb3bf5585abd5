//! Which model answers: names, configuration, credentials and the catalogue
//! come together in a [`ModelRef`].
//!
//! Functions of [`Lookup`] read small files and block; it starts nothing and
//! sends nothing. [`Models`] adds the one question that needs the network:
//! whether a local Ollama is there for the dev profile.

pub mod catalog;
mod credentials;
pub mod listing;
pub mod reference;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value};

pub use credentials::KeySource;

use crate::agents::failover::Chain;
use crate::agents::models::reference::Named;
use crate::agents::providers::{
    FailReason, ModelRef, ProviderError, Registry, echo, http::Http, ollama,
};
use crate::agents::run::Usage;
use crate::config::schema::models::{Model, Provider as ProviderConfig};
use crate::config::{Config, SecretValues};
use crate::profile::env::Env;
use crate::profile::paths::Paths;

/// Tokens of a model that nobody described.
const DEFAULT_WINDOW: u64 = 200_000;
const DEFAULT_MAX_TOKENS: u64 = 8192;
/// Window of an Ollama model that nobody described: the server allocates
/// memory for all of it, so the usual default would not fit most hosts.
const LOCAL_WINDOW: u64 = 32_768;
/// Models with less cannot hold a system prompt and an answer.
const MIN_WINDOW: u64 = 16_000;
/// How long the answer about a local Ollama is believed.
const PROBE_TTL_MS: u64 = 30_000;

/// Everything that a model's name is resolved against.
#[derive(Debug, Clone, Copy)]
pub struct Lookup<'a> {
    pub config: &'a Config,
    pub env: &'a Env,
    /// What secret references stand for.
    pub secrets: &'a SecretValues,
    pub paths: &'a Paths,
    /// Agent id.
    pub agent: &'a str,
    /// Milliseconds since the Unix epoch.
    pub now: u64,
}

/// A model that can be called.
#[derive(Debug, Clone)]
pub struct Resolved {
    pub model: Arc<ModelRef>,
    pub key: KeySource,
}

impl Resolved {
    /// The stored profile whose credential is used.
    pub fn profile(&self) -> Option<&str> {
        match &self.key {
            KeySource::Profile(id) => Some(id),
            _ => None,
        }
    }
}

/// Why a model cannot be called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    #[error("Invalid model reference: {0}")]
    Invalid(String),
    #[error("Unknown model: {0}")]
    Unknown(String),
    #[error(
        "No API key found for provider \"{provider}\". Auth store: {store} (agentDir: {agent_dir}). Configure auth for this agent (openclaw agents add <id>) or copy auth-profiles.json from the main agentDir."
    )]
    NoKey { provider: String, store: String, agent_dir: String },
    #[error("No credentials found for profile \"{0}\".")]
    NoProfile(String),
    #[error("Model context window too small ({0} tokens). Minimum is {MIN_WINDOW}.")]
    WindowTooSmall(u64),
    #[error("{path}: {detail}")]
    Secret { path: String, detail: String },
}

impl From<ResolveError> for ProviderError {
    fn from(error: ResolveError) -> Self {
        let reason = match &error {
            ResolveError::Invalid(_) | ResolveError::Unknown(_) => FailReason::ModelNotFound,
            ResolveError::WindowTooSmall(_) => FailReason::Format,
            ResolveError::NoKey { .. }
            | ResolveError::NoProfile(_)
            | ResolveError::Secret { .. } => FailReason::Auth,
        };
        Self { reason, status: None, message: error.to_string(), retry_after_ms: None }
    }
}

impl Lookup<'_> {
    /// Directory of the agent's credentials and models.
    pub fn agent_dir(&self) -> PathBuf {
        let configured = self.config.agents.get(self.agent).and_then(|it| it.agent_dir.as_deref());
        match configured {
            Some(dir) => crate::profile::paths::expand(dir, &self.paths.home),
            None => self.paths.agent(self.agent).join("agent"),
        }
    }

    /// The folder of the agent whose credentials all others inherit.
    pub fn main_agent_dir(&self) -> PathBuf {
        self.paths.agent("main").join("agent")
    }

    /// Resolves a name like `openai/gpt-5.4` or `openai/gpt-5.4@profile`.
    pub fn resolve(&self, name: &str) -> Result<Resolved, ResolveError> {
        let named = Named::parse(name, reference::DEFAULT_PROVIDER)
            .ok_or_else(|| ResolveError::Invalid(name.to_owned()))?;
        if named.provider == echo::PROVIDER && named.id == echo::MODEL {
            return Ok(Resolved { model: Arc::new(echo::model()), key: KeySource::None });
        }
        let file = self.models_file(&named.provider);
        let configured = self.configured_provider(&named.provider);
        let vendor = catalog::vendor_of(&named.provider);
        if file.is_none() && configured.is_none() && vendor.is_none() {
            return Err(ResolveError::Unknown(named.key()));
        }
        let mut model = describe(&named, configured, file.as_ref());
        if model.base_url.is_empty() {
            return Err(ResolveError::Unknown(named.key()));
        }
        if let Some(cap) = self.config.agents.defaults.context_tokens {
            model.context_window = model.context_window.min(cap);
        }
        if model.context_window < MIN_WINDOW {
            return Err(ResolveError::WindowTooSmall(model.context_window));
        }
        self.add_headers(&named.provider, configured, &mut model)?;
        let key = self.add_key(&named, configured, file.as_ref(), &mut model)?;
        Ok(Resolved { model: Arc::new(model), key })
    }

    /// The provider's entry in the configuration, whatever its spelling.
    pub(in crate::agents) fn configured_provider(&self, provider: &str) -> Option<&ProviderConfig> {
        let all = &self.config.models.providers;
        all.get(provider).or_else(|| {
            all.iter().find(|(id, _)| reference::canonical(id) == provider).map(|(_, it)| it)
        })
    }

    /// The provider's entry in the agent's `models.json`.
    fn models_file(&self, provider: &str) -> Option<ProviderConfig> {
        let path = self.agent_dir().join("models.json");
        let text = std::fs::read(&path).ok()?;
        let mut document: Value = serde_json::from_slice(&text)
            .inspect_err(|err| {
                tracing::warn!(path = %path.display(), error = %err, "models.json is not valid JSON");
            })
            .ok()?;
        let entry = document["providers"].get_mut(provider)?.take();
        serde_json::from_value(entry)
            .inspect_err(|err| {
                tracing::warn!(path = %path.display(), provider, error = %err, "models.json has a bad entry");
            })
            .ok()
    }

    /// Whether the profile is the developers' one.
    pub fn is_dev(&self) -> bool {
        self.paths.profile.as_deref() == Some("dev")
    }

    /// The chain of a run: `requested`, or the configured model, with the
    /// fallbacks behind it. `default` stands in when nothing is configured.
    pub fn chain(&self, requested: Option<&str>, default: &str) -> Chain {
        let (primary, fallbacks) = reference::configured(self.config, self.agent);
        let primary = primary.unwrap_or_else(|| default.to_owned());
        let full = |text: &str| {
            let text = reference::unaliased(self.config, text);
            let provider = Named::parse(&primary, reference::DEFAULT_PROVIDER)
                .map_or_else(|| reference::DEFAULT_PROVIDER.to_owned(), |named| named.provider);
            match text.trim().split_once('/') {
                Some(_) => text.trim().to_owned(),
                None => format!("{provider}/{}", text.trim()),
            }
        };
        let first = full(reference::unaliased(self.config, &primary));
        let fallbacks: Vec<String> = fallbacks.iter().map(|text| full(text)).collect();
        match requested {
            Some(requested) => Chain::new(&full(requested), &fallbacks, Some(&first)),
            None => Chain::new(&first, &fallbacks, None),
        }
    }

    /// The model that answers when none is configured, as far as the answer
    /// needs no network: `Err` means that only a local Ollama could change it
    /// from the value given.
    pub fn default_offline(&self) -> Result<String, String> {
        let standard = format!("{}/{}", reference::DEFAULT_PROVIDER, reference::DEFAULT_MODEL);
        if let Some(primary) = reference::configured(self.config, self.agent).0 {
            return Ok(primary);
        }
        if !self.is_dev() {
            return Ok(standard);
        }
        let first_configured = self.config.models.providers.iter().find_map(|(id, provider)| {
            provider.models.first().map(|model| format!("{id}/{}", model.id))
        });
        if let Some(name) = first_configured {
            return Ok(name);
        }
        let vendors = [("openai", "openai/gpt-5.4"), ("anthropic", standard.as_str())];
        for (vendor, name) in vendors {
            if self.has_key(vendor) {
                return Ok(name.to_owned());
            }
        }
        Err(format!("{}/{}", echo::PROVIDER, echo::MODEL))
    }
}

/// Prices a model's tokens: input, output, cache read, cache write and total.
pub fn cost(usage: &Usage, model: &ModelRef) -> [f64; 5] {
    #[expect(clippy::cast_precision_loss, reason = "money is shown with few digits")]
    let price = |tokens: u64, per_million: f64| tokens as f64 * per_million / 1_000_000.0;
    let [input, output, read, write] = model.cost;
    let parts = [
        price(usage.input, input),
        price(usage.output, output),
        price(usage.cache_read, read),
        price(usage.cache_write, write),
    ];
    [parts[0], parts[1], parts[2], parts[3], parts.iter().sum()]
}

/// `usage` as transcripts keep it, with its cost.
pub fn usage_record(usage: &Usage, model: &ModelRef) -> Value {
    let [input, output, read, write, total] = cost(usage, model);
    serde_json::json!({
        "input": usage.input, "output": usage.output,
        "cacheRead": usage.cache_read, "cacheWrite": usage.cache_write,
        "totalTokens": usage.total_tokens,
        "cost": {"input": money(input), "output": money(output), "cacheRead": money(read),
            "cacheWrite": money(write), "total": money(total)}})
}

/// Nothing costs `0`, not `0.0`, as JavaScript writes it.
fn money(amount: f64) -> Value {
    if amount == 0.0 { Value::from(0) } else { Value::from(amount) }
}

/// Puts together what catalogue, configuration and `models.json` say, each
/// over the one before.
fn describe(
    named: &Named,
    configured: Option<&ProviderConfig>,
    file: Option<&ProviderConfig>,
) -> ModelRef {
    let vendor = catalog::vendor_of(&named.provider);
    let known = catalog::find(&named.provider, &named.id);
    let own = configured.and_then(|provider| model_of(provider, &named.id));
    let filed = file.and_then(|provider| model_of(provider, &named.id));
    let is_ollama = vendor.is_some_and(|vendor| vendor.api == "ollama");
    let mut model = ModelRef {
        provider: named.provider.clone(),
        id: named.id.clone(),
        api: vendor.map_or("openai-responses", |vendor| vendor.api).to_owned(),
        base_url: vendor.map_or("", |vendor| vendor.base_url).to_owned(),
        input: vec!["text".to_owned()],
        context_window: if is_ollama { LOCAL_WINDOW } else { DEFAULT_WINDOW },
        max_tokens: DEFAULT_MAX_TOKENS,
        ..ModelRef::default()
    };
    if let Some(entry) = known {
        model.reasoning = entry.reasoning;
        model.input.clone_from(&entry.input);
        model.context_window = entry.context_window;
        model.max_tokens = entry.max_tokens;
        model.cost = entry.cost;
    }
    for (provider, entry) in [(configured, own), (file, filed)] {
        let Some(provider) = provider else { continue };
        if let Some(api) = &provider.api {
            model.api.clone_from(api);
        }
        if !provider.base_url.is_empty() {
            model.base_url.clone_from(&provider.base_url);
        }
        if provider.auth_header == Some(true) {
            model.compat.insert("authHeader".to_owned(), Value::Bool(true));
        }
        if let Some(entry) = entry {
            merge(entry, &mut model);
        }
    }
    model
}

/// The entry of a model, whose id may be written with its provider.
fn model_of<'a>(provider: &'a ProviderConfig, id: &str) -> Option<&'a Model> {
    provider.models.iter().find(|model| {
        model.id == id || model.id.split_once('/').is_some_and(|(_, bare)| bare == id)
    })
}

fn merge(entry: &Model, model: &mut ModelRef) {
    if let Some(api) = &entry.api {
        model.api.clone_from(api);
    }
    model.reasoning = entry.reasoning;
    if !entry.input.is_empty() {
        model.input.clone_from(&entry.input);
    }
    if let Some(window) = entry.context_window.filter(|tokens| *tokens > 0) {
        model.context_window = window;
    }
    if let Some(limit) = entry.max_tokens.filter(|tokens| *tokens > 0) {
        model.max_tokens = limit;
    }
    for (slot, key) in ["input", "output", "cacheRead", "cacheWrite"].iter().enumerate() {
        if let Some(price) = entry.cost.get(*key).and_then(Value::as_f64) {
            model.cost[slot] = price;
        }
    }
    let compat: &Map<String, Value> = &entry.compat;
    model.compat.extend(compat.iter().map(|(key, value)| (key.clone(), value.clone())));
    model.headers.extend(entry.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
}

/// The models of this process: dialects, and what is known about a local
/// Ollama.
#[derive(Debug, Default)]
pub struct Models {
    pub registry: Registry,
    /// When it was asked, and its first model.
    ollama: Mutex<Option<(u64, Option<String>)>>,
}

impl Models {
    pub fn new(http: Http) -> Self {
        Self { registry: Registry::new(http), ollama: Mutex::default() }
    }

    /// The model that answers when a run names none.
    ///
    /// The dev profile takes what it finds: a configured provider, a key of
    /// OpenAI or Anthropic, a local Ollama, and `dev/echo` when there is
    /// nothing. Other profiles have a fixed default.
    pub async fn default_model(&self, lookup: Lookup<'_>) -> String {
        let echo = match lookup.default_offline() {
            Ok(name) => return name,
            Err(echo) => echo,
        };
        let known = self.ollama.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let found = match known {
            Some((at, found)) if lookup.now.saturating_sub(at) < PROBE_TTL_MS => found,
            _ => {
                let base = catalog::vendor_of("ollama").map_or("", |vendor| vendor.base_url);
                let models = ollama::discover(self.registry.http(), base).await;
                let first = models.and_then(|models| models.into_iter().next());
                let mut slot = self.ollama.lock().unwrap_or_else(PoisonError::into_inner);
                *slot = Some((lookup.now, first.clone()));
                first
            }
        };
        found.map_or(echo, |model| format!("ollama/{model}"))
    }
}

#[cfg(test)]
mod tests;
