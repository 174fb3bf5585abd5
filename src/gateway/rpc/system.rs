//! Notices, heartbeats and who this gateway is: `system-event`, `wake`,
//! `last-heartbeat`, `set-heartbeats`, `gateway.identity.get`.

use std::future::ready;

use serde_json::{Value, json};

use crate::base::id::SessionKey;
use crate::client::identity::Identity;
use crate::gateway::presence::Entry;
use crate::gateway::rpc::params::{blocking, flag, text, texts, uint};
use crate::gateway::rpc::{Call, Method, Reply};
use crate::protocol::error::ErrorShape;
use crate::protocol::events::Event;

pub(crate) const METHODS: &[Method] = &[
    Method { name: "system-event", run: |call| Box::pin(ready(system_event(&call))) },
    Method { name: "wake", run: |call| Box::pin(ready(Ok(wake(&call)))) },
    Method { name: "last-heartbeat", run: |call| Box::pin(ready(Ok(last_heartbeat(&call)))) },
    Method { name: "set-heartbeats", run: |call| Box::pin(ready(set_heartbeats(&call))) },
    Method { name: "gateway.identity.get", run: |call| Box::pin(gateway_identity(call)) },
];

fn system_event(call: &Call) -> Reply {
    let params = &call.params;
    let Some(notice) = text(params, "text") else {
        return Err(ErrorShape::invalid("text required"));
    };
    let now = call.now();
    let parsed = parse_notice(notice);
    let known = |key: &str| text(params, key).map(str::to_owned);
    let entry = Entry {
        host: known("host").or(parsed.host),
        ip: known("ip").or(parsed.ip),
        version: known("version").or(parsed.version),
        platform: known("platform"),
        device_family: known("deviceFamily"),
        model_identifier: known("modelIdentifier"),
        mode: known("mode").or(parsed.mode),
        last_input_seconds: uint(params, "lastInputSeconds").or(parsed.last_input_seconds),
        device_id: known("deviceId"),
        roles: texts(params, "roles").unwrap_or_default(),
        scopes: texts(params, "scopes").unwrap_or_default(),
        tags: texts(params, "tags").unwrap_or_default(),
        instance_id: known("instanceId"),
        reason: known("reason").or(parsed.reason),
        ts: now,
        text: Some(notice.to_owned()),
    };
    let key = [&entry.device_id, &entry.instance_id, &entry.host, &entry.ip]
        .into_iter()
        .find_map(Option::as_deref)
        .unwrap_or(notice)
        .to_lowercase();
    let before = call.state.presence.get(&key);
    let line = notice_line(notice, &entry, before.as_ref());
    call.state.presence.upsert(key, entry, now);
    call.state.bus.bump_presence();
    if let Some(line) = line {
        call.state.agents.system_event(&main_session(call), &line);
    }
    let presence = json!({ "presence": call.state.presence.list(now) });
    call.state.bus.broadcast_state(Event::Presence, &presence);
    Ok(json!({ "ok": true }))
}

