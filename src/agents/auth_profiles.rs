//! `auth-profiles.json`: stored credentials of an agent, which of them is next,
//! and which need a rest.
//!
//! The file belongs to the reference as much as to us: only `usageStats` and
//! `lastGood` are ever changed, everything else survives byte for byte in
//! meaning. Functions here block; callers on the runtime use `spawn_blocking`.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::agents::providers::FailReason;
use crate::config::{Config, SecretValues};
use crate::profile::env::Env;
use crate::store::atomic;

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
/// A success is written down at most this often per profile.
const LAST_USED_STEP: u64 = MINUTE;
/// How long another process may hold the file.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// The stored credentials that one agent may use: the main agent's and its own.
#[derive(Debug, Clone, Default)]
pub struct Profiles {
    known: Map<String, Value>,
    order: Map<String, Value>,
    stats: Map<String, Value>,
}

/// A usable credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile<'a> {
    pub id: &'a str,
    /// `api_key`, `token` or `oauth`.
    pub kind: &'a str,
    pub secret: String,
}

/// A stored credential without its secret.
#[derive(Debug, Clone, Copy)]
pub struct Stored<'a> {
    pub id: &'a str,
    pub provider: &'a str,
    pub kind: &'a str,
    /// Milliseconds since the Unix epoch.
    pub expires: Option<u64>,
    /// Whether it can be had anew without a person.
    pub renewable: bool,
    pub disabled_until: u64,
    pub disabled_reason: Option<&'a str>,
}

/// Where an agent's profiles are stored.
pub fn file(agent_dir: &Path) -> PathBuf {
    agent_dir.join("auth-profiles.json")
}

impl Profiles {
    /// Reads the agent's file over the main agent's. A missing or broken file
    /// counts as empty; a broken one is reported.
    pub fn read(agent_dir: &Path, main_agent_dir: &Path) -> Self {
        let mut all = Self::default();
        let dirs = [Some(main_agent_dir).filter(|dir| *dir != agent_dir), Some(agent_dir)];
        for dir in dirs.into_iter().flatten() {
            let Some(mut document) = read_document(&file(dir)) else {
                continue;
            };
            for (key, slot) in [
                ("profiles", &mut all.known),
                ("order", &mut all.order),
                ("usageStats", &mut all.stats),
            ] {
                if let Some(Value::Object(entries)) = document.remove(key) {
                    slot.extend(entries);
                }
            }
        }
        all
    }

    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Everything that is stored.
    pub fn stored(&self) -> impl Iterator<Item = Stored<'_>> {
        self.known.iter().filter_map(|(id, profile)| {
            Some(Stored {
                id,
                provider: profile["provider"].as_str()?,
                kind: profile["type"].as_str()?,
                expires: profile["expires"].as_u64(),
                renewable: profile["refresh"].as_str().is_some_and(|token| !token.is_empty()),
                disabled_until: self.stat(id, "disabledUntil"),
                disabled_reason: self.stats.get(id).and_then(|s| s["disabledReason"].as_str()),
            })
        })
    }

    /// The agent's own order of the profiles of `provider`.
    pub fn order(&self, provider: &str) -> Vec<&str> {
        let order = self.order.get(provider).and_then(Value::as_array);
        order.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// Whether any profile of `provider` is stored.
    pub fn has(&self, provider: &str) -> bool {
        self.known.values().any(|profile| profile["provider"] == provider)
    }

    /// The profile of that id, if its secret can be had.
    pub fn get(
        &self,
        id: &str,
        env: &Env,
        secrets: &SecretValues,
        now: u64,
    ) -> Option<Profile<'_>> {
        let (id, profile) = self.known.get_key_value(id)?;
        let kind = profile["type"].as_str()?;
        let expired = profile["expires"].as_u64().is_some_and(|at| at > 0 && at <= now);
        if expired && kind != "api_key" {
            return None;
        }
        let (plain, reference) = match kind {
            "api_key" => ("key", "keyRef"),
            "token" => ("token", "tokenRef"),
            _ => ("access", "accessRef"),
        };
        // A reference wins over a secret in clear beside it.
        let referred = [&profile[reference], &profile[plain]]
            .into_iter()
            .find_map(|value| referred(value, env, secrets));
        let secret = referred.or_else(|| {
            let plain = profile[plain].as_str().map(str::trim)?;
            (!plain.is_empty()).then(|| plain.to_owned())
        })?;
        Some(Profile { id, kind, secret })
    }

    /// Usable profiles of `provider`, best first: the configured order, else
    /// OAuth before token before key and the longest unused first; those that
    /// rest come last, by who is back soonest.
    pub fn candidates(
        &self,
        provider: &str,
        config: &Config,
        env: &Env,
        secrets: &SecretValues,
        now: u64,
    ) -> Vec<Profile<'_>> {
        let ordered: Option<Vec<&str>> = [self.order.get(provider), config_order(config, provider)]
            .into_iter()
            .flatten()
            .find_map(|list| Some(list.as_array()?.iter().filter_map(Value::as_str).collect()));
        let explicit = ordered.is_some();
        let ids: Vec<&str> = ordered.unwrap_or_else(|| {
            let own = self.known.iter().filter(|(_, profile)| profile["provider"] == provider);
            own.map(|(id, _)| id.as_str()).collect()
        });
        let mut usable: Vec<Profile<'_>> =
            ids.into_iter().filter_map(|id| self.get(id, env, secrets, now)).collect();
        if !explicit {
            usable.sort_by_key(|profile| {
                let rank = match profile.kind {
                    "oauth" => 0,
                    "token" => 1,
                    _ => 2,
                };
                (rank, self.stat(profile.id, "lastUsed"))
            });
        }
        // Stable, so that the order above holds among those that are awake.
        usable.sort_by_key(|profile| self.resting_until(profile.id, now));
        usable
    }

    /// When a resting profile is back; 0 when it is awake.
    pub fn resting_until(&self, id: &str, now: u64) -> u64 {
        let until = self.stat(id, "cooldownUntil").max(self.stat(id, "disabledUntil"));
        if until > now { until } else { 0 }
    }

    fn stat(&self, id: &str, key: &str) -> u64 {
        self.stats.get(id).and_then(|stats| stats[key].as_u64()).unwrap_or(0)
    }
}

