//! Who wrote the configuration, when, and what became of it: one JSON line per
//! write in `logs/config-audit.jsonl`. No values, only shapes and hashes.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use serde_json::{Value, json};

use crate::base::clock;
use crate::config::Snapshot;
use crate::config::reload::diff;
use crate::config::write::Author;
use crate::store::atomic;

const MAX_ARGS: usize = 8;
const MODE_REMOVED: &str = "gateway-mode-removed";
/// Below this, a file may halve without anyone wondering.
const SMALL_FILE: usize = 512;

/// One record in the making.
#[derive(Debug)]
pub struct Record {
    line: Value,
    /// Codes of what looks like an accident.
    pub suspicious: Vec<String>,
}

impl Record {
    /// Describes the step from `current` to `next`.
    pub fn new(current: &Snapshot, next: &Snapshot, author: &Author) -> Self {
        let has_meta = |snapshot: &Snapshot| snapshot.parsed["meta"].is_object();
        let mode = |snapshot: &Snapshot| snapshot.resolved["gateway"]["mode"].clone();
        let suspicious = if current.exists { accidents(current, next) } else { Vec::new() };
        let mut line = json!({
            "ts": clock::iso8601(clock::now_ms()),
            "source": "config-io",
            "event": "config.write",
            "configPath": current.path,
            "pid": std::process::id(),
            "ppid": std::os::unix::process::parent_id(),
            "cwd": std::env::current_dir().unwrap_or_default(),
            "argv": shown_args(&author.argv),
            "existsBefore": current.exists,
            "previousHash": current.hash,
            "nextHash": next.hash,
            "previousBytes": current.raw.len(),
            "nextBytes": next.raw.len(),
            "changedPathCount": diff::changed_paths(&current.resolved, &next.resolved).len(),
            "hasMetaBefore": has_meta(current),
            "hasMetaAfter": has_meta(next),
            "gatewayModeBefore": mode(current),
            "gatewayModeAfter": mode(next),
            "suspicious": suspicious,
        });
        file_facts(&mut line, "previous", &current.path);
        Self { line, suspicious }
    }

    /// Whether the gateway would not start with what is to be written.
    pub fn drops_mode(&self) -> bool {
        self.suspicious.iter().any(|code| code == MODE_REMOVED)
    }

    /// Adds that nothing was written, and where the content is kept.
    pub fn blocked(&mut self, copy: &Path) {
        self.line["result"] = json!("rejected");
        self.line["rejectedPath"] = json!(copy);
    }

    /// Adds how the write ended.
    pub fn finish(&mut self, result: &io::Result<()>, file: &Path) {
        match result {
            Ok(()) => {
                self.line["result"] = json!("rename");
                file_facts(&mut self.line, "next", file);
            }
            Err(err) => {
                self.line["result"] = json!("failed");
                self.line["errorMessage"] = json!(err.to_string());
            }
        }
    }

    /// Appends the record. A log that cannot be written does not stop a write.
    pub fn append(&self, state: &Path) {
        append(state, &self.line);
    }
}

/// Records that a content looked like an accident, and where it is kept.
pub fn observed(snapshot: &Snapshot, codes: &[String], copy: &Path) {
    let line = json!({
        "ts": clock::iso8601(clock::now_ms()),
        "source": "config-io",
        "event": "config.observe",
        "configPath": snapshot.path,
        "pid": std::process::id(),
        "hash": snapshot.hash,
        "bytes": snapshot.raw.len(),
        "suspicious": codes,
        "clobberedPath": copy,
    });
    append(&snapshot.state, &line);
}

fn append(state: &Path, line: &Value) {
    let logs = state.join("logs");
    let append = || -> io::Result<()> {
        atomic::private_dir(&logs)?;
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(logs.join("config-audit.jsonl"))?;
        atomic::hand_over(&file, &logs);
        file.write_all(format!("{line}\n").as_bytes())
    };
    if let Err(err) = append() {
        tracing::warn!(%err, path = %logs.display(), "config audit record not written");
    }
}

fn accidents(current: &Snapshot, next: &Snapshot) -> Vec<String> {
    let mut codes = Vec::new();
    let (before, after) = (current.raw.len(), next.raw.len());
    if before >= SMALL_FILE && after * 2 < before {
        codes.push(format!("size-drop:{before}->{after}"));
    }
    if !current.parsed["meta"].is_object() {
        codes.push("missing-meta-before-write".to_owned());
    }
    let mode = |snapshot: &Snapshot| snapshot.resolved["gateway"]["mode"].is_string();
    if mode(current) && !mode(next) {
        codes.push(MODE_REMOVED.to_owned());
    }
    codes
}

fn file_facts(line: &mut Value, prefix: &str, file: &Path) {
    let Ok(meta) = file.metadata() else { return };
    for (name, fact) in [
        ("Dev", meta.dev()),
        ("Ino", meta.ino()),
        ("Mode", u64::from(meta.mode())),
        ("Nlink", meta.nlink()),
        ("Uid", u64::from(meta.uid())),
        ("Gid", u64::from(meta.gid())),
    ] {
        line[format!("{prefix}{name}")] = json!(fact);
    }
}

/// The command line with everything that could be a value hidden.
fn shown_args(argv: &[String]) -> Vec<String> {
    let mut shown = Vec::new();
    let mut after_set = 0;
    let mut hide_next = false;
    for arg in argv.iter().take(MAX_ARGS) {
        let hidden = if std::mem::take(&mut hide_next) {
            true
        } else if let Some(name) = arg.strip_prefix("--") {
            let (name, inline) =
                name.split_once('=').map_or((name, false), |(name, _)| (name, true));
            let secret = ["token", "password", "json", "secret", "key", "env"]
                .iter()
                .any(|word| name.contains(word));
            hide_next = secret && !inline && name != "json" && name != "strict-json";
            secret && inline
        } else {
            if arg == "set" {
                after_set = 1;
            } else if after_set > 0 {
                after_set += 1;
            }
            // `set <path> <value>`: the path may be shown.
            after_set > 2
        };
        shown.push(if hidden { "[redacted]".to_owned() } else { arg.clone() });
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_of_a_command_line_is_recorded() {
        let shown = |line: &str| {
            let argv: Vec<String> = line.split(' ').map(str::to_owned).collect();
            shown_args(&argv).join(" ")
        };
        assert_eq!(
            shown("openclaw config set gateway.auth.token canary --json"),
            "openclaw config set gateway.auth.token [redacted] --json"
        );
        assert_eq!(
            shown("openclaw gateway --token canary --password=canary --port 1"),
            "openclaw gateway --token [redacted] [redacted] --port 1"
        );
        assert_eq!(
            shown("openclaw config set --batch-json canary"),
            "openclaw config set --batch-json [redacted]"
        );
    }
}
