//! Runs of jobs and of the `agent` method in the registry of background tasks, for
//! `tasks …` and `status`. The run log of a job and the transcript of a session
//! are the truth; what cannot be noted here is only logged.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::agents::{RunOutcome, RunStatus};
use crate::base::id::{SessionKey, uuid};
use crate::gateway::State;
use crate::gateway::cron::Ran;
use crate::gateway::cron::job::Job;
use crate::lifecycle;
use crate::protocol::events::Event;
use crate::store::tasks::{self, Task, Tasks, TasksError};

/// After a start nothing runs, whatever an earlier gateway left in the registry.
pub(super) fn forget_running(state: &State, now: u64) {
    let why = "the gateway ended while it ran";
    let done = Tasks::open(&state.paths.state).and_then(|list| {
        list.lose_all("cron", why, now)?;
        list.lose_all("cli", why, now)
    });
    if let Err(err) = done {
        tracing::warn!(%err, "background tasks not read");
    }
}

/// What every task has that begins to run.
fn running(now: u64) -> Task {
    Task {
        task_id: uuid(),
        status: "running".to_owned(),
        delivery_status: "not_applicable".to_owned(),
        notify_policy: "silent".to_owned(),
        created_at: now,
        started_at: Some(now),
        last_event_at: Some(now),
        ..Task::default()
    }
}

/// Notes that a job runs.
pub(super) async fn job_began(state: &Arc<State>, job: &Job, now: u64) -> Task {
    let name = if job.name.is_empty() { &job.id } else { &job.name };
    let task = Task {
        runtime: "cron".to_owned(),
        source_id: Some(job.id.clone()),
        owner_key: format!("system:cron:{}", job.id),
        scope_kind: "system".to_owned(),
        child_session_key: job.session_key.clone(),
        agent_id: job.agent_id.clone(),
        run_id: Some(format!("cron:{}:{now}", job.id)),
        label: Some(job.name.clone()),
        task: name.clone(),
        ..running(now)
    };
    write(state, task.clone()).await;
    task
}

/// Notes how a job went.
pub(super) async fn job_ended(
    state: &Arc<State>,
    task: Task,
    ran: &Ran,
    summary: Option<&str>,
    now: u64,
) {
    let status = match (ran.status, ran.error.as_deref()) {
        ("ok" | "skipped", _) => "succeeded",
        (_, Some(error)) if error.contains("timed out") => "timed_out",
        _ => "failed",
    };
    let error = ran.error.as_deref().filter(|_| status != "succeeded");
    let mut over = tasks::ended(&task, status, error, now);
    over.terminal_summary = summary.map(str::to_owned);
    write(state, over).await;
}

/// Notes that a run of the `agent` method is under way.
pub(super) async fn run_began(
    state: &Arc<State>,
    run_id: &str,
    session: &SessionKey,
    message: String,
    now: u64,
) -> Task {
    let task = Task {
        runtime: "cli".to_owned(),
        source_id: Some(run_id.to_owned()),
        owner_key: session.as_str().to_owned(),
        requester_session_key: session.as_str().to_owned(),
        scope_kind: "session".to_owned(),
        child_session_key: Some(session.as_str().to_owned()),
        run_id: Some(run_id.to_owned()),
        task: message,
        ..running(now)
    };
    write(state, task.clone()).await;
    task
}

/// Notes how a run went.
pub(super) async fn run_ended(state: &Arc<State>, task: Task, outcome: &RunOutcome) {
    let status = match outcome.status {
        RunStatus::Ok => "succeeded",
        RunStatus::Error => "failed",
        RunStatus::Aborted => "cancelled",
        RunStatus::TimedOut => "timed_out",
    };
    let now = state.clock.now_ms();
    write(state, tasks::ended(&task, status, outcome.error.as_deref(), now)).await;
}

/// Every task of the registry; what cannot be read is only logged.
pub(super) async fn all(state: &Arc<State>) -> Vec<Task> {
    let dir = state.paths.state.clone();
    let read = lifecycle::spawn_blocking(move || Tasks::open(&dir)?.list());
    match read.await {
        Ok(Ok(tasks)) => tasks,
        Ok(Err(err)) => {
            tracing::warn!(%err, "background tasks not read");
            Vec::new()
        }
        Err(_) => Vec::new(),
    }
}

