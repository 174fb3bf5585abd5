//! Lock files beside files that several processes change, in the reference's
//! format, so that its tools and this gateway can share a state directory.
//! Blocking.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use serde_json::json;

use crate::base::clock::{iso8601, now_ms};
use crate::store::atomic;

/// Age at which a lock of a process that cannot be checked is broken.
const STALE_AFTER_MS: u64 = 30 * 60 * 1000;
/// A lock file without readable content is being written; after this it is a
/// leftover.
const UNREADABLE_AFTER_MS: u64 = 5_000;

/// A held lock; dropping it removes the file.
#[derive(Debug)]
pub struct FileLock {
    path: PathBuf,
}

impl FileLock {
    /// Takes `<path>.lock`, waiting at most `patience`.
    pub fn acquire(path: &Path, patience: Duration) -> io::Result<Self> {
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let lock = PathBuf::from(name);
        let named = |err: io::Error| {
            let text = format!("lock file not written: {}: {err}", lock.display());
            io::Error::new(err.kind(), text)
        };
        let mut waited = Duration::ZERO;
        let mut pause = Duration::from_millis(2);
        loop {
            match OpenOptions::new().write(true).create_new(true).open(&lock) {
                Ok(file) => {
                    let held = Self { path: lock.clone() };
                    return write_owner(file).map(|()| held).map_err(named);
                }
                Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {}
                Err(err) if err.kind() == io::ErrorKind::NotFound => {
                    let dir = lock.parent().unwrap_or(Path::new("."));
                    atomic::private_dir(dir).map_err(named)?;
                    continue;
                }
                Err(err) => return Err(named(err)),
            }
            if is_stale(&lock) {
                match std::fs::remove_file(&lock) {
                    Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
                    _ => continue,
                }
            }
            if waited >= patience {
                let owner =
                    owner_pid(&lock).map_or("unknown".to_owned(), |pid| format!("pid={pid}"));
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!(
                        "session file locked (timeout {}ms): {owner} {}",
                        patience.as_millis(),
                        lock.display()
                    ),
                ));
            }
            pause_thread(pause);
            waited += pause;
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        if let Err(err) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %err, "lock file not removed");
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "runs on a blocking thread; nothing async waits here"
)]
fn pause_thread(pause: Duration) {
    std::thread::sleep(pause);
}

fn write_owner(mut file: File) -> io::Result<()> {
    let pid = std::process::id();
    let created = iso8601(now_ms());
    let mut owner = json!({"pid": pid, "createdAt": created});
    if let Some(start) = start_time(pid) {
        owner["starttime"] = start.into();
    }
    file.write_all(owner.to_string().as_bytes())
}

fn read_owner(lock: &Path) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(lock).ok()?).ok()
}

fn owner_pid(lock: &Path) -> Option<u32> {
    u32::try_from(read_owner(lock)?.get("pid")?.as_u64()?).ok()
}

fn is_stale(lock: &Path) -> bool {
    let age = std::fs::metadata(lock)
        .and_then(|meta| meta.modified())
        .ok()
        .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
        .map_or(0, |since| {
            now_ms().saturating_sub(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
        });
    let Some(owner) = read_owner(lock) else { return age > UNREADABLE_AFTER_MS };
    let Some(pid) =
        owner.get("pid").and_then(Value::as_u64).and_then(|pid| u32::try_from(pid).ok())
    else {
        return age > UNREADABLE_AFTER_MS;
    };
    if age > STALE_AFTER_MS || !is_alive(pid) {
        return true;
    }
    // A process id that was given to another process since then.
    match (owner.get("starttime").and_then(Value::as_u64), start_time(pid)) {
        (Some(written), Some(actual)) => written != actual,
        _ => false,
    }
}

/// Whether a process has this id.
pub fn is_alive(pid: u32) -> bool {
    let Ok(pid) = i32::try_from(pid) else { return false };
    !matches!(
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None),
        Err(nix::errno::Errno::ESRCH)
    )
}

/// Start of a process in clock ticks since boot; `None` where there is no
/// `/proc`.
fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name, in parentheses, may contain anything.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_lock_names_its_owner_and_goes_with_the_guard() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sessions.json");
        let held = FileLock::acquire(&path, Duration::ZERO).unwrap();
        let err = FileLock::acquire(&path, Duration::from_millis(5)).unwrap_err();
        assert!(err.to_string().contains(&format!("pid={}", std::process::id())), "{err}");
        drop(held);
        assert!(!dir.path().join("sessions.json.lock").exists());
    }

    #[test]
    fn the_lock_of_a_dead_process_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.jsonl");
        let lock = dir.path().join("t.jsonl.lock");
        std::fs::write(&lock, r#"{"pid":999999999,"createdAt":"2026-01-01T00:00:00.000Z"}"#)
            .unwrap();
        let held = FileLock::acquire(&path, Duration::ZERO).unwrap();
        assert_eq!(owner_pid(&lock), Some(std::process::id()));
        drop(held);
    }

    #[test]
    fn the_lock_of_a_reused_process_id_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.jsonl");
        let owner = json!({"pid": std::process::id(), "starttime": 1});
        std::fs::write(dir.path().join("t.jsonl.lock"), owner.to_string()).unwrap();
        drop(FileLock::acquire(&path, Duration::ZERO).unwrap());
    }
}
