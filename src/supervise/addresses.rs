//! The addresses on which the manager listens for the gateway.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use crate::config::{Gateway, gate};

/// The addresses that `gateway.bind` asks for, or why there are none. IPv6 is
/// left out on hosts without it, where its socket could not start.
pub fn wanted(gateway: &Gateway, port: u16) -> Result<Vec<SocketAddr>, String> {
    let at = |host: IpAddr| SocketAddr::new(host, port);
    let loopback = || {
        let mut found = vec![at(Ipv4Addr::LOCALHOST.into())];
        if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
            found.push(at(Ipv6Addr::LOCALHOST.into()));
        }
        found
    };
    match gateway.bind.as_deref().unwrap_or("loopback") {
        "loopback" | "auto" => Ok(loopback()),
        "lan" => Ok(vec![at(Ipv4Addr::UNSPECIFIED.into())]),
        "custom" => gateway
            .custom_bind_host
            .as_deref()
            .and_then(|host| host.parse().ok())
            .map(|host| vec![at(host)])
            .ok_or_else(|| "gateway.bind=custom requires gateway.customBindHost".into()),
        "tailnet" => gate::tailnet_address()
            .map(|host| vec![at(host.into())])
            .ok_or_else(|| "gateway.bind=tailnet found no tailnet address (100.64.0.0/10) on this host; is the tailnet up?".into()),
        other => Err(format!(
            "gateway.bind={other} is not known; use loopback, lan, tailnet, auto or custom"
        )),
    }
}
