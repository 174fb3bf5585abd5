//! Vectors for texts: whom an agent asks for them, and with which key.
//!
//! `memorySearch` of the agent, over that of the defaults, names provider,
//! model and server. `auto` takes the first provider that there is a key for.

mod wire;

use futures_util::future::BoxFuture;
use indexmap::IndexMap;
use serde_json::{Map, Value};

use crate::agents::models::reference::Named;
use crate::agents::models::{Lookup, ResolveError, catalog};
use crate::agents::providers::http::Http;
use crate::agents::providers::{ModelRef, ProviderError};
use crate::base::secret::Secret;
use crate::config::Config;
use crate::config::schema::models::Provider as ProviderConfig;

/// Stands for the first provider with a key.
const AUTO: &str = "auto";
const DEFAULT_PROVIDER: &str = "openai";

/// A provider of vectors.
#[derive(Debug)]
struct Source {
    /// As `memorySearch.provider` spells it.
    id: &'static str,
    /// Whose key and address it shares.
    vendor: &'static str,
    model: &'static str,
    dialect: wire::Dialect,
    /// Whether `auto` tries it.
    auto: bool,
}

/// In the order in which `auto` tries them.
const SOURCES: [Source; 5] = [
    Source {
        id: "openai",
        vendor: "openai",
        model: "text-embedding-3-small",
        dialect: wire::Dialect::OpenAi { dimensions: "dimensions", document: false },
        auto: true,
    },
    Source {
        id: "gemini",
        vendor: "google",
        model: "gemini-embedding-001",
        dialect: wire::Dialect::Gemini,
        auto: true,
    },
    Source {
        id: "voyage",
        vendor: "voyage",
        model: "voyage-4-large",
        dialect: wire::Dialect::OpenAi { dimensions: "output_dimension", document: true },
        auto: true,
    },
    Source {
        id: "mistral",
        vendor: "mistral",
        model: "mistral-embed",
        dialect: wire::Dialect::OpenAi { dimensions: "output_dimension", document: false },
        auto: true,
    },
    Source {
        id: "ollama",
        vendor: "ollama",
        model: "nomic-embed-text",
        dialect: wire::Dialect::Ollama,
        auto: false,
    },
];

fn source(id: &str) -> Option<&'static Source> {
    SOURCES.iter().find(|source| source.id == id)
}

fn known_sources() -> String {
    SOURCES.map(|source| source.id).join(", ")
}

/// Why a model cannot be asked for vectors.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("provider `{0}` is not the one that `memorySearch` allows")]
    Provider(String),
    #[error("`{0}` names no model")]
    Model(String),
}

/// Why there are no vectors.
#[derive(Debug, thiserror::Error)]
pub enum EmbedError {
    #[error(
        "`memorySearch.provider` is `{0}`, which this gateway does not have; use one of {known}",
        known = known_sources()
    )]
    UnknownProvider(String),
    #[error(
        "`memorySearch.provider` is `local`: this gateway runs no embedding models itself; use \
         `ollama` for one on this host, or one of {known}",
        known = known_sources()
    )]
    Local,
    #[error("no embedding provider has a key; set `memorySearch.provider` and its key")]
    NoProvider,
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error("{0}")]
    Answer(String),
}

/// Whom to ask: settings of an agent with what a request chose.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    provider: String,
    /// Empty for the provider's usual one.
    model: String,
    base_url: Option<String>,
    api_key: Option<Value>,
    headers: IndexMap<String, String>,
    dimensions: Option<u64>,
}

