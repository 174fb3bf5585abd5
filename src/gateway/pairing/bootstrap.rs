//! Bootstrap tokens: short-lived invitations for a first connection, shared
//! with official command lines through one file.

use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::base::secret::Secret;
use crate::protocol::scope::{Role, Scopes};
use crate::store::atomic;

/// How long an invitation is good for.
const TTL_MS: u64 = 600_000;

/// What an invitation allows, and who took it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Invitation {
    token: Secret,
    #[serde(default)]
    ts: u64,
    #[serde(default)]
    profile: Profile,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    public_key: Option<String>,
    #[serde(default)]
    issued_at_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_used_at_ms: Option<u64>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Profile {
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    scopes: Scopes,
}

/// Who shows an invitation, and what for.
#[derive(Debug, Clone, Copy)]
pub struct Bearer<'a> {
    pub device_id: &'a str,
    pub public_key: &'a str,
    pub role: Role,
    pub scopes: &'a Scopes,
}

/// What an invitation for a phone allows.
const PHONE_ROLES: [&str; 2] = ["node", "operator"];
const PHONE_SCOPES: [&str; 3] = ["operator.read", "operator.talk.secrets", "operator.write"];

/// Writes a new invitation for a phone.
pub fn issue(file: &Path, now: u64) -> io::Result<Secret> {
    let mut book = read(file, now)?;
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    let token = URL_SAFE_NO_PAD.encode(bytes);
    let invitation = Invitation {
        token: Secret::new(token.as_str()),
        ts: now,
        profile: Profile {
            roles: PHONE_ROLES.map(str::to_owned).into(),
            scopes: Scopes::new(PHONE_SCOPES.map(str::to_owned).into()),
        },
        issued_at_ms: now,
        ..Invitation::default()
    };
    book.insert(token.clone(), invitation);
    if let Some(dir) = file.parent() {
        atomic::private_dir(dir)?;
    }
    atomic::write(file, serde_json::to_string_pretty(&book)?.as_bytes(), atomic::Sync::Yes)?;
    Ok(Secret::new(token))
}

/// The invitations that still are good.
fn read(file: &Path, now: u64) -> io::Result<IndexMap<String, Invitation>> {
    let mut book: IndexMap<String, Invitation> = match std::fs::read(file) {
        Ok(bytes) => serde_json::from_slice(&bytes)?,
        Err(err) if err.kind() == io::ErrorKind::NotFound => IndexMap::new(),
        Err(err) => return Err(err),
    };
    book.retain(|_, invitation| invitation.ts + TTL_MS > now);
    Ok(book)
}

/// Whether `shown` invites this device; the first one to show it keeps it.
pub(super) fn redeem(file: &Path, shown: &str, bearer: Bearer<'_>, now: u64) -> io::Result<bool> {
    let mut book = read(file, now)?;
    let Some(invitation) = book.values_mut().find(|known| known.token.matches(shown.trim())) else {
        return Ok(false);
    };
    let allows = invitation.profile.roles.iter().any(|role| role == bearer.role.as_str())
        && invitation.profile.scopes.first_missing(bearer.scopes.as_slice()).is_none();
    let taken_by_other = invitation.device_id.as_deref().is_some_and(|id| id != bearer.device_id)
        || invitation.public_key.as_deref().is_some_and(|key| key != bearer.public_key);
    if !allows || taken_by_other {
        return Ok(false);
    }
    invitation.device_id = Some(bearer.device_id.to_owned());
    invitation.public_key = Some(bearer.public_key.to_owned());
    invitation.last_used_at_ms = Some(now);
    atomic::write(file, serde_json::to_string_pretty(&book)?.as_bytes(), atomic::Sync::Yes)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_issued_invitation_is_redeemed_for_what_phones_need() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("devices/bootstrap.json");
        let (first, second) = (issue(&file, 1000).unwrap(), issue(&file, 2000).unwrap());
        let asks = |scope: &str| Scopes::new(vec![scope.to_owned()]);
        let (write, admin) = (asks("operator.write"), asks("operator.admin"));
        let bearer =
            |scopes| Bearer { device_id: "d", public_key: "k", role: Role::Operator, scopes };
        assert!(redeem(&file, first.expose(), bearer(&write), 3000).unwrap());
        assert!(redeem(&file, second.expose(), bearer(&write), 3000).unwrap());
        assert!(!redeem(&file, first.expose(), bearer(&admin), 3000).unwrap());
        assert!(!redeem(&file, first.expose(), bearer(&write), 601_001).unwrap());
    }

    #[test]
    fn an_invitation_belongs_to_the_first_device_and_ends() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("bootstrap.json");
        let book = json!({"abc": {"token": "abc", "ts": 1000, "issuedAtMs": 1000,
            "profile": {"roles": ["node"], "scopes": []}}});
        std::fs::write(&file, book.to_string()).unwrap();
        let none = Scopes::default();
        let bearer = |device_id: &'static str, role| Bearer {
            device_id,
            public_key: "key",
            role,
            scopes: &none,
        };
        assert!(!redeem(&file, "wrong", bearer("a", Role::Node), 2000).unwrap());
        assert!(!redeem(&file, "abc", bearer("a", Role::Operator), 2000).unwrap());
        assert!(redeem(&file, "abc", bearer("a", Role::Node), 2000).unwrap());
        assert!(redeem(&file, "abc", bearer("a", Role::Node), 3000).unwrap());
        assert!(!redeem(&file, "abc", bearer("b", Role::Node), 3000).unwrap());
        assert!(!redeem(&file, "abc", bearer("a", Role::Node), 601_001).unwrap());
    }
}
