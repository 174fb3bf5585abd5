//! The doctor's report for people, for pipelines and as JSON.

use serde::Serialize;

use crate::cli::commands::doctor::full_id;
use crate::cli::context::Context;
use crate::cli::ui::Outcome;
use crate::cli::ui::note::note;
use crate::cli::ui::page::Page;
use crate::doctor::finding::{Gate, Severity};
use crate::doctor::repair::{self, Applied, Force};
use crate::doctor::{Examination, Found};

/// Part of the contract.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'r> {
    schema_version: u32,
    ok: bool,
    checks_run: usize,
    checks_skipped: usize,
    findings: Vec<Line<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repairs: Option<Vec<Done<'r>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    diff: Option<&'r str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'r> {
    check_id: String,
    severity: Severity,
    message: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'r str>,
    #[serde(rename = "line", skip_serializing_if = "Option::is_none")]
    on: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix_hint: Option<String>,
}

/// What became of one finding.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Done<'r> {
    check_id: String,
    /// `repaired`, `skipped` or `failed`.
    status: &'static str,
    message: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'r str>,
}

pub(super) fn json(
    found: &Examination,
    least: Severity,
    applied: Option<&Applied>,
    diff: Option<&str>,
) -> Outcome {
    let findings: Vec<Line<'_>> = found.at_least(least).map(line).collect();
    let report = Report {
        schema_version: 1,
        ok: findings.is_empty(),
        checks_run: found.run,
        checks_skipped: found.skipped,
        findings,
        repairs: applied.map(|applied| applied.outcomes.iter().map(done).collect()),
        diff,
    };
    Outcome::json(&report)
}

fn line(found: &Found) -> Line<'_> {
    let finding = &found.finding;
    let repair = finding.repair.as_ref().map(|repair| {
        let command = repair.command("openclaw");
        format!("Run `{command}` to {}.", repair.summary)
    });
    Line {
        check_id: full_id(found.check.id),
        severity: finding.severity,
        message: &finding.message,
        path: finding.path.as_deref(),
        on: finding.line,
        fix_hint: repair.or_else(|| finding.advice.clone()),
    }
}

fn done((found, outcome): &(Found, repair::Outcome)) -> Done<'_> {
    let (status, reason) = match outcome {
        repair::Outcome::Repaired => ("repaired", None),
        repair::Outcome::Skipped => ("skipped", None),
        repair::Outcome::Failed(reason) => ("failed", Some(reason.as_str())),
    };
    Done { check_id: full_id(found.check.id), status, message: &found.finding.message, reason }
}

/// One line per finding, for pipelines.
pub(super) fn lint(found: &Examination, least: Severity) -> Outcome {
    let findings: Vec<&Found> = found.at_least(least).collect();
    let mut page = Page::default();
    page.line(format!("doctor --lint: ran {} check(s), {} finding(s)", found.run, findings.len()));
    for found in findings {
        let place = found.finding.path.as_ref().map(|path| match found.finding.line {
            Some(line) => format!(" {path}:{line}"),
            None => format!(" {path}"),
        });
        page.line(format!(
            "  [{}] {}{} - {}",
            found.finding.severity.as_str(),
            full_id(found.check.id),
            place.unwrap_or_default(),
            found.finding.message
        ));
        if let Some(hint) = line(found).fix_hint {
            page.line(format!("    fix: {hint}"));
        }
    }
    Outcome::text(page)
}

