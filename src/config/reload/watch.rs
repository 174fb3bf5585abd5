//! Tells when the configuration file, or a file it includes, may have changed.
//!
//! Watches directories, because editors replace files. Says "look", not what:
//! the reader compares contents.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

/// A running watch; dropping it ends it.
pub struct Watch {
    watcher: RecommendedWatcher,
    dirs: BTreeSet<PathBuf>,
    names: Arc<Mutex<BTreeSet<OsString>>>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("dirs", &self.dirs).finish_non_exhaustive()
    }
}

impl Watch {
    /// Wakes `changed` for every event that may concern one of the followed
    /// files. Blocking, but short.
    pub fn start(changed: Arc<Notify>) -> notify::Result<Self> {
        let names: Arc<Mutex<BTreeSet<OsString>>> = Arc::default();
        let wanted = Arc::clone(&names);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let concerns = match &event {
                Ok(event) if matches!(event.kind, EventKind::Access(_)) => false,
                Ok(event) => {
                    let wanted = wanted.lock().unwrap_or_else(PoisonError::into_inner);
                    event
                        .paths
                        .iter()
                        .any(|path| path.file_name().is_some_and(|name| wanted.contains(name)))
                }
                // An overflow may have swallowed anything.
                Err(_) => true,
            };
            if concerns {
                changed.notify_one();
            }
        })?;
        Ok(Self { watcher, dirs: BTreeSet::new(), names })
    }

    /// Follows these files from here on, and no others. Returns whether one of
    /// them was not followed before.
    pub fn follow<'p>(&mut self, files: impl IntoIterator<Item = &'p Path>) -> bool {
        let mut dirs = BTreeSet::new();
        let mut names = BTreeSet::new();
        for file in files {
            // A link can be repointed, and its target rewritten.
            let real = file.canonicalize().unwrap_or_else(|_| file.to_path_buf());
            for path in [file, &real] {
                names.extend(path.file_name().map(ToOwned::to_owned));
                dirs.extend(path.parent().map(Path::to_path_buf));
            }
        }
        let mut followed = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !names.is_subset(&followed) || !dirs.is_subset(&self.dirs);
        *followed = names;
        drop(followed);
        for gone in self.dirs.difference(&dirs) {
            if let Err(err) = self.watcher.unwatch(gone) {
                tracing::debug!(%err, path = %gone.display(), "directory was not watched");
            }
        }
        let mut watched: BTreeSet<PathBuf> = self.dirs.intersection(&dirs).cloned().collect();
        for dir in dirs.difference(&self.dirs) {
            match self.watcher.watch(dir, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    watched.insert(dir.clone());
                }
                Err(err) => {
                    tracing::warn!(%err, path = %dir.display(), "config directory not watched");
                }
            }
        }
        self.dirs = watched;
        is_new
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_replaced_file_is_noticed_and_a_neighbour_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("openclaw.json");
        let changed = Arc::new(Notify::new());
        let mut watch = Watch::start(Arc::clone(&changed)).unwrap();
        assert!(watch.follow([file.as_path()]));
        assert!(!watch.follow([file.as_path()]));
        std::fs::write(dir.path().join("other.json"), "{}").unwrap();
        let quiet = tokio::time::timeout(Duration::from_millis(150), changed.notified()).await;
        assert!(quiet.is_err());
        let temporary = dir.path().join("tmp");
        std::fs::write(&temporary, "{}").unwrap();
        std::fs::rename(&temporary, &file).unwrap();
        tokio::time::timeout(Duration::from_secs(5), changed.notified()).await.unwrap();
    }
}
