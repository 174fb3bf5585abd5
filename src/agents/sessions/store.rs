//! `sessions.json` of one agent: kept in memory, validated by the file's
//! stamp, written behind the runs. Other processes may edit the file at any
//! time; their changes are merged field by field, never overwritten.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use std::time::SystemTime;

use indexmap::IndexMap;
use serde_json::Map;
use serde_json::Value;

use crate::agents::sessions::entry::Entry;
use crate::agents::sessions::entry::merge;
use crate::base::clock::now_ms;
use crate::store::atomic;
use crate::store::lock::FileLock;

/// How long a write waits for another process to finish its own.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

pub(crate) type Entries = IndexMap<String, Arc<Entry>>;

/// What tells two versions of a file apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    len: u64,
    inode: u64,
}

impl Stamp {
    /// `None` when there is no file.
    fn of(path: &Path) -> io::Result<Option<Self>> {
        use std::os::unix::fs::MetadataExt;
        match std::fs::metadata(path) {
            Ok(meta) => Ok(Some(Self {
                modified: meta.modified().ok(),
                len: meta.len(),
                inode: meta.ino(),
            })),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(err) => Err(err),
        }
    }
}

#[derive(Debug, Default)]
struct Cache {
    /// Whether the file was looked at, and what it was then.
    looked: bool,
    seen: Option<Stamp>,
    /// As on disk when last read or written.
    base: Entries,
    /// As it is.
    entries: Entries,
    /// Values that are no objects; kept as they are.
    strange: Map<String, Value>,
    dirty: bool,
}

/// The session index of one agent.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
    cache: Mutex<Cache>,
    /// Held while the file is being replaced, so that two flushes of this
    /// process do not wait for each other's lock file.
    writing: Mutex<()>,
    /// Whether a flush has been scheduled and not yet begun its last round.
    pub(crate) flushing: AtomicBool,
    /// When it was last looked after, in milliseconds since the epoch.
    pub(crate) maintained_at: AtomicU64,
}

impl Store {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            cache: Mutex::default(),
            writing: Mutex::default(),
            flushing: AtomicBool::default(),
            maintained_at: AtomicU64::default(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Directory of the transcripts.
    pub(crate) fn dir(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }

    /// Reads the file again if it has changed. Costs one `stat` if not.
    pub(crate) fn refresh(&self) -> io::Result<()> {
        let stamp = Stamp::of(&self.path)?;
        let mut cache = self.cache();
        if cache.looked && cache.seen == stamp {
            return Ok(());
        }
        self.absorb(&mut cache, stamp)
    }

    pub(crate) fn get(&self, key: &str) -> Option<Arc<Entry>> {
        self.cache().entries.get(key).map(Arc::clone)
    }

    pub(crate) fn entries(&self) -> Entries {
        self.cache().entries.clone()
    }

    /// Changes one entry in memory, creating it if need be.
    pub(crate) fn update<T>(
        &self,
        key: &str,
        change: impl FnOnce(&mut Entry) -> T,
    ) -> (Arc<Entry>, T) {
        let mut cache = self.cache();
        let mut entry = cache.entries.get(key).map(|entry| Entry::clone(entry)).unwrap_or_default();
        let result = change(&mut entry);
        entry.drop_caches();
        let entry = Arc::new(entry);
        cache.entries.insert(key.to_owned(), Arc::clone(&entry));
        cache.dirty = true;
        (entry, result)
    }

    pub(crate) fn remove(&self, key: &str) -> Option<Arc<Entry>> {
        let mut cache = self.cache();
        let removed = cache.entries.shift_remove(key);
        cache.dirty |= removed.is_some();
        removed
    }

    pub(crate) fn is_dirty(&self) -> bool {
        self.cache().dirty
    }

    /// Writes what has changed. A failed write stays due.
    pub(crate) fn flush(&self) -> io::Result<()> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_dirty() {
            return Ok(());
        }
        let _lock = FileLock::acquire(&self.path, LOCK_PATIENCE)?;
        let (entries, strange) = {
            let stamp = Stamp::of(&self.path)?;
            let mut cache = self.cache();
            if !cache.looked || cache.seen != stamp {
                self.absorb(&mut cache, stamp)?;
            }
            cache.dirty = false;
            (cache.entries.clone(), cache.strange.clone())
        };
        let written = render(&entries, &strange)
            .and_then(|text| atomic::write(&self.path, &text, atomic::Sync::No))
            .and_then(|()| Stamp::of(&self.path));
        let mut cache = self.cache();
        match written {
            Ok(stamp) => {
                cache.seen = stamp;
                cache.base = entries;
                Ok(())
            }
            Err(err) => {
                cache.dirty = true;
                Err(err)
            }
        }
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the file's state in, on top of changes not yet written.
    fn absorb(&self, cache: &mut Cache, stamp: Option<Stamp>) -> io::Result<()> {
        let (theirs, strange) = match stamp {
            None => (Entries::new(), Map::new()),
            Some(_) => self.read(&cache.base)?,
        };
        let mut merged = Entries::with_capacity(theirs.len());
        for (key, theirs) in &theirs {
            let entry = match (cache.base.get(key), cache.entries.get(key)) {
                // Removed here since the last write.
                (Some(base), None) if base == theirs => continue,
                (base, Some(ours)) if base.is_none_or(|base| !Arc::ptr_eq(base, ours)) => {
                    Arc::new(merge(base.map(AsRef::as_ref), ours, theirs))
                }
                _ => Arc::clone(theirs),
            };
            merged.insert(key.clone(), entry);
        }
        for (key, ours) in &cache.entries {
            let changed = cache.base.get(key).is_none_or(|base| !Arc::ptr_eq(base, ours));
            if changed && !theirs.contains_key(key) {
                merged.insert(key.clone(), Arc::clone(ours));
            }
        }
        cache.entries = merged;
        cache.base = theirs;
        cache.strange = strange;
        cache.seen = stamp;
        cache.looked = true;
        Ok(())
    }

    /// Parses the file; entries equal to those of `known` share their memory.
    fn read(&self, known: &Entries) -> io::Result<(Entries, Map<String, Value>)> {
        let bytes = match std::fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(err) if err.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(err) => return Err(err),
        };
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok((Entries::new(), Map::new()));
        }
        let parsed: Map<String, Value> = match serde_json::from_slice(&bytes) {
            Ok(parsed) => parsed,
            Err(err) => {
                let aside = self.path.with_extension(format!("json.corrupt-{}", now_ms()));
                std::fs::copy(&self.path, &aside)?;
                tracing::warn!(
                    path = %self.path.display(), kept = %aside.display(), %err,
                    "session index is no valid JSON; starting an empty one, the old text is kept"
                );
                return Ok((Entries::new(), Map::new()));
            }
        };
        let mut entries = Entries::with_capacity(parsed.len());
        let mut strange = Map::new();
        for (key, value) in parsed {
            match value {
                Value::Object(fields) => {
                    let entry = Entry::from_fields(fields);
                    let entry = match known.get(&key) {
                        Some(known) if **known == entry => Arc::clone(known),
                        _ => Arc::new(entry),
                    };
                    entries.insert(key, entry);
                }
                other => {
                    strange.insert(key, other);
                }
            }
        }
        Ok((entries, strange))
    }
}

