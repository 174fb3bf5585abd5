//! Plays the client's side of a recorded conversation to a gateway and keeps
//! what it answers beside what was recorded.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::capture::{Capture, Step};
use super::compare::{Difference, Kind, Names, compare};
use crate::support::client::{Device, Proof, TestClient};
use crate::support::gateway::TestGateway;
use openclaw::supervise::signals::Request;

/// How long an event may take that follows from what was said.
const EVENT: Duration = Duration::from_secs(5);

/// The day of the recording.
const RECORDED_ON: &str = "2026-11-22";

/// Events that come when they come.
const AMBIENT: &[&str] = &["tick", "health", "presence"];

/// A difference, with the conversation and the frame that it is in.
#[derive(Debug)]
pub struct Finding {
    pub capture: String,
    /// The method of a response, `event:NAME` or `close`.
    pub frame: String,
    pub difference: Difference,
}

/// What one gateway's conversations share.
#[derive(Default)]
pub struct Player {
    devices: HashMap<String, Device>,
    names: Names,
    /// Our configuration as `config.get` last showed it.
    config: Value,
    pub findings: Vec<Finding>,
}

/// One socket.
struct Peer {
    client: TestClient,
    /// Every frame that arrived, responses and events.
    heard: Vec<Value>,
    closed: Option<(u16, String)>,
    /// Methods by request id.
    asked: HashMap<String, String>,
    /// Responses that the recording has had so far, by id.
    answers: HashMap<String, usize>,
    recorded_events: Vec<Value>,
    /// Names of events that stayed out once: waiting again would take long.
    silent: HashSet<String>,
    /// What our events were about that stood for recorded ones.
    topics: HashSet<String>,
}

impl Peer {
    /// Reads until `enough` finds what it looks for, or not in time.
    async fn read_until<T>(
        &mut self,
        limit: Duration,
        enough: impl Fn(&[Value]) -> Option<T>,
    ) -> Option<T> {
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            if let Some(found) = enough(&self.heard) {
                return Some(found);
            }
            if self.closed.is_some() {
                return None;
            }
            match tokio::time::timeout_at(deadline, self.client.frame()).await {
                Ok(Ok(frame)) => self.heard.push(frame),
                Ok(Err(closed)) => self.closed = Some(closed),
                Err(_) => return None,
            }
        }
    }
}

fn nth(heard: &[Value], wanted: impl Fn(&Value) -> bool, n: usize) -> Option<&Value> {
    heard.iter().filter(|frame| wanted(frame)).nth(n)
}

/// Whether the number or the moment of this event depends on how fast things
/// go: refreshes, output of a tool so far, all but the first and the last
/// piece of an answer.
fn is_incidental(event: &Value) -> bool {
    let name = event["event"].as_str().unwrap_or_default();
    AMBIENT.contains(&name) || event.pointer("/payload/data/phase") == Some(&json!("update"))
}

impl Player {
    /// Plays a conversation from beginning to end.
    pub async fn play(&mut self, gateway: &TestGateway, capture: &Capture) {
        let mut peers: BTreeMap<u64, Peer> = BTreeMap::new();
        for line in &capture.lines {
            let conn = line.conn;
            if let Step::Open(headers) = &line.step {
                let headers: Vec<(String, String)> = headers
                    .iter()
                    .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
                    .collect();
                let client = TestClient::open_with(gateway.port, &headers).await;
                let peer = Peer {
                    client,
                    heard: Vec::new(),
                    closed: None,
                    asked: HashMap::new(),
                    answers: HashMap::new(),
                    recorded_events: Vec::new(),
                    silent: HashSet::new(),
                    topics: HashSet::new(),
                };
                peers.insert(conn, peer);
                continue;
            }
            let Some(peer) = peers.get_mut(&conn) else { continue };
            match &line.step {
                Step::Open(_) => {}
                Step::Stop => gateway.request(Request::Stop("SIGTERM")).await,
                Step::Say(frame) => {
                    let frame = self.ours(frame, peer);
                    peer.client.send(&frame).await;
                }
                Step::Raw(text) => peer.client.send_raw(Message::text(text.clone())).await,
                Step::Bytes(count) => {
                    let text = json!({"type": "req", "id": "big", "method": "health",
                        "params": {"p": "x".repeat(*count)}});
                    peer.client.send(&text).await;
                }
                Step::Hear(frame) => self.hear(&capture.name, frame, peer).await,
                Step::Closed(code, reason) => {
                    peer.read_until(EVENT, |_| None::<()>).await;
                    let theirs = json!({"code": code, "reason": reason});
                    let ours = match &peer.closed {
                        Some((code, reason)) => json!({"code": code, "reason": reason}),
                        None => Value::Null,
                    };
                    self.note(&capture.name, "close", &theirs, &ours);
                }
                Step::Left => {
                    if let Some(peer) = peers.remove(&conn) {
                        self.settle(&capture.name, peer).await;
                    }
                }
            }
        }
        for (_, peer) in peers {
            self.settle(&capture.name, peer).await;
        }
    }

