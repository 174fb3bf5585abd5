//! Telegram: a bot over the Bot API, by long polling or webhook.

mod actions;
mod api;
mod inbound;
mod offset;
mod receive;
mod settings;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, timeout};

use crate::channels::action::{Action, ActionError};
use crate::channels::channel::{
    Account, AccountSpec, Capabilities, Fault, Kind, Place, Resolved, SendError,
};
use crate::channels::link::Link;
use crate::channels::markdown::{self, Flavour};
use crate::channels::message::{Attachment, Body, Piece, Sent};
use crate::channels::policy::{self, GroupRules};
use crate::channels::telegram::api::{Api, ApiError, ChatInfo, Posted, User};
use crate::channels::telegram::offset::Offset;
use crate::channels::telegram::receive::{Reader, fault};
use crate::channels::telegram::settings::Settings;
use crate::lifecycle::CancellationToken;

/// Signs of life are worth this much waiting.
const COURTESY: Duration = Duration::from_secs(5);
/// Commands that the app offers while one types.
const COMMANDS: &[(&str, &str)] = &[
    ("help", "What can be typed"),
    ("status", "Model, context and session"),
    ("whoami", "Who you are to this bot"),
    ("new", "Start a new conversation"),
    ("reset", "Start this conversation over"),
    ("stop", "End what is running"),
    ("compact", "Shorten the conversation"),
    ("model", "Show or choose the model"),
    ("models", "List models"),
    ("think", "How long the model thinks"),
    ("verbose", "How much is reported"),
    ("queue", "What happens while the bot is busy"),
    ("usage", "Show what answers cost"),
];

pub(super) const KIND: Kind = Kind {
    id: "telegram",
    label: "Telegram",
    detail_label: "Telegram Bot",
    system_image: Some("paperplane"),
    capabilities: Capabilities {
        chat_types: &["direct", "group", "thread"],
        features: &["media", "reactions", "threads", "typing", "nativeCommands"],
    },
    text_limit: 4000,
    most_text: 4096,
    line_bytes: None,
    groups: GroupRules { senders_key: "allowFrom", senders_optional: false, falls_back: true },
    id_label: "Your Telegram user id",
    idempotent: false,
    env_credential: Some("TELEGRAM_BOT_TOKEN"),
    has_credentials: |section| {
        let set = |key: &str| section[key].as_str().is_some_and(|text| !text.trim().is_empty());
        set("botToken") || set("tokenFile")
    },
    open: |spec| Ok(Arc::new(Telegram::open(spec)?)),
};

/// An account.
#[derive(Debug)]
struct Telegram {
    api: Api,
    settings: Settings,
    state: PathBuf,
}

impl Telegram {
    fn open(spec: &AccountSpec) -> Result<Self, String> {
        let settings = Settings::read(spec)?;
        let api = Api::new(&settings.root, settings.token.clone());
        Ok(Self { api, settings, state: spec.paths.state.clone() })
    }

    /// Tells the app which commands there are, when that changed.
    async fn offer_commands(&self) {
        let commands: Vec<Value> = COMMANDS
            .iter()
            .map(|(command, about)| json!({"command": command, "description": about}))
            .collect();
        let set: Result<Value, ApiError> =
            self.api.call("setMyCommands", &json!({"commands": commands})).await;
        if let Err(err) = set {
            let account = &self.settings.account;
            tracing::warn!(target: "channels", "[telegram] [{account}] commands not offered: {err}");
        }
    }

    async fn receive(&self, link: Link, stop: CancellationToken) -> Result<(), Fault> {
        let path = &self.settings.path;
        let account = &self.settings.account;
        let bot: User = self.api.call("getMe", &json!({})).await.map_err(|err| fault(err, path))?;
        let name = bot.username.clone().unwrap_or_default();
        tracing::info!(target: "channels", "[telegram] [{account}] starting provider (@{name})");
        self.offer_commands().await;
        let offset = Offset::new(&self.state, account, self.api.bot_id());
        let (api, settings) = (self.api.clone(), self.settings.clone());
        let reader = Reader { api, settings, bot, link, offset };
        if let Some(hook) = self.settings.webhook.clone() {
            return reader.serve(hook, &stop).await;
        }
        let keep = json!({"drop_pending_updates": false});
        let unhook: Result<Value, ApiError> = self.api.call("deleteWebhook", &keep).await;
        unhook.map_err(|err| fault(err, path))?;
        reader.link.status.connected();
        reader.poll(&stop).await
    }

