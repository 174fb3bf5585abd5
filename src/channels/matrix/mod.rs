//! Matrix: a user of a home server in unencrypted rooms.

mod actions;
mod api;
mod inbound;
mod settings;
mod store;
mod sync;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
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
use crate::channels::matrix::api::{Api, ApiError, part};
use crate::channels::matrix::settings::{Login, Settings};
use crate::channels::matrix::store::Store;
use crate::channels::matrix::sync::Reader;
use crate::channels::message::{Attachment, Body, Piece, Sent};
use crate::channels::policy::{self, GroupRules};
use crate::lifecycle::{self, CancellationToken};

const COURTESY: Duration = Duration::from_secs(5);
/// How long others see that an answer is being written.
const TYPING_MS: u64 = 6000;

pub(super) const KIND: Kind = Kind {
    id: "matrix",
    label: "Matrix",
    detail_label: "Matrix",
    system_image: None,
    capabilities: Capabilities {
        chat_types: &["direct", "group", "thread"],
        features: &["media", "reactions", "threads", "typing"],
    },
    text_limit: 4000,
    most_text: 16_000,
    line_bytes: None,
    groups: GroupRules { senders_key: "users", senders_optional: true, falls_back: false },
    id_label: "Your Matrix id",
    idempotent: true,
    env_credential: Some("MATRIX_HOMESERVER"),
    has_credentials: |section| {
        section["homeserver"].as_str().is_some_and(|text| !text.trim().is_empty())
    },
    open: |spec| Ok(Arc::new(Matrix::open(spec)?)),
};

/// An account.
#[derive(Debug)]
struct Matrix {
    settings: Settings,
    store: Store,
    /// Who we are, once we are signed in.
    signed_in: Mutex<Option<SignedIn>>,
}

#[derive(Debug, Clone)]
struct SignedIn {
    api: Api,
    user: String,
}

impl Matrix {
    fn open(spec: &AccountSpec) -> Result<Self, String> {
        let store = Store::new(&spec.paths.state, &spec.id);
        Ok(Self { settings: Settings::read(spec)?, store, signed_in: Mutex::default() })
    }

