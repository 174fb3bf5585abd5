//! `session.maintenance`: conversations nobody used for long, or beyond the
//! number that is kept, leave the index. Their transcripts are archived beside
//! the others; archives go when their time is over or the disk is needed.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::agents::sessions::store::{Entries, Store};
use crate::agents::sessions::{archive, transcript_path};
use crate::base::duration;
use crate::config::Config;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// What the name of a transcript is followed by once it is archived.
const ARCHIVED: [&str; 2] = [".jsonl.deleted.", ".jsonl.reset."];

/// `session.maintenance` with its defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Whether sessions are removed by themselves; else only counted.
    pub enforce: bool,
    pub prune_after_ms: u64,
    pub most: usize,
    /// How long archived transcripts are kept; `None` for ever.
    pub archives_ms: Option<u64>,
    /// Bytes of the session folder that are too many, and how many are not.
    pub disk: Option<(u64, u64)>,
}

impl Rules {
    pub(crate) fn of(config: &Config) -> Self {
        let nothing = Value::Null;
        let section = config.session.get("maintenance").unwrap_or(&nothing);
        let time = |key: &str| match &section[key] {
            Value::String(text) => duration::parse_ms(text, "d"),
            Value::Number(number) => number.as_u64(),
            _ => None,
        };
        let size = |key: &str| match &section[key] {
            Value::String(text) => duration::parse_bytes(text),
            Value::Number(number) => number.as_u64(),
            _ => None,
        };
        let days = section["pruneDays"].as_u64().map(|days| days.saturating_mul(DAY_MS));
        let prune_after_ms = time("pruneAfter").or(days).unwrap_or(30 * DAY_MS);
        let archives_ms = match &section["resetArchiveRetention"] {
            Value::Bool(false) => None,
            _ => Some(time("resetArchiveRetention").unwrap_or(prune_after_ms)),
        };
        let disk = size("maxDiskBytes").map(|most| {
            let enough = size("highWaterBytes").unwrap_or(most / 5 * 4).min(most);
            (most, enough)
        });
        let most = section["maxEntries"].as_u64().and_then(|it| usize::try_from(it).ok());
        Self {
            enforce: section["mode"] == "enforce",
            prune_after_ms,
            most: most.filter(|most| *most > 0).unwrap_or(500),
            archives_ms,
            disk,
        }
    }
}

/// What a round would remove, or has removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Round {
    pub before: usize,
    /// Sessions nobody used for too long.
    pub pruned: Vec<String>,
    /// The least recently used beyond the number that is kept.
    pub capped: Vec<String>,
    /// Sessions that made room on the disk.
    pub evicted: Vec<String>,
    /// Archived transcripts that were removed.
    pub archives: usize,
}

impl Round {
    pub(crate) fn after(&self) -> usize {
        self.before - self.pruned.len() - self.capped.len() - self.evicted.len()
    }

    fn removes(&self, key: &str) -> bool {
        [&self.pruned, &self.capped, &self.evicted].iter().any(|keys| keys.iter().any(|k| k == key))
    }
}

/// The sessions that go by age and number; those of `busy` stay.
pub(crate) fn plan(entries: &Entries, rules: &Rules, now: u64, busy: &BTreeSet<String>) -> Round {
    let mut round = Round { before: entries.len(), ..Round::default() };
    let cutoff = now.saturating_sub(rules.prune_after_ms);
    let mut kept: Vec<(u64, &str)> = Vec::new();
    for (key, entry) in entries {
        let used = entry.number("updatedAt");
        if used.is_some_and(|used| used < cutoff) && !busy.contains(key) {
            round.pruned.push(key.clone());
        } else {
            kept.push((used.unwrap_or(0), key));
        }
    }
    kept.sort_by(|a, b| b.cmp(a));
    let surplus = kept.into_iter().skip(rules.most);
    round
        .capped
        .extend(surplus.filter(|(_, key)| !busy.contains(*key)).map(|(_, key)| key.to_owned()));
    round
}

