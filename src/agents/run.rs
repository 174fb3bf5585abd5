//! The face of one run: what is asked, what is reported, how it ended.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::agents::providers::{FailReason, ToolSpec};
use crate::base::id::SessionKey;

/// Everything a caller decides about a run.
#[derive(Debug, Clone, Default)]
pub struct RunRequest {
    /// Chosen by the caller (the idempotency key of `agent` and `chat.send`).
    pub run_id: String,
    /// Agent id; `None` takes the one the session key names, else the default.
    pub agent: Option<String>,
    pub session_key: Option<SessionKey>,
    pub session_id: Option<String>,
    pub message: String,
    pub images: Vec<Image>,
    /// Appended to the system prompt of this run alone.
    pub extra_system_prompt: Option<String>,
    /// `provider/model`, overriding configuration and session.
    pub model: Option<String>,
    pub thinking: Option<String>,
    pub timeout: Option<Duration>,
    pub lane: Lane,
    /// Where the message came from, shown to the model as trusted metadata.
    pub origin: Origin,
    /// Whether the sender may use owner-only tools.
    pub owner: bool,
    /// What a group's settings let the sender use, in the shape of `tools`.
    pub group_tools: Option<Map<String, Value>>,
    /// Upper bound of one reply, in tokens.
    pub max_tokens: Option<u64>,
    /// Sampling choices in OpenAI's spelling, handed to the model call.
    pub params: Map<String, Value>,
    /// Tools that the client runs itself: a call of one ends the run and is
    /// reported in [`RunOutcome::tool_calls`].
    pub client_tools: Vec<ToolSpec>,
    /// Also receives this run's events, besides the process-wide sink.
    pub observer: Option<Arc<dyn EventSink>>,
    /// What is put around `message` before the model sees it.
    pub frame: Frame,
    /// What happens while the session is busy.
    pub queueing: Queueing,
    /// Names of the only tools this run may use; `None` leaves it to policy.
    pub tools_allow: Option<Vec<String>>,
    /// Tried in order after `model` fails; `None` takes the configured ones.
    pub fallbacks: Option<Vec<String>>,
    /// A heartbeat: leaves `updatedAt` of the session as it was, and no trace if
    /// the reply is nothing with at most so many characters beside it.
    pub heartbeat: Option<u64>,
    /// Whether the sender may give slash commands, beyond owners.
    pub may_command: bool,
}

/// What the sender of a message may use. Messages are put into one run only if
/// their senders may use the same: nobody borrows what another may do.
#[derive(Debug, Clone, PartialEq)]
pub struct Rights {
    owner: bool,
    group_tools: Option<Map<String, Value>>,
}

impl RunRequest {
    pub fn rights(&self) -> Rights {
        Rights { owner: self.owner, group_tools: self.group_tools.clone() }
    }
}

/// What is put around a message so that the model knows who wrote it when.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Frame {
    /// The text as it is.
    #[default]
    Raw,
    /// A time stamp in front, as for the `agent` method.
    Stamped,
    /// Sender block and time stamp, as for `chat.send`.
    Sender(Sender),
    /// Blocks in front of the text, as the surface wrote them.
    Blocks { blocks: String, sender: Sender },
}

impl Frame {
    /// The writer, where the surface names one.
    pub fn sender(&self) -> Option<&Sender> {
        match self {
            Self::Sender(sender) | Self::Blocks { sender, .. } => Some(sender),
            Self::Raw | Self::Stamped => None,
        }
    }
}

/// The writer of a message as the surface names him; not verified.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sender {
    pub label: String,
    pub id: String,
    pub name: Option<String>,
    pub username: Option<String>,
}

/// What happens to a message whose session is busy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Queueing {
    /// Waits and runs on its own.
    #[default]
    Wait,
    /// Follows the session's queue mode: may be merged with others, steer the
    /// active run or end it. A merged message ends with an empty reply.
    Chat,
}

/// The surface a message arrived on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    pub channel: Option<String>,
    pub account: Option<String>,
    pub chat: Option<String>,
    pub chat_type: Option<String>,
    pub surface: Option<String>,
    /// Who is at the other end, for session lists.
    pub label: Option<String>,
    /// Where replies go, if not to `chat`.
    pub to: Option<String>,
    pub thread: Option<String>,
}

