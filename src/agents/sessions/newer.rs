//! What clients of protocol 4 are told of a session besides: what kind of
//! session it is, what runs in it, what its model can do, and which part of the
//! conversation a history is.

use serde_json::{Value, json};

use crate::agents::choice;
use crate::agents::queue::Settings;
use crate::agents::runtime::Inner;
use crate::agents::sessions::{
    Entry, HistoryParams, ModelChoice, SessionError, Sessions, history, keys, rows,
};
use crate::base::id::SessionKey;
use crate::config::Config;

/// Kinds of sessions that no person talks in.
const BACKGROUND: [&str; 7] = ["acp", "cron", "dreaming", "harness", "hook", "subagent", "system"];

impl Sessions {
    /// The row of a session; of one that is not there yet, what holds for it already.
    pub async fn newer_row(&self, key: &SessionKey) -> Result<Option<Value>, SessionError> {
        let key = key.clone();
        self.blocking(move |this| {
            let known = this.read_store(&key)?.get(key.as_str());
            Ok(known.map(|entry| this.newer_row_of(&key, Some(&entry), true)))
        })
        .await
    }

    /// `chat.history` as a page: counted from the end, with what is shown around it.
    pub async fn history_page(&self, params: HistoryParams) -> Result<Value, SessionError> {
        self.blocking(move |this| this.history_page_now(&params)).await
    }

    fn history_page_now(&self, params: &HistoryParams) -> Result<Value, SessionError> {
        let key = self.canonical(&params.session_key);
        let limit = params.limit.unwrap_or(200).min(1000);
        let mut stored = self.messages(&key, limit.saturating_add(params.offset))?;
        let total = stored.last().map_or(0, |stored| stored.seq);
        let skipped = u64::try_from(params.offset).unwrap_or(u64::MAX);
        stored.retain(|stored| stored.seq <= total.saturating_sub(skipped));
        let messages = history::shape(stored, params.max_chars, true);
        let first = messages.first().and_then(|message| message["__openclaw"]["seq"].as_u64());
        let next = first.filter(|first| *first > 1).map(|first| total - first + 1);
        let entry = self.read_store(&key)?.get(key.as_str());
        let mut page = json!({"sessionKey": params.session_key});
        if let Some(id) = entry.as_ref().map(|entry| entry.session_id()).filter(|id| !id.is_empty())
        {
            page["sessionId"] = id.into();
        }
        page["messages"] = messages.into();
        // What is said during a run is queued, and not kept apart from it.
        page["pendingInputs"] = json!({"items": [], "total": 0});
        if params.offset > 0 {
            page["offset"] = params.offset.into();
        }
        if let Some(next) = next {
            page["nextOffset"] = next.into();
        }
        page["hasMore"] = next.is_some().into();
        page["totalMessages"] = total.into();
        for name in ["thinkingLevel", "fastMode", "verboseLevel"] {
            if let Some(value) = entry.as_ref().and_then(|entry| entry.fields().get(name)) {
                page[name] = value.clone();
            }
        }
        let config = &self.inner.config.load().config;
        page["defaults"] = defaults(&choice::default_choice(config, Some(&self.agent_of(&key))));
        page["sessionInfo"] = self.newer_row_of(&key, entry.as_deref(), false);
        Ok(page)
    }

    /// A row of protocol 4, with the choice of thinking levels only where it is shown.
    pub(super) fn newer_row_of(
        &self,
        key: &SessionKey,
        entry: Option<&Entry>,
        with_levels: bool,
    ) -> Value {
        let snapshot = self.inner.config.load();
        let (config, agent) = (&snapshot.config, self.agent_of(key));
        let unset = Entry::default();
        let known = entry.unwrap_or(&unset);
        let Value::Object(mut row) = Inner::row_with(config, key, known) else {
            return Value::Null;
        };
        // The interfaces of operators are no channel.
        if row.get("lastChannel").is_some_and(|channel| channel == "webchat") {
            row.retain(|name, _| !["deliveryContext", "lastChannel"].contains(&name.as_str()));
        }
        if row.get("origin").is_some_and(|origin| origin["provider"] == "webchat") {
            row.shift_remove("origin");
        }
        if row.get("estimatedCostUsd").and_then(Value::as_f64) == Some(0.0) {
            row.shift_remove("estimatedCostUsd");
        }
        let main = *key == keys::main_session(config, &agent);
        let class = classification(key, main, known.text("chatType"));
        let active = self.inner.active_in(key);
        let used = known.number("endedAt").max(known.number("startedAt"));
        let settings = Settings::of(config, entry, None);
        let mut more = json!({
            "agentId": agent, "classification": class, "isMain": main,
            "isBackground": BACKGROUND.contains(&class), "archived": false, "pinned": false,
            "permissionModePending": false, "effectiveQueueMode": settings.mode.name(),
            "modelOverrideSource": known.model_override().map(|_| {
                known.text("modelOverrideSource").unwrap_or("user")
            }),
            "runtimeSelectionLocked": false, "agentRuntime": runtime(),
            "hasActiveRun": !active.is_empty(), "activeRunIds": active,
            "snapshotAt": self.inner.clock.now_ms(),
        });
        if let Some(used) = used {
            more["lastActivityAt"] = used.into();
        }
        if with_levels {
            let default = choice::default_choice(config, Some(&agent));
            let (provider, model) = rows::model_of(known, &default);
            choose(&mut more, config, &agent, (provider, model));
        }
        if let Value::Object(more) = more {
            row.extend(more);
        }
        Value::Object(row)
    }

