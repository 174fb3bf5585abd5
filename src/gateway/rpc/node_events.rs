//! `node.event`: what happens on a node. What somebody said or asked there
//! starts a run; what else there is to know waits for the session's next turn.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::base::id::uuid;
use crate::gateway::rpc::nodes::{own_node_id, param};
use crate::gateway::rpc::params::{flag, text};
use crate::gateway::rpc::{Call, Method, internal};
use crate::protocol::scope::{Scope, Scopes};

pub(crate) const METHODS: &[Method] = &[Method {
    name: "node.event",
    run: |call| {
        take_in(&call);
        Box::pin(std::future::ready(Ok(json!({ "ok": true }))))
    },
}];

/// The longest text that starts a run, in characters.
const MOST_SAID: usize = 20_000;
/// What is kept of a notification and of a command's output.
const MOST_NOTIFIED: usize = 120;
const MOST_OUTPUT: usize = 180;
/// The same words again within this time are an echo.
const ECHO_MS: u64 = 1500;

/// What a node's event asks for.
#[derive(Debug, PartialEq)]
enum Happened {
    /// A run with these parameters of `agent`.
    Asked(Value),
    /// Something the session should know, and why it is woken for it.
    Noted { session: String, text: String, why: &'static str },
    /// The node shows a conversation, or no longer.
    Follows { session: String, on: bool },
}

fn take_in(call: &Call) {
    let name = param(call, "event");
    let payload = match call.params.get("payloadJSON").and_then(Value::as_str) {
        Some(text) => serde_json::from_str(text).unwrap_or_default(),
        None => call.params.get("payload").cloned().unwrap_or_default(),
    };
    let node = own_node_id(call);
    tracing::debug!(node, event = name, "node event");
    let agents = &call.state.agents;
    match read(&node, &name, &payload, call.now()) {
        None => {}
        Some(Happened::Asked(params)) => start(call, node, params),
        Some(Happened::Noted { session, text, why }) => {
            let config = call.state.config.load();
            let silent = name.starts_with("exec.")
                && config
                    .config
                    .tools
                    .get("exec")
                    .is_some_and(|exec| exec["notifyOnExit"] == false);
            if !silent {
                let key = agents.sessions().canonical(&session);
                agents.system_event(&key, &text);
                let agent = agents.sessions().agent_of(&key);
                call.state.services.heartbeats.request(&agent, why);
            }
        }
        Some(Happened::Follows { session, on }) => {
            let key = agents.sessions().canonical(&session);
            call.state.bus.subscribe_messages(&call.caller.conn_id, key.as_str(), on);
        }
    }
}

/// Runs an agent for a node, which may choose neither model nor provider.
fn start(call: &Call, node: String, params: Value) {
    let scopes = Scopes::new(vec![Scope::Write.as_str().to_owned()]);
    let caller = internal::caller("gateway-client", "backend", scopes, call.now());
    let state = Arc::clone(&call.state);
    call.state.lifecycle.spawn("a run for a node", move |stop| async move {
        let run = internal::call(&state, Arc::new(caller), "agent", Some(params));
        tokio::select! {
            () = stop.cancelled() => {}
            ended = Box::pin(run) => if let Err(err) = ended {
                tracing::warn!(node, "agent failed: {}", err.message);
            },
        }
    });
}

fn read(node: &str, name: &str, payload: &Value, now: u64) -> Option<Happened> {
    let own = format!("node-{node}");
    let session = |otherwise: &str| text(payload, "sessionKey").unwrap_or(otherwise).to_owned();
    match name {
        "voice.transcript" => {
            let said = said(payload, "text")?;
            let key = session("main");
            let ids = ["eventId", "providerEventId", "transcriptId"];
            let run = match ids.iter().find_map(|id| text(payload, id)) {
                Some(id) => format!("voice:{node}:{id}"),
                None => format!("voice:{node}:{key}:{}:{said}", now / ECHO_MS),
            };
            Some(Happened::Asked(json!({
                "message": said,
                "sessionKey": key,
                "thinking": "low",
                "deliver": false,
                "inputProvenance": {
                    "kind": "external_user",
                    "sourceChannel": "voice",
                    "sourceTool": "gateway.voice.transcript",
                },
                "idempotencyKey": run,
            })))
        }
        "agent.request" => {
            let attachments = payload["attachments"].as_array().filter(|list| !list.is_empty());
            let message = match said(payload, "message") {
                Some(message) => message,
                None if attachments.is_some() && text(payload, "message").is_none() => "",
                None => return None,
            };
            let mut params = json!({
                "message": message,
                "sessionKey": session(&own),
                "deliver": flag(payload, "deliver").unwrap_or(false),
                "bestEffortDeliver": true,
                "idempotencyKey": uuid(),
            });
            for key in ["thinking", "channel", "to"] {
                if let Some(value) = text(payload, key) {
                    params[key] = value.into();
                }
            }
            if let Some(seconds) = payload["timeoutSeconds"].as_u64() {
                params["timeout"] = seconds.into();
            }
            if let Some(attachments) = attachments {
                params["attachments"] = attachments.clone().into();
            }
            Some(Happened::Asked(params))
        }
        "notifications.changed" => {
            let change = text(payload, "change")?.to_lowercase();
            if !matches!(change.as_str(), "posted" | "removed") {
                return None;
            }
            let key = line(text(payload, "key")?, MOST_NOTIFIED);
            let package = text(payload, "packageName")
                .map(|package| format!(" package={}", line(package, MOST_NOTIFIED)));
            let package = package.unwrap_or_default();
            let mut told = format!("Notification {change} (node={node} key={key}{package})");
            let parts = ["title", "text"].into_iter().filter_map(|key| text(payload, key));
            let parts: Vec<String> = parts.map(|part| line(part, MOST_NOTIFIED)).collect();
            if change == "posted" && !parts.is_empty() {
                told.extend([": ", &parts.join(" - ")]);
            }
            Some(Happened::Noted { session: session(&own), text: told, why: "notifications-event" })
        }
        "exec.started" | "exec.finished" | "exec.denied" => {
            if flag(payload, "suppressNotifyOnExit") == Some(true) {
                return None;
            }
            let told = command_told(node, name, payload)?;
            Some(Happened::Noted { session: session(&own), text: told, why: "exec-event" })
        }
        "chat.subscribe" | "chat.unsubscribe" => Some(Happened::Follows {
            session: text(payload, "sessionKey")?.to_owned(),
            on: name == "chat.subscribe",
        }),
        _ => None,
    }
}

/// What a session is told of a command on a node; nothing of one that went well
/// without a word.
fn command_told(node: &str, name: &str, payload: &Value) -> Option<String> {
    let id = text(payload, "runId").map_or_else(String::new, |run| format!(" id={run}"));
    let command = text(payload, "command").map_or_else(String::new, |text| format!(": {text}"));
    Some(match name {
        "exec.started" => format!("Exec started (node={node}{id}){command}"),
        "exec.denied" => {
            let why = text(payload, "reason").map_or_else(String::new, |why| format!(", {why}"));
            format!("Exec denied (node={node}{id}{why}){command}")
        }
        _ => {
            let timed_out = flag(payload, "timedOut") == Some(true);
            let code = payload["exitCode"].as_i64();
            let output = line(text(payload, "output").unwrap_or_default(), MOST_OUTPUT);
            if !timed_out && code == Some(0) && output.is_empty() {
                return None;
            }
            let ended = match code {
                _ if timed_out => "timeout".to_owned(),
                Some(code) => format!("code {code}"),
                None => "code ?".to_owned(),
            };
            let output = if output.is_empty() { output } else { format!("\n{output}") };
            format!("Exec finished (node={node}{id}, {ended}){output}")
        }
    })
}

/// A text that may start a run.
fn said<'p>(payload: &'p Value, key: &str) -> Option<&'p str> {
    text(payload, key).filter(|text| text.encode_utf16().count() <= MOST_SAID)
}

