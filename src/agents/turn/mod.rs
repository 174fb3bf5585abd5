//! One run: from its place in the queue to its outcome. Builds the prompt,
//! calls models in order until one answers, runs the tools they ask for, and
//! keeps transcript, index and listeners up to date.

mod answer;
mod begin;
mod compaction;
mod prepare;
mod run_loop;
mod settle;
#[cfg(test)]
mod tests;
mod writer;

use std::sync::Arc;

use serde_json::Value;
use serde_json::json;

use crate::agents::commands;
use crate::agents::commands::Name;
use crate::agents::prompt;
use crate::agents::providers::ProviderError;
use crate::agents::run::Image;
use crate::agents::run::RunBody;
use crate::agents::run::RunOutcome;
use crate::agents::run::RunRequest;
use crate::agents::run::RunStatus;
use crate::agents::runtime::Inner;
use crate::agents::runtime::Run;
use crate::agents::sessions::INJECTED_MODEL;
use crate::agents::sessions::INJECTED_PROVIDER;

pub(crate) use answer::Answer;
pub(crate) use begin::begin;
pub(crate) use compaction::tokens_of;
pub(crate) use prepare::requested_model;

/// Why a run stopped before its answer.
#[derive(Debug)]
pub(crate) enum Halt {
    /// Someone asked for it.
    Aborted,
    /// Its time is over.
    TimedOut,
    Provider(ProviderError),
    /// Something on this side went wrong; the text is for people.
    Internal(String),
}

/// Runs one turn. The caller sends the terminal event.
pub(crate) async fn run(inner: &Arc<Inner>, run: &Arc<Run>, request: RunRequest) -> RunOutcome {
    let started_at = inner.clock.now_ms();
    run.started_at.store(started_at, std::sync::atomic::Ordering::Release);
    run.reporter.send(RunBody::Start { started_at });
    let mut outcome = RunOutcome {
        session_key: run.key.clone(),
        session_id: run.session_id.clone(),
        started_at,
        ..RunOutcome::default()
    };
    let prepared = prepare::prepare(inner, run, request).await;
    match prepared {
        Ok(mut turn) => {
            let result = match commands::of(&turn.request) {
                Some(command) if command.name == Name::Compact => {
                    turn.compact_command(&command.argument).await
                }
                _ => turn.drive().await,
            };
            turn.settle(result, &mut outcome).await;
        }
        Err(text) => {
            outcome.status = RunStatus::Error;
            outcome.error = Some(text);
            outcome.ended_at = inner.clock.now_ms();
            settle::note_end(inner, run, &outcome, None, false);
        }
    }
    outcome
}

/// The text of a request inside its frame.
pub(crate) fn framed_message(inner: &Inner, request: &RunRequest) -> String {
    let zone = time_zone(&inner.config.load().config);
    prompt::frame(&request.frame, &request.message, inner.clock.now_ms(), &zone)
}

/// What a user says, in transcript form.
fn user_message(text: &str, images: &[Image], now_ms: u64) -> Value {
    let images = images
        .iter()
        .map(|image| json!({"type": "image", "data": image.data, "mimeType": image.mime_type}));
    let content: Vec<Value> =
        [json!({"type": "text", "text": text})].into_iter().chain(images).collect();
    json!({"role": "user", "content": content, "timestamp": now_ms})
}

/// The user's time zone: configured, else the host's.
pub(crate) fn time_zone(config: &crate::config::Config) -> jiff::tz::TimeZone {
    config
        .agents
        .defaults
        .user_timezone
        .as_deref()
        .and_then(|name| jiff::tz::TimeZone::get(name.trim()).ok())
        .unwrap_or_else(jiff::tz::TimeZone::system)
}

/// A reply that no model made, in transcript form.
pub(crate) fn injected_message(text: &str, now_ms: u64) -> Value {
    json!({
        "role": "assistant",
        "content": [{"type": "text", "text": text}],
        "timestamp": now_ms,
        "stopReason": "stop",
        "usage": empty_usage(),
        "api": "openai-responses",
        "provider": INJECTED_PROVIDER,
        "model": INJECTED_MODEL,
    })
}

fn empty_usage() -> Value {
    json!({
        "input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0, "totalTokens": 0,
        "cost": {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0, "total": 0},
    })
}
