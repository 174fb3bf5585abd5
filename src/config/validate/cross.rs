//! Rules that tie several keys together, outside the channels.
//!
//! A rule stays silent while the schema already complains about its section:
//! the operator fixes the type first.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::base::duration;
use crate::config::Issue;
use crate::config::validate::Checks;
use crate::profile::paths;

/// Checks every section that the schema accepts.
pub(super) fn check(checks: &mut Checks<'_>) {
    gateway(checks);
    agents(checks);
    sessions_and_cron(checks);
    tools(checks);
    talk(checks);
    broadcast(checks);
    secrets(checks);
    browser(checks);
}

fn gateway(checks: &mut Checks<'_>) {
    let Some(gateway) = checks.section("gateway") else { return };
    let minutes = |key: &str| gateway.get(key).and_then(Value::as_f64);
    let every = minutes("channelHealthCheckMinutes").unwrap_or(5.0);
    if every > 0.0
        && minutes("channelStaleEventThresholdMinutes").is_some_and(|stale| stale < every)
    {
        checks.issue("gateway.channelStaleEventThresholdMinutes", "channelStaleEventThresholdMinutes should be >= channelHealthCheckMinutes to avoid delayed stale detection");
    }
}

/// Duties between sections, checked once everything else is in order.
pub(super) fn check_late(checks: &mut Checks<'_>) {
    duplicate_agent_dirs(checks);
    if checks.issues.is_empty() {
        avatars(checks);
    }
    if checks.issues.is_empty() {
        tailscale(checks);
    }
}

fn tailscale(checks: &mut Checks<'_>) {
    let gateway = &checks.document["gateway"];
    let mode = gateway["tailscale"]["mode"].as_str().unwrap_or("off");
    let bind = gateway["bind"].as_str().unwrap_or("loopback");
    let custom_loopback = bind == "custom"
        && gateway["customBindHost"]
            .as_str()
            .and_then(|host| host.parse::<std::net::Ipv4Addr>().ok())
            .is_some_and(|host| host.is_loopback());
    if matches!(mode, "serve" | "funnel") && bind != "loopback" && !custom_loopback {
        checks.issue("gateway.bind", format!("gateway.bind must resolve to loopback when gateway.tailscale.mode={mode} (use gateway.bind=\"loopback\" or gateway.bind=\"custom\" with gateway.customBindHost=\"127.0.0.1\")"));
    }
}

fn agents(checks: &mut Checks<'_>) {
    let document = checks.document;
    scope(checks, "agents.defaults", &document["agents"]["defaults"], true);
    for (index, agent) in document["agents"]["list"].as_array().into_iter().flatten().enumerate() {
        scope(checks, &format!("agents.list.{index}"), agent, false);
    }
}

/// What `agents.defaults` and each listed agent have in common.
fn scope(checks: &mut Checks<'_>, path: &str, agent: &Value, defaults: bool) {
    if checks.complained(path) {
        return;
    }
    heartbeat(checks, &format!("{path}.heartbeat"), &agent["heartbeat"]);
    sandbox(checks, &format!("{path}.sandbox"), &agent["sandbox"]);
    if !defaults {
        policy(checks, &format!("{path}.tools"), &agent["tools"], "agent tools");
        loops(checks, &format!("{path}.tools.loopDetection"), &agent["tools"]["loopDetection"]);
    }
}

fn heartbeat(checks: &mut Checks<'_>, path: &str, heartbeat: &Value) {
    let Some(every) = heartbeat["every"].as_str().filter(|every| !every.is_empty()) else { return };
    if duration::parse_ms(every, "m").is_none() || every.ends_with('d') {
        checks.issue(format!("{path}.every"), "invalid duration (use ms, s, m, h)");
    }
    for (key, is_start) in [("start", true), ("end", false)] {
        let Some(time) = heartbeat["activeHours"][key].as_str() else { continue };
        if let Some(message) = time_of_day(time, is_start) {
            checks.issue(format!("{path}.activeHours.{key}"), message);
        }
    }
}

