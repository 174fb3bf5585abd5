//! What a user of Matrix can do with messages beyond sending them.

use serde_json::{Map, Value, json};

use crate::base::id::uuid;
use crate::channels::action::{Action, ActionError, Reaction};
use crate::channels::channel::SendError;
use crate::channels::markdown::{self, Flavour};
use crate::channels::matrix::api::{ApiError, part};
use crate::channels::matrix::{Matrix, SignedIn};

/// Messages and reactions of one answer, unless asked otherwise.
const MESSAGES: i64 = 20;
const REACTIONS: i64 = 100;
/// Reactions looked through for our own.
const MOST_REACTIONS: i64 = 200;
const ANNOTATION: &str = "m.annotation";
const PINS: &str = "state/m.room.pinned_events/";

impl From<ApiError> for ActionError {
    fn from(err: ApiError) -> Self {
        Self::failed(err)
    }
}

impl From<SendError> for ActionError {
    fn from(err: SendError) -> Self {
        Self::failed(err)
    }
}

impl Matrix {
    pub(super) async fn do_action(&self, action: Action<'_>) -> Result<Value, ActionError> {
        let gate = match action.name {
            "react" | "reactions" => Some("reactions"),
            "read" | "edit" | "delete" => Some("messages"),
            "pin" | "unpin" | "list-pins" => Some("pins"),
            "member-info" => Some("memberInfo"),
            "channel-info" => Some("channelInfo"),
            "poll" => None,
            _ => return Err(ActionError::Unsupported),
        };
        if let Some(gate) = gate {
            self.settings.gates.check("matrix", gate, true)?;
        }
        let who = self.signed_in().ok_or_else(|| ActionError::failed("Matrix is not connected"))?;
        if action.name == "member-info" {
            return member(&who, action).await;
        }
        let id = self.room(&who, action.to).await?;
        let room = Room { who: &who, path: format!("client/v3/rooms/{}", part(&id)), id };
        match action.name {
            "react" => room.react(action).await,
            "reactions" => {
                let found = room.reactions(action, action.limit(REACTIONS)?).await?;
                Ok(json!({"ok": true, "reactions": counted(&found)}))
            }
            "read" => room.read(action).await,
            "edit" => room.edit(action).await,
            "delete" => {
                room.redact(&action.required("messageId")?).await?;
                Ok(json!({"ok": true, "deleted": true}))
            }
            "poll" => room.poll(action).await,
            "channel-info" => room.info().await,
            _ => room.pins(action).await,
        }
    }
}

/// A room that things are done in.
struct Room<'a> {
    who: &'a SignedIn,
    id: String,
    path: String,
}

