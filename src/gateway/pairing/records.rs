//! What the device files hold, and the rules that merge one record into another.
//!
//! Keys that are not known here survive a rewrite.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::base::secret::Secret;
use crate::gateway::pairing::{proof, random_token};
use crate::protocol::scope::{Role, Scopes};

/// What a connecting device says about itself and asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claim {
    pub device_id: String,
    pub public_key: String,
    pub display_name: Option<String>,
    pub platform: Option<String>,
    pub device_family: Option<String>,
    pub client_id: Option<String>,
    pub client_mode: Option<String>,
    pub role: String,
    pub scopes: Scopes,
    pub remote_ip: Option<String>,
    /// Whether it may be granted without asking a person.
    pub silent: bool,
}

/// A device that may connect.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Paired {
    pub device_id: String,
    pub public_key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_family: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_mode: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Scopes>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_scopes: Option<Scopes>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_ip: Option<String>,
    #[serde(default)]
    pub tokens: IndexMap<String, Token>,
    #[serde(default)]
    pub created_at_ms: u64,
    #[serde(default)]
    pub approved_at_ms: u64,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// A device's token for one role.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Token {
    pub token: Secret,
    pub role: String,
    #[serde(default)]
    pub scopes: Scopes,
    #[serde(default)]
    pub created_at_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated_at_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at_ms: Option<u64>,
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.token.matches(other.token.expose())
            && self.scopes == other.scopes
            && self.rotated_at_ms == other.rotated_at_ms
            && self.revoked_at_ms == other.revoked_at_ms
            && self.last_used_at_ms == other.last_used_at_ms
    }
}

/// A request that waits for an answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pending {
    pub request_id: String,
    pub device_id: String,
    pub public_key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_family: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_mode: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Scopes>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_ip: Option<String>,
    #[serde(default)]
    pub silent: bool,
    #[serde(default)]
    pub is_repair: bool,
    /// Milliseconds since the Unix epoch.
    pub ts: u64,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl Token {
    /// A fresh token.
    pub fn mint(role: &str, scopes: Scopes, now: u64) -> Self {
        Self {
            token: random_token(),
            role: role.to_owned(),
            scopes,
            created_at_ms: now,
            ..Self::default()
        }
    }

    /// When it was last given out, for `issuedAtMs`.
    pub fn issued_at_ms(&self) -> u64 {
        self.rotated_at_ms.unwrap_or(self.created_at_ms)
    }

    /// As lists show it, without the secret.
    pub fn summary(&self) -> Value {
        let mut summary = serde_json::to_value(self).unwrap_or_default();
        if let Some(entries) = summary.as_object_mut() {
            entries.shift_remove("token");
        }
        summary
    }
}

impl Pending {
    pub(super) fn new(request_id: String, claim: &Claim, is_repair: bool, now: u64) -> Self {
        let claim = claim.clone();
        Self {
            request_id,
            device_id: claim.device_id,
            public_key: claim.public_key,
            display_name: claim.display_name,
            platform: claim.platform,
            device_family: claim.device_family,
            client_id: claim.client_id,
            client_mode: claim.client_mode,
            roles: Some(vec![claim.role.clone()]),
            role: Some(claim.role),
            scopes: Some(claim.scopes),
            remote_ip: claim.remote_ip,
            silent: claim.silent,
            is_repair,
            ts: now,
            rest: Map::new(),
        }
    }

    pub(super) fn asks_the_same(&self, claim: &Claim) -> bool {
        self.device_id == claim.device_id
            && self.public_key == claim.public_key
            && self.role.as_deref() == Some(claim.role.as_str())
            && self.scopes.as_ref().map(Scopes::expanded) == Some(claim.scopes.expanded())
    }

    /// Takes over what an older request of the same device asked for.
    pub(super) fn absorb(&mut self, older: &Self) {
        self.roles = union(older.roles.as_deref(), self.roles.as_deref());
        self.scopes = union(
            older.scopes.as_ref().map(Scopes::as_slice),
            self.scopes.as_ref().map(Scopes::as_slice),
        )
        .map(Scopes::new);
        self.silent &= older.silent;
    }

    /// The first operator scope asked for that `approver` does not hold.
    pub(super) fn beyond(&self, approver: &Scopes) -> Option<String> {
        let wanted = self.scopes.as_ref()?;
        wanted
            .as_slice()
            .iter()
            .find(|scope| scope.starts_with("operator.") && !approver.allow_named(scope))
            .cloned()
    }
}