    fn signed_in(&self) -> Option<SignedIn> {
        self.signed_in.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_signed_in(&self, who: Option<SignedIn>) {
        *self.signed_in.lock().unwrap_or_else(PoisonError::into_inner) = who;
    }

    /// Signs in: with the token, the kept session, or the password.
    async fn sign_in(&self) -> Result<SignedIn, Fault> {
        let server = &self.settings.homeserver;
        match &self.settings.login {
            Login::Token(token) => {
                let api = Api::new(server, Some(token.clone()));
                let user = whoami(&api).await.map_err(|err| err.fault(&self.settings.path))?;
                Ok(SignedIn { api, user })
            }
            Login::Password { user, password } => {
                let (store, name, home) = (self.store.clone(), user.clone(), server.clone());
                let kept = lifecycle::spawn_blocking(move || store.session(&home, Some(&name)));
                if let Ok(Some(session)) = kept.await {
                    let api = Api::new(server, Some(session.token));
                    match whoami(&api).await {
                        Ok(_) => return Ok(SignedIn { api, user: session.user }),
                        Err(err) if err.is_signed_out() => {}
                        Err(err) => return Err(err.fault(&self.settings.path)),
                    }
                }
                let api = Api::new(server, None);
                let place = self.settings.path.replace("accessToken", "password");
                let login = api.log_in(user, password, &self.settings.device_name).await;
                let login = login.map_err(|err| err.fault(&place))?;
                let (store, home, kept) = (self.store.clone(), server.clone(), login.clone());
                let written =
                    lifecycle::spawn_blocking(move || store.keep_session(&home, &kept)).await;
                if !matches!(written, Ok(Ok(()))) {
                    tracing::warn!(target: "channels", "[matrix] the session could not be kept");
                }
                let token = login["access_token"].as_str().unwrap_or_default();
                Ok(SignedIn {
                    api: Api::new(server, Some(crate::base::secret::Secret::new(token))),
                    user: login["user_id"].as_str().unwrap_or_default().to_owned(),
                })
            }
        }
    }

    /// The room behind a target: an id, an alias, or a person.
    async fn room(&self, who: &SignedIn, to: &str) -> Result<String, SendError> {
        let target = policy::bare("matrix", to);
        let target = target.strip_prefix("room:").unwrap_or(target);
        match target.chars().next() {
            Some('!') => Ok(target.to_owned()),
            Some('#') => {
                let path = format!("client/v3/directory/room/{}", part(target));
                let found = who.api.get(&path).await?;
                let room = found["room_id"].as_str().map(str::to_owned);
                room.ok_or_else(|| SendError::Refused(format!("no room is called {target}")))
            }
            Some('@') => self.direct_room(who, target).await,
            _ => Err(SendError::Refused(format!(
                "`{to}` is no Matrix room (!…), alias (#…) or user (@…)"
            ))),
        }
    }

    /// The room shared with one person; made when there is none.
    async fn direct_room(&self, who: &SignedIn, user: &str) -> Result<String, SendError> {
        let path = format!("client/v3/user/{}/account_data/m.direct", part(&who.user));
        let mut known = match who.api.get(&path).await {
            Ok(known) => known,
            Err(ApiError::Said { status: 404, .. }) => json!({}),
            Err(err) => return Err(err.into()),
        };
        let rooms = known[user].as_array().cloned().unwrap_or_default();
        if !rooms.is_empty() {
            // One that we have left is of no use any more.
            let joined = who.api.get("client/v3/joined_rooms").await?;
            let joined = joined["joined_rooms"].as_array().cloned().unwrap_or_default();
            let room = rooms.iter().rev().find(|room| joined.contains(room));
            if let Some(room) = room.and_then(Value::as_str) {
                return Ok(room.to_owned());
            }
        }
        let request =
            json!({"preset": "trusted_private_chat", "is_direct": true, "invite": [user]});
        let made = who.api.post("client/v3/createRoom", &request).await?;
        let room = made["room_id"].as_str().unwrap_or_default().to_owned();
        known[user] = rooms.into_iter().chain([json!(room)]).collect();
        who.api.put(&path, &known).await?;
        Ok(room)
    }

    async fn content(&self, who: &SignedIn, piece: &Piece) -> Result<Value, SendError> {
        let mut content = match &piece.body {
            Body::Text(text) => json!({
                "msgtype": "m.text", "body": text, "format": "org.matrix.custom.html",
                "formatted_body": markdown::html(text, Flavour::Matrix),
            }),
            Body::File { source, caption }
                if source.contains("://") && !source.starts_with("file:") =>
            {
                let text = format!("{caption} {source}").trim().to_owned();
                json!({"msgtype": "m.text", "body": text})
            }
            Body::File { source, caption } => {
                let path = Path::new(source.strip_prefix("file://").unwrap_or(source));
                let bytes = tokio::fs::read(path)
                    .await
                    .map_err(|err| SendError::Refused(format!("{}: {err}", path.display())))?;
                let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
                let name = name.unwrap_or_else(|| "file".to_owned());
                let (kind, mime) = kind_of(&name);
                let size = bytes.len();
                let url = who.api.upload(&name, mime, bytes).await?;
                let body = if caption.is_empty() { &name } else { caption };
                json!({"msgtype": kind, "body": body, "filename": name, "url": url,
                    "info": {"mimetype": mime, "size": size}})
            }
        };
        content["m.mentions"] = json!({});
        match (&piece.thread, &piece.reply_to) {
            (Some(thread), reply) => {
                content["m.relates_to"] = json!({
                    "rel_type": "m.thread", "event_id": thread, "is_falling_back": true,
                    "m.in_reply_to": {"event_id": reply.as_ref().unwrap_or(thread)},
                });
            }
            (None, Some(reply)) => {
                content["m.relates_to"] = json!({"m.in_reply_to": {"event_id": reply}});
            }
            (None, None) => {}
        }
        Ok(content)
    }
}

async fn whoami(api: &Api) -> Result<String, ApiError> {
    let answer = api.get("client/v3/account/whoami").await?;
    Ok(answer["user_id"].as_str().unwrap_or_default().to_owned())
}

/// The message type and media type of a file name.
fn kind_of(name: &str) -> (&'static str, &'static str) {
    let end = name.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    match end.as_str() {
        "jpg" | "jpeg" => ("m.image", "image/jpeg"),
        "png" => ("m.image", "image/png"),
        "gif" => ("m.image", "image/gif"),
        "webp" => ("m.image", "image/webp"),
        "mp4" => ("m.video", "video/mp4"),
        "ogg" | "oga" | "opus" => ("m.audio", "audio/ogg"),
        "mp3" => ("m.audio", "audio/mpeg"),
        "pdf" => ("m.file", "application/pdf"),
        "txt" | "md" => ("m.file", "text/plain"),
        _ => ("m.file", "application/octet-stream"),
    }
}

impl Account for Matrix {
    fn run(
        self: Arc<Self>,
        link: Link,
        stop: CancellationToken,
    ) -> BoxFuture<'static, Result<(), Fault>> {
        Box::pin(async move {
            let who = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                who = self.sign_in() => who?,
            };
            let (account, user) = (&self.settings.account, &who.user);
            tracing::info!(target: "channels", "[matrix] [{account}] starting provider ({user})");
            self.set_signed_in(Some(who.clone()));
            let mut reader = Reader {
                api: &who.api,
                settings: &self.settings,
                user,
                link: &link,
                store: &self.store,
                rooms: HashMap::new(),
            };
            let result = reader.run(&stop).await;
            self.set_signed_in(None);
            result
        })
    }

    fn send<'a>(&'a self, piece: &'a Piece) -> BoxFuture<'a, Result<Sent, SendError>> {
        Box::pin(async move {
            let who =
                self.signed_in().ok_or_else(|| SendError::not_sent("Matrix is not connected"))?;
            let room = self.room(&who, &piece.to).await?;
            let content = self.content(&who, piece).await?;
            // The same transaction sent again is the same message.
            let path = format!(
                "client/v3/rooms/{}/send/m.room.message/{}",
                part(&room),
                part(&piece.token)
            );
            let answer = who.api.put(&path, &content).await?;
            let message_id = answer["event_id"].as_str().map(str::to_owned);
            Ok(Sent { message_id, chat_id: Some(room) })
        })
    }

    fn probe(&self, _limit: Duration) -> BoxFuture<'_, Value> {
        Box::pin(async move {
            let began = Instant::now();
            let result = match self.signed_in() {
                Some(who) => whoami(&who.api).await.map_err(|err| err.fault(&self.settings.path)),
                None => self.sign_in().await.map(|who| who.user),
            };
            let elapsed = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            match result {
                Ok(user) => json!({"ok": true, "userId": user, "elapsedMs": elapsed}),
                Err(fault) => {
                    json!({"ok": false, "error": fault.to_string(), "elapsedMs": elapsed})
                }
            }
        })
    }

    fn facts(&self) -> Map<String, Value> {
        let source = match &self.settings.login {
            Login::Token(_) => "accessToken",
            Login::Password { .. } => "password",
        };
        let mut facts = Map::new();
        facts.insert("baseUrl".into(), self.settings.homeserver.clone().into());
        facts.insert("tokenSource".into(), source.into());
        if let Some(who) = self.signed_in() {
            facts.insert("userId".into(), who.user.into());
        }
        facts
    }

    fn act<'a>(&'a self, action: Action<'a>) -> BoxFuture<'a, Result<Value, ActionError>> {
        Box::pin(self.do_action(action))
    }

    fn typing<'a>(&'a self, at: Place<'a>) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let Some(who) = self.signed_in() else { return };
            let Ok(room) = self.room(&who, at.to).await else { return };
            let path = format!("client/v3/rooms/{}/typing/{}", part(&room), part(&who.user));
            let body = json!({"typing": true, "timeout": TYPING_MS});
            let sent = timeout(COURTESY, who.api.put(&path, &body)).await;
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
            let Some(who) = self.signed_in() else { return };
            let Ok(room) = self.room(&who, at.to).await else { return };
            let (room, event) = (part(&room), part(message_id));
            let read = format!("client/v3/rooms/{room}/receipt/m.read/{event}");
            let nothing = json!({});
            let sent = timeout(COURTESY, who.api.post(&read, &nothing)).await;
            tracing::trace!(ok = matches!(sent, Ok(Ok(_))), "receipt");
            let Some(emoji) = emoji else { return };
            let path = format!("client/v3/rooms/{room}/send/m.reaction/ack-{event}");
            let relation = json!({"m.relates_to": {
                "rel_type": "m.annotation", "event_id": message_id, "key": emoji,
            }});
            let sent = timeout(COURTESY, who.api.put(&path, &relation)).await;
            tracing::trace!(ok = matches!(sent, Ok(Ok(_))), "reaction");
        })
    }

    fn fetch<'a>(&'a self, attachment: &'a Attachment) -> BoxFuture<'a, Result<Vec<u8>, String>> {
        Box::pin(async move {
            let who = self.signed_in().ok_or("Matrix is not connected")?;
            who.api.download(&attachment.reference).await
        })
    }

    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Resolved>, String>> {
        Box::pin(async move {
            if !name.starts_with('#') {
                return Ok(Some(Resolved { id: name.to_owned(), name: None }));
            }
            let who = self.sign_in().await.map_err(|fault| fault.to_string())?;
            let path = format!("client/v3/directory/room/{}", part(name));
            match who.api.get(&path).await {
                Ok(found) => Ok(found["room_id"]
                    .as_str()
                    .map(|id| Resolved { id: id.to_owned(), name: Some(name.to_owned()) })),
                Err(ApiError::Said { status: 404, .. }) => Ok(None),
                Err(err) => Err(err.to_string()),
            }
        })
    }

    fn log_out(&self) -> BoxFuture<'_, Option<Result<bool, String>>> {
        Box::pin(async move {
            if let (Some(who), Login::Password { .. }) = (self.signed_in(), &self.settings.login) {
                let nothing = json!({});
                let said = timeout(COURTESY, who.api.post("client/v3/logout", &nothing)).await;
                tracing::debug!(ok = matches!(said, Ok(Ok(_))), "matrix logout");
            }
            let store = self.store.clone();
            let gone = lifecycle::spawn_blocking(move || store.forget_session()).await;
            Some(match gone {
                Ok(gone) => gone.map_err(|err| err.to_string()),
                Err(err) => Err(err.to_string()),
            })
        })
    }
}
