//! `secrets.reload` and `secrets.resolve`: what references stand for.

use serde_json::{Value, json};

use crate::gateway::reload;
use crate::gateway::rpc::params::{text, texts};
use crate::gateway::rpc::{Call, Method, Reply};
use crate::protocol::error::ErrorShape;
use crate::secrets::{collect, plan, targets};

pub(crate) const METHODS: &[Method] = &[
    Method { name: "secrets.reload", run: |call| Box::pin(reload(call)) },
    Method { name: "secrets.resolve", run: |call| Box::pin(std::future::ready(resolve(&call))) },
];

/// Resolves every reference anew; on failure what is in force stays.
async fn reload(call: Call) -> Reply {
    let warnings = Box::pin(reload::resolve_again(&call.state))
        .await
        .map_err(|err| ErrorShape::unavailable(err.to_string()))?;
    Ok(json!({ "ok": true, "warningCount": warnings }))
}

/// The values in force for a command that runs on another host or as another
/// user. The answer holds secrets: an administrator's scope is needed, and it is
/// never logged.
fn resolve(call: &Call) -> Reply {
    let wrong = |what: &str| ErrorShape::invalid(format!("invalid secrets.resolve params: {what}"));
    text(&call.params, "commandName").ok_or_else(|| wrong("commandName"))?;
    let wanted = texts(&call.params, "targetIds").ok_or_else(|| wrong("targetIds"))?;
    let known = targets::patterns();
    let mut patterns = Vec::new();
    for id in &wanted {
        let named = |pattern: &&String| {
            plan::kind_of(pattern) == *id || pattern.replace(".[].", "[].") == *id
        };
        let pattern = known.iter().find(named);
        patterns.push(pattern.ok_or_else(|| wrong(&format!("unknown target id \"{id}\"")))?);
    }
    let snapshot = call.state.config.load();
    let found = collect::collect(&snapshot.runtime, &snapshot.env);
    let asked = |keys: &[String]| patterns.iter().any(|pattern| targets::matches(pattern, keys));
    let assignments: Vec<Value> = found
        .active
        .iter()
        .filter(|field| asked(&field.keys))
        .filter_map(|field| {
            let value = snapshot.secrets.get(&field.reference.to_string())?;
            Some(json!({
                "path": field.path, "pathSegments": field.keys, "value": value.expose(),
            }))
        })
        .collect();
    let inactive: Vec<&String> = found
        .inactive
        .iter()
        .map(|(path, _)| path)
        .filter(|path| asked(&path.split('.').map(str::to_owned).collect::<Vec<_>>()))
        .collect();
    Ok(json!({
        "ok": true, "assignments": assignments, "diagnostics": [], "inactiveRefPaths": inactive,
    }))
}
