//! Methods of the control plane: one file per family, one row per method.

mod agent;
pub mod agents;
mod approvals;
mod attachments;
pub mod channels;
pub mod chat;
mod config;
mod cron;
mod devices;
pub mod dispatch;
mod edits;
mod health;
pub mod internal;
mod logs;
mod maintenance;
mod newer;
mod node_calls;
mod node_events;
mod nodes;
pub mod params;
mod secrets;
mod sessions;
mod skills;
mod status;
mod system;
mod tasks;
pub mod tools;
pub mod usage;
pub mod voice;

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::gateway::State;
use crate::gateway::ws::{Outbox, Peer};
use crate::protocol::connect::Client;
use crate::protocol::error::ErrorShape;
use crate::protocol::frame;
use crate::protocol::scope::{Role, Scope, Scopes};

/// What a handler answers.
pub type Reply = Result<Value, ErrorShape>;

/// The rows of one family file.
const FAMILIES: &[&[Method]] = &[
    agent::METHODS,
    agents::METHODS,
    approvals::METHODS,
    channels::METHODS,
    chat::METHODS,
    config::METHODS,
    cron::METHODS,
    devices::METHODS,
    health::METHODS,
    logs::METHODS,
    maintenance::METHODS,
    newer::METHODS,
    node_calls::METHODS,
    node_events::METHODS,
    nodes::METHODS,
    secrets::METHODS,
    sessions::METHODS,
    skills::METHODS,
    status::METHODS,
    system::METHODS,
    tools::METHODS,
    usage::METHODS,
    voice::METHODS,
];

/// Who calls: a socket, or the gateway itself on behalf of an HTTP request.
#[derive(Debug, Clone)]
pub struct Caller {
    pub conn_id: String,
    pub protocol: u64,
    pub role: Role,
    pub scopes: Scopes,
    pub client: Client,
    pub device_id: Option<String>,
    /// Shown to others; absent for local peers.
    pub remote_ip: Option<String>,
    pub local: bool,
    pub caps: Vec<String>,
    pub commands: Vec<String>,
    pub path_env: Option<String>,
    pub permissions: serde_json::Map<String, Value>,
    /// Milliseconds since the Unix epoch.
    pub connected_at: u64,
}

impl Caller {
    /// Whether the client can show tool events.
    pub fn shows_tools(&self) -> bool {
        self.caps.iter().any(|cap| cap == "tool-events")
    }

    /// Whose budget a rate limit counts: device, else address, else connection.
    pub fn budget_key(&self) -> String {
        match (&self.device_id, &self.remote_ip) {
            (Some(device), Some(ip)) => format!("{device}|{ip}"),
            (Some(device), None) => device.clone(),
            (None, Some(ip)) => ip.clone(),
            (None, None) => format!("conn={}", self.conn_id),
        }
    }
}

/// One request on its way through a handler. Scope, role and the shape of
/// `params` have been checked.
pub struct Call {
    pub state: Arc<State>,
    pub caller: Arc<Caller>,
    pub method: &'static str,
    /// The request's id on the wire.
    pub id: String,
    pub params: Value,
    /// Where an early answer goes; absent when the call did not come by socket.
    pub outbox: Option<Arc<Outbox>>,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("method", &self.method)
            .field("conn_id", &self.caller.conn_id)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Call {
    /// Sends a first response under the request's id; the handler's result
    /// follows as the second.
    pub fn respond_early(&self, payload: Value) {
        if let Some(outbox) = &self.outbox {
            let reply = Ok(payload);
            let conn_id = &self.caller.conn_id;
            self.state.traffic.answer(conn_id, &self.id, self.method, None, &reply);
            outbox.push_text(frame::response(&self.id, &reply));
        }
    }

    /// Reads the parameters into a type. The shape has been checked, so this
    /// fails only where the type is stricter.
    pub fn params<T: DeserializeOwned>(&self) -> Result<T, ErrorShape> {
        T::deserialize(&self.params)
            .map_err(|err| ErrorShape::invalid(format!("invalid {} params: {err}", self.method)))
    }

    /// A text parameter, trimmed; `None` when absent, blank or no text.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.params.get(key)?.as_str().map(str::trim).filter(|text| !text.is_empty())
    }

    /// Refuses a caller without `scope`, beyond what the method asks anyway.
    pub fn require(&self, scope: Scope) -> Result<(), ErrorShape> {
        if self.caller.scopes.allow(scope) {
            Ok(())
        } else {
            Err(dispatch::missing_scope(&self.caller, scope))
        }
    }

    /// Milliseconds since the Unix epoch.
    pub fn now(&self) -> u64 {
        self.state.clock.now_ms()
    }
}

/// A row of the method table.
#[derive(Debug, Clone, Copy)]
pub struct Method {
    pub name: &'static str,
    pub run: fn(Call) -> BoxFuture<'static, Reply>,
}

/// Makes a [`Caller`] from a checked `connect`.
pub(crate) fn caller_of(
    conn_id: String,
    protocol: u64,
    role: Role,
    scopes: Scopes,
    params: crate::protocol::connect::ConnectParams,
    peer: &Peer,
    connected_at: u64,
) -> Caller {
    Caller {
        conn_id,
        protocol,
        role,
        scopes,
        client: params.client,
        device_id: params.device.map(|device| device.id),
        remote_ip: peer.shown_ip(),
        local: peer.local,
        caps: params.caps,
        commands: params.commands,
        path_env: params.path_env,
        permissions: params.permissions,
        connected_at,
    }
}
