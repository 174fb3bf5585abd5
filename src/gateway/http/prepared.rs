//! What HTTP needs from the configuration, worked out once per snapshot.
//!
//! The list of models is answered tens of thousands of times a second, so its
//! bytes are kept; a changed configuration makes a fresh set.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::HeaderValue;
use serde_json::{Map, Value, json};

use crate::config::schema::support;
use crate::config::{Config, Snapshot};
use crate::gateway::http::control_ui::Ui;
use crate::gateway::http::hooks;

const MIB: usize = 1024 * 1024;
/// Most bytes of a chat request unless configured.
const CHAT_BODY: usize = 20 * MIB;

/// The configuration as HTTP sees it.
#[derive(Debug)]
pub struct Prepared {
    /// Kept so that its address stays its own.
    pub snapshot: Arc<Snapshot>,
    /// Agent ids in lower case; the default one first.
    pub agents: Vec<String>,
    pub chat: Option<ChatLimits>,
    pub responses: Option<ResponsesLimits>,
    /// The body of `GET /v1/models`.
    pub models: Bytes,
    pub strict_transport: Option<HeaderValue>,
    pub allowed_origins: Vec<String>,
    pub ui: Option<Ui>,
    pub hooks: Option<hooks::Settings>,
    /// Whether `plugins.entries.admin-http-rpc` is on.
    pub admin_rpc: bool,
    /// Whether `plugins.entries.diagnostics-prometheus` is on.
    pub metrics: bool,
}

/// `gateway.http.endpoints.chatCompletions`.
#[derive(Debug, Clone)]
pub struct ChatLimits {
    pub max_body: usize,
    pub max_images: usize,
    pub max_total_image_bytes: usize,
    pub images: ImageLimits,
}

/// `gateway.http.endpoints.responses`.
#[derive(Debug, Clone)]
pub struct ResponsesLimits {
    pub max_body: usize,
    pub max_url_parts: usize,
    pub images: ImageLimits,
    pub max_file_bytes: usize,
    pub max_file_chars: usize,
    pub file_mimes: Vec<String>,
    pub remote_files: Remote,
    pub pdf: PdfLimits,
}

/// `gateway.http.endpoints.responses.files.pdf`.
#[derive(Debug, Clone, Copy)]
pub struct PdfLimits {
    pub max_pages: usize,
    /// With less text than this, scanned pages go along as images.
    pub min_text_chars: usize,
}

/// What images a request may carry.
#[derive(Debug, Clone)]
pub struct ImageLimits {
    pub mimes: Vec<String>,
    pub max_bytes: usize,
    pub remote: Remote,
}

/// Whether and how the parts of a request that are addresses are fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    pub allowed: bool,
    /// The only hosts; empty admits every public one.
    pub hosts: Vec<String>,
    pub redirects: usize,
    pub time: Duration,
}

const IMAGE_MIMES: &[&str] =
    &["image/jpeg", "image/png", "image/gif", "image/webp", "image/heic", "image/heif"];
const FILE_MIMES: &[&str] = &[
    "text/plain",
    "text/markdown",
    "text/html",
    "text/csv",
    "application/json",
    "application/pdf",
];

impl Prepared {
    pub fn new(snapshot: Arc<Snapshot>) -> Self {
        let config = &snapshot.config;
        let agents = agent_ids(config);
        let endpoints = &config.gateway.http.endpoints;
        let security = &config.gateway.http.security_headers;
        let strict_transport = security
            .get("strictTransportSecurity")
            .and_then(Value::as_str)
            .map(str::trim)
            .filter(|value| !value.is_empty())
            .and_then(|value| HeaderValue::from_str(value).ok());
        Self {
            models: Bytes::from(models_list(&agents).to_string()),
            chat: enabled(&endpoints.chat_completions).then(|| chat(&endpoints.chat_completions)),
            responses: enabled(&endpoints.responses).then(|| responses(&endpoints.responses)),
            strict_transport,
            allowed_origins: config.gateway.control_ui.allowed_origins.clone(),
            ui: Ui::new(&snapshot),
            hooks: hooks::Settings::new(&snapshot, &agents),
            admin_rpc: has_plugin(config, support::ADMIN_RPC),
            metrics: has_plugin(config, support::METRICS),
            agents,
            snapshot,
        }
    }

