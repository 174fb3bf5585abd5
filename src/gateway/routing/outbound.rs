//! Where a message goes that nobody asked for on a channel: a named place, or
//! the one that a session was last used from; and how a reply's text becomes
//! payloads.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::base::id;
use crate::base::id::SessionKey;
use crate::channels::delivery::Receipt;
use crate::channels::message::{Outbound, Payload};
use crate::channels::{kind, manager};
use crate::gateway::State;
use crate::lifecycle;
use crate::profile::paths::Paths;
use crate::store::atomic::{self, Sync};

/// How long [`deliver`] waits for the network.
const DELIVER_WAIT: Duration = Duration::from_secs(30);

/// A place on a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    pub channel: String,
    pub account: String,
    pub to: String,
    pub thread: Option<String>,
}

impl Destination {
    /// A message for this place.
    pub fn message(self, payloads: Vec<Payload>) -> Outbound {
        let Self { channel, account, to, thread } = self;
        Outbound { channel, account, to, thread, payloads, ..Outbound::default() }
    }
}

/// Finds the place that is named; the error says what is missing.
pub fn destination(
    state: &State,
    channel: Option<&str>,
    account: Option<&str>,
    to: Option<&str>,
) -> Result<Destination, String> {
    let row = account_row(state, channel, account)?;
    let channel = row.kind.id;
    let to = to.map(str::trim).filter(|to| !to.is_empty());
    let to = to.ok_or_else(|| format!("a target is required to send on {channel}"))?;
    Ok(Destination {
        channel: channel.to_owned(),
        account: row.id,
        to: to.to_owned(),
        thread: None,
    })
}

