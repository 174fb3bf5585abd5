//! Which models a run tries and in which order. How a model is reached is
//! behind [`ModelSource`].

use std::fmt::Debug;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::agents::auth_profiles;
use crate::agents::failover::Chain;
use crate::agents::models::Lookup;
use crate::agents::models::Models;
use crate::agents::providers::ModelRef;
use crate::agents::providers::Provider;
use crate::agents::providers::ProviderError;
use crate::agents::sessions::Entry;
use crate::agents::sessions::ModelChoice;
use crate::agents::sessions::split_model;
use crate::base::clock::Clock;
use crate::config::Config;
use crate::config::Snapshot;
use crate::config::schema::agents::ModelChoice as Configured;
use crate::lifecycle::{self, Lifecycle};
use crate::profile::paths::Paths;

/// What runs when nothing is configured.
const DEFAULT_PROVIDER: &str = "anthropic";
const DEFAULT_MODEL: &str = "claude-opus-4-6";
/// Context window of a model that nothing is known about, in tokens.
pub(crate) const DEFAULT_WINDOW: u64 = 200_000;

/// A model ready to be called.
#[derive(Debug, Clone)]
pub struct Ready {
    pub provider: Arc<dyn Provider>,
    pub model: Arc<ModelRef>,
    /// The auth profile in use, if any.
    pub profile: Option<String>,
}

/// Finds models and their credentials, and hears how calls went.
pub trait ModelSource: Debug + Send + Sync {
    /// The models of a run in order. `fallbacks` replace the configured ones.
    fn chain<'a>(
        &'a self,
        snapshot: &'a Arc<Snapshot>,
        agent: &'a str,
        requested: Option<&'a str>,
        fallbacks: Option<&'a [String]>,
    ) -> BoxFuture<'a, Chain>;

    /// Resolves `provider/model` for an agent. `profile` insists on one auth
    /// profile.
    fn resolve<'a>(
        &'a self,
        snapshot: &'a Arc<Snapshot>,
        agent: &'a str,
        reference: &'a str,
        profile: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Ready, ProviderError>>;

    /// Hears the end of a call, for cooldowns of auth profiles.
    fn report(
        &self,
        snapshot: &Arc<Snapshot>,
        agent: &str,
        ready: &Ready,
        error: Option<&ProviderError>,
    );

    /// Closes connections that hold keys of an earlier configuration.
    fn forget_connections(&self) {}
}

/// The models of this process.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) models: Models,
    pub(crate) paths: Paths,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) lifecycle: Lifecycle,
}

impl Connected {
    fn lookup<'a>(&'a self, snapshot: &'a Snapshot, agent: &'a str) -> Lookup<'a> {
        let now = self.clock.now_ms();
        Lookup {
            config: &snapshot.config,
            env: &snapshot.env,
            secrets: &snapshot.secrets,
            paths: &self.paths,
            agent,
            now,
        }
    }
}

impl ModelSource for Connected {
    fn forget_connections(&self) {
        self.models.registry.http().forget_connections();
    }

    fn chain<'a>(
        &'a self,
        snapshot: &'a Arc<Snapshot>,
        agent: &'a str,
        requested: Option<&'a str>,
        fallbacks: Option<&'a [String]>,
    ) -> BoxFuture<'a, Chain> {
        Box::pin(async move {
            let lookup = self.lookup(snapshot, agent);
            let default = self.models.default_model(lookup).await;
            let chain = lookup.chain(requested, &default);
            match fallbacks {
                Some(fallbacks) => Chain::new(chain.requested(), fallbacks, None),
                None => chain,
            }
        })
    }

    fn resolve<'a>(
        &'a self,
        snapshot: &'a Arc<Snapshot>,
        agent: &'a str,
        reference: &'a str,
        profile: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Ready, ProviderError>> {
        Box::pin(async move {
            let name = match profile {
                Some(profile) if !reference.contains('@') => format!("{reference}@{profile}"),
                _ => reference.to_owned(),
            };
            let resolved = self.lookup(snapshot, agent).resolve(&name)?;
            let provider = self.models.registry.get(&resolved.model.api)?;
            let profile = resolved.profile().map(str::to_owned);
            Ok(Ready { provider, model: resolved.model, profile })
        })
    }

    fn report(
        &self,
        snapshot: &Arc<Snapshot>,
        agent: &str,
        ready: &Ready,
        error: Option<&ProviderError>,
    ) {
        let Some(profile) = ready.profile.clone() else { return };
        let reason = error.map(|error| error.reason);
        if reason.is_some_and(|reason| !auth_profiles::blames_profile(reason)) {
            return;
        }
        let lookup = self.lookup(snapshot, agent);
        let (own, main) = (lookup.agent_dir(), lookup.main_agent_dir());
        let now = self.clock.now_ms();
        let snapshot = Arc::clone(snapshot);
        self.lifecycle.spawn("auth profile record", move |_stop| async move {
            let work = move || {
                let dir = auth_profiles::holder(&profile, &own, &main);
                match reason {
                    None => auth_profiles::record_success(dir, &profile, now),
                    Some(reason) => {
                        auth_profiles::record_failure(dir, &profile, reason, &snapshot.config, now)
                    }
                }
            };
            if let Ok(Err(err)) = lifecycle::spawn_blocking(work).await {
                tracing::warn!(%err, "auth profile statistics not written");
            }
        });
    }
}

