//! The Bot API as far as this channel uses it: typed where we read, lenient
//! where the service adds.

use std::time::Duration;

use reqwest::multipart::{Form, Part};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::base::secret::Secret;
use crate::channels::channel::SendError;
use crate::channels::http;

/// The service's own address.
pub(super) const ROOT: &str = "https://api.telegram.org";
/// Longest answer to anything but a long poll.
const ANSWER: Duration = Duration::from_secs(30);
/// Uploads and downloads.
const TRANSFER: Duration = Duration::from_secs(120);
/// Largest file that the service hands to bots, in bytes.
const MOST_DOWNLOAD: usize = 20 * 1024 * 1024;

/// Somebody's bot.
#[derive(Debug, Clone)]
pub(super) struct Api {
    root: String,
    token: Secret,
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ApiError {
    /// The service answered and said no.
    #[error("{description}")]
    Said { code: u16, description: String, retry_after: Option<Duration> },
    #[error("{why}")]
    Network { why: String, may_have_arrived: bool },
}

#[derive(Debug, Deserialize)]
struct Answer {
    ok: bool,
    #[serde(default)]
    result: Value,
    #[serde(default)]
    error_code: u16,
    #[serde(default)]
    description: String,
    #[serde(default)]
    parameters: Parameters,
}

#[derive(Debug, Default, Deserialize)]
struct Parameters {
    retry_after: Option<u64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct User {
    pub(super) id: i64,
    pub(super) is_bot: bool,
    pub(super) first_name: String,
    pub(super) last_name: Option<String>,
    pub(super) username: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct ChatInfo {
    pub(super) id: i64,
    pub(super) r#type: String,
    pub(super) title: Option<String>,
    pub(super) username: Option<String>,
    pub(super) is_forum: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Entity {
    pub(super) r#type: String,
    /// In UTF-16 units, as `length`.
    pub(super) offset: usize,
    pub(super) length: usize,
    pub(super) user: Option<User>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Media {
    pub(super) file_id: String,
    pub(super) file_size: u64,
    pub(super) mime_type: Option<String>,
    pub(super) file_name: Option<String>,
    pub(super) file_path: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Posted {
    pub(super) message_id: i64,
    pub(super) message_thread_id: Option<i64>,
    pub(super) is_topic_message: bool,
    pub(super) from: Option<User>,
    pub(super) sender_chat: Option<ChatInfo>,
    pub(super) chat: ChatInfo,
    pub(super) date: u64,
    pub(super) text: Option<String>,
    pub(super) caption: Option<String>,
    pub(super) entities: Vec<Entity>,
    pub(super) caption_entities: Vec<Entity>,
    pub(super) reply_to_message: Option<Box<Posted>>,
    pub(super) photo: Vec<Media>,
    pub(super) document: Option<Media>,
    pub(super) audio: Option<Media>,
    pub(super) voice: Option<Media>,
    pub(super) video: Option<Media>,
    pub(super) video_note: Option<Media>,
    pub(super) sticker: Option<Sticker>,
    pub(super) location: Option<Location>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Sticker {
    #[serde(flatten)]
    pub(super) file: Media,
    pub(super) emoji: Option<String>,
    pub(super) is_animated: bool,
    pub(super) is_video: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Location {
    pub(super) latitude: f64,
    pub(super) longitude: f64,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Update {
    pub(super) update_id: i64,
    #[serde(default)]
    pub(super) message: Option<Posted>,
}

impl Api {
    pub(super) fn new(root: &str, token: Secret) -> Self {
        Self { root: root.trim_end_matches('/').to_owned(), token }
    }

    /// The bot's id, which its token begins with.
    pub(super) fn bot_id(&self) -> &str {
        self.token.expose().split(':').next().unwrap_or_default()
    }

    fn url(&self, method: &str) -> String {
        format!("{}/bot{}/{method}", self.root, self.token.expose())
    }

    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        params: &Value,
    ) -> Result<T, ApiError> {
        self.call_within(method, params, ANSWER).await
    }

    pub(super) async fn call_within<T: DeserializeOwned>(
        &self,
        method: &str,
        params: &Value,
        limit: Duration,
    ) -> Result<T, ApiError> {
        let url = self.url(method);
        let client = http::client(&url).map_err(|why| network(why, false))?;
        let request = client.post(url).timeout(limit).json(params);
        read(request.send().await).await
    }

    /// Sends a file of this host.
    pub(super) async fn upload<T: DeserializeOwned>(
        &self,
        method: &str,
        field: &'static str,
        name: String,
        bytes: Vec<u8>,
        params: &Value,
    ) -> Result<T, ApiError> {
        let url = self.url(method);
        let client = http::client(&url).map_err(|why| network(why, false))?;
        let mut form = Form::new().part(field, Part::bytes(bytes).file_name(name));
        for (key, value) in params.as_object().into_iter().flatten() {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            form = form.text(key.clone(), text);
        }
        read(client.post(url).timeout(TRANSFER).multipart(form).send().await).await
    }

    /// The bytes of a file that somebody sent.
    pub(super) async fn download(&self, file_id: &str) -> Result<Vec<u8>, String> {
        let file: Media = self
            .call("getFile", &json!({"file_id": file_id}))
            .await
            .map_err(|err| err.to_string())?;
        let path = file.file_path.ok_or("the service does not hand this file out")?;
        let url = format!("{}/file/bot{}/{path}", self.root, self.token.expose());
        let client = http::client(&url)?;
        let fetch = client.get(url).timeout(TRANSFER).send().await;
        let response = fetch.and_then(reqwest::Response::error_for_status);
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
}

fn network(why: String, may_have_arrived: bool) -> ApiError {
    ApiError::Network { why, may_have_arrived }
}

async fn read<T: DeserializeOwned>(
    sent: reqwest::Result<reqwest::Response>,
) -> Result<T, ApiError> {
    let response = sent.map_err(|err| {
        let arrived = http::may_have_arrived(&err);
        network(http::explain(err), arrived)
    })?;
    let status = response.status();
    let body = response.bytes().await.map_err(|err| network(http::explain(err), true))?;
    let answer: Answer = serde_json::from_slice(&body).map_err(|_| {
        // A proxy in between, most likely; it may have passed the request on.
        network(format!("HTTP {status} without an answer of the Bot API"), status.is_success())
    })?;
    if !answer.ok {
        return Err(ApiError::Said {
            code: if answer.error_code == 0 { status.as_u16() } else { answer.error_code },
            description: answer.description,
            retry_after: answer.parameters.retry_after.map(Duration::from_secs),
        });
    }
    serde_json::from_value(answer.result)
        .map_err(|err| network(format!("the answer has an unknown shape: {err}"), true))
}

impl From<ApiError> for SendError {
    fn from(err: ApiError) -> Self {
        match err {
            ApiError::Said { code: 429, description, retry_after } => {
                Self::NotSent { why: description, after: retry_after }
            }
            ApiError::Said { code: 500.., description, .. } => Self::not_sent(description),
            ApiError::Said { description, .. } => Self::Refused(description),
            ApiError::Network { why, may_have_arrived: false } => Self::not_sent(why),
            ApiError::Network { why, may_have_arrived: true } => Self::Unknown(format!(
                "{why}; whether the message arrived is unknown, so it is not sent again"
            )),
        }
    }
}
