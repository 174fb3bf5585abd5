//! `chat.*`: what a person types into a conversation, and what was said.

use std::future::ready;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::agents::run::{Frame, Origin, Queueing, Sender};
use crate::agents::sessions::HistoryParams;
use crate::agents::{AbortTarget, RunRefused, RunRequest};
use crate::base::id::SessionKey;
use crate::gateway::rpc::attachments;
use crate::gateway::rpc::params::{text, uint};
use crate::gateway::rpc::{Call, Caller, Method, Reply};
use crate::protocol::error::ErrorShape;
use crate::protocol::events::Event;
use crate::protocol::scope::Scope;

pub(crate) const METHODS: &[Method] = &[
    Method { name: "chat.send", run: |call| Box::pin(send(call)) },
    Method { name: "chat.abort", run: |call| Box::pin(ready(abort(&call))) },
    Method { name: "chat.history", run: |call| Box::pin(history(call)) },
    Method { name: "chat.inject", run: |call| Box::pin(inject(call)) },
];

/// How long an aborted run gets to end.
pub(crate) const SETTLE: Duration = Duration::from_secs(10);

impl From<RunRefused> for ErrorShape {
    fn from(err: RunRefused) -> Self {
        match err {
            RunRefused::UnknownAgent(_) => Self::invalid(format!("invalid agent params: {err}")),
            RunRefused::Session(err) => err.into(),
            RunRefused::Draining => Self::unavailable(err.to_string()),
        }
    }
}

/// A message on its way into a conversation.
#[derive(Debug, Clone, Default)]
pub(crate) struct Send {
    /// Canonical.
    pub key: SessionKeyText,
    /// As the caller spelled the key; aborted runs are reported under it.
    pub typed_key: String,
    pub message: String,
    pub run_id: String,
    pub thinking: Option<String>,
    pub attachments: Option<Vec<Value>>,
    pub timeout_ms: Option<u64>,
}

type SessionKeyText = Option<SessionKey>;

impl Send {
    pub(crate) fn to(key: &SessionKey, message: &str, run_id: String) -> Self {
        Self {
            key: Some(key.clone()),
            typed_key: key.as_str().to_owned(),
            message: message.to_owned(),
            run_id,
            ..Self::default()
        }
    }
}

/// A route that is named must be whole.
fn check_origin(call: &Call) -> Result<(), ErrorShape> {
    let params = &call.params;
    let keys =
        ["originatingChannel", "originatingTo", "originatingAccountId", "originatingThreadId"];
    let routed = keys.iter().any(|key| text(params, key).is_some());
    let missing = keys[..2].iter().find(|key| text(params, key).is_none());
    if let Some(missing) = missing.filter(|_| routed) {
        return Err(ErrorShape::invalid(format!(
            "{missing} is required when using originating route fields"
        )));
    }
    let provenance = params.get("systemInputProvenance").is_some()
        || text(params, "systemProvenanceReceipt").is_some();
    if (routed || provenance) && !call.caller.scopes.allow(Scope::Admin) {
        let fields = if provenance { "system provenance" } else { "originating route" };
        return Err(ErrorShape::invalid(format!("{fields} fields require admin scope")));
    }
    Ok(())
}

async fn send(call: Call) -> Reply {
    let params = &call.params;
    check_origin(&call)?;
    let typed_key = params["sessionKey"].as_str().unwrap_or_default().to_owned();
    let key = call.state.agents.sessions().canonical(&typed_key);
    let message = params["message"].as_str().unwrap_or_default();
    if message.contains('\0') {
        return Err(ErrorShape::invalid("message must not contain null bytes"));
    }
    if is_stop_word(message) {
        let run_ids = stop_session(&call, &key)?;
        return Ok(json!({ "ok": true, "aborted": !run_ids.is_empty(), "runIds": run_ids }));
    }
    let send = Send {
        key: Some(key),
        typed_key,
        message: message.to_owned(),
        run_id: params["idempotencyKey"].as_str().unwrap_or_default().to_owned(),
        thinking: text(params, "thinking").map(str::to_owned),
        attachments: params.get("attachments").and_then(Value::as_array).cloned(),
        timeout_ms: uint(params, "timeoutMs"),
    };
    let mut result = start(&call, send).await?;
    if let Some(fields) = result.as_object_mut() {
        fields.shift_remove("messageSeq");
    }
    Ok(result)
}

