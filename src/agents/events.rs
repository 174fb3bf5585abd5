//! System events: short notes that a session's next prompt begins with.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::PoisonError;

/// Notes kept per session; the oldest goes when one more arrives.
const MOST_PER_SESSION: usize = 20;

/// Notes by session key.
#[derive(Debug, Default)]
pub(crate) struct SystemEvents {
    waiting: Mutex<HashMap<String, VecDeque<(u64, String)>>>,
}

impl SystemEvents {
    /// Queues a note; the same text twice in a row counts once.
    pub(crate) fn push(&self, key: &str, at_ms: u64, text: &str) {
        let text = text.trim();
        if text.is_empty() {
            return;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = waiting.entry(key.to_owned()).or_default();
        if queue.back().is_some_and(|(_, last)| last == text) {
            return;
        }
        if queue.len() >= MOST_PER_SESSION {
            queue.pop_front();
        }
        queue.push_back((at_ms, text.to_owned()));
    }

    /// The notes that wait for a session, oldest first.
    pub(crate) fn peek(&self, key: &str) -> Vec<String> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.get(key).into_iter().flatten().map(|(_, text)| text.clone()).collect()
    }

    /// Takes all notes of a session, oldest first.
    pub(crate) fn take(&self, key: &str) -> Vec<(u64, String)> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.remove(key).map(Vec::from).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_taken_once_and_bounded() {
        let events = SystemEvents::default();
        events.push("k", 1, " hello ");
        events.push("k", 2, "hello");
        assert_eq!(events.take("k"), [(1, "hello".to_owned())]);
        assert!(events.take("k").is_empty());
        for number in 0..30_u64 {
            events.push("k", number, &number.to_string());
        }
        assert_eq!(events.take("k").len(), MOST_PER_SESSION);
    }
}
