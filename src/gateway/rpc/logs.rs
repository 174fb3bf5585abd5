//! `logs.tail`: the end of this gateway's log file.

use crate::gateway::rpc::params::{blocking, uint};
use crate::gateway::rpc::{Call, Method, Reply};
use crate::gateway::state::State;
use crate::logging;
use crate::logging::tail::{self, TailRequest};
use crate::protocol::error::ErrorShape;

pub(crate) const METHODS: &[Method] =
    &[Method { name: "logs.tail", run: |call| Box::pin(tail(call)) }];

async fn tail(call: Call) -> Reply {
    let file = log_file(&call.state);
    let default = TailRequest::default();
    let request = TailRequest {
        cursor: uint(&call.params, "cursor"),
        limit: uint(&call.params, "limit")
            .and_then(|limit| usize::try_from(limit).ok())
            .unwrap_or(default.limit),
        max_bytes: uint(&call.params, "maxBytes").unwrap_or(default.max_bytes),
    };
    blocking(move || {
        let tail = tail::read(&file, request)
            .map_err(|err| ErrorShape::unavailable(format!("log read failed: {err}")))?;
        serde_json::to_value(tail)
            .map_err(|err| ErrorShape::unavailable(format!("log read failed: {err}")))
    })
    .await
}

/// The file that lines go to: `logging.file`, else today's.
fn log_file(state: &State) -> std::path::PathBuf {
    let snapshot = state.config.load();
    let daily = || logging::default_file(&state.paths.logs(), state.clock.now_ms());
    snapshot.log_file().unwrap_or_else(daily)
}
