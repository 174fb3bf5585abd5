//! Model APIs behind one interface: a request in, a stream of parts out.

use std::fmt::Debug;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use serde_json::Value;

use crate::agents::run::Usage;

/// A model that answers. One object per API dialect, shared by all runs.
pub trait Provider: Debug + Send + Sync {
    /// Opens the stream of one model call, retries of the HTTP layer included.
    /// Dropping the stream closes the connection.
    fn stream(
        &self,
        call: ModelCall,
    ) -> BoxFuture<'_, Result<BoxStream<'static, Result<Part, ProviderError>>, ProviderError>>;
}

/// One call of a model.
#[derive(Debug, Clone, Default)]
pub struct ModelCall {
    pub model: Arc<ModelRef>,
    pub system: String,
    /// The conversation in transcript form (`user`, `assistant`, `toolResult`).
    pub messages: Vec<Value>,
    pub tools: Arc<[ToolSpec]>,
    pub thinking: Option<String>,
    pub max_tokens: Option<u64>,
    /// Sampling choices of an HTTP client in OpenAI's spelling (`temperature`,
    /// `top_p`, `stop`, `tool_choice`, …); a dialect takes those it knows.
    pub params: Arc<serde_json::Map<String, Value>>,
}

/// A resolved model: where it is and how to reach it.
#[derive(Debug, Clone, Default)]
pub struct ModelRef {
    pub provider: String,
    pub id: String,
    pub api: String,
    pub base_url: String,
    pub api_key: Option<crate::base::secret::Secret>,
    pub headers: Vec<(String, String)>,
    pub reasoning: bool,
    pub input: Vec<String>,
    /// Tokens.
    pub context_window: u64,
    pub max_tokens: u64,
    /// Dollars per million tokens: input, output, cache read, cache write.
    pub cost: [f64; 4],
    pub compat: serde_json::Map<String, Value>,
}

/// A tool as a model sees it.
#[derive(Debug, Clone)]
pub struct ToolSpec {
    pub name: String,
    pub description: String,
    /// JSON Schema of the arguments.
    pub parameters: Value,
}

/// A piece of a model's answer, in the order in which it arrives.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    Text(String),
    Thinking(String),
    /// Opaque proof that must be replayed with the thinking block.
    ThinkingSignature(String),
    /// A whole call; arguments are parsed JSON.
    ToolCall {
        id: String,
        name: String,
        arguments: Value,
    },
    /// Last part of a good answer.
    Done {
        stop: Stop,
        usage: Usage,
        response_id: Option<String>,
    },
}

/// Why a model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    Stop,
    Length,
    ToolUse,
}

/// Why a call failed; decides retry and failover.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ProviderError {
    pub reason: FailReason,
    pub status: Option<u16>,
    /// The provider's own words.
    pub message: String,
    pub retry_after_ms: Option<u64>,
}

/// Failure classes, in the reference's spelling when serialised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailReason {
    RateLimit,
    Overloaded,
    Timeout,
    Auth,
    AuthPermanent,
    Billing,
    Format,
    ModelNotFound,
    SessionExpired,
    ContextLength,
    Unknown,
}
