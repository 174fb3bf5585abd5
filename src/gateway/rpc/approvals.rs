//! `exec.approval.*`, `plugin.approval.*` (questions for an operator) and
//! `exec.approvals.*` (the file with standing answers).

use std::future::ready;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::base::id::uuid;
use crate::gateway::approvals::{Decision, Desk, DeskError};
use crate::gateway::rpc::params::{blocking, flag, text, uint};
use crate::gateway::rpc::{Call, Method, Reply};
use crate::protocol::error::ErrorShape;
use crate::protocol::events::Event;
use crate::protocol::scope::Scope;
use crate::store::exec_approvals::{self, ReplaceError};

pub(crate) const METHODS: &[Method] = &[
    Method { name: "exec.approvals.get", run: |call| Box::pin(file_get(call)) },
    Method { name: "exec.approvals.set", run: |call| Box::pin(file_set(call)) },
    Method { name: "exec.approval.request", run: |call| Box::pin(exec_request(call)) },
    Method { name: "exec.approval.waitDecision", run: |call| Box::pin(wait(call, Kind::Exec)) },
    Method {
        name: "exec.approval.resolve",
        run: |call| Box::pin(ready(resolve(&call, Kind::Exec))),
    },
    Method { name: "plugin.approval.request", run: |call| Box::pin(plugin_request(call)) },
    Method { name: "plugin.approval.waitDecision", run: |call| Box::pin(wait(call, Kind::Plugin)) },
    Method {
        name: "plugin.approval.resolve",
        run: |call| Box::pin(ready(resolve(&call, Kind::Plugin))),
    },
];

const EXEC_TIMEOUT_MS: u64 = 1_800_000;
const PLUGIN_TIMEOUT_MS: u64 = 120_000;
const LONGEST_TIMEOUT_MS: u64 = 24 * 60 * 60 * 1000;

/// What is being asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Exec,
    Plugin,
}

impl Kind {
    fn desk(self, call: &Call) -> &Desk {
        match self {
            Self::Exec => &call.state.services.exec_approvals,
            Self::Plugin => &call.state.services.plugin_approvals,
        }
    }

    fn requested(self) -> Event {
        match self {
            Self::Exec => Event::ExecApprovalRequested,
            Self::Plugin => Event::PluginApprovalRequested,
        }
    }

    fn resolved(self) -> Event {
        match self {
            Self::Exec => Event::ExecApprovalResolved,
            Self::Plugin => Event::PluginApprovalResolved,
        }
    }
}

impl From<DeskError> for ErrorShape {
    fn from(err: DeskError) -> Self {
        let shape = Self::invalid(err.to_string());
        match err {
            DeskError::Unknown => shape.with_details(json!({ "reason": "APPROVAL_NOT_FOUND" })),
            DeskError::Full => Self::unavailable(err.to_string()),
            _ => shape,
        }
    }
}

async fn file_get(call: Call) -> Reply {
    blocking(move || {
        exec_approvals::read_or_create(&call.state.paths.state)
            .map(|reading| reading.public())
            .map_err(|err| ErrorShape::unavailable(format!("Error: {err}")))
    })
    .await
}

async fn file_set(call: Call) -> Reply {
    blocking(move || {
        let base = text(&call.params, "baseHash");
        exec_approvals::replace(&call.state.paths.state, call.params["file"].clone(), base)
            .map(|reading| reading.public())
            .map_err(|err| match err {
                ReplaceError::File { .. } => ErrorShape::unavailable(format!("Error: {err}")),
                _ => ErrorShape::invalid(err.to_string()),
            })
    })
    .await
}

async fn exec_request(call: Call) -> Reply {
    let request = exec_question(&call.params)?;
    let timeout = uint(&call.params, "timeoutMs").unwrap_or(EXEC_TIMEOUT_MS);
    ask(call, Kind::Exec, request, timeout).await
}