impl Room<'_> {
    async fn send(&self, kind: &str, content: &Value) -> Result<Value, ActionError> {
        let path = format!("{}/send/{kind}/{}", self.path, uuid());
        Ok(self.who.api.put(&path, content).await?["event_id"].clone())
    }

    async fn redact(&self, event: &str) -> Result<(), ActionError> {
        let path = format!("{}/redact/{}/{}", self.path, part(event), uuid());
        self.who.api.put(&path, &json!({})).await?;
        Ok(())
    }

    /// A part of the room's state; `None` where it was never set.
    async fn state(&self, kind: &str) -> Result<Option<Value>, ActionError> {
        match self.who.api.get(&format!("{}/{kind}", self.path)).await {
            Ok(state) => Ok(Some(state)),
            Err(ApiError::Said { status: 404, .. }) => Ok(None),
            Err(err) => Err(err.into()),
        }
    }

    async fn react(&self, action: Action<'_>) -> Result<Value, ActionError> {
        let event = action.required("messageId")?;
        match action.reaction()? {
            Reaction::Add(emoji) => {
                let relation = json!({"rel_type": ANNOTATION, "event_id": event, "key": emoji});
                self.send("m.reaction", &json!({"m.relates_to": relation})).await?;
                Ok(json!({"ok": true, "added": emoji}))
            }
            Reaction::Remove(emoji) => {
                let mut removed = 0;
                for reaction in self.reactions(action, MOST_REACTIONS).await? {
                    let is_it = emoji.as_ref().is_none_or(|emoji| key_of(&reaction) == emoji);
                    if is_it
                        && reaction["sender"] == self.who.user.as_str()
                        && let Some(id) = reaction["event_id"].as_str()
                    {
                        self.redact(id).await?;
                        removed += 1;
                    }
                }
                Ok(json!({"ok": true, "removed": removed}))
            }
        }
    }

    async fn reactions(&self, action: Action<'_>, limit: i64) -> Result<Vec<Value>, ActionError> {
        let path = format!(
            "client/v1/rooms/{}/relations/{}/{ANNOTATION}/m.reaction?dir=b&limit={limit}",
            part(&self.id),
            part(&action.required("messageId")?)
        );
        let found = self.who.api.get(&path).await?;
        Ok(found["chunk"].as_array().cloned().unwrap_or_default())
    }

    async fn read(&self, action: Action<'_>) -> Result<Value, ActionError> {
        let after = action.text("after");
        let dir = if after.is_some() { "f" } else { "b" };
        let mut path =
            format!("{}/messages?dir={dir}&limit={}", self.path, action.limit(MESSAGES)?);
        if let Some(from) = action.text("before").or(after) {
            path = format!("{path}&from={}", part(&from));
        }
        let page = self.who.api.get(&path).await?;
        let events = page["chunk"].as_array().into_iter().flatten();
        let said = events.filter(|event| event["type"] == "m.room.message" && is_there(event));
        let messages: Vec<Value> = said.map(summary).collect();
        Ok(json!({"ok": true, "messages": messages, "nextBatch": page["end"],
            "prevBatch": page["start"]}))
    }

    async fn edit(&self, action: Action<'_>) -> Result<Value, ActionError> {
        let event = action.required("messageId")?;
        let text = action.required("message")?;
        let html = markdown::html(&text, Flavour::Matrix);
        let content = |lead: &str| {
            json!({"msgtype": "m.text", "body": format!("{lead}{text}"), "m.mentions": {},
                "format": "org.matrix.custom.html", "formatted_body": format!("{lead}{html}")})
        };
        // What programs show that know no edits.
        let mut edited = content("* ");
        edited["m.new_content"] = content("");
        edited["m.relates_to"] = json!({"rel_type": "m.replace", "event_id": event});
        let id = self.send("m.room.message", &edited).await?;
        Ok(json!({"ok": true, "result": {"eventId": id}}))
    }

    async fn poll(&self, action: Action<'_>) -> Result<Value, ActionError> {
        let poll = action.poll()?;
        let said = |text: &str| json!({"m.text": text, "org.matrix.msc1767.text": text});
        let answers: Vec<Value> = (1..)
            .zip(&poll.options)
            .map(|(at, text)| {
                let mut answer = said(text);
                answer["id"] = format!("answer{at}").into();
                answer
            })
            .collect();
        let lines = (1..).zip(&poll.options).map(|(at, text)| format!("{at}. {text}"));
        let lines: Vec<String> = std::iter::once(poll.question.clone()).chain(lines).collect();
        let mut content = said(&lines.join("\n"));
        content["m.poll.start"] = json!({
            "question": said(&poll.question),
            "kind": if poll.several { "m.poll.undisclosed" } else { "m.poll.disclosed" },
            "max_selections": if poll.several { poll.options.len() } else { 1 },
            "answers": answers,
        });
        content["m.mentions"] = json!({});
        if let Some(thread) = action.text("threadId") {
            content["m.relates_to"] = json!({"rel_type": "m.thread", "event_id": thread});
        }
        let id = self.send("m.poll.start", &content).await?;
        Ok(json!({"ok": true, "messageId": id, "roomId": self.id, "pollId": id}))
    }

    async fn pins(&self, action: Action<'_>) -> Result<Value, ActionError> {
        let state = self.state(PINS).await?.unwrap_or_default();
        let ids = state["pinned"].as_array().into_iter().flatten();
        let mut pinned: Vec<String> = ids.filter_map(Value::as_str).map(str::to_owned).collect();
        if action.name == "list-pins" {
            let mut events = Vec::new();
            for id in &pinned {
                let event = self.state(&format!("event/{}", part(id))).await?.unwrap_or_default();
                if is_there(&event) && event["content"].is_object() {
                    events.push(summary(&event));
                }
            }
            return Ok(json!({"ok": true, "pinned": pinned, "events": events}));
        }
        let event = action.required("messageId")?;
        let had = pinned.len();
        pinned.retain(|id| *id != event);
        let is_pinned = pinned.len() < had;
        if action.name == "pin" {
            pinned.push(event);
        }
        if (action.name == "pin") != is_pinned {
            let path = format!("{}/{PINS}", self.path);
            self.who.api.put(&path, &json!({"pinned": pinned})).await?;
        }
        Ok(json!({"ok": true, "pinned": pinned}))
    }

    async fn info(&self) -> Result<Value, ActionError> {
        let text = async |kind: &str, key: &str| {
            let state = self.state(&format!("state/{kind}/")).await?;
            Ok::<Value, ActionError>(state.unwrap_or_default()[key].clone())
        };
        let members = self.state("joined_members").await?.unwrap_or_default();
        Ok(json!({"ok": true, "room": {
            "roomId": self.id, "name": text("m.room.name", "name").await?,
            "topic": text("m.room.topic", "topic").await?,
            "canonicalAlias": text("m.room.canonical_alias", "alias").await?,
            "altAliases": [], "memberCount": members["joined"].as_object().map(Map::len),
        }}))
    }
}

