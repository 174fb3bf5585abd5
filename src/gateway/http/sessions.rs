//! `/sessions/{key}/history` and `/sessions/{key}/kill`.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use hyper::header::ACCEPT;
use hyper::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::agents::AbortTarget;
use crate::agents::sessions::Sessions;
use crate::base::id::SessionKey;
use crate::gateway::State;
use crate::gateway::http::reply::{self, Answer};

/// Most messages of one page.
const MOST: usize = 1000;
/// Messages read when no limit is asked for.
const ALL: usize = 1_000_000;
/// How often a watched session is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A comment keeps proxies from closing a quiet stream.
const KEEPALIVE_LOOKS: u32 = 30;

/// What part of a history is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Page {
    limit: Option<usize>,
    /// Only messages with a smaller number.
    before: Option<u64>,
}

impl Page {
    fn parse(query: &str) -> Self {
        let mut page = Self::default();
        for pair in query.split('&') {
            match pair.split_once('=') {
                Some(("limit", value)) => {
                    let limit = value.parse().unwrap_or(1usize).clamp(1, MOST);
                    page.limit = Some(limit);
                }
                Some(("cursor", value)) => {
                    let value = value.trim_start_matches("seq:").trim_start_matches("seq%3A");
                    page.before = value.parse().ok();
                }
                _ => {}
            }
        }
        page
    }

    /// The page of `messages`, newest page first, and where the next begins.
    fn cut(self, mut messages: Vec<Value>) -> (Vec<Value>, Option<u64>) {
        if let Some(before) = self.before {
            messages.retain(|message| seq(message) < before);
        }
        let surplus = self.limit.map_or(0, |limit| messages.len().saturating_sub(limit));
        let rest = messages.split_off(surplus);
        let next = if surplus > 0 { rest.first().map(seq) } else { None };
        (rest, next)
    }
}

fn seq(message: &Value) -> u64 {
    message["__openclaw"]["seq"].as_u64().unwrap_or(0)
}

/// The history of a session whose reader has been checked.
pub async fn history(
    state: &State,
    key: &str,
    query: Option<&str>,
    headers: &HeaderMap,
) -> Result<Answer, Answer> {
    let sessions = state.agents.sessions();
    let key = existing(&sessions, key).await?;
    let page = Page::parse(query.unwrap_or_default());
    let wants_stream = headers
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|accept| accept.contains("text/event-stream"));
    let first = read(&sessions, &key, page).await?;
    if !wants_stream {
        return Ok(reply::json(StatusCode::OK, &first));
    }
    let watch = Watch::new(sessions, key, page, &first);
    let events = stream::unfold(watch, |mut watch| async move {
        let event = watch.next().await;
        Some((Ok::<Bytes, Infallible>(event), watch))
    });
    Ok(reply::event_stream(Body::from_stream(events)))
}

/// Stops the runs of a session.
pub async fn kill(state: &State, key: &str) -> Result<Answer, Answer> {
    let key = existing(&state.agents.sessions(), key).await?;
    let is_subagent = key.as_str().contains(":subagent:");
    let killed = is_subagent && !state.agents.abort(&AbortTarget::Session(key)).is_empty();
    Ok(reply::json(StatusCode::OK, &json!({"ok": true, "killed": killed})))
}

/// Refuses a requester that did not spawn the session.
pub async fn owned_by(state: &State, key: &str, requester: &str) -> Result<(), Answer> {
    let sessions = state.agents.sessions();
    let key = existing(&sessions, key).await?;
    let requester = sessions.canonical(requester);
    let spawner = match sessions.entry(&key).await {
        Ok(Some(entry)) => entry.text("spawnedBy").map(|spawner| sessions.canonical(spawner)),
        _ => None,
    };
    if spawner.as_ref() == Some(&requester) {
        return Ok(());
    }
    let message = "Session kills require a local admin request or requester session ownership.";
    Err(reply::gateway_error(StatusCode::FORBIDDEN, "forbidden", message))
}

