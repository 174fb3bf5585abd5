//! `pairing …`: strangers on chat networks who ask to be let in. Works on the
//! files, so that it needs no gateway; a running one reads them anew.

use serde_json::{Value, json};

use crate::channels::message::{Outbound, Payload};
use crate::channels::pairing::{Pairing, Request};
use crate::channels::{is_known, kinds};
use crate::cli::args::channels::{PairingApproveArgs, PairingCommand, PairingListArgs};
use crate::cli::args::rpc::Rpc;
use crate::cli::commands::call;
use crate::cli::context::Context;
use crate::cli::ui::table::{Fit, PIPE_WIDTH, Table};
use crate::cli::ui::{CommandResult, Failure, Outcome};

pub fn run(context: &Context, command: &PairingCommand) -> CommandResult {
    match command {
        PairingCommand::List(args) => list(context, args),
        PairingCommand::Approve(args) => approve(context, args),
    }
}

fn failed(err: impl std::fmt::Display) -> Failure {
    Failure::new(format!("Error: {err}"))
}

/// The channel that is meant: named, or the only one of ours that is configured.
fn channel(context: &Context, named: Option<&str>) -> Result<String, Failure> {
    let known: Vec<&str> = kinds().iter().map(|kind| kind.id).collect();
    if let Some(name) = named.map(|name| name.trim().to_lowercase()).filter(|it| !it.is_empty()) {
        // One that only is configured may be a plugin's of the other gateway.
        if !is_known(&name) && !context.config().config.channels.contains_key(&name) {
            return Err(failed(format!(
                "Unknown channel: {name} (expected one of: {})",
                known.join(", ")
            )));
        }
        return Ok(name);
    }
    let channels = &context.config().config.channels;
    let configured: Vec<&str> =
        known.iter().copied().filter(|id| channels.contains_key(*id)).collect();
    match configured.as_slice() {
        [only] => Ok((*only).to_owned()),
        _ => Err(Failure::new(format!(
            "Channel required. Use --channel <channel> or pass it as the first argument (expected one of: {})",
            known.join(", ")
        ))),
    }
}

fn list(context: &Context, args: &PairingListArgs) -> CommandResult {
    let channel = channel(context, args.channel.as_deref().or(args.name.as_deref()))?;
    let pairing = Pairing::new(&context.paths.state);
    let requests = pairing.pending(&channel, args.account.as_deref()).map_err(failed)?;
    if args.json {
        return Ok(Outcome::json(&json!({"channel": channel, "requests": requests})));
    }
    if requests.is_empty() {
        return Ok(Outcome::text(format!("No pending {channel} pairing requests.")));
    }
    let mut table = Table::new(&[
        ("Code", Fit::Content),
        ("Id", Fit::Rest),
        ("Meta", Fit::Rest),
        ("Requested", Fit::Content),
    ]);
    for request in &requests {
        let meta = Value::Object(request.meta.clone()).to_string();
        let row = [&request.code, &request.id, &meta, &request.created_at];
        table.row(row.into_iter().map(String::as_str));
    }
    Ok(Outcome::text(format!(
        "Pairing requests ({})\n{}",
        requests.len(),
        table.render(PIPE_WIDTH)
    )))
}

fn approve(context: &Context, args: &PairingApproveArgs) -> CommandResult {
    let (named, code) = match (&args.second, &args.channel) {
        (Some(code), _) => (Some(args.first.as_str()), code.as_str()),
        (None, named) => (named.as_deref(), args.first.as_str()),
    };
    let channel = channel(context, args.channel.as_deref().or(named))?;
    let pairing = Pairing::new(&context.paths.state);
    let approved = pairing.approve(&channel, args.account.as_deref(), code).map_err(failed)?;
    let Some(request) = approved else {
        return Err(failed(format!("No pending pairing request found for code: {code}")));
    };
    let mut outcome = Outcome::default();
    outcome.say(format!("Approved {channel} sender {}.", request.id));
    if args.notify
        && let Err(err) = notify(context, &channel, &request)
    {
        outcome.warn(format!("Failed to notify requester: {err}"));
    }
    Ok(outcome)
}

/// Tells the stranger through the running gateway.
fn notify(context: &Context, channel: &str, request: &Request) -> Result<(), Failure> {
    let told = Outbound {
        channel: channel.to_owned(),
        account: request.account().to_owned(),
        to: request.id.clone(),
        payloads: vec![Payload::text(
            "OpenClaw access approved. Send a message to start chatting.",
        )],
        ..Outbound::default()
    };
    let text = told.payloads.first().and_then(|payload| payload.text.clone());
    let params = json!({
        "channel": told.channel, "accountId": told.account, "to": told.to, "message": text,
        "idempotencyKey": crate::base::id::uuid(),
    });
    call::call_or_fail(context, &Rpc::default(), "send", Some(params)).map(|_| ())
}
