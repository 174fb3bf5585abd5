//! The blocks that stand before a channel's message in the prompt. The order
//! and the headings are part of the contract: histories strip them.

use serde_json::{Map, Value, json};

use crate::agents::run::Sender;
use crate::channels::message::{ChatKind, Inbound};

/// The blocks of a message, without the text itself.
pub fn blocks(message: &Inbound) -> String {
    let author = &message.author;
    let is_group = message.chat.kind != ChatKind::Direct;
    let mut info = Map::new();
    info.insert("message_id".into(), message.id.clone().into());
    info.insert("sender_id".into(), author.id.clone().into());
    if let Some(title) = message.chat.title.as_ref().filter(|_| is_group) {
        info.insert("conversation_label".into(), title.clone().into());
    }
    info.insert("sender".into(), author.name.clone().into());
    info.insert("timestamp".into(), stamp(message.at).into());
    if is_group {
        let subject = message.chat.title.as_deref().unwrap_or(&message.chat.id);
        info.insert("group_subject".into(), subject.into());
        if let Some(thread) = &message.chat.thread {
            info.insert("topic_id".into(), thread.clone().into());
        }
        info.insert("is_group_chat".into(), true.into());
        if message.mentioned {
            info.insert("was_mentioned".into(), true.into());
        }
    }
    let known = sender(message);
    let mut sender = json!({"label": known.label, "id": known.id, "name": author.name});
    if let Some(username) = known.username {
        sender["username"] = username.into();
    }
    let mut parts = vec![
        block("Conversation info (untrusted metadata):", &Value::Object(info)),
        block("Sender (untrusted metadata):", &sender),
    ];
    if let Some(quoted) = &message.quoted {
        let quoted = json!({"sender": quoted.sender, "body": quoted.text});
        parts.push(block("Replied message (untrusted, for context):", &quoted));
    }
    if !message.before.is_empty() {
        let lines: Vec<Value> = message
            .before
            .iter()
            .map(|line| json!({"sender": line.sender, "timestamp_ms": line.at, "body": line.text}))
            .collect();
        let heading = "Chat history since last reply (untrusted, for context):";
        parts.push(block(heading, &Value::Array(lines)));
    }
    parts.join("\n\n")
}

/// The writer of a message.
pub fn sender(message: &Inbound) -> Sender {
    let author = &message.author;
    let label = if author.name.is_empty() || author.name == author.id {
        author.id.clone()
    } else {
        format!("{} ({})", author.name, author.id)
    };
    Sender {
        label,
        id: author.id.clone(),
        name: Some(author.name.clone()),
        username: author.username.clone(),
    }
}

fn block(heading: &str, value: &Value) -> String {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    // A fence inside a value would end the block early.
    format!("{heading}\n```json\n{}\n```", text.replace("```", "` ` `"))
}

fn stamp(at: u64) -> String {
    let at = i64::try_from(at).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let at = at.unwrap_or_default().to_zoned(jiff::tz::TimeZone::system());
    at.strftime("%a %Y-%m-%d %H:%M %Z").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channels::message::Author;

    #[test]
    fn a_direct_message_is_framed_as_the_reference_does() {
        let message = Inbound {
            id: "6dd5".into(),
            author: Author {
                id: "alice!~alice@127.0.0.1".into(),
                name: "alice".into(),
                ..Author::default()
            },
            at: 1_795_350_000_000,
            ..Inbound::default()
        };
        let text = blocks(&message);
        let expected = "Conversation info (untrusted metadata):\n```json\n{\n  \"message_id\": \"6dd5\",\n  \"sender_id\": \"alice!~alice@127.0.0.1\",\n  \"sender\": \"alice\",\n  \"timestamp\": \"";
        assert!(text.starts_with(expected), "{text}");
        let sender = "Sender (untrusted metadata):\n```json\n{\n  \"label\": \"alice (alice!~alice@127.0.0.1)\",\n  \"id\": \"alice!~alice@127.0.0.1\",\n  \"name\": \"alice\"\n}\n```";
        assert!(text.ends_with(sender), "{text}");
    }
}
