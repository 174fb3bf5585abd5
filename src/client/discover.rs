//! Gateways on the local network, by the beacon that they send over mDNS.

use std::collections::BTreeMap;
use std::time::Duration;

use mdns_sd::{ResolvedService, ServiceDaemon, ServiceEvent};
use serde::Serialize;

/// What a gateway is announced as.
pub const SERVICE: &str = "_openclaw-gw._tcp.local.";

/// A gateway that was heard of. Nothing of it is proven.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Beacon {
    pub instance_name: String,
    pub domain: &'static str,
    pub host: String,
    pub port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lan_host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tailnet_dns: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_tls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_tls_fingerprint_sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cli_path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<String>,
    pub txt: BTreeMap<String, String>,
    pub ws_url: String,
}

/// Listens for `limit` and returns who answered, by name.
pub async fn look(limit: Duration) -> Result<Vec<Beacon>, mdns_sd::Error> {
    let daemon = ServiceDaemon::new()?;
    let found = collect(&daemon, limit).await;
    drop(daemon.shutdown());
    found
}

async fn collect(daemon: &ServiceDaemon, limit: Duration) -> Result<Vec<Beacon>, mdns_sd::Error> {
    let events = daemon.browse(SERVICE)?;
    let mut found = BTreeMap::new();
    let listen = async {
        while let Ok(event) = events.recv_async().await {
            match event {
                ServiceEvent::ServiceResolved(service) => {
                    let beacon = beacon_of(&service);
                    found.insert(beacon.instance_name.clone(), beacon);
                }
                ServiceEvent::ServiceRemoved(_, name) => drop(found.remove(instance(&name))),
                _ => {}
            }
        }
    };
    drop(tokio::time::timeout(limit, listen).await);
    Ok(found.into_values().collect())
}

fn instance(full_name: &str) -> &str {
    full_name.strip_suffix(SERVICE).unwrap_or(full_name).trim_end_matches('.')
}

fn beacon_of(service: &ResolvedService) -> Beacon {
    let txt: BTreeMap<String, String> = service
        .get_properties()
        .iter()
        .map(|property| (property.key().to_owned(), property.val_str().to_owned()))
        .collect();
    let text = |key: &str| txt.get(key).filter(|text| !text.is_empty()).cloned();
    let number = |key: &str| text(key).and_then(|text| text.parse().ok());
    let host = service.get_hostname().trim_end_matches('.').to_owned();
    let tls = text("gatewayTls").map(|word| matches!(word.as_str(), "1" | "true" | "yes"));
    let port = service.get_port();
    let scheme = if tls == Some(true) { "wss" } else { "ws" };
    Beacon {
        instance_name: instance(service.get_fullname()).to_owned(),
        domain: "local.",
        port,
        display_name: text("displayName"),
        lan_host: text("lanHost"),
        tailnet_dns: text("tailnetDns"),
        gateway_port: number("gatewayPort"),
        ssh_port: number("sshPort"),
        gateway_tls: tls,
        gateway_tls_fingerprint_sha256: text("gatewayTlsSha256"),
        cli_path: text("cliPath"),
        role: text("role"),
        transport: text("transport"),
        ws_url: format!("{scheme}://{host}:{port}"),
        host,
        txt,
    }
}

#[cfg(test)]
mod tests {
    use mdns_sd::ServiceInfo;

    use super::*;

    #[test]
    fn a_beacon_is_what_its_records_say() {
        let txt = [
            ("role", "gateway"),
            ("gatewayPort", "18789"),
            ("gatewayTls", "1"),
            ("displayName", "den"),
        ];
        let info =
            ServiceInfo::new(SERVICE, "den (OpenClaw)", "den.local.", "192.0.2.7", 18789, &txt[..]);
        let beacon = beacon_of(&info.unwrap().as_resolved_service());
        assert_eq!(beacon.instance_name, "den (OpenClaw)");
        assert_eq!(beacon.ws_url, "wss://den.local:18789");
        assert_eq!((beacon.gateway_port, beacon.gateway_tls), (Some(18789), Some(true)));
        let shown = serde_json::to_value(&beacon).unwrap();
        assert_eq!(shown["displayName"], "den");
        assert!(shown.get("sshPort").is_none());
    }
}
