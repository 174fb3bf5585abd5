//! `agents set-identity`: who an agent is, typed or taken from its IDENTITY.md.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::agents::workspace::identity;
use crate::cli::args::agents::IdentityArgs;
use crate::cli::commands::agents::{edit, id_of, updated};
use crate::cli::context::Context;
use crate::cli::local::Local;
use crate::cli::ui::page::Page;
use crate::cli::ui::{CommandResult, Failure, Outcome};
use crate::config::roster;
use crate::profile::paths::expand;

const FILE: &str = "IDENTITY.md";

pub(super) fn set(context: &Context, args: &IdentityArgs) -> CommandResult {
    let typed = typed(args);
    let from_file = args.from_identity || args.identity_file.is_some() || typed.is_empty();
    let at = |path: &Path| expand(&path.to_string_lossy(), &context.paths.home);
    let file = args.identity_file.as_deref().map(at);
    let workspace = match (&file, &args.workspace) {
        (Some(file), _) => file.parent().map(Path::to_path_buf),
        (None, Some(dir)) => Some(at(dir)),
        (None, None) if from_file || args.agent.is_none() => Some(at(Path::new("."))),
        (None, None) => None,
    };
    let id = match (args.agent.as_deref(), &workspace) {
        (Some(typed), _) => id_of(typed)?,
        (None, Some(dir)) => agent_of(context, dir)?,
        (None, None) => {
            return Err(Failure::new(
                "Select an agent with --agent or provide a workspace via --workspace.",
            ));
        }
    };
    let mut fields = Map::new();
    if from_file {
        let path = file.clone().or_else(|| workspace.as_ref().map(|dir| dir.join(FILE)));
        let path = path.unwrap_or_else(|| PathBuf::from(FILE));
        fields = fs::read_to_string(&path).map(|text| written(&text)).unwrap_or_default();
        if fields.is_empty() {
            let path = context.short(&path);
            return Err(Failure::new(format!("No identity data found in {path}.")));
        }
    }
    fields.extend(typed);
    let (identity, notes) = edit(context, |document| {
        let entry = roster::entry(document, &id);
        let known = entry.entry("identity").or_insert_with(|| json!({}));
        if let Some(known) = known.as_object_mut() {
            known.extend(fields.clone());
        }
        known.clone()
    })?;
    if args.json {
        let document = json!({ "agentId": id, "identity": identity, "workspace": workspace,
            "identityFile": file });
        return Ok(Outcome::json(&document).with_stderr(notes));
    }
    let mut page = Page::default();
    page.line(updated(context));
    page.line(format!("Agent: {id}"));
    for (key, label) in
        [("name", "Name"), ("theme", "Theme"), ("emoji", "Emoji"), ("avatar", "Avatar")]
    {
        if let Some(value) = identity[key].as_str() {
            page.line(format!("{label}: {value}"));
        }
    }
    if let Some(dir) = workspace {
        page.line(format!("Workspace: {}", context.short(&dir)));
    }
    Ok(Outcome::text(page).with_stderr(notes))
}

fn typed(args: &IdentityArgs) -> Map<String, Value> {
    let fields = [
        ("name", &args.name),
        ("emoji", &args.emoji),
        ("theme", &args.theme),
        ("avatar", &args.avatar),
    ];
    let given = fields.into_iter().filter_map(|(key, value)| {
        let value = value.as_deref().map(str::trim).filter(|text| !text.is_empty())?;
        Some((key.to_owned(), Value::from(value)))
    });
    given.collect()
}

/// What an IDENTITY.md says, in the words of the configuration.
fn written(text: &str) -> Map<String, Value> {
    let found = identity::fields(text);
    let theme = ["theme", "creature", "vibe"].iter().find_map(|key| found.get(*key));
    let fields = [
        ("name", found.get("name")),
        ("emoji", found.get("emoji")),
        ("theme", theme),
        ("avatar", found.get("avatar")),
    ];
    let given =
        fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.clone())));
    given.collect()
}

/// The one agent whose workspace this is.
fn agent_of(context: &Context, dir: &Path) -> Result<String, Failure> {
    let local = Local::open(context);
    let own = |id: &&String| local.workspace(id) == dir;
    let ids: Vec<&str> = local.ids.iter().filter(own).map(String::as_str).collect();
    let dir = context.short(dir);
    match ids.as_slice() {
        [] => Err(Failure::new(format!(
            "No agent workspace matches {dir}. Pass --agent to target a specific agent."
        ))),
        [id] => Ok((*id).to_owned()),
        several => Err(Failure::new(format!(
            "Multiple agents match {dir}: {}. Pass --agent to choose one.",
            several.join(", ")
        ))),
    }
}