    async fn send_text(&self, piece: &Piece, text: &str) -> Result<Posted, ApiError> {
        let mut params = place(&piece.to, piece.thread.as_deref());
        add_options(&mut params, piece);
        params["text"] = markdown::html(text, Flavour::Telegram).into();
        params["parse_mode"] = "HTML".into();
        if !self.settings.link_preview {
            params["link_preview_options"] = json!({"is_disabled": true});
        }
        match self.api.call("sendMessage", &params).await {
            Err(ApiError::Said { code: 400, description, .. })
                if description.contains("parse entities")
                    || description.contains("text is empty") =>
            {
                // Better plain than not at all.
                params["text"] = text.into();
                if let Some(fields) = params.as_object_mut() {
                    fields.shift_remove("parse_mode");
                }
                self.api.call("sendMessage", &params).await
            }
            other => other,
        }
    }

    async fn send_file(
        &self,
        piece: &Piece,
        source: &str,
        caption: &str,
    ) -> Result<Posted, SendError> {
        let mut params = place(&piece.to, piece.thread.as_deref());
        add_options(&mut params, piece);
        // The service takes a thousand characters below a file.
        let short: String = caption.chars().take(1000).collect();
        if !short.is_empty() {
            params["caption"] = markdown::html(&short, Flavour::Telegram).into();
            params["parse_mode"] = "HTML".into();
        }
        let (method, field) = kind_of(source);
        if source.starts_with("https://") || source.starts_with("http://") {
            params[field] = source.into();
            return self.api.call(method, &params).await.map_err(SendError::from);
        }
        let path = Path::new(source.strip_prefix("file://").unwrap_or(source));
        let bytes = tokio::fs::read(path)
            .await
            .map_err(|err| SendError::Refused(format!("{}: {err}", path.display())))?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_else(|| "file".to_owned());
        self.api.upload(method, field, name, bytes, &params).await.map_err(SendError::from)
    }
}

/// The method for a kind of file, and the field that carries it.
fn kind_of(source: &str) -> (&'static str, &'static str) {
    let end = source.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    match end.as_str() {
        "jpg" | "jpeg" | "png" | "webp" => ("sendPhoto", "photo"),
        "mp4" | "mov" => ("sendVideo", "video"),
        "ogg" | "oga" | "opus" => ("sendVoice", "voice"),
        "mp3" | "m4a" => ("sendAudio", "audio"),
        "gif" => ("sendAnimation", "animation"),
        _ => ("sendDocument", "document"),
    }
}

/// The fields that name a chat and its topic.
fn place(to: &str, thread: Option<&str>) -> Value {
    let chat = policy::bare("telegram", to);
    let chat = chat.strip_prefix("group:").unwrap_or(chat);
    // `chat:topic:id` is how people write a topic on one line.
    let (chat, topic) = chat.split_once(":topic:").map_or((chat, None), |(c, t)| (c, Some(t)));
    let id = chat.parse::<i64>().map_or_else(|_| Value::from(chat), Value::from);
    let mut params = json!({"chat_id": id});
    let thread = thread.or(topic).and_then(|thread| thread.parse::<i64>().ok());
    // The general topic is named nowhere.
    if let Some(thread) = thread.filter(|thread| *thread != 1) {
        params["message_thread_id"] = thread.into();
    }
    params
}

fn add_options(params: &mut Value, piece: &Piece) {
    if let Some(id) = piece.reply_to.as_ref().and_then(|id| id.parse::<i64>().ok()) {
        params["reply_parameters"] = json!({"message_id": id, "allow_sending_without_reply": true});
    }
    if piece.silent {
        params["disable_notification"] = true.into();
    }
}