/// An inline image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pub mime_type: String,
    /// Base64 without line breaks.
    pub data: String,
}

/// The global queue a run waits in after its session's own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Lane {
    #[default]
    Main,
    Cron,
    Subagent,
    Nested,
}

/// One thing that happened in a run. `seq` counts from 1 within the run.
#[derive(Debug, Clone, Copy)]
pub struct RunEvent<'a> {
    pub run_id: &'a str,
    pub session_key: Option<&'a SessionKey>,
    pub agent: &'a str,
    pub seq: u64,
    /// Milliseconds since the Unix epoch.
    pub ts: u64,
    pub body: RunBody<'a>,
}

/// What happened. Exactly one of `End`, `Error` or `Aborted` closes a run.
#[derive(Debug, Clone, Copy)]
pub enum RunBody<'a> {
    Start {
        started_at: u64,
    },
    /// `text` is cumulative, `delta` is what was added.
    Assistant {
        text: &'a str,
        delta: &'a str,
    },
    Thinking {
        text: &'a str,
        delta: &'a str,
    },
    /// Payload of the `tool` stream: `{phase, name, toolCallId, …}`.
    Tool(&'a Value),
    /// Payload of another `lifecycle` or `compaction` phase.
    Other {
        stream: &'a str,
        data: &'a Value,
    },
    /// A question on the side of the conversation was answered.
    Aside {
        question: &'a str,
        text: &'a str,
        is_error: bool,
    },
    /// A message was appended to the transcript.
    Message {
        id: &'a str,
        seq: u64,
        message: &'a Value,
    },
    End {
        outcome: &'a RunOutcome,
    },
    Error {
        outcome: &'a RunOutcome,
    },
    Aborted {
        outcome: &'a RunOutcome,
    },
}

/// Takes events as they happen. Must not block.
pub trait EventSink: Debug + Send + Sync {
    fn on_event(&self, event: RunEvent<'_>);
}

/// How a run ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RunStatus {
    #[default]
    Ok,
    Error,
    Aborted,
    TimedOut,
}

/// The end of a run.
#[derive(Debug, Clone, Default)]
pub struct RunOutcome {
    pub status: RunStatus,
    /// The final reply; partial text when aborted.
    pub text: String,
    /// What users read when `status` is not `Ok`.
    pub error: Option<String>,
    /// `rpc`, `stop`, `timeout` for aborts; the provider's reason otherwise.
    pub stop_reason: Option<String>,
    pub session_key: Option<SessionKey>,
    pub session_id: String,
    pub provider: String,
    pub model: String,
    /// Sum over all model calls of the run.
    pub usage: Usage,
    /// Calls of client tools that ended the run.
    pub tool_calls: Vec<ClientToolCall>,
    /// Why the last model call failed, when `status` is `Error`.
    pub failure: Option<FailReason>,
    /// Of the last model call; its prompt is the session's context size.
    pub last_call: Usage,
    pub cost_usd: f64,
    /// The gateway answered itself, without a model.
    pub injected: bool,
    /// The reply was `NO_REPLY` or the message was merged into another run.
    pub silent: bool,
    /// A tool has written to where the reply goes: the reply itself would say
    /// the same again.
    pub answered: bool,
    /// The run whose reply also answers this one's message.
    pub merged_into: Option<String>,
    pub started_at: u64,
    pub ended_at: u64,
}

/// A call of a tool that the client runs.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientToolCall {
    pub id: String,
    pub name: String,
    pub arguments: Value,
}

/// Tokens of a run or a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Usage {
    pub input: u64,
    pub output: u64,
    pub cache_read: u64,
    pub cache_write: u64,
    pub total_tokens: u64,
}

impl Usage {
    /// Tokens the model read: what fills the context window.
    pub fn prompt(&self) -> u64 {
        self.input.saturating_add(self.cache_read).saturating_add(self.cache_write)
    }

    /// Adds the tokens of another call.
    pub fn add(&mut self, other: Self) {
        self.input = self.input.saturating_add(other.input);
        self.output = self.output.saturating_add(other.output);
        self.cache_read = self.cache_read.saturating_add(other.cache_read);
        self.cache_write = self.cache_write.saturating_add(other.cache_write);
        self.total_tokens = self.total_tokens.saturating_add(other.total_tokens);
    }
}
