//! Getting accepted messages out: a queue on disk, one lane per place so that
//! order is kept, attempts with growing pauses.
//!
//! Before a piece leaves, the entry says so; after it arrived, the next note or
//! the removal of the file says that. When a process dies between the two,
//! nobody knows whether the piece arrived. On a network that recognises a
//! repeated piece it is sent again; elsewhere the entry is set aside in
//! `failed/` with that reason, because a person notices a missing answer less
//! often than a machine repeats one.

pub mod entry;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::base::clock;
use crate::channels::channel::SendError;
use crate::channels::delivery::entry::{Entry, Folder};
use crate::channels::manager::{Handle, Roster};
use crate::channels::message::{Body, Outbound, Piece, Sent};
use crate::lifecycle::{self, CancellationToken, Lifecycle};
use crate::store::atomic::Sync;

/// Pauses after failures, as the reference has them.
const PAUSES: [Duration; 4] = [
    Duration::from_secs(5),
    Duration::from_secs(25),
    Duration::from_secs(120),
    Duration::from_secs(600),
];
const MOST_RETRIES: u32 = 5;
/// Longest text, in characters, that goes with a file; Telegram takes no more.
const MOST_CAPTION: usize = 1000;
/// What was not delivered by then is set aside, in milliseconds.
const EXPIRES_MS: u64 = 24 * 60 * 60 * 1000;
/// Messages that may wait; further ones are refused.
const MOST_WAITING: usize = 10_000;
/// How often a lane looks whether its account exists by now.
const ACCOUNT_LOOK: Duration = Duration::from_secs(2);

/// The queue. Clones share it.
#[derive(Debug, Clone)]
pub struct Delivery(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: Folder,
    lanes: Mutex<HashMap<String, VecDeque<Waiting>>>,
    sequence: AtomicU64,
    waiting: AtomicU64,
    roster: Roster,
    lifecycle: Lifecycle,
}

#[derive(Debug)]
struct Waiting {
    entry: Entry,
    outcome: watch::Sender<Option<Outcome>>,
}

/// How a delivery ended.
pub type Outcome = Result<Sent, String>;

/// An accepted message.
#[derive(Debug)]
pub struct Receipt {
    pub id: String,
    outcome: watch::Receiver<Option<Outcome>>,
}

impl Receipt {
    /// Waits for the end of the delivery.
    pub async fn outcome(mut self) -> Outcome {
        match self.outcome.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or_else(|| Ok(Sent::default())),
            Err(_) => Err("the gateway stops; the message stays in the delivery queue".to_owned()),
        }
    }
}

impl Delivery {
    pub fn new(state: &Path, roster: Roster, lifecycle: Lifecycle) -> Self {
        Self(Arc::new(Inner {
            folder: Folder::new(state),
            lanes: Mutex::default(),
            sequence: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            roster,
            lifecycle,
        }))
    }

    /// Accepts a message: once this returns, it survives a crash.
    pub async fn accept(&self, outbound: Outbound) -> io::Result<Receipt> {
        let inner = &self.0;
        if usize::try_from(inner.waiting.load(Ordering::Relaxed)).unwrap_or(usize::MAX)
            >= MOST_WAITING
        {
            return Err(io::Error::other(format!(
                "the delivery queue is full ({MOST_WAITING} messages wait)"
            )));
        }
        let entry = Entry::new(outbound, inner.sequence.fetch_add(1, Ordering::Relaxed));
        let folder = inner.folder.clone();
        let entry = blocking(move || folder.write(&entry, Sync::Yes).map(|()| entry)).await?;
        Ok(self.enqueue(entry))
    }

    /// Takes up what an earlier process left; returns the keys of the inbound
    /// messages that are answered by it.
    pub async fn recover(&self) -> io::Result<Vec<String>> {
        let folder = self.0.folder.clone();
        let entries = blocking(move || folder.read()).await?;
        let mut answered = Vec::new();
        for entry in entries {
            answered.extend(entry.progress.answers.iter().cloned());
            let _receipt = self.enqueue(entry);
        }
        Ok(answered)
    }

