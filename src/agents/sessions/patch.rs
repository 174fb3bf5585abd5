//! What `sessions.patch` changes: a pure plan from params to fields.

use serde_json::Value;

use crate::agents::sessions::rows::ModelChoice;

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
                    Some(one_of(text, &["off", "on", "full"], "verboseLevel")?),
                ));
            }
            ("reasoningLevel", Value::String(_)) => {
                let level = one_of(text, &["off", "on", "stream"], "reasoningLevel")?;
                changes.push(("reasoningLevel", (level != "off").then_some(level)));
            }
            ("elevatedLevel", Value::String(_)) => {
                let level = one_of(text, &["off", "on", "ask", "full"], "elevatedLevel")?;
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
    fn levels_are_checked_and_spelled_one_way() {
        let changes = planned(&json!({"thinkingLevel": "MAX", "fastMode": null})).unwrap();
        assert_eq!(changes, [("thinkingLevel", Some("high".into())), ("fastMode", None)]);
        assert!(planned(&json!({"thinkingLevel": "loud"})).unwrap_err().contains("thinkingLevel"));
        assert!(planned(&json!({"execHost": "moon"})).unwrap_err().contains("execHost"));
    }
}
