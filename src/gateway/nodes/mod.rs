//! Nodes: devices that connect to be asked for things (`node.invoke`).
//!
//! Keeps who is connected and which invocations wait for an answer. What a
//! connected node may be asked is decided by [`policy`], whether an operator
//! has approved it by [`pairing`], and which runs count as approved by
//! [`run_guard`].

pub mod arrival;
pub mod pairing;
pub mod policy;
pub mod run_guard;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value, json};
use tokio::sync::oneshot;

use crate::base::id::uuid;

/// Invocations that may wait at the same time; more are refused.
const MAX_WAITING: usize = 1024;

/// A node with a live socket.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Connected {
    pub node_id: String,
    pub conn_id: String,
    pub display_name: Option<String>,
    pub platform: String,
    pub version: Option<String>,
    pub client_id: String,
    pub client_mode: String,
    pub device_family: Option<String>,
    pub model_identifier: Option<String>,
    pub remote_ip: Option<String>,
    pub caps: Vec<String>,
    /// Declared and allowed.
    pub commands: Vec<String>,
    pub path_env: Option<String>,
    pub permissions: Option<Map<String, Value>>,
    pub connected_at_ms: u64,
}

/// What a node answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub ok: bool,
    pub payload: Option<Value>,
    /// The payload as the node spelled it.
    pub payload_json: Option<String>,
    pub error_code: Option<String>,
    pub error_message: Option<String>,
}

/// Connected nodes and waiting invocations.
#[derive(Debug, Default)]
pub struct Registry {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    nodes: HashMap<String, Connected>,
    waiting: HashMap<String, Waiting>,
}

#[derive(Debug)]
struct Waiting {
    node_id: String,
    conn_id: String,
    answer: oneshot::Sender<Answer>,
}

impl Registry {
    /// A node connected; an older socket of the same node stops counting.
    pub fn add(&self, node: Connected) {
        self.lock().nodes.insert(node.node_id.clone(), node);
    }

    /// A socket closed. Invocations that waited for it end without an answer.
    /// Returns the node, if this socket was its current one.
    pub fn remove(&self, conn_id: &str) -> Option<Connected> {
        let mut inner = self.lock();
        inner.waiting.retain(|_, waiting| waiting.conn_id != conn_id);
        let node = inner.nodes.values().find(|node| node.conn_id == conn_id)?.node_id.clone();
        inner.nodes.remove(&node)
    }

    pub fn get(&self, node_id: &str) -> Option<Connected> {
        self.lock().nodes.get(node_id).cloned()
    }

    pub fn all(&self) -> Vec<Connected> {
        self.lock().nodes.values().cloned().collect()
    }

    /// Opens an invocation of a connected node. Returns its id and where the
    /// answer arrives; `None` when too many wait already.
    pub fn open(&self, node: &Connected) -> Option<(String, oneshot::Receiver<Answer>)> {
        let mut inner = self.lock();
        if inner.waiting.len() >= MAX_WAITING {
            return None;
        }
        let (answer, receiver) = oneshot::channel();
        let id = uuid();
        let waiting =
            Waiting { node_id: node.node_id.clone(), conn_id: node.conn_id.clone(), answer };
        inner.waiting.insert(id.clone(), waiting);
        Some((id, receiver))
    }

    /// Gives an answer to who waits for it. `false` when nobody does (any more)
    /// or the answer comes from another node.
    pub fn answer(&self, id: &str, node_id: &str, answer: Answer) -> bool {
        let mut inner = self.lock();
        if inner.waiting.get(id).is_none_or(|waiting| waiting.node_id != node_id) {
            return false;
        }
        inner.waiting.remove(id).is_some_and(|waiting| waiting.answer.send(answer).is_ok())
    }

    /// Stops waiting for an invocation.
    pub fn close(&self, id: &str) {
        self.lock().waiting.remove(id);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connected {
    /// An entry of `node.list`. `approved_at` is when the device was approved.
    pub fn to_value(&self, approved_at: Option<u64>) -> Value {
        let mut entry = Map::new();
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                entry.insert(key.to_owned(), value);
            }
        };
        put("nodeId", Some(self.node_id.clone().into()));
        put("displayName", self.display_name.clone().map(Value::from));
        put("platform", Some(self.platform.clone().into()));
        put("version", self.version.clone().map(Value::from));
        put("clientId", Some(self.client_id.clone().into()));
        put("clientMode", Some(self.client_mode.clone().into()));
        put("deviceFamily", self.device_family.clone().map(Value::from));
        put("modelIdentifier", self.model_identifier.clone().map(Value::from));
        put("remoteIp", self.remote_ip.clone().map(Value::from));
        put("caps", Some(json!(self.caps)));
        put("commands", Some(json!(self.commands)));
        put("pathEnv", self.path_env.clone().map(Value::from));
        put("permissions", self.permissions.clone().map(Value::Object));
        put("connectedAtMs", Some(self.connected_at_ms.into()));
        put("approvedAtMs", approved_at.map(Value::from));
        put("paired", Some(approved_at.is_some().into()));
        put("connected", Some(true.into()));
        Value::Object(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(conn: &str) -> Connected {
        Connected { node_id: "n1".into(), conn_id: conn.into(), ..Connected::default() }
    }

    fn fine() -> Answer {
        Answer {
            ok: true,
            payload: Some(json!(1)),
            payload_json: None,
            error_code: None,
            error_message: None,
        }
    }

    #[test]
    fn an_answer_reaches_the_caller_once_and_only_from_the_asked_node() {
        let registry = Registry::default();
        registry.add(node("c1"));
        let (id, mut receiver) = registry.open(&node("c1")).unwrap();
        assert!(!registry.answer(&id, "other", fine()));
        assert!(registry.answer(&id, "n1", fine()));
        assert!(!registry.answer(&id, "n1", fine()));
        assert_eq!(receiver.try_recv().unwrap(), fine());
    }

    #[test]
    fn a_closed_socket_ends_its_invocations() {
        let registry = Registry::default();
        registry.add(node("c1"));
        let (_, mut receiver) = registry.open(&node("c1")).unwrap();
        registry.add(node("c2"));
        assert!(registry.remove("c1").is_none());
        assert!(receiver.try_recv().is_err());
        assert_eq!(registry.get("n1").unwrap().conn_id, "c2");
    }
}
