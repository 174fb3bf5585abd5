//! `POST /tools/invoke`: one tool of an agent, without a turn of a model.

use std::panic::AssertUnwindSafe;

use axum::body::Body;
use futures_util::FutureExt;
use hyper::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};

use crate::agents::ToolCall;
use crate::agents::tools::ToolResult;
use crate::base::id;
use crate::config::Config;
use crate::gateway::State;
use crate::gateway::http::body;
use crate::gateway::http::caller::Caller;
use crate::gateway::http::prepared::Prepared;
use crate::gateway::http::reply::{self, Answer};

const MAX_BODY: usize = 2 * 1024 * 1024;

/// Tools that belong to a turn and its workspace: never reached from here.
const OF_TURNS: [&str; 6] = ["read", "write", "edit", "apply_patch", "exec", "process"];

/// Reached only where `gateway.tools.allow` names them: with these, a leaked
/// token would be a shell, or a foothold that stays.
const DENIED: [&str; 12] = [
    "exec",
    "spawn",
    "shell",
    "fs_write",
    "fs_delete",
    "fs_move",
    "apply_patch",
    "sessions_spawn",
    "sessions_send",
    "cron",
    "gateway",
    "nodes",
];

/// Answers a request whose caller has been checked.
pub async fn answer(
    state: &State,
    prepared: &Prepared,
    caller: &Caller,
    headers: &HeaderMap,
    body: Body,
) -> Result<Answer, Answer> {
    let fields = body::read_object(headers, body, MAX_BODY).await?;
    let text = |key: &str| {
        let text = fields.get(key).and_then(Value::as_str).map(str::trim).unwrap_or_default();
        (!text.is_empty()).then_some(text)
    };
    let tool = text("name")
        .or_else(|| text("tool"))
        .ok_or_else(|| reply::invalid("tools.invoke requires body.tool"))?
        .to_owned();
    let sessions = state.agents.sessions();
    let named = text("agentId").map(str::to_lowercase);
    let key = match (text("sessionKey").filter(|key| *key != "main"), &named) {
        (Some(key), _) => sessions.canonical(key),
        (None, Some(agent)) => sessions.canonical(&format!("agent:{agent}:main")),
        (None, None) => sessions.canonical("main"),
    };
    let agent = sessions.agent_of(&key);
    if let Some(named) = named.filter(|named| *named != agent) {
        let message = format!("agentId \"{named}\" does not match session agent \"{agent}\"");
        return Err(reply::invalid(&message));
    }
    if !prepared.agents.contains(&agent) {
        return Err(reply::invalid(&format!("Unknown agent '{agent}'.")));
    }
    let missing = || {
        let message = format!("Tool not available: {tool}");
        reply::gateway_error(StatusCode::NOT_FOUND, "not_found", &message)
    };
    if !is_open(&prepared.snapshot.config, &tool) {
        return Err(missing());
    }
    let owner = caller.is_owner();
    let schema = state.agents.tool_parameters(&agent, &tool, owner).await.ok_or_else(missing)?;
    let arguments = arguments(&fields, &schema)?;
    let id = text("idempotencyKey").map_or_else(id::uuid, str::to_owned);
    let call = ToolCall {
        agent,
        session_key: key,
        tool: tool.clone(),
        arguments,
        id: format!("http:{id}"),
        owner,
    };
    let result = AssertUnwindSafe(state.agents.call_tool(call)).catch_unwind().await;
    match result {
        Ok(Some(result)) => told(result),
        Ok(None) => Err(missing()),
        Err(_) => {
            tracing::error!(tool, "a tool panicked");
            let message = "tool execution failed";
            Err(reply::gateway_error(StatusCode::INTERNAL_SERVER_ERROR, "tool_error", message))
        }
    }
}

/// Whether HTTP may reach a tool of that name at all.
fn is_open(config: &Config, tool: &str) -> bool {
    let names = |key: &str| {
        let list = config.gateway.tools.get(key).and_then(Value::as_array);
        list.into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .any(|name| name.trim().eq_ignore_ascii_case(tool))
    };
    let denied = DENIED.contains(&tool) && !names("allow");
    !denied && !names("deny") && !OF_TURNS.contains(&tool)
}

/// The arguments with the top-level `action` among them; every required one is
/// there.
fn arguments(fields: &Map<String, Value>, schema: &Value) -> Result<Map<String, Value>, Answer> {
    let mut arguments = match fields.get("args") {
        Some(Value::Object(arguments)) => arguments.clone(),
        _ => Map::new(),
    };
    let action = fields.get("action").and_then(Value::as_str).map(str::trim);
    if let Some(action) = action.filter(|action| !action.is_empty())
        && schema["properties"].get("action").is_some()
        && !arguments.contains_key("action")
    {
        arguments.insert("action".to_owned(), json!(action));
    }
    let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
    let missing = required
        .iter()
        .filter_map(Value::as_str)
        .find(|name| arguments.get(*name).is_none_or(|value| value.is_null() || value == ""));
    match missing {
        Some(name) => Err(tool_error(&format!("{name} required"))),
        None => Ok(arguments),
    }
}

fn tool_error(message: &str) -> Answer {
    reply::gateway_error(StatusCode::BAD_REQUEST, "tool_error", message)
}

/// A result as it is told; what the tool calls an error is one.
fn told(result: ToolResult) -> Result<Answer, Answer> {
    if result.is_error {
        let texts = result.content.iter().filter_map(|block| block["text"].as_str());
        return Err(tool_error(&texts.collect::<Vec<_>>().join("\n")));
    }
    let mut body = json!({"ok": true, "result": {"content": result.content}});
    if let Some(details) = result.details {
        body["result"]["details"] = details;
    }
    Ok(reply::json(StatusCode::OK, &body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dangerous_tools_are_closed_until_the_configuration_opens_them() {
        let open = |tools: Value, tool: &str| {
            let config = json!({"gateway": {"tools": tools}});
            is_open(&serde_json::from_value(config).unwrap(), tool)
        };
        assert!(open(json!({}), "sessions_list"));
        assert!(!open(json!({}), "cron"));
        assert!(open(json!({"allow": ["Cron"]}), "cron"));
        assert!(!open(json!({"deny": ["sessions_list"]}), "sessions_list"));
        assert!(!open(json!({"allow": ["cron"], "deny": ["cron"]}), "cron"));
        assert!(!open(json!({"allow": ["exec"]}), "exec"));
    }

    #[test]
    fn an_action_joins_the_arguments_where_the_tool_has_one() {
        let of = |fields: Value, schema: Value| {
            arguments(fields.as_object().unwrap(), &schema).map(Value::Object)
        };
        let schema = json!({"properties": {"action": {}}, "required": ["action"]});
        let list = json!({"action": "list"});
        assert_eq!(of(json!({"action": "list"}), schema.clone()).unwrap(), list);
        assert_eq!(of(json!({"action": "x", "args": list}), schema.clone()).unwrap(), list);
        assert_eq!(of(json!({"action": "json", "args": [1]}), json!({})).unwrap(), json!({}));
        assert_eq!(of(json!({}), schema).unwrap_err().status(), StatusCode::BAD_REQUEST);
    }
}
