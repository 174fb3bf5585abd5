//! How the configuration file stands: which content was good last, what is
//! refused and why, what the last look led to. One file, `logs/config-health.json`,
//! is written by the gateway and read by `status`, `doctor` and the reload command.
//!
//! Its entries are those of the Node gateway; ours are the keys `rejected`,
//! `serving` and `lastLook`, which that one ignores.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::base::clock;
use crate::config::redact::{self, References};
use crate::config::{Rejected, Snapshot, audit, json5};
use crate::profile::paths::Paths;
use crate::store::{atomic, lock};

/// Copies of each kind that are kept.
const MAX_COPIES: usize = 5;
/// Below this, a file may halve without anyone wondering.
const SMALL_FILE: u64 = 512;

/// What is in force.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Serving {
    /// What the file says, or said when it was last usable.
    #[default]
    Running,
    /// The copy kept by an earlier process, because the file was broken at start.
    LastKnownGood,
    /// Nothing: the gateway keeps its port and tells clients why.
    Blocked,
}

/// What came of one look at the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Look {
    /// The gateway that looked.
    pub pid: u32,
    /// Counts the looks of that process.
    pub count: u64,
    /// Why the file was not taken over, if it was not.
    pub refused: Option<String>,
    /// Paths of changes that only a restart brings into force.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<String>,
}

/// How one configuration file stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Standing {
    /// Facts about the last content that was taken over.
    pub last_known_good: Option<Value>,
    pub last_observed_suspicious_signature: Option<String>,
    /// Present while the file is not what is in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejected: Option<Rejected>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serving: Option<Serving>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_look: Option<Look>,
}

impl Standing {
    /// The degraded state in one line, if there is one.
    pub fn complaint(&self) -> Option<String> {
        let rejected = self.rejected.as_ref()?;
        Some(rejected.complaint(self.serving.unwrap_or_default()))
    }

    /// Whether the gateway that wrote this is gone: nothing is in force.
    pub fn is_over(&self) -> bool {
        self.last_look.as_ref().is_some_and(|look| !lock::is_alive(look.pid))
    }

    /// What waits for a restart in one line, if anything does.
    pub fn pending(&self) -> Option<String> {
        pending(&self.last_look.as_ref()?.pending)
    }
}

/// The line for changes that wait for a restart.
pub fn pending(paths: &[String]) -> Option<String> {
    (!paths.is_empty()).then(|| format!("restart needed for {}", paths.join(", ")))
}

impl Rejected {
    /// One line for people: what is served instead, and why.
    pub fn complaint(&self, serving: Serving) -> String {
        let state = match serving {
            Serving::Running => {
                "openclaw.json is refused, the configuration before it stays in force"
            }
            Serving::LastKnownGood => {
                "openclaw.json is refused, serving with the last known good configuration"
            }
            Serving::Blocked => "the gateway cannot start and is blocked",
        };
        let more = match self.reasons.len().saturating_sub(1) {
            0 => String::new(),
            more => format!(" (+{more} more)"),
        };
        let first = self.reasons.first().map_or("no reason given", String::as_str);
        format!("{state}: {first}{more}")
    }
}

fn file(paths: &Paths) -> PathBuf {
    paths.logs().join("config-health.json")
}

