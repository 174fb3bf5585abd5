//! `tasks.list`, `tasks.get`, `tasks.cancel` for clients of protocol 4: what ran
//! in the background, from the registry that `tasks …` reads too.

use serde_json::json;

use crate::agents::AbortTarget;
use crate::gateway::noted;
use crate::gateway::rpc::params::{text, texts, uint};
use crate::gateway::rpc::{Call, Reply};
use crate::protocol::error::ErrorShape;
use crate::store::tasks::Task;

/// Tasks of a page unless told otherwise.
const PAGE: usize = 100;

pub(super) async fn list(call: Call) -> Reply {
    let params = &call.params;
    let stale = || {
        let text = "invalid or expired tasks.list cursor; restart pagination without a cursor";
        ErrorShape::invalid(text)
    };
    // A page begins behind the task that the one before ended with.
    let after = text(params, "cursor");
    let statuses = texts(params, "status")
        .or_else(|| text(params, "status").map(|status| vec![status.to_owned()]));
    let session = text(params, "sessionKey").map(|key| call.state.agents.sessions().canonical(key));
    let agent = text(params, "agentId").map(str::to_lowercase);
    let limit = uint(params, "limit").and_then(|limit| usize::try_from(limit).ok());
    let limit = limit.unwrap_or(PAGE);
    let mut tasks = noted::all(&call.state).await;
    tasks.retain(|task| {
        let status = noted::ledger_status(task);
        let of_agent = |wanted: &String| noted::agent_of(task).as_ref() == Some(wanted);
        let of_session = |wanted: &str| {
            task.requester_session_key == wanted
                || task.child_session_key.as_deref() == Some(wanted)
        };
        statuses.as_ref().is_none_or(|wanted| wanted.iter().any(|wanted| wanted == status))
            && session.as_ref().is_none_or(|wanted| of_session(wanted.as_str()))
            && (session.is_some() || agent.as_ref().is_none_or(of_agent))
    });
    if let Some(after) = after {
        let at = tasks.iter().position(|task| task.task_id == after).ok_or_else(stale)?;
        tasks.drain(..=at);
    }
    let more = tasks.len() > limit;
    tasks.truncate(limit);
    let mut page = json!({ "tasks": tasks.iter().map(noted::summary).collect::<Vec<_>>() });
    if let Some(last) = tasks.last().filter(|_| more) {
        page["nextCursor"] = last.task_id.as_str().into();
    }
    Ok(page)
}

pub(super) async fn get(call: Call) -> Reply {
    let id = text(&call.params, "taskId").unwrap_or_default();
    let task = find(&call, id).await;
    let task = task.ok_or_else(|| ErrorShape::invalid(format!("task not found: {id}")))?;
    let mut shown = noted::summary(&task);
    shown["prompt"] = task.task.as_str().into();
    Ok(json!({ "task": shown }))
}

/// Ends the run behind a task; how it ended is noted by who started it.
pub(super) async fn cancel(call: Call) -> Reply {
    let id = text(&call.params, "taskId").unwrap_or_default();
    let Some(task) = find(&call, id).await else {
        return Ok(json!({ "found": false, "cancelled": false, "reason": "Task not found." }));
    };
    let answer = |cancelled: bool, reason: Option<&str>| {
        let mut answer = json!({
            "found": true, "cancelled": cancelled, "task": noted::summary(&task),
        });
        if let Some(reason) = reason {
            answer["reason"] = reason.into();
        }
        Ok(answer)
    };
    if !task.is_active() {
        return answer(false, Some("Task is already terminal."));
    }
    let agents = &call.state.agents;
    let of_job = |key: &str| {
        let id = task.source_id.as_deref().unwrap_or_default();
        task.runtime == "cron" && key.ends_with(&format!(":cron:{id}"))
    };
    let runs: Vec<String> = agents
        .active()
        .into_iter()
        .filter(|run| {
            Some(&run.run_id) == task.run_id.as_ref()
                || run.session_key.as_ref().is_some_and(|key| of_job(key.as_str()))
        })
        .map(|run| run.run_id)
        .collect();
    let mut ended = false;
    for run in runs {
        ended |= !agents.abort(&AbortTarget::Run(run)).is_empty();
    }
    answer(ended, (!ended).then_some("Task has no run that could be ended."))
}

async fn find(call: &Call, id: &str) -> Option<Task> {
    let mut tasks = noted::all(&call.state).await.into_iter();
    tasks.find(|task: &Task| task.task_id == id)
}
