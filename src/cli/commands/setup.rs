//! `setup`: the first configuration, the workspace and the sessions directory.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::cli::args::onboard::OnboardArgs;
use crate::cli::args::setup::SetupArgs;
use crate::cli::commands::onboard;
use crate::cli::context::Context;
use crate::cli::ui::{CommandResult, Failure, Outcome};
use crate::config::edit;
use crate::config::write::{self, Author, Before};
use crate::profile::paths;

/// Creates what is missing; running it again changes nothing.
pub fn run(context: &Context, args: &SetupArgs) -> CommandResult {
    if args.wizard {
        let args = OnboardArgs {
            workspace: args.workspace.clone(),
            mode: args.mode.clone(),
            remote_url: args.remote_url.clone(),
            remote_token: args.remote_token.clone(),
            non_interactive: args.non_interactive,
            ..OnboardArgs::default()
        };
        return onboard::run(context, &args);
    }
    let mode = match args.mode.as_deref() {
        None if args.remote_url.is_some() => "remote",
        None => "local",
        Some(mode @ ("local" | "remote")) => mode,
        Some(_) => {
            return Err(Failure::new("Error: Invalid --mode (use \"local\" or \"remote\")"));
        }
    };
    if mode == "remote" && args.remote_url.is_none() {
        return Err(Failure::new("Error: --mode remote requires --remote-url <url>"));
    }
    let configured = context.config().config.agents.defaults.workspace.clone();
    let workspace = match (&args.workspace, configured) {
        (Some(dir), _) => paths::expand(dir, &context.paths.home),
        (None, Some(dir)) => PathBuf::from(dir),
        (None, None) => context.paths.workspace(),
    };
    let wanted = wanted(args, mode, &workspace, context);
    let mut changed = false;
    let written = write::update(
        &context.paths,
        &context.env,
        &Author { argv: std::env::args().collect() },
        None,
        Before::Valid,
        |current| {
            let mut text = write::source_text(current).to_owned();
            for (keys, value) in &wanted {
                let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
                if edit::get(&current.resolved, &keys) != Some(value) {
                    text = edit::set(&text, &keys, value)?;
                    changed = true;
                }
            }
            Ok(if changed || !current.exists { text } else { current.raw.clone() })
        },
    )
    .map_err(|err| Failure::new(format!("Error: {err}")))?;
    let sessions = context.paths.agent("main").join("sessions");
    make(&workspace)?;
    make(&sessions)?;
    let file = context.short(&context.paths.config);
    let first =
        if written.changed { format!("Wrote {file}") } else { format!("Config OK: {file}") };
    Ok(Outcome::text(format!(
        "{first}\nWorkspace OK: {}\nSessions OK: {}",
        context.short(&workspace),
        context.short(&sessions)
    ))
    .with_stderr(written.notes.join("\n")))
}

type Wanted = Vec<(&'static [&'static str], Value)>;

fn wanted(args: &SetupArgs, mode: &str, workspace: &Path, context: &Context) -> Wanted {
    let current = &context.config().config;
    let mut wanted: Wanted = Vec::new();
    if args.workspace.is_some() || current.agents.defaults.workspace.is_none() {
        wanted.push((&["agents", "defaults", "workspace"], json!(workspace)));
    }
    if args.mode.is_some() || args.remote_url.is_some() || current.gateway.mode.is_none() {
        wanted.push((&["gateway", "mode"], json!(mode)));
    }
    if let Some(url) = &args.remote_url {
        wanted.push((&["gateway", "remote", "url"], json!(url)));
    }
    if let Some(token) = &args.remote_token {
        wanted.push((&["gateway", "remote", "token"], json!(token)));
    }
    wanted
}

/// Makes a directory for its owner alone, if it is missing.
pub(super) fn make(dir: &Path) -> Result<(), Failure> {
    let make = || -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        fs::read_dir(dir).map(drop)
    };
    make().map_err(|err| Failure::new(format!("Error: {}: {err}", dir.display())))
}
