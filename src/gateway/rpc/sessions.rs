//! `sessions.*`: the conversations, their settings, and who follows them.

use std::future::ready;

use serde_json::{Map, Value, json};

use crate::agents::sessions::{
    CreateParams, ListParams, PreviewParams, ResetReason, ResolveParams, SessionError, Sessions,
};
use crate::agents::{AbortTarget, Agents};
use crate::base::id::{SessionKey, uuid};
use crate::gateway::rpc::chat::{self, Send};
use crate::gateway::rpc::params::{flag, text, uint};
use crate::gateway::rpc::{Call, Method, Reply};
use crate::protocol::error::ErrorShape;
use crate::protocol::events::Event;

pub(crate) const METHODS: &[Method] = &[
    Method { name: "sessions.list", run: |call| Box::pin(list(call)) },
    Method { name: "sessions.subscribe", run: |call| Box::pin(ready(Ok(subscribe(&call, true)))) },
    Method {
        name: "sessions.unsubscribe",
        run: |call| Box::pin(ready(Ok(subscribe(&call, false)))),
    },
    Method {
        name: "sessions.messages.subscribe",
        run: |call| Box::pin(ready(Ok(subscribe_messages(&call, true)))),
    },
    Method {
        name: "sessions.messages.unsubscribe",
        run: |call| Box::pin(ready(Ok(subscribe_messages(&call, false)))),
    },
    Method { name: "sessions.resolve", run: |call| Box::pin(resolve(call)) },
    Method { name: "sessions.preview", run: |call| Box::pin(preview(call)) },
    Method { name: "sessions.get", run: |call| Box::pin(get(call)) },
    Method { name: "sessions.create", run: |call| Box::pin(create(call)) },
    Method { name: "sessions.send", run: |call| Box::pin(send(call, false)) },
    Method { name: "sessions.steer", run: |call| Box::pin(send(call, true)) },
    Method { name: "sessions.abort", run: |call| Box::pin(ready(abort(&call))) },
    Method { name: "sessions.patch", run: |call| Box::pin(patch(call)) },
    Method { name: "sessions.reset", run: |call| Box::pin(reset(call)) },
    Method { name: "sessions.delete", run: |call| Box::pin(delete(call)) },
    Method { name: "sessions.compact", run: |call| Box::pin(compact(call)) },
];

/// Lines that `sessions.compact` keeps unless told otherwise.
const COMPACT_LINES: usize = 400;

impl From<SessionError> for ErrorShape {
    fn from(err: SessionError) -> Self {
        match err {
            SessionError::Invalid(text) => Self::invalid(text),
            other => Self::unavailable(format!("Error: {other}")),
        }
    }
}

async fn list(call: Call) -> Reply {
    let paged = call.caller.protocol >= 4;
    // Its shape is that of protocol 3, which has no pages.
    if call.params.get("offset").is_some_and(|offset| !offset.is_u64()) {
        return Err(ErrorShape::invalid(
            "invalid sessions.list params: at /offset: must be integer, 0 or more",
        ));
    }
    let params = ListParams { paged, ..call.params::<ListParams>()? };
    Ok(sessions(&call).list(params).await?)
}

fn subscribe(call: &Call, on: bool) -> Value {
    call.state.bus.subscribe_sessions(&call.caller.conn_id, on);
    json!({ "subscribed": on })
}

fn subscribe_messages(call: &Call, on: bool) -> Value {
    let key = sessions(call).canonical(text(&call.params, "key").unwrap_or_default());
    call.state.bus.subscribe_messages(&call.caller.conn_id, key.as_str(), on);
    json!({ "subscribed": on, "key": key.as_str() })
}

async fn resolve(call: Call) -> Reply {
    Ok(sessions(&call).resolve(call.params::<ResolveParams>()?).await?)
}

async fn preview(call: Call) -> Reply {
    Ok(sessions(&call).preview(call.params::<PreviewParams>()?).await?)
}

