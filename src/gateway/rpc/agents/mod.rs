//! `agents.*` and `agent.identity.get`: who the agents are and the files that
//! make them.

pub mod files;
pub mod identity;
mod roster;
pub mod workspace;

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::config::schema::agents::{Agent, ModelChoice};
use crate::gateway::rpc::params::{blocking, text};
use crate::gateway::rpc::{Call, Method, Reply};
use crate::profile::paths::Paths;
use crate::protocol::error::ErrorShape;

pub(crate) const METHODS: &[Method] = &[
    Method { name: "agents.list", run: |call| Box::pin(list(call)) },
    Method { name: "agent.identity.get", run: |call| Box::pin(identity(call)) },
    Method { name: "agents.create", run: |call| Box::pin(roster::create(call)) },
    Method { name: "agents.update", run: |call| Box::pin(roster::update(call)) },
    Method { name: "agents.delete", run: |call| Box::pin(roster::delete(call)) },
    Method { name: "agents.files.list", run: |call| Box::pin(files_list(call)) },
    Method { name: "agents.files.get", run: |call| Box::pin(files_get(call)) },
    Method { name: "agents.files.set", run: |call| Box::pin(files_set(call)) },
];

async fn list(call: Call) -> Reply {
    blocking(move || {
        let config = &call.state.config.load().config;
        let mut list = list_of(config, &call.state.paths);
        if call.caller.protocol >= 4 {
            tell_ownership(config, &mut list);
            let sessions = call.state.agents.sessions();
            for entry in list["agents"].as_array_mut().into_iter().flatten() {
                let workspace = Path::new(entry["workspace"].as_str().unwrap_or_default());
                let git = workspace.ancestors().any(|dir| dir.join(".git").exists());
                let mut shown = sessions.newer_defaults(entry["id"].as_str());
                entry["workspaceGit"] = git.into();
                for key in ["agentRuntime", "thinkingLevels", "thinkingOptions", "thinkingDefault"]
                {
                    entry[key] = shown[key].take();
                }
            }
        }
        Ok(list)
    })
    .await
}

/// Since protocol 4 clients ask which agent they mean when there are several and
/// none is the default. Here one always is.
pub fn tell_ownership(config: &Config, shown: &mut Value) {
    shown["ownership"] = if config.agents.list.len() > 1 { "legacy" } else { "sole" }.into();
    shown["selectionRequired"] = false.into();
}

/// Result of `agents.list`. Looks at the state directory.
fn list_of(config: &Config, paths: &Paths) -> Value {
    let default = config.agents.default_id().to_lowercase();
    let agents: Vec<Value> = agent_ids(config, paths)
        .iter()
        .map(|id| agent_entry(config, paths, id, *id == default))
        .collect();
    let scope = config.session.get("scope").and_then(Value::as_str).unwrap_or("per-sender");
    json!({ "defaultId": default, "mainKey": "main", "scope": scope, "agents": agents })
}

/// The configured agents; without any, the default and those with a folder.
pub fn agent_ids(config: &Config, paths: &Paths) -> Vec<String> {
    let mut ids: Vec<String> =
        config.agents.list.iter().map(|agent| agent.id.to_lowercase()).collect();
    if ids.is_empty() {
        ids.push(config.agents.default_id().to_lowercase());
        let listing = std::fs::read_dir(paths.state.join("agents")).into_iter().flatten().flatten();
        let mut found: Vec<String> = listing
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|id| !id.starts_with('.') && !ids.contains(id))
            .collect();
        found.sort_unstable();
        ids.extend(found);
    }
    let mut seen = std::collections::HashSet::new();
    ids.retain(|id| seen.insert(id.clone()));
    ids
}

fn agent_entry(config: &Config, paths: &Paths, id: &str, default: bool) -> Value {
    let agent = config.agents.get(id);
    let mut entry = Map::new();
    entry.insert("id".into(), id.into());
    if let Some(name) = agent.and_then(|agent| agent.name.as_deref()) {
        entry.insert("name".into(), name.into());
    }
    if let Some(identity) = agent.map(|agent| &agent.identity).filter(|map| !map.is_empty()) {
        entry.insert("identity".into(), identity_entry(identity));
    }
    let workspace = workspace::dir(config, paths, id, default);
    entry.insert("workspace".into(), json!(workspace));
    if let Some(model) = model_entry(config, agent) {
        entry.insert("model".into(), model);
    }
    Value::Object(entry)
}

fn identity_entry(identity: &Map<String, Value>) -> Value {
    let mut entry = Map::new();
    for key in ["name", "theme", "emoji", "avatar"] {
        if let Some(value) = identity.get(key).filter(|value| value.is_string()) {
            entry.insert(key.into(), value.clone());
        }
    }
    let avatar = identity.get("avatar").and_then(Value::as_str).unwrap_or_default();
    if avatar.starts_with("http://") || avatar.starts_with("https://") || is_data_url(avatar) {
        entry.insert("avatarUrl".into(), avatar.into());
    }
    Value::Object(entry)
}

fn is_data_url(text: &str) -> bool {
    text.starts_with("data:image/")
}

