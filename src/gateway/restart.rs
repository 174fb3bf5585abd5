//! A restart that the gateway asks of itself, a little later and once for all
//! who ask meanwhile.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

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
