//! The command line as scripts and people use it: the built program, its
//! streams and its exit status.

mod answers;
mod config;
mod doctor;
mod hub;
mod kept;
mod nodes;
mod onboard;
mod reference;
mod tunnel;
mod upkeep;
mod words;

use std::path::Path;

use serde_json::Value;

use crate::support::program;

/// What one run of the program left behind.
struct Run {
    out: String,
    err: String,
    code: i32,
}

/// Runs the program in `home`.
async fn run(home: &Path, args: &[&str]) -> Run {
    run_with(home, &[], args).await
}

/// The same with environment variables.
async fn run_with(home: &Path, vars: &[(&str, &str)], args: &[&str]) -> Run {
    let output =
        program::command(home).envs(vars.iter().copied()).args(args).output().await.unwrap();
    Run {
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code().expect("it ended by itself"),
    }
}

impl Run {
    /// The one JSON document on stdout.
    #[track_caller]
    fn json(&self) -> Value {
        assert!(self.out.ends_with('\n') && !self.out.contains('\u{1b}'), "{}", self.out);
        serde_json::from_str(&self.out).unwrap_or_else(|err| panic!("{err}: {}", self.out))
    }
}