/// The question as events show it.
fn exec_question(params: &Value) -> Result<Value, ErrorShape> {
    let plan = params.get("systemRunPlan").filter(|plan| plan.is_object());
    let on_node = text(params, "host") == Some("node");
    let planned = plan.and_then(|plan| text(plan, "commandText")).filter(|_| on_node);
    if on_node && text(params, "nodeId").is_none() {
        return Err(ErrorShape::invalid("nodeId is required for host=node"));
    }
    if on_node && plan.is_none() {
        return Err(ErrorShape::invalid("systemRunPlan is required for host=node"));
    }
    let Some(command) = planned.or_else(|| text(params, "command")) else {
        return Err(ErrorShape::invalid("command is required"));
    };
    let field = |key: &str| text(params, key).map_or(Value::Null, Value::from);
    let planned = |key: &str| {
        let from_plan = plan.filter(|_| on_node).and_then(|plan| text(plan, key));
        from_plan.map_or_else(|| field(key), Value::from)
    };
    let mut question = Map::new();
    question.insert("command".into(), command.into());
    if let Some(argv) = params.get("commandArgv").filter(|argv| argv.is_array() && on_node) {
        question.insert("commandArgv".into(), argv.clone());
    }
    if let Some(env) = params.get("env").and_then(Value::as_object) {
        // Names only: values may be secrets and every operator sees this.
        let mut names: Vec<&String> = env.keys().collect();
        names.sort_unstable();
        question.insert("envKeys".into(), json!(names));
    }
    question.insert("systemRunBinding".into(), Value::Null);
    question.insert("systemRunPlan".into(), plan.filter(|_| on_node).cloned().into());
    question.insert("cwd".into(), planned("cwd"));
    question.insert("nodeId".into(), if on_node { field("nodeId") } else { Value::Null });
    for key in ["host", "security", "ask"] {
        question.insert(key.into(), field(key));
    }
    question.insert("allowedDecisions".into(), json!(allowed(text(params, "ask"))));
    question.insert("agentId".into(), planned("agentId"));
    question.insert("resolvedPath".into(), field("resolvedPath"));
    question.insert("sessionKey".into(), planned("sessionKey"));
    for key in ["turnSourceChannel", "turnSourceTo", "turnSourceAccountId", "turnSourceThreadId"] {
        let value = params.get(key).filter(|value| value.is_number()).cloned();
        question.insert(key.into(), value.unwrap_or_else(|| field(key)));
    }
    Ok(Value::Object(question))
}

/// Where every run must be asked about, no answer can be for always.
fn allowed(ask: Option<&str>) -> &'static [&'static str] {
    match ask {
        Some("always") => &["allow-once", "deny"],
        _ => &["allow-once", "allow-always", "deny"],
    }
}

async fn plugin_request(call: Call) -> Reply {
    let mut question = Map::new();
    for key in [
        "pluginId",
        "title",
        "description",
        "severity",
        "toolName",
        "toolCallId",
        "agentId",
        "sessionKey",
        "turnSourceChannel",
        "turnSourceTo",
        "turnSourceAccountId",
        "turnSourceThreadId",
    ] {
        question.insert(key.into(), call.params.get(key).cloned().unwrap_or_default());
    }
    let timeout = uint(&call.params, "timeoutMs").unwrap_or(PLUGIN_TIMEOUT_MS);
    ask(call, Kind::Plugin, Value::Object(question), timeout).await
}

/// Puts a question to the operators and waits for the answer.
async fn ask(call: Call, kind: Kind, request: Value, timeout_ms: u64) -> Reply {
    let timeout_ms = timeout_ms.min(LONGEST_TIMEOUT_MS);
    let id = match (kind, text(&call.params, "id")) {
        (Kind::Exec, Some(id)) => id.to_owned(),
        (Kind::Exec, None) => uuid(),
        (Kind::Plugin, _) => format!("plugin:{}", uuid()),
    };
    let desk = kind.desk(&call);
    let mut ticket = desk.open(id.clone(), request, timeout_ms, call.now())?;
    // Closes the question too when the asker goes away and this future drops.
    let _closing = CloseOnDrop { call: &call, kind, id: &id };
    call.state.bus.broadcast(kind.requested(), &ticket.requested());
    let others = call.state.bus.select(|caller| {
        caller.conn_id != call.caller.conn_id && caller.scopes.allow(Scope::Approvals)
    });
    if others.is_empty() {
        // Nobody is there who could answer.
        desk.close(&id, None, call.now());
        return Ok(ticket.answer(None));
    }
    if flag(&call.params, "twoPhase") == Some(true) {
        call.respond_early(ticket.accepted());
    }
    let patience = Duration::from_millis(timeout_ms);
    let decision = tokio::time::timeout(patience, ticket.decision()).await.unwrap_or(None);
    Ok(ticket.answer(decision))
}

