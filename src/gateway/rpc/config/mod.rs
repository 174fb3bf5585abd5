//! `config.*`: reading and changing `openclaw.json` from afar. No answer holds
//! a secret; what a client did not get to see comes back unchanged.

mod change;
mod lookup;
mod view;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::config::reload::diff;
use crate::config::schema::{json_schema, table};
use crate::config::write::{self, Author, Before, WriteError};
use crate::config::{Issue, Snapshot, edit, json5, load};
use crate::gateway::reload::{self, Outcome};
use crate::gateway::rpc::config::change::Kind;
use crate::gateway::rpc::params::{blocking, text, uint};
use crate::gateway::rpc::{Call, Method, Reply};
use crate::gateway::{State, restart};
use crate::protocol::error::ErrorShape;
use crate::secrets;
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
        let snapshot = read(&call.state);
        let mut shown = view::of(&snapshot);
        // Of the configuration that the gateway runs with.
        shown["appliedConfigHash"] = call.state.config.load().hash.as_str().into();
        Ok(shown)
    })
    .await
}

async fn change(call: Call, kind: Kind) -> Reply {
    let raw = call.params["raw"].as_str().unwrap_or_default().to_owned();
    let base = text(&call.params, "baseHash").map(str::to_owned);
    let state = Arc::clone(&call.state);
    let method = call.method;
    // In protocol 4 a patch that changes nothing needs no base.
    let newer = call.caller.protocol >= 4;
    let may_lack_base = newer && kind == Kind::Patch && base.is_none();
    let (current, text, next) = blocking(move || {
        let current = read(&state);
        if !may_lack_base {
            check_base(&current, base.as_deref())?;
        }
        if kind == Kind::Patch && !current.is_valid() {
            return Err(ErrorShape::invalid("invalid config; fix before patching"));
        }
        let wanted = json5::value(&raw).map_err(|err| ErrorShape::invalid(err.to_string()))?;
        let next = change::next_document(kind, wanted, &current)?;
        if kind == Kind::Patch && next == current.parsed {
            return Ok((current.clone(), None, current));
        }
        check_base(&current, base.as_deref())?;
        // An unreadable file has no text that could be kept, and what is no object
        // has no place for it: the check says so.
        let text = if json5::value(&current.raw).is_ok() && next.is_object() {
            edit::transform(write::source_text(&current), &current.parsed, &next)
                .map_err(|err| refused(err.into()))?
        } else {
            format!("{next:#}\n")
        };
        let next = load::evaluate(text.clone(), &state.paths, &current.process_env);
        Ok((current, Some(text), next))
    })
    .await?;
    let Some(text) = text else {
        tracing::info!(conn = call.caller.conn_id, "{} noop (no changed paths)", call.method);
        let config = view::filled(&next, &next.runtime);
        let mut answer = json!({ "ok": true, "noop": true, "path": next.path, "config": config });
        if newer {
            answer["changedPaths"] = json!([]);
        }
        return Ok(answer);
    };
    if !next.is_valid() {
        return Err(invalid(&next.issues));
    }
    // What could not be resolved would be refused by the reload anyway.
    Box::pin(secrets::activate(&next)).await.map_err(|err| {
        let detail = err.detail();
        ErrorShape::invalid(format!(
            "invalid config: active SecretRef resolution failed ({detail})"
        ))
    })?;
    let state = Arc::clone(&call.state);
    let before = current.resolved.clone();
    let turn = reload::turn(&call.state).await;
    let written = blocking(move || {
        let author = Author { argv: vec![method.to_owned()] };
        let base = current.exists.then_some(current.hash.as_str());
        let env = Arc::clone(&current.process_env);
        write::update(&state.paths, &env, &author, base, Before::Anything, |_| Ok(text))
            .map_err(refused)
    })
    .await?;
    for note in &written.notes {
        tracing::info!("{note}");
    }
    let next = written.snapshot;
    let changed = diff::changed_paths(&before, &next.resolved);
    tracing::info!(
        actor = call.caller.client.label(),
        conn = call.caller.conn_id,
        changed = changed.join(","),
        "{} write",
        call.method
    );
    let delay = restart::delay(uint(&call.params, "restartDelayMs"));
    let outcome = Box::pin(turn.consider(delay)).await;
    let path = json!(next.path);
    let mut reply = json!({
        "ok": true,
        "path": path,
        "config": view::filled(&next, &next.runtime),
        "hash": next.hash,
    });
    if let Outcome::Refused(reason) = &outcome {
        reply["notApplied"] = reason.as_str().into();
    }
    if kind == Kind::Set {
        return Ok(reply);
    }
    reply["changedPaths"] = json!(changed);
    // What is in force already needs no restart, and nobody is disconnected.
    let restarts = matches!(outcome, Outcome::Restarting | Outcome::Ignored);
    reply["restart"] =
        if restarts { announce_restart(&call, &outcome, delay) } else { Value::Null };
    reply["sentinel"] = if restarts { sentinel(&call, kind, &path).await? } else { Value::Null };
    Ok(reply)
}

/// The file, seen with the environment of this process and not with what an
/// earlier content of the file added to it.
fn read(state: &State) -> Snapshot {
    let env = Arc::clone(&state.config.load().process_env);
    load::read(&state.paths, &env)
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

/// Says when the gateway restarts. Who patches wants the change in force, so
/// the restart also happens where the reload mode would leave it out.
fn announce_restart(call: &Call, outcome: &Outcome, delay: Duration) -> Value {
    if *outcome == Outcome::Ignored {
        let why = format!("config change requires gateway restart ({})", call.method);
        restart::when_idle(&call.state, &why, delay);
    }
    restart::announce(&call.state, delay, call.method).0
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
