//! What the list of tasks says as a whole: how many of each kind and state, and
//! which of them got stuck.

use serde_json::{Map, Value, json};

use crate::store::tasks::Task;

const STALE_QUEUED_MS: u64 = 10 * 60_000;
const STALE_RUNNING_MS: u64 = 30 * 60_000;

/// What can be wrong with a task.
pub const CODES: [&str; 6] = [
    "stale_queued",
    "stale_running",
    "lost",
    "delivery_failed",
    "missing_cleanup",
    "inconsistent_timestamps",
];
/// Something that is wrong with a task.
#[derive(Debug)]
pub struct Finding<'a> {
    /// `error` or `warn`.
    pub severity: &'static str,
    pub code: &'static str,
    pub detail: String,
    pub age_ms: Option<u64>,
    pub task: &'a Task,
}

/// How many tasks there are of each kind and state.
pub fn summary(tasks: &[Task]) -> Value {
    let count = |of: &dyn Fn(&Task) -> &str, names: &[&str]| -> Map<String, Value> {
        let counted = |name: &str| tasks.iter().filter(|task| of(task) == name).count();
        names.iter().map(|name| ((*name).to_owned(), counted(name).into())).collect()
    };
    let active = tasks.iter().filter(|task| task.is_active()).count();
    let failed = |task: &&Task| matches!(task.status.as_str(), "failed" | "timed_out" | "lost");
    let states = ["queued", "running", "succeeded", "failed", "timed_out", "cancelled", "lost"];
    json!({
        "total": tasks.len(),
        "active": active,
        "terminal": tasks.len() - active,
        "failures": tasks.iter().filter(failed).count(),
        "byStatus": count(&|task| &task.status, &states),
        "byRuntime": count(&|task| &task.runtime, &["subagent", "acp", "cli", "cron"]),
    })
}

/// What is wrong, the worst first.
pub fn findings(tasks: &[Task], now: u64) -> Vec<Finding<'_>> {
    let mut found = Vec::new();
    for task in tasks {
        let age = now.saturating_sub(task.last_sign());
        let mut add = |severity, code, detail: &str, age_ms| {
            found.push(Finding { severity, code, detail: detail.to_owned(), age_ms, task });
        };
        match task.status.as_str() {
            "queued" if age >= STALE_QUEUED_MS => {
                add("warn", "stale_queued", "it waits and nothing happens to it", Some(age));
            }
            "running" if age >= STALE_RUNNING_MS => {
                add("error", "stale_running", "it runs and gives no sign of life", Some(age));
            }
            "lost" => {
                let why = task.error.as_deref().unwrap_or("what ran it is gone");
                add("error", "lost", why, Some(age));
            }
            _ => {}
        }
        if task.delivery_status == "failed" && task.notify_policy != "silent" {
            add("warn", "delivery_failed", "its result did not arrive", Some(age));
        }
        if !task.is_active() && task.status != "lost" && task.cleanup_after.is_none() {
            add("warn", "missing_cleanup", "it is over but has no cleanupAfter", Some(age));
        }
        let wrong = match (task.started_at, task.ended_at) {
            (Some(began), _) if began < task.created_at => Some("startedAt is before createdAt"),
            (Some(began), Some(over)) if over < began => Some("endedAt is before startedAt"),
            (_, Some(_)) if task.is_active() => Some("it is not over and has an endedAt"),
            _ => None,
        };
        if let Some(wrong) = wrong {
            add("warn", "inconsistent_timestamps", wrong, None);
        }
    }
    found.sort_by_key(|finding| {
        (finding.severity != "error", std::cmp::Reverse(finding.age_ms), finding.task.created_at)
    });
    found
}

/// How many findings there are of each kind.
pub fn counts(codes: &[&str], found: &[Finding<'_>]) -> Map<String, Value> {
    let errors = found.iter().filter(|finding| finding.severity == "error").count();
    let by_code: Map<String, Value> = codes
        .iter()
        .map(|code| {
            let count = found.iter().filter(|finding| finding.code == *code).count();
            ((*code).to_owned(), count.into())
        })
        .collect();
    let mut counts = Map::new();
    counts.insert("total".into(), found.len().into());
    counts.insert("warnings".into(), (found.len() - errors).into());
    counts.insert("errors".into(), errors.into());
    counts.insert("byCode".into(), by_code.into());
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stuck_and_lost_tasks_are_found_and_the_worst_come_first() {
        let task = |id: &str, status: &str, created_at: u64| Task {
            task_id: id.to_owned(),
            status: status.to_owned(),
            created_at,
            ..Task::default()
        };
        let now = 10 * 3_600_000;
        let tasks = [
            task("fresh", "running", now - 1_000),
            task("stuck", "running", now - STALE_RUNNING_MS),
            task("waits", "queued", now - STALE_QUEUED_MS),
            task("lost", "lost", now - 7_200_000),
            task("done", "succeeded", now - 5_000),
        ];
        let found = findings(&tasks, now);
        let codes: Vec<(&str, &str)> =
            found.iter().map(|finding| (finding.task.task_id.as_str(), finding.code)).collect();
        assert_eq!(
            codes,
            [
                ("lost", "lost"),
                ("stuck", "stale_running"),
                ("waits", "stale_queued"),
                ("done", "missing_cleanup"),
            ]
        );
        let counted = counts(&CODES, &found);
        assert_eq!((&counted["errors"], &counted["warnings"]), (&json!(2), &json!(2)));
        assert_eq!(summary(&tasks)["byStatus"]["running"], 2);
    }
}
