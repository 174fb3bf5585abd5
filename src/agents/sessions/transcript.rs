//! Transcripts: version 3 of the reference's JSONL, a tree by `id` and
//! `parentId` whose last entry is the leaf. Appended to, never rewritten.
//! Blocking.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use serde_json::json;
use serde_json::value::RawValue;

use crate::agents::sessions::iso_time;
use crate::store::atomic;

/// Model of replies that no model made; never shown to a model.
pub(crate) const INJECTED_MODEL: &str = "gateway-injected";
pub(crate) const INJECTED_PROVIDER: &str = "openclaw";

/// The fields of a line that place it in the tree; the rest stays unparsed.
#[derive(Debug, Deserialize)]
struct Line<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(rename = "parentId", borrow)]
    parent: Option<Cow<'a, str>>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
}

/// What a model is shown of a session, and where the next entry hangs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Branch {
    /// Messages in transcript form, oldest first, injected replies left out.
    pub(crate) messages: Vec<Value>,
    /// Entry ids of `messages`, for the start of a compaction.
    pub(crate) ids: Vec<String>,
    pub(crate) leaf: Option<String>,
    /// Last `model_change`: provider and model.
    pub(crate) model: Option<(String, String)>,
    pub(crate) thinking: Option<String>,
    /// Whether the file exists with a header.
    pub(crate) begun: bool,
    /// Messages in the file, as `chat.history` counts them.
    pub(crate) count: u64,
}

/// Reads the branch that ends in the last entry.
pub(crate) fn read_branch(path: &Path) -> io::Result<Branch> {
    let Some(text) = read_text(path)? else { return Ok(Branch::default()) };
    Ok(branch_of(&text))
}

pub(crate) fn branch_of(text: &str) -> Branch {
    let mut branch = Branch::default();
    let mut lines: Vec<(&str, Line<'_>)> = Vec::new();
    let mut by_id: HashMap<String, usize> = HashMap::new();
    for raw in text.lines() {
        let Ok(line) = serde_json::from_str::<Line<'_>>(raw) else { continue };
        match (line.kind.as_ref(), &line.id) {
            ("session", _) => branch.begun = true,
            (_, Some(id)) => {
                branch.count += u64::from(line.kind == "message");
                by_id.insert(id.clone().into_owned(), lines.len());
                lines.push((raw, line));
            }
            _ => {}
        }
    }
    // From the leaf to the root; each entry once, so a cycle in a hand-edited
    // file ends the walk.
    let mut path = Vec::new();
    let mut seen = vec![false; lines.len()];
    let mut at = lines.len().checked_sub(1);
    while let Some(index) = at.filter(|index| !seen[*index]) {
        seen[index] = true;
        path.push(index);
        at = lines[index].1.parent.as_ref().and_then(|parent| by_id.get(parent.as_ref()).copied());
    }
    path.reverse();
    branch.leaf = path.last().and_then(|index| lines[*index].1.id.clone()).map(Cow::into_owned);
    for index in path {
        let (raw, line) = &lines[index];
        let id = line.id.clone().unwrap_or_default().into_owned();
        take(&mut branch, line, raw, id);
    }
    branch
}

/// Adds one entry of the path to the branch.
fn take(branch: &mut Branch, line: &Line<'_>, raw: &str, id: String) {
    let whole = || serde_json::from_str::<Value>(raw).unwrap_or_default();
    match line.kind.as_ref() {
        "message" => {
            let Some(message) = line.message else { return };
            let Ok(message) = serde_json::from_str::<Value>(message.get()) else { return };
            if message["model"] == INJECTED_MODEL && message["provider"] == INJECTED_PROVIDER {
                return;
            }
            branch.messages.push(message);
            branch.ids.push(id);
        }
        "custom_message" => {
            let entry = whole();
            let content = match &entry["content"] {
                Value::String(text) => json!([{"type": "text", "text": text}]),
                other => other.clone(),
            };
            branch.messages.push(json!({"role": "user", "content": content}));
            branch.ids.push(id);
        }
        "compaction" => {
            let entry = whole();
            let kept = entry["firstKeptEntryId"].as_str().unwrap_or_default();
            let from = branch.ids.iter().position(|id| id == kept).unwrap_or(branch.ids.len());
            branch.messages.drain(..from);
            branch.ids.drain(..from);
            let summary = entry["summary"].as_str().unwrap_or_default();
            branch.messages.insert(0, summary_message(summary));
            branch.ids.insert(0, id);
        }
        "branch_summary" => {
            let entry = whole();
            branch.messages.push(summary_message(entry["summary"].as_str().unwrap_or_default()));
            branch.ids.push(id);
        }
        "model_change" => {
            let entry = whole();
            let part = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
            branch.model = Some((part("provider"), part("modelId")));
        }
        "thinking_level_change" => {
            branch.thinking = whole()["thinkingLevel"].as_str().map(str::to_owned);
        }
        _ => {}
    }
}

pub(crate) fn summary_message(summary: &str) -> Value {
    let text = format!(
        "Summary of the conversation before this point:\n\n<summary>\n{summary}\n</summary>"
    );
    json!({"role": "user", "content": [{"type": "text", "text": text}]})
}

/// One stored message with its entry id, for histories.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) id: String,
    /// Counts from 1 over the whole file.
    pub(crate) seq: u64,
    pub(crate) message: Value,
}

