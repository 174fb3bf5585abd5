//! TLS on the gateway's port: the configured certificate, or one made at the
//! first start. Clients pin its SHA-256 fingerprint.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, version};
use serde_json::Value;
use tokio_rustls::TlsAcceptor;

use crate::client::tls::fingerprint;
use crate::config::schema::gateway::{Gateway, TlsFiles};
use crate::profile::paths::{Paths, expand};
use crate::store::atomic;

/// Name in a certificate made here. Part of the contract: clients show it.
const COMMON_NAME: &str = "openclaw-gateway";

/// Why TLS cannot be served although it is configured.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("gateway tls: cert/key missing")]
    Missing,
    #[error("gateway tls: failed to generate cert ({0})")]
    Generate(String),
    #[error("gateway tls: failed to load cert ({}: {reason})", path.display())]
    Load { path: PathBuf, reason: String },
    #[error("gateway tls: certificate and key do not fit together ({0})")]
    Mismatch(String),
}

/// TLS as it is served.
#[derive(Clone)]
pub struct Tls {
    pub acceptor: TlsAcceptor,
    /// SHA-256 of the leaf certificate, lower-case hex.
    pub fingerprint: String,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

/// Loads what `gateway.tls` asks for; `None` when TLS is off. Blocking.
pub fn load(gateway: &Gateway, paths: &Paths) -> Result<Option<Tls>, TlsError> {
    let Some(TlsFiles { cert, key }) = gateway.tls_files(paths) else { return Ok(None) };
    let section = &gateway.tls;
    let ca = section.get("caPath").and_then(Value::as_str).map(str::trim);
    let ca = ca.filter(|path| !path.is_empty()).map(|path| expand(path, &paths.home));
    let may_generate = section.get("autoGenerate") != Some(&Value::Bool(false));
    if may_generate && !cert.exists() && !key.exists() {
        generate(&cert, &key)?;
        tracing::info!("gateway tls: generated self-signed cert at {}", cert.display());
    }
    if !cert.exists() || !key.exists() {
        return Err(TlsError::Missing);
    }
    serve(&cert, &key, ca.as_deref()).map(Some)
}

fn generate(cert: &Path, key: &Path) -> Result<(), TlsError> {
    let failed = |err: &dyn std::fmt::Display| TlsError::Generate(err.to_string());
    let pair = rcgen::KeyPair::generate().map_err(|err| failed(&err))?;
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    let mut params = rcgen::CertificateParams::new(names).map_err(|err| failed(&err))?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, COMMON_NAME);
    let made = params.self_signed(&pair).map_err(|err| failed(&err))?;
    // The key first: a certificate without its key is worse than neither.
    atomic::write(key, pair.serialize_pem().as_bytes(), atomic::Sync::Yes)
        .and_then(|()| atomic::write(cert, made.pem().as_bytes(), atomic::Sync::Yes))
        .map_err(|err| failed(&err))
}

fn serve(cert: &Path, key: &Path, ca: Option<&Path>) -> Result<Tls, TlsError> {
    let chain = certificates(cert)?;
    let fingerprint = fingerprint(&chain[0]);
    let private = PrivateKeyDer::from_pem_file(key).map_err(|err| unreadable(key, &err))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&version::TLS13])
        .map_err(|err| TlsError::Mismatch(err.to_string()))?;
    let builder = match ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            for root in certificates(ca)? {
                roots.add(root).map_err(|err| unreadable(ca, &err))?;
            }
            // A client without a certificate signs in by other means.
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build()
                .map_err(|err| unreadable(ca, &err))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder
        .with_single_cert(chain, private)
        .map_err(|err| TlsError::Mismatch(err.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Tls { acceptor: TlsAcceptor::from(Arc::new(config)), fingerprint })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    match found {
        Ok(chain) if chain.is_empty() => Err(unreadable(path, &"it holds no certificate")),
        Ok(chain) => Ok(chain),
        Err(err) => Err(unreadable(path, &err)),
    }
}

fn unreadable(path: &Path, reason: &dyn std::fmt::Display) -> TlsError {
    TlsError::Load { path: path.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::profile::env::Env;

    fn section(value: &Value) -> Gateway {
        serde_json::from_value(json!({ "tls": value })).unwrap()
    }

    #[test]
    fn a_certificate_is_made_once_and_then_kept() {
        let home = tempfile::tempdir().unwrap();
        let env: Env = [("HOME", home.path().to_str().unwrap())].into_iter().collect();
        let paths = Paths::resolve(&env);
        assert!(load(&section(&json!({})), &paths).unwrap().is_none());
        let on = section(&json!({"enabled": true}));
        let first = load(&on, &paths).unwrap().unwrap();
        let second = load(&on, &paths).unwrap().unwrap();
        assert_eq!(first.fingerprint.len(), 64);
        assert_eq!(first.fingerprint, second.fingerprint);
    }

    #[test]
    fn what_is_missing_or_broken_is_named() {
        let home = tempfile::tempdir().unwrap();
        let env: Env = [("HOME", home.path().to_str().unwrap())].into_iter().collect();
        let paths = Paths::resolve(&env);
        let off = section(&json!({"enabled": true, "autoGenerate": false}));
        assert_eq!(load(&off, &paths).unwrap_err().to_string(), "gateway tls: cert/key missing");
        let broken = home.path().join("broken.pem");
        std::fs::write(&broken, "nothing").unwrap();
        let given = section(&json!({"enabled": true, "certPath": broken, "keyPath": broken}));
        let err = load(&given, &paths).unwrap_err().to_string();
        assert!(err.contains("broken.pem") && err.contains("no certificate"), "{err}");
    }
}
