//! `agents list`: read from this host's files, so that it works without a
//! gateway.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::agents::workspace::identity;
use crate::channels::kind;
use crate::cli::args::agents::ListArgs;
use crate::cli::commands::agents::agent_dir;
use crate::cli::context::Context;
use crate::cli::local::Local;
use crate::cli::ui::Outcome;
use crate::cli::ui::page::Page;
use crate::config::roster::{self, describe};

/// Who an agent is, and which file says so.
struct Identity {
    name: Option<String>,
    emoji: Option<String>,
    source: Option<&'static str>,
}

impl Identity {
    /// What the workspace says, then what the configuration says.
    fn of(workspace: &Path, configured: &Map<String, Value>) -> Self {
        let text = fs::read_to_string(workspace.join("IDENTITY.md")).unwrap_or_default();
        let written = identity::fields(&text);
        let find = |key: &str| {
            let sources = [&written, configured];
            let mut found = sources.iter().filter_map(|source| source.get(key)?.as_str());
            found.find(|text| !text.trim().is_empty()).map(|text| text.trim().to_owned())
        };
        let (name, emoji) = (find("name"), find("emoji"));
        let source = match () {
            () if !written.is_empty() => Some("identity"),
            () if name.is_some() || emoji.is_some() => Some("config"),
            () => None,
        };
        Self { name, emoji, source }
    }

    fn insert_into(&self, object: &mut Map<String, Value>) {
        let parts = [
            ("identityName", self.name.as_deref()),
            ("identityEmoji", self.emoji.as_deref()),
            ("identitySource", self.source),
        ];
        for (key, value) in parts {
            if let Some(value) = value {
                object.insert(key.to_owned(), value.into());
            }
        }
    }

    fn line(&self) -> Option<String> {
        let parts: Vec<&str> =
            [&self.emoji, &self.name].into_iter().flatten().map(String::as_str).collect();
        let file = if self.source == Some("identity") { "IDENTITY.md" } else { "config" };
        (!parts.is_empty()).then(|| format!("{} ({file})", parts.join(" ")))
    }
}

/// `IRC default`: the accounts that rules route, each once.
fn accounts(rules: &[&Value]) -> Vec<String> {
    let mut accounts = Vec::new();
    for rule in rules {
        let channel = rule["match"]["channel"].as_str().unwrap_or_default();
        let label = kind(channel).map_or(channel, |kind| kind.label);
        let account = rule["match"]["accountId"].as_str().unwrap_or("default");
        let account = format!("{label} {account}");
        if !accounts.contains(&account) {
            accounts.push(account);
        }
    }
    accounts
}

pub(super) fn run(context: &Context, args: &ListArgs) -> Outcome {
    let local = Local::open(context);
    let config = &context.config().config;
    let bound = |id: &str| -> Vec<&Value> {
        let to = |binding: &Value| {
            binding["agentId"].as_str().is_some_and(|to| to.eq_ignore_ascii_case(id))
        };
        config.bindings.iter().filter(|rule| roster::is_route(rule) && to(rule)).collect()
    };
    let mut page = Page::default();
    let mut listed = Vec::new();
    page.line("Agents:");
    for id in &local.ids {
        let entry = config.agents.get(id);
        let dir = agent_dir(context, id);
        let workspace = local.workspace(id);
        let own = entry.map(|agent| agent.identity.clone()).unwrap_or_default();
        let identity = Identity::of(&workspace, &own);
        let (primary, _) = crate::agents::models::reference::configured(config, id);
        let is_default = *id == local.default_id;
        let routes = bound(id);
        let details: Vec<String> = routes.iter().map(|rule| describe(rule)).collect();
        let shown = if routes.is_empty() && is_default {
            vec!["default (no explicit rules)".to_owned()]
        } else {
            accounts(&routes)
        };
        let name = entry.and_then(|agent| agent.name.clone());
        let mut object = Map::new();
        object.insert("id".to_owned(), json!(id));
        if let Some(name) = &name {
            object.insert("name".to_owned(), json!(name));
        }
        identity.insert_into(&mut object);
        object.insert("workspace".to_owned(), json!(workspace));
        object.insert("agentDir".to_owned(), json!(dir));
        if let Some(model) = &primary {
            object.insert("model".to_owned(), json!(model));
        }
        object.insert("bindings".to_owned(), json!(routes.len()));
        object.insert("isDefault".to_owned(), json!(is_default));
        if args.bindings && !details.is_empty() {
            object.insert("bindingDetails".to_owned(), json!(details));
        }
        if !shown.is_empty() {
            object.insert("routes".to_owned(), json!(shown));
        }
        listed.push(Value::Object(object));

        let name = name.filter(|name| name != id).map(|name| format!(" ({name})"));
        let mark = if is_default { " (default)" } else { "" };
        page.line(format!("- {id}{mark}{}", name.unwrap_or_default()));
        if let Some(line) = identity.line() {
            page.line(format!("  Identity: {line}"));
        }
        page.line(format!("  Workspace: {}", context.short(&workspace)));
        page.line(format!("  Agent dir: {}", context.short(&dir)));
        if let Some(model) = primary {
            page.line(format!("  Model: {model}"));
        }
        page.line(format!("  Routing rules: {}", routes.len()));
        if !shown.is_empty() {
            page.line(format!("  Routing: {}", shown.join(", ")));
        }
        if args.bindings && !details.is_empty() {
            page.line("  Routing rules:");
            page.lines(details.iter().map(|rule| format!("    - {rule}")));
        }
    }
    if args.json {
        return Outcome::json(&listed);
    }
    page.line("Routing rules map channel/account/peer to an agent. Use --bindings for full rules.");
    Outcome::text(page)
}