    /// A recorded frame as this client says it: with our ids and a fresh proof.
    fn ours(&mut self, frame: &Value, peer: &mut Peer) -> Value {
        if let (Some(id), Some(method)) = (frame["id"].as_str(), frame["method"].as_str()) {
            peer.asked.insert(id.to_owned(), method.to_owned());
        }
        let spec = frame.pointer("/params/device").cloned();
        if let Some(key) = frame.pointer("/params/idempotencyKey").and_then(Value::as_str) {
            // Given by the client: it is the same on both sides.
            self.names.learn(key, key);
        }
        let mut frame = self.names.translate_value(frame);
        let raw = frame.pointer_mut("/params/raw");
        if let Some(raw) = raw.filter(|raw| raw.as_str().is_some_and(|raw| raw.contains('…'))) {
            // Recorded without its end: the client sent back what it had read.
            *raw = json!(self.config.to_string());
        }
        for name in ["startDate", "endDate"] {
            if let Some(Value::String(date)) = frame.pointer_mut(&format!("/params/{name}")) {
                *date = since_recording(date);
            }
        }
        if let Some(spec) = spec.filter(|spec| spec["key"].is_string()) {
            let text = |name: &str| spec[name].as_str().unwrap_or_default();
            let device = self.devices.entry(text("key").to_owned()).or_insert_with(Device::new);
            self.names.learn(text("ownId"), &device.id());
            self.names.learn(text("publicKey"), &device.public_key());
            let proof = Proof {
                version: if text("proof") == "v2" { 2 } else { 3 },
                skew_ms: spec["offset"].as_i64().unwrap_or(0),
            };
            let params = &mut frame["params"];
            device.sign(params, &peer.client.nonce.clone(), proof);
            if text("proof") == "bad" {
                params["device"]["signature"] = json!("A".repeat(86));
            }
            for name in ["id", "nonce"] {
                if spec[name].is_string() {
                    params["device"][name] = spec[name].clone();
                }
            }
        }
        frame
    }

    /// Waits for what answers to a recorded frame.
    async fn hear(&mut self, capture: &str, recorded: &Value, peer: &mut Peer) {
        if recorded["type"] == "res" {
            let id = recorded["id"].as_str().unwrap().to_owned();
            let count = peer.answers.entry(id.clone()).or_default();
            let n = *count;
            *count += 1;
            let is_answer = |frame: &Value| frame["type"] == "res" && frame["id"] == id.as_str();
            let ours = peer.read_until(EVENT, |heard| nth(heard, is_answer, n).cloned()).await;
            let method = peer.asked.get(&id).map_or("?", String::as_str).to_owned();
            let ours = ours.unwrap_or(Value::Null);
            if method == "config.get" {
                self.config = ours["payload"]["parsed"].clone();
            }
            self.note(capture, &method, recorded, &ours);
            return;
        }
        if is_incidental(recorded) {
            return;
        }
        let name = recorded["event"].as_str().unwrap().to_owned();
        let topic = about(recorded);
        let same = |event: &&Value| event["event"] == name.as_str() && about(event) == topic;
        let n = peer.recorded_events.iter().filter(same).count();
        peer.recorded_events.push(recorded.clone());
        if peer.silent.contains(&name) {
            return;
        }
        // How many events there are of one thing may differ; those of another
        // thing are never taken for them.
        let known = self.names.knows(&topic);
        let (ours, others) = (self.names.translate(&topic), peer.topics.clone());
        let is_this = |frame: &Value| {
            let fits = |topic: String| if known { topic == ours } else { !others.contains(&topic) };
            frame["event"] == name.as_str() && !is_incidental(frame) && fits(about(frame))
        };
        match peer.read_until(EVENT, |heard| nth(heard, is_this, n).cloned()).await {
            // What an event names may be asked for next.
            Some(ours) => {
                peer.topics.insert(about(&ours));
                drop(compare(&recorded["payload"], &ours["payload"], &mut self.names));
            }
            None => drop(peer.silent.insert(name)),
        }
    }

