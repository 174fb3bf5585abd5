//! `config`: reading and changing the configuration file.

mod set;

use serde_json::{Value, json};

use crate::cli::args::config::{ConfigArgs, ConfigCommand, GetArgs, UnsetArgs, ValidateArgs};
use crate::cli::args::onboard::ConfigureArgs;
use crate::cli::commands::onboard;
use crate::cli::context::Context;
use crate::cli::ui::{self, CommandResult, Failure, Outcome};
use crate::config::redact::{self, References};
use crate::config::schema::{json_schema, table};
use crate::config::write::{self, Author, Before, WriteError, Written};
use crate::config::{Snapshot, edit};

/// Runs one `config` command.
pub fn run(context: &Context, args: ConfigArgs) -> CommandResult {
    match args.command {
        Some(ConfigCommand::File) => Ok(Outcome::text(context.short(&context.paths.config))),
        Some(ConfigCommand::Get(args)) => get(context, &args),
        Some(ConfigCommand::Schema) => Ok(Outcome::json(&json_schema::annotated(table::table()))),
        Some(ConfigCommand::Set(args)) => set::run(context, *args),
        Some(ConfigCommand::Unset(args)) => unset(context, &args),
        Some(ConfigCommand::Validate(args)) => Ok(validate(context, &args)),
        None => onboard::configure(context, &ConfigureArgs { section: args.section }),
    }
}

fn get(context: &Context, args: &GetArgs) -> CommandResult {
    let snapshot = context.config();
    let keys = edit::parse_path(&args.path).map_err(error)?;
    let Some(value) = edit::get(&snapshot.resolved, &keys) else {
        return Err(Failure::new(format!("Config path not found: {}", args.path)));
    };
    let mut shown = redact::redact(value, &keys.join("."), References::Shown);
    redact::hide_variables(&mut shown, &snapshot.env);
    Ok(match &shown {
        Value::Object(_) | Value::Array(_) => Outcome::json(&shown),
        shown if args.json => Outcome::json(shown),
        Value::String(text) => Outcome::text(text.as_str()),
        other => Outcome::text(other.to_string()),
    }
    .with_stderr(notes(snapshot).join("\n")))
}

fn unset(context: &Context, args: &UnsetArgs) -> CommandResult {
    let keys = edit::parse_path(&args.path).map_err(error)?;
    let mut missing = false;
    let written =
        write::update(&context.paths, &context.env, &author(), None, Before::Valid, |current| {
            let without = edit::unset(write::source_text(current), &keys)?;
            missing = without.is_none();
            Ok(without.unwrap_or_else(|| current.raw.clone()))
        });
    if missing {
        return Err(Failure::new(format!("Config path not found: {}", args.path)));
    }
    let written = written.map_err(write_failure)?;
    Ok(Outcome::text(format!("Removed {}. Restart the gateway to apply.", args.path))
        .with_stderr(written_notes(&written)))
}

/// Changes the configuration as another command asks; what the change refuses
/// is the command's failure. Returns what is worth saying on stderr.
pub(super) fn change(
    context: &Context,
    mut apply: impl FnMut(&mut Value) -> Result<(), String>,
) -> Result<String, Failure> {
    let mut refused = None;
    let written =
        write::update(&context.paths, &context.env, &author(), None, Before::Valid, |current| {
            let mut next = current.parsed.clone();
            if !next.is_object() {
                next = json!({});
            }
            if let Err(text) = apply(&mut next) {
                refused = Some(text);
                return Ok(current.raw.clone());
            }
            Ok(edit::transform(write::source_text(current), &current.parsed, &next)?)
        });
    if let Some(text) = refused {
        return Err(error(text));
    }
    Ok(written_notes(&written.map_err(write_failure)?))
}

