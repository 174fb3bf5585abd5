//! `tasks audit` and `tasks maintenance`: tasks that got stuck, and what keeps
//! the registry in order.

use serde_json::{Map, Value, json};

use crate::base::clock;
use crate::base::id::SessionKey;
use crate::cli::args::tasks::TasksAuditArgs;
use crate::cli::commands::tasks::{all, broken, chosen, cut};
use crate::cli::context::Context;
use crate::cli::local::Local;
use crate::cli::ui::page::Page;
use crate::cli::ui::{CommandResult, Failure, Outcome};
use crate::store::tasks::audit::{CODES, Finding, counts, findings, summary};
use crate::store::tasks::{self, RETENTION_MS, Task, Tasks};

/// How long a task may be silent before its session is looked for.
const GRACE_MS: u64 = 5 * 60_000;

const FLOW_CODES: [&str; 8] = [
    "restore_failed",
    "stale_running",
    "stale_waiting",
    "stale_blocked",
    "cancel_stuck",
    "missing_linked_tasks",
    "blocked_task_missing",
    "inconsistent_timestamps",
];

/// The counts of both kinds; flows are made by plugins alone and are not judged.
fn audited(found: &[Finding<'_>]) -> Map<String, Value> {
    let mut counts_of_all = counts(&CODES, found);
    counts_of_all.insert("taskFlows".into(), counts(&FLOW_CODES, &[]).into());
    counts_of_all
}

pub(super) fn run(context: &Context, args: &TasksAuditArgs, as_json: bool) -> CommandResult {
    let limit = match chosen(args.limit.as_ref()) {
        None => None,
        Some(text) => {
            Some(text.parse::<usize>().ok().filter(|limit| *limit > 0).ok_or_else(|| {
                Failure::new(format!(
                    "Error: --limit must be a positive whole number, not \"{text}\""
                ))
            })?)
        }
    };
    let tasks = all(context)?;
    let found = findings(&tasks, clock::now_ms());
    let (severity, code) = (chosen(args.severity.as_ref()), chosen(args.code.as_ref()));
    let wanted: Vec<&Finding<'_>> = found
        .iter()
        .filter(|finding| {
            severity.is_none_or(|wanted| finding.severity == wanted)
                && code.is_none_or(|wanted| finding.code == wanted)
        })
        .collect();
    let shown = &wanted[..limit.unwrap_or(wanted.len()).min(wanted.len())];
    let summary = audited(&found);
    if as_json {
        let mut all = summary.clone();
        all.insert(
            "combined".into(),
            json!({ "total": summary["total"], "errors": summary["errors"],
                "warnings": summary["warnings"] }),
        );
        return Ok(Outcome::json(&json!({
            "count": found.len(),
            "filteredCount": wanted.len(),
            "displayed": shown.len(),
            "filters": { "severity": severity, "code": code, "limit": limit },
            "summary": all,
            "findings": shown.iter().map(|finding| document(finding)).collect::<Vec<_>>(),
        })));
    }
    let mut page = Page::default();
    page.line(format!(
        "Tasks audit: {} findings · {} errors · {} warnings",
        summary["total"], summary["errors"], summary["warnings"]
    ));
    if severity.is_some() || code.is_some() {
        page.line(format!("Showing {} matching findings.", wanted.len()));
    }
    if shown.is_empty() {
        page.line("No tasks audit findings.");
    }
    for finding in shown {
        page.line(format!(
            "{:<8} {:<22} {:<10} {:<10} {}",
            finding.severity,
            finding.code,
            cut(&finding.task.task_id, 10),
            finding.task.status,
            cut(&finding.detail, 88)
        ));
    }
    Ok(Outcome::text(page))
}

fn document(finding: &Finding<'_>) -> Value {
    let mut shown = json!({
        "kind": "task",
        "severity": finding.severity,
        "code": finding.code,
        "detail": finding.detail,
    });
    if let Some(age) = finding.age_ms {
        shown["ageMs"] = age.into();
    }
    shown["status"] = json!(finding.task.status);
    shown["token"] = json!(finding.task.task_id);
    shown["task"] = json!(finding.task);
    shown
}

pub(super) fn maintain(context: &Context, apply: bool, as_json: bool) -> CommandResult {
    let now = clock::now_ms();
    let before = all(context)?;
    let (mut lost, mut stamped, mut pruned) = (0, 0, 0);
    let registry = Tasks::open(&context.paths.state).map_err(|err| broken(&err))?;
    for task in before.iter().filter(|task| is_abandoned(task, now)) {
        if has_session(context, task)? {
            continue;
        }
        lost += 1;
        if apply {
            let gone = tasks::ended(task, "lost", Some("backing session missing"), now);
            registry.put(&gone).map_err(|err| broken(&err))?;
        }
    }
    for task in before.iter().filter(|task| !task.is_active()) {
        let over = task.ended_at.or(task.last_event_at).unwrap_or(task.created_at) + RETENTION_MS;
        let done = if task.cleanup_after.unwrap_or(over) <= now {
            pruned += 1;
            apply.then(|| registry.remove(&task.task_id))
        } else if task.cleanup_after.is_none() {
            stamped += 1;
            let stamped = Task { cleanup_after: Some(over), ..task.clone() };
            apply.then(|| registry.put(&stamped))
        } else {
            None
        };
        done.transpose().map_err(|err| broken(&err))?;
    }
    let after = if apply { all(context)? } else { before.clone() };
    let (audit_before, audit_after) = (findings(&before, now), findings(&after, now));
    let summary = summary(&after);
    if as_json {
        return Ok(Outcome::json(&json!({
            "mode": if apply { "apply" } else { "preview" },
            "maintenance": {
                "tasks": { "reconciled": lost, "cleanupStamped": stamped, "pruned": pruned },
                "taskFlows": { "reconciled": 0, "pruned": 0 },
            },
            "tasks": summary,
            "auditBefore": audited(&audit_before),
            "auditAfter": audited(&audit_after),
        })));
    }
    let (done, health) = (audited(&audit_after), &summary["byStatus"]);
    let mut page = Page::default();
    page.line(format!(
        "Tasks maintenance ({}): tasks {lost} reconcile · {stamped} cleanup stamp · {pruned} prune; \
         task-flows 0 reconcile · 0 prune",
        if apply { "applied" } else { "preview" }
    ));
    page.line(format!(
        "Tasks health: {} queued · {} running · {} audit errors · {} audit warnings",
        health["queued"], health["running"], done["errors"], done["warnings"]
    ));
    if !apply {
        let program = context.program();
        page.line(format!(
            "Dry run only. Re-run with `{program} tasks maintenance --apply` to write changes."
        ));
    }
    Ok(Outcome::text(page))
}

/// Whether a task may have lost what it runs in.
fn is_abandoned(task: &Task, now: u64) -> bool {
    task.is_active()
        && matches!(task.runtime.as_str(), "cli" | "subagent")
        && now.saturating_sub(task.last_sign()) >= GRACE_MS
}

fn has_session(context: &Context, task: &Task) -> Result<bool, Failure> {
    let Some(key) = &task.child_session_key else { return Ok(true) };
    let local = Local::open(context);
    let owner = SessionKey::new(key);
    let agent = owner.agent().unwrap_or(&local.default_id).to_owned();
    let sessions = context.block_on(local.sessions(&agent, None))?;
    Ok(sessions.rows.iter().any(|row| row["key"].as_str().is_some_and(|k| k == owner.as_str())))
}
