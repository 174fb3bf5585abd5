//! `gateway probe`: every gateway this configuration knows, asked at once.
//! Exits 1 exactly when none of them can be reached.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde::Serialize;
use serde_json::{Value, json};

use crate::base::{clock, embedded};
use crate::cli::args::gateway::{ProbeArgs, RunArgs};
use crate::cli::context::Context;
use crate::cli::link::{self, CallError, Link};
use crate::cli::ui::page::Page;
use crate::cli::ui::{CommandResult, Failure, Outcome};
use crate::client::target::{self, Source};
use crate::client::tunnel::{SshTarget, Tunnel, TunnelError};
use crate::client::{Caller, ClientError, Target, discover};
use crate::config::gate;

/// How long others are listened for, at most.
const LISTEN: Duration = Duration::from_millis(1200);

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    ok: bool,
    degraded: bool,
    ts: u64,
    duration_ms: u64,
    timeout_ms: u64,
    primary_target_id: Option<&'static str>,
    warnings: Vec<Warning>,
    network: Network,
    discovery: Value,
    targets: Vec<Probed>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Warning {
    code: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_ids: Option<Vec<&'static str>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Network {
    local_loopback_url: String,
    local_tailnet_url: Option<String>,
    #[serde(rename = "tailnetIPv4")]
    tailnet_ipv4: Option<String>,
}

