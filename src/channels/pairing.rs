//! Strangers who ask to be let in, and those who were. The files are shared
//! with the command line (ours and the reference's), which changes them while
//! the gateway runs: they are read anew for every question. Blocking.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::base::clock;
use crate::channels::channel::DEFAULT;
use crate::store::atomic::{self, Sync};
use crate::store::lock::FileLock;

/// How long a request can be approved, in milliseconds.
const TTL_MS: u64 = 60 * 60 * 1000;
/// Requests that may wait per account.
const MOST_PENDING: usize = 3;
/// Letters of a code: none that look alike.
const ALPHABET: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
const CODE_LENGTH: usize = 8;
const PATIENCE: Duration = Duration::from_secs(5);

/// A stranger's request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Request {
    pub id: String,
    pub code: String,
    pub created_at: String,
    pub last_seen_at: String,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub meta: Map<String, Value>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

impl Request {
    /// The account the request was made to.
    pub fn account(&self) -> &str {
        self.meta.get("accountId").and_then(Value::as_str).unwrap_or(DEFAULT)
    }

    fn is_fresh(&self, now: u64) -> bool {
        let at: Option<jiff::Timestamp> = self.created_at.parse().ok();
        let at = at.and_then(|at| u64::try_from(at.as_millisecond()).ok());
        at.is_some_and(|at| now.saturating_sub(at) <= TTL_MS)
    }
}

/// What became of a stranger's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// The code to be told.
    New(String),
    /// Told before, or too many are waiting.
    Known,
}

/// The pairing files of one state directory.
#[derive(Debug, Clone)]
pub struct Pairing {
    dir: PathBuf,
}

/// A file name's part: what is not a letter, digit, `-` or `_` becomes `_`.
fn safe(name: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' };
    name.trim().to_lowercase().chars().map(letter).collect()
}

impl Pairing {
    pub fn new(state: &Path) -> Self {
        Self { dir: state.join("credentials") }
    }

    fn requests_path(&self, channel: &str) -> PathBuf {
        self.dir.join(format!("{}-pairing.json", safe(channel)))
    }

    fn allowed_path(&self, channel: &str, account: &str) -> PathBuf {
        self.dir.join(format!("{}-{}-allowFrom.json", safe(channel), safe(account)))
    }

    /// Everyone who was let in, in the stored spelling.
    pub fn allowed(&self, channel: &str, account: &str) -> io::Result<Vec<String>> {
        let mut list = read_allowed(&self.allowed_path(channel, account))?;
        if account == DEFAULT {
            let legacy = self.dir.join(format!("{}-allowFrom.json", safe(channel)));
            list.extend(read_allowed(&legacy)?);
        }
        Ok(list.into_iter().map(|entry| entry.to_lowercase()).collect())
    }

    /// Notes that a stranger wrote.
    pub fn ask(&self, channel: &str, account: &str, id: &str, name: &str) -> io::Result<Asked> {
        let path = self.requests_path(channel);
        let _lock = FileLock::acquire(&path, PATIENCE)?;
        let now = clock::now_ms();
        let (mut document, mut requests) = read_requests(&path)?;
        requests.retain(|request| request.is_fresh(now));
        let stamp = clock::iso8601(now);
        let known = requests.iter_mut().find(|it| it.id == id && it.account() == account);
        let asked = if let Some(request) = known {
            request.last_seen_at = stamp;
            Asked::Known
        } else if requests.iter().filter(|it| it.account() == account).count() >= MOST_PENDING {
            Asked::Known
        } else {
            let code = new_code(&requests)?;
            let mut meta = Map::new();
            if !name.is_empty() {
                meta.insert("name".to_owned(), name.into());
            }
            meta.insert("accountId".to_owned(), account.into());
            requests.push(Request {
                id: id.to_owned(),
                code: code.clone(),
                created_at: stamp.clone(),
                last_seen_at: stamp,
                meta,
                rest: Map::new(),
            });
            Asked::New(code)
        };
        write_requests(&path, &mut document, &requests)?;
        Ok(asked)
    }

    /// Requests that can be approved, oldest first.
    pub fn pending(&self, channel: &str, account: Option<&str>) -> io::Result<Vec<Request>> {
        let (_, mut requests) = read_requests(&self.requests_path(channel))?;
        let now = clock::now_ms();
        requests.retain(|request| {
            request.is_fresh(now) && account.is_none_or(|account| request.account() == account)
        });
        requests.sort_by(|a, b| a.created_at.cmp(&b.created_at));
        Ok(requests)
    }

    /// Lets in whoever was told `code`; `None` when nobody was.
    pub fn approve(
        &self,
        channel: &str,
        account: Option<&str>,
        code: &str,
    ) -> io::Result<Option<Request>> {
        let path = self.requests_path(channel);
        let lock = FileLock::acquire(&path, PATIENCE)?;
        let (mut document, mut requests) = read_requests(&path)?;
        let now = clock::now_ms();
        let code = code.trim().to_uppercase();
        let found = requests.iter().position(|request| {
            request.code == code
                && request.is_fresh(now)
                && account.is_none_or(|account| request.account() == account)
        });
        let Some(at) = found else { return Ok(None) };
        let request = requests.remove(at);
        // First the permission, then the request: a crash between the two
        // leaves a code that can be approved again.
        self.allow(channel, account.unwrap_or(request.account()), &request.id)?;
        write_requests(&path, &mut document, &requests)?;
        drop(lock);
        Ok(Some(request))
    }

