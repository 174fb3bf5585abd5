//! What is known about an account at this moment, as `channels.status` shows it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value, json};
use tokio::sync::watch;

use crate::base::clock::Clock;

/// The state of one account. Clones share it.
#[derive(Debug, Clone)]
pub struct Status {
    state: Arc<Mutex<Known>>,
    connected: Arc<watch::Sender<bool>>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug, Default, Clone)]
pub struct Known {
    pub running: bool,
    pub restart_pending: bool,
    pub reconnect_attempts: u64,
    pub last_start_at: Option<u64>,
    pub last_stop_at: Option<u64>,
    pub last_error: Option<String>,
    pub last_connected_at: Option<u64>,
    pub last_disconnect: Option<Value>,
    pub last_event_at: Option<u64>,
    pub last_inbound_at: Option<u64>,
    pub last_outbound_at: Option<u64>,
    pub last_probe_at: Option<u64>,
    pub probe: Option<Value>,
}

impl Status {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { state: Arc::default(), connected: Arc::new(watch::Sender::new(false)), clock }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn known(&self) -> Known {
        self.lock().clone()
    }

    pub fn is_connected(&self) -> bool {
        *self.connected.borrow()
    }

    /// Waits until the account is connected.
    pub async fn wait_connected(&self) {
        let mut connected = self.connected.subscribe();
        // The sender lives as long as `self`.
        let _closed = connected.wait_for(|connected| *connected).await.is_err();
    }

    /// The account does not run, and why.
    pub fn at_rest(&self, why: &str) {
        let mut known = self.lock();
        known.running = false;
        known.restart_pending = false;
        known.last_error = Some(why.to_owned());
    }

    pub fn started(&self) {
        let now = self.clock.now_ms();
        let mut known = self.lock();
        known.running = true;
        known.restart_pending = false;
        known.last_start_at = Some(now);
    }

    /// The connection is up and signed in.
    pub fn connected(&self) {
        let now = self.clock.now_ms();
        {
            let mut known = self.lock();
            known.last_connected_at = Some(now);
            known.last_event_at = Some(now);
            known.last_error = None;
            known.reconnect_attempts = 0;
        }
        self.connected.send_replace(true);
    }

    /// The account's task ended; `restarting` says that it will be back.
    pub fn ended(&self, error: Option<&str>, restarting: bool) {
        let now = self.clock.now_ms();
        let was_connected = self.connected.send_replace(false);
        let mut known = self.lock();
        known.running = false;
        known.last_stop_at = Some(now);
        known.last_error = error.map(str::to_owned);
        known.restart_pending = restarting;
        if restarting {
            known.reconnect_attempts += 1;
        }
        if was_connected {
            known.last_disconnect = Some(json!({"at": now, "error": error}));
        }
    }

    pub fn heard(&self) {
        self.lock().last_event_at = Some(self.clock.now_ms());
    }

    pub fn inbound(&self) {
        let now = self.clock.now_ms();
        let mut known = self.lock();
        known.last_inbound_at = Some(now);
        known.last_event_at = Some(now);
    }

    pub fn outbound(&self) {
        self.lock().last_outbound_at = Some(self.clock.now_ms());
    }

    pub fn probed(&self, probe: Value) {
        let mut known = self.lock();
        known.last_probe_at = Some(self.clock.now_ms());
        known.probe = Some(probe);
    }

    /// The fields that every account has.
    pub fn to_row(&self) -> Map<String, Value> {
        let known = self.known();
        let mut row = Map::new();
        let mut put = |key: &str, value: Value| {
            row.insert(key.to_owned(), value);
        };
        put("running", known.running.into());
        put("connected", self.is_connected().into());
        put("restartPending", known.restart_pending.into());
        put("reconnectAttempts", known.reconnect_attempts.into());
        for (key, at) in [
            ("lastStartAt", known.last_start_at),
            ("lastStopAt", known.last_stop_at),
            ("lastConnectedAt", known.last_connected_at),
            ("lastEventAt", known.last_event_at),
            ("lastInboundAt", known.last_inbound_at),
            ("lastOutboundAt", known.last_outbound_at),
        ] {
            put(key, at.into());
        }
        put("lastDisconnect", known.last_disconnect.unwrap_or(Value::Null));
        put("lastError", known.last_error.into());
        if let Some(probe) = known.probe {
            put("probe", probe);
            put("lastProbeAt", known.last_probe_at.into());
        }
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::SystemClock;

    #[test]
    fn a_lost_connection_is_remembered_with_its_reason() {
        let status = Status::new(Arc::new(SystemClock));
        status.started();
        status.connected();
        assert!(status.is_connected());
        status.ended(Some("server gone"), true);
        let row = status.to_row();
        assert_eq!(row["connected"], false);
        assert_eq!(row["restartPending"], true);
        assert_eq!(row["reconnectAttempts"], 1);
        assert_eq!(row["lastDisconnect"]["error"], "server gone");
        assert_eq!(row["lastError"], "server gone");
        status.connected();
        assert_eq!(status.to_row()["lastError"], Value::Null);
    }
}
