//! How updates come in: by long polling, or by a webhook on a port of its own.
//!
//! An update is told to be read only when its message is on disk: by the offset
//! of the next poll, or by the webhook's answer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::time::sleep;

use crate::channels::channel::Fault;
use crate::channels::link::{Accepted, Link};
use crate::channels::telegram::api::{Api, ApiError, Update, User};
use crate::channels::telegram::inbound;
use crate::channels::telegram::offset::Offset;
use crate::channels::telegram::settings::{Settings, Webhook};
use crate::lifecycle::{self, CancellationToken};

/// How long the service may hold a poll.
const POLL_SECONDS: u64 = 30;
/// Beyond that the connection is dead.
const POLL_LIMIT: Duration = Duration::from_secs(POLL_SECONDS + 15);
/// Pause after another poller was found at work.
const CONFLICT: Duration = Duration::from_secs(10);
/// Largest update that a webhook takes.
const MOST_UPDATE: usize = 1024 * 1024;
/// Updates that a webhook remembers.
const MOST_TAKEN: usize = 1000;
/// What we want to hear of.
const ALLOWED: &[&str] = &["message"];

/// The reading side of an account.
pub(super) struct Reader {
    pub(super) api: Api,
    pub(super) settings: Settings,
    pub(super) bot: User,
    pub(super) link: Link,
    pub(super) offset: Offset,
}

/// What a call's failure means for the connection.
pub(super) fn fault(err: ApiError, path: &str) -> Fault {
    match err {
        ApiError::Said { code: code @ (401 | 403 | 404), description, .. } => {
            Fault::Refused(format!("Telegram says {code} {description}; check {path}"))
        }
        other => Fault::Lost(format!("Telegram: {other}")),
    }
}

impl Reader {
    /// Keeps what was said and notes how far the updates were read.
    async fn take(&self, updates: Vec<Update>) -> Result<Accepted, Fault> {
        let kept = |err: std::io::Error| Fault::Lost(format!("an update could not be kept: {err}"));
        let account = &self.settings.account;
        let last = updates.iter().map(|update| update.update_id).max();
        let messages = updates.iter().filter_map(|it| inbound::message(account, &self.bot, it));
        let accepted = self.link.accept(messages.collect()).await.map_err(kept)?;
        if let Some(last) = last {
            let offset = self.offset.clone();
            let write = move || offset.write(offset.read().map_or(last, |known| known.max(last)));
            let written = lifecycle::spawn_blocking(write).await;
            written.unwrap_or_else(|err| Err(std::io::Error::other(err))).map_err(kept)?;
        }
        Ok(accepted)
    }

