//! TLS to a chat server: the host's trust store, read when first needed.

use std::sync::{Arc, OnceLock};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::lifecycle;

/// Encrypts a connection to `host`.
pub(super) async fn wrap(tcp: TcpStream, host: &str) -> Result<TlsStream<TcpStream>, String> {
    static CONFIG: OnceLock<Result<Arc<ClientConfig>, String>> = OnceLock::new();
    let config = match CONFIG.get() {
        Some(config) => config.clone(),
        // Reading certificates is blocking work.
        None => lifecycle::spawn_blocking(|| CONFIG.get_or_init(load).clone())
            .await
            .unwrap_or_else(|err| Err(err.to_string())),
    }?;
    let name = ServerName::try_from(host.to_owned()).map_err(|err| err.to_string())?;
    TlsConnector::from(config).connect(name, tcp).await.map_err(|err| err.to_string())
}

fn load() -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(BuilderVerifierExt::with_platform_verifier)
        .map_err(|err| err.to_string())?;
    Ok(Arc::new(config.with_no_client_auth()))
}
