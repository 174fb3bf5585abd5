//! `POST /api/v1/admin/rpc`: chosen methods of the control plane for programs
//! that cannot hold a WebSocket.
//!
//! Off until `plugins.entries.admin-http-rpc` enables it. Calls pass the same
//! checks of scopes and parameters as those of a socket.

use std::sync::Arc;

use axum::body::Body;
use hyper::header::{ALLOW, CACHE_CONTROL, HeaderValue};
use hyper::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};

use crate::base::id;
use crate::gateway::State;
use crate::gateway::http::body;
use crate::gateway::http::caller::Caller;
use crate::gateway::http::reply::{self, Answer};
use crate::gateway::rpc::internal;
use crate::protocol::error::{ErrorCode, ErrorShape};

const MAX_BODY: usize = 1024 * 1024;

/// Methods that can be called here. Part of the contract of release 2026.9.6;
/// those that this gateway lacks answer as they do on a socket.
const METHODS: &[&str] = &[
    "health",
    "status",
    "logs.tail",
    "usage.status",
    "usage.cost",
    "gateway.restart.request",
    "gateway.suspend.prepare",
    "gateway.suspend.status",
    "gateway.suspend.resume",
    "commands.list",
    "config.get",
    "config.schema",
    "config.schema.lookup",
    "config.set",
    "config.patch",
    "config.apply",
    "channels.status",
    "channels.start",
    "channels.stop",
    "channels.logout",
    "web.login.start",
    "web.login.wait",
    "models.list",
    "models.authStatus",
    "agents.list",
    "agents.create",
    "agents.update",
    "agents.delete",
    "exec.approvals.get",
    "exec.approvals.set",
    "exec.approvals.node.get",
    "exec.approvals.node.set",
    "cron.status",
    "cron.list",
    "cron.get",
    "cron.runs",
    "cron.add",
    "cron.update",
    "cron.remove",
    "cron.run",
    "device.pair.list",
    "device.pair.approve",
    "device.pair.reject",
    "device.pair.remove",
    "node.list",
    "node.describe",
    "node.pair.list",
    "node.pair.approve",
    "node.pair.reject",
    "node.pair.remove",
    "node.rename",
    "tasks.list",
    "tasks.get",
    "tasks.cancel",
    "doctor.memory.status",
    "update.status",
];

/// The refusal of anything but POST.
pub fn wrong_method(method: &Method) -> Option<Answer> {
    (method != Method::POST).then(|| {
        let mut answer =
            refused(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Method Not Allowed");
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        answer
    })
}

/// Answers a request whose caller has been authenticated.
pub async fn answer(
    state: &Arc<State>,
    caller: &Caller,
    headers: &HeaderMap,
    body: Body,
) -> Result<Answer, Answer> {
    let bad = |message: &str| refused(StatusCode::BAD_REQUEST, "invalid_request", message);
    let bytes = body::read(headers, body, MAX_BODY).await.map_err(|answer| {
        let status = answer.status();
        let message = match status {
            StatusCode::PAYLOAD_TOO_LARGE => "payload too large",
            StatusCode::REQUEST_TIMEOUT => "request body timeout",
            _ => "request body is incomplete",
        };
        reply::closing(refused(status, "invalid_request", message))
    })?;
    if bytes.trim_ascii().is_empty() {
        return Err(bad("request body must be JSON"));
    }
    let request: Value =
        serde_json::from_slice(&bytes).map_err(|_| bad("request body must be valid JSON"))?;
    let Value::Object(mut request) = request else {
        return Err(bad("request body must be an object"));
    };
    let text = |key: &str| {
        let text = request.get(key).and_then(Value::as_str).map(str::trim).unwrap_or_default();
        (!text.is_empty()).then(|| text.to_owned())
    };
    let method = text("method").ok_or_else(|| bad("method must be a non-empty string"))?;
    let id = text("id").unwrap_or_else(id::uuid);
    let params = request.remove("params");
    if !METHODS.contains(&method.as_str()) {
        let message = format!("admin HTTP RPC method is not supported: {method}");
        return Err(failed(&id, &ErrorShape::invalid(message)));
    }
    if method == "commands.list" {
        return Ok(succeeded(&id, &json!({"methods": METHODS})));
    }
    let now = state.clock.now_ms();
    let caller = internal::caller("gateway-client", "backend", caller.scopes(), now);
    match internal::call(state, Arc::new(caller), &method, params).await {
        Ok(payload) => Ok(succeeded(&id, &payload)),
        Err(error) => Err(failed(&id, &error)),
    }
}

fn succeeded(id: &str, payload: &Value) -> Answer {
    let body = json!({"id": id, "ok": true, "payload": payload});
    not_stored(reply::json(StatusCode::OK, &body))
}

fn failed(id: &str, error: &ErrorShape) -> Answer {
    let body = json!({"id": id, "ok": false, "error": error});
    not_stored(reply::json(status_of(error.code), &body))
}

fn status_of(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::InvalidRequest => StatusCode::BAD_REQUEST,
        ErrorCode::NotLinked | ErrorCode::NotPaired => StatusCode::CONFLICT,
        ErrorCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::AgentTimeout => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn refused(status: StatusCode, kind: &str, message: &str) -> Answer {
    not_stored(reply::gateway_error(status, kind, message))
}

fn not_stored(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
