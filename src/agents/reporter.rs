//! The voice of one run: numbers its events, sends them to the process-wide
//! sink and the run's observer, and lets exactly one terminal event through.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use serde_json::Value;

use crate::agents::run::EventSink;
use crate::agents::run::RunBody;
use crate::agents::run::RunEvent;
use crate::agents::run::RunOutcome;
use crate::agents::run::RunStatus;
use crate::base::clock::Clock;
use crate::base::id::SessionKey;

#[derive(Debug)]
pub(crate) struct Reporter {
    run_id: String,
    session_key: Option<SessionKey>,
    agent: String,
    clock: Arc<dyn Clock>,
    sink: Arc<dyn EventSink>,
    observer: Option<Arc<dyn EventSink>>,
    seq: AtomicU64,
    closed: AtomicBool,
}

impl Reporter {
    pub(crate) fn new(
        run_id: String,
        session_key: Option<SessionKey>,
        agent: String,
        clock: Arc<dyn Clock>,
        sink: Arc<dyn EventSink>,
        observer: Option<Arc<dyn EventSink>>,
    ) -> Self {
        Self {
            run_id,
            session_key,
            agent,
            clock,
            sink,
            observer,
            seq: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        }
    }

    /// Sends an event; nothing follows a terminal one.
    pub(crate) fn send(&self, body: RunBody<'_>) {
        if self.closed.load(Ordering::Acquire) {
            return;
        }
        self.emit(body);
    }

    pub(crate) fn tool(&self, data: &Value) {
        self.send(RunBody::Tool(data));
    }

    pub(crate) fn other(&self, stream: &str, data: &Value) {
        self.send(RunBody::Other { stream, data });
    }

    /// Sends the terminal event that fits the outcome; `false` if the run was
    /// closed already.
    pub(crate) fn close(&self, outcome: &RunOutcome) -> bool {
        if self.closed.swap(true, Ordering::AcqRel) {
            return false;
        }
        self.emit(match outcome.status {
            RunStatus::Ok => RunBody::End { outcome },
            RunStatus::Error => RunBody::Error { outcome },
            RunStatus::Aborted | RunStatus::TimedOut => RunBody::Aborted { outcome },
        });
        true
    }

    fn emit(&self, body: RunBody<'_>) {
        // A line of the transcript is told of, but counts no event of the run.
        let step = u64::from(!matches!(body, RunBody::Message { .. }));
        let event = RunEvent {
            run_id: &self.run_id,
            session_key: self.session_key.as_ref(),
            agent: &self.agent,
            seq: self.seq.fetch_add(step, Ordering::AcqRel) + step,
            ts: self.clock.now_ms(),
            body,
        };
        self.sink.on_event(event);
        if let Some(observer) = &self.observer {
            observer.on_event(event);
        }
    }
}
