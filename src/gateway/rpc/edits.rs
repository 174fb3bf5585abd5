//! What methods share that change one part of the configuration file.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::config::write::{self, Author, Before, WriteError};
use crate::config::{Snapshot, edit};
use crate::gateway::reload::{self, Outcome};
use crate::gateway::rpc::params::blocking;
use crate::gateway::rpc::{Call, Reply};
use crate::protocol::error::ErrorShape;

/// Does work that changes the configuration file, and puts the result in force.
pub(super) async fn changing(
    call: Call,
    work: impl FnOnce(&Call) -> Reply + Send + 'static,
) -> Reply {
    let state = Arc::clone(&call.state);
    let turn = reload::turn(&state).await;
    let mut reply = blocking(move || work(&call)).await?;
    if let Outcome::Refused(reason) = Box::pin(turn.insist()).await {
        reply["notApplied"] = reason.into();
    }
    Ok(reply)
}

/// Changes the configuration file.
pub(super) fn change(
    call: &Call,
    edit_document: impl FnOnce(&mut Value, &Snapshot) -> Result<(), ErrorShape>,
) -> Result<(), ErrorShape> {
    let state = &call.state;
    let author = Author { argv: vec![call.method.to_owned()] };
    let mut refused = None;
    let written = write::update(
        &state.paths,
        &state.config.load().process_env,
        &author,
        None,
        Before::Valid,
        |now| {
            let mut next = match &now.parsed {
                Value::Object(_) => now.parsed.clone(),
                _ => json!({}),
            };
            if let Err(err) = edit_document(&mut next, now) {
                refused = Some(err);
                return Ok(now.raw.clone());
            }
            Ok(edit::transform(write::source_text(now), &now.parsed, &next)?)
        },
    );
    if let Some(err) = refused {
        return Err(err);
    }
    written.map(drop).map_err(|err| match err {
        WriteError::Io { .. } | WriteError::Locked(_) => {
            ErrorShape::unavailable(format!("Error: {err}"))
        }
        _ => ErrorShape::invalid(err.to_string()),
    })
}
