//! Defaults of the runtime view. They are never written to the file.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::profile::paths;

/// Fills in what the file leaves out and expands `~` in path settings.
pub fn apply(config: &mut Value, home: &Path) {
    let Value::Object(root) = config else { return };
    fill(root, "messages", &json!({"ackReactionScope": "group-mentions"}));
    fill(
        root,
        "agents",
        &json!({"defaults": {
            "maxConcurrent": 4,
            "subagents": {"maxConcurrent": 8},
            "compaction": {"mode": "safeguard"},
        }}),
    );
    fill(
        root,
        "commands",
        &json!({"native": "auto", "nativeSkills": "auto", "restart": true, "ownerDisplay": "raw"}),
    );
    if root.contains_key("logging") {
        fill(root, "logging", &json!({"redactSensitive": "tools"}));
    }
    if let Some(session) = root.get_mut("session").and_then(Value::as_object_mut) {
        session.insert("mainKey".to_owned(), json!("main"));
    }
    models(root);
    channels(root);
    expand_paths(config, home);
}

/// Adds the members of `defaults` that `root[key]` lacks, at any depth.
fn fill(root: &mut Map<String, Value>, key: &str, defaults: &Value) {
    let Value::Object(defaults) = defaults else { return };
    let entry = root.entry(key).or_insert_with(|| Value::Object(Map::new()));
    let Value::Object(section) = entry else { return };
    for (key, value) in defaults {
        if value.is_object() {
            fill(section, key, value);
        } else if !section.contains_key(key) {
            section.insert(key.clone(), value.clone());
        }
    }
}

fn models(root: &mut Map<String, Value>) {
    let providers = root
        .get_mut("models")
        .and_then(|models| models.get_mut("providers"))
        .and_then(Value::as_object_mut);
    for (name, provider) in providers.into_iter().flatten() {
        let Value::Object(provider) = provider else { continue };
        if name == "anthropic" {
            provider.entry("api").or_insert_with(|| json!("anthropic-messages"));
        }
        let api = provider.get("api").cloned();
        let models = provider.get_mut("models").and_then(Value::as_array_mut);
        for model in models.into_iter().flatten().filter_map(Value::as_object_mut) {
            if let Some(api) = &api {
                model.entry("api").or_insert_with(|| api.clone());
            }
            model.entry("reasoning").or_insert(Value::Bool(false));
            model.entry("input").or_insert_with(|| json!(["text"]));
            let cost = model.entry("cost").or_insert_with(|| json!({}));
            if let Value::Object(cost) = cost {
                for key in ["input", "output", "cacheRead", "cacheWrite"] {
                    cost.entry(key).or_insert_with(|| json!(0));
                }
            }
            let window = model.entry("contextWindow").or_insert_with(|| json!(200_000));
            let window = window.as_u64().unwrap_or(200_000);
            model.entry("maxTokens").or_insert_with(|| json!(window.min(8192)));
        }
    }
}

fn channels(root: &mut Map<String, Value>) {
    let Some(Value::Object(channels)) = root.get_mut("channels") else { return };
    for (name, channel) in channels.iter_mut() {
        let Value::Object(channel) = channel else { continue };
        if matches!(name.as_str(), "defaults" | "modelByChannel") {
            continue;
        }
        // Its rules for people are under `dm`, and those for rooms fall back on
        // `channels.defaults`: a value here would silence both.
        if name == "matrix" {
            continue;
        }
        channel.entry("dmPolicy").or_insert_with(|| json!("pairing"));
        channel.entry("groupPolicy").or_insert_with(|| json!("allowlist"));
        if name == "slack" {
            channel.entry("mode").or_insert_with(|| json!("socket"));
            channel.entry("webhookPath").or_insert_with(|| json!("/slack/events"));
            channel.entry("userTokenReadOnly").or_insert(Value::Bool(true));
        }
    }
}

/// Whether a setting of this name holds a path of the host.
fn is_path_key(key: &str) -> bool {
    const NAMES: &[&str] =
        &["agentDir", "cwd", "file", "filePath", "path", "paths", "root", "store", "workspace"];
    const ENDINGS: &[&str] = &["Dir", "Dirs", "File", "Path", "Paths", "Root", "Workspace"];
    NAMES.contains(&key) || ENDINGS.iter().any(|ending| key.ends_with(ending))
}

fn expand_paths(value: &mut Value, home: &Path) {
    match value {
        Value::Object(object) => {
            for (key, value) in object.iter_mut() {
                match value {
                    Value::String(text) if is_path_key(key) => expand(text, home),
                    Value::Array(items) if is_path_key(key) => {
                        for item in items {
                            if let Value::String(text) = item {
                                expand(text, home);
                            }
                        }
                    }
                    other => expand_paths(other, home),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| expand_paths(item, home)),
        _ => {}
    }
}

fn expand(text: &mut String, home: &Path) {
    if text == "~" || text.starts_with("~/") {
        *text = paths::expand(text, home).to_string_lossy().into_owned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_fill_gaps_and_keep_choices() {
        let mut config = json!({
            "commands": {"restart": false},
            "logging": {"file": "~/x.log"},
            "session": {"mainKey": "home"},
            "channels": {
                "slack": {"mode": "http"}, "defaults": {}, "matrix": {"dm": {"policy": "open"}},
            },
            "models": {"providers": {"anthropic": {"models": [{"id": "m", "contextWindow": 4000}]}}},
        });
        apply(&mut config, Path::new("/h"));
        assert_eq!(
            config["commands"],
            json!({"restart": false, "native": "auto", "nativeSkills": "auto", "ownerDisplay": "raw"})
        );
        assert_eq!(config["logging"], json!({"file": "/h/x.log", "redactSensitive": "tools"}));
        assert_eq!(config["session"]["mainKey"], "main");
        assert_eq!(config["channels"]["slack"]["mode"], "http");
        assert_eq!(config["channels"]["slack"]["dmPolicy"], "pairing");
        assert_eq!(config["channels"]["defaults"], json!({}));
        assert_eq!(config["channels"]["matrix"], json!({"dm": {"policy": "open"}}));
        let model = &config["models"]["providers"]["anthropic"]["models"][0];
        assert_eq!(model["maxTokens"], 4000);
        assert_eq!(model["api"], "anthropic-messages");
        assert_eq!(config["agents"]["defaults"]["maxConcurrent"], 4);
    }
}
