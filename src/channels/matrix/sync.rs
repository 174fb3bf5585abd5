//! Reading a user's events: long polls from where the last one ended.
//!
//! The place is noted when what came before is on disk, so that nothing is
//! skipped or read twice over a restart.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::channels::channel::Fault;
use crate::channels::link::Link;
use crate::channels::matrix::api::{Api, ApiError, part};
use crate::channels::matrix::inbound::{self, Room};
use crate::channels::matrix::settings::{AutoJoin, Settings};
use crate::channels::matrix::store::Store;
use crate::channels::message::Inbound;
use crate::lifecycle::{self, CancellationToken};

const POLL_MS: u64 = 30_000;
const POLL_LIMIT: Duration = Duration::from_secs(60);
/// Messages of a room that one sync brings; what is beyond is fetched.
const TIMELINE: u64 = 100;
/// Messages of one room that a gap is filled with at most.
const MOST_MISSED: usize = 1000;

pub(super) struct Reader<'a> {
    pub(super) api: &'a Api,
    pub(super) settings: &'a Settings,
    pub(super) user: &'a str,
    pub(super) link: &'a Link,
    pub(super) store: &'a Store,
    pub(super) rooms: HashMap<String, Room>,
}

impl Reader<'_> {
    /// Reads until something is wrong.
    pub(super) async fn run(&mut self, stop: &CancellationToken) -> Result<(), Fault> {
        let (store, user) = (self.store.clone(), self.user.to_owned());
        let mut since = lifecycle::spawn_blocking(move || store.since(&user)).await.unwrap_or(None);
        let filter = json!({
            "presence": {"types": []}, "account_data": {"types": []},
            "room": {
                "timeline": {"limit": TIMELINE}, "ephemeral": {"types": []},
                "account_data": {"types": []}, "state": {"lazy_load_members": true},
            },
        });
        let filter = part(&filter.to_string());
        let mut connected = false;
        loop {
            let path = match &since {
                // What was said before we came is not for us.
                None => format!("client/v3/sync?timeout=0&filter={filter}"),
                Some(since) => {
                    let wait = if connected { POLL_MS } else { 0 };
                    format!("client/v3/sync?timeout={wait}&filter={filter}&since={}", part(since))
                }
            };
            let answer = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                answer = self.api.get_within(&path, POLL_LIMIT) => answer,
            };
            let answer = answer.map_err(|err| err.fault(&self.settings.path))?;
            self.link.status.heard();
            if !connected {
                connected = true;
                self.link.status.connected();
            }
            let next = answer["next_batch"].as_str();
            let next = next.ok_or_else(|| Fault::Lost("a sync without an end".into()))?;
            let messages = self.take(&answer["rooms"], since.as_deref()).await?;
            let kept =
                |err: std::io::Error| Fault::Lost(format!("an event could not be kept: {err}"));
            let accepted = self.link.accept(messages).await.map_err(kept)?;
            if since.as_deref() != Some(next) {
                let (store, user, next) =
                    (self.store.clone(), self.user.to_owned(), next.to_owned());
                let written =
                    lifecycle::spawn_blocking(move || store.keep_since(&user, &next)).await;
                written.unwrap_or_else(|err| Err(std::io::Error::other(err))).map_err(kept)?;
            }
            since = Some(next.to_owned());
            accepted.release().await;
        }
    }

    /// The messages of a sync; invitations are answered on the way.
    async fn take(&mut self, rooms: &Value, since: Option<&str>) -> Result<Vec<Inbound>, Fault> {
        let fault = |err: ApiError| err.fault(&self.settings.path);
        for (room, invite) in rooms["invite"].as_object().into_iter().flatten() {
            self.answer_invitation(room, invite).await;
        }
        for (room, _) in rooms["leave"].as_object().into_iter().flatten() {
            self.rooms.remove(room);
        }
        let mut messages = Vec::new();
        for (id, update) in rooms["join"].as_object().into_iter().flatten() {
            let timeline = &update["timeline"];
            let mut events: Vec<Value> = timeline["events"].as_array().cloned().unwrap_or_default();
            let Some(since) = since else {
                self.rooms.entry(id.clone()).or_default().learn(update);
                continue;
            };
            let entered = entered_at(&events, self.user);
            let is_known = self.rooms.contains_key(id) || entered.is_none();
            if timeline["limited"] == true && is_known {
                match self.missed(id, timeline, since).await {
                    Ok(missed) => {
                        events.splice(0..0, missed);
                    }
                    // We are out of it by now: the next sync says so.
                    Err(err @ ApiError::Said { status: 403 | 404, .. }) => {
                        self.note_unreadable(id, &err);
                    }
                    Err(err) => return Err(fault(err)),
                }
            }
            let room = self.rooms.entry(id.clone()).or_default();
            room.learn(update);
            // What was said before is not for us, although we may read it.
            if let Some(entered) = entered_at(&events, self.user) {
                events.drain(..entered);
            }
            if events.is_empty() {
                continue;
            }
            if room.members().is_none() {
                let known = match describe(self.api, id).await {
                    Err(err @ ApiError::Said { status: 403 | 404, .. }) => {
                        self.note_unreadable(id, &err);
                        continue;
                    }
                    described => described.map_err(fault)?,
                };
                let room = self.rooms.entry(id.clone()).or_default();
                room.learn(&known);
                room.set_members(known["members"].as_u64().unwrap_or(0));
            }
            let Some(room) = self.rooms.get(id) else { continue };
            if room.encrypted && events.iter().any(|event| event["type"] == "m.room.encrypted") {
                let account = &self.settings.account;
                tracing::warn!(
                    target: "channels",
                    "[matrix] [{account}] {id} is encrypted; its messages cannot be read by this gateway"
                );
            }
            let account = &self.settings.account;
            let said =
                events.iter().filter_map(|it| inbound::message(account, self.user, id, room, it));
            let threads = self.settings.thread_replies;
            messages.extend(said.map(|mut message| {
                if !threads {
                    message.chat.thread = None;
                }
                message
            }));
        }
        Ok(messages)
    }

    /// What a sync left out because it was too much, oldest first.
    async fn missed(
        &self,
        room: &str,
        timeline: &Value,
        since: &str,
    ) -> Result<Vec<Value>, ApiError> {
        let mut events = Vec::new();
        let mut from = timeline["prev_batch"].as_str().map(str::to_owned);
        while let Some(start) = from.take() {
            let path = format!(
                "client/v3/rooms/{}/messages?dir=b&limit=200&from={}&to={}",
                part(room),
                part(&start),
                part(since)
            );
            let page = self.api.get(&path).await?;
            let chunk = page["chunk"].as_array().cloned().unwrap_or_default();
            if chunk.is_empty() {
                break;
            }
            events.extend(chunk);
            if events.len() >= MOST_MISSED {
                tracing::warn!(
                    target: "channels", "[matrix] [{}] more than {MOST_MISSED} messages were missed in {room}",
                    self.settings.account
                );
                break;
            }
            from = page["end"].as_str().filter(|end| *end != start).map(str::to_owned);
        }
        events.reverse();
        Ok(events)
    }

    fn note_unreadable(&self, room: &str, err: &ApiError) {
        let account = &self.settings.account;
        tracing::warn!(target: "channels", "[matrix] [{account}] {room} cannot be read: {err}");
    }

    async fn answer_invitation(&self, room: &str, invite: &Value) {
        let account = &self.settings.account;
        let events = invite["invite_state"]["events"].as_array().into_iter().flatten();
        let aliases: Vec<&str> =
            events.filter_map(|event| event["content"]["alias"].as_str()).collect();
        let welcome = match &self.settings.auto_join {
            AutoJoin::Off => false,
            AutoJoin::Always => true,
            AutoJoin::Listed(list) => list
                .iter()
                .any(|entry| entry == "*" || entry == room || aliases.contains(&entry.as_str())),
        };
        if !welcome {
            tracing::info!(
                target: "channels",
                "[matrix] [{account}] invited to {room}; not joined (channels.matrix.autoJoin)"
            );
            return;
        }
        let path = format!("client/v3/join/{}", part(room));
        match self.api.post(&path, &json!({})).await {
            Ok(_) => tracing::info!(target: "channels", "[matrix] [{account}] joined {room}"),
            Err(err) => {
                tracing::warn!(target: "channels", "[matrix] [{account}] cannot join {room}: {err}");
            }
        }
    }
}

