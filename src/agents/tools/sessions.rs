//! Tools about conversations: their list, their history, a message to another
//! one, the status of this one, and the agents there are.

use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::Value;
use serde_json::json;

use crate::agents::card;
use crate::agents::providers::ToolSpec;
use crate::agents::run::Lane;
use crate::agents::run::RunRequest;
use crate::agents::run::RunStatus;
use crate::agents::sessions::HistoryParams;
use crate::agents::sessions::ListParams;
use crate::agents::sessions::ResolveParams;
use crate::agents::sessions::Sessions;
use crate::agents::tools::Tool;
use crate::agents::tools::ToolContext;
use crate::agents::tools::ToolResult;
use crate::agents::tools::number_argument;
use crate::agents::tools::text_argument;
use crate::base::id::SessionKey;
use crate::base::id::uuid;
use crate::config::Config;

/// How long `sessions_send` waits for the answer, in seconds.
const DEFAULT_SEND_SECONDS: u64 = 30;
const MOST_SEND_SECONDS: u64 = 3_600;
const MOST_LISTED: usize = 200;
const MOST_MESSAGES: usize = 200;

/// One of the tools of this file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionTool {
    Status,
    List,
    History,
    Send,
    Agents,
}

impl SessionTool {
    pub(crate) const ALL: [Self; 5] =
        [Self::Status, Self::List, Self::History, Self::Send, Self::Agents];

    fn name(self) -> &'static str {
        match self {
            Self::Status => "session_status",
            Self::List => "sessions_list",
            Self::History => "sessions_history",
            Self::Send => "sessions_send",
            Self::Agents => "agents_list",
        }
    }

    fn parameters(self) -> Value {
        match self {
            Self::Status => json!({"type": "object", "properties": {
                "sessionKey": {"type": "string"}, "model": {"type": "string"}}}),
            Self::List => json!({"type": "object", "properties": {
                "kinds": {"type": "array", "items": {"type": "string"}},
                "limit": {"minimum": 1, "type": "number"},
                "activeMinutes": {"minimum": 1, "type": "number"},
                "messageLimit": {"minimum": 0, "type": "number"}}}),
            Self::History => json!({"type": "object", "required": ["sessionKey"], "properties": {
                "sessionKey": {"type": "string"},
                "limit": {"minimum": 1, "type": "number"},
                "includeTools": {"type": "boolean"}}}),
            Self::Send => json!({"type": "object", "required": ["message"], "properties": {
                "sessionKey": {"type": "string"},
                "label": {"minLength": 1, "maxLength": 512, "type": "string"},
                "agentId": {"minLength": 1, "maxLength": 64, "type": "string"},
                "message": {"type": "string"},
                "timeoutSeconds": {"minimum": 0, "type": "number"}}}),
            Self::Agents => json!({"type": "object", "properties": {}}),
        }
    }
}

impl Tool for SessionTool {
    fn spec(&self) -> ToolSpec {
        let description = match self {
            Self::Status => {
                "Status card of a session: model, context, usage and the current time. model sets \
                 the session's model; \"default\" takes the choice back."
            }
            Self::List => "List sessions, newest first, with the last messages if asked for.",
            Self::History => "Messages of another session.",
            Self::Send => {
                "Send a message to another session and wait for its answer; timeoutSeconds 0 sends \
                 without waiting."
            }
            Self::Agents => "List the agents that sessions can belong to.",
        };
        ToolSpec {
            name: self.name().to_owned(),
            description: description.to_owned(),
            parameters: self.parameters(),
        }
    }

    fn summary(&self) -> &'static str {
        match self {
            Self::Status => "Show model, usage and time of a session",
            Self::List => "List sessions",
            Self::History => "Read the history of another session",
            Self::Send => "Send a message to another session",
            Self::Agents => "List agents",
        }
    }

    fn call<'a>(&'a self, context: &'a ToolContext, arguments: Value) -> BoxFuture<'a, ToolResult> {
        Box::pin(async move {
            let result = match self {
                Self::Status => status(context, &arguments).await,
                Self::List => list(context, &arguments).await,
                Self::History => history(context, &arguments).await,
                Self::Send => send(context, &arguments).await,
                Self::Agents => Ok(agents(context)),
            };
            result.unwrap_or_else(ToolResult::error)
        })
    }
}

fn sessions(context: &ToolContext) -> Sessions {
    Sessions { inner: std::sync::Arc::clone(&context.inner) }
}

/// How far a session may look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    /// Itself.
    Own,
    /// Itself and what it started.
    Tree,
    /// All of its agent.
    Agent,
    All,
}

