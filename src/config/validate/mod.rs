//! Strict validation: every issue of a document at once, each with its path.

use serde_json::Value;

use crate::config::Issue;
use crate::profile::paths::Paths;

/// Checks a document with includes and variables in place.
///
/// Returns what makes it unusable and what is merely worth saying.
pub fn validate(document: &Value, _paths: &Paths) -> (Vec<Issue>, Vec<Issue>) {
    let mut issues = Vec::new();
    if !document.is_object() {
        let found = type_name(document);
        issues.push(Issue::new("", format!("Invalid input: expected object, received {found}")));
    }
    (issues, Vec::new())
}

/// A value's type in the words of the reference's messages.
fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
