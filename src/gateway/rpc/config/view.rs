//! The configuration as `config.get` shows it: every copy without secrets.

use serde_json::{Value, json};

use crate::config::redact::{self, References};
use crate::config::{Snapshot, json5};

/// Result of `config.get`.
pub(super) fn of(snapshot: &Snapshot) -> Value {
    let valid = snapshot.is_valid();
    let hidden = |value: &Value| redact::redact(value, "", References::Masked);
    let filled = |value: &Value| self::filled(snapshot, value);
    let (parsed, resolved, config) = if valid {
        (hidden(&snapshot.parsed), filled(&snapshot.resolved), filled(&snapshot.runtime))
    } else {
        (Value::Null, json!({}), json!({}))
    };
    let raw = json5::parse(&snapshot.raw)
        .ok()
        .filter(|_| valid && snapshot.exists)
        .map(|root| redact::redact_text(&snapshot.raw, &root, References::Masked));
    json!({
        "path": snapshot.path,
        "exists": snapshot.exists,
        "raw": raw,
        "parsed": parsed,
        "sourceConfig": resolved,
        "resolved": resolved,
        "valid": valid,
        "runtimeConfig": config,
        "config": config,
        "hash": snapshot.hash,
        "issues": snapshot.issues,
        "warnings": snapshot.warnings,
        "legacyIssues": [],
    })
}

/// A copy of a part of the snapshot whose variables are filled in, without secrets.
pub(super) fn filled(snapshot: &Snapshot, value: &Value) -> Value {
    let mut shown = redact::redact(value, "", References::Masked);
    redact::hide_variables(&mut shown, &snapshot.env);
    shown
}
