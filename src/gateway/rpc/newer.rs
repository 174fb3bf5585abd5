//! What clients of protocol 4 ask beyond protocol 3: the chat in one answer, one
//! session by its key, the decisions that wait for an operator, background tasks
//! and hooks.
//!
//! Everything else that is new in protocol 4 is not here; its interfaces leave
//! out what `hello-ok` does not advertise.

use std::future::ready;

use serde_json::{Map, Value, json};

use crate::agents::sessions::{HistoryParams, ListParams};
use crate::base::id::SessionKey;
use crate::gateway::approvals::{Desk, Ticket};
use crate::gateway::rpc::params::text;
use crate::gateway::rpc::{Call, Method, Reply, channels, cron, skills, tasks, tools};
use crate::protocol::error::ErrorShape;

pub(crate) const METHODS: &[Method] = &[
    Method { name: "chat.startup", run: |call| Box::pin(chat_startup(call)) },
    Method { name: "chat.metadata", run: |call| Box::pin(chat_metadata(call)) },
    Method { name: "cron.get", run: |call| Box::pin(cron::get(call)) },
    Method { name: "message.action", run: |call| Box::pin(channels::act(call)) },
    Method { name: "hooks.status", run: |call| Box::pin(skills::hooks_status(call)) },
    Method { name: "tasks.list", run: |call| Box::pin(tasks::list(call)) },
    Method { name: "tasks.get", run: |call| Box::pin(tasks::get(call)) },
    Method { name: "tasks.cancel", run: |call| Box::pin(tasks::cancel(call)) },
    Method { name: "sessions.describe", run: |call| Box::pin(describe(call)) },
    Method {
        name: "exec.approval.list",
        run: |call| Box::pin(ready(Ok(waiting(&call, &call.state.services.exec_approvals)))),
    },
    Method {
        name: "plugin.approval.list",
        run: |call| Box::pin(ready(Ok(waiting(&call, &call.state.services.plugin_approvals)))),
    },
    // Changes that the Node gateway's own agent proposes for its setup: there is
    // no such agent here, so none of them ever waits.
    Method { name: "openclaw.approval.list", run: |_call| Box::pin(ready(Ok(json!([])))) },
];

/// Messages of a first page: there is no second one, so it is a long one.
const PAGE: usize = 1000;

/// `chat.history` together with what the page around it shows.
async fn chat_startup(call: Call) -> Reply {
    let typed = text(&call.params, "sessionKey").unwrap_or_default();
    let sessions = call.state.agents.sessions();
    let key = sessions.canonical(typed);
    let history =
        HistoryParams { session_key: typed.to_owned(), limit: Some(PAGE), max_chars: None };
    let mut answer = sessions.history(history).await?;
    let defaults = sessions.list(ListParams { limit: Some(1), ..ListParams::default() }).await?;
    let row = sessions.row(&key).await?;
    let active: Vec<String> = call
        .state
        .agents
        .active()
        .into_iter()
        .filter(|run| run.session_key.as_ref() == Some(&key))
        .map(|run| run.run_id)
        .collect();
    let Some(fields) = answer.as_object_mut() else { return Ok(answer) };
    let total = fields.get("messages").and_then(Value::as_array).map_or(0, Vec::len);
    fields.insert("hasMore".into(), false.into());
    fields.insert("totalMessages".into(), total.into());
    fields.insert("pendingInputs".into(), json!({ "items": [], "total": 0 }));
    fields.insert("defaults".into(), defaults["defaults"].clone());
    fields.insert("sessionInfo".into(), info(&key, row, &active, &defaults["defaults"]));
    Ok(answer)
}

/// A row, or what can be said about a session that does not exist yet.
fn info(key: &SessionKey, row: Option<Value>, active: &[String], defaults: &Value) -> Value {
    let mut fields = match row {
        Some(Value::Object(fields)) => fields,
        _ => Map::from_iter([
            ("key".to_owned(), json!(key.as_str())),
            ("kind".to_owned(), json!("direct")),
            ("updatedAt".to_owned(), Value::Null),
            ("modelProvider".to_owned(), defaults["modelProvider"].clone()),
            ("model".to_owned(), defaults["model"].clone()),
            ("contextTokens".to_owned(), defaults["contextTokens"].clone()),
        ]),
    };
    fields.insert("hasActiveRun".into(), (!active.is_empty()).into());
    fields.insert("activeRunIds".into(), json!(active));
    Value::Object(fields)
}

/// What can be chosen in a chat. Slash commands are typed, not listed.
async fn chat_metadata(call: Call) -> Reply {
    let mut answer = tools::models(call).await?;
    answer["commands"] = json!([]);
    Ok(answer)
}

async fn describe(call: Call) -> Reply {
    let Some(key) = text(&call.params, "key") else {
        return Err(ErrorShape::invalid(
            "invalid sessions.describe params: must have required property 'key'",
        ));
    };
    let sessions = call.state.agents.sessions();
    let row = sessions.row(&sessions.canonical(key)).await?;
    Ok(json!({ "session": row }))
}

fn waiting(call: &Call, desk: &Desk) -> Value {
    desk.waiting(call.now()).iter().map(Ticket::requested).collect()
}
