//! `dns setup`: what discovery over a tailnet needs, to be entered by hand.

use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;
use serde_json::{Value, json};

use crate::cli::args::network::DnsSetupArgs;
use crate::cli::context::Context;
use crate::cli::ui::page::Page;
use crate::cli::ui::table::{Fit, PIPE_WIDTH, Table};
use crate::cli::ui::{self, CommandResult, Failure, Outcome};

pub(super) fn setup(context: &Context, args: &DnsSetupArgs) -> CommandResult {
    let fail = |text: &str| Failure::new(format!("[openclaw] Failed to start CLI: Error: {text}"));
    let configured = &context.config().resolved["discovery"]["wideArea"]["domain"];
    let typed = args.domain.as_deref().or(configured.as_str()).map(str::trim);
    let bare = typed.map(|domain| domain.trim_end_matches('.')).filter(|domain| !domain.is_empty());
    let bare = bare.ok_or_else(|| {
        fail("No wide-area domain configured. Set discovery.wideArea.domain or pass --domain.")
    })?;
    if !bare.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-')) {
        return Err(fail(&format!("\"{bare}\" is not a domain")));
    }
    let zone = context.paths.state.join("dns").join(format!("{bare}.db"));
    let (v4, v6) = tailnet();
    let address = match (&v4, &v6) {
        (v4, Some(v6)) => format!("{} (v6 {v6})", v4.as_deref().unwrap_or("—")),
        (Some(v4), None) => v4.clone(),
        (None, None) => "—".to_owned(),
    };
    let mut table = Table::new(&[("Key", Fit::Content), ("Value", Fit::Rest)]);
    table.row(["Domain", &format!("{bare}.")]);
    table.row(["Zone file", &context.short(&zone)]);
    table.row(["Tailnet IP", &address]);
    let wanted: Value = json!({
        "gateway": { "bind": "auto" },
        "discovery": { "wideArea": { "enabled": true, "domain": format!("{bare}.") } },
    });
    let heading = |text: &str| context.ui.out.heading(text);
    let mut page = Page::default();
    page.line(heading("DNS setup"));
    page.line(table.render(PIPE_WIDTH));
    page.gap();
    page.line(heading(&format!("Recommended config ({}):", context.short(&context.paths.config))));
    page.line(ui::json(&wanted));
    page.gap();
    page.line(heading("Tailscale admin (DNS → Nameservers):"));
    let server = v4.as_deref().unwrap_or("<this machine's tailnet IPv4>");
    page.line(format!("- Add nameserver: {server}"));
    page.line(format!("- Restrict to domain (Split DNS): {bare}"));
    if args.apply {
        let text = if cfg!(target_os = "macos") {
            "dns setup --apply is not part of this gateway; install CoreDNS and enter the values above"
        } else {
            "dns setup is currently supported on macOS only"
        };
        context.ui.out(&String::from(page))?;
        return Err(fail(text));
    }
    Ok(Outcome::text(page))
}

/// This host's addresses in a tailnet.
fn tailnet() -> (Option<String>, Option<String>) {
    let addresses: Vec<IpAddr> = getifaddrs()
        .into_iter()
        .flatten()
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::from(address.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::from(address.ip())))
        })
        .filter(is_tailnet)
        .collect();
    let first = |v4: bool| addresses.iter().find(|ip| ip.is_ipv4() == v4).map(ToString::to_string);
    (first(true), first(false))
}

/// The ranges that Tailscale hands out.
fn is_tailnet(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64,
        IpAddr::V6(v6) => v6.segments()[..3] == [0xfd7a, 0x115c, 0xa1e0],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_a_tailnet_are_known_by_their_range() {
        let is = |text: &str| is_tailnet(&text.parse().unwrap());
        assert!(is("100.64.0.7") && is("100.127.1.1") && is("fd7a:115c:a1e0::7"));
        assert!(!is("100.128.0.1") && !is("10.0.0.1") && !is("fd00::1"));
    }
}
