//! What passes between a chat network and the rest: messages in, messages out,
//! and the places they come from and go to. Values; no I/O.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What kind of conversation a chat is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChatKind {
    #[default]
    Direct,
    /// Keyed as `…:group:<id>`.
    Group,
    /// Keyed as `…:channel:<id>`.
    Channel,
}

/// A conversation on a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Chat {
    pub kind: ChatKind,
    /// Names the conversation in session keys.
    pub id: String,
    /// Where replies go, as `message send --target` takes it.
    pub to: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread: Option<String>,
}

/// Who wrote a message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Author {
    /// As pairing and allowlists store it.
    pub id: String,
    /// Further spellings that an allowlist may use, lower case.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
}

/// Something that came with a message and stays on the network until it is
/// fetched.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Attachment {
    /// The network's own reference.
    pub reference: String,
    pub mime_type: String,
    pub name: String,
    pub bytes: u64,
}

/// A line that was said before the bot was addressed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Earlier {
    pub sender: String,
    pub text: String,
    /// Milliseconds since the Unix epoch.
    pub at: u64,
}

/// A message that somebody wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Inbound {
    pub channel: String,
    pub account: String,
    /// The network's id of the message; unique within the chat.
    pub id: String,
    pub chat: Chat,
    pub author: Author,
    pub text: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    /// Whether the network says that the bot is meant.
    pub mentioned: bool,
    /// What the message answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quoted: Option<Earlier>,
    /// Milliseconds since the Unix epoch.
    pub at: u64,
    /// Group messages since the last one that was answered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<Earlier>,
    /// What the group's settings add to the agent's prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_prompt: Option<String>,
    /// What the group's settings let the sender use, in the shape of `tools`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_tools: Option<Map<String, Value>>,
    /// Whether the sender may give commands; decided by the gate.
    pub may_command: bool,
    /// Whether the sender is on the configured allowlist; decided by the gate.
    pub listed: bool,
}

impl Inbound {
    /// Names the message among all messages of all accounts.
    pub fn key(&self) -> String {
        format!("{}|{}|{}|{}", self.channel, self.account, self.chat.id, self.id)
    }
}

/// One message in a delivery: text, files or both.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Payload {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media_url: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub media_urls: Vec<String>,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl Payload {
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: Some(text.into()), ..Self::default() }
    }

    /// Every file of the payload, paths and addresses.
    pub fn media(&self) -> impl Iterator<Item = &str> {
        let single = self.media_url.iter().filter(|url| !self.media_urls.contains(url));
        single.chain(&self.media_urls).map(String::as_str).filter(|url| !url.is_empty())
    }
}

/// Something to be said somewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outbound {
    pub channel: String,
    pub account: String,
    pub to: String,
    pub thread: Option<String>,
    pub reply_to: Option<String>,
    pub silent: bool,
    pub payloads: Vec<Payload>,
    /// Keys of the inbound messages that this answers.
    pub answers: Vec<String>,
}

/// One call of a network's sending interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The same for every attempt at this piece, different for every other.
    pub token: String,
    pub to: String,
    pub thread: Option<String>,
    pub reply_to: Option<String>,
    pub silent: bool,
    pub body: Body,
}

/// What a piece says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    Text(String),
    /// A path or an address, with words below it.
    File {
        source: String,
        caption: String,
    },
}

/// A piece that arrived.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sent {
    /// The network's id of the message, where it has one.
    pub message_id: Option<String>,
    /// The network's id of the chat, where it has one.
    pub chat_id: Option<String>,
}
