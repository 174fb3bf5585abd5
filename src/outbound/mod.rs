//! HTTP from this host to services: how a client is made, which addresses stay
//! on this host, what an error was. Who calls what, and how often it is tried
//! again, is the caller's business.

use std::time::Duration;

use reqwest::redirect;

/// TCP and TLS, unless a caller has less patience.
pub const CONNECT: Duration = Duration::from_secs(15);

/// What every client here has in common. Redirects are not followed: they
/// would carry keys to whoever is named.
pub fn builder() -> reqwest::ClientBuilder {
    // Someone else may have installed one first; any provider will do.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::trace!("a crypto provider is installed already");
    }
    reqwest::Client::builder()
        .redirect(redirect::Policy::none())
        .user_agent(concat!("openclaw/", env!("CARGO_PKG_VERSION")))
}

/// A client for services, or for `http://` on this host: that one loads no
/// certificates and asks no proxy.
///
/// # Errors
/// Why there can be none.
pub fn client(local: bool, connect: Duration) -> Result<reqwest::Client, String> {
    let builder = builder().connect_timeout(connect).pool_idle_timeout(Duration::from_secs(30));
    let builder = if local { builder.no_proxy().tls_certs_only([]) } else { builder };
    builder.build().map_err(|err| format!("no HTTP client: {}", explain(err)))
}

/// Whether `url` is plain HTTP to this host.
pub fn is_local(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// An error with its causes on one line, without the address: that may hold a
/// token.
pub fn explain(err: reqwest::Error) -> String {
    let err = err.without_url();
    let mut text = err.to_string();
    let mut cause = std::error::Error::source(&err);
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_http_to_loopback_is_local() {
        for url in [
            "http://127.0.0.1:1/x",
            "http://127.9.9.9",
            "http://localhost/",
            "http://localhost?x",
            "http://[::1]:8080/v1",
            "http://user:word@127.0.0.1:8/",
        ] {
            assert!(is_local(url), "{url}");
        }
        for url in [
            "https://127.0.0.1/",
            "http://10.0.0.1/",
            "http://localhost.evil.example/",
            "http://127.0.0.1.example",
            "http://127.0.0.1:80@evil.example/",
            "https://api.telegram.org",
        ] {
            assert!(!is_local(url), "{url}");
        }
    }
}
