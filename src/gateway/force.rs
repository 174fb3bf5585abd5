//! `--force`: ends the gateway that listens on the port, `--force=any` whoever
//! does. The only place that signals a process which this gateway did not start,
//! and only because it was told to.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::{Instant, sleep};

use crate::lifecycle;
use crate::supervise::listeners::{self, Owner, PortUse};

/// How long a process may take to end by itself.
const POLITE: Duration = Duration::from_millis(700);
/// How long the port may take to become free after that.
const FREE_WITHIN: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Whom `--force` may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// An OpenClaw gateway of the same user.
    Gateway,
    /// Any program.
    Any,
}

/// Why the port could not be freed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForceError {
    #[error(
        "port {port} is held by {owner} (pid {pid}), the service manager; stop the unit instead"
    )]
    ServiceManager { port: u16, owner: String, pid: i32 },
    #[error(
        "pid {pid} ({owner}) on port {port} is not an OpenClaw gateway of this user; --force=any ends it all the same"
    )]
    Foreign { port: u16, owner: String, pid: i32 },
    #[error("pid {pid} ({owner}) on port {port} could not be signalled: {reason}")]
    Signal { port: u16, owner: String, pid: i32, reason: String },
    #[error("the owner of port {port} cannot be seen; it belongs to another user")]
    Hidden { port: u16 },
    #[error("port {port} is still in use")]
    StillTaken { port: u16 },
}

/// Frees `port`, politely first.
pub async fn free(port: u16, reach: Reach) -> Result<(), ForceError> {
    let Some(owners) = owners_of(port).await? else {
        tracing::info!("force: no listeners on port {port}");
        return Ok(());
    };
    let own = nix::unistd::geteuid().as_raw();
    let foreign = owners.iter().find(|owner| !owner.is_gateway() || owner.uid != own);
    if let Some(owner) = foreign.filter(|_| reach == Reach::Gateway) {
        let (owner, pid) = (owner.command.clone(), owner.pid);
        return Err(ForceError::Foreign { port, owner, pid });
    }
    for owner in &owners {
        signal(port, owner, Signal::SIGTERM)?;
        tracing::info!("force: killed pid {} ({}) on port {port}", owner.pid, owner.command);
    }
    if gone_within(port, POLITE).await? {
        return Ok(());
    }
    let rest = match owners_of(port).await {
        Err(ForceError::Hidden { .. }) => None,
        found => found?,
    };
    for owner in rest.into_iter().flatten() {
        signal(port, &owner, Signal::SIGKILL)?;
        tracing::info!("force: escalated to SIGKILL for pid {} on port {port}", owner.pid);
    }
    if gone_within(port, FREE_WITHIN).await? {
        Ok(())
    } else {
        Err(ForceError::StillTaken { port })
    }
}

async fn gone_within(port: u16, limit: Duration) -> Result<bool, ForceError> {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        match owners_of(port).await {
            Ok(None) => return Ok(true),
            // A process that has just ended owns its sockets no more, for a moment.
            Ok(Some(_)) | Err(ForceError::Hidden { .. }) => {}
            Err(err) => return Err(err),
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(false)
}

/// Who holds the port; `None` when nobody does.
async fn owners_of(port: u16) -> Result<Option<Vec<Owner>>, ForceError> {
    let looked = lifecycle::spawn_blocking(move || listeners::inspect(port)).await;
    let PortUse::Busy(found) = looked.unwrap_or(PortUse::Unknown) else { return Ok(None) };
    let mut owners: Vec<Owner> = Vec::new();
    for owner in found.into_iter().flat_map(|listener| listener.owners) {
        if !owners.iter().any(|known| known.pid == owner.pid) {
            owners.push(owner);
        }
    }
    // This process may hold it itself when several gateways share one.
    if owners.iter().any(|owner| u32::try_from(owner.pid) == Ok(std::process::id())) {
        return Err(ForceError::StillTaken { port });
    }
    if owners.is_empty() {
        return Err(ForceError::Hidden { port });
    }
    if let Some(manager) = owners.iter().find(|owner| owner.is_service_manager()) {
        let owner = manager.command.clone();
        return Err(ForceError::ServiceManager { port, owner, pid: manager.pid });
    }
    Ok(Some(owners))
}

fn signal(port: u16, owner: &Owner, signal: Signal) -> Result<(), ForceError> {
    match kill(Pid::from_raw(owner.pid), signal) {
        Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
        Err(err) => Err(ForceError::Signal {
            port,
            owner: owner.command.clone(),
            pid: owner.pid,
            reason: err.to_string(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_free_port_needs_no_force() {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        assert_eq!(free(port, Reach::Gateway).await, Ok(()));
    }
}