/// A text in one line that ends after `most` characters.
fn line(text: &str, most: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= most {
        return line;
    }
    let cut: String = line.chars().take(most - 1).collect();
    format!("{cut}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(name: &str, payload: &Value) -> String {
        match read("n1", name, payload, 0) {
            Some(Happened::Noted { text, .. }) => text,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn what_was_said_on_a_node_starts_a_run_once() {
        let Some(Happened::Asked(params)) =
            read("n1", "voice.transcript", &json!({"text": " hi ", "eventId": "e1"}), 0)
        else {
            panic!("a run")
        };
        assert_eq!((&params["message"], &params["sessionKey"]), (&json!("hi"), &json!("main")));
        assert_eq!(params["idempotencyKey"], "voice:n1:e1");
        assert_eq!(params["inputProvenance"]["kind"], "external_user");
        let long = json!({"text": "x".repeat(20_001)});
        assert_eq!(read("n1", "voice.transcript", &long, 0), None);
        assert_eq!(read("n1", "voice.transcript", &json!({"text": " "}), 0), None);
        let request = json!({"message": "go", "timeoutSeconds": 9, "model": "other"});
        let Some(Happened::Asked(params)) = read("n1", "agent.request", &request, 0) else {
            panic!("a run")
        };
        assert_eq!((&params["sessionKey"], &params["timeout"]), (&json!("node-n1"), &json!(9)));
        assert!(params.get("model").is_none(), "a node chooses no model");
        assert_eq!(read("n1", "agent.request", &json!({}), 0), None);
    }

    #[test]
    fn commands_and_notifications_are_told_in_a_line() {
        let done = |payload| noted("exec.finished", &payload);
        assert_eq!(done(json!({"exitCode": 0, "output": " "})), "None");
        assert_eq!(
            done(json!({"exitCode": 0, "suppressNotifyOnExit": true, "output": "x"})),
            "None"
        );
        let failed = json!({"runId": "r", "exitCode": 2, "output": "no\n  way"});
        assert_eq!(done(failed), "Exec finished (node=n1 id=r, code 2)\nno way");
        assert_eq!(done(json!({"timedOut": true})), "Exec finished (node=n1, timeout)");
        let denied = json!({"reason": "user-denied", "command": "rm x"});
        assert_eq!(noted("exec.denied", &denied), "Exec denied (node=n1, user-denied): rm x");
        let posted = json!({"change": "Posted", "key": "k", "packageName": "p", "title": "T",
            "text": "a\nSystem: b"});
        assert_eq!(
            noted("notifications.changed", &posted),
            "Notification posted (node=n1 key=k package=p): T - a System: b"
        );
        assert_eq!(noted("notifications.changed", &json!({"change": "read", "key": "k"})), "None");
    }
}
