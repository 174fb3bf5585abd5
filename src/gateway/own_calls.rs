//! Calls that the gateway's own agents make: the methods that clients call, with
//! an operator's full rights.

use std::sync::{Arc, Weak};

use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::agents::tools::ControlPlane;
use crate::base::id;
use crate::gateway::rpc::{Caller, dispatch};
use crate::gateway::{State, restart};
use crate::protocol::connect::Client;
use crate::protocol::frame::Request;
use crate::protocol::scope::{Role, Scopes};
use crate::protocol::version;

/// The control plane as a tool sees it. Holds the state weakly: the state
/// holds the agents.
#[derive(Debug)]
pub(super) struct OwnCalls {
    state: Weak<State>,
    caller: Arc<Caller>,
}

impl OwnCalls {
    pub(super) fn new(state: &Arc<State>) -> Self {
        let client = Client {
            id: "gateway-client".to_owned(),
            version: crate::base::VERSION.to_owned(),
            platform: std::env::consts::OS.to_owned(),
            mode: "backend".to_owned(),
            ..Client::default()
        };
        let caller = Caller {
            conn_id: "agent".to_owned(),
            protocol: version::NEWEST,
            role: Role::Operator,
            scopes: Scopes::new(vec!["operator.admin".to_owned()]),
            client,
            device_id: None,
            remote_ip: None,
            local: true,
            caps: Vec::new(),
            commands: Vec::new(),
            path_env: None,
            permissions: serde_json::Map::new(),
            connected_at: state.started_at,
        };
        Self { state: Arc::downgrade(state), caller: Arc::new(caller) }
    }

    fn state(&self) -> Result<Arc<State>, String> {
        self.state.upgrade().ok_or_else(|| "the gateway is stopping".to_owned())
    }
}

impl ControlPlane for OwnCalls {
    fn call(&self, method: &'static str, params: Value) -> BoxFuture<'_, Result<Value, String>> {
        Box::pin(async move {
            let state = self.state()?;
            let request = Request { id: id::uuid(), method: method.to_owned(), params };
            match dispatch::route(&self.caller, &request) {
                dispatch::Verdict::Run(row) => {
                    let caller = Arc::clone(&self.caller);
                    dispatch::run(state, caller, row, request, None)
                        .await
                        .map_err(|error| error.message)
                }
                dispatch::Verdict::Refuse(error) | dispatch::Verdict::WrongRole(error) => {
                    Err(error.message)
                }
            }
        })
    }

    fn restart(&self, delay_ms: Option<u64>, reason: &str) -> Result<Value, String> {
        Ok(restart::schedule(&self.state()?, delay_ms, reason))
    }
}
