//! Replacing a file so that a crash leaves either the old or the new one.

use std::fs::{DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, fchown};
use std::path::Path;

use nix::unistd::geteuid;

/// How the names of temporary files begin.
pub const PREFIX: &str = ".openclaw-";

/// Whether the caller needs the bytes to survive a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    Yes,
    No,
}

/// Writes `bytes` to `path` with mode 0600, through a temporary file in the
/// same directory. Blocking.
pub fn write(path: &Path, bytes: &[u8], sync: Sync) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    private_dir(dir)?;
    let mut file = tempfile::Builder::new()
        .prefix(PREFIX)
        .permissions(Permissions::from_mode(0o600))
        .tempfile_in(dir)?;
    hand_over(file.as_file(), if path.exists() { path } else { dir });
    file.write_all(bytes)?;
    if sync == Sync::Yes {
        file.as_file().sync_all()?;
    }
    file.persist(path).map_err(|err| err.error)?;
    if sync == Sync::Yes {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

/// What root writes among somebody's files is theirs, or they could not use it:
/// gives the file to the owner of what it replaces or lies in.
pub fn hand_over(file: &File, to_owner_of: &Path) {
    if !geteuid().is_root() {
        return;
    }
    let given = to_owner_of.metadata().and_then(|of| fchown(file, Some(of.uid()), Some(of.gid())));
    if let Err(err) = given {
        tracing::debug!(beside = %to_owner_of.display(), %err, "file not handed over");
    }
}

/// Makes a directory, and those above it that are missing, for its owner alone.
pub fn private_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        private_dir(parent)?;
    }
    // Another process may have made it just now; anything else in its place is an error.
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    hand_over(&File::open(dir)?, parent.unwrap_or(Path::new(".")));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/state.json");
        write(&path, b"one", Sync::Yes).unwrap();
        write(&path, b"two", Sync::No).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let parent = path.parent().unwrap();
        assert_eq!(std::fs::metadata(parent).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(std::fs::read_dir(parent).unwrap().count(), 1);
    }

    #[test]
    fn what_root_writes_among_the_files_of_others_is_theirs() {
        if !geteuid().is_root() {
            println!("skipped: only root can give files away");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let owner = |path: &Path| path.metadata().map(|meta| (meta.uid(), meta.gid())).unwrap();
        let (old, new) = (dir.path().join("old"), dir.path().join("sub/new"));
        std::fs::write(&old, "1").unwrap();
        std::os::unix::fs::chown(&old, Some(12), Some(34)).unwrap();
        std::os::unix::fs::chown(dir.path(), Some(56), Some(78)).unwrap();
        write(&old, b"2", Sync::No).unwrap();
        write(&new, b"2", Sync::No).unwrap();
        assert_eq!(owner(&old), (12, 34));
        assert_eq!(owner(&new), (56, 78));
        assert_eq!(owner(new.parent().unwrap()), (56, 78));
    }
}
