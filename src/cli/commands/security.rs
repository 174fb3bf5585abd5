//! `security audit`: the doctor's checks that are about who gets in and who
//! reads what, in the form that scripts know.

use serde_json::{Value, json};

use crate::base::clock;
use crate::cli::args::upkeep::{AuditArgs, SecurityCommand};
use crate::cli::context::Context;
use crate::cli::link::{CallError, Link};
use crate::cli::ui::page::Page;
use crate::cli::ui::{CommandResult, Outcome};
use crate::client::Caller;
use crate::doctor::facts::{Depth, Facts};
use crate::doctor::finding::{Repair, Severity};
use crate::doctor::host::ThisHost;
use crate::doctor::repair::{self, Applied, Force};
use crate::doctor::{Examination, Found, Selection, examine};

/// The checks that are asked.
const CHECKS: [&str; 6] = [
    "security",
    "gateway-auth",
    "private-files",
    "channel-credentials",
    "secret-refs",
    "service-secrets",
];
/// How long the gateway may take to answer `--deep`.
const PROBE: std::time::Duration = std::time::Duration::from_secs(5);

pub fn run(context: &Context, command: &SecurityCommand) -> CommandResult {
    let SecurityCommand::Audit(args) = command;
    let host = ThisHost::new(&context.env, &context.paths);
    let depth = Depth { deep: args.deep, no_suggestions: true };
    let facts = Facts::new(&host, depth);
    let only = CHECKS.map(str::to_owned).into();
    let selection = Selection { only, skip: Vec::new() };
    let mut found = examine(&facts, &selection, |_| {});
    let mut applied = None;
    if args.fix {
        let force = Force::No;
        let planned: Vec<Repair> = repair::plan(&found, force).into_iter().cloned().collect();
        let done = repair::apply(&host, depth, &selection, &found, &planned, force);
        found = std::mem::take(&mut applied.insert(done).after);
    }
    let deep = if args.deep { Some(ask_gateway(context, args)?) } else { None };
    Ok(if args.json {
        Outcome::json(&document(&found, deep, applied.as_ref()))
    } else {
        Outcome::text(page(context, &found, deep.as_ref(), applied.as_ref()))
    })
}

/// What a probe of the gateway says.
fn ask_gateway(context: &Context, args: &AuditArgs) -> Result<Value, crate::cli::ui::Failure> {
    let link = match Link::open(context, None, args.token.as_deref(), args.password.as_deref()) {
        Ok(link) => link,
        Err(err) => return Ok(unreached(&err)),
    };
    context.block_on(async {
        Ok(match link.connect(Caller::PROBE, PROBE).await {
            Ok(connection) => {
                connection.hang_up().await;
                json!({"gateway": {"attempted": true, "url": link.target.shown_url(), "ok": true,
                    "error": null, "close": null}})
            }
            Err(err) => unreached(&err),
        })
    })
}

fn unreached(err: &CallError) -> Value {
    json!({"gateway": {"attempted": true, "url": null, "ok": false, "error": err.for_probe(),
        "close": null}})
}

fn all_repaired(applied: &Applied) -> bool {
    applied.outcomes.iter().all(|(_, ended)| !matches!(ended, repair::Outcome::Failed(_)))
}

fn actions(applied: &Applied) -> Vec<String> {
    let line = |(found, ended): &(Found, repair::Outcome)| match ended {
        repair::Outcome::Repaired => format!("repaired: {}", found.finding.message),
        repair::Outcome::Skipped => format!("skipped: {}", found.finding.message),
        repair::Outcome::Failed(reason) => format!("failed: {}: {reason}", found.finding.message),
    };
    applied.outcomes.iter().map(line).collect()
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "critical",
        Severity::Warning => "warn",
        Severity::Info => "info",
    }
}

fn counts(found: &Examination) -> Value {
    let of = |wanted: Severity| {
        found.findings.iter().filter(|found| found.finding.severity == wanted).count()
    };
    json!({ "critical": of(Severity::Error), "warn": of(Severity::Warning),
        "info": of(Severity::Info) })
}

fn document(found: &Examination, deep: Option<Value>, applied: Option<&Applied>) -> Value {
    let mut report = json!({
        "ts": clock::now_ms(),
        "summary": counts(found),
        "findings": found.findings.iter().map(row).collect::<Vec<_>>(),
    });
    if let Some(deep) = deep {
        report["deep"] = deep;
    }
    report["secretDiagnostics"] = json!([]);
    match applied {
        Some(applied) => json!({
            "fix": { "ok": all_repaired(applied), "actions": actions(applied) },
            "report": report,
        }),
        None => report,
    }
}

fn row(found: &Found) -> Value {
    let finding = &found.finding;
    let mut row = json!({
        "checkId": found.check.id,
        "severity": word(finding.severity),
        "title": finding.message,
        "detail": match &finding.path {
            Some(path) => format!("{path}: {}", found.check.matters),
            None => found.check.matters.to_owned(),
        },
    });
    if let Some(remediation) = remediation(found) {
        row["remediation"] = remediation.into();
    }
    row
}

fn remediation(found: &Found) -> Option<String> {
    let repair = found.finding.repair.as_ref().map(|repair| repair.summary.clone());
    found.finding.advice.clone().or(repair)
}

fn page(
    context: &Context,
    found: &Examination,
    deep: Option<&Value>,
    applied: Option<&Applied>,
) -> String {
    let mut page = Page::default();
    let counts = counts(found);
    page.line(context.ui.out.heading("OpenClaw security audit"));
    page.line(format!(
        "Summary: {} critical · {} warn · {} info",
        counts["critical"], counts["warn"], counts["info"]
    ));
    let program = context.program();
    page.line(format!("Run deeper: {program} security audit --deep"));
    for (severity, title) in
        [(Severity::Error, "CRITICAL"), (Severity::Warning, "WARN"), (Severity::Info, "INFO")]
    {
        let of_these: Vec<&Found> =
            found.findings.iter().filter(|found| found.finding.severity == severity).collect();
        if of_these.is_empty() {
            continue;
        }
        page.gap();
        page.line(title);
        for found in of_these {
            page.line(format!("{} {}", found.check.id, found.finding.message));
            page.line(format!("  {}", found.check.matters));
            if let Some(remediation) = remediation(found) {
                page.line(format!("  Fix: {remediation}"));
            }
        }
    }
    if let Some(deep) = deep {
        page.gap();
        let gateway = &deep["gateway"];
        page.line(match gateway["error"].as_str() {
            None => "Gateway probe: ok".to_owned(),
            Some(error) => format!("Gateway probe: {error}"),
        });
    }
    if let Some(applied) = applied {
        page.gap();
        page.line("Repairs");
        let actions = actions(applied);
        if actions.is_empty() {
            page.line("  nothing that this command may change; see the advice above");
        }
        page.lines(actions.iter().map(|action| format!("  {action}")));
        page.line(format!("Undo with: {program} doctor --undo"));
    }
    page.into()
}
