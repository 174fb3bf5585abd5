//! Rows of `sessions.list`: a pure view of index entries.

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::agents::sessions::entry::Entry;
use crate::agents::sessions::keys::kind;

/// Fields copied as they are, in the order clients are used to.
const COPIED: &[&str] = &[
    "chatType",
    "origin",
    "updatedAt",
    "sessionId",
    "systemSent",
    "abortedLastRun",
    "thinkingLevel",
    "fastMode",
    "verboseLevel",
    "reasoningLevel",
    "elevatedLevel",
    "sendPolicy",
    "groupActivation",
    "inputTokens",
    "outputTokens",
    "totalTokens",
    "totalTokensFresh",
    "estimatedCostUsd",
    "status",
    "startedAt",
    "endedAt",
    "runtimeMs",
    "parentSessionKey",
    "spawnedBy",
    "spawnedWorkspaceDir",
    "spawnDepth",
    "subagentRole",
    "subagentControlScope",
    "responseUsage",
];

/// The model a session would use next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ModelChoice {
    pub(crate) provider: String,
    pub(crate) model: String,
    pub(crate) context_tokens: u64,
}

/// One row. `default` is what applies without an override.
pub(crate) fn row(key: &str, entry: &Entry, default: &ModelChoice) -> Value {
    let mut row = Map::new();
    row.insert("key".into(), key.into());
    row.insert("kind".into(), kind(key, entry.text("chatType")).into());
    let fields = entry.fields();
    let copy = |row: &mut Map<String, Value>, name: &str| {
        if let Some(value) = fields.get(name).filter(|value| !value.is_null()) {
            row.insert(name.to_owned(), value.clone());
        }
    };
    copy(&mut row, "label");
    if let Some(name) = display_name(entry) {
        row.insert("displayName".into(), name.into());
    }
    for name in ["channel", "subject", "groupChannel", "space"] {
        copy(&mut row, name);
    }
    for name in COPIED {
        copy(&mut row, name);
    }
    row.entry("updatedAt").or_insert(Value::Null);
    row.entry("totalTokensFresh").or_insert(false.into());
    let (provider, model) = model_of(entry, default);
    row.insert("modelProvider".into(), provider.into());
    row.insert("model".into(), model.into());
    let window = entry.number("contextTokens").unwrap_or(default.context_tokens);
    row.insert("contextTokens".into(), window.into());
    for name in ["deliveryContext", "lastChannel", "lastTo", "lastAccountId", "lastThreadId"] {
        copy(&mut row, name);
    }
    Value::Object(row)
}

/// Override, else what ran last, else the default.
pub(crate) fn model_of<'a>(entry: &'a Entry, default: &'a ModelChoice) -> (&'a str, &'a str) {
    if let Some((provider, model)) = entry.model_override() {
        return (provider.unwrap_or(&default.provider), model);
    }
    match (entry.text("modelProvider"), entry.text("model")) {
        (Some(provider), Some(model)) => (provider, model),
        _ => (&default.provider, &default.model),
    }
}

fn display_name(entry: &Entry) -> Option<String> {
    let origin = entry.fields().get("origin");
    entry
        .text("displayName")
        .or_else(|| entry.text("label"))
        .or_else(|| entry.text("subject"))
        .or_else(|| origin.and_then(|origin| origin["label"].as_str()))
        .map(str::to_owned)
}

/// Whether a row holds the words someone searches for.
pub(crate) fn matches(row: &Value, needle: &str) -> bool {
    ["key", "label", "displayName", "subject", "sessionId"]
        .iter()
        .filter_map(|field| row[*field].as_str())
        .any(|text| text.to_lowercase().contains(needle))
}

/// The snapshot that tool events and session events carry: the row, and its
/// fields once more at the top level.
pub(crate) fn snapshot(row: &Value) -> Value {
    let mut flat = json!({"session": row});
    if let (Some(flat), Some(fields)) = (flat.as_object_mut(), row.as_object()) {
        for (name, value) in fields {
            if name != "key" {
                flat.insert(name.clone(), value.clone());
            }
        }
    }
    flat
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_the_recorded_fields() {
        let entry: Map<String, Value> = serde_json::from_value(json!({
            "sessionId": "540d", "updatedAt": 5, "systemSent": true, "abortedLastRun": false,
            "chatType": "direct", "deliveryContext": {"channel": "webchat"},
            "lastChannel": "webchat", "origin": {"label": "probe", "provider": "webchat"},
            "sessionFile": "/x", "status": "done", "modelProvider": "fake", "model": "good-1",
            "contextTokens": 128_000, "totalTokens": 1200, "totalTokensFresh": true,
            "skillsSnapshot": {"prompt": "…"}
        }))
        .unwrap();
        let row = row("agent:main:main", &Entry::from_fields(entry), &ModelChoice::default());
        assert_eq!(
            row,
            json!({
                "key": "agent:main:main", "kind": "direct", "displayName": "probe",
                "chatType": "direct", "origin": {"label": "probe", "provider": "webchat"},
                "updatedAt": 5, "sessionId": "540d", "systemSent": true, "abortedLastRun": false,
                "totalTokens": 1200, "totalTokensFresh": true, "status": "done",
                "modelProvider": "fake", "model": "good-1", "contextTokens": 128_000,
                "deliveryContext": {"channel": "webchat"}, "lastChannel": "webchat"
            })
        );
    }

    #[test]
    fn an_override_comes_before_what_ran_last() {
        let mut entry = Entry::default();
        entry.set("modelProvider", "fake");
        entry.set("model", "good-1");
        let default = ModelChoice::default();
        assert_eq!(model_of(&entry, &default), ("fake", "good-1"));
        entry.set("providerOverride", "fakeb");
        entry.set("modelOverride", "backup-1");
        assert_eq!(model_of(&entry, &default), ("fakeb", "backup-1"));
    }
}