    fn allow(&self, channel: &str, account: &str, id: &str) -> io::Result<()> {
        let path = self.allowed_path(channel, account);
        let _lock = FileLock::acquire(&path, PATIENCE)?;
        let mut list = read_allowed(&path)?;
        if !list.iter().any(|entry| entry == id) {
            list.push(id.to_owned());
        }
        let mut text = serde_json::to_vec_pretty(&json!({"version": 1, "allowFrom": list}))?;
        text.push(b'\n');
        atomic::write(&path, &text, Sync::Yes)
    }
}

/// The file as JSON; an absent one is empty.
fn read_json(path: &Path) -> io::Result<Value> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|err| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{}: {err}", path.display()))
        }),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(json!({})),
        Err(err) => Err(err),
    }
}

fn read_allowed(path: &Path) -> io::Result<Vec<String>> {
    let document = read_json(path)?;
    let list = document["allowFrom"].as_array().into_iter().flatten();
    Ok(list
        .filter_map(|entry| match entry {
            Value::String(text) => Some(text.trim().to_owned()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        })
        .filter(|entry| !entry.is_empty())
        .collect())
}

fn read_requests(path: &Path) -> io::Result<(Value, Vec<Request>)> {
    let document = read_json(path)?;
    let requests = document["requests"].as_array().into_iter().flatten();
    let requests = requests.filter_map(|entry| Request::deserialize(entry).ok()).collect();
    Ok((document, requests))
}

fn write_requests(path: &Path, document: &mut Value, requests: &[Request]) -> io::Result<()> {
    document["version"] = json!(1);
    document["requests"] = serde_json::to_value(requests)?;
    let mut text = serde_json::to_vec_pretty(document)?;
    text.push(b'\n');
    atomic::write(path, &text, Sync::Yes)
}

fn new_code(taken: &[Request]) -> io::Result<String> {
    loop {
        let mut bytes = [0_u8; CODE_LENGTH];
        getrandom::fill(&mut bytes).map_err(|err| io::Error::other(err.to_string()))?;
        // The alphabet has 32 letters, so that no letter is favoured.
        let code: String =
            bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect();
        if taken.iter().all(|request| request.code != code) {
            return Ok(code);
        }
    }
}

/// Part of the contract: people copy the last line.
pub fn prompt(channel: &str, id_label: &str, id: &str, code: &str) -> String {
    let command = format!("openclaw pairing approve {channel} {code}");
    format!(
        "OpenClaw: access not configured.\n\n{id_label}: {id}\nPairing code:\n\n```\n{code}\n```\n\n\
         Ask the bot owner to approve with:\n{command}\n\n```\n{command}\n```"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_is_told_a_code_once_and_let_in_by_it() {
        let dir = tempfile::tempdir().unwrap();
        let pairing = Pairing::new(dir.path());
        let Asked::New(code) = pairing.ask("irc", "default", "bob!b@h", "bob").unwrap() else {
            panic!("a new request has a code");
        };
        assert_eq!(code.len(), 8);
        assert_eq!(pairing.ask("irc", "default", "bob!b@h", "bob").unwrap(), Asked::Known);
        assert_eq!(pairing.pending("irc", None).unwrap().len(), 1);
        assert!(pairing.approve("irc", None, "WRONGONE").unwrap().is_none());
        let approved = pairing.approve("irc", None, &code.to_lowercase()).unwrap().unwrap();
        assert_eq!(approved.id, "bob!b@h");
        assert_eq!(pairing.allowed("irc", "default").unwrap(), ["bob!b@h"]);
        assert!(pairing.pending("irc", None).unwrap().is_empty());
        let file = dir.path().join("credentials/irc-default-allowFrom.json");
        let text = std::fs::read_to_string(file).unwrap();
        assert_eq!(text, "{\n  \"version\": 1,\n  \"allowFrom\": [\n    \"bob!b@h\"\n  ]\n}\n");
    }

    #[test]
    fn no_more_than_three_strangers_wait_per_account() {
        let dir = tempfile::tempdir().unwrap();
        let pairing = Pairing::new(dir.path());
        for id in ["a", "b", "c"] {
            assert!(matches!(pairing.ask("irc", "x", id, "").unwrap(), Asked::New(_)));
        }
        assert_eq!(pairing.ask("irc", "x", "d", "").unwrap(), Asked::Known);
        assert!(matches!(pairing.ask("irc", "y", "d", "").unwrap(), Asked::New(_)));
    }

    #[test]
    fn the_default_account_also_reads_the_older_file() {
        let dir = tempfile::tempdir().unwrap();
        let credentials = dir.path().join("credentials");
        std::fs::create_dir(&credentials).unwrap();
        let old = r#"{"version":1,"allowFrom":["Ann", 777]}"#;
        std::fs::write(credentials.join("irc-allowFrom.json"), old).unwrap();
        let pairing = Pairing::new(dir.path());
        assert_eq!(pairing.allowed("irc", "default").unwrap(), ["ann", "777"]);
        assert!(pairing.allowed("irc", "other").unwrap().is_empty());
    }

    #[test]
    fn an_old_request_is_forgotten_and_a_broken_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let credentials = dir.path().join("credentials");
        std::fs::create_dir(&credentials).unwrap();
        let path = credentials.join("irc-pairing.json");
        let old = json!({"version": 1, "requests": [{"id": "a", "code": "ABCDEFGH",
            "createdAt": "2020-01-01T00:00:00.000Z", "lastSeenAt": "2020-01-01T00:00:00.000Z"}]});
        std::fs::write(&path, old.to_string()).unwrap();
        let pairing = Pairing::new(dir.path());
        assert!(pairing.approve("irc", None, "ABCDEFGH").unwrap().is_none());
        std::fs::write(&path, "{").unwrap();
        assert!(pairing.pending("irc", None).unwrap_err().to_string().contains("irc-pairing.json"));
    }
}
