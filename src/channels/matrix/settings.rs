//! What a Matrix account is configured with.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::Value;

use crate::base::secret::Secret;
use crate::channels::action::Gates;
use crate::channels::channel::AccountSpec;

#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) account: String,
    pub(super) homeserver: String,
    pub(super) login: Login,
    pub(super) device_name: String,
    pub(super) auto_join: AutoJoin,
    pub(super) thread_replies: bool,
    pub(super) gates: Gates,
    /// Where the credentials are configured, for messages.
    pub(super) path: String,
}

#[derive(Debug, Clone)]
pub(super) enum Login {
    Token(Secret),
    Password { user: String, password: Secret },
}

/// Which invitations are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AutoJoin {
    Off,
    Always,
    Listed(Vec<String>),
}

impl Settings {
    pub(super) fn read(spec: &AccountSpec) -> Result<Self, String> {
        let homeserver = spec.text_or_env("homeserver", "MATRIX_HOMESERVER").ok_or_else(|| {
            format!("not configured: set {} to the server's URL", spec.path_of("homeserver"))
        })?;
        let key = spec.path_of("homeserver");
        let host = host_of(&homeserver)
            .ok_or_else(|| format!("{key}: `{homeserver}` is no http address"))?;
        let private = is_private(host);
        let allowed = spec.settings["allowPrivateNetwork"] == true
            || spec.settings["network"]["dangerouslyAllowPrivateNetwork"] == true;
        if private && !allowed {
            return Err(format!(
                "Blocked hostname or private/internal/special-use IP address: {host}; set {} to true if the server is meant to be there",
                spec.path_of("allowPrivateNetwork")
            ));
        }
        if !homeserver.starts_with("https://") && !private {
            return Err(format!("{key}: plain http is refused outside this network; use https"));
        }
        Ok(Self {
            account: spec.id.clone(),
            homeserver: homeserver.trim_end_matches('/').to_owned(),
            login: login(spec)?,
            device_name: spec.text("deviceName").unwrap_or("OpenClaw Gateway").to_owned(),
            auto_join: auto_join(&spec.settings),
            gates: Gates::of(&spec.settings),
            thread_replies: spec.settings["threadReplies"] != "off",
            path: spec.path_of("accessToken"),
        })
    }
}

fn login(spec: &AccountSpec) -> Result<Login, String> {
    if let Some(token) = spec.text_or_env("accessToken", "MATRIX_ACCESS_TOKEN") {
        return Ok(Login::Token(Secret::new(token)));
    }
    let user = spec.text_or_env("userId", "MATRIX_USER_ID");
    let password = spec.text_or_env("password", "MATRIX_PASSWORD");
    match (user, password) {
        (Some(user), Some(password)) => {
            Ok(Login::Password { user, password: Secret::new(password) })
        }
        _ => Err(format!(
            "not configured: set {}, or {} and {}",
            spec.path_of("accessToken"),
            spec.path_of("userId"),
            spec.path_of("password")
        )),
    }
}

fn auto_join(settings: &Value) -> AutoJoin {
    let list = settings["autoJoinAllowlist"].as_array().into_iter().flatten();
    let list = list.filter_map(|entry| Some(entry.as_str()?.trim().to_owned()));
    match settings["autoJoin"].as_str() {
        Some("always") => AutoJoin::Always,
        Some("allowlist") => AutoJoin::Listed(list.collect()),
        _ => AutoJoin::Off,
    }
}

fn host_of(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = match authority.strip_prefix('[') {
        Some(six) => six.split(']').next()?,
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    (!host.is_empty()).then_some(host)
}

/// Whether a name or address belongs to this host or its own network.
fn is_private(host: &str) -> bool {
    let name = host.to_ascii_lowercase();
    let top = name.rsplit('.').next().unwrap_or_default();
    if name == "localhost"
        || (name.contains('.') && ["localhost", "local", "internal"].contains(&top))
    {
        return true;
    }
    match name.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => is_private_v4(ip),
        Ok(IpAddr::V6(ip)) => is_private_v6(ip),
        Err(_) => false,
    }
}

fn is_private_v4(ip: Ipv4Addr) -> bool {
    let shared = ip.octets()[0] == 100 && (64..128).contains(&ip.octets()[1]);
    ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_unspecified() || shared
}

fn is_private_v6(ip: Ipv6Addr) -> bool {
    let first = ip.segments()[0];
    ip.is_loopback()
        || ip.is_unspecified()
        || (first & 0xfe00) == 0xfc00
        || (first & 0xffc0) == 0xfe80
        || ip.to_ipv4_mapped().is_some_and(is_private_v4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_places_are_recognised_in_every_spelling() {
        for host in [
            "localhost",
            "127.0.0.1",
            "10.1.2.3",
            "::1",
            "fd00::1",
            "::ffff:192.168.0.1",
            "hs.local",
        ] {
            assert!(is_private(host), "{host}");
        }
        for host in ["matrix.org", "1.1.1.1", "2606:4700::1"] {
            assert!(!is_private(host), "{host}");
        }
        assert_eq!(host_of("http://[::1]:8008/x"), Some("::1"));
        assert_eq!(host_of("https://matrix.org"), Some("matrix.org"));
        assert_eq!(host_of("matrix.org"), None);
    }
}
