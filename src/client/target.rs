//! Which gateway a command talks to, and why: the lines that explain a failed
//! call come from here.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use tokio_tungstenite::tungstenite::http::Uri;

use crate::base::embedded;
use crate::client::error::ClientError;
use crate::client::tls;
use crate::config::{Config, gate};
use crate::profile::env::Env;
use crate::profile::paths::{DEFAULT_PORT, Paths};

/// Why a URL was chosen. The texts are part of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Flag,
    Env,
    Remote,
    Loopback,
    /// Remote mode without a remote URL.
    LoopbackForLackOfRemote,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flag => "cli --url",
            Self::Env => "env OPENCLAW_GATEWAY_URL",
            Self::Remote => "config gateway.remote.url",
            Self::Loopback => "local loopback",
            Self::LoopbackForLackOfRemote => "missing gateway.remote.url (fallback local)",
        })
    }
}

/// A gateway to talk to.
#[derive(Debug, Clone)]
pub struct Target {
    pub url: String,
    pub source: Source,
    pub config_path: PathBuf,
    /// `gateway.bind`, when the gateway is the one of this configuration.
    pub bind: Option<String>,
    /// SHA-256 of the certificate to expect, if one is pinned.
    pub fingerprint: Option<String>,
    /// Whether plaintext to private addresses was allowed by the operator.
    pub insecure_private: bool,
}

impl Target {
    /// Chooses the gateway: `--url`, then the environment, then the remote one
    /// of the configuration, then this machine.
    pub fn resolve(flag: Option<&str>, env: &Env, config: &Config, paths: &Paths) -> Self {
        let gateway = &config.gateway;
        let remote = |key: &str| {
            gateway
                .remote
                .get(key)
                .and_then(serde_json::Value::as_str)
                .map(str::trim)
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        let is_remote = gateway.mode.as_deref() == Some("remote");
        let flag = flag.map(str::trim).filter(|url| !url.is_empty());
        let (url, source) = if let Some(url) = flag {
            (url.to_owned(), Source::Flag)
        } else if let Some(url) = env.get("OPENCLAW_GATEWAY_URL") {
            (url.to_owned(), Source::Env)
        } else if let Some(url) = remote("url").filter(|_| is_remote) {
            (url, Source::Remote)
        } else {
            let source = if is_remote { Source::LoopbackForLackOfRemote } else { Source::Loopback };
            (local_url(env, config), source)
        };
        let local = matches!(source, Source::Loopback | Source::LoopbackForLackOfRemote);
        Self {
            url,
            source,
            config_path: paths.config.clone(),
            bind: local.then(|| gateway.bind.clone().unwrap_or_else(|| "loopback".to_owned())),
            fingerprint: if local {
                local_fingerprint(config, paths)
            } else {
                remote("tlsFingerprint")
            },
            insecure_private: env.is_on("OPENCLAW_ALLOW_INSECURE_PRIVATE_WS"),
        }
    }

    /// Whether configured credentials must not be sent there.
    pub fn is_override(&self) -> bool {
        matches!(self.source, Source::Flag | Source::Env)
    }

    /// The URL for people and reports: it may hold a password or a token.
    pub fn shown_url(&self) -> String {
        embedded::shown_url(&self.url)
    }

    /// The lines appended to a failed call.
    pub fn details(&self) -> String {
        let mut text = format!(
            "Gateway target: {}\nSource: {}\nConfig: {}",
            self.shown_url(),
            self.source,
            self.config_path.display()
        );
        if let Some(bind) = &self.bind {
            text.push_str("\nBind: ");
            text.push_str(bind);
        }
        text
    }

    /// Takes the URL apart and refuses what would expose credentials.
    pub fn endpoint(&self) -> Result<Endpoint, ClientError> {
        let endpoint = Endpoint::parse(&self.url)?;
        let private = self.insecure_private && endpoint.is_private();
        if endpoint.tls || endpoint.is_this_host() || private {
            Ok(endpoint)
        } else {
            Err(ClientError::Plaintext { host: endpoint.host })
        }
    }
}

/// The URL of the gateway that this configuration starts on this machine.
pub fn local_url(env: &Env, config: &Config) -> String {
    let tls = config.gateway.tls.get("enabled").and_then(serde_json::Value::as_bool);
    let scheme = if tls == Some(true) { "wss" } else { "ws" };
    format!("{scheme}://{}:{}", local_host(config), port(env, config))
}

/// Where this machine reaches the gateway of a configuration.
pub fn local_host(config: &Config) -> Ipv4Addr {
    let host = match config.gateway.bind.as_deref() {
        Some("custom") => config.gateway.custom_bind_host.as_deref().and_then(|it| it.parse().ok()),
        Some("tailnet") => gate::tailnet_address(),
        _ => None,
    };
    // Credentials must not go to another host because of a typing mistake.
    let own = |host: &Ipv4Addr| !host.is_unspecified() && gate::is_this_host((*host).into());
    host.filter(own).unwrap_or(Ipv4Addr::LOCALHOST)
}

/// The certificate that the gateway of a configuration shows, if it shows one.
pub fn local_fingerprint(config: &Config, paths: &Paths) -> Option<String> {
    tls::fingerprint_of(&config.gateway.tls_files(paths)?.cert)
}

/// The gateway's port: the environment, then the configuration, then the default.
pub fn port(env: &Env, config: &Config) -> u16 {
    env.get("OPENCLAW_GATEWAY_PORT")
        .and_then(env_port)
        .or_else(|| config.gateway.port.and_then(|port| u16::try_from(port).ok()))
        .filter(|port| *port != 0)
        .unwrap_or(DEFAULT_PORT)
}

/// A port, or the port of `host:port` and `[v6]:port`.
pub fn env_port(text: &str) -> Option<u16> {
    let digits = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => port,
        Some(_) => return None,
        None => text,
    };
    digits.parse().ok()
}

