//! `node.invoke` and `exec.approvals.node.*`: what operators ask of a node that
//! is connected, and its answer.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::gateway::nodes::policy::Allowlist;
use crate::gateway::nodes::run_guard::{self, Question, Refusal};
use crate::gateway::nodes::{Answer, Connected};
use crate::gateway::rpc::nodes::param;
use crate::gateway::rpc::params::uint;
use crate::gateway::rpc::{Call, Method, Reply, approvals};
use crate::protocol::error::{ErrorCode, ErrorShape};
use crate::protocol::events::Event;
use crate::protocol::scope::Scope;

pub(crate) const METHODS: &[Method] = &[
    Method { name: "node.invoke", run: |call| Box::pin(invoke(call)) },
    Method { name: "exec.approvals.node.get", run: |call| Box::pin(approvals_get(call)) },
    Method { name: "exec.approvals.node.set", run: |call| Box::pin(approvals_set(call)) },
];

/// How long an invocation waits unless told otherwise.
const INVOKE_TIMEOUT: Duration = Duration::from_secs(30);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

impl From<Refusal> for ErrorShape {
    fn from(refusal: Refusal) -> Self {
        Self::invalid(refusal.message).with_details(refusal.details)
    }
}

async fn invoke(call: Call) -> Reply {
    let node_id = param(&call, "nodeId");
    let command = param(&call, "command");
    if node_id.is_empty() || command.is_empty() {
        return Err(ErrorShape::invalid("nodeId and command required"));
    }
    if matches!(command.as_str(), "system.execApprovals.get" | "system.execApprovals.set") {
        return Err(ErrorShape::invalid(
            "node.invoke does not allow system.execApprovals.*; use exec.approvals.node.*",
        )
        .with_details(json!({ "command": command })));
    }
    let Some(node) = call.state.services.nodes.get(&node_id) else {
        let details = json!({ "code": "NOT_CONNECTED" });
        return Err(ErrorShape::unavailable("node not connected").with_details(details));
    };
    check_allowed(&call, &node, &command)?;
    let mut params = call.params.get("params").filter(|params| !params.is_null()).cloned();
    if command == "system.run" {
        params = params.map(|params| cleared(&call, &node, &params)).transpose()?;
    }
    let question = Asked {
        command: &command,
        params,
        timeout_ms: uint(&call.params, "timeoutMs"),
        idempotency_key: call.params.get("idempotencyKey").cloned(),
    };
    let (payload, text) = ask(&call, &node, question).await?;
    Ok(json!({
        "ok": true,
        "nodeId": node_id,
        "command": command,
        "payload": payload,
        "payloadJSON": text,
    }))
}

/// The parameters of a run, approved only if an operator approved it.
fn cleared(call: &Call, node: &Connected, params: &Value) -> Result<Value, ErrorShape> {
    let (desk, now) = (&call.state.services.exec_approvals, call.now());
    let question = Question {
        node_id: &node.node_id,
        asker: &approvals::asker(call),
        decides: call.caller.scopes.allow(Scope::Approvals),
        now,
    };
    let cleared = run_guard::clear(params, question, |id| desk.get(id, now))?;
    if let Some(run) = &cleared.uses
        && !desk.spend(run, now)
    {
        return Err(run_guard::used_up(run).into());
    }
    Ok(cleared.params)
}

/// The node's file of standing answers, as the node tells it.
async fn approvals_get(call: Call) -> Reply {
    forward(&call, "system.execApprovals.get", json!({})).await
}

/// Hands the node a new file, or new rules of its own kind; it judges them.
async fn approvals_set(call: Call) -> Reply {
    let given = |key: &str| call.params.get(key).filter(|value| !value.is_null());
    let wrong = |problem: &str| {
        Err(ErrorShape::invalid(format!("invalid exec.approvals.node.set params: {problem}")))
    };
    let base = given("baseHash");
    let params = match (given("file"), given("native")) {
        (_, Some(_)) if call.caller.protocol < 4 => {
            return wrong("at root: unexpected property 'native'");
        }
        (Some(_), Some(_)) => return wrong("either 'file' or 'native', not both"),
        (None, None) => return wrong("must have required property 'file'"),
        (None, Some(_)) if base.is_none() => {
            return wrong("must have required property 'baseHash'");
        }
        (Some(file), None) => Map::from_iter([("file".to_owned(), file.clone())]),
        (None, Some(native)) => native.as_object().cloned().unwrap_or_default(),
    };
    let mut params = Value::Object(params);
    if let Some(base) = base {
        params["baseHash"] = base.clone();
    }
    forward(&call, "system.execApprovals.set", params).await
}

async fn forward(call: &Call, command: &str, params: Value) -> Reply {
    let node_id = param(call, "nodeId");
    if node_id.is_empty() {
        return Err(ErrorShape::invalid("nodeId required"));
    }
    let Some(node) = call.state.services.nodes.get(&node_id) else {
        return Err(failed(Some("NOT_CONNECTED"), "node not connected"));
    };
    let question = Asked { command, params: Some(params), timeout_ms: None, idempotency_key: None };
    ask(call, &node, question).await.map(|(payload, _)| payload)
}