    /// Whether any OpenAI endpoint is on.
    pub fn openai(&self) -> bool {
        self.chat.is_some() || self.responses.is_some()
    }

    /// The agent that answers when none is named.
    pub fn default_agent(&self) -> &str {
        self.agents.first().map_or("main", String::as_str)
    }

    /// Whether `id` is listed by `GET /v1/models`.
    pub fn lists(&self, id: &str) -> bool {
        match id.strip_prefix("openclaw") {
            Some("" | "/default") => true,
            Some(rest) => rest
                .strip_prefix('/')
                .is_some_and(|agent| self.agents.iter().any(|known| known == agent)),
            None => false,
        }
    }
}

/// Whether the configuration enables a plugin whose work this gateway does
/// itself.
pub fn has_plugin(config: &Config, id: &str) -> bool {
    let plugins = &config.plugins;
    let lists = |key: &str| {
        let list = plugins.get(key).and_then(Value::as_array).filter(|list| !list.is_empty());
        list.map(|list| list.iter().any(|name| name == id))
    };
    let entry = plugins.get("entries").and_then(|entries| entries.get(id));
    entry.is_some_and(|entry| entry["enabled"] == true)
        && plugins.get("enabled") != Some(&Value::Bool(false))
        && lists("allow").unwrap_or(true)
        && !lists("deny").unwrap_or(false)
}