/// What a reference stands for: what was resolved when the configuration was
/// taken over, or a variable.
fn referred(reference: &Value, env: &Env, secrets: &SecretValues) -> Option<String> {
    let text = |key: &str| reference[key].as_str();
    let (source, id) = (text("source")?, text("id")?);
    let name = format!("{source}:{}:{id}", text("provider").unwrap_or("default"));
    let resolved = secrets.get(&name).map(|secret| secret.expose().to_owned());
    resolved.or_else(|| env.get(id).filter(|_| source == "env").map(str::to_owned))
}

fn config_order<'a>(config: &'a Config, provider: &str) -> Option<&'a Value> {
    config.auth.get("order")?.get(provider)
}

fn read_document(path: &Path) -> Option<Map<String, Value>> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return None,
        Err(err) => {
            tracing::warn!(path = %path.display(), error = %err, "auth profiles cannot be read");
            return None;
        }
    };
    match serde_json::from_slice(&text) {
        Ok(Value::Object(document)) => Some(document),
        Ok(_) => {
            tracing::warn!(path = %path.display(), "auth profiles are not a JSON object");
            None
        }
        Err(err) => {
            tracing::warn!(path = %path.display(), error = %err, "auth profiles are not valid JSON");
            None
        }
    }
}

/// The folder whose store holds a profile: the agent's own, or the main agent's.
pub fn holder<'d>(id: &str, agent_dir: &'d Path, main_agent_dir: &'d Path) -> &'d Path {
    let own = read_document(&file(agent_dir));
    if own.is_some_and(|document| document.get("profiles").is_some_and(|all| all.get(id).is_some()))
    {
        agent_dir
    } else {
        main_agent_dir
    }
}

/// Notes that a profile worked. Writes only when that says something new.
pub fn record_success(agent_dir: &Path, id: &str, now: u64) -> io::Result<()> {
    update(agent_dir, id, |stats| {
        let number = |key: &str| stats.get(key).and_then(Value::as_u64).unwrap_or(0);
        let quiet = number("errorCount") == 0 && number("cooldownUntil") == 0;
        if quiet && now.saturating_sub(number("lastUsed")) < LAST_USED_STEP {
            return false;
        }
        stats.insert("lastUsed".into(), json!(now));
        stats.insert("errorCount".into(), json!(0));
        for key in ["cooldownUntil", "disabledUntil", "disabledReason", "failureCounts"] {
            stats.shift_remove(key);
        }
        true
    })
}

