//! `agents.create`, `agents.update`, `agents.delete`: the list of agents in the
//! configuration, and the folders that belong to one.

use std::fs;
use std::path::Path;

use serde_json::{Map, json};

use crate::config::{Snapshot, roster as edits};
use crate::gateway::rpc::agents::{files, workspace};
use crate::gateway::rpc::edits::{change, changing};
use crate::gateway::rpc::params::{flag, text};
use crate::gateway::rpc::{Call, Reply};
use crate::gateway::state::State;
use crate::profile::paths::expand;
use crate::protocol::error::ErrorShape;
use crate::store::trash;

pub(super) async fn create(call: Call) -> Reply {
    changing(call, |call| {
        let state = &call.state;
        let name = text(&call.params, "name").unwrap_or_default().to_owned();
        let id = new_id(&name)?;
        let typed = text(&call.params, "workspace").unwrap_or_default();
        let dir = expand(typed, &state.paths.home);
        let entry = [("name".to_owned(), json!(name)), ("workspace".to_owned(), json!(dir))];
        let taken = id.clone();
        change(call, move |document, snapshot| {
            if known(snapshot, state, &taken) {
                return Err(ErrorShape::invalid(format!("agent \"{taken}\" already exists")));
            }
            edits::entry(document, &taken).extend(entry);
            Ok(())
        })?;
        let made = fs::create_dir_all(&dir)
            .and_then(|()| fs::create_dir_all(state.paths.agent(&id).join("sessions")));
        made.map_err(|err| ErrorShape::unavailable(format!("Error: {err}")))?;
        introduce(call, &dir, &name)?;
        Ok(json!({ "ok": true, "agentId": id, "name": name, "workspace": dir }))
    })
    .await
}

/// Writes the first lines of the agent's `IDENTITY.md`, unless it has one.
fn introduce(call: &Call, dir: &Path, name: &str) -> Result<(), ErrorShape> {
    if dir.join("IDENTITY.md").exists() {
        return Ok(());
    }
    let mut lines = vec![format!("- Name: {name}")];
    for (key, label) in [("emoji", "Emoji"), ("avatar", "Avatar")] {
        if let Some(value) = text(&call.params, key) {
            lines.push(format!("- {label}: {value}"));
        }
    }
    let content = format!("# Identity\n\n{}\n", lines.join("\n"));
    files::set("", dir, "IDENTITY.md", &content, None).map(|_written| ()).map_err(ErrorShape::from)
}

pub(super) async fn update(call: Call) -> Reply {
    changing(call, |call| {
        let state = &call.state;
        let id = text(&call.params, "agentId").unwrap_or_default().to_lowercase();
        let mut patch = Map::new();
        for key in ["name", "model"] {
            if let Some(value) = text(&call.params, key) {
                patch.insert(key.to_owned(), value.into());
            }
        }
        if let Some(dir) = text(&call.params, "workspace") {
            patch.insert("workspace".to_owned(), json!(expand(dir, &state.paths.home)));
        }
        let avatar = text(&call.params, "avatar").map(str::to_owned);
        let wanted = id.clone();
        change(call, move |document, snapshot| {
            if !known(snapshot, state, &wanted) {
                return Err(ErrorShape::invalid(format!("agent \"{wanted}\" not found")));
            }
            let entry = edits::entry(document, &wanted);
            entry.extend(patch);
            if let Some(avatar) = avatar {
                let identity = entry.entry("identity").or_insert_with(|| json!({}));
                identity["avatar"] = avatar.into();
            }
            Ok(())
        })?;
        Ok(json!({ "ok": true, "agentId": id }))
    })
    .await
}

pub(super) async fn delete(call: Call) -> Reply {
    changing(call, |call| {
        let state = &call.state;
        let id = text(&call.params, "agentId").unwrap_or_default().to_lowercase();
        if id == "main" {
            return Err(ErrorShape::invalid("\"main\" cannot be deleted"));
        }
        let snapshot = state.config.load();
        let default = id == snapshot.config.agents.default_id().to_lowercase();
        let dir = workspace::dir(&snapshot.config, &state.paths, &id, default);
        let (mut removed, gone) = (0, id.clone());
        change(call, |document, snapshot| {
            if !snapshot.config.agents.list.iter().any(|agent| agent.id.eq_ignore_ascii_case(&gone))
            {
                return Err(ErrorShape::invalid(format!("agent \"{gone}\" not found")));
            }
            removed = edits::remove(document, &gone).bindings;
            Ok(())
        })?;
        if flag(&call.params, "deleteFiles") != Some(false) {
            for path in [dir, state.paths.agent(&id)] {
                match trash::put(&state.paths.home, &path, call.now()) {
                    Ok(Some(target)) => {
                        tracing::info!(from = %path.display(), to = %target.display(), "moved");
                    }
                    Ok(None) => {}
                    Err(err) => {
                        tracing::warn!(path = %path.display(), %err, "files of an agent stay");
                    }
                }
            }
        }
        Ok(json!({ "ok": true, "agentId": id, "removedBindings": removed }))
    })
    .await
}

fn known(snapshot: &Snapshot, state: &State, id: &str) -> bool {
    super::agent_ids(&snapshot.config, &state.paths).iter().any(|known| known == id)
}

/// The id of a new agent.
fn new_id(name: &str) -> Result<String, ErrorShape> {
    match edits::id_of(name).as_deref() {
        None => Err(ErrorShape::invalid("agent name must contain a letter or a digit")),
        Some("main") => Err(ErrorShape::invalid("\"main\" is reserved")),
        Some(id) => Ok(id.to_owned()),
    }
}
