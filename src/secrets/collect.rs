//! Where references may stand, and which of them the gateway would use.

use serde_json::Value;

use crate::config::edit;
use crate::profile::env::Env;
use crate::secrets::targets::{self, CHANNEL_TARGETS};
use crate::secrets::{SecretRef, reference};

/// A field with a reference in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    pub path: String,
    pub keys: Vec<String>,
    pub reference: SecretRef,
}

/// What a configuration refers to.
#[derive(Debug, Default)]
pub struct Collected {
    pub active: Vec<Field>,
    /// Path and reason.
    pub inactive: Vec<(String, String)>,
    /// Lines that tell which gateway credentials are in use.
    pub surfaces: Vec<String>,
    /// Lines about a secret in clear beside a reference, which wins.
    pub overrides: Vec<String>,
}

/// Finds every reference and whether it is in use.
pub fn collect(config: &Value, env: &Env) -> Collected {
    let mut found = Collected::default();
    for pattern in targets::own_patterns() {
        each(config, pattern, &mut |field| {
            let reason = inactive_reason(config, env, &field.keys);
            if field.path.starts_with("gateway.") {
                found.surfaces.push(surface(config, &field.path, reason.as_deref()));
            }
            keep(&mut found, field, reason);
        });
    }
    service_account(config, &mut found);
    for (channel, label, fields) in CHANNEL_TARGETS {
        for name in *fields {
            each(config, &format!("channels.{channel}.{name}"), &mut |field| {
                let reason = top_reason(&config["channels"][*channel], channel, label, name);
                keep(&mut found, field, reason);
            });
            each(config, &format!("channels.{channel}.accounts.*.{name}"), &mut |field| {
                let section = &config["channels"][*channel];
                let account = &section["accounts"][&field.keys[3]];
                let off = section["enabled"] == false || account["enabled"] == false;
                let reason = off
                    .then(|| format!("{label} account is disabled."))
                    .or_else(|| field_reason(account, section, channel, label, name));
                keep(&mut found, field, reason);
            });
        }
    }
    found
}

/// Google Chat names its reference beside the field that it fills.
fn service_account(config: &Value, found: &mut Collected) {
    for scope in ["channels.googlechat", "channels.googlechat.accounts.*"] {
        targets::each(
            config,
            &format!("{scope}.serviceAccountRef"),
            &mut |path, mut keys, value| {
                let Some(reference) = reference(value, config) else { return };
                let section = &config["channels"]["googlechat"];
                let off = section["enabled"] == false
                    || (keys.len() > 4 && section["accounts"][&keys[3]]["enabled"] == false);
                if off {
                    found.inactive.push((path, "Google Chat account is disabled.".to_owned()));
                    return;
                }
                if let Some(key) = keys.last_mut() {
                    "serviceAccount".clone_into(key);
                }
                let path = keys.join(".");
                if edit::get(config, &keys).is_some_and(|plain| !plain.is_null()) {
                    found.overrides.push(format!(
                    "{path}: serviceAccountRef is set; runtime will ignore plaintext serviceAccount."
                ));
                }
                found.active.push(Field { path, keys, reference });
            },
        );
    }
}

fn keep(found: &mut Collected, field: Field, reason: Option<String>) {
    match reason {
        Some(reason) => found.inactive.push((field.path, reason)),
        None => found.active.push(field),
    }
}

fn each(config: &Value, pattern: &str, act: &mut dyn FnMut(Field)) {
    targets::each(config, pattern, &mut |path, keys, value| {
        if let Some(reference) = reference(value, config) {
            act(Field { path, keys, reference });
        }
    });
}

