//! `config.*`: reading and changing `openclaw.json` from afar. No answer holds
//! a secret; what a client did not get to see comes back unchanged.

mod change;
mod lookup;
mod view;

use std::sync::Arc;

use serde_json::{Value, json};

use crate::config::redact::References;
use crate::config::schema::{json_schema, table};
use crate::config::write::{self, Author, Before, WriteError};
use crate::config::{Issue, Snapshot, json5, load, redact};
use crate::gateway::rpc::config::change::Kind;
use crate::gateway::rpc::params::{blocking, text, uint};
use crate::gateway::rpc::{Call, Method, Reply};
use crate::gateway::{reload, restart};
use crate::protocol::error::ErrorShape;
use crate::store::atomic::{self, Sync};

pub(crate) const METHODS: &[Method] = &[
    Method { name: "config.get", run: |call| Box::pin(get(call)) },
    Method { name: "config.set", run: |call| Box::pin(change(call, Kind::Set)) },
    Method { name: "config.patch", run: |call| Box::pin(change(call, Kind::Patch)) },
    Method { name: "config.apply", run: |call| Box::pin(change(call, Kind::Apply)) },
    Method { name: "config.schema", run: |call| Box::pin(schema(call)) },
    Method { name: "config.schema.lookup", run: |call| Box::pin(schema_lookup(call)) },
    Method { name: "config.openFile", run: |call| Box::pin(open_file(call)) },
];

/// Issues named in an error message.
const NAMED_ISSUES: usize = 3;

async fn get(call: Call) -> Reply {
    blocking(move || {
        let snapshot = load::read(&call.state.paths, &call.state.env);
        Ok(view::of(&snapshot))
    })
    .await
}

async fn change(call: Call, kind: Kind) -> Reply {
    let raw = call.params["raw"].as_str().unwrap_or_default().to_owned();
    let base = text(&call.params, "baseHash").map(str::to_owned);
    let state = Arc::clone(&call.state);
    let method = call.method;
    let (next, changed) = blocking(move || {
        let current = load::read(&state.paths, &state.env);
        check_base(&current, base.as_deref())?;
        if kind == Kind::Patch && !current.is_valid() {
            return Err(ErrorShape::invalid("invalid config; fix before patching"));
        }
        let wanted = json5::value(&raw).map_err(|err| ErrorShape::invalid(err.to_string()))?;
        let next = change::next_document(kind, wanted, &current)?;
        if kind == Kind::Patch && next == current.parsed {
            return Ok((current, false));
        }
        let author = Author { argv: vec![method.to_owned()] };
        let base = current.exists.then_some(current.hash.as_str());
        let before = Before::Anything;
        let written = write::update(&state.paths, &state.env, &author, base, before, |now| {
            // An unreadable file has no text that could be kept.
            if json5::value(&now.raw).is_ok() {
                Ok(crate::config::edit::transform(write::source_text(now), &now.parsed, &next)?)
            } else {
                Ok(format!("{next:#}\n"))
            }
        })
        .map_err(refused)?;
        for note in &written.notes {
            tracing::info!("{note}");
        }
        Ok((written.snapshot, written.changed))
    })
    .await?;
    let config = redact::redact(&next.runtime, "", References::Masked);
    let path = json!(next.path);
    if !changed && kind == Kind::Patch {
        tracing::info!(conn = call.caller.conn_id, "{} noop (no changed paths)", call.method);
        return Ok(json!({ "ok": true, "noop": true, "path": path, "config": config }));
    }
    tracing::info!(
        actor = call.caller.client.label(),
        conn = call.caller.conn_id,
        "{} write",
        call.method
    );
    Box::pin(reload::consider(&call.state)).await;
    if kind == Kind::Set {
        return Ok(json!({ "ok": true, "path": path, "config": config }));
    }
    let sentinel = sentinel(&call, kind, &path).await?;
    let delay = uint(&call.params, "restartDelayMs");
    let restart = restart::schedule(&call.state, delay, call.method);
    Ok(json!({
        "ok": true,
        "path": path,
        "config": config,
        "restart": restart,
        "sentinel": sentinel,
    }))
}

