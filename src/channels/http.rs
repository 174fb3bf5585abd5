//! HTTP to a chat service: one lazily made client, errors with their cause.

use std::sync::OnceLock;
use std::time::Duration;

/// TCP and TLS.
const CONNECT: Duration = Duration::from_secs(15);

/// The client for `url`. Plain `http://` to this host loads no certificates
/// and asks no proxy; redirects are not followed, for they would carry tokens.
pub(super) fn client(url: &str) -> Result<reqwest::Client, String> {
    static LOCAL: OnceLock<reqwest::Client> = OnceLock::new();
    static REMOTE: OnceLock<reqwest::Client> = OnceLock::new();
    let local = is_local(url);
    let slot = if local { &LOCAL } else { &REMOTE };
    if let Some(client) = slot.get() {
        return Ok(client.clone());
    }
    // Someone else may have installed one first; any provider will do.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::trace!("a crypto provider is installed already");
    }
    let builder = reqwest::Client::builder()
        .connect_timeout(CONNECT)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("openclaw/", env!("CARGO_PKG_VERSION")));
    let builder = if local { builder.no_proxy().tls_certs_only([]) } else { builder };
    let client = builder.build().map_err(|err| format!("no HTTP client: {}", causes(&err)))?;
    Ok(slot.get_or_init(|| client).clone())
}

/// Whether the address is this host's loopback, unencrypted.
pub(super) fn is_local(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return false };
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    matches!(host, "localhost" | "127.0.0.1" | "[::1]")
}

/// An error with what caused it, without the address: it may hold a token.
pub(super) fn explain(err: reqwest::Error) -> String {
    causes(&err.without_url())
}

fn causes(err: &reqwest::Error) -> String {
    let mut text = err.to_string();
    let mut cause = std::error::Error::source(err);
    while let Some(err) = cause {
        let more = err.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = err.source();
    }
    text
}

/// Whether a request may have reached the service although it failed.
pub(super) fn may_have_arrived(err: &reqwest::Error) -> bool {
    !err.is_connect() && !err.is_builder()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_loopback_is_local() {
        for url in ["http://127.0.0.1:8081", "http://localhost/x", "http://[::1]:8008/_matrix"] {
            assert!(is_local(url), "{url}");
        }
        for url in ["https://127.0.0.1", "http://127.0.0.1.example", "https://api.telegram.org"] {
            assert!(!is_local(url), "{url}");
        }
    }
}
