//! What clients of protocol 4 ask beyond protocol 3: the chat in one answer, one
//! session by its key, the decisions that wait for an operator, background tasks
//! and hooks.
//!
//! Everything else that is new in protocol 4 is not here; its interfaces leave
//! out what `hello-ok` does not advertise.

use std::future::ready;

use serde_json::{Value, json};

use crate::agents::sessions::HistoryParams;
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

/// `chat.history` as long as it goes.
async fn chat_startup(call: Call) -> Reply {
    let session_key = text(&call.params, "sessionKey").unwrap_or_default().to_owned();
    let params = HistoryParams { session_key, limit: Some(PAGE), ..HistoryParams::default() };
    Ok(call.state.agents.sessions().history_page(params).await?)
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
    let row = sessions.newer_row(&sessions.canonical(key)).await?;
    Ok(json!({ "session": row }))
}

fn waiting(call: &Call, desk: &Desk) -> Value {
    desk.waiting(call.now()).iter().map(Ticket::requested).collect()
}