async fn member(who: &SignedIn, action: Action<'_>) -> Result<Value, ActionError> {
    let user = action.required("userId")?;
    let profile = who.api.get(&format!("client/v3/profile/{}", part(&user))).await?;
    let name = &profile["displayname"];
    Ok(json!({"ok": true, "member": {
        "userId": user, "profile": {"displayName": name, "avatarUrl": profile["avatar_url"]},
        "membership": null, "powerLevel": null, "displayName": name, "roomId": action.text("roomId"),
    }}))
}

fn is_there(event: &Value) -> bool {
    event["unsigned"]["redacted_because"].is_null()
}

fn key_of(reaction: &Value) -> &str {
    reaction["content"]["m.relates_to"]["key"].as_str().unwrap_or_default()
}

/// How often each reaction was given, and by whom.
fn counted(reactions: &[Value]) -> Vec<Value> {
    let mut kinds: indexmap::IndexMap<&str, Vec<&str>> = indexmap::IndexMap::new();
    for reaction in reactions {
        let key = key_of(reaction);
        if !key.is_empty() {
            let sender = reaction["sender"].as_str().unwrap_or_default();
            kinds.entry(key).or_default().push(sender);
        }
    }
    let row =
        |(key, users): (&str, Vec<&str>)| json!({"key": key, "count": users.len(), "users": users});
    kinds.into_iter().map(row).collect()
}

/// A message as it is shown: who said what when, and what it belongs to.
fn summary(event: &Value) -> Value {
    let content = &event["content"];
    let kind = match content["msgtype"].as_str() {
        Some("m.image") => Some("image"),
        Some("m.video") => Some("video"),
        Some("m.audio") => Some("audio"),
        Some("m.file") => Some("file"),
        _ => None,
    };
    let body = content["body"].as_str().map(str::trim).filter(|text| !text.is_empty());
    let mut shown = json!({"eventId": event["event_id"], "sender": event["sender"]});
    if let Some(kind) = kind {
        // A body beside a file's name is what was written below it.
        let file = content["filename"].as_str().or(body);
        let caption = body.filter(|body| Some(*body) != file);
        shown["attachment"] = json!({"kind": kind, "filename": file, "caption": caption});
        shown["body"] = json!(caption);
    } else {
        shown["body"] = json!(body);
    }
    shown["msgtype"] = content["msgtype"].clone();
    shown["timestamp"] = event["origin_server_ts"].clone();
    let relation = &content["m.relates_to"];
    if relation["rel_type"].is_string() {
        shown["relatesTo"] =
            json!({"relType": relation["rel_type"], "eventId": relation["event_id"]});
    } else if relation["m.in_reply_to"].is_object() {
        shown["relatesTo"] = json!({"eventId": relation["m.in_reply_to"]["event_id"]});
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_shown_with_its_caption_and_an_answer_with_what_it_answers() {
        let event = json!({"event_id": "$1", "sender": "@a:b", "origin_server_ts": 5, "content": {
            "msgtype": "m.image", "body": "look", "filename": "a.png",
            "m.relates_to": {"m.in_reply_to": {"event_id": "$0"}}}});
        let shown = summary(&event);
        assert_eq!(
            (&shown["body"], &shown["attachment"]["filename"]),
            (&json!("look"), &json!("a.png"))
        );
        assert_eq!(shown["relatesTo"], json!({"eventId": "$0"}));
    }

    #[test]
    fn reactions_are_counted_by_kind_in_their_order() {
        let given = |sender: &str, key: &str| json!({"sender": sender, "content": {"m.relates_to": {"key": key}}});
        let all = [given("@a:b", "👍"), given("@c:d", "🎉"), given("@c:d", "👍"), json!({})];
        let counts = counted(&all);
        assert_eq!(counts[0], json!({"key": "👍", "count": 2, "users": ["@a:b", "@c:d"]}));
        assert_eq!(counts.len(), 2);
    }
}