async fn get(call: Call) -> Reply {
    let key = text(&call.params, "key").or_else(|| text(&call.params, "sessionKey"));
    let Some(key) = key else { return Err(ErrorShape::invalid("key required")) };
    let limit = uint(&call.params, "limit").and_then(|limit| usize::try_from(limit).ok());
    Ok(sessions(&call).get(key, limit.unwrap_or(200).max(1)).await?)
}

async fn create(call: Call) -> Reply {
    let params = call.params::<CreateParams>()?;
    let mut result = sessions(&call).create(params).await?;
    resolved(&call, &mut result);
    let key = key_in(&result);
    changed(&call, &key, "create");
    let message = text(&call.params, "message").or_else(|| text(&call.params, "task"));
    let started = match message {
        Some(message) => chat::start(&call, Send::to(&key, message, uuid())).await.map(Some),
        None => Ok(None),
    };
    let Some(fields) = result.as_object_mut() else { return Ok(result) };
    match started {
        Ok(run) => {
            fields.insert("runStarted".into(), run.is_some().into());
            if let Some(run) = run.as_ref().and_then(Value::as_object) {
                fields.extend(run.clone());
                changed(&call, &key, "send");
            }
        }
        Err(err) => {
            fields.insert("runStarted".into(), false.into());
            fields.insert("runError".into(), json!(err));
        }
    }
    Ok(result)
}

async fn send(call: Call, interrupt: bool) -> Reply {
    let params = &call.params;
    let key = known_key(&call).await?;
    let interrupted = interrupt && end_runs(&call.state.agents, &key).await;
    let mut message = Send::to(
        &key,
        params["message"].as_str().unwrap_or_default(),
        text(params, "idempotencyKey").map_or_else(uuid, str::to_owned),
    );
    message.thinking = text(params, "thinking").map(str::to_owned);
    message.attachments = params.get("attachments").and_then(Value::as_array).cloned();
    message.timeout_ms = uint(params, "timeoutMs");
    let mut result = chat::start(&call, message).await?;
    if interrupted && let Some(fields) = result.as_object_mut() {
        fields.insert("interruptedActiveRun".into(), true.into());
    }
    changed(&call, &key, if interrupt { "steer" } else { "send" });
    Ok(result)
}

fn abort(call: &Call) -> Reply {
    let key = sessions(call).canonical(text(&call.params, "key").unwrap_or_default());
    let run = text(&call.params, "runId");
    let aborted = chat::abort_runs(call, &key, run)?;
    let first = aborted.first().cloned();
    let status = if first.is_some() { "aborted" } else { "no-active-run" };
    if first.is_some() {
        changed(call, &key, "abort");
    }
    Ok(json!({ "ok": true, "abortedRunId": first, "status": status }))
}

async fn patch(call: Call) -> Reply {
    refuse_webchat(&call, "patch")?;
    let mut result = sessions(&call).patch(call.params.clone()).await?;
    if call.caller.protocol >= 4 {
        result["resolved"]["agentRuntime"] = json!({"id": "openclaw", "source": "implicit"});
        result["resolved"]["runtimeSelectionLocked"] = false.into();
    }
    changed(&call, &key_in(&result), "patch");
    Ok(result)
}

async fn reset(call: Call) -> Reply {
    let key = text(&call.params, "key").unwrap_or_default();
    expect_session(&call, key).await?;
    let reason = match text(&call.params, "reason") {
        Some("new") => ResetReason::New,
        _ => ResetReason::Reset,
    };
    let mut result = sessions(&call).reset(key, reason).await?;
    resolved(&call, &mut result);
    let word = if reason == ResetReason::New { "new" } else { "reset" };
    changed(&call, &key_in(&result), word);
    Ok(result)
}

/// Protocol 4 is told with a new session which model will answer in it.
fn resolved(call: &Call, result: &mut Value) {
    if call.caller.protocol >= 4 {
        let row = sessions(call).row_now(&key_in(result)).unwrap_or_default();
        result["resolved"] = json!({"modelProvider": row["modelProvider"], "model": row["model"]});
    }
}

