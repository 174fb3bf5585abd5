//! `/healthz` says that the process lives, `/readyz` that it serves.

use std::net::SocketAddr;

use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, HeaderValue};
use hyper::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};

use crate::gateway::State;
use crate::gateway::http::caller;
use crate::gateway::http::prepared::Prepared;
use crate::gateway::http::reply::{self, Answer};
use crate::gateway::state::Phase;

/// Whether a path is asked by monitors rather than by people and programs.
pub fn is_probe(path: &str) -> bool {
    matches!(path, "/health" | "/healthz" | "/ready" | "/readyz")
}

/// `/health` and `/healthz`.
pub fn live(method: &Method) -> Answer {
    if let Some(refusal) = wrong_method(method) {
        return refusal;
    }
    let body = Bytes::from_static(br#"{"ok":true,"status":"live"}"#);
    not_stored(reply::rendered(StatusCode::OK, body))
}

/// `/ready` and `/readyz`; details only for callers on this host and for those
/// with good credentials.
///
/// A channel that is down is named and nothing more: a service manager or load
/// balancer that took the gateway away because of it would take the other
/// channels and every client along.
pub fn ready(
    state: &State,
    prepared: &Prepared,
    remote: SocketAddr,
    method: &Method,
    headers: &HeaderMap,
) -> Answer {
    if let Some(refusal) = wrong_method(method) {
        return refusal;
    }
    let phase = state.phase();
    let is_ready = phase == Phase::Ready;
    let mut body = json!({"ready": is_ready});
    let detailed =
        caller::is_local(remote, headers) || caller::is_known(state, prepared, remote, headers);
    if detailed {
        let failing = match phase {
            Phase::Ready => state.channels.failing(),
            Phase::Starting => vec!["startup"],
            Phase::Draining | Phase::Stopped => vec!["draining"],
        };
        body["failing"] = failing.into_iter().map(Value::from).collect();
        body["uptimeMs"] = json!(state.uptime_ms());
    }
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    not_stored(reply::json(status, &body))
}

fn wrong_method(method: &Method) -> Option<Answer> {
    let fits = method == Method::GET || method == Method::HEAD;
    (!fits).then(|| reply::method_not_allowed("GET, HEAD"))
}

fn not_stored(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
