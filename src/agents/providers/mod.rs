//! Model APIs behind one interface: a request in, a stream of parts out.
//!
//! One folder per API dialect; `http`, `lines`, `replay` and `classify` are
//! what they share. Which model to call, and with whose key, is decided in
//! `agents::models`.

mod anthropic;
pub mod classify;
pub mod echo;
mod google;
pub mod http;
pub mod lines;
pub mod ollama;
mod openai_completions;
mod openai_responses;
pub mod replay;
mod tagged;

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

/// The dialects of this binary over one HTTP client.
#[derive(Debug, Clone)]
pub struct Registry {
    http: http::Http,
    dialects: Arc<[(&'static str, Arc<dyn Provider>)]>,
}

impl Default for Registry {
    fn default() -> Self {
        Self::new(http::Http::default())
    }
}

impl Registry {
    pub fn new(http: http::Http) -> Self {
        let dialects: [(&'static str, Arc<dyn Provider>); 6] = [
            ("openai-completions", Arc::new(openai_completions::OpenAiCompletions(http.clone()))),
            ("openai-responses", Arc::new(openai_responses::OpenAiResponses(http.clone()))),
            ("anthropic-messages", Arc::new(anthropic::Anthropic(http.clone()))),
            ("google-generative-ai", Arc::new(google::Google(http.clone()))),
            ("ollama", Arc::new(ollama::Ollama(http.clone()))),
            (echo::API, Arc::new(echo::Echo)),
        ];
        Self { http, dialects: Arc::from(dialects) }
    }

    /// The provider that speaks `api`, or an error that names it.
    pub fn get(&self, api: &str) -> Result<Arc<dyn Provider>, ProviderError> {
        let known = self.dialects.iter().find(|(name, _)| *name == api);
        known.map(|(_, provider)| Arc::clone(provider)).ok_or_else(|| ProviderError {
            reason: FailReason::Format,
            status: None,
            message: format!("model API `{api}` is not supported by this gateway"),
            retry_after_ms: None,
        })
    }

    /// The client that all dialects share, for discovery and embeddings.
    pub fn http(&self) -> &http::Http {
        &self.http
    }
}

/// Most output tokens that are asked for unless a caller says otherwise.
const OUTPUT_CEILING: u64 = 32_000;

impl ModelCall {
    /// The bound on the answer, in tokens.
    pub fn output_limit(&self) -> Option<u64> {
        let own = Some(self.model.max_tokens).filter(|limit| *limit > 0);
        match (self.max_tokens, own) {
            (Some(asked), Some(own)) => Some(asked.min(own)),
            (Some(asked), None) => Some(asked),
            (None, own) => own.map(|own| own.min(OUTPUT_CEILING)),
        }
    }
}

/// The arguments of a call from their JSON text. What does not parse stays
/// text, so that the tool can tell the model what was wrong with it.
fn tool_arguments(text: String) -> Value {
    if text.trim().is_empty() {
        return Value::Object(serde_json::Map::new());
    }
    serde_json::from_str(&text).unwrap_or(Value::String(text))
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
    /// Opaque proof that must be replayed with the block before it: stored as
    /// `thinkingSignature` of a thinking block, `thoughtSignature` of a tool
    /// call, `textSignature` of a text.
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
