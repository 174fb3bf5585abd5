//! Tools that act on the gateway itself: its jobs, its configuration, messages
//! to people. Each action is a method of the control plane, which validates it
//! as it does for any client.

use std::fmt::Debug;
use std::sync::atomic::Ordering;

use futures_util::future::BoxFuture;
use serde_json::Value;
use serde_json::json;

use crate::agents::providers::ToolSpec;
use crate::agents::run::Origin;
use crate::agents::tools::Tool;
use crate::agents::tools::ToolContext;
use crate::agents::tools::ToolResult;
use crate::agents::tools::number_argument;
use crate::agents::tools::text_argument;
use crate::base::id::SessionKey;
use crate::base::id::uuid;

/// The gateway as its own agents may use it, with an operator's full rights.
pub trait ControlPlane: Debug + Send + Sync {
    /// Calls a method; the error is a text for people.
    fn call(&self, method: &'static str, params: Value) -> BoxFuture<'_, Result<Value, String>>;

    /// Restarts the gateway a little later; returns when and how.
    fn restart(&self, delay_ms: Option<u64>, reason: &str) -> Result<Value, String>;

    /// Has an agent look now at what waits for it.
    fn wake(&self, agent: &str);
}

/// One of the tools of this file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ControlTool {
    Cron,
    Gateway,
    Message,
}

impl ControlTool {
    pub(crate) const ALL: [Self; 3] = [Self::Cron, Self::Gateway, Self::Message];

    fn parameters(self) -> Value {
        let any = json!({"type": "object", "additionalProperties": true});
        let number = json!({"type": "number"});
        let text = json!({"type": "string"});
        match self {
            Self::Cron => json!({"type": "object", "required": ["action"], "properties": {
                "action": {"type": "string", "enum": CRON_ACTIONS},
                "includeDisabled": {"type": "boolean"},
                "job": {
                    "type": "object", "additionalProperties": true,
                    "description": "For add: {name, schedule, payload, sessionTarget?, wakeMode?, delivery?}. \
                        schedule is {kind:\"at\",at}, {kind:\"every\",everyMs} or {kind:\"cron\",expr,tz?}; \
                        payload is {kind:\"systemEvent\",text} with sessionTarget \"main\" or \
                        {kind:\"agentTurn\",message} with sessionTarget \"isolated\"",
                },
                "jobId": text, "id": text, "patch": any,
                "text": {"type": "string", "description": "For wake"},
                "mode": {"type": "string", "enum": ["now", "next-heartbeat"]},
                "runMode": {"type": "string", "enum": ["due", "force"]}}}),
            Self::Gateway => json!({"type": "object", "required": ["action"], "properties": {
                "action": {"type": "string", "enum": GATEWAY_ACTIONS},
                "delayMs": number, "restartDelayMs": number, "reason": text, "note": text,
                "path": {"type": "string", "description": "For config.schema.lookup"},
                "raw": {"type": "string", "description": "The document or the patch, as JSON5"},
                "baseHash": {"type": "string", "description": "hash of the config.get that the change is based on"}}}),
            Self::Message => json!({"type": "object", "required": ["action"], "properties": {
                "action": {"type": "string", "enum": MESSAGE_ACTIONS},
                "channel": text, "accountId": text,
                "target": {"type": "string", "description": "Who or where; the current conversation if absent"},
                "targets": {"type": "array", "items": {"type": "string"}},
                "message": text,
                "media": {"type": "string", "description": "Address or path of a file"},
                "path": text, "filePath": text, "replyTo": text, "threadId": text,
                "messageId": {"type": "string", "description": "Which message, for everything but sending"},
                "emoji": text, "remove": {"type": "boolean"}, "limit": {"type": "number"},
                "before": text, "after": text, "userId": text, "name": text, "stickerId": text,
                "pollQuestion": text, "pollMulti": {"type": "boolean"},
                "pollOption": {"type": "array", "items": {"type": "string"}},
                "silent": {"type": "boolean"}, "dryRun": {"type": "boolean"}}}),
        }
    }
}

const CRON_ACTIONS: [&str; 8] =
    ["status", "list", "add", "update", "remove", "run", "runs", "wake"];
const GATEWAY_ACTIONS: [&str; 6] =
    ["restart", "config.get", "config.schema.lookup", "config.apply", "config.patch", "update.run"];

impl Tool for ControlTool {
    fn spec(&self) -> ToolSpec {
        let (name, description) = match self {
            Self::Cron => (
                "cron",
                "Jobs of this gateway that run by the clock: list, add, change, remove, run, and \
                 wake for a note to the main session.",
            ),
            Self::Gateway => (
                "gateway",
                "Read or change the configuration of this gateway, or restart it. Read first: a \
                 change needs the hash of what it is based on.",
            ),
            Self::Message => (
                "message",
                "Send a message through a connected channel, or react to, edit, delete, pin or \
                 read messages there. Not every channel can do everything.",
            ),
        };
        ToolSpec {
            name: name.to_owned(),
            description: description.to_owned(),
            parameters: self.parameters(),
        }
    }

