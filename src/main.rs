//! Parses, runs, exits. No logic.

use std::process::ExitCode;

fn main() -> ExitCode {
    openclaw::cli::main()
}
