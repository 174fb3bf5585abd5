//! The HTTP side of every provider: one lazily created client, retries of a
//! call that has not begun to answer, timeouts, and the pump that turns an
//! answer's bytes into parts.
//!
//! No client, no TLS state and no root certificate exists before the first
//! request; plain `http://` to this host never loads them.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use crate::agents::providers::classify;
use crate::agents::providers::lines::{Event, Framing, Splitter};
use crate::agents::providers::tagged::Tagged;
use crate::agents::providers::{ModelRef, Part, ProviderError};
use crate::agents::run::Usage;
use crate::base::backoff::Backoff;
use crate::base::secret::Secret;
use crate::base::{embedded, redact};
use crate::outbound;

/// Tries of one call in the HTTP layer: the first one and two more.
const ATTEMPTS: usize = 3;
/// The longest `retry-after` that is waited for; longer ones fail at once.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(30);
/// Most tokens that a call can have cost.
const MOST_TOKENS: u64 = 1_000_000_000;
/// Longest answer, in bytes; a model that goes on has lost itself.
const MAX_ANSWER: usize = 64 * 1024 * 1024;
/// Longest body of an error answer that is read.
const MAX_ERROR_BODY: usize = 64 * 1024;

/// How long the network may take.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// TCP and TLS.
    pub connect: Duration,
    /// From the request to the answer's first byte.
    pub first_byte: Duration,
    /// Silence between two pieces of an answer.
    pub idle: Duration,
    /// First pause before a retry; doubles.
    pub retry: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: outbound::CONNECT,
            // A reasoning model may think for minutes before it says a word.
            first_byte: Duration::from_secs(600),
            idle: Duration::from_secs(300),
            retry: Duration::from_millis(500),
        }
    }
}

/// Shared by all dialects.
#[derive(Clone, Default)]
pub struct Http(Arc<Shared>);

#[derive(Default)]
struct Shared {
    timeouts: Timeouts,
    /// For `http://` on this host: no proxy, no certificates.
    local: ArcSwapOption<reqwest::Client>,
    remote: ArcSwapOption<reqwest::Client>,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("timeouts", &self.0.timeouts).finish_non_exhaustive()
    }
}

/// Reads one dialect's events.
pub trait Dialect: Send + 'static {
    /// Takes one event; appends what it says.
    fn on_event(&mut self, event: &Event, out: &mut VecDeque<Part>) -> Result<(), ProviderError>;

    /// The stream has ended; appends the last part or says what was missing.
    fn finish(&mut self, out: &mut VecDeque<Part>) -> Result<(), ProviderError>;

    /// Whether the answer is complete, so that the rest need not be waited for.
    fn is_complete(&self) -> bool {
        false
    }
}

impl Http {
    pub fn with_timeouts(timeouts: Timeouts) -> Self {
        Self(Arc::new(Shared { timeouts, ..Shared::default() }))
    }

    /// The client for `url`, made when first asked for.
    pub fn client(&self, url: &str) -> Result<reqwest::Client, ProviderError> {
        let local = outbound::is_local(url);
        let slot = if local { &self.0.local } else { &self.0.remote };
        if let Some(client) = &*slot.load() {
            return Ok(reqwest::Client::clone(client));
        }
        let client =
            outbound::client(local, self.0.timeouts.connect).map_err(classify::transport)?;
        slot.store(Some(Arc::new(client.clone())));
        Ok(client)
    }

    /// Closes connections that wait for another request: their buffers hold the
    /// keys of the last one.
    pub fn forget_connections(&self) {
        self.0.local.store(None);
        self.0.remote.store(None);
    }