/// A URL taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub tls: bool,
    /// Without brackets.
    pub host: String,
    pub port: u16,
}

impl Endpoint {
    pub fn parse(url: &str) -> Result<Self, ClientError> {
        let shown = || embedded::shown_url(url);
        let uri: Uri = url.parse().map_err(|_| ClientError::Url(shown()))?;
        let tls = match uri.scheme_str() {
            Some("ws" | "http") => false,
            Some("wss" | "https") => true,
            _ => return Err(ClientError::Url(format!("{} (use ws:// or wss://)", shown()))),
        };
        let host = uri.host().ok_or_else(|| ClientError::Url(shown()))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { tls, host, port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }) })
    }

    pub fn is_loopback(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost")
            || self.ip().is_some_and(|ip| ip.to_canonical().is_loopback())
    }

    fn is_this_host(&self) -> bool {
        self.is_loopback() || self.ip().is_some_and(gate::is_this_host)
    }

    fn is_private(&self) -> bool {
        match self.ip().map(|ip| ip.to_canonical()) {
            Some(IpAddr::V4(ip)) => ip.is_private() || ip.is_link_local() || is_carrier_grade(ip),
            Some(IpAddr::V6(ip)) => ip.is_unique_local() || ip.is_unicast_link_local(),
            None => self.host.to_ascii_lowercase().ends_with(".local"),
        }
    }

    fn ip(&self) -> Option<IpAddr> {
        self.host
            .parse::<Ipv4Addr>()
            .map(IpAddr::V4)
            .or_else(|_| self.host.parse::<Ipv6Addr>().map(IpAddr::V6))
            .ok()
    }
}

