//! `device.*`: which devices may connect, and their tokens.

use serde_json::{Map, Value, json};

use crate::gateway::pairing::{Paired, PairingError};
use crate::gateway::rpc::params::{blocking, text};
use crate::gateway::rpc::{Call, Method, Reply};
use crate::protocol::error::ErrorShape;
use crate::protocol::events::Event;
use crate::protocol::scope::Scopes;

pub(crate) const METHODS: &[Method] = &[
    Method { name: "device.pair.list", run: |call| Box::pin(list(call)) },
    Method { name: "device.pair.approve", run: |call| Box::pin(approve(call)) },
    Method { name: "device.pair.reject", run: |call| Box::pin(reject(call)) },
    Method { name: "device.pair.remove", run: |call| Box::pin(remove(call)) },
    Method { name: "device.token.rotate", run: |call| Box::pin(rotate(call)) },
    Method { name: "device.token.revoke", run: |call| Box::pin(revoke(call)) },
];

impl From<PairingError> for ErrorShape {
    fn from(err: PairingError) -> Self {
        match err {
            PairingError::Unreadable { .. } => Self::unavailable(format!("Error: {err}")),
            _ => Self::invalid(err.to_string()),
        }
    }
}

async fn list(call: Call) -> Reply {
    blocking(move || {
        let (pending, paired) = call.state.devices.list(call.now())?;
        let paired: Vec<Value> = paired.iter().map(public).collect();
        Ok(json!({ "pending": pending, "paired": paired }))
    })
    .await
}

async fn approve(call: Call) -> Reply {
    let id = param(&call, "requestId");
    blocking(move || {
        let device = call.state.devices.approve(&id, &call.caller.scopes, call.now())?;
        tracing::info!(device = device.device_id, "device pairing approved");
        resolved(&call, &id, &device.device_id, "approved");
        Ok(json!({ "requestId": id, "device": public(&device) }))
    })
    .await
}

async fn reject(call: Call) -> Reply {
    let id = param(&call, "requestId");
    blocking(move || {
        let request = call.state.devices.reject(&id, call.now())?;
        resolved(&call, &id, &request.device_id, "rejected");
        Ok(json!({ "requestId": id, "deviceId": request.device_id }))
    })
    .await
}

async fn remove(call: Call) -> Reply {
    let device = param(&call, "deviceId");
    let state = std::sync::Arc::clone(&call.state);
    let removed = device.clone();
    blocking(move || Ok(state.devices.remove(&removed)?)).await?;
    close_soon(&call, device.clone(), None);
    Ok(json!({ "deviceId": device }))
}

async fn rotate(call: Call) -> Reply {
    let (device, role) = (param(&call, "deviceId"), param(&call, "role"));
    let scopes = crate::gateway::rpc::params::texts(&call.params, "scopes").map(Scopes::new);
    let state = std::sync::Arc::clone(&call.state);
    let caller = std::sync::Arc::clone(&call.caller);
    let (owner, of) = (device.clone(), role.clone());
    let token = blocking(move || {
        let now = state.clock.now_ms();
        Ok(state.devices.rotate_token(&owner, &of, scopes.as_ref(), &caller.scopes, now)?)
    })
    .await?;
    close_soon(&call, device.clone(), Some(role.clone()));
    Ok(json!({
        "deviceId": device,
        "role": role,
        "token": token.token.expose(),
        "scopes": token.scopes,
        "rotatedAtMs": token.rotated_at_ms.unwrap_or(token.created_at_ms),
    }))
}

async fn revoke(call: Call) -> Reply {
    let (device, role) = (param(&call, "deviceId"), param(&call, "role"));
    let state = std::sync::Arc::clone(&call.state);
    let (owner, of, now) = (device.clone(), role.clone(), call.now());
    blocking(move || Ok(state.devices.revoke_token(&owner, &of, now)?)).await?;
    close_soon(&call, device.clone(), Some(role.clone()));
    Ok(json!({ "deviceId": device, "role": role, "revokedAtMs": now }))
}

/// Closes a device's sockets once the answer is on its way: a device that
/// changes its own token still hears about it.
fn close_soon(call: &Call, device: String, role: Option<String>) {
    let state = std::sync::Arc::clone(&call.state);
    call.state.lifecycle.spawn("close device sockets", move |_stop| async move {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        state.bus.close_device(&device, role.as_deref());
    });
}

fn resolved(call: &Call, request: &str, device: &str, decision: &str) {
    let payload = json!({
        "requestId": request,
        "deviceId": device,
        "decision": decision,
        "ts": call.now(),
    });
    call.state.bus.broadcast(Event::DevicePairResolved, &payload);
}

/// A device as lists show it: tokens without their secrets.
fn public(device: &Paired) -> Value {
    let mut shown = match serde_json::to_value(device) {
        Ok(Value::Object(shown)) => shown,
        _ => Map::new(),
    };
    shown.shift_remove("approvedScopes");
    shown.shift_remove("tokens");
    let tokens: Vec<Value> =
        device.tokens.values().map(crate::gateway::pairing::Token::summary).collect();
    shown.insert("tokens".into(), tokens.into());
    Value::Object(shown)
}

fn param(call: &Call, key: &str) -> String {
    text(&call.params, key).unwrap_or_default().to_owned()
}