    /// Waits until nothing waits.
    pub async fn idle(&self) {
        while self.0.waiting.load(Ordering::Relaxed) > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn lanes(&self) -> MutexGuard<'_, HashMap<String, VecDeque<Waiting>>> {
        self.0.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enqueue(&self, entry: Entry) -> Receipt {
        let (sender, outcome) = watch::channel(None);
        let id = entry.id.clone();
        let lane = entry.lane();
        self.0.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting { entry, outcome: sender };
        let idle = {
            let mut lanes = self.lanes();
            let idle = !lanes.contains_key(&lane);
            lanes.entry(lane.clone()).or_default().push_back(waiting);
            idle
        };
        if idle {
            let delivery = self.clone();
            self.0.lifecycle.spawn("delivery", move |stop| async move {
                delivery.drive(&lane, stop).await;
            });
        }
        Receipt { id, outcome }
    }

    /// Delivers what a lane holds, one after the other.
    async fn drive(&self, lane: &str, stop: CancellationToken) {
        loop {
            let next = {
                let mut lanes = self.lanes();
                let Some(queue) = lanes.get_mut(lane) else { return };
                if let Some(next) = queue.pop_front() {
                    next
                } else {
                    lanes.remove(lane);
                    return;
                }
            };
            let Waiting { mut entry, outcome } = next;
            tokio::select! {
                // What is being written is finished or stays on disk.
                () = stop.cancelled() => return,
                result = self.deliver(&mut entry) => {
                    self.0.waiting.fetch_sub(1, Ordering::Relaxed);
                    outcome.send_replace(Some(result));
                }
            }
        }
    }

    /// Delivers one entry or sets it aside.
    async fn deliver(&self, entry: &mut Entry) -> Outcome {
        let mut interrupted = entry.progress.sending;
        loop {
            if clock::now_ms().saturating_sub(entry.enqueued_at) > EXPIRES_MS {
                return self.give_up(entry, "not delivered within a day").await;
            }
            let Some(handle) = self.0.roster.get(&entry.channel, entry.account()) else {
                tokio::time::sleep(ACCOUNT_LOOK).await;
                continue;
            };
            if std::mem::take(&mut interrupted) && !handle.kind.idempotent {
                let why =
                    "the gateway ended while this was being sent; whether it arrived is unknown";
                return self.give_up(entry, why).await;
            }
            // Looks again now and then: the account may have been replaced.
            if tokio::time::timeout(ACCOUNT_LOOK, handle.status.wait_connected()).await.is_err() {
                continue;
            }
            let result = match self.attempt(entry, &handle).await {
                Err(SendError::Unknown(why)) if handle.kind.idempotent => {
                    Err(SendError::not_sent(why))
                }
                other => other,
            };
            match result {
                Ok(sent) => {
                    let (folder, id) = (self.0.folder.clone(), entry.id.clone());
                    if let Err(err) = blocking(move || folder.remove(&id)).await {
                        tracing::warn!(%err, "delivered message not removed from the queue");
                    }
                    return Ok(sent);
                }
                Err(SendError::NotSent { why, after }) => {
                    entry.retry_count += 1;
                    // A lost connection is no attempt: the next one waits for it.
                    if !handle.status.is_connected() {
                        entry.retry_count -= 1;
                    }
                    if entry.retry_count > MOST_RETRIES {
                        return self.give_up(entry, &why).await;
                    }
                    entry.last_error = Some(why);
                    entry.last_attempt_at = Some(clock::now_ms());
                    entry.progress.sending = false;
                    self.note(entry).await;
                    let step = usize::try_from(entry.retry_count.saturating_sub(1)).unwrap_or(0);
                    let pause = after.unwrap_or(PAUSES[step.min(PAUSES.len() - 1)]);
                    if handle.status.is_connected() {
                        tokio::time::sleep(pause).await;
                    }
                }
                Err(SendError::Unknown(why) | SendError::Refused(why)) => {
                    return self.give_up(entry, &why).await;
                }
            }
        }
    }

    /// Sends the pieces that have not arrived yet.
    async fn attempt(&self, entry: &mut Entry, handle: &Handle) -> Result<Sent, SendError> {
        let pieces = pieces(entry, handle);
        let mut last = Sent::default();
        for piece in pieces.iter().skip(entry.progress.delivered) {
            entry.progress.sending = true;
            self.note(entry).await;
            last = handle.account.send(piece).await?;
            handle.status.outbound();
            entry.progress.sending = false;
            entry.progress.delivered += 1;
        }
        Ok(last)
    }

    /// Writes how far an entry has come.
    async fn note(&self, entry: &Entry) {
        let (folder, copy) = (self.0.folder.clone(), entry.clone());
        if let Err(err) = blocking(move || folder.write(&copy, Sync::No)).await {
            tracing::warn!(%err, "progress of a delivery not written");
        }
    }

    async fn give_up(&self, entry: &mut Entry, why: &str) -> Outcome {
        tracing::warn!(
            channel = entry.channel,
            account = entry.account(),
            id = entry.id,
            "a message was not delivered and is set aside in delivery-queue/failed: {why}"
        );
        entry.last_error = Some(why.to_owned());
        entry.last_attempt_at = Some(clock::now_ms());
        let (folder, copy) = (self.0.folder.clone(), entry.clone());
        if let Err(err) = blocking(move || folder.set_aside(&copy)).await {
            tracing::warn!(%err, "undelivered message not set aside");
        }
        Err(why.to_owned())
    }
}

/// The calls that an entry amounts to on its network.
fn pieces(entry: &Entry, handle: &Handle) -> Vec<Piece> {
    let mut bodies = Vec::new();
    for payload in &entry.payloads {
        let mut texts: VecDeque<String> =
            handle.split(payload.text.as_deref().unwrap_or_default()).into();
        for source in payload.media() {
            let fits = texts.len() == 1 && texts[0].chars().count() <= MOST_CAPTION;
            let caption = if fits { texts.pop_front() } else { None };
            let caption = caption.unwrap_or_default();
            bodies.push(Body::File { source: source.to_owned(), caption });
        }
        bodies.extend(texts.into_iter().map(Body::Text));
    }
    let thread = entry.thread();
    let every = handle.reply_mode() == "all";
    let bodies = bodies.into_iter().enumerate();
    let piece = |(index, body)| Piece {
        token: format!("{}-{index}", entry.id),
        to: entry.to.clone(),
        thread: thread.clone(),
        reply_to: entry.reply_to_id.clone().filter(|_| index == 0 || every),
        silent: entry.silent == Some(true),
        body,
    };
    bodies.map(piece).collect()
}

/// Runs file work off the async workers.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    lifecycle::spawn_blocking(work).await.unwrap_or_else(|err| Err(io::Error::other(err)))
}
