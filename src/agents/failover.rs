//! Which model has the next go when one has failed.
//!
//! A value without I/O: the loop asks it what to try and tells it how that
//! went; it says when to try the same model again, when the next, and when to
//! give up, and keeps the record that logs and events show.

use std::time::Duration;

use serde_json::{Value, json};

use crate::agents::providers::{FailReason, ProviderError};

/// Pauses before a turn is tried again on the same model.
pub const RETRY_PAUSES: [Duration; 3] =
    [Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(8)];

/// The models of one turn, in order.
#[derive(Debug, Clone)]
pub struct Chain {
    candidates: Vec<String>,
    at: usize,
    retries: usize,
    attempts: Vec<Attempt>,
}

/// A candidate that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// `provider/model`.
    pub candidate: String,
    pub reason: FailReason,
    /// What users would have read.
    pub error: String,
}

/// What to do after a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// The same model, after a pause.
    Again(Duration),
    /// The next model; [`Chain::current`] names it.
    Fallback,
    /// Nobody is left, or nobody else could do better.
    GiveUp,
}

impl Chain {
    /// Tries `requested`, then `fallbacks`, then, when the request overrode
    /// the configured model, `primary`. Repeated names count once.
    pub fn new(requested: &str, fallbacks: &[String], primary: Option<&str>) -> Self {
        let mut candidates: Vec<String> = Vec::new();
        let all =
            std::iter::once(requested).chain(fallbacks.iter().map(String::as_str)).chain(primary);
        for name in all.map(str::trim).filter(|name| !name.is_empty()) {
            if !candidates.iter().any(|known| known == name) {
                candidates.push(name.to_owned());
            }
        }
        Self { candidates, at: 0, retries: 0, attempts: Vec::new() }
    }

    /// The model that has its go now.
    pub fn current(&self) -> &str {
        self.candidates.get(self.at).map_or("", String::as_str)
    }

    /// The model that was asked for.
    pub fn requested(&self) -> &str {
        self.candidates.first().map_or("", String::as_str)
    }

    /// Whether another model than the requested one has its go.
    pub fn fell_over(&self) -> bool {
        self.at > 0
    }

    /// Candidates given up so far.
    pub fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    /// Takes the failure of the current model.
    ///
    /// `pristine` is false once the turn has done something that must not
    /// happen twice; then nothing is tried again.
    pub fn on_failure(&mut self, error: &ProviderError, user_text: &str, pristine: bool) -> Next {
        if !pristine || !error.reason.falls_over() {
            return Next::GiveUp;
        }
        if error.reason.is_retryable() && self.retries < RETRY_PAUSES.len() {
            self.retries += 1;
            return Next::Again(RETRY_PAUSES[self.retries - 1]);
        }
        self.attempts.push(Attempt {
            candidate: self.current().to_owned(),
            reason: error.reason,
            error: user_text.to_owned(),
        });
        let next = self.candidates.get(self.at + 1);
        if self.candidates.len() > 1 {
            tracing::warn!(
                "[model-fallback/decision] model fallback decision: decision=candidate_failed \
                 requested={} candidate={} reason={} next={}",
                self.requested(),
                self.current(),
                error.reason.as_str(),
                next.map_or("none", String::as_str),
            );
        }
        if next.is_none() {
            return Next::GiveUp;
        }
        self.at += 1;
        self.retries = 0;
        Next::Fallback
    }

    /// Notes that the current model answered.
    pub fn on_success(&mut self) {
        self.retries = 0;
        if self.fell_over() {
            tracing::warn!(
                "[model-fallback/decision] model fallback decision: decision=candidate_succeeded \
                 requested={} candidate={} reason={} next=none",
                self.requested(),
                self.current(),
                self.attempts.last().map_or("unknown", |attempt| attempt.reason.as_str()),
            );
        }
    }

    /// Payload of the `lifecycle` event with phase `fallback`.
    pub fn event(&self) -> Value {
        let split = |name: &str| {
            let (provider, model) = name.split_once('/').unwrap_or(("", name));
            (provider.to_owned(), model.to_owned())
        };
        let (selected_provider, selected_model) = split(self.requested());
        let (active_provider, active_model) = split(self.current());
        let attempts: Vec<Value> = self
            .attempts
            .iter()
            .map(|attempt| {
                let (provider, model) = split(&attempt.candidate);
                json!({"provider": provider, "model": model, "error": attempt.error,
                    "reason": attempt.reason.as_str()})
            })
            .collect();
        let words = |reason: FailReason| reason.as_str().replace('_', " ");
        let summaries: Vec<String> = self
            .attempts
            .iter()
            .map(|attempt| format!("{} {}", attempt.candidate, words(attempt.reason)))
            .collect();
        let reason = self.attempts.last().map(|attempt| words(attempt.reason)).unwrap_or_default();
        json!({"phase": "fallback",
            "selectedProvider": selected_provider, "selectedModel": selected_model,
            "activeProvider": active_provider, "activeModel": active_model,
            "reasonSummary": reason, "attemptSummaries": summaries, "attempts": attempts})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::providers::classify;

    fn failure(status: u16) -> ProviderError {
        classify::http_error(status, "no", None)
    }

    #[test]
    fn the_chain_is_requested_then_fallbacks_then_primary_each_once() {
        let chain = Chain::new("x/1", &["b/2".into(), "a/1".into()], Some("a/1"));
        assert_eq!(chain.candidates, ["x/1", "b/2", "a/1"]);
    }

    #[test]
    fn a_passing_failure_is_tried_again_before_the_next_model() {
        let mut chain = Chain::new("a/1", &["b/2".into()], None);
        let error = failure(429);
        for pause in RETRY_PAUSES {
            assert_eq!(chain.on_failure(&error, "t", true), Next::Again(pause));
        }
        assert_eq!(chain.on_failure(&error, "t", true), Next::Fallback);
        assert_eq!(chain.current(), "b/2");
        assert_eq!(chain.event()["attempts"][0]["reason"], "rate_limit");
        assert_eq!(chain.on_failure(&failure(400), "t", true), Next::GiveUp);
        assert_eq!(chain.attempts().len(), 2);
    }

    #[test]
    fn a_wrong_key_falls_over_at_once_and_a_long_conversation_never() {
        let mut chain = Chain::new("a/1", &["b/2".into()], None);
        let long = classify::http_error(400, r#"{"error":{"message":"prompt is too long"}}"#, None);
        assert_eq!(chain.on_failure(&long, "t", true), Next::GiveUp);
        assert_eq!(chain.on_failure(&failure(401), "t", true), Next::Fallback);
    }
}
