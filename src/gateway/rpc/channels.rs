//! `channels.*`, `send` and `poll`: the chat networks this gateway is on.
//!
//! A network that this gateway does not speak is listed with that reason, and
//! what needs it is refused.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::channels::action::{Action, ActionError, needs_chat};
use crate::channels::message::Payload;
use crate::channels::{Outbound, kind};
use crate::gateway::State;
use crate::gateway::limits::Seen;
use crate::gateway::routing::outbound::{self, Destination, destination, is_channel};
use crate::gateway::rpc::params::{flag, text, texts, uint};
use crate::gateway::rpc::{Call, Method, Reply};
use crate::protocol::error::ErrorShape;

pub(crate) const METHODS: &[Method] = &[
    Method { name: "channels.status", run: |call| Box::pin(status(call)) },
    Method { name: "channels.logout", run: |call| Box::pin(logout(call)) },
    Method { name: "send", run: |call| Box::pin(send(call)) },
    Method { name: "poll", run: |call| Box::pin(poll(call)) },
];

/// Part of the wire contract: clients show it beside the channel.
const UNSUPPORTED: &str = "not supported by this gateway";
/// How long `send` waits for the network before it says that the message is
/// queued.
const SEND_WAIT: Duration = Duration::from_secs(20);
const PROBE_MS: u64 = 10_000;

async fn status(call: Call) -> Reply {
    let state = &call.state;
    if flag(&call.params, "probe") == Some(true) {
        let patience = uint(&call.params, "timeoutMs").unwrap_or(PROBE_MS).max(1000);
        // The caller waits no longer than that for the whole answer.
        state.channels.probe(Duration::from_millis(patience / 4 * 3)).await;
    }
    let mut status = status_at(call.now(), &state.config.load().config.channels, &supported(state));
    if call.caller.protocol >= 4 {
        status["statusIssues"] = issues(&status["channelAccounts"]);
    }
    Ok(status)
}

/// What is wrong with accounts that should work, in one list as since protocol 4.
fn issues(accounts: &Value) -> Value {
    let mut issues = Vec::new();
    for (channel, rows) in accounts.as_object().into_iter().flatten() {
        for row in rows.as_array().into_iter().flatten() {
            let meant = row["enabled"] != false && row["configured"] != false;
            let error = row["lastError"].as_str().filter(|error| !error.is_empty());
            let down = row["running"] == false || row["connected"] == false;
            if meant && down {
                issues.push(json!({
                    "channel": channel, "accountId": row["accountId"], "kind": "runtime",
                    "message": error.unwrap_or("the channel is not running"),
                }));
            }
        }
    }
    issues.truncate(50);
    issues.into()
}

/// The rows of the accounts on networks that this gateway speaks.
fn supported(state: &State) -> Map<String, Value> {
    let mut all = Map::new();
    for row in state.channels.rows() {
        let mut fields = Map::new();
        fields.insert("accountId".into(), json!(row.id));
        if let Some(name) = row.setting("name").as_str() {
            fields.insert("name".into(), json!(name));
        }
        fields.insert("enabled".into(), json!(row.enabled));
        fields.insert("configured".into(), json!(row.is_configured()));
        fields.extend(row.status.to_row());
        for key in ["dmPolicy", "allowFrom"] {
            if !row.setting(key).is_null() {
                fields.insert(key.into(), row.setting(key).clone());
            }
        }
        if let Some(handle) = row.handle() {
            fields.extend(handle.account.facts());
        }
        let list = all.entry(row.kind.id).or_insert_with(|| json!([]));
        if let Some(list) = list.as_array_mut() {
            list.push(Value::Object(fields));
        }
    }
    all
}

/// The channels' part of the health snapshot: the same rows by channel and
/// account.
pub fn health(state: &State) -> Value {
    let status = status_at(0, &state.config.load().config.channels, &supported(state));
    let mut channels = Map::new();
    for (id, accounts) in status["channelAccounts"].as_object().into_iter().flatten() {
        let default = &status["channelDefaultAccountId"][id];
        let list = accounts.as_array().map(Vec::as_slice).unwrap_or_default();
        let chosen = list.iter().find(|row| row["accountId"] == *default).or(list.first());
        let mut summary = chosen.and_then(Value::as_object).cloned().unwrap_or_default();
        let by_id = list
            .iter()
            .map(|row| (row["accountId"].as_str().unwrap_or("default").to_owned(), row.clone()));
        summary.insert("accounts".into(), Value::Object(by_id.collect()));
        channels.insert(id.clone(), Value::Object(summary));
    }
    json!({
        "channels": channels,
        "channelOrder": status["channelOrder"],
        "channelLabels": status["channelLabels"],
    })
}

