//! How people name models: `provider/model`, a bare id, an alias, each with an
//! optional `@profile`.

use serde_json::Value;

use crate::config::Config;
use crate::config::schema::agents::ModelChoice;

/// Provider and model that answer when nothing is configured.
pub const DEFAULT_PROVIDER: &str = "anthropic";
pub const DEFAULT_MODEL: &str = "claude-opus-4-6";

/// A model as named, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Lower case.
    pub provider: String,
    pub id: String,
    pub profile: Option<String>,
}

impl Named {
    /// Splits at the first `/`; a bare id belongs to `default_provider`.
    pub fn parse(text: &str, default_provider: &str) -> Option<Self> {
        let (text, profile) = split_profile(text.trim());
        let (provider, id) = text.split_once('/').unwrap_or((default_provider, text));
        let (provider, id) = (provider.trim(), id.trim());
        if provider.is_empty() || id.is_empty() {
            return None;
        }
        Some(Self {
            provider: canonical(provider),
            id: id.to_owned(),
            profile: profile.map(str::to_owned),
        })
    }

    /// `provider/model`, without the profile.
    pub fn key(&self) -> String {
        format!("{}/{}", self.provider, self.id)
    }
}

/// `model@profile`; a date after `@` belongs to the model's name.
fn split_profile(text: &str) -> (&str, Option<&str>) {
    let name_at = text.rfind('/').map_or(0, |slash| slash + 1);
    let Some(at) = text[name_at..].find('@').map(|at| name_at + at) else {
        return (text, None);
    };
    let tail = &text[at + 1..];
    let is_date = tail.len() >= 8
        && tail.as_bytes()[..8].iter().all(u8::is_ascii_digit)
        && tail.as_bytes().get(8).is_none_or(|next| *next == b'@');
    if is_date {
        return match tail.split_once('@') {
            Some((_, profile)) if !profile.is_empty() => {
                (&text[..text.len() - profile.len() - 1], Some(profile))
            }
            _ => (text, None),
        };
    }
    if at == name_at || tail.is_empty() { (text, None) } else { (&text[..at], Some(tail)) }
}

/// The id that other spellings of a provider stand for.
pub fn canonical(provider: &str) -> String {
    let provider = provider.to_lowercase();
    match provider.as_str() {
        "z.ai" | "z-ai" => "zai".to_owned(),
        "opencode-zen" => "opencode".to_owned(),
        "kimi-code" => "kimi-coding".to_owned(),
        "bedrock" | "aws-bedrock" => "amazon-bedrock".to_owned(),
        _ => provider,
    }
}

/// First choice and fallbacks as configured for an agent; the first is `None`
/// when the configuration names no model.
pub fn configured(config: &Config, agent: &str) -> (Option<String>, Vec<String>) {
    let own = config.agents.get(agent).and_then(|agent| agent.model.as_ref());
    let (own_primary, own_fallbacks) = parts(own);
    let (primary, fallbacks) = parts(config.agents.defaults.model.as_ref());
    let fallbacks = if own_fallbacks.is_empty() { fallbacks } else { own_fallbacks };
    (own_primary.or(primary).map(str::to_owned), fallbacks.to_vec())
}

fn parts(choice: Option<&ModelChoice>) -> (Option<&str>, &[String]) {
    match choice {
        None => (None, &[]),
        Some(ModelChoice::One(model)) => (named(model), &[]),
        Some(ModelChoice::Chain { primary, fallbacks }) => {
            (primary.as_deref().and_then(named), fallbacks)
        }
    }
}

fn named(model: &str) -> Option<&str> {
    Some(model.trim()).filter(|model| !model.is_empty())
}

/// What an alias of `agents.defaults.models` stands for, else the text itself.
pub fn unaliased<'a>(config: &'a Config, text: &'a str) -> &'a str {
    let models = &config.agents.defaults.models;
    let is_alias = |entry: &Value| {
        entry["alias"].as_str().is_some_and(|alias| alias.eq_ignore_ascii_case(text.trim()))
    };
    models.iter().find(|(_, entry)| is_alias(entry)).map_or(text, |(key, _)| key.as_str())
}

/// Whether the allowlist in `agents.defaults.models` lets `model` be chosen.
/// An empty list allows everything, configured models are always allowed.
pub fn is_allowed(config: &Config, agent: &str, model: &Named) -> bool {
    let models = &config.agents.defaults.models;
    if models.is_empty() {
        return true;
    }
    let is_it = |text: &str| {
        Named::parse(text, DEFAULT_PROVIDER).is_some_and(|named| named.key() == model.key())
    };
    let (primary, fallbacks) = configured(config, agent);
    let listed = |key: &String| {
        is_it(key) || key.strip_suffix("/*").is_some_and(|provider| provider == model.provider)
    };
    models.keys().any(listed) || primary.iter().chain(&fallbacks).any(|text| is_it(text))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_taken_apart_at_the_first_slash_and_the_profile() {
        let cases = [
            ("openai/gpt-5.4", ("openai", "gpt-5.4", None)),
            ("OpenRouter/meta/llama:free", ("openrouter", "meta/llama:free", None)),
            ("gpt-5.4", ("anthropic", "gpt-5.4", None)),
            ("z.ai/glm-5", ("zai", "glm-5", None)),
            ("openai/gpt-5.4@openai:work", ("openai", "gpt-5.4", Some("openai:work"))),
            ("google/claude@20250514", ("google", "claude@20250514", None)),
            ("google/claude@20250514@me", ("google", "claude@20250514", Some("me"))),
        ];
        for (text, (provider, id, profile)) in cases {
            let named = Named::parse(text, DEFAULT_PROVIDER).unwrap();
            assert_eq!(
                (named.provider.as_str(), named.id.as_str(), named.profile.as_deref()),
                (provider, id, profile),
                "{text}"
            );
        }
        for text in ["", "fake/", "/x", "  "] {
            assert_eq!(Named::parse(text, DEFAULT_PROVIDER), None, "{text:?}");
        }
    }

    #[test]
    fn an_agent_may_override_the_first_choice_alone() {
        let config: Config = serde_json::from_value(json!({"agents":{
            "defaults":{"model":{"primary":"a/1","fallbacks":["b/2"]}},
            "list":[{"id":"own","model":"c/3"}]}}))
        .unwrap();
        assert_eq!(configured(&config, "own"), (Some("c/3".into()), vec!["b/2".into()]));
        assert_eq!(configured(&config, "main").0.as_deref(), Some("a/1"));
    }

    #[test]
    fn the_allowlist_binds_once_it_has_entries() {
        let config: Config = serde_json::from_value(json!({"agents":{"defaults":{
            "model":"a/1","models":{"b/2":{"alias":"Two"}}}}}))
        .unwrap();
        let allowed = |text: &str| is_allowed(&config, "main", &Named::parse(text, "a").unwrap());
        assert!(allowed("a/1") && allowed("b/2") && !allowed("b/3"));
        assert_eq!(unaliased(&config, "two"), "b/2");
        assert!(is_allowed(&Config::default(), "main", &Named::parse("x/y", "a").unwrap()));
    }
}
