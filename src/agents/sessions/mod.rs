//! Sessions on disk, in the reference's format: the index `sessions.json` per
//! agent and one transcript per session. Read from memory, validated by the
//! files' stamps, written behind the runs.

mod api;
mod entry;
mod history;
mod keys;
mod list;
pub(crate) mod maintenance;
mod newer;
mod patch;
mod rows;
mod store;
mod transcript;

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;

use crate::agents::sessions::maintenance::Round;
use crate::agents::sessions::maintenance::Rules;
use crate::agents::sessions::maintenance::plan;
use crate::config::Config;
use crate::lifecycle::{self, Lifecycle};
use crate::profile::paths::Paths;
use crate::profile::paths::expand;

pub use api::CreateParams;
pub use api::HistoryParams;
pub use api::PreviewParams;
pub use api::ResetReason;
pub use api::ResolveParams;
pub use api::Rows;
pub use api::SessionError;
pub use api::Sessions;
pub use entry::Entry;
pub use list::ListParams;
pub use newer::choose as choose_thinking;

pub(crate) use history::ellipsis;
pub(crate) use history::plain_text;
pub(crate) use keys::ResetPolicy;
pub(crate) use keys::canonical;
pub(crate) use keys::main_session;
pub(crate) use patch::split_model;
pub(crate) use patch::thinking_level;
pub(crate) use rows::ModelChoice;
pub(crate) use rows::row as row_of;
pub(crate) use store::Store;
pub(crate) use transcript::Branch;
pub(crate) use transcript::INJECTED_MODEL;
pub(crate) use transcript::INJECTED_PROVIDER;
pub(crate) use transcript::Pen;
pub(crate) use transcript::append;
pub(crate) use transcript::read_branch;
pub(crate) use transcript::read_messages;
pub(crate) use transcript::summary_message;

/// Share of time that writing an index may take: after a write of `t` the next
/// waits `t` times this, so that a large index does not eat a processor.
const WRITE_PAUSE_FACTOR: u32 = 4;
/// How often an index is looked after.
const MAINTENANCE_MS: u64 = 60 * 60 * 1000;
const LONGEST_WRITE_PAUSE: Duration = Duration::from_millis(500);

/// Milliseconds since the epoch in the form of JavaScript's `toISOString`.
pub(crate) fn iso_time(ms: u64) -> String {
    i64::try_from(ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .unwrap_or_default()
        .strftime("%Y-%m-%dT%H:%M:%S.%3fZ")
        .to_string()
}

/// A transcript message as subscribers and histories see it: envelope
/// stripped, place in the transcript added.
pub fn shown_message(id: &str, seq: u64, message: &Value) -> Value {
    let stored = transcript::Stored { id: id.to_owned(), seq, message: message.clone() };
    history::shape_one(stored, history::DEFAULT_MAX_CHARS, false)
}

/// The stores of all agents.
#[derive(Debug)]
pub(crate) struct Stores {
    paths: Paths,
    lifecycle: Lifecycle,
    by_path: Mutex<HashMap<PathBuf, Arc<Store>>>,
}

impl Stores {
    pub(crate) fn new(paths: Paths, lifecycle: Lifecycle) -> Self {
        Self { paths, lifecycle, by_path: Mutex::default() }
    }

    /// The store of an agent, not yet read.
    pub(crate) fn of(&self, config: &Config, agent: &str) -> Arc<Store> {
        let path = self.index_path(config, agent);
        let mut stores = self.by_path.lock().unwrap_or_else(PoisonError::into_inner);
        let store =
            stores.entry(path).or_insert_with_key(|path| Arc::new(Store::new(path.clone())));
        Arc::clone(store)
    }

    /// Where the index of an agent lies: `session.store`, else below the state
    /// directory.
    fn index_path(&self, config: &Config, agent: &str) -> PathBuf {
        match config.session.get("store").and_then(Value::as_str).map(str::trim) {
            Some(template) if !template.is_empty() => {
                expand(&template.replace("{agentId}", agent), &self.paths.home)
            }
            _ => self.paths.agent(agent).join("sessions").join("sessions.json"),
        }
    }

    /// Whether all agents share one index file.
    pub(crate) fn is_shared(config: &Config) -> bool {
        config
            .session
            .get("store")
            .and_then(Value::as_str)
            .is_some_and(|path| !path.trim().is_empty() && !path.contains("{agentId}"))
    }

    /// Configured agents and those that left a directory. Blocking.
    pub(crate) fn agents(&self, config: &Config) -> Vec<String> {
        let mut ids: Vec<String> = vec![config.agents.default_id().to_lowercase()];
        ids.extend(config.agents.list.iter().map(|agent| agent.id.to_lowercase()));
        if let Ok(dirs) = std::fs::read_dir(self.paths.state.join("agents")) {
            let mut found: Vec<String> = dirs
                .filter_map(|dir| dir.ok()?.file_name().into_string().ok())
                .filter(|id| !id.starts_with('.'))
                .collect();
            found.sort();
            ids.extend(found);
        }
        let mut seen = std::collections::HashSet::new();
        ids.retain(|id| seen.insert(id.clone()));
        ids
    }

    /// Writes the store soon, in the background, once for many changes.
    pub(crate) fn flush_soon(&self, store: &Arc<Store>) {
        if store.flushing.swap(true, Ordering::AcqRel) {
            return;
        }
        let store = Arc::clone(store);
        self.lifecycle.spawn("session index writer", move |stop| async move {
            loop {
                let target = Arc::clone(&store);
                let begun = Instant::now();
                let result = lifecycle::spawn_blocking(move || target.flush()).await;
                if let Ok(Err(err)) = &result {
                    tracing::warn!(path = %store.path().display(), %err, "session index not written");
                }
                let pause = (begun.elapsed() * WRITE_PAUSE_FACTOR).min(LONGEST_WRITE_PAUSE);
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = stop.cancelled() => {}
                }
                store.flushing.store(false, Ordering::Release);
                let failed = !matches!(result, Ok(Ok(())));
                // A change made meanwhile saw the flag set and left the work to
                // this task.
                if failed || !store.is_dirty() || store.flushing.swap(true, Ordering::AcqRel) {
                    return;
                }
            }
        });
    }

    /// Looks after a store by `rules`, in the background and once an hour at
    /// the most.
    pub(crate) fn maintain(
        &self,
        store: &Arc<Store>,
        rules: Rules,
        now: u64,
        busy: impl FnOnce() -> BTreeSet<String>,
    ) {
        let last = store.maintained_at.load(Ordering::Acquire);
        if now.saturating_sub(last) < MAINTENANCE_MS
            || store
                .maintained_at
                .compare_exchange(last, now, Ordering::AcqRel, Ordering::Acquire)
                .is_err()
        {
            return;
        }
        let (store, busy, is_enforced) = (Arc::clone(store), busy(), rules.enforce);
        self.lifecycle.spawn("session maintenance", move |_| async move {
            let path = store.path().display().to_string();
            let work = move || {
                if rules.enforce {
                    maintenance::run(&store, &rules, now, &busy)
                } else {
                    store.refresh().map(|()| plan(&store.entries(), &rules, now, &busy))
                }
            };
            match lifecycle::spawn_blocking(work).await {
                Ok(Ok(round)) => report(&path, &round, is_enforced),
                Ok(Err(err)) => tracing::warn!(path, %err, "session maintenance failed"),
                Err(_) => {}
            }
        });
    }

    /// Writes everything that is due. Blocking.
    pub(crate) fn flush_all(&self) {
        let stores: Vec<Arc<Store>> = {
            let stores = self.by_path.lock().unwrap_or_else(PoisonError::into_inner);
            stores.values().map(Arc::clone).collect()
        };
        for store in stores {
            if let Err(err) = store.flush() {
                tracing::warn!(path = %store.path().display(), %err, "session index not written");
            }
        }
    }
}