fn time_of_day(time: &str, is_start: bool) -> Option<&'static str> {
    let parts = time.split_once(':').filter(|(hour, minute)| hour.len() == 2 && minute.len() == 2);
    let parsed = parts
        .and_then(|(hour, minute)| Some((hour.parse::<u8>().ok()?, minute.parse::<u8>().ok()?)));
    match parsed {
        Some((24, 0)) if is_start => Some("invalid time (start cannot be 24:00)"),
        Some((24, minute)) if minute > 0 => {
            Some("invalid time (24:00 is the only allowed 24:xx value)")
        }
        Some((24, 0) | (0..=23, 0..=59)) => None,
        _ => Some("invalid time (use \"HH:MM\" 24h format)"),
    }
}

fn sandbox(checks: &mut Checks<'_>, path: &str, sandbox: &Value) {
    let docker = &sandbox["docker"];
    let network =
        |value: &Value| value["network"].as_str().map(|name| name.trim().to_ascii_lowercase());
    match network(docker).as_deref() {
        Some("host") => checks.issue(format!("{path}.docker.network"), "Sandbox security: network mode \"host\" is blocked. Use \"bridge\" or \"none\" instead."),
        Some(name) if name.starts_with("container:") && docker["dangerouslyAllowContainerNamespaceJoin"] != true => {
            checks.issue(format!("{path}.docker.network"), "Sandbox security: network mode \"container:*\" is blocked by default. Use a custom bridge network, or set dangerouslyAllowContainerNamespaceJoin=true only when you fully trust this runtime.");
        }
        _ => {}
    }
    if network(&sandbox["browser"]).as_deref() == Some("host") {
        checks.issue(format!("{path}.browser.network"), "Sandbox security: browser network mode \"host\" is blocked. Use \"bridge\" or a custom bridge network instead.");
    }
    for (key, message) in [
        (
            "seccompProfile",
            "Sandbox security: seccomp profile \"unconfined\" is blocked. Use a custom seccomp profile file or omit this setting.",
        ),
        (
            "apparmorProfile",
            "Sandbox security: apparmor profile \"unconfined\" is blocked. Use a named AppArmor profile or omit this setting.",
        ),
    ] {
        if docker[key].as_str().is_some_and(|name| name.trim().eq_ignore_ascii_case("unconfined")) {
            checks.issue(format!("{path}.docker.{key}"), message);
        }
    }
    for (index, bind) in docker["binds"].as_array().into_iter().flatten().enumerate() {
        let bind = bind.as_str().unwrap_or_default().trim();
        let source = bind.split(':').next().unwrap_or_default();
        if bind.is_empty() {
            checks.issue(
                format!("{path}.docker.binds.{index}"),
                "Sandbox security: bind mount entry must be a non-empty string.",
            );
        } else if !source.starts_with('/') {
            checks.issue(format!("{path}.docker.binds.{index}"), format!("Sandbox security: bind mount \"{bind}\" uses a non-absolute source path \"{source}\". Only absolute POSIX paths are supported for sandbox binds."));
        }
    }
}

