//! Answers: the shapes of success and of every kind of failure.
//!
//! Three error envelopes are part of the contract: OpenAI's on `/v1` and for
//! authentication everywhere, the gateway's for scopes, tools and sessions,
//! and plain text for paths and methods.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

/// What every handler returns.
pub type Answer = Response<Body>;

/// `type` of an OpenAI error the caller can mend.
pub const INVALID: &str = "invalid_request_error";
/// `type` of an OpenAI error the caller cannot mend.
pub const API_ERROR: &str = "api_error";

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Any body with its content type.
pub fn with_type(status: StatusCode, kind: HeaderValue, body: impl Into<Body>) -> Answer {
    let mut answer = Response::new(body.into());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

/// JSON that was rendered before.
pub fn rendered(status: StatusCode, body: Bytes) -> Answer {
    with_type(status, JSON, body)
}

pub fn json(status: StatusCode, body: &Value) -> Answer {
    with_type(status, JSON, body.to_string())
}

pub fn text(status: StatusCode, body: impl Into<Body>) -> Answer {
    with_type(status, TEXT, body)
}

/// `{"error":{"message","type"}}`.
pub fn openai_error(status: StatusCode, message: &str, kind: &str) -> Answer {
    json(status, &json!({"error": {"message": message, "type": kind}}))
}

/// A 400 in OpenAI's envelope.
pub fn invalid(message: &str) -> Answer {
    openai_error(StatusCode::BAD_REQUEST, message, INVALID)
}

/// `{"ok":false,"error":{"type","message"}}`.
pub fn gateway_error(status: StatusCode, kind: &str, message: &str) -> Answer {
    json(status, &json!({"ok": false, "error": {"type": kind, "message": message}}))
}

pub fn not_found() -> Answer {
    text(StatusCode::NOT_FOUND, "Not Found")
}

/// For paths below `/v1` that do not exist.
pub fn no_such_api() -> Answer {
    openai_error(StatusCode::NOT_FOUND, "Not Found", "not_found")
}

pub fn method_not_allowed(allow: &'static str) -> Answer {
    let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    answer
}

pub fn unauthorized() -> Answer {
    openai_error(StatusCode::UNAUTHORIZED, "Unauthorized", "unauthorized")
}

/// Too many wrong secrets; says when to come back.
pub fn locked_out(left: Duration) -> Answer {
    let whole_seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
    let mut answer = openai_error(
        StatusCode::TOO_MANY_REQUESTS,
        "Too many failed authentication attempts. Please try again later.",
        "rate_limited",
    );
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(whole_seconds));
    answer
}

pub fn missing_scope(scope: &str) -> Answer {
    gateway_error(StatusCode::FORBIDDEN, "forbidden", &format!("missing scope: {scope}"))
}

pub fn internal_error() -> Answer {
    openai_error(StatusCode::INTERNAL_SERVER_ERROR, "internal error", API_ERROR)
}

/// The connection ends after this answer.
#[must_use]
pub fn closing(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// The head of a stream of server-sent events.
pub fn event_stream(body: Body) -> Answer {
    let kind = HeaderValue::from_static("text/event-stream; charset=utf-8");
    let mut answer = with_type(StatusCode::OK, kind, body);
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    answer
}
