//! `agents …`: who answers, and for whom. Edits of the configuration; a running
//! gateway takes them over by itself.

mod bind;
mod identity;
mod list;
mod roster;

use std::path::PathBuf;

use serde_json::Value;

use crate::cli::args::agents::AgentsCommand;
use crate::cli::commands::config;
use crate::cli::context::Context;
use crate::cli::ui::{CommandResult, Failure};
use crate::config::roster as edits;

pub fn run(context: &Context, command: &AgentsCommand) -> CommandResult {
    match command {
        AgentsCommand::List(args) => Ok(list::run(context, args)),
        AgentsCommand::Bindings(args) => bind::bindings(context, args),
        AgentsCommand::Bind(args) => bind::bind(context, args),
        AgentsCommand::Unbind(args) => bind::unbind(context, args),
        AgentsCommand::Add(args) => roster::add(context, args),
        AgentsCommand::SetIdentity(args) => identity::set(context, args),
        AgentsCommand::Delete(args) => roster::delete(context, args),
    }
}

/// The id that was typed, in the form that ids have.
fn id_of(typed: &str) -> Result<String, Failure> {
    edits::id_of(typed).ok_or_else(|| Failure::new("Agent id is required."))
}

/// Whether the agent is there, configured or implied.
fn exists(context: &Context, id: &str) -> bool {
    let agents = &context.config().config.agents;
    if agents.list.is_empty() { id == agents.default_id() } else { agents.get(id).is_some() }
}

/// The agent that was typed, or the default one; it must be there.
fn known(context: &Context, typed: Option<&str>) -> Result<String, Failure> {
    let id = match typed.map(str::trim).filter(|id| !id.is_empty()) {
        Some(typed) => id_of(typed)?,
        None => context.config().config.agents.default_id().to_lowercase(),
    };
    if exists(context, &id) {
        Ok(id)
    } else {
        Err(Failure::new(format!("Agent \"{id}\" not found.")))
    }
}

/// The agent's own state, not its sessions.
fn agent_dir(context: &Context, id: &str) -> PathBuf {
    let entry = context.config().config.agents.get(id);
    match entry.and_then(|agent| agent.agent_dir.as_deref()) {
        Some(dir) => crate::profile::paths::expand(dir, &context.paths.home),
        None => context.paths.agent(id).join("agent"),
    }
}

/// Changes the configuration. Returns what the change made, and notes.
fn edit<T>(
    context: &Context,
    mut change: impl FnMut(&mut Value) -> T,
) -> Result<(T, String), Failure> {
    let mut made = None;
    let notes = config::change(context, |document| {
        made = Some(change(document));
        Ok(())
    })?;
    made.map(|made| (made, notes)).ok_or_else(|| Failure::new("Error: nothing was changed"))
}

/// The first line of a command that changed the file.
fn updated(context: &Context) -> String {
    format!("Updated {}", context.short(&context.paths.config))
}
