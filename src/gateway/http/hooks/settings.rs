//! The `hooks` section, read once per configuration.

use serde_json::{Map, Value};

use crate::base::secret::Secret;
use crate::channels::kinds;
use crate::config::Snapshot;
use crate::gateway::http::hooks::dispatch::{self, Work};
use crate::gateway::http::hooks::template::{self, Scope};
use crate::gateway::http::hooks::{Asked, refused};
use crate::gateway::http::reply::Answer;

const MAX_BODY: usize = 256 * 1024;

/// Hooks as configured.
#[derive(Debug)]
pub struct Settings {
    /// With a slash in front and none behind.
    pub base: String,
    pub token: Secret,
    pub max_body: usize,
    /// `None` allows every agent.
    pub allowed_agents: Option<Vec<String>>,
    pub default_session: Option<String>,
    pub allow_session: bool,
    pub session_prefixes: Vec<String>,
    /// Configured ids in lower case, the default agent first.
    pub agents: Vec<String>,
    /// Channels of ours that are configured.
    pub channels: Vec<String>,
    mappings: Vec<Value>,
}

impl Settings {
    /// `None` while hooks are off.
    pub fn new(snapshot: &Snapshot, agents: &[String]) -> Option<Self> {
        let section = &snapshot.config.hooks;
        if section.get("enabled") != Some(&Value::Bool(true)) {
            return None;
        }
        let text = |key: &str| section.get(key).and_then(Value::as_str).map(str::trim);
        let token = text("token").filter(|token| !token.is_empty())?;
        let base = text("path").map(|path| path.trim_matches('/')).filter(|path| !path.is_empty());
        let list = |key: &str| {
            let list = section.get(key)?.as_array()?;
            Some(list.iter().filter_map(|it| Some(it.as_str()?.trim().to_lowercase())).collect())
        };
        let allowed: Option<Vec<String>> = list("allowedAgentIds");
        let mut mappings =
            section.get("mappings").and_then(Value::as_array).cloned().unwrap_or_default();
        let presets = section.get("presets").and_then(Value::as_array);
        if presets.is_some_and(|presets| presets.iter().any(|preset| preset == "gmail")) {
            mappings.push(gmail());
        }
        Some(Self {
            base: format!("/{}", base.unwrap_or("hooks")),
            token: Secret::new(token),
            max_body: section
                .get("maxBodyBytes")
                .and_then(Value::as_u64)
                .and_then(|size| usize::try_from(size).ok())
                .unwrap_or(MAX_BODY),
            allowed_agents: allowed.filter(|ids| !ids.iter().any(|id| id == "*")),
            default_session: text("defaultSessionKey")
                .filter(|key| !key.is_empty())
                .map(str::to_owned),
            allow_session: section.get("allowRequestSessionKey") == Some(&Value::Bool(true)),
            session_prefixes: list("allowedSessionKeyPrefixes").unwrap_or_default(),
            agents: agents.to_vec(),
            channels: kinds()
                .iter()
                .filter(|kind| snapshot.config.channels.contains_key(kind.id))
                .map(|kind| kind.id.to_owned())
                .collect(),
            mappings,
        })
    }

    /// What the first fitting mapping makes of a payload; `None` when none fits.
    pub fn mapped(
        &self,
        name: &str,
        asked: &Asked<'_>,
        payload: &Map<String, Value>,
        now: u64,
    ) -> Result<Option<Work>, Answer> {
        let fits = |mapping: &&Value| {
            let wanted = &mapping["match"];
            let path = wanted["path"].as_str().is_none_or(|path| path.trim_matches('/') == name);
            let source = wanted["source"].as_str();
            path && source
                .is_none_or(|it| payload.get("source").and_then(Value::as_str) == Some(it))
        };
        let Some(mapping) = self.mappings.iter().find(fits) else {
            return Ok(None);
        };
        if mapping["transform"].is_object() {
            tracing::warn!(
                hook = name,
                "hook mapping failed: JavaScript transforms are not supported by this gateway"
            );
            return Err(refused(hyper::StatusCode::INTERNAL_SERVER_ERROR, "hook mapping failed"));
        }
        let scope = Scope { path: name, now, headers: asked.headers, query: asked.query, payload };
        let rendered = |key: &str| mapping[key].as_str().map(|text| template::render(text, &scope));
        let mut fields = Map::new();
        for key in ["name", "agentId", "wakeMode", "deliver", "thinking", "timeoutSeconds"] {
            if let Some(value) = mapping.get(key) {
                fields.insert(key.to_owned(), value.clone());
            }
        }
        for key in ["sessionKey", "channel", "to", "model", "name"] {
            if let Some(text) = rendered(key) {
                fields.insert(key.to_owned(), Value::String(text));
            }
        }
        if mapping["action"] == "wake" {
            let text = rendered("textTemplate").unwrap_or_default();
            if text.trim().is_empty() {
                return Err(dispatch::bad("hook mapping requires text"));
            }
            let now = mapping["wakeMode"] != "next-heartbeat";
            return Ok(Some(Work::Wake { text: text.trim().to_owned(), now }));
        }
        let message = rendered("messageTemplate").unwrap_or_default();
        if message.trim().is_empty() {
            return Err(dispatch::bad("hook mapping requires message"));
        }
        fields.insert("message".to_owned(), Value::String(message));
        if mapping["allowUnsafeExternalContent"] == true {
            fields.insert("allowUnsafeExternalContent".to_owned(), Value::Bool(true));
        }
        dispatch::agent(&fields, self, true).map(Some)
    }
}

/// The payload of a `gog gmail watch` push.
fn gmail() -> Value {
    serde_json::json!({"match": {"path": "gmail"}, "name": "Gmail",
        "sessionKey": "hook:gmail:{{messages[0].id}}",
        "messageTemplate": "Mail from {{messages[0].from}}\nSubject: {{messages[0].subject}}\n{{messages[0].snippet}}\n{{messages[0].body}}"})
}
