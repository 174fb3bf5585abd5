//! The health snapshot: cached, refreshed in the background, one refresh at a
//! time whoever asks.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::gateway::rpc::channels;
use crate::gateway::{State, reload};
use crate::lifecycle;
use crate::protocol::events::Event;

/// How old a snapshot may be and still be answered at once.
const MAX_AGE_MS: u64 = 60_000;
/// How often the snapshot is refreshed without anybody asking.
pub const REFRESH_EVERY: Duration = Duration::from_secs(60);
/// A client that connects gets a snapshot that may be this old.
const FRESH_MS: u64 = 1_000;

/// What the agent is asked at a heartbeat unless configured otherwise. Part of
/// the contract: the reference's clients show it, and a user's file refers to it.
const HEARTBEAT_PROMPT: &str = "Read HEARTBEAT.md if it exists (workspace context). Follow it \
    strictly. Do not infer or repeat old tasks from prior chats. If nothing needs attention, \
    reply HEARTBEAT_OK.";
const DEFAULT_HEARTBEAT: &str = "30m";
const DEFAULT_ACK_MAX_CHARS: u64 = 300;
/// Longest probe of a channel.
const PROBE_LIMIT: Duration = Duration::from_secs(7);
const RECENT_SESSIONS: usize = 5;

/// The cached snapshot.
#[derive(Debug, Default)]
pub struct Health {
    cached: Mutex<Option<Cached>>,
    refreshing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone)]
struct Cached {
    value: Arc<Value>,
    /// Milliseconds since the Unix epoch.
    at: u64,
}

impl Health {
    /// The last snapshot; an empty object before the first.
    pub fn cached(&self) -> Arc<Value> {
        self.lock().as_ref().map_or_else(|| Arc::new(json!({})), |cached| Arc::clone(&cached.value))
    }

    /// Answers the `health` method: at once from a recent snapshot, which is
    /// then refreshed in the background, else after a refresh. Only a caller
    /// that asks for it has channels talk to their services.
    pub async fn answer(&self, state: &Arc<State>, probe: bool) -> Value {
        if probe {
            state.channels.probe(PROBE_LIMIT).await;
        }
        let recent = (!probe).then(|| self.younger_than(MAX_AGE_MS, state)).flatten();
        match recent {
            Some(value) => {
                let background = Arc::clone(state);
                state.lifecycle.spawn("health refresh", |_stop| async move {
                    background.health.refresh_and_tell(&background).await;
                });
                with_channels(state, &value)
            }
            None => (*self.refresh_and_tell(state).await).clone(),
        }
    }

    /// Refreshes, and tells everybody.
    pub async fn refresh_and_tell(&self, state: &Arc<State>) -> Arc<Value> {
        let value = self.refresh(state).await;
        state.bus.broadcast_state(Event::Health, &*value);
        value
    }

    /// Tells a client that has just connected.
    pub async fn greet(&self, state: &Arc<State>, conn_id: &str) {
        let value = match self.younger_than(FRESH_MS, state) {
            Some(value) => with_channels(state, &value),
            None => (*self.refresh(state).await).clone(),
        };
        state.bus.send_state(conn_id, Event::Health, &value);
    }

    /// Takes a snapshot, or waits for the one being taken.
    pub async fn refresh(&self, state: &Arc<State>) -> Arc<Value> {
        let asked_at = state.clock.now_ms();
        let _one_at_a_time = self.refreshing.lock().await;
        let meanwhile = self.lock().as_ref().filter(|cached| cached.at > asked_at).cloned();
        if let Some(cached) = meanwhile {
            return cached.value;
        }
        let value = Arc::new(take(state).await);
        *self.lock() = Some(Cached { value: Arc::clone(&value), at: state.clock.now_ms() });
        state.bus.bump_health();
        value
    }

