//! `node.*`: devices that are asked for things, and their approval.

use std::future::ready;

use serde_json::{Map, Value, json};

use crate::gateway::nodes::Answer;
use crate::gateway::nodes::pairing::{Description, Paired, PairingError};
use crate::gateway::rpc::params::{blocking, flag, text};
use crate::gateway::rpc::{Call, Method, Reply};
use crate::protocol::error::ErrorShape;
use crate::protocol::events::Event;
use crate::protocol::scope::Role;

pub(crate) const METHODS: &[Method] = &[
    Method { name: "node.list", run: |call| Box::pin(list(call)) },
    Method { name: "node.describe", run: |call| Box::pin(describe(call)) },
    Method { name: "node.rename", run: |call| Box::pin(rename(call)) },
    Method { name: "node.invoke.result", run: |call| Box::pin(ready(invoke_result(&call))) },
    Method { name: "node.pending.pull", run: |call| Box::pin(ready(Ok(pending_pull(&call)))) },
    Method { name: "node.pair.request", run: |call| Box::pin(pair_request(call)) },
    Method { name: "node.pair.list", run: |call| Box::pin(pair_list(call)) },
    Method { name: "node.pair.approve", run: |call| Box::pin(pair_approve(call)) },
    Method { name: "node.pair.reject", run: |call| Box::pin(pair_reject(call)) },
    Method { name: "node.pair.verify", run: |call| Box::pin(pair_verify(call)) },
    Method { name: "push.test", run: |call| Box::pin(push_test(call)) },
];

impl From<PairingError> for ErrorShape {
    fn from(err: PairingError) -> Self {
        match err {
            PairingError::File { .. } => Self::unavailable(format!("Error: {err}")),
            _ => Self::invalid(err.to_string()),
        }
    }
}

async fn list(call: Call) -> Reply {
    blocking(move || Ok(json!({ "ts": call.now(), "nodes": entries(&call)? }))).await
}

async fn describe(call: Call) -> Reply {
    blocking(move || {
        let wanted = text(&call.params, "nodeId").unwrap_or_default();
        let node = entries(&call)?.into_iter().find(|node| node["nodeId"] == wanted);
        let Some(Value::Object(node)) = node else {
            return Err(ErrorShape::invalid("unknown nodeId"));
        };
        let mut result = Map::new();
        result.insert("ts".into(), call.now().into());
        result.extend(node);
        Ok(Value::Object(result))
    })
    .await
}

/// Connected nodes first, then the approved devices that are away, then what
/// was approved without ever having been a device here.
fn entries(call: &Call) -> Result<Vec<Value>, ErrorShape> {
    let state = &call.state;
    let (_, devices) = state.devices.list(call.now())?;
    let (_, approved) = state.services.node_book.list(call.now())?;
    let name_of = |id: &str| {
        let node = approved.iter().find(|node| node.node_id == id)?;
        node.description.display_name.clone()
    };
    let approval_of = |id: &str| {
        let node = approved.iter().find(|node| node.node_id == id).map(|node| node.approved_at_ms);
        let device = devices.iter().find(|device| device.device_id == id);
        node.or_else(|| device.map(|device| device.approved_at_ms))
    };
    let mut connected = state.services.nodes.all();
    connected.sort_by(|a, b| a.display_name.cmp(&b.display_name).then(a.node_id.cmp(&b.node_id)));
    let mut entries: Vec<Value> = connected
        .iter_mut()
        .map(|node| {
            if let Some(name) = name_of(&node.node_id) {
                node.display_name = Some(name);
            }
            node.to_value(approval_of(&node.node_id))
        })
        .collect();
    for device in devices {
        let is_node = device.roles.iter().flatten().any(|role| role == "node")
            || device.role.as_deref() == Some("node");
        if is_node && !connected.iter().any(|node| node.node_id == device.device_id) {
            let known = approved.iter().find(|node| node.node_id == device.device_id);
            let mut entry = away(known, &device.device_id);
            let mut fill = |key: &str, value: Option<String>| {
                if let (Some(value), None) = (value, entry.get(key)) {
                    entry.insert(key.into(), value.into());
                }
            };
            fill("displayName", device.display_name);
            fill("platform", device.platform);
            fill("deviceFamily", device.device_family);
            fill("clientId", device.client_id);
            fill("clientMode", device.client_mode);
            entry.insert(
                "approvedAtMs".into(),
                known.map_or(device.approved_at_ms, |node| node.approved_at_ms).into(),
            );
            entries.push(resting(entry));
        }
    }
    for node in &approved {
        if !entries.iter().any(|entry| entry["nodeId"] == node.node_id) {
            let mut entry = away(Some(node), &node.node_id);
            entry.insert("approvedAtMs".into(), node.approved_at_ms.into());
            entries.push(resting(entry));
        }
    }
    Ok(entries)
}

fn resting(mut entry: Map<String, Value>) -> Value {
    entry.insert("paired".into(), true.into());
    entry.insert("connected".into(), false.into());
    Value::Object(entry)
}

