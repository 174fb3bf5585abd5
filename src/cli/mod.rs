//! Floor 6: the command line. Parses, calls, prints; contains no rules.

pub mod args;
pub mod commands;
mod container;
pub mod context;
pub mod link;
pub mod local;
pub mod ui;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::FromArgMatches;

use crate::base::VERSION;
use crate::cli::args::root::{self, Root};
use crate::cli::context::Context;
use crate::cli::ui::{CommandResult, Failure, Outcome, Ui};
use crate::profile::env::Env;

/// First seven digits of the commit this binary was built from.
pub const COMMIT: &str = env!("OPENCLAW_COMMIT");

/// Runs the program and picks its exit status.
pub fn main() -> ExitCode {
    let env = Env::from_process();
    let parsed = strings(std::env::args_os().skip(1)).and_then(|args| {
        root::parse(args).map_err(|err| Failure::with_code(format!("[openclaw] {err}"), 2))
    });
    let code = match parsed {
        Ok(root) => {
            if let Some(name) = container::target(&env, &root) {
                let ran = container::run(&env, name, &root);
                return ExitCode::from(ui::finish(Ui::new(&env, root.no_color), ran));
            }
            // Version answers need neither a command tree nor a runtime.
            if root.version {
                ui::finish(Ui::new(&env, root.no_color), Ok(Outcome::text(version_line())))
            } else {
                let context = Context::new(env, &root);
                ui::finish(context.ui, run(&context, &root))
            }
        }
        Err(failure) => ui::finish(Ui::new(&env, false), Err(failure)),
    };
    ExitCode::from(code)
}

/// `OpenClaw <version> (<commit>)`. Part of the contract: installers parse it.
pub fn version_line() -> String {
    format!("OpenClaw {VERSION} ({COMMIT})")
}

fn run(context: &Context, root: &Root) -> CommandResult {
    if let Some((command, instead)) = args::elsewhere::elsewhere(&root.rest) {
        return Err(Failure::new(format!(
            "openclaw {command} is not part of this gateway: {instead}"
        )));
    }
    let mut tree = args::tree();
    let argv = std::iter::once("openclaw").chain(root.rest.iter().map(String::as_str));
    let parsed = tree
        .try_get_matches_from_mut(argv)
        .and_then(|matches| args::Cli::from_arg_matches(&matches));
    match parsed {
        Ok(cli) => commands::run(context, cli.command),
        Err(err) => {
            tree.build();
            let explained = ui::parse_error::explain(&err, &tree, &root.rest);
            let runs = root.rest.first().is_some_and(|word| word == "gateway");
            match explained {
                Err(failure) if runs => commands::serve::misused(context, failure),
                other => other,
            }
        }
    }
}

fn strings(args: impl Iterator<Item = OsString>) -> Result<Vec<String>, Failure> {
    args.map(|arg| {
        arg.into_string().map_err(|arg| {
            Failure::new(format!("error: argument '{}' is not UTF-8", arg.to_string_lossy()))
        })
    })
    .collect()
}