    /// Compares the events of a socket that is done with.
    async fn settle(&mut self, capture: &str, mut peer: Peer) {
        if peer.closed.is_none() && !peer.asked.is_empty() {
            // Whatever was on its way is here before the answer to this.
            let last = json!({"type": "req", "id": "replay-end", "method": "health"});
            peer.client.send(&last).await;
            let is_end = |frame: &Value| frame["id"] == "replay-end";
            peer.read_until(EVENT, |heard| nth(heard, is_end, 0).map(drop)).await;
        }
        let recorded = lanes(&peer.recorded_events, |text| self.names.translate(text));
        let heard: Vec<Value> =
            peer.heard.iter().filter(|frame| frame["type"] == "event").cloned().collect();
        let mut ours = lanes(&heard, str::to_owned);
        for (lane, theirs) in recorded {
            let mine = ours.remove(&lane).unwrap_or_default();
            let label = format!("event:{}", lane.0);
            for (n, theirs) in theirs.iter().enumerate() {
                self.note(capture, &label, theirs, mine.get(n).unwrap_or(&Value::Null));
            }
            for extra in mine.iter().skip(theirs.len()) {
                self.note(capture, &label, &Value::Null, extra);
            }
        }
        for ((name, _), extra) in ours {
            if let Some(extra) = extra.first() {
                self.note(capture, &format!("event:{name}"), &Value::Null, extra);
            }
        }
    }

    fn note(&mut self, capture: &str, frame: &str, recorded: &Value, ours: &Value) {
        let finding = |difference| Finding {
            capture: capture.to_owned(),
            frame: frame.to_owned(),
            difference,
        };
        let whole = |kind| Difference {
            kind,
            pointer: "/".to_owned(),
            recorded: recorded.clone(),
            ours: ours.clone(),
        };
        match (recorded, ours) {
            (Value::Null, _) => self.findings.push(finding(whole(Kind::Extra))),
            (_, Value::Null) => self.findings.push(finding(whole(Kind::Missing))),
            _ => {
                let differences = compare(&plainly(recorded), &plainly(ours), &mut self.names);
                self.findings.extend(differences.into_iter().map(finding));
            }
        }
    }
}

/// A frame without the numbers that count other frames; whether it has them
/// stays visible.
fn plainly(frame: &Value) -> Value {
    let mut frame = frame.clone();
    if frame["type"] == "event" {
        for name in ["seq", "stateVersion"] {
            if let Some(value) = frame.get_mut(name) {
                *value = json!("present");
            }
        }
    }
    frame
}

/// A day of the recording, as far from today as it was from then.
fn since_recording(date: &str) -> String {
    let recorded: jiff::civil::Date = RECORDED_ON.parse().unwrap();
    let today = jiff::Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC).date();
    let date: jiff::civil::Date = date.parse().unwrap();
    (today + (date - recorded)).to_string()
}

/// An event's name and what it is about: the order within one of these counts.
type Lane = (String, String);

/// What an event is about: a run, a job, a session.
fn about(event: &Value) -> String {
    let payload = &event["payload"];
    if event["event"] == "sessions.changed" {
        // The same change is told by reason or by phase, each in its own order.
        let key = payload["sessionKey"].as_str().unwrap_or_default();
        return format!("{key} {}{}", payload["phase"], payload["reason"]);
    }
    ["runId", "jobId", "sessionKey", "requestId", "id"]
        .iter()
        .find_map(|name| payload[name].as_str())
        .unwrap_or_default()
        .to_owned()
}

fn lanes(events: &[Value], translate: impl Fn(&str) -> String) -> BTreeMap<Lane, Vec<Value>> {
    let mut lanes: BTreeMap<Lane, Vec<Value>> = BTreeMap::new();
    for event in events.iter().filter(|event| !is_incidental(event)) {
        let name = event["event"].as_str().unwrap().to_owned();
        let about = about(event);
        lanes.entry((name, translate(&about))).or_default().push(event.clone());
    }
    for ((name, _), events) in &mut lanes {
        if name == "chat" {
            keep_ends_of_deltas(events);
        }
    }
    lanes
}

/// How many deltas there are between the first and the last depends on time.
fn keep_ends_of_deltas(events: &mut Vec<Value>) {
    let is_delta = |event: &Value| event["payload"]["state"] == "delta";
    let count = events.iter().filter(|event| is_delta(event)).count();
    let mut seen = 0;
    events.retain(|event| {
        if !is_delta(event) {
            return true;
        }
        seen += 1;
        seen == 1 || seen == count
    });
}