/// Finds the account that is named, or the one that is meant where nothing is;
/// it can be used.
pub fn account_row(
    state: &State,
    channel: Option<&str>,
    account: Option<&str>,
) -> Result<manager::Row, String> {
    let rows = state.channels.rows();
    let named = channel.map(str::trim).filter(|channel| !channel.is_empty());
    let channel =
        named.map_or_else(|| only_channel(&rows), |channel| Ok(channel.to_lowercase()))?;
    if kind(&channel).is_none() {
        let why = if channel == "webchat" {
            " (internal-only). Use `chat.send` for WebChat UI messages or choose a deliverable channel."
        } else {
            ""
        };
        return Err(format!("unsupported channel: {channel}{why}"));
    }
    let of_channel = || rows.iter().filter(|row| row.kind.id == channel);
    let account = match account.map(str::trim).filter(|account| !account.is_empty()) {
        Some(account) => account.to_owned(),
        None => default_account(state, &channel).ok_or_else(|| {
            format!("channel {channel} is not configured; set channels.{channel}")
        })?,
    };
    let is_it = |row: &manager::Row| row.kind.id == channel && row.id == account;
    let Some(at) = rows.iter().position(is_it) else {
        let known: Vec<&str> = of_channel().map(|row| row.id.as_str()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(format!(
            "channel {channel} has no account \"{account}\" (configured: {known})"
        ));
    };
    let row = &rows[at];
    if !row.is_configured() || !row.enabled {
        let why = row.status.known().last_error.unwrap_or_else(|| "disabled".to_owned());
        return Err(format!("channel {channel} account {account} cannot send: {why}"));
    }
    Ok(rows.into_iter().nth(at).unwrap_or_else(|| unreachable!("it was found there")))
}

/// The one channel that is configured.
fn only_channel(rows: &[manager::Row]) -> Result<String, String> {
    let mut configured: Vec<&str> =
        rows.iter().filter(|row| row.enabled).map(|row| row.kind.id).collect();
    configured.dedup();
    match configured.as_slice() {
        [only] => Ok((*only).to_owned()),
        [] => Err("Channel is required (no configured channels detected).".to_owned()),
        several => Err(format!(
            "Channel is required when multiple channels are configured: {}",
            several.join(", ")
        )),
    }
}

/// The account that stands for a channel when none is named.
pub fn default_account(state: &State, channel: &str) -> Option<String> {
    let rows = state.channels.rows();
    let mut ids = rows.iter().filter(|row| row.kind.id == channel).map(|row| row.id.as_str());
    let snapshot = state.config.load();
    let chosen = snapshot.config.channels.get(channel).and_then(|it| it["defaultAccount"].as_str());
    let all: Vec<&str> = ids.by_ref().collect();
    let find = |id: &str| all.iter().find(|known| **known == id).copied();
    chosen
        .and_then(find)
        .or_else(|| find("default"))
        .or_else(|| all.first().copied())
        .map(str::to_owned)
}

/// Where a session was last used from, if that was on a channel.
pub async fn last_place(state: &State, key: &SessionKey) -> Option<Destination> {
    let entry = state.agents.sessions().entry(key).await.ok()??;
    let text = |name: &str| entry.fields().get(name).and_then(Value::as_str).map(str::to_owned);
    let channel = text("lastChannel").filter(|channel| kind(channel).is_some())?;
    Some(Destination {
        account: text("lastAccountId").unwrap_or_else(|| "default".to_owned()),
        to: text("lastTo")?,
        thread: text("lastThreadId"),
        channel,
    })
}

/// Finds the place of a `delivery` or heartbeat target: `last` or nothing means
/// where the session was last used from.
pub async fn target(
    state: &State,
    key: &SessionKey,
    channel: Option<&str>,
    account: Option<&str>,
    to: Option<&str>,
) -> Result<Destination, String> {
    let last = last_place(state, key).await;
    let named = channel.filter(|channel| *channel != "last");
    if named.is_none() && (to.is_none() || channel.is_some()) {
        let last = last.ok_or("no channel was used in this session yet; name channel and to")?;
        let to = to.unwrap_or(&last.to);
        let found = destination(state, Some(&last.channel), Some(&last.account), Some(to))?;
        return Ok(Destination { thread: last.thread, ..found });
    }
    // The session's own place, if it is on that channel.
    let own = last.filter(|last| Some(last.channel.as_str()) == named).map(|last| last.to);
    destination(state, named, account, to.or(own.as_deref()))
}

/// Sends a run's reply and waits, within bounds, until the network has it;
/// `Ok(false)` means that it still waits in the queue, safe from a crash.
pub async fn deliver(state: &State, place: Destination, text: &str) -> Result<bool, String> {
    let outbound = place.message(payloads(text));
    let receipt = send(state, outbound).await.map_err(|err| err.to_string())?;
    match tokio::time::timeout(DELIVER_WAIT, receipt.outcome()).await {
        Ok(outcome) => outcome.map(|_| true),
        Err(_) => Ok(false),
    }
}

/// Accepts a message for delivery.
pub async fn send(state: &State, outbound: Outbound) -> io::Result<Receipt> {
    state.channels.send(outbound).await
}

/// A reply's text as payloads: lines that say `MEDIA:` name files.
pub fn payloads(text: &str) -> Vec<Payload> {
    let mut media = Vec::new();
    let mut fenced = false;
    let lines = text.lines().filter(|line| {
        let line = line.trim();
        fenced ^= line.starts_with("```");
        let Some(source) = line.strip_prefix("MEDIA:").filter(|_| !fenced) else { return true };
        let source = source.trim().trim_matches('`');
        if !source.is_empty() {
            media.push(source.to_owned());
        }
        false
    });
    let rest = lines.collect::<Vec<_>>().join("\n");
    let rest = rest.trim();
    let text = (!rest.is_empty()).then(|| rest.to_owned());
    if text.is_none() && media.is_empty() {
        return Vec::new();
    }
    vec![Payload { text, media_urls: media, ..Payload::default() }]
}

/// Keeps a file that came with a message where the agent's tools find it.
pub async fn store_media(paths: &Paths, name: &str, bytes: Vec<u8>) -> io::Result<PathBuf> {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    let name: String = name.chars().map(plain).collect();
    let path = paths.state.join("media/inbound").join(format!("{}---{name}", id::uuid()));
    let target = path.clone();
    lifecycle::spawn_blocking(move || atomic::write(&target, &bytes, Sync::No))
        .await
        .unwrap_or_else(|err| Err(io::Error::other(err)))?;
    Ok(path)
}

/// Whether a member of `channels` configures a network.
pub fn is_channel(id: &str, section: &Value) -> bool {
    !manager::SHARED_SECTIONS.contains(&id) && section.is_object()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_lines_become_files_unless_they_are_code() {
        let all = payloads("Look:\nMEDIA: /tmp/a.png\nbye");
        assert_eq!(all[0].text.as_deref(), Some("Look:\nbye"));
        assert_eq!(all[0].media_urls, ["/tmp/a.png"]);
        let code = payloads("```\nMEDIA: x\n```");
        assert_eq!(code[0].text.as_deref(), Some("```\nMEDIA: x\n```"));
        assert!(payloads(" \n").is_empty());
    }
}
