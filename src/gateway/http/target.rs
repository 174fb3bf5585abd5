//! Which agent, session and model a request on `/v1` is for.

use hyper::HeaderMap;
use serde_json::Value;

use crate::agents::models::catalog;
use crate::agents::models::reference::{self, Named};
use crate::base::id::{self, SessionKey};
use crate::config::Config;
use crate::gateway::http::prepared::Prepared;
use crate::gateway::http::reply::{self, Answer};

/// Part of the contract: what a caller reads whose `model` is no agent.
pub const INVALID_MODEL: &str = "Invalid `model`. Use `openclaw` or `openclaw/<agentId>`.";

/// Session kinds that only the gateway itself creates.
const RESERVED: [&str; 3] = ["subagent", "cron", "acp"];

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// In lower case; configured.
    pub agent: String,
    pub session: SessionKey,
    /// Whether the caller named the session, so that it outlives the request.
    pub explicit_session: Option<String>,
    /// `provider/model` of `x-openclaw-model`.
    pub model: Option<String>,
    pub channel: String,
}

/// Which surface a session belongs to when the caller does not name one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surface {
    Chat,
    Responses,
}

impl Surface {
    fn stateless(self) -> &'static str {
        match self {
            Self::Chat => "openai",
            Self::Responses => "openresponses",
        }
    }
}

/// The agent that a `model` names; `None` when it names none.
///
/// `Some(None)` is the default agent.
pub fn parse_model(model: &str) -> Option<Option<String>> {
    let model = model.trim().to_lowercase();
    let id = match model.as_str() {
        "openclaw" | "openclaw/default" => return Some(None),
        other => ["openclaw/", "openclaw:", "agent:"]
            .iter()
            .find_map(|prefix| other.strip_prefix(prefix))?,
    };
    is_agent_id(id).then(|| Some(id.to_owned()))
}

/// `[a-z0-9][a-z0-9_-]{0,63}`
pub fn is_agent_id(id: &str) -> bool {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = id.as_bytes();
    !bytes.is_empty()
        && bytes.len() <= 64
        && plain(bytes[0])
        && bytes.iter().all(|&c| plain(c) || c == b'_' || c == b'-')
}

/// Agent of a request from its headers and `model`.
pub fn agent(prepared: &Prepared, headers: &HeaderMap, model: &str) -> Result<String, Answer> {
    let by_model = if model.trim().is_empty() {
        None
    } else {
        parse_model(model).ok_or_else(|| reply::invalid(INVALID_MODEL))?
    };
    let by_header = ["x-openclaw-agent-id", "x-openclaw-agent"]
        .iter()
        .find_map(|name| header(headers, name))
        .map(str::to_lowercase);
    let wanted = by_header.or(by_model).unwrap_or_else(|| prepared.default_agent().to_owned());
    if prepared.agents.contains(&wanted) {
        Ok(wanted)
    } else {
        Err(reply::invalid(&format!("Unknown agent '{wanted}'.")))
    }
}

/// Everything that a request on `/v1` is addressed by.
pub fn resolve(
    prepared: &Prepared,
    headers: &HeaderMap,
    surface: Surface,
    model: &str,
    user: Option<&str>,
) -> Result<Target, Answer> {
    let agent = agent(prepared, headers, model)?;
    let explicit = header(headers, "x-openclaw-session-key");
    if explicit.is_some_and(is_reserved) {
        return Err(reply::invalid(
            "`x-openclaw-session-key` cannot use reserved internal session namespaces.",
        ));
    }
    let user = user.map(str::trim).filter(|user| !user.is_empty());
    let config = &prepared.snapshot.config;
    let session = match (explicit, user) {
        (Some("main"), _) => SessionKey::main(prepared.default_agent(), main_key(config)),
        (Some(key), _) => SessionKey::new(key),
        (None, Some(user)) => {
            SessionKey::new(format!("agent:{agent}:{}-user:{user}", surface.stateless()))
        }
        (None, None) => {
            SessionKey::new(format!("agent:{agent}:{}:{}", surface.stateless(), id::uuid()))
        }
    };
    let model = model_override(config, headers, &agent)?;
    // A key that names an agent decides where the conversation is kept.
    let agent = match session.agent() {
        Some(owner) if prepared.agents.iter().any(|known| known == owner) => owner.to_owned(),
        Some(owner) => return Err(reply::invalid(&format!("Unknown agent '{owner}'."))),
        None => agent,
    };
    let channel = header(headers, "x-openclaw-message-channel").unwrap_or("webchat").to_lowercase();
    let explicit_session = explicit.map(str::to_owned);
    Ok(Target { agent, session, explicit_session, model, channel })
}

