//! The keys of devices: Ed25519, as raw bytes and as the PEM that other
//! programs write (RFC 8410).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

/// DER before the 32 bytes of a private key (PKCS #8).
const PKCS8: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
/// DER before the 32 bytes of a public key (SPKI).
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];

/// A private key.
#[derive(Debug)]
pub struct SigningKey {
    pair: Ed25519KeyPair,
}

impl SigningKey {
    pub fn from_seed(seed: &[u8; 32]) -> Option<Self> {
        Ed25519KeyPair::from_seed_unchecked(seed).ok().map(|pair| Self { pair })
    }

    pub fn from_pem(pem: &str) -> Option<Self> {
        let der = body(pem, "PRIVATE KEY")?;
        // A writer may append attributes or the public key (RFC 5958): the seed
        // follows the algorithm in both versions.
        let at = der.windows(9).position(|window| *window == PKCS8[7..])?;
        Self::from_seed(der.get(at + 9..at + 41)?.try_into().ok()?)
    }

    /// The raw public key.
    pub fn public(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    pub fn sign(&self, text: &[u8]) -> impl AsRef<[u8]> {
        self.pair.sign(text)
    }
}

/// Whether the owner of `public` signed `text`.
pub fn verifies(public: &[u8; 32], text: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public).verify(text, signature).is_ok()
}

pub fn private_pem(seed: &[u8; 32]) -> String {
    pem("PRIVATE KEY", &PKCS8, seed)
}

pub fn public_pem(raw: &[u8]) -> String {
    pem("PUBLIC KEY", &SPKI, raw)
}

/// The raw bytes of a public key.
pub fn public_from_pem(pem: &str) -> Option<[u8; 32]> {
    body(pem, "PUBLIC KEY")?.strip_prefix(&SPKI)?.try_into().ok()
}

fn pem(label: &str, prefix: &[u8], raw: &[u8]) -> String {
    // At most 48 bytes: the text fits the single line of 64 characters.
    let body = STANDARD.encode([prefix, raw].concat());
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

fn body(pem: &str, label: &str) -> Option<Vec<u8>> {
    let body = pem
        .trim()
        .strip_prefix(&format!("-----BEGIN {label}-----"))?
        .strip_suffix(&format!("-----END {label}-----"))?;
    STANDARD.decode(body.split_whitespace().collect::<String>()).ok()
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::pkcs8::{DecodePrivateKey, DecodePublicKey};
    use ed25519_dalek::{Signer, VerifyingKey};

    use super::*;

    const PEM: &str = "-----BEGIN PRIVATE KEY-----\n\
                       MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
                       -----END PRIVATE KEY-----\n";

    #[test]
    fn keys_and_signatures_are_those_of_another_implementation() {
        let theirs = ed25519_dalek::SigningKey::from_pkcs8_pem(PEM).unwrap();
        let ours = SigningKey::from_pem(PEM).unwrap();
        assert_eq!(ours.public(), theirs.verifying_key().as_bytes());
        assert_eq!(ours.sign(b"text").as_ref(), theirs.sign(b"text").to_bytes());
        assert_eq!(private_pem(theirs.as_bytes()), PEM);
        let public = public_pem(ours.public());
        assert_eq!(VerifyingKey::from_public_key_pem(&public).unwrap(), theirs.verifying_key());
        assert_eq!(public_from_pem(&public).as_ref(), Some(theirs.verifying_key().as_bytes()));
    }

    #[test]
    fn only_the_owners_signature_of_that_text_verifies() {
        let key = SigningKey::from_pem(PEM).unwrap();
        let public = key.public().try_into().unwrap();
        let signature = key.sign(b"text").as_ref().to_vec();
        assert!(verifies(public, b"text", &signature));
        assert!(!verifies(public, b"texts", &signature));
        assert!(!verifies(&[7; 32], b"text", &signature));
        assert!(!verifies(public, b"text", &signature[..63]));
    }

    #[test]
    fn what_is_no_key_is_none() {
        for pem in
            ["", "PRIVATE KEY", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"]
        {
            assert!(SigningKey::from_pem(pem).is_none());
            assert!(public_from_pem(pem).is_none());
        }
    }
}
