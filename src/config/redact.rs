//! Hiding secrets in what is shown, and putting them back in what returns.
//!
//! A shown document carries [`SENTINEL`] where a secret stands. When a client
//! sends such a document back, [`restore`] fills in what the file has; a
//! sentinel with nothing behind it is an error, never data.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::base::embedded::{self, in_argument, may_name_a_secret, named_like_a_secret};
use crate::base::redact::without;
use crate::config::json5::{Kind, Node};
use crate::config::schema::table::{self, Kind as Shape};
use crate::config::substitute;
use crate::config::validate::secret_ref;
use crate::profile::env::Env;

/// Part of the contract.
pub const SENTINEL: &str = "__OPENCLAW_REDACTED__";

/// How secret references are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum References {
    /// Source and provider stay, the id is hidden.
    Masked,
    /// In full: they name a secret, they are none.
    Shown,
}

/// A sentinel that stands for nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SentinelError {
    #[error("Reserved redaction sentinel \"{SENTINEL}\" is not valid config data ({path}).")]
    NothingBehind { path: String },
    #[error(
        "secret reference at {path} changed its source or provider while its id is still \"{SENTINEL}\""
    )]
    ReferenceChanged { path: String },
}

/// A copy of `value`, which stands at `path`, without its secrets.
pub fn redact(value: &Value, path: &str, references: References) -> Value {
    let mut keys: Vec<String> =
        path.split('.').filter(|key| !key.is_empty()).map(str::to_owned).collect();
    walk(value, &mut keys, references)
}

fn walk(value: &Value, keys: &mut Vec<String>, references: References) -> Value {
    match value {
        Value::String(text) if hides(keys, text) => Value::from(SENTINEL),
        Value::Number(_) if is_sensitive(keys) => Value::from(SENTINEL),
        Value::Object(object) if secret_ref::is_reference(value) && !in_providers(keys) => {
            let mut shown = object.clone();
            if references == References::Masked {
                shown.insert("id".to_owned(), Value::from(SENTINEL));
            }
            Value::Object(shown)
        }
        Value::Object(object) => {
            let mut shown = Map::with_capacity(object.len());
            for (key, member) in object {
                keys.push(key.clone());
                shown.insert(key.clone(), walk(member, keys, references));
                keys.pop();
            }
            Value::Object(shown)
        }
        Value::Array(items) => {
            let arguments = are_arguments(keys);
            keys.push("[]".to_owned());
            let mut before = None;
            let mut shown = Vec::with_capacity(items.len());
            for item in items {
                let text = item.as_str().filter(|_| arguments);
                shown.push(match text {
                    Some(text) if in_argument(before, text).is_some() => Value::from(SENTINEL),
                    _ => walk(item, keys, references),
                });
                before = text;
            }
            keys.pop();
            Value::Array(shown)
        }
        other => other.clone(),
    }
}

/// Hides, in a document whose `${VAR}` are filled in, the texts that hold what a
/// variable named like a secret stands for.
pub fn hide_variables(value: &mut Value, env: &Env) {
    let secrets: Vec<&str> = secret_variables(env).collect();
    hide_texts(value, &|text| matches!(without(text, secrets.iter().copied()), Cow::Owned(_)));
}

fn hide_texts(value: &mut Value, hides: &dyn Fn(&str) -> bool) {
    match value {
        Value::String(text) if hides(text) => *value = Value::from(SENTINEL),
        Value::Object(object) => object.values_mut().for_each(|member| hide_texts(member, hides)),
        Value::Array(items) => items.iter_mut().for_each(|item| hide_texts(item, hides)),
        _ => {}
    }
}

/// What the variables named like a secret stand for.
pub fn secret_variables(env: &Env) -> impl Iterator<Item = &str> {
    env.iter().filter(|(name, _)| named_like_a_secret(name)).map(|(_, value)| value)
}

/// Shows every secret in clear that the document holds.
pub fn each_secret(value: &Value, act: &mut dyn FnMut(&str)) {
    secrets_below(value, &mut Vec::new(), act);
}

