//! Reading files below a directory and nowhere else.

use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::lifecycle;

/// Largest file of a UI.
const MAX_FILE: u64 = 64 * 1024 * 1024;
/// Largest avatar.
const MAX_AVATAR: u64 = 2 * 1024 * 1024;

/// The file at `relative` below `root`, which is a real path. `None` unless it
/// is a regular file, reached without symbolic links, under one name.
pub async fn read(root: PathBuf, relative: String) -> Option<Bytes> {
    blocking(move || {
        let mut path = root;
        for part in relative.split('/').filter(|part| !part.is_empty()) {
            path.push(part);
            if fs::symlink_metadata(&path).ok()?.file_type().is_symlink() {
                return None;
            }
        }
        let bytes = read_plain(&path, MAX_FILE, true)?;
        Some(Bytes::from(bytes))
    })
    .await
}

/// An image file with its type.
pub async fn read_image(path: PathBuf) -> Option<(&'static str, Bytes)> {
    blocking(move || {
        let kind = content_type(path.to_str()?);
        if !kind.starts_with("image/") {
            return None;
        }
        let bytes = read_plain(&path, MAX_AVATAR, false)?;
        Some((kind, Bytes::from(bytes)))
    })
    .await
}

async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Option<T> + Send + 'static,
) -> Option<T> {
    lifecycle::spawn_blocking(read).await.ok().flatten()
}

fn read_plain(path: &Path, limit: u64, one_name: bool) -> Option<Vec<u8>> {
    let no_follow = nix::fcntl::OFlag::O_NOFOLLOW | nix::fcntl::OFlag::O_NONBLOCK;
    let mut file = OpenOptions::new().read(true).custom_flags(no_follow.bits()).open(path).ok()?;
    let meta = file.metadata().ok()?;
    if !meta.is_file() || meta.len() > limit || (one_name && meta.nlink() > 1) {
        return None;
    }
    let mut bytes = Vec::with_capacity(usize::try_from(meta.len()).ok()?);
    file.read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The content type that a file's ending tells.
pub fn content_type(path: &str) -> &'static str {
    let ending = path.rsplit_once('.').map_or("", |(_, ending)| ending).to_ascii_lowercase();
    match ending.as_str() {
        "html" => "text/html; charset=utf-8",
        "js" => "application/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json; charset=utf-8",
        "txt" => "text/plain; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn links_of_both_kinds_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::write(root.join("plain.txt"), "ok").unwrap();
        fs::write(root.join("twice.txt"), "no").unwrap();
        fs::hard_link(root.join("twice.txt"), root.join("other.txt")).unwrap();
        std::os::unix::fs::symlink("/etc", root.join("out")).unwrap();
        std::os::unix::fs::symlink(root.join("plain.txt"), root.join("link.txt")).unwrap();
        let read = |name: &str| read(root.clone(), name.to_owned());
        assert_eq!(read("plain.txt").await.unwrap(), "ok");
        for refused in ["twice.txt", "link.txt", "out/passwd", "nope"] {
            assert!(read(refused).await.is_none(), "{refused}");
        }
    }
}
