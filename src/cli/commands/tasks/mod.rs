//! `tasks …`: what ran in the background, from the registry that both gateways
//! keep on disk. Works without a gateway; stopping a task needs one.

mod audit;

use serde_json::{Map, Value, json};

use crate::base::clock::{self, iso8601};
use crate::cli::args::rpc::Rpc;
use crate::cli::args::tasks::{
    FlowCommand, FlowListArgs, FlowShowArgs, TaskArgs, TaskNotifyArgs, TasksArgs, TasksCommand,
    TasksListArgs,
};
use crate::cli::commands::call::call_or_fail;
use crate::cli::context::Context;
use crate::cli::ui::page::Page;
use crate::cli::ui::{CommandResult, Failure, Outcome};
use crate::store::tasks::{self, Task, Tasks, TasksError};

const POLICIES: [&str; 3] = ["done_only", "state_changes", "silent"];

pub(super) fn run(context: &Context, args: &TasksArgs) -> CommandResult {
    let before = &args.list;
    match &args.command {
        None => list(context, before),
        Some(TasksCommand::List(args)) => list(
            context,
            &TasksListArgs {
                json: args.json || before.json,
                runtime: args.runtime.clone().or_else(|| before.runtime.clone()),
                status: args.status.clone().or_else(|| before.status.clone()),
            },
        ),
        Some(TasksCommand::Show(args)) => show(context, args, args.json || before.json),
        Some(TasksCommand::Notify(args)) => notify(context, args),
        Some(TasksCommand::Cancel(args)) => cancel(context, &args.lookup),
        Some(TasksCommand::Audit(args)) => audit::run(context, args, args.json || before.json),
        Some(TasksCommand::Maintenance(args)) => {
            audit::maintain(context, args.apply, args.json || before.json)
        }
        Some(TasksCommand::Flow(args)) => match &args.command {
            FlowCommand::List(args) => flow_list(context, args, args.json || before.json),
            FlowCommand::Show(args) => flow_show(context, args, args.json || before.json),
            FlowCommand::Cancel(args) => {
                let flow = flow(context, &args.lookup)?
                    .ok_or_else(|| Failure::new(format!("Flow not found: {}", args.lookup)))?;
                let id = flow["flowId"].as_str().unwrap_or_default();
                Err(Failure::new(format!(
                    "Could not cancel TaskFlow {id}: it belongs to a plugin of the Node gateway, \
                     which alone can end it"
                )))
            }
        },
    }
}

fn broken(err: &TasksError) -> Failure {
    Failure::new(format!("Error: {err}"))
}

fn all(context: &Context) -> Result<Vec<Task>, Failure> {
    Tasks::open(&context.paths.state).and_then(|tasks| tasks.list()).map_err(|err| broken(&err))
}

/// The task of this id, run or session.
fn find(context: &Context, lookup: &str) -> Result<Task, Failure> {
    let wanted = lookup.trim();
    let tasks = all(context)?;
    let named = |key: &Option<String>| key.as_deref() == Some(wanted);
    let found = tasks
        .iter()
        .find(|task| task.task_id == wanted)
        .or_else(|| tasks.iter().find(|task| named(&task.run_id)))
        .or_else(|| {
            tasks.iter().find(|task| named(&task.child_session_key) || task.owner_key == wanted)
        })
        .filter(|_| !wanted.is_empty());
    found.cloned().ok_or_else(|| Failure::new(format!("Task not found: {lookup}")))
}

fn chosen(typed: Option<&String>) -> Option<&str> {
    typed.map(|typed| typed.trim()).filter(|typed| !typed.is_empty())
}