/// The last `limit` messages of the file in the order written.
pub(crate) fn read_messages(path: &Path, limit: usize) -> io::Result<Vec<Stored>> {
    let Some(text) = read_text(path)? else { return Ok(Vec::new()) };
    let mut raw: Vec<(Option<String>, &RawValue)> = Vec::new();
    let mut compactions: Vec<(usize, Value)> = Vec::new();
    for text in text.lines() {
        let Ok(line) = serde_json::from_str::<Line<'_>>(text) else { continue };
        match (line.kind.as_ref(), line.message) {
            ("message", Some(message)) => raw.push((line.id.map(Cow::into_owned), message)),
            ("compaction", _) => {
                compactions.push((raw.len(), serde_json::from_str(text).unwrap_or_default()));
            }
            _ => {}
        }
    }
    let skip = raw.len().saturating_sub(limit);
    let mut messages = Vec::with_capacity(raw.len() - skip);
    for (index, (id, message)) in raw.into_iter().enumerate().skip(skip) {
        for (_, entry) in compactions.iter().filter(|(at, _)| *at == index && index > 0) {
            messages.push(compaction_mark(entry, index));
        }
        let Ok(message) = serde_json::from_str(message.get()) else { continue };
        let seq = u64::try_from(index + 1).unwrap_or(u64::MAX);
        messages.push(Stored { id: id.unwrap_or_default(), seq, message });
    }
    Ok(messages)
}

/// How a compaction shows in a history.
fn compaction_mark(entry: &Value, index: usize) -> Stored {
    Stored {
        id: entry["id"].as_str().unwrap_or_default().to_owned(),
        seq: u64::try_from(index).unwrap_or(u64::MAX),
        message: json!({
            "role": "system",
            "content": [{"type": "text", "text": "Compaction"}],
            "timestamp": entry["timestamp"],
        }),
    }
}

/// Lines waiting to be appended, each already placed in the tree.
#[derive(Debug, Clone)]
pub(crate) struct Pen {
    leaf: Option<String>,
    begun: bool,
    count: u64,
    lines: Vec<u8>,
}

impl Pen {
    /// Continues after `branch`.
    pub(crate) fn after(branch: &Branch) -> Self {
        Self {
            leaf: branch.leaf.clone(),
            begun: branch.begun,
            count: branch.count,
            lines: Vec::new(),
        }
    }

    /// The header, if the file does not have one yet.
    pub(crate) fn begin(&mut self, session_id: &str, cwd: &str, now_ms: u64) {
        if !self.begun {
            self.begun = true;
            self.push(&json!({
                "type": "session", "version": 3, "id": session_id,
                "timestamp": iso_time(now_ms), "cwd": cwd,
            }));
        }
    }

    /// Appends an entry of `kind` with further `fields`; returns its id.
    pub(crate) fn entry(&mut self, kind: &str, fields: Value, now_ms: u64) -> String {
        let id = entry_id();
        let mut line = json!({
            "type": kind, "id": id, "parentId": self.leaf, "timestamp": iso_time(now_ms),
        });
        if let (Value::Object(line), Value::Object(fields)) = (&mut line, fields) {
            line.extend(fields);
        }
        self.push(&line);
        self.leaf = Some(id.clone());
        id
    }

    /// Appends a message; returns its id and its number in the history.
    pub(crate) fn message(&mut self, message: &Value, now_ms: u64) -> (String, u64) {
        // The message may be large: it is rendered straight into the buffer.
        let id = entry_id();
        let head = json!({
            "type": "message", "id": id, "parentId": self.leaf, "timestamp": iso_time(now_ms),
        });
        let mut text = head.to_string();
        text.pop();
        text.push_str(",\"message\":");
        self.lines.extend_from_slice(text.as_bytes());
        if serde_json::to_writer(&mut self.lines, message).is_err() {
            self.lines.extend_from_slice(b"null");
        }
        self.lines.extend_from_slice(b"}\n");
        self.leaf = Some(id.clone());
        self.count += 1;
        (id, self.count)
    }

    /// What has been written since the last call.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.lines)
    }

    fn push(&mut self, line: &Value) {
        self.lines.extend_from_slice(line.to_string().as_bytes());
        self.lines.push(b'\n');
    }
}

/// Appends whole lines to the file, creating it with mode 0600. A line torn by
/// a crash is closed first, so that it cannot swallow the next one.
pub(crate) fn append(path: &Path, lines: &[u8]) -> io::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let open = || OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path);
    let mut file = match open() {
        Err(err) if err.kind() == io::ErrorKind::NotFound => {
            if let Some(dir) = path.parent() {
                atomic::private_dir(dir)?;
            }
            open()?
        }
        other => other?,
    };
    let mut last = [b'\n'];
    if file.metadata()?.len() > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    if last == [b'\n'] {
        file.write_all(lines)
    } else {
        let mut closed = Vec::with_capacity(lines.len() + 1);
        closed.push(b'\n');
        closed.extend_from_slice(lines);
        file.write_all(&closed)
    }
}

