//! The beacon over mDNS by which apps find this gateway on the local network.
//!
//! Sent when others can reach the port, or when the configuration asks for it;
//! `discovery.mdns.mode=off` and `OPENCLAW_DISABLE_BONJOUR=1` keep it silent.

use std::sync::Arc;
use std::time::Duration;

use mdns_sd::{ServiceDaemon, ServiceInfo};
use serde_json::Value;

use crate::client::discover::SERVICE;
use crate::gateway::State;

/// How long saying goodbye to the network may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// How much the beacon tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Off,
    Minimal,
    /// Where the program is and how to come by SSH, too.
    Full,
}

/// Starts the beacon if this gateway has one. `public` says whether others
/// reach the port.
pub fn start(state: &Arc<State>, public: bool) {
    let snapshot = state.config.load();
    let configured = snapshot.resolved.pointer("/discovery/mdns/mode").and_then(Value::as_str);
    let mode = mode(configured, public, state.env.get("OPENCLAW_DISABLE_BONJOUR") == Some("1"));
    if mode == Mode::Off {
        return;
    }
    let announcing = Arc::clone(state);
    state.lifecycle.spawn("beacon", move |stop| async move {
        let daemon = match announce(&announcing, mode) {
            Ok(daemon) => daemon,
            Err(err) => {
                tracing::warn!(target: "discovery", %err, "no beacon is sent");
                return;
            }
        };
        stop.cancelled().await;
        if let Ok(ended) = daemon.shutdown() {
            drop(tokio::time::timeout(FAREWELL, ended.recv_async()).await);
        }
    });
}

fn mode(configured: Option<&str>, public: bool, disabled: bool) -> Mode {
    match configured {
        _ if disabled => Mode::Off,
        Some("full") => Mode::Full,
        Some("off") => Mode::Off,
        None if !public => Mode::Off,
        _ => Mode::Minimal,
    }
}

fn announce(state: &State, mode: Mode) -> Result<ServiceDaemon, mdns_sd::Error> {
    let named = state.env.get("OPENCLAW_MDNS_HOSTNAME").map(str::to_owned);
    let host = named.or_else(|| nix::unistd::gethostname().ok()?.into_string().ok());
    let host = host_label(host.as_deref());
    let instance = format!("{host} (OpenClaw)");
    let fingerprint = state.tls.as_ref().map(|tls| tls.fingerprint.clone());
    let mut txt = vec![
        ("role", "gateway".to_owned()),
        ("gatewayPort", state.port.to_string()),
        ("lanHost", format!("{host}.local")),
        ("displayName", host.clone()),
        ("transport", "gateway".to_owned()),
    ];
    if let Some(fingerprint) = fingerprint {
        txt.push(("gatewayTls", "1".to_owned()));
        txt.push(("gatewayTlsSha256", fingerprint));
    }
    if mode == Mode::Full {
        let ssh = state.env.get("OPENCLAW_SSH_PORT").and_then(|port| port.trim().parse().ok());
        txt.push(("sshPort", ssh.unwrap_or(22_u16).to_string()));
        if let Ok(program) = std::env::current_exe() {
            txt.push(("cliPath", program.display().to_string()));
        }
    }
    let full_host = format!("{host}.local.");
    let info = ServiceInfo::new(SERVICE, &instance, &full_host, "", state.port, &txt[..])?;
    let daemon = ServiceDaemon::new()?;
    daemon.register(info.enable_addr_auto())?;
    tracing::info!(target: "discovery", "beacon: {instance} on port {}", state.port);
    Ok(daemon)
}

/// The first part of a host's name, as mDNS has it.
fn host_label(name: Option<&str>) -> String {
    let label = name.unwrap_or_default().trim().split('.').next().unwrap_or_default();
    if label.is_empty() { "openclaw".to_owned() } else { label.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_nobody_else_reaches_is_announced_only_on_request() {
        assert_eq!(mode(None, false, false), Mode::Off);
        assert_eq!(mode(None, true, false), Mode::Minimal);
        assert_eq!(mode(Some("minimal"), false, false), Mode::Minimal);
        assert_eq!(mode(Some("full"), false, false), Mode::Full);
        assert_eq!(mode(Some("off"), true, false), Mode::Off);
        assert_eq!(mode(Some("full"), true, true), Mode::Off);
    }

    #[test]
    fn a_host_is_named_by_its_first_label() {
        assert_eq!(host_label(Some("den.example.org")), "den");
        assert_eq!(host_label(Some("")), "openclaw");
    }
}
