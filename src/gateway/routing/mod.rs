//! Joins channels and agents: a message becomes a run of an agent in a session,
//! its reply a delivery to where the message came from.
//!
//! One task per chat submits messages in order of arrival; a second one waits
//! for their outcomes, so that replies keep that order too.

pub mod bindings;
mod chat;
pub mod frame;
mod names;
pub mod outbound;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use crate::channels::Kept;
use crate::gateway::State;
use crate::lifecycle::CancellationToken;

pub use names::Names;

/// Messages of one chat that may wait to be submitted.
const MOST_WAITING: usize = 1000;

/// The chats that something is going on in.
type Chats = Arc<Mutex<HashMap<String, mpsc::Sender<Kept>>>>;

/// Starts channels and takes their messages to the agents.
pub fn start(state: &Arc<State>, inbound: mpsc::Receiver<Kept>) {
    let routing = Arc::clone(state);
    state.lifecycle.spawn("routing", |stop| route(routing, inbound, stop));
    let starting = Arc::clone(state);
    state.lifecycle.spawn("channels start", |stop| async move {
        let snapshot = starting.config.load();
        tokio::select! {
            () = stop.cancelled() => {}
            () = starting.channels.start(&snapshot) => {}
        }
    });
    state.channels.watch_health(state.config.clone());
}

/// Makes the running accounts those of the configuration in force.
pub fn apply(state: &Arc<State>) {
    let applying = Arc::clone(state);
    state.lifecycle.spawn("channels reload", |_stop| async move {
        let snapshot = applying.config.load();
        applying.channels.apply(&snapshot).await;
    });
}

async fn route(state: Arc<State>, mut inbound: mpsc::Receiver<Kept>, stop: CancellationToken) {
    let chats = Chats::default();
    loop {
        let kept = tokio::select! {
            () = stop.cancelled() => return,
            kept = inbound.recv() => match kept {
                Some(kept) => kept,
                None => return,
            },
        };
        let message = &kept.message;
        let thread = message.chat.thread.as_deref().unwrap_or_default();
        let (channel, account) = (&message.channel, &message.account);
        let key = format!("{channel}|{account}|{}|{thread}", message.chat.to);
        let refused = {
            let mut open = chats.lock().unwrap_or_else(PoisonError::into_inner);
            let sender = open.entry(key.clone()).or_insert_with(|| {
                let (sender, receiver) = mpsc::channel(MOST_WAITING);
                let (state, chats) = (Arc::clone(&state), Arc::clone(&chats));
                let lifecycle = state.lifecycle.clone();
                lifecycle.spawn("chat", |stop| chat::follow(state, chats, key, receiver, stop));
                sender
            });
            sender.try_send(kept).err()
        };
        if let Some(refused) = refused {
            let kept = refused.into_inner();
            tracing::warn!(
                channel = kept.message.channel,
                account = kept.message.account,
                "a message was dropped: {MOST_WAITING} of this chat wait already"
            );
            state.channels.answered(kept).await;
        }
    }
}