/// What is known about a node that is not connected.
fn away(known: Option<&Paired>, id: &str) -> Map<String, Value> {
    let mut entry = Map::new();
    entry.insert("nodeId".into(), id.into());
    let said = known.and_then(|node| serde_json::to_value(&node.description).ok());
    if let Some(Value::Object(said)) = said {
        entry.extend(said);
    }
    for key in ["caps", "commands"] {
        entry.entry(key).or_insert_with(|| json!([]));
    }
    entry
}

async fn rename(call: Call) -> Reply {
    blocking(move || {
        let node = param(&call, "nodeId");
        let name = param(&call, "displayName");
        if name.is_empty() {
            return Err(ErrorShape::invalid("displayName required"));
        }
        call.state.services.node_book.rename(&node, &name, call.now())?;
        Ok(json!({ "nodeId": node, "displayName": name }))
    })
    .await
}

fn invoke_result(call: &Call) -> Reply {
    let params = &call.params;
    let node_id = own_node_id(call);
    if text(params, "nodeId") != Some(node_id.as_str()) {
        return Err(ErrorShape::invalid("nodeId mismatch"));
    }
    let error = params.get("error").cloned().unwrap_or_default();
    let answer = Answer {
        ok: flag(params, "ok").unwrap_or(false),
        payload: params.get("payload").cloned(),
        payload_json: params.get("payloadJSON").and_then(Value::as_str).map(str::to_owned),
        error_code: text(&error, "code").map(str::to_owned),
        error_message: text(&error, "message").map(str::to_owned),
    };
    let id = text(params, "id").unwrap_or_default();
    if call.state.services.nodes.answer(id, &node_id, answer) {
        Ok(json!({ "ok": true }))
    } else {
        Ok(json!({ "ok": true, "ignored": true }))
    }
}

fn pending_pull(call: &Call) -> Value {
    json!({ "nodeId": own_node_id(call), "actions": [] })
}

async fn pair_request(call: Call) -> Reply {
    blocking(move || {
        let node = param(&call, "nodeId");
        let description: Description = call.params()?;
        let silent = flag(&call.params, "silent").unwrap_or(false);
        let (request, created) =
            call.state.services.node_book.request(&node, description, silent, call.now())?;
        if created {
            call.state.bus.broadcast(Event::NodePairRequested, &request);
        }
        Ok(json!({ "status": "pending", "request": request, "created": created }))
    })
    .await
}

async fn pair_list(call: Call) -> Reply {
    blocking(move || {
        let (pending, paired) = call.state.services.node_book.list(call.now())?;
        let paired: Vec<Value> = paired.iter().map(Paired::public).collect();
        Ok(json!({ "pending": pending, "paired": paired }))
    })
    .await
}

async fn pair_approve(call: Call) -> Reply {
    blocking(move || {
        let id = param(&call, "requestId");
        let may = |scope: &'static str| call.caller.scopes.allow_named(scope);
        let node = call.state.services.node_book.approve(&id, may, call.now())?;
        resolved(&call, &id, &node.node_id, "approved");
        Ok(json!({ "requestId": id, "node": node }))
    })
    .await
}

async fn pair_reject(call: Call) -> Reply {
    blocking(move || {
        let id = param(&call, "requestId");
        let node = call.state.services.node_book.reject(&id, call.now())?;
        resolved(&call, &id, &node, "rejected");
        Ok(json!({ "requestId": id, "nodeId": node }))
    })
    .await
}

async fn pair_verify(call: Call) -> Reply {
    blocking(move || {
        let (node, token) = (param(&call, "nodeId"), param(&call, "token"));
        let known = call.state.services.node_book.verify(&node, &token, call.now())?;
        Ok(match known {
            Some(node) => json!({ "ok": true, "node": node }),
            None => json!({ "ok": false }),
        })
    })
    .await
}

fn resolved(call: &Call, request: &str, node: &str, decision: &str) {
    let payload =
        json!({ "requestId": request, "nodeId": node, "decision": decision, "ts": call.now() });
    call.state.bus.broadcast(Event::NodePairResolved, &payload);
}

/// The node behind a node's own call.
pub(super) fn own_node_id(call: &Call) -> String {
    let caller = &call.caller;
    debug_assert_eq!(caller.role, Role::Node, "dispatch lets only nodes in");
    caller.device_id.clone().unwrap_or_else(|| caller.client.id.clone())
}

/// Pushes go through Apple, with keys that only the Node gateway holds. What it
/// noted about iOS nodes tells the two refusals apart.
async fn push_test(call: Call) -> Reply {
    blocking(move || {
        let node = param(&call, "nodeId");
        let path = call.state.paths.state.join("push/apns-registrations.json");
        let noted: Value = std::fs::read(path)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        if noted["registrationsByNodeId"][node.trim()].is_object() {
            let text = "this gateway sends no pushes through Apple's service (APNs); \
                        reach the node with node.invoke while it is connected";
            return Err(ErrorShape::unavailable(text));
        }
        let text = format!("node {node} has no APNs registration (connect iOS node first)");
        Err(ErrorShape::invalid(text))
    })
    .await
}

pub(super) fn param(call: &Call, key: &str) -> String {
    text(&call.params, key).unwrap_or_default().to_owned()
}
