//! Session keys: what clients may type, and the one spelling that is stored.

use serde_json::Map;
use serde_json::Value;

use crate::base::id::SessionKey;
use crate::config::Config;

/// The key word of an agent's main conversation.
pub(crate) fn main_key(config: &Config) -> &str {
    config
        .session
        .get("mainKey")
        .and_then(Value::as_str)
        .map(str::trim)
        .filter(|key| !key.is_empty())
        .unwrap_or("main")
}

/// Whether all conversations share one session.
pub(crate) fn is_global(config: &Config) -> bool {
    config.session.get("scope").and_then(Value::as_str) == Some("global")
}

/// The main conversation of an agent, or the shared one.
pub(crate) fn main_session(config: &Config, agent: &str) -> SessionKey {
    if is_global(config) {
        SessionKey::new("global")
    } else {
        SessionKey::main(agent, main_key(config))
    }
}

/// Turns what a client typed into the stored key: `main` and aliases become
/// the main conversation, a bare word belongs to the default agent.
pub(crate) fn canonical(config: &Config, agent: Option<&str>, typed: &str) -> SessionKey {
    let key = SessionKey::new(typed);
    let agent = agent.unwrap_or_else(|| config.agents.default_id());
    let main = main_key(config).to_lowercase();
    match key.as_str() {
        "global" | "unknown" => key,
        "" | "main" => main_session(config, agent),
        word if word == main => main_session(config, agent),
        other => match other.strip_prefix("agent:") {
            Some(rest) => match rest.split_once(':') {
                Some((owner, word)) if word == "main" || word == main => {
                    main_session(config, owner)
                }
                _ => key,
            },
            None => SessionKey::new(format!("agent:{agent}:{other}")),
        },
    }
}

/// `direct`, `group`, `global` or `unknown`, as lists show it.
pub(crate) fn kind(key: &str, chat_type: Option<&str>) -> &'static str {
    match key {
        "global" => "global",
        "unknown" => "unknown",
        _ if matches!(chat_type, Some("group" | "channel")) => "group",
        _ if key.contains(":group:") || key.contains(":channel:") => "group",
        _ => "direct",
    }
}

/// When a session starts anew on the next message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ResetPolicy {
    /// Local hour of the daily reset; `None` without one.
    pub(crate) at_hour: Option<i8>,
    pub(crate) idle_minutes: Option<u64>,
}

impl ResetPolicy {
    /// The policy for a session: by channel, else by type, else in general.
    pub(crate) fn of(config: &Config, key: &str, channel: Option<&str>) -> Self {
        let session = &config.session;
        let object = |value: Option<&Value>| value.and_then(Value::as_object).cloned();
        let by_channel = channel
            .and_then(|channel| object(session.get("resetByChannel")?.as_object()?.get(channel)));
        let by_type = || {
            let types = session.get("resetByType")?.as_object()?;
            let kind = if key.contains(":thread:") || key.contains(":topic:") {
                "thread"
            } else if kind(key, None) == "group" {
                "group"
            } else {
                "direct"
            };
            object(types.get(kind))
                .or_else(|| (kind == "direct").then(|| object(types.get("dm"))).flatten())
        };
        let rule = by_channel.or_else(by_type).or_else(|| object(session.get("reset")));
        let legacy_idle = session.get("idleMinutes").and_then(Value::as_u64);
        match rule {
            Some(rule) => Self::from_rule(&rule, legacy_idle),
            None => match legacy_idle {
                Some(minutes) => Self { at_hour: None, idle_minutes: Some(minutes) },
                None => Self { at_hour: Some(4), idle_minutes: None },
            },
        }
    }

    fn from_rule(rule: &Map<String, Value>, legacy_idle: Option<u64>) -> Self {
        let idle = rule.get("idleMinutes").and_then(Value::as_u64).or(legacy_idle);
        let hour = rule
            .get("atHour")
            .and_then(Value::as_i64)
            .and_then(|hour| i8::try_from(hour).ok())
            .filter(|hour| (0..24).contains(hour))
            .unwrap_or(4);
        match rule.get("mode").and_then(Value::as_str) {
            Some("idle") => Self { at_hour: None, idle_minutes: idle.or(Some(60)) },
            _ => Self { at_hour: Some(hour), idle_minutes: idle },
        }
    }

