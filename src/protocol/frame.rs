//! The three frames: requests come in, responses and events go out.
//!
//! Official clients drop an outgoing frame with an unknown or a null key at
//! the top level, so absent keys are left out.

use serde::Serialize;
use serde_json::Value;

use crate::base::json;
use crate::protocol::error::ErrorShape;
use crate::protocol::shape::{self, STR1, Shape};

/// Largest message after authentication, in bytes. Part of the wire contract.
pub const MAX_PAYLOAD: usize = 26_214_400;
/// Largest message before authentication, in bytes. Part of the wire contract.
pub const MAX_PREAUTH_PAYLOAD: usize = 65_536;
/// Queued bytes above which a peer counts as slow. Part of the wire contract.
pub const MAX_BUFFERED: usize = 52_428_800;
/// Milliseconds between two `tick` events. Part of the wire contract.
pub const TICK_INTERVAL_MS: u64 = 30_000;

/// Close codes the gateway sends.
pub mod close {
    pub const NORMAL: u16 = 1000;
    pub const PROTOCOL: u16 = 1002;
    pub const POLICY: u16 = 1008;
    pub const TOO_BIG: u16 = 1009;
    pub const INTERNAL: u16 = 1011;
    pub const RESTART: u16 = 1012;
    pub const DEVICE_REMOVED: u16 = 4001;
}

const REQUEST: Shape = Shape::Object(&[
    shape::need("type", Shape::Const("req")),
    shape::need("id", STR1),
    shape::need("method", STR1),
    shape::may("params", Shape::Any),
]);

/// Clients of protocol 4 may add tracing and profile keys.
const REQUEST_V4: Shape = Shape::Open(&[
    shape::need("type", Shape::Const("req")),
    shape::need("id", STR1),
    shape::need("method", STR1),
]);

/// A well-formed request frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    pub id: String,
    pub method: String,
    /// `{}` when the client sent none.
    pub params: Value,
}

/// Why a message is no request frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("not JSON: {0}")]
    NotJson(String),
    #[error("invalid request frame: {problems}")]
    Malformed {
        /// The frame's id, if it had a usable one.
        id: Option<String>,
        problems: String,
    },
}

/// Whether keys beyond the protocol-3 set are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    Closed,
    Open,
}

impl Request {
    /// Parses one message.
    pub fn parse(text: &str, strictness: Strictness) -> Result<Self, FrameError> {
        let repaired = json::without_lone_surrogates(text);
        let mut value: Value = serde_json::from_str(repaired.as_deref().unwrap_or(text))
            .map_err(|err| FrameError::NotJson(err.to_string()))?;
        let shape = match strictness {
            Strictness::Closed => REQUEST,
            Strictness::Open => REQUEST_V4,
        };
        if let Some(problems) = shape.check(&value) {
            let id = value.get("id").and_then(Value::as_str).filter(|id| !id.is_empty());
            return Err(FrameError::Malformed { id: id.map(str::to_owned), problems });
        }
        let mut take = |key: &str| value.get_mut(key).map(Value::take);
        let mut text = |key: &str| match take(key) {
            Some(Value::String(text)) => text,
            _ => String::new(),
        };
        let (id, method) = (text("id"), text("method"));
        let mut params = match take("params") {
            None | Some(Value::Null) => Value::Object(serde_json::Map::new()),
            Some(params) => params,
        };
        json::make_whole_numbers_integers(&mut params);
        Ok(Self { id, method, params })
    }
}

#[derive(Serialize)]
struct Response<'a> {
    r#type: &'static str,
    id: &'a str,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a ErrorShape>,
}

/// The text of a response to request `id`.
pub fn response(id: &str, reply: &Result<Value, ErrorShape>) -> String {
    let frame = match reply {
        Ok(payload) => {
            Response { r#type: "res", id, ok: true, payload: Some(payload), error: None }
        }
        Err(error) => Response {
            r#type: "res",
            id,
            ok: false,
            payload: error.payload.as_deref(),
            error: Some(error),
        },
    };
    encode(&frame)
}

/// Both counters of an event that changes the shared state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct StateVersion {
    pub presence: u64,
    pub health: u64,
}

