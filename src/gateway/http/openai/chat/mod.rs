//! `POST /v1/chat/completions`, plain and streaming.

mod request;
mod stream;

use axum::body::Body;
use hyper::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::agents::public_web::PublicWeb;
use crate::agents::run::{Frame, Origin, Queueing};
use crate::agents::{RunOutcome, RunRequest};
use crate::base::id;
use crate::gateway::State;
use crate::gateway::http::body;
use crate::gateway::http::caller::Caller;
use crate::gateway::http::openai::run::{self, ClientRun};
use crate::gateway::http::prepared::{ChatLimits, Prepared};
use crate::gateway::http::reply::{self, Answer};
use crate::gateway::http::target::{self, Surface};

use request::ChatRequest;

/// Answers a request whose caller has been checked.
pub async fn answer(
    state: &State,
    prepared: &Prepared,
    limits: &ChatLimits,
    caller: &Caller,
    web: &PublicWeb,
    (headers, body): (&HeaderMap, Body),
) -> Result<Answer, Answer> {
    let fields = body::read_object(headers, body, limits.max_body).await?;
    let chat = ChatRequest::parse(fields, limits, web).await?;
    let target =
        target::resolve(prepared, headers, Surface::Chat, &chat.model, chat.user.as_deref())?;
    let head = Head {
        id: format!("chatcmpl_{}", id::uuid()),
        created: state.clock.now_ms() / 1000,
        model: chat.model,
    };
    let request = RunRequest {
        run_id: head.id.clone(),
        agent: Some(target.agent),
        session_key: Some(target.session),
        message: chat.message,
        images: chat.images,
        extra_system_prompt: chat.system,
        model: target.model,
        max_tokens: chat.max_tokens,
        params: chat.params,
        client_tools: chat.tools,
        owner: caller.is_owner(),
        origin: Origin {
            channel: Some(target.channel.clone()),
            surface: Some(target.channel),
            ..Origin::default()
        },
        frame: Frame::Raw,
        queueing: Queueing::Wait,
        ..RunRequest::default()
    };
    let run = ClientRun::start(&state.agents, request).await?;
    if chat.stream {
        return Ok(stream::answer(run, &head, chat.include_usage));
    }
    let outcome = run.outcome().await;
    if let Some((status, message, kind)) = run::failure(&outcome) {
        tracing::warn!(error = message, "openai-compat: chat completion failed");
        return Err(reply::openai_error(status, &message, kind));
    }
    Ok(reply::json(StatusCode::OK, &completion(&head, &outcome)))
}

/// What all parts of one answer share.
#[derive(Debug)]
struct Head {
    id: String,
    /// Seconds since the Unix epoch.
    created: u64,
    model: String,
}

fn completion(head: &Head, outcome: &RunOutcome) -> Value {
    let calls = tool_calls(outcome);
    let content = match (outcome.text.trim(), calls.is_empty()) {
        ("", true) => run::EMPTY_REPLY,
        _ => outcome.text.as_str(),
    };
    let mut message = json!({"role": "assistant", "content": content});
    if !calls.is_empty() {
        message["tool_calls"] = Value::Array(calls);
    }
    json!({
        "id": head.id, "object": "chat.completion", "created": head.created, "model": head.model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason(outcome)}],
        "usage": usage(outcome)})
}

fn tool_calls(outcome: &RunOutcome) -> Vec<Value> {
    let calls = outcome.tool_calls.iter().map(|call| {
        json!({"id": call.id, "type": "function",
            "function": {"name": call.name, "arguments": call.arguments.to_string()}})
    });
    calls.collect()
}

fn finish_reason(outcome: &RunOutcome) -> &'static str {
    if !outcome.tool_calls.is_empty() {
        "tool_calls"
    } else if outcome.stop_reason.as_deref() == Some("length") {
        "length"
    } else {
        "stop"
    }
}

fn usage(outcome: &RunOutcome) -> Value {
    let usage = &outcome.usage;
    let prompt = usage.input + usage.cache_read + usage.cache_write;
    json!({"prompt_tokens": prompt, "completion_tokens": usage.output,
        "total_tokens": prompt + usage.output})
}
