//! `doctor`: modes, questions and exit statuses. What is wrong and what would
//! mend it is decided by [`crate::doctor`].

mod render;

use std::io::{self, BufRead, IsTerminal, Write};

use crate::cli::args::doctor::DoctorArgs;
use crate::cli::context::Context;
use crate::cli::ui::progress::Progress;
use crate::cli::ui::{CommandResult, Failure, Outcome};
use crate::doctor::facts::{Depth, Facts};
use crate::doctor::finding::{Gate, Repair, Severity};
use crate::doctor::host::{Host, ThisHost};
use crate::doctor::repair::{self, Applied, Force};
use crate::doctor::{Examination, PREFIX, Selection, check_ids, diff, examine};

pub fn run(context: &Context, args: &DoctorArgs) -> CommandResult {
    let least = Severity::parse(&args.severity_min).ok_or_else(|| {
        misuse(format!(
            "Invalid --severity-min \"{}\" (use \"info\", \"warning\", or \"error\")",
            args.severity_min
        ))
    })?;
    let selection = Selection { only: args.only.clone(), skip: args.skip.clone() };
    if let Some(id) = selection.unknown() {
        let known = check_ids().join(", ");
        return Err(misuse(format!("Unknown check id \"{id}\" (use one of: {known})")));
    }
    let host = ThisHost::new(&context.env, &context.paths);
    if args.undo {
        return undo(context, &host, args.json);
    }
    let depth = Depth { deep: args.deep, no_suggestions: args.no_workspace_suggestions };
    let facts = Facts::new(&host, depth);
    let mut progress = Progress::new(!args.json);
    let found = examine(&facts, &selection, |check| {
        progress.show(&format!("Checking {}…", check.id));
    });
    progress.clear();
    let force = if args.force { Force::Yes } else { Force::No };
    if args.lint {
        let failed = found.at_least(least).next().is_some();
        let outcome = if args.json {
            render::json(&found, least, None, None)
        } else {
            render::lint(&found, least)
        };
        return Ok(outcome.with_code(u8::from(failed)));
    }
    if args.dry_run {
        let preview = diff::preview(&repair::plan(&found, force), facts.snapshot());
        return Ok(if args.json {
            render::json(&found, least, None, Some(&preview))
        } else if preview.is_empty() {
            Outcome::text("Nothing to change.")
        } else {
            Outcome::text(preview)
        });
    }
    let (repairs, force) = chosen(context, args, &found, force);
    if repairs.is_empty() {
        return Ok(if args.json {
            render::json(&found, least, None, None)
        } else {
            render::page(context, &found, None)
        });
    }
    progress.show("Applying repairs…");
    let applied: Applied = repair::apply(&host, depth, &selection, &found, &repairs, force);
    progress.clear();
    let notes = applied.notes.join("\n");
    let outcome = if args.json {
        render::json(&applied.after, least, Some(&applied), None)
    } else {
        render::page(context, &applied.after, Some(&applied))
    };
    Ok(if notes.is_empty() { outcome } else { outcome.with_stderr(format!("{notes}\n")) })
}

/// The repairs to apply: all with `--fix`, the confirmed ones on a terminal,
/// none otherwise; and whether one of them replaces what was written by hand.
fn chosen(
    context: &Context,
    args: &DoctorArgs,
    found: &Examination,
    force: Force,
) -> (Vec<Repair>, Force) {
    let planned =
        |force| -> Vec<Repair> { repair::plan(found, force).into_iter().cloned().collect() };
    if args.fix || args.yes {
        return (planned(force), force);
    }
    let token = |repair: &Repair| {
        let mut auth = found.findings.iter().filter(|found| found.check.id == "gateway-auth");
        args.generate_gateway_token
            && auth.any(|found| found.finding.repair.as_ref() == Some(repair))
    };
    let asks =
        !args.non_interactive && !args.json && context.ui.terminal && io::stdin().is_terminal();
    if !asks {
        return (planned(Force::No).into_iter().filter(token).collect(), Force::No);
    }
    let all = planned(Force::Yes);
    if all.is_empty() {
        return (all, Force::No);
    }
    // What is asked about has to be seen first.
    drop(context.ui.out(&render::sections(context, found)));
    let usual = if args.force { Usual::Yes } else { Usual::No };
    let mut taken: Vec<Repair> = all
        .into_iter()
        .filter(|repair| repair.gate == Gate::Force)
        .filter(|repair| {
            confirm(&format!("{}, replacing what was edited by hand", repair.summary), usual)
        })
        .collect();
    let forced: Vec<&Repair> = taken.iter().collect();
    let plain: Vec<Repair> = planned(Force::No)
        .into_iter()
        .filter(|repair| !repair::is_covered(repair, &forced))
        .filter(|repair| token(repair) || confirm(&repair.summary, Usual::Yes))
        .collect();
    let force = if taken.is_empty() { Force::No } else { Force::Yes };
    taken.extend(plain);
    (taken, force)
}

/// What an empty answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Usual {
    Yes,
    No,
}

/// Asks on the terminal; no answer at all is a no.
fn confirm(summary: &str, usual: Usual) -> bool {
    let mut stderr = io::stderr().lock();
    let keys = if usual == Usual::Yes { "[Y/n]" } else { "[y/N]" };
    if write!(stderr, "◆  {}? {keys} ", capital(summary)).and_then(|()| stderr.flush()).is_err() {
        return false;
    }
    let mut answer = String::new();
    match io::stdin().lock().read_line(&mut answer) {
        Ok(read) if read > 0 => match answer.trim().to_ascii_lowercase().as_str() {
            "" => usual == Usual::Yes,
            answer => matches!(answer, "y" | "yes"),
        },
        _ => false,
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

fn undo(context: &Context, host: &dyn Host, json: bool) -> CommandResult {
    let record =
        repair::undo(host).map_err(|err| Failure::new(format!("Doctor undo failed: {err}")))?;
    let files: Vec<String> = record.files.iter().map(|kept| context.short(&kept.path)).collect();
    if json {
        return Ok(Outcome::json(&serde_json::json!({"ok": true, "undone": files})));
    }
    let mut outcome = Outcome::default();
    for file in files {
        outcome.say(format!("Restored {file}"));
    }
    outcome.say("The last repair is undone.");
    Ok(outcome)
}

fn misuse(text: String) -> Failure {
    Failure::with_code(text, 2)
}

/// The id as reports name it.
fn full_id(id: &str) -> String {
    format!("{PREFIX}{id}")
}