    fn summary(&self) -> &'static str {
        match self {
            Self::Cron => "Schedule jobs and reminders",
            Self::Gateway => "Configure or restart this gateway",
            Self::Message => "Send messages through channels, react, edit, pin",
        }
    }

    fn owner_only(&self) -> bool {
        matches!(self, Self::Cron | Self::Gateway)
    }

    fn call<'a>(&'a self, context: &'a ToolContext, arguments: Value) -> BoxFuture<'a, ToolResult> {
        Box::pin(async move {
            let Some(plane) = context.inner.control_plane() else {
                return ToolResult::error("this process has no control plane");
            };
            let result = match self {
                Self::Cron => cron(context, plane, arguments).await,
                Self::Gateway => gateway(plane, &arguments).await,
                Self::Message => message(context, plane, &arguments).await,
            };
            result.map_or_else(ToolResult::error, ToolResult::json)
        })
    }
}

fn action(arguments: &Value) -> &str {
    text_argument(arguments, &["action"]).map(str::trim).unwrap_or_default()
}

fn unknown(action: &str, known: &[&str]) -> String {
    format!("unknown action {action:?}; use one of {}", known.join(", "))
}

async fn cron(
    context: &ToolContext,
    plane: &dyn ControlPlane,
    mut arguments: Value,
) -> Result<Value, String> {
    let id = || {
        text_argument(&arguments, &["jobId", "id"])
            .map(str::to_owned)
            .ok_or_else(|| "Missing required parameter: jobId".to_owned())
    };
    match action(&arguments) {
        "status" => plane.call("cron.status", json!({})).await,
        "list" => {
            let all = arguments["includeDisabled"].as_bool().unwrap_or(false);
            plane.call("cron.list", json!({"includeDisabled": all})).await
        }
        "add" => {
            let job = arguments["job"].take();
            if !job.is_object() {
                return Err("Missing required parameter: job".to_owned());
            }
            plane.call("cron.add", with_owner(job, context)).await
        }
        "update" => {
            let (id, patch) = (id()?, arguments["patch"].clone());
            if !patch.is_object() {
                return Err("Missing required parameter: patch".to_owned());
            }
            plane.call("cron.update", json!({"id": id, "patch": patch})).await
        }
        "remove" => plane.call("cron.remove", json!({"id": id()?})).await,
        "run" => {
            let mode = text_argument(&arguments, &["runMode"]).unwrap_or("force");
            plane.call("cron.run", json!({"id": id()?, "mode": mode})).await
        }
        "runs" => plane.call("cron.runs", json!({"id": id()?})).await,
        "wake" => {
            let text = text_argument(&arguments, &["text"]).unwrap_or_default();
            let mode = text_argument(&arguments, &["mode"]).unwrap_or("next-heartbeat");
            plane.call("wake", json!({"mode": mode, "text": text})).await
        }
        other => Err(unknown(other, &CRON_ACTIONS)),
    }
}

/// A job belongs to the agent and the conversation it was made in, unless it
/// says otherwise.
fn with_owner(mut job: Value, context: &ToolContext) -> Value {
    let own_key = context.session_key.as_ref().map(SessionKey::as_str);
    for (field, own) in [("agentId", Some(context.agent.as_str())), ("sessionKey", own_key)] {
        if let Some(own) = own.filter(|_| job.get(field).is_none()) {
            job[field] = own.into();
        }
    }
    job
}

async fn gateway(plane: &dyn ControlPlane, arguments: &Value) -> Result<Value, String> {
    let passed = |names: &[&str]| {
        let named = names.iter().filter_map(|name| {
            arguments.get(*name).map(|value| ((*name).to_owned(), value.clone()))
        });
        Value::Object(named.collect())
    };
    match action(arguments) {
        "restart" => {
            let delay = number_argument(arguments, "delayMs");
            plane.restart(delay, text_argument(arguments, &["reason"]).unwrap_or("gateway tool"))
        }
        "config.get" => plane.call("config.get", json!({})).await,
        "config.schema.lookup" => plane.call("config.schema.lookup", passed(&["path"])).await,
        "config.apply" => plane.call("config.apply", passed(&CHANGE)).await,
        "config.patch" => plane.call("config.patch", passed(&CHANGE)).await,
        "update.run" => plane.call("update.run", json!({})).await,
        other => Err(unknown(other, &GATEWAY_ACTIONS)),
    }
}

/// What a change of the configuration takes.
const CHANGE: [&str; 4] = ["raw", "baseHash", "note", "restartDelayMs"];

