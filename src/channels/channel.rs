//! What a chat network is to the rest of the program: a row of facts, and
//! accounts that can be run, written to and asked how they are.

use std::fmt::Debug;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::{Map, Value};

use crate::channels::action::{Action, ActionError};
use crate::channels::link::Link;
use crate::channels::message::{Attachment, Piece, Sent};
use crate::channels::{irc, matrix, policy, telegram};
use crate::lifecycle::CancellationToken;
use crate::profile::env::Env;
use crate::profile::paths::Paths;

/// Facts about a network that this gateway speaks.
#[derive(Debug)]
pub struct Kind {
    pub id: &'static str,
    pub label: &'static str,
    pub detail_label: &'static str,
    pub system_image: Option<&'static str>,
    /// What this gateway does with it, in the words of `channels capabilities`.
    pub capabilities: Capabilities,
    /// Longest text of one message, in characters, unless configured.
    pub text_limit: usize,
    /// Longest text that the network takes, whatever is configured.
    pub most_text: usize,
    /// Bytes of a message where every line is one, `None` elsewhere.
    pub line_bytes: Option<usize>,
    /// How its groups are let in.
    pub groups: policy::GroupRules,
    /// What a person's id is called in the pairing text.
    pub id_label: &'static str,
    /// Whether sending the same piece twice is the same as sending it once.
    pub idempotent: bool,
    /// The variable that may hold the default account's credentials.
    pub env_credential: Option<&'static str>,
    /// Whether a section holds the credentials of an account.
    pub has_credentials: fn(&Value) -> bool,
    /// Makes an account; the error says what is missing and where it belongs.
    pub open: fn(&AccountSpec) -> Result<Arc<dyn Account>, String>,
}

/// What can be done on a network.
#[derive(Debug, Clone, Copy)]
pub struct Capabilities {
    pub chat_types: &'static [&'static str],
    /// `media`, `reactions`, `threads`, `typing`, `nativeCommands`.
    pub features: &'static [&'static str],
}

/// The networks that this gateway speaks.
pub fn kinds() -> &'static [Kind] {
    const KINDS: &[Kind] = &[irc::KIND, telegram::KIND, matrix::KIND];
    KINDS
}

/// The network of this name.
pub fn kind(id: &str) -> Option<&'static Kind> {
    kinds().iter().find(|kind| kind.id == id)
}

/// Networks of other releases and their plugins: they may be named, but are not spoken.
const FOREIGN: &[&str] = &[
    "bluebubbles",
    "discord",
    "feishu",
    "googlechat",
    "imessage",
    "line",
    "mattermost",
    "msteams",
    "nextcloud-talk",
    "nostr",
    "qqbot",
    "signal",
    "slack",
    "synology-chat",
    "tlon",
    "twitch",
    "webchat",
    "whatsapp",
    "zalo",
    "zalouser",
];

/// Whether a channel of this name exists, here or elsewhere.
pub fn is_known(id: &str) -> bool {
    kind(id).is_some() || FOREIGN.contains(&id)
}

/// What an account is made from.
#[derive(Debug, Clone)]
pub struct AccountSpec {
    pub channel: &'static str,
    pub id: String,
    /// The channel's section with the account's own keys over it.
    pub settings: Value,
    pub env: Arc<Env>,
    pub paths: Paths,
}

impl AccountSpec {
    /// A text setting, trimmed; `None` when absent or blank.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.settings.get(key)?.as_str().map(str::trim).filter(|text| !text.is_empty())
    }

    /// A setting, or for the default account the variable that may hold it.
    pub fn text_or_env(&self, key: &str, variable: &str) -> Option<String> {
        let own = self.text(key).map(str::to_owned);
        own.or_else(|| (self.id == DEFAULT).then(|| self.env.get(variable))?.map(str::to_owned))
    }

    /// Where the setting stands, for messages.
    pub fn path_of(&self, key: &str) -> String {
        if self.id == DEFAULT {
            format!("channels.{}.{key}", self.channel)
        } else {
            format!("channels.{}.accounts.{}.{key}", self.channel, self.id)
        }
    }
}

/// The account that a channel's own keys describe.
pub const DEFAULT: &str = "default";

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The network or the other side went away: worth trying for ever.
    #[error("{0}")]
    Lost(String),
    /// The other side said no: the operator has to do something.
    #[error("{0}")]
    Refused(String),
}

/// Why a piece was not delivered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// It did not leave; try again, at the earliest after the given time.
    #[error("{why}")]
    NotSent { why: String, after: Option<Duration> },
    /// Nobody can say whether it arrived.
    #[error("{0}")]
    Unknown(String),
    /// It will never arrive.
    #[error("{0}")]
    Refused(String),
}

impl SendError {
    pub fn not_sent(why: impl Into<String>) -> Self {
        Self::NotSent { why: why.into(), after: None }
    }
}

/// A conversation, for signs of life.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    pub to: &'a str,
    pub thread: Option<&'a str>,
}

/// One account of one network.
pub trait Account: Debug + Send + Sync {
    /// Connects and receives until the connection ends or `stop`; an end that
    /// was asked for is no fault.
    fn run(
        self: Arc<Self>,
        link: Link,
        stop: CancellationToken,
    ) -> BoxFuture<'static, Result<(), Fault>>;

    /// Sends one piece and waits until the network has it.
    fn send<'a>(&'a self, piece: &'a Piece) -> BoxFuture<'a, Result<Sent, SendError>>;

    /// Asks the service whether it would work, without touching the live
    /// connection. `{"ok": …}` and what the channel knows beyond that.
    fn probe(&self, limit: Duration) -> BoxFuture<'_, Value>;

    /// What the channel adds to its account's row in `channels.status`.
    fn facts(&self) -> Map<String, Value>;

    /// Does something else with messages; answers with what clients are shown.
    fn act<'a>(&'a self, _action: Action<'a>) -> BoxFuture<'a, Result<Value, ActionError>> {
        Box::pin(ready(Err(ActionError::Unsupported)))
    }

    /// Shows that an answer is being written. Best effort.
    fn typing<'a>(&'a self, _place: Place<'a>) -> BoxFuture<'a, ()> {
        Box::pin(ready(()))
    }

    /// Shows that a message was seen. Best effort.
    fn acknowledge<'a>(
        &'a self,
        _place: Place<'a>,
        _message_id: &'a str,
        _emoji: Option<&'a str>,
    ) -> BoxFuture<'a, ()> {
        Box::pin(ready(()))
    }

    /// Fetches what came with a message.
    fn fetch<'a>(&'a self, _attachment: &'a Attachment) -> BoxFuture<'a, Result<Vec<u8>, String>> {
        Box::pin(ready(Err("this channel carries no files".to_owned())))
    }

    /// Finds the id behind a name that people use.
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Resolved>, String>> {
        Box::pin(ready(Ok(Some(Resolved { id: name.to_owned(), name: None }))))
    }

    /// Forgets a session of its own making; `None` where there is none.
    fn log_out(&self) -> BoxFuture<'_, Option<Result<bool, String>>> {
        Box::pin(ready(None))
    }
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    pub id: String,
    pub name: Option<String>,
}