fn secrets_below(value: &Value, keys: &mut Vec<String>, act: &mut dyn FnMut(&str)) {
    match value {
        Value::String(text) if hides(keys, text) && !in_providers(keys) => {
            act(text);
            embedded::secrets(text).into_iter().for_each(act);
        }
        Value::Object(_) if secret_ref::is_reference(value) => {}
        Value::Object(object) => {
            for (key, member) in object {
                keys.push(key.clone());
                secrets_below(member, keys, act);
                keys.pop();
            }
        }
        Value::Array(items) => {
            let arguments = are_arguments(keys);
            keys.push("[]".to_owned());
            let mut before = None;
            for item in items {
                let text = item.as_str().filter(|_| arguments);
                if let Some(secret) = text.and_then(|text| in_argument(before, text)) {
                    act(secret);
                }
                before = text;
                secrets_below(item, keys, act);
            }
            keys.pop();
        }
        _ => {}
    }
}

fn in_providers(keys: &[String]) -> bool {
    matches!(keys, [secrets, providers, ..] if secrets == "secrets" && providers == "providers")
}

/// Whether the text at this place must not be shown.
fn hides(keys: &[String], text: &str) -> bool {
    if text.is_empty() || substitute::whole_variable(text).is_some() {
        return false;
    }
    is_sensitive(keys)
        || is_proxy_with_user(keys, text)
        || (is_command_line(keys) && in_argument(None, text).is_some())
        || !embedded::secrets(text).is_empty()
}

/// Whether values at this place are secrets.
fn is_sensitive(keys: &[String]) -> bool {
    let shape = table::table().at(keys.iter().map(String::as_str));
    named_like_a_secret(&keys.join("."))
        || in_environment(keys)
        || is_login_code(keys)
        || match shape.map_or(Shape::Any, |shape| shape.kind) {
            Shape::Secret | Shape::Ref => true,
            // Of a key that no schema knows, the name is all there is.
            Shape::Any => keys.last().is_some_and(|key| may_name_a_secret(key)),
            _ => false,
        }
}

/// What a ship of that network lets its owner in with.
fn is_login_code(keys: &[String]) -> bool {
    matches!(keys, [channels, tlon, .., code]
        if channels == "channels" && tlon == "tlon" && code == "code")
}

/// Proxies are named without a scheme, too.
fn is_proxy_with_user(keys: &[String], text: &str) -> bool {
    text.contains('@') && keys.last().is_some_and(|key| key.to_ascii_lowercase().ends_with("proxy"))
}

/// Whether the text at this place is what a shell or a program is started with.
fn is_command_line(keys: &[String]) -> bool {
    keys.last().is_some_and(|key| key.to_ascii_lowercase().ends_with("command"))
}

/// Variables handed to programs, and headers sent to servers, carry keys as a rule.
fn in_environment(keys: &[String]) -> bool {
    match keys {
        [env, rest @ ..] if env == "env" => {
            !rest.is_empty() && rest.first().is_none_or(|key| key != "shellEnv")
        }
        [way @ .., _] => way.iter().any(|key| matches!(key.as_str(), "env" | "headers")),
        [] => false,
    }
}

/// Whether the texts of the list at this place are arguments of a program.
fn are_arguments(keys: &[String]) -> bool {
    is_command_line(keys)
        || keys.last().is_some_and(|key| key.to_ascii_lowercase().ends_with("args"))
}

/// The text with its secrets replaced and everything else as it stands.
pub fn redact_text(text: &str, root: &Node, references: References) -> String {
    let mut spans = Vec::new();
    secret_spans(root, &mut Vec::new(), references, &mut spans);
    let mut shown = String::with_capacity(text.len());
    let mut copied = 0;
    for (start, end) in spans {
        shown.push_str(&text[copied..start]);
        shown.push('"');
        shown.push_str(SENTINEL);
        shown.push('"');
        copied = end;
    }
    shown.push_str(&text[copied..]);
    shown
}

fn secret_spans(
    node: &Node,
    keys: &mut Vec<String>,
    references: References,
    spans: &mut Vec<(usize, usize)>,
) {
    match &node.kind {
        Kind::String(text) if hides(keys, text) => spans.push((node.start, node.end)),
        Kind::Number(_) | Kind::BigInt(_) if is_sensitive(keys) => {
            spans.push((node.start, node.end));
        }
        Kind::Array(items) => {
            let arguments = are_arguments(keys);
            keys.push("[]".to_owned());
            let mut before = None;
            for item in items {
                let text = match &item.kind {
                    Kind::String(text) if arguments => Some(text.as_str()),
                    _ => None,
                };
                if text.is_some_and(|text| in_argument(before, text).is_some()) {
                    spans.push((item.start, item.end));
                } else {
                    secret_spans(item, keys, references, spans);
                }
                before = text;
            }
            keys.pop();
        }
        Kind::Object(members) => {
            let reference = secret_ref::is_reference(&node.to_value()) && !in_providers(keys);
            for member in members {
                if reference {
                    if member.key == "id" && references == References::Masked {
                        spans.push((member.value.start, member.value.end));
                    }
                    continue;
                }
                keys.push(member.key.clone());
                secret_spans(&member.value, keys, references, spans);
                keys.pop();
            }
        }
        _ => {}
    }
}