/// An event, encoded once for all receivers. Only `seq` differs between them,
/// so it is spliced in between the two halves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventText {
    pub head: String,
    /// Includes the closing brace.
    pub tail: String,
}

impl EventText {
    pub fn new(name: &str, payload: &impl Serialize, version: Option<StateVersion>) -> Self {
        let head =
            format!(r#"{{"type":"event","event":{},"payload":{}"#, encode(&name), encode(payload));
        let tail = match version {
            Some(version) => format!(r#","stateVersion":{}}}"#, encode(&version)),
            None => "}".to_owned(),
        };
        Self { head, tail }
    }

    /// The whole text, for a receiver at sequence number `seq`.
    pub fn with_seq(&self, seq: Option<u64>) -> String {
        match seq {
            Some(seq) => format!("{}{}{}", self.head, splice(seq), self.tail),
            None => format!("{}{}", self.head, self.tail),
        }
    }
}

/// What goes between the halves of an [`EventText`].
pub fn splice(seq: u64) -> String {
    format!(r#","seq":{seq}"#)
}

/// Cuts a close reason to what fits a close frame, on a character boundary.
pub fn close_reason(text: &str) -> &str {
    /// One hundred and twenty bytes, as the recorded gateway does.
    const MAX: usize = 120;
    let mut end = text.len().min(MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn encode(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("wire types have string keys and finite numbers")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn refused(text: &str) -> String {
        Request::parse(text, Strictness::Closed).unwrap_err().to_string()
    }

    #[test]
    fn malformed_frames_are_described_in_the_recorded_words() {
        assert_eq!(
            refused(r#"{"type":"req","id":"e1","method":"health","bogus":1}"#),
            "invalid request frame: at root: unexpected property 'bogus'"
        );
        assert_eq!(
            refused(r#"{"type":"req","method":"health"}"#),
            "invalid request frame: must have required property 'id'"
        );
        assert_eq!(
            refused(r#"{"type":"event","event":"x"}"#),
            "invalid request frame: must have required property 'id'; \
             must have required property 'method'; at root: unexpected property 'event'; \
             at /type: must be equal to constant"
        );
        assert!(refused("{nope").starts_with("not JSON"));
    }

    #[test]
    fn a_request_without_params_has_empty_ones() {
        let text = r#"{"type":"req","id":"1","method":"health"}"#;
        let request = Request::parse(text, Strictness::Closed).unwrap();
        assert_eq!(request.params, json!({}));
    }

    #[test]
    fn protocol_four_adds_keys() {
        let text =
            r#"{"type":"req","id":"1","method":"m","traceparent":"00-1","params":{"n":3.0}}"#;
        assert!(Request::parse(text, Strictness::Closed).is_err());
        let request = Request::parse(text, Strictness::Open).unwrap();
        assert_eq!(request.params["n"].as_u64(), Some(3));
    }

    #[test]
    fn absent_keys_stay_absent() {
        assert_eq!(
            response("a", &Ok(Value::Null)),
            r#"{"type":"res","id":"a","ok":true,"payload":null}"#
        );
        assert_eq!(
            response("a", &Err(ErrorShape::invalid("no"))),
            r#"{"type":"res","id":"a","ok":false,"error":{"code":"INVALID_REQUEST","message":"no"}}"#
        );
        let event = EventText::new("tick", &json!({"ts": 1}), None);
        assert_eq!(
            event.with_seq(Some(7)),
            r#"{"type":"event","event":"tick","payload":{"ts":1},"seq":7}"#
        );
        assert_eq!(event.with_seq(None), r#"{"type":"event","event":"tick","payload":{"ts":1}}"#);
    }

    #[test]
    fn a_close_reason_is_cut_between_characters() {
        let reason = "ä".repeat(100);
        assert_eq!(close_reason(&reason).len(), 120);
        assert_eq!(close_reason("short"), "short");
        assert_eq!(close_reason(&format!("x{reason}")).len(), 119);
    }
}
