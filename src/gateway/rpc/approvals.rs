//! `exec.approval.*`, `plugin.approval.*` (questions for an operator) and
//! `exec.approvals.*` (the file with standing answers).

use std::future::ready;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::base::id::uuid;
use crate::gateway::approvals::{Asker, Decision, Desk, DeskError};
use crate::gateway::nodes::run_guard;
use crate::gateway::rpc::params::{blocking, flag, text, uint};
use crate::gateway::rpc::{Call, Method, Reply};
use crate::protocol::error::ErrorShape;
use crate::protocol::events::Event;
use crate::protocol::scope::Scope;
use crate::store::exec_approvals::{self, Reading, ReplaceError};

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
            .map(|reading| shown(&call, &reading))
            .map_err(|err| ErrorShape::unavailable(format!("Error: {err}")))
    })
    .await
}

/// The file for a caller; in protocol 4 with the defaults that apply.
fn shown(call: &Call, reading: &Reading) -> Value {
    let mut shown = reading.public();
    if call.caller.protocol >= 4 {
        let mut defaults = json!({
            "security": "full", "ask": "off", "askFallback": "deny", "autoAllowSkills": false,
        });
        for (key, value) in reading.file["defaults"].as_object().into_iter().flatten() {
            if !value.is_null() && defaults.get(key).is_some() {
                defaults[key] = value.clone();
            }
        }
        shown["resolvedDefaults"] = defaults;
    }
    shown
}

async fn file_set(call: Call) -> Reply {
    blocking(move || {
        let base = text(&call.params, "baseHash");
        exec_approvals::replace(&call.state.paths.state, call.params["file"].clone(), base)
            .map(|reading| shown(&call, &reading))
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
    let on_node = text(params, "host") == Some("node");
    let plan = if on_node { run_guard::plan(&params["systemRunPlan"]) } else { None };
    if on_node && text(params, "nodeId").is_none() {
        return Err(ErrorShape::invalid("nodeId is required for host=node"));
    }
    if on_node && plan.is_none() {
        return Err(ErrorShape::invalid("systemRunPlan is required for host=node"));
    }
    let planned = |key: &str| plan.as_ref().and_then(|plan| text(plan, key));
    let Some(command) = planned("commandText").or_else(|| text(params, "command")) else {
        return Err(ErrorShape::invalid("command is required"));
    };
    let field = |key: &str| text(params, key).map_or(Value::Null, Value::from);
    let planned = |key: &str| planned(key).map_or_else(|| field(key), Value::from);
    let mut question = Map::new();
    question.insert("command".into(), visible(command).into());
    let argv = params.get("commandArgv").and_then(Value::as_array);
    if let Some(argv) = argv.filter(|argv| !argv.is_empty() && !on_node) {
        question.insert("commandArgv".into(), argv.clone().into());
    }
    // Names only: values may be secrets and every operator sees this.
    let names = run_guard::environment_names(&params["env"]);
    if !names.is_empty() {
        question.insert("envKeys".into(), json!(names));
    }
    for key in ["cwd", "agentId", "sessionKey"] {
        question.insert(key.into(), planned(key));
    }
    let mut bound = plan.clone();
    if let Some(bound) = &mut bound {
        for key in ["cwd", "agentId", "sessionKey"] {
            bound[key] = question[key].clone();
        }
    }
    let binding = bound.as_ref().map(|plan| run_guard::binding(plan, &params["env"]));
    question.insert("systemRunBinding".into(), binding.into());
    question.insert("systemRunPlan".into(), bound.into());
    question.insert("nodeId".into(), if on_node { field("nodeId") } else { Value::Null });
    for key in ["host", "security", "ask"] {
        question.insert(key.into(), field(key));
    }
    question.insert("allowedDecisions".into(), json!(allowed(text(params, "ask"))));
    question.insert("resolvedPath".into(), field("resolvedPath"));
    for key in ["turnSourceChannel", "turnSourceTo", "turnSourceAccountId", "turnSourceThreadId"] {
        let value = params.get(key).filter(|value| value.is_number()).cloned();
        question.insert(key.into(), value.unwrap_or_else(|| field(key)));
    }
    Ok(Value::Object(question))
}

/// A command with its invisible characters spelled out, so that nobody decides
/// about something else than what runs.
fn visible(command: &str) -> String {
    let mut shown = String::with_capacity(command.len());
    for character in command.chars() {
        if is_invisible(character) {
            shown.extend(["\\u{", &format!("{:X}", u32::from(character)), "}"]);
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Format characters of Unicode (its category Cf) and blank letters.
fn is_invisible(character: char) -> bool {
    matches!(u32::from(character),
        0xAD | 0x600..=0x605 | 0x61C | 0x6DD | 0x70F | 0x890..=0x891 | 0x8E2 | 0x115F..=0x1160
        | 0x180E | 0x200B..=0x200F | 0x202A..=0x202E | 0x2060..=0x2064 | 0x2066..=0x206F | 0x3164
        | 0xFEFF | 0xFFA0 | 0xFFF9..=0xFFFB | 0x110BD | 0x110CD | 0x13430..=0x1343F
        | 0x1BCA0..=0x1BCA3 | 0x1D173..=0x1D17A | 0xE0001 | 0xE0020..=0xE007F)
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
    let mut ticket = desk.open(id.clone(), request, asker(&call), timeout_ms, call.now())?;
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

/// The caller, as questions remember it.
pub(super) fn asker(call: &Call) -> Asker {
    Asker { device: call.caller.device_id.clone(), conn: call.caller.conn_id.clone() }
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
    let ticket = desk.find(text(&call.params, "id").unwrap_or_default(), now).map_err(|err| {
        let mut refused = ErrorShape::from(err);
        if let Some(details) = refused.details.as_mut().filter(|_| call.caller.protocol >= 4) {
            details["remediation"] =
                "openclaw approvals pending lists what still waits for a decision".into();
        }
        refused
    })?;
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
        let node = json!({"host": "node", "nodeId": "n", "agentId": "main",
            "systemRunPlan": {"argv": ["ls"], "cwd": null, "commandText": "ls",
                "agentId": null, "sessionKey": null}});
        let question = exec_question(&node).unwrap();
        assert_eq!(question["systemRunBinding"]["argv"], json!(["ls"]));
        assert_eq!(question["systemRunPlan"]["agentId"], "main");
        assert_eq!(
            exec_question(&json!({"command": "a\u{202e}b"})).unwrap()["command"],
            "a\\u{202E}b"
        );
    }
}
