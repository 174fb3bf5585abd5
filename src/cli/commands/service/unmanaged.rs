//! A gateway that no service manager runs: found by its listening socket,
//! recognised by its program file, never by words in its arguments.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::base::backoff::Backoff;
use crate::supervise::listeners::{self, Owner, PortUse};
use crate::supervise::manager::{ManageError, Restarted, Started};
use crate::supervise::runner::{HostRunner, Runner as _};

/// Longest wait for a gateway to drain and end.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// Asks the gateway on `port` to stop and waits until it is gone.
pub(super) fn stop(port: u16, unit: &str) -> Option<String> {
    let owner = gateway_on(port, unit)?;
    kill(Pid::from_raw(owner.pid), Signal::SIGTERM).ok()?;
    let gone = wait_until(|| Owner::of(owner.pid).is_none_or(|now| !now.is_gateway()));
    let pid = owner.pid;
    Some(if gone {
        format!("Gateway stop signal sent to unmanaged process on port {port}: {pid}.")
    } else {
        format!(
            "Gateway stop signal sent to unmanaged process on port {port}: {pid}. It is still draining."
        )
    })
}

/// Asks the gateway on `port` to start over in place.
pub(super) fn restart(port: u16, unit: &str) -> Option<String> {
    let owner = gateway_on(port, unit)?;
    kill(Pid::from_raw(owner.pid), Signal::SIGUSR1).ok()?;
    Some(format!("Gateway restart signal sent to unmanaged process on port {port}: {}.", owner.pid))
}

/// The gateway on `port`, unless it runs in `unit` (a manager that cannot be
/// asked just now looks after that one) or in the unit of another profile.
fn gateway_on(port: u16, unit: &str) -> Option<Owner> {
    own_gateways(port).find(|owner| {
        owner.unit.as_deref() != Some(unit) && !owner.unit.as_deref().is_some_and(is_gateway_unit)
    })
}

/// The unit of another profile whose gateway is on `port`.
pub(super) fn other_unit(port: u16, unit: &str) -> Option<String> {
    own_gateways(port)
        .filter_map(|owner| owner.unit)
        .find(|one| one != unit && is_gateway_unit(one))
}

fn own_gateways(port: u16) -> impl Iterator<Item = Owner> {
    let found = match listeners::inspect(port) {
        PortUse::Busy(found) => found,
        PortUse::Free | PortUse::Unknown => Vec::new(),
    };
    let owners = found.into_iter().flat_map(|listener| listener.owners);
    owners.filter(|owner| owner.is_own_gateway() && !owner.is_service_manager())
}

fn is_gateway_unit(unit: &str) -> bool {
    unit.starts_with("openclaw-gateway") && unit.ends_with(".service")
}

fn wait_until(done: impl Fn() -> bool) -> bool {
    let mut waited = Duration::ZERO;
    for delay in Backoff::new(Duration::from_millis(20), Duration::from_millis(500)) {
        if done() {
            return true;
        }
        if waited >= STOP_LIMIT {
            return false;
        }
        HostRunner.pause(delay);
        waited += delay;
    }
    false
}

/// Restart requests of one profile run one after the other; those that waited
/// for a running one only look how it ended.
#[derive(Debug)]
pub(super) struct Turn {
    lock: Option<File>,
    waited: bool,
}

/// Waits for the turn. Without a lock file (no state directory yet) everybody
/// has it.
pub(super) fn take_turn(state: &Path) -> Turn {
    let path = state.join("restart.lock");
    let Ok(file) = OpenOptions::new().create(true).truncate(false).write(true).open(path) else {
        return Turn { lock: None, waited: false };
    };
    match file.try_lock() {
        Ok(()) => Turn { lock: Some(file), waited: false },
        Err(_) => match file.lock() {
            Ok(()) => Turn { lock: Some(file), waited: true },
            Err(_) => Turn { lock: None, waited: false },
        },
    }
}

impl Turn {
    /// Runs `restart`, or `look` if another one finished while this one waited.
    pub(super) fn joined(
        self,
        restart: impl FnOnce() -> Result<Restarted, ManageError>,
        look: impl FnOnce() -> Result<Started, ManageError>,
    ) -> Result<Restarted, ManageError> {
        let outcome = if self.waited {
            look().map(|found| match found {
                Started::NotInstalled => Restarted::NotInstalled,
                Started::Started | Started::AlreadyRunning => Restarted::Restarted,
            })
        } else {
            restart()
        };
        drop(self.lock);
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waited_for_a_restart_does_not_ask_for_another() {
        let dir = tempfile::tempdir().unwrap();
        let first = take_turn(dir.path());
        let path = dir.path().to_owned();
        let look = || Ok(Started::AlreadyRunning);
        let second = std::thread::spawn(move || {
            take_turn(&path).joined(|| panic!("restarted twice"), look).unwrap()
        });
        // The second thread can only finish after this one gives its turn up.
        let waits = || {
            while !second_waits(dir.path()) {
                std::thread::yield_now();
            }
            Ok(Restarted::Restarted)
        };
        assert_eq!(first.joined(waits, look).unwrap(), Restarted::Restarted);
        assert_eq!(second.join().unwrap(), Restarted::Restarted);
    }

    /// Whether another thread of this process waits for the lock.
    fn second_waits(state: &Path) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        let inode = std::fs::metadata(state.join("restart.lock")).unwrap().ino();
        let waiting = format!(":{inode} ");
        let locks =
            std::fs::read_to_string("/proc/locks").unwrap_or_else(|_| format!("-> {waiting}"));
        locks.lines().any(|line| line.contains("->") && line.contains(&waiting))
    }

    #[test]
    fn a_foreign_listener_is_left_alone() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let foreign = gateway_on(port, "x.service");
        // The test binary is called `openclaw-…`; only its own process may match.
        assert!(foreign.is_none_or(|owner| owner.pid.unsigned_abs() == std::process::id()));
    }
}
