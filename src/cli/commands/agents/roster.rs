//! `agents add|delete`.

use std::fs;

use serde_json::{Map, Value, json};

use crate::base::clock;
use crate::cli::args::agents::{AddArgs, DeleteArgs};
use crate::cli::commands::agents::{agent_dir, bind, edit, exists, id_of, updated};
use crate::cli::context::Context;
use crate::cli::local::Local;
use crate::cli::ui::page::Page;
use crate::cli::ui::{CommandResult, Failure, Outcome};
use crate::config::roster;
use crate::profile::paths::expand;
use crate::store::trash;

pub(super) fn add(context: &Context, args: &AddArgs) -> CommandResult {
    let text = |value: &Option<String>| {
        value.as_deref().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let Some(workspace) = text(&args.workspace) else {
        return Err(Failure::new(
            "Non-interactive mode requires --workspace. There is no wizard: name the agent and its --workspace.",
        ));
    };
    let Some(name) = text(&args.name) else {
        return Err(Failure::new("Agent name is required in non-interactive mode."));
    };
    let id = id_of(&name)?;
    if id == "main" {
        return Err(Failure::new("\"main\" is reserved. Choose another name."));
    }
    if context.config().config.agents.get(&id).is_some() {
        return Err(Failure::new(format!("Agent \"{id}\" already exists.")));
    }
    let rules = bind::rules(&args.bind)?;
    let workspace = expand(&workspace, &context.paths.home);
    let dir = match text(&args.agent_dir) {
        Some(dir) => expand(&dir, &context.paths.home),
        None => agent_dir(context, &id),
    };
    let model = text(&args.model);
    let (bound, notes) = edit(context, |document| {
        let entry = roster::entry(document, &id);
        entry.insert("name".to_owned(), name.as_str().into());
        entry.insert("workspace".to_owned(), json!(workspace));
        entry.insert("agentDir".to_owned(), json!(dir));
        if let Some(model) = &model {
            entry.insert("model".to_owned(), model.as_str().into());
        }
        roster::bind(document, &id, &rules)
    })?;
    let sessions = context.paths.agent(&id).join("sessions");
    for made in [&workspace, &sessions] {
        fs::create_dir_all(made)
            .map_err(|err| Failure::new(format!("Error: {}: {err}", made.display())))?;
    }
    if args.json {
        let mut document = Map::new();
        document.insert("agentId".to_owned(), json!(id));
        document.insert("name".to_owned(), json!(name));
        document.insert("workspace".to_owned(), json!(workspace));
        document.insert("agentDir".to_owned(), json!(dir));
        if let Some(model) = model {
            document.insert("model".to_owned(), json!(model));
        }
        document.insert("bindings".to_owned(), bind::summary(&bound));
        return Ok(Outcome::json(&Value::Object(document)).with_stderr(notes));
    }
    let mut page = Page::default();
    if id != name {
        page.line(format!("Normalized agent id to \"{id}\"."));
    }
    page.line(updated(context));
    page.line(format!("Workspace OK: {}", context.short(&workspace)));
    page.line(format!("Sessions OK: {}", context.short(&sessions)));
    page.line(format!("Agent: {id}"));
    page.line(format!("Workspace: {}", context.short(&workspace)));
    page.line(format!("Agent dir: {}", context.short(&dir)));
    if let Some(model) = model {
        page.line(format!("Model: {model}"));
    }
    let title = "Skipped bindings already claimed by another agent:";
    let said = bind::joined(&notes, &bind::claimed(title, &bound.conflicts));
    Ok(Outcome::text(page).with_stderr(said))
}

pub(super) fn delete(context: &Context, args: &DeleteArgs) -> CommandResult {
    let id = id_of(&args.id)?;
    if id == "main" {
        return Err(Failure::new("\"main\" cannot be deleted."));
    }
    let listed = !context.config().config.agents.list.is_empty();
    if !listed || !exists(context, &id) {
        return Err(Failure::new(format!("Agent \"{id}\" not found.")));
    }
    if !args.force {
        if !context.ui.interactive() {
            return Err(Failure::new("Non-interactive session. Re-run with --force."));
        }
        let question = format!("Take agent \"{id}\" out and move its files to the trash?");
        if !context.ui.confirm(&question)? {
            return Ok(Outcome::text("Cancelled."));
        }
    }
    let workspace = Local::open(context).workspace(&id);
    let (dir, sessions) = (agent_dir(context, &id), context.paths.agent(&id).join("sessions"));
    let (removed, notes) = edit(context, |document| roster::remove(document, &id))?;
    let mut page = Page::default();
    if id != args.id.trim() {
        page.line(format!("Normalized agent id to \"{id}\"."));
    }
    page.line(updated(context));
    let (mut notes, now) = (notes, clock::now_ms());
    for path in [&workspace, &dir, &sessions] {
        match trash::put(&context.paths.home, path, now) {
            Ok(Some(target)) => page.line(format!("Moved to trash: {}", context.short(&target))),
            Ok(None) => {}
            Err(err) => {
                let stays = format!("Not moved: {}: {err}", context.short(path));
                notes = bind::joined(&notes, &stays);
            }
        }
    }
    page.line(format!("Deleted agent: {id}"));
    let outcome = if args.json {
        Outcome::json(&json!({
            "agentId": id, "workspace": workspace, "agentDir": dir, "sessionsDir": sessions,
            "removedBindings": removed.bindings, "removedAllow": removed.allow,
        }))
    } else {
        Outcome::text(page)
    };
    Ok(outcome.with_stderr(notes))
}
