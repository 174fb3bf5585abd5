//! `qr`: an invitation for a phone, drawn and as a setup code.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use serde_json::{Value, json};

use crate::base::clock;
use crate::cli::args::upkeep::QrArgs;
use crate::cli::context::Context;
use crate::cli::ui::page::Page;
use crate::cli::ui::{CommandResult, Failure, Outcome};
use crate::config::gate::{self, Bind};
use crate::gateway::pairing::bootstrap;
use crate::gateway::tailscale;

const TAILSCALE_LIMIT: Duration = Duration::from_secs(5);

pub fn run(context: &Context, args: &QrArgs) -> CommandResult {
    let error = |text: String| Failure::new(format!("Error: {text}"));
    if args.token.is_some() && args.password.is_some() {
        return Err(error("Use either --token or --password, not both.".to_owned()));
    }
    let auth = auth(context, args).map_err(error)?;
    let (url, source) = address(context, args)?;
    let file = context.paths.state.join("devices/bootstrap.json");
    let token = bootstrap::issue(&file, clock::now_ms())
        .map_err(|err| error(format!("{}: {err}", file.display())))?;
    let payload = json!({ "url": url, "bootstrapToken": token.expose() });
    let code = URL_SAFE_NO_PAD.encode(payload.to_string());
    if args.setup_code_only {
        return Ok(Outcome::text(code));
    }
    if args.json {
        return Ok(Outcome::json(&json!({
            "setupCode": code, "gatewayUrl": url, "auth": auth, "urlSource": source,
        })));
    }
    let mut page = Page::default();
    page.line(context.ui.out.heading("Pairing QR"));
    page.line("Scan this with the OpenClaw app of your phone (Onboarding -> Scan QR).");
    page.gap();
    if !args.no_ascii {
        let drawn = QrCode::new(&code).map_err(|err| error(err.to_string()))?;
        // Light on dark, as most terminals are.
        let drawn = drawn
            .render::<Dense1x2>()
            .dark_color(Dense1x2::Light)
            .light_color(Dense1x2::Dark)
            .build();
        page.line(drawn);
        page.gap();
    }
    page.line(format!("Setup code: {code}"));
    page.line(format!("Gateway: {url}"));
    page.line(format!("Auth: {auth}"));
    page.line(format!("Source: {source}"));
    page.gap();
    page.line("The code is good for ten minutes and one device. Approve it with:");
    page.line(format!("  {} devices list", context.program()));
    page.line(format!("  {} devices approve <requestId>", context.program()));
    Ok(Outcome::text(page))
}

/// How the phone will sign in later; a gateway that asks for nothing is not
/// handed out.
fn auth(context: &Context, args: &QrArgs) -> Result<&'static str, String> {
    if args.token.is_some() {
        return Ok("token");
    }
    if args.password.is_some() {
        return Ok("password");
    }
    let gateway = &context.config().config.gateway;
    let set = |value: Option<&Value>, variable: &str| {
        value.is_some_and(|value| !value.is_null()) || context.env.get(variable).is_some()
    };
    let token = set(gateway.auth.token.as_ref(), "OPENCLAW_GATEWAY_TOKEN")
        || args.remote && set(gateway.remote.get("token"), "OPENCLAW_GATEWAY_TOKEN");
    let password = set(gateway.auth.password.as_ref(), "OPENCLAW_GATEWAY_PASSWORD")
        || args.remote && set(gateway.remote.get("password"), "OPENCLAW_GATEWAY_PASSWORD");
    match gateway.auth.mode.as_deref() {
        Some("password") if !password => {
            Err("Gateway auth is set to password, but no password is configured.".to_owned())
        }
        Some("token") if !token => {
            Err("Gateway auth is set to token, but no token is configured.".to_owned())
        }
        Some("password") => Ok("password"),
        Some("token") => Ok("token"),
        _ if token => Ok("token"),
        _ if password => Ok("password"),
        _ => Err("Gateway auth is not configured (no token or password).".to_owned()),
    }
}