/// Writes a task down and tells those who follow them.
async fn write(state: &Arc<State>, task: Task) {
    let dir = state.paths.state.clone();
    let noting = task.clone();
    let written = lifecycle::spawn_blocking(move || -> Result<Vec<String>, TasksError> {
        let list = Tasks::create(&dir)?;
        list.put(&noting)?;
        list.prune(noting.last_event_at.unwrap_or(noting.created_at))
    });
    let pruned = match written.await {
        Ok(Ok(pruned)) => pruned,
        Ok(Err(err)) => {
            tracing::warn!(%err, "background task not noted");
            return;
        }
        Err(_) => return,
    };
    for id in pruned {
        state.bus.broadcast(Event::Task, &json!({ "action": "deleted", "taskId": id }));
    }
    let told = json!({ "action": "upserted", "task": summary(&task) });
    state.bus.broadcast(Event::Task, &told);
}

/// The status of a task in the words of protocol 4.
pub(super) fn ledger_status(task: &Task) -> &str {
    match task.status.as_str() {
        "succeeded" => "completed",
        "lost" => "failed",
        other => other,
    }
}

/// The agent that a task is of.
pub(super) fn agent_of(task: &Task) -> Option<String> {
    task.agent_id.clone().or_else(|| {
        let keys = [task.child_session_key.as_deref(), Some(task.owner_key.as_str())];
        let of = |key: &str| SessionKey::new(key).agent().map(str::to_owned);
        keys.into_iter().flatten().find_map(of)
    })
}

/// A task as clients of protocol 4 are told of it.
pub(super) fn summary(task: &Task) -> Value {
    const TITLE: usize = 80;
    const LINE: usize = 120;
    let execution = match task.status.as_str() {
        "lost" => "unknown",
        status if task.is_active() => status,
        _ => "finished",
    };
    let title = task.label.as_deref().filter(|label| !label.trim().is_empty());
    let title = one_line(title.unwrap_or(&task.task), TITLE);
    let mut shown = json!({
        "id": task.task_id,
        "taskId": task.task_id,
        "kind": task.runtime,
        "runtime": task.runtime,
        "status": ledger_status(task),
        "execution": { "state": execution },
        "title": title.unwrap_or_else(|| "Background task".to_owned()),
        "sessionKey": task.requester_session_key,
        "hasTranscript": task.child_session_key.is_some() || !task.requester_session_key.is_empty(),
        "ownerKey": task.owner_key,
        "createdAt": task.created_at,
        "updatedAt": task.last_event_at.or(task.ended_at).or(task.started_at).unwrap_or(task.created_at),
        "deliveryStatus": task.delivery_status,
    });
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            shown[key] = value;
        }
    };
    let same = |text: &Option<String>| text.clone().map(Value::from);
    let line = |text: &Option<String>| {
        text.as_deref().and_then(|text| one_line(text, LINE)).map(Value::from)
    };
    put("agentId", agent_of(task).map(Value::from));
    put("childSessionKey", same(&task.child_session_key));
    put("runId", same(&task.run_id));
    put("flowId", same(&task.parent_flow_id));
    put("parentTaskId", same(&task.parent_task_id));
    put("sourceId", same(&task.source_id));
    put("startedAt", task.started_at.map(Value::from));
    put("endedAt", task.ended_at.map(Value::from));
    put("progressSummary", line(&task.progress_summary));
    put("terminalSummary", line(&task.terminal_summary));
    put("error", line(&task.error));
    put("terminalOutcome", same(&task.terminal_outcome));
    shown
}

/// A text in one line, cut to `most` characters; `None` when there is none.
fn one_line(text: &str, most: usize) -> Option<String> {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= most {
        return (!line.is_empty()).then_some(line);
    }
    let cut: String = line.chars().take(most - 1).collect();
    Some(format!("{}…", cut.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_told_in_the_words_of_protocol_four() {
        let task = Task {
            task_id: "t".into(),
            runtime: "cron".into(),
            source_id: Some("j".into()),
            owner_key: "system:cron:j".into(),
            task: format!("tidy\n  up {}", "x".repeat(200)),
            status: "succeeded".into(),
            delivery_status: "not_applicable".into(),
            created_at: 1,
            started_at: Some(1),
            ended_at: Some(5),
            last_event_at: Some(5),
            ..Task::default()
        };
        let shown = summary(&task);
        assert_eq!((&shown["status"], &shown["updatedAt"]), (&json!("completed"), &json!(5)));
        assert_eq!(shown["execution"], json!({"state": "finished"}));
        let title = shown["title"].as_str().unwrap();
        assert!(title.starts_with("tidy up x") && title.chars().count() == 80, "{title}");
        assert!(shown.get("error").is_none(), "what is absent is left out: {shown}");
        let lost = summary(&Task { status: "lost".into(), ..task });
        assert_eq!(
            (&lost["status"], &lost["execution"]["state"]),
            (&json!("failed"), &json!("unknown"))
        );
    }
}