impl Target {
    /// What `agent` uses; `chosen` is a model, or `provider/model` where the
    /// settings leave that choice.
    pub fn of(config: &Config, agent: &str, chosen: Option<&str>) -> Result<Self, TargetError> {
        let nothing = Map::new();
        let layers = Layers::of(config, agent);
        let get = |pointer: &[&str]| layers.get(pointer);
        let text = |pointer: &[&str]| layers.text(pointer);
        let enabled = layers.flag(&["enabled"]).unwrap_or(true);
        let mut target = Self {
            provider: DEFAULT_PROVIDER.to_owned(),
            model: String::new(),
            base_url: None,
            api_key: None,
            headers: IndexMap::new(),
            dimensions: None,
        };
        if enabled {
            target.provider =
                text(&["provider"]).unwrap_or_else(|| AUTO.to_owned()).to_ascii_lowercase();
            target.model = text(&["model"]).unwrap_or_default();
            target.base_url = text(&["remote", "baseUrl"]);
            target.api_key = get(&["remote", "apiKey"]).cloned();
            let headers = get(&["remote", "headers"]).and_then(Value::as_object);
            let headers = headers.unwrap_or(&nothing).iter();
            target.headers = headers
                .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
                .collect();
            target.dimensions = get(&["outputDimensionality"]).and_then(Value::as_u64);
        }
        target.choose(chosen.unwrap_or_default())?;
        Ok(target)
    }

    fn choose(&mut self, chosen: &str) -> Result<(), TargetError> {
        let chosen = if chosen.is_empty() { self.model.clone() } else { chosen.trim().to_owned() };
        let Some((provider, model)) = chosen.split_once('/') else {
            self.model = chosen;
            return Ok(());
        };
        let (provider, model) = (provider.trim().to_ascii_lowercase(), model.trim());
        if model.is_empty() {
            return Err(TargetError::Model(chosen));
        }
        let free = self.provider == AUTO && source(&provider).is_some_and(|source| source.auto);
        if provider != self.provider && !free {
            return Err(TargetError::Provider(provider));
        }
        self.provider = provider;
        model.clone_into(&mut self.model);
        Ok(())
    }

    /// Asks for vectors of this length instead of the configured one.
    #[must_use]
    pub fn with_dimensions(mut self, dimensions: Option<u64>) -> Self {
        self.dimensions = dimensions.or(self.dimensions);
        self
    }

    /// The server, its key and the dialect it speaks. Reads small files.
    fn resolve(&self, lookup: &Lookup<'_>) -> Result<(ModelRef, wire::Dialect), EmbedError> {
        if self.provider != AUTO {
            let source = source(&self.provider).ok_or_else(|| match self.provider.as_str() {
                "local" => EmbedError::Local,
                other => EmbedError::UnknownProvider(other.to_owned()),
            })?;
            return Ok((self.endpoint(source, lookup)?, source.dialect));
        }
        for source in SOURCES.iter().filter(|source| source.auto) {
            match self.endpoint(source, lookup) {
                Ok(model) => return Ok((model, source.dialect)),
                Err(ResolveError::NoKey { .. }) => {}
                Err(err) => return Err(err.into()),
            }
        }
        Err(EmbedError::NoProvider)
    }

    fn endpoint(&self, source: &Source, lookup: &Lookup<'_>) -> Result<ModelRef, ResolveError> {
        let configured: Option<&ProviderConfig> = lookup.configured_provider(source.vendor);
        let configured_url = configured.map(|it| it.base_url.trim()).filter(|it| !it.is_empty());
        let usual = catalog::vendor_of(source.vendor).map_or("", |vendor| vendor.base_url);
        let base_url = self.base_url.as_deref().or(configured_url).unwrap_or(usual);
        let model = if self.model.is_empty() { source.model } else { &self.model };
        let mut model = ModelRef {
            provider: source.vendor.to_owned(),
            id: model.to_owned(),
            base_url: source.dialect.base(base_url).to_owned(),
            ..ModelRef::default()
        };
        lookup.add_headers(source.vendor, configured, &mut model)?;
        model.headers.extend(self.headers.iter().map(|(name, it)| (name.clone(), it.clone())));
        let own = match &self.api_key {
            Some(key) => lookup.secret(key, "agents.*.memorySearch.remote.apiKey")?,
            None => None,
        };
        if let Some(key) = own {
            model.api_key = Some(Secret::new(key));
            return Ok(model);
        }
        let named =
            Named { provider: source.vendor.to_owned(), id: model.id.clone(), profile: None };
        lookup.add_key(&named, configured, None, &mut model)?;
        Ok(model)
    }
}