#[derive(Debug)]
struct CloseOnDrop<'c> {
    call: &'c Call,
    kind: Kind,
    id: &'c str,
}

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        self.kind.desk(self.call).close(self.id, None, self.call.now());
    }
}

async fn wait(call: Call, kind: Kind) -> Reply {
    let Some(id) = text(&call.params, "id") else {
        return Err(ErrorShape::invalid("id is required"));
    };
    let Some(mut ticket) = kind.desk(&call).get(id, call.now()) else {
        return Err(ErrorShape::invalid("approval expired or not found"));
    };
    let left = ticket.expires_at_ms.saturating_sub(call.now());
    let patience = Duration::from_millis(left);
    let decision = tokio::time::timeout(patience, ticket.decision()).await.unwrap_or(None);
    Ok(ticket.answer(decision))
}

fn resolve(call: &Call, kind: Kind) -> Reply {
    let Some(decision) = text(&call.params, "decision").and_then(Decision::parse) else {
        return Err(ErrorShape::invalid("invalid decision"));
    };
    let now = call.now();
    let desk = kind.desk(call);
    let ticket = desk.find(text(&call.params, "id").unwrap_or_default(), now)?;
    if decision == Decision::AllowAlways && text(&ticket.request, "ask") == Some("always") {
        return Err(ErrorShape::invalid(
            "allow-always is unavailable because the effective policy requires approval every time",
        ));
    }
    if !desk.close(&ticket.id, Some(decision), now) {
        return Err(DeskError::Unknown.into());
    }
    let payload = json!({
        "id": ticket.id,
        "decision": decision.as_str(),
        "resolvedBy": call.caller.client.label(),
        "ts": now,
        "request": ticket.request,
    });
    call.state.bus.broadcast(kind.resolved(), &payload);
    Ok(json!({ "ok": true }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_shown_as_recorded() {
        let params = json!({"command": "echo hi", "cwd": "/tmp", "host": "gateway",
            "security": "allowlist", "ask": "on-miss", "agentId": "main",
            "sessionKey": "agent:main:main", "timeoutMs": 8000, "twoPhase": true});
        let expected = json!({"command": "echo hi", "systemRunBinding": null,
            "systemRunPlan": null, "cwd": "/tmp", "nodeId": null, "host": "gateway",
            "security": "allowlist", "ask": "on-miss",
            "allowedDecisions": ["allow-once", "allow-always", "deny"], "agentId": "main",
            "resolvedPath": null, "sessionKey": "agent:main:main", "turnSourceChannel": null,
            "turnSourceTo": null, "turnSourceAccountId": null, "turnSourceThreadId": null});
        assert_eq!(exec_question(&params).unwrap(), expected);
    }

    #[test]
    fn a_node_needs_a_plan_and_environment_values_stay_private() {
        let refused = |params: Value| exec_question(&params).unwrap_err().message;
        assert_eq!(refused(json!({})), "command is required");
        let node = json!({"command": "x", "host": "node", "nodeId": "n"});
        assert_eq!(refused(node), "systemRunPlan is required for host=node");
        let question = exec_question(&json!({"command": "x", "env": {"KEY": "s3cret"}})).unwrap();
        assert_eq!(question["envKeys"], json!(["KEY"]));
        assert!(!question.to_string().contains("s3cret"));
    }
}
