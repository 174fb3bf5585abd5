//! Facts of `gateway status`, in the shape and order of its JSON.

use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde::Serialize;

use crate::base::embedded;
use crate::cli::args::gateway::{RunArgs, StatusArgs};
use crate::cli::context::Context;
use crate::cli::link::{CallError, Link};
use crate::cli::ui::Failure;
use crate::client::target;
use crate::client::{Caller, Expect};
use crate::config::{Issue, Snapshot};
use crate::supervise::activation::{self, Mismatch};
use crate::supervise::addresses;
use crate::supervise::host::{self, Choice};
use crate::supervise::listeners::{self, Listener, PortUse};
use crate::supervise::report::{RunState, ServiceCommand, ServiceReport};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub service: ServiceReport,
    pub config: Configs,
    pub gateway: Gateway,
    pub port: Port,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_cli: Option<Port>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpc: Option<Rpc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// The socket unit and the configuration name different addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket_mismatch: Option<Mismatch>,
    pub extra_services: Vec<ExtraService>,
}

#[derive(Debug, Serialize)]
pub struct Configs {
    pub cli: ConfigFile,
    pub daemon: ConfigFile,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub mismatch: bool,
}

#[derive(Debug, Serialize)]
pub struct ConfigFile {
    pub path: PathBuf,
    pub exists: bool,
    pub valid: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub issues: Vec<Issue>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Gateway {
    pub bind_mode: String,
    pub bind_host: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom_bind_host: Option<String>,
    pub port: u16,
    /// `service args` or `env/config`.
    pub port_source: &'static str,
    pub probe_url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe_note: Option<&'static str>,
    /// `None` when the Control UI is off.
    #[serde(skip)]
    pub dashboard: Option<String>,
}

#[derive(Debug, Serialize)]
pub struct Port {
    pub port: u16,
    /// `free`, `busy` or `unknown`.
    pub status: &'static str,
    pub listeners: Vec<PortListener>,
    pub hints: Vec<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PortListener {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    pub address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command_line: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ppid: Option<i32>,
    #[serde(skip)]
    pub is_gateway: bool,
}

#[derive(Debug, Serialize)]
pub struct Rpc {
    pub ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    pub url: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    pub healthy: bool,
    pub stale_gateway_pids: Vec<i32>,
}

#[derive(Debug, Serialize)]
pub struct ExtraService {
    pub platform: &'static str,
    pub label: String,
    pub detail: String,
    pub scope: &'static str,
    pub marker: &'static str,
    pub legacy: bool,
}

/// Looks at everything; also returns what to tell about a refused sign-in.
pub fn collect(
    context: &Context,
    args: &StatusArgs,
    before: &RunArgs,
    limit: Duration,
) -> Result<(Report, String), Failure> {
    let cli_port = target::port(&context.config().env, &context.config().config);
    // Asking the service manager and searching the host's processes take most
    // of the time, so they go side by side.
    let (env, paths) = (&context.env, &context.paths);
    let (service, on_cli_port) = thread::scope(|scope| {
        let looking = scope.spawn(|| inspect(cli_port));
        let service = host::manager(env, paths, Choice::Existing).report();
        (service, looking.join())
    });
    let mut service = service;
    service.details.duplicate = host::duplicate(env, paths, service.details.scope == "system");
    let on_cli_port = on_cli_port.unwrap_or_else(|panic| resume_unwind(panic));
    let variables = service.command.iter().flat_map(|command| command.environment.iter());
    let daemon =
        context.with_variables(variables.map(|(key, value)| (key.as_str(), value.as_str())));
    let service_port = service.command.as_ref().and_then(ServiceCommand::port);
    let port = service_port.unwrap_or(cli_port);
    let gateway = gateway(daemon.config(), args.url.as_deref(), port, service_port.is_some());

    let mut notice = String::new();
    // A look must not wake a gateway that sleeps behind its socket.
    let asleep = is_asleep(&service) && !args.require_rpc && args.url.is_none();
    let rpc = if args.no_probe || asleep {
        None
    } else {
        let url = args.url.as_deref().unwrap_or(&gateway.probe_url);
        let result = probe(&daemon, args, before, url, limit)?;
        Some(match result {
            Ok(()) => Rpc { ok: true, error: None, url: gateway.probe_url.clone() },
            Err(err) => {
                let error = if args.require_rpc {
                    notice = err.notice().unwrap_or_default();
                    err.text()
                } else {
                    err.for_probe()
                };
                Rpc { ok: false, error: Some(error), url: gateway.probe_url.clone() }
            }
        })
    };

    let (port, port_cli) =
        if port == cli_port { (on_cli_port, None) } else { (inspect(port), Some(on_cli_port)) };
    let running = service.runtime.status == RunState::Running;
    let answers = rpc.as_ref().is_some_and(|rpc| rpc.ok);
    let stale: Vec<i32> = port
        .listeners
        .iter()
        .filter(|listener| listener.is_gateway)
        .filter_map(|listener| listener.pid)
        .filter(|pid| service.runtime.pid.is_some_and(|own| own != *pid))
        .collect();
    let health = service.summary.loaded.then(|| Health {
        healthy: running && (answers || rpc.is_none()) && stale.is_empty(),
        stale_gateway_pids: stale,
    });
    let (cli, own) = (config_file(context.config()), config_file(daemon.config()));
    let mismatch = cli.path != own.path;
    let extra_services = extra_services(&service);
    let wanted = addresses::wanted(&daemon.config().config.gateway, port.port).unwrap_or_default();
    let socket_mismatch = activation::mismatch(&service.details.listen, &wanted)
        .filter(|found| !found.inherited.is_empty() && !found.wanted.is_empty());
    let report = Report {
        config: Configs { cli, daemon: own, mismatch },
        gateway,
        port_cli,
        port,
        rpc,
        health,
        socket_mismatch,
        extra_services,
        service,
    };
    Ok((report, notice))
}

/// Not running, and started by whoever connects.
pub fn is_asleep(service: &ServiceReport) -> bool {
    service.runtime.status == RunState::Stopped
        && service.details.socket.as_deref() == Some("listening")
}

/// One connection; with `--require-rpc` one call on it.
fn probe(
    context: &Context,
    args: &StatusArgs,
    before: &RunArgs,
    url: &str,
    limit: Duration,
) -> Result<Result<(), CallError>, Failure> {
    let token = args.token.as_deref().or(before.token.as_deref());
    let password = args.password.as_deref().or(before.password.as_deref());
    let mut link = match Link::open(context, args.url.as_deref(), token, password) {
        Ok(link) => link,
        Err(err) => return Ok(Err(err)),
    };
    url.clone_into(&mut link.target.url);
    context.block_on(async {
        if args.require_rpc {
            let answer = link.call(Caller::PROBE, "status", None, Expect::First, limit).await;
            return Ok(answer.map(|_| ()));
        }
        Ok(match link.connect(Caller::PROBE, limit).await {
            Ok(connection) => {
                connection.hang_up().await;
                Ok(())
            }
            Err(err) => Err(err),
        })
    })
}

fn gateway(snapshot: &Snapshot, url: Option<&str>, port: u16, from_service: bool) -> Gateway {
    let config = &snapshot.config.gateway;
    let bind_mode = config.bind.clone().unwrap_or_else(|| "loopback".to_owned());
    let custom = config.custom_bind_host.clone().filter(|_| bind_mode == "custom");
    let local = target::local_host(&snapshot.config);
    let bind_host = match bind_mode.as_str() {
        "lan" => "0.0.0.0".to_owned(),
        "custom" => custom.clone().unwrap_or_else(|| "0.0.0.0".to_owned()),
        _ => local.to_string(),
    };
    let tls = config.tls.get("enabled").and_then(serde_json::Value::as_bool) == Some(true);
    let (ws, http) = if tls { ("wss", "https") } else { ("ws", "http") };
    let base = config.control_ui.base_path.trim_matches('/');
    let base = if base.is_empty() { String::new() } else { format!("{base}/") };
    Gateway {
        probe_note: match bind_mode.as_str() {
            "loopback" => Some("Loopback-only gateway; only local clients can connect."),
            "lan" => Some("bind=lan listens on 0.0.0.0 (all interfaces); probing via 127.0.0.1."),
            _ => None,
        },
        bind_mode,
        bind_host,
        port,
        port_source: if from_service { "service args" } else { "env/config" },
        probe_url: url.map_or_else(|| format!("{ws}://{local}:{port}"), embedded::shown_url),
        dashboard: (config.control_ui.enabled != Some(false))
            .then(|| format!("{http}://{local}:{port}/{base}")),
        custom_bind_host: custom,
    }
}

fn config_file(snapshot: &Snapshot) -> ConfigFile {
    ConfigFile {
        path: snapshot.path.clone(),
        exists: snapshot.exists,
        valid: snapshot.is_valid(),
        issues: snapshot.issues.clone(),
    }
}

/// Who has the port, and what that means for the operator.
pub fn inspect(port: u16) -> Port {
    let (status, found) = match listeners::inspect(port) {
        PortUse::Free => ("free", Vec::new()),
        PortUse::Busy(found) => ("busy", found),
        PortUse::Unknown => ("unknown", Vec::new()),
    };
    let listeners: Vec<PortListener> = found.iter().flat_map(described).collect();
    let hints = if status == "busy" { hints(&listeners) } else { Vec::new() };
    Port { port, status, listeners, hints }
}

fn described(listener: &Listener) -> Vec<PortListener> {
    let address = listener.address.to_string();
    if listener.owners.is_empty() {
        return vec![PortListener {
            pid: None,
            command: None,
            address,
            command_line: None,
            user: None,
            ppid: None,
            is_gateway: false,
        }];
    }
    listener
        .owners
        .iter()
        .map(|owner| PortListener {
            pid: Some(owner.pid),
            command: Some(owner.command.clone()),
            address: address.clone(),
            command_line: Some(owner.command_line.clone()),
            user: Some(owner.user.clone()),
            ppid: Some(owner.parent),
            is_gateway: owner.is_gateway(),
        })
        .collect()
}

/// What to do about the listeners. The texts are part of the contract.
fn hints(listeners: &[PortListener]) -> Vec<&'static str> {
    let is_tunnel = |listener: &PortListener| {
        listener.command.as_deref().is_some_and(|command| command.starts_with("ssh"))
    };
    let mut hints = Vec::new();
    let has_gateway = listeners.iter().any(|listener| listener.is_gateway);
    // The manager holds a socket for the gateway that serves it.
    let is_keeper = |listener: &&PortListener| {
        has_gateway && matches!(listener.command.as_deref(), Some("systemd" | "launchd" | "init"))
    };
    let listeners: Vec<&PortListener> = listeners.iter().filter(|one| !is_keeper(one)).collect();
    if has_gateway {
        hints.push("Gateway already running locally. Stop it (openclaw gateway stop) or use a different port.");
    }
    if listeners.iter().any(|one| is_tunnel(one)) {
        hints.push("SSH tunnel already bound to this port. Close the tunnel or use a different local port in -L.");
    }
    if listeners.is_empty() || listeners.iter().any(|one| !one.is_gateway && !is_tunnel(one)) {
        hints.push("Another process is listening on this port.");
    }
    let mut pids: Vec<_> = listeners.iter().filter_map(|listener| listener.pid).collect();
    pids.sort_unstable();
    pids.dedup();
    if pids.len() > 1 {
        hints.push("Multiple listeners detected; ensure only one gateway/tunnel per port unless intentionally running isolated profiles.");
    }
    hints
}

fn extra_services(service: &ServiceReport) -> Vec<ExtraService> {
    let platform = if cfg!(target_os = "macos") { "darwin" } else { "linux" };
    let other = if service.details.scope == "system" { "user" } else { "system" };
    service
        .details
        .duplicate
        .iter()
        .map(|path| ExtraService {
            platform,
            label: Path::new(path)
                .file_name()
                .map_or_else(|| path.clone(), |name| name.to_string_lossy().into_owned()),
            detail: format!("unit: {path}"),
            scope: other,
            marker: "openclaw",
            legacy: false,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(pid: i32, command: &str, is_gateway: bool) -> PortListener {
        PortListener {
            pid: Some(pid),
            command: Some(command.to_owned()),
            address: "127.0.0.1:1".to_owned(),
            command_line: None,
            user: None,
            ppid: None,
            is_gateway,
        }
    }

    #[test]
    fn hints_name_each_kind_of_listener_once() {
        assert_eq!(hints(&[listener(1, "openclaw", true), listener(1, "openclaw", true)]).len(), 1);
        let all = hints(&[
            listener(1, "openclaw", true),
            listener(2, "ssh", false),
            listener(3, "python3", false),
        ]);
        assert_eq!(all.len(), 4);
        let kept = [listener(1, "systemd", false), listener(2, "openclaw", true)];
        assert_eq!(hints(&kept).len(), 1);
        assert_eq!(hints(&kept[..1]), ["Another process is listening on this port."]);
        assert_eq!(hints(&[]), ["Another process is listening on this port."]);
    }

    #[test]
    fn our_own_listener_is_inspected_like_any_other() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = inspect(socket.local_addr().unwrap().port());
        assert_eq!(port.status, "busy");
        assert_eq!(port.listeners[0].address, socket.local_addr().unwrap().to_string());
    }
}
