//! The client-server API as far as this channel uses it.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::base::hex;
use crate::base::secret::Secret;
use crate::channels::channel::{Fault, SendError};
use crate::channels::http;

/// Longest answer to anything but a long sync.
const ANSWER: Duration = Duration::from_secs(30);
const TRANSFER: Duration = Duration::from_secs(120);
/// Largest file that is fetched, in bytes.
const MOST_DOWNLOAD: usize = 50 * 1024 * 1024;

/// A signed-in user of a server.
#[derive(Debug, Clone)]
pub(super) struct Api {
    server: String,
    token: Option<Secret>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ApiError {
    #[error("{status} {code} {message}")]
    Said { status: u16, code: String, message: String, retry_after: Option<Duration> },
    #[error("{0}")]
    Network(String),
}

/// A part of a path: ids have `#`, `!`, `:` and `/` in them.
pub(super) fn part(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&hex::encode(&[byte]).to_ascii_uppercase());
        }
    }
    out
}

impl Api {
    pub(super) fn new(server: &str, token: Option<Secret>) -> Self {
        Self { server: server.to_owned(), token }
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value, ApiError> {
        self.call(Method::GET, path, None, ANSWER).await
    }

    pub(super) async fn get_within(&self, path: &str, limit: Duration) -> Result<Value, ApiError> {
        self.call(Method::GET, path, None, limit).await
    }

    pub(super) async fn put(&self, path: &str, body: &Value) -> Result<Value, ApiError> {
        self.call(Method::PUT, path, Some(body), ANSWER).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, ApiError> {
        self.call(Method::POST, path, Some(body), ANSWER).await
    }

    fn request(&self, method: Method, path: &str) -> Result<reqwest::RequestBuilder, ApiError> {
        let url = format!("{}/_matrix/{path}", self.server);
        let client = http::client(&url).map_err(ApiError::Network)?;
        let request = client.request(method, url);
        Ok(match &self.token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        })
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        limit: Duration,
    ) -> Result<Value, ApiError> {
        let mut request = self.request(method, path)?.timeout(limit);
        if let Some(body) = body {
            request = request.json(body);
        }
        read(request.send().await).await
    }

    /// Stores a file on the server; returns its `mxc://` address.
    pub(super) async fn upload(
        &self,
        name: &str,
        kind: &str,
        bytes: Vec<u8>,
    ) -> Result<String, ApiError> {
        let path = format!("media/v3/upload?filename={}", part(name));
        let request = self.request(Method::POST, &path)?.timeout(TRANSFER);
        let answer = read(request.header("content-type", kind).body(bytes).send().await).await?;
        let address = answer["content_uri"].as_str();
        address
            .map(str::to_owned)
            .ok_or_else(|| ApiError::Network("no address for the file".into()))
    }

    /// The bytes behind an `mxc://` address.
    pub(super) async fn download(&self, address: &str) -> Result<Vec<u8>, String> {
        let place = address.strip_prefix("mxc://").ok_or("not an mxc address")?;
        let (server, id) = place.split_once('/').ok_or("not an mxc address")?;
        let path = format!("client/v1/media/download/{}/{}", part(server), part(id));
        let request = self.request(Method::GET, &path).map_err(|err| err.to_string())?;
        let response = request.timeout(TRANSFER).send().await;
        let response = response.and_then(reqwest::Response::error_for_status);
        let mut response = response.map_err(http::explain)?;
        let mut bytes = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(http::explain)? {
            bytes.extend_from_slice(&piece);
            if bytes.len() > MOST_DOWNLOAD {
                return Err(format!("larger than {} MB", MOST_DOWNLOAD / 1024 / 1024));
            }
        }
        Ok(bytes)
    }

    /// Signs in with a password; returns token, user and device.
    pub(super) async fn log_in(
        &self,
        user: &str,
        password: &Secret,
        device: &str,
    ) -> Result<Value, ApiError> {
        let body = json!({
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": user},
            "password": password.expose(),
            "initial_device_display_name": device,
        });
        self.post("client/v3/login", &body).await
    }
}

async fn read(sent: reqwest::Result<reqwest::Response>) -> Result<Value, ApiError> {
    let response = sent.map_err(|err| ApiError::Network(http::explain(err)))?;
    let status = response.status();
    let body = response.bytes().await.map_err(|err| ApiError::Network(http::explain(err)))?;
    let answer: Result<Value, _> = serde_json::from_slice(&body);
    if status.is_success() {
        return answer.map_err(|err| ApiError::Network(format!("the answer is no JSON: {err}")));
    }
    let answer = answer.unwrap_or_default();
    let text = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
    Err(ApiError::Said {
        status: status.as_u16(),
        code: text("errcode"),
        message: text("error"),
        retry_after: answer["retry_after_ms"].as_u64().map(Duration::from_millis),
    })
}

impl ApiError {
    /// Whether the server does not know our token.
    pub(super) fn is_signed_out(&self) -> bool {
        matches!(self, Self::Said { code, .. } if code == "M_UNKNOWN_TOKEN" || code == "M_MISSING_TOKEN")
    }

    /// What the failure means for the connection.
    pub(super) fn fault(self, path: &str) -> Fault {
        match &self {
            Self::Said { status: 401 | 403 | 404, .. } => {
                Fault::Refused(format!("the home server says {self}; check {path}"))
            }
            _ => Fault::Lost(format!("the home server: {self}")),
        }
    }
}

impl From<ApiError> for SendError {
    /// A repeated transaction is recognised, so that nothing is uncertain.
    fn from(err: ApiError) -> Self {
        match err {
            ApiError::Said { status: 429, message, retry_after, .. } => {
                Self::NotSent { why: message, after: retry_after }
            }
            ApiError::Said { status: 500.., .. } | ApiError::Network(_) => {
                Self::NotSent { why: err.to_string(), after: Some(Duration::from_secs(2)) }
            }
            ApiError::Said { .. } => Self::Refused(err.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_escaped_as_path_parts() {
        assert_eq!(part("!r/x:test.local"), "%21r%2Fx%3Atest.local");
        assert_eq!(part("#é"), "%23%C3%A9");
    }
}