/// `memorySearch` of an agent over that of the defaults, key by key.
#[derive(Debug)]
pub(crate) struct Layers<'c>([Option<&'c Map<String, Value>>; 2]);

impl<'c> Layers<'c> {
    pub(crate) fn of(config: &'c Config, agent: &str) -> Self {
        let section = |rest: &'c Map<String, Value>| rest.get("memorySearch")?.as_object();
        let own = config.agents.get(agent).and_then(|agent| section(&agent.rest));
        Self([own, section(&config.agents.defaults.rest)])
    }

    pub(crate) fn get(&self, pointer: &[&str]) -> Option<&'c Value> {
        self.0.into_iter().flatten().find_map(|section| at(section, pointer))
    }

    /// A text that says something.
    pub(crate) fn text(&self, pointer: &[&str]) -> Option<String> {
        let value = self.get(pointer).and_then(Value::as_str).map(str::trim).unwrap_or_default();
        (!value.is_empty()).then(|| value.to_owned())
    }

    pub(crate) fn flag(&self, pointer: &[&str]) -> Option<bool> {
        self.get(pointer).and_then(Value::as_bool)
    }

    pub(crate) fn number(&self, pointer: &[&str]) -> Option<f64> {
        self.get(pointer).and_then(Value::as_f64)
    }
}

fn at<'v>(section: &'v Map<String, Value>, pointer: &[&str]) -> Option<&'v Value> {
    let (first, rest) = pointer.split_first()?;
    let value = section.get(*first).filter(|value| !value.is_null())?;
    if rest.is_empty() { Some(value) } else { at(value.as_object()?, rest) }
}

/// Asks providers for vectors.
#[derive(Debug, Default)]
pub(crate) struct Embedder(Http);

/// A request that has all it needs.
#[derive(Debug)]
pub(crate) struct Resolved(ModelRef, wire::Dialect, Option<u64>);

impl Embedder {
    /// Finds server and key; blocks on small files.
    pub(crate) fn resolve(target: &Target, lookup: &Lookup<'_>) -> Result<Resolved, EmbedError> {
        let (model, dialect) = target.resolve(lookup)?;
        Ok(Resolved(model, dialect, target.dimensions))
    }

    /// Closes connections that hold keys of an earlier configuration.
    pub(crate) fn forget_connections(&self) {
        self.0.forget_connections();
    }

    /// One vector per text, in their order.
    pub(crate) async fn embed(
        &self,
        Resolved(model, dialect, dimensions): &Resolved,
        texts: &[String],
    ) -> Result<Vec<Vec<f64>>, EmbedError> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        wire::ask(&self.0, model, *dialect, texts, *dimensions).await
    }
}

impl Resolved {
    /// Provider and model, as `provider/model`.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.0.provider, self.0.id)
    }
}

/// A provider of vectors that is ready to be asked.
pub(crate) trait Vectors: Send + Sync {
    /// Provider and model, as `provider/model`.
    fn model(&self) -> &str;

    /// One vector per text, in their order.
    fn embed<'a>(&'a self, texts: &'a [String])
    -> BoxFuture<'a, Result<Vec<Vec<f64>>, EmbedError>>;
}

/// A provider with what it takes to ask it.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    embedder: &'a Embedder,
    resolved: &'a Resolved,
    name: String,
}

impl<'a> Asked<'a> {
    /// The provider that was found. None has a key: nobody is asked; any other
    /// reason is a wrong setting, which is told.
    pub(crate) fn of(
        embedder: &'a Embedder,
        resolved: &'a Result<Resolved, EmbedError>,
    ) -> Result<Option<Self>, String> {
        match resolved {
            Ok(resolved) => Ok(Some(Self { embedder, resolved, name: resolved.name() })),
            Err(EmbedError::NoProvider) => Ok(None),
            Err(err) => Err(err.to_string()),
        }
    }
}

/// As a search of memory takes it.
pub(crate) fn as_vectors<'a>(
    asked: &'a Result<Option<Asked<'_>>, String>,
) -> Result<Option<&'a dyn Vectors>, String> {
    asked.as_ref().map(|asked| asked.as_ref().map(|it| it as &dyn Vectors)).map_err(Clone::clone)
}

