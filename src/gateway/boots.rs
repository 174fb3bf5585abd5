//! Counts boots that did not end in order. After three of them within five
//! minutes the gateway starts in safe mode: the control plane is up, channels
//! and timed work are not, so that whatever brings it down can be looked at.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::profile::env::Env;
use crate::store::atomic::{self, Sync};

/// Unclean boots within [`WINDOW`] that lead to safe mode.
const LIMIT: usize = 3;
/// How long an unclean boot counts, and how long safe mode lasts.
pub const WINDOW: Duration = Duration::from_secs(300);
/// File in the state directory.
const FILE: &str = "boots.json";

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Record {
    version: u32,
    /// Whether the last boot is still running or ended without saying so.
    open: bool,
    /// Starts of boots that did not end in order, milliseconds since the Unix
    /// epoch.
    unclean: Vec<u64>,
    /// Start of the last boot.
    last: u64,
}

/// This boot; say [`Self::ended`] when it ends in order.
#[derive(Debug)]
pub struct Boot {
    path: PathBuf,
    record: Record,
    /// Set when this boot must not start channels and timed work.
    pub safe_mode: Option<String>,
}

impl Boot {
    /// Notes the start. Blocking.
    pub fn begin(state: &Path, now_ms: u64) -> Self {
        let path = state.join(FILE);
        let mut record: Record = std::fs::read(&path)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        if record.open {
            record.unclean.push(record.last);
        }
        let window = u64::try_from(WINDOW.as_millis()).unwrap_or(u64::MAX);
        record.unclean.retain(|at| now_ms.saturating_sub(*at) < window && *at <= now_ms);
        let count = record.unclean.len();
        let safe_mode = (count >= LIMIT).then(|| {
            format!("safe mode: {count} boots within 5 minutes did not end in order; channels and scheduled work are off")
        });
        record.version = 1;
        record.open = true;
        record.last = now_ms;
        let boot = Self { path, record, safe_mode };
        boot.write();
        boot
    }

    /// Switches off, in this process's view of the environment, what safe mode
    /// leaves out.
    pub fn apply(&self, env: &mut Env) {
        if self.safe_mode.is_some() {
            for name in ["OPENCLAW_SKIP_CHANNELS", "OPENCLAW_SKIP_CRON"] {
                env.set(name, "1");
            }
        }
    }

    /// Notes an orderly end. Safe mode ends with it. Blocking.
    pub fn ended(mut self) {
        self.record.open = false;
        if self.safe_mode.is_some() {
            self.record.unclean.clear();
        }
        self.write();
    }

    fn write(&self) {
        let text = serde_json::to_vec(&self.record).expect("a record is plain data");
        if let Err(err) = atomic::write(&self.path, &text, Sync::No) {
            tracing::warn!(path = %self.path.display(), %err, "the boot is not recorded");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_unclean_boots_in_a_row_mean_safe_mode() {
        let dir = tempfile::tempdir().unwrap();
        for now in [1000, 2000, 3000] {
            assert!(Boot::begin(dir.path(), now).safe_mode.is_none());
        }
        let fourth = Boot::begin(dir.path(), 4000);
        assert!(fourth.safe_mode.is_some());
        let mut env = Env::default();
        fourth.apply(&mut env);
        assert!(env.is_on("OPENCLAW_SKIP_CHANNELS"));
        fourth.ended();
        assert!(Boot::begin(dir.path(), 5000).safe_mode.is_none());
    }

    #[test]
    fn old_crashes_and_orderly_ends_do_not_count() {
        let dir = tempfile::tempdir().unwrap();
        for now in [1000, 2000, 3000] {
            drop(Boot::begin(dir.path(), now));
        }
        assert!(Boot::begin(dir.path(), 400_000).safe_mode.is_none());
        let other = tempfile::tempdir().unwrap();
        for now in [1000, 2000, 3000, 4000, 5000] {
            let boot = Boot::begin(other.path(), now);
            assert!(boot.safe_mode.is_none());
            boot.ended();
        }
    }

    #[test]
    fn a_damaged_record_is_started_over() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), "{nonsense").unwrap();
        assert!(Boot::begin(dir.path(), 1000).safe_mode.is_none());
    }
}
