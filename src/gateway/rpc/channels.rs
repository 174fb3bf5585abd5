//! `channels.*`, `send` and `poll`: the chat networks this gateway is on.
//!
//! No channel is connected by this gateway, and it says so: what is configured
//! is listed with that reason, and what needs a channel is refused.

use std::future::ready;

use serde_json::{Map, Value, json};

use crate::gateway::rpc::{Call, Method, Reply};
use crate::protocol::error::ErrorShape;

pub(crate) const METHODS: &[Method] = &[
    Method { name: "channels.status", run: |call| Box::pin(ready(Ok(status(&call)))) },
    Method { name: "channels.logout", run: |call| Box::pin(ready(logout(call))) },
    Method { name: "send", run: |call| Box::pin(ready(send(&call))) },
    Method { name: "poll", run: |call| Box::pin(ready(send(&call))) },
];

fn status(call: &Call) -> Value {
    status_at(call.now(), &call.state.config.load().config.channels)
}

/// Sections of `channels` that configure no network.
const SHARED_SECTIONS: &[&str] = &["defaults", "modelByChannel"];
/// Part of the wire contract: clients show it beside the channel.
const UNSUPPORTED: &str = "not supported by this gateway";

/// What is configured, each with the reason why it does not run.
fn status_at(now: u64, configured: &Map<String, Value>) -> Value {
    let mut order = Vec::new();
    let mut meta = Vec::new();
    let [mut labels, mut details, mut images, mut channels, mut accounts, mut defaults] =
        std::array::from_fn(|_| Map::new());
    for (id, section) in configured {
        if SHARED_SECTIONS.contains(&id.as_str()) || !section.is_object() {
            continue;
        }
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
        channels.insert(id.clone(), at_rest(Map::from_iter([("configured".into(), json!(true))])));
        let ids = account_ids(section);
        let enabled = |account: &str| {
            section["enabled"] != json!(false)
                && section["accounts"][account]["enabled"] != json!(false)
        };
        let rows = ids.iter().map(|account| {
            at_rest(Map::from_iter([
                ("accountId".into(), json!(account)),
                ("enabled".into(), json!(enabled(account))),
                ("configured".into(), json!(true)),
            ]))
        });
        accounts.insert(id.clone(), rows.collect());
        let chosen = section["defaultAccount"]
            .as_str()
            .unwrap_or_else(|| ids.iter().find(|account| *account == "default").unwrap_or(&ids[0]));
        defaults.insert(id.clone(), json!(chosen));
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

/// The state of something that was never started, behind `first`.
fn at_rest(mut first: Map<String, Value>) -> Value {
    for (key, value) in [
        ("running", json!(false)),
        ("lastStartAt", Value::Null),
        ("lastStopAt", Value::Null),
        ("lastError", json!(UNSUPPORTED)),
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
    match id {
        "telegram" => ("Telegram".into(), "Telegram Bot".into(), Some("paperplane")),
        "irc" => ("IRC".into(), "IRC".into(), Some("network")),
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

fn logout(_call: Call) -> Reply {
    Err(ErrorShape::invalid("invalid channels.logout channel"))
}

fn send(call: &Call) -> Reply {
    Err(ErrorShape::invalid(match call.text("channel") {
        Some(channel) => format!("unsupported channel: {channel}"),
        None => "Error: Channel is required (no configured channels detected).".to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_channels_every_map_is_there_and_empty() {
        let status = status_at(7, &Map::new());
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
        });
        let status = status_at(7, configured.as_object().unwrap());
        assert_eq!(status["channelOrder"], json!(["telegram", "matrix"]));
        assert_eq!(status["channels"]["telegram"]["running"], false);
        assert_eq!(status["channels"]["telegram"]["lastError"], UNSUPPORTED);
        assert_eq!(status["channelLabels"]["matrix"], "Matrix");
        let telegram = status["channelAccounts"]["telegram"].as_array().unwrap();
        assert_eq!(telegram[0]["accountId"], "home");
        assert_eq!(telegram[1]["enabled"], false);
        assert_eq!(status["channelDefaultAccountId"]["telegram"], "home");
        assert_eq!(status["channelAccounts"]["matrix"][0]["accountId"], "default");
        assert_eq!(status["channelAccounts"]["matrix"][0]["enabled"], false);
    }
}
