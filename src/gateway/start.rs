//! Why a gateway does not start, in the words that operators' scripts match.

use std::fmt::Write;
use std::io;

use crate::config::gate::{StartRefusal, is_supervised};
use crate::gateway::force::ForceError;
use crate::gateway::listen::BindError;
use crate::gateway::lock::LockError;
use crate::profile::env::Env;
use crate::supervise::listeners::{self, PortUse};

/// Why the gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Flags, configuration or secrets forbid it.
    #[error(transparent)]
    Refused(#[from] StartRefusal),
    #[error("Gateway failed to start: {0}")]
    Locked(LockError),
    #[error("{}", taken(*.port, .address, .owners))]
    PortTaken { port: u16, address: String, owners: Vec<Holder> },
    #[error("Gateway failed to start: {0}")]
    Bind(BindError),
    #[error("Force: Error: {0}")]
    Force(#[from] ForceError),
}

/// Who holds the port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub pid: i32,
    pub user: String,
    pub command: String,
    pub address: String,
    pub is_gateway: bool,
}

impl StartError {
    /// Whether the cause may go away without anybody doing something: a file
    /// system or an address that is not there yet.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Locked(LockError::File { .. }) => true,
            Self::Bind(err) => err.source.kind() == io::ErrorKind::AddrNotAvailable,
            _ => false,
        }
    }

    /// 75 (`EX_TEMPFAIL`) where a later start may succeed, 78 (`EX_CONFIG`) where a supervisor would only repeat the failure, else 1.
    pub fn exit_code(&self, env: &Env) -> u8 {
        match self {
            Self::Refused(refusal) => refusal.exit_code(env),
            _ if self.may_pass() && is_supervised(env) => 75,
            _ if is_supervised(env) => 78,
            _ => 1,
        }
    }
}

/// The text for a port in use: names another gateway only if it is one.
fn taken(port: u16, address: &str, owners: &[Holder]) -> String {
    let gateway = owners.iter().any(|owner| owner.is_gateway);
    let mut text = if gateway || owners.is_empty() {
        format!(
            "Gateway failed to start: another gateway instance is already listening on \
             ws://{address} (EADDRINUSE)\nIf the gateway is supervised, stop it with: openclaw \
             gateway stop\n"
        )
    } else {
        format!(
            "Gateway failed to start: the port of ws://{address} belongs to another program \
             (EADDRINUSE)\n"
        )
    };
    let _ = write!(text, "Port {port} is already in use.");
    for owner in owners {
        let Holder { pid, user, command, address, is_gateway } = owner;
        let _ = write!(text, "\n- pid {pid} {user}: {command} ({address})");
        if !is_gateway {
            let name = command.split_whitespace().next().unwrap_or("unknown");
            let name = name.rsplit('/').next().unwrap_or(name);
            let _ = write!(text, "\nowner: pid {pid} {name} (not an OpenClaw gateway)");
        }
    }
    text.push_str(if gateway {
        "\n- Gateway already running locally. Stop it (openclaw gateway stop) or use a different port."
    } else {
        "\n- Stop the program that listens there, or choose another port with --port."
    });
    text
}

/// Looks up who holds `port`.
pub fn port_taken(port: u16, address: String) -> StartError {
    let owners = match listeners::inspect(port) {
        PortUse::Busy(found) => found
            .into_iter()
            .flat_map(|listener| {
                let address = listener.address.to_string();
                listener.owners.into_iter().map(move |owner| Holder {
                    pid: owner.pid,
                    is_gateway: owner.is_gateway(),
                    user: owner.user,
                    command: owner.command_line,
                    address: address.clone(),
                })
            })
            .collect(),
        PortUse::Free | PortUse::Unknown => Vec::new(),
    };
    StartError::PortTaken { port, address, owners }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_supervisor_tries_again_only_what_may_pass() {
        let supervised: Env = [("INVOCATION_ID", "1")].into_iter().collect();
        let code = |err: &StartError| (err.exit_code(&supervised), err.exit_code(&Env::default()));
        let away = LockError::File { path: "/mnt/late".into(), source: io::Error::other("x") };
        assert_eq!(code(&StartError::Locked(away)), (75, 1));
        assert_eq!(code(&StartError::Locked(LockError::Held { pid: None })), (78, 1));
        let bind = |kind: io::ErrorKind| {
            let address = "192.0.2.1:1".parse().unwrap();
            StartError::Bind(BindError { address, source: kind.into() })
        };
        assert_eq!(code(&bind(io::ErrorKind::AddrNotAvailable)), (75, 1));
        assert_eq!(code(&bind(io::ErrorKind::PermissionDenied)), (78, 1));
        let refused = StartError::Refused(StartRefusal::failed("x"));
        assert_eq!(code(&refused), (78, 1));
    }

    #[test]
    fn a_foreign_program_on_the_port_is_not_called_a_gateway() {
        let holder = |is_gateway| Holder {
            pid: 4711,
            user: "ann".to_owned(),
            command: "/usr/bin/python3 -m http.server".to_owned(),
            address: "127.0.0.1:18789".to_owned(),
            is_gateway,
        };
        let text = taken(18789, "127.0.0.1:18789", &[holder(false)]);
        assert!(!text.contains("another gateway"), "{text}");
        assert!(text.contains("owner: pid 4711 python3 (not an OpenClaw gateway)"), "{text}");
        let text = taken(18789, "127.0.0.1:18789", &[holder(true)]);
        assert!(text.starts_with(
            "Gateway failed to start: another gateway instance is already listening on \
             ws://127.0.0.1:18789"
        ));
        for text in [taken(1, "a", &[holder(true)]), taken(1, "a", &[])] {
            assert!(text.contains("EADDRINUSE") && text.contains("is already in use."), "{text}");
        }
    }
}