/// The file's text, bytes that are no UTF-8 replaced; `None` without a file.
fn read_text(path: &Path) -> io::Result<Option<String>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(err) => String::from_utf8_lossy(err.as_bytes()).into_owned(),
        })),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(err),
    }
}

/// Eight hex digits.
fn entry_id() -> String {
    let mut id = crate::base::id::uuid();
    id.truncate(8);
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn user(text: &str) -> Value {
        json!({"role": "user", "content": [{"type": "text", "text": text}]})
    }

    fn texts(branch: &Branch) -> Vec<&str> {
        branch.messages.iter().map(|m| m["content"][0]["text"].as_str().unwrap()).collect()
    }

    #[test]
    fn what_is_appended_is_read_back_as_one_branch() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/s.jsonl");
        let mut pen = Pen::after(&Branch::default());
        pen.begin("s", "/w", 0);
        pen.entry("model_change", json!({"provider": "fake", "modelId": "good-1"}), 1);
        assert_eq!(pen.message(&user("one"), 2).1, 1);
        append(&path, &pen.take()).unwrap();
        assert_eq!(pen.message(&user("two"), 3).1, 2);
        append(&path, &pen.take()).unwrap();
        let branch = read_branch(&path).unwrap();
        assert_eq!(texts(&branch), ["one", "two"]);
        assert_eq!(branch.model, Some(("fake".into(), "good-1".into())));
        assert!(branch.begun);
        assert_eq!(branch.count, 2);
    }

    #[test]
    fn only_the_path_to_the_leaf_counts() {
        let text = [
            r#"{"type":"session","version":3,"id":"s"}"#,
            r#"{"type":"message","id":"a","parentId":null,"message":{"role":"user","content":[{"type":"text","text":"root"}]}}"#,
            r#"{"type":"message","id":"b","parentId":"a","message":{"role":"user","content":[{"type":"text","text":"side"}]}}"#,
            "{ broken",
            r#"{"type":"future","id":"f","parentId":"a"}"#,
            r#"{"type":"message","id":"c","parentId":"f","message":{"role":"user","content":[{"type":"text","text":"leaf"}]}}"#,
        ]
        .join("\n");
        let branch = branch_of(&text);
        assert_eq!(texts(&branch), ["root", "leaf"]);
        assert_eq!(branch.leaf.as_deref(), Some("c"));
    }

    #[test]
    fn injected_replies_do_not_reach_the_model() {
        let text = [
            r#"{"type":"message","id":"a","parentId":null,"message":{"role":"user","content":[{"type":"text","text":"q"}]}}"#,
            r#"{"type":"message","id":"b","parentId":"a","message":{"role":"assistant","provider":"openclaw","model":"gateway-injected","content":[{"type":"text","text":"card"}]}}"#,
        ]
        .join("\n");
        assert_eq!(texts(&branch_of(&text)), ["q"]);
    }

    #[test]
    fn a_compaction_replaces_what_came_before_the_first_kept_entry() {
        let mut pen = Pen::after(&Branch::default());
        pen.begin("s", "/w", 0);
        pen.message(&user("old"), 1);
        let (kept, _) = pen.message(&user("kept"), 2);
        pen.entry("compaction", json!({"summary": "SUM", "firstKeptEntryId": kept}), 3);
        pen.message(&user("later"), 4);
        let branch = branch_of(&String::from_utf8(pen.take()).unwrap());
        assert_eq!(branch.messages.len(), 3);
        assert!(texts(&branch)[0].contains("SUM"));
        assert_eq!(texts(&branch)[1..], ["kept", "later"]);
    }

    #[test]
    fn a_torn_line_does_not_swallow_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.jsonl");
        std::fs::write(&path, "{\"type\":\"session\",\"version\":3}\n{\"type\":\"mess").unwrap();
        let mut pen = Pen::after(&read_branch(&path).unwrap());
        pen.message(&user("after the crash"), 1);
        append(&path, &pen.take()).unwrap();
        assert_eq!(texts(&read_branch(&path).unwrap()), ["after the crash"]);
    }

    #[test]
    fn a_cycle_ends_the_walk() {
        let text = [
            r#"{"type":"message","id":"a","parentId":"b","message":{"role":"user","content":[{"type":"text","text":"x"}]}}"#,
            r#"{"type":"message","id":"b","parentId":"a","message":{"role":"user","content":[{"type":"text","text":"y"}]}}"#,
        ]
        .join("\n");
        assert_eq!(branch_of(&text).messages.len(), 2);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            branch_of(&String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn any_text_survives(texts_in in proptest::collection::vec(".*", 1..8)) {
            let mut pen = Pen::after(&Branch::default());
            pen.begin("s", "/w", 0);
            for text in &texts_in {
                pen.message(&user(text), 1);
            }
            let text = String::from_utf8(pen.take()).unwrap();
            let branch = branch_of(&text);
            prop_assert_eq!(texts(&branch), texts_in);
        }
    }
}
