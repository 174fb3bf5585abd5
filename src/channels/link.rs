//! What a running account holds: where its messages go and where it says how
//! it is.

use std::io;
use std::sync::Arc;

use crate::channels::gate::Gate;
use crate::channels::inbox::Kept;
use crate::channels::message::Inbound;
use crate::channels::status::Status;

/// The account's side of the manager.
#[derive(Debug, Clone)]
pub struct Link {
    pub status: Status,
    pub(super) gate: Arc<Gate>,
}

/// Messages that are on disk and not yet handed on.
#[must_use = "messages are handed on by `release`"]
#[derive(Debug)]
pub struct Accepted {
    gate: Arc<Gate>,
    kept: Vec<Kept>,
}

impl Link {
    /// Judges messages and writes those that will be answered. Once this
    /// returns, the network may be told that they arrived.
    pub async fn accept(&self, messages: Vec<Inbound>) -> io::Result<Accepted> {
        if !messages.is_empty() {
            self.status.inbound();
        }
        let kept = self.gate.admit(messages).await?;
        Ok(Accepted { gate: Arc::clone(&self.gate), kept })
    }
}

impl Accepted {
    /// Hands the messages on, after the network was told.
    pub async fn release(self) {
        for kept in self.kept {
            self.gate.hand_on(kept).await;
        }
    }
}