fn document(paths: &Paths) -> Map<String, Value> {
    let bytes = fs::read(file(paths)).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

/// How the configuration file of `paths` stands. Blocking.
pub fn read(paths: &Paths) -> Standing {
    let document = document(paths);
    let entry = document.get("entries").and_then(|all| all.get(paths.config.to_str()?));
    entry.and_then(|entry| Standing::deserialize(entry).ok()).unwrap_or_default()
}

fn update(paths: &Paths, change: impl FnOnce(&mut Standing)) -> io::Result<()> {
    let mut document = document(paths);
    let mut standing = read(paths);
    change(&mut standing);
    let entries = document.entry("entries").or_insert_with(|| json!({}));
    if !entries.is_object() {
        *entries = json!({});
    }
    entries[&*paths.config.to_string_lossy()] = serde_json::to_value(&standing)?;
    let bytes = serde_json::to_vec_pretty(&document)?;
    atomic::write(&file(paths), &bytes, atomic::Sync::No)
}

/// Notes that the file is in force. Returns what looks like an accident in it,
/// once per content. Blocking.
pub fn accepted(snapshot: &Snapshot, paths: &Paths, look: Look) -> io::Result<Vec<String>> {
    let facts = facts(snapshot);
    let before = read(paths);
    let codes = match &before.last_known_good {
        Some(good) if snapshot.exists => accidents(good, snapshot),
        _ => Vec::new(),
    };
    let signature = (!codes.is_empty()).then(|| format!("{}:{}", snapshot.hash, codes.join(",")));
    let fresh = signature.is_some() && signature != before.last_observed_suspicious_signature;
    update(paths, |standing| {
        standing.rejected = None;
        standing.serving = Some(Serving::Running);
        standing.last_look = Some(look);
        if signature.is_none() && snapshot.exists {
            standing.last_known_good = Some(facts);
        }
        standing.last_observed_suspicious_signature = signature;
    })?;
    if !fresh {
        return Ok(Vec::new());
    }
    if let Some(copy) = keep_copy(snapshot, "clobbered")? {
        audit::observed(snapshot, &codes, &copy);
    }
    Ok(codes)
}

/// Notes that the file is refused and what is served instead. Blocking.
pub fn refused(rejected: &Rejected, serving: Serving, paths: &Paths, look: Look) -> io::Result<()> {
    update(paths, |standing| {
        standing.rejected = Some(rejected.clone());
        // A process that began with the kept copy stays with it.
        standing.serving = Some(serving);
        standing.last_look = Some(look);
    })
}

/// Notes that this process cannot start, and why. Blocking.
pub fn blocked(rejected: &Rejected, paths: &Paths) -> io::Result<()> {
    let look = Look {
        pid: std::process::id(),
        count: looks_of_this_process(paths) + 1,
        refused: Some(rejected.complaint(Serving::Blocked)),
        pending: Vec::new(),
    };
    refused(rejected, Serving::Blocked, paths, look)
}

/// Looks at the file that this process has written down, in this start and those
/// before it.
pub fn looks_of_this_process(paths: &Paths) -> u64 {
    let look = read(paths).last_look.filter(|look| look.pid == std::process::id());
    look.map_or(0, |look| look.count)
}

/// Whether nothing but the update channel is left of a configuration: the
/// mark of a known accident of other writers.
pub fn is_gutted(snapshot: &Snapshot) -> bool {
    let Some(root) = snapshot.parsed.as_object() else { return false };
    let update = root.get("update").and_then(Value::as_object);
    root.len() == 1
        && update.is_some_and(|update| update.len() == 1 && update.contains_key("channel"))
}

fn facts(snapshot: &Snapshot) -> Value {
    let meta = snapshot.path.metadata().ok();
    let number = |of: fn(&fs::Metadata) -> u64| meta.as_ref().map(of);
    let ms = |seconds: i64, nanos: i64| seconds * 1000 + nanos / 1_000_000;
    json!({
        "hash": snapshot.hash,
        "bytes": snapshot.raw.len(),
        "mtimeMs": meta.as_ref().map(|meta| ms(meta.mtime(), meta.mtime_nsec())),
        "ctimeMs": meta.as_ref().map(|meta| ms(meta.ctime(), meta.ctime_nsec())),
        "dev": number(MetadataExt::dev).map(|dev| dev.to_string()),
        "ino": number(MetadataExt::ino).map(|ino| ino.to_string()),
        "mode": number(|meta| u64::from(meta.mode() & 0o777)),
        "nlink": number(MetadataExt::nlink),
        "uid": number(|meta| u64::from(meta.uid())),
        "gid": number(|meta| u64::from(meta.gid())),
        "hasMeta": snapshot.parsed["meta"].is_object(),
        "gatewayMode": snapshot.resolved["gateway"]["mode"],
        "observedAt": clock::iso8601(clock::now_ms()),
    })
}

/// Codes of what is suspicious about a content, compared with the last good one.
fn accidents(good: &Value, snapshot: &Snapshot) -> Vec<String> {
    let mut codes = Vec::new();
    let (before, now) = (good["bytes"].as_u64().unwrap_or(0), snapshot.raw.len() as u64);
    if before >= SMALL_FILE && now * 2 < before {
        codes.push(format!("size-drop-vs-last-good:{before}->{now}"));
    }
    if good["hasMeta"] == true && !snapshot.parsed["meta"].is_object() {
        codes.push("missing-meta-vs-last-good".to_owned());
    }
    if good["gatewayMode"].is_string() && !snapshot.resolved["gateway"]["mode"].is_string() {
        codes.push("gateway-mode-missing-vs-last-good".to_owned());
        if is_gutted(snapshot) {
            codes.push("update-channel-only-root".to_owned());
        }
    }
    codes
}

/// Keeps a content beside the file under a name that says why, its secrets
/// hidden, and drops the oldest copies of that kind beyond the limit.
pub(super) fn keep_copy(snapshot: &Snapshot, why: &str) -> io::Result<Option<PathBuf>> {
    let Ok(root) = json5::parse(&snapshot.raw) else { return Ok(None) };
    let text = redact::redact_text(&snapshot.raw, &root, References::Shown);
    let prefix = format!("{}.{why}.", name(&snapshot.path));
    let dir = snapshot.path.parent().unwrap_or(Path::new("/"));
    let stamp = clock::iso8601(clock::now_ms()).replace([':', '.'], "-");
    let path = dir.join(format!("{prefix}{stamp}"));
    atomic::write(&path, text.as_bytes(), atomic::Sync::No)?;
    let mut copies: Vec<PathBuf> = fs::read_dir(dir)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| name(path).starts_with(&prefix))
        .collect();
    // The names sort by time.
    copies.sort();
    for old in copies.iter().rev().skip(MAX_COPIES) {
        fs::remove_file(old)?;
    }
    Ok(Some(path))
}

