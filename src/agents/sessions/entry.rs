//! One entry of `sessions.json`: a JSON object whose known fields have
//! accessors and whose unknown fields survive.

use serde_json::Map;
use serde_json::Value;

use crate::base::id::uuid;

/// Large caches that the reference keeps in entries; dropped when an entry
/// is rewritten here, because nothing native reads them.
const CACHES: &[&str] = &["skillsSnapshot", "systemPromptReport"];

/// What survives `/new` and `/reset`: the user's choices and where replies go.
const KEPT_ON_RESET: &[&str] = &[
    "thinkingLevel",
    "fastMode",
    "verboseLevel",
    "reasoningLevel",
    "elevatedLevel",
    "responseUsage",
    "providerOverride",
    "modelOverride",
    "authProfileOverride",
    "authProfileOverrideSource",
    "groupActivation",
    "sendPolicy",
    "queueMode",
    "queueDebounceMs",
    "queueCap",
    "queueDrop",
    "execHost",
    "execSecurity",
    "execAsk",
    "execNode",
    "chatType",
    "model",
    "modelProvider",
    "contextTokens",
    "label",
    "displayName",
    "channel",
    "groupId",
    "groupChannel",
    "subject",
    "space",
    "origin",
    "deliveryContext",
    "lastChannel",
    "lastTo",
    "lastAccountId",
    "lastThreadId",
    "spawnedBy",
    "spawnDepth",
    "spawnedWorkspaceDir",
    "subagentRole",
    "subagentControlScope",
    "parentSessionKey",
];

/// One session as stored.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Entry(Map<String, Value>);

impl Entry {
    /// An entry with a fresh session id.
    pub fn fresh(now_ms: u64) -> Self {
        let mut entry = Self::default();
        entry.set("sessionId", uuid());
        entry.set("updatedAt", now_ms);
        entry
    }

    pub fn from_fields(fields: Map<String, Value>) -> Self {
        Self(fields)
    }

    pub fn fields(&self) -> &Map<String, Value> {
        &self.0
    }

    pub fn into_fields(self) -> Map<String, Value> {
        self.0
    }

    /// The field as text; `None` when absent, blank or of another type.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.as_str().filter(|text| !text.trim().is_empty())
    }

    /// The field as a whole number; fractions are cut off.
    pub fn number(&self, key: &str) -> Option<u64> {
        let value = self.0.get(key)?;
        value.as_u64().or_else(|| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "JavaScript writes whole numbers as floats; negative ones count as zero"
            )]
            value.as_f64().map(|float| float.max(0.0) as u64)
        })
    }

    pub fn float(&self, key: &str) -> Option<f64> {
        self.0.get(key)?.as_f64()
    }

    pub fn flag(&self, key: &str) -> bool {
        self.0.get(key).and_then(Value::as_bool).unwrap_or(false)
    }

    pub fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.0.insert(key.to_owned(), value.into());
    }

    /// Sets the field, or removes it for `None`.
    pub fn set_or_clear(&mut self, key: &str, value: Option<impl Into<Value>>) {
        match value {
            Some(value) => self.set(key, value),
            None => self.clear(key),
        }
    }

    pub fn clear(&mut self, key: &str) {
        self.0.shift_remove(key);
    }

    /// Empty when the entry never had a run.
    pub fn session_id(&self) -> &str {
        self.text("sessionId").unwrap_or_default()
    }

    pub fn updated_at(&self) -> u64 {
        self.number("updatedAt").unwrap_or_default()
    }

    /// `provider/model` chosen for this session, if any.
    pub fn model_override(&self) -> Option<(Option<&str>, &str)> {
        Some((self.text("providerOverride"), self.text("modelOverride")?))
    }

    pub fn drop_caches(&mut self) {
        for key in CACHES {
            self.clear(key);
        }
    }

    /// The entry that replaces this one after a reset: fresh id, counters at
    /// zero, choices kept.
    #[must_use]
    pub fn reset(&self, now_ms: u64) -> Self {
        let mut next = Self::fresh(now_ms);
        next.set("systemSent", false);
        next.set("abortedLastRun", false);
        for key in KEPT_ON_RESET {
            if let Some(value) = self.0.get(*key) {
                next.set(key, value.clone());
            }
        }
        for key in ["inputTokens", "outputTokens", "totalTokens"] {
            next.set(key, 0);
        }
        next.set("totalTokensFresh", true);
        next
    }
}

/// Merges two changes of the same entry: a field that `ours` left as in `base`
/// is taken from `theirs`.
pub(crate) fn merge(base: Option<&Entry>, ours: &Entry, theirs: &Entry) -> Entry {
    let empty = Entry::default();
    let base = base.unwrap_or(&empty);
    let mut merged = theirs.clone();
    for (key, value) in &ours.0 {
        if base.0.get(key) != Some(value) {
            merged.set(key, value.clone());
        }
    }
    for key in base.0.keys() {
        if !ours.0.contains_key(key) {
            merged.clear(key);
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(value: Value) -> Entry {
        serde_json::from_value(value).map(Entry).unwrap()
    }

    #[test]
    fn a_merge_keeps_both_sides_changes() {
        let base = entry(json!({"sessionId": "s", "label": "old", "gone": 1, "n": 1}));
        let ours = entry(json!({"sessionId": "s", "label": "old", "n": 2}));
        let theirs = entry(json!({"sessionId": "s", "label": "theirs", "gone": 1, "n": 1, "x": 3}));
        let merged = merge(Some(&base), &ours, &theirs);
        assert_eq!(merged, entry(json!({"sessionId": "s", "label": "theirs", "n": 2, "x": 3})));
    }

    #[test]
    fn a_reset_keeps_choices_and_clears_counters() {
        let old = entry(json!({
            "sessionId": "s", "thinkingLevel": "low", "label": "crud", "inputTokens": 7,
            "sessionFile": "/x/s.jsonl", "compactionCount": 2, "lastTo": "irc:alice"
        }));
        let next = old.reset(5);
        assert_ne!(next.session_id(), "s");
        assert_eq!(next.text("thinkingLevel"), Some("low"));
        assert_eq!(next.text("label"), Some("crud"));
        assert_eq!(next.number("inputTokens"), Some(0));
        assert_eq!(next.text("sessionFile"), None);
        assert_eq!(next.number("compactionCount"), None);
        assert_eq!(next.updated_at(), 5);
    }
}