/// What is configured; `running` has the accounts of networks that this gateway
/// speaks, the others are listed with the reason why they do not run.
fn status_at(now: u64, configured: &Map<String, Value>, running: &Map<String, Value>) -> Value {
    let mut order = Vec::new();
    let mut meta = Vec::new();
    let [mut labels, mut details, mut images, mut channels, mut accounts, mut defaults] =
        std::array::from_fn(|_| Map::new());
    let unset = json!({});
    let from_env = running.keys().filter(|id| !configured.contains_key(*id)).map(|id| (id, &unset));
    let sections = configured.iter().filter(|(id, section)| is_channel(id, section));
    for (id, section) in sections.chain(from_env) {
        let (label, detail, image) = names(id);
        order.push(json!(id));
        let mut about = json!({"id": id, "label": label, "detailLabel": detail});
        if let Some(image) = image {
            about["systemImage"] = json!(image);
            images.insert(id.clone(), json!(image));
        }
        meta.push(about);
        labels.insert(id.clone(), json!(label));
        details.insert(id.clone(), json!(detail));
        if let Some(rows) = running.get(id).and_then(Value::as_array) {
            let ids: Vec<String> = rows
                .iter()
                .filter_map(|row| row["accountId"].as_str().map(str::to_owned))
                .collect();
            let chosen = default_of(section, &ids);
            let row = rows.iter().find(|row| row["accountId"] == chosen.as_str());
            let mut summary = row.and_then(Value::as_object).cloned().unwrap_or_default();
            for key in ["accountId", "enabled", "name"] {
                summary.shift_remove(key);
            }
            summary.entry("lastProbeAt").or_insert(Value::Null);
            channels.insert(id.clone(), Value::Object(summary));
            accounts.insert(id.clone(), json!(rows));
            defaults.insert(id.clone(), json!(chosen));
            continue;
        }
        let reason = if kind(id).is_some() { Value::Null } else { json!(UNSUPPORTED) };
        let first = Map::from_iter([("configured".into(), json!(true))]);
        channels.insert(id.clone(), at_rest(first, &reason));
        let ids = account_ids(section);
        let enabled = |account: &str| {
            section["enabled"] != json!(false)
                && section["accounts"][account]["enabled"] != json!(false)
        };
        let rows = ids.iter().map(|account| {
            let first = Map::from_iter([
                ("accountId".into(), json!(account)),
                ("enabled".into(), json!(enabled(account))),
                ("configured".into(), json!(true)),
            ]);
            at_rest(first, &reason)
        });
        accounts.insert(id.clone(), rows.collect());
        defaults.insert(id.clone(), json!(default_of(section, &ids)));
    }
    json!({
        "ts": now,
        "channelOrder": order,
        "channelLabels": labels,
        "channelDetailLabels": details,
        "channelSystemImages": images,
        "channelMeta": meta,
        "channels": channels,
        "channelAccounts": accounts,
        "channelDefaultAccountId": defaults,
    })
}

/// The account that stands for the channel.
fn default_of(section: &Value, ids: &[String]) -> String {
    let chosen = section["defaultAccount"].as_str();
    let usual = || ids.iter().find(|id| *id == "default").or(ids.first()).map(String::as_str);
    chosen.or_else(usual).unwrap_or("default").to_owned()
}

/// The state of something that was never started, behind `first`.
fn at_rest(mut first: Map<String, Value>, reason: &Value) -> Value {
    for (key, value) in [
        ("running", json!(false)),
        ("lastStartAt", Value::Null),
        ("lastStopAt", Value::Null),
        ("lastError", reason.clone()),
    ] {
        first.insert(key.to_owned(), value);
    }
    Value::Object(first)
}

/// The configured accounts in alphabetical order; never empty.
fn account_ids(section: &Value) -> Vec<String> {
    let named = section["accounts"].as_object().into_iter().flatten();
    let mut ids: Vec<String> = named.map(|(id, _account)| id.clone()).collect();
    ids.sort_unstable();
    if ids.is_empty() {
        ids.push("default".to_owned());
    }
    ids
}

/// Label, longer label and the symbol that apps show, where there is one.
fn names(id: &str) -> (String, String, Option<&'static str>) {
    if let Some(kind) = kind(id) {
        return (kind.label.into(), kind.detail_label.into(), kind.system_image);
    }
    match id {
        "whatsapp" => ("WhatsApp".into(), "WhatsApp".into(), None),
        "imessage" => ("iMessage".into(), "iMessage".into(), None),
        _ => {
            let mut letters = id.chars();
            let label: String =
                letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect();
            (label.clone(), label, None)
        }
    }
}