fn name(path: &Path) -> std::borrow::Cow<'_, str> {
    path.file_name().unwrap_or_default().to_string_lossy()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;
    use crate::profile::env::Env;

    fn look(count: u64) -> Look {
        Look { pid: 1, count, ..Look::default() }
    }

    #[test]
    fn a_file_that_shrank_by_accident_is_reported_once_and_kept_without_secrets() {
        let home = tempfile::tempdir().unwrap();
        let env: Env =
            [("HOME", home.path().to_str().unwrap()), ("INVOCATION_ID", "1")].into_iter().collect();
        let paths = Paths::resolve(&env);
        fs::create_dir_all(&paths.state).unwrap();
        let take = |text: &str, count| {
            fs::write(&paths.config, text).unwrap();
            accepted(&load::read(&paths, &env), &paths, look(count)).unwrap()
        };
        let long = format!("{{gateway:{{mode:'local'}}, meta:{{}}}} // {}", "x".repeat(600));
        assert!(take(&long, 1).is_empty());
        let codes = take("{gateway:{auth:{token:'canary-77'}}}", 2).join(" ");
        assert!(codes.contains("size-drop-vs-last-good:637->36"), "{codes}");
        assert!(codes.contains("missing-meta-vs-last-good gateway-mode-missing-vs-last-good"));
        assert!(take("{gateway:{auth:{token:'canary-77'}}}", 3).is_empty());
        for port in 1..=7 {
            assert!(!take(&format!("{{gateway:{{port:{port}}}}}"), 4).is_empty());
        }
        let copies: Vec<PathBuf> = fs::read_dir(&paths.state)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| name(path).contains(".clobbered."))
            .collect();
        assert!(copies.len() <= MAX_COPIES && !copies.is_empty());
        for copy in copies {
            assert!(!fs::read_to_string(copy).unwrap().contains("canary"));
        }
        assert_eq!(read(&paths).last_known_good.unwrap()["bytes"], long.len());
    }

    #[test]
    fn a_refusal_is_read_back_until_the_file_is_good_again() {
        let home = tempfile::tempdir().unwrap();
        let env: Env =
            [("HOME", home.path().to_str().unwrap()), ("INVOCATION_ID", "1")].into_iter().collect();
        let paths = Paths::resolve(&env);
        fs::create_dir_all(paths.logs()).unwrap();
        fs::write(file(&paths), "{\"entries\":{\"/other\":{\"lastKnownGood\":{\"bytes\":3}}}}")
            .unwrap();
        let rejected =
            Rejected { hash: "h".into(), reasons: vec!["a: b".into(), "c: d".into()], since: 5 };
        refused(&rejected, Serving::LastKnownGood, &paths, look(1)).unwrap();
        let standing = read(&paths);
        assert_eq!(
            standing.complaint().unwrap(),
            "openclaw.json is refused, serving with the last known good configuration: a: b (+1 more)"
        );
        fs::write(&paths.config, "{}").unwrap();
        accepted(&load::read(&paths, &env), &paths, look(2)).unwrap();
        assert_eq!(read(&paths).complaint(), None);
        assert_eq!(read(&paths).last_look, Some(look(2)));
        assert_eq!(document(&paths)["entries"]["/other"]["lastKnownGood"]["bytes"], 3);
    }
}