/// Starts a run with a message, or tells what became of an earlier one with
/// the same id.
pub(crate) async fn start(call: &Call, send: Send) -> Reply {
    let agents = &call.state.agents;
    if let Some(known) = agents.known(&send.run_id) {
        let status = if known.is_some() { "ok" } else { "in_flight" };
        return Ok(json!({ "runId": send.run_id, "status": status }));
    }
    let images = match &send.attachments {
        Some(list) => attachments::images(list)?,
        None => Vec::new(),
    };
    let message = printable(&send.message);
    if message.trim().is_empty() && images.is_empty() {
        return Err(ErrorShape::invalid("message or attachment required"));
    }
    let key = send.key.unwrap_or_else(|| agents.sessions().canonical("main"));
    let seq = next_message_seq(call, &key).await;
    let verbose = agents.sessions().row_now(&key).is_some_and(|row| row["verboseLevel"] == "full");
    call.state.runs.started_by(&send.run_id, &call.caller, &send.typed_key, verbose);
    let request = RunRequest {
        run_id: send.run_id.clone(),
        session_key: Some(key.clone()),
        message,
        images,
        thinking: send.thinking,
        timeout: send.timeout_ms.filter(|ms| *ms > 0).map(Duration::from_millis),
        origin: webchat(),
        owner: call.caller.scopes.allow(Scope::Admin),
        frame: Frame::Sender(sender_of(&call.caller)),
        queueing: Queueing::Chat,
        ..RunRequest::default()
    };
    tell_followers(call, &key, &request.message).await;
    let handle = match agents.submit(request).await {
        Ok(handle) => handle,
        Err(err) => {
            call.state.runs.forget(&send.run_id);
            let shape = ErrorShape::from(err);
            let payload =
                json!({ "runId": send.run_id, "status": "error", "summary": shape.message });
            return Err(shape.with_payload(payload));
        }
    };
    if handle.joined {
        return Ok(json!({ "runId": handle.run_id, "status": "in_flight" }));
    }
    let mut result = Map::new();
    result.insert("runId".into(), handle.run_id.into());
    result.insert("status".into(), "started".into());
    if let Some(seq) = seq {
        result.insert("messageSeq".into(), seq.into());
    }
    Ok(Value::Object(result))
}

/// Shows those who follow a session what was just said in it, before it has
/// its place in the transcript.
async fn tell_followers(call: &Call, key: &SessionKey, message: &str) {
    let bus = &call.state.bus;
    if !bus.has_followers(key.as_str()) && !bus.has_subscribers() {
        return;
    }
    let sessions = call.state.agents.sessions();
    if !matches!(sessions.entry(key).await, Ok(Some(_))) {
        return;
    }
    let Some(seq) = last_message_seq(call, key).await else { return };
    let now = call.now();
    let message = json!({ "role": "user", "content": message, "timestamp": now });
    call.state.runs.told(key, &message, &json!({ "seq": seq }), now);
}

/// Number that the message will have in its transcript; only the methods that
/// report it pay for looking.
async fn next_message_seq(call: &Call, key: &SessionKey) -> Option<u64> {
    if call.method == "chat.send" {
        return None;
    }
    last_message_seq(call, key).await.map(|seq| seq + 1)
}

/// Number of the last message of a session; zero when it has none.
async fn last_message_seq(call: &Call, key: &SessionKey) -> Option<u64> {
    let last = call.state.agents.sessions().get(key.as_str(), 1).await.ok()?;
    let seq = last["messages"].get(0).and_then(|message| message["__openclaw"]["seq"].as_u64());
    Some(seq.unwrap_or(0))
}

/// How transcripts name the person behind a connection.
fn sender_of(caller: &Caller) -> Sender {
    let client = &caller.client;
    let name = client.display_name.clone().filter(|name| !name.trim().is_empty());
    Sender {
        label: match &name {
            Some(name) => format!("{name} ({})", client.id),
            None => client.id.clone(),
        },
        id: client.id.clone(),
        username: name.clone(),
        name,
    }
}

fn webchat() -> Origin {
    Origin {
        channel: Some("webchat".into()),
        surface: Some("webchat".into()),
        chat_type: Some("direct".into()),
        ..Origin::default()
    }
}

/// Without control characters, line breaks and tabs excepted.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t')).collect()
}

/// Whole messages that mean "stop" instead of being said to the model.
const STOP_WORDS: &[&str] = &[
    "stop",
    "/stop",
    "esc",
    "abort",
    "wait",
    "exit",
    "interrupt",
    "halt",
    "please stop",
    "stop please",
    "stop openclaw",
    "openclaw stop",
    "stop action",
    "stop current action",
    "stop run",
    "stop current run",
    "stop agent",
    "stop the agent",
    "stop don't do anything",
    "do not do that",
    "stop doing anything",
    "detente",
    "deten",
    "detén",
    "arrete",
    "arrête",
    "停止",
    "やめて",
    "止めて",
    "रुको",
    "توقف",
    "стоп",
    "остановись",
    "останови",
    "остановить",
    "прекрати",
    "stopp",
    "anhalten",
    "aufhören",
    "hoer auf",
    "pare",
];