/// 100.64.0.0/10, where tailnets live.
fn is_carrier_grade(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    a == 100 && (64..128).contains(&b)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn paths() -> Paths {
        Paths { home: "/".into(), state: "/s".into(), config: "/c.json".into(), profile: None }
    }

    fn config(gateway: &serde_json::Value) -> Config {
        serde_json::from_value(json!({ "gateway": gateway })).unwrap()
    }

    #[track_caller]
    fn check(
        flag: Option<&str>,
        env: &[(&str, &str)],
        gateway: &serde_json::Value,
        expected: &str,
    ) {
        let env: Env = env.iter().copied().collect();
        let target = Target::resolve(flag, &env, &config(gateway), &paths());
        assert_eq!(target.details(), expected);
    }

    #[test]
    fn this_machine_is_reached_where_the_gateway_listens_and_nowhere_else() {
        let local = |gateway| local_host(&config(&gateway)).to_string();
        assert_eq!(local(json!({"bind": "custom", "customBindHost": "127.0.0.9"})), "127.0.0.9");
        for gateway in [
            json!({}),
            json!({"bind": "lan"}),
            json!({"bind": "custom", "customBindHost": "0.0.0.0"}),
            json!({"bind": "custom", "customBindHost": "192.0.2.77"}),
            json!({"bind": "loopback", "customBindHost": "127.0.0.9"}),
        ] {
            assert_eq!(local(gateway.clone()), "127.0.0.1", "{gateway}");
        }
        let plain = |url: &str| {
            let env: Env = [("OPENCLAW_GATEWAY_URL", url)].into_iter().collect();
            Target::resolve(None, &env, &config(&json!({})), &paths()).endpoint().is_ok()
        };
        assert!(!plain("ws://192.0.2.77:1"));
        if let Some(own) = gate::lan_address() {
            assert!(plain(&format!("ws://{own}:1")), "tokens do not leave this machine");
        }
    }

    #[test]
    fn the_nearest_source_wins_and_explains_itself() {
        check(
            None,
            &[],
            &json!({}),
            "Gateway target: ws://127.0.0.1:18789\nSource: local loopback\nConfig: /c.json\nBind: loopback",
        );
        check(
            None,
            &[("OPENCLAW_GATEWAY_PORT", "[::1]:7")],
            &json!({"port": 5, "bind": "lan", "tls": {"enabled": true}}),
            "Gateway target: wss://127.0.0.1:7\nSource: local loopback\nConfig: /c.json\nBind: lan",
        );
        let remote = json!({"mode": "remote", "remote": {"url": "wss://r"}});
        check(
            None,
            &[],
            &remote,
            "Gateway target: wss://r\nSource: config gateway.remote.url\nConfig: /c.json",
        );
        check(
            None,
            &[("OPENCLAW_GATEWAY_URL", "ws://e")],
            &remote,
            "Gateway target: ws://e\nSource: env OPENCLAW_GATEWAY_URL\nConfig: /c.json",
        );
        check(
            Some("ws://f"),
            &[("OPENCLAW_GATEWAY_URL", "ws://e")],
            &remote,
            "Gateway target: ws://f\nSource: cli --url\nConfig: /c.json",
        );
        check(
            Some("wss://u:p@h/x?token=t"),
            &[],
            &remote,
            "Gateway target: wss://***@h/x?token=***\nSource: cli --url\nConfig: /c.json",
        );
        check(
            None,
            &[],
            &json!({"mode": "remote"}),
            "Gateway target: ws://127.0.0.1:18789\nSource: missing gateway.remote.url (fallback local)\nConfig: /c.json\nBind: loopback",
        );
    }

    #[test]
    fn plaintext_stays_on_this_machine() {
        let target = |url: &str, insecure_private| Target {
            url: url.to_owned(),
            source: Source::Flag,
            config_path: PathBuf::new(),
            bind: None,
            fingerprint: None,
            insecure_private,
        };
        for url in ["ws://localhost:1", "ws://127.0.0.9", "ws://[::1]:5", "wss://example.org"] {
            assert!(target(url, false).endpoint().is_ok(), "{url}");
        }
        for url in ["ws://10.0.0.1", "ws://100.64.1.2", "ws://box.local", "ws://[fd00::1]"] {
            assert!(
                matches!(target(url, false).endpoint(), Err(ClientError::Plaintext { .. })),
                "{url}"
            );
            assert!(target(url, true).endpoint().is_ok(), "{url}");
        }
        for url in ["ws://example.org", "ws://8.8.8.8"] {
            assert!(
                matches!(target(url, true).endpoint(), Err(ClientError::Plaintext { .. })),
                "{url}"
            );
        }
        for url in ["", "nonsense", "ftp://x", "ftp://u:kept@x"] {
            let Err(ClientError::Url(told)) = target(url, true).endpoint() else {
                panic!("{url}");
            };
            assert!(!told.contains("kept"), "{told}");
        }
    }

    #[test]
    fn a_port_may_carry_a_host() {
        assert_eq!(env_port("18789"), Some(18789));
        assert_eq!(env_port("0.0.0.0:5"), Some(5));
        assert_eq!(env_port("[::]:6"), Some(6));
        assert_eq!(env_port("::1"), None);
        assert_eq!(env_port("x"), None);
    }
}
