//! Appends to one transcript in order, off the async threads, while the run
//! goes on. Holds the transcript's lock file until the run is over.

use std::io;
use std::path::PathBuf;

use crate::agents::sessions::append;
use crate::lifecycle::{self, Blocking};
use crate::store::lock::FileLock;

/// One transcript being written.
#[derive(Debug)]
pub(crate) struct Writer {
    path: PathBuf,
    lock: Option<FileLock>,
    pending: Option<Blocking<io::Result<()>>>,
    /// Length of the file before anything was added.
    before: u64,
}

impl Writer {
    pub(crate) fn new(path: PathBuf, lock: FileLock) -> Self {
        let before = std::fs::metadata(&path).map_or(0, |meta| meta.len());
        Self { path, lock: Some(lock), pending: None, before }
    }

    /// Starts to append; waits only for the append before this one.
    pub(crate) async fn append(&mut self, lines: Vec<u8>) -> Result<(), String> {
        self.settle().await?;
        if !lines.is_empty() {
            let path = self.path.clone();
            self.pending = Some(lifecycle::spawn_blocking(move || append(&path, &lines)));
        }
        Ok(())
    }

    /// Waits until everything is in the file.
    pub(crate) async fn settle(&mut self) -> Result<(), String> {
        let Some(pending) = self.pending.take() else { return Ok(()) };
        let result = pending.await.unwrap_or_else(|_| Err(io::Error::other("writer ended early")));
        result.map_err(|err| format!("transcript not written: {}: {err}", self.path.display()))
    }

    /// Takes back what was added, unless the transcript began with it, and
    /// closes.
    pub(crate) async fn undo(&mut self) -> Result<(), String> {
        self.settle().await?;
        if self.before > 0 {
            let (path, before) = (self.path.clone(), self.before);
            let cut = move || std::fs::OpenOptions::new().write(true).open(path)?.set_len(before);
            self.pending = Some(lifecycle::spawn_blocking(cut));
        }
        self.close().await
    }

    /// Lets the next process have the transcript.
    pub(crate) async fn close(&mut self) -> Result<(), String> {
        let result = self.settle().await;
        if let Some(lock) = self.lock.take() {
            // Removing a file is quick, yet it is file work.
            drop(lifecycle::spawn_blocking(move || drop(lock)).await);
        }
        result
    }
}