#[derive(Debug, Serialize)]
struct Probed {
    id: &'static str,
    kind: &'static str,
    url: String,
    active: bool,
    tunnel: Option<Value>,
    connect: Connect,
    #[serde(rename = "self")]
    own: Option<Value>,
    config: Option<Value>,
    health: Option<Value>,
    summary: Option<Value>,
    presence: Option<Value>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Connect {
    ok: bool,
    rpc_ok: bool,
    scope_limited: bool,
    latency_ms: Option<u64>,
    error: Option<String>,
    close: Option<Value>,
}

/// A gateway to ask.
struct Candidate {
    id: &'static str,
    active: bool,
    url: String,
    tunnel: Option<Value>,
    link: Result<Link, CallError>,
}

/// What came of SSH.
#[derive(Default)]
struct Ssh {
    tunnel: Option<(SshTarget, Tunnel)>,
    failure: Option<TunnelError>,
    /// Who announced itself, and how long that was listened for.
    heard: Vec<discover::Beacon>,
    listened: Duration,
}

pub fn run(context: &Context, args: &ProbeArgs, before: &RunArgs) -> CommandResult {
    let limit = link::timeout(Some(&args.timeout), 3_000)?;
    let begun = Instant::now();
    let (ssh, targets) = context.block_on(async {
        let mut ssh = go_through_ssh(context, args, limit).await;
        let candidates = candidates(context, args, before, &ssh);
        let probes = candidates.into_iter().map(|candidate| probe(candidate, limit));
        let targets = join_all(probes).await;
        if let Some((_, tunnel)) = &mut ssh.tunnel {
            tunnel.close().await;
        }
        Ok::<_, Failure>((ssh, targets))
    })?;
    // What was asked for comes before what is configured.
    let ranks = ["explicit", "sshTunnel", "configRemote", "localLoopback"];
    let reached = |id: &&&str| targets.iter().any(|target| target.id == **id && target.connect.ok);
    let primary = ranks.iter().find(reached).copied();
    let report = Report {
        ok: primary.is_some(),
        degraded: targets.iter().any(|target| target.connect.ok && !target.connect.rpc_ok),
        ts: clock::now_ms(),
        duration_ms: millis(begun.elapsed()),
        timeout_ms: millis(limit),
        primary_target_id: primary,
        warnings: warnings(&targets, ssh.failure.as_ref()),
        network: network(context),
        // Without --ssh-auto nothing is searched: the budget says so.
        discovery: json!({
            "timeoutMs": millis(ssh.listened),
            "count": ssh.heard.len(),
            "beacons": ssh.heard,
        }),
        targets,
    };
    let code = u8::from(!report.ok);
    let outcome = if args.json { Outcome::json(&report) } else { Outcome::text(render(&report)) };
    Ok(outcome.with_code(code))
}

fn network(context: &Context) -> Network {
    let snapshot = context.config();
    let (env, config) = (&*snapshot.env, &snapshot.config);
    let local_loopback_url = target::local_url(env, config);
    let scheme = local_loopback_url.split(':').next().unwrap_or_default();
    let tailnet_ipv4 = gate::tailnet_address().map(|address| address.to_string());
    let url = |address: &String| format!("{scheme}://{address}:{}", target::port(env, config));
    Network { local_tailnet_url: tailnet_ipv4.as_ref().map(url), tailnet_ipv4, local_loopback_url }
}

/// Opens the way that the command line, else the configuration, names.
async fn go_through_ssh(context: &Context, args: &ProbeArgs, limit: Duration) -> Ssh {
    let snapshot = context.config();
    let (env, config) = (&*snapshot.env, &snapshot.config);
    let remote = |key: &str| config.gateway.remote.get(key).and_then(Value::as_str);
    let given =
        |text: Option<&str>| text.map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
    let mut ssh = Ssh::default();
    let mut wanted = given(args.ssh.as_deref()).or_else(|| given(remote("sshTarget")));
    if wanted.is_none() && args.ssh_auto {
        ssh.listened = limit.min(LISTEN);
        // Without a network nobody is heard.
        ssh.heard = discover::look(ssh.listened).await.unwrap_or_default();
        wanted = ssh.heard.first().map(|beacon| {
            let host = beacon.tailnet_dns.as_deref().or(beacon.lan_host.as_deref());
            let host = host.unwrap_or(&beacon.host);
            format!("{host}:{}", beacon.ssh_port.unwrap_or(22))
        });
    }
    let Some(wanted) = wanted else { return ssh };
    let identity = given(args.ssh_identity.as_deref()).or_else(|| given(remote("sshIdentity")));
    let opened = async {
        let target = SshTarget::parse(&wanted)?;
        let port = target::port(env, config);
        let tunnel = Tunnel::open(&target, identity.as_deref(), port, limit).await?;
        Ok((target, tunnel))
    };
    match opened.await {
        Ok(tunnel) => ssh.tunnel = Some(tunnel),
        Err(err) => ssh.failure = Some(err),
    }
    ssh
}

fn candidates(context: &Context, args: &ProbeArgs, before: &RunArgs, ssh: &Ssh) -> Vec<Candidate> {
    let snapshot = context.config();
    let (env, config) = (&*snapshot.env, &snapshot.config);
    let token = args.token.as_deref().or(before.token.as_deref());
    let password = args.password.as_deref().or(before.password.as_deref());
    let chosen = Target::resolve(args.url.as_deref(), env, config, &context.paths);
    let remote = |key: &str| config.gateway.remote.get(key).and_then(Value::as_str).map(str::trim);
    let elsewhere = |url: &str| Target {
        url: url.to_owned(),
        source: Source::Remote,
        bind: None,
        fingerprint: remote("tlsFingerprint").map(str::to_owned),
        ..chosen.clone()
    };
    let remote_url = remote("url").filter(|url| !url.is_empty());
    let mut candidates = Vec::new();
    if let Some((target, tunnel)) = &ssh.tunnel {
        let tls = remote_url.is_some_and(|url| url.starts_with("wss:"));
        let scheme = if tls { "wss" } else { "ws" };
        let url = format!("{scheme}://127.0.0.1:{}", tunnel.local_port);
        candidates.push(Candidate {
            id: "sshTunnel",
            active: true,
            tunnel: Some(json!({
                "kind": "ssh",
                "target": target.to_string(),
                "localPort": tunnel.local_port,
                "remotePort": target::port(env, config),
                "pid": tunnel.pid(),
            })),
            link: Link::to(context, elsewhere(&url), token, password),
            url,
        });
    }
    if chosen.is_override() {
        candidates.push(Candidate {
            id: "explicit",
            active: true,
            url: embedded::shown_url(&chosen.url),
            tunnel: None,
            link: Link::open(context, args.url.as_deref(), token, password),
        });
    }
    if let Some(url) = remote_url {
        candidates.push(Candidate {
            id: "configRemote",
            active: chosen.source == Source::Remote,
            url: embedded::shown_url(url),
            tunnel: None,
            link: Link::to(context, elsewhere(url), token, password),
        });
    }
    let url = target::local_url(env, config);
    let local = Target {
        url: url.clone(),
        source: Source::Loopback,
        bind: Some(config.gateway.bind.clone().unwrap_or_else(|| "loopback".to_owned())),
        fingerprint: target::local_fingerprint(config, &context.paths),
        ..chosen.clone()
    };
    candidates.push(Candidate {
        id: "localLoopback",
        active: matches!(chosen.source, Source::Loopback | Source::LoopbackForLackOfRemote),
        url,
        tunnel: None,
        link: Link::to(context, local, token, password),
    });
    candidates
}

async fn probe(candidate: Candidate, limit: Duration) -> Probed {
    let Candidate { id, active, url, tunnel, link } = candidate;
    let mut probed = Probed {
        id,
        kind: id,
        url,
        active,
        tunnel,
        connect: Connect::default(),
        own: None,
        config: None,
        health: None,
        summary: None,
        presence: None,
    };
    let begun = Instant::now();
    let link = match link {
        Ok(link) => link,
        Err(err) => {
            probed.connect.error = Some(err.for_probe());
            return probed;
        }
    };
    let mut connection = match link.connect(Caller::PROBE, limit).await {
        Ok(connection) => connection,
        Err(err) => {
            probed.connect.error = Some(err.for_probe());
            if let CallError::Client { err, .. } = &err {
                probed.connect.close =
                    err.close().map(|(code, reason)| json!({ "code": code, "reason": reason }));
            }
            return probed;
        }
    };
    probed.connect.ok = true;
    probed.connect.latency_ms = Some(millis(begun.elapsed()));
    let calls = vec![
        ("health", None),
        ("status", None),
        ("system-presence", None),
        ("config.get", Some(json!({}))),
    ];
    let rest = limit.saturating_sub(begun.elapsed()).max(Duration::from_millis(1));
    let answers = connection.call_all(calls, rest).await;
    connection.hang_up().await;
    let first_error = answers.iter().find_map(|answer| answer.as_ref().err());
    probed.connect.rpc_ok = first_error.is_none();
    probed.connect.error = first_error.map(ClientError::for_probe);
    probed.connect.scope_limited =
        first_error.is_some_and(|err| err.to_string().starts_with("missing scope"));
    let mut answers = answers.into_iter().map(Result::ok);
    probed.health = answers.next().flatten();
    probed.summary = answers.next().flatten();
    probed.presence = answers.next().flatten();
    probed.own = probed.presence.as_ref().and_then(gateway_itself);
    probed.config = answers.next().flatten().as_ref().map(config_summary);
    probed
}

/// Host, address, version and platform of the gateway's own presence entry.
pub fn gateway_itself(presence: &Value) -> Option<Value> {
    let own = presence.as_array()?.iter().find(|entry| entry["mode"] == "gateway")?;
    Some(json!({
        "host": own["host"], "ip": own["ip"], "version": own["version"], "platform": own["platform"],
    }))
}

/// What of `config.get` is worth a probe, without any secret.
fn config_summary(answer: &Value) -> Value {
    let gateway = &answer["config"]["gateway"];
    let auth = &gateway["auth"];
    let remote = &gateway["remote"];
    let list = |key: &str| answer.get(key).cloned().unwrap_or_else(|| json!([]));
    json!({
        "path": answer["path"],
        "exists": answer["exists"],
        "valid": answer["valid"],
        "issues": list("issues"),
        "legacyIssues": list("legacyIssues"),
        "gateway": {
            "mode": gateway["mode"],
            "bind": gateway["bind"],
            "port": gateway["port"],
            "controlUiEnabled": gateway["controlUi"]["enabled"],
            "controlUiBasePath": gateway["controlUi"]["basePath"],
            "authMode": auth["mode"],
            "authTokenConfigured": !auth["token"].is_null(),
            "authPasswordConfigured": !auth["password"].is_null(),
            "remoteUrl": remote["url"],
            "remoteTokenConfigured": !remote["token"].is_null(),
            "remotePasswordConfigured": !remote["password"].is_null(),
            "tailscaleMode": gateway["tailscale"]["mode"],
        },
        "discovery": { "wideAreaEnabled": answer["config"]["discovery"]["wideArea"]["enabled"] },
    })
}

fn warnings(targets: &[Probed], ssh: Option<&TunnelError>) -> Vec<Warning> {
    let ids = |which: fn(&Connect) -> bool| -> Vec<&'static str> {
        targets.iter().filter(|target| which(&target.connect)).map(|target| target.id).collect()
    };
    let mut warnings = Vec::new();
    let mut warn = |code, message: String, target_ids| {
        warnings.push(Warning { code, message, target_ids });
    };
    if let Some(err) = ssh {
        warn("ssh_tunnel_failed", format!("SSH tunnel failed: {err}"), None);
    }
    let reached = ids(|connect| connect.ok);
    if reached.len() > 1 {
        let message = "Several gateways answer; make sure that commands go to the one you mean.";
        warn("multiple_gateways", message.to_owned(), Some(reached));
    }
    let limited = ids(|connect| connect.scope_limited);
    if !limited.is_empty() {
        let message = "The gateway lets these credentials in, but not read (operator.read is missing): pair this device, or use others.";
        warn("probe_scope_limited", message.to_owned(), Some(limited));
    }
    warnings
}

