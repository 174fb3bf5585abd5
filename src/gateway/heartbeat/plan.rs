//! When an agent's heart beats and what it is told then. Pure.

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::config::Config;
use crate::gateway::heartbeat::hours;

/// Part of the wire contract: clients show the prompt in force.
pub const PROMPT: &str = "Read HEARTBEAT.md if it exists (workspace context). Follow it strictly. Do not infer or repeat old tasks from prior chats. If nothing needs attention, reply HEARTBEAT_OK.";

const EVERY: &str = "30m";
const ACK_MAX_CHARS: u64 = 300;

/// The heartbeat of one agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    on: bool,
    every: String,
    every_ms: Option<u64>,
    pub prompt: String,
    pub target: String,
    /// Where on the target's channel, if not where the session was last used from.
    pub to: Option<String>,
    pub account: Option<String>,
    /// The conversation of the beats, if not the main one.
    pub session: Option<String>,
    pub model: Option<String>,
    hours: Option<Value>,
    user_timezone: Option<String>,
    /// Longest remark beside `HEARTBEAT_OK` that still counts as nothing.
    pub ack_max_chars: u64,
}

impl Plan {
    /// Merges the agent's `heartbeat` over the default one. When any agent has
    /// its own, only those that do have a heartbeat.
    pub fn of(config: &Config, agent: &str) -> Self {
        let own = config.agents.get(agent).map(|agent| &agent.heartbeat);
        let has_own = own.is_some_and(|own| !own.is_empty());
        let someone_has = config.agents.list.iter().any(|agent| !agent.heartbeat.is_empty());
        let listed = if someone_has {
            has_own
        } else {
            agent.eq_ignore_ascii_case(config.agents.default_id())
        };
        let defaults = &config.agents.defaults.heartbeat;
        let find = |key: &str| own.and_then(|own| own.get(key)).or_else(|| defaults.get(key));
        let text = |key: &str| find(key).and_then(Value::as_str).map(str::trim);
        let every = text("every").filter(|every| !every.is_empty()).unwrap_or(EVERY);
        let every_ms = parse_every(every).filter(|ms| *ms > 0);
        Self {
            on: listed && every_ms.is_some(),
            every: if listed { every.to_owned() } else { "disabled".to_owned() },
            every_ms: every_ms.filter(|_| listed),
            prompt: text("prompt").filter(|prompt| !prompt.is_empty()).unwrap_or(PROMPT).to_owned(),
            target: text("target").filter(|target| !target.is_empty()).unwrap_or("none").to_owned(),
            to: text("to").filter(|to| !to.is_empty()).map(str::to_owned),
            account: text("accountId").filter(|id| !id.is_empty()).map(str::to_owned),
            session: text("session").map(str::to_owned),
            model: text("model").filter(|model| !model.is_empty()).map(str::to_owned),
            hours: find("activeHours").cloned(),
            user_timezone: config.agents.defaults.user_timezone.clone(),
            ack_max_chars: find("ackMaxChars").and_then(Value::as_u64).unwrap_or(ACK_MAX_CHARS),
        }
    }

    pub fn is_on(&self) -> bool {
        self.on
    }

    /// Whether the time of day is one of `activeHours`.
    pub fn is_awake(&self, now: Timestamp) -> bool {
        hours::allow(self.hours.as_ref(), self.user_timezone.as_deref(), now)
    }

    /// As configured, for people.
    pub fn every_text(&self) -> &str {
        &self.every
    }

    pub fn every_ms(&self) -> Option<u64> {
        self.every_ms
    }

    /// The `heartbeat` of an agent in the health snapshot.
    pub fn to_value(&self) -> Value {
        let mut entry = Map::new();
        entry.insert("enabled".into(), self.on.into());
        entry.insert("every".into(), self.every.clone().into());
        entry.insert("everyMs".into(), self.every_ms.into());
        entry.insert("prompt".into(), self.prompt.clone().into());
        entry.insert("target".into(), self.target.clone().into());
        if let Some(model) = &self.model {
            entry.insert("model".into(), model.clone().into());
        }
        entry.insert("ackMaxChars".into(), self.ack_max_chars.into());
        Value::Object(entry)
    }
}

/// Reads `90s`, `30m`, `1h`, `1h30m`, `500ms` or `2d`; a bare number is
/// minutes.
fn parse_every(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    if let Ok(minutes) = text.parse::<f64>() {
        return to_ms(minutes, 60_000.0);
    }
    let mut rest = text.as_str();
    let mut total = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ms" => 1.0,
            "s" => 1000.0,
            "m" => 60_000.0,
            "h" => 3_600_000.0,
            "d" => 86_400_000.0,
            _ => return None,
        };
        total += to_ms(number, unit)?;
        rest = &rest[letters..];
    }
    Some(total)
}

fn to_ms(number: f64, unit: f64) -> Option<u64> {
    let ms = (number * unit).round();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be in range"
    )]
    (0.0..=9e15).contains(&ms).then_some(ms as u64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plan(agents: &Value, agent: &str) -> Plan {
        Plan::of(&serde_json::from_value(json!({ "agents": agents })).unwrap(), agent)
    }

    #[test]
    fn the_default_agent_beats_every_half_hour() {
        let plan = plan(&json!({}), "main");
        let expected = json!({"enabled": true, "every": "30m", "everyMs": 1_800_000,
            "prompt": PROMPT, "target": "none", "ackMaxChars": 300});
        assert_eq!(plan.to_value(), expected);
    }

    #[test]
    fn own_heartbeats_silence_the_other_agents() {
        let agents =
            json!({"list": [{"id": "main"}, {"id": "ops", "heartbeat": {"every": "1h30m"}}]});
        assert!(!plan(&agents, "main").is_on());
        assert_eq!(plan(&agents, "ops").every_ms(), Some(5_400_000));
    }

    #[test]
    fn zero_switches_off() {
        let off = plan(&json!({"defaults": {"heartbeat": {"every": "0m"}}}), "main");
        assert_eq!((off.is_on(), off.every_ms(), off.every_text()), (false, None, "0m"));
        assert_eq!(parse_every("soon"), None);
        assert_eq!(parse_every("5"), Some(300_000));
    }
}
