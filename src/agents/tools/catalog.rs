//! The tool catalog as clients show it: groups, labels, profiles.

use serde_json::Value;
use serde_json::json;

use crate::agents::tools::policy::profiles_of;

/// A tool's name and what lists say about it.
type Row = (&'static str, &'static str);

/// Groups in the order of the catalog.
const GROUPS: &[(&str, &str, &[Row])] = &[
    (
        "fs",
        "Files",
        &[
            ("read", "Read file contents"),
            ("write", "Create or overwrite files"),
            ("edit", "Make precise edits"),
        ],
    ),
    (
        "runtime",
        "Runtime",
        &[("exec", "Run shell commands"), ("process", "Manage background processes")],
    ),
    ("web", "Web", &[("web_fetch", "Fetch web content")]),
    (
        "memory",
        "Memory",
        &[("memory_search", "Search memory files"), ("memory_get", "Read memory files")],
    ),
    (
        "sessions",
        "Sessions",
        &[
            ("sessions_list", "List sessions"),
            ("sessions_history", "Session history"),
            ("sessions_send", "Send to session"),
            ("session_status", "Session status"),
        ],
    ),
    ("messaging", "Messaging", &[("message", "Send messages")]),
    ("automation", "Automation", &[("cron", "Schedule tasks"), ("gateway", "Gateway control")]),
    ("agents", "Agents", &[("agents_list", "List agents")]),
];

/// Renders the tools that exist here; those of connected servers come last.
pub(crate) fn render(agent: &str, names: &[String]) -> Value {
    let mut groups = Vec::new();
    for (id, label, rows) in GROUPS {
        let tools: Vec<Value> = rows
            .iter()
            .filter(|(name, _)| names.iter().any(|known| known == name))
            .map(|(name, description)| {
                json!({
                    "id": name, "label": name, "description": description, "source": "core",
                    "defaultProfiles": profiles_of(name),
                })
            })
            .collect();
        if !tools.is_empty() {
            groups.push(json!({"id": id, "label": label, "source": "core", "tools": tools}));
        }
    }
    let is_core =
        |name: &str| GROUPS.iter().any(|(_, _, rows)| rows.iter().any(|(n, _)| *n == name));
    let others: Vec<Value> = names
        .iter()
        .filter(|name| !is_core(name))
        .map(|name| {
            json!({
                "id": name, "label": name, "description": "Tool of a connected server",
                "source": "plugin", "pluginId": "mcp", "optional": true, "defaultProfiles": [],
            })
        })
        .collect();
    if !others.is_empty() {
        let group = json!({
            "id": "plugin:mcp", "label": "Connected tools", "source": "plugin", "pluginId": "mcp",
            "tools": others,
        });
        groups.push(group);
    }
    json!({
        "agentId": agent,
        "profiles": [
            {"id": "minimal", "label": "Minimal"},
            {"id": "coding", "label": "Coding"},
            {"id": "messaging", "label": "Messaging"},
            {"id": "full", "label": "Full"},
        ],
        "groups": groups,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tools_that_exist_are_listed() {
        let catalog = render("main", &["read".to_owned(), "exec".to_owned(), "srv_x".to_owned()]);
        let groups = catalog["groups"].as_array().unwrap();
        let ids: Vec<&str> = groups.iter().map(|group| group["id"].as_str().unwrap()).collect();
        assert_eq!(ids, ["fs", "runtime", "plugin:mcp"]);
        assert_eq!(
            groups[0]["tools"],
            json!([{"id": "read", "label": "read", "description": "Read file contents",
                    "source": "core", "defaultProfiles": ["coding"]}])
        );
    }
}
