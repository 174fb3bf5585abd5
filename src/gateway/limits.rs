//! Budgets that protect the gateway from its clients: writes to the control
//! plane, sockets that have not authenticated, repeated requests.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::gateway::rpc::Reply;
use crate::protocol::error::ErrorShape;

/// Three calls of the expensive write methods per caller and minute.
#[derive(Debug, Default)]
pub struct WriteBudget {
    spent: Mutex<HashMap<String, Vec<u64>>>,
}

const WRITES: usize = 3;
const WRITE_WINDOW_MS: u64 = 60_000;

impl WriteBudget {
    /// Takes one call from the budget of `key`, or says when to come back.
    pub fn spend(&self, key: &str, method: &str, now: u64) -> Result<(), ErrorShape> {
        let mut spent = self.spent.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        spent.retain(|_, calls| {
            calls.retain(|&at| at + WRITE_WINDOW_MS > now);
            !calls.is_empty()
        });
        let calls = spent.entry(key.to_owned()).or_default();
        if calls.len() < WRITES {
            calls.push(now);
            return Ok(());
        }
        let left = (calls[0] + WRITE_WINDOW_MS).saturating_sub(now);
        let seconds = left.div_ceil(1000);
        Err(ErrorShape::unavailable(format!(
            "rate limit exceeded for {method}; retry after {seconds}s"
        ))
        .retry_after(left)
        .with_details(json!({"method": method, "limit": "3 per 60s"})))
    }
}

/// Sockets per address that have not authenticated.
#[derive(Debug)]
pub struct PreauthBudget {
    max: usize,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A place in the [`PreauthBudget`]; given back when dropped.
#[derive(Debug)]
pub struct PreauthSlot {
    ip: IpAddr,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl PreauthBudget {
    pub fn new(max: usize) -> Self {
        Self { max, open: Arc::default() }
    }

    /// A place for one more socket of `ip`, if there is one.
    pub fn enter(&self, ip: IpAddr) -> Option<PreauthSlot> {
        let mut open = self.open.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let count = open.entry(ip).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        Some(PreauthSlot { ip, open: Arc::clone(&self.open) })
    }
}

impl Drop for PreauthSlot {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.ip);
            }
        }
    }
}

/// Remembers requests by their idempotency key, so that a repeat does nothing.
#[derive(Debug, Default)]
pub struct Dedupe {
    entries: Mutex<HashMap<String, Remembered>>,
}

#[derive(Debug, Clone)]
struct Remembered {
    at: u64,
    outcome: Option<Reply>,
    /// The first of two responses, while the work goes on.
    accepted: Option<Value>,
}

const DEDUPE_TTL_MS: u64 = 300_000;
const DEDUPE_MAX: usize = 1000;

/// What is known about a request.
#[derive(Debug, Clone)]
pub enum Seen {
    /// Never seen; it is remembered from here on, so the caller must do it.
    Never,
    /// Being worked on; holds the first response if there was one.
    Running(Option<Value>),
    Done(Reply),
}

impl Dedupe {
    /// Looks up `kind:key` and claims it when it is fresh.
    pub fn claim(&self, kind: &str, key: &str, now: u64) -> Seen {
        let mut entries = self.lock();
        let name = format!("{kind}:{key}");
        match entries.get(&name).filter(|known| known.at + DEDUPE_TTL_MS > now) {
            Some(Remembered { outcome: Some(outcome), .. }) => Seen::Done(outcome.clone()),
            Some(Remembered { accepted, .. }) => Seen::Running(accepted.clone()),
            None => {
                entries.insert(name, Remembered { at: now, outcome: None, accepted: None });
                if entries.len() > DEDUPE_MAX {
                    sweep(&mut entries, now);
                }
                Seen::Never
            }
        }
    }

    /// Stores the first response of a claimed request.
    pub fn accept(&self, kind: &str, key: &str, response: Value) {
        if let Some(entry) = self.lock().get_mut(&format!("{kind}:{key}")) {
            entry.accepted = Some(response);
        }
    }

    /// Stores the last response of a claimed request.
    pub fn finish(&self, kind: &str, key: &str, reply: Reply, now: u64) {
        let entry = Remembered { at: now, outcome: Some(reply), accepted: None };
        self.lock().insert(format!("{kind}:{key}"), entry);
    }

    /// Forgets a claim, so that the request may be tried again.
    pub fn release(&self, kind: &str, key: &str) {
        self.lock().remove(&format!("{kind}:{key}"));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Remembered>> {
        self.entries.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Drops what is too old, then the oldest finished entries above the bound.
fn sweep(entries: &mut HashMap<String, Remembered>, now: u64) {
    entries.retain(|_, known| known.outcome.is_none() || known.at + DEDUPE_TTL_MS > now);
    let surplus = entries.len().saturating_sub(DEDUPE_MAX);
    let mut oldest: Vec<(u64, String)> = entries
        .iter()
        .filter(|(_, known)| known.outcome.is_some())
        .map(|(name, known)| (known.at, name.clone()))
        .collect();
    oldest.sort_unstable();
    for (_, name) in oldest.into_iter().take(surplus) {
        entries.remove(&name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fourth_write_in_a_minute_waits() {
        let budget = WriteBudget::default();
        for now in [0, 1_000, 2_000] {
            assert!(budget.spend("a", "config.patch", now).is_ok());
        }
        let error = budget.spend("a", "config.patch", 18_000).unwrap_err();
        assert_eq!(error.message, "rate limit exceeded for config.patch; retry after 42s");
        assert_eq!(error.retry_after_ms, Some(42_000));
        assert!(budget.spend("b", "config.patch", 18_000).is_ok());
        assert!(budget.spend("a", "config.patch", 60_000).is_ok());
    }

    #[test]
    fn a_slot_comes_back_when_its_socket_is_gone() {
        let budget = PreauthBudget::new(2);
        let ip: IpAddr = "192.0.2.1".parse().unwrap();
        let first = budget.enter(ip).unwrap();
        let _second = budget.enter(ip).unwrap();
        assert!(budget.enter(ip).is_none());
        assert!(budget.enter("192.0.2.2".parse().unwrap()).is_some());
        drop(first);
        assert!(budget.enter(ip).is_some());
    }

    #[test]
    fn a_repeat_gets_the_first_response_and_then_the_last() {
        let dedupe = Dedupe::default();
        assert!(matches!(dedupe.claim("agent", "k", 0), Seen::Never));
        assert!(matches!(dedupe.claim("agent", "k", 1), Seen::Running(None)));
        dedupe.accept("agent", "k", json!(1));
        assert!(matches!(dedupe.claim("agent", "k", 1), Seen::Running(Some(_))));
        dedupe.finish("agent", "k", Ok(json!(2)), 2);
        assert!(matches!(dedupe.claim("agent", "k", 3), Seen::Done(Ok(_))));
        assert!(matches!(dedupe.claim("chat", "k", 3), Seen::Never));
        assert!(matches!(dedupe.claim("agent", "k", 3 + DEDUPE_TTL_MS), Seen::Never));
    }

    #[test]
    fn finished_entries_are_bounded() {
        let dedupe = Dedupe::default();
        for n in 0..3000 {
            let key = n.to_string();
            assert!(matches!(dedupe.claim("agent", &key, n), Seen::Never));
            dedupe.finish("agent", &key, Ok(Value::Null), n);
        }
        assert!(dedupe.lock().len() <= DEDUPE_MAX + 1);
    }
}
