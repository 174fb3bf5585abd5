//! HTTP to a chat service: one lazily made client per kind of address.

use std::sync::OnceLock;

pub(super) use crate::outbound::explain;
pub(super) use crate::outbound::is_local;

/// The client for `url`.
pub(super) fn client(url: &str) -> Result<reqwest::Client, String> {
    static LOCAL: OnceLock<reqwest::Client> = OnceLock::new();
    static REMOTE: OnceLock<reqwest::Client> = OnceLock::new();
    let local = is_local(url);
    let slot = if local { &LOCAL } else { &REMOTE };
    if let Some(client) = slot.get() {
        return Ok(client.clone());
    }
    let client = crate::outbound::client(local, crate::outbound::CONNECT)?;
    Ok(slot.get_or_init(|| client).clone())
}

/// Whether a request may have reached the service although it failed.
pub(super) fn may_have_arrived(err: &reqwest::Error) -> bool {
    !err.is_connect() && !err.is_builder()
}