fn validate(context: &Context, args: &ValidateArgs) -> Outcome {
    let snapshot = context.config();
    let file = context.short(&snapshot.path);
    let stderr = notes(snapshot).join("\n");
    if !snapshot.exists {
        return if args.json {
            let report = json!({"valid": false, "path": snapshot.path, "error": "file not found"});
            Outcome::text(report.to_string()).with_code(1)
        } else {
            Outcome::default().with_stderr(format!("Config file not found: {file}")).with_code(1)
        };
    }
    if snapshot.is_valid() {
        let text = if args.json {
            json!({"valid": true, "path": snapshot.path}).to_string()
        } else {
            format!("Config valid: {file}")
        };
        return Outcome::text(text).with_stderr(stderr);
    }
    if args.json {
        let issues: Vec<Value> = snapshot
            .issues
            .iter()
            .map(|issue| {
                let mut shown = serde_json::to_value(issue).unwrap_or_default();
                shown["path"] = json!(issue.shown_path());
                shown
            })
            .collect();
        let report = json!({"valid": false, "path": snapshot.path, "issues": issues});
        return Outcome::json(&report).with_stderr(stderr).with_code(1);
    }
    let mut lines = notes(snapshot);
    lines.push(format!("Config invalid at {file}:"));
    lines.extend(snapshot.issues.iter().map(|issue| format!("  × {issue}")));
    lines.push(String::new());
    lines.push("Run `openclaw doctor` to repair, or fix the keys above manually.".to_owned());
    Outcome::default().with_stderr(lines.join("\n")).with_code(1)
}

/// What is worth saying about a file on stderr, one line each.
fn notes(snapshot: &Snapshot) -> Vec<String> {
    snapshot
        .warnings
        .iter()
        .map(|warning| match warning.message.strip_prefix("Missing env var ") {
            Some(rest) => {
                let (name, rest) = rest.split_once(" - ").unwrap_or((rest, ""));
                format!(
                    "Config ({}): missing env var {name} at {} - {rest}",
                    snapshot.path.display(),
                    warning.path
                )
            }
            None if matches!(
                warning.path.as_str(),
                "session.mainKey" | "meta.lastTouchedVersion"
            ) =>
            {
                warning.message.clone()
            }
            None => format!("Config warning: {warning}"),
        })
        .collect()
}

pub(crate) fn written_notes(written: &Written) -> String {
    let mut lines = written.notes.clone();
    lines.extend(notes(&written.snapshot));
    lines.join("\n")
}

/// The command line, for the audit record.
pub(crate) fn author() -> Author {
    Author { argv: std::env::args().collect() }
}

fn error(err: impl std::fmt::Display) -> Failure {
    Failure::new(format!("Error: {err}"))
}

pub(crate) fn write_failure(err: WriteError) -> Failure {
    match err {
        WriteError::Invalid(snapshot) => Failure::new(snapshot.invalid_block().join("\n")),
        WriteError::Rejected(issues) => {
            let open_door = issues.first().and_then(|issue| {
                let channel = issue.path.strip_prefix("channels.")?.strip_suffix(".allowFrom")?;
                issue.message.contains("Policy=\"open\" requires").then_some(channel)
            });
            match open_door {
                Some(channel) => Failure::new(open_door_advice(channel)),
                None => error(WriteError::Rejected(issues)),
            }
        }
        other => error(other),
    }
}

/// Part of the contract.
fn open_door_advice(channel: &str) -> String {
    format!(
        "Error: Config validation failed: channels.{channel}.allowFrom\n\n\
         Configuration mismatch: channels.{channel}.dmPolicy is \"open\", but channels.{channel}.allowFrom does not include \"*\".\n\n\
         Fix with:\n  openclaw config set channels.{channel}.allowFrom '[\"*\"]'\n\n\
         Or switch policy:\n  openclaw config set channels.{channel}.dmPolicy \"pairing\""
    )
}

/// A report on stdout that fails the command without more words.
fn failed_report(report: &Value) -> Outcome {
    Outcome::text(ui::json(report)).with_code(1)
}
