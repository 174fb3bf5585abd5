//! What the commands do: one file per command, args → calls → outcome.

pub mod service;

use crate::cli::args::Command;
use crate::cli::context::Context;
use crate::cli::ui::{CommandResult, Failure};

/// Runs one command to its end.
pub fn run(context: &Context, command: &Command) -> CommandResult {
    if let Some(result) = service::dispatch(context, command) {
        return result;
    }
    let name = match command {
        Command::Gateway(_) => "gateway",
        Command::Daemon(_) => "daemon",
    };
    Err(not_yet(name))
}

/// A command that a later release brings.
pub fn not_yet(command: &str) -> Failure {
    Failure::with_code(format!("openclaw {command} is not available yet in this gateway"), 2)
}