    /// Whether a session last used at `updated_at` begins anew at `now`.
    pub(crate) fn is_stale(self, updated_at: u64, now_ms: u64, zone: &jiff::tz::TimeZone) -> bool {
        if updated_at == 0 {
            return false;
        }
        let idle = self
            .idle_minutes
            .filter(|minutes| *minutes > 0)
            .is_some_and(|minutes| now_ms.saturating_sub(updated_at) > minutes * 60_000);
        idle || self
            .at_hour
            .and_then(|hour| last_reset(now_ms, hour, zone))
            .is_some_and(|reset| updated_at < reset)
    }
}

/// The last time the local clock showed `hour` o'clock.
fn last_reset(now_ms: u64, hour: i8, zone: &jiff::tz::TimeZone) -> Option<u64> {
    let now = jiff::Timestamp::from_millisecond(i64::try_from(now_ms).ok()?).ok()?;
    let local = now.to_zoned(zone.clone());
    let today = local.date().at(hour, 0, 0, 0).to_zoned(zone.clone()).ok()?;
    let reset = if today <= local {
        today
    } else {
        let yesterday = local.date().yesterday().ok()?;
        yesterday.at(hour, 0, 0, 0).to_zoned(zone.clone()).ok()?
    };
    u64::try_from(reset.timestamp().as_millisecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config(value: Value) -> Config {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn shorthands_become_the_stored_key() {
        let plain =
            config(json!({"agents": {"list": [{"id": "work"}]}, "session": {"mainKey": "home"}}));
        let cases = [
            ("main", "agent:work:home"),
            ("home", "agent:work:home"),
            ("", "agent:work:home"),
            ("agent:Other:main", "agent:other:home"),
            ("crud1", "agent:work:crud1"),
            ("agent:work:irc:group:#Claw", "agent:work:irc:group:#claw"),
            ("global", "global"),
        ];
        for (typed, stored) in cases {
            assert_eq!(canonical(&plain, None, typed).as_str(), stored, "{typed}");
        }
        assert_eq!(canonical(&plain, Some("ops"), "main").as_str(), "agent:ops:home");
    }

    #[test]
    fn a_global_scope_has_one_main_session() {
        let config = config(json!({"session": {"scope": "global"}}));
        assert_eq!(canonical(&config, None, "main").as_str(), "global");
    }

    #[test]
    fn a_session_is_stale_after_four_in_the_morning() {
        let policy = ResetPolicy::of(&Config::default(), "agent:main:main", None);
        let zone = jiff::tz::TimeZone::UTC;
        let at = |text: &str| {
            u64::try_from(text.parse::<jiff::Timestamp>().unwrap().as_millisecond()).unwrap()
        };
        let now = at("2026-11-22T05:00:00Z");
        assert!(policy.is_stale(at("2026-11-22T03:59:00Z"), now, &zone));
        assert!(!policy.is_stale(at("2026-11-22T04:01:00Z"), now, &zone));
        assert!(!policy.is_stale(at("2026-11-21T12:00:00Z"), at("2026-11-22T03:00:00Z"), &zone));
    }

    #[test]
    fn the_nearest_reset_rule_wins() {
        let config = config(json!({"session": {
            "reset": {"mode": "daily", "atHour": 6},
            "resetByType": {"group": {"mode": "idle", "idleMinutes": 10}},
            "resetByChannel": {"irc": {"mode": "idle", "idleMinutes": 5}}
        }}));
        let of = |key, channel| ResetPolicy::of(&config, key, channel);
        assert_eq!(of("agent:main:main", None).at_hour, Some(6));
        assert_eq!(of("agent:main:x:group:1", None).idle_minutes, Some(10));
        assert_eq!(of("agent:main:irc:group:1", Some("irc")).idle_minutes, Some(5));
    }
}