fn inactive_reason(config: &Value, env: &Env, keys: &[String]) -> Option<String> {
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let off = |value: &Value, reason: &str| (value["enabled"] == false).then(|| reason.to_owned());
    match keys.as_slice() {
        ["models", "providers", name, ..] => {
            off(&config["models"]["providers"][*name], "provider is disabled.")
        }
        ["skills", "entries", name, ..] => {
            off(&config["skills"]["entries"][*name], "skill entry is disabled.")
        }
        ["plugins", "entries", name, ..] => {
            off(&config["plugins"]["entries"][*name], "plugin entry is disabled.")
        }
        ["tools", "web", "search", ..] => {
            off(&config["tools"]["web"]["search"], "web search is disabled.")
        }
        ["tools", "web", "fetch", ..] => {
            let fetch = &config["tools"]["web"]["fetch"];
            off(fetch, "web fetch is disabled.")
                .or_else(|| off(&fetch["firecrawl"], "web fetch provider is disabled."))
        }
        ["agents", "defaults", rest @ ..] => agent_reason(&config["agents"]["defaults"], rest),
        ["agents", "list", index, rest @ ..] => {
            let index: usize = index.parse().ok()?;
            agent_reason(&config["agents"]["list"][index], rest)
        }
        ["gateway", "auth", which] => auth_reason(config, env, which),
        ["gateway", "remote", _] => {
            let gateway = &config["gateway"];
            let tailscale = gateway["tailscale"]["mode"].as_str().unwrap_or("off");
            let active = gateway["mode"] == "remote"
                || gateway["remote"]["url"].is_string()
                || tailscale != "off";
            (!active).then(|| "remote surface is not active.".to_owned())
        }
        _ => None,
    }
}

fn agent_reason(agent: &Value, rest: &[&str]) -> Option<String> {
    match rest {
        ["sandbox", ..] => {
            let sandbox = &agent["sandbox"];
            let active = sandbox["backend"] == "ssh" && sandbox["mode"] != "off";
            (!active).then(|| "sandbox SSH backend is not active.".to_owned())
        }
        _ => (agent["memorySearch"]["enabled"] == false)
            .then(|| "memory search is disabled.".to_owned()),
    }
}

fn auth_reason(config: &Value, env: &Env, which: &str) -> Option<String> {
    let auth = &config["gateway"]["auth"];
    let has = |key: &str| {
        auth[key].is_object() || auth[key].as_str().is_some_and(|text| !text.trim().is_empty())
    };
    let mode = auth["mode"].as_str();
    let by_mode = |mode: &str| Some(format!("gateway.auth.mode is \"{mode}\"."));
    if which == "token" {
        if let Some(mode @ ("password" | "none" | "trusted-proxy")) = mode {
            return by_mode(mode);
        }
        if env.get("OPENCLAW_GATEWAY_TOKEN").is_some() {
            return Some("gateway token env var is configured.".to_owned());
        }
        let password = has("password") || env.get("OPENCLAW_GATEWAY_PASSWORD").is_some();
        return (mode.is_none() && password)
            .then(|| "password auth can win with the configured password.".to_owned());
    }
    if let Some(mode @ ("token" | "none" | "trusted-proxy")) = mode {
        return by_mode(mode);
    }
    if env.get("OPENCLAW_GATEWAY_PASSWORD").is_some() {
        return Some("gateway password env var is configured.".to_owned());
    }
    let token = has("token") || env.get("OPENCLAW_GATEWAY_TOKEN").is_some();
    (mode.is_none() && token).then(|| "token auth can win with the configured token.".to_owned())
}

fn surface(config: &Value, path: &str, reason: Option<&str>) -> String {
    if let Some(reason) = reason {
        return format!("[SECRETS_GATEWAY_AUTH_SURFACE] {path} is inactive. {reason}");
    }
    let why = match config["gateway"]["auth"]["mode"].as_str() {
        Some(mode) if path.starts_with("gateway.auth.") => {
            format!("gateway.auth.mode is \"{mode}\".")
        }
        _ if path.starts_with("gateway.auth.") => "gateway.auth.mode is unset.".to_owned(),
        _ => "remote surface is active.".to_owned(),
    };
    format!("[SECRETS_GATEWAY_AUTH_SURFACE] {path} is active. {why}")
}