/// What is asked of a node.
#[derive(Debug)]
struct Asked<'a> {
    command: &'a str,
    params: Option<Value>,
    timeout_ms: Option<u64>,
    idempotency_key: Option<Value>,
}

/// Asks a node and waits. The answer is also given as the node spelled it.
async fn ask(
    call: &Call,
    node: &Connected,
    asked: Asked<'_>,
) -> Result<(Value, Option<String>), ErrorShape> {
    let services = &call.state.services;
    let Some((id, answer)) = services.nodes.open(node) else {
        return Err(ErrorShape::unavailable("too many node invocations are waiting"));
    };
    let _closing = CloseOnDrop { call, id: &id };
    let mut request = Map::new();
    request.insert("id".into(), id.clone().into());
    request.insert("nodeId".into(), node.node_id.clone().into());
    request.insert("command".into(), asked.command.into());
    if let Some(params) = asked.params {
        request.insert("paramsJSON".into(), params.to_string().into());
    }
    if let Some(timeout) = asked.timeout_ms {
        request.insert("timeoutMs".into(), timeout.into());
    }
    if let Some(key) = asked.idempotency_key {
        request.insert("idempotencyKey".into(), key);
    }
    if !call.state.bus.send_to(&node.conn_id, Event::NodeInvokeRequest, &request) {
        return Err(failed(Some("UNAVAILABLE"), "failed to send invoke to node"));
    }
    let timeout = asked.timeout_ms.map_or(INVOKE_TIMEOUT, Duration::from_millis);
    match tokio::time::timeout(timeout.min(LONGEST_TIMEOUT), answer).await {
        Ok(Ok(answer)) => answered(answer),
        // The sender is dropped when the node's socket closes.
        Ok(Err(_)) => Err(failed(Some("NOT_CONNECTED"), "node disconnected")),
        Err(_) => Err(failed(Some("TIMEOUT"), "node invoke timed out")),
    }
}

/// Stops waiting when the handler ends, whichever way.
#[derive(Debug)]
struct CloseOnDrop<'c> {
    call: &'c Call,
    id: &'c str,
}

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        self.call.state.services.nodes.close(self.id);
    }
}

/// Whether the node may be asked: by its platform, by what it declared.
fn check_allowed(call: &Call, node: &Connected, command: &str) -> Result<(), ErrorShape> {
    let snapshot = call.state.config.load();
    let family = node.device_family.as_deref().unwrap_or_default();
    let list = Allowlist::of(&node.platform, family, &snapshot.config.gateway.nodes);
    let (reason, message) = if !list.allows(command) {
        (
            "command not allowlisted",
            format!("\"{command}\" is not in the allowlist for platform \"{}\"", list.platform),
        )
    } else if node.commands.is_empty() {
        (
            "node did not declare commands",
            "the node did not declare any supported commands".to_owned(),
        )
    } else if !node.commands.iter().any(|declared| declared == command) {
        (
            "command not declared by node",
            format!("the node (platform: {}) does not support \"{command}\"", list.platform),
        )
    } else {
        return Ok(());
    };
    Err(ErrorShape::invalid(format!("node command not allowed: {message}"))
        .with_details(json!({ "reason": reason, "command": command })))
}

fn answered(answer: Answer) -> Result<(Value, Option<String>), ErrorShape> {
    if !answer.ok {
        let message = answer.error_message.as_deref().unwrap_or("node invoke failed");
        return Err(failed(answer.error_code.as_deref(), message));
    }
    let payload = match (&answer.payload_json, answer.payload) {
        (Some(text), _) => {
            serde_json::from_str(text).unwrap_or_else(|_| json!({"payloadJSON": text}))
        }
        (None, payload) => payload.unwrap_or(Value::Null),
    };
    Ok((payload, answer.payload_json))
}

/// The node could not be asked, or did not do it.
fn failed(code: Option<&str>, message: &str) -> ErrorShape {
    let text = code.map_or_else(|| message.to_owned(), |code| format!("{code}: {message}"));
    let mut error = Map::new();
    if let Some(code) = code {
        error.insert("code".into(), code.into());
    }
    error.insert("message".into(), message.into());
    ErrorShape::new(ErrorCode::Unavailable, text).with_details(json!({ "nodeError": error }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_passed_on_as_recorded() {
        let text = r#"{"bins":{"ls":"/bin/ls"}}"#;
        let answer = Answer {
            ok: true,
            payload: None,
            payload_json: Some(text.into()),
            error_code: None,
            error_message: None,
        };
        let expected = (json!({"bins": {"ls": "/bin/ls"}}), Some(text.to_owned()));
        assert_eq!(answered(answer).unwrap(), expected);
    }

    #[test]
    fn a_refusal_keeps_the_nodes_code() {
        let answer = Answer {
            ok: false,
            payload: None,
            payload_json: None,
            error_code: Some("NO_BIN".into()),
            error_message: Some("no such program".into()),
        };
        let err = answered(answer).unwrap_err();
        assert_eq!(err.message, "NO_BIN: no such program");
        assert_eq!(err.details.unwrap()["nodeError"]["code"], "NO_BIN");
    }
}
