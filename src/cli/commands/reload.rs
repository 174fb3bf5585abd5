//! `ExecReload=` of the unit: asks the gateway to read its configuration and
//! fails when that is refused, so that `systemctl reload` tells.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cli::args::shell::ReloadArgs;
use crate::cli::context::Context;
use crate::cli::ui::{CommandResult, Failure, Outcome};
use crate::config::standing::{self, Look};
use crate::profile::paths::Paths;

/// Longest wait for the gateway's look at the file.
const LIMIT: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(20);

pub(super) fn run(context: &Context, args: &ReloadArgs) -> CommandResult {
    let before = last_look(&context.paths, args.pid).map_or(0, |look| look.count);
    let pid = i32::try_from(args.pid).map(Pid::from_raw);
    let pid = pid.map_err(|_| Failure::new(format!("no process has the id {}", args.pid)))?;
    kill(pid, Signal::SIGHUP)
        .map_err(|err| Failure::new(format!("asking process {pid} to reload: {err}")))?;
    let began = Instant::now();
    while began.elapsed() < LIMIT {
        if let Some(look) = last_look(&context.paths, args.pid).filter(|look| look.count > before) {
            return match look.refused {
                Some(reason) => Err(Failure::new(format!("reload failed: {reason}"))),
                None => Ok(Outcome::text("reload done")),
            };
        }
        std::thread::park_timeout(PAUSE);
    }
    Err(Failure::new(format!(
        "the gateway did not look at {} in time",
        context.short(&context.paths.config)
    )))
}

fn last_look(paths: &Paths, pid: u32) -> Option<Look> {
    standing::read(paths).last_look.filter(|look| look.pid == pid)
}
