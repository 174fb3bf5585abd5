//! `secrets`: have the gateway resolve, look for secrets in clear, plan and
//! apply their move.

mod configure;

use crate::cli::args::secrets::{ApplyArgs, AuditArgs, ReloadArgs, SecretsCommand};
use crate::cli::commands::call;
use crate::cli::context::Context;
use crate::cli::ui::{CommandResult, Failure, Outcome};
use crate::config::write::Author;
use crate::secrets::apply::{self, Applied, ApplyError, Mode, Work};
use crate::secrets::audit::{self, Report};
use crate::secrets::plan::{self, Place, Plan};

/// Findings that the text of an audit lists.
const LISTED: usize = 20;

/// Runs one `secrets` command.
pub(super) fn run(context: &Context, command: &SecretsCommand) -> CommandResult {
    match command {
        SecretsCommand::Reload(args) => reload(context, args),
        SecretsCommand::Audit(args) => audit(context, args),
        SecretsCommand::Configure(args) => configure::run(context, args),
        SecretsCommand::Apply(args) => apply(context, args),
    }
}

fn reload(context: &Context, args: &ReloadArgs) -> CommandResult {
    let answer = call::call_or_fail(context, &args.rpc, "secrets.reload", None)?;
    if args.rpc.json {
        return Ok(Outcome::json(&answer));
    }
    Ok(Outcome::text(match answer["warningCount"].as_u64().unwrap_or(0) {
        0 => "Secrets reloaded.".to_owned(),
        count => format!("Secrets reloaded with {count} warning(s)."),
    }))
}

fn audit(context: &Context, args: &AuditArgs) -> CommandResult {
    let snapshot = context.config();
    let report = context.block_on(async {
        Ok(Box::pin(audit::audit(snapshot, &context.paths, args.allow_exec)).await)
    })?;
    let code = report.exit_code(args.check);
    let shown = if args.json {
        serde_json::to_string(&report).map_err(|err| Failure::with_code(err.to_string(), 2))?
    } else {
        lines(&report).join("\n")
    };
    Ok(Outcome::text(shown).with_code(code))
}

fn lines(report: &Report) -> Vec<String> {
    let summary = &report.summary;
    let mut lines = vec![format!(
        "Secrets audit: {}. plaintext={}, unresolved={}, shadowed={}, legacy={}.",
        report.status,
        summary.plaintext_count,
        summary.unresolved_ref_count,
        summary.shadowed_ref_count,
        summary.legacy_residue_count
    )];
    lines.extend(report.findings.iter().take(LISTED).map(|finding| {
        format!(
            "- [{}] {}:{} {}",
            finding.code.as_str(),
            finding.file.display(),
            finding.json_path,
            finding.message
        )
    }));
    if report.findings.len() > LISTED {
        lines.push(format!("... {} more finding(s).", report.findings.len() - LISTED));
    }
    if report.resolution.skipped_exec_refs > 0 {
        lines.push(format!(
            "Audit note: skipped {} exec SecretRef resolvability check(s). Re-run with --allow-exec to execute exec providers during audit.",
            report.resolution.skipped_exec_refs
        ));
    }
    lines
}

fn apply(context: &Context, args: &ApplyArgs) -> CommandResult {
    let (plan, places) =
        plan::read(&args.from).map_err(|err| Failure::new(format!("Error: {err}")))?;
    let mode = if args.dry_run { Mode::DryRun } else { Mode::Write };
    let applied = execute(context, &plan, &places, mode, args.allow_exec)?;
    if args.json {
        return Ok(Outcome::json(&applied));
    }
    let mut text = said(&applied);
    if mode == Mode::DryRun && applied.skipped_exec_refs > 0 {
        text = format!(
            "{text}\nSecrets apply dry-run note: skipped {} exec SecretRef resolvability check(s). Re-run with --allow-exec to execute exec providers during dry-run.",
            applied.skipped_exec_refs
        );
    }
    Ok(Outcome::text(text).with_stderr(applied.warnings.join("\n")))
}

/// Applies a plan, with failures as the terminal shows them.
fn execute(
    context: &Context,
    plan: &Plan,
    places: &[Place],
    mode: Mode,
    allow_exec: bool,
) -> Result<Applied, Failure> {
    let author = Author { argv: std::env::args().collect() };
    let work = Work { paths: &context.paths, env: &context.env, author: &author, allow_exec };
    context.block_on(async {
        Box::pin(apply::apply(plan, places, mode, &work, &apply::to_disk))
            .await
            .map_err(|err: ApplyError| Failure::new(err.to_string()))
    })
}

fn said(applied: &Applied) -> String {
    let count = applied.changed_files.len();
    match (applied.mode, applied.changed) {
        ("dry-run", true) => format!("Secrets apply dry run: {count} file(s) would change."),
        ("dry-run", false) => "Secrets apply dry run: no changes.".to_owned(),
        (_, true) => format!("Secrets applied. Updated {count} file(s)."),
        (_, false) => "Secrets apply: no changes.".to_owned(),
    }
}
