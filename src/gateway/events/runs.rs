//! What happens in runs, as `agent` and `chat` events.
//!
//! Nothing is encoded when nobody listens. Text deltas of the chat view are
//! cumulative and sent at most every [`CHAT_EVERY_MS`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use crate::agents::sessions::Rows;
use crate::agents::{EventSink, RunBody, RunEvent, RunOutcome};
use crate::base::id::SessionKey;
use crate::gateway::events::Bus;
use crate::gateway::rpc::Caller;
use crate::protocol::events::Event;

/// Least time between two chat deltas of a run, in milliseconds.
const CHAT_EVERY_MS: u64 = 150;

/// Turns run events into broadcasts.
#[derive(Debug)]
pub struct RunEvents {
    bus: Arc<Bus>,
    runs: Mutex<HashMap<String, Run>>,
    active: watch::Sender<usize>,
    rows: OnceLock<Rows>,
}

/// How a run is shown.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// The session key as the client spelled it, for `chat` events of an abort.
    pub session_key: Option<String>,
    /// Whether tool results are shown in full.
    pub verbose: bool,
    /// Device and connection that started it, and may end it.
    pub owner: Option<(Option<String>, String)>,
}

#[derive(Debug, Default)]
struct Run {
    view: View,
    /// Connections that see tool events of this run.
    watchers: Vec<String>,
    started: bool,
    /// The reply so far.
    text: String,
    /// Length of `text` when it was last sent.
    sent: usize,
    sent_at: u64,
    seq: u64,
}

impl RunEvents {
    pub fn new(bus: Arc<Bus>) -> Self {
        let active = watch::Sender::new(0);
        Self { bus, runs: Mutex::default(), active, rows: OnceLock::new() }
    }

    /// From here on, what is told of a session shows its row.
    pub fn show_rows(&self, rows: Rows) {
        self.rows.get_or_init(|| rows);
    }

    /// A session's row, and its fields once more at the top level.
    fn row(&self, key: &SessionKey) -> Map<String, Value> {
        match self.rows.get().and_then(|rows| rows.snapshot(key)) {
            Some(Value::Object(row)) => row,
            _ => Map::new(),
        }
    }

    /// Notes how a run that is about to start is shown.
    pub fn present(&self, run_id: &str, view: View) {
        self.lock().entry(run_id.to_owned()).or_default().view = view;
    }

    /// Lets a connection see the tool events of a run.
    pub fn watch(&self, run_id: &str, conn_id: &str) {
        let mut runs = self.lock();
        let run = runs.entry(run_id.to_owned()).or_default();
        if !run.watchers.iter().any(|id| id == conn_id) {
            run.watchers.push(conn_id.to_owned());
        }
    }

    /// Notes who starts a run and under which spelling of the session key; a
    /// client that shows tool events sees this run's.
    pub fn started_by(&self, run_id: &str, caller: &Caller, typed_key: &str, verbose: bool) {
        let owner = (caller.device_id.clone(), caller.conn_id.clone());
        let session_key = (!typed_key.is_empty()).then(|| typed_key.to_owned());
        self.present(run_id, View { session_key, verbose, owner: Some(owner) });
        if caller.shows_tools() {
            self.watch(run_id, &caller.conn_id);
        }
    }

    /// Whether the caller's device or connection started a run.
    pub fn is_owner(&self, run_id: &str, caller: &Caller) -> bool {
        let runs = self.lock();
        let owner = runs.get(run_id).and_then(|run| run.view.owner.as_ref());
        owner.is_some_and(|(device, conn)| {
            *conn == caller.conn_id || (device.is_some() && *device == caller.device_id)
        })
    }

    /// Forgets a run that never started.
    pub fn forget(&self, run_id: &str) {
        self.end(run_id);
    }

    /// Forgets a connection that is gone.
    pub fn forget_connection(&self, conn_id: &str) {
        for run in self.lock().values_mut() {
            run.watchers.retain(|id| id != conn_id);
        }
    }

