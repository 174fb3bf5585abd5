//! What is taken away goes where its owner can get it back from.

use std::io;
use std::path::{Path, PathBuf};

/// Moves a file or folder into `~/.Trash`. Returns where it went; nothing when
/// there was nothing.
pub fn put(home: &Path, path: &Path, now_ms: u64) -> io::Result<Option<PathBuf>> {
    if path.symlink_metadata().is_err() {
        return Ok(None);
    }
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("openclaw");
    let trash = home.join(".Trash");
    std::fs::create_dir_all(&trash)?;
    let mut target = trash.join(format!("{name}-{now_ms}"));
    for number in 1.. {
        if target.symlink_metadata().is_err() {
            break;
        }
        target = trash.join(format!("{name}-{now_ms}-{number}"));
    }
    std::fs::rename(path, &target)?;
    Ok(Some(target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_of_the_same_name_both_stay() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("work");
        let mut kept = Vec::new();
        for text in ["one", "two"] {
            std::fs::write(&path, text).unwrap();
            kept.push(put(home.path(), &path, 7).unwrap().unwrap());
        }
        assert_eq!(std::fs::read_to_string(&kept[0]).unwrap(), "one");
        assert_eq!(std::fs::read_to_string(&kept[1]).unwrap(), "two");
        assert_eq!(put(home.path(), &path, 7).unwrap(), None);
    }
}
