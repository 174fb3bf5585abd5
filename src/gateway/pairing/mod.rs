//! Devices: which keys may connect, with which roles and scopes.
//!
//! Official command lines read and write the same files when they may not
//! connect, so the files are the truth: looked at again for every operation,
//! replaced whole. Blocking; callers on the runtime use `spawn_blocking`.

pub mod bootstrap;
pub mod proof;
pub mod records;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use indexmap::IndexMap;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::base::id;
use crate::base::secret::Secret;
use crate::protocol::scope::Scopes;
use crate::store::atomic;

pub use bootstrap::Bearer;
pub use records::{Claim, Paired, Pending, Token};

/// How long a pairing request waits for an answer.
pub const PENDING_TTL_MS: u64 = 300_000;

/// Why a pairing operation was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum PairingError {
    #[error("unknown requestId")]
    UnknownRequest,
    #[error("unknown deviceId")]
    UnknownDevice,
    #[error("unknown deviceId/role")]
    UnknownRole,
    #[error("device token rotation denied")]
    RotationDenied,
    #[error("missing scope: {0}")]
    MissingScope(String),
    #[error("{}: {source}", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

type Book<T> = IndexMap<String, T>;

/// The device files of one state directory.
#[derive(Debug)]
pub struct Devices {
    dir: PathBuf,
    cache: Mutex<Cache>,
}

/// Parsed files, valid as long as the files on disk are the ones parsed.
#[derive(Debug, Default)]
struct Cache {
    paired: Option<(Stamp, Arc<Book<Paired>>)>,
}

/// Tells one version of a file from the next; files are replaced, so the inode
/// changes even within one tick of the clock.
type Stamp = (u64, u64, Option<SystemTime>);

impl Devices {
    /// `state` is the state directory; nothing is read yet.
    pub fn new(state: &Path) -> Self {
        Self { dir: state.join("devices"), cache: Mutex::default() }
    }

    /// The record of a paired device.
    pub fn paired(&self, device_id: &str) -> Result<Option<Paired>, PairingError> {
        Ok(self.load_paired(&mut self.lock())?.get(device_id).cloned())
    }

    /// Requests that still wait, newest first, and devices, newest approval first.
    pub fn list(&self, now: u64) -> Result<(Vec<Pending>, Vec<Paired>), PairingError> {
        let mut cache = self.lock();
        let mut pending: Vec<Pending> = self.load_pending(now)?.into_values().collect();
        pending.sort_by_key(|request| std::cmp::Reverse(request.ts));
        let mut paired: Vec<Paired> = self.load_paired(&mut cache)?.values().cloned().collect();
        paired.sort_by_key(|device| std::cmp::Reverse(device.approved_at_ms));
        Ok((pending, paired))
    }

    /// Whether a request that a person must answer waits for this device.
    pub fn waits_for_approval(&self, device_id: &str, now: u64) -> Result<bool, PairingError> {
        let _guard = self.lock();
        let pending = self.load_pending(now)?;
        Ok(pending.values().any(|request| request.device_id == device_id && !request.silent))
    }

    /// Notes that a device asks for more than it has. Returns the request and
    /// whether it is a fresh one; asking the same again refreshes it.
    pub fn request(&self, claim: &Claim, now: u64) -> Result<(Pending, bool), PairingError> {
        let mut cache = self.lock();
        let is_repair = self.load_paired(&mut cache)?.contains_key(&claim.device_id);
        let mut pending = self.load_pending(now)?;
        let same = pending.values_mut().find(|request| request.asks_the_same(claim));
        if let Some(same) = same {
            same.ts = now;
            let request = same.clone();
            self.save("pending.json", &pending)?;
            return Ok((request, false));
        }
        let mut request = Pending::new(id::uuid(), claim, is_repair, now);
        pending.retain(|_, older| {
            let replaced = older.device_id == claim.device_id;
            if replaced {
                request.absorb(older);
            }
            !replaced
        });
        pending.insert(request.request_id.clone(), request.clone());
        self.save("pending.json", &pending)?;
        Ok((request, true))
    }