fn render(report: &Report) -> String {
    let mut page = Page::default();
    page.line("Gateway Status");
    page.line(format!("Reachable: {}", if report.ok { "yes" } else { "no" }));
    page.line(format!("Probe budget: {}ms", report.timeout_ms));
    for warning in &report.warnings {
        page.line(format!("Warning: {}", warning.message));
    }
    page.gap();
    page.line("Targets");
    for target in &report.targets {
        page.line(format!("{} {}", label(target), target.url));
        page.line(format!("  {}", connect_line(&target.connect)));
        if let Some(through) = target.tunnel.as_ref().and_then(|tunnel| tunnel["target"].as_str()) {
            page.line(format!("  ssh: {through}"));
        }
        if let Some(own) = &target.own {
            let text = |key: &str| own[key].as_str().unwrap_or("unknown").to_owned();
            page.line(format!(
                "  Gateway: {} ({}) · {} · app {}",
                text("host"),
                text("ip"),
                text("platform"),
                text("version")
            ));
        }
    }
    page.into()
}

fn label(target: &Probed) -> &'static str {
    match (target.id, target.active) {
        ("explicit", _) => "URL (explicit)",
        ("sshTunnel", _) => "Remote over SSH",
        ("configRemote", true) => "Remote (configured)",
        ("configRemote", false) => "Remote (configured, inactive)",
        _ => "Local loopback",
    }
}