impl Paired {
    /// The record after `request` was granted to a device known as `old`.
    pub(super) fn granting(old: Option<&Self>, request: &Pending, now: u64) -> Self {
        // Another key under the same id is another device: nothing carries over.
        let old = old.filter(|old| old.public_key == request.public_key);
        let role = request.role.clone().unwrap_or_else(|| Role::Operator.as_str().to_owned());
        let wanted = request.scopes.clone().unwrap_or_default();
        let scopes = union(old.map(|old| old.approved().as_slice()), Some(wanted.as_slice()))
            .map(Scopes::new);
        let mut tokens = old.map(|old| old.tokens.clone()).unwrap_or_default();
        let mut token = Token::mint(&role, wanted.expanded(), now);
        if let Some(previous) = tokens.get(&role) {
            token.created_at_ms = previous.created_at_ms;
            token.rotated_at_ms = Some(now);
            token.last_used_at_ms = previous.last_used_at_ms;
        }
        tokens.insert(role.clone(), token);
        let request = request.clone();
        Self {
            device_id: request.device_id,
            public_key: request.public_key,
            display_name: request.display_name,
            platform: request.platform,
            device_family: request.device_family,
            client_id: request.client_id,
            client_mode: request.client_mode,
            roles: union(old.and_then(|old| old.roles.as_deref()), request.roles.as_deref()),
            role: Some(role),
            scopes: scopes.clone(),
            approved_scopes: scopes,
            remote_ip: request.remote_ip,
            tokens,
            created_at_ms: old.map_or(now, |old| old.created_at_ms),
            approved_at_ms: now,
            rest: old.map(|old| old.rest.clone()).unwrap_or_default(),
        }
    }

    /// The token of a role, unless revoked.
    pub fn live_token(&self, role: &str) -> Option<&Token> {
        self.tokens.get(role).filter(|token| token.revoked_at_ms.is_none())
    }

    /// Whether the token of a role was taken away.
    pub fn was_revoked(&self, role: &str) -> bool {
        self.tokens.get(role).is_some_and(|token| token.revoked_at_ms.is_some())
    }

    /// Whether the device may take `role`: by a live token, or, in records
    /// without any token, by the roles written down.
    pub fn has_role(&self, role: &str) -> bool {
        if self.tokens.is_empty() {
            let listed = self.roles.iter().flatten().chain(&self.role);
            return listed.into_iter().any(|name| name == role);
        }
        self.live_token(role).is_some()
    }

    /// What a person, or the rules, approved.
    pub fn approved(&self) -> &Scopes {
        static NONE: std::sync::LazyLock<Scopes> = std::sync::LazyLock::new(Scopes::default);
        self.approved_scopes.as_ref().or(self.scopes.as_ref()).unwrap_or(&NONE)
    }

    /// Whether `shown` proves that this device may take `role` with `scopes`.
    pub fn accepts_token(&self, role: &str, shown: &str, scopes: &Scopes) -> bool {
        self.live_token(role).is_some_and(|token| {
            token.token.matches(shown)
                && self.approved().expanded().first_missing(token.scopes.as_slice()).is_none()
                && token.scopes.first_missing(scopes.as_slice()).is_none()
        })
    }

    /// Whether the claim names another platform or family than the one pinned.
    pub fn contradicts(&self, claim: &Claim) -> bool {
        let differs = |pinned: &Option<String>, claimed: &Option<String>| {
            let pinned = pinned.as_deref().map(proof::normalised).unwrap_or_default();
            !pinned.is_empty()
                && pinned != proof::normalised(claimed.as_deref().unwrap_or_default())
        };
        differs(&self.platform, &claim.platform)
            || differs(&self.device_family, &claim.device_family)
    }

    pub(super) fn note_connection(&mut self, claim: &Claim) {
        self.display_name = claim.display_name.clone().or(self.display_name.take());
        self.client_id = claim.client_id.clone().or(self.client_id.take());
        self.client_mode = claim.client_mode.clone().or(self.client_mode.take());
        self.remote_ip = claim.remote_ip.clone().or(self.remote_ip.take());
        self.role = Some(claim.role.clone());
        self.roles = union(self.roles.as_deref(), Some(std::slice::from_ref(&claim.role)));
        self.scopes =
            union(self.scopes.as_ref().map(Scopes::as_slice), Some(claim.scopes.as_slice()))
                .map(Scopes::new);
    }

    /// As lists show it: no secrets, tokens as a list.
    pub fn summary(&self) -> Value {
        let mut summary = serde_json::to_value(self).unwrap_or_default();
        if let Some(entries) = summary.as_object_mut() {
            entries.shift_remove("approvedScopes");
            let tokens: Vec<Value> = self.tokens.values().map(Token::summary).collect();
            entries.shift_remove("tokens");
            entries.insert("tokens".to_owned(), json!(tokens));
        }
        summary
    }
}

fn union(first: Option<&[String]>, second: Option<&[String]>) -> Option<Vec<String>> {
    if first.is_none() && second.is_none() {
        return None;
    }
    let mut all: Vec<String> = Vec::new();
    for item in first.unwrap_or_default().iter().chain(second.unwrap_or_default()) {
        if !all.contains(item) {
            all.push(item.clone());
        }
    }
    Some(all)
}
