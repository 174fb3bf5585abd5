//! From a room's events to messages, and what is known about rooms. Pure.

use std::collections::HashMap;

use serde_json::Value;

use crate::channels::message::{Attachment, Author, Chat, ChatKind, Inbound};

/// A room as far as its events told.
#[derive(Debug, Clone, Default)]
pub(super) struct Room {
    name: Option<String>,
    alias: Option<String>,
    /// Joined and invited members.
    members: Option<u64>,
    display_names: HashMap<String, String>,
    /// Whether its messages cannot be read here.
    pub(super) encrypted: bool,
}

impl Room {
    /// Takes what a sync says about the room besides messages.
    pub(super) fn learn(&mut self, update: &Value) {
        let summary = &update["summary"];
        let count = |key: &str| summary[key].as_u64();
        if count("m.joined_member_count").is_some() || count("m.invited_member_count").is_some() {
            let joined = count("m.joined_member_count").unwrap_or(0);
            self.members = Some(joined + count("m.invited_member_count").unwrap_or(0));
        }
        let lists = [&update["state"]["events"], &update["timeline"]["events"]];
        for event in lists.into_iter().filter_map(Value::as_array).flatten() {
            let content = &event["content"];
            let text = |key: &str| content[key].as_str().map(str::to_owned);
            match event["type"].as_str().unwrap_or_default() {
                "m.room.name" => self.name = text("name"),
                "m.room.canonical_alias" => self.alias = text("alias"),
                "m.room.encryption" => self.encrypted = true,
                "m.room.member" => {
                    if let (Some(user), Some(name)) =
                        (event["state_key"].as_str(), text("displayname"))
                    {
                        self.display_names.insert(user.to_owned(), name);
                    }
                }
                _ => {}
            }
        }
    }

    /// How many people the room has, if it was told.
    pub(super) fn members(&self) -> Option<u64> {
        self.members
    }

    pub(super) fn set_members(&mut self, members: u64) {
        self.members = Some(members);
    }

    fn is_direct(&self) -> bool {
        self.members.is_some_and(|members| members <= 2)
    }

    fn name_of(&self, user: &str) -> String {
        let local = || user.trim_start_matches('@').split(':').next().unwrap_or(user).to_owned();
        self.display_names.get(user).cloned().unwrap_or_else(local)
    }
}

/// The message of an event, if somebody said something.
pub(super) fn message(
    account: &str,
    bot: &str,
    room_id: &str,
    room: &Room,
    event: &Value,
) -> Option<Inbound> {
    let sender = event["sender"].as_str()?;
    let content = &event["content"];
    let relation = &content["m.relates_to"];
    if event["type"] != "m.room.message" || sender == bot || relation["rel_type"] == "m.replace" {
        return None;
    }
    let kind = content["msgtype"].as_str()?;
    let body = content["body"].as_str().unwrap_or_default();
    let (text, attachments) = match kind {
        "m.text" | "m.emote" => (without_quote(body, relation).to_owned(), Vec::new()),
        "m.image" | "m.file" | "m.audio" | "m.video" => {
            let name = content["filename"].as_str().unwrap_or(body);
            let caption = if content["filename"].is_string() && name != body { body } else { "" };
            let attachment = Attachment {
                reference: content["url"].as_str()?.to_owned(),
                mime_type: content["info"]["mimetype"]
                    .as_str()
                    .unwrap_or("application/octet-stream")
                    .to_owned(),
                name: name.to_owned(),
                bytes: content["info"]["size"].as_u64().unwrap_or(0),
            };
            (caption.to_owned(), vec![attachment])
        }
        // Notices are what bots say to each other without end.
        _ => return None,
    };
    if text.trim().is_empty() && attachments.is_empty() {
        return None;
    }
    let direct = room.is_direct();
    let thread =
        (relation["rel_type"] == "m.thread").then(|| relation["event_id"].as_str()).flatten();
    let named = content["m.mentions"]["user_ids"].as_array();
    let local = bot.trim_start_matches('@').split(':').next().unwrap_or(bot);
    let mentioned = direct
        || named.is_some_and(|ids| ids.iter().any(|id| id == bot))
        || text.contains(bot)
        || has_word(&text, local)
        || room.display_names.get(bot).is_some_and(|name| has_word(&text, name));
    let title = room.name.clone().or_else(|| room.alias.clone());
    Some(Inbound {
        channel: "matrix".to_owned(),
        account: account.to_owned(),
        id: event["event_id"].as_str()?.to_owned(),
        chat: Chat {
            kind: if direct { ChatKind::Direct } else { ChatKind::Channel },
            id: room_id.to_owned(),
            to: format!("room:{room_id}"),
            title: room.alias.clone().or(title).filter(|_| !direct),
            thread: thread.map(str::to_owned),
        },
        author: Author {
            id: sender.to_owned(),
            aliases: vec![sender.to_lowercase()],
            name: room.name_of(sender),
            username: Some(sender.to_owned()),
        },
        text,
        attachments,
        mentioned,
        at: event["origin_server_ts"].as_u64().unwrap_or(0),
        ..Inbound::default()
    })
}

