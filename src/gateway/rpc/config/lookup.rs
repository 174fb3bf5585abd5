//! One place of the schema, and how forms label it.

use serde_json::{Map, Value, json};

use crate::config::schema::json_schema;
use crate::config::schema::table::{Kind, Shape, Table};

/// Deepest path that is looked up.
const MAX_SEGMENTS: usize = 32;

/// Result of `config.schema.lookup`; `None` when there is no such place.
pub(super) fn at(table: &Table, path: &str) -> Option<Value> {
    let spelled = path.replace("[]", ".*").replace('[', ".").replace(']', "");
    let keys: Vec<&str> = spelled.split('.').filter(|key| !key.is_empty()).collect();
    if keys.is_empty() || keys.len() > MAX_SEGMENTS {
        return None;
    }
    let shape = table.at(keys.iter().copied())?;
    let path = keys.join(".");
    let mut schema = json_schema::of(table, shape);
    if let Some(map) = schema.as_object_mut() {
        // Shallow: the children are listed beside it.
        for key in ["properties", "items", "additionalProperties", "anyOf", "oneOf"] {
            if map.get(key).is_some_and(|value| value.is_object() || value.is_array())
                && matches!(shape.kind, Kind::Object | Kind::Strict | Kind::Array)
            {
                map.shift_remove(key);
            }
        }
    }
    let children: Vec<Value> = children(shape)
        .map(|(key, required, child)| {
            let child = table.shape(child);
            let mut entry = Map::new();
            entry.insert("key".into(), key.into());
            entry.insert("path".into(), format!("{path}.{key}").into());
            if let Some(kind) = json_schema::of(table, child).get("type") {
                entry.insert("type".into(), kind.clone());
            }
            entry.insert("required".into(), required.into());
            entry.insert("hasChildren".into(), children(child).next().is_some().into());
            entry.insert("hint".into(), json!({ "label": label(key) }));
            entry.insert("hintPath".into(), format!("{path}.{key}").into());
            Value::Object(entry)
        })
        .collect();
    Some(json!({
        "path": path,
        "schema": schema,
        "hint": { "label": label(keys.last().copied().unwrap_or_default()) },
        "hintPath": path,
        "children": children,
    }))
}

fn children(
    shape: &Shape,
) -> impl Iterator<Item = (&'static str, bool, &crate::config::schema::table::Edge)> {
    let listed = matches!(shape.kind, Kind::Object | Kind::Strict | Kind::Array);
    let edges = if listed { shape.edges.as_slice() } else { &[] };
    edges.iter().map(|edge| {
        let key = if edge.key == "[]" { "*" } else { edge.key };
        (key, edge.required, edge)
    })
}

/// Labels of the sections and their keys, for the forms of the Control UI.
pub(super) fn hints(table: &Table) -> Value {
    let mut hints = Map::new();
    for (order, section) in table.root().named().enumerate() {
        let title = label(section.key);
        hints.insert(
            section.key.to_owned(),
            json!({ "label": title, "group": title, "order": (order + 1) * 10 }),
        );
        add_hints(table, table.shape(section), section.key, 0, &mut hints);
    }
    Value::Object(hints)
}

fn add_hints(
    table: &Table,
    shape: &Shape,
    path: &str,
    depth: usize,
    hints: &mut Map<String, Value>,
) {
    if depth > 4 {
        return;
    }
    for (key, _, edge) in children(shape) {
        let path = format!("{path}.{key}");
        let child = table.shape(edge);
        let mut hint = Map::new();
        hint.insert("label".into(), label(key).into());
        if child.kind == Kind::Secret {
            hint.insert("sensitive".into(), true.into());
        }
        if key != "*" {
            hints.insert(path.clone(), Value::Object(hint));
        }
        add_hints(table, child, &path, depth + 1, hints);
    }
}

/// `allowedOrigins` as a title: `Allowed Origins`.
fn label(key: &str) -> String {
    let mut label = String::new();
    for (index, c) in key.chars().enumerate() {
        if index == 0 {
            label.extend(c.to_uppercase());
        } else {
            if c.is_uppercase() && !label.ends_with(char::is_uppercase) {
                label.push(' ');
            }
            label.push(if c == '_' || c == '-' { ' ' } else { c });
        }
    }
    label
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::schema::table;

    #[test]
    fn a_place_is_described_with_its_children() {
        let port = at(table::table(), "gateway.port").unwrap();
        assert_eq!(port["schema"]["type"], "integer");
        assert_eq!(port["children"], json!([]));
        let auth = at(table::table(), "gateway.auth").unwrap();
        let keys: Vec<&str> = auth["children"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| c["key"].as_str().unwrap())
            .collect();
        assert!(keys.contains(&"token") && keys.contains(&"mode"), "{keys:?}");
        assert!(auth["schema"].get("properties").is_none());
        assert!(at(table::table(), "gateway.nope").is_none());
        assert!(at(table::table(), "agents.list[0].id").is_some());
        assert_eq!(at(table::table(), "agents.list[].id").unwrap()["path"], "agents.list.*.id");
    }

    #[test]
    fn forms_know_which_fields_are_secret() {
        let hints = hints(table::table());
        assert_eq!(hints["gateway"]["label"], "Gateway");
        assert_eq!(hints["gateway.auth.token"]["sensitive"], true);
    }
}