    fn younger_than(&self, max_age_ms: u64, state: &State) -> Option<Arc<Value>> {
        let now = state.clock.now_ms();
        let cached = self.lock();
        let cached = cached.as_ref()?;
        (now.saturating_sub(cached.at) < max_age_ms).then(|| Arc::clone(&cached.value))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Cached>> {
        self.cached.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The snapshot with the channels as they are now: they come and go by
/// themselves, and what they say costs nothing.
fn with_channels(state: &State, snapshot: &Value) -> Value {
    let mut current = snapshot.clone();
    let channels = channels::health(state);
    if let (Some(current), Value::Object(channels)) = (current.as_object_mut(), channels) {
        current.extend(channels);
    }
    current
}

async fn take(state: &Arc<State>) -> Value {
    let started = Instant::now();
    let snapshot = state.config.load();
    let paths = state.paths.clone();
    let now = state.clock.now_ms();
    let agents = lifecycle::spawn_blocking(move || {
        agents_of(&snapshot.config, &|id| paths.agent(id).join("sessions/sessions.json"), now)
    })
    .await
    .unwrap_or_default();
    let config = &state.config.load().config;
    let default_agent = config.agents.default_id();
    let default = agents.iter().find(|agent| agent["agentId"] == default_agent);
    let heartbeat_seconds = default
        .and_then(|agent| agent["heartbeat"]["everyMs"].as_u64())
        .map_or(0, |milliseconds| milliseconds / 1000);
    let channels = channels::health(state);
    let sessions = default.map_or(Value::Null, |agent| agent["sessions"].clone());
    let mut report = json!({
        "ok": true,
        "ts": now,
        "durationMs": u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        "channels": channels["channels"],
        "channelOrder": channels["channelOrder"],
        "channelLabels": channels["channelLabels"],
        "heartbeatSeconds": heartbeat_seconds,
        "defaultAgentId": default_agent,
        "agents": agents,
        "sessions": sessions,
    });
    if let Some(degraded) = reload::degraded_config(state) {
        report["config"] = degraded;
    }
    let pending = state.reloader.pending();
    if !pending.is_empty() {
        report["configPendingRestart"] = pending.into();
    }
    report
}

fn agents_of(config: &Config, store: &dyn Fn(&str) -> std::path::PathBuf, now: u64) -> Vec<Value> {
    let default_id = config.agents.default_id();
    let mut ids: Vec<&str> = config.agents.list.iter().map(|agent| agent.id.as_str()).collect();
    if !ids.contains(&default_id) {
        ids.insert(0, default_id);
    }
    let any_own_heartbeat = config.agents.list.iter().any(|agent| !agent.heartbeat.is_empty());
    ids.into_iter()
        .map(|id| {
            let agent = config.agents.get(id);
            let own = agent.map(|agent| &agent.heartbeat).filter(|own| !own.is_empty());
            // With a heartbeat of its own, an agent beats; else only the default does.
            let beats = if any_own_heartbeat { own.is_some() } else { id == default_id };
            let mut entry = Map::new();
            entry.insert("agentId".to_owned(), json!(id));
            if let Some(name) = agent.and_then(|agent| agent.name.as_ref()) {
                entry.insert("name".to_owned(), json!(name));
            }
            entry.insert("isDefault".to_owned(), json!(id == default_id));
            let defaults = &config.agents.defaults.heartbeat;
            entry.insert("heartbeat".to_owned(), heartbeat(beats, own, defaults));
            entry.insert("sessions".to_owned(), sessions(&store(id), now));
            Value::Object(entry)
        })
        .collect()
}

/// The heartbeat as `health` and `status` show it.
fn heartbeat(
    beats: bool,
    own: Option<&Map<String, Value>>,
    defaults: &Map<String, Value>,
) -> Value {
    let setting = |key: &str| own.and_then(|own| own.get(key)).or_else(|| defaults.get(key));
    let text = |key: &str| setting(key).and_then(Value::as_str);
    let every = text("every").unwrap_or(DEFAULT_HEARTBEAT);
    let every_ms = minutes_to_ms(every).filter(|&milliseconds| milliseconds > 0);
    let enabled = beats && every_ms.is_some();
    let mut shown = Map::new();
    shown.insert("enabled".to_owned(), json!(enabled));
    shown.insert("every".to_owned(), json!(if enabled { every } else { "disabled" }));
    shown.insert("everyMs".to_owned(), json!(every_ms.filter(|_| enabled)));
    shown.insert("prompt".to_owned(), json!(text("prompt").unwrap_or(HEARTBEAT_PROMPT)));
    shown.insert("target".to_owned(), json!(text("target").unwrap_or("none")));
    if let Some(model) = text("model") {
        shown.insert("model".to_owned(), json!(model));
    }
    let ack = setting("ackMaxChars").and_then(Value::as_u64).unwrap_or(DEFAULT_ACK_MAX_CHARS);
    shown.insert("ackMaxChars".to_owned(), json!(ack));
    Value::Object(shown)
}

/// `30m`, `1h`, `90s`, `500ms`, `2d`, composites such as `1h30m`; a bare number
/// counts minutes.
fn minutes_to_ms(text: &str) -> Option<u64> {
    let mut total = 0.0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let amount: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        total += amount
            * match rest[..letters].trim() {
                "ms" => 1.0,
                "s" => 1e3,
                "" | "m" => 6e4,
                "h" => 3.6e6,
                "d" => 8.64e7,
                _ => return None,
            };
        rest = &rest[letters..];
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative; saturates"
    )]
    Some(total.round() as u64)
}

/// Number of sessions of an agent and the most recent ones.
fn sessions(store: &Path, now: u64) -> Value {
    let entries: Map<String, Value> = std::fs::read(store)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    let mut recent: Vec<(&String, u64)> = entries
        .iter()
        .filter(|(key, _)| key.as_str() != "global" && key.as_str() != "unknown")
        .map(|(key, entry)| (key, entry["updatedAt"].as_u64().unwrap_or(0)))
        .collect();
    recent.sort_by_key(|&(_, updated)| std::cmp::Reverse(updated));
    let count = recent.len();
    let recent: Vec<Value> = recent
        .into_iter()
        .take(RECENT_SESSIONS)
        .map(|(key, updated)| {
            let (at, age) = if updated == 0 {
                (Value::Null, Value::Null)
            } else {
                (json!(updated), json!(now.saturating_sub(updated)))
            };
            json!({"key": key, "updatedAt": at, "age": age})
        })
        .collect();
    json!({"path": store, "count": count, "recent": recent})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_the_reference_does() {
        let cases = [
            ("30m", Some(1_800_000)),
            ("1h30m", Some(5_400_000)),
            ("90s", Some(90_000)),
            ("15", Some(900_000)),
            ("0m", Some(0)),
            ("soon", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(minutes_to_ms(text), expected, "{text}");
        }
    }

    #[test]
    fn the_default_agent_beats_every_half_hour() {
        let agents = agents_of(&Config::default(), &|_| "/nowhere/sessions.json".into(), 5);
        assert_eq!(agents.len(), 1);
        assert_eq!(agents[0]["agentId"], "main");
        assert_eq!(agents[0]["heartbeat"]["everyMs"], 1_800_000);
        assert_eq!(agents[0]["sessions"]["count"], 0);
    }

    #[test]
    fn the_most_recent_sessions_come_first() {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("sessions.json");
        let entries: Map<String, Value> =
            (1..=7).map(|n| (format!("agent:main:{n}"), json!({"updatedAt": n}))).collect();
        std::fs::write(&store, serde_json::to_vec(&entries).unwrap()).unwrap();
        let shown = sessions(&store, 10);
        assert_eq!(shown["count"], 7);
        assert_eq!(shown["recent"][0], json!({"key": "agent:main:7", "updatedAt": 7, "age": 3}));
        assert_eq!(shown["recent"].as_array().unwrap().len(), 5);
    }
}