/// The text of a reply without the lines that repeat what it answers.
fn without_quote<'t>(body: &'t str, relation: &Value) -> &'t str {
    if relation["m.in_reply_to"].is_null() || !body.starts_with("> ") {
        return body;
    }
    body.split_once("\n\n").map_or(body, |(_, rest)| rest)
}

fn has_word(text: &str, word: &str) -> bool {
    let (text, word) = (text.to_lowercase(), word.to_lowercase());
    !word.is_empty()
        && text.match_indices(&word).any(|(at, _)| {
            let edge = |c: Option<char>| !c.is_some_and(char::is_alphanumeric);
            edge(text[..at].chars().next_back()) && edge(text[at + word.len()..].chars().next())
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const BOT: &str = "@clawbot:test";

    fn room(members: u64) -> Room {
        let mut room = Room::default();
        room.learn(&json!({
            "summary": {"m.joined_member_count": members},
            "state": {"events": [
                {"type": "m.room.canonical_alias", "content": {"alias": "#claw:test"}},
                {"type": "m.room.member", "state_key": "@al:test", "content": {"displayname": "Al"}},
            ]},
        }));
        room
    }

    fn said(content: Value) -> Value {
        let mut event = json!({"type": "m.room.message", "event_id": "$e", "sender": "@al:test",
            "origin_server_ts": 9});
        event["content"] = content;
        event
    }

    #[test]
    fn two_people_are_a_direct_conversation() {
        let event = said(json!({"msgtype": "m.text", "body": "hi"}));
        let direct = message("default", BOT, "!R:test", &room(2), &event).unwrap();
        assert_eq!((direct.chat.kind, direct.chat.to.as_str()), (ChatKind::Direct, "room:!R:test"));
        assert_eq!((direct.author.name.as_str(), direct.mentioned), ("Al", true));
        let group = message("default", BOT, "!R:test", &room(3), &event).unwrap();
        assert_eq!((group.chat.kind, group.mentioned), (ChatKind::Channel, false));
        assert_eq!(group.chat.title.as_deref(), Some("#claw:test"));
    }

    #[test]
    fn a_mention_is_a_name_or_an_id() {
        let mentioned = |content: Value| {
            message("default", BOT, "!R:test", &room(3), &said(content)).unwrap().mentioned
        };
        assert!(mentioned(json!({"msgtype": "m.text", "body": "hey clawbot: hi"})));
        assert!(mentioned(
            json!({"msgtype": "m.text", "body": "x", "m.mentions": {"user_ids": [BOT]}})
        ));
        assert!(!mentioned(json!({"msgtype": "m.text", "body": "clawbots"})));
    }

    #[test]
    fn notices_edits_and_own_words_are_not_heard() {
        let heard = |event: Value| message("default", BOT, "!R:test", &room(2), &event).is_some();
        assert!(!heard(said(json!({"msgtype": "m.notice", "body": "x"}))));
        let edit =
            json!({"msgtype": "m.text", "body": "x", "m.relates_to": {"rel_type": "m.replace"}});
        assert!(!heard(said(edit)));
        let mut own = said(json!({"msgtype": "m.text", "body": "x"}));
        own["sender"] = json!(BOT);
        assert!(!heard(own));
        let reply = said(json!({"msgtype": "m.text", "body": "> <@x:t> was\n\nyes",
            "m.relates_to": {"m.in_reply_to": {"event_id": "$1"}}}));
        assert_eq!(message("default", BOT, "!R:test", &room(2), &reply).unwrap().text, "yes");
    }
}
