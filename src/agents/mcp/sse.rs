//! Servers that speak HTTP the older way: one stream of events that never
//! ends, whose first event names the address that takes the messages.

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap};
use reqwest::{Client, Url};
use rmcp::RoleClient;
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;

use crate::agents::providers::lines::{Event, Framing, Splitter};

const EVENTS: &str = "text/event-stream";

/// Why such a server cannot be talked to.
#[derive(Debug, thiserror::Error)]
pub(super) enum SseError {
    #[error("{0}")]
    Http(reqwest::Error),
    #[error("HTTP {0}")]
    Status(reqwest::StatusCode),
    #[error("it answers with {0:?}, not with a stream of events")]
    NoStream(String),
    #[error("the stream of events ended before it named the address for messages")]
    NoEndpoint,
    #[error("the address for messages, {0:?}, is not on the server's own origin")]
    ForeignEndpoint(String),
    #[error("a message is not JSON: {0}")]
    Message(serde_json::Error),
}

impl From<reqwest::Error> for SseError {
    /// Addresses may hold secrets.
    fn from(error: reqwest::Error) -> Self {
        Self::Http(error.without_url())
    }
}

/// An open stream of events and where messages go.
pub(super) struct Sse {
    client: Client,
    headers: HeaderMap,
    endpoint: Url,
    events: Events,
}

impl Sse {
    /// Opens the stream and waits for the address.
    pub(super) async fn open(
        client: Client,
        url: &str,
        headers: HeaderMap,
    ) -> Result<Self, SseError> {
        let request = client.get(url).headers(headers.clone()).header(ACCEPT, EVENTS);
        let response = request.send().await?;
        if !response.status().is_success() {
            return Err(SseError::Status(response.status()));
        }
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if !kind.is_some_and(|kind| kind.starts_with(EVENTS)) {
            return Err(SseError::NoStream(kind.unwrap_or_default().to_owned()));
        }
        let base = response.url().clone();
        let mut events = Events {
            bytes: response.bytes_stream().boxed(),
            splitter: Splitter::new(Framing::Sse),
        };
        while let Some(event) = events.next().await {
            if event.name == "endpoint" {
                let foreign = || SseError::ForeignEndpoint(event.data.clone());
                let endpoint = base.join(event.data.trim()).map_err(|_| foreign())?;
                if endpoint.origin() != base.origin() {
                    return Err(foreign());
                }
                return Ok(Self { client, headers, endpoint, events });
            }
        }
        Err(SseError::NoEndpoint)
    }
}

struct Events {
    bytes: BoxStream<'static, reqwest::Result<Bytes>>,
    splitter: Splitter,
}

impl Events {
    /// `None` once the stream has ended. Dropping the future loses nothing.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.splitter.next_event() {
                return Some(event);
            }
            let bytes = self.bytes.next().await?.ok()?;
            self.splitter.push(&bytes).ok()?;
        }
    }
}

impl Transport<RoleClient> for Sse {
    type Error = SseError;

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), SseError>> + Send + 'static {
        let request = self.client.post(self.endpoint.clone()).headers(self.headers.clone());
        async move {
            let body = serde_json::to_vec(&item).map_err(SseError::Message)?;
            let request = request.header(CONTENT_TYPE, "application/json").body(body);
            let response = request.send().await?;
            let status = response.status();
            if status.is_success() { Ok(()) } else { Err(SseError::Status(status)) }
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        loop {
            let event = self.events.next().await?;
            if !matches!(event.name.as_str(), "" | "message") {
                continue;
            }
            match serde_json::from_str(&event.data) {
                Ok(message) => return Some(message),
                Err(err) => tracing::debug!(%err, "an MCP server sent an event that is no message"),
            }
        }
    }

    async fn close(&mut self) -> Result<(), SseError> {
        self.events.bytes = futures_util::stream::empty().boxed();
        Ok(())
    }
}
