//! Old spellings → current ones, in memory.
//!
//! Migration only fills gaps: where both spellings exist the current one
//! stays. Roots that were dropped for good are left to validation.

use serde_json::{Map, Value, json};

/// Rewrites `config` and says what was changed, one sentence each.
pub fn migrate(config: &mut Value) -> Vec<String> {
    let mut changes = Vec::new();
    let Value::Object(root) = config else { return changes };
    bind(root, &mut changes);
    thread_bindings(root, &mut changes);
    streaming(root, &mut changes);
    move_key(root, "memorySearch", &["agents", "defaults", "memorySearch"], &mut changes);
    heartbeat(root, &mut changes);
    group_mentions(root, &mut changes);
    x_search(root, &mut changes);
    audio(root, &mut changes);
    tts(root, &mut changes);
    changes
}

fn bind(root: &mut Map<String, Value>, changes: &mut Vec<String>) {
    let Some(Value::String(bind)) =
        at(root, &["gateway"]).and_then(|gateway| gateway.get_mut("bind"))
    else {
        return;
    };
    let mode = match bind.trim().to_ascii_lowercase().as_str() {
        "0.0.0.0" | "::" | "[::]" | "*" => "lan",
        "127.0.0.1" | "localhost" | "::1" | "[::1]" => "loopback",
        _ => return,
    };
    changes.push(format!("gateway.bind \"{bind}\" is now \"{mode}\""));
    mode.clone_into(bind);
}

fn thread_bindings(root: &mut Map<String, Value>, changes: &mut Vec<String>) {
    each_scope(root, &["session"], &mut |path, section| {
        rename_hours(path, section, changes);
    });
    each_account(root, &["discord"], &mut |path, section| rename_hours(path, section, changes));
}

fn rename_hours(path: &str, section: &mut Map<String, Value>, changes: &mut Vec<String>) {
    let Some(Value::Object(bindings)) = section.get_mut("threadBindings") else { return };
    if let Some(hours) = bindings.shift_remove("ttlHours") {
        bindings.entry("idleHours").or_insert(hours);
        changes.push(format!("{path}.threadBindings.ttlHours is now idleHours"));
    }
}

fn streaming(root: &mut Map<String, Value>, changes: &mut Vec<String>) {
    each_account(root, &["telegram", "discord", "slack"], &mut |path, section| {
        let slack = path.starts_with("channels.slack");
        let old = section.shift_remove("streamMode");
        let switch = section.get("streaming").and_then(Value::as_bool);
        if old.is_none() && switch.is_none() {
            return;
        }
        let current = section.get("streaming").and_then(Value::as_str).map(str::to_owned);
        let mode =
            current.unwrap_or_else(|| match (old.as_ref().and_then(Value::as_str), switch) {
                (Some("append"), _) if slack => "block".to_owned(),
                (Some("status_final"), _) if slack => "progress".to_owned(),
                (Some("replace"), _) if slack => "partial".to_owned(),
                (Some(mode), _) => mode.to_owned(),
                (None, Some(false)) => "off".to_owned(),
                (None, _) => "partial".to_owned(),
            });
        if slack && let Some(native) = switch {
            section.entry("nativeStreaming").or_insert(Value::Bool(native));
        }
        changes.push(format!("{path}.streaming is now \"{mode}\""));
        section.insert("streaming".to_owned(), Value::String(mode));
    });
}

fn heartbeat(root: &mut Map<String, Value>, changes: &mut Vec<String>) {
    if !root.get("heartbeat").is_some_and(Value::is_object) {
        return;
    }
    let Some(Value::Object(old)) = root.shift_remove("heartbeat") else { return };
    let (shown, agent): (Map<_, _>, Map<_, _>) = old
        .into_iter()
        .partition(|(key, _)| matches!(key.as_str(), "showOk" | "showAlerts" | "useIndicator"));
    for (keys, path) in [
        (agent, ["agents", "defaults", "heartbeat"]),
        (shown, ["channels", "defaults", "heartbeat"]),
    ] {
        if !keys.is_empty() && put(root, &path, Value::Object(keys)) {
            changes.push(format!("heartbeat moved to {}", path.join(".")));
        }
    }
}

