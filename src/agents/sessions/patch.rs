//! What `sessions.patch` changes: a pure plan from params to fields.

use serde_json::Value;

use crate::agents::sessions::Entry;
use crate::agents::sessions::rows::ModelChoice;
use crate::base::id::SessionKey;

/// Thinking levels and the other spellings people type.
const THINKING: &[(&str, &str)] = &[
    ("off", "off"),
    ("none", "off"),
    ("minimal", "minimal"),
    ("min", "minimal"),
    ("low", "low"),
    ("on", "low"),
    ("medium", "medium"),
    ("med", "medium"),
    ("mid", "medium"),
    ("high", "high"),
    ("max", "high"),
    ("ultra", "high"),
    ("xhigh", "xhigh"),
    ("adaptive", "adaptive"),
    ("auto", "adaptive"),
];

/// The stored spelling of a thinking level.
pub(crate) fn thinking_level(typed: &str) -> Option<&'static str> {
    let typed = typed.trim().to_ascii_lowercase();
    THINKING.iter().find(|(name, _)| *name == typed).map(|(_, level)| *level)
}

/// One changed field; `None` removes it.
type Change = (&'static str, Option<Value>);

/// The fields a patch changes.
///
/// # Errors
/// The text is part of the wire contract.
pub(crate) fn plan(patch: &Value, default: &ModelChoice) -> Result<Vec<Change>, String> {
    let mut changes: Vec<Change> = Vec::new();
    let Some(fields) = patch.as_object() else { return Ok(changes) };
    for (name, value) in fields {
        let text = value.as_str().map(str::trim);
        match (name.as_str(), value) {
            ("key", _) => {}
            ("model", Value::Null) => {
                changes.push(("providerOverride", None));
                changes.push(("modelOverride", None));
            }
            ("model", _) => {
                let (provider, model) = split_model(text.unwrap_or_default(), &default.provider)?;
                let is_default = provider == default.provider && model == default.model;
                changes.push(("providerOverride", (!is_default).then(|| provider.into())));
                changes.push(("modelOverride", (!is_default).then(|| model.into())));
            }
            ("thinkingLevel", Value::String(typed)) => {
                let level = thinking_level(typed).ok_or_else(|| {
                    "invalid thinkingLevel (use off|minimal|low|medium|high|xhigh|adaptive)"
                        .to_owned()
                })?;
                changes.push(("thinkingLevel", Some(level.into())));
            }
            ("verboseLevel", Value::String(_)) => {
                changes.push((
                    "verboseLevel",
                    Some(one_of(text, &["on", "off", "full"], "verboseLevel")?),
                ));
            }
            ("reasoningLevel", Value::String(_)) => {
                let level = one_of(text, &["on", "off", "stream"], "reasoningLevel")?;
                changes.push(("reasoningLevel", (level != "off").then_some(level)));
            }
            ("elevatedLevel", Value::String(_)) => {
                let level = one_of(text, &["on", "off", "ask", "full"], "elevatedLevel")?;
                changes.push(("elevatedLevel", Some(level)));
            }
            ("responseUsage", Value::String(_)) => {
                let level = one_of(text, &["off", "tokens", "full", "on"], "responseUsage")?;
                let level = if level == "on" { "tokens".into() } else { level };
                changes.push(("responseUsage", (level != "off").then_some(level)));
            }
            ("execHost", Value::String(_)) => {
                let host = one_of(text, &["auto", "sandbox", "gateway", "node"], "execHost")?;
                changes.push(("execHost", Some(host)));
            }
            ("execSecurity", Value::String(_)) => {
                let level = one_of(text, &["deny", "allowlist", "full"], "execSecurity")?;
                changes.push(("execSecurity", Some(level)));
            }
            ("execAsk", Value::String(_)) => {
                changes.push((
                    "execAsk",
                    Some(one_of(text, &["off", "on-miss", "always"], "execAsk")?),
                ));
            }
            ("label", Value::String(_)) => {
                let label = text.filter(|label| !label.is_empty());
                let label = label.ok_or_else(|| "invalid label: empty".to_owned())?;
                changes.push(("label", Some(label.into())));
            }
            (name, value) => {
                if let Some(known) = PLAIN.iter().find(|known| **known == name) {
                    changes.push((known, (!value.is_null()).then(|| value.clone())));
                }
            }
        }
    }
    Ok(changes)
}

/// Fields stored as given; `null` removes any of them.
const PLAIN: &[&str] = &[
    "label",
    "thinkingLevel",
    "fastMode",
    "verboseLevel",
    "reasoningLevel",
    "elevatedLevel",
    "responseUsage",
    "execHost",
    "execSecurity",
    "execAsk",
    "execNode",
    "sendPolicy",
    "groupActivation",
    "spawnedBy",
    "spawnedWorkspaceDir",
    "spawnDepth",
    "subagentRole",
    "subagentControlScope",
];

/// Who started a session is for those that others start, and said once.
pub(crate) fn check_lineage(
    patch: &Value,
    key: &SessionKey,
    known: Option<&Entry>,
) -> Result<(), String> {
    const LINEAGE: [&str; 5] =
        ["spawnedBy", "spawnedWorkspaceDir", "spawnDepth", "subagentRole", "subagentControlScope"];
    let rest = key.as_str().split(':').nth(2).unwrap_or_default();
    let started = ["subagent", "acp"].contains(&rest);
    for name in LINEAGE {
        let Some(value) = patch.get(name) else { continue };
        let before =
            known.and_then(|entry| entry.fields().get(name)).filter(|before| !before.is_null());
        if value.is_null() {
            if before.is_some() {
                return Err(format!("{name} cannot be cleared once set"));
            }
            continue;
        }
        if value.as_str().is_some_and(|text| text.trim().is_empty()) {
            return Err(format!("invalid {name}: empty"));
        }
        if !started {
            return Err(format!("{name} is only supported for subagent:* or acp:* sessions"));
        }
        if before.is_some_and(|before| before != value) {
            return Err(format!("{name} cannot be changed once set"));
        }
    }
    Ok(())
}

fn one_of(text: Option<&str>, allowed: &[&str], name: &str) -> Result<Value, String> {
    let text = text.unwrap_or_default().to_ascii_lowercase();
    if allowed.contains(&text.as_str()) {
        Ok(text.into())
    } else {
        let listed: Vec<String> = allowed.iter().map(|level| format!("\"{level}\"")).collect();
        Err(format!("invalid {name} (use {})", listed.join("|")))
    }
}

/// Splits at the first slash; a bare model belongs to the default provider.
pub(crate) fn split_model(text: &str, provider: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((provider, model)) if !provider.trim().is_empty() && !model.trim().is_empty() => {
            Ok((provider.trim().to_owned(), model.trim().to_owned()))
        }
        None if !text.is_empty() => Ok((provider.to_owned(), text.to_owned())),
        _ => Err(format!("invalid model: {text}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn planned(patch: &Value) -> Result<Vec<Change>, String> {
        let default =
            ModelChoice { provider: "fake".into(), model: "tiny-1".into(), context_tokens: 1 };
        plan(patch, &default)
    }

    #[test]
    fn a_model_is_split_at_the_first_slash() {
        let changes = planned(&json!({"key": "main", "model": "openrouter/a/b"})).unwrap();
        assert_eq!(
            changes,
            [
                ("providerOverride", Some("openrouter".into())),
                ("modelOverride", Some("a/b".into()))
            ]
        );
    }

    #[test]
    fn the_default_model_and_null_clear_the_override() {
        for model in [json!("fake/tiny-1"), json!("tiny-1"), Value::Null] {
            let changes = planned(&json!({"key": "main", "model": model})).unwrap();
            assert_eq!(changes, [("providerOverride", None), ("modelOverride", None)]);
        }
    }

    #[test]
    fn who_started_a_session_is_said_once_and_of_those_that_are_started() {
        let mut known = Entry::default();
        let check = |key: &str, patch: Value, known: &Entry| {
            check_lineage(&patch, &SessionKey::new(key), Some(known))
        };
        let (own, started) = ("agent:main:main", "agent:main:subagent:x");
        let said = json!({"spawnedBy": own});
        assert_eq!(
            check(own, said.clone(), &known).unwrap_err(),
            "spawnedBy is only supported for subagent:* or acp:* sessions"
        );
        check(started, said.clone(), &known).unwrap();
        check(started, json!({"spawnedBy": null}), &known).unwrap();
        known.set("spawnedBy", own);
        check(started, said, &known).unwrap();
        for (value, why) in [(json!("agent:main:y"), "changed"), (Value::Null, "cleared")] {
            let err = check(started, json!({"spawnedBy": value}), &known).unwrap_err();
            assert_eq!(err, format!("spawnedBy cannot be {why} once set"));
        }
    }

    #[test]
    fn levels_are_checked_and_spelled_one_way() {
        let changes = planned(&json!({"thinkingLevel": "MAX", "fastMode": null})).unwrap();
        assert_eq!(changes, [("thinkingLevel", Some("high".into())), ("fastMode", None)]);
        assert!(planned(&json!({"thinkingLevel": "loud"})).unwrap_err().contains("thinkingLevel"));
        assert!(planned(&json!({"execHost": "moon"})).unwrap_err().contains("execHost"));
    }
}