    /// Number of runs between their start and their end.
    pub fn active(&self) -> usize {
        *self.active.borrow()
    }

    /// Waits until no run is active.
    pub async fn idle(&self) {
        let mut active = self.active.subscribe();
        // The sender lives as long as `self`.
        let _closed = active.wait_for(|&count| count == 0).await.is_err();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Run>> {
        self.runs.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn end(&self, run_id: &str) -> Option<Run> {
        let run = self.lock().remove(run_id);
        if run.as_ref().is_some_and(|run| run.started) {
            self.active.send_modify(|count| *count = count.saturating_sub(1));
        }
        run
    }

    fn begin(&self, run_id: &str) {
        let mut runs = self.lock();
        let run = runs.entry(run_id.to_owned()).or_default();
        if !run.started {
            run.started = true;
            self.active.send_modify(|count| *count += 1);
        }
    }

    fn agent(&self, event: &RunEvent<'_>, stream: &str, data: &impl Serialize) {
        if self.bus.has_audience(Event::Agent) {
            self.bus.broadcast(Event::Agent, &AgentPayload::new(event, stream, data));
        }
    }

    fn assistant(&self, event: &RunEvent<'_>, text: &str, delta: &str) {
        self.agent(event, "assistant", &TextData { text, delta });
        let Some(session_key) = event.session_key else { return };
        let due = {
            let mut runs = self.lock();
            let run = runs.entry(event.run_id.to_owned()).or_default();
            if run.text.len() + delta.len() == text.len() {
                run.text.push_str(delta);
            } else {
                text.clone_into(&mut run.text);
            }
            run.seq = event.seq;
            let due = event.ts.saturating_sub(run.sent_at) >= CHAT_EVERY_MS;
            if due {
                run.sent_at = event.ts;
                run.sent = run.text.len();
            }
            due
        };
        if due {
            self.chat_delta(event.run_id, session_key.as_str(), event.seq, text, event.ts);
        }
    }

    /// Whether somebody hears of the chat in a session.
    fn has_chat_audience(&self, session_key: &str) -> bool {
        self.bus.has_audience(Event::Chat) || self.bus.is_on_a_node(session_key)
    }

    fn chat_delta(&self, run_id: &str, session_key: &str, seq: u64, text: &str, ts: u64) {
        if self.has_chat_audience(session_key) {
            let payload = ChatPayload {
                message: Some(ChatMessage::new(text, ts)),
                ..ChatPayload::new(run_id, session_key, seq, "delta")
            };
            self.bus.broadcast_droppable(Event::Chat, &payload);
            self.bus.send_to_nodes(session_key, Event::Chat, &payload);
        }
    }

    /// Sends what the throttle held back.
    fn flush(&self, event: &RunEvent<'_>) {
        let Some(session_key) = event.session_key else { return };
        let pending = {
            let mut runs = self.lock();
            let Some(run) = runs.get_mut(event.run_id) else { return };
            if run.sent == run.text.len() {
                return;
            }
            run.sent = run.text.len();
            run.sent_at = event.ts;
            (run.text.clone(), run.seq)
        };
        let (text, seq) = pending;
        self.chat_delta(event.run_id, session_key.as_str(), seq, &text, event.ts);
    }

    fn tool(&self, event: &RunEvent<'_>, data: &Value) {
        if data["phase"] == "start" {
            self.flush(event);
        }
        let (watchers, verbose) = {
            let runs = self.lock();
            let run = runs.get(event.run_id);
            run.map(|run| (run.watchers.clone(), run.view.verbose)).unwrap_or_default()
        };
        let followed = event.session_key.filter(|key| self.bus.has_followers(key.as_str()));
        if watchers.is_empty() && followed.is_none() {
            return;
        }
        let shown = if verbose { data.clone() } else { without_results(data) };
        let row = event.session_key.map(|key| self.row(key)).unwrap_or_default();
        let payload = WithRow { payload: AgentPayload::new(event, "tool", &shown), row };
        self.bus.send_to_each(&watchers, Event::Agent, &payload);
        if let Some(key) = followed {
            self.bus.send_to_followers(key.as_str(), Event::SessionTool, &payload);
        }
    }

    fn aside(&self, event: &RunEvent<'_>, question: &str, text: &str, is_error: bool) {
        let Some(session_key) = event.session_key else { return };
        let payload = json!({
            "kind": "btw", "runId": event.run_id, "sessionKey": session_key,
            "question": question, "text": text, "isError": is_error,
            "ts": event.ts, "seq": event.seq,
        });
        self.bus.broadcast(Event::ChatSideResult, &payload);
    }

    fn message(&self, event: &RunEvent<'_>, id: &str, seq: u64, message: &Value) {
        // What a tool said is shown as a tool event.
        if let Some(key) = event.session_key.filter(|_| message["role"] != "toolResult") {
            let place = json!({"id": id, "seq": seq});
            self.told(key, message, &place, event.ts);
        }
    }

    /// Shows followers a message of a session. One that is not in the
    /// transcript yet has a number but no id.
    pub fn told(&self, key: &SessionKey, message: &Value, place: &Value, ts: u64) {
        let follows = self.bus.has_followers(key.as_str());
        if !follows && !self.bus.has_subscribers() {
            return;
        }
        let mut rest = Map::new();
        if !place["id"].is_null() {
            rest.insert("messageId".to_owned(), place["id"].clone());
        }
        rest.insert("messageSeq".to_owned(), place["seq"].clone());
        rest.extend(self.row(key));
        if follows {
            let mut shown = message.clone();
            if let Some(entries) = shown.as_object_mut() {
                entries.insert("__openclaw".to_owned(), place.clone());
            }
            let mut payload = Map::new();
            payload.insert("sessionKey".to_owned(), json!(key));
            payload.insert("message".to_owned(), shown);
            payload.extend(rest.clone());
            self.bus.send_to_followers(key.as_str(), Event::SessionMessage, &payload);
        }
        let mut payload = Map::new();
        payload.insert("sessionKey".to_owned(), json!(key));
        payload.insert("phase".to_owned(), json!("message"));
        payload.insert("ts".to_owned(), json!(ts));
        payload.extend(rest);
        self.bus.send_to_subscribers(Event::SessionsChanged, &payload);
    }

    fn session_phase(&self, event: &RunEvent<'_>, phase: &str) {
        let Some(key) = event.session_key else { return };
        if self.bus.has_subscribers() {
            let payload = WithRow {
                payload: json!({
                    "sessionKey": key, "phase": phase, "runId": event.run_id, "ts": event.ts,
                }),
                row: self.row(key),
            };
            self.bus.send_to_subscribers(Event::SessionsChanged, &payload);
        }
    }

    fn close(&self, event: &RunEvent<'_>, outcome: &RunOutcome, end: End) {
        if end == End::Final {
            self.flush(event);
        }
        let mut data = Map::new();
        data.insert("phase".to_owned(), json!(if end == End::Error { "error" } else { "end" }));
        if end == End::Error {
            data.insert("error".to_owned(), json!(outcome.error));
        }
        if end == End::Aborted {
            data.insert("aborted".to_owned(), json!(true));
            data.insert("stopReason".to_owned(), json!(outcome.stop_reason));
        }
        data.insert("endedAt".to_owned(), json!(outcome.ended_at));
        if !outcome.injected {
            self.agent(event, "lifecycle", &data);
        }
        let run = self.end(event.run_id).unwrap_or_default();
        let Some(key) = event.session_key.map(SessionKey::as_str) else { return };
        if self.has_chat_audience(key) {
            let text = (!outcome.text.is_empty() && !is_silent(&outcome.text))
                .then(|| ChatMessage::new(&outcome.text, event.ts));
            let base = |key, state| ChatPayload::new(event.run_id, key, event.seq, state);
            let payload = match end {
                End::Final => ChatPayload { message: text, ..base(key, "final") },
                End::Error => ChatPayload {
                    error_message: Some(outcome.error.as_deref().unwrap_or("run failed")),
                    ..base(key, "error")
                },
                End::Aborted => ChatPayload {
                    message: text,
                    stop_reason: Some(outcome.stop_reason.as_deref().unwrap_or("rpc")),
                    // As the client spelled it: it compares.
                    ..base(run.view.session_key.as_deref().unwrap_or(key), "aborted")
                },
            };
            self.bus.broadcast(Event::Chat, &payload);
            self.bus.send_to_nodes(key, Event::Chat, &payload);
        }
        self.session_phase(event, if end == End::Error { "error" } else { "end" });
    }
}

impl EventSink for RunEvents {
    fn on_event(&self, event: RunEvent<'_>) {
        match event.body {
            RunBody::Start { started_at } => {
                self.begin(event.run_id);
                let data = json!({"phase": "start", "startedAt": started_at});
                self.agent(&event, "lifecycle", &data);
                self.session_phase(&event, "start");
            }
            RunBody::Assistant { text, delta } => self.assistant(&event, text, delta),
            RunBody::Thinking { text, delta } => {
                self.agent(&event, "thinking", &TextData { text, delta });
            }
            RunBody::Tool(data) => self.tool(&event, data),
            RunBody::Other { stream, data } => self.agent(&event, stream, data),
            RunBody::Aside { question, text, is_error } => {
                self.aside(&event, question, text, is_error);
            }
            RunBody::Message { id, seq, message } => self.message(&event, id, seq, message),
            RunBody::End { outcome } => self.close(&event, outcome, End::Final),
            RunBody::Error { outcome } => self.close(&event, outcome, End::Error),
            RunBody::Aborted { outcome } => self.close(&event, outcome, End::Aborted),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Final,
    Error,
    Aborted,
}

/// A reply by which the agent says that it says nothing.
fn is_silent(text: &str) -> bool {
    text.trim() == "NO_REPLY"
}

fn without_results(data: &Value) -> Value {
    let mut data = data.clone();
    if let Some(entries) = data.as_object_mut() {
        entries.shift_remove("result");
        entries.shift_remove("partialResult");
    }
    data
}

#[derive(Debug, Serialize)]
struct TextData<'a> {
    text: &'a str,
    delta: &'a str,
}

/// A payload and a session's row beside it.
#[derive(Debug, Serialize)]
struct WithRow<P> {
    #[serde(flatten)]
    payload: P,
    #[serde(flatten)]
    row: Map<String, Value>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AgentPayload<'a, D> {
    run_id: &'a str,
    stream: &'a str,
    data: &'a D,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_key: Option<&'a str>,
    seq: u64,
    ts: u64,
}

impl<'a, D> AgentPayload<'a, D> {
    fn new(event: &RunEvent<'a>, stream: &'a str, data: &'a D) -> Self {
        Self {
            run_id: event.run_id,
            stream,
            data,
            session_key: event.session_key.map(SessionKey::as_str),
            seq: event.seq,
            ts: event.ts,
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ChatPayload<'a> {
    run_id: &'a str,
    session_key: &'a str,
    seq: u64,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<ChatMessage<'a>>,
}

impl<'a> ChatPayload<'a> {
    fn new(run_id: &'a str, session_key: &'a str, seq: u64, state: &'static str) -> Self {
        Self {
            run_id,
            session_key,
            seq,
            state,
            stop_reason: None,
            error_message: None,
            message: None,
        }
    }
}

#[derive(Debug, Serialize)]
struct ChatMessage<'a> {
    role: &'static str,
    content: [ChatText<'a>; 1],
    timestamp: u64,
}

#[derive(Debug, Serialize)]
struct ChatText<'a> {
    r#type: &'static str,
    text: &'a str,
}

impl<'a> ChatMessage<'a> {
    fn new(text: &'a str, timestamp: u64) -> Self {
        Self { role: "assistant", content: [ChatText { r#type: "text", text }], timestamp }
    }
}
