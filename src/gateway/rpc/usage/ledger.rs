//! What a transcript says about tokens: one record per message.
//!
//! Reads the JSONL files of the session folders. Blocking; lines that cannot
//! be read are skipped, as everywhere where transcripts are read.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde_json::{Map, Value};

use crate::gateway::rpc::usage::totals::Totals;

/// Who wrote a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    User,
    Assistant,
    ToolResult,
}

/// One message of a transcript.
#[derive(Debug, Clone)]
pub struct Record {
    /// Milliseconds since the Unix epoch.
    pub at: i64,
    pub role: Role,
    pub provider: String,
    pub model: String,
    pub totals: Option<Totals>,
    pub tools: Vec<String>,
    pub failed: bool,
    pub text: String,
}

/// A transcript file and what the session store knows about it.
#[derive(Debug, Clone)]
pub struct Transcript {
    pub agent: String,
    pub session_id: String,
    pub key: String,
    pub file: PathBuf,
    pub updated_at: i64,
    /// The entry of `sessions.json`; empty when the store does not know it.
    pub entry: Map<String, Value>,
    /// Set aside by a reset or a delete.
    pub archived: bool,
}

/// Every transcript below `agents`, archived ones included.
pub fn transcripts(agents: &Path) -> Vec<Transcript> {
    let mut found = Vec::new();
    for agent in entries(agents) {
        let sessions = agent.join("sessions");
        let Some(id) = agent.file_name().and_then(|name| name.to_str()) else { continue };
        let store = read_store(&sessions.join("sessions.json"));
        let by_session: HashMap<&str, (&String, &Map<String, Value>)> = store
            .iter()
            .filter_map(|(key, entry)| {
                let entry = entry.as_object()?;
                Some((entry.get("sessionId")?.as_str()?, (key, entry)))
            })
            .collect();
        for file in entries(&sessions) {
            let Some((session_id, archived)) = session_of(&file) else { continue };
            let known = by_session.get(session_id.as_str()).filter(|_| !archived);
            found.push(Transcript {
                agent: id.to_owned(),
                key: known
                    .map_or_else(|| format!("agent:{id}:{session_id}"), |(key, _)| (*key).clone()),
                updated_at: known
                    .and_then(|(_, entry)| entry.get("updatedAt")?.as_i64())
                    .unwrap_or_else(|| modified_ms(&file)),
                entry: known.map(|(_, entry)| (*entry).clone()).unwrap_or_default(),
                session_id,
                archived,
                file,
            });
        }
    }
    found
}

/// The messages of a transcript, in file order.
pub fn read(file: &Path) -> io::Result<Vec<Record>> {
    let mut records = Vec::new();
    for line in BufReader::new(File::open(file)?).split(b'\n') {
        let line = line?;
        if let Ok(Value::Object(entry)) = serde_json::from_slice(&line)
            && let Some(record) = record_of(&entry)
        {
            records.push(record);
        }
    }
    Ok(records)
}

fn record_of(entry: &Map<String, Value>) -> Option<Record> {
    if entry.get("type")?.as_str()? != "message" {
        return None;
    }
    let message = entry.get("message")?.as_object()?;
    let role = match message.get("role")?.as_str()? {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "toolResult" => Role::ToolResult,
        _ => return None,
    };
    let text_of = |key: &str| message.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
    let at = entry
        .get("timestamp")
        .and_then(Value::as_str)
        .and_then(|at| at.parse::<jiff::Timestamp>().ok())
        .map(jiff::Timestamp::as_millisecond)
        .or_else(|| message.get("timestamp").and_then(Value::as_i64))?;
    let content = message.get("content");
    let blocks = content.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let tools = blocks
        .iter()
        .filter(|block| block["type"] == "toolCall")
        .filter_map(|block| block["name"].as_str().map(str::to_owned))
        .collect();
    let text = match content {
        Some(Value::String(text)) => text.clone(),
        _ => {
            blocks.iter().filter_map(|block| block["text"].as_str()).collect::<Vec<_>>().join("\n")
        }
    };
    Some(Record {
        at,
        role,
        provider: text_of("provider"),
        model: text_of("model"),
        totals: message.get("usage").and_then(Totals::of_usage),
        tools,
        failed: message.get("stopReason").is_some_and(|reason| reason == "error")
            || message.get("isError").is_some_and(|error| error == true),
        text,
    })
}

/// Session id of a transcript file, and whether it was set aside.
fn session_of(file: &Path) -> Option<(String, bool)> {
    let name = file.file_name()?.to_str()?;
    let (id, rest) = name.split_once(".jsonl")?;
    let archived = rest.starts_with(".reset.") || rest.starts_with(".deleted.");
    (rest.is_empty() || archived).then(|| (id.to_owned(), archived))
}

fn read_store(file: &Path) -> Map<String, Value> {
    let bytes = fs::read(file).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let listing = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = listing.map(|entry| entry.path()).collect();
    paths.sort_unstable();
    paths
}

fn modified_ms(file: &Path) -> i64 {
    let modified = fs::metadata(file).and_then(|meta| meta.modified()).ok();
    let since = modified.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transcript_gives_one_record_per_message_and_skips_what_is_broken() {
        let dir = tempfile::tempdir().unwrap();
        let sessions = dir.path().join("main/sessions");
        fs::create_dir_all(&sessions).unwrap();
        let lines = [
            r#"{"type":"session","version":3,"id":"s1"}"#,
            r#"{"type":"message","timestamp":"2026-11-22T12:00:00.000Z","message":{"role":"user","content":"hi"}}"#,
            "{broken",
            r#"{"type":"message","timestamp":"2026-11-22T12:00:01.000Z","message":{"role":"assistant","content":[{"type":"text","text":"yo"},{"type":"toolCall","name":"exec"}],"provider":"p","model":"m","usage":{"input":1,"output":2}}}"#,
        ];
        fs::write(sessions.join("s1.jsonl"), lines.join("\n")).unwrap();
        fs::write(sessions.join("s0.jsonl.reset.2026-11-22T12-08-45.326Z"), "").unwrap();
        fs::write(sessions.join("s1.jsonl.lock"), "{}").unwrap();
        let store = r#"{"agent:main:main":{"sessionId":"s1","updatedAt":7}}"#;
        fs::write(sessions.join("sessions.json"), store).unwrap();

        let found = transcripts(dir.path());
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].key.as_str(), found[0].archived), ("agent:main:s0", true));
        assert_eq!((found[1].key.as_str(), found[1].updated_at), ("agent:main:main", 7));
        let records = read(&found[1].file).unwrap();
        assert_eq!(records.len(), 2);
        assert_eq!(records[1].tools, ["exec"]);
        assert_eq!(records[1].at - records[0].at, 1000);
    }
}
