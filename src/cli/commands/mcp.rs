//! `mcp …`: the servers of tools in the configuration. Agents connect to them
//! while a run needs them; nothing is started here.

use serde_json::{Map, Value};

use crate::cli::args::mcp::{McpCommand, McpListArgs, McpSetArgs, McpShowArgs};
use crate::cli::commands::config::{author, write_failure, written_notes};
use crate::cli::context::Context;
use crate::cli::ui::page::Page;
use crate::cli::ui::{self, CommandResult, Failure, Outcome};
use crate::config::edit;
use crate::config::redact::{self, References};
use crate::config::write::{self, Before};

pub(super) fn run(context: &Context, command: &McpCommand) -> CommandResult {
    match command {
        McpCommand::List(args) => Ok(list(context, args)),
        McpCommand::Show(args) => show(context, args),
        McpCommand::Set(args) => set(context, args),
        McpCommand::Unset(args) => unset(context, args.name.trim()),
    }
}

/// The servers as the file has them; references and variables are not followed.
fn servers(context: &Context) -> Map<String, Value> {
    let found = edit::get(&context.config().resolved, &path("")[..2]);
    let servers = found.and_then(Value::as_object).cloned().unwrap_or_default();
    servers.into_iter().filter(|(_, server)| server.is_object()).collect()
}

fn path(name: &str) -> [String; 3] {
    ["mcp", "servers", name].map(str::to_owned)
}

fn file(context: &Context) -> String {
    context.paths.config.display().to_string()
}

fn list(context: &Context, args: &McpListArgs) -> Outcome {
    let servers = shown(context);
    if args.json {
        return Outcome::json(&servers);
    }
    let file = file(context);
    let mut names: Vec<&String> = servers.keys().collect();
    if names.is_empty() {
        return Outcome::text(format!("No MCP servers configured in {file}."));
    }
    names.sort();
    let mut page = Page::default();
    page.line(format!("MCP servers ({file}):"));
    page.lines(names.iter().map(|name| format!("- {name}")));
    Outcome::text(page)
}

/// The servers without their secrets.
fn shown(context: &Context) -> Map<String, Value> {
    let servers = Value::Object(servers(context));
    match redact::redact(&servers, "mcp.servers", References::Shown) {
        Value::Object(servers) => servers,
        _ => Map::new(),
    }
}

fn unknown(context: &Context, name: &str) -> Failure {
    Failure::new(format!("No MCP server named \"{name}\" in {}.", file(context)))
}

fn show(context: &Context, args: &McpShowArgs) -> CommandResult {
    let servers = shown(context);
    let file = file(context);
    let (heading, value) = match &args.name {
        Some(name) => {
            let server = servers.get(name).cloned().ok_or_else(|| unknown(context, name))?;
            (format!("MCP server \"{name}\" ({file}):"), server)
        }
        None => (format!("MCP servers ({file}):"), Value::Object(servers)),
    };
    if args.json {
        return Ok(Outcome::json(&value));
    }
    Ok(Outcome::text(format!("{heading}\n{}", ui::json(&value))))
}

fn set(context: &Context, args: &McpSetArgs) -> CommandResult {
    let name = required(&args.name)?;
    let text = args.value.trim();
    if text.is_empty() {
        return Err(Failure::new("Missing value."));
    }
    let value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(err) if text.starts_with(['{', '[']) => {
            return Err(Failure::new(format!("Invalid JSON: SyntaxError: {err}")));
        }
        Err(_) => Value::Null,
    };
    if !value.is_object() {
        return Err(Failure::new("MCP server config must be a JSON object."));
    }
    let written =
        write::update(&context.paths, &context.env, &author(), None, Before::Valid, |current| {
            Ok(edit::set(write::source_text(current), &path(name), &value)?)
        })
        .map_err(|err| match err {
            write::WriteError::Rejected(issues) => {
                let why = issues.first().map(ToString::to_string).unwrap_or_default();
                Failure::new(format!("Config invalid after MCP set ({why})."))
            }
            other => write_failure(other),
        })?;
    Ok(Outcome::text(format!("Saved MCP server \"{name}\" to {}.", file(context)))
        .with_stderr(written_notes(&written)))
}

fn unset(context: &Context, name: &str) -> CommandResult {
    let name = required(name)?;
    if !servers(context).contains_key(name) {
        return Err(unknown(context, name));
    }
    let written =
        write::update(&context.paths, &context.env, &author(), None, Before::Valid, |current| {
            let text = write::source_text(current);
            Ok(edit::unset(text, &path(name))?.unwrap_or_else(|| text.to_owned()))
        })
        .map_err(write_failure)?;
    Ok(Outcome::text(format!("Removed MCP server \"{name}\" from {}.", file(context)))
        .with_stderr(written_notes(&written)))
}

fn required(name: &str) -> Result<&str, Failure> {
    match name.trim() {
        "" => Err(Failure::new("MCP server name is required.")),
        name => Ok(name),
    }
}