fn render(entries: &Entries, strange: &Map<String, Value>) -> io::Result<Vec<u8>> {
    use serde::Serializer;
    use serde::ser::SerializeMap;

    let mut out = Vec::with_capacity(entries.len() * 800 + 64);
    let mut json = serde_json::Serializer::pretty(&mut out);
    let mut map = json.serialize_map(None)?;
    for (key, entry) in entries {
        map.serialize_entry(key, entry.fields())?;
    }
    for (key, value) in strange {
        map.serialize_entry(key, value)?;
    }
    map.end()?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn on_disk(path: &Path) -> Value {
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    fn store(dir: &tempfile::TempDir, content: &str) -> Store {
        let path = dir.path().join("sessions.json");
        std::fs::write(&path, content).unwrap();
        Store::new(path)
    }

    #[test]
    fn unknown_fields_and_strange_values_survive_a_rewrite() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir, r#"{"a":{"sessionId":"1","future":{"x":[1]}},"junk":7}"#);
        store.refresh().unwrap();
        store.update("a", |entry| entry.set("updatedAt", 9));
        store.flush().unwrap();
        assert_eq!(
            on_disk(store.path()),
            json!({"a": {"sessionId": "1", "future": {"x": [1]}, "updatedAt": 9}, "junk": 7})
        );
    }

    #[test]
    fn an_edit_by_another_process_is_merged_field_by_field() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir, r#"{"a":{"sessionId":"1","label":"x"},"b":{"sessionId":"2"}}"#);
        store.refresh().unwrap();
        store.update("a", |entry| entry.set("updatedAt", 9));
        let theirs = r#"{"a":{"sessionId":"1","label":"renamed"},"c":{"sessionId":"3"}}"#;
        std::fs::write(store.path(), theirs).unwrap();
        store.flush().unwrap();
        assert_eq!(
            on_disk(store.path()),
            json!({"a": {"sessionId": "1", "label": "renamed", "updatedAt": 9}, "c": {"sessionId": "3"}})
        );
        assert!(store.get("b").is_none());
    }

    #[test]
    fn a_removed_entry_stays_removed_although_others_edit() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir, r#"{"a":{"sessionId":"1"}}"#);
        store.refresh().unwrap();
        store.remove("a");
        std::fs::write(store.path(), r#"{"a":{"sessionId":"1"},"b":{"sessionId":"2"}}"#).unwrap();
        store.flush().unwrap();
        assert_eq!(on_disk(store.path()), json!({"b": {"sessionId": "2"}}));
    }

    #[test]
    fn a_broken_index_is_kept_beside_the_fresh_one() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir, r#"{"a": oops"#);
        store.refresh().unwrap();
        store.update("b", |entry| entry.set("sessionId", "2"));
        store.flush().unwrap();
        assert_eq!(on_disk(store.path()), json!({"b": {"sessionId": "2"}}));
        let kept = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|file| file.unwrap().path())
            .find(|path| path.to_str().unwrap().contains("corrupt"))
            .unwrap();
        assert_eq!(std::fs::read_to_string(kept).unwrap(), r#"{"a": oops"#);
    }

    #[test]
    fn caches_of_the_reference_are_dropped_from_touched_entries_alone() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(
            &dir,
            r#"{"a":{"sessionId":"1","skillsSnapshot":{}},"b":{"sessionId":"2","skillsSnapshot":{}}}"#,
        );
        store.refresh().unwrap();
        store.update("a", |_| ());
        store.flush().unwrap();
        assert_eq!(
            on_disk(store.path()),
            json!({"a": {"sessionId": "1"}, "b": {"sessionId": "2", "skillsSnapshot": {}}})
        );
    }
}
