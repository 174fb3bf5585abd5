//! A restart that the gateway asks of itself: a little later, once for all who
//! ask meanwhile, and not while runs are active.

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::gateway::State;
use crate::gateway::reload::Outcome;

/// How often a waiting restart looks whether runs have ended. The first look
/// comes this much later, so that whoever made the change gets its reply before.
const LOOK: Duration = Duration::from_millis(500);
const PATIENCE_MS: u64 = 300_000;
/// Time for the answer to the request to arrive.
const DELAY_MS: u64 = 2000;
const LONGEST_DELAY_MS: u64 = 60_000;

/// The planned restart, if there is one.
#[derive(Debug, Default)]
pub struct Restart {
    /// Milliseconds since the Unix epoch.
    at: Mutex<Option<u64>>,
    /// Whether a task waits for the runs to end.
    waiting: AtomicBool,
    /// Second handles of the listeners, for the program that takes over.
    kept: Mutex<Vec<TcpListener>>,
    bell: Notify,
}

impl Restart {
    /// Plans a restart for `wanted`. An earlier plan stands: returns when the
    /// restart happens and whether it was planned before.
    pub fn plan(&self, wanted: u64, now: u64) -> (u64, bool) {
        let mut at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        match *at {
            Some(planned) if planned >= now => (planned, true),
            _ => {
                *at = Some(wanted);
                (wanted, false)
            }
        }
    }

    /// Keeps the listeners open through a restart.
    pub fn keep(&self, listeners: Vec<TcpListener>) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = listeners;
    }

    /// The listeners kept, which are no longer kept here.
    pub fn take_kept(&self) -> Vec<TcpListener> {
        std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Time is up.
    pub fn ring(&self) {
        self.bell.notify_one();
    }

    /// Waits until a restart is due. Cancel-safe.
    pub async fn due(&self) {
        self.bell.notified().await;
    }
}

/// How long a restart waits at the request of whoever asked for it.
pub fn delay(asked_ms: Option<u64>) -> Duration {
    Duration::from_millis(asked_ms.unwrap_or(DELAY_MS).min(LONGEST_DELAY_MS))
}

/// What the one who asked for a restart is told, and whether the plan is new.
pub fn announce(state: &State, delay: Duration, reason: &str) -> (Value, bool) {
    let now = state.clock.now_ms();
    let wanted = now + u64::try_from(delay.as_millis()).unwrap_or(LONGEST_DELAY_MS);
    let (at, coalesced) = state.services.restart.plan(wanted, now);
    let told = json!({
        "ok": true,
        "pid": std::process::id(),
        "signal": "SIGUSR1",
        "delayMs": at.saturating_sub(now),
        "reason": reason,
        "mode": "emit",
        "coalesced": coalesced,
        "cooldownMsApplied": 0,
    });
    (told, !coalesced)
}

/// Restarts the gateway after `delay_ms`, runs or not: a run may have asked for
/// it. Returns what the one who asked is told.
pub fn schedule(state: &Arc<State>, delay_ms: Option<u64>, reason: &str) -> Value {
    let delay = delay(delay_ms);
    let (told, is_new) = announce(state, delay, reason);
    if is_new {
        let owner = Arc::clone(state);
        state.lifecycle.spawn("scheduled restart", move |stop| async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(delay) => owner.services.restart.ring(),
            }
        });
    }
    told
}

/// Restarts after `delay` when no run is active, at the latest after the
/// configured time, but never into a file that became unusable meanwhile. The
/// log lines are part of the contract.
pub fn when_idle(state: &Arc<State>, why: &str, delay: Duration) {
    let busy = state.agents.active().len();
    let restart = &state.services.restart;
    if restart.waiting.swap(true, Ordering::AcqRel) {
        tracing::warn!(target: "reload", "{why} — already waiting for operations to complete");
        return;
    }
    if busy == 0 {
        tracing::warn!(target: "reload", "{why}");
    } else {
        tracing::warn!(
            target: "reload", "{why} — deferring until {busy} embedded run(s) complete"
        );
    }
    let current = state.config.load();
    let patience = current.config.gateway.reload.get("deferralTimeoutMs");
    let patience = patience.and_then(Value::as_u64).unwrap_or(PATIENCE_MS);
    let (waiting, deferred, why) = (Arc::clone(state), busy > 0, why.to_owned());
    state.lifecycle.spawn("deferred restart", move |stop| async move {
        let end = Instant::now() + Duration::from_millis(patience);
        let mut pause = delay.max(LOOK);
        let mut is_told = false;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(pause) => pause = LOOK,
            }
            let busy = waiting.agents.active().len();
            if busy > 0 && Instant::now() < end {
                continue;
            }
            let usable = tokio::select! {
                () = stop.cancelled() => return,
                usable = is_usable(&waiting) => usable,
            };
            if !usable {
                if !is_told {
                    tracing::warn!(target: "reload", "{why} — waiting until the file can be used again");
                }
                is_told = true;
                continue;
            }
            if busy > 0 {
                tracing::warn!(target: "reload", "restart timeout after {patience}ms with {busy} embedded run(s) still active; restarting anyway");
            } else if deferred {
                tracing::info!(target: "reload", "all operations and replies completed; restarting gateway now");
            }
            break;
        }
        waiting.services.restart.waiting.store(false, Ordering::Release);
        waiting.services.restart.ring();
    });
}

/// Whether a start would find a file that it can use. It is looked at once more:
/// it may have changed since the last look.
async fn is_usable(state: &State) -> bool {
    if state.config.rejected().is_some() {
        return false;
    }
    let look = state.reloader.next_look();
    state.reloader.poke();
    !matches!(look.await, Some(Outcome::Refused(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_meanwhile_gets_the_planned_restart() {
        let restart = Restart::default();
        assert_eq!(restart.plan(60_000, 0), (60_000, false));
        assert_eq!(restart.plan(2_270, 270), (60_000, true));
        assert_eq!(restart.plan(70_000, 65_000), (70_000, false));
    }
}
