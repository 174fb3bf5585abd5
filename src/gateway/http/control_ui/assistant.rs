//! Name and face that the UI shows for the gateway and its agents.

use std::collections::HashMap;
use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::config::Snapshot;
use crate::profile::paths;

/// What the UI shows.
#[derive(Debug, Default)]
pub struct Assistant {
    pub name: String,
    avatar: String,
    default_agent: String,
    agents: HashMap<String, Avatar>,
}

#[derive(Debug, Clone)]
enum Avatar {
    /// An address the browser fetches itself.
    Url(String),
    File(PathBuf),
}

impl Assistant {
    pub fn new(snapshot: &Snapshot) -> Self {
        let config = &snapshot.config;
        let default_agent = config.agents.default_id().to_lowercase();
        let identity = config.agents.get(&default_agent).map(|agent| &agent.identity);
        let of_agent = |key: &str| identity.and_then(|identity| text(identity, key));
        let empty = Map::new();
        let shown = config.ui.get("assistant").and_then(Value::as_object).unwrap_or(&empty);
        let name = text(shown, "name").or_else(|| of_agent("name"));
        let avatar =
            text(shown, "avatar").or_else(|| of_agent("avatar")).or_else(|| of_agent("emoji"));
        let agents = config
            .agents
            .list
            .iter()
            .filter_map(|agent| {
                let id = agent.id.to_lowercase();
                let written = text(&agent.identity, "avatar")?;
                Some((id.clone(), avatar_of(snapshot, &id, agent.workspace.as_deref(), &written)?))
            })
            .collect();
        Self {
            name: name.unwrap_or_else(|| "Assistant".to_owned()),
            avatar: avatar.unwrap_or_else(|| "A".to_owned()),
            default_agent,
            agents,
        }
    }

    /// The face of the gateway: text, an address, or the path of an avatar.
    pub fn shown_avatar(&self, base: &str) -> String {
        let is_file = matches!(self.agents.get(&self.default_agent), Some(Avatar::File(_)));
        if is_file && looks_like_path(&self.avatar) {
            format!("{base}/avatar/{}", self.default_agent)
        } else {
            self.avatar.clone()
        }
    }

    /// Where a browser finds an agent's avatar.
    pub fn avatar_url(&self, agent: &str, base: &str) -> Option<String> {
        match self.agents.get(agent)? {
            Avatar::Url(url) => Some(url.clone()),
            Avatar::File(path) => path.is_file().then(|| format!("{base}/avatar/{agent}")),
        }
    }

    pub fn avatar_file(&self, agent: &str) -> Option<PathBuf> {
        match self.agents.get(agent)? {
            Avatar::Url(_) => None,
            Avatar::File(path) => Some(path.clone()),
        }
    }
}

fn text(fields: &Map<String, Value>, key: &str) -> Option<String> {
    let text = fields.get(key)?.as_str()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn looks_like_path(text: &str) -> bool {
    text.contains('/') || text.rsplit_once('.').is_some_and(|(_, end)| (3..=4).contains(&end.len()))
}

/// Files are sought in the agent's workspace and must stay there.
fn avatar_of(
    snapshot: &Snapshot,
    agent: &str,
    workspace: Option<&str>,
    written: &str,
) -> Option<Avatar> {
    let is_url = ["http://", "https://", "data:"].iter().any(|scheme| written.starts_with(scheme));
    if is_url {
        return Some(Avatar::Url(written.to_owned()));
    }
    if !looks_like_path(written) {
        return None;
    }
    let workspace = match workspace {
        Some(dir) => paths::expand(dir, &snapshot.home),
        None => match &snapshot.config.agents.defaults.workspace {
            Some(dir) if agent == snapshot.config.agents.default_id() => {
                paths::expand(dir, &snapshot.home)
            }
            _ => snapshot.state.join(format!("workspace-{agent}")),
        },
    };
    let root = workspace.canonicalize().ok()?;
    let path = root.join(written).canonicalize().ok()?;
    path.starts_with(&root).then_some(Avatar::File(path))
}