/// Puts the secrets of `original` back where `shown` has sentinels.
pub fn restore(shown: &mut Value, original: &Value) -> Result<(), SentinelError> {
    fill(shown, Some(original), String::new())
}

fn fill(shown: &mut Value, original: Option<&Value>, path: String) -> Result<(), SentinelError> {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match shown {
        Value::String(text) if text == SENTINEL => match original {
            Some(Value::Object(_) | Value::Array(_)) | None => {
                Err(SentinelError::NothingBehind { path })
            }
            Some(original) => {
                *shown = original.clone();
                Ok(())
            }
        },
        Value::Object(object) => {
            if object.get("id").is_some_and(|id| id == SENTINEL)
                && object.contains_key("source")
                && let Some(original) = original.filter(|original| original.is_object())
                && (object.get("source") != original.get("source")
                    || object.get("provider") != original.get("provider"))
                && object.get("source").is_none_or(|source| source != SENTINEL)
            {
                return Err(SentinelError::ReferenceChanged { path });
            }
            for (key, member) in object.iter_mut() {
                let behind = original.and_then(|original| original.get(key));
                fill(member, behind, below(key))?;
            }
            Ok(())
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                // Entries with an id may have moved.
                let same_id = item.get("id").filter(|id| *id != SENTINEL).and_then(|id| {
                    original?.as_array()?.iter().find(|entry| entry.get("id") == Some(id))
                });
                let behind = same_id.or_else(|| original.and_then(|original| original.get(index)));
                fill(item, behind, below(&index.to_string()))?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::json5;

    fn document() -> Value {
        json!({
            "gateway": {"auth": {"mode": "token", "token": "s3"}, "port": 1, "remote": {"url": "wss://u:p@h/x"}},
            "models": {"providers": {"a": {"apiKey": {"source": "env", "provider": "default", "id": "K"}, "headers": {"x": "h"}, "models": [{"id": "m", "maxTokens": 5}]}}},
            "channels": {"telegram": {"botToken": "${TOK}", "accounts": {"x": {"botToken": "b"}}}},
            "env": {"vars": {"FOO": "v"}, "BAR": "w", "shellEnv": {"enabled": true}},
        })
    }

    #[test]
    fn secrets_are_hidden_and_the_rest_is_shown() {
        let shown = redact(&document(), "", References::Masked);
        assert_eq!(
            shown,
            json!({
                "gateway": {"auth": {"mode": "token", "token": SENTINEL}, "port": 1, "remote": {"url": SENTINEL}},
                "models": {"providers": {"a": {"apiKey": {"source": "env", "provider": "default", "id": SENTINEL}, "headers": {"x": SENTINEL}, "models": [{"id": "m", "maxTokens": 5}]}}},
                "channels": {"telegram": {"botToken": "${TOK}", "accounts": {"x": {"botToken": SENTINEL}}}},
                "env": {"vars": {"FOO": SENTINEL}, "BAR": SENTINEL, "shellEnv": {"enabled": true}},
            })
        );
        let part = redact(&json!("s3"), "gateway.auth.token", References::Shown);
        assert_eq!(part, SENTINEL);
    }

    #[test]
    fn secrets_in_arguments_and_addresses_are_hidden_and_come_back() {
        let document = json!({"mcp": {"servers": {
            "a": {"command": "x", "args": ["--token=t1", "--api-key", "k1", "--port", "80", "API_KEY=k2", "-y", "pkg"]},
            "b": {"url": "https://h/sse?v=1&api_key=q1#x"},
            "c": {"url": "https://h/sse?v=1&page_token=${T}"},
        }}});
        let mut shown = redact(&document, "", References::Masked);
        assert_eq!(
            shown["mcp"]["servers"],
            json!({
                "a": {"command": "x", "args": [SENTINEL, "--api-key", SENTINEL, "--port", "80", SENTINEL, "-y", "pkg"]},
                "b": {"url": SENTINEL},
                "c": {"url": "https://h/sse?v=1&page_token=${T}"},
            })
        );
        let text = format!("{document:#}");
        let hidden = redact_text(&text, &json5::parse(&text).unwrap(), References::Masked);
        assert_eq!(json5::value(&hidden).unwrap(), shown);
        restore(&mut shown, &document).unwrap();
        assert_eq!(shown, document);
        let mut secrets = Vec::new();
        each_secret(&document, &mut |secret| secrets.push(secret.to_owned()));
        assert_eq!(secrets, ["t1", "k1", "k2", "https://h/sse?v=1&api_key=q1#x", "q1"]);
    }

    #[test]
    fn secrets_in_places_of_another_kind_are_hidden_and_come_back() {
        let token = "7123456789:AAEabcdefghijklmnopqrstuvwxyz012345";
        let document = json!({
            "channels": {
                "telegram": {"apiRoot": format!("https://h/bot{token}"), "proxy": "u:p@h:1080"},
                "tlon": {"code": "lidlut-tabwed", "ship": "~zod"},
            },
            "cron": {"webhook": "https://hooks.slack.com/services/T01/B01/hook1"},
            "mcp": {"servers": {"a": {"auth": {"bearer": "b1"}, "oauth": {"code": "c1"}, "cwd": "/srv"}}},
            "models": {"providers": {"p": {"auth": "api-key", "baseUrl": "https://h/v1"}}},
            "agents": {"defaults": {"sandbox": {"docker": {"setupCommand": "curl -H 'Authorization: Bearer abcdefgh'"}}}},
            "messages": {"responsePrefix": "say ghp_0123456789abcdefABCDEF"},
        });
        let mut shown = redact(&document, "", References::Masked);
        assert_eq!(
            shown,
            json!({
                "channels": {
                    "telegram": {"apiRoot": SENTINEL, "proxy": SENTINEL},
                    "tlon": {"code": SENTINEL, "ship": "~zod"},
                },
                "cron": {"webhook": SENTINEL},
                "mcp": {"servers": {"a": {"auth": {"bearer": SENTINEL}, "oauth": {"code": SENTINEL}, "cwd": "/srv"}}},
                "models": {"providers": {"p": {"auth": "api-key", "baseUrl": "https://h/v1"}}},
                "agents": {"defaults": {"sandbox": {"docker": {"setupCommand": SENTINEL}}}},
                "messages": {"responsePrefix": SENTINEL},
            })
        );
        restore(&mut shown, &document).unwrap();
        assert_eq!(shown, document);
    }

    #[test]
    fn what_a_secret_variable_stands_for_is_hidden_wherever_it_was_put() {
        let env: Env =
            [("HOOK_TOKEN", "low-entropy"), ("PLACE", "somewhere")].into_iter().collect();
        let mut filled = json!({"a": ["https://h/low-entropy/x", "https://somewhere/"]});
        hide_variables(&mut filled, &env);
        assert_eq!(filled, json!({"a": [SENTINEL, "https://somewhere/"]}));
    }

    #[test]
    fn what_was_hidden_comes_back() {
        let mut shown = redact(&document(), "", References::Masked);
        shown["gateway"]["port"] = json!(2);
        restore(&mut shown, &document()).unwrap();
        let mut expected = document();
        expected["gateway"]["port"] = json!(2);
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_sentinel_without_a_secret_behind_it_is_refused() {
        let mut shown = json!({"hooks": {"token": SENTINEL}});
        assert_eq!(
            restore(&mut shown, &json!({})).unwrap_err().to_string(),
            "Reserved redaction sentinel \"__OPENCLAW_REDACTED__\" is not valid config data (hooks.token)."
        );
        let mut moved = json!({"k": {"source": "file", "provider": "default", "id": SENTINEL}});
        let original = json!({"k": {"source": "env", "provider": "default", "id": "A"}});
        assert!(restore(&mut moved, &original).is_err());
    }

    #[test]
    fn a_text_keeps_its_comments() {
        let text = "{ // why\n  gateway: { auth: { token: 's3' } }, // end\n}";
        let root = json5::parse(text).unwrap();
        assert_eq!(
            redact_text(text, &root, References::Masked),
            "{ // why\n  gateway: { auth: { token: \"__OPENCLAW_REDACTED__\" } }, // end\n}"
        );
    }
}
