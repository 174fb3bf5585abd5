//! What a model can do: the tools, who may use which, and how a call runs.

mod catalog;
mod confine;
mod consent;
mod control;
mod exec;
mod files;
mod html;
mod memory;
mod policy;
mod process;
pub(crate) mod processes;
mod sessions;
mod web_fetch;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::atomic::AtomicBool;

use futures_util::future::BoxFuture;
use serde_json::Value;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::agents::providers::ToolSpec;
use crate::agents::run::{Lane, Origin};
use crate::agents::runtime::Inner;
use crate::base::id::SessionKey;
use crate::config::Snapshot;

pub use control::ControlPlane;
pub(crate) use policy::{Policy, is_boxed};

/// Something a model can call. One object, shared by all runs.
pub trait Tool: Debug + Send + Sync {
    fn spec(&self) -> ToolSpec;

    /// One line for the list in the system prompt.
    fn summary(&self) -> &'static str;

    /// Whether senders who are not the owner never see it.
    fn owner_only(&self) -> bool {
        false
    }

    /// Runs one call. Ends soon after `context.cancel`, leaving nothing behind.
    fn call<'a>(&'a self, context: &'a ToolContext, arguments: Value) -> BoxFuture<'a, ToolResult>;
}

/// What a call may know of its run.
#[derive(Debug, Clone)]
pub struct ToolContext {
    pub(crate) inner: Arc<Inner>,
    pub(crate) snapshot: Arc<Snapshot>,
    pub agent: String,
    pub workspace: PathBuf,
    pub session_key: Option<SessionKey>,
    pub run_id: String,
    pub tool_call_id: String,
    pub owner: bool,
    pub lane: Lane,
    /// Where the message of this run came from, and its reply goes.
    pub origin: Origin,
    /// Set once a tool has written to that place itself.
    pub answered: Arc<AtomicBool>,
    pub cancel: CancellationToken,
}

/// How a call ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ToolResult {
    /// Blocks in transcript form: text and images.
    pub content: Vec<Value>,
    pub details: Option<Value>,
    pub is_error: bool,
    /// A few words for people who watch.
    pub meta: Option<String>,
}

impl ToolResult {
    pub fn text(text: impl Into<String>) -> Self {
        Self { content: vec![json!({"type": "text", "text": text.into()})], ..Self::default() }
    }

    pub fn error(text: impl Into<String>) -> Self {
        Self { is_error: true, ..Self::text(text) }
    }

    /// A result that is data: shown to the model as JSON.
    pub fn json(value: Value) -> Self {
        let text = serde_json::to_string_pretty(&value).unwrap_or_default();
        Self { details: Some(value), ..Self::text(text) }
    }

    #[must_use]
    pub fn with_meta(mut self, meta: impl Into<String>) -> Self {
        self.meta = Some(meta.into());
        self
    }
}

/// All tools of this gateway by name.
#[derive(Debug)]
pub(crate) struct Toolbox {
    tools: RwLock<BTreeMap<String, Arc<dyn Tool>>>,
    pub(crate) processes: processes::Processes,
}

impl Default for Toolbox {
    fn default() -> Self {
        let built_in: [Arc<dyn Tool>; 8] = [
            Arc::new(files::Read),
            Arc::new(files::Write),
            Arc::new(files::Edit),
            Arc::new(exec::Exec),
            Arc::new(process::ProcessTool),
            Arc::new(web_fetch::WebFetch::default()),
            Arc::new(memory::Search),
            Arc::new(memory::Get),
        ];
        let about_sessions = sessions::SessionTool::ALL.map(|tool| Arc::new(tool) as Arc<dyn Tool>);
        let about_the_gateway =
            control::ControlTool::ALL.map(|tool| Arc::new(tool) as Arc<dyn Tool>);
        let tools = built_in
            .into_iter()
            .chain(about_sessions)
            .chain(about_the_gateway)
            .map(|tool| (tool.spec().name, tool))
            .collect();
        Self { tools: RwLock::new(tools), processes: processes::Processes::default() }
    }
}

impl Toolbox {
    /// Adds or replaces a tool, for example one of a connected server.
    pub(crate) fn add(&self, tool: Arc<dyn Tool>) {
        let name = tool.spec().name;
        self.tools.write().unwrap_or_else(PoisonError::into_inner).insert(name, tool);
    }

    pub(crate) fn remove(&self, names: &[String]) {
        let mut tools = self.tools.write().unwrap_or_else(PoisonError::into_inner);
        tools.retain(|name, _| !names.contains(name));
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<dyn Tool>> {
        self.tools.read().unwrap_or_else(PoisonError::into_inner).get(name).map(Arc::clone)
    }

    /// The tools that a policy leaves, in alphabetical order.
    pub(crate) fn allowed(&self, policy: &Policy) -> Vec<Arc<dyn Tool>> {
        self.tools
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .filter(|(name, tool)| policy.allows(name, tool.owner_only()))
            .map(|(_, tool)| Arc::clone(tool))
            .collect()
    }

    /// Every tool name this gateway has.
    pub(crate) fn names(&self) -> Vec<String> {
        self.tools.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    pub(crate) fn catalog(&self, agent: &str) -> Value {
        catalog::render(agent, &self.names())
    }
}

/// The argument as text under any of its names.
pub(crate) fn text_argument<'a>(arguments: &'a Value, names: &[&str]) -> Option<&'a str> {
    names.iter().find_map(|name| arguments.get(*name)?.as_str())
}

/// The argument as a whole number; models send `10`, `10.0` and `"10"`.
pub(crate) fn number_argument(arguments: &Value, name: &str) -> Option<u64> {
    let value = arguments.get(name)?;
    value
        .as_u64()
        .or_else(|| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "checked to be a small non-negative number"
            )]
            value.as_f64().filter(|n| (0.0..1e15).contains(n)).map(|n| n as u64)
        })
        .or_else(|| value.as_str()?.trim().parse().ok())
}