async fn logout(call: Call) -> Reply {
    let channel = call.text("channel").unwrap_or_default().to_lowercase();
    if kind(&channel).is_none() {
        return Err(ErrorShape::invalid("invalid channels.logout channel"));
    }
    let account = call.text("accountId").map(str::to_owned);
    let account = account.or_else(|| outbound::default_account(&call.state, &channel));
    let account = account.unwrap_or_else(|| "default".to_owned());
    let Some(handle) = call.state.channels.account(&channel, &account) else {
        return Err(ErrorShape::invalid(format!("channel {channel} has no account \"{account}\"")));
    };
    match handle.account.log_out().await {
        None => Err(ErrorShape::invalid(format!("channel {channel} does not support logout"))),
        Some(Err(err)) => Err(ErrorShape::unavailable(err)),
        Some(Ok(cleared)) => {
            call.state.channels.stop_account(&channel, &account).await;
            Ok(json!({
                "channel": channel, "accountId": account, "cleared": cleared, "loggedOut": cleared,
            }))
        }
    }
}

/// `send`: once it is accepted, the message survives a crash.
async fn send(call: Call) -> Reply {
    once(&call, "send", send_once).await
}

/// Does the work of an idempotency key once; a repeat gets the same answer.
async fn once(
    call: &Call,
    method: &'static str,
    work: impl AsyncFnOnce(&Call, &str) -> Reply,
) -> Reply {
    let key = call.text("idempotencyKey").unwrap_or_default().to_owned();
    let dedupe = &call.state.dedupe;
    loop {
        match dedupe.claim(method, &key, call.now()) {
            Seen::Never => break,
            Seen::Done(reply) => return reply,
            Seen::Running(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    let reply = work(call, &key).await;
    dedupe.finish(method, &key, reply.clone(), call.now());
    reply
}

async fn send_once(call: &Call, key: &str) -> Reply {
    let params = &call.params;
    let payload = Payload {
        text: text(params, "message").map(str::to_owned),
        media_url: text(params, "mediaUrl").map(str::to_owned),
        media_urls: texts(params, "mediaUrls").unwrap_or_default(),
        ..Payload::default()
    };
    if payload.text.is_none() && payload.media().next().is_none() {
        return Err(ErrorShape::invalid("invalid send params: text or media is required"));
    }
    let place = destination(
        &call.state,
        text(params, "channel"),
        text(params, "accountId"),
        text(params, "to"),
    )
    .map_err(|why| {
        ErrorShape::invalid(if why.starts_with("Channel is") {
            format!("Error: {why}")
        } else {
            why
        })
    })?;
    let place = Destination { thread: text(params, "threadId").map(str::to_owned), ..place };
    let (channel, account) = (place.channel.clone(), place.account.clone());
    let outbound = Outbound {
        reply_to: text(params, "replyToId").map(str::to_owned),
        silent: flag(params, "silent") == Some(true),
        ..place.message(vec![payload])
    };
    let receipt = outbound::send(&call.state, outbound).await;
    let receipt = receipt.map_err(|err| ErrorShape::unavailable(format!("Error: {err}")))?;
    let id = receipt.id.clone();
    let mut result =
        json!({"runId": key, "messageId": id, "channel": channel, "accountId": account});
    match tokio::time::timeout(SEND_WAIT, receipt.outcome()).await {
        Ok(Ok(sent)) => {
            if let Some(message) = sent.message_id {
                result["messageId"] = message.into();
            }
            if let Some(chat) = sent.chat_id {
                result["chatId"] = chat.into();
            }
            Ok(result)
        }
        Ok(Err(why)) => Err(ErrorShape::unavailable(format!("Error: {why}"))),
        // On disk: it goes out when the network is back.
        Err(_) => {
            result["queued"] = true.into();
            Ok(result)
        }
    }
}

/// `message.action`: what can be done with messages beyond sending them.
pub(crate) async fn act(call: Call) -> Reply {
    once(&call, "message.action", act_once).await
}

async fn act_once(call: &Call, _: &str) -> Reply {
    let name = call.text("action").unwrap_or_default();
    let nothing = Value::Null;
    let params = call.params.get("params").unwrap_or(&nothing);
    let named = |key: &str| call.text(key).or_else(|| text(params, key));
    let to = text(params, "to").or_else(|| text(params, "target"));
    let fields = params.as_object().cloned().unwrap_or_default();
    let action = Action { name, to: to.unwrap_or_default(), params: &fields };
    if action.to.is_empty() && needs_chat(name) {
        return Err(ErrorShape::invalid(format!("Error: Action {name} requires a target.")));
    }
    let (channel, done) = perform(call, named("channel"), named("accountId"), action).await?;
    done.map_err(|err| match err {
        ActionError::Unsupported => ErrorShape::invalid(format!(
            "Error: Message action {name} not supported for channel {channel}."
        )),
        ActionError::Failed(why) => ErrorShape::unavailable(format!("Error: {why}")),
    })
}

/// Has an account do something: the channel's name, and what came of it.
async fn perform(
    call: &Call,
    channel: Option<&str>,
    account: Option<&str>,
    action: Action<'_>,
) -> Result<(&'static str, Result<Value, ActionError>), ErrorShape> {
    let invalid = |why: String| ErrorShape::invalid(format!("Error: {why}"));
    let row = outbound::account_row(&call.state, channel, account).map_err(invalid)?;
    let channel = row.kind.id;
    let Some(handle) = call.state.channels.account(channel, &row.id) else {
        return Err(invalid(format!("channel {channel} account {} cannot be used", row.id)));
    };
    Ok((channel, handle.account.act(action).await))
}

async fn poll(call: Call) -> Reply {
    once(&call, "poll", poll_once).await
}

async fn poll_once(call: &Call, key: &str) -> Reply {
    let params = &call.params;
    let mut fields = Map::new();
    for (from, into) in [
        ("question", "pollQuestion"),
        ("options", "pollOption"),
        ("durationSeconds", "pollDurationSeconds"),
        ("durationHours", "pollDurationHours"),
        ("silent", "silent"),
        ("threadId", "threadId"),
    ] {
        if let Some(value) = params.get(from) {
            fields.insert(into.to_owned(), value.clone());
        }
    }
    let several = uint(params, "maxSelections").is_some_and(|most| most > 1);
    fields.insert("pollMulti".to_owned(), several.into());
    fields.insert("pollPublic".to_owned(), (flag(params, "isAnonymous") == Some(false)).into());
    let to = text(params, "to").unwrap_or_default();
    let action = Action { name: "poll", to, params: &fields };
    let asked = text(params, "channel");
    if let Some(channel) = asked.filter(|channel| kind(&channel.to_lowercase()).is_none()) {
        return Err(ErrorShape::invalid(format!("unsupported poll channel: {channel}")));
    }
    let (channel, done) = perform(call, asked, text(params, "accountId"), action).await?;
    let mut answer = done.map_err(|err| match err {
        ActionError::Unsupported => {
            ErrorShape::invalid(format!("unsupported poll channel: {channel}"))
        }
        ActionError::Failed(why) => ErrorShape::unavailable(format!("Error: {why}")),
    })?;
    if let Some(fields) = answer.as_object_mut() {
        fields.shift_remove("ok");
    }
    answer["runId"] = key.into();
    answer["channel"] = channel.into();
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_channels_every_map_is_there_and_empty() {
        let status = status_at(7, &Map::new(), &Map::new());
        let keys: Vec<&String> = status.as_object().unwrap().keys().collect();
        assert_eq!(
            keys,
            [
                "ts",
                "channelOrder",
                "channelLabels",
                "channelDetailLabels",
                "channelSystemImages",
                "channelMeta",
                "channels",
                "channelAccounts",
                "channelDefaultAccountId"
            ]
        );
    }

    #[test]
    fn a_configured_channel_is_listed_with_the_reason_why_it_does_not_run() {
        let configured = json!({
            "defaults": {"groupPolicy": "open"},
            "telegram": {"botToken": "t", "accounts": {"work": {"enabled": false}, "home": {}}},
            "matrix": {"homeserver": "https://m", "enabled": false},
            "discord": {"token": "t"},
        });
        let status = status_at(7, configured.as_object().unwrap(), &Map::new());
        assert_eq!(status["channelOrder"], json!(["telegram", "matrix", "discord"]));
        assert_eq!(status["channels"]["telegram"]["running"], false);
        assert_eq!(status["channels"]["discord"]["lastError"], UNSUPPORTED);
        // One that is about to start is not refused.
        assert_eq!(status["channels"]["telegram"]["lastError"], Value::Null);
        assert_eq!(status["channelLabels"]["matrix"], "Matrix");
        let telegram = status["channelAccounts"]["telegram"].as_array().unwrap();
        assert_eq!(telegram[0]["accountId"], "home");
        assert_eq!(telegram[1]["enabled"], false);
        assert_eq!(status["channelDefaultAccountId"]["telegram"], "home");
        assert_eq!(status["channelAccounts"]["matrix"][0]["accountId"], "default");
        assert_eq!(status["channelAccounts"]["matrix"][0]["enabled"], false);
    }
}
