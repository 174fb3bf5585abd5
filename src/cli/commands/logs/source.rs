//! Where log lines come from: the gateway, this host's log file, the journal;
//! and how a follower gets from one to the other without a gap.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::base::backoff::Backoff;
use crate::base::clock;
use crate::cli::args::look::LogsArgs;
use crate::cli::commands::logs::journal::Journal;
use crate::cli::commands::logs::{Amount, local_file};
use crate::cli::context::Context;
use crate::cli::link::{CallError, Link};
use crate::client::{Caller, ClientError, Connection, Expect};
use crate::logging::tail::{self, TailRequest};

/// Reads on where the last read ended.
pub(super) struct Source<'a> {
    context: &'a Context,
    link: Result<Link, CallError>,
    connection: Option<Connection>,
    /// Whether the gateway's files are on this host.
    local: bool,
    /// File and offset at which the last read ended.
    file: Option<PathBuf>,
    cursor: Option<u64>,
    journal: Option<Journal>,
    /// Date of the last line that came from the journal.
    seen_until: Option<String>,
    told: bool,
    delays: Backoff,
    retry_at: u64,
}

impl<'a> Source<'a> {
    pub(super) fn open(context: &'a Context, args: &LogsArgs) -> Self {
        let link = Link::open(
            context,
            args.url.as_deref(),
            args.token.as_deref(),
            args.password.as_deref(),
        );
        Self {
            context,
            local: link.as_ref().is_ok_and(|link| link.target.bind.is_some()),
            link,
            connection: None,
            file: None,
            cursor: None,
            journal: None,
            seen_until: None,
            told: false,
            delays: delays(),
            retry_at: 0,
        }
    }

    /// The next `logs.tail` result. Once there was one, a gateway that is away
    /// is no error any more: its lines come later.
    pub(super) async fn read(&mut self, amount: Amount) -> Result<Value, CallError> {
        let read = self.fetch(self.cursor, amount).await?;
        let file = read["file"].as_str().map(PathBuf::from);
        let read = match (&self.file, self.cursor) {
            (Some(before), Some(cursor)) if file.as_deref() != Some(before) => {
                let rest = self.rest_of(before, cursor, amount);
                let mut fresh = self.fetch(Some(0), amount).await?;
                if let (Some(lines), Some(first)) = (fresh["lines"].as_array_mut(), rest) {
                    lines.splice(0..0, first.into_iter().map(Value::from));
                }
                fresh
            }
            _ => read,
        };
        let read = if self.journal.is_none() { self.unseen(read) } else { read };
        self.file = read["file"].as_str().map(PathBuf::from);
        self.cursor = read["cursor"].as_u64();
        Ok(read)
    }

    /// Without the lines that were shown from the journal already.
    fn unseen(&mut self, mut read: Value) -> Value {
        let Some(until) = self.seen_until.take() else { return read };
        if let Some(lines) = read["lines"].as_array_mut() {
            lines.retain(|line| {
                let line = line.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
                line.is_none_or(|line| line["_meta"]["date"].as_str() > Some(&until))
            });
        }
        read
    }

    /// What was added to the file of yesterday after the last read.
    fn rest_of(&self, file: &Path, cursor: u64, amount: Amount) -> Option<Vec<String>> {
        let request =
            TailRequest { cursor: Some(cursor), limit: amount.limit, max_bytes: amount.max_bytes };
        let read = tail::read(file, request).ok().filter(|_| self.local)?;
        (read.file == file && !read.reset).then_some(read.lines)
    }

    /// Asks the gateway, or whatever is left while it is away.
    async fn fetch(&mut self, cursor: Option<u64>, amount: Amount) -> Result<Value, CallError> {
        let waiting = clock::now_ms() < self.retry_at;
        let failure = if waiting { None } else { Some(self.ask(cursor, amount).await) };
        let err = match failure {
            Some(Ok(read)) => {
                (self.delays, self.retry_at, self.told) = (delays(), 0, false);
                self.journal = None;
                return Ok(read);
            }
            Some(Err(err)) => Some(err),
            None => None,
        };
        let begun = self.file.is_some();
        let substitute = self.substitute(cursor, amount).await;
        if err.is_some() {
            self.connection = None;
            let delay = self.delays.next().unwrap_or_default();
            self.retry_at = clock::now_ms() + u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        }
        match (substitute, err) {
            (Some((read, notice)), _) => {
                if !self.told {
                    self.told = true;
                    self.context.ui.err(notice);
                }
                Ok(read)
            }
            (None, Some(err)) if !begun => Err(err),
            (None, _) => {
                if !self.told {
                    self.told = true;
                    self.context.ui.err("Gateway not reachable; waiting for it");
                }
                Ok(json!({"file": self.file, "cursor": self.cursor, "lines": []}))
            }
        }
    }

    /// The same from this host's disk or journal.
    async fn substitute(
        &mut self,
        cursor: Option<u64>,
        amount: Amount,
    ) -> Option<(Value, &'static str)> {
        if !self.local {
            return None;
        }
        let request = TailRequest { cursor, limit: amount.limit, max_bytes: amount.max_bytes };
        let own = self.file.clone().filter(|file| file.exists());
        let file = own.unwrap_or_else(|| local_file(self.context));
        if let Ok(read) = tail::read(&file, request)
            && read.size > 0
        {
            let read = serde_json::to_value(read).ok()?;
            return Some((read, "Gateway not reachable; reading local log file"));
        }
        let journal = self.journal.take().unwrap_or_else(|| Journal::of(self.context));
        let (journal, read) = journal.read(amount.limit).await;
        self.seen_until = journal.last_date().map(str::to_owned).or(self.seen_until.take());
        self.journal = Some(journal);
        Some((read?, "Gateway not reachable; reading the journal"))
    }

    async fn ask(&mut self, cursor: Option<u64>, amount: Amount) -> Result<Value, CallError> {
        let link = match &self.link {
            Ok(link) => link,
            Err(CallError::NoCredentials { config }) => {
                return Err(CallError::NoCredentials { config: config.clone() });
            }
            Err(CallError::Client { err, details }) => {
                return Err(CallError::Client {
                    err: ClientError::Protocol(err.to_string()),
                    details: details.clone(),
                });
            }
        };
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(link.connect(Caller::CLI, amount.timeout).await?),
        };
        let mut params = json!({ "limit": amount.limit, "maxBytes": amount.max_bytes });
        if let Some(cursor) = cursor {
            params["cursor"] = json!(cursor);
        }
        connection
            .call("logs.tail", Some(params), Expect::First, amount.timeout)
            .await
            .map_err(|err| link.error(err))
    }
}

fn delays() -> Backoff {
    Backoff::new(Duration::from_secs(1), Duration::from_secs(30))
}