fn sight(config: &Config) -> Sight {
    let setting = config.tools.get("sessions").and_then(|sessions| sessions["visibility"].as_str());
    match setting {
        Some("self") => Sight::Own,
        Some("agent") => Sight::Agent,
        Some("all") => Sight::All,
        _ => Sight::Tree,
    }
}

/// Whether this run may see a session, given who started that one.
fn may_see(context: &ToolContext, key: &str, spawned_by: Option<&str>) -> bool {
    let own = context.session_key.as_ref().map(SessionKey::as_str);
    let is_own = own == Some(key);
    let agent_to_agent = context.snapshot.config.tools.get("agentToAgent");
    let crosses = SessionKey::new(key).agent() != Some(context.agent.as_str());
    if crosses && agent_to_agent.and_then(|it| it["enabled"].as_bool()) != Some(true) {
        return is_own;
    }
    match sight(&context.snapshot.config) {
        Sight::Own => is_own,
        Sight::Tree => is_own || (own.is_some() && spawned_by == own),
        Sight::Agent => !crosses,
        Sight::All => true,
    }
}

async fn target(context: &ToolContext, arguments: &Value) -> Result<SessionKey, String> {
    let sessions = sessions(context);
    let typed = text_argument(arguments, &["sessionKey"]).map(str::trim).unwrap_or_default();
    let label = text_argument(arguments, &["label"]).map(str::trim).filter(|it| !it.is_empty());
    let key = if typed.is_empty() && label.is_none() {
        context.session_key.clone().ok_or("this run belongs to no session; give a sessionKey")?
    } else if typed.is_empty() {
        let params = ResolveParams {
            label: label.map(str::to_owned),
            agent_id: text_argument(arguments, &["agentId"]).map(str::to_owned),
            ..ResolveParams::default()
        };
        let found = sessions.resolve(params).await.map_err(|err| err.to_string())?;
        SessionKey::new(found["key"].as_str().unwrap_or_default())
    } else {
        sessions.canonical(typed)
    };
    let entry = sessions.entry(&key).await.map_err(|err| err.to_string())?;
    let spawned_by = entry.as_ref().and_then(|entry| entry.text("spawnedBy"));
    if may_see(context, key.as_str(), spawned_by) {
        Ok(key)
    } else {
        Err(format!("session {key} is not visible from here (tools.sessions.visibility)"))
    }
}

async fn status(context: &ToolContext, arguments: &Value) -> Result<ToolResult, String> {
    let key = target(context, arguments).await?;
    let sessions = sessions(context);
    if let Some(model) =
        text_argument(arguments, &["model"]).map(str::trim).filter(|m| !m.is_empty())
    {
        let model = if model == "default" { Value::Null } else { model.into() };
        let patch = json!({"key": key.as_str(), "model": model});
        sessions.patch(patch).await.map_err(|err| err.to_string())?;
    }
    let entry = sessions.entry(&key).await.map_err(|err| err.to_string())?;
    let card = card::status(&context.inner, &key, entry.as_deref());
    let zone = crate::agents::turn::time_zone(&context.snapshot.config);
    let time = crate::agents::prompt::stamp(context.inner.clock.now_ms(), &zone);
    let mut result = ToolResult::text(format!("{card}\n🕒 Time: {time}"));
    result.details = Some(json!({"ok": true, "sessionKey": key.as_str(), "statusText": card}));
    Ok(result)
}

