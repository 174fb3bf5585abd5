//! `update`: says how this installation is brought up to date. It replaces
//! nothing.

use serde_json::{Value, json};

use crate::base::VERSION;
use crate::cli::args::upkeep::{UpdateArgs, UpdateCommand};
use crate::cli::context::Context;
use crate::cli::ui::page::Page;
use crate::cli::ui::{CommandResult, Failure, Outcome};
use crate::profile::installation::Installation;

pub fn run(context: &Context, args: &UpdateArgs) -> CommandResult {
    if let Some(channel) = args.channel.as_deref()
        && !matches!(channel, "stable" | "beta" | "dev")
    {
        return Err(Failure::new(format!(
            "--channel must be \"stable\", \"beta\", or \"dev\" (got \"{channel}\")"
        )));
    }
    let installation = Installation::of_this_program();
    match &args.command {
        Some(UpdateCommand::Status(status)) => {
            Ok(said(context, &installation, args.json || status.json))
        }
        None if args.json => Ok(Outcome::json(&json!({
            "status": "skipped",
            "mode": installation.mode(),
            "reason": installation.reason(),
            "root": installation.program.parent(),
            "before": { "version": VERSION },
            "after": { "version": VERSION },
            "steps": [],
            "durationMs": 0,
            "command": installation.advice(),
        }))),
        None => {
            let mut page = Page::default();
            page.line(format!("Nothing was updated: {}.", installation.reason()));
            page.line(format!("Update it with: {}", installation.advice()));
            Ok(Outcome::text(page))
        }
    }
}

fn said(context: &Context, installation: &Installation, as_json: bool) -> Outcome {
    let (channel, source) = channel(context);
    if as_json {
        return Outcome::json(&json!({
            "update": facts(installation),
            "channel": {
                "value": channel, "source": source, "label": format!("{channel} ({source})"),
                "config": if source == "config" { Value::from(channel) } else { Value::Null },
            },
            "availability": {
                "available": false, "hasGitUpdate": false, "hasRegistryUpdate": false,
                "latestVersion": null, "gitBehind": null,
            },
        }));
    }
    let mut page = Page::default();
    page.line(context.ui.out.heading("OpenClaw update status"));
    page.gap();
    page.line(format!("Install  {} ({})", installation.mode(), installation.program.display()));
    page.line(format!("Version  {VERSION}"));
    page.line(format!("Channel  {channel} ({source})"));
    page.line(format!("Update   {}", installation.advice()));
    Outcome::text(page)
}

/// The update channel and where it comes from.
pub fn channel(context: &Context) -> (&str, &'static str) {
    let configured = context.config().resolved.pointer("/update/channel").and_then(Value::as_str);
    configured.map_or(("stable", "default"), |channel| (channel, "config"))
}

/// What is installed, as `status` and `update status` show it. Nothing is asked
/// of a registry.
pub fn facts(installation: &Installation) -> Value {
    json!({
        "root": installation.program.parent(),
        "installKind": "package",
        "packageManager": installation.package_manager(),
        "registry": {
            "latestVersion": null,
            "error": "not asked: the package manager of this host knows",
        },
        // One file: nothing is installed beside it that could be missing.
        "deps": {
            "manager": installation.package_manager(),
            "status": "ok",
            "lockfilePath": null,
            "markerPath": null,
            "reason": "no dependencies",
        },
    })
}
