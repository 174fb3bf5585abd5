//! Decisions that wait for an operator: may this command run, may this plugin.
//!
//! One [`Desk`] per kind. An open question is answered by
//! `…approval.resolve`, or ends undecided when its time is up; the answer stays
//! readable for a moment, for those who ask late.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};
use tokio::sync::watch;

/// How long a closed question can still be asked about.
const LINGER_MS: u64 = 15_000;

/// Questions that may be open at the same time; more are refused.
const MAX_OPEN: usize = 256;

/// The answers an operator can give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    AllowOnce,
    AllowAlways,
    Deny,
}

impl Decision {
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "allow-once" => Some(Self::AllowOnce),
            "allow-always" => Some(Self::AllowAlways),
            "deny" => Some(Self::Deny),
            _ => None,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::AllowOnce => "allow-once",
            Self::AllowAlways => "allow-always",
            Self::Deny => "deny",
        }
    }
}

/// What became of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Open,
    /// `None`: nobody decided.
    Closed(Option<Decision>),
}

/// Who put a question.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asker {
    pub device: Option<String>,
    pub conn: String,
}

/// One question.
#[derive(Debug, Clone)]
pub struct Ticket {
    pub id: String,
    pub request: Value,
    pub asker: Asker,
    pub created_at_ms: u64,
    pub expires_at_ms: u64,
    outcome: watch::Receiver<Outcome>,
}

impl Ticket {
    /// What has become of the question by now.
    pub fn outcome(&self) -> Outcome {
        *self.outcome.borrow()
    }

    /// Waits until the question is closed.
    pub async fn decision(&mut self) -> Option<Decision> {
        match self.outcome.wait_for(|outcome| *outcome != Outcome::Open).await.as_deref() {
            Ok(Outcome::Closed(decision)) => *decision,
            _ => None,
        }
    }

    /// Final result of a request or a wait.
    pub fn answer(&self, decision: Option<Decision>) -> Value {
        json!({
            "id": self.id,
            "decision": decision.map(Decision::as_str),
            "createdAtMs": self.created_at_ms,
            "expiresAtMs": self.expires_at_ms,
        })
    }

    /// First answer of a two-phase request.
    pub fn accepted(&self) -> Value {
        json!({
            "status": "accepted",
            "id": self.id,
            "createdAtMs": self.created_at_ms,
            "expiresAtMs": self.expires_at_ms,
        })
    }

    /// Payload of the `requested` event.
    pub fn requested(&self) -> Value {
        json!({
            "id": self.id,
            "request": self.request,
            "createdAtMs": self.created_at_ms,
            "expiresAtMs": self.expires_at_ms,
        })
    }
}

/// Why a question cannot be asked or answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeskError {
    #[error("approval id already pending")]
    Taken,
    #[error("too many approvals are waiting for a decision")]
    Full,
    #[error("unknown or expired approval id")]
    Unknown,
    #[error("ambiguous approval id prefix; matches: {}. Use the full id.", .0.join(", "))]
    Ambiguous(Vec<String>),
}

/// Open questions of one kind.
#[derive(Debug, Default)]
pub struct Desk {
    slots: Mutex<HashMap<String, Slot>>,
}

#[derive(Debug)]
struct Slot {
    ticket: Ticket,
    sender: watch::Sender<Outcome>,
    closed_at: Option<u64>,
    /// Whether something was run on the strength of the answer.
    spent: bool,
}

impl Desk {
    /// Opens a question. The caller tells when its time is up ([`Self::close`]).
    pub fn open(
        &self,
        id: String,
        request: Value,
        asker: Asker,
        timeout_ms: u64,
        now: u64,
    ) -> Result<Ticket, DeskError> {
        let mut slots = self.lock(now);
        if slots.get(&id).is_some_and(|slot| slot.closed_at.is_none()) {
            return Err(DeskError::Taken);
        }
        if slots.values().filter(|slot| slot.closed_at.is_none()).count() >= MAX_OPEN {
            return Err(DeskError::Full);
        }
        let (sender, outcome) = watch::channel(Outcome::Open);
        let expires_at_ms = now.saturating_add(timeout_ms);
        let id_of = id.clone();
        let ticket =
            Ticket { id: id_of, request, asker, created_at_ms: now, expires_at_ms, outcome };
        slots.insert(id, Slot { ticket: ticket.clone(), sender, closed_at: None, spent: false });
        Ok(ticket)
    }

    /// A question by its full id, open or just closed.
    pub fn get(&self, id: &str, now: u64) -> Option<Ticket> {
        self.lock(now).get(id).map(|slot| slot.ticket.clone())
    }

