//! `gateway discover`: which gateways announce themselves on the local network.

use serde_json::json;

use crate::cli::args::gateway::DiscoverArgs;
use crate::cli::context::Context;
use crate::cli::link;
use crate::cli::ui::page::Page;
use crate::cli::ui::{CommandResult, Failure, Outcome};
use crate::client::discover::{self, Beacon};

const DEFAULT_MS: u64 = 2000;

pub fn run(context: &Context, args: &DiscoverArgs) -> CommandResult {
    let limit = link::timeout(args.timeout.as_deref(), DEFAULT_MS)?;
    let found = context.block_on(async { Ok(discover::look(limit).await) })?;
    let found = found.map_err(|err| Failure::new(format!("gateway discover failed: {err}")))?;
    if args.json {
        return Ok(Outcome::json(&json!({
            "timeoutMs": u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
            "domains": ["local."],
            "count": found.len(),
            "beacons": found,
        })));
    }
    let mut page = Page::default();
    page.line(context.ui.out.heading("Gateway Discovery"));
    page.line(format!("Found {} gateway(s) · domains: local.", found.len()));
    for beacon in &found {
        describe(&mut page, beacon);
    }
    Ok(Outcome::text(page))
}

fn describe(page: &mut Page, beacon: &Beacon) {
    let title = beacon.display_name.as_deref().unwrap_or(&beacon.instance_name);
    page.line(format!("- {title} {}", beacon.domain));
    let tls = beacon.gateway_tls.unwrap_or_default().then(|| {
        let fingerprint = beacon.gateway_tls_fingerprint_sha256.as_deref();
        fingerprint.map_or_else(|| "enabled".to_owned(), |print| format!("sha256 {print}"))
    });
    let ssh = beacon.ssh_port.map(|port| {
        format!("ssh -N -L 18789:127.0.0.1:{} <user>@{} -p {port}", beacon.port, beacon.host)
    });
    let rows = [
        ("tailnet", beacon.tailnet_dns.clone()),
        ("lan", beacon.lan_host.clone()),
        ("host", Some(beacon.host.clone())),
        ("ws", Some(beacon.ws_url.clone())),
        ("role", beacon.role.clone()),
        ("transport", beacon.transport.clone()),
        ("tls", tls),
        ("ssh", ssh),
    ];
    for (label, value) in rows {
        if let Some(value) = value {
            page.line(format!("  {label}: {value}"));
        }
    }
}
