//! `dashboard`: the address of the Control UI, opened in a browser where there
//! is one.

use serde_json::Value;

use crate::cli::args::look::DashboardArgs;
use crate::cli::context::Context;
use crate::cli::ui::{CommandResult, Outcome};
use crate::client::target;
use crate::lifecycle::child;

pub fn run(context: &Context, args: &DashboardArgs) -> CommandResult {
    let base = address(context);
    let token = token(context);
    let link = match &token {
        Some(token) => format!("{base}#token={}", encode(token)),
        None => base,
    };
    let mut text = format!("Dashboard URL: {link}\n");
    if args.no_open {
        text.push_str("Browser launch disabled (--no-open). Use the URL above.");
    } else if open(context, &link) {
        text.push_str("Opened in your browser. Keep that tab to control OpenClaw.");
    } else {
        text.push_str("No browser could be opened here. Use the URL above.");
    }
    Ok(Outcome::text(text))
}

/// Where the Control UI of the local gateway is.
pub fn address(context: &Context) -> String {
    let snapshot = context.config();
    let config = &snapshot.config;
    let url = target::local_url(&snapshot.env, config);
    let http = url.replacen("ws", "http", 1);
    let base = config.gateway.control_ui.base_path.trim_matches('/');
    if base.is_empty() { format!("{http}/") } else { format!("{http}/{base}/") }
}

/// The token for the link: only one that stands in clear in environment or
/// configuration; a reference stays where it is.
fn token(context: &Context) -> Option<String> {
    let snapshot = context.config();
    let auth = &snapshot.config.gateway.auth;
    if auth.mode.as_deref().is_some_and(|mode| mode != "token") {
        return None;
    }
    if auth.token.as_ref().is_some_and(Value::is_object) {
        return None;
    }
    snapshot
        .env
        .get("OPENCLAW_GATEWAY_TOKEN")
        .or_else(|| auth.token.as_ref()?.as_str().map(str::trim))
        .filter(|token| !token.is_empty())
        .map(str::to_owned)
}

/// Percent-encodes everything that could end or alter a fragment.
fn encode(text: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~!*'()".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.extend([byte >> 4, byte & 15].map(|digit| char::from(HEX[usize::from(digit)])));
        }
    }
    out
}

/// Starts the desktop's opener, if this session has a desktop.
fn open(context: &Context, link: &str) -> bool {
    let env = &context.env;
    let remote = env.get("SSH_CONNECTION").is_some() || env.get("SSH_TTY").is_some();
    let opener = if cfg!(target_os = "macos") {
        "open"
    } else if env.get("DISPLAY").is_some() || env.get("WAYLAND_DISPLAY").is_some() {
        "xdg-open"
    } else {
        return false;
    };
    if remote || !context.ui.terminal {
        return false;
    }
    child::blocking(opener).arg(link).status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_its_way_through_a_fragment() {
        assert_eq!(encode("abc-123_X.~"), "abc-123_X.~");
        assert_eq!(encode("a#b&c d/é"), "a%23b%26c%20d%2F%C3%A9");
    }
}
