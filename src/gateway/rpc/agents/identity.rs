//! How an agent introduces itself: name, avatar and emoji.
//!
//! `ui.assistant` comes first, then the agent's own `identity`, then what the
//! agent wrote about itself into `IDENTITY.md`.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::agents::workspace::identity;
use crate::config::Config;

/// Longest name and avatar that are passed on, in characters.
const MAX_NAME: usize = 50;
const MAX_AVATAR: usize = 200;

/// Result of `agent.identity.get`. Reads the workspace.
pub fn of(config: &Config, workspace: &Path, agent: &str) -> Value {
    let ui = config.ui.get("assistant").and_then(Value::as_object).cloned().unwrap_or_default();
    let own = config.agents.get(agent).map(|agent| agent.identity.clone()).unwrap_or_default();
    let written = fs::read_to_string(workspace.join("IDENTITY.md"))
        .map(|text| identity::fields(&text))
        .unwrap_or_default();
    let find = |sources: &[&Map<String, Value>], keys: &[&str]| -> Option<String> {
        sources.iter().find_map(|source| {
            keys.iter().find_map(|key| {
                let text = source.get(*key)?.as_str()?.trim();
                (!text.is_empty()).then(|| text.to_owned())
            })
        })
    };
    let named = [(&ui, "config"), (&own, "agent"), (&written, "workspace")]
        .into_iter()
        .find_map(|(source, origin)| Some((find(&[source], &["name"])?, origin)));
    let (name, origin) = named.unwrap_or_else(|| ("Assistant".into(), "default"));
    let avatar = find(&[&ui, &own, &written], &["avatar", "emoji"]).unwrap_or_else(|| "A".into());
    let mut identity = Map::new();
    identity.insert("agentId".into(), agent.into());
    identity.insert("name".into(), cut(&name, MAX_NAME).into());
    identity.insert("nameSource".into(), origin.into());
    let avatar = if avatar.starts_with("data:") { avatar } else { cut(&avatar, MAX_AVATAR) };
    identity.insert("avatar".into(), avatar.into());
    if let Some(emoji) = find(&[&own, &written], &["emoji"]) {
        identity.insert("emoji".into(), json!(emoji));
    }
    Value::Object(identity)
}

fn cut(text: &str, max: usize) -> String {
    text.chars().take(max).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_agent_is_an_assistant() {
        let expected = json!({"agentId": "main", "name": "Assistant",
            "nameSource": "default", "avatar": "A"});
        assert_eq!(of(&Config::default(), Path::new("/nowhere"), "main"), expected);
    }

    #[test]
    fn what_the_agent_wrote_counts_unless_configured_otherwise() {
        let dir = tempfile::tempdir().unwrap();
        let text = "# Me\n- **Name:** Claw\n- **Emoji:** 🦀\n- **Avatar:** _(path)_\n";
        fs::write(dir.path().join("IDENTITY.md"), text).unwrap();
        let expected = json!({"agentId": "main", "name": "Claw",
            "nameSource": "workspace", "avatar": "🦀", "emoji": "🦀"});
        assert_eq!(of(&Config::default(), dir.path(), "main"), expected);
        let config: Config =
            serde_json::from_value(json!({"ui": {"assistant": {"name": "Boss"}}})).unwrap();
        assert_eq!(of(&config, dir.path(), "main")["name"], "Boss");
    }
}