    /// Posts JSON and streams the parts of the answer.
    pub async fn stream(
        &self,
        url: &str,
        headers: HeaderMap,
        body: &Value,
        framing: Framing,
        dialect: impl Dialect,
    ) -> Result<BoxStream<'static, Result<Part, ProviderError>>, ProviderError> {
        let body = Bytes::from(body.to_string());
        let told = Told::of(url, &headers);
        let response = self.post(url, headers, body).await?;
        let framing = framing_of(&response, framing).map_err(|error| told.hide(error))?;
        Ok(pump(response, framing, dialect, self.0.timeouts.idle, told))
    }

    /// Posts JSON and returns the answer once its head is there and good.
    pub async fn post(
        &self,
        url: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<reqwest::Response, ProviderError> {
        let told = Told::of(url, &headers);
        let client = self.client(url)?;
        let mut pauses = Backoff::new(self.0.timeouts.retry, Duration::from_secs(8));
        let mut attempt = 1;
        loop {
            let sent = self.post_once(&client, url, headers.clone(), body.clone()).await;
            let error = match sent {
                Ok(response) => return Ok(response),
                Err(error) => told.hide(error),
            };
            let worth_it = match error.status {
                Some(status) => matches!(status, 408 | 409 | 429 | 500..=599),
                None => error.reason.is_retryable(),
            };
            let pause = match error.retry_after_ms.map(Duration::from_millis) {
                Some(asked) if asked > MAX_RETRY_AFTER => return Err(error),
                Some(asked) => asked,
                None => pauses.next().unwrap_or_default(),
            };
            if !worth_it || attempt == ATTEMPTS {
                return Err(error);
            }
            tracing::debug!(attempt, status = error.status, "model request is tried again");
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    async fn post_once(
        &self,
        client: &reqwest::Client,
        url: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<reqwest::Response, ProviderError> {
        let send = client.post(url).headers(headers).body(body).send();
        let response = tokio::time::timeout(self.0.timeouts.first_byte, send)
            .await
            .map_err(|_| classify::transport("the provider did not answer in time"))?
            .map_err(|err| {
                if err.is_builder() {
                    return classify::unusable(format!(
                        "the model's `baseUrl` is no address: {}",
                        outbound::explain(err)
                    ));
                }
                classify::transport(format!("Connection error: {}", outbound::explain(err)))
            })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let retry_after = retry_after_ms(response.headers());
        let text = self.error_body(response).await;
        Err(classify::http_error(status, &text, retry_after))
    }

    async fn error_body(&self, response: reqwest::Response) -> String {
        let mut bytes = response.bytes_stream();
        let mut text = Vec::new();
        while text.len() < MAX_ERROR_BODY {
            match tokio::time::timeout(Duration::from_secs(10), bytes.next()).await {
                Ok(Some(Ok(piece))) => text.extend_from_slice(&piece),
                _ => break,
            }
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// What a provider was told in confidence, which it may repeat when it complains.
#[derive(Debug)]
struct Told(Vec<Secret>);

impl Told {
    fn of(url: &str, headers: &HeaderMap) -> Self {
        let headers = headers.values().filter(|value| value.is_sensitive());
        let headers = headers.filter_map(|value| value.to_str().ok());
        // A scheme before a key is none of the key.
        let headers = headers.map(|value| value.split_once(' ').map_or(value, |(_, key)| key));
        Self(headers.chain(embedded::secrets(url)).map(Secret::new).collect())
    }

    /// The error without any of it.
    fn hide(&self, mut error: ProviderError) -> ProviderError {
        let hidden = redact::without(&error.message, self.0.iter().map(Secret::expose));
        if let Cow::Owned(hidden) = hidden {
            error.message = hidden;
        }
        error
    }
}

/// The headers of a call: JSON, then the provider's own, then the model's.
pub fn headers(
    model: &ModelRef,
    own: &[(&'static str, String)],
) -> Result<HeaderMap, ProviderError> {
    let mut map = HeaderMap::new();
    map.insert("content-type", HeaderValue::from_static("application/json"));
    map.insert("accept", HeaderValue::from_static("application/json"));
    let own = own.iter().map(|(name, value)| (*name, value.as_str()));
    let configured = model.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in own.chain(configured) {
        let key = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| classify::unusable(format!("`{name}` is not a header name")))?;
        let mut value = HeaderValue::from_str(value).map_err(|_| {
            classify::unusable(format!("the value of header `{name}` has characters HTTP forbids"))
        })?;
        // Which interface is meant is no secret.
        value.set_sensitive(!name.to_ascii_lowercase().starts_with("anthropic-"));
        map.insert(key, value);
    }
    Ok(map)
}

/// Joins a base URL and a path.
pub fn join(base: &str, path: &str) -> String {
    format!("{}/{path}", base.trim_end_matches('/'))
}

/// How the answer is really framed: a server that ignores the wish for a stream
/// sends one document, and one that is no model API sends a page.
fn framing_of(response: &reqwest::Response, wanted: Framing) -> Result<Framing, ProviderError> {
    let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("text/html") {
        return Err(classify::malformed(
            "it is a web page, not a model's words; is `baseUrl` the address of the API?",
        ));
    }
    let is_document = wanted == Framing::Sse && kind.eq_ignore_ascii_case("application/json");
    Ok(if is_document { Framing::Document } else { wanted })
}

struct Pump<D> {
    bytes: BoxStream<'static, reqwest::Result<Bytes>>,
    splitter: Splitter,
    dialect: D,
    /// What the dialect read, before thinking is told apart.
    read: VecDeque<Part>,
    tagged: Tagged,
    ready: VecDeque<Part>,
    failed: Option<ProviderError>,
    taken: usize,
    idle: Duration,
    ended: bool,
    told: Told,
}

fn pump<D: Dialect>(
    response: reqwest::Response,
    framing: Framing,
    dialect: D,
    idle: Duration,
    told: Told,
) -> BoxStream<'static, Result<Part, ProviderError>> {
    let pump = Pump {
        bytes: response.bytes_stream().boxed(),
        splitter: Splitter::new(framing),
        dialect,
        read: VecDeque::new(),
        tagged: Tagged::default(),
        ready: VecDeque::new(),
        failed: None,
        taken: 0,
        idle,
        ended: false,
        told,
    };
    stream::unfold(pump, |mut pump| async move { pump.next().await.map(|part| (part, pump)) })
        .boxed()
}

impl<D: Dialect> Pump<D> {
    async fn next(&mut self) -> Option<Result<Part, ProviderError>> {
        loop {
            if let Some(part) = self.ready.pop_front() {
                return Some(Ok(part));
            }
            if let Some(error) = self.failed.take() {
                self.ended = true;
                return Some(Err(error));
            }
            if self.ended {
                return None;
            }
            if let Err(error) = self.advance().await {
                self.failed = Some(self.told.hide(error));
            }
            for part in self.read.drain(..) {
                self.tagged.take(plausible(part), &mut self.ready);
            }
        }
    }

    async fn advance(&mut self) -> Result<(), ProviderError> {
        let piece = tokio::time::timeout(self.idle, self.bytes.next())
            .await
            .map_err(|_| classify::transport("the provider went silent in mid-answer"))?;
        match piece {
            Some(Ok(bytes)) => {
                self.taken += bytes.len();
                if self.taken > MAX_ANSWER {
                    return Err(classify::malformed(format!(
                        "it goes on after {MAX_ANSWER} bytes"
                    )));
                }
                self.splitter.push(&bytes).map_err(classify::malformed)?;
                while let Some(event) = self.splitter.next_event() {
                    self.dialect.on_event(&event, &mut self.read)?;
                }
                if self.dialect.is_complete() {
                    self.ended = true;
                    self.dialect.finish(&mut self.read)?;
                }
                Ok(())
            }
            Some(Err(_)) => Err(classify::cut_short()),
            None => {
                self.ended = true;
                if let Some(event) = self.splitter.last_event() {
                    self.dialect.on_event(&event, &mut self.read)?;
                }
                let finished = self.dialect.finish(&mut self.read);
                match self.splitter.framing() {
                    Framing::Document => finished.map_err(|_| {
                        classify::malformed("it is one document, not the stream that was asked for")
                    }),
                    Framing::Sse | Framing::Ndjson => finished,
                }
            }
        }
    }
}

/// A count of tokens beyond any model's is none.
fn plausible(part: Part) -> Part {
    match part {
        Part::Done { stop, usage, response_id } if usage.total_tokens > MOST_TOKENS => {
            tracing::debug!(tokens = usage.total_tokens, "implausible usage is ignored");
            Part::Done { stop, usage: Usage::default(), response_id }
        }
        other => other,
    }
}

fn retry_after_ms(headers: &HeaderMap) -> Option<u64> {
    let text = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let ms = text("retry-after-ms").or_else(|| text("retry-after").map(|seconds| seconds * 1000.0));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be small and positive"
    )]
    ms.filter(|ms| (0.0..=1e12).contains(ms)).map(|ms| ms as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_to_wait_is_read_in_both_spellings() {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", HeaderValue::from_static("1.5"));
        assert_eq!(retry_after_ms(&headers), Some(1500));
        headers.insert("retry-after-ms", HeaderValue::from_static("20"));
        assert_eq!(retry_after_ms(&headers), Some(20));
        headers.insert("retry-after-ms", HeaderValue::from_static("-1"));
        assert_eq!(retry_after_ms(&headers), None);
    }

    #[test]
    fn a_header_with_a_line_break_is_refused_by_name() {
        let model =
            ModelRef { headers: vec![("x-note".into(), "a\nb".into())], ..ModelRef::default() };
        assert!(headers(&model, &[]).unwrap_err().message.contains("x-note"));
    }
}
