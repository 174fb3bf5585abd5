//! `status`: the whole installation on one page. Files and service are looked
//! at here, the gateway is asked once; it exits 0 even if nobody answers.

pub mod collect;
pub mod pages;
pub mod sessions;

use crate::cli::args::look::StatusArgs;
use crate::cli::context::Context;
use crate::cli::link;
use crate::cli::ui::{CommandResult, Outcome};

pub fn run(context: &Context, args: &StatusArgs) -> CommandResult {
    let limit = link::timeout(Some(&args.timeout), 10_000)?;
    let facts = collect::collect(context, args, limit)?;
    if args.json {
        return Ok(Outcome::json(&facts.document(args)));
    }
    let page =
        if args.all { pages::all(context, &facts) } else { pages::overview(context, &facts, args) };
    Ok(Outcome::text(page))
}
