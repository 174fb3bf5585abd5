//! From an update of the service to a message. Pure.

use crate::channels::message::{Attachment, Author, Chat, ChatKind, Earlier, Inbound};
use crate::channels::telegram::api::{Entity, Media, Posted, Update, User};

/// The topic that every forum has; it is named nowhere when one sends.
const GENERAL_TOPIC: i64 = 1;

/// The message of an update, if somebody said something.
pub(super) fn message(account: &str, bot: &User, update: &Update) -> Option<Inbound> {
    let message = update.message.as_ref()?;
    let from = message.from.as_ref()?;
    if from.is_bot {
        return None;
    }
    let (text, entities) = match (&message.text, &message.caption) {
        (Some(text), _) => (text.clone(), &message.entities),
        (None, Some(caption)) => (caption.clone(), &message.caption_entities),
        (None, None) => (wordless(message), &message.entities),
    };
    let attachments = attachments(message);
    if text.trim().is_empty() && attachments.is_empty() {
        return None;
    }
    let private = message.chat.r#type == "private";
    let answers_bot = message
        .reply_to_message
        .as_ref()
        .and_then(|it| it.from.as_ref())
        .is_some_and(|it| it.id == bot.id);
    let mentioned = private || answers_bot || mentions(&text, entities, bot);
    let thread = message.message_thread_id.filter(|_| message.is_topic_message);
    let thread = thread.or((message.chat.is_forum && !private).then_some(GENERAL_TOPIC));
    let chat = Chat {
        kind: if private { ChatKind::Direct } else { ChatKind::Group },
        id: message.chat.id.to_string(),
        to: format!("telegram:{}", message.chat.id),
        title: message.chat.title.clone(),
        thread: thread.map(|thread| thread.to_string()),
    };
    let username = from.username.clone();
    Some(Inbound {
        channel: "telegram".to_owned(),
        account: account.to_owned(),
        id: message.message_id.to_string(),
        chat,
        author: Author {
            id: from.id.to_string(),
            aliases: username
                .iter()
                .flat_map(|name| [name.to_lowercase(), format!("@{}", name.to_lowercase())])
                .collect(),
            name: full_name(from),
            username,
        },
        text: command_of(&text, bot),
        attachments,
        mentioned,
        quoted: message.reply_to_message.as_deref().and_then(quoted),
        at: message.date * 1000,
        ..Inbound::default()
    })
}

fn full_name(user: &User) -> String {
    match &user.last_name {
        Some(last) => format!("{} {last}", user.first_name),
        None => user.first_name.clone(),
    }
}

/// `/cmd@thisbot` without the bot's name.
fn command_of(text: &str, bot: &User) -> String {
    let Some(name) = bot.username.as_ref().filter(|_| text.starts_with('/')) else {
        return text.to_owned();
    };
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    match word.split_once('@') {
        Some((command, named)) if named.eq_ignore_ascii_case(name) => {
            format!("{command} {rest}").trim_end().to_owned()
        }
        _ => text.to_owned(),
    }
}

/// Whether an entity of the text is the bot.
fn mentions(text: &str, entities: &[Entity], bot: &User) -> bool {
    let units: Vec<u16> = text.encode_utf16().collect();
    let name = bot.username.as_deref().unwrap_or_default().to_lowercase();
    entities.iter().any(|entity| match entity.r#type.as_str() {
        "text_mention" => entity.user.as_ref().is_some_and(|user| user.id == bot.id),
        "mention" | "bot_command" if !name.is_empty() => {
            let end = entity.offset.saturating_add(entity.length).min(units.len());
            let part = units.get(entity.offset..end).map(String::from_utf16_lossy);
            part.is_some_and(|part| {
                part.to_lowercase().split_once('@').is_some_and(|(_, named)| named == name)
            })
        }
        _ => false,
    })
}

/// What a message without words says.
fn wordless(message: &Posted) -> String {
    if let Some(place) = &message.location {
        return format!("📍 {:.6}, {:.6}", place.latitude, place.longitude);
    }
    message.sticker.as_ref().and_then(|sticker| sticker.emoji.clone()).unwrap_or_default()
}

fn quoted(message: &Posted) -> Option<Earlier> {
    let text = message.text.clone().or_else(|| message.caption.clone())?;
    let sender = message.from.as_ref().map(full_name).unwrap_or_default();
    Some(Earlier { sender, text, at: message.date * 1000 })
}

