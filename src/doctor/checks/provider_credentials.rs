//! Whether the models in use have a key to travel with.

use serde_json::Value;

use crate::agents::models::Lookup;
use crate::agents::models::reference::Named;
use crate::doctor::checks::{Check, Scope};
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Severity};

pub(super) const CHECK: Check = Check {
    id: "auth-profiles",
    section: "Model auth",
    scope: Scope::Local,
    severity: Severity::Warning,
    finds: "an agent whose model has no key; stored credentials that have expired or rest after failures",
    matters: "every turn of that agent fails, or falls back to another model",
    repairs: "",
    inspect,
};

fn inspect(facts: &Facts<'_>) -> Vec<Finding> {
    let snapshot = facts.snapshot();
    let agents = &snapshot.config.agents;
    let mut ids: Vec<&str> = agents.list.iter().map(|agent| agent.id.as_str()).collect();
    if ids.is_empty() {
        ids.push(agents.default_id());
    }
    let mut found = Vec::new();
    let mut told = Vec::new();
    for id in ids {
        let lookup = Lookup {
            config: &snapshot.config,
            env: &snapshot.env,
            secrets: &snapshot.secrets,
            paths: facts.host.paths(),
            agent: id,
            now: facts.host.now_ms(),
        };
        let Ok(model) = lookup.default_offline() else { continue };
        if let Err(err) = lookup.resolve(&model) {
            let provider = Named::parse(&model, "").map_or(model.clone(), |named| named.provider);
            if !told.contains(&provider) {
                found.push(
                    Finding::warning(format!("agent {id}, model {model}: {err}"))
                        .at("agents.defaults.model")
                        .advise(format!("{} models status", facts.program())),
                );
                told.push(provider);
            }
        }
    }
    for agent in facts.agents() {
        found.extend(profiles(facts, &agent.join("agent/auth-profiles.json")));
    }
    found
}

/// Stored credentials that are of no use at the moment.
fn profiles(facts: &Facts<'_>, path: &std::path::Path) -> Vec<Finding> {
    let Ok(bytes) = std::fs::read(path) else { return Vec::new() };
    let Ok(document) = serde_json::from_slice::<Value>(&bytes) else { return Vec::new() };
    let now = facts.host.now_ms();
    let known = document["profiles"].as_object().into_iter().flatten();
    known
        .filter_map(|(id, profile)| {
            let expired = profile["type"] == "token"
                && profile["expires"].as_u64().is_some_and(|at| at > 0 && at <= now);
            let disabled = document["usageStats"][id]["disabledUntil"].as_u64().unwrap_or(0) > now;
            let what = match (expired, disabled) {
                (true, _) => "has expired",
                (_, true) => "rests because the provider refused it",
                _ => return None,
            };
            Some(
                Finding::warning(format!("the stored credential {id} {what}"))
                    .at(path)
                    .advise(format!("{} models status", facts.program())),
            )
        })
        .collect()
}
