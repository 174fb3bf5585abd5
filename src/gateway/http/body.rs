//! Reading a request's body within bounds of bytes and time.

use std::time::Duration;

use axum::body::Body;
use http_body_util::BodyExt;
use hyper::header::{CONTENT_LENGTH, EXPECT};
use hyper::{HeaderMap, StatusCode};
use serde_json::{Map, Value};

use crate::base::json;
use crate::gateway::http::reply::{self, Answer, INVALID};

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// What is still read of a body that is too large, so that the refusal reaches
/// a client that only listens once it has sent everything.
const DRAIN_BYTES: usize = 64 * 1024 * 1024;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// The whole body, or the answer that says why not.
pub async fn read(headers: &HeaderMap, mut body: Body, limit: usize) -> Result<Vec<u8>, Answer> {
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok())
        .unwrap_or(0);
    if announced > limit as u64 {
        // A client that waits for `100 Continue` has not begun to send.
        if !headers.contains_key(EXPECT) {
            drain(&mut body).await;
        }
        return Err(too_large());
    }
    let capacity = usize::try_from(announced).unwrap_or(0).min(limit);
    let mut bytes = Vec::with_capacity(capacity);
    let collect = async {
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else {
                return Err(reply::closing(reply::invalid("request body is incomplete")));
            };
            if let Some(data) = frame.data_ref() {
                if bytes.len() + data.len() > limit {
                    return Err(too_large());
                }
                bytes.extend_from_slice(data);
            }
        }
        Ok(())
    };
    match tokio::time::timeout(BODY_TIMEOUT, collect).await {
        Ok(Ok(())) => Ok(bytes),
        Ok(Err(answer)) => {
            if answer.status() == StatusCode::PAYLOAD_TOO_LARGE {
                drain(&mut body).await;
            }
            Err(answer)
        }
        Err(_) => Err(reply::closing(reply::openai_error(
            StatusCode::REQUEST_TIMEOUT,
            "Request body timeout",
            INVALID,
        ))),
    }
}

/// The body as JSON. Empty counts as `{}`; the content type does not matter.
pub async fn read_json(headers: &HeaderMap, body: Body, limit: usize) -> Result<Value, Answer> {
    let bytes = read(headers, body, limit).await?;
    parse(&bytes)
}

/// As [`read_json`]; what is no object counts as `{}`.
pub async fn read_object(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<Map<String, Value>, Answer> {
    match read_json(headers, body, limit).await? {
        Value::Object(object) => Ok(object),
        _ => Ok(Map::new()),
    }
}

fn parse(bytes: &[u8]) -> Result<Value, Answer> {
    let text = String::from_utf8_lossy(bytes);
    if text.trim().is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    let mended = json::without_lone_surrogates(&text);
    serde_json::from_str(mended.as_deref().unwrap_or(&text))
        .map_err(|err| reply::invalid(&format!("request body is not valid JSON: {err}")))
}

fn too_large() -> Answer {
    reply::closing(reply::openai_error(StatusCode::PAYLOAD_TOO_LARGE, "Payload too large", INVALID))
}

async fn drain(body: &mut Body) {
    let mut left = DRAIN_BYTES;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            let size = frame.data_ref().map_or(0, bytes::Bytes::len);
            match left.checked_sub(size) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    if tokio::time::timeout(DRAIN_TIMEOUT, reading).await.is_err() {
        tracing::debug!("a client kept sending a body that was refused");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn empty_is_an_empty_object_and_other_json_counts_as_one() {
        let headers = HeaderMap::new();
        for text in ["", "  ", "null", "[1]", "5"] {
            let object = read_object(&headers, Body::from(text), 100).await.unwrap();
            assert!(object.is_empty(), "{text:?}");
        }
        let bad = read_json(&headers, Body::from("{\"a\":"), 100).await.unwrap_err();
        assert_eq!(bad.status(), StatusCode::BAD_REQUEST);
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_announced_or_not() {
        let mut headers = HeaderMap::new();
        let refused = read(&headers, Body::from("x".repeat(11)), 10).await.unwrap_err();
        assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
        headers.insert(CONTENT_LENGTH, 11.into());
        let refused = read(&headers, Body::from("x".repeat(11)), 10).await.unwrap_err();
        assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(read(&headers, Body::from("x".repeat(10)), 11).await.unwrap().len(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_times_out() {
        let never = futures_util::stream::pending::<Result<bytes::Bytes, std::io::Error>>();
        let refused = read(&HeaderMap::new(), Body::from_stream(never), 10).await.unwrap_err();
        assert_eq!(refused.status(), StatusCode::REQUEST_TIMEOUT);
    }
}