/// The whole report for people.
pub(super) fn page(context: &Context, found: &Examination, applied: Option<&Applied>) -> Outcome {
    let mut page = Page::default();
    page.line(sections(context, found).trim_end_matches('\n'));
    if let Some(applied) = applied {
        changes(context, applied, &mut page);
    }
    let paint = context.ui.out;
    page.line(paint.dim("│"));
    if let Some(path) = applied.and_then(|applied| applied.updated.as_ref()) {
        let shown = context.short(path);
        page.line(format!("Updated {shown}"));
        // There is none of a file that was not there before.
        if std::path::Path::new(&format!("{}.bak", path.display())).exists() {
            page.line(format!("Backup: {shown}.bak"));
        }
    }
    page.line(summary(found));
    let program = context.program();
    let plain = repair::plan(found, Force::No).len();
    let forced = repair::plan(found, Force::Yes)
        .into_iter()
        .filter(|repair| repair.gate == Gate::Force)
        .count();
    if plain > 0 && applied.is_none() {
        page.line(format!("Run \"{program} doctor --fix\" to apply changes."));
    }
    if forced > 0 {
        page.line(format!(
            "Custom or unexpected service edits detected. Rerun with --force to overwrite: {program} doctor --fix --force"
        ));
    }
    page.line(paint.dim("│"));
    page.line(format!("{}  Doctor complete.", paint.dim("└")));
    Outcome::text(page)
}

fn summary(found: &Examination) -> String {
    let count =
        |severity| found.findings.iter().filter(|found| found.finding.severity == severity).count();
    format!(
        "{} checks: {} error(s), {} warning(s), {} note(s).",
        found.run,
        count(Severity::Error),
        count(Severity::Warning),
        count(Severity::Info)
    )
}

/// The findings by section, each section a box.
pub(super) fn sections(context: &Context, found: &Examination) -> String {
    let paint = context.ui.out;
    let mut page = Page::default();
    page.line(format!("{}  OpenClaw doctor", paint.dim("┌")));
    let mut titles: Vec<&str> = Vec::new();
    for found in &found.findings {
        if !titles.contains(&found.check.section) {
            titles.push(found.check.section);
        }
    }
    for title in &titles {
        let own: Vec<&Found> =
            found.findings.iter().filter(|found| found.check.section == *title).collect();
        note(&mut page, paint, title, &section(context, &own));
    }
    if !titles.contains(&"Security") && found.sections.contains("Security") {
        let quiet = ["- No channel security warnings detected.".to_owned()];
        note(&mut page, paint, "Security", &quiet);
    }
    page.into()
}

/// Findings of one section; why a check matters is said once.
fn section(context: &Context, found: &[&Found]) -> Vec<String> {
    let mut lines = Vec::new();
    for (index, one) in found.iter().enumerate() {
        let finding = &one.finding;
        let place = finding.path.as_ref().map(|path| {
            let path = context.short(std::path::Path::new(path));
            match finding.line {
                Some(line) => format!(" ({path}:{line})"),
                None if finding.message.contains(&path) => String::new(),
                None => format!(" ({path})"),
            }
        });
        lines.push(format!("- {}{}", finding.message, place.unwrap_or_default()));
        let next = found.get(index + 1).filter(|next| next.check.id == one.check.id);
        let same_repair = next.is_some_and(|next| next.finding.repair == finding.repair);
        if let Some(repair) = finding.repair.as_ref().filter(|_| !same_repair) {
            lines.push(format!("  Will change: {}.", repair.summary));
            lines.push(format!("  Run: {}", repair.command(&context.program())));
        } else if finding.repair.is_none()
            && let Some(advice) = &finding.advice
        {
            lines.push(format!("  Do: {advice}"));
        }
        if next.is_none() && finding.severity > Severity::Info {
            lines.push(format!("  Why: {}.", one.check.matters));
        }
    }
    lines
}

fn changes(context: &Context, applied: &Applied, page: &mut Page) {
    let mut lines = Vec::new();
    for (found, outcome) in &applied.outcomes {
        let text = &found.finding.message;
        lines.push(match outcome {
            repair::Outcome::Repaired => format!("- repaired: {text}"),
            repair::Outcome::Skipped => format!("- skipped: {text}"),
            repair::Outcome::Failed(reason) => format!("- failed: {text}: {reason}"),
        });
    }
    lines.push(format!("Undo with: {} doctor --undo", context.program()));
    note(page, context.ui.out, "Doctor changes", &lines);
}