fn duplicate_agent_dirs(checks: &mut Checks<'_>) {
    let mut owners: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for agent in checks.document["agents"]["list"].as_array().into_iter().flatten() {
        let (Some(id), Some(dir)) = (agent["id"].as_str(), agent["agentDir"].as_str()) else {
            continue;
        };
        let dir = paths::expand(dir.trim(), &checks.paths.home).display().to_string();
        let ids = owners.entry(dir).or_default();
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    let conflicts: Vec<String> = owners
        .iter()
        .filter(|(_, ids)| ids.len() > 1)
        .map(|(dir, ids)| {
            let ids: Vec<String> = ids.iter().map(|id| format!("{id:?}")).collect();
            format!("- {dir}: {}", ids.join(", "))
        })
        .collect();
    if !conflicts.is_empty() {
        checks.issue("agents.list", format!("Duplicate agentDir detected (multi-agent config).\nEach agent must have a unique agentDir; sharing it causes auth/session state collisions and token invalidation.\n\nConflicts:\n{}\n\nFix: remove the shared agents.list[].agentDir override (or give each agent its own directory).\nIf you want to share credentials, copy auth-profiles.json instead of sharing the entire agentDir.", conflicts.join("\n")));
    }
}

fn avatars(checks: &mut Checks<'_>) {
    for (index, agent) in
        checks.document["agents"]["list"].as_array().into_iter().flatten().enumerate()
    {
        let avatar = agent["identity"]["avatar"].as_str().unwrap_or_default().trim();
        let lower = avatar.to_ascii_lowercase();
        let is_url =
            ["http://", "https://", "data:"].iter().any(|scheme| lower.starts_with(scheme));
        if avatar.is_empty() || is_url {
            continue;
        }
        let path = format!("agents.list.{index}.identity.avatar");
        if avatar.starts_with('~')
            || lower.split_once(':').is_some_and(|(scheme, _)| {
                scheme.chars().all(|letter| letter.is_ascii_alphabetic())
            })
        {
            checks.issue(
                path,
                "identity.avatar must be a workspace-relative path, http(s) URL, or data URI.",
            );
        } else if avatar.starts_with('/') || avatar.split('/').any(|part| part == "..") {
            checks.issue(path, "identity.avatar must stay within the agent workspace.");
        }
    }
}

fn sessions_and_cron(checks: &mut Checks<'_>) {
    let document = checks.document;
    let maintenance = &document["session"]["maintenance"];
    for (section, key, value, is_size) in [
        ("session.maintenance", "pruneAfter", &maintenance["pruneAfter"], false),
        (
            "session.maintenance",
            "resetArchiveRetention",
            &maintenance["resetArchiveRetention"],
            false,
        ),
        ("session.maintenance", "rotateBytes", &maintenance["rotateBytes"], true),
        ("session.maintenance", "maxDiskBytes", &maintenance["maxDiskBytes"], true),
        ("session.maintenance", "highWaterBytes", &maintenance["highWaterBytes"], true),
        ("cron", "sessionRetention", &document["cron"]["sessionRetention"], false),
        ("cron", "runLog.maxBytes", &document["cron"]["runLog"]["maxBytes"], true),
    ] {
        let Some(text) = value.as_str() else { continue };
        if checks.complained(section) {
            continue;
        }
        if is_size && duration::parse_bytes(text).is_none() {
            checks.issue(format!("{section}.{key}"), "invalid size (use b, kb, mb, gb, tb)");
        } else if !is_size && duration::parse_ms(text, "d").is_none() {
            checks.issue(format!("{section}.{key}"), "invalid duration (use ms, s, m, h, d)");
        }
    }
}

fn tools(checks: &mut Checks<'_>) {
    if checks.complained("tools") {
        return;
    }
    let tools = &checks.document["tools"];
    policy(checks, "tools", tools, "tools");
    loops(checks, "tools.loopDetection", &tools["loopDetection"]);
}

fn policy(checks: &mut Checks<'_>, path: &str, tools: &Value, scope: &str) {
    let has = |key: &str| tools[key].as_array().is_some_and(|names| !names.is_empty());
    if has("allow") && has("alsoAllow") {
        checks.issue(path, format!("{scope} cannot set both allow and alsoAllow in the same scope (merge alsoAllow into allow, or remove allow and use profile + alsoAllow)"));
    }
}

fn loops(checks: &mut Checks<'_>, path: &str, loops: &Value) {
    let limit = |key: &str| loops[key].as_f64();
    let not_below =
        |low: &str, high: &str| limit(low).zip(limit(high)).is_some_and(|(low, high)| low >= high);
    if not_below("warningThreshold", "criticalThreshold") {
        checks.issue(
            format!("{path}.criticalThreshold"),
            "tools.loopDetection.warningThreshold must be lower than criticalThreshold.",
        );
    }
    if not_below("criticalThreshold", "globalCircuitBreakerThreshold") {
        checks.issue(format!("{path}.globalCircuitBreakerThreshold"), "tools.loopDetection.criticalThreshold must be lower than globalCircuitBreakerThreshold.");
    }
}

fn talk(checks: &mut Checks<'_>) {
    let Some(talk) = checks.section("talk") else { return };
    let provider = talk.get("provider").and_then(Value::as_str).map_or("", str::trim);
    let Some(providers) = talk.get("providers").and_then(Value::as_object) else { return };
    if !provider.is_empty() && !providers.is_empty() && !providers.contains_key(provider) {
        checks.issue(
            "talk.provider",
            format!("talk.provider must match a key in talk.providers (missing \"{provider}\")"),
        );
    }
    if provider.is_empty() && providers.len() > 1 {
        checks.issue(
            "talk.provider",
            "talk.provider is required when talk.providers defines multiple providers",
        );
    }
}

fn broadcast(checks: &mut Checks<'_>) {
    let document = checks.document;
    let agents = document["agents"]["list"].as_array().map_or(&[][..], Vec::as_slice);
    let known: Vec<&str> = agents.iter().filter_map(|agent| agent["id"].as_str()).collect();
    if known.is_empty() || !checks.issues.is_empty() {
        return;
    }
    for (peer, ids) in document["broadcast"].as_object().into_iter().flatten() {
        for (index, id) in ids.as_array().into_iter().flatten().enumerate() {
            let id = id.as_str().unwrap_or_default();
            if !known.contains(&id) {
                checks.issue(
                    format!("broadcast.{peer}.{index}"),
                    format!("Unknown agent id \"{id}\" (not in agents.list)."),
                );
            }
        }
    }
}

fn secrets(checks: &mut Checks<'_>) {
    let document = checks.document;
    for (alias, provider) in document["secrets"]["providers"].as_object().into_iter().flatten() {
        let path = format!("secrets.providers.{alias}");
        if checks.complained(&path) {
            continue;
        }
        if let Some(command) = provider["command"].as_str() {
            if command.contains(['\n', '\r', '\0', '`', '$', ';', '|', '&', '<', '>', '"', '\'']) {
                checks.issue(format!("{path}.command"), "secrets.providers.*.command is unsafe.");
            }
            if !command.starts_with('/') {
                checks.issue(
                    format!("{path}.command"),
                    "secrets.providers.*.command must be an absolute path.",
                );
            }
        }
        for (index, dir) in provider["trustedDirs"].as_array().into_iter().flatten().enumerate() {
            if !dir.as_str().is_some_and(|dir| dir.starts_with('/')) {
                checks.issue(
                    format!("{path}.trustedDirs.{index}"),
                    "trustedDirs entries must be absolute paths.",
                );
            }
        }
    }
}

fn browser(checks: &mut Checks<'_>) {
    let document = checks.document;
    for (name, profile) in document["browser"]["profiles"].as_object().into_iter().flatten() {
        let path = format!("browser.profiles.{name}");
        let reachable = profile["driver"] == "existing-session"
            || !profile["cdpPort"].is_null()
            || profile["cdpUrl"].as_str().is_some_and(|url| !url.is_empty());
        if !reachable && !checks.complained(&path) {
            checks.issue(path, "Profile must set cdpPort or cdpUrl");
        }
    }
}

/// Things worth saying about a valid document.
pub(super) fn warnings(document: &Value) -> Vec<Issue> {
    let mut warnings = Vec::new();
    if document["session"]["mainKey"].as_str().is_some_and(|key| key.trim() != "main") {
        warnings.push(Issue::new(
            "session.mainKey",
            "session.mainKey is ignored; main session is always \"main\".",
        ));
    }
    if let Some(version) = document["meta"]["lastTouchedVersion"].as_str()
        && is_newer(version, crate::base::VERSION)
    {
        warnings.push(Issue::new(
            "meta.lastTouchedVersion",
            format!(
                "Config was last written by a newer OpenClaw ({version}); current version is {}.",
                crate::base::VERSION
            ),
        ));
    }
    let ids: Vec<&str> = document["agents"]["list"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|agent| agent["id"].as_str())
        .collect();
    for (index, id) in ids.iter().enumerate() {
        if ids[..index].contains(id) {
            warnings.push(Issue::new(
                format!("agents.list.{index}.id"),
                format!("agent id \"{id}\" is listed twice; the first entry is used"),
            ));
        }
    }
    warnings
}

/// Whether release `version` is later than `current`, by year, month and number.
pub fn is_newer(version: &str, current: &str) -> bool {
    let parts = |text: &str| -> Option<Vec<u32>> {
        let release = text.trim().split(['-', '+']).next()?;
        release.split('.').map(|part| part.parse().ok()).collect()
    };
    matches!((parts(version), parts(current)), (Some(version), Some(current)) if version > current)
}
