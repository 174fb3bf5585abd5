//! `channels.*`, `send` and `poll`: the chat networks this gateway is on.
//!
//! No channel is connected by this gateway, and it says so: the maps are there
//! and empty, and what needs a channel is refused.

use std::future::ready;

use serde_json::{Value, json};

use crate::gateway::rpc::{Call, Method, Reply};
use crate::protocol::error::ErrorShape;

pub(crate) const METHODS: &[Method] = &[
    Method { name: "channels.status", run: |call| Box::pin(ready(Ok(status(&call)))) },
    Method { name: "channels.logout", run: |call| Box::pin(ready(logout(call))) },
    Method { name: "send", run: |call| Box::pin(ready(send(&call))) },
    Method { name: "poll", run: |call| Box::pin(ready(send(&call))) },
];

fn status(call: &Call) -> Value {
    status_at(call.now())
}

fn status_at(now: u64) -> Value {
    json!({
        "ts": now,
        "channelOrder": [],
        "channelLabels": {},
        "channelDetailLabels": {},
        "channelSystemImages": {},
        "channelMeta": [],
        "channels": {},
        "channelAccounts": {},
        "channelDefaultAccountId": {},
    })
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
        let status = status_at(7);
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
}
