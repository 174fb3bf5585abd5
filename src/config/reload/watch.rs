//! Tells when the configuration file, or a file it includes, may have changed.
//!
//! Watches directories, because editors replace files. Says "look", not what:
//! the reader compares contents.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use crate::config::include;

/// Links that are gone after before they are taken for a circle.
const MAX_LINKS: usize = 16;

/// A running watch; dropping it ends it.
pub struct Watch {
    watcher: RecommendedWatcher,
    /// The watched folders, and which ones they were: another one may be in
    /// the place of a watched one later.
    dirs: BTreeMap<PathBuf, Option<Identity>>,
    names: Arc<Mutex<BTreeSet<OsString>>>,
}

/// Device and inode of a folder.
type Identity = (u64, u64);

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
        Ok(Self { watcher, dirs: BTreeMap::new(), names })
    }

    /// Follows the configuration file and what it includes from here on, and no
    /// others. Returns whether something was not followed before.
    pub fn follow<'p>(
        &mut self,
        config: &'p Path,
        includes: impl IntoIterator<Item = &'p Path>,
    ) -> bool {
        let top = config.parent().unwrap_or(config);
        let mut places = BTreeSet::new();
        for file in includes.into_iter().chain([config]) {
            collect(file, top, MAX_LINKS, &mut places);
            // What links above them lead to.
            places.extend(file.canonicalize());
        }
        let mut names = BTreeSet::new();
        let mut dirs = BTreeMap::new();
        for place in &places {
            names.extend(place.file_name().map(ToOwned::to_owned));
            for dir in place.ancestors().skip(1) {
                // Its own name, too: it may be moved or removed itself.
                names.extend(dir.file_name().map(ToOwned::to_owned));
                if let Ok(meta) = dir.metadata() {
                    dirs.insert(dir.to_path_buf(), Some((meta.dev(), meta.ino())));
                    break;
                }
            }
        }
        let mut followed = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let mut is_new = !names.is_subset(&followed);
        *followed = names;
        drop(followed);
        let stays = |dir: &PathBuf, id: &Option<Identity>| dirs.get(dir) == Some(id);
        for (gone, _) in self.dirs.iter().filter(|(dir, id)| !stays(dir, id)) {
            if let Err(err) = self.watcher.unwatch(gone) {
                tracing::debug!(%err, path = %gone.display(), "directory was not watched");
            }
        }
        for (dir, id) in &mut dirs {
            if self.dirs.get(dir) == Some(id) {
                continue;
            }
            is_new = true;
            if let Err(err) = self.watcher.watch(dir, RecursiveMode::NonRecursive) {
                tracing::warn!(%err, path = %dir.display(), "config directory not watched");
                *id = None;
            }
        }
        self.dirs = dirs;
        is_new
    }
}

/// Everything whose replacement makes `file` another one: itself, the folders
/// below `top` on the way to it, and the same of what links there lead to.
fn collect(file: &Path, top: &Path, links: usize, places: &mut BTreeSet<PathBuf>) {
    let on_the_way = file.ancestors().skip(1).take_while(|dir| *dir != top && dir.starts_with(top));
    for place in std::iter::once(file).chain(on_the_way) {
        if !places.insert(place.to_path_buf()) || links == 0 {
            continue;
        }
        let (Ok(target), Some(dir)) = (place.read_link(), place.parent()) else { continue };
        let rest = file.strip_prefix(place).unwrap_or(Path::new(""));
        let target = include::normal(&dir.join(target).join(rest));
        collect(&target, top, links - 1, places);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn noticed(changed: &Notify, what: &str) {
        tokio::time::timeout(Duration::from_secs(30), changed.notified()).await.expect(what);
    }

    #[tokio::test]
    async fn a_replaced_file_is_noticed_and_a_neighbour_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("openclaw.json");
        let changed = Arc::new(Notify::new());
        let mut watch = Watch::start(Arc::clone(&changed)).unwrap();
        assert!(watch.follow(&file, []));
        assert!(!watch.follow(&file, []));
        std::fs::write(dir.path().join("other.json"), "{}").unwrap();
        let quiet = tokio::time::timeout(Duration::from_millis(150), changed.notified()).await;
        assert!(quiet.is_err());
        let temporary = dir.path().join("tmp");
        std::fs::write(&temporary, "{}").unwrap();
        std::fs::rename(&temporary, &file).unwrap();
        noticed(&changed, "a replaced file").await;
    }

    /// Waits until everything that was said is read, then follows anew.
    async fn settle(watch: &mut Watch, changed: &Notify, config: &Path, include: &Path) {
        while tokio::time::timeout(Duration::from_millis(100), changed.notified()).await.is_ok() {}
        while watch.follow(config, [include]) {}
    }

    #[tokio::test]
    async fn folders_and_links_on_the_way_to_a_file_may_be_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        let put = |path: &str| {
            std::fs::create_dir_all(at(path).parent().unwrap()).unwrap();
            std::fs::write(at(path), "{}").unwrap();
        };
        let (config, include) = (at("state/openclaw.json"), at("state/parts/deep/ui.json"));
        put("state/parts/deep/ui.json");
        put("state/v1/openclaw.json");
        put("state/v2/openclaw.json");
        let link = |target: &str| {
            std::os::unix::fs::symlink(target, at("state/new")).unwrap();
            std::fs::rename(at("state/new"), at("state/..data")).unwrap();
        };
        link("v1");
        std::os::unix::fs::symlink("..data/openclaw.json", &config).unwrap();
        let changed = Arc::new(Notify::new());
        let mut watch = Watch::start(Arc::clone(&changed)).unwrap();
        settle(&mut watch, &changed, &config, &include).await;
        std::fs::rename(at("state/parts"), at("state/old")).unwrap();
        noticed(&changed, "a folder is moved away").await;
        settle(&mut watch, &changed, &config, &include).await;
        put("state/parts/deep/ui.json");
        noticed(&changed, "another folder takes its place").await;
        settle(&mut watch, &changed, &config, &include).await;
        put("state/parts/deep/ui.json");
        noticed(&changed, "a file in the new folder").await;
        settle(&mut watch, &changed, &config, &include).await;
        link("v2");
        noticed(&changed, "a link on the way").await;
        settle(&mut watch, &changed, &config, &include).await;
        put("state/v2/openclaw.json");
        noticed(&changed, "the file that it leads to now").await;
        settle(&mut watch, &changed, &config, &include).await;
        std::fs::remove_dir_all(at("state")).unwrap();
        noticed(&changed, "everything is removed").await;
        settle(&mut watch, &changed, &config, &include).await;
        put("state/openclaw.json");
        noticed(&changed, "everything is back").await;
        settle(&mut watch, &changed, &config, &include).await;
        put("state/openclaw.json");
        noticed(&changed, "a file in the restored folder").await;
    }
}
