//! One message that waits for its delivery, as a file in the reference's
//! format (`delivery-queue/<id>.json`) with our progress beside its fields.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::base::{clock, id};
use crate::channels::channel::DEFAULT;
use crate::channels::message::{Outbound, Payload};
use crate::store::atomic::{self, Sync};

/// A file of the queue.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Entry {
    pub id: String,
    /// Milliseconds since the Unix epoch.
    pub enqueued_at: u64,
    pub channel: String,
    pub to: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    pub payloads: Vec<Payload>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silent: Option<bool>,
    pub retry_count: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_attempt_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    pub progress: Progress,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// How far a delivery has come; the reference ignores it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Progress {
    /// Order among entries of one millisecond.
    pub sequence: u64,
    /// Keys of the inbound messages that this answers.
    pub answers: Vec<String>,
    /// Pieces that arrived.
    pub delivered: usize,
    /// A piece was about to be sent; without a later note nobody knows whether
    /// it was.
    pub sending: bool,
}

impl Entry {
    pub fn new(outbound: Outbound, sequence: u64) -> Self {
        Self {
            id: id::uuid(),
            enqueued_at: clock::now_ms(),
            channel: outbound.channel,
            to: outbound.to,
            account_id: Some(outbound.account),
            payloads: outbound.payloads,
            thread_id: outbound.thread.map(Value::String),
            reply_to_id: outbound.reply_to,
            silent: outbound.silent.then_some(true),
            progress: Progress { sequence, answers: outbound.answers, ..Progress::default() },
            ..Self::default()
        }
    }

    pub fn account(&self) -> &str {
        self.account_id.as_deref().unwrap_or(DEFAULT)
    }

    pub fn thread(&self) -> Option<String> {
        match self.thread_id.as_ref()? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// Messages to one place keep their order.
    pub fn lane(&self) -> String {
        format!("{}|{}|{}", self.channel, self.account(), self.to)
    }
}

/// The folder of the queue.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(state: &Path) -> Self {
        Self(state.join("delivery-queue"))
    }

    fn path(&self, id: &str) -> PathBuf {
        self.0.join(format!("{id}.json"))
    }

    /// Writes an entry; with [`Sync::Yes`] it survives a power cut. Blocking.
    pub fn write(&self, entry: &Entry, sync: Sync) -> io::Result<()> {
        atomic::write(&self.path(&entry.id), &serde_json::to_vec_pretty(entry)?, sync)
    }

    /// Blocking.
    pub fn remove(&self, id: &str) -> io::Result<()> {
        match std::fs::remove_file(self.path(id)) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
            _ => Ok(()),
        }
    }

    /// Puts an entry aside, for the operator to look at. Blocking.
    pub fn set_aside(&self, entry: &Entry) -> io::Result<()> {
        let failed = self.0.join("failed").join(format!("{}.json", entry.id));
        atomic::write(&failed, &serde_json::to_vec_pretty(entry)?, Sync::Yes)?;
        self.remove(&entry.id)
    }

    /// What waits, oldest first. Blocking.
    pub fn read(&self) -> io::Result<Vec<Entry>> {
        let files = match std::fs::read_dir(&self.0) {
            Ok(files) => files,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(err) => return Err(err),
        };
        let mut entries: Vec<Entry> = Vec::new();
        for path in files.filter_map(|file| Some(file.ok()?.path())) {
            match path.extension().and_then(|ext| ext.to_str()) {
                // The reference's mark of an entry that was delivered.
                Some("delivered") => {
                    if let Err(err) = std::fs::remove_file(&path) {
                        tracing::debug!(path = %path.display(), %err, "mark not removed");
                    }
                }
                Some("json") => {
                    match std::fs::read(&path).map(|bytes| serde_json::from_slice(&bytes)) {
                        Ok(Ok(entry)) => entries.push(entry),
                        Ok(Err(err)) => {
                            tracing::warn!(path = %path.display(), %err, "queued message not read");
                        }
                        Err(err) => {
                            tracing::warn!(path = %path.display(), %err, "queued message not read");
                        }
                    }
                }
                _ => {}
            }
        }
        entries.sort_by_key(|entry| (entry.enqueued_at, entry.progress.sequence));
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_in_order_and_keep_foreign_fields() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path());
        let outbound = |text: &str| Outbound {
            channel: "irc".into(),
            account: "default".into(),
            to: "bob".into(),
            payloads: vec![Payload::text(text)],
            ..Outbound::default()
        };
        for (sequence, text) in ["one", "two", "three"].into_iter().enumerate() {
            let mut entry = Entry::new(outbound(text), u64::try_from(sequence).unwrap());
            entry.enqueued_at = 5;
            entry.rest.insert("mirror".into(), true.into());
            folder.write(&entry, Sync::No).unwrap();
        }
        let entries = folder.read().unwrap();
        let texts: Vec<_> =
            entries.iter().map(|entry| entry.payloads[0].text.as_deref().unwrap()).collect();
        assert_eq!(texts, ["one", "two", "three"]);
        assert_eq!(entries[0].rest["mirror"], true);
        folder.set_aside(&entries[0]).unwrap();
        assert_eq!(folder.read().unwrap().len(), 2);
        let aside =
            dir.path().join("delivery-queue/failed").join(format!("{}.json", entries[0].id));
        assert!(aside.exists());
    }

    #[test]
    fn an_entry_of_the_reference_is_read() {
        let text = r#"{"id":"a","enqueuedAt":1,"channel":"telegram","to":"telegram:777",
            "payloads":[{"text":"hi","mediaUrl":null,"interactive":{}}],"threadId":5,"retryCount":2,
            "bestEffort":true}"#;
        let entry: Entry = serde_json::from_str(text).unwrap();
        assert_eq!(entry.thread().as_deref(), Some("5"));
        assert_eq!(entry.lane(), "telegram|default|telegram:777");
        assert_eq!(entry.retry_count, 2);
    }
}
