//! `tools.*`, `skills.*` and `models.list`: what agents can use.

use std::future::ready;

use serde_json::{Value, json};

use crate::agents::models::{Lookup, listing};
use crate::agents::skills;
use crate::gateway::rpc::params::{blocking, text};
use crate::gateway::rpc::{Call, Method, Reply};
use crate::protocol::error::ErrorShape;

pub(crate) const METHODS: &[Method] = &[
    Method { name: "tools.catalog", run: |call| Box::pin(ready(catalog(&call))) },
    Method { name: "tools.effective", run: |call| Box::pin(effective(call)) },
    Method { name: "models.list", run: |call| Box::pin(models(call)) },
    Method { name: "skills.status", run: |call| Box::pin(skills_status(call)) },
    Method { name: "skills.bins", run: |call| Box::pin(skills_bins(call)) },
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
        let agent = snapshot.config.agents.default_id().to_lowercase();
        let lookup = Lookup {
            config: &snapshot.config,
            env: &snapshot.env,
            secrets: &snapshot.secrets,
            paths: &call.state.paths,
            agent: &agent,
            now: call.now(),
        };
        let rows: Vec<Value> = listing::rows(&lookup).iter().map(listing::Row::to_json).collect();
        Ok(json!({ "models": rows }))
    })
    .await
}

async fn skills_status(call: Call) -> Reply {
    let agent = known_agent(&call)?;
    blocking(move || {
        let state = &call.state;
        let snapshot = state.config.load();
        let config = &snapshot.config;
        let default = agent == config.agents.default_id().to_lowercase();
        let workspace = super::agents::workspace::dir(config, &state.paths, &agent, default);
        let found = skills::discover(&workspace, &state.paths, config);
        let entries: Vec<Value> = found
            .iter()
            .map(|skill| {
                let verdict = skills::judge(skill, &snapshot.env, config, &snapshot.resolved);
                skills::status_entry(skill, &verdict)
            })
            .collect();
        Ok(json!({
            "workspaceDir": workspace,
            "managedSkillsDir": skills::managed_dir(&state.paths),
            "skills": entries,
        }))
    })
    .await
}

async fn skills_bins(call: Call) -> Reply {
    blocking(move || {
        let state = &call.state;
        let snapshot = state.config.load();
        let config = &snapshot.config;
        let default = config.agents.default_id().to_lowercase();
        let mut bins: Vec<String> = Vec::new();
        for agent in super::agents::agent_ids(config, &state.paths) {
            let workspace =
                super::agents::workspace::dir(config, &state.paths, &agent, agent == default);
            bins.extend(skills::wanted_bins(&skills::discover(&workspace, &state.paths, config)));
        }
        bins.sort_unstable();
        bins.dedup();
        Ok(json!({ "bins": bins }))
    })
    .await
}

/// The agent that `agentId` names, or the default one.
fn known_agent(call: &Call) -> Result<String, ErrorShape> {
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
