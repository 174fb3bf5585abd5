//! The door of one account: what was said before is dropped, strangers are told
//! how to pair, groups are listened to, and what will be answered is written
//! down.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::join_all;
use tokio::sync::mpsc;

use crate::channels::channel::Kind;
use crate::channels::delivery::Delivery;
use crate::channels::inbox::{Inbox, Kept};
use crate::channels::message::{ChatKind, Earlier, Inbound, Outbound, Payload};
use crate::channels::pairing::{self, Asked, Pairing};
use crate::channels::policy::{Policy, Verdict};
use crate::lifecycle;

/// Group messages kept as context unless configured.
pub const HISTORY: usize = 50;

/// What the rest of the program knows about a message.
pub trait Listener: fmt::Debug + Send + Sync {
    /// Whether the text means the bot, by the routed agent's own names.
    fn is_addressed(&self, message: &Inbound) -> bool;
    /// Whether the whole text is a command.
    fn is_command(&self, text: &str) -> bool;
    /// Group messages kept as context for the next one that is answered.
    fn history_limit(&self, message: &Inbound) -> usize;
}

/// What all accounts share.
#[derive(Debug, Clone)]
pub struct Hall {
    pub inbox: Arc<Inbox>,
    pub pairing: Pairing,
    pub delivery: Delivery,
    pub listener: Arc<dyn Listener>,
    /// Where accepted messages go.
    pub out: mpsc::Sender<Kept>,
}

/// The door of one account.
#[derive(Debug)]
pub struct Gate {
    kind: &'static Kind,
    account: String,
    policy: Policy,
    hall: Hall,
    /// Messages by chat that nobody answered yet.
    pending: Mutex<HashMap<String, VecDeque<Earlier>>>,
}

impl Gate {
    pub fn new(kind: &'static Kind, account: String, policy: Policy, hall: Hall) -> Self {
        Self { kind, account, policy, hall, pending: Mutex::default() }
    }

    /// Judges messages; returns those to be answered, on disk, in order. When
    /// one cannot be kept, the network is to send them all again.
    pub async fn admit(&self, messages: Vec<Inbound>) -> io::Result<Vec<Kept>> {
        let mut keys = Vec::new();
        let kept = self.judge_and_keep(messages, &mut keys).await;
        if kept.is_err() {
            for key in keys {
                self.hall.inbox.forget(&key);
            }
        }
        kept
    }

    async fn judge_and_keep(
        &self,
        messages: Vec<Inbound>,
        keys: &mut Vec<String>,
    ) -> io::Result<Vec<Kept>> {
        let mut accepted = Vec::new();
        for message in messages {
            let key = message.key();
            if self.hall.inbox.is_new(&key) {
                keys.push(key);
                accepted.extend(self.judge(message).await?);
            }
        }
        // The files' names follow this order; writing at once is one wait for
        // the disk instead of many.
        let writes = accepted.into_iter().map(|message| {
            let place = self.hall.inbox.place();
            let inbox = Arc::clone(&self.hall.inbox);
            async move {
                let written = lifecycle::spawn_blocking(move || inbox.keep(place, message));
                written.await.unwrap_or_else(|err| Err(io::Error::other(err)))
            }
        });
        join_all(writes).await.into_iter().collect()
    }

    /// The message if it is to be answered.
    async fn judge(&self, mut message: Inbound) -> io::Result<Option<Inbound>> {
        let approved = self.approved(&message).await?;
        let mentioned = message.mentioned || self.hall.listener.is_addressed(&message);
        let is_command = self.hall.listener.is_command(&message.text);
        match self.policy.judge(&message, &approved, mentioned, is_command) {
            Verdict::Answer { may_command, listed } => {
                message.may_command = may_command;
                message.listed = listed;
                message.mentioned = mentioned;
                message.group_prompt = self.policy.group_prompt(&message);
                message.group_tools = self.policy.group_tools(&message);
                message.before = self.take_pending(&message.chat.id);
                Ok(Some(message))
            }
            Verdict::Pair => {
                self.offer_pairing(&message).await?;
                Ok(None)
            }
            Verdict::Remember => {
                tracing::debug!(
                    target: "channels", "[{}] drop channel {} (missing-mention)", self.kind.id,
                    message.chat.id
                );
                self.remember(&message);
                Ok(None)
            }
            Verdict::Drop(text) => {
                tracing::info!(target: "channels", "[{}] {text}", self.kind.id);
                Ok(None)
            }
        }
    }

    /// Who was let in by pairing; asked only for direct messages.
    async fn approved(&self, message: &Inbound) -> io::Result<Vec<String>> {
        if message.chat.kind != ChatKind::Direct {
            return Ok(Vec::new());
        }
        let (pairing, channel) = (self.hall.pairing.clone(), self.kind.id);
        let account = self.account.clone();
        let read = lifecycle::spawn_blocking(move || pairing.allowed(channel, &account)).await;
        read.unwrap_or_else(|err| Err(io::Error::other(err)))
    }

    async fn offer_pairing(&self, message: &Inbound) -> io::Result<()> {
        let (pairing, channel) = (self.hall.pairing.clone(), self.kind.id);
        let account = self.account.clone();
        let (id, name) = (message.author.id.clone(), message.author.name.clone());
        let asked = lifecycle::spawn_blocking(move || pairing.ask(channel, &account, &id, &name));
        let asked = asked.await.unwrap_or_else(|err| Err(io::Error::other(err)))?;
        let author = &message.author.id;
        tracing::info!(target: "channels", "[{channel}] drop DM sender {author} (dmPolicy=pairing)");
        let Asked::New(code) = asked else { return Ok(()) };
        let text = pairing::prompt(channel, self.kind.id_label, author, &code);
        let outbound = Outbound {
            channel: channel.to_owned(),
            account: self.account.clone(),
            to: message.chat.to.clone(),
            thread: message.chat.thread.clone(),
            payloads: vec![Payload::text(text)],
            ..Outbound::default()
        };
        self.hall.delivery.accept(outbound).await?;
        Ok(())
    }

    fn remember(&self, message: &Inbound) {
        let limit = self.hall.listener.history_limit(message);
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = pending.entry(message.chat.id.clone()).or_default();
        lines.push_back(Earlier {
            sender: message.author.name.clone(),
            text: message.text.clone(),
            at: message.at,
        });
        while lines.len() > limit {
            lines.pop_front();
        }
    }

    fn take_pending(&self, chat: &str) -> Vec<Earlier> {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.remove(chat).map(Vec::from).unwrap_or_default()
    }

    /// Passes an accepted message on. Waits while the receiver is busy: then
    /// the network waits too.
    pub async fn hand_on(&self, kept: Kept) {
        if self.hall.out.send(kept).await.is_err() {
            tracing::debug!("a message stays in the inbox: the gateway stops");
        }
    }
}