    /// Polls until something is wrong.
    pub(super) async fn poll(&self, stop: &CancellationToken) -> Result<(), Fault> {
        let offset = self.offset.clone();
        let mut next = lifecycle::spawn_blocking(move || offset.read()).await.unwrap_or(None);
        loop {
            let params = json!({
                "timeout": POLL_SECONDS, "allowed_updates": ALLOWED, "limit": 100,
                "offset": next.map_or(0, |last| last + 1),
            });
            let polled = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                polled = self.api.call_within::<Vec<Value>>("getUpdates", &params, POLL_LIMIT) => polled,
            };
            let updates = match polled {
                Ok(updates) => updates,
                Err(ApiError::Said { code: 409, description, .. }) => {
                    let account = &self.settings.account;
                    tracing::warn!(
                        target: "channels",
                        "[telegram] [{account}] {description}; another program polls with this token"
                    );
                    tokio::select! {
                        () = stop.cancelled() => return Ok(()),
                        () = sleep(CONFLICT) => continue,
                    }
                }
                Err(ApiError::Said { code: 429, retry_after: Some(pause), .. }) => {
                    tokio::select! {
                        () = stop.cancelled() => return Ok(()),
                        () = sleep(pause) => continue,
                    }
                }
                Err(err) => return Err(fault(err, &self.settings.path)),
            };
            self.link.status.heard();
            // One update that we cannot read must not stop the others.
            let last = updates.iter().filter_map(|update| update["update_id"].as_i64()).max();
            let readable =
                updates.into_iter().filter_map(|update| serde_json::from_value(update).ok());
            let accepted = self.take(readable.collect()).await?;
            next = last.or(next);
            accepted.release().await;
        }
    }

    /// Serves the webhook until `stop`.
    pub(super) async fn serve(self, hook: Webhook, stop: &CancellationToken) -> Result<(), Fault> {
        let listener = TcpListener::bind((hook.host.as_str(), hook.port)).await.map_err(|err| {
            let (host, port) = (&hook.host, hook.port);
            Fault::Refused(format!("the webhook cannot listen on {host}:{port}: {err}; check channels.telegram.webhookPort"))
        })?;
        let params = json!({
            "url": hook.url, "secret_token": hook.secret.expose(), "allowed_updates": ALLOWED,
            // One after the other, or messages of a chat could change places.
            "max_connections": 1,
        });
        let set: Result<Value, ApiError> = self.api.call("setWebhook", &params).await;
        set.map_err(|err| fault(err, "channels.telegram.webhookUrl"))?;
        self.link.status.connected();
        let secret = hook.secret.clone();
        let status = self.link.status.clone();
        let offset = self.offset.clone();
        let before = lifecycle::spawn_blocking(move || offset.read()).await.unwrap_or(None);
        let taken = Taken { before, ids: VecDeque::new() };
        let shared = Arc::new(Hook { reader: Mutex::new((self, taken)), secret, status });
        let router = Router::new()
            .route(&hook.path, post(receive))
            .layer(DefaultBodyLimit::max(MOST_UPDATE))
            .with_state(shared);
        let stopped = stop.clone().cancelled_owned();
        let served = axum::serve(listener, router).with_graceful_shutdown(stopped).await;
        served.map_err(|err| Fault::Lost(format!("the webhook's listener failed: {err}")))
    }
}

struct Hook {
    /// Updates are taken one after the other.
    reader: Mutex<(Reader, Taken)>,
    secret: crate::base::secret::Secret,
    status: crate::channels::status::Status,
}

/// Which updates were taken. One that we could not take comes again after
/// later ones of other chats, so that their numbers alone say nothing.
struct Taken {
    /// The last one of an earlier process or way of receiving.
    before: Option<i64>,
    ids: VecDeque<i64>,
}

impl Taken {
    fn has(&self, id: i64) -> bool {
        self.before.is_some_and(|last| id <= last) || self.ids.contains(&id)
    }

    fn add(&mut self, id: i64) {
        if self.ids.len() == MOST_TAKEN {
            self.ids.pop_front();
        }
        self.ids.push_back(id);
    }
}

async fn receive(State(hook): State<Arc<Hook>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let shown = headers.get("x-telegram-bot-api-secret-token").and_then(|it| it.to_str().ok());
    if !hook.secret.matches(shown.unwrap_or_default()) {
        return StatusCode::UNAUTHORIZED;
    }
    hook.status.heard();
    let Ok(update) = serde_json::from_slice::<Update>(&body) else {
        // Repeating it would not make it readable.
        return StatusCode::OK;
    };
    let mut guard = hook.reader.lock().await;
    let (reader, taken) = &mut *guard;
    let id = update.update_id;
    if taken.has(id) {
        return StatusCode::OK;
    }
    match reader.take(vec![update]).await {
        Ok(accepted) => {
            taken.add(id);
            accepted.release().await;
            StatusCode::OK
        }
        Err(err) => {
            tracing::warn!(target: "channels", "[telegram] {err}");
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_that_comes_late_is_new_and_one_that_comes_twice_is_not() {
        let mut taken = Taken { before: Some(10), ids: VecDeque::new() };
        assert!(taken.has(9) && taken.has(10) && !taken.has(12));
        taken.add(12);
        assert!(taken.has(12) && !taken.has(11));
        (13..13 + 1000).for_each(|id| taken.add(id));
        assert_eq!((taken.ids.len(), taken.has(13)), (MOST_TAKEN, true));
    }
}