fn list(context: &Context, args: &TasksListArgs) -> CommandResult {
    let (runtime, status) = (chosen(args.runtime.as_ref()), chosen(args.status.as_ref()));
    let mut tasks = all(context)?;
    tasks.retain(|task| {
        runtime.is_none_or(|wanted| task.runtime == wanted)
            && status.is_none_or(|wanted| task.status == wanted)
    });
    if args.json {
        return Ok(Outcome::json(&json!({
            "count": tasks.len(), "runtime": runtime, "status": status, "tasks": tasks,
        })));
    }
    let count = |states: &[&str]| {
        tasks.iter().filter(|task| states.contains(&task.status.as_str())).count()
    };
    let mut page = Page::default();
    page.line(format!("Background tasks: {}", tasks.len()));
    page.line(format!(
        "Task pressure: {} queued · {} running · {} issues",
        count(&["queued"]),
        count(&["running"]),
        count(&["failed", "timed_out", "lost"])
    ));
    if let Some(runtime) = runtime {
        page.line(format!("Runtime filter: {runtime}"));
    }
    if let Some(status) = status {
        page.line(format!("Status filter: {status}"));
    }
    if tasks.is_empty() {
        page.line("No background tasks found.");
        return Ok(Outcome::text(page));
    }
    page.line(context.ui.out.heading(&columns([
        "Task",
        "Kind",
        "Status",
        "Delivery",
        "Run",
        "Child Session",
        "Summary",
    ])));
    for task in &tasks {
        let texts = [&task.terminal_summary, &task.progress_summary, &task.label];
        let summary = texts.into_iter().flatten().map(|text| text.trim());
        let summary = summary.into_iter().find(|text| !text.is_empty()).unwrap_or(&task.task);
        page.line(columns([
            &cut(&task.task_id, 10),
            &task.runtime,
            &task.status,
            &task.delivery_status,
            &cut(task.run_id.as_deref().unwrap_or("n/a"), 10),
            &cut(task.child_session_key.as_deref().unwrap_or("n/a"), 36),
            &cut(&one_line(summary), 80),
        ]));
    }
    Ok(Outcome::text(page))
}

fn columns(cells: [&str; 7]) -> String {
    let widths = [10, 8, 10, 14, 10, 36, 0];
    let padded: Vec<String> =
        cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
    padded.join(" ").trim_end().to_owned()
}

/// At most so many characters, the last of a longer text an ellipsis.
fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most - 1).collect();
    format!("{kept}…")
}

/// What an agent wrote cannot break the table or the terminal.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn show(context: &Context, args: &TaskArgs, as_json: bool) -> CommandResult {
    let task = find(context, &args.of.lookup)?;
    if as_json {
        return Ok(Outcome::json(&task));
    }
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "n/a".to_owned());
    let time = |at: Option<u64>| at.map_or_else(|| "n/a".to_owned(), iso8601);
    let mut page = Page::default();
    page.line("Background task:");
    for (key, value) in [
        ("taskId", task.task_id.clone()),
        ("kind", task.runtime.clone()),
        ("sourceId", or_none(&task.source_id)),
        ("status", task.status.clone()),
        ("result", or_none(&task.terminal_outcome)),
        ("delivery", task.delivery_status.clone()),
        ("notify", task.notify_policy.clone()),
        ("ownerKey", task.owner_key.clone()),
        ("childSessionKey", or_none(&task.child_session_key)),
        ("parentTaskId", or_none(&task.parent_task_id)),
        ("agentId", or_none(&task.agent_id)),
        ("runId", or_none(&task.run_id)),
        ("label", or_none(&task.label)),
        ("task", one_line(&task.task)),
        ("createdAt", iso8601(task.created_at)),
        ("startedAt", time(task.started_at)),
        ("endedAt", time(task.ended_at)),
        ("lastEventAt", time(task.last_event_at)),
        ("cleanupAfter", time(task.cleanup_after)),
    ] {
        page.line(format!("{key}: {value}"));
    }
    for (key, value) in [
        ("error", &task.error),
        ("progressSummary", &task.progress_summary),
        ("terminalSummary", &task.terminal_summary),
    ] {
        if let Some(value) = value {
            page.line(format!("{key}: {}", one_line(value)));
        }
    }
    Ok(Outcome::text(page))
}

fn notify(context: &Context, args: &TaskNotifyArgs) -> CommandResult {
    let policy = args.notify.trim();
    if !POLICIES.contains(&policy) {
        return Err(Failure::new(format!(
            "Error: invalid notify policy \"{policy}\" (use {})",
            POLICIES.join(", ")
        )));
    }
    let task = Task { notify_policy: policy.to_owned(), ..find(context, &args.of.lookup)? };
    write(context, &task)?;
    Ok(Outcome::text(format!("Updated {} notify policy to {policy}.", task.task_id)))
}

fn write(context: &Context, task: &Task) -> Result<(), Failure> {
    Tasks::open(&context.paths.state).and_then(|tasks| tasks.put(task)).map_err(|err| broken(&err))
}

