//! `directory …`: people and groups whom the configuration of a chat channel
//! names.

use serde_json::{Value, json};

use crate::channels::channel::DEFAULT;
use crate::channels::manager::SHARED_SECTIONS;
use crate::channels::{kind, kinds};
use crate::cli::args::directory::{
    DirectoryCommand, DirectoryListArgs, DirectoryOf, GroupsCommand, PeersCommand,
};
use crate::cli::context::Context;
use crate::cli::ui::table::{Fit, PIPE_WIDTH, Table};
use crate::cli::ui::{CommandResult, Failure, Outcome};

pub(super) fn run(context: &Context, command: &DirectoryCommand) -> CommandResult {
    match command {
        DirectoryCommand::Own(of) => {
            // None of the channels tells who it is before it is connected.
            account(context, of)?;
            Ok(if of.json { Outcome::json(&Value::Null) } else { Outcome::text("Not available.") })
        }
        DirectoryCommand::Peers(args) => {
            let PeersCommand::List(args) = &args.command;
            list(context, args, "user", "Peers", "No peers found.")
        }
        DirectoryCommand::Groups(args) => match &args.command {
            GroupsCommand::List(args) => list(context, args, "group", "Groups", "No groups found."),
            GroupsCommand::Members(args) => {
                let (channel, _) = account(context, &args.of)?;
                Err(fail(format!("Channel {channel} does not support group members listing")))
            }
        },
    }
}

fn fail(text: impl std::fmt::Display) -> Failure {
    Failure::new(format!("Error: {text}"))
}

/// The channel and the settings of its account.
fn account(context: &Context, of: &DirectoryOf) -> Result<(String, Value), Failure> {
    let channels = &context.config().config.channels;
    let typed = of.channel.as_deref().map(str::trim).filter(|name| !name.is_empty());
    let channel = if let Some(name) = typed {
        let name = name.to_lowercase();
        if kind(&name).is_none() {
            let known: Vec<&str> = kinds().iter().map(|kind| kind.id).collect();
            let known = known.join(", ");
            return Err(fail(format!("Unsupported channel: {name} (this gateway has {known})")));
        }
        name
    } else {
        let configured: Vec<&String> = channels
            .keys()
            .filter(|name| !SHARED_SECTIONS.contains(&name.as_str()) && kind(name).is_some())
            .collect();
        match configured.as_slice() {
            [one] => (*one).clone(),
            [] => return Err(fail("Channel is required (no configured channels detected).")),
            several => {
                let names: Vec<&str> = several.iter().map(|name| name.as_str()).collect();
                let names = names.join(", ");
                return Err(fail(format!(
                    "Channel is required when multiple channels are configured: {names}"
                )));
            }
        }
    };
    let section = channels.get(&channel).cloned().unwrap_or_default();
    let id = of.account.as_deref().map(str::trim).filter(|id| !id.is_empty()).unwrap_or(DEFAULT);
    let own = section["accounts"][id].as_object().cloned().unwrap_or_default();
    let mut settings = section;
    if let Some(settings) = settings.as_object_mut() {
        settings.shift_remove("accounts");
        settings.extend(own);
    }
    Ok((channel, settings))
}

/// Texts of a list, and names of an object's members.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(list) => list
            .iter()
            .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
            .collect(),
        Value::Object(members) => members.keys().cloned().collect(),
        _ => Vec::new(),
    }
}

/// The ids that the settings of an account name, as the network spells them.
fn ids(channel: &str, settings: &Value, kind: &str) -> Vec<String> {
    let groups =
        if settings["groups"].is_null() { &settings["rooms"] } else { &settings["groups"] };
    let sources: Vec<Value> = if kind == "group" {
        vec![settings["channels"].clone(), groups.clone()]
    } else {
        let mut people = vec![
            settings["allowFrom"].clone(),
            settings["dm"]["allowFrom"].clone(),
            settings["dms"].clone(),
            settings["groupAllowFrom"].clone(),
        ];
        let inner = groups.as_object().into_iter().flatten();
        people.extend(inner.map(|(_, group)| group["allowFrom"].clone()));
        people
    };
    let mut found: Vec<String> = Vec::new();
    for raw in sources.iter().flat_map(texts) {
        let raw = raw.trim();
        if raw.is_empty() || raw == "*" {
            continue;
        }
        let Some(id) = spelled(channel, kind, raw) else { continue };
        if !found.contains(&id) {
            found.push(id);
        }
    }
    found
}

fn spelled(channel: &str, kind: &str, raw: &str) -> Option<String> {
    let lower = raw.to_lowercase();
    let bare = ["telegram:", "tg:", "irc:", "matrix:"]
        .iter()
        .find(|prefix| lower.starts_with(**prefix))
        .map_or(raw, |prefix| raw[prefix.len()..].trim());
    match (channel, kind) {
        _ if bare.is_empty() => None,
        ("telegram", "user") if bare.starts_with('@') => Some(bare.to_owned()),
        ("telegram", "user")
            if !bare.trim_start_matches('-').bytes().all(|c| c.is_ascii_digit()) =>
        {
            Some(format!("@{bare}"))
        }
        ("irc", "group") => bare.starts_with(['#', '&', '+', '!']).then(|| bare.to_owned()),
        ("irc", _) => Some(bare.to_lowercase()),
        _ => Some(bare.to_owned()),
    }
}

fn list(
    context: &Context,
    args: &DirectoryListArgs,
    kind: &str,
    title: &str,
    none: &str,
) -> CommandResult {
    let (channel, settings) = account(context, &args.of)?;
    let mut ids = ids(&channel, &settings, kind);
    if let Some(query) = args.query.as_deref().map(|query| query.trim().to_lowercase()) {
        ids.retain(|id| id.to_lowercase().contains(&query));
    }
    if let Some(text) = args.limit.as_deref().map(str::trim).filter(|text| !text.is_empty()) {
        let limit = text.parse().ok().filter(|limit| *limit > 0);
        ids.truncate(limit.ok_or_else(|| {
            fail(format!("--limit must be a positive whole number, not \"{text}\""))
        })?);
    }
    let named = channel == "irc" && kind == "group";
    if args.of.json {
        let entry = |id: &String| {
            if named {
                json!({ "kind": kind, "id": id, "name": id })
            } else {
                json!({ "kind": kind, "id": id })
            }
        };
        return Ok(Outcome::json(&ids.iter().map(entry).collect::<Vec<_>>()));
    }
    if ids.is_empty() {
        return Ok(Outcome::text(none));
    }
    let mut table = Table::new(&[("ID", Fit::Rest), ("Name", Fit::Rest)]);
    for id in &ids {
        table.row([id.as_str(), if named { id } else { "" }]);
    }
    let heading = context.ui.out.heading(title);
    Ok(Outcome::text(format!("{heading} ({})\n{}", ids.len(), table.render(PIPE_WIDTH))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_spelled_as_their_network_does_and_named_once() {
        let settings = json!({
            "allowFrom": ["tg:42", 42, "Ann", "*", " "],
            "groups": {"-100": {"allowFrom": ["@bob"]}, "*": {}},
        });
        assert_eq!(ids("telegram", &settings, "user"), ["42", "@Ann", "@bob"]);
        assert_eq!(ids("telegram", &settings, "group"), ["-100"]);
        let settings = json!({"channels": ["#Claw", "nick"], "allowFrom": ["irc:Bob!b@h"]});
        assert_eq!(ids("irc", &settings, "group"), ["#Claw"]);
        assert_eq!(ids("irc", &settings, "user"), ["bob!b@h"]);
    }
}