fn group_mentions(root: &mut Map<String, Value>, changes: &mut Vec<String>) {
    each_scope(root, &["channels", "telegram"], &mut |_, telegram| {
        if !telegram.get("groupMentionsOnly").is_some_and(Value::is_boolean) {
            return;
        }
        let Some(only) = telegram.shift_remove("groupMentionsOnly") else { return };
        put(telegram, &["groups", "*", "requireMention"], only);
        changes.push(
            "channels.telegram.groupMentionsOnly moved to groups.\"*\".requireMention".to_owned(),
        );
    });
}

fn x_search(root: &mut Map<String, Value>, changes: &mut Vec<String>) {
    let Some(section) = at(root, &["tools", "web", "x_search"]) else { return };
    let Some(key) = section.shift_remove("apiKey") else { return };
    put(root, &["plugins", "entries", "xai", "config", "webSearch", "apiKey"], key);
    changes.push(
        "tools.web.x_search.apiKey moved to plugins.entries.xai.config.webSearch.apiKey".to_owned(),
    );
}

fn audio(root: &mut Map<String, Value>, changes: &mut Vec<String>) {
    let Some(audio) = at(root, &["audio"]) else { return };
    let Some(old) = audio.get("transcription").cloned() else { return };
    let command: Option<Vec<String>> = old
        .get("command")
        .and_then(Value::as_array)
        .and_then(|words| words.iter().map(|word| word.as_str().map(str::to_owned)).collect());
    let Some((program, args)) = command.as_deref().and_then(<[String]>::split_first) else {
        return;
    };
    let mut model = json!({"type": "cli", "command": program, "args": args});
    if let (Some(seconds), Value::Object(model)) = (old.get("timeoutSeconds"), &mut model) {
        model.insert("timeoutSeconds".to_owned(), seconds.clone());
    }
    audio.shift_remove("transcription");
    if audio.is_empty() {
        root.shift_remove("audio");
    }
    put(root, &["tools", "media", "audio", "enabled"], Value::Bool(true));
    put(root, &["tools", "media", "audio", "models"], json!([model]));
    changes.push("audio.transcription moved to tools.media.audio.models".to_owned());
}

fn tts(root: &mut Map<String, Value>, changes: &mut Vec<String>) {
    let mut visit = |path: &str, section: &mut Map<String, Value>| {
        let Some(Value::Object(tts)) = section.get_mut("tts") else { return };
        for (old, provider) in [
            ("openai", "openai"),
            ("elevenlabs", "elevenlabs"),
            ("microsoft", "microsoft"),
            ("edge", "microsoft"),
        ] {
            if !tts.get(old).is_some_and(Value::is_object) {
                continue;
            }
            let Some(settings) = tts.shift_remove(old) else { continue };
            put(tts, &["providers", provider], settings);
            changes.push(format!("{path}.tts.{old} moved to {path}.tts.providers.{provider}"));
        }
        if let Some(Value::String(provider)) = tts.get_mut("provider")
            && provider == "edge"
        {
            "microsoft".clone_into(provider);
            changes.push(format!("{path}.tts.provider \"edge\" is now \"microsoft\""));
        }
    };
    each_scope(root, &["messages"], &mut visit);
    each_scope(root, &["channels", "discord", "voice"], &mut visit);
    each_scope(root, &["plugins", "entries", "voice-call", "config"], &mut visit);
    let Some(accounts) = at(root, &["channels", "discord", "accounts"]) else { return };
    for (id, account) in accounts.iter_mut() {
        if let Some(voice) = account.as_object_mut().and_then(|account| at(account, &["voice"])) {
            visit(&format!("channels.discord.accounts.{id}.voice"), voice);
        }
    }
}

/// The object at `path`, if every step is an object.
fn at<'a>(root: &'a mut Map<String, Value>, path: &[&str]) -> Option<&'a mut Map<String, Value>> {
    path.iter().try_fold(root, |object, key| object.get_mut(*key)?.as_object_mut())
}

fn each_scope(
    root: &mut Map<String, Value>,
    path: &[&str],
    visit: &mut dyn FnMut(&str, &mut Map<String, Value>),
) {
    if let Some(section) = at(root, path) {
        visit(&path.join("."), section);
    }
}

