//! `tools.*` and `models.list`: what agents can use.

use std::collections::HashMap;
use std::future::ready;

use serde_json::{Value, json};

use crate::agents::choice;
use crate::agents::models::{Lookup, listing};
use crate::agents::sessions::choose_thinking;
use crate::config::Snapshot;
use crate::gateway::State;
use crate::gateway::rpc::params::{blocking, text};
use crate::gateway::rpc::{Call, Method, Reply};
use crate::protocol::error::ErrorShape;

pub(crate) const METHODS: &[Method] = &[
    Method { name: "tools.catalog", run: |call| Box::pin(ready(catalog(&call))) },
    Method { name: "tools.effective", run: |call| Box::pin(effective(call)) },
    Method { name: "models.list", run: |call| Box::pin(models(call)) },
];

fn catalog(call: &Call) -> Reply {
    let agent = known_agent(call)?;
    Ok(call.state.agents.tool_catalog(&agent))
}

/// Result of `tools.effective`: the tools an existing session is given.
async fn effective(call: Call) -> Reply {
    let typed = text(&call.params, "sessionKey").unwrap_or_default();
    let sessions = call.state.agents.sessions();
    let key = sessions.canonical(typed);
    if sessions.entry(&key).await?.is_none() {
        return Err(ErrorShape::invalid(format!("unknown session key \"{typed}\"")));
    }
    let owner = sessions.agent_of(&key);
    if let Some(agent) = text(&call.params, "agentId").map(str::to_lowercase)
        && agent != owner
    {
        return Err(ErrorShape::invalid(format!(
            "agent id \"{agent}\" does not match session agent \"{owner}\""
        )));
    }
    let snapshot = call.state.config.load();
    let own = snapshot.config.agents.get(&owner).map(|agent| agent.tools.clone());
    let profile = own
        .as_ref()
        .and_then(|tools| tools.get("profile"))
        .or_else(|| snapshot.config.tools.get("profile"))
        .and_then(Value::as_str)
        .unwrap_or("full")
        .to_owned();
    let mut tools: Vec<Value> = call
        .state
        .agents
        .effective_tools(&owner, true)
        .iter()
        .map(|tool| effective_entry(&tool.name, &tool.description))
        .collect();
    tools.sort_by(|a, b| a["id"].as_str().cmp(&b["id"].as_str()));
    let mut groups = Vec::new();
    if !tools.is_empty() {
        groups.push(json!({
            "id": "core",
            "label": "Built-in tools",
            "source": "core",
            "tools": tools,
        }));
    }
    Ok(json!({ "agentId": owner, "profile": profile, "groups": groups }))
}

fn effective_entry(name: &str, description: &str) -> Value {
    json!({
        "id": name,
        "label": label(name),
        "description": short(description),
        "rawDescription": description,
        "source": "core",
    })
}

/// `sessions_list` as a title: `Sessions List`.
fn label(name: &str) -> String {
    let words = name.split('_').map(|word| {
        let mut chars = word.chars();
        chars.next().map(|first| first.to_uppercase().chain(chars).collect::<String>())
    });
    words.flatten().collect::<Vec<_>>().join(" ")
}

/// The beginning of a description, for lists.
fn short(description: &str) -> String {
    const MAX: usize = 120;
    let first = description.lines().next().unwrap_or_default().trim();
    if first.chars().count() <= MAX {
        return first.to_owned();
    }
    let cut: String = first.chars().take(MAX - 3).collect();
    format!("{}...", cut.trim_end())
}

pub(super) async fn models(call: Call) -> Reply {
    blocking(move || {
        let snapshot = call.state.config.load();
        let mut rows = model_rows(&call.state, &snapshot);
        if call.caller.protocol >= 4 {
            let all = text(&call.params, "view") == Some("all");
            let mut callable = HashMap::new();
            rows.retain_mut(|row| newer_model(&call.state, &snapshot, &mut callable, row) || all);
        }
        Ok(json!({ "models": rows }))
    })
    .await
}

/// What `models.list` says with this configuration. Blocking.
pub fn model_rows(state: &State, snapshot: &Snapshot) -> Vec<Value> {
    let agent = snapshot.config.agents.default_id().to_lowercase();
    listing::rows(&lookup(state, snapshot, &agent)).iter().map(listing::Row::to_json).collect()
}

fn lookup<'a>(state: &'a State, snapshot: &'a Snapshot, agent: &'a str) -> Lookup<'a> {
    Lookup {
        config: &snapshot.config,
        env: &snapshot.env,
        secrets: &snapshot.secrets,
        paths: &state.paths,
        agent,
        now: state.clock.now_ms(),
    }
}

/// Makes a row one of protocol 4: whether the model could be called now, what it is
/// configured for and how it can think. Says whether it is one to choose from.
fn newer_model(
    state: &State,
    snapshot: &Snapshot,
    callable: &mut HashMap<String, bool>,
    row: &mut Value,
) -> bool {
    let config = &snapshot.config;
    let agent = config.agents.default_id().to_lowercase();
    let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let (provider, id) = (text("provider"), text("id"));
    let name = format!("{provider}/{id}");
    // All models of a provider are called with the same key.
    let look = || lookup(state, snapshot, &agent).resolve(&name).is_ok();
    let available = *callable.entry(provider.clone()).or_insert_with(look);
    let mut tags = Vec::new();
    let (_, fallbacks) = choice::configured(config, None);
    let default = choice::default_choice(config, None);
    if (default.provider, default.model) == (provider.clone(), id.clone()) {
        tags.push("default".to_owned());
    }
    let fallback = fallbacks.iter().position(|fallback| *fallback == name);
    tags.extend(fallback.map(|at| format!("fallback#{}", at + 1)));
    if config.agents.defaults.models.contains_key(&name) {
        tags.push("configured".to_owned());
    }
    let configured = !tags.is_empty();
    choose_thinking(row, config, &agent, (&provider, &id));
    if let Some(fields) = row.as_object_mut() {
        fields.shift_remove("input");
        fields.shift_remove("thinkingOptions");
        fields.insert("available".into(), available.into());
        if configured {
            fields.insert("tags".into(), json!(tags));
        }
    }
    available || configured
}

/// The agent that `agentId` names, or the default one.
pub(super) fn known_agent(call: &Call) -> Result<String, ErrorShape> {
    let snapshot = call.state.config.load();
    let Some(agent) = text(&call.params, "agentId").map(str::to_lowercase) else {
        return Ok(snapshot.config.agents.default_id().to_lowercase());
    };
    if super::agents::agent_ids(&snapshot.config, &call.state.paths).contains(&agent) {
        Ok(agent)
    } else {
        Err(ErrorShape::invalid(format!("unknown agent id \"{agent}\"")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_is_shown_with_a_title_and_a_short_text() {
        let entry = effective_entry("sessions_list", &format!("List. {}\nMore", "x".repeat(200)));
        assert_eq!(entry["label"], "Sessions List");
        assert_eq!(entry["description"].as_str().unwrap().len(), 120);
        assert!(entry["rawDescription"].as_str().unwrap().ends_with("More"));
    }
}
