//! TLS for `wss://`: the host's trust store, or one pinned certificate.
//!
//! Nothing here is touched by plaintext connections, because reading the trust
//! store costs more than everything else a command does.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_platform_verifier::BuilderVerifierExt;
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::base::hex;
use crate::client::dial::Stream;
use crate::client::error::ClientError;

/// Encrypts `tcp`; with `fingerprint` only that certificate is accepted.
pub async fn wrap(
    tcp: TcpStream,
    host: &str,
    fingerprint: Option<&str>,
) -> Result<Box<dyn Stream>, ClientError> {
    let config = config(fingerprint)?;
    let name = ServerName::try_from(host.to_owned()).map_err(|err| tls_error(&err))?;
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
        .map_err(|err| refused(&err))?;
    Ok(Box::new(stream))
}

fn config(fingerprint: Option<&str>) -> Result<ClientConfig, ClientError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|err| tls_error(&err))?;
    match fingerprint {
        Some(text) => {
            let expected = parse_fingerprint(text).ok_or_else(|| {
                ClientError::Tls(format!(
                    "gateway.remote.tlsFingerprint is not a SHA-256 fingerprint: {text}"
                ))
            })?;
            let pinned = Arc::new(Pinned { expected, provider });
            Ok(builder.dangerous().with_custom_certificate_verifier(pinned).with_no_client_auth())
        }
        None => Ok(builder
            .with_platform_verifier()
            .map_err(|err| tls_error(&err))?
            .with_no_client_auth()),
    }
}

/// SHA-256 of a certificate, lower-case hex.
pub fn fingerprint(cert: &CertificateDer<'_>) -> String {
    hex::encode(&Sha256::digest(cert.as_ref()))
}

/// The fingerprint of the first certificate in a PEM file.
pub fn fingerprint_of(path: &Path) -> Option<String> {
    CertificateDer::from_pem_file(path).ok().map(|cert| fingerprint(&cert))
}

/// A certificate that no authority vouches for is the usual case here, and not
/// hopeless.
fn refused(err: &std::io::Error) -> ClientError {
    let inner = err.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let unknown = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
    if inner == Some(&unknown) {
        return ClientError::Tls(format!(
            "{err}; pin a certificate of the gateway's own making with gateway.remote.tlsFingerprint (its start logs the fingerprint)"
        ));
    }
    tls_error(err)
}

fn tls_error(err: &dyn std::fmt::Display) -> ClientError {
    ClientError::Tls(err.to_string())
}

/// 64 hex digits, with or without colons and a `sha256:` in front.
fn parse_fingerprint(text: &str) -> Option<[u8; 32]> {
    let text = text.trim().to_ascii_lowercase();
    let text =
        text.strip_prefix("sha256:").or_else(|| text.strip_prefix("sha-256:")).unwrap_or(&text);
    let digits: String = text.chars().filter(|c| !matches!(c, ':' | ' ')).collect();
    if digits.len() != 64 || !digits.is_ascii() {
        return None;
    }
    let mut bytes = [0; 32];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[at * 2..at * 2 + 2], 16).ok()?;
    }
    Some(bytes)
}

/// Accepts exactly one leaf certificate, whoever signed it.
#[derive(Debug)]
struct Pinned {
    expected: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if Sha256::digest(end_entity.as_ref()).as_slice() == self.expected {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::General("the certificate is not the pinned one".to_owned()))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_in_every_usual_spelling() {
        let plain = "ab".repeat(32);
        let colons = ["AB"; 32].join(":");
        for text in [&plain, &colons, &format!("sha256:{plain}"), &format!(" SHA256:{colons} ")] {
            assert_eq!(parse_fingerprint(text), Some([0xab; 32]), "{text}");
        }
        for text in ["", "ab", &"zz".repeat(32), &"é".repeat(32)] {
            assert_eq!(parse_fingerprint(text), None, "{text}");
        }
    }

    #[test]
    fn only_the_pinned_certificate_is_accepted() {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let der = CertificateDer::from(b"certificate".to_vec());
        let name = ServerName::try_from("gateway.example").unwrap();
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1));
        for (bytes, fits) in [(&b"certificate"[..], true), (b"other", false)] {
            let expected = Sha256::digest(bytes).into();
            let pinned = Pinned { expected, provider: Arc::clone(&provider) };
            assert_eq!(pinned.verify_server_cert(&der, &[], &name, &[], now).is_ok(), fits);
        }
    }
}
