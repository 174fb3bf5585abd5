//! The table as a JSON Schema (draft 07), for editors and the Control UI.

use serde_json::{Map, Value, json};

use crate::config::schema::support;
use crate::config::schema::table::{Kind, Shape, Table};

/// The schema of the whole file.
pub fn document(table: &Table) -> Value {
    let mut schema = json!({"$schema": "http://json-schema.org/draft-07/schema#"});
    if let (Value::Object(schema), Value::Object(root)) = (&mut schema, of(table, table.root())) {
        schema.extend(root);
        schema.insert("title".to_owned(), json!("OpenClawConfig"));
    }
    schema
}

/// The same with a note at every key: what a change of it does to a running
/// gateway, and whether it has an effect here.
pub fn annotated(table: &Table) -> Value {
    let mut schema = document(table);
    note(&mut schema, "");
    schema
}

fn note(schema: &mut Value, path: &str) {
    let Value::Object(map) = schema else { return };
    if !path.is_empty() {
        map.insert("x-reload".to_owned(), json!(support::reload_word(path)));
        map.insert("x-support".to_owned(), json!(support::of(path).as_str()));
    }
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    if let Some(Value::Object(properties)) = map.get_mut("properties") {
        for (key, part) in properties {
            note(part, &below(key));
        }
    }
    for (keyword, key) in [("items", "[]"), ("additionalProperties", "*")] {
        if let Some(part) = map.get_mut(keyword).filter(|part| part.is_object()) {
            note(part, &below(key));
        }
    }
    for keyword in ["anyOf", "oneOf"] {
        if let Some(Value::Array(parts)) = map.get_mut(keyword) {
            // A constant or a plain kind has the notes of the key itself.
            for part in parts.iter_mut().filter(|part| {
                part.get("properties").is_some() && part["properties"].get("source").is_none()
            }) {
                note(part, path);
            }
        }
    }
}

/// The schema of one shape and everything below it.
pub fn of(table: &Table, shape: &Shape) -> Value {
    let mut schema = match shape.kind {
        Kind::Any => json!({}),
        Kind::Null => json!({"type": "null"}),
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Int => json!({"type": "integer"}),
        Kind::Number => json!({"type": "number"}),
        Kind::String => json!({"type": "string"}),
        Kind::Secret => json!({"anyOf": [{"type": "string"}, reference()]}),
        Kind::Ref => reference(),
        Kind::Enum => json!({"type": "string", "enum": literals(shape)}),
        Kind::Literals => {
            let choices = literals(shape).into_iter().map(|value| json!({"const": value}));
            json!({"anyOf": choices.collect::<Vec<_>>()})
        }
        Kind::Array => {
            let items = shape.edges.first().map_or(json!({}), |edge| of(table, table.shape(edge)));
            json!({"type": "array", "items": items})
        }
        Kind::Union | Kind::OneOf => {
            let key = if shape.kind == Kind::Union { "anyOf" } else { "oneOf" };
            let parts = shape.edges.iter().map(|edge| of(table, table.shape(edge)));
            json!({key: parts.collect::<Vec<_>>()})
        }
        Kind::Strict | Kind::Object => object(table, shape),
    };
    bounds(&mut schema, shape);
    schema
}

fn object(table: &Table, shape: &Shape) -> Value {
    let properties: Map<String, Value> =
        shape.named().map(|edge| (edge.key.to_owned(), of(table, table.shape(edge)))).collect();
    let required: Vec<&str> =
        shape.named().filter(|edge| edge.required).map(|edge| edge.key).collect();
    let mut schema = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if let Some(rest) = shape.rest() {
        schema["additionalProperties"] = of(table, table.shape(rest));
    } else if shape.kind == Kind::Strict {
        schema["additionalProperties"] = json!(false);
    }
    schema
}

fn literals(shape: &Shape) -> Vec<Value> {
    shape.literals().filter_map(|literal| serde_json::from_str(literal).ok()).collect()
}

/// A secret reference.
fn reference() -> Value {
    json!({
        "type": "object",
        "properties": {
            "source": {"type": "string", "enum": ["env", "file", "exec"]},
            "provider": {"type": "string", "pattern": "^[a-z][a-z0-9_-]{0,63}$"},
            "id": {"type": "string"},
        },
        "required": ["source", "provider", "id"],
        "additionalProperties": false,
    })
}

fn bounds(schema: &mut Value, shape: &Shape) {
    const NAMES: &[(&str, &str)] = &[
        ("len>=", "minLength"),
        ("len<=", "maxLength"),
        ("items>=", "minItems"),
        ("items<=", "maxItems"),
        (">=", "minimum"),
        ("<=", "maximum"),
        (">", "exclusiveMinimum"),
        ("<", "exclusiveMaximum"),
        ("format=", "format"),
    ];
    for bound in shape.bounds.split(' ').filter(|bound| !bound.is_empty()) {
        if let Some(pattern) = bound.strip_prefix('/').and_then(|rest| rest.strip_suffix('/')) {
            schema["pattern"] = json!(pattern);
            continue;
        }
        let named =
            NAMES.iter().find_map(|(prefix, name)| Some((name, bound.strip_prefix(prefix)?)));
        if let Some((name, limit)) = named {
            schema[*name] = serde_json::from_str(limit).unwrap_or_else(|_| json!(limit));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::schema::table;

    #[test]
    fn every_key_says_what_it_does_here() {
        let schema = annotated(table::table());
        let at = |path: &str, note: &str| {
            let place = path.split('.').fold(&schema, |schema, key| match key {
                "*" => &schema["additionalProperties"],
                key => &schema["properties"][key],
            });
            place[note].as_str().unwrap_or_default().to_owned()
        };
        assert_eq!(at("gateway.port", "x-reload"), "restart");
        assert_eq!(at("gateway.port", "x-support"), "native");
        assert_eq!(at("browser.enabled", "x-support"), "accepted, inert");
        assert_eq!(at("models.providers.*.baseUrl", "x-reload"), "hot");
    }

    #[test]
    fn the_schema_says_what_the_table_says() {
        let schema = document(table::table());
        let gateway = &schema["properties"]["gateway"];
        assert_eq!(gateway["additionalProperties"], false);
        assert_eq!(
            gateway["properties"]["port"],
            json!({"type": "integer", "exclusiveMinimum": 0})
        );
        assert_eq!(gateway["properties"]["mode"]["anyOf"][1], json!({"const": "remote"}));
        assert_eq!(
            schema["properties"]["ui"]["properties"]["seamColor"]["pattern"],
            "^#?[0-9a-fA-F]{6}$"
        );
        assert_eq!(
            schema["properties"]["models"]["properties"]["providers"]["additionalProperties"]["required"],
            json!(["baseUrl", "models"])
        );
    }
}