    /// What `sessions.list` and `agents.list` say of the model that an agent uses.
    pub fn newer_defaults(&self, agent: Option<&str>) -> Value {
        let snapshot = self.inner.config.load();
        let config = &snapshot.config;
        let default = choice::default_choice(config, agent);
        let owner = agent.map_or_else(|| config.agents.default_id().to_lowercase(), str::to_owned);
        let mut shown = defaults(&default);
        choose(&mut shown, config, &owner, (&default.provider, &default.model));
        shown
    }
}

fn defaults(default: &ModelChoice) -> Value {
    json!({
        "modelProvider": default.provider, "model": default.model,
        "contextTokens": default.context_tokens, "agentRuntime": runtime(),
        "modelSelectionTarget": "session",
    })
}

/// Runs are this process's own: there is no other runtime, and no other place.
fn runtime() -> Value {
    json!({
        "id": "openclaw", "source": "implicit", "cloudPlacementSupported": false,
        "devicePlacementSupported": false,
    })
}

/// The levels of thinking to choose from, and the one that applies unless one is chosen.
pub fn choose(shown: &mut Value, config: &Config, agent: &str, (provider, model): (&str, &str)) {
    let levels = choice::thinking_levels(config, provider, model);
    shown["thinkingLevels"] =
        levels.iter().map(|level| json!({"id": level, "label": level})).collect();
    shown["thinkingOptions"] = json!(levels);
    shown["thinkingDefault"] = if levels.len() > 1 {
        choice::thinking(config, agent, None, choice::reasons(config, provider, model)).into()
    } else {
        levels[0].into()
    };
}

/// What a session is for, told by its key and the kind of chat.
fn classification(key: &SessionKey, main: bool, chat: Option<&str>) -> &'static str {
    if main {
        return if key.as_str() == "global" { "global" } else { "main" };
    }
    let rest = match key.as_str().splitn(3, ':').collect::<Vec<_>>().as_slice() {
        ["agent", _, rest] => (*rest).to_owned(),
        _ => key.as_str().to_owned(),
    };
    let has = |part: &str| rest.split(':').any(|here| here == part);
    let first = rest.split(':').next().unwrap_or_default();
    match first {
        "unknown" => "unknown",
        "global" => "global",
        "subagent" | "acp" | "cron" => {
            ["subagent", "acp", "cron"].into_iter().find(|name| *name == first).unwrap_or("custom")
        }
        _ if has("thread") || has("topic") => "thread",
        _ if has("group") => "group",
        _ if has("channel") => "channel",
        _ if has("direct") || has("dm") => "direct",
        _ => match chat {
            Some("group") => "group",
            Some("channel") => "channel",
            Some("direct") => "direct",
            _ => ["dashboard", "explicit", "hook", "node", "harness", "voice"]
                .into_iter()
                .find(|name| *name == first)
                .or_else(|| rest.starts_with("tui-").then_some("tui"))
                .or_else(|| rest.starts_with("node-").then_some("node"))
                .unwrap_or("custom"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_and_a_kind_of_chat_tell_what_a_session_is_for() {
        let cases = [
            ("agent:main:main", true, None, "main"),
            ("global", true, None, "global"),
            ("agent:main:subagent:1", false, None, "subagent"),
            ("agent:main:cron:j", false, Some("direct"), "cron"),
            ("agent:main:telegram:group:-1:topic:2", false, Some("group"), "thread"),
            ("agent:main:telegram:group:-1", false, None, "group"),
            ("agent:main:telegram:direct:7", false, None, "direct"),
            ("agent:main:dashboard:5", false, None, "dashboard"),
            ("agent:main:explicit:5", false, None, "explicit"),
            ("agent:main:tui-5", false, None, "tui"),
            ("agent:main:extra", false, Some("direct"), "direct"),
            ("agent:main:extra", false, None, "custom"),
        ];
        for (key, main, chat, expected) in cases {
            assert_eq!(classification(&SessionKey::new(key), main, chat), expected, "{key}");
        }
    }
}
