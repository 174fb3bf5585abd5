//! The document that a change asks for. Pure.

use serde_json::{Map, Value};

use crate::config::{Snapshot, redact};
use crate::protocol::error::ErrorShape;

/// Which method changes the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Set,
    Patch,
    Apply,
}

/// What the file shall say: `wanted` as a whole, or merged into what it says.
/// Secrets that `wanted` hides come from the file as it is.
pub(super) fn next_document(
    kind: Kind,
    mut wanted: Value,
    current: &Snapshot,
) -> Result<Value, ErrorShape> {
    if kind == Kind::Patch && !wanted.is_object() {
        return Err(ErrorShape::invalid("config.patch raw must be an object"));
    }
    redact::restore(&mut wanted, &current.parsed)
        .map_err(|err| ErrorShape::invalid(err.to_string()))?;
    if kind != Kind::Patch {
        return Ok(wanted);
    }
    let mut next = match &current.parsed {
        Value::Object(_) => current.parsed.clone(),
        _ => Value::Object(Map::new()),
    };
    merge(&mut next, wanted);
    Ok(next)
}

/// Merges a patch: `null` deletes, objects go key by key, lists of objects with
/// an `id` entry by entry, everything else is replaced.
fn merge(target: &mut Value, patch: Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (key, value) in patch {
                if value.is_null() {
                    target.shift_remove(&key);
                } else if let Some(known) = target.get_mut(&key) {
                    merge(known, value);
                } else {
                    target.insert(key, without_nulls(value));
                }
            }
        }
        (Value::Array(target), Value::Array(patch))
            if !patch.is_empty() && have_ids(target) && have_ids(&patch) =>
        {
            for entry in patch {
                match target.iter_mut().find(|known| known["id"] == entry["id"]) {
                    Some(known) => merge(known, entry),
                    None => target.push(without_nulls(entry)),
                }
            }
        }
        (target, patch) => *target = without_nulls(patch),
    }
}

fn have_ids(list: &[Value]) -> bool {
    list.iter().all(|entry| entry.get("id").is_some_and(Value::is_string))
}

/// A fresh part of the document: nothing to delete in it.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| (key, without_nulls(value)))
                .collect(),
        ),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_deletes_merges_and_replaces() {
        let mut document = json!({"a": {"b": 1, "c": 2}, "l": [1, 2],
            "agents": {"list": [{"id": "x", "name": "X"}, {"id": "y"}]}});
        merge(
            &mut document,
            json!({"a": {"b": null, "d": {"e": null, "f": 3}}, "l": [3],
                "agents": {"list": [{"id": "x", "name": "Z"}, {"id": "z"}]}}),
        );
        let expected = json!({"a": {"c": 2, "d": {"f": 3}}, "l": [3],
            "agents": {"list": [{"id": "x", "name": "Z"}, {"id": "y"}, {"id": "z"}]}});
        assert_eq!(document, expected);
    }
}
