//! The end of a turn: outcome, transcript and index agree on what happened.

use std::sync::atomic::Ordering;

use crate::agents::heartbeat::is_nothing;
use crate::agents::providers::classify;
use crate::agents::run::RunOutcome;
use crate::agents::run::RunStatus;
use crate::agents::run::Usage;
use crate::agents::runtime::Inner;
use crate::agents::runtime::Run;
use crate::agents::sessions::Entry;
use crate::agents::sessions::maintenance::Rules;
use crate::agents::turn::Halt;
use crate::agents::turn::empty_usage;
use crate::agents::turn::prepare::Turn;

/// Tokens and model of a finished turn, for the index.
#[derive(Debug)]
pub(crate) struct Spent {
    provider: String,
    model: String,
    window: u64,
    usage: Usage,
    last_call: Usage,
    cost_usd: f64,
    compactions: u64,
}

impl Turn<'_> {
    /// Fills the outcome, writes what is left and marks the session.
    pub(crate) async fn settle(&mut self, result: Result<(), Halt>, outcome: &mut RunOutcome) {
        outcome.usage = self.usage;
        outcome.last_call = self.last_call;
        outcome.cost_usd = self.cost_usd;
        outcome.text = std::mem::take(&mut self.reply);
        outcome.silent = self.silent && outcome.text.is_empty();
        outcome.answered = self.answered.load(Ordering::Acquire);
        outcome.tool_calls = std::mem::take(&mut self.client_calls);
        let (provider, model) = self.model_name();
        outcome.provider = provider;
        outcome.model = model;
        match result {
            Ok(()) => outcome.status = RunStatus::Ok,
            Err(halt) => self.fail(halt, outcome),
        }
        let lines = self.pen.take();
        let forget = outcome.status == RunStatus::Ok
            && self.compactions == 0
            && self.request.heartbeat.is_some_and(|most| is_nothing(&outcome.text, most));
        let written = match self.writer.append(lines).await {
            Ok(()) if forget => self.writer.undo().await,
            Ok(()) => self.writer.close().await,
            Err(text) => {
                drop(self.writer.close().await);
                Err(text)
            }
        };
        if let Err(text) = written {
            tracing::error!(run_id = %self.run.id, err = %text, "transcript not written");
        }
        outcome.ended_at = self.now();
        let spent = self.model.as_ref().map(|model| Spent {
            provider: model.provider.clone(),
            model: model.id.clone(),
            window: model.context_window,
            usage: self.usage,
            last_call: self.last_call,
            cost_usd: self.cost_usd,
            compactions: self.compactions,
        });
        note_end(self.inner, self.run, outcome, spent.as_ref(), self.request.heartbeat.is_some());
    }

    fn fail(&mut self, halt: Halt, outcome: &mut RunOutcome) {
        match halt {
            Halt::Aborted => {
                outcome.status = RunStatus::Aborted;
                outcome.stop_reason = self.run.stop_reason().or_else(|| Some("rpc".to_owned()));
            }
            Halt::TimedOut => {
                outcome.status = RunStatus::TimedOut;
                outcome.stop_reason = Some("timeout".to_owned());
                outcome.failure = Some(classify::transport("").reason);
                let seconds = self.timeout.map_or(0, |timeout| timeout.as_secs());
                outcome.error = Some(format!(
                    "The run was ended after {seconds} seconds without an answer; \
                     agents.defaults.timeoutSeconds sets this limit."
                ));
            }
            Halt::Provider(error) => {
                outcome.status = RunStatus::Error;
                outcome.failure = Some(error.reason);
                outcome.stop_reason = Some(error.reason.as_str().to_owned());
                let text = error.user_text(&outcome.provider, &outcome.model);
                if self.chain.attempts().len() < 2 {
                    tracing::warn!(
                        "embedded run failover decision: runId={} stage=assistant \
                         decision=surface_error reason={} provider={}/{} profile=-",
                        self.run.id,
                        error.reason.as_str(),
                        outcome.provider,
                        outcome.model,
                    );
                }
                if let Some(model) = self.model.clone() {
                    let mut message = self.assistant_message(&[], &empty_usage(), "error", &model);
                    message["errorMessage"] = match error.status {
                        Some(status) => format!("{status} {}", error.message).into(),
                        None => error.message.clone().into(),
                    };
                    self.add_message(message);
                }
                outcome.error = Some(text);
            }
            Halt::Internal(text) => {
                outcome.status = RunStatus::Error;
                tracing::error!(run_id = %self.run.id, err = %text, "run failed");
                outcome.error = Some(text);
            }
        }
    }
}

/// Marks the session as ended in the index.
pub(crate) fn note_end(
    inner: &Inner,
    run: &Run,
    outcome: &RunOutcome,
    spent: Option<&Spent>,
    heartbeat: bool,
) {
    let Some(key) = &run.key else { return };
    let snapshot = inner.config.load();
    let store = inner.stores.of(&snapshot.config, &run.agent);
    store.update(key.as_str(), |entry| {
        // The session may have been reset while the run was ending.
        if entry.session_id() != run.session_id {
            return;
        }
        let now = outcome.ended_at;
        entry.set(
            "status",
            match outcome.status {
                RunStatus::Ok => "done",
                RunStatus::Error => "failed",
                RunStatus::Aborted => "killed",
                RunStatus::TimedOut => "timeout",
            },
        );
        entry.set("endedAt", now);
        entry.set("runtimeMs", now.saturating_sub(outcome.started_at));
        entry.set("abortedLastRun", outcome.status == RunStatus::Aborted);
        if !heartbeat {
            entry.set("updatedAt", now);
        }
        if let Some(spent) = spent {
            note_spent(entry, spent);
        }
    });
    inner.stores.flush_soon(&store);
    let rules = Rules::of(&snapshot.config);
    inner.stores.maintain(&store, rules, outcome.ended_at, || inner.busy_sessions());
}

fn note_spent(entry: &mut Entry, spent: &Spent) {
    entry.set("systemSent", true);
    entry.set("modelProvider", spent.provider.as_str());
    entry.set("model", spent.model.as_str());
    entry.set("contextTokens", spent.window);
    if spent.usage != Usage::default() {
        entry.set("inputTokens", spent.usage.input);
        entry.set("outputTokens", spent.usage.output);
        entry.set("cacheRead", spent.usage.cache_read);
        entry.set("cacheWrite", spent.usage.cache_write);
        entry.set("totalTokens", spent.last_call.prompt());
        entry.set("totalTokensFresh", true);
        let before = entry.float("estimatedCostUsd").unwrap_or_default();
        let total = before + spent.cost_usd;
        if total == 0.0 {
            entry.set("estimatedCostUsd", 0);
        } else {
            entry.set("estimatedCostUsd", total);
        }
    }
    if spent.compactions > 0 {
        let before = entry.number("compactionCount").unwrap_or_default();
        entry.set("compactionCount", before + spent.compactions);
    }
}