    /// Grants a waiting request on behalf of someone who holds `approver`.
    pub fn approve(
        &self,
        request_id: &str,
        approver: &Scopes,
        now: u64,
    ) -> Result<Paired, PairingError> {
        let mut cache = self.lock();
        let mut pending = self.load_pending(now)?;
        let request = pending.get(request_id).ok_or(PairingError::UnknownRequest)?;
        if let Some(missing) = request.beyond(approver) {
            return Err(PairingError::MissingScope(missing));
        }
        let (paired, device) = self.granting(&mut cache, request, now)?;
        self.save_paired(&mut cache, paired)?;
        pending.shift_remove(request_id);
        self.save("pending.json", &pending)?;
        Ok(device)
    }

    /// Grants a claim without asking anybody; returns the id of the request
    /// that it would have been, for the event. Where it cannot be kept (a full
    /// disk, say), it is granted anew each time.
    pub fn approve_silently(
        &self,
        claim: &Claim,
        now: u64,
    ) -> Result<(String, Paired), PairingError> {
        let mut cache = self.lock();
        let mut pending = self.load_pending(now)?;
        let request = Pending::new(id::uuid(), claim, false, now);
        let (paired, device) = self.granting(&mut cache, &request, now)?;
        let before = pending.len();
        pending.retain(|_, other| !other.asks_the_same(claim));
        let mut kept = self.save_paired(&mut cache, paired);
        if pending.len() != before {
            kept = kept.and_then(|()| self.save("pending.json", &pending));
        }
        if let Err(err) = kept {
            tracing::error!(%err, "a device that was let in is not on record");
        }
        Ok((request.request_id, device))
    }

    /// Forgets a request; returns it.
    pub fn reject(&self, request_id: &str, now: u64) -> Result<Pending, PairingError> {
        let _guard = self.lock();
        let mut pending = self.load_pending(now)?;
        let request = pending.shift_remove(request_id).ok_or(PairingError::UnknownRequest)?;
        self.save("pending.json", &pending)?;
        Ok(request)
    }

    /// Forgets a device and its tokens.
    pub fn remove(&self, device_id: &str) -> Result<(), PairingError> {
        let mut cache = self.lock();
        let mut paired = (*self.load_paired(&mut cache)?).clone();
        paired.shift_remove(device_id).ok_or(PairingError::UnknownDevice)?;
        self.save_paired(&mut cache, paired)
    }

    /// The device's token for a role: the one it has, else a fresh one.
    pub fn ensure_token(
        &self,
        device_id: &str,
        role: &str,
        scopes: &Scopes,
        now: u64,
    ) -> Result<Option<Token>, PairingError> {
        let mut cache = self.lock();
        let paired = self.load_paired(&mut cache)?;
        let Some(device) = paired.get(device_id) else { return Ok(None) };
        if let Some(token) = device.live_token(role) {
            return Ok(Some(token.clone()));
        }
        let mut paired = (*paired).clone();
        let Some(device) = paired.get_mut(device_id) else { return Ok(None) };
        let token = Token::mint(role, scopes.expanded(), now);
        device.tokens.insert(role.to_owned(), token.clone());
        self.save_paired(&mut cache, paired)?;
        Ok(Some(token))
    }

    /// Replaces the token of a role; `scopes` may only narrow what was approved.
    pub fn rotate_token(
        &self,
        device_id: &str,
        role: &str,
        scopes: Option<&Scopes>,
        caller: &Scopes,
        now: u64,
    ) -> Result<Token, PairingError> {
        let mut cache = self.lock();
        let mut paired = (*self.load_paired(&mut cache)?).clone();
        let device = paired.get_mut(device_id).ok_or(PairingError::RotationDenied)?;
        let old = device.tokens.get(role).ok_or(PairingError::RotationDenied)?;
        let wanted = scopes.map_or_else(|| old.scopes.clone(), Scopes::expanded);
        let approved = device.approved().expanded();
        let refused = approved.first_missing(wanted.as_slice()).is_some()
            || caller.first_missing(wanted.as_slice()).is_some();
        if refused {
            return Err(PairingError::RotationDenied);
        }
        let mut token = Token::mint(role, wanted, now);
        token.created_at_ms = old.created_at_ms;
        token.rotated_at_ms = Some(now);
        token.last_used_at_ms = old.last_used_at_ms;
        device.tokens.insert(role.to_owned(), token.clone());
        self.save_paired(&mut cache, paired)?;
        Ok(token)
    }