impl Account for Telegram {
    fn run(
        self: Arc<Self>,
        link: Link,
        stop: CancellationToken,
    ) -> BoxFuture<'static, Result<(), Fault>> {
        Box::pin(async move { self.receive(link, stop).await })
    }

    fn send<'a>(&'a self, piece: &'a Piece) -> BoxFuture<'a, Result<Sent, SendError>> {
        Box::pin(async move {
            let message = match &piece.body {
                Body::Text(text) => self.send_text(piece, text).await?,
                Body::File { source, caption } => self.send_file(piece, source, caption).await?,
            };
            Ok(Sent {
                message_id: Some(message.message_id.to_string()),
                chat_id: Some(message.chat.id.to_string()),
            })
        })
    }

    fn probe(&self, _limit: Duration) -> BoxFuture<'_, Value> {
        Box::pin(async move {
            let began = Instant::now();
            let nothing = json!({});
            let (me, hook) = tokio::join!(
                self.api.call::<Value>("getMe", &nothing),
                self.api.call::<Value>("getWebhookInfo", &nothing)
            );
            let elapsed = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            let me = match me {
                Ok(me) => me,
                Err(err) => {
                    let status = match &err {
                        ApiError::Said { code, .. } => Some(*code),
                        ApiError::Network { .. } => None,
                    };
                    let text = match fault(err, &self.settings.path) {
                        Fault::Lost(text) | Fault::Refused(text) => text,
                    };
                    return json!({
                        "ok": false, "status": status, "error": text, "elapsedMs": elapsed,
                    });
                }
            };
            let hook = hook.unwrap_or_default();
            json!({
                "ok": true, "status": null, "error": null, "elapsedMs": elapsed,
                "bot": {
                    "id": me["id"], "username": me["username"],
                    "canJoinGroups": me["can_join_groups"],
                    "canReadAllGroupMessages": me["can_read_all_group_messages"],
                    "supportsInlineQueries": me["supports_inline_queries"],
                },
                "webhook": {
                    "url": hook["url"], "hasCustomCert": hook["has_custom_certificate"],
                },
            })
        })
    }

    fn facts(&self) -> Map<String, Value> {
        let mode = if self.settings.webhook.is_some() { "webhook" } else { "polling" };
        let facts = json!({
            "tokenSource": self.settings.token_source, "tokenStatus": "available", "mode": mode,
        });
        facts.as_object().cloned().unwrap_or_default()
    }

    fn act<'a>(&'a self, action: Action<'a>) -> BoxFuture<'a, Result<Value, ActionError>> {
        Box::pin(self.do_action(action))
    }

    fn typing<'a>(&'a self, at: Place<'a>) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let mut params = place(at.to, at.thread);
            params["action"] = "typing".into();
            let sent = timeout(COURTESY, self.api.call::<Value>("sendChatAction", &params)).await;
            tracing::trace!(ok = matches!(sent, Ok(Ok(_))), "typing");
        })
    }

    fn acknowledge<'a>(
        &'a self,
        at: Place<'a>,
        message_id: &'a str,
        emoji: Option<&'a str>,
    ) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let (Some(emoji), Ok(id)) = (emoji, message_id.parse::<i64>()) else { return };
            let mut params = place(at.to, None);
            params["message_id"] = id.into();
            params["reaction"] = json!([{"type": "emoji", "emoji": emoji}]);
            let set =
                timeout(COURTESY, self.api.call::<Value>("setMessageReaction", &params)).await;
            tracing::trace!(ok = matches!(set, Ok(Ok(_))), "reaction");
        })
    }

    fn fetch<'a>(&'a self, attachment: &'a Attachment) -> BoxFuture<'a, Result<Vec<u8>, String>> {
        Box::pin(self.api.download(&attachment.reference))
    }

    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Resolved>, String>> {
        Box::pin(async move {
            let params = place(name, None);
            match self.api.call::<ChatInfo>("getChat", &params).await {
                Ok(chat) => Ok(Some(Resolved {
                    id: chat.id.to_string(),
                    name: chat.title.or(chat.username),
                })),
                Err(ApiError::Said { code: 400, .. }) => Ok(None),
                Err(err) => Err(err.to_string()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_chat_and_maybe_a_topic() {
        assert_eq!(
            place("telegram:-100", Some("7")),
            json!({"chat_id": -100, "message_thread_id": 7})
        );
        assert_eq!(place("tg:777", Some("1")), json!({"chat_id": 777}));
        assert_eq!(place("@channel", None), json!({"chat_id": "@channel"}));
        let topic = json!({"chat_id": -5, "message_thread_id": 9});
        assert_eq!(place("-5:topic:9", None), topic);
    }

    #[test]
    fn a_file_goes_the_way_of_its_kind() {
        assert_eq!(kind_of("/a/b.JPG").0, "sendPhoto");
        assert_eq!(kind_of("https://e.x/a.ogg").0, "sendVoice");
        assert_eq!(kind_of("notes").0, "sendDocument");
    }
}