/// Carries a round out. Blocks.
pub(crate) fn run(
    store: &Store,
    rules: &Rules,
    now: u64,
    busy: &BTreeSet<String>,
) -> io::Result<Round> {
    store.refresh()?;
    let mut round = plan(&store.entries(), rules, now, busy);
    for key in round.pruned.iter().chain(&round.capped) {
        remove(store, key, now)?;
    }
    let expired = |at: u64| rules.archives_ms.is_some_and(|kept| at.saturating_add(kept) < now);
    let mut archives = archives(store.dir());
    archives.retain(|(at, path)| {
        let gone = expired(*at) && std::fs::remove_file(path).is_ok();
        round.archives += usize::from(gone);
        !gone
    });
    if let Some((most, enough)) = rules.disk {
        make_room(store, (most, enough), archives, now, busy, &mut round)?;
    }
    store.flush()?;
    Ok(round)
}

/// Removes archives, then sessions, the oldest first, until the folder is
/// small enough.
fn make_room(
    store: &Store,
    (most, enough): (u64, u64),
    archives: Vec<(u64, PathBuf)>,
    now: u64,
    busy: &BTreeSet<String>,
    round: &mut Round,
) -> io::Result<()> {
    // The index is part of the folder, and what has left it makes room.
    store.flush()?;
    let mut used = size_of(store.dir());
    if used <= most {
        return Ok(());
    }
    for (_, path) in archives {
        if used <= enough {
            return Ok(());
        }
        let size = std::fs::metadata(&path).map_or(0, |meta| meta.len());
        if std::fs::remove_file(&path).is_ok() {
            used = used.saturating_sub(size);
            round.archives += 1;
        }
    }
    let entries = store.entries();
    let mut oldest: Vec<(u64, &String)> = entries
        .iter()
        .filter(|(key, _)| !busy.contains(*key) && !round.removes(key))
        .map(|(key, entry)| (entry.number("updatedAt").unwrap_or(0), key))
        .collect();
    oldest.sort();
    let mut evicted = Vec::new();
    for (_, key) in oldest {
        if used <= enough {
            break;
        }
        let listed = entries.get(key).map(|entry| json!(entry.fields()).to_string().len());
        used = used.saturating_sub(listed.and_then(|it| u64::try_from(it).ok()).unwrap_or(0));
        if let Some(archived) = remove(store, key, now)? {
            let size = std::fs::metadata(&archived).map_or(0, |meta| meta.len());
            if std::fs::remove_file(&archived).is_ok() {
                used = used.saturating_sub(size);
            }
        }
        evicted.push(key.clone());
    }
    round.evicted = evicted;
    Ok(())
}

/// Takes a session out of the index and archives its transcript.
fn remove(store: &Store, key: &str, now: u64) -> io::Result<Option<PathBuf>> {
    match store.remove(key).filter(|entry| !entry.session_id().is_empty()) {
        Some(entry) => archive(&transcript_path(store.dir(), &entry), "deleted", now),
        None => Ok(None),
    }
}

/// Archived transcripts with the time of their last change, oldest first.
fn archives(dir: &Path) -> Vec<(u64, PathBuf)> {
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut found: Vec<(u64, PathBuf)> = files
        .filter(|file| {
            let name = file.file_name();
            let name = name.to_string_lossy();
            ARCHIVED.iter().any(|mark| name.contains(mark))
        })
        .filter_map(|file| {
            let changed = file.metadata().ok()?.modified().ok()?;
            let since = changed.duration_since(std::time::UNIX_EPOCH).ok()?;
            Some((u64::try_from(since.as_millis()).ok()?, file.path()))
        })
        .collect();
    found.sort();
    found
}

