//! Webhooks: other programs wake the gateway or give an agent a task.
//!
//! They have a token and a throttle of their own. What a hook says is foreign
//! text and reaches the model marked as such.

pub mod dispatch;
pub mod settings;
pub mod template;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use hyper::header::{HeaderValue, RETRY_AFTER};
use hyper::{HeaderMap, Method, StatusCode};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::config::schema::gateway::RateLimit;
use crate::gateway::State;
use crate::gateway::auth::limiter::{Guess, Limiter};
use crate::gateway::http::body;
use crate::gateway::http::caller;
use crate::gateway::http::reply::{self, Answer};
use crate::gateway::http::target::header;

use dispatch::{AgentTask, Work};

pub use settings::Settings;

/// How often a wrong token is borne with, per address and minute.
const THROTTLE: RateLimit =
    RateLimit { max_attempts: 20, window_ms: 60_000, lockout_ms: 60_000, exempt_loopback: false };
const REPEAT_TTL_MS: u64 = 5 * 60 * 1000;
const MOST_REPEATS: usize = 1000;
const QUERY_TOKEN: &str = "Hook token must be provided via Authorization: Bearer <token> or X-OpenClaw-Token header (query parameters are not allowed).";

/// What hooks remember between requests.
#[derive(Debug)]
pub struct Hooks {
    throttle: Limiter,
    /// Digest of a request that named an idempotency key, and its run.
    repeats: Mutex<VecDeque<(u64, [u8; 32], String)>>,
}

impl Default for Hooks {
    fn default() -> Self {
        Self { throttle: Limiter::new(THROTTLE), repeats: Mutex::default() }
    }
}

/// One request to a hook.
#[derive(Debug)]
pub struct Asked<'a> {
    pub remote: SocketAddr,
    pub method: &'a Method,
    pub headers: &'a HeaderMap,
    /// What follows the base path.
    pub path: &'a str,
    pub query: &'a str,
}

/// `{"ok":false,"error":"…"}`.
fn refused(status: StatusCode, error: &str) -> Answer {
    reply::json(status, &json!({"ok": false, "error": error}))
}

impl Hooks {
    pub async fn answer(
        &self,
        state: &Arc<State>,
        settings: &Settings,
        asked: &Asked<'_>,
        body: Body,
    ) -> Result<Answer, Answer> {
        if asked.query.split('&').any(|pair| pair.starts_with("token=")) {
            return Err(reply::text(StatusCode::BAD_REQUEST, QUERY_TOKEN));
        }
        if asked.method != Method::POST {
            return Err(reply::method_not_allowed("POST"));
        }
        let now = state.clock.now_ms();
        self.check_token(settings, asked)?;
        let name = asked.path.trim_matches('/');
        if name.is_empty() {
            return Err(reply::not_found());
        }
        let payload = payload(asked.headers, body, settings.max_body).await?;
        let work = match name {
            "wake" => dispatch::wake(&payload)?,
            "agent" => dispatch::agent(&payload, settings, false)?,
            _ => settings.mapped(name, asked, &payload, now)?.ok_or_else(reply::not_found)?,
        };
        match work {
            Work::Wake { text, now } => {
                dispatch::run_wake(state, &text, now);
                let mode = if now { "now" } else { "next-heartbeat" };
                Ok(reply::json(StatusCode::OK, &json!({"ok": true, "mode": mode})))
            }
            Work::Agent(task) => {
                let run_id = self.run(state, name, asked.headers, &payload, *task, now);
                Ok(reply::json(StatusCode::OK, &json!({"ok": true, "runId": run_id})))
            }
        }
    }

    /// A good token is served even while its address is throttled.
    fn check_token(&self, settings: &Settings, asked: &Asked<'_>) -> Result<(), Answer> {
        let ip = asked.remote.ip().to_canonical();
        let shown =
            caller::bearer(asked.headers).or_else(|| header(asked.headers, "x-openclaw-token"));
        if shown.is_some_and(|shown| settings.token.matches(shown)) {
            self.throttle.succeeded(Guess::HookToken, ip);
            return Ok(());
        }
        if self.throttle.locked_for(Guess::HookToken, ip).is_some() {
            let mut answer = reply::text(StatusCode::TOO_MANY_REQUESTS, "Too Many Requests");
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("60"));
            return Err(answer);
        }
        self.throttle.failed(Guess::HookToken, ip);
        Err(reply::text(StatusCode::UNAUTHORIZED, "Unauthorized"))
    }

    /// Starts the task unless the same request has started it already.
    fn run(
        &self,
        state: &Arc<State>,
        name: &str,
        headers: &HeaderMap,
        payload: &Map<String, Value>,
        task: AgentTask,
        now: u64,
    ) -> String {
        let key = ["idempotency-key", "x-openclaw-idempotency-key"]
            .iter()
            .find_map(|name| header(headers, name))
            .or_else(|| payload.get("idempotencyKey").and_then(Value::as_str))
            .map(str::trim)
            .filter(|key| !key.is_empty() && key.len() <= 256);
        let Some(key) = key else {
            return dispatch::run_agent(state, task);
        };
        let mut fields = payload.clone();
        fields.shift_remove("idempotencyKey");
        let fields = Value::Object(fields);
        let digest: [u8; 32] = Sha256::digest(format!("{name}\0{key}\0{fields}")).into();
        {
            let mut repeats = self.repeats.lock().unwrap_or_else(PoisonError::into_inner);
            while repeats.len() >= MOST_REPEATS
                || repeats.front().is_some_and(|(at, ..)| now.saturating_sub(*at) > REPEAT_TTL_MS)
            {
                repeats.pop_front();
            }
            if let Some((_, _, run)) = repeats.iter().find(|(_, known, _)| *known == digest) {
                return run.clone();
            }
            repeats.push_back((now, digest, task.run_id.clone()));
        }
        dispatch::run_agent(state, task)
    }
}

async fn payload(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<Map<String, Value>, Answer> {
    body::read_object(headers, body, limit).await.map_err(|answer| match answer.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            reply::closing(refused(StatusCode::PAYLOAD_TOO_LARGE, "payload too large"))
        }
        StatusCode::REQUEST_TIMEOUT => {
            reply::closing(refused(StatusCode::REQUEST_TIMEOUT, "request body timeout"))
        }
        status => refused(status, "request body is not valid JSON"),
    })
}