fn report(path: &str, round: &Round, is_enforced: bool) {
    let (pruned, capped, evicted) = (round.pruned.len(), round.capped.len(), round.evicted.len());
    if pruned + capped + evicted + round.archives == 0 {
        return;
    }
    if is_enforced {
        let archives = round.archives;
        tracing::info!(path, pruned, capped, evicted, archives, "sessions were cleaned up");
    } else {
        tracing::info!(
            path,
            pruned,
            capped,
            "sessions are old or too many; session.maintenance.mode \"enforce\" or \
             `openclaw sessions cleanup --enforce` removes them"
        );
    }
}

/// The transcript of an entry: its own `sessionFile` if that lies in the
/// session directory, else `<sessionId>.jsonl` there.
pub(crate) fn transcript_path(dir: &Path, entry: &Entry) -> PathBuf {
    let id = entry.session_id();
    let named = entry.text("sessionFile").map(Path::new).filter(|file| {
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        // After a reset by the reference the field may still name the old file.
        name.starts_with(id) && !id.is_empty()
    });
    match named {
        Some(file) if file.is_absolute() && file.parent() == Some(dir) => file.to_path_buf(),
        Some(file) => dir.join(file.file_name().unwrap_or_default()),
        None => dir.join(format!("{id}.jsonl")),
    }
}

/// Renames a transcript to `<name>.<why>.<time>`; `None` if there was none.
pub(crate) fn archive(path: &Path, why: &str, now_ms: u64) -> io::Result<Option<PathBuf>> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{why}.{}", iso_time(now_ms).replace(':', "-")));
    let target = PathBuf::from(name);
    match std::fs::rename(path, &target) {
        Ok(()) => Ok(Some(target)),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(err),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn times_look_like_javascripts() {
        assert_eq!(iso_time(1_795_349_241_877), "2026-11-22T12:07:21.877Z");
        assert_eq!(iso_time(0), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn a_transcript_stays_in_its_directory() {
        let entry = |value| match value {
            Value::Object(fields) => Entry::from_fields(fields),
            _ => Entry::default(),
        };
        let dir = Path::new("/s");
        let cases = [
            (json!({"sessionId": "a"}), "/s/a.jsonl"),
            (json!({"sessionId": "a", "sessionFile": "/s/a-topic-7.jsonl"}), "/s/a-topic-7.jsonl"),
            (json!({"sessionId": "a", "sessionFile": "/old/home/a.jsonl"}), "/s/a.jsonl"),
            (json!({"sessionId": "b", "sessionFile": "/s/a.jsonl"}), "/s/b.jsonl"),
        ];
        for (fields, path) in cases {
            assert_eq!(transcript_path(dir, &entry(fields)), Path::new(path));
        }
    }
}
