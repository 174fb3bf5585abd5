//! Methods of the control plane: one file per family, one row per method.

pub mod usage;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::gateway::State;
use crate::protocol::error::ErrorShape;

/// What a handler answers.
pub type Reply = Result<Value, ErrorShape>;

/// One request on its way through a handler. Scope, role and the shape of
/// `params` have been checked.
#[derive(Debug)]
pub struct Call {
    pub state: Arc<State>,
    pub params: Value,
}

/// A row of the method table.
#[derive(Debug, Clone, Copy)]
pub struct Method {
    pub name: &'static str,
    pub run: fn(Call) -> BoxFuture<'static, Reply>,
}