/// Why a field at the top of a channel is not used.
fn top_reason(section: &Value, channel: &str, label: &str, name: &str) -> Option<String> {
    let unused = || Some(format!("no enabled account inherits this top-level {label} {name}."));
    if section["enabled"] == false {
        return unused();
    }
    if let Some(reason) = field_reason(section, section, channel, label, name) {
        return Some(reason);
    }
    let accounts = section["accounts"].as_object().filter(|accounts| !accounts.is_empty())?;
    let key = name.split('.').next().unwrap_or(name);
    let inherited = accounts.values().any(|account| {
        account["enabled"] != false
            && account[key].is_null()
            && !(name == "botToken" && account["tokenFile"].is_string())
    });
    if inherited { None } else { unused() }
}

/// Why a field is not used although its scope is switched on.
fn field_reason(
    scope: &Value,
    base: &Value,
    channel: &str,
    label: &str,
    name: &str,
) -> Option<String> {
    let own = |key: &str| if scope[key].is_null() { base[key].clone() } else { scope[key].clone() };
    let inactive = match (channel, name) {
        ("telegram", "botToken") if scope["tokenFile"].is_string() => {
            return Some(format!(
                "no enabled {label} surface inherits this top-level botToken (tokenFile is configured)."
            ));
        }
        ("telegram", "webhookSecret") => {
            let hooked = own("webhookUrl").as_str().is_some_and(|url| !url.trim().is_empty());
            (!hooked).then_some("webhook mode is not active")
        }
        ("slack", "appToken") => (own("mode") == "http").then_some("socket mode is not active"),
        ("slack", "signingSecret") => {
            (own("mode") != "http").then_some("webhook mode is not active")
        }
        ("matrix", "password") => {
            (!own("accessToken").is_null()).then_some("an access token is configured")
        }
        ("feishu", _) if name != "appSecret" => {
            (own("connectionMode") != "webhook").then_some("webhook mode is not active")
        }
        _ => name.split_once('.').and_then(|(section, _)| {
            (scope[section]["enabled"] == false).then_some("its section is disabled")
        }),
    };
    inactive.map(|why| format!("no enabled {label} surface uses this {name} ({why})."))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reference_to(id: &str) -> Value {
        json!({"source": "env", "provider": "default", "id": id})
    }

    #[test]
    fn only_what_would_be_used_is_active() {
        let config = json!({
            "gateway": {"auth": {"mode": "token", "token": "${GW}", "password": reference_to("PW")}},
            "models": {"providers": {"a.b": {"apiKey": reference_to("A")}, "off": {"enabled": false, "apiKey": reference_to("B")}}},
            "channels": {
                "irc": {"enabled": false, "password": reference_to("IRC")},
                "discord": {"token": reference_to("D"), "accounts": {"x": {"token": reference_to("X")}, "y": {"enabled": false, "token": reference_to("Y")}}},
                "telegram": {"botToken": reference_to("T"), "webhookSecret": reference_to("W")},
            },
            "hooks": {"token": "${HOOK}"},
        });
        let found = collect(&config, &Env::default());
        let active: Vec<&str> =
            found.active.iter().map(|field| field.reference.id.as_str()).collect();
        assert_eq!(active, ["GW", "A", "T", "X"]);
        assert_eq!(found.active[1].keys, ["models", "providers", "a.b", "apiKey"]);
        let reason = |path: &str| {
            found
                .inactive
                .iter()
                .find(|(found, _)| found == path)
                .map(|(_, reason)| reason.as_str())
        };
        assert_eq!(
            reason("channels.irc.password"),
            Some("no enabled account inherits this top-level IRC password.")
        );
        assert_eq!(
            reason("channels.discord.token"),
            Some("no enabled account inherits this top-level Discord token.")
        );
        assert_eq!(
            reason("channels.discord.accounts.y.token"),
            Some("Discord account is disabled.")
        );
        assert_eq!(reason("models.providers.off.apiKey"), Some("provider is disabled."));
        assert_eq!(reason("gateway.auth.password"), Some("gateway.auth.mode is \"token\"."));
        assert!(
            found.surfaces[0]
                .ends_with("gateway.auth.token is active. gateway.auth.mode is \"token\".")
        );
    }
}
