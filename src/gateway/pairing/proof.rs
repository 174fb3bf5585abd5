//! Whether a device holds the key it names: Ed25519 over a text that covers
//! everything the connection asks for.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::base::ed25519;
use crate::base::hex;
use crate::protocol::connect::{ConnectParams, Device};
use crate::protocol::scope::Role;

/// How far a signature's time may be from ours, in either direction.
const MAX_SKEW_MS: u64 = 120_000;

/// Why a proof was refused. Messages are part of the wire contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("device identity mismatch")]
    IdMismatch,
    #[error("device signature expired")]
    Stale,
    #[error("device nonce required")]
    NonceMissing,
    #[error("device nonce mismatch")]
    NonceMismatch,
    #[error("device signature invalid")]
    Signature,
}

impl ProofError {
    /// `details.code` and `details.reason`. Part of the wire contract.
    pub fn details(self) -> (&'static str, &'static str) {
        match self {
            Self::IdMismatch => ("DEVICE_AUTH_DEVICE_ID_MISMATCH", "device-id-mismatch"),
            Self::Stale => ("DEVICE_AUTH_SIGNATURE_EXPIRED", "device-signature-stale"),
            Self::NonceMissing => ("DEVICE_AUTH_NONCE_REQUIRED", "device-nonce-missing"),
            Self::NonceMismatch => ("DEVICE_AUTH_NONCE_MISMATCH", "device-nonce-mismatch"),
            Self::Signature => ("DEVICE_AUTH_SIGNATURE_INVALID", "device-signature"),
        }
    }
}

/// Checks the proof in `params`; returns the key in its canonical spelling.
pub fn verify(
    params: &ConnectParams,
    device: &Device,
    role: Role,
    nonce: &str,
    now_ms: u64,
) -> Result<String, ProofError> {
    let raw = raw_key(&device.public_key).ok_or(ProofError::IdMismatch)?;
    if device_id(&raw) != device.id {
        return Err(ProofError::IdMismatch);
    }
    if now_ms.abs_diff(device.signed_at) > MAX_SKEW_MS {
        return Err(ProofError::Stale);
    }
    let shown = device.nonce.trim();
    if shown.is_empty() {
        return Err(ProofError::NonceMissing);
    }
    if shown != nonce {
        return Err(ProofError::NonceMismatch);
    }
    let signature = decode(&device.signature).ok_or(ProofError::Signature)?;
    let v2 = signed_text(params, device, role);
    let v3 = format!(
        "v3{}|{}|{}",
        &v2[2..],
        normalised(&params.client.platform),
        normalised(params.client.device_family.as_deref().unwrap_or_default())
    );
    let signed = |text: &str| ed25519::verifies(&raw, text.as_bytes(), &signature);
    if signed(&v3) || signed(&v2) {
        Ok(URL_SAFE_NO_PAD.encode(raw))
    } else {
        Err(ProofError::Signature)
    }
}

/// The text that clients sign, in its second version; the third appends
/// platform and device family.
fn signed_text(params: &ConnectParams, device: &Device, role: Role) -> String {
    let auth = &params.auth;
    let token = auth.token.as_deref().or(auth.device_token.as_deref());
    let token = token.or(auth.bootstrap_token.as_deref()).unwrap_or_default();
    format!(
        "v2|{}|{}|{}|{}|{}|{}|{}|{}",
        device.id,
        params.client.id,
        params.client.mode,
        role.as_str(),
        params.scopes.as_slice().join(","),
        device.signed_at,
        token,
        device.nonce.trim(),
    )
}

/// Platform and device family as they are signed and compared.
pub fn normalised(text: &str) -> String {
    text.trim().to_ascii_lowercase()
}

/// The id that belongs to a raw public key.
pub fn device_id(raw: &[u8; 32]) -> String {
    hex::encode(&Sha256::digest(raw))
}

/// Raw bytes of a key given as base64url or PEM.
fn raw_key(text: &str) -> Option<[u8; 32]> {
    if text.contains("BEGIN") {
        return ed25519::public_from_pem(text);
    }
    decode(text)?.try_into().ok()
}

/// Base64url, tolerating padding and the standard alphabet as clients' decoders do.
fn decode(text: &str) -> Option<Vec<u8>> {
    let url_safe: String = text
        .trim()
        .trim_end_matches('=')
        .chars()
        .map(|c| match c {
            '+' => '-',
            '/' => '_',
            c => c,
        })
        .collect();
    URL_SAFE_NO_PAD.decode(url_safe).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Recorded handshakes of official clients, trimmed to what is signed.
    fn recorded() -> Vec<Value> {
        serde_json::from_str(include_str!("../../../tests/fixtures/device-proofs.json")).unwrap()
    }

    fn check(params: &Value, now: u64) -> Result<String, ProofError> {
        let parsed = ConnectParams::parse(params.clone()).unwrap();
        let device = parsed.device.clone().unwrap();
        let role = Role::parse(parsed.role.as_deref()).unwrap();
        let nonce = params["device"]["nonce"].as_str().unwrap();
        verify(&parsed, &device, role, nonce, now)
    }

    #[test]
    fn recorded_signatures_of_official_clients_verify() {
        let recorded = recorded();
        assert!(recorded.len() >= 5);
        for params in &recorded {
            let now = params["device"]["signedAt"].as_u64().unwrap();
            let key = params["device"]["publicKey"].as_str().unwrap();
            assert_eq!(check(params, now).as_deref(), Ok(key), "{params}");
        }
    }

    #[test]
    fn every_change_of_a_signed_field_is_noticed() {
        let original = &recorded()[0];
        let now = original["device"]["signedAt"].as_u64().unwrap();
        let changes: [(&str, Value); 5] = [
            ("/scopes", json!(["operator.admin", "operator.read", "operator.pairing"])),
            ("/client/id", json!("node-host")),
            ("/client/mode", json!("test")),
            ("/auth/token", json!("other")),
            ("/device/signedAt", json!(now + 1)),
        ];
        for (pointer, value) in changes {
            let mut changed = original.clone();
            *changed.pointer_mut(pointer).unwrap() = value;
            assert_eq!(check(&changed, now), Err(ProofError::Signature), "{pointer}");
        }
    }

    #[test]
    fn time_identity_and_nonce_are_checked_before_the_signature() {
        let original = &recorded()[0];
        let now = original["device"]["signedAt"].as_u64().unwrap();
        assert_eq!(check(original, now + 120_001), Err(ProofError::Stale));
        assert_eq!(check(original, now - 120_001), Err(ProofError::Stale));
        assert!(check(original, now + 120_000).is_ok());

        let mut other_id = original.clone();
        other_id["device"]["id"] = json!("ab".repeat(32));
        assert_eq!(check(&other_id, now), Err(ProofError::IdMismatch));

        let mut blank = original.clone();
        blank["device"]["nonce"] = json!("  ");
        assert_eq!(check(&blank, now), Err(ProofError::NonceMissing));

        let parsed = ConnectParams::parse(original.clone()).unwrap();
        let device = parsed.device.clone().unwrap();
        let outcome = verify(&parsed, &device, Role::Operator, "another nonce", now);
        assert_eq!(outcome, Err(ProofError::NonceMismatch));
    }
}
