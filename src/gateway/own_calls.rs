//! Calls that the gateway's own agents make: the methods that clients call, with
//! an operator's full rights.

use std::sync::{Arc, Weak};

use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::agents::tools::ControlPlane;
use crate::gateway::rpc::{Caller, internal};
use crate::gateway::{State, restart};
use crate::protocol::scope::Scopes;
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
        let scopes = Scopes::new(vec!["operator.admin".to_owned()]);
        let caller = Caller {
            conn_id: "agent".to_owned(),
            protocol: version::NEWEST,
            ..internal::caller("gateway-client", "backend", scopes, state.started_at)
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
            let caller = Arc::clone(&self.caller);
            let reply = internal::call(&state, caller, method, Some(params)).await;
            reply.map_err(|error| error.message)
        })
    }

    fn restart(&self, delay_ms: Option<u64>, reason: &str) -> Result<Value, String> {
        Ok(restart::schedule(&self.state()?, delay_ms, reason))
    }

    fn wake(&self, agent: &str) {
        if let Ok(state) = self.state() {
            state.services.heartbeats.request(agent, "exec-event");
        }
    }
}
