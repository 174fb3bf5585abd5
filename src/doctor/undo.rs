//! The record of the last repair, kept in the state directory for its owner
//! alone: what every changed file was before, and what was asked of the
//! service manager.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::base::hex;
use crate::store::atomic::{self, Sync};

/// Below the state directory.
const FILE: &str = "doctor/last-repair.json";

/// One repair that can be taken back.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    pub version: u32,
    /// Milliseconds since the Unix epoch.
    pub at: u64,
    pub files: Vec<Kept>,
    /// Units that were stopped and disabled, with their scope.
    pub retired: Vec<Unit>,
    pub enabled: Vec<Unit>,
    pub lingering: bool,
    /// Whether units of that scope have to be read again: user, system.
    pub reload: [bool; 2],
    pub restart: Option<Restart>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    pub system: bool,
    pub name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    pub system: bool,
    pub socket: bool,
}

/// A file or directory as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kept {
    pub path: PathBuf,
    pub before: Before,
    /// SHA-256 of what the repair left; `None` for what it removed, and for
    /// directories and permissions.
    pub left: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Before {
    Absent,
    /// Bytes in Base64.
    File {
        bytes: String,
        mode: u32,
    },
    Link {
        target: PathBuf,
    },
    Mode {
        mode: u32,
    },
}

/// Why a repair cannot be taken back.
#[derive(Debug, thiserror::Error)]
pub enum UndoError {
    #[error("there is no repair to undo")]
    Nothing,
    #[error("the record of the last repair cannot be read: {0}")]
    Unreadable(String),
    #[error("{} was changed since the repair; nothing was undone", .0.display())]
    Changed(PathBuf),
    #[error("{path}: {source}", path = path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// What stands at `path`.
pub fn state_of(path: &Path) -> io::Result<Before> {
    let metadata = match path.symlink_metadata() {
        Ok(metadata) => metadata,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Before::Absent),
        Err(err) => return Err(err),
    };
    if metadata.is_symlink() {
        return Ok(Before::Link { target: fs::read_link(path)? });
    }
    let mode = metadata.mode() & 0o7777;
    if metadata.is_dir() {
        return Ok(Before::Mode { mode });
    }
    Ok(Before::File { bytes: STANDARD.encode(fs::read(path)?), mode })
}

pub fn digest(bytes: &[u8]) -> String {
    hex::encode(&Sha256::digest(bytes))
}

impl Record {
    pub fn file(state: &Path) -> PathBuf {
        state.join(FILE)
    }

    pub fn read(state: &Path) -> Result<Self, UndoError> {
        match fs::read(Self::file(state)) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|err| UndoError::Unreadable(err.to_string()))
            }
            Err(err) if err.kind() == io::ErrorKind::NotFound => Err(UndoError::Nothing),
            Err(err) => Err(UndoError::Unreadable(err.to_string())),
        }
    }

    /// Written before anything is changed, so that a crash loses nothing.
    pub fn write(&self, state: &Path) -> io::Result<()> {
        let text = serde_json::to_vec(self).expect("a record is plain data");
        atomic::write(&Self::file(state), &text, Sync::Yes)
    }

    /// Remembers what stands at `path`, once.
    pub fn keep(&mut self, path: &Path) -> io::Result<()> {
        if !self.files.iter().any(|kept| kept.path == path) {
            let before = state_of(path)?;
            self.files.push(Kept { path: path.to_owned(), before, left: None });
        }
        Ok(())
    }

    /// Remembers what the repair left there.
    pub fn left(&mut self, path: &Path, bytes: &[u8]) {
        if let Some(kept) = self.files.iter_mut().find(|kept| kept.path == path) {
            kept.left = Some(digest(bytes));
        }
    }

    /// The first file that somebody changed after the repair.
    pub fn changed_since(&self) -> Option<&Path> {
        self.files.iter().find_map(|kept| {
            let left = kept.left.as_ref()?;
            let same = fs::read(&kept.path).is_ok_and(|bytes| digest(&bytes) == *left);
            (!same).then_some(kept.path.as_path())
        })
    }

    /// Puts every file back, the last first.
    pub fn restore_files(&self) -> Result<(), UndoError> {
        for kept in self.files.iter().rev() {
            restore(kept).map_err(|source| UndoError::Io { path: kept.path.clone(), source })?;
        }
        Ok(())
    }
}

fn restore(kept: &Kept) -> io::Result<()> {
    let path = &kept.path;
    match &kept.before {
        Before::Absent => match fs::remove_file(path) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
            // A directory that somebody filled meanwhile stays.
            Err(_) if path.is_dir() => {
                drop(fs::remove_dir(path));
                Ok(())
            }
            other => other,
        },
        Before::File { bytes, mode } => {
            let bytes = STANDARD.decode(bytes).map_err(io::Error::other)?;
            if fs::read(path).ok().as_deref() != Some(&bytes) {
                atomic::write(path, &bytes, Sync::Yes)?;
            }
            fs::set_permissions(path, fs::Permissions::from_mode(*mode))
        }
        Before::Link { target } => {
            if path.symlink_metadata().is_ok() {
                fs::remove_file(path)?;
            }
            std::os::unix::fs::symlink(target, path)
        }
        Before::Mode { mode } => fs::set_permissions(path, fs::Permissions::from_mode(*mode)),
    }
}
