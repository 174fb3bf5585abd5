//! One gateway per state directory: a kernel lock, held for life. A crash
//! releases it, so nothing has to judge whether an old lock is stale.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::store::atomic;

/// Held while this process is the gateway of its state directory.
#[derive(Debug)]
pub struct InstanceLock {
    // Closing the file releases the lock.
    _file: File,
}

/// Why the lock was not had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("gateway already running ({}); lock timeout after 5000ms", owner(*.pid))]
    Held { pid: Option<u64> },
    #[error("{}: {source}", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

fn owner(pid: Option<u64>) -> String {
    pid.map_or_else(|| "pid unknown".to_owned(), |pid| format!("pid {pid}"))
}

/// Name of the lock file in the state directory.
pub const FILE: &str = "gateway.lock";

impl InstanceLock {
    /// Takes the lock, or names who holds it. Blocking, but never waits.
    pub fn take(state: &Path, config: &Path) -> Result<Self, LockError> {
        let path = state.join(FILE);
        let failed = |source| LockError::File { path: path.clone(), source };
        atomic::private_dir(state).map_err(failed)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let note: Value = fs::read(&path)
                    .ok()
                    .and_then(|bytes| serde_json::from_slice(&bytes).ok())
                    .unwrap_or_default();
                return Err(LockError::Held { pid: note["pid"].as_u64() });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let note = json!({
            "pid": std::process::id(),
            "createdAt": Timestamp::now().to_string(),
            "configPath": config,
        });
        file.set_len(0).map_err(failed)?;
        file.write_all(note.to_string().as_bytes()).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_gateway_is_refused_with_the_first_ones_pid() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("openclaw.json");
        let first = InstanceLock::take(dir.path(), &config).unwrap();
        let refused = InstanceLock::take(dir.path(), &config).unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!(
                "gateway already running (pid {}); lock timeout after 5000ms",
                std::process::id()
            )
        );
        drop(first);
        assert!(InstanceLock::take(dir.path(), &config).is_ok());
    }
}
