//! A restart that the gateway asks of itself, a little later and once for all
//! who ask meanwhile.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::gateway::State;

/// Time for the answer to the request to arrive.
const DELAY_MS: u64 = 2000;
const LONGEST_DELAY_MS: u64 = 60_000;

/// The planned restart, if there is one.
#[derive(Debug, Default)]
pub struct Restart {
    /// Milliseconds since the Unix epoch.
    at: Mutex<Option<u64>>,
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

    /// Time is up.
    pub fn ring(&self) {
        self.bell.notify_one();
    }

    /// Waits until a restart is due. Cancel-safe.
    pub async fn due(&self) {
        self.bell.notified().await;
    }
}

/// Restarts the gateway after `delay_ms`. Returns what the one who asked is told.
pub fn schedule(state: &Arc<State>, delay_ms: Option<u64>, reason: &str) -> Value {
    let now = state.clock.now_ms();
    let wanted = now + delay_ms.unwrap_or(DELAY_MS).min(LONGEST_DELAY_MS);
    let (at, coalesced) = state.services.restart.plan(wanted, now);
    if !coalesced {
        let owner = Arc::clone(state);
        state.lifecycle.spawn("scheduled restart", move |stop| async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(Duration::from_millis(at.saturating_sub(now))) => {
                    owner.services.restart.ring();
                }
            }
        });
    }
    json!({
        "ok": true,
        "pid": std::process::id(),
        "signal": "SIGUSR1",
        "delayMs": at.saturating_sub(now),
        "reason": reason,
        "mode": "emit",
        "coalesced": coalesced,
        "cooldownMsApplied": 0,
    })
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
