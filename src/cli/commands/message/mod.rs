//! `message …`: what is said and done on chat networks, through the running
//! gateway.

mod show;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::base::id;
use crate::channels::{kind, kinds};
use crate::cli::args::message::{
    Base, BroadcastArgs, ChannelCommand, EmojiCommand, EventCommand, MemberCommand, MessageCommand,
    RoleCommand, SendArgs, StickerCommand, ThreadCommand, VoiceCommand,
};
use crate::cli::args::rpc::Rpc;
use crate::cli::commands::call;
use crate::cli::context::Context;
use crate::cli::ui::{CommandResult, Failure, Outcome};

pub fn run(context: &Context, command: &MessageCommand) -> CommandResult {
    let (name, base, params) = match command {
        MessageCommand::Send(args) => return send(context, args),
        MessageCommand::Broadcast(args) => return broadcast(context, args),
        MessageCommand::Poll(args) => ("poll", &args.base, params(args)),
        MessageCommand::React(args) => ("react", &args.base, params(args)),
        MessageCommand::Reactions(args) => ("reactions", &args.base, params(args)),
        MessageCommand::Read(args) => ("read", &args.base, params(args)),
        MessageCommand::Edit(args) => ("edit", &args.base, params(args)),
        MessageCommand::Delete(args) => ("delete", &args.base, params(args)),
        MessageCommand::Pin(args) => ("pin", &args.base, params(args)),
        MessageCommand::Unpin(args) => ("unpin", &args.base, params(args)),
        MessageCommand::Pins(args) => ("list-pins", &args.base, params(args)),
        MessageCommand::Permissions(args) => ("permissions", &args.base, params(args)),
        MessageCommand::Search(args) => ("search", &args.base, params(args)),
        MessageCommand::Thread(ThreadCommand::Create(args)) => {
            let mut params = params(args);
            if channel_of(context, &args.base, Some(&args.target)).as_deref() == Some("telegram") {
                params["name"] = args.thread_name.as_str().into();
                ("topic-create", &args.base, params)
            } else {
                ("thread-create", &args.base, params)
            }
        }
        MessageCommand::Thread(ThreadCommand::List(args)) => {
            ("thread-list", &args.base, params(args))
        }
        MessageCommand::Thread(ThreadCommand::Reply(args)) => {
            ("thread-reply", &args.base, params(args))
        }
        MessageCommand::Emoji(EmojiCommand::List(args)) => ("emoji-list", &args.base, params(args)),
        MessageCommand::Emoji(EmojiCommand::Upload(args)) => {
            ("emoji-upload", &args.base, params(args))
        }
        MessageCommand::Sticker(StickerCommand::Send(args)) => {
            ("sticker", &args.base, params(args))
        }
        MessageCommand::Sticker(StickerCommand::Upload(args)) => {
            ("sticker-upload", &args.base, params(args))
        }
        MessageCommand::Role(RoleCommand::Info(args)) => ("role-info", &args.base, params(args)),
        MessageCommand::Role(RoleCommand::Add(args)) => ("role-add", &args.base, params(args)),
        MessageCommand::Role(RoleCommand::Remove(args)) => {
            ("role-remove", &args.base, params(args))
        }
        MessageCommand::Channel(ChannelCommand::Info(args)) => {
            ("channel-info", &args.base, params(args))
        }
        MessageCommand::Channel(ChannelCommand::List(args)) => {
            ("channel-list", &args.base, params(args))
        }
        MessageCommand::Member(MemberCommand::Info(args)) => {
            ("member-info", &args.base, params(args))
        }
        MessageCommand::Voice(VoiceCommand::Status(args)) => {
            ("voice-status", &args.base, params(args))
        }
        MessageCommand::Event(EventCommand::List(args)) => ("event-list", &args.base, params(args)),
        MessageCommand::Event(EventCommand::Create(args)) => {
            ("event-create", &args.base, params(args))
        }
        MessageCommand::Timeout(args) => ("timeout", &args.base, params(args)),
        MessageCommand::Kick(args) => ("kick", &args.base, params(args)),
        MessageCommand::Ban(args) => ("ban", &args.base, params(args)),
    };
    act(context, name, base, &params)
}

/// What was typed as parameters; what was left out is absent.
fn params(args: &impl Serialize) -> Value {
    let is_absent = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(all) => all.is_empty(),
        _ => false,
    };
    let mut fields = match serde_json::to_value(args) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    fields.retain(|_, value| !is_absent(value));
    Value::Object(fields)
}

/// The channel that is named, leads the target or is the only one configured.
/// `None` leaves it to the gateway.
fn channel_of(context: &Context, base: &Base, target: Option<&str>) -> Option<String> {
    let known = |name: &str| kind(&name.trim().to_lowercase()).map(|kind| kind.id.to_owned());
    if let Some(named) = &base.channel {
        return Some(known(named).unwrap_or_else(|| named.trim().to_lowercase()));
    }
    let leading = target.and_then(|target| known(target.split_once(':')?.0));
    leading.or_else(|| match configured(context).as_slice() {
        [only] => Some((*only).to_owned()),
        _ => None,
    })
}

/// Channels that the configuration turns on.
fn configured(context: &Context) -> Vec<&'static str> {
    let channels = &context.config().config.channels;
    let is_on = |id: &str| {
        channels.get(id).is_some_and(|section| section.is_object() && section["enabled"] != false)
    };
    kinds().iter().map(|kind| kind.id).filter(|id| is_on(id)).collect()
}

