//! What waits to be written to one socket.
//!
//! Events are shared between sockets: the queue holds references, and the text
//! is put together only while it is written. A peer that does not read loses
//! droppable events first and then its connection, so memory stays bounded.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;

use futures_util::task::AtomicWaker;

use crate::protocol::events::Event;
use crate::protocol::frame::{self, EventText, MAX_BUFFERED, close};

/// Queued bytes above which no further requests are read from the socket.
const BACKPRESSURE: usize = 4 * 1024 * 1024;

/// One message on its way out.
#[derive(Debug, Clone)]
pub enum Item {
    Text(String),
    Event {
        text: Arc<EventText>,
        seq: Option<u64>,
    },
    Ping,
    /// Nothing is sent after it.
    Close {
        code: u16,
        reason: String,
    },
}

impl Item {
    fn len(&self) -> usize {
        /// A frame header, a sequence number and the bookkeeping of the queue.
        const OVERHEAD: usize = 64;
        OVERHEAD
            + match self {
                Self::Text(text) => text.len(),
                Self::Event { text, .. } => text.head.len() + text.tail.len(),
                Self::Ping => 0,
                Self::Close { reason, .. } => reason.len(),
            }
    }
}

/// Whether an event carries a sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbering {
    /// Broadcast: clients look for gaps.
    Counted,
    /// Targeted at this socket.
    Uncounted,
}

/// The bounded queue of one socket. Pushing never blocks.
#[derive(Debug, Default)]
pub struct Outbox {
    queue: Mutex<Queue>,
    waker: AtomicWaker,
}

#[derive(Debug, Default)]
struct Queue {
    items: VecDeque<Item>,
    bytes: usize,
    seq: u64,
    closing: bool,
    abandoned: bool,
    /// Bumped whenever something was handed to the socket.
    taken: u64,
}

impl Outbox {
    /// Queues a response or any other finished text.
    pub fn push_text(&self, text: String) {
        self.push(Item::Text(text));
    }

    /// Queues a WebSocket ping.
    pub fn push_ping(&self) {
        self.push(Item::Ping);
    }

    /// Queues an event. A slow peer misses a droppable one, which it notices by
    /// the gap in the numbers, and is closed at any other.
    pub fn push_event(
        &self,
        event: Event,
        text: &Arc<EventText>,
        numbering: Numbering,
        droppable: bool,
    ) {
        let mut queue = self.lock();
        if queue.closing {
            return;
        }
        let seq = (numbering == Numbering::Counted).then(|| {
            queue.seq += 1;
            queue.seq
        });
        if queue.bytes > MAX_BUFFERED {
            if droppable {
                tracing::debug!(event = event.name(), "event dropped for a slow peer");
            } else {
                queue.abandon(close::POLICY, "slow consumer");
            }
        } else {
            queue.put(Item::Event { text: Arc::clone(text), seq });
        }
        drop(queue);
        self.waker.wake();
    }

    /// Closes the socket after everything queued has been written.
    pub fn close(&self, code: u16, reason: &str) {
        self.push(Item::Close { code, reason: frame::close_reason(reason).to_owned() });
    }

    /// Closes the socket without writing what is queued.
    pub fn abandon(&self, code: u16, reason: &str) {
        self.lock().abandon(code, reason);
        self.waker.wake();
    }

    /// Whether the socket was given up: what cannot be written now is lost.
    pub fn is_abandoned(&self) -> bool {
        self.lock().abandoned
    }

    /// Whether no further requests should be read for now.
    pub fn is_heavy(&self) -> bool {
        self.lock().bytes > BACKPRESSURE
    }

    /// Queued bytes, and a counter that moves while the peer reads.
    pub fn progress(&self) -> (usize, u64) {
        let queue = self.lock();
        (queue.bytes, queue.taken)
    }

    /// Takes the next message, if there is one.
    pub fn take(&self) -> Option<Item> {
        let mut queue = self.lock();
        let item = queue.items.pop_front()?;
        queue.bytes -= item.len();
        queue.taken += 1;
        if queue.items.is_empty() {
            queue.items.shrink_to(4);
        }
        Some(item)
    }

    /// Wakes `waker` at the next push.
    pub fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// Wakes the socket's task, for example after a handler ended.
    pub fn nudge(&self) {
        self.waker.wake();
    }

    fn push(&self, item: Item) {
        self.lock().put(item);
        self.waker.wake();
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Queue {
    fn put(&mut self, item: Item) {
        if self.closing {
            return;
        }
        self.closing = matches!(item, Item::Close { .. });
        self.bytes += item.len();
        self.items.push_back(item);
    }

    fn abandon(&mut self, code: u16, reason: &str) {
        self.items.clear();
        self.bytes = 0;
        self.closing = false;
        self.abandoned = true;
        self.put(Item::Close { code, reason: reason.to_owned() });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(payload: &str) -> Arc<EventText> {
        Arc::new(EventText::new("tick", &json!({ "x": payload }), None))
    }

    fn seqs(outbox: &Outbox) -> Vec<Option<u64>> {
        std::iter::from_fn(|| outbox.take())
            .filter_map(|item| match item {
                Item::Event { seq, .. } => Some(seq),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn broadcasts_are_numbered_without_gaps_and_targeted_events_are_not() {
        let outbox = Outbox::default();
        outbox.push_event(Event::Tick, &event(""), Numbering::Counted, true);
        outbox.push_event(Event::SessionTool, &event(""), Numbering::Uncounted, true);
        outbox.push_event(Event::Tick, &event(""), Numbering::Counted, true);
        assert_eq!(seqs(&outbox), [Some(1), None, Some(2)]);
    }

    #[test]
    fn a_slow_peer_misses_droppable_events_and_sees_the_gap() {
        let outbox = Outbox::default();
        outbox.push_text("x".repeat(MAX_BUFFERED + 1));
        outbox.push_event(Event::Tick, &event(""), Numbering::Counted, true);
        assert!(matches!(outbox.take(), Some(Item::Text(_))));
        outbox.push_event(Event::Tick, &event(""), Numbering::Counted, true);
        assert_eq!(seqs(&outbox), [Some(2)]);
    }

    #[test]
    fn a_slow_peer_is_closed_at_an_event_it_must_not_miss() {
        let outbox = Outbox::default();
        outbox.push_text("x".repeat(MAX_BUFFERED + 1));
        outbox.push_event(Event::Health, &event(""), Numbering::Counted, false);
        let Some(Item::Close { code, reason }) = outbox.take() else { panic!("no close") };
        assert_eq!((code, reason.as_str()), (1008, "slow consumer"));
        assert!(outbox.take().is_none());
    }

    #[test]
    fn nothing_follows_a_close() {
        let outbox = Outbox::default();
        outbox.push_text("a".to_owned());
        outbox.close(1012, "service restart");
        outbox.push_text("b".to_owned());
        outbox.push_event(Event::Tick, &event(""), Numbering::Counted, true);
        assert!(matches!(outbox.take(), Some(Item::Text(_))));
        assert!(matches!(outbox.take(), Some(Item::Close { .. })));
        assert!(outbox.take().is_none());
        assert_eq!(outbox.progress().0, 0);
    }

    #[test]
    fn the_queue_never_holds_more_than_its_bound_of_events() {
        let outbox = Outbox::default();
        let big = event(&"x".repeat(1024 * 1024));
        for _ in 0..200 {
            outbox.push_event(Event::Tick, &big, Numbering::Counted, true);
        }
        assert!(outbox.progress().0 <= MAX_BUFFERED + 2 * 1024 * 1024);
    }
}
