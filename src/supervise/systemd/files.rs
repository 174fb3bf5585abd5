//! Unit files on disk: replaced whole, with timestamped backups, and put back
//! when what was written does not start.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::store::atomic::{self, Sync};
use crate::supervise::manager::{ManageError, Rendered};

/// Backups kept of each file.
const KEPT_BACKUPS: usize = 5;

/// One change of a set of files, which can be taken back.
#[derive(Debug, Default)]
pub struct Transaction {
    before: Vec<(PathBuf, Option<Vec<u8>>)>,
    pub backups: Vec<PathBuf>,
}

impl Transaction {
    /// Writes those files whose bytes differ. On an error, what was written
    /// before it is taken back.
    pub fn write(files: &[Rendered], now_ms: u64) -> Result<Self, ManageError> {
        let mut transaction = Self::default();
        for file in files {
            if let Err(err) = transaction.replace(file, now_ms) {
                transaction.undo();
                return Err(err);
            }
        }
        Ok(transaction)
    }

    /// Whether anything was written.
    pub fn changed(&self) -> bool {
        !self.before.is_empty()
    }

    /// Whether `path` was written.
    pub fn wrote(&self, path: &Path) -> bool {
        self.before.iter().any(|(known, _)| known == path)
    }

    /// Whether there was a service before.
    pub fn had_previous(&self) -> bool {
        self.before.iter().any(|(_, bytes)| bytes.is_some())
    }

    /// Puts every file back as it was; what cannot be restored is logged.
    pub fn undo(&mut self) {
        for (path, before) in self.before.drain(..).rev() {
            let restored = match before {
                Some(bytes) => write_public(&path, &bytes),
                None => fs::remove_file(&path),
            };
            if let Err(err) = restored {
                tracing::error!(path = %path.display(), %err, "cannot put the unit file back");
            }
        }
        for backup in self.backups.drain(..) {
            drop(fs::remove_file(backup));
        }
    }

    fn replace(&mut self, file: &Rendered, now_ms: u64) -> Result<(), ManageError> {
        let path = &file.path;
        let before = read_own(path)?;
        if before.as_deref() == Some(file.text.as_slice()) {
            return Ok(());
        }
        let io_error = |source| ManageError::Io { path: path.clone(), source };
        if let Some(bytes) = &before {
            let backup = backup_name(path, now_ms);
            write_public(&backup, bytes).map_err(io_error)?;
            self.backups.push(backup);
        }
        write_public(path, &file.text).map_err(io_error)?;
        self.before.push((path.clone(), before));
        prune_backups(path);
        Ok(())
    }
}

/// Reads a unit file that we may replace; `None` when there is none.
///
/// A symbolic link (a mask, or a file kept elsewhere) and another user's file
/// are refused.
pub fn read_own(path: &Path) -> Result<Option<Vec<u8>>, ManageError> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(ManageError::Io { path: path.to_owned(), source }),
    };
    let refuse = |problem| Err(ManageError::File { path: path.to_owned(), problem });
    if metadata.is_symlink() {
        return refuse("is a symbolic link; change its target, or remove it first");
    }
    if !metadata.is_file() {
        return refuse("is not a regular file");
    }
    if metadata.uid() != nix::unistd::geteuid().as_raw() {
        return refuse("belongs to another user");
    }
    let bytes = fs::read(path);
    bytes.map(Some).map_err(|source| ManageError::Io { path: path.to_owned(), source })
}

/// Removes a unit file of ours; `false` when there was none.
pub fn remove(path: &Path) -> Result<bool, ManageError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(ManageError::Io { path: path.to_owned(), source }),
    }
}

/// Unit files hold no secrets and are readable like any other unit.
fn write_public(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    atomic::write(path, bytes, Sync::Yes)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
}

fn backup_name(path: &Path, now_ms: u64) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".bak-{now_ms}"));
    PathBuf::from(name)
}

fn prune_backups(path: &Path) {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str()))
    else {
        return;
    };
    let prefix = format!("{name}.bak-");
    let mut backups: Vec<(u64, PathBuf)> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let stamp = entry.file_name().to_str()?.strip_prefix(&prefix)?.parse().ok()?;
            Some((stamp, entry.path()))
        })
        .collect();
    backups.sort();
    let surplus = backups.len().saturating_sub(KEPT_BACKUPS);
    for (_, path) in backups.into_iter().take(surplus) {
        drop(fs::remove_file(path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: PathBuf, text: &str) -> Rendered {
        Rendered { path, text: text.into() }
    }

    #[test]
    fn unchanged_files_are_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.service");
        assert!(Transaction::write(&[file(path.clone(), "one")], 1).unwrap().changed());
        let before = fs::metadata(&path).unwrap().modified().unwrap();
        let again = Transaction::write(&[file(path.clone(), "one")], 2).unwrap();
        assert!(!again.changed());
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), before);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_set_leaves_everything_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let good = dir.path().join("a.service");
        fs::write(&good, "old").unwrap();
        let masked = dir.path().join("a.socket");
        std::os::unix::fs::symlink("/dev/null", &masked).unwrap();
        let files = [file(good.clone(), "new"), file(masked, "new")];
        let err = Transaction::write(&files, 1).unwrap_err();
        assert!(err.to_string().contains("symbolic link"), "{err}");
        assert_eq!(fs::read_to_string(&good).unwrap(), "old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn five_backups_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.service");
        for round in 0..9_u64 {
            Transaction::write(&[file(path.clone(), &round.to_string())], 100 + round).unwrap();
        }
        let mut names: Vec<String> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names.len(), 6);
        assert_eq!(names[1], "a.service.bak-104");
    }

    #[test]
    fn undo_restores_and_removes() {
        let dir = tempfile::tempdir().unwrap();
        let (old, fresh) = (dir.path().join("a.service"), dir.path().join("a.socket"));
        fs::write(&old, "old").unwrap();
        let files = [file(old.clone(), "new"), file(fresh.clone(), "new")];
        let mut done = Transaction::write(&files, 1).unwrap();
        assert!(done.had_previous() && done.wrote(&fresh));
        done.undo();
        assert_eq!(fs::read_to_string(&old).unwrap(), "old");
        assert!(!fresh.exists());
    }
}
