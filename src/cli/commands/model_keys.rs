//! What `models status` says about stored credentials: how many a provider
//! has, which of them end soon, which rest after failures. Never a secret.

use serde::Serialize;

use crate::agents::auth_profiles::{Profiles, Stored};

/// A credential that ends within this time is `expiring`, in milliseconds.
const WARN_AFTER_MS: u64 = 24 * 60 * 60 * 1000;

/// The stored credentials of one provider, counted.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    pub count: usize,
    oauth: usize,
    token: usize,
    api_key: usize,
    labels: Vec<String>,
}

impl Counts {
    pub fn of(profiles: &Profiles, provider: &str) -> Self {
        let mut counts = Self::default();
        for stored in profiles.stored().filter(|stored| stored.provider == provider) {
            counts.count += 1;
            match stored.kind {
                "oauth" => counts.oauth += 1,
                "token" => counts.token += 1,
                _ => counts.api_key += 1,
            }
            counts.labels.push(format!("{}={}", stored.id, stored.kind));
        }
        counts
    }

    /// `openai (2)`: credentials that somebody signed in for.
    pub fn signed_in(&self, provider: &str) -> Option<String> {
        let signed_in = self.oauth + self.token;
        (signed_in > 0).then(|| format!("{provider} ({signed_in})"))
    }
}

/// How long credentials last.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    warn_after_ms: u64,
    profiles: Vec<Lasting>,
    providers: Vec<ProviderHealth>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Lasting {
    profile_id: String,
    provider: String,
    r#type: String,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remaining_ms: Option<i64>,
    source: &'static str,
    label: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ProviderHealth {
    provider: String,
    status: &'static str,
    profiles: Vec<Lasting>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remaining_ms: Option<i64>,
}

/// A credential that rests after failures.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Resting {
    profile_id: String,
    provider: String,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    until: u64,
    remaining_ms: u64,
}

/// The credentials that rest, the first to be back first.
pub fn resting(profiles: &Profiles, now: u64) -> Vec<Resting> {
    let mut resting: Vec<Resting> = profiles
        .stored()
        .filter_map(|stored| {
            let until = profiles.resting_until(stored.id, now);
            (until > now).then(|| Resting {
                profile_id: stored.id.to_owned(),
                provider: stored.provider.to_owned(),
                kind: if stored.disabled_until > now { "disabled" } else { "cooldown" },
                reason: stored.disabled_reason.map(str::to_owned),
                until,
                remaining_ms: until - now,
            })
        })
        .collect();
    resting.sort_by_key(|resting| resting.until);
    resting
}

impl Health {
    pub fn of(profiles: &Profiles, providers: &[&str], now: u64) -> Self {
        let of_these = profiles.stored().filter(|stored| providers.contains(&stored.provider));
        let mut all: Vec<Lasting> = of_these.map(|stored| lasting(&stored, now)).collect();
        all.sort_by(|a, b| (&a.provider, &a.profile_id).cmp(&(&b.provider, &b.profile_id)));
        let mut names = providers.to_vec();
        names.sort_unstable();
        let providers = names.into_iter().map(|name| provider_health(name, &all, now)).collect();
        Self { warn_after_ms: WARN_AFTER_MS, profiles: all, providers }
    }

    /// Exit status of `--check`: 1 when something is missing or over, 2 when
    /// something ends soon.
    pub fn code(&self, anything_missing: bool) -> u8 {
        let any = |status: &[&str]| {
            let ending = |p: &&Lasting| p.r#type != "api_key" && status.contains(&p.status);
            self.profiles.iter().any(|profile| ending(&profile))
        };
        match (anything_missing || any(&["expired", "missing"]), any(&["expiring"])) {
            (true, _) => 1,
            (false, true) => 2,
            (false, false) => 0,
        }
    }
}