/// Where the user came into the room, if that is among the events: where the
/// invitation stands, for its answer may take a moment, else the joining.
fn entered_at(events: &[Value], user: &str) -> Option<usize> {
    let membership = |event: &Value| {
        let own = event["type"] == "m.room.member" && event["state_key"] == user;
        event["content"]["membership"].as_str().filter(|_| own).map(str::to_owned)
    };
    let joined = events.iter().rposition(|event| {
        // A member who changes his name joins again.
        let was_in = event["unsigned"]["prev_content"]["membership"] == "join";
        membership(event).as_deref() == Some("join") && !was_in
    })?;
    let before = events[..joined].iter().rposition(|event| membership(event).is_some());
    let invited = before.filter(|at| membership(&events[*at]).as_deref() == Some("invite"));
    Some(invited.unwrap_or(joined))
}

/// What a sync would have said about a room that it did not describe.
async fn describe(api: &Api, room: &str) -> Result<Value, ApiError> {
    let base = format!("client/v3/rooms/{}", part(room));
    let joined = api.get(&format!("{base}/joined_members")).await?;
    let members = joined["joined"].as_object().cloned().unwrap_or_default();
    let mut events: Vec<Value> = members
        .iter()
        .map(|(user, about)| {
            json!({"type": "m.room.member", "state_key": user,
                "content": {"displayname": about["display_name"]}})
        })
        .collect();
    for kind in ["m.room.canonical_alias", "m.room.name", "m.room.encryption"] {
        // A room without it answers 404.
        if let Ok(content) = api.get(&format!("{base}/state/{kind}")).await {
            events.push(json!({"type": kind, "content": content}));
        }
    }
    Ok(json!({"members": members.len(), "state": {"events": events}}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_before_an_invitation_or_a_joining_is_not_for_us() {
        let bot = "@bot:test";
        let member = |user: &str, membership: &str, was: &str| {
            json!({"type": "m.room.member", "state_key": user, "content": {"membership": membership},
                "unsigned": {"prev_content": {"membership": was}}})
        };
        let said = || json!({"type": "m.room.message"});
        let at = |events: &[Value]| entered_at(events, bot);
        assert_eq!(at(&[said(), said()]), None);
        assert_eq!(at(&[said(), member(bot, "join", "join"), said()]), None);
        assert_eq!(at(&[said(), member("@al:test", "join", "leave")]), None);
        assert_eq!(at(&[said(), member(bot, "join", "leave"), said()]), Some(1));
        let invited = [
            said(),
            member(bot, "leave", "join"),
            said(),
            member(bot, "invite", "leave"),
            said(),
            member(bot, "join", "invite"),
            member(bot, "join", "join"),
        ];
        assert_eq!(at(&invited), Some(3));
        assert_eq!(at(&invited[..3]), None);
        let twice = [
            member(bot, "invite", "leave"),
            member(bot, "leave", "invite"),
            member(bot, "join", "leave"),
        ];
        assert_eq!(at(&twice), Some(2));
    }
}