/// The configured model of an agent: primary and fallbacks.
pub fn configured(config: &Config, agent: Option<&str>) -> (String, Vec<String>) {
    let own = agent
        .or_else(|| Some(config.agents.default_id()))
        .and_then(|id| config.agents.get(id))
        .and_then(|agent| agent.model.as_ref());
    let general = config.agents.defaults.model.as_ref();
    let primary_of = |choice: Option<&Configured>| match choice {
        Some(Configured::One(model)) => Some(model.clone()),
        Some(Configured::Chain { primary, .. }) => primary.clone(),
        None => None,
    };
    let primary = primary_of(own)
        .or_else(|| primary_of(general))
        .filter(|model| !model.trim().is_empty())
        .unwrap_or_else(|| format!("{DEFAULT_PROVIDER}/{DEFAULT_MODEL}"));
    let fallbacks = match (own, general) {
        (Some(Configured::Chain { fallbacks, .. }), _)
        | (None | Some(Configured::One(_)), Some(Configured::Chain { fallbacks, .. })) => {
            fallbacks.clone()
        }
        _ => Vec::new(),
    };
    (expand_alias(config, &primary), fallbacks.iter().map(|f| expand_alias(config, f)).collect())
}

/// Replaces an alias of `agents.defaults.models` by the model it names.
pub(crate) fn expand_alias(config: &Config, reference: &str) -> String {
    let reference = reference.trim();
    if reference.contains('/') {
        return reference.to_owned();
    }
    config
        .agents
        .defaults
        .models
        .iter()
        .find(|(_, model)| {
            model["alias"].as_str().is_some_and(|alias| alias.eq_ignore_ascii_case(reference))
        })
        .map_or_else(|| reference.to_owned(), |(name, _)| name.clone())
}

/// What a session of the agent uses without an override.
pub(crate) fn default_choice(config: &Config, agent: Option<&str>) -> ModelChoice {
    let (primary, _) = configured(config, agent);
    let (provider, model) = split_model(&primary, DEFAULT_PROVIDER)
        .unwrap_or_else(|_| (DEFAULT_PROVIDER.to_owned(), DEFAULT_MODEL.to_owned()));
    let context_tokens = window_of(config, &provider, &model);
    ModelChoice { provider, model, context_tokens }
}

/// The context window as configured, in tokens.
pub(crate) fn window_of(config: &Config, provider: &str, model: &str) -> u64 {
    let window = configured_model(config, provider, model)
        .and_then(|known| known.context_window)
        .unwrap_or(DEFAULT_WINDOW);
    config.agents.defaults.context_tokens.map_or(window, |cap| cap.min(window))
}

fn configured_model<'a>(
    config: &'a Config,
    provider: &str,
    model: &str,
) -> Option<&'a crate::config::schema::models::Model> {
    config.models.providers.get(provider)?.models.iter().find(|known| known.id == model)
}

/// The thinking level of a session: its own, the agent's, the general one, else
/// `low` for models that reason.
pub(crate) fn thinking(
    config: &Config,
    agent: &str,
    entry: Option<&Entry>,
    reasoning: bool,
) -> String {
    entry
        .and_then(|entry| entry.text("thinkingLevel"))
        .or_else(|| config.agents.get(agent)?.thinking_default.as_deref())
        .or(config.agents.defaults.thinking_default.as_deref())
        .unwrap_or(if reasoning { "low" } else { "off" })
        .to_owned()
}

/// Whether the configuration says that the model reasons.
pub(crate) fn reasons(config: &Config, provider: &str, model: &str) -> bool {
    configured_model(config, provider, model).is_some_and(|known| known.reasoning)
}

/// The levels of thinking that make a difference to a model.
pub fn thinking_levels(config: &Config, provider: &str, model: &str) -> &'static [&'static str] {
    const LEVELS: [&str; 5] = ["off", "minimal", "low", "medium", "high"];
    let known = crate::agents::models::catalog::find(provider, model);
    let thinks = reasons(config, provider, model) || known.is_some_and(|known| known.reasoning);
    if thinks { &LEVELS } else { &LEVELS[..1] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config() -> Config {
        serde_json::from_value(json!({
            "agents": {
                "defaults": {
                    "model": {"primary": "fake/good", "fallbacks": ["backup", "fake/good"]},
                    "models": {"fakeb/backup-1": {"alias": "backup"}}
                },
                "list": [{"id": "main"}, {"id": "solo", "model": "fakec/one"}]
            },
            "models": {"providers": {"fake": {"models": [
                {"id": "good", "contextWindow": 65536, "reasoning": true}]}}}
        }))
        .unwrap()
    }

    #[test]
    fn an_agents_own_model_keeps_the_general_fallbacks() {
        let (primary, fallbacks) = configured(&config(), Some("solo"));
        assert_eq!(primary, "fakec/one");
        assert_eq!(fallbacks, ["fakeb/backup-1", "fake/good"]);
    }

    #[test]
    fn what_is_configured_decides_window_and_thinking() {
        let config = config();
        assert_eq!(default_choice(&config, None).context_tokens, 65536);
        assert_eq!(default_choice(&config, Some("solo")).context_tokens, DEFAULT_WINDOW);
        assert_eq!(thinking(&config, "main", None, reasons(&config, "fake", "good")), "low");
        assert_eq!(thinking(&config, "main", None, false), "off");
    }
}
