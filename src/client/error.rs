//! Why a call did not succeed, in the words that operators grep for.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

/// The error object of a response; unknown codes pass through.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Remote {
    pub code: String,
    pub message: String,
    #[serde(default)]
    pub details: Value,
}

impl Remote {
    /// `details.code`, which tells connect failures apart.
    pub fn detail_code(&self) -> Option<&str> {
        self.details.get("code")?.as_str()
    }
}

/// A failed dial, handshake or call.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The socket closed; 1006 stands for "without a close frame", also when
    /// nobody listens.
    #[error("gateway closed ({code}): {reason}")]
    Closed { code: u16, reason: String },
    /// The gateway did not let us in; it closes the socket with this message.
    #[error("gateway closed ({}): {}", close_code(.0), .0.message)]
    NotAdmitted(Box<Remote>),
    /// A method answered with an error.
    #[error("{}", .0.message)]
    Refused(Box<Remote>),
    #[error("gateway timeout after {}ms", .0.as_millis())]
    Timeout(Duration),
    #[error("invalid gateway url: {0}")]
    Url(String),
    #[error("SECURITY ERROR: {}", plaintext(.host))]
    Plaintext { host: String },
    #[error("tls: {0}")]
    Tls(String),
    #[error("device identity {}: {reason}", path.display())]
    Identity { path: PathBuf, reason: String },
    #[error("unexpected answer from the gateway: {0}")]
    Protocol(String),
}

/// Why nothing was sent, and what to do instead.
fn plaintext(host: &str) -> String {
    format!(
        "refusing plaintext ws:// to {host}, which is not this machine: tokens and messages would be readable on the network\n\
         Fix: use wss:// (gateway.tls, or Tailscale Serve), or go through SSH: ssh -N -L 18789:127.0.0.1:18789 user@{host}, then ws://127.0.0.1:18789\n\
         On a private network that you trust: OPENCLAW_ALLOW_INSECURE_PRIVATE_WS=1"
    )
}

impl ClientError {
    /// What is left when a socket ends without a close frame.
    pub fn abnormal() -> Self {
        Self::Closed { code: 1006, reason: String::new() }
    }

    /// The spelling of commands that call a method: the two codes without a
    /// meaning of their own are explained, an empty reason is named.
    pub fn for_call(&self) -> String {
        let Self::Closed { code, reason } = self else { return self.to_string() };
        let meaning = match code {
            1000 => " normal closure",
            1006 => " abnormal closure (no close frame)",
            _ => "",
        };
        let reason = if reason.trim().is_empty() { "no close reason" } else { reason.trim() };
        format!("gateway closed ({code}{meaning}): {reason}")
    }

    /// The spelling of probes, which only say what happened.
    pub fn for_probe(&self) -> String {
        match self {
            Self::Timeout(_) => "timeout".to_owned(),
            Self::Plaintext { .. } => self.to_string().lines().take(1).collect(),
            _ => self.to_string(),
        }
    }

    /// The error's class, which the reference puts before the message.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Refused(_) => "GatewayClientRequestError",
            _ => "Error",
        }
    }

    /// Close code and reason, if that is how it ended.
    pub fn close(&self) -> Option<(u16, &str)> {
        match self {
            Self::Closed { code, reason } => Some((*code, reason)),
            Self::NotAdmitted(remote) => Some((close_code(remote), &remote.message)),
            _ => None,
        }
    }

    /// Whether the gateway wants this device to be approved first.
    pub fn is_pairing_required(&self) -> bool {
        matches!(self, Self::NotAdmitted(remote) if remote.detail_code() == Some("PAIRING_REQUIRED"))
            || matches!(self, Self::Closed { code: 1008, reason } if reason.starts_with("pairing required"))
    }
}

/// The close code that follows a refused `connect`.
fn close_code(remote: &Remote) -> u16 {
    if remote.message == "protocol mismatch" { 1002 } else { 1008 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closes_are_spelled_for_calls_and_for_probes() {
        let refused = ClientError::abnormal();
        assert_eq!(
            refused.for_call(),
            "gateway closed (1006 abnormal closure (no close frame)): no close reason"
        );
        assert_eq!(refused.for_probe(), "gateway closed (1006): ");
        let closed = ClientError::Closed { code: 1008, reason: "pairing required".to_owned() };
        assert_eq!(closed.for_call(), "gateway closed (1008): pairing required");
        assert_eq!(ClientError::Timeout(Duration::from_secs(3)).for_probe(), "timeout");
        assert_eq!(
            ClientError::Timeout(Duration::from_secs(3)).for_call(),
            "gateway timeout after 3000ms"
        );
    }
}
