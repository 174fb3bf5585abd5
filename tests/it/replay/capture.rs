//! Recorded conversations of the Node gateway with its clients, as they stand
//! in `tests/fixtures/ws`.
//!
//! Left out of the recordings: ticks, refreshes of health and presence (they
//! come when they come), and the rows that an event repeats at its top level
//! (`…flat` names them). A text that ends in `…`, `…[n more]` at the end of a
//! list and a member named `…` stand for what was cut.

use serde_json::{Map, Value};

/// One conversation, over one or several sockets.
#[derive(Debug)]
pub struct Capture {
    pub name: String,
    pub lines: Vec<Line>,
}

/// One step of a conversation.
#[derive(Debug)]
pub struct Line {
    pub conn: u64,
    pub step: Step,
}

#[derive(Debug)]
pub enum Step {
    /// The client opens a socket with these headers.
    Open(Map<String, Value>),
    /// The client sends a frame.
    Say(Value),
    /// The client sends a text that is no frame.
    Raw(String),
    /// The client sends a frame of so many bytes.
    Bytes(usize),
    /// The gateway sends a frame.
    Hear(Value),
    /// The gateway closes.
    Closed(u16, String),
    /// The client closes.
    Left,
    /// The gateway is asked to stop, as by a signal.
    Stop,
}

/// Reads a file of conversations.
pub fn read(text: &str) -> Vec<Capture> {
    let mut captures: Vec<Capture> = Vec::new();
    for line in text.lines() {
        let mut line: Map<String, Value> = serde_json::from_str(line).unwrap();
        if let Some(name) = line.get("capture") {
            let name = name.as_str().unwrap().to_owned();
            captures.push(Capture { name, lines: Vec::new() });
            continue;
        }
        let conn = line["conn"].as_u64().unwrap();
        let (key, value) = line.iter_mut().find(|(key, _)| *key != "conn").unwrap();
        let step = match (key.as_str(), value.take()) {
            ("open", Value::Object(headers)) => Step::Open(headers),
            ("say", frame) => Step::Say(frame),
            ("hear", frame) => Step::Hear(unfold(frame)),
            ("raw", Value::String(text)) => Step::Raw(text),
            ("bytes", count) => Step::Bytes(usize::try_from(count.as_u64().unwrap()).unwrap()),
            ("closed", close) => closed(&close),
            ("left", _) => Step::Left,
            ("stop", _) => Step::Stop,
            (other, _) => panic!("no step is called {other}"),
        };
        captures.last_mut().expect("a name comes first").lines.push(Line { conn, step });
    }
    captures
}

/// The answering half of a close that the client began says nothing.
fn closed(close: &Value) -> Step {
    match u16::try_from(close[0].as_u64().unwrap()).unwrap() {
        1005 => Step::Left,
        code => Step::Closed(code, close[1].as_str().unwrap().to_owned()),
    }
}

/// Puts the repeated members of a row back where they were.
fn unfold(mut frame: Value) -> Value {
    let Some(payload) = frame.get_mut("payload").and_then(Value::as_object_mut) else {
        return frame;
    };
    if let Some(Value::Array(names)) = payload.shift_remove("…flat") {
        for name in names.iter().filter_map(Value::as_str) {
            let value = payload["session"][name].clone();
            payload.insert(name.to_owned(), value);
        }
    }
    frame
}