fn label(channel: Option<&str>) -> &str {
    let id = channel.unwrap_or("the only channel");
    kind(id).map_or(id, |kind| kind.label)
}

fn act(context: &Context, name: &str, base: &Base, params: &Value) -> CommandResult {
    let channel = channel_of(context, base, params["target"].as_str());
    let handled = |by: &str, payload: &Value| {
        json!({"action": name, "channel": channel, "dryRun": base.dry_run, "handledBy": by,
            "payload": payload})
    };
    if base.dry_run {
        let via = channel.as_deref().unwrap_or("the only channel");
        let payload = json!({"ok": true, "dryRun": true, "channel": channel, "action": name});
        return Ok(if base.json {
            Outcome::json(&handled("dry-run", &payload))
        } else {
            Outcome::text(format!("[dry-run] would run {name} via {via}"))
        });
    }
    let mut call = json!({"action": name, "params": params, "idempotencyKey": id::uuid()});
    place(&mut call, channel.as_deref(), base);
    let payload = call::call_or_fail(context, &Rpc::default(), "message.action", Some(call))?;
    Ok(if base.json {
        Outcome::json(&handled("plugin", &payload))
    } else {
        Outcome::text(show::payload(name, label(channel.as_deref()), &payload))
    })
}

/// Names channel and account in a call.
fn place(call: &mut Value, channel: Option<&str>, base: &Base) {
    for (key, value) in [("channel", channel), ("accountId", base.account.as_deref())] {
        if let Some(value) = value {
            call[key] = value.into();
        }
    }
}

fn broadcast(context: &Context, args: &BroadcastArgs) -> CommandResult {
    if args.message.is_none() && args.media.is_none() {
        return Err(Failure::new("Error: message required (--message or --media)"));
    }
    let base = &args.base;
    let named = base.channel.as_deref().map(str::trim).filter(|name| *name != "all");
    let channels = match named {
        Some(name) => vec![name.to_lowercase()],
        None => configured(context).into_iter().map(str::to_owned).collect(),
    };
    let Some(first) = channels.first() else {
        return Err(Failure::new("Error: Broadcast requires at least one configured channel."));
    };
    let mut results = Vec::new();
    for channel in &channels {
        for target in &args.targets {
            let mut row = json!({"channel": channel, "to": target, "ok": true});
            if !base.dry_run {
                let mut call = json!({"to": target, "idempotencyKey": id::uuid()});
                place(&mut call, Some(channel), base);
                for (key, value) in [("message", &args.message), ("mediaUrl", &args.media)] {
                    if let Some(value) = value {
                        call[key] = value.as_str().into();
                    }
                }
                let sent = call::call(
                    context,
                    &Rpc::default(),
                    "send",
                    Some(call),
                    crate::cli::link::CALL_MS,
                )?;
                match sent {
                    Ok(answer) => row["result"] = answer,
                    Err(err) => {
                        row["ok"] = false.into();
                        row["error"] = reason(&err.failure("")).into();
                    }
                }
            }
            results.push(row);
        }
    }
    let by = if base.dry_run { "dry-run" } else { "core" };
    if base.json {
        return Ok(Outcome::json(&json!({"action": "broadcast", "channel": first,
            "dryRun": base.dry_run, "handledBy": by, "payload": {"results": results}})));
    }
    if base.dry_run {
        return Ok(Outcome::text(format!("[dry-run] would run broadcast via {first}")));
    }
    Ok(Outcome::text(show::broadcast(&results)))
}

fn reason(failure: &Failure) -> String {
    failure.to_string().trim_start_matches("Error: ").to_owned()
}

fn send(context: &Context, args: &SendArgs) -> CommandResult {
    if args.target.as_deref().is_none_or(|target| target.trim().is_empty()) {
        return Err(Failure::new("error: required option '-t, --target <dest>' not specified"));
    }
    if args.message.is_none() && args.media.is_none() {
        return Err(Failure::new("Error: message required (--message or --media)"));
    }
    let base = &args.base;
    let mut params = json!({"to": args.target, "idempotencyKey": id::uuid()});
    let options = [
        ("message", &args.message),
        ("mediaUrl", &args.media),
        ("channel", &base.channel),
        ("accountId", &base.account),
        ("threadId", &args.thread_id),
        ("replyToId", &args.reply_to),
    ];
    for (key, value) in options {
        if let Some(value) = value {
            params[key] = value.as_str().into();
        }
    }
    if args.silent {
        params["silent"] = true.into();
    }
    let channel = base.channel.as_deref().unwrap_or("the only channel");
    let target = args.target.as_deref().unwrap_or_default();
    let action = |payload| {
        json!({"action": "send", "channel": base.channel, "dryRun": base.dry_run,
            "handledBy": "core", "payload": payload})
    };
    if base.dry_run {
        return Ok(if base.json {
            Outcome::json(&action(params))
        } else {
            Outcome::text(format!("[dry-run] would send to {target} via {channel}"))
        });
    }
    let answer = call::call_or_fail(context, &Rpc::default(), "send", Some(params))?;
    if base.json {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::message::{PollArgs, ReactArgs};

    #[test]
    fn what_was_left_out_is_no_parameter() {
        let react = ReactArgs {
            target: "#x".into(),
            message_id: "7".into(),
            remove: true,
            ..ReactArgs::default()
        };
        assert_eq!(params(&react), json!({"target": "#x", "messageId": "7", "remove": true}));
        let poll = PollArgs { poll_option: vec!["a".into()], ..PollArgs::default() };
        assert_eq!(params(&poll), json!({"target": "", "pollQuestion": "", "pollOption": ["a"]}));
    }
}
