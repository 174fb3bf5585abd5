//! Heartbeats: now and then an agent looks whether something needs attention.
//!
//! One background task sleeps until the next beat or until someone asks for
//! one. Results are kept for `last-heartbeat` and broadcast as `heartbeat`.

mod hours;
pub mod plan;
mod runner;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use tokio::sync::Notify;

pub use plan::Plan;
pub use runner::{REMINDER, beats, start};

/// Switch, last result and the bell of the heartbeat task.
#[derive(Debug)]
pub struct Heartbeats {
    enabled: AtomicBool,
    last: Mutex<Value>,
    /// Agents that are to look now, and why.
    asked: Mutex<BTreeMap<String, &'static str>>,
    bell: Notify,
}

impl Default for Heartbeats {
    fn default() -> Self {
        Self {
            enabled: AtomicBool::new(true),
            last: Mutex::default(),
            asked: Mutex::default(),
            bell: Notify::new(),
        }
    }
}

impl Heartbeats {
    /// Asks for a beat of an agent now. With heartbeats switched off nothing
    /// happens.
    pub fn request(&self, agent: &str, reason: &'static str) {
        if self.is_enabled() {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            asked.insert(agent.to_lowercase(), reason);
            self.bell.notify_one();
        }
    }

    /// Switches heartbeats on or off until the gateway restarts.
    pub fn set_enabled(&self, enabled: bool) {
        self.enabled.store(enabled, Ordering::Relaxed);
        self.bell.notify_one();
    }

    pub fn is_enabled(&self) -> bool {
        self.enabled.load(Ordering::Relaxed)
    }

    /// The last result, `null` before the first.
    pub fn last(&self) -> Value {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keep(&self, result: Value) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = result;
    }

    fn take_requests(&self) -> BTreeMap<String, &'static str> {
        std::mem::take(&mut *self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switched_off_heart_does_not_answer() {
        let heartbeats = Heartbeats::default();
        assert_eq!(heartbeats.last(), Value::Null);
        heartbeats.set_enabled(false);
        heartbeats.request("main", "wake");
        assert!(heartbeats.take_requests().is_empty());
        heartbeats.set_enabled(true);
        heartbeats.request("Main", "wake");
        assert_eq!(heartbeats.take_requests(), BTreeMap::from([("main".to_owned(), "wake")]));
        assert!(heartbeats.take_requests().is_empty());
    }
}
