//! A run on behalf of an HTTP request: its words as they come, its end, and
//! its abort when the client goes away.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::StatusCode;
use tokio::sync::Notify;

use crate::agents::providers::FailReason;
use crate::agents::{
    AbortTarget, Agents, EventSink, RunBody, RunEvent, RunHandle, RunOutcome, RunRefused,
    RunRequest, RunStatus,
};
use crate::gateway::http::reply::{self, API_ERROR, Answer, INVALID};

/// What a client reads when the agent has nothing to say.
pub const EMPTY_REPLY: &str = "No response from OpenClaw.";

/// Words of a run on their way to a client.
///
/// Words that a slow client has not taken are joined, so that what is kept is
/// never more than the reply itself.
#[derive(Debug, Default)]
pub struct Feed {
    text: Mutex<String>,
    wake: Notify,
}

impl Feed {
    fn lock(&self) -> MutexGuard<'_, String> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Option<String> {
        let mut text = self.lock();
        (!text.is_empty()).then(|| std::mem::take(&mut *text))
    }
}

impl EventSink for Feed {
    fn on_event(&self, event: RunEvent<'_>) {
        if let RunBody::Assistant { delta, .. } = event.body
            && !delta.is_empty()
        {
            self.lock().push_str(delta);
            self.wake.notify_one();
        }
    }
}

/// What comes next of a run.
#[derive(Debug)]
pub enum Next {
    Words(String),
    End(Arc<RunOutcome>),
}

/// A run whose client is listening; dropping it aborts the run.
#[derive(Debug)]
pub struct ClientRun {
    agents: Agents,
    handle: RunHandle,
    feed: Arc<Feed>,
    ended: bool,
}

impl Drop for ClientRun {
    fn drop(&mut self) {
        if !self.ended {
            let hit = self.agents.abort(&AbortTarget::Run(self.handle.run_id.clone()));
            tracing::debug!(runs = hit.len(), run = self.handle.run_id, "client went away");
        }
    }
}

impl ClientRun {
    /// Starts `request`; its observer is set here.
    pub async fn start(agents: &Agents, mut request: RunRequest) -> Result<Self, Answer> {
        let feed = Arc::new(Feed::default());
        let observer: Arc<dyn EventSink> = Arc::<Feed>::clone(&feed);
        request.observer = Some(observer);
        match agents.submit(request).await {
            Ok(handle) => Ok(Self { agents: agents.clone(), handle, feed, ended: false }),
            Err(RunRefused::Draining) => Err(reply::openai_error(
                StatusCode::SERVICE_UNAVAILABLE,
                &RunRefused::Draining.to_string(),
                API_ERROR,
            )),
            Err(err @ RunRefused::UnknownAgent(_)) => Err(reply::invalid(&err.to_string())),
            Err(err) => {
                tracing::warn!(error = %err, "openai-compat: run not started");
                Err(reply::internal_error())
            }
        }
    }

    /// Words, until the end. Cancel-safe.
    pub async fn next(&mut self) -> Next {
        loop {
            if let Some(words) = self.feed.take() {
                return Next::Words(words);
            }
            tokio::select! {
                () = self.feed.wake.notified() => {}
                outcome = self.handle.outcome() => {
                    // Words may have come between the look and the end.
                    if let Some(words) = self.feed.take() {
                        return Next::Words(words);
                    }
                    self.ended = true;
                    return Next::End(outcome);
                }
            }
        }
    }

    /// The end alone.
    pub async fn outcome(mut self) -> Arc<RunOutcome> {
        let outcome = self.handle.outcome().await;
        self.ended = true;
        outcome
    }
}

/// How a run that did not end well is told over HTTP: status, message, type.
pub fn failure(outcome: &RunOutcome) -> Option<(StatusCode, String, &'static str)> {
    let text = || outcome.error.clone().unwrap_or_else(|| "internal error".to_owned());
    let (status, kind) = match (outcome.status, outcome.failure) {
        (RunStatus::Ok, _) => return None,
        (RunStatus::TimedOut, _) => (StatusCode::GATEWAY_TIMEOUT, API_ERROR),
        (RunStatus::Aborted, _) => (StatusCode::SERVICE_UNAVAILABLE, API_ERROR),
        (
            RunStatus::Error,
            Some(FailReason::Format | FailReason::ModelNotFound | FailReason::ContextLength),
        ) => (StatusCode::BAD_REQUEST, INVALID),
        (RunStatus::Error, Some(FailReason::RateLimit)) => {
            (StatusCode::TOO_MANY_REQUESTS, API_ERROR)
        }
        (RunStatus::Error, Some(FailReason::Overloaded)) => {
            (StatusCode::SERVICE_UNAVAILABLE, API_ERROR)
        }
        (RunStatus::Error, Some(_)) => (StatusCode::BAD_GATEWAY, API_ERROR),
        (RunStatus::Error, None) => (StatusCode::INTERNAL_SERVER_ERROR, API_ERROR),
    };
    let message = match outcome.status {
        RunStatus::Aborted => "the run was aborted".to_owned(),
        RunStatus::TimedOut => outcome.error.clone().unwrap_or_else(|| "run timed out".to_owned()),
        _ => text(),
    };
    Some((status, message, kind))
}
