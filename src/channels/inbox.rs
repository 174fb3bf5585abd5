//! Accepted messages on disk until they are answered, so that a message which
//! the network considers delivered survives a crash of this process.
//!
//! A message leaves the inbox when its answer is in the delivery queue. A crash
//! between the two leaves it in both: the queue's entry names it, and the next
//! start takes it out here.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::base::clock;
use crate::channels::message::Inbound;
use crate::store::atomic::{self, Sync};

/// Keys remembered to recognise what a network sends twice.
const MOST_SEEN: usize = 5000;
/// How long a key is remembered, in milliseconds.
const SEEN_MS: u64 = 20 * 60 * 1000;
/// Starts after which a message that was never answered is given up: it may be
/// what brings the process down.
const MOST_ATTEMPTS: u32 = 5;

/// An accepted message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kept {
    /// Times that a start found it unanswered.
    pub attempts: u32,
    pub message: Inbound,
    #[serde(skip)]
    file: PathBuf,
}

/// The accepted messages of one state directory.
#[derive(Debug)]
pub struct Inbox {
    dir: PathBuf,
    sequence: AtomicU64,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    keys: HashMap<String, u64>,
    order: VecDeque<(u64, String)>,
}

impl Inbox {
    pub fn new(state: &Path) -> Self {
        let dir = state.join("channels/inbox");
        Self { dir, sequence: AtomicU64::new(0), seen: Mutex::default() }
    }

    /// Whether the key is new; notes it.
    pub fn is_new(&self, key: &str) -> bool {
        let now = clock::now_ms();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((at, _)) = seen.order.front()
            && (seen.order.len() > MOST_SEEN || now.saturating_sub(*at) > SEEN_MS)
        {
            if let Some((_, old)) = seen.order.pop_front() {
                seen.keys.remove(&old);
            }
        }
        if seen.keys.insert(key.to_owned(), now).is_some() {
            return false;
        }
        seen.order.push_back((now, key.to_owned()));
        true
    }

    /// Unsays [`Self::is_new`], for a message that could not be kept.
    pub fn forget(&self, key: &str) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.keys.remove(key);
        seen.order.retain(|(_, known)| known != key);
    }

    /// The next place in the order of arrival.
    pub fn place(&self) -> PathBuf {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        self.dir.join(format!("{:014}-{sequence:08}.json", clock::now_ms()))
    }

    /// Writes an accepted message to its place. Blocking.
    pub fn keep(&self, place: PathBuf, message: Inbound) -> io::Result<Kept> {
        let kept = Kept { attempts: 0, message, file: place };
        atomic::write(&kept.file, &serde_json::to_vec(&kept)?, Sync::Yes)?;
        Ok(kept)
    }

    /// Takes an answered message out. Blocking.
    pub fn done(&self, kept: &Kept) {
        match std::fs::remove_file(&kept.file) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %kept.file.display(), %err, "answered message not removed");
            }
            _ => {}
        }
    }

    /// What an earlier process left unanswered, in order of arrival; `answered`
    /// are the keys whose answers wait for delivery. Blocking.
    pub fn left_over(&self, answered: &[String]) -> io::Result<Vec<Kept>> {
        let mut files: Vec<PathBuf> = match std::fs::read_dir(&self.dir) {
            Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).collect(),
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(err) => return Err(err),
        };
        files.retain(|path| path.extension().is_some_and(|ext| ext == "json"));
        files.sort();
        for key in answered {
            self.is_new(key);
        }
        let mut left = Vec::new();
        for file in files {
            let read = std::fs::read(&file).map_err(|err| err.to_string());
            let read = read.and_then(|bytes| {
                serde_json::from_slice::<Kept>(&bytes).map_err(|err| err.to_string())
            });
            let mut kept = match read {
                Ok(kept) => Kept { file, ..kept },
                Err(err) => {
                    tracing::warn!(path = %file.display(), err, "message in the inbox not read");
                    continue;
                }
            };
            let key = kept.message.key();
            if answered.contains(&key) {
                self.done(&kept);
                continue;
            }
            self.is_new(&key);
            kept.attempts += 1;
            if kept.attempts > MOST_ATTEMPTS {
                tracing::error!(
                    channel = kept.message.channel,
                    account = kept.message.account,
                    "a message was given up: {MOST_ATTEMPTS} starts did not get to answer it"
                );
                self.done(&kept);
                continue;
            }
            atomic::write(&kept.file, &serde_json::to_vec(&kept)?, Sync::No)?;
            left.push(kept);
        }
        Ok(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: &str) -> Inbound {
        Inbound { channel: "irc".into(), id: id.into(), text: "hi".into(), ..Inbound::default() }
    }

    #[test]
    fn an_unanswered_message_is_found_by_the_next_start_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let inbox = Inbox::new(dir.path());
        let first = inbox.keep(inbox.place(), message("1")).unwrap();
        for id in ["2", "3", "4"] {
            inbox.keep(inbox.place(), message(id)).unwrap();
        }
        inbox.done(&first);
        let next = Inbox::new(dir.path());
        let left = next.left_over(&[message("3").key()]).unwrap();
        let ids: Vec<&str> = left.iter().map(|kept| kept.message.id.as_str()).collect();
        assert_eq!(ids, ["2", "4"]);
        // What the network sends again is known.
        for id in ["2", "3", "4"] {
            assert!(!next.is_new(&message(id).key()), "{id}");
        }
        assert!(next.is_new(&message("5").key()));
    }

    #[test]
    fn a_message_that_no_start_gets_to_answer_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let inbox = Inbox::new(dir.path());
        inbox.keep(inbox.place(), message("1")).unwrap();
        for attempt in 1..=MOST_ATTEMPTS {
            let left = Inbox::new(dir.path()).left_over(&[]).unwrap();
            assert_eq!(left[0].attempts, attempt);
        }
        assert!(Inbox::new(dir.path()).left_over(&[]).unwrap().is_empty());
    }
}