/// Stops what the task runs: the gateway knows it by its session.
fn cancel(context: &Context, lookup: &str) -> CommandResult {
    let task = find(context, lookup)?;
    if !task.is_active() {
        return Err(Failure::new("Task is already terminal."));
    }
    let session = task
        .child_session_key
        .as_deref()
        .ok_or_else(|| Failure::new("Task has no cancellable child session."))?;
    let params = json!({ "sessionKey": session });
    let answer = call_or_fail(context, &Rpc::default(), "chat.abort", Some(params))?;
    if answer["aborted"] != true {
        return Err(Failure::new(format!(
            "Could not cancel task {}: no run of {session} is under way; `{} tasks maintenance \
             --apply` clears what is left of it",
            task.task_id,
            context.program()
        )));
    }
    let now = clock::now_ms();
    let ended = tasks::ended(&task, "cancelled", Some("Cancelled by operator."), now);
    write(context, &ended)?;
    let run = task.run_id.map(|run| format!(" run {run}")).unwrap_or_default();
    Ok(Outcome::text(format!("Cancelled {} ({}){run}.", task.task_id, task.runtime)))
}

fn flows(context: &Context) -> Result<Vec<Map<String, Value>>, Failure> {
    tasks::flows(&context.paths.state).map_err(|err| broken(&err))
}

fn flow(context: &Context, lookup: &str) -> Result<Option<Map<String, Value>>, Failure> {
    let (wanted, flows) = (lookup.trim(), flows(context)?);
    let by = |key: &str| flows.iter().find(|flow| flow[key] == wanted);
    Ok(by("flowId").or_else(|| by("ownerKey")).cloned())
}

/// The tasks of a flow, and how they are.
fn linked(flow: &Map<String, Value>, tasks: &[Task]) -> (Vec<Task>, Value) {
    let id = flow["flowId"].as_str();
    let linked: Vec<Task> =
        tasks.iter().filter(|task| task.parent_flow_id.as_deref() == id).cloned().collect();
    let summary = tasks::audit::summary(&linked);
    (linked, summary)
}

fn with_tasks(flow: &Map<String, Value>, tasks: &[Task]) -> Value {
    let (linked, summary) = linked(flow, tasks);
    let mut shown = flow.clone();
    shown.insert("tasks".into(), json!(linked));
    shown.insert("taskSummary".into(), summary);
    Value::Object(shown)
}

fn flow_list(context: &Context, args: &FlowListArgs, as_json: bool) -> CommandResult {
    let status = chosen(args.status.as_ref());
    let mut flows = flows(context)?;
    flows.retain(|flow| status.is_none_or(|wanted| flow["status"] == wanted));
    let tasks = all(context)?;
    if as_json {
        let shown: Vec<Value> = flows.iter().map(|flow| with_tasks(flow, &tasks)).collect();
        return Ok(Outcome::json(
            &json!({ "count": flows.len(), "status": status, "flows": shown }),
        ));
    }
    let mut page = Page::default();
    page.line(format!("TaskFlows: {}", flows.len()));
    if let Some(status) = status {
        page.line(format!("Status filter: {status}"));
    }
    if flows.is_empty() {
        page.line("No TaskFlows found.");
    }
    for flow in &flows {
        let text = |key: &str| flow.get(key).and_then(Value::as_str).unwrap_or("n/a");
        let (linked, _) = linked(flow, &tasks);
        page.line(format!(
            "{:<10} {:<14} {:<10} {} tasks  {}",
            cut(text("flowId"), 10),
            text("syncMode"),
            text("status"),
            linked.len(),
            cut(&one_line(text("goal")), 80)
        ));
    }
    Ok(Outcome::text(page))
}

fn flow_show(context: &Context, args: &FlowShowArgs, as_json: bool) -> CommandResult {
    let lookup = &args.of.lookup;
    let flow = flow(context, lookup)?
        .ok_or_else(|| Failure::new(format!("TaskFlow not found: {lookup}")))?;
    let tasks = all(context)?;
    if as_json {
        return Ok(Outcome::json(&with_tasks(&flow, &tasks)));
    }
    let mut page = Page::default();
    page.line("TaskFlow:");
    for key in ["flowId", "status", "goal", "currentStep", "ownerKey", "notifyPolicy"] {
        let value = flow.get(key).and_then(Value::as_str).unwrap_or("n/a");
        page.line(format!("{key}: {}", one_line(value)));
    }
    for key in ["createdAt", "updatedAt", "endedAt"] {
        let at = flow.get(key).and_then(Value::as_u64);
        page.line(format!("{key}: {}", at.map_or_else(|| "n/a".to_owned(), iso8601)));
    }
    let (linked, _) = linked(&flow, &tasks);
    page.line(if linked.is_empty() { "Linked tasks: none" } else { "Linked tasks:" });
    for task in linked {
        let run = task.run_id.as_deref().unwrap_or("n/a");
        page.line(format!("- {} {} {run} {}", task.task_id, task.status, one_line(&task.task)));
    }
    Ok(Outcome::text(page))
}
