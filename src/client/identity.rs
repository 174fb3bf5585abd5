//! This host's device identity: an Ed25519 key and the tokens that gateways
//! gave it. The files are shared with the official command line, so their
//! format is part of the contract. Blocking; the files are tiny.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::base::clock::Clock;
use crate::base::ed25519::{self, SigningKey};
use crate::base::hex;
use crate::base::secret::Secret;
use crate::client::error::ClientError;
use crate::store::atomic;

/// The key of this device and where its files are.
#[derive(Debug)]
pub struct Identity {
    /// Lower-case hex SHA-256 of the public key.
    pub device_id: String,
    key: SigningKey,
    dir: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeviceFile {
    version: u32,
    device_id: String,
    public_key_pem: String,
    private_key_pem: Secret,
    created_at_ms: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenFile {
    version: u32,
    device_id: String,
    tokens: BTreeMap<String, DeviceToken>,
}

/// A token that a gateway issued to this device for one role.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceToken {
    pub token: Secret,
    pub role: String,
    #[serde(default)]
    pub scopes: Vec<String>,
    #[serde(default)]
    pub updated_at_ms: u64,
}

impl Identity {
    /// Opens the identity below `state`, creating it on first use.
    pub fn open(state: &Path, clock: &dyn Clock) -> Result<Self, ClientError> {
        let dir = state.join("identity");
        let path = dir.join("device.json");
        let wrong = |reason: String| ClientError::Identity { path: path.clone(), reason };
        match fs::read(&path) {
            Ok(bytes) => {
                let file: DeviceFile =
                    serde_json::from_slice(&bytes).map_err(|err| wrong(err.to_string()))?;
                let key = SigningKey::from_pem(file.private_key_pem.expose())
                    .ok_or_else(|| wrong("privateKeyPem is not an Ed25519 key".to_owned()))?;
                Ok(Self { device_id: device_id(&key), key, dir })
            }
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                let (identity, seed) = Self::generate(dir).map_err(&wrong)?;
                identity
                    .save(&seed, &path, clock.now_ms())
                    .map_err(|err| wrong(err.to_string()))?;
                Ok(identity)
            }
            Err(err) => Err(wrong(err.to_string())),
        }
    }

    /// A new key, and the bytes that make it.
    fn generate(dir: PathBuf) -> Result<(Self, Zeroizing<[u8; 32]>), String> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut()).map_err(|err| err.to_string())?;
        let key = SigningKey::from_seed(&seed).ok_or("no key could be made")?;
        Ok((Self { device_id: device_id(&key), key, dir }, seed))
    }

    fn save(&self, seed: &[u8; 32], path: &Path, now: u64) -> io::Result<()> {
        let file = DeviceFile {
            version: 1,
            device_id: self.device_id.clone(),
            public_key_pem: ed25519::public_pem(self.key.public()),
            private_key_pem: Secret::new(ed25519::private_pem(seed)),
            created_at_ms: now,
        };
        write_json(path, &file)
    }

    /// The public key as it goes over the wire: base64url of the raw bytes.
    pub fn public_key(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.key.public())
    }

    /// Signs `payload`; base64url.
    pub fn sign(&self, payload: &str) -> String {
        URL_SAFE_NO_PAD.encode(self.key.sign(payload.as_bytes()))
    }

    /// The token kept for `role`; `None` too if the file is unreadable or
    /// belongs to another key, because a token is never more than a shortcut.
    pub fn token(&self, role: &str) -> Option<DeviceToken> {
        self.tokens()?.tokens.remove(role).filter(|token| !token.token.is_empty())
    }

    /// Keeps `token`, unless it is the one already kept.
    pub fn keep_token(&self, token: &DeviceToken) -> io::Result<()> {
        let mut file = self.tokens().unwrap_or_else(|| TokenFile {
            version: 1,
            device_id: self.device_id.clone(),
            tokens: BTreeMap::new(),
        });
        if file.tokens.get(&token.role).is_some_and(|kept| {
            kept.token.expose() == token.token.expose() && kept.scopes == token.scopes
        }) {
            return Ok(());
        }
        file.tokens.insert(token.role.clone(), token.clone());
        write_json(&self.token_path(), &file)
    }

    /// Forgets the token of `role`.
    pub fn drop_token(&self, role: &str) -> io::Result<()> {
        let Some(mut file) = self.tokens() else { return Ok(()) };
        match file.tokens.remove(role) {
            Some(_) => write_json(&self.token_path(), &file),
            None => Ok(()),
        }
    }

    fn token_path(&self) -> PathBuf {
        self.dir.join("device-auth.json")
    }

    fn tokens(&self) -> Option<TokenFile> {
        let file: TokenFile = serde_json::from_slice(&fs::read(self.token_path()).ok()?).ok()?;
        (file.version == 1 && file.device_id == self.device_id).then_some(file)
    }
}

fn device_id(key: &SigningKey) -> String {
    hex::encode(&Sha256::digest(key.public()))
}

fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let mut bytes = serde_json::to_vec_pretty(value)?;
    bytes.push(b'\n');
    atomic::write(path, &bytes, atomic::Sync::No)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::SystemClock;

    #[test]
    fn an_identity_is_created_once_and_read_again() {
        let state = tempfile::tempdir().unwrap();
        let first = Identity::open(state.path(), &SystemClock).unwrap();
        let second = Identity::open(state.path(), &SystemClock).unwrap();
        assert_eq!(first.device_id, second.device_id);
        assert_eq!(first.sign("x"), second.sign("x"));
    }

    #[test]
    fn the_file_holds_keys_that_other_programs_can_read() {
        let state = tempfile::tempdir().unwrap();
        let identity = Identity::open(state.path(), &SystemClock).unwrap();
        let text = fs::read_to_string(state.path().join("identity/device.json")).unwrap();
        assert!(text.ends_with("}\n"));
        let file: DeviceFile = serde_json::from_str(&text).unwrap();
        let private = SigningKey::from_pem(file.private_key_pem.expose()).unwrap();
        assert_eq!(private.public(), identity.key.public());
        let public = ed25519::public_from_pem(&file.public_key_pem).unwrap();
        assert_eq!(public, identity.key.public());
    }

    #[test]
    fn a_damaged_file_is_named() {
        let state = tempfile::tempdir().unwrap();
        fs::create_dir(state.path().join("identity")).unwrap();
        fs::write(state.path().join("identity/device.json"), "{").unwrap();
        let err = Identity::open(state.path(), &SystemClock).unwrap_err().to_string();
        assert!(err.contains("identity/device.json"), "{err}");
    }

    #[test]
    fn tokens_are_kept_per_role_and_only_for_this_key() {
        let state = tempfile::tempdir().unwrap();
        let identity = Identity::open(state.path(), &SystemClock).unwrap();
        let token = DeviceToken {
            token: Secret::new("tok"),
            role: "operator".to_owned(),
            scopes: vec!["operator.read".to_owned()],
            updated_at_ms: 7,
        };
        identity.keep_token(&token).unwrap();
        assert_eq!(identity.token("operator").unwrap().token.expose(), "tok");
        assert!(identity.token("node").is_none());
        identity.drop_token("operator").unwrap();
        assert!(identity.token("operator").is_none());

        identity.keep_token(&token).unwrap();
        let (other, _) = Identity::generate(state.path().join("identity")).unwrap();
        assert!(other.token("operator").is_none());
    }
}