/// Whether the caller changes what it saw.
fn check_base(current: &Snapshot, base: Option<&str>) -> Result<(), ErrorShape> {
    match base {
        _ if !current.exists => Ok(()),
        None => Err(ErrorShape::invalid("config base hash required; re-run config.get and retry")),
        Some(base) if base == current.hash => Ok(()),
        Some(_) => Err(refused(WriteError::Conflict)),
    }
}

fn refused(err: WriteError) -> ErrorShape {
    match err {
        WriteError::Rejected(issues) => invalid(&issues),
        WriteError::Io { .. } | WriteError::Locked(_) => {
            ErrorShape::unavailable(format!("Error: {err}"))
        }
        _ => ErrorShape::invalid(err.to_string()),
    }
}

/// `invalid config: <path>: <text>; … (+N more issues)`.
fn invalid(issues: &[Issue]) -> ErrorShape {
    let named: Vec<String> = issues.iter().take(NAMED_ISSUES).map(ToString::to_string).collect();
    let more = match issues.len().saturating_sub(NAMED_ISSUES) {
        0 => String::new(),
        1 => " (+1 more issue)".to_owned(),
        more => format!(" (+{more} more issues)"),
    };
    ErrorShape::invalid(format!("invalid config: {}{more}", named.join("; ")))
        .with_details(json!({ "issues": issues }))
}

/// Leaves a note for the gateway that starts next. Part of the contract.
async fn sentinel(call: &Call, kind: Kind, path: &Value) -> Reply {
    let file = call.state.paths.state.join("restart-sentinel.json");
    let mut payload = json!({
        "kind": if kind == Kind::Patch { "config-patch" } else { "config-apply" },
        "status": "ok",
        "ts": call.now(),
    });
    if let Some(key) = text(&call.params, "sessionKey") {
        payload["sessionKey"] = key.into();
    }
    payload["message"] = text(&call.params, "note").into();
    payload["doctorHint"] = "Run: openclaw doctor --non-interactive".into();
    payload["stats"] = json!({ "mode": call.method, "root": path });
    let written = json!({ "version": 1, "payload": payload });
    let target = file.clone();
    blocking(move || {
        let bytes = serde_json::to_vec_pretty(&written).unwrap_or_default();
        atomic::write(&target, &bytes, Sync::Yes)
            .map_err(|err| ErrorShape::unavailable(format!("Error: {err}")))
    })
    .await?;
    Ok(json!({ "path": file, "payload": payload }))
}

async fn schema(_call: Call) -> Reply {
    blocking(|| {
        Ok(json!({
            "schema": json_schema::document(table::table()),
            "uiHints": lookup::hints(table::table()),
            "version": crate::base::VERSION,
            "generatedAt": "2026-04-02T00:00:00.000Z",
        }))
    })
    .await
}

async fn schema_lookup(call: Call) -> Reply {
    blocking(move || {
        lookup::at(table::table(), text(&call.params, "path").unwrap_or_default())
            .ok_or_else(|| ErrorShape::invalid("config schema path not found"))
    })
    .await
}

/// Opens no editor: the gateway has no screen.
async fn open_file(call: Call) -> Reply {
    let path = call.state.paths.config.clone();
    blocking(move || {
        Ok(json!({
            "ok": false,
            "path": path,
            "error": "this gateway does not open files on its host; edit the file at the path shown",
        }))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_issues_are_named_and_all_are_in_the_details() {
        let issues: Vec<Issue> =
            (0..5).map(|n| Issue::new(format!("a.{n}"), "Invalid input")).collect();
        let error = invalid(&issues);
        assert_eq!(
            error.message,
            "invalid config: a.0: Invalid input; a.1: Invalid input; a.2: Invalid input (+2 more issues)"
        );
        assert_eq!(error.details.unwrap()["issues"].as_array().unwrap().len(), 5);
    }
}
