//! A signed-in connection: requests out, responses and events in. Used by one
//! task; a response of another request that arrives meanwhile is dropped.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{self, Message};

use crate::base::{id, json as lenient};
use crate::client::dial::Socket;
use crate::client::error::{ClientError, Remote};

/// Which answer of a method that answers twice ends the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    First,
    /// The first answer whose `status` is not `accepted`.
    Final,
}

/// Something the gateway said.
#[derive(Debug)]
pub enum Incoming {
    Response { id: String, result: Result<Value, Remote> },
    Event { event: String, payload: Value },
}

/// A frame as it arrives; keys this client does not use are skipped.
#[derive(Debug, Deserialize)]
struct Frame {
    #[serde(rename = "type")]
    kind: String,
    id: Option<String>,
    ok: Option<bool>,
    event: Option<String>,
    #[serde(default)]
    payload: Value,
    error: Option<Remote>,
}

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    socket: Socket,
    /// The payload of hello-ok.
    pub hello: Value,
}

impl Connection {
    pub(crate) fn new(socket: Socket) -> Self {
        Self { socket, hello: Value::Null }
    }

    /// Sends a request and returns its id.
    pub async fn send(
        &mut self,
        method: &str,
        params: Option<Value>,
    ) -> Result<String, ClientError> {
        let request = id::uuid();
        let mut frame = json!({ "type": "req", "id": request, "method": method });
        if let Some(params) = params {
            frame["params"] = params;
        }
        self.socket.send(Message::text(frame.to_string())).await.map_err(|err| closed(&err))?;
        Ok(request)
    }

    /// Waits for the next response or event.
    pub async fn next(&mut self) -> Result<Incoming, ClientError> {
        loop {
            let message = match self.socket.next().await {
                Some(Ok(message)) => message,
                Some(Err(err)) => return Err(closed(&err)),
                None => return Err(ClientError::abnormal()),
            };
            let text = match &message {
                Message::Text(text) => text.as_str(),
                Message::Close(Some(frame)) => {
                    return Err(ClientError::Closed {
                        code: frame.code.into(),
                        reason: frame.reason.to_string(),
                    });
                }
                Message::Close(None) => {
                    return Err(ClientError::Closed { code: 1005, reason: String::new() });
                }
                _ => continue,
            };
            if let Some(incoming) = parse(text)? {
                return Ok(incoming);
            }
        }
    }

    /// Calls a method and waits at most `limit` for its answer.
    pub async fn call(
        &mut self,
        method: &str,
        params: Option<Value>,
        expect: Expect,
        limit: Duration,
    ) -> Result<Value, ClientError> {
        let work = async {
            let request = self.send(method, params).await?;
            loop {
                let Incoming::Response { id, result } = self.next().await? else { continue };
                if id != request {
                    continue;
                }
                let payload = result.map_err(|remote| ClientError::Refused(Box::new(remote)))?;
                if expect == Expect::First || payload["status"] != "accepted" {
                    return Ok(payload);
                }
            }
        };
        tokio::time::timeout(limit, work).await.unwrap_or(Err(ClientError::Timeout(limit)))
    }

    /// Calls several methods at once; each has its own verdict. Ends when all
    /// have answered, the socket is gone or `limit` has passed.
    pub async fn call_all(
        &mut self,
        calls: Vec<(&str, Option<Value>)>,
        limit: Duration,
    ) -> Vec<Result<Value, ClientError>> {
        let mut answers: Vec<Option<Result<Value, ClientError>>> =
            calls.iter().map(|_| None).collect();
        let work = async {
            let mut ids = Vec::new();
            for (method, params) in calls {
                ids.push(self.send(method, params).await?);
            }
            while answers.iter().any(Option::is_none) {
                if let Incoming::Response { id, result } = self.next().await?
                    && let Some(at) = ids.iter().position(|known| *known == id)
                {
                    answers[at] =
                        Some(result.map_err(|remote| ClientError::Refused(Box::new(remote))));
                }
            }
            Ok::<_, ClientError>(())
        };
        let ended = tokio::time::timeout(limit, work).await;
        answers
            .into_iter()
            .map(|answer| {
                answer.unwrap_or_else(|| match &ended {
                    Ok(Err(ClientError::Closed { code, reason })) => {
                        Err(ClientError::Closed { code: *code, reason: reason.clone() })
                    }
                    _ => Err(ClientError::Timeout(limit)),
                })
            })
            .collect()
    }

    /// Says goodbye without waiting for an echo: the process is about to end.
    pub async fn hang_up(mut self) {
        const PATIENCE: Duration = Duration::from_millis(250);
        let goodbye = self.socket.send(Message::Close(None));
        if tokio::time::timeout(PATIENCE, goodbye).await.is_err() {
            tracing::debug!("the gateway does not take the close frame");
        }
    }
}

fn parse(text: &str) -> Result<Option<Incoming>, ClientError> {
    let frame: Frame = match serde_json::from_str(text) {
        Ok(frame) => frame,
        Err(err) => lenient::without_lone_surrogates(text)
            .and_then(|text| serde_json::from_str(&text).ok())
            .ok_or_else(|| ClientError::Protocol(err.to_string()))?,
    };
    Ok(match (frame.kind.as_str(), frame.id, frame.event) {
        ("res", Some(id), _) => {
            let result = if frame.ok == Some(true) {
                Ok(frame.payload)
            } else {
                Err(frame.error.unwrap_or_else(|| Remote {
                    code: "UNAVAILABLE".to_owned(),
                    message: "unknown error".to_owned(),
                    details: Value::Null,
                }))
            };
            Some(Incoming::Response { id, result })
        }
        ("event", _, Some(event)) => Some(Incoming::Event { event, payload: frame.payload }),
        _ => None,
    })
}

fn closed(err: &tungstenite::Error) -> ClientError {
    tracing::debug!(err = %err, "websocket");
    ClientError::abnormal()
}
