//! Names that must exist: channels, heartbeat targets, plugins, and the fields
//! where a secret reference is not allowed.

use serde_json::Value;

use crate::config::schema::support;
use crate::config::schema::table::{self, Shape, Table};
use crate::config::validate::{Checks, channels, secret_ref};
use crate::profile::paths;

/// Channel ids, targets and plugin ids.
pub(super) fn check(checks: &mut Checks<'_>) {
    let table = table::table();
    let document = checks.document;
    let known = channel_ids(table);
    for name in document["channels"].as_object().into_iter().flatten().map(|(name, _)| name.trim())
    {
        if !name.is_empty() && !known.contains(&name) && !channels::SETTINGS.contains(&name) {
            checks.issue(format!("channels.{name}"), format!("unknown channel id: {name}"));
        }
    }
    let mut target = |path: String, heartbeat: &Value| {
        let Some(target) = heartbeat["target"].as_str() else { return };
        let name = target.trim().to_ascii_lowercase();
        if name.is_empty() {
            checks.issue(path, "heartbeat target must not be empty");
        } else if !matches!(name.as_str(), "last" | "none" | "webchat")
            && !known.contains(&name.as_str())
        {
            checks.issue(path, format!("unknown heartbeat target: {target}"));
        }
    };
    let agents = &document["agents"];
    target("agents.defaults.heartbeat.target".to_owned(), &agents["defaults"]["heartbeat"]);
    for (index, agent) in agents["list"].as_array().into_iter().flatten().enumerate() {
        target(format!("agents.list.{index}.heartbeat.target"), &agent["heartbeat"]);
    }
    plugins(checks, table);
}

/// The ids that `channels.<id>` may have.
pub fn channel_ids(table: &'static Table) -> Vec<&'static str> {
    let channels = table.at(["channels"]);
    channels
        .into_iter()
        .flat_map(Shape::named)
        .map(|edge| edge.key)
        .filter(|key| !channels::SETTINGS.contains(key))
        .collect()
}

fn plugins(checks: &mut Checks<'_>, table: &'static Table) {
    let plugins = &checks.document["plugins"];
    if !plugins.is_object() {
        return;
    }
    let entries = table.at(["plugins", "entries"]);
    let is_known = |id: &str| {
        entries.is_some_and(|shape| shape.named().any(|edge| edge.key == id))
            || matches!(id, "memory-core" | "none" | support::METRICS | support::ADMIN_RPC)
    };
    let missing = |id: &str| format!("plugin not found: {id}");
    let stale = |id: &str| {
        format!(
            "plugin not found: {id} (stale config entry ignored; remove it from plugins config)"
        )
    };
    for path in plugins["load"]["paths"].as_array().into_iter().flatten().filter_map(Value::as_str)
    {
        if !paths::expand(path, &checks.paths.home).exists() {
            checks.issue("plugins.load.paths", format!("plugin: plugin path not found: {path}"));
        }
    }
    for id in plugins["entries"].as_object().into_iter().flatten().map(|(id, _)| id) {
        if !is_known(id) {
            checks.warning(format!("plugins.entries.{id}"), stale(id));
        }
    }
    let listed = |key: &str| -> Vec<&str> {
        let ids = plugins[key].as_array().into_iter().flatten();
        ids.filter_map(Value::as_str).filter(|id| !id.trim().is_empty() && !is_known(id)).collect()
    };
    for id in listed("allow") {
        checks.warning("plugins.allow", stale(id));
    }
    for id in listed("deny") {
        checks.issue("plugins.deny", missing(id));
    }
    if let Some(id) = plugins["slots"]["memory"].as_str()
        && !id.trim().is_empty()
        && !is_known(id)
    {
        checks.issue("plugins.slots.memory", missing(id));
    }
}

/// Fields that must stay plain text, `*` for any key.
const PLAIN_ONLY: &[&str] = &[
    "commands.ownerDisplaySecret",
    "hooks.token",
    "hooks.gmail.pushToken",
    "hooks.mappings.*.sessionKey",
    "channels.discord.threadBindings.webhookToken",
    "channels.discord.accounts.*.threadBindings.webhookToken",
    "channels.whatsapp.creds.json",
    "channels.whatsapp.accounts.*.creds.json",
];

/// The path and message of every reference where none is allowed.
pub fn forbidden_references(document: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for pattern in PLAIN_ONLY {
        let keys: Vec<&str> = pattern.split('.').collect();
        visit(document, &keys, String::new(), &mut |path, value| {
            if secret_ref::is_reference(value) {
                let message = format!(
                    "SecretRef objects are not supported at {path}. This credential is runtime-mutable or runtime-managed and must stay a plain string value. Use a plain string (env template strings like \"${{MY_VAR}}\" are allowed). See https://docs.openclaw.ai/reference/secretref-credential-surface."
                );
                found.push((path, message));
            }
        });
    }
    found
}

/// Calls `each` for every value at `keys` below `value`.
pub fn visit<'v>(
    value: &'v Value,
    keys: &[&str],
    path: String,
    each: &mut dyn FnMut(String, &'v Value),
) {
    let Some((key, rest)) = keys.split_first() else {
        each(path, value);
        return;
    };
    let below =
        |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Object(object) if *key == "*" => {
            for (name, value) in object {
                visit(value, rest, below(name), each);
            }
        }
        Value::Object(object) => {
            if let Some(value) = object.get(*key) {
                visit(value, rest, below(key), each);
            }
        }
        Value::Array(items) if matches!(*key, "*" | "[]") => {
            for (index, value) in items.iter().enumerate() {
                visit(value, rest, below(&index.to_string()), each);
            }
        }
        _ => {}
    }
}
