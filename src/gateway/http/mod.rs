//! HTTP on the gateway's port: everything that is no WebSocket upgrade.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;

use crate::gateway::State;

/// The routes of the gateway.
pub fn router(_state: &Arc<State>) -> Router {
    Router::new().route(
        "/healthz",
        get(|| async { axum::Json(serde_json::json!({"ok": true, "status": "live"})) }),
    )
}