/// The default agent, then the others in the order of the configuration.
fn agent_ids(config: &Config) -> Vec<String> {
    let default = config.agents.default_id().to_lowercase();
    let mut ids = vec![default];
    for agent in &config.agents.list {
        let id = agent.id.to_lowercase();
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}

/// One model as OpenAI's clients expect it.
pub fn model_object(id: &str) -> Value {
    json!({"id": id, "object": "model", "created": 0, "owned_by": "openclaw", "permission": []})
}

fn models_list(agents: &[String]) -> Value {
    let mut data = vec![model_object("openclaw"), model_object("openclaw/default")];
    data.extend(agents.iter().map(|agent| model_object(&format!("openclaw/{agent}"))));
    json!({"object": "list", "data": data})
}

fn enabled(section: &Map<String, Value>) -> bool {
    section.get("enabled").and_then(Value::as_bool).unwrap_or(false)
}

fn chat(section: &Map<String, Value>) -> ChatLimits {
    let nothing = Map::new();
    let images = section.get("images").and_then(Value::as_object).unwrap_or(&nothing);
    ChatLimits {
        max_body: size(section, "maxBodyBytes").unwrap_or(CHAT_BODY),
        max_images: size(section, "maxImageParts").unwrap_or(8),
        max_total_image_bytes: size(section, "maxTotalImageBytes").unwrap_or(20 * MIB),
        images: image_limits(images, false),
    }
}

fn responses(section: &Map<String, Value>) -> ResponsesLimits {
    let nothing = Map::new();
    let part = |name: &str| section.get(name).and_then(Value::as_object).unwrap_or(&nothing);
    let images = image_limits(part("images"), true);
    let files = part("files");
    let pdf = files.get("pdf").and_then(Value::as_object).unwrap_or(&nothing);
    let max_file_bytes = size(files, "maxBytes").unwrap_or(5 * MIB);
    let largest = (20 * MIB).max(2 * max_file_bytes).max(2 * images.max_bytes);
    ResponsesLimits {
        max_body: size(section, "maxBodyBytes").unwrap_or(largest),
        max_url_parts: size(section, "maxUrlParts").unwrap_or(8),
        max_file_bytes,
        max_file_chars: size(files, "maxChars").unwrap_or(200_000),
        file_mimes: mimes(files, FILE_MIMES),
        remote_files: remote(files, true),
        pdf: PdfLimits {
            max_pages: size(pdf, "maxPages").unwrap_or(4),
            min_text_chars: size(pdf, "minTextChars").unwrap_or(200),
        },
        images,
    }
}

fn image_limits(section: &Map<String, Value>, remote_by_default: bool) -> ImageLimits {
    ImageLimits {
        mimes: mimes(section, IMAGE_MIMES),
        max_bytes: size(section, "maxBytes").unwrap_or(10 * MIB),
        remote: remote(section, remote_by_default),
    }
}

fn remote(section: &Map<String, Value>, by_default: bool) -> Remote {
    let hosts = section.get("urlAllowlist").and_then(Value::as_array);
    let hosts = hosts.into_iter().flatten().filter_map(Value::as_str);
    Remote {
        allowed: section.get("allowUrl").and_then(Value::as_bool).unwrap_or(by_default),
        hosts: hosts.map(str::to_owned).collect(),
        redirects: size(section, "maxRedirects").unwrap_or(3),
        time: Duration::from_millis(
            section.get("timeoutMs").and_then(Value::as_u64).unwrap_or(10_000),
        ),
    }
}

fn mimes(section: &Map<String, Value>, default: &[&str]) -> Vec<String> {
    let configured = section.get("allowedMimes").and_then(Value::as_array);
    match configured.filter(|list| !list.is_empty()) {
        Some(list) => list.iter().filter_map(|mime| Some(mime.as_str()?.to_lowercase())).collect(),
        None => default.iter().map(|mime| (*mime).to_owned()).collect(),
    }
}

fn size(section: &Map<String, Value>, key: &str) -> Option<usize> {
    section.get(key).and_then(Value::as_u64).and_then(|size| usize::try_from(size).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_fetched_for_responses_and_for_chat_only_where_that_is_said() {
        let section = |value: Value| value.as_object().unwrap().clone();
        assert!(!chat(&section(json!({}))).images.remote.allowed);
        let open = json!({"images": {"allowUrl": true, "urlAllowlist": ["a.example"],
            "maxRedirects": 1, "timeoutMs": 500}});
        let expected = Remote {
            allowed: true,
            hosts: vec!["a.example".to_owned()],
            redirects: 1,
            time: Duration::from_millis(500),
        };
        assert_eq!(chat(&section(open)).images.remote, expected);
        let limits = responses(&section(json!({"files": {"allowUrl": false}})));
        assert!(limits.images.remote.allowed && !limits.remote_files.allowed);
    }

    #[test]
    fn a_plugin_is_on_when_its_entry_says_so_and_no_list_forbids_it() {
        let on = |plugins: Value| {
            let config = serde_json::from_value(json!({"plugins": plugins})).unwrap();
            has_plugin(&config, "admin-http-rpc")
        };
        let entries = json!({"admin-http-rpc": {"enabled": true}});
        assert!(on(json!({"entries": entries})));
        assert!(on(json!({"entries": entries, "allow": ["admin-http-rpc"]})));
        for off in [
            json!({}),
            json!({"entries": {"admin-http-rpc": {}}}),
            json!({"entries": entries, "enabled": false}),
            json!({"entries": entries, "allow": ["other"]}),
            json!({"entries": entries, "deny": ["admin-http-rpc"]}),
        ] {
            assert!(!on(off.clone()), "{off}");
        }
    }

    #[test]
    fn models_are_default_first_then_in_the_order_of_the_file() {
        let config: Config = serde_json::from_value(json!({"agents": {"list": [
            {"id": "Research"}, {"id": "main", "default": true}, {"id": "ops"}]}}))
        .unwrap();
        let agents = agent_ids(&config);
        assert_eq!(agents, ["main", "research", "ops"]);
        let list = models_list(&agents);
        let ids: Vec<&str> =
            list["data"].as_array().unwrap().iter().filter_map(|it| it["id"].as_str()).collect();
        assert_eq!(
            ids,
            ["openclaw", "openclaw/default", "openclaw/main", "openclaw/research", "openclaw/ops"]
        );
    }
}
