//! `update.run` and `doctor.memory.status`: looking after the installation.

use std::future::ready;

use serde_json::{Value, json};

use crate::gateway::rpc::{Call, Method, Reply};
use crate::profile::installation::Installation;

pub(crate) const METHODS: &[Method] = &[
    Method { name: "update.run", run: |call| Box::pin(ready(Ok(update(&call)))) },
    Method { name: "doctor.memory.status", run: |call| Box::pin(memory(call)) },
];

/// This program never replaces itself; the answer says who does.
fn update(call: &Call) -> Value {
    let installation = Installation::of_this_program();
    json!({
        "ok": false,
        "result": {
            "status": "skipped",
            "mode": installation.mode(),
            "reason": installation.reason(),
            "root": installation.program.parent(),
            "before": { "version": crate::base::VERSION },
            "after": { "version": crate::base::VERSION },
            "steps": [],
            "durationMs": 0,
        },
        "restart": null,
        "sentinel": null,
        "note": call.text("note"),
    })
}

/// The memory of the default agent, and whether it can be searched by meaning.
async fn memory(call: Call) -> Reply {
    let agent = call.state.config.load().config.agents.default_id().to_lowercase();
    let (status, complaint) = call.state.agents.memory_status(&agent).await;
    let mut answer = json!({ "agentId": agent, "embedding": { "ok": complaint.is_none() } });
    match status {
        Ok(status) => answer["provider"] = status["provider"].clone(),
        Err(err) => answer["embedding"] = json!({ "ok": false, "error": err.to_string() }),
    }
    if let Some(complaint) = complaint {
        answer["embedding"]["error"] = json!(complaint);
    }
    Ok(answer)
}