/// What the main session gets to read. Reports about nodes come every few
/// minutes; only what changed since the last one is worth reading.
fn notice_line(notice: &str, entry: &Entry, before: Option<&Entry>) -> Option<String> {
    if !notice.starts_with("Node:") {
        return Some(notice.to_owned());
    }
    let reason = entry.reason.as_deref().unwrap_or_default().to_lowercase();
    let noteworthy = !reason.starts_with("periodic") && reason != "heartbeat";
    let differs = |now: &Option<String>, then: fn(&Entry) -> &Option<String>| {
        now.is_some() && before.is_none_or(|before| then(before) != now)
    };
    let place = differs(&entry.host, |entry| &entry.host) || differs(&entry.ip, |entry| &entry.ip);
    let mut parts = Vec::new();
    let changed_version = differs(&entry.version, |entry| &entry.version);
    let changed_mode = differs(&entry.mode, |entry| &entry.mode);
    let changed_reason = noteworthy && differs(&entry.reason, |entry| &entry.reason);
    if !place && !changed_version && !changed_mode && !changed_reason {
        return None;
    }
    let host = entry.host.as_deref().unwrap_or("unknown");
    parts.push(match &entry.ip {
        Some(ip) => format!("Node: {host} ({ip})"),
        None => format!("Node: {host}"),
    });
    if let Some(version) = entry.version.as_ref().filter(|_| changed_version) {
        parts.push(format!("app {version}"));
    }
    if let Some(mode) = entry.mode.as_ref().filter(|_| changed_mode) {
        parts.push(format!("mode {mode}"));
    }
    if let Some(reason) = entry.reason.as_ref().filter(|_| changed_reason) {
        parts.push(format!("reason {reason}"));
    }
    Some(parts.join(" · "))
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Parsed {
    host: Option<String>,
    ip: Option<String>,
    version: Option<String>,
    mode: Option<String>,
    reason: Option<String>,
    last_input_seconds: Option<u64>,
}

/// Reads `Node: H (IP) · app V · last input Ns ago · mode M · reason R`.
fn parse_notice(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let Some(rest) = text.strip_prefix("Node:") else { return parsed };
    for (index, part) in rest.split('·').map(str::trim).enumerate() {
        let some = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        if index == 0 {
            match part.split_once('(') {
                Some((host, ip)) => {
                    parsed.host = some(host);
                    parsed.ip = some(ip.trim_end_matches(')'));
                }
                None => parsed.host = some(part),
            }
        } else if let Some(version) = part.strip_prefix("app ") {
            parsed.version = some(version);
        } else if let Some(ago) = part.strip_prefix("last input ") {
            parsed.last_input_seconds =
                ago.strip_suffix("s ago").and_then(|seconds| seconds.trim().parse().ok());
        } else if let Some(mode) = part.strip_prefix("mode ") {
            parsed.mode = some(mode);
        } else if let Some(reason) = part.strip_prefix("reason ") {
            parsed.reason = some(reason);
        }
    }
    parsed
}

/// The conversation that notices without an address go to.
fn main_session(call: &Call) -> SessionKey {
    call.state.agents.sessions().canonical("main")
}

fn wake(call: &Call) -> Value {
    let notice = text(&call.params, "text").unwrap_or_default();
    if notice.is_empty() {
        return json!({ "ok": false });
    }
    call.state.agents.system_event(&main_session(call), notice);
    if text(&call.params, "mode") == Some("now") {
        let agent = call.state.config.load().config.agents.default_id().to_owned();
        call.state.services.heartbeats.request(&agent, "wake");
    }
    json!({ "ok": true })
}

fn last_heartbeat(call: &Call) -> Value {
    call.state.services.heartbeats.last()
}

fn set_heartbeats(call: &Call) -> Reply {
    let Some(enabled) = flag(&call.params, "enabled") else {
        return Err(ErrorShape::invalid(
            "invalid set-heartbeats params: enabled (boolean) required",
        ));
    };
    call.state.services.heartbeats.set_enabled(enabled);
    Ok(json!({ "ok": true, "enabled": enabled }))
}

async fn gateway_identity(call: Call) -> Reply {
    blocking(move || {
        let identity = Identity::open(&call.state.paths.state, call.state.clock.as_ref())
            .map_err(|err| ErrorShape::unavailable(format!("Error: {}", err.for_call())))?;
        Ok(json!({ "deviceId": identity.device_id, "publicKey": identity.public_key() }))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "Node: mybox (10.0.0.9) · app 1.2 · last input 3s ago · mode ui · reason periodic";

    #[test]
    fn a_report_about_a_node_is_understood() {
        let expected = Parsed {
            host: Some("mybox".into()),
            ip: Some("10.0.0.9".into()),
            version: Some("1.2".into()),
            mode: Some("ui".into()),
            reason: Some("periodic".into()),
            last_input_seconds: Some(3),
        };
        assert_eq!(parse_notice(TEXT), expected);
        assert_eq!(parse_notice("hello"), Parsed::default());
    }

    #[test]
    fn only_what_changed_about_a_node_is_passed_on() {
        let entry = Entry {
            host: Some("mybox".into()),
            mode: Some("ui".into()),
            reason: Some("periodic".into()),
            ..Entry::default()
        };
        assert_eq!(notice_line("Node: x", &entry, None).unwrap(), "Node: mybox · mode ui");
        assert_eq!(notice_line("Node: x", &entry, Some(&entry)), None);
        assert_eq!(notice_line("hello", &entry, Some(&entry)).unwrap(), "hello");
    }
}
