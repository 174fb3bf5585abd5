//! `talk.*`, `tts.*` and `voicewake.*`: what voice clients ask about.
//!
//! This gateway speaks with no voice provider; it says that none is configured.

use std::fs;
use std::future::ready;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use crate::config::redact::{self, References};
use crate::gateway::nodes::Connected;
use crate::gateway::rpc::params::{blocking, flag};
use crate::gateway::rpc::{Call, Method, Reply};
use crate::gateway::state::State;
use crate::protocol::error::ErrorShape;
use crate::protocol::events::Event;
use crate::protocol::scope::Scope;
use crate::store::atomic::{self, Sync};

pub(crate) const METHODS: &[Method] = &[
    Method { name: "talk.config", run: |call| Box::pin(ready(talk_config(&call))) },
    Method { name: "talk.mode", run: |call| Box::pin(ready(talk_mode(&call))) },
    Method { name: "tts.status", run: |call| Box::pin(ready(Ok(tts_status(&call)))) },
    Method { name: "tts.providers", run: |call| Box::pin(ready(Ok(tts_providers(&call)))) },
    Method { name: "voicewake.get", run: |call| Box::pin(voicewake_get(call)) },
    Method { name: "voicewake.set", run: |call| Box::pin(voicewake_set(call)) },
];

const TRIGGERS: [&str; 3] = ["openclaw", "claude", "computer"];
const MAX_TRIGGERS: usize = 32;
const MAX_TRIGGER_CHARS: usize = 64;

fn talk_config(call: &Call) -> Reply {
    let secrets = flag(&call.params, "includeSecrets") == Some(true);
    if secrets {
        call.require(Scope::TalkSecrets)?;
    }
    let snapshot = call.state.config.load();
    Ok(json!({ "config": talk_sections(&snapshot.resolved, secrets) }))
}

/// Tells every client that talking begins or ends on one of them.
fn talk_mode(call: &Call) -> Reply {
    let client = &call.caller.client;
    let is_mobile = |node: &Connected| {
        let platform = node.platform.to_ascii_lowercase();
        ["ios", "ipados", "android"].iter().any(|name| platform.starts_with(name))
    };
    if client.is_webchat() && !call.state.services.nodes.all().iter().any(is_mobile) {
        let text = "talk disabled: no connected iOS/Android nodes";
        return Err(ErrorShape::unavailable(text));
    }
    let mode = json!({
        "enabled": flag(&call.params, "enabled"),
        "phase": call.params.get("phase"),
        "ts": call.now(),
    });
    call.state.bus.broadcast(Event::TalkMode, &mode);
    Ok(mode)
}

/// The parts of the configuration that voice clients need.
fn talk_sections(resolved: &Value, secrets: bool) -> Value {
    let mut config = Map::new();
    if let Some(talk) = resolved.get("talk").filter(|talk| talk.is_object()) {
        let mut talk = talk.clone();
        if !secrets {
            hide_keys(&mut talk);
            talk = redact::redact(&talk, "talk", References::Masked);
        }
        config.insert("talk".into(), talk);
    }
    for (section, key) in [("session", "mainKey"), ("ui", "seamColor")] {
        if let Some(value) = resolved.get(section).and_then(|section| section.get(key)) {
            config.insert(section.into(), json!({ key: value }));
        }
    }
    Value::Object(config)
}

fn hide_keys(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if key == "apiKey" && !value.is_null() {
                    *value = "__OPENCLAW_REDACTED__".into();
                } else {
                    hide_keys(value);
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(hide_keys),
        _ => {}
    }
}

fn tts_status(call: &Call) -> Value {
    json!({
        "enabled": false,
        "auto": "off",
        "provider": "",
        "fallbackProvider": null,
        "fallbackProviders": [],
        "prefsPath": call.state.paths.state.join("settings/tts.json"),
        "providerStates": [],
    })
}

fn tts_providers(_call: &Call) -> Value {
    json!({ "providers": [], "active": "" })
}

async fn voicewake_get(call: Call) -> Reply {
    blocking(move || Ok(json!({ "triggers": triggers(&call.state) }))).await
}

async fn voicewake_set(call: Call) -> Reply {
    let Some(list) = call.params.get("triggers").and_then(Value::as_array) else {
        return Err(ErrorShape::invalid("voicewake.set requires triggers: string[]"));
    };
    let triggers = tidy(list.iter().filter_map(Value::as_str));
    blocking(move || {
        let text = json!({ "triggers": triggers, "updatedAtMs": call.now() });
        let bytes = serde_json::to_vec_pretty(&text).unwrap_or_default();
        atomic::write(&file(&call.state), &bytes, Sync::Yes)
            .map_err(|err| ErrorShape::unavailable(format!("Error: {err}")))?;
        let payload = json!({ "triggers": triggers });
        call.state.bus.broadcast(Event::VoicewakeChanged, &payload);
        Ok(payload)
    })
    .await
}

/// Words that wake voice clients. Blocking.
pub(crate) fn triggers(state: &State) -> Vec<String> {
    let saved: Value = fs::read(file(state))
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    let list = saved["triggers"].as_array().map_or(&[][..], Vec::as_slice);
    tidy(list.iter().filter_map(Value::as_str))
}

/// Trimmed and bounded; the usual words when nothing is left.
fn tidy<'t>(list: impl Iterator<Item = &'t str>) -> Vec<String> {
    let kept: Vec<String> = list
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .take(MAX_TRIGGERS)
        .map(|word| word.chars().take(MAX_TRIGGER_CHARS).collect())
        .collect();
    if kept.is_empty() { TRIGGERS.map(str::to_owned).to_vec() } else { kept }
}

fn file(state: &State) -> PathBuf {
    state.paths.state.join("settings/voicewake.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn voice_clients_see_no_keys_unless_they_may() {
        let config = json!({"talk": {"providers": {"x": {"apiKey": "s3cret", "voiceId": "v"}}},
            "session": {"mainKey": "main"}, "gateway": {"port": 1}});
        let hidden = talk_sections(&config, false);
        assert_eq!(hidden["talk"]["providers"]["x"]["apiKey"], "__OPENCLAW_REDACTED__");
        assert_eq!(hidden["session"], json!({"mainKey": "main"}));
        assert!(hidden.get("gateway").is_none());
        assert_eq!(talk_sections(&config, true)["talk"]["providers"]["x"]["apiKey"], "s3cret");
        assert_eq!(talk_sections(&json!({}), false), json!({}));
    }

    #[test]
    fn blank_triggers_fall_back_to_the_usual_words() {
        assert_eq!(tidy(["  ", ""].into_iter()), TRIGGERS);
        assert_eq!(tidy([" hey "].into_iter()), ["hey"]);
    }
}
