//! `health` and `system-presence`: is it well, who is there.

use serde_json::Value;

use crate::gateway::rpc::{Call, Method, Reply};

pub(crate) const METHODS: &[Method] = &[
    Method { name: "health", run: |call| Box::pin(health(call)) },
    Method { name: "system-presence", run: |call| Box::pin(async move { Ok(presence(&call)) }) },
];

async fn health(call: Call) -> Reply {
    let probe = call.params.get("probe").and_then(Value::as_bool).unwrap_or(false);
    Ok(call.state.health.answer(&call.state, probe).await)
}

fn presence(call: &Call) -> Value {
    let state = &call.state;
    state.presence.list_for(call.caller.protocol, &state.boot_id, call.now())
}
