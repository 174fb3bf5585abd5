//! Calls of methods that come from inside: an HTTP request or a tool of an
//! agent. They pass the same checks as those of a socket.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::base::id;
use crate::gateway::State;
use crate::gateway::rpc::dispatch::{self, Verdict};
use crate::gateway::rpc::{Caller, Reply};
use crate::protocol::connect::Client;
use crate::protocol::frame::Request;
use crate::protocol::scope::{Role, Scopes};

/// An operator on this host with these scopes; `id` and `mode` are those of a
/// client.
pub fn caller(id: &str, mode: &str, scopes: Scopes, now: u64) -> Caller {
    Caller {
        conn_id: id::uuid(),
        protocol: 3,
        role: Role::Operator,
        scopes,
        client: Client {
            id: id.to_owned(),
            version: crate::base::VERSION.to_owned(),
            platform: std::env::consts::OS.to_owned(),
            mode: mode.to_owned(),
            ..Client::default()
        },
        device_id: None,
        remote_ip: None,
        local: true,
        caps: Vec::new(),
        commands: Vec::new(),
        path_env: None,
        permissions: Map::new(),
        connected_at: now,
    }
}

/// Checks and runs one call; absent parameters count as an empty object.
pub async fn call(
    state: &Arc<State>,
    caller: Arc<Caller>,
    method: &str,
    params: Option<Value>,
) -> Reply {
    let params = params.unwrap_or_else(|| json!({}));
    let mut request = Request { id: id::uuid(), method: method.to_owned(), params };
    match dispatch::route(&caller, &mut request) {
        Verdict::Run(row) => dispatch::run(Arc::clone(state), caller, row, request, None).await,
        Verdict::Refuse(error) | Verdict::WrongRole(error) => Err(error),
    }
}
