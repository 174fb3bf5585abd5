//! Authentication by a reverse proxy that has authenticated the user itself,
//! and the networks whose forwarding headers are believed.

use std::net::IpAddr;

use crate::config::schema::gateway::TrustedProxy;

/// `gateway.auth.trustedProxy`.
#[derive(Debug, Clone)]
pub struct Rules {
    user_header: String,
    required_headers: Vec<String>,
    allow_users: Vec<String>,
}

impl Rules {
    pub fn new(raw: &TrustedProxy) -> Self {
        Self {
            user_header: raw.user_header.to_lowercase(),
            required_headers: raw.required_headers.clone(),
            allow_users: raw.allow_users.clone(),
        }
    }

    /// The user that the proxy vouches for, or the reason there is none.
    pub fn user<'h>(&self, header: impl Fn(&str) -> Option<&'h str>) -> Result<String, String> {
        let present = |name: &str| header(name).map(str::trim).filter(|value| !value.is_empty());
        if let Some(name) =
            self.required_headers.iter().find(|name| present(&name.to_lowercase()).is_none())
        {
            return Err(format!("trusted_proxy_missing_header_{name}"));
        }
        let user = present(&self.user_header).ok_or("trusted_proxy_user_missing")?;
        if !self.allow_users.is_empty() && !self.allow_users.iter().any(|allowed| allowed == user) {
            return Err("trusted_proxy_user_not_allowed".to_owned());
        }
        Ok(user.to_owned())
    }
}

/// Whether `ip` is one of `networks` (`10.0.0.1` or `10.0.0.0/8`).
pub fn is_listed(ip: IpAddr, networks: &[String]) -> bool {
    networks.iter().any(|network| contains(network.trim(), ip.to_canonical()))
}

/// Entries that are neither an address nor a network, and so match nobody.
pub fn unusable(networks: &[String]) -> impl Iterator<Item = &str> {
    networks.iter().map(|network| network.trim()).filter(|network| parse(network).is_none())
}

/// An address, and how many of its leading bits count.
fn parse(network: &str) -> Option<(IpAddr, u32)> {
    let (base, bits) = match network.split_once('/') {
        Some((base, bits)) => (base, bits.parse().ok()?),
        None => (network, 128),
    };
    Some((base.parse::<IpAddr>().ok()?.to_canonical(), bits))
}

fn contains(network: &str, ip: IpAddr) -> bool {
    let Some((base, bits)) = parse(network) else { return false };
    match (base, ip) {
        (IpAddr::V4(base), IpAddr::V4(ip)) => {
            let shift = 32u32.saturating_sub(bits.min(32));
            u32::from(base).checked_shr(shift).unwrap_or(0)
                == u32::from(ip).checked_shr(shift).unwrap_or(0)
        }
        (IpAddr::V6(base), IpAddr::V6(ip)) => {
            let shift = 128u32.saturating_sub(bits.min(128));
            u128::from(base).checked_shr(shift).unwrap_or(0)
                == u128::from(ip).checked_shr(shift).unwrap_or(0)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_networks_are_recognised() {
        let networks = ["10.0.0.0/8".to_owned(), "192.0.2.7".to_owned(), "fd00::/8".to_owned()];
        assert_eq!(unusable(&networks).count(), 0);
        let wrong = ["proxy.lan".to_owned(), "10.0.0.0/".to_owned()];
        assert_eq!(unusable(&wrong).collect::<Vec<_>>(), ["proxy.lan", "10.0.0.0/"]);
        let cases = [
            ("10.9.8.7", true),
            ("11.0.0.1", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("::ffff:192.0.2.7", true),
            ("fd12::1", true),
            ("fe80::1", false),
        ];
        for (ip, expected) in cases {
            assert_eq!(is_listed(ip.parse().unwrap(), &networks), expected, "{ip}");
        }
        assert!(!is_listed("10.0.0.1".parse().unwrap(), &["10.0.0.0/x".to_owned()]));
    }

    #[test]
    fn the_proxy_must_send_all_headers_and_an_allowed_user() {
        let rules = Rules::new(&TrustedProxy {
            user_header: "X-User".to_owned(),
            required_headers: vec!["X-Proof".to_owned()],
            allow_users: vec!["ann".to_owned()],
        });
        let ask = |pairs: &'static [(&'static str, &'static str)]| {
            rules.user(|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| *value))
        };
        assert_eq!(ask(&[("x-user", "ann"), ("x-proof", "1")]).as_deref(), Ok("ann"));
        let refused = |pairs| ask(pairs).unwrap_err();
        assert_eq!(refused(&[("x-user", "ann")]), "trusted_proxy_missing_header_X-Proof");
        assert_eq!(refused(&[("x-proof", "1")]), "trusted_proxy_user_missing");
        assert_eq!(
            refused(&[("x-user", "bob"), ("x-proof", "1")]),
            "trusted_proxy_user_not_allowed"
        );
    }
}
