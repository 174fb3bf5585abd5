//! The grammar of secret references: `{source, provider, id}`.

use serde_json::{Map, Value};

use crate::config::validate::text;

pub use crate::config::validate::text::is_alias;

/// Part of the contract.
pub const ENV_ID: &str =
    "Env secret reference id must match /^[A-Z][A-Z0-9_]{0,127}$/ (example: \"OPENAI_API_KEY\").";
/// Part of the contract.
pub const FILE_ID: &str = "File secret reference id must be an absolute JSON pointer (example: \"/providers/openai/apiKey\"), or \"value\" for singleValue mode.";
/// Part of the contract.
pub const EXEC_ID: &str = "Exec secret reference id must match /^[A-Za-z0-9][A-Za-z0-9._:/-]{0,255}$/ and must not include \".\" or \"..\" path segments (example: \"vault/openai/api-key\").";
const PROVIDER: &str =
    "Secret reference provider must match /^[a-z][a-z0-9_-]{0,63}$/ (example: \"default\").";

/// What is wrong with a reference, each with the key it concerns; `None` if it
/// is not recognisable as one.
pub fn check(object: &Map<String, Value>) -> Option<Vec<(Option<&'static str>, String)>> {
    let source = object.get("source")?.as_str()?;
    let provider = object.get("provider")?.as_str()?;
    let id = object.get("id")?.as_str()?;
    let bad_id = match source {
        "env" => (!text::is_env_name(id)).then_some(ENV_ID),
        "file" => (!is_file_id(id)).then_some(FILE_ID),
        "exec" => (!is_exec_id(id)).then_some(EXEC_ID),
        _ => return None,
    };
    let mut issues = Vec::new();
    if !text::is_alias(provider) {
        issues.push((Some("provider"), PROVIDER.to_owned()));
    }
    if let Some(message) = bad_id {
        issues.push((Some("id"), message.to_owned()));
    }
    let extra: Vec<String> = object
        .keys()
        .filter(|key| !matches!(key.as_str(), "source" | "provider" | "id"))
        .map(|key| format!("{key:?}"))
        .collect();
    match extra.as_slice() {
        [] => {}
        [key] => issues.push((None, format!("Unrecognized key: {key}"))),
        keys => issues.push((None, format!("Unrecognized keys: {}", keys.join(", ")))),
    }
    Some(issues)
}

/// `value`, or an RFC 6901 pointer.
pub fn is_file_id(id: &str) -> bool {
    id == "value"
        || id.strip_prefix('/').is_some_and(|pointer| {
            pointer.split('/').all(|segment| {
                segment.match_indices('~').all(|(at, _)| segment[at + 1..].starts_with(['0', '1']))
            })
        })
}

/// A path-like name without `.` and `..` segments.
pub fn is_exec_id(id: &str) -> bool {
    (1..=256).contains(&id.len())
        && id.starts_with(|first: char| first.is_ascii_alphanumeric())
        && id.bytes().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'/' | b'-')
        })
        && !id.split('/').any(|segment| matches!(segment, "." | ".."))
}

/// Whether a value is a reference object, well-formed or not.
pub fn is_reference(value: &Value) -> bool {
    let Some(object) = value.as_object() else { return false };
    matches!(object.get("source").and_then(Value::as_str), Some("env" | "file" | "exec"))
        && object.get("id").is_some_and(Value::is_string)
}