fn is_reserved(key: &str) -> bool {
    let key = key.to_lowercase();
    let kind = match key.strip_prefix("agent:") {
        Some(rest) => rest.split_once(':').map_or("", |(_, kind)| kind),
        None => key.as_str(),
    };
    RESERVED.iter().any(|reserved| {
        kind.strip_prefix(reserved).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
    })
}

/// Last part of the key of an agent's main session.
pub fn main_key(config: &Config) -> &str {
    let configured = config.session.get("mainKey").and_then(Value::as_str).map(str::trim);
    configured.filter(|key| !key.is_empty()).unwrap_or("main")
}

fn model_override(
    config: &Config,
    headers: &HeaderMap,
    agent: &str,
) -> Result<Option<String>, Answer> {
    let Some(text) = header(headers, "x-openclaw-model") else {
        return Ok(None);
    };
    let (primary, _) = reference::configured(config, agent);
    let own_provider = primary
        .and_then(|primary| Named::parse(&primary, reference::DEFAULT_PROVIDER))
        .map_or_else(|| reference::DEFAULT_PROVIDER.to_owned(), |named| named.provider);
    let named = Named::parse(reference::unaliased(config, text), &own_provider)
        .ok_or_else(|| reply::invalid("Invalid `x-openclaw-model`."))?;
    if !reference::is_allowed(config, agent, &named) {
        let message = format!("Model '{}' is not allowed for agent '{agent}'.", named.key());
        return Err(reply::invalid(&message));
    }
    // A provider that nobody knows leaves the agent's own model in place, as
    // clients of the reference have come to expect.
    let known = catalog::vendor_of(&named.provider).is_some()
        || named.provider == "dev"
        || config.models.providers.keys().any(|id| reference::canonical(id) == named.provider);
    if !known {
        tracing::warn!(provider = named.provider, "x-openclaw-model names an unknown provider");
    }
    // An auth profile that is named goes along.
    let profile = named.profile.as_ref().map(|profile| format!("@{profile}"));
    Ok(known.then(|| named.key() + &profile.unwrap_or_default()))
}

/// A header's value, trimmed; blank counts as absent.
pub fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let value = headers.get(name)?.to_str().ok()?.trim();
    (!value.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_name_agents_in_four_spellings() {
        for default in ["openclaw", "openclaw/default", " OpenClaw "] {
            assert_eq!(parse_model(default), Some(None), "{default}");
        }
        for named in ["openclaw/Research", "openclaw:research", "agent:research"] {
            assert_eq!(parse_model(named), Some(Some("research".to_owned())), "{named}");
        }
        for foreign in ["gpt-4o", "openclaw/", "openclaw/-x", "openclaw/a/b", ""] {
            assert_eq!(parse_model(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn internal_sessions_cannot_be_addressed() {
        for key in ["subagent:x", "agent:main:cron:1", "ACP:x", "agent:main:subagent"] {
            assert!(is_reserved(key), "{key}");
        }
        for key in ["main", "agent:main:main", "cronies", "agent:cron:main"] {
            assert!(!is_reserved(key), "{key}");
        }
    }
}
