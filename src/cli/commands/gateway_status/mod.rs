//! `gateway status`: the service, the configuration, the port and whether the
//! gateway answers. Collecting comes first, then the verdict is rendered; it
//! exits 0 whatever it finds, unless `--require-rpc` asks otherwise.

pub mod collect;
pub mod render;

use crate::cli::args::gateway::{RunArgs, StatusArgs};
use crate::cli::context::Context;
use crate::cli::link;
use crate::cli::ui::{CommandResult, Failure, Outcome};

pub fn run(context: &Context, args: &StatusArgs, before: &RunArgs) -> CommandResult {
    if args.require_rpc && args.no_probe {
        return Err(Failure::new(
            "Gateway status failed: --require-rpc cannot be used with --no-probe.",
        ));
    }
    let limit = link::timeout(Some(&args.timeout), 10_000)?;
    let (report, notice) = collect::collect(context, args, before, limit)?;
    let failed = args.require_rpc && !report.rpc.as_ref().is_some_and(|rpc| rpc.ok);
    let outcome = if args.json {
        Outcome::json(&report)
    } else {
        render::render(&report, &render::Surroundings::of(context))
    };
    Ok(outcome.with_stderr(notice).with_code(u8::from(failed)))
}
