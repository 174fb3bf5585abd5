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
use crate::client::{Caller, ClientError, Target};

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
struct Warning {
    code: &'static str,
    message: String,
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
    link: Result<Link, CallError>,
}

pub fn run(context: &Context, args: &ProbeArgs, before: &RunArgs) -> CommandResult {
    let limit = link::timeout(Some(&args.timeout), 3_000)?;
    let candidates = candidates(context, args, before);
    let begun = Instant::now();
    let targets = context.block_on(async {
        Ok::<_, Failure>(
            join_all(candidates.into_iter().map(|candidate| probe(candidate, limit))).await,
        )
    })?;
    let reached = |target: &&Probed| target.connect.ok;
    let primary = targets
        .iter()
        .filter(reached)
        .max_by_key(|target| (target.active, target.connect.rpc_ok))
        .map(|target| target.id);
    let report = Report {
        ok: primary.is_some(),
        degraded: targets.iter().any(|target| target.connect.ok && !target.connect.rpc_ok),
        ts: clock::now_ms(),
        duration_ms: millis(begun.elapsed()),
        timeout_ms: millis(limit),
        primary_target_id: primary,
        warnings: warnings(&targets),
        network: Network {
            local_loopback_url: target::local_url(&context.config().env, &context.config().config),
            local_tailnet_url: None,
            tailnet_ipv4: None,
        },
        // Nothing is searched: the budget says so.
        discovery: json!({ "timeoutMs": 0, "count": 0, "beacons": [] }),
        targets,
    };
    let code = u8::from(!report.ok);
    let outcome = if args.json { Outcome::json(&report) } else { Outcome::text(render(&report)) };
    Ok(outcome.with_code(code))
}

fn candidates(context: &Context, args: &ProbeArgs, before: &RunArgs) -> Vec<Candidate> {
    let snapshot = context.config();
    let (env, config) = (&*snapshot.env, &snapshot.config);
    let token = args.token.as_deref().or(before.token.as_deref());
    let password = args.password.as_deref().or(before.password.as_deref());
    let chosen = Target::resolve(args.url.as_deref(), env, config, &context.paths);
    let mut candidates = Vec::new();
    if chosen.is_override() {
        candidates.push(Candidate {
            id: "explicit",
            active: true,
            url: embedded::shown_url(&chosen.url),
            link: Link::open(context, args.url.as_deref(), token, password),
        });
    }
    let remote = config.gateway.remote.get("url").and_then(Value::as_str).map(str::trim);
    if let Some(url) = remote.filter(|url| !url.is_empty()) {
        let target = Target {
            url: url.to_owned(),
            source: Source::Remote,
            bind: None,
            fingerprint: config
                .gateway
                .remote
                .get("tlsFingerprint")
                .and_then(Value::as_str)
                .map(str::to_owned),
            ..chosen.clone()
        };
        candidates.push(Candidate {
            id: "configRemote",
            active: chosen.source == Source::Remote,
            url: embedded::shown_url(url),
            link: Link::to(context, target, token, password),
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
        link: Link::to(context, local, token, password),
    });
    candidates
}

async fn probe(candidate: Candidate, limit: Duration) -> Probed {
    let Candidate { id, active, url, link } = candidate;
    let mut probed = Probed {
        id,
        kind: id,
        url,
        active,
        tunnel: None,
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

fn warnings(targets: &[Probed]) -> Vec<Warning> {
    let reached = targets.iter().filter(|target| target.connect.ok).count();
    let several = (reached > 1).then(|| Warning {
        code: "multiple_gateways",
        message: "Several gateways answer; make sure that commands go to the one you mean."
            .to_owned(),
    });
    several.into_iter().collect()
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
