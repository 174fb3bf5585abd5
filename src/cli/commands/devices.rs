//! `devices …`: who may sign in. When this very device is refused, requests on
//! this host can still be approved through the gateway's files.

use serde_json::{Value, json};

use crate::base::clock;
use crate::cli::args::manage::{ApproveArgs, ClearArgs, DevicesCommand};
use crate::cli::args::rpc::Rpc;
use crate::cli::commands::call::{call, call_or_fail};
use crate::cli::context::Context;
use crate::cli::link::{CALL_MS, CallError, Link};
use crate::cli::ui::age;
use crate::cli::ui::page::Page;
use crate::cli::ui::{CommandResult, Failure, Outcome};
use crate::gateway::pairing::Devices;
use crate::gateway::pairing::records::Paired;
use crate::protocol::scope::Scopes;

pub fn run(context: &Context, command: &DevicesCommand) -> CommandResult {
    match command {
        DevicesCommand::List(args) => {
            let answer = list(context, &args.rpc)?;
            if args.rpc.json {
                return Ok(Outcome::json(&answer));
            }
            Ok(Outcome::text(render(&answer, clock::now_ms())))
        }
        DevicesCommand::Approve(args) => approve(context, args),
        DevicesCommand::Reject(args) => {
            let params = json!({ "requestId": args.request_id });
            let answer = call_or_fail(context, &args.rpc, "device.pair.reject", Some(params))?;
            let device = answer["deviceId"].as_str().unwrap_or("?");
            Ok(said(&args.rpc, &answer, &format!("Rejected {device}")))
        }
        DevicesCommand::Remove(args) => {
            let params = json!({ "deviceId": args.device_id });
            let answer = call_or_fail(context, &args.rpc, "device.pair.remove", Some(params))?;
            Ok(said(&args.rpc, &answer, &format!("Removed {}", args.device_id)))
        }
        DevicesCommand::Clear(args) => clear(context, args),
        DevicesCommand::Rotate(args) => {
            let mut params = json!({ "deviceId": args.device, "role": args.role });
            if !args.scope.is_empty() {
                params["scopes"] = json!(args.scope);
            }
            let answer = call_or_fail(context, &args.rpc, "device.token.rotate", Some(params))?;
            Ok(Outcome::json(&answer))
        }
        DevicesCommand::Revoke(args) => {
            let params = json!({ "deviceId": args.device, "role": args.role });
            let answer = call_or_fail(context, &args.rpc, "device.token.revoke", Some(params))?;
            Ok(Outcome::json(&answer))
        }
    }
}

/// The gateway's list; while it refuses this device, the list in its files.
fn list(context: &Context, rpc: &Rpc) -> Result<Value, Failure> {
    match call(context, rpc, "device.pair.list", Some(json!({})), CALL_MS)? {
        Ok(answer) => Ok(answer),
        Err(err) if may_use_files(context, rpc, &err) => {
            let (pending, paired) = files(context)
                .list(clock::now_ms())
                .map_err(|err| Failure::new(format!("Error: {err}")))?;
            let paired: Vec<Value> = paired.iter().map(Paired::summary).collect();
            Ok(json!({ "pending": pending, "paired": paired }))
        }
        Err(err) => Err(err.failure("")),
    }
}

/// Whether the gateway on this host refused this device: its files are then
/// the way to let it in, and whoever may write them may do so.
fn may_use_files(context: &Context, rpc: &Rpc, err: &CallError) -> bool {
    let local = Link::new(context, rpc).is_ok_and(|link| link.target.bind.is_some());
    if local && err.is_pairing_required() {
        context.ui.err("Direct scope access failed; using local fallback.");
        return true;
    }
    false
}

fn files(context: &Context) -> Devices {
    Devices::new(&context.paths.state)
}

fn said(rpc: &Rpc, answer: &Value, words: &str) -> Outcome {
    if rpc.json { Outcome::json(answer) } else { Outcome::text(words) }
}

fn approve(context: &Context, args: &ApproveArgs) -> CommandResult {
    let named = args.request_id.as_deref().map(str::trim).filter(|id| !id.is_empty());
    let request_id = if let Some(id) = named {
        id.to_owned()
    } else {
        let answer = list(context, &args.rpc)?;
        let newest = answer["pending"]
            .as_array()
            .and_then(|pending| pending.iter().max_by_key(|request| request["ts"].as_u64()));
        let Some(id) = newest.and_then(|request| request["requestId"].as_str()) else {
            return Err(Failure::new("No pending device pairing requests to approve"));
        };
        if !args.latest {
            return Err(Failure::new(format!(
                "Newest request: {id}\nApprove it with: {} devices approve {id}",
                context.program()
            )));
        }
        id.to_owned()
    };
    let params = json!({ "requestId": request_id });
    let answer = match call(context, &args.rpc, "device.pair.approve", Some(params), CALL_MS)? {
        Ok(answer) => answer,
        Err(err) if may_use_files(context, &args.rpc, &err) => {
            let device = files(context)
                .approve(&request_id, &Scopes::all(), clock::now_ms())
                .map_err(|err| Failure::new(format!("Error: {err}")))?;
            json!({ "requestId": request_id, "device": device.summary() })
        }
        Err(err) => return Err(err.failure("")),
    };
    let device = answer["device"]["deviceId"].as_str().unwrap_or("?");
    Ok(said(&args.rpc, &answer, &format!("Approved {device} ({request_id})")))
}