pub fn is_stop_word(message: &str) -> bool {
    let text = message.trim().to_lowercase().replace(['’', '`'], "'");
    let text = text.trim_end_matches(|c: char| {
        matches!(c, '.' | '!' | '?' | ',' | ';' | ':' | '…' | '。' | '！' | '？')
            || c.is_whitespace()
    });
    STOP_WORDS.contains(&text)
}

fn abort(call: &Call) -> Reply {
    let typed = text(&call.params, "sessionKey").unwrap_or_default();
    let key = call.state.agents.sessions().canonical(typed);
    let run_ids = abort_runs(call, &key, text(&call.params, "runId"))?;
    Ok(json!({ "ok": true, "aborted": !run_ids.is_empty(), "runIds": run_ids }))
}

/// Aborts one run or all runs of a session that the caller may abort.
pub(crate) fn abort_runs(
    call: &Call,
    key: &SessionKey,
    run: Option<&str>,
) -> Result<Vec<String>, ErrorShape> {
    let agents = &call.state.agents;
    let active = agents.active();
    let of_session: Vec<_> =
        active.iter().filter(|run| run.session_key.as_ref() == Some(key)).collect();
    let Some(wanted) = run else {
        return stop_session(call, key);
    };
    let Some(found) = active.iter().find(|run| run.run_id == wanted) else {
        return Ok(Vec::new());
    };
    if !of_session.iter().any(|run| run.run_id == found.run_id) {
        return Err(ErrorShape::invalid("runId does not match sessionKey"));
    }
    if !may_abort(call, wanted) {
        return Err(ErrorShape::invalid("unauthorized"));
    }
    Ok(agents.abort(&AbortTarget::Run(wanted.to_owned())))
}

fn stop_session(call: &Call, key: &SessionKey) -> Result<Vec<String>, ErrorShape> {
    let agents = &call.state.agents;
    let of_session: Vec<String> = agents
        .active()
        .into_iter()
        .filter(|run| run.session_key.as_ref() == Some(key))
        .map(|run| run.run_id)
        .collect();
    let mine: Vec<&String> = of_session.iter().filter(|run| may_abort(call, run)).collect();
    if mine.is_empty() && !of_session.is_empty() {
        return Err(ErrorShape::invalid("unauthorized"));
    }
    let reason = if call.method == "chat.send" { "stop" } else { "rpc" };
    Ok(mine
        .into_iter()
        .flat_map(|run| agents.abort_because(&AbortTarget::Run(run.clone()), reason))
        .collect())
}

/// Runs belong to the device or connection that started them; admins may end
/// any run.
fn may_abort(call: &Call, run_id: &str) -> bool {
    call.caller.scopes.allow(Scope::Admin) || call.state.runs.is_owner(run_id, &call.caller)
}

async fn history(call: Call) -> Reply {
    let params: HistoryParams = call.params()?;
    let sessions = call.state.agents.sessions();
    if call.caller.protocol >= 4 {
        return Ok(sessions.history_page(params).await?);
    }
    Ok(sessions.history(params).await?)
}

async fn inject(call: Call) -> Reply {
    let key = text(&call.params, "sessionKey").unwrap_or_default();
    let message = call.params["message"].as_str().unwrap_or_default();
    let sessions = call.state.agents.sessions();
    let (id, message) = sessions.inject(key, message, text(&call.params, "label")).await?;
    let payload = json!({
        "runId": format!("inject-{id}"),
        "sessionKey": sessions.canonical(key).as_str(),
        "seq": 0,
        "state": "final",
        "message": message,
    });
    call.state.bus.broadcast(Event::Chat, &payload);
    Ok(json!({ "ok": true, "messageId": id }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_message_can_mean_stop() {
        for text in ["stop", " /STOP ", "Stop!", "please stop…", "ESC", "стоп"] {
            assert!(is_stop_word(text), "{text}");
        }
        for text in ["stop that train", "/stopwatch", "", "wait for it"] {
            assert!(!is_stop_word(text), "{text}");
        }
    }

    #[test]
    fn control_characters_do_not_reach_the_model() {
        assert_eq!(printable("a\u{7}b\n\tc\u{1b}[1m"), "ab\n\tc[1m");
    }
}