fn lasting(stored: &Stored<'_>, now: u64) -> Lasting {
    let expires = stored.expires.filter(|at| *at > 0);
    let left = |at: u64| i64::try_from(i128::from(at) - i128::from(now)).unwrap_or(i64::MAX);
    let ends = match expires.map(left) {
        None if stored.kind == "oauth" => "missing",
        None => "static",
        Some(left) if left <= 0 => "expired",
        Some(left) if left <= WARN_AFTER_MS.cast_signed() => "expiring",
        Some(_) => "ok",
    };
    let status = match stored.kind {
        "api_key" => "static",
        // What can be renewed does not end.
        "oauth" if stored.renewable && matches!(ends, "expired" | "expiring") => "ok",
        _ => ends,
    };
    let expires = expires.filter(|_| stored.kind != "api_key");
    Lasting {
        profile_id: stored.id.to_owned(),
        provider: stored.provider.to_owned(),
        r#type: stored.kind.to_owned(),
        status,
        expires_at: expires,
        remaining_ms: expires.map(left),
        source: "store",
        label: stored.id.to_owned(),
    }
}

fn provider_health(name: &str, all: &[Lasting], now: u64) -> ProviderHealth {
    let profiles: Vec<Lasting> = all.iter().filter(|p| p.provider == name).cloned().collect();
    let ending: Vec<&Lasting> = profiles.iter().filter(|p| p.r#type != "api_key").collect();
    let any = |status: &str| ending.iter().any(|profile| profile.status == status);
    let status = match () {
        () if profiles.is_empty() => "missing",
        () if ending.is_empty() => "static",
        () if any("expired") || any("missing") => "expired",
        () if any("expiring") => "expiring",
        () => "ok",
    };
    let expires_at = ending.iter().filter_map(|profile| profile.expires_at).min();
    let left = |at: u64| i64::try_from(i128::from(at) - i128::from(now)).unwrap_or(i64::MAX);
    ProviderHealth {
        provider: name.to_owned(),
        status,
        expires_at,
        remaining_ms: expires_at.map(left),
        profiles,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::agents::auth_profiles;

    const NOW: u64 = 1_800_000_000_000;

    fn profiles(document: &Value) -> Profiles {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(auth_profiles::file(dir.path()), document.to_string()).unwrap();
        Profiles::read(dir.path(), dir.path())
    }

    #[test]
    fn what_ends_soon_is_told_and_what_renews_itself_does_not_end() {
        let stored = profiles(&json!({
            "profiles": {
                "a:key": {"provider": "a", "type": "api_key", "key": "k"},
                "b:over": {"provider": "b", "type": "token", "token": "t", "expires": NOW - 1},
                "c:soon": {"provider": "c", "type": "token", "token": "t", "expires": NOW + 1000},
                "d:own": {"provider": "d", "type": "oauth", "access": "t", "refresh": "r", "expires": NOW - 1},
            },
            "usageStats": {"a:key": {"disabledUntil": NOW + 5, "disabledReason": "billing"}},
        }));
        let status = |health: &Health| -> Vec<(String, &str)> {
            health.providers.iter().map(|p| (p.provider.clone(), p.status)).collect()
        };
        let health = Health::of(&stored, &["a", "b", "c", "d", "e"], NOW);
        let expected =
            [("a", "static"), ("b", "expired"), ("c", "expiring"), ("d", "ok"), ("e", "missing")];
        assert_eq!(status(&health), expected.map(|(name, status)| (name.to_owned(), status)));
        assert_eq!(health.code(false), 1);
        assert_eq!(Health::of(&stored, &["a", "c"], NOW).code(false), 2);
        assert_eq!(Health::of(&stored, &["a", "d"], NOW).code(false), 0);
        assert_eq!(Health::of(&stored, &["a"], NOW).code(true), 1);
        let resting = serde_json::to_value(resting(&stored, NOW)).unwrap();
        let expected = json!([{"profileId": "a:key", "provider": "a", "kind": "disabled",
            "reason": "billing", "until": NOW + 5, "remainingMs": 5}]);
        assert_eq!(resting, expected);
        assert_eq!(Counts::of(&stored, "b").signed_in("b").as_deref(), Some("b (1)"));
        assert_eq!(Counts::of(&stored, "a").signed_in("a"), None);
    }
}