async fn existing(sessions: &Sessions, typed: &str) -> Result<SessionKey, Answer> {
    let key = sessions.canonical(typed);
    match sessions.entry(&key).await {
        Ok(Some(_)) => Ok(key),
        Ok(None) => {
            let message = format!("Session not found: {typed}");
            Err(reply::gateway_error(StatusCode::NOT_FOUND, "not_found", &message))
        }
        Err(err) => {
            tracing::warn!(error = %err, "session history not read");
            Err(reply::internal_error())
        }
    }
}

async fn read(sessions: &Sessions, key: &SessionKey, page: Page) -> Result<Value, Answer> {
    let stored = sessions.get(key.as_str(), ALL).await.map_err(|err| {
        tracing::warn!(error = %err, "session history not read");
        reply::internal_error()
    })?;
    let messages = stored["messages"].as_array().cloned().unwrap_or_default();
    let (messages, next) = page.cut(messages);
    let mut body = json!({"sessionKey": key, "items": messages, "messages": messages,
        "hasMore": next.is_some()});
    if let Some(next) = next {
        body["nextCursor"] = json!(next.to_string());
    }
    Ok(body)
}

/// A reader that stays.
struct Watch {
    sessions: Sessions,
    key: SessionKey,
    page: Page,
    ready: VecDeque<String>,
    last_seq: u64,
    seen: Option<Arc<str>>,
}

impl Watch {
    fn new(sessions: Sessions, key: SessionKey, page: Page, first: &Value) -> Self {
        let ready = VecDeque::from([format!("retry: 1000\n\nevent: history\ndata: {first}\n\n")]);
        let last_seq = newest(first);
        Self { sessions, key, page, ready, last_seq, seen: None }
    }

    async fn next(&mut self) -> Bytes {
        let mut looks = 0;
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Bytes::from(event);
            }
            tokio::time::sleep(LOOK_EVERY).await;
            looks += 1;
            if looks == KEEPALIVE_LOOKS {
                return Bytes::from_static(b": keepalive\n\n");
            }
            self.look().await;
        }
    }

    /// Queues what has been added; cheap while nothing changes.
    async fn look(&mut self) {
        let Ok(Some(entry)) = self.sessions.entry(&self.key).await else {
            return;
        };
        let mark: Arc<str> = Arc::from(format!("{}@{}", entry.session_id(), entry.updated_at()));
        if self.seen.as_ref() == Some(&mark) {
            return;
        }
        self.seen = Some(mark);
        let Ok(body) = read(&self.sessions, &self.key, self.page).await else {
            return;
        };
        let newest = newest(&body);
        if newest == self.last_seq {
            return;
        }
        let reset = newest < self.last_seq;
        if reset || self.page != Page::default() {
            self.ready.push_back(format!("event: history\ndata: {body}\n\n"));
        } else {
            let messages = body["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
            for message in messages.iter().filter(|message| seq(message) > self.last_seq) {
                let event = json!({"sessionKey": self.key, "message": message,
                    "messageId": message["__openclaw"]["id"], "messageSeq": seq(message)});
                self.ready.push_back(format!("event: message\ndata: {event}\n\n"));
            }
        }
        self.last_seq = newest;
    }
}

fn newest(body: &Value) -> u64 {
    body["messages"].as_array().and_then(|all| all.last()).map_or(0, seq)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(count: u64) -> Vec<Value> {
        (1..=count).map(|seq| json!({"__openclaw": {"seq": seq}})).collect()
    }

    #[test]
    fn pages_go_back_from_the_newest_message() {
        let seqs = |query: &str| {
            let (page, next) = Page::parse(query).cut(messages(3));
            (page.iter().map(seq).collect::<Vec<_>>(), next)
        };
        assert_eq!(seqs(""), (vec![1, 2, 3], None));
        assert_eq!(seqs("limit=2"), (vec![2, 3], Some(2)));
        assert_eq!(seqs("limit=2&cursor=2"), (vec![1], None));
        assert_eq!(seqs("limit=1&cursor=seq:3"), (vec![2], Some(2)));
        assert_eq!(seqs("limit=0"), (vec![3], Some(3)));
        assert_eq!(seqs("limit=bogus"), (vec![3], Some(3)));
    }
}