fn size_of(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    files
        .filter_map(|file| file.metadata().ok())
        .filter(std::fs::Metadata::is_file)
        .map(|it| it.len())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_000_000_000;

    fn rules(maintenance: &Value) -> Rules {
        let config = json!({"session": {"maintenance": maintenance}});
        Rules::of(&serde_json::from_value(config).unwrap())
    }

    /// Sessions `s0`, `s1`, … used so many days ago, each with a transcript of 1,000 bytes.
    fn store(days: &[u64]) -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let entries: serde_json::Map<String, Value> = days
            .iter()
            .enumerate()
            .map(|(at, days)| {
                std::fs::write(dir.path().join(format!("id{at}.jsonl")), "x".repeat(1000)).unwrap();
                let entry =
                    json!({"sessionId": format!("id{at}"), "updatedAt": NOW - days * DAY_MS});
                (format!("s{at}"), entry)
            })
            .collect();
        let path = dir.path().join("sessions.json");
        std::fs::write(&path, serde_json::to_vec(&entries).unwrap()).unwrap();
        (dir, Store::new(path))
    }

    fn left(store: &Store) -> Vec<String> {
        store.refresh().unwrap();
        store.entries().keys().cloned().collect()
    }

    fn busy(keys: &[&str]) -> BTreeSet<String> {
        keys.iter().map(|key| (*key).to_owned()).collect()
    }

    #[test]
    fn defaults_are_thirty_days_and_five_hundred_sessions_only_counted() {
        let usual = rules(&Value::Null);
        assert_eq!((usual.enforce, usual.most, usual.disk), (false, 500, None));
        assert_eq!((usual.prune_after_ms, usual.archives_ms), (30 * DAY_MS, Some(30 * DAY_MS)));
        let own = rules(&json!({"mode": "enforce", "pruneAfter": "2h", "maxDiskBytes": "1kb",
            "resetArchiveRetention": false}));
        assert_eq!((own.enforce, own.prune_after_ms, own.archives_ms), (true, 7_200_000, None));
        assert_eq!(own.disk, Some((1024, 816)));
    }

    #[test]
    fn old_and_surplus_sessions_leave_and_busy_ones_stay() {
        let (dir, store) = store(&[40, 1, 3, 2, 50]);
        let rules = rules(&json!({"maxEntries": 2}));
        let round = run(&store, &rules, NOW, &busy(&["s4"])).unwrap();
        assert_eq!((round.before, round.after()), (5, 3));
        assert_eq!((round.pruned, round.capped), (vec!["s0".to_owned()], vec!["s2".to_owned()]));
        assert_eq!(left(&store), ["s1", "s3", "s4"]);
        let names: Vec<String> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        assert!(names.iter().any(|name| name.starts_with("id0.jsonl.deleted.")), "{names:?}");
        assert!(names.contains(&"id1.jsonl".to_owned()), "{names:?}");
    }

    #[test]
    fn the_disk_is_freed_from_archives_first_and_then_from_the_oldest() {
        let (dir, store) = store(&[3, 2, 1]);
        let archived = dir.path().join("gone.jsonl.reset.2026-11-01T00-00-00.000Z");
        std::fs::write(&archived, "x".repeat(1000)).unwrap();
        let rules = rules(&json!({"maxDiskBytes": 3500, "highWaterBytes": 2400}));
        let round = run(&store, &rules, NOW, &busy(&["s0"])).unwrap();
        assert!(!archived.exists());
        assert_eq!((round.archives, round.evicted), (1, vec!["s1".to_owned()]));
        assert_eq!(left(&store), ["s0", "s2"]);
        assert!(!dir.path().join("id1.jsonl").exists());
    }

    #[test]
    fn what_left_the_index_makes_room_for_who_stays() {
        let (_dir, store) = store(&[5, 4, 3, 2, 1]);
        for at in 0..4 {
            store.update(&format!("s{at}"), |entry| entry.set("note", "x".repeat(3000)));
        }
        store.flush().unwrap();
        let rules = rules(&json!({"maxEntries": 2, "maxDiskBytes": 6500, "highWaterBytes": 3000}));
        let round = run(&store, &rules, NOW, &busy(&[])).unwrap();
        assert_eq!((round.capped.len(), round.evicted), (3, vec!["s3".to_owned()]));
        assert_eq!(left(&store), ["s4"]);
    }

    #[test]
    fn archives_go_when_their_time_is_over() {
        let (dir, store) = store(&[1]);
        let archived = dir.path().join("gone.jsonl.deleted.2026-11-01T00-00-00.000Z");
        std::fs::write(&archived, "x").unwrap();
        let later = crate::base::clock::now_ms() + 31 * DAY_MS;
        let keep = busy(&["s0"]);
        run(&store, &rules(&json!({"resetArchiveRetention": false})), later, &keep).unwrap();
        assert!(archived.exists());
        let round = run(&store, &rules(&Value::Null), later, &keep).unwrap();
        assert_eq!((round.archives, archived.exists()), (1, false));
    }
}