    /// All open questions, the oldest first.
    pub fn waiting(&self, now: u64) -> Vec<Ticket> {
        let slots = self.lock(now);
        let open = slots.values().filter(|slot| slot.closed_at.is_none());
        let mut tickets: Vec<Ticket> = open.map(|slot| slot.ticket.clone()).collect();
        tickets.sort_by_key(|ticket| ticket.created_at_ms);
        tickets
    }

    /// The open question that an id, or an unambiguous beginning of one, names.
    pub fn find(&self, id: &str, now: u64) -> Result<Ticket, DeskError> {
        let slots = self.lock(now);
        let open = || slots.values().filter(|slot| slot.closed_at.is_none());
        if let Some(slot) = open().find(|slot| slot.ticket.id == id) {
            return Ok(slot.ticket.clone());
        }
        let mut matches: Vec<&Slot> =
            open().filter(|slot| !id.is_empty() && slot.ticket.id.starts_with(id)).collect();
        match (matches.pop(), matches.is_empty()) {
            (Some(slot), true) => Ok(slot.ticket.clone()),
            (Some(last), false) => {
                let mut ids: Vec<String> =
                    matches.iter().chain([&last]).map(|slot| slot.ticket.id.clone()).collect();
                ids.sort_unstable();
                ids.truncate(3);
                Err(DeskError::Ambiguous(ids))
            }
            (None, _) => Err(DeskError::Unknown),
        }
    }

    /// Closes a question; `false` when it is not open.
    pub fn close(&self, id: &str, decision: Option<Decision>, now: u64) -> bool {
        let mut slots = self.lock(now);
        let Some(slot) = slots.get_mut(id).filter(|slot| slot.closed_at.is_none()) else {
            return false;
        };
        slot.closed_at = Some(now);
        slot.sender.send_replace(Outcome::Closed(decision));
        true
    }

    /// Closes every open question undecided.
    pub fn close_all(&self, now: u64) {
        for ticket in self.waiting(now) {
            self.close(&ticket.id, None, now);
        }
    }

    /// Uses up the answer to a question; `false` when that has been done.
    pub fn spend(&self, id: &str, now: u64) -> bool {
        let mut slots = self.lock(now);
        let Some(slot) = slots.get_mut(id).filter(|slot| slot.closed_at.is_some()) else {
            return false;
        };
        !std::mem::replace(&mut slot.spent, true)
    }

    fn lock(&self, now: u64) -> std::sync::MutexGuard<'_, HashMap<String, Slot>> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|_, slot| {
            slot.closed_at.is_none_or(|closed| now.saturating_sub(closed) <= LINGER_MS)
        });
        slots
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_decision_wakes_all_who_wait_and_lingers() {
        let desk = Desk::default();
        let mut ticket = desk.open("abc1".into(), json!({}), Asker::default(), 100, 0).unwrap();
        let mut other = desk.get("abc1", 1).unwrap();
        assert!(desk.close("abc1", Some(Decision::AllowOnce), 2));
        assert_eq!(ticket.decision().await, Some(Decision::AllowOnce));
        assert_eq!(other.decision().await, Some(Decision::AllowOnce));
        assert!(!desk.close("abc1", Some(Decision::Deny), 3));
        assert!(desk.spend("abc1", 3) && !desk.spend("abc1", 3), "an answer serves once");
        assert_eq!(desk.find("abc1", 3).unwrap_err(), DeskError::Unknown);
        assert!(desk.get("abc1", LINGER_MS).is_some());
        assert!(desk.get("abc1", LINGER_MS + 3).is_none());
    }

    #[test]
    fn a_prefix_must_be_unambiguous() {
        let desk = Desk::default();
        desk.open("abc1".into(), json!({}), Asker::default(), 100, 0).unwrap();
        assert_eq!(desk.find("ab", 1).unwrap().id, "abc1");
        desk.open("abd2".into(), json!({}), Asker::default(), 100, 1).unwrap();
        let ids: Vec<String> = desk.waiting(1).into_iter().map(|ticket| ticket.id).collect();
        assert_eq!(ids, ["abc1", "abd2"]);
        let expected = DeskError::Ambiguous(vec!["abc1".into(), "abd2".into()]);
        assert_eq!(desk.find("ab", 1).unwrap_err(), expected);
        assert_eq!(desk.find("abc1", 1).unwrap().id, "abc1");
        assert_eq!(
            desk.open("abc1".into(), json!({}), Asker::default(), 100, 1).unwrap_err(),
            DeskError::Taken
        );
    }
}