async fn message(
    context: &ToolContext,
    plane: &dyn ControlPlane,
    arguments: &Value,
) -> Result<Value, String> {
    let asked = action(arguments);
    if asked != "send" {
        return act(context, plane, asked, arguments).await;
    }
    let here = conversation(context);
    let mut targets: Vec<&str> =
        arguments["targets"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    targets.extend(text_argument(arguments, &["target", "to"]));
    if targets.is_empty() {
        targets.extend(here["to"].as_str());
    }
    if targets.is_empty() {
        return Err(
            "Missing required parameter: target (this run belongs to no channel)".to_owned()
        );
    }
    let mut base = json!({});
    let channel = text_argument(arguments, &["channel"]).or_else(|| here["channel"].as_str());
    let same_channel = channel == here["channel"].as_str();
    let account = text_argument(arguments, &["accountId"])
        .or_else(|| here["accountId"].as_str().filter(|_| same_channel));
    for (field, value) in [
        ("channel", channel),
        ("accountId", account),
        ("message", text_argument(arguments, &["message", "caption"])),
        ("mediaUrl", text_argument(arguments, &["media", "path", "filePath"])),
        ("threadId", text_argument(arguments, &["threadId"])),
        ("replyToId", text_argument(arguments, &["replyTo"])),
        ("sessionKey", context.session_key.as_ref().map(SessionKey::as_str)),
    ] {
        if let Some(value) = value {
            base[field] = value.into();
        }
    }
    if arguments["silent"].as_bool() == Some(true) {
        base["silent"] = true.into();
    }
    if base.get("message").is_none() && base.get("mediaUrl").is_none() {
        return Err("Missing required parameter: message".to_owned());
    }
    let mut sent = Vec::with_capacity(targets.len());
    for target in targets {
        let mut params = base.clone();
        params["to"] = target.into();
        params["idempotencyKey"] = uuid().into();
        if arguments["dryRun"].as_bool() == Some(true) {
            sent.push(json!({"dryRun": true, "to": target, "channel": channel}));
        } else {
            sent.push(plane.call("send", params).await?);
            if is_origin(&context.origin, channel, account, target) {
                context.answered.store(true, Ordering::Release);
            }
        }
    }
    Ok(if sent.len() == 1 { sent.remove(0) } else { json!({"ok": true, "results": sent}) })
}

/// What the tool can do with messages; which of it a network has is known there.
const MESSAGE_ACTIONS: [&str; 14] = [
    "send",
    "react",
    "reactions",
    "read",
    "edit",
    "delete",
    "pin",
    "unpin",
    "list-pins",
    "poll",
    "sticker",
    "member-info",
    "channel-info",
    "topic-create",
];

/// Something other than sending, in the conversation of this run unless another
/// place is named.
async fn act(
    context: &ToolContext,
    plane: &dyn ControlPlane,
    asked: &str,
    arguments: &Value,
) -> Result<Value, String> {
    if !MESSAGE_ACTIONS.contains(&asked) {
        return Err(unknown(asked, &MESSAGE_ACTIONS));
    }
    let here = conversation(context);
    let mut params = arguments.clone();
    let named = ["target", "to"].iter().any(|key| text_argument(arguments, &[key]).is_some());
    let channel = text_argument(arguments, &["channel"]).or_else(|| here["channel"].as_str());
    let same_channel = channel == here["channel"].as_str();
    if !named && same_channel {
        params["to"] = here["to"].clone();
    }
    let account = text_argument(arguments, &["accountId"])
        .or_else(|| here["accountId"].as_str().filter(|_| same_channel));
    let mut call = json!({"action": asked, "params": params, "idempotencyKey": uuid()});
    for (field, value) in [("channel", channel), ("accountId", account)] {
        if let Some(value) = value {
            call[field] = value.into();
        }
    }
    plane.call("message.action", call).await
}

/// Whether a target is where the run's message came from. Targets may carry
/// the channel's name and the kind of the place in front.
fn is_origin(origin: &Origin, channel: Option<&str>, account: Option<&str>, target: &str) -> bool {
    let (Some(own), Some(place)) = (&origin.channel, origin.to.as_ref().or(origin.chat.as_ref()))
    else {
        return false;
    };
    let other_account = account.zip(origin.account.as_deref()).is_some_and(|(a, b)| a != b);
    if other_account || !channel.is_some_and(|channel| channel.eq_ignore_ascii_case(own)) {
        return false;
    }
    let bare = |target: &str| {
        let target = target.trim().to_lowercase();
        let target = target.strip_prefix(&format!("{own}:")).unwrap_or(&target);
        let kinds = ["room:", "channel:", "group:", "user:"];
        let bare = kinds.iter().find_map(|kind| target.strip_prefix(kind)).unwrap_or(target);
        bare.to_owned()
    };
    bare(place) == bare(target)
}

/// Where replies of this run's session go.
fn conversation(context: &ToolContext) -> Value {
    let entry = context.session_key.as_ref().and_then(|key| {
        context.inner.stores.of(&context.snapshot.config, &context.agent).get(key.as_str())
    });
    entry.and_then(|entry| entry.fields().get("deliveryContext").cloned()).unwrap_or_default()
}
