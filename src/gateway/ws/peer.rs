//! Where a connection comes from, as far as its upgrade request tells.

use std::net::{IpAddr, SocketAddr};

use hyper::HeaderMap;
use hyper::header::{HOST, HeaderName, ORIGIN, USER_AGENT};

use crate::gateway::auth::proxy;

/// Headers by which a proxy shows itself. A peer that sends one is not local,
/// whatever its address.
const FORWARDING: [&str; 5] =
    ["forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-real-ip"];

/// Longest header value kept for the log, in characters.
const MAX_LOGGED: usize = 300;

/// The far end of a connection.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not exclude each other")]
pub struct Peer {
    /// Of the TCP connection.
    pub remote: SocketAddr,
    /// The client's own address: what a trusted proxy says, else the remote's.
    pub client_ip: IpAddr,
    /// Loopback, and no proxy in between.
    pub local: bool,
    /// The gateway itself, which proves that it answers.
    pub own: bool,
    /// Whether an unknown proxy stands between: where the client is, nobody knows.
    pub hidden: bool,
    /// Whether the TCP peer is a trusted proxy.
    pub via_trusted_proxy: bool,
    pub origin: Option<String>,
    pub host: Option<String>,
    pub user_agent: Option<String>,
    pub forwarded_for: Option<String>,
    /// All headers, for authentication by a proxy.
    pub headers: HeaderMap,
}

impl Peer {
    pub fn new(
        remote: SocketAddr,
        headers: &HeaderMap,
        trusted_proxies: &[String],
        allow_real_ip: bool,
    ) -> Self {
        let ip = remote.ip().to_canonical();
        let header = |name: HeaderName| clean(headers.get(name)?.to_str().ok()?);
        let forwarded = FORWARDING.iter().any(|name| headers.contains_key(*name));
        let via_trusted_proxy = proxy::is_listed(ip, trusted_proxies);
        let forwarded_for =
            headers.get("x-forwarded-for").and_then(|value| clean(value.to_str().ok()?));
        let told = via_trusted_proxy
            .then(|| client_behind_proxy(headers, trusted_proxies, allow_real_ip))
            .flatten();
        Self {
            remote,
            client_ip: told.unwrap_or(ip),
            local: ip.is_loopback() && !forwarded,
            own: false,
            hidden: forwarded && !via_trusted_proxy,
            via_trusted_proxy,
            origin: header(ORIGIN),
            host: header(HOST),
            user_agent: header(USER_AGENT),
            forwarded_for,
            headers: headers.clone(),
        }
    }

    /// The client's address as others see it: none for a local client or one
    /// behind an unknown proxy.
    pub fn shown_ip(&self) -> Option<String> {
        (!self.local && !self.hidden).then(|| self.client_ip.to_string())
    }
}

/// The nearest address in `X-Forwarded-For` that is no proxy of ours.
fn client_behind_proxy(
    headers: &HeaderMap,
    trusted: &[String],
    allow_real_ip: bool,
) -> Option<IpAddr> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let parse = |part: &str| part.trim().parse::<IpAddr>().ok();
    let hops = text("x-forwarded-for").unwrap_or_default();
    let nearest = hops.rsplit(',').filter_map(parse).find(|ip| !proxy::is_listed(*ip, trusted));
    nearest.or_else(|| if allow_real_ip { text("x-real-ip").and_then(parse) } else { None })
}

/// Without control characters, cut to what a log line bears.
fn clean(text: &str) -> Option<String> {
    let text: String = text.chars().filter(|c| !c.is_control()).take(MAX_LOGGED).collect();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(remote: &str, headers: &[(&'static str, &'static str)], trusted: &[&str]) -> Peer {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        let trusted: Vec<String> = trusted.iter().map(|&network| network.to_owned()).collect();
        Peer::new(remote.parse().unwrap(), &headers, &trusted, false)
    }

    #[test]
    fn a_forwarding_header_makes_loopback_remote() {
        assert!(peer("127.0.0.1:9", &[], &[]).local);
        assert!(peer("[::1]:9", &[("host", "evil.example")], &[]).local);
        assert!(!peer("192.0.2.1:9", &[], &[]).local);
        for name in FORWARDING {
            assert!(!peer("127.0.0.1:9", &[(name, "127.0.0.1")], &[]).local, "{name}");
        }
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let headers = [("x-forwarded-for", "203.0.113.5, 10.0.0.2")];
        let direct = peer("10.0.0.1:9", &headers, &[]);
        assert_eq!(direct.client_ip.to_string(), "10.0.0.1");
        let proxied = peer("10.0.0.1:9", &headers, &["10.0.0.0/8"]);
        assert_eq!(proxied.client_ip.to_string(), "203.0.113.5");
    }
}
