//! What a Matrix account remembers: its session (in the reference's file) and
//! how far it has read. Blocking.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::base::clock;
use crate::base::secret::Secret;
use crate::channels::channel::DEFAULT;
use crate::store::atomic::{self, Sync};

#[derive(Debug, Clone)]
pub(super) struct Store {
    credentials: PathBuf,
    sync: PathBuf,
}

/// A session from an earlier sign-in.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub(super) user: String,
    pub(super) token: Secret,
}

impl Store {
    pub(super) fn new(state: &Path, account: &str) -> Self {
        let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
        let account_part: String = account.to_lowercase().chars().map(plain).collect();
        let name = if account == DEFAULT {
            "credentials.json".to_owned()
        } else {
            format!("credentials-{account_part}.json")
        };
        Self {
            credentials: state.join("credentials/matrix").join(name),
            sync: state.join("channels/matrix").join(format!("sync-{account_part}.json")),
        }
    }

    /// The session for this server, and this user where one is named.
    pub(super) fn session(&self, server: &str, user: Option<&str>) -> Option<Session> {
        let kept: Value = serde_json::from_slice(&std::fs::read(&self.credentials).ok()?).ok()?;
        let text = |key: &str| kept[key].as_str().filter(|text| !text.is_empty());
        let same_server = text("homeserver")?.trim_end_matches('/') == server;
        let known = text("userId")?;
        let same_user = user.is_none_or(|user| {
            let local = known.trim_start_matches('@').split(':').next();
            user == known || Some(user) == local
        });
        (same_server && same_user).then(|| Session {
            user: known.to_owned(),
            token: Secret::new(text("accessToken").unwrap_or_default()),
        })
    }

    pub(super) fn keep_session(&self, server: &str, login: &Value) -> io::Result<()> {
        let now = clock::iso8601(clock::now_ms());
        let document = json!({
            "homeserver": server, "userId": login["user_id"], "accessToken": login["access_token"],
            "deviceId": login["device_id"], "createdAt": now, "lastUsedAt": now,
        });
        atomic::write(&self.credentials, &serde_json::to_vec_pretty(&document)?, Sync::Yes)
    }

    /// Forgets the session; whether there was one.
    pub(super) fn forget_session(&self) -> io::Result<bool> {
        match std::fs::remove_file(&self.credentials) {
            Ok(()) => Ok(true),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(err) => Err(err),
        }
    }

    /// How far this user's events were read.
    pub(super) fn since(&self, user: &str) -> Option<String> {
        let kept: Value = serde_json::from_slice(&std::fs::read(&self.sync).ok()?).ok()?;
        let same = kept["userId"] == user;
        kept["nextBatch"].as_str().filter(|_| same).map(str::to_owned)
    }

    pub(super) fn keep_since(&self, user: &str, since: &str) -> io::Result<()> {
        let document = json!({"version": 1, "userId": user, "nextBatch": since});
        atomic::write(&self.sync, document.to_string().as_bytes(), Sync::Yes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_that_of_its_server_and_user() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path(), "default");
        let login = json!({"user_id": "@bot:test", "access_token": "t", "device_id": "D"});
        store.keep_session("https://m", &login).unwrap();
        assert_eq!(store.session("https://m", Some("bot")).unwrap().user, "@bot:test");
        assert!(store.session("https://m", Some("@bot:test")).is_some());
        assert!(store.session("https://m", Some("eve")).is_none());
        assert!(store.session("https://other", None).is_none());
        assert!(dir.path().join("credentials/matrix/credentials.json").exists());
        store.keep_since("@bot:test", "s1").unwrap();
        assert_eq!(store.since("@bot:test").as_deref(), Some("s1"));
        assert_eq!(store.since("@eve:test"), None);
        assert!(store.forget_session().unwrap() && !store.forget_session().unwrap());
    }
}