    /// Makes the token of a role useless.
    pub fn revoke_token(&self, device_id: &str, role: &str, now: u64) -> Result<(), PairingError> {
        let mut cache = self.lock();
        let mut paired = (*self.load_paired(&mut cache)?).clone();
        let token = paired
            .get_mut(device_id)
            .and_then(|device| device.tokens.get_mut(role))
            .ok_or(PairingError::UnknownRole)?;
        token.revoked_at_ms = Some(now);
        self.save_paired(&mut cache, paired)
    }

    /// Refreshes what a device says about itself after it connected.
    pub fn note_connection(&self, claim: &Claim) -> Result<(), PairingError> {
        let mut cache = self.lock();
        let paired = self.load_paired(&mut cache)?;
        let Some(device) = paired.get(&claim.device_id) else { return Ok(()) };
        let mut refreshed = device.clone();
        refreshed.note_connection(claim);
        if refreshed == *device {
            return Ok(());
        }
        let mut paired = (*paired).clone();
        paired.insert(claim.device_id.clone(), refreshed);
        self.save_paired(&mut cache, paired)
    }

    /// Whether `shown` is a bootstrap token that this device may use. A token
    /// belongs to the first device that shows it.
    pub fn redeem_bootstrap(&self, shown: &str, bearer: Bearer<'_>, now: u64) -> bool {
        let _guard = self.lock();
        bootstrap::redeem(&self.dir.join("bootstrap.json"), shown, bearer, now).unwrap_or_else(
            |err| {
                tracing::warn!(%err, "bootstrap tokens cannot be used");
                false
            },
        )
    }

    /// The book with what is asked granted, and the device's record in it.
    fn granting(
        &self,
        cache: &mut Cache,
        request: &Pending,
        now: u64,
    ) -> Result<(Book<Paired>, Paired), PairingError> {
        let mut paired = (*self.load_paired(cache)?).clone();
        let device = Paired::granting(paired.get(&request.device_id), request, now);
        paired.insert(request.device_id.clone(), device.clone());
        Ok((paired, device))
    }

    fn lock(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn load_paired(&self, cache: &mut Cache) -> Result<Arc<Book<Paired>>, PairingError> {
        let stamp = stamp(&self.dir.join("paired.json"));
        if let (Some(stamp), Some((known, book))) = (stamp, &cache.paired)
            && stamp == *known
        {
            return Ok(Arc::clone(book));
        }
        let book = Arc::new(self.load("paired.json")?);
        cache.paired = stamp.map(|stamp| (stamp, Arc::clone(&book)));
        Ok(book)
    }

    fn save_paired(&self, cache: &mut Cache, book: Book<Paired>) -> Result<(), PairingError> {
        self.save("paired.json", &book)?;
        cache.paired = stamp(&self.dir.join("paired.json")).map(|stamp| (stamp, Arc::new(book)));
        Ok(())
    }

    fn load_pending(&self, now: u64) -> Result<Book<Pending>, PairingError> {
        let mut pending: Book<Pending> = self.load("pending.json")?;
        pending.retain(|_, request| request.ts + PENDING_TTL_MS > now);
        Ok(pending)
    }

    fn load<T: DeserializeOwned + Default>(&self, name: &str) -> Result<T, PairingError> {
        let path = self.dir.join(name);
        let unreadable = |source| PairingError::Unreadable { path: path.clone(), source };
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|err| unreadable(err.into())),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(T::default()),
            Err(err) => Err(unreadable(err)),
        }
    }

    fn save<T: Serialize>(&self, name: &str, book: &T) -> Result<(), PairingError> {
        let path = self.dir.join(name);
        let write = || -> io::Result<()> {
            let mut text = serde_json::to_string_pretty(book)?;
            text.push('\n');
            atomic::write(&path, text.as_bytes(), atomic::Sync::Yes)
        };
        write().map_err(|source| PairingError::Unreadable { path: path.clone(), source })
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    use std::os::unix::fs::MetadataExt;
    let meta = fs::metadata(path).ok()?;
    Some((meta.ino(), meta.len(), meta.modified().ok()))
}

/// Thirty-two random bytes in URL-safe base64.
pub fn random_token() -> Secret {
    use base64::Engine;
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).expect("the operating system has randomness");
    Secret::new(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes))
}