impl Vectors for Asked<'_> {
    fn model(&self) -> &str {
        &self.name
    }

    fn embed<'a>(
        &'a self,
        texts: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<Vec<f64>>, EmbedError>> {
        Box::pin(self.embedder.embed(self.resolved, texts))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn target(search: &Value, chosen: &str) -> Result<Target, TargetError> {
        let config = json!({"agents": {"defaults": {"memorySearch": search},
            "list": [{"id": "main"}, {"id": "own", "memorySearch": {"model": "mine"}}]}});
        let config: Config = serde_json::from_value(config).unwrap();
        let agent = if chosen == "of own" { "own" } else { "main" };
        Target::of(&config, agent, Some(chosen).filter(|it| *it != "of own"))
    }

    #[test]
    fn a_request_may_choose_the_model_and_the_provider_only_where_it_is_open() {
        let fixed = json!({"provider": "openai", "model": "small"});
        let of =
            |search: &Value, chosen: &str| target(search, chosen).map(|it| (it.provider, it.model));
        let ok = |provider: &str, model: &str| Ok((provider.to_owned(), model.to_owned()));
        assert_eq!(of(&fixed, ""), ok("openai", "small"));
        assert_eq!(of(&fixed, "large"), ok("openai", "large"));
        assert_eq!(of(&fixed, "OpenAI/large"), ok("openai", "large"));
        assert_eq!(of(&fixed, "voyage/x"), Err(TargetError::Provider("voyage".into())));
        assert_eq!(of(&fixed, "openai/"), Err(TargetError::Model("openai/".into())));
        assert_eq!(of(&fixed, "of own"), ok("openai", "mine"));
        let open = json!({"provider": "auto"});
        assert_eq!(of(&open, "gemini/g"), ok("gemini", "g"));
        assert_eq!(of(&open, "ollama/x"), Err(TargetError::Provider("ollama".into())));
        assert_eq!(of(&json!({"enabled": false, "provider": "voyage"}), ""), ok("openai", ""));
    }

    #[test]
    fn auto_takes_the_first_provider_with_a_key() {
        let home = tempfile::tempdir().unwrap();
        let resolve = |search: Value, pairs: &[(&str, &str)]| {
            let config = json!({"agents": {"defaults": {"memorySearch": search}}});
            let config: Config = serde_json::from_value(config).unwrap();
            let mut env: crate::profile::env::Env = pairs.iter().copied().collect();
            env.set("HOME", home.path().to_str().unwrap());
            let paths = crate::profile::paths::Paths::resolve(&env);
            let secrets = crate::config::SecretValues::new();
            let lookup = Lookup {
                config: &config,
                env: &env,
                secrets: &secrets,
                paths: &paths,
                agent: "main",
                now: 0,
            };
            let target = Target::of(&config, "main", None).unwrap();
            Embedder::resolve(&target, &lookup).map(|Resolved(model, ..)| {
                (model.provider.clone(), model.id.clone(), model.base_url.clone())
            })
        };
        let (provider, model, _) =
            resolve(json!({}), &[("GEMINI_API_KEY", "k"), ("MISTRAL_API_KEY", "m")]).unwrap();
        assert_eq!((provider.as_str(), model.as_str()), ("google", "gemini-embedding-001"));
        assert!(matches!(resolve(json!({}), &[]), Err(EmbedError::NoProvider)));
        let (provider, _, url) = resolve(json!({"provider": "ollama"}), &[]).unwrap();
        assert_eq!((provider.as_str(), url.as_str()), ("ollama", "http://127.0.0.1:11434"));
        for (provider, way_out) in [("local", "`ollama` for one on this host"), ("x", "voyage")] {
            let refused = resolve(json!({"provider": provider}), &[]).unwrap_err().to_string();
            assert!(refused.contains("`memorySearch.provider`"), "{refused}");
            assert!(refused.contains(way_out), "{refused}");
        }
    }
}