fn connect_line(connect: &Connect) -> String {
    let error = connect.error.as_deref().unwrap_or_default();
    match (connect.ok, connect.rpc_ok) {
        (false, _) => format!("Connect: failed - {error}"),
        (true, rpc_ok) => {
            let latency = connect.latency_ms.unwrap_or_default();
            let rpc = if rpc_ok {
                "ok".to_owned()
            } else if connect.scope_limited {
                format!("limited - {error}")
            } else {
                format!("failed - {error}")
            };
            format!("Connect: ok ({latency}ms) · RPC: {rpc}")
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_says_whether_secrets_are_there_but_not_what_they_are() {
        let answer = json!({
            "path": "/c", "exists": true, "valid": true, "issues": [],
            "config": {"gateway": {"port": 5, "auth": {"mode": "token", "token": "__OPENCLAW_REDACTED__"}}},
        });
        let summary = config_summary(&answer);
        assert_eq!(summary["gateway"]["authTokenConfigured"], json!(true));
        assert_eq!(summary["gateway"]["authPasswordConfigured"], json!(false));
        assert_eq!(summary["gateway"]["remoteUrl"], Value::Null);
        assert_eq!(summary["legacyIssues"], json!([]));
        assert!(!summary.to_string().contains("REDACTED"));
    }

    #[test]
    fn the_gateway_is_found_among_those_present() {
        let presence = json!([
            {"host": "cli", "mode": "probe"},
            {"host": "vm", "ip": "192.0.2.2", "version": "1", "platform": "linux", "mode": "gateway", "ts": 1},
        ]);
        assert_eq!(
            gateway_itself(&presence),
            Some(json!({"host": "vm", "ip": "192.0.2.2", "version": "1", "platform": "linux"}))
        );
    }

    #[test]
    fn a_line_tells_how_far_the_probe_came() {
        let failed =
            Connect { error: Some("gateway closed (1006): ".to_owned()), ..Connect::default() };
        assert_eq!(connect_line(&failed), "Connect: failed - gateway closed (1006): ");
        let limited = Connect {
            ok: true,
            scope_limited: true,
            latency_ms: Some(5),
            error: Some("missing scope: operator.read".to_owned()),
            ..Connect::default()
        };
        assert_eq!(
            connect_line(&limited),
            "Connect: ok (5ms) · RPC: limited - missing scope: operator.read"
        );
    }
}
