//! `gateway status`: the service, the configuration, the port and whether the
//! gateway answers. Collecting comes first, then the verdict is rendered; it
//! exits 0 whatever it finds, unless `--require-rpc` or `--exit-code` asks
//! otherwise.

pub mod collect;
pub mod render;

use crate::cli::args::gateway::{RunArgs, StatusArgs};
use crate::cli::context::Context;
use crate::cli::link;
use crate::cli::ui::{CommandResult, Failure, Outcome};
use crate::supervise::report::RunState;

use collect::Report;

pub fn run(context: &Context, args: &StatusArgs, before: &RunArgs) -> CommandResult {
    if args.require_rpc && args.no_probe {
        return Err(Failure::new(
            "Gateway status failed: --require-rpc cannot be used with --no-probe.",
        ));
    }
    let limit = link::timeout(Some(&args.timeout), 10_000)?;
    let (report, notice) = collect::collect(context, args, before, limit)?;
    let verdict = if args.exit_code { verdict(&report) } else { 0 };
    let failed = args.require_rpc && !report.rpc.as_ref().is_some_and(|rpc| rpc.ok);
    let outcome = if args.json {
        Outcome::json(&report)
    } else {
        render::render(&report, &render::Surroundings::of(context))
    };
    let code = if failed { 1 } else { verdict };
    Ok(outcome.with_stderr(notice).with_code(code))
}

/// The state in one number, as `systemctl status` counts: 3 stopped, 4 unknown
/// to the manager.
fn verdict(report: &Report) -> u8 {
    let service = &report.service;
    let answers = report.rpc.as_ref().is_none_or(|rpc| rpc.ok);
    match service.runtime.status {
        _ if service.runtime.missing_unit => 4,
        RunState::Stopped if service.details.result.is_some() => 1,
        RunState::Stopped => 3,
        RunState::Running if answers && service.details.blocked().is_none() => 0,
        RunState::Running | RunState::Unknown => 1,
    }
}