async fn delete(call: Call) -> Reply {
    refuse_webchat(&call, "delete")?;
    let key = text(&call.params, "key").unwrap_or_default();
    expect_session(&call, key).await?;
    let transcript = flag(&call.params, "deleteTranscript").unwrap_or(true);
    let result = sessions(&call).delete(key, transcript).await?;
    if result["deleted"] == true {
        changed(&call, &key_in(&result), "delete");
    }
    Ok(result)
}

/// Refuses when the key leads to another session than the caller has seen.
async fn expect_session(call: &Call, key: &str) -> Result<(), ErrorShape> {
    let Some(expected) = text(&call.params, "expectedSessionId") else { return Ok(()) };
    let sessions = sessions(call);
    let entry = sessions.entry(&sessions.canonical(key)).await?;
    if entry.as_ref().and_then(|entry| entry.text("sessionId")) == Some(expected) {
        return Ok(());
    }
    let error = ErrorShape::invalid("the session changed; read it again before you retry");
    Err(error.with_details(json!({ "reason": "session-changed" })))
}

async fn compact(call: Call) -> Reply {
    let key = text(&call.params, "key").unwrap_or_default();
    let lines = uint(&call.params, "maxLines").and_then(|lines| usize::try_from(lines).ok());
    let mut result = sessions(&call).compact(key, lines.unwrap_or(COMPACT_LINES)).await?;
    if call.caller.protocol >= 4 && result["compacted"] == false {
        result["ok"] = false.into();
        if let Some(fields) = result.as_object_mut().filter(|it| !it.contains_key("reason")) {
            fields.shift_remove("kept");
            fields.insert("reason".into(), "nothing to compact: the session is short".into());
        }
    }
    if result["compacted"] == true {
        changed(&call, &key_in(&result), "compact");
    }
    Ok(result)
}

/// Ends the active runs of a session and waits for them; whether there were any.
async fn end_runs(agents: &Agents, key: &SessionKey) -> bool {
    let ids = agents.abort(&AbortTarget::Session(key.clone()));
    for id in &ids {
        // Bounded: an aborted run ends within seconds or is given up on.
        let _ended = agents.wait(id, chat::SETTLE).await;
    }
    !ids.is_empty()
}

/// The key a caller named, which must belong to a session.
async fn known_key(call: &Call) -> Result<SessionKey, ErrorShape> {
    let typed = text(&call.params, "key").unwrap_or_default();
    let key = sessions(call).canonical(typed);
    match sessions(call).entry(&key).await? {
        Some(_) => Ok(key),
        None => Err(ErrorShape::invalid(format!("session not found: {typed}"))),
    }
}

/// Chat widgets may talk, but not rearrange.
fn refuse_webchat(call: &Call, verb: &str) -> Result<(), ErrorShape> {
    let client = &call.caller.client;
    if client.mode == "webchat" && client.id != "openclaw-control-ui" {
        return Err(ErrorShape::invalid(format!(
            "webchat clients cannot {verb} sessions; use chat.send for session-scoped updates"
        )));
    }
    Ok(())
}

/// Tells those who follow the list what happened to a session.
pub(crate) fn changed(call: &Call, key: &SessionKey, reason: &str) {
    let bus = &call.state.bus;
    if !bus.has_subscribers() {
        return;
    }
    let mut payload = Map::new();
    payload.insert("sessionKey".into(), key.as_str().into());
    payload.insert("reason".into(), reason.into());
    payload.insert("ts".into(), call.now().into());
    if reason == "compact" {
        payload.insert("compacted".into(), true.into());
    }
    if let Some(Value::Object(mut row)) = sessions(call).row_now(key) {
        row.shift_remove("key");
        payload.extend(row);
    }
    bus.send_to_subscribers(Event::SessionsChanged, &payload);
}

fn key_in(result: &Value) -> SessionKey {
    SessionKey::new(result["key"].as_str().unwrap_or_default())
}

fn sessions(call: &Call) -> Sessions {
    call.state.agents.sessions()
}
