//! The end: stop accepting, say so, let work finish, close, leave.
//!
//! `TimeoutStopSec=` of the unit is larger than [`GRACE`] plus [`CLOSE`].

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::gateway::State;
use crate::gateway::state::Phase;
use crate::logging::catalog;
use crate::protocol::events::Event;
use crate::protocol::frame::close;

/// How long running agents may take to finish where no manager sets a limit.
pub const GRACE: Duration = Duration::from_secs(60);
/// How long closing sockets and ending tasks may take.
pub const CLOSE: Duration = Duration::from_secs(5);
/// How long the last replies may take to leave; the rest stays on disk.
const DELIVER: Duration = Duration::from_secs(3);
/// What clients are told to expect of a restart, in milliseconds.
const RESTART_EXPECTED_MS: u64 = 1500;

/// Why the gateway ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    Stop,
    Restart,
    /// Nobody talks; the next client has it started again.
    Idle,
}

/// Ends the gateway in order. Returns whether everything ended in time.
pub async fn shut_down(state: &Arc<State>, reason: Reason) -> bool {
    state.phase.send_replace(Phase::Draining);
    let payload = match reason {
        Reason::Stop | Reason::Idle => {
            json!({"reason": "gateway stopping", "restartExpectedMs": null})
        }
        Reason::Restart => {
            json!({"reason": "gateway restarting", "restartExpectedMs": RESTART_EXPECTED_MS})
        }
    };
    state.bus.broadcast(Event::Shutdown, &payload);
    // Nobody will decide any more, and runs need not wait for it.
    state.services.exec_approvals.close_all(state.clock.now_ms());
    let grace = state.grace();
    let aborted = state.agents.drain(grace).await;
    if aborted > 0 {
        tracing::warn!(
            lifecycle = catalog::CUT_OFF,
            aborted,
            grace_s = grace.as_secs(),
            "runs were still active when the grace ended"
        );
    }
    state.channels.settle(DELIVER).await;
    state.bus.close_all(close::RESTART, "service restart");
    let ended = state.lifecycle.shut_down(CLOSE).await;
    if !ended {
        tracing::warn!("shutdown timed out; exiting without full cleanup");
    }
    state.phase.send_replace(Phase::Stopped);
    tracing::info!(lifecycle = catalog::STOPPED, "stopped");
    // Runs that were cut off were announced; the stop itself went as it should.
    ended
}