/// Puts a profile to rest after a failure that is its own.
pub fn record_failure(
    agent_dir: &Path,
    id: &str,
    reason: FailReason,
    config: &Config,
    now: u64,
) -> io::Result<()> {
    let setting = |key: &str, default: u64| {
        let hours = config.auth.get("cooldowns").and_then(|all| all[key].as_u64());
        hours.unwrap_or(default) * HOUR
    };
    let window = setting("failureWindowHours", 24);
    let (first, max) = (setting("billingBackoffHours", 5), setting("billingMaxHours", 24));
    update(agent_dir, id, |stats| {
        let number = |stats: &Map<String, Value>, key: &str| {
            stats.get(key).and_then(Value::as_u64).unwrap_or(0)
        };
        if now.saturating_sub(number(stats, "lastFailureAt")) > window {
            stats.insert("errorCount".into(), json!(0));
            stats.shift_remove("failureCounts");
        }
        // Tried while it rests, because there was nothing better: that is the
        // same trouble, and its rest grows no longer.
        let disables = matches!(reason, FailReason::Billing | FailReason::AuthPermanent);
        let rest = if disables { "disabledUntil" } else { "cooldownUntil" };
        if number(stats, rest) > now {
            stats.insert("lastFailureAt".into(), json!(now));
            return true;
        }
        let errors = number(stats, "errorCount") + 1;
        let counts = stats.entry("failureCounts").or_insert_with(|| json!({}));
        let of_reason = counts[reason.as_str()].as_u64().unwrap_or(0) + 1;
        counts[reason.as_str()] = json!(of_reason);
        stats.insert("errorCount".into(), json!(errors));
        stats.insert("lastFailureAt".into(), json!(now));
        if disables {
            let doublings = u32::try_from(of_reason - 1).unwrap_or(u32::MAX).min(10);
            let rest = first.saturating_mul(1 << doublings).min(max);
            stats.insert("disabledUntil".into(), json!(now + rest));
            stats.insert("disabledReason".into(), json!(reason.as_str()));
        } else {
            let steps = u32::try_from(errors - 1).unwrap_or(u32::MAX).min(3);
            let rest = MINUTE.saturating_mul(5_u64.pow(steps)).min(HOUR);
            stats.insert("cooldownUntil".into(), json!(now + rest));
        }
        true
    })
}

/// Whether a failure says something about the credential.
pub fn blames_profile(reason: FailReason) -> bool {
    matches!(
        reason,
        FailReason::RateLimit
            | FailReason::Overloaded
            | FailReason::Auth
            | FailReason::AuthPermanent
            | FailReason::Billing
    )
}

/// Stores a credential, in the place of one of the same name.
pub fn put(agent_dir: &Path, id: &str, credential: &Value) -> io::Result<()> {
    edit(agent_dir, |root| {
        section(root, "profiles").insert(id.to_owned(), credential.clone());
        true
    })
}

/// Sets the agent's own order of a provider's profiles, or takes it away.
pub fn set_order(agent_dir: &Path, provider: &str, order: Option<&[String]>) -> io::Result<()> {
    edit(agent_dir, |root| {
        let all = section(root, "order");
        match order {
            Some(order) => drop(all.insert(provider.to_owned(), json!(order))),
            None => drop(all.shift_remove(provider)),
        }
        true
    })
}

/// An object in the document, made if it is not there.
fn section<'v>(root: &'v mut Map<String, Value>, key: &str) -> &'v mut Map<String, Value> {
    let section = root.entry(key).or_insert_with(|| json!({}));
    if !section.is_object() {
        *section = json!({});
    }
    match section {
        Value::Object(section) => section,
        _ => unreachable!("made an object above"),
    }
}

/// Changes the file under its lock, and makes it if it is not there.
fn edit(agent_dir: &Path, change: impl FnOnce(&mut Map<String, Value>) -> bool) -> io::Result<()> {
    let path = file(agent_dir);
    atomic::private_dir(agent_dir)?;
    let _lock = lock(&path)?;
    let mut document = match std::fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).map_err(io::Error::other)?,
        Err(err) if err.kind() == io::ErrorKind::NotFound => json!({ "version": 1 }),
        Err(err) => return Err(err),
    };
    let root = document.as_object_mut().ok_or_else(|| io::Error::other("not a JSON object"))?;
    if !change(root) {
        return Ok(());
    }
    let mut text = serde_json::to_vec_pretty(&document)?;
    text.push(b'\n');
    atomic::write(&path, &text, atomic::Sync::No)
}

/// Changes the statistics of one profile under the file's lock. A store that
/// does not hold the profile is left alone.
fn update(
    agent_dir: &Path,
    id: &str,
    change: impl FnOnce(&mut Map<String, Value>) -> bool,
) -> io::Result<()> {
    let path = file(agent_dir);
    if !path.exists() {
        return Ok(());
    }
    edit(agent_dir, |root| {
        if root.get("profiles").is_none_or(|profiles| profiles.get(id).is_none()) {
            return false;
        }
        let all = section(root, "usageStats");
        change(section(all, id))
    })
}

