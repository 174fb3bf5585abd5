//! Doors that are open wider than is wise.

use std::net::IpAddr;

use serde_json::Value;

use crate::config::schema::agents::Agents;
use crate::doctor::checks::{Check, Scope};
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Severity};

pub(super) const CHECK: Check = Check {
    id: "security",
    section: "Security",
    scope: Scope::Everywhere,
    severity: Severity::Error,
    finds: "a gateway on the network, without authentication or without TLS; switched-off device checks; channels on which anybody may write to the agent; approvals that let every program run; a sandbox that is wanted",
    matters: "who reaches the agent can have it run programs and read files on this host",
    repairs: "",
    inspect,
};

fn inspect(facts: &Facts<'_>) -> Vec<Finding> {
    let snapshot = facts.snapshot();
    let gateway = &snapshot.config.gateway;
    let program = facts.program();
    let mut found = Vec::new();
    let bind = gateway.bind.as_deref().unwrap_or("loopback");
    let custom = gateway.custom_bind_host.as_deref().unwrap_or_default();
    let inside = bind == "custom" && custom.parse().is_ok_and(|host: IpAddr| host.is_loopback());
    if !facts.is_remote() && !inside && matches!(bind, "lan" | "custom" | "tailnet") {
        let open = gateway.auth.mode.as_deref() == Some("none");
        let tls = gateway.tls.get("enabled").and_then(Value::as_bool) == Some(true);
        if open {
            found.push(
                Finding::error(format!(
                    "CRITICAL: Gateway bound to \"{bind}\" without authentication."
                ))
                .at("gateway.bind")
                .advise(format!("{program} config set gateway.auth.mode token")),
            );
        } else if !tls && bind != "tailnet" {
            found.push(
                Finding::warning(format!(
                    "WARNING: Gateway bound to \"{bind}\" (network-accessible) without TLS; tokens and messages can be read on the way."
                ))
                .at("gateway.tls.enabled")
                .advise(format!("{program} config set gateway.bind loopback")),
            );
        }
    }
    let ui = &gateway.control_ui;
    for (on, path) in [
        (ui.dangerously_disable_device_auth, "gateway.controlUi.dangerouslyDisableDeviceAuth"),
        (ui.allow_insecure_auth, "gateway.controlUi.allowInsecureAuth"),
        (
            ui.dangerously_allow_host_header_origin_fallback,
            "gateway.controlUi.dangerouslyAllowHostHeaderOriginFallback",
        ),
    ] {
        if on {
            found.push(
                Finding::warning("a safeguard of the Control UI is switched off")
                    .at(path)
                    .advise(format!("{program} config unset {path}")),
            );
        }
    }
    for (name, channel) in &snapshot.config.channels {
        if channel["enabled"] == false {
            continue;
        }
        for (path, section) in accounts(name, channel) {
            let policy = section["dmPolicy"].as_str().or(section["dm"]["policy"].as_str());
            if policy == Some("open") {
                found.push(
                    Finding::warning(format!("{name}: anybody may send the agent direct messages"))
                        .at(format!("{path}.dmPolicy"))
                        .advise(format!("{program} config set {path}.dmPolicy pairing")),
                );
            }
        }
    }
    found.extend(sandboxes(&snapshot.config.agents).map(|path| {
        let text = "tools are to run in a sandbox, which this gateway does not have: commands and files are refused";
        let advice = format!("{program} config set {path} off lets them run on this host");
        Finding::warning(text).at(path).advise(advice)
    }));
    found.extend(approvals(facts));
    found
}

/// Where the configuration wants a sandbox.
fn sandboxes(agents: &Agents) -> impl Iterator<Item = String> {
    let own = agents.list.iter().enumerate();
    let own = own.map(|(at, agent)| (format!("agents.list[{at}].sandbox.mode"), &agent.rest));
    let general = ("agents.defaults.sandbox.mode".to_owned(), &agents.defaults.rest);
    std::iter::once(general).chain(own).filter_map(|(path, section)| {
        let mode = section.get("sandbox")?["mode"].as_str()?;
        matches!(mode, "all" | "non-main").then_some(path)
    })
}

/// A channel and its accounts, with their paths.
fn accounts<'v>(name: &str, channel: &'v Value) -> Vec<(String, &'v Value)> {
    let own = (format!("channels.{name}"), channel);
    let accounts = channel["accounts"].as_object().into_iter().flatten();
    let more = accounts.map(|(id, account)| (format!("channels.{name}.accounts.{id}"), account));
    std::iter::once(own).chain(more).collect()
}

/// `exec-approvals.json` may let everything run without asking.
fn approvals(facts: &Facts<'_>) -> Vec<Finding> {
    let Ok(reading) = crate::store::exec_approvals::read(facts.state()) else { return Vec::new() };
    let full = |section: &Value| section["security"] == "full" && section["ask"] == "off";
    let mut agents: Vec<String> = reading.file["agents"]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, section)| full(section))
        .map(|(id, _)| id.clone())
        .collect();
    if full(&reading.file["defaults"]) {
        agents.push("every agent".to_owned());
    }
    if agents.is_empty() {
        return Vec::new();
    }
    vec![
        Finding::warning(format!(
            "{} may run every program without being asked",
            agents.join(", ")
        ))
        .at(&reading.path)
        .advise("set \"ask\" to \"on-miss\" there"),
    ]
}