/// Where the phone reaches the gateway, and why there.
fn address(context: &Context, args: &QrArgs) -> Result<(String, &'static str), Failure> {
    let error = |text: &str| Failure::new(format!("Error: {text}"));
    let snapshot = context.config();
    let gateway = &snapshot.config.gateway;
    let scheme = if gateway.tls.get("enabled") == Some(&json!(true)) { "wss" } else { "ws" };
    let plugin = snapshot.resolved.pointer("/plugins/entries/device-pair/config/publicUrl");
    let public = args.url.as_deref().or(args.public_url.as_deref());
    let public = public.or_else(|| plugin.filter(|_| !args.remote).and_then(Value::as_str));
    if let Some(public) = public.map(str::trim).filter(|url| !url.is_empty()) {
        let url =
            normal(public, scheme).ok_or_else(|| error("Configured publicUrl is invalid."))?;
        return Ok((url, "plugins.entries.device-pair.config.publicUrl"));
    }
    let remote = gateway.remote.get("url").and_then(Value::as_str);
    let remote = remote.and_then(|url| normal(url, scheme));
    let exposed = gateway.tailscale.get("mode").and_then(Value::as_str);
    let exposed = exposed.filter(|mode| matches!(*mode, "serve" | "funnel"));
    if args.remote && remote.is_none() && exposed.is_none() {
        return Err(error(
            "qr --remote requires gateway.remote.url (or gateway.tailscale.mode=serve/funnel).",
        ));
    }
    match (remote, exposed) {
        (Some(url), None) => return Ok((url, "gateway.remote.url")),
        (Some(url), _) if args.remote => return Ok((url, "gateway.remote.url")),
        (_, Some(mode)) => {
            let host = context
                .block_on(async { Ok(tailscale::host(&snapshot.env, TAILSCALE_LIMIT).await) })?;
            let host = host.map_err(|err| {
                error(&format!(
                    "Tailscale Serve is enabled, but MagicDNS could not be resolved: {err}"
                ))
            })?;
            let source = if mode == "serve" {
                "gateway.tailscale.mode=serve"
            } else {
                "gateway.tailscale.mode=funnel"
            };
            return Ok((format!("wss://{host}"), source));
        }
        (None, None) => {}
    }
    let port = gate::port_of(snapshot);
    let bind = gateway.bind.as_deref().and_then(Bind::parse).unwrap_or(Bind::Loopback);
    let (host, source) = match bind {
        Bind::Lan => (gate::lan_address().map(|host| host.to_string()), "gateway.bind=lan"),
        Bind::Tailnet => {
            (gate::tailnet_address().map(|host| host.to_string()), "gateway.bind=tailnet")
        }
        Bind::Custom => (gateway.custom_bind_host.clone(), "gateway.bind=custom"),
        Bind::Loopback | Bind::Auto => {
            return Err(error(
                "Gateway is only bound to loopback. Set gateway.bind=lan, enable tailscale serve, or pass --url.",
            ));
        }
    };
    let host = host.filter(|host| !host.trim().is_empty());
    let host =
        host.ok_or_else(|| error(&format!("{source} is set, but this host has no such address.")))?;
    Ok((format!("{scheme}://{host}:{port}"), source))
}

/// `scheme://host[:port]` of an address as people type it.
fn normal(typed: &str, otherwise: &str) -> Option<String> {
    let typed = typed.trim();
    let (scheme, rest) = match typed.split_once("://") {
        Some(("http" | "ws", rest)) => ("ws", rest),
        Some(("https" | "wss", rest)) => ("wss", rest),
        Some(_) => return None,
        None => (otherwise, typed),
    };
    let host = rest.split(['/', '?', '#']).next()?;
    let host = host.rsplit('@').next()?;
    (!host.is_empty()).then(|| format!("{scheme}://{host}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_reduced_to_what_a_socket_needs() {
        assert_eq!(normal("https://gw.example/ui?x", "ws").as_deref(), Some("wss://gw.example"));
        assert_eq!(normal("gw.example:1", "wss").as_deref(), Some("wss://gw.example:1"));
        assert_eq!(normal("http://u:p@[::1]:9", "ws").as_deref(), Some("ws://[::1]:9"));
        assert_eq!(normal("ftp://x", "ws"), None);
        assert_eq!(normal("ws:///x", "ws"), None);
    }
}
