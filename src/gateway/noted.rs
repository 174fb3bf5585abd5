//! Runs of jobs and of the `agent` method in the registry of background tasks, for
//! `tasks …` and `status`. The run log of a job and the transcript of a session
//! are the truth; what cannot be noted here is only logged.

use std::sync::Arc;

use crate::agents::{RunOutcome, RunStatus};
use crate::base::id::{SessionKey, uuid};
use crate::gateway::State;
use crate::gateway::cron::Ran;
use crate::gateway::cron::job::Job;
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
    let read = tokio::task::spawn_blocking(move || Tasks::open(&dir)?.list());
    match read.await {
        Ok(Ok(tasks)) => tasks,
        Ok(Err(err)) => {
            tracing::warn!(%err, "background tasks not read");
            Vec::new()
        }
        Err(_) => Vec::new(),
    }
}

async fn write(state: &Arc<State>, task: Task) {
    let dir = state.paths.state.clone();
    let written = tokio::task::spawn_blocking(move || -> Result<(), TasksError> {
        let list = Tasks::create(&dir)?;
        list.put(&task)?;
        list.prune(task.last_event_at.unwrap_or(task.created_at))
    });
    if let Ok(Err(err)) = written.await {
        tracing::warn!(%err, "background task not noted");
    }
}