/// Visits each named channel and each of its accounts.
fn each_account(
    root: &mut Map<String, Value>,
    channels: &[&str],
    visit: &mut dyn FnMut(&str, &mut Map<String, Value>),
) {
    for channel in channels {
        let Some(section) = at(root, &["channels", channel]) else { continue };
        visit(&format!("channels.{channel}"), section);
        let Some(accounts) = at(section, &["accounts"]) else { continue };
        for (id, account) in accounts.iter_mut() {
            if let Some(account) = account.as_object_mut() {
                visit(&format!("channels.{channel}.accounts.{id}"), account);
            }
        }
    }
}

fn move_key(root: &mut Map<String, Value>, key: &str, path: &[&str], changes: &mut Vec<String>) {
    if !root.get(key).is_some_and(Value::is_object) {
        return;
    }
    if let Some(value) = root.shift_remove(key) {
        put(root, path, value);
        changes.push(format!("{key} moved to {}", path.join(".")));
    }
}

/// Puts `value` at `path` where nothing stands yet; objects merge. `false` if
/// the way is blocked by something that is not an object.
fn put(root: &mut Map<String, Value>, path: &[&str], value: Value) -> bool {
    let Some((last, way)) = path.split_last() else { return false };
    let mut object = root;
    for key in way {
        let next = object.entry(*key).or_insert_with(|| Value::Object(Map::new()));
        let Value::Object(next) = next else { return false };
        object = next;
    }
    match (object.get_mut(*last), value) {
        (None, value) => {
            object.insert((*last).to_owned(), value);
        }
        (Some(Value::Object(existing)), Value::Object(more)) => {
            for (key, value) in more {
                existing.entry(key).or_insert(value);
            }
        }
        _ => {}
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(mut old: Value, new: &Value) {
        let changes = migrate(&mut old);
        assert_eq!(old, *new);
        assert!(!changes.is_empty());
        let mut again = old.clone();
        assert!(migrate(&mut again).is_empty(), "migration is not idempotent");
    }

    #[test]
    fn old_spellings_become_current_ones() {
        check(json!({"gateway": {"bind": "0.0.0.0"}}), &json!({"gateway": {"bind": "lan"}}));
        check(
            json!({"session": {"threadBindings": {"ttlHours": 5}}}),
            &json!({"session": {"threadBindings": {"idleHours": 5}}}),
        );
        check(
            json!({"channels": {"telegram": {"streamMode": "partial", "accounts": {"a": {"streaming": false}}}}}),
            &json!({"channels": {"telegram": {"accounts": {"a": {"streaming": "off"}}, "streaming": "partial"}}}),
        );
        check(
            json!({"channels": {"slack": {"streaming": true, "streamMode": "append"}}}),
            &json!({"channels": {"slack": {"streaming": "block", "nativeStreaming": true}}}),
        );
        check(
            json!({"heartbeat": {"every": "10m", "showOk": true}}),
            &json!({"agents": {"defaults": {"heartbeat": {"every": "10m"}}}, "channels": {"defaults": {"heartbeat": {"showOk": true}}}}),
        );
        check(
            json!({"memorySearch": {"enabled": false}}),
            &json!({"agents": {"defaults": {"memorySearch": {"enabled": false}}}}),
        );
        check(
            json!({"channels": {"telegram": {"groupMentionsOnly": true}}}),
            &json!({"channels": {"telegram": {"groups": {"*": {"requireMention": true}}}}}),
        );
        check(
            json!({"messages": {"tts": {"provider": "edge", "edge": {"voice": "x"}}}}),
            &json!({"messages": {"tts": {"provider": "microsoft", "providers": {"microsoft": {"voice": "x"}}}}}),
        );
        check(
            json!({"audio": {"transcription": {"command": ["whisper", "-x"], "timeoutSeconds": 9}}}),
            &json!({"tools": {"media": {"audio": {"enabled": true, "models": [{"type": "cli", "command": "whisper", "args": ["-x"], "timeoutSeconds": 9}]}}}}),
        );
    }

    #[test]
    fn a_current_spelling_is_never_overwritten() {
        check(
            json!({"heartbeat": {"every": "10m"}, "agents": {"defaults": {"heartbeat": {"every": "1h"}}}}),
            &json!({"agents": {"defaults": {"heartbeat": {"every": "1h"}}}}),
        );
    }
}
