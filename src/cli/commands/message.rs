//! `message …`: what is said on chat networks, through the running gateway.

use serde_json::json;

use crate::base::id;
use crate::cli::args::channels::{MessageCommand, SendArgs};
use crate::cli::args::rpc::Rpc;
use crate::cli::commands::call;
use crate::cli::context::Context;
use crate::cli::ui::{CommandResult, Failure, Outcome};

pub fn run(context: &Context, command: &MessageCommand) -> CommandResult {
    let MessageCommand::Send(args) = command;
    send(context, args)
}

fn send(context: &Context, args: &SendArgs) -> CommandResult {
    if args.target.as_deref().is_none_or(|target| target.trim().is_empty()) {
        return Err(Failure::new("error: required option '-t, --target <dest>' not specified"));
    }
    if args.message.is_none() && args.media.is_none() {
        return Err(Failure::new("Error: message required (--message or --media)"));
    }
    let mut params = json!({"to": args.target, "idempotencyKey": id::uuid()});
    let options = [
        ("message", &args.message),
        ("mediaUrl", &args.media),
        ("channel", &args.channel),
        ("accountId", &args.account),
        ("threadId", &args.thread_id),
    ];
    for (key, value) in options {
        if let Some(value) = value {
            params[key] = value.as_str().into();
        }
    }
    let channel = args.channel.as_deref().unwrap_or("the only channel");
    let target = args.target.as_deref().unwrap_or_default();
    let action = |payload| {
        json!({"action": "send", "channel": args.channel, "dryRun": args.dry_run,
            "handledBy": "core", "payload": payload})
    };
    if args.dry_run {
        return Ok(if args.json {
            Outcome::json(&action(params))
        } else {
            Outcome::text(format!("[dry-run] would send to {target} via {channel}"))
        });
    }
    let answer = call::call_or_fail(context, &Rpc::default(), "send", Some(params))?;
    if args.json {
        return Ok(Outcome::json(&action(answer)));
    }
    let channel = answer["channel"].as_str().unwrap_or(channel);
    let id = answer["messageId"].as_str().unwrap_or("unknown");
    let what = if answer["queued"] == true {
        "Queued: the channel is not connected; it goes out when it is"
    } else {
        "Sent"
    };
    Ok(Outcome::text(format!("✅ {what} via {channel}. Message ID: {id}")))
}