fn clear(context: &Context, args: &ClearArgs) -> CommandResult {
    if !args.yes {
        return Err(Failure::new("Refusing to clear pairing table without --yes"));
    }
    let answer = list(context, &args.rpc)?;
    let ids = |list: &str, key: &str| -> Vec<String> {
        let entries = answer[list].as_array().map(Vec::as_slice).unwrap_or_default();
        entries.iter().filter_map(|entry| entry[key].as_str().map(str::to_owned)).collect()
    };
    let mut removed = Vec::new();
    for id in ids("paired", "deviceId") {
        let params = json!({ "deviceId": id });
        call_or_fail(context, &args.rpc, "device.pair.remove", Some(params))?;
        removed.push(id);
    }
    let mut rejected = Vec::new();
    if args.pending {
        for id in ids("pending", "requestId") {
            let params = json!({ "requestId": id });
            call_or_fail(context, &args.rpc, "device.pair.reject", Some(params))?;
            rejected.push(id);
        }
    }
    let words = format!("Cleared {} paired devices, {} requests", removed.len(), rejected.len());
    let document = json!({ "removedDevices": removed, "rejectedPending": rejected });
    Ok(said(&args.rpc, &document, &words))
}

fn render(answer: &Value, now: u64) -> String {
    let list = |key: &str| answer[key].as_array().cloned().unwrap_or_default();
    let texts = |value: &Value| -> String {
        let texts: Vec<&str> =
            value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if texts.is_empty() { "-".to_owned() } else { texts.join(", ") }
    };
    let (pending, paired) = (list("pending"), list("paired"));
    let mut page = Page::default();
    if !pending.is_empty() {
        page.line(format!("Pending ({})", pending.len()));
    }
    for request in &pending {
        let id = request["requestId"].as_str().unwrap_or("?");
        let device = request["displayName"].as_str().or(request["deviceId"].as_str());
        let ago = request["ts"]
            .as_u64()
            .map_or(String::new(), |ts| format!(", {}", age::ago(now.saturating_sub(ts))));
        page.line(format!(
            "- {id}: {} wants {} [{}]{ago}",
            device.unwrap_or("?"),
            request["role"].as_str().unwrap_or("?"),
            texts(&request["scopes"])
        ));
    }
    if !paired.is_empty() {
        page.line(format!("Paired ({})", paired.len()));
    }
    for device in &paired {
        let id = device["deviceId"].as_str().unwrap_or("?");
        let name = device["displayName"].as_str().map(|name| format!(" ({name})"));
        page.line(format!("- {id}{}", name.unwrap_or_default()));
        page.line(format!(
            "  roles {} · scopes {}",
            texts(&device["roles"]),
            texts(&device["scopes"])
        ));
        let tokens = device["tokens"].as_array().map(Vec::as_slice).unwrap_or_default();
        let tokens: Vec<String> = tokens
            .iter()
            .map(|token| {
                let revoked = if token["revokedAtMs"].is_u64() { " (revoked)" } else { "" };
                format!("{}{revoked}", token["role"].as_str().unwrap_or("?"))
            })
            .collect();
        page.line(format!(
            "  tokens {}",
            if tokens.is_empty() { "-".to_owned() } else { tokens.join(", ") }
        ));
    }
    if page.is_empty() {
        page.line("No device pairing entries.");
    }
    page.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_listed_with_roles_scopes_and_tokens() {
        let answer = json!({
            "pending": [{"requestId": "r1", "deviceId": "d2", "role": "operator", "scopes": ["operator.read"], "ts": 0}],
            "paired": [{"deviceId": "d1", "roles": ["operator"], "scopes": [], "tokens": [{"role": "operator", "revokedAtMs": 5}]}],
        });
        insta::assert_snapshot!(render(&answer, 120_000), @r"
        Pending (1)
        - r1: d2 wants operator [operator.read], 2m ago
        Paired (1)
        - d1
          roles operator · scopes -
          tokens operator (revoked)
        ");
        assert_eq!(render(&json!({}), 0), "No device pairing entries.\n");
    }
}