fn lock(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path.with_extension("json.oclock"))?;
    let mut waited = Duration::ZERO;
    let step = Duration::from_millis(20);
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::WouldBlock) if waited < LOCK_PATIENCE => {
                std::thread::park_timeout(step);
                waited += step;
            }
            Err(err) => return Err(err.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(document: &Value) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(file(dir.path()), document.to_string()).unwrap();
        dir
    }

    fn reread(dir: &tempfile::TempDir) -> Value {
        serde_json::from_slice(&std::fs::read(file(dir.path())).unwrap()).unwrap()
    }

    fn two_keys() -> Value {
        json!({"version":1,"extra":{"kept":true},"profiles":{
            "openai:a":{"type":"api_key","provider":"openai","key":"sk-a"},
            "openai:b":{"type":"token","provider":"openai","token":"tok-b","expires":0},
            "openai:gone":{"type":"token","provider":"openai","token":"old","expires":5},
            "openai:env":{"type":"api_key","provider":"openai","keyRef":{"source":"env","provider":"default","id":"MY_KEY"}}}})
    }

    #[test]
    fn tokens_come_before_keys_and_expired_ones_not_at_all() {
        let dir = store(&two_keys());
        let profiles = Profiles::read(dir.path(), dir.path());
        let env: Env = [("MY_KEY", "sk-env")].into_iter().collect();
        let ids: Vec<_> = profiles
            .candidates("openai", &Config::default(), &env, &SecretValues::new(), 1000)
            .into_iter()
            .map(|profile| (profile.id.to_owned(), profile.secret))
            .collect();
        let expected = [("openai:b", "tok-b"), ("openai:a", "sk-a"), ("openai:env", "sk-env")]
            .map(|(id, secret)| (id.to_owned(), secret.to_owned()));
        assert_eq!(ids, expected);
    }

    #[test]
    fn a_failure_puts_a_profile_last_and_a_success_brings_it_back() {
        let dir = store(&two_keys());
        let config = Config::default();
        let now = 10_000_000;
        record_failure(dir.path(), "openai:b", FailReason::RateLimit, &config, now).unwrap();
        let first = |now: u64| {
            let profiles = Profiles::read(dir.path(), dir.path());
            let none = SecretValues::new();
            profiles.candidates("openai", &config, &Env::default(), &none, now)[0].id.to_owned()
        };
        assert_eq!(first(now + 1), "openai:a");
        assert_eq!(first(now + MINUTE), "openai:b");
        record_success(dir.path(), "openai:b", now + 2).unwrap();
        assert_eq!(first(now + 3), "openai:b");
        let document = reread(&dir);
        assert_eq!(document["extra"]["kept"], true);
        assert_eq!(document["usageStats"]["openai:b"]["errorCount"], 0);
    }

    #[test]
    fn rests_grow_from_a_minute_to_an_hour_and_billing_takes_hours() {
        let dir = store(&two_keys());
        let config = Config::default();
        let mut now = 10_000_000;
        let rests: Vec<u64> = (0..5)
            .map(|_| {
                record_failure(dir.path(), "openai:a", FailReason::Auth, &config, now).unwrap();
                let until = |dir| reread(dir)["usageStats"]["openai:a"]["cooldownUntil"].as_u64();
                let rest = (until(&dir).unwrap() - now) / MINUTE;
                // Tried again while it rests, it rests no longer for it.
                now += MINUTE / 2;
                record_failure(dir.path(), "openai:a", FailReason::Auth, &config, now).unwrap();
                assert_eq!((until(&dir).unwrap() - now) / MINUTE, rest - 1);
                now = until(&dir).unwrap();
                rest
            })
            .collect();
        assert_eq!(rests, [1, 5, 25, 60, 60]);
        let hours: Vec<u64> = (0..4)
            .map(|_| {
                record_failure(dir.path(), "openai:b", FailReason::Billing, &config, now).unwrap();
                let until = reread(&dir)["usageStats"]["openai:b"]["disabledUntil"].as_u64();
                let hours = (until.unwrap() - now) / HOUR;
                now = until.unwrap();
                hours
            })
            .collect();
        assert_eq!(hours, [5, 10, 20, 24]);
    }

    #[test]
    fn an_inherited_profile_rests_where_it_is_stored() {
        let (own, main) = (store(&json!({"profiles": {"openai:own": {}}})), store(&two_keys()));
        let config = Config::default();
        for (id, expected) in [("openai:own", &own), ("openai:b", &main)] {
            let dir = holder(id, own.path(), main.path());
            assert_eq!(dir, expected.path(), "{id}");
            record_failure(dir, id, FailReason::RateLimit, &config, 10_000_000).unwrap();
            assert_eq!(reread(expected)["usageStats"][id]["errorCount"], 1, "{id}");
        }
        let none = SecretValues::new();
        let profiles = Profiles::read(own.path(), main.path());
        let next = profiles.candidates("openai", &config, &Env::default(), &none, 10_000_001);
        assert_eq!(next[0].id, "openai:a");
    }

    #[test]
    fn a_broken_store_counts_as_empty_and_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(file(dir.path()), "{ not json").unwrap();
        assert!(Profiles::read(dir.path(), dir.path()).is_empty());
        assert!(record_success(dir.path(), "x", 1).is_err());
        assert_eq!(std::fs::read(file(dir.path())).unwrap(), b"{ not json");
    }
}
