//! What a bot can do with messages beyond sending them.

use serde_json::{Value, json};

use crate::channels::action::{Action, ActionError, Reaction};
use crate::channels::markdown::{self, Flavour};
use crate::channels::telegram::api::{ApiError, Posted};
use crate::channels::telegram::{Telegram, place};

/// Seconds that a poll may be open.
const POLL_SECONDS: std::ops::RangeInclusive<i64> = 5..=600;

impl From<ApiError> for ActionError {
    fn from(err: ApiError) -> Self {
        Self::failed(err)
    }
}

impl Telegram {
    pub(super) async fn do_action(&self, action: Action<'_>) -> Result<Value, ActionError> {
        let (gate, usual) = match action.name {
            "react" => ("reactions", true),
            "edit" => ("editMessage", true),
            "delete" => ("deleteMessage", true),
            "poll" => ("poll", true),
            "sticker" => ("sticker", false),
            "topic-create" => ("createForumTopic", true),
            "topic-edit" => ("editForumTopic", true),
            _ => return Err(ActionError::Unsupported),
        };
        self.settings.gates.check("telegram", gate, usual)?;
        let thread = action.text("threadId");
        let mut params = place(action.to, thread.as_deref());
        match action.name {
            "react" => self.react(action, params).await,
            "edit" => self.edit(action, params).await,
            "delete" => {
                params["message_id"] = message_id(action)?.into();
                self.api.call::<Value>("deleteMessage", &params).await?;
                Ok(json!({"ok": true, "deleted": true}))
            }
            "poll" => self.poll(action, params).await,
            "sticker" => {
                let sticker = action.text("fileId").or_else(|| action.texts("stickerId").pop());
                let sticker = sticker.ok_or_else(|| ActionError::failed("fileId is required."))?;
                params["sticker"] = sticker.into();
                Ok(posted(&self.api.call("sendSticker", &params).await?))
            }
            "topic-create" => {
                let name = action.required("name")?;
                params["name"] = name.as_str().into();
                let topic: Value = self.api.call("createForumTopic", &params).await?;
                Ok(json!({"ok": true, "topicId": topic["message_thread_id"],
                    "name": topic["name"].as_str().unwrap_or(&name), "chatId": chat(&params)}))
            }
            _ => {
                if thread.is_none() {
                    return Err(ActionError::failed("messageThreadId or threadId is required."));
                }
                params["name"] = action.required("name")?.into();
                self.api.call::<Value>("editForumTopic", &params).await?;
                Ok(json!({"ok": true, "chatId": chat(&params),
                    "messageThreadId": params["message_thread_id"], "name": params["name"]}))
            }
        }
    }

    async fn react(&self, action: Action<'_>, mut params: Value) -> Result<Value, ActionError> {
        params["message_id"] = message_id(action)?.into();
        let reaction = action.reaction()?;
        params["reaction"] = match &reaction {
            Reaction::Add(emoji) => json!([{"type": "emoji", "emoji": emoji}]),
            // A bot has one reaction at most.
            Reaction::Remove(_) => json!([]),
        };
        let set = self.api.call::<Value>("setMessageReaction", &params).await;
        match (reaction, set) {
            (Reaction::Add(emoji), Ok(_)) => Ok(json!({"ok": true, "added": emoji})),
            (Reaction::Remove(_), Ok(_)) => Ok(json!({"ok": true, "removed": true})),
            (Reaction::Add(emoji), Err(ApiError::Said { description, .. }))
                if description.contains("REACTION_INVALID") =>
            {
                Err(ActionError::Failed(format!(
                    "Telegram does not offer {emoji} as a reaction ({description})"
                )))
            }
            (_, Err(err)) => Err(err.into()),
        }
    }

    async fn edit(&self, action: Action<'_>, mut params: Value) -> Result<Value, ActionError> {
        let id = message_id(action)?;
        let text = action.required("message")?;
        params["message_id"] = id.into();
        params["text"] = markdown::html(&text, Flavour::Telegram).into();
        params["parse_mode"] = "HTML".into();
        let done = |id: i64, params: &Value| json!({"ok": true, "messageId": id.to_string(), "chatId": chat(params)});
        match self.api.call::<Value>("editMessageText", &params).await {
            Ok(_) => Ok(done(id, &params)),
            Err(ApiError::Said { description, .. }) if description.contains("not modified") => {
                Ok(done(id, &params))
            }
            Err(err) => Err(err.into()),
        }
    }

    async fn poll(&self, action: Action<'_>, mut params: Value) -> Result<Value, ActionError> {
        let poll = action.poll()?;
        if action.number("pollDurationHours")?.is_some() {
            return Err(ActionError::failed(
                "pollDurationHours is not supported by Telegram; use pollDurationSeconds (5-600)",
            ));
        }
        if let Some(seconds) = action.number("pollDurationSeconds")? {
            if !POLL_SECONDS.contains(&seconds) {
                return Err(ActionError::failed("pollDurationSeconds must be between 5 and 600"));
            }
            params["open_period"] = seconds.into();
        }
        if action.flag("pollAnonymous") && action.flag("pollPublic") {
            return Err(ActionError::failed("pollAnonymous and pollPublic exclude each other"));
        }
        params["question"] = poll.question.into();
        params["options"] = poll.options.iter().map(|text| json!({"text": text})).collect();
        params["allows_multiple_answers"] = poll.several.into();
        params["is_anonymous"] = (!action.flag("pollPublic")).into();
        if action.flag("silent") {
            params["disable_notification"] = true.into();
        }
        let sent: Value = self.api.call("sendPoll", &params).await?;
        let message: Posted = serde_json::from_value(sent.clone()).map_err(ActionError::failed)?;
        let mut answer = posted(&message);
        answer["pollId"] = sent["poll"]["id"].clone();
        Ok(answer)
    }
}

fn message_id(action: Action<'_>) -> Result<i64, ActionError> {
    let id = action.number("messageId")?.filter(|id| *id > 0);
    id.ok_or_else(|| ActionError::failed("messageId required"))
}

fn chat(params: &Value) -> String {
    let chat = &params["chat_id"];
    chat.as_str().map_or_else(|| chat.to_string(), str::to_owned)
}

fn posted(message: &Posted) -> Value {
    json!({"ok": true, "messageId": message.message_id.to_string(),
        "chatId": message.chat.id.to_string()})
}