fn attachments(message: &Posted) -> Vec<Attachment> {
    // The largest of the sizes that the service made comes last.
    let photo = message.photo.last().map(|file| (file, "image/jpeg"));
    let others = [
        (&message.document, "application/octet-stream"),
        (&message.audio, "audio/mpeg"),
        (&message.voice, "audio/ogg"),
        (&message.video, "video/mp4"),
        (&message.video_note, "video/mp4"),
    ];
    let others = others.into_iter().filter_map(|(file, kind)| Some((file.as_ref()?, kind)));
    // Moving ones are no pictures that a model could see.
    let sticker = message.sticker.as_ref().filter(|it| !it.is_animated && !it.is_video);
    let sticker = sticker.map(|sticker| (&sticker.file, "image/webp"));
    let attachment = |(file, kind): (&Media, &str)| Attachment {
        reference: file.file_id.clone(),
        mime_type: file.mime_type.clone().unwrap_or_else(|| kind.to_owned()),
        name: file.file_name.clone().unwrap_or_default(),
        bytes: file.file_size,
    };
    photo.into_iter().chain(others).chain(sticker).map(attachment).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(message: Value) -> Option<Inbound> {
        let bot = User { id: 123_456, username: Some("claw_bot".into()), ..User::default() };
        let mut update = json!({"update_id": 1});
        update["message"] = message;
        super::message("default", &bot, &serde_json::from_value(update).unwrap())
    }

    fn in_group(text: &str, more: Value) -> Value {
        let mut message = json!({"message_id": 8, "date": 5, "text": text,
            "from": {"id": 777, "first_name": "Al", "last_name": "B", "username": "AlB"},
            "chat": {"id": -100_123, "type": "supergroup", "title": "Grp"}});
        let Value::Object(more) = more else { panic!("more fields") };
        message.as_object_mut().unwrap().extend(more);
        message
    }

    #[test]
    fn a_direct_message_is_meant_for_the_bot() {
        let message = json!({"message_id": 5, "date": 5, "text": "hi",
            "from": {"id": 777, "first_name": "Al"}, "chat": {"id": 777, "type": "private"}});
        let read = read(message).unwrap();
        assert!(read.mentioned);
        assert_eq!((read.chat.kind, read.chat.to.as_str()), (ChatKind::Direct, "telegram:777"));
        assert_eq!((read.author.id.as_str(), read.at), ("777", 5000));
    }

    #[test]
    fn a_mention_is_counted_in_utf16_units() {
        let entity = json!({"entities": [{"type": "mention", "offset": 3, "length": 9}]});
        assert!(read(in_group("😀 @Claw_Bot hi", entity.clone())).unwrap().mentioned);
        assert!(!read(in_group("😀 @ClawXBot hi", entity)).unwrap().mentioned);
        let reply = json!({"reply_to_message": {"message_id": 1, "text": "was",
            "from": {"id": 123_456, "first_name": "Claw"}}});
        let read = read(in_group("hi", reply)).unwrap();
        assert!(read.mentioned);
        assert_eq!(read.quoted.unwrap().text, "was");
        assert_eq!(read.author.aliases, ["alb", "@alb"]);
    }

    #[test]
    fn topics_and_commands_are_recognised() {
        let topic = json!({"message_thread_id": 7, "is_topic_message": true,
            "entities": [{"type": "bot_command", "offset": 0, "length": 16}]});
        let message = read(in_group("/status@claw_bot", topic)).unwrap();
        assert_eq!(message.chat.thread.as_deref(), Some("7"));
        assert_eq!(message.text, "/status");
        assert!(message.mentioned);
        let mut forum = in_group("hi", json!({}));
        forum["chat"]["is_forum"] = json!(true);
        assert_eq!(read(forum).unwrap().chat.thread.as_deref(), Some("1"));
    }

    #[test]
    fn bots_and_silent_updates_are_not_heard() {
        let mut message = in_group("hi", json!({}));
        message["from"]["is_bot"] = json!(true);
        assert!(read(message).is_none());
        let joined = json!({"message_id": 1, "date": 1, "from": {"id": 1, "first_name": "x"},
            "chat": {"id": 1, "type": "group"}, "new_chat_members": []});
        assert!(read(joined).is_none());
        let photo = json!({"message_id": 1, "date": 1, "from": {"id": 1, "first_name": "x"},
            "chat": {"id": 1, "type": "private"}, "caption": "look",
            "photo": [{"file_id": "small"}, {"file_id": "large", "file_size": 9}]});
        let photo = read(photo).unwrap();
        assert_eq!(photo.text, "look");
        assert_eq!(photo.attachments[0].reference, "large");
    }

    #[test]
    fn a_sticker_a_round_video_and_a_place_say_something() {
        let said = |more: Value| {
            let mut message = in_group("", more);
            message.as_object_mut().unwrap().shift_remove("text");
            read(message).unwrap()
        };
        let sticker =
            said(json!({"sticker": {"file_id": "s", "emoji": "😀", "is_animated": false}}));
        assert_eq!(
            (sticker.text.as_str(), &*sticker.attachments[0].mime_type),
            ("😀", "image/webp")
        );
        let moving = said(json!({"sticker": {"file_id": "s", "emoji": "😀", "is_video": true}}));
        assert!(moving.attachments.is_empty());
        let round = said(json!({"video_note": {"file_id": "v", "file_size": 5}}));
        assert_eq!((&*round.attachments[0].reference, round.attachments[0].bytes), ("v", 5));
        let place = said(json!({"location": {"latitude": 48.2, "longitude": 16.37}}));
        assert_eq!(place.text, "📍 48.200000, 16.370000");
    }
}