/// The model an agent is configured with, its own or the default.
fn model_entry(config: &Config, agent: Option<&Agent>) -> Option<Value> {
    let choice =
        agent.and_then(|agent| agent.model.as_ref()).or(config.agents.defaults.model.as_ref())?;
    let (primary, fallbacks) = match choice {
        ModelChoice::One(model) => (Some(model), &[][..]),
        ModelChoice::Chain { primary, fallbacks } => (primary.as_ref(), fallbacks.as_slice()),
    };
    let mut entry = Map::new();
    if let Some(primary) = primary {
        entry.insert("primary".into(), primary.clone().into());
    }
    if !fallbacks.is_empty() {
        entry.insert("fallbacks".into(), json!(fallbacks));
    }
    (!entry.is_empty()).then_some(Value::Object(entry))
}

async fn identity(call: Call) -> Reply {
    let snapshot = call.state.config.load();
    let asked = text(&call.params, "agentId").map(str::to_lowercase);
    let key = text(&call.params, "sessionKey").unwrap_or_default();
    let of_key = match crate::base::id::SessionKey::new(key).agent() {
        Some(agent) => Some(agent.to_owned()),
        None if key.to_lowercase().starts_with("agent:") => {
            let text =
                format!("invalid agent.identity.get params: malformed session key \"{key}\"");
            return Err(ErrorShape::invalid(text));
        }
        None if key.is_empty() => None,
        None => Some(snapshot.config.agents.default_id().to_lowercase()),
    };
    if let (Some(asked), Some(owner)) = (&asked, &of_key)
        && asked != owner
    {
        return Err(ErrorShape::invalid(format!(
            "invalid agent.identity.get params: agent \"{asked}\" does not match session key agent \"{owner}\""
        )));
    }
    let default = snapshot.config.agents.default_id().to_lowercase();
    let agent = asked.or(of_key).unwrap_or_else(|| default.clone());
    blocking(move || {
        let workspace =
            workspace::dir(&snapshot.config, &call.state.paths, &agent, agent == default);
        let mut shown = identity::of(&snapshot.config, &workspace, &agent);
        // Where a name comes from is told in protocol 4.
        if let Some(fields) = shown.as_object_mut().filter(|_| call.caller.protocol < 4) {
            fields.shift_remove("nameSource");
        }
        Ok(shown)
    })
    .await
}

async fn files_list(call: Call) -> Reply {
    let (agent, dir) = known_workspace(&call)?;
    let newer = call.caller.protocol >= 4;
    blocking(move || Ok(files::list(&agent, &dir, newer))).await
}

async fn files_get(call: Call) -> Reply {
    let (agent, dir) = known_workspace(&call)?;
    let name = text(&call.params, "name").unwrap_or_default().to_owned();
    let newer = call.caller.protocol >= 4;
    blocking(move || Ok(files::get(&agent, &dir, &name, newer)?)).await
}

async fn files_set(call: Call) -> Reply {
    let (agent, dir) = known_workspace(&call)?;
    let name = text(&call.params, "name").unwrap_or_default().to_owned();
    let content = call.params["content"].as_str().unwrap_or_default().to_owned();
    let newer = call.caller.protocol >= 4;
    let expected = text(&call.params, "expectedHash").filter(|_| newer).map(str::to_lowercase);
    blocking(move || {
        let mut written = files::set(&agent, &dir, &name, &content, expected.as_deref())?;
        if let Some(file) = written["file"].as_object_mut().filter(|_| !newer) {
            file.shift_remove("hash");
        }
        Ok(written)
    })
    .await
}

/// The agent that `agentId` names, if it exists, and its workspace.
fn known_workspace(call: &Call) -> Result<(String, std::path::PathBuf), ErrorShape> {
    let snapshot = call.state.config.load();
    let agent = text(&call.params, "agentId").unwrap_or_default().to_lowercase();
    let paths = &call.state.paths;
    if !agent_ids(&snapshot.config, paths).contains(&agent) {
        return Err(ErrorShape::invalid("unknown agent id"));
    }
    let default = agent == snapshot.config.agents.default_id().to_lowercase();
    let dir = workspace::dir(&snapshot.config, paths, &agent, default);
    Ok((agent, dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(home: &str) -> Paths {
        Paths::resolve(&[("HOME", home)].into_iter().collect())
    }

    #[test]
    fn one_agent_is_listed_as_recorded() {
        let config: Config = serde_json::from_value(json!({"agents": {"defaults": {
            "model": {"primary": "fake/tiny-1"}, "workspace": "/home/op/workspace"}}}))
        .unwrap();
        let expected = json!({"defaultId": "main", "mainKey": "main", "scope": "per-sender",
            "agents": [{"id": "main", "workspace": "/home/op/workspace",
                "model": {"primary": "fake/tiny-1"}}]});
        assert_eq!(list_of(&config, &paths("/nowhere")), expected);
    }

    #[test]
    fn several_agents_have_their_own_names_models_and_workspaces() {
        let config: Config = serde_json::from_value(json!({"agents": {"list": [
            {"id": "Main"},
            {"id": "ops", "name": "Ops", "model": {"primary": "a/b", "fallbacks": ["c/d"]},
             "identity": {"emoji": "🦀", "avatar": "https://x/y.png", "secret": 1}}]}}))
        .unwrap();
        let result = list_of(&config, &paths("/nowhere"));
        let expected = json!({"id": "ops", "name": "Ops",
            "identity": {"emoji": "🦀", "avatar": "https://x/y.png",
                "avatarUrl": "https://x/y.png"},
            "workspace": "/nowhere/.openclaw/workspace-ops",
            "model": {"primary": "a/b", "fallbacks": ["c/d"]}});
        assert_eq!(result["agents"][1], expected);
        assert_eq!(result["agents"][0]["workspace"], "/nowhere/.openclaw/workspace");
    }
}