async fn list(context: &ToolContext, arguments: &Value) -> Result<ToolResult, String> {
    let sessions = sessions(context);
    let limit = number_argument(arguments, "limit")
        .and_then(|limit| usize::try_from(limit).ok())
        .unwrap_or(50)
        .min(MOST_LISTED);
    let params = ListParams {
        active_minutes: number_argument(arguments, "activeMinutes"),
        ..ListParams::default()
    };
    let kinds: Vec<&str> =
        arguments["kinds"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let listed = sessions.list(params).await.map_err(|err| err.to_string())?;
    let messages = number_argument(arguments, "messageLimit").unwrap_or(0).min(20);
    let mut rows = Vec::new();
    for row in listed["sessions"].as_array().into_iter().flatten() {
        let key = row["key"].as_str().unwrap_or_default();
        let fits = kinds.is_empty() || kinds.iter().any(|kind| is_kind(key, row, kind));
        if !fits || !may_see(context, key, row["spawnedBy"].as_str()) {
            continue;
        }
        let mut row = row.clone();
        if messages > 0 {
            let params = HistoryParams {
                session_key: key.to_owned(),
                limit: usize::try_from(messages).ok(),
                max_chars: Some(2_000),
                offset: 0,
            };
            let history = sessions.history(params).await.map_err(|err| err.to_string())?;
            row["messages"] = history["messages"].clone();
        }
        rows.push(row);
        if rows.len() >= limit {
            break;
        }
    }
    Ok(ToolResult::json(json!({"count": rows.len(), "sessions": rows})))
}

fn is_kind(key: &str, row: &Value, kind: &str) -> bool {
    match kind {
        "main" => key.ends_with(":main") || key == "global",
        "cron" => key.contains(":cron:"),
        "hook" => key.contains(":hook:"),
        "subagent" => key.contains(":subagent:"),
        kind => row["kind"] == kind,
    }
}

async fn history(context: &ToolContext, arguments: &Value) -> Result<ToolResult, String> {
    let key = target(context, arguments).await?;
    let limit = number_argument(arguments, "limit")
        .and_then(|limit| usize::try_from(limit).ok())
        .unwrap_or(50)
        .min(MOST_MESSAGES);
    let params = HistoryParams {
        session_key: key.as_str().to_owned(),
        limit: Some(limit),
        max_chars: Some(4_000),
        offset: 0,
    };
    let history = sessions(context).history(params).await.map_err(|err| err.to_string())?;
    let with_tools = arguments["includeTools"].as_bool().unwrap_or(false);
    let messages: Vec<Value> = history["messages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|message| with_tools || message["role"] != "toolResult")
        .cloned()
        .collect();
    Ok(ToolResult::json(json!({"sessionKey": key.as_str(), "messages": messages})))
}

async fn send(context: &ToolContext, arguments: &Value) -> Result<ToolResult, String> {
    let message = text_argument(arguments, &["message"]).unwrap_or_default().trim().to_owned();
    if message.is_empty() {
        return Err("Missing required parameter: message".to_owned());
    }
    let key = target(context, arguments).await?;
    if context.session_key.as_ref() == Some(&key) {
        return Err("a session cannot send to itself".to_owned());
    }
    let sender = context.session_key.as_ref().map_or("unknown", SessionKey::as_str);
    let extra = format!(
        "This message comes from another session of this gateway ({sender}), not from a person. \
         Answer it for that session; REPLY_SKIP alone means that no answer is needed."
    );
    let request = RunRequest {
        run_id: uuid(),
        session_key: Some(key.clone()),
        message,
        extra_system_prompt: Some(extra),
        lane: Lane::Nested,
        ..RunRequest::default()
    };
    let handle = context.inner.submit_boxed(request).await.map_err(|err| err.to_string())?;
    let seconds = number_argument(arguments, "timeoutSeconds")
        .unwrap_or(DEFAULT_SEND_SECONDS)
        .min(MOST_SEND_SECONDS);
    let base = json!({"runId": handle.run_id, "sessionKey": key.as_str()});
    let answer = |status: &str, more: Value| {
        let mut details = base.clone();
        details["status"] = status.into();
        if let (Some(all), Value::Object(more)) = (details.as_object_mut(), more) {
            all.extend(more);
        }
        ToolResult::json(details)
    };
    if seconds == 0 {
        return Ok(answer("accepted", json!({})));
    }
    let outcome = tokio::select! {
        outcome = handle.outcome() => Some(outcome),
        () = tokio::time::sleep(Duration::from_secs(seconds)) => None,
        () = context.cancel.cancelled() => None,
    };
    Ok(match outcome {
        None => answer("timeout", json!({})),
        Some(outcome) if outcome.status == RunStatus::Ok => {
            answer("ok", json!({"reply": outcome.text}))
        }
        Some(outcome) => answer("error", json!({"error": outcome.error, "reply": outcome.text})),
    })
}

fn agents(context: &ToolContext) -> ToolResult {
    let config = &context.snapshot.config;
    let allowed: Vec<String> = config
        .agents
        .get(&context.agent)
        .and_then(|agent| agent.rest.get("subagents"))
        .and_then(|subagents| subagents["allowAgents"].as_array())
        .into_iter()
        .flatten()
        .filter_map(|id| id.as_str().map(str::to_lowercase))
        .collect();
    let any = allowed.iter().any(|id| id == "*");
    let mut rows = vec![
        json!({"id": context.agent, "configured": config.agents.get(&context.agent).is_some()}),
    ];
    for agent in &config.agents.list {
        let id = agent.id.to_lowercase();
        if id != context.agent && (any || allowed.contains(&id)) {
            rows.push(json!({"id": id, "name": agent.name, "configured": true}));
        }
    }
    ToolResult::json(json!({"requester": context.agent, "allowAny": any, "agents": rows}))
}
