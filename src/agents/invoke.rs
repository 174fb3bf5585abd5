//! A call of one tool from outside of a run.

use std::sync::Arc;

use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::agents::Agents;
use crate::agents::mcp::{self, Patience};
use crate::agents::run::{Lane, Origin};
use crate::agents::tools::{Policy, Tool, ToolContext, ToolResult};
use crate::base::id::SessionKey;

/// What is called, for whom.
#[derive(Debug, Clone)]
pub struct ToolCall {
    pub agent: String,
    pub session_key: SessionKey,
    pub tool: String,
    pub arguments: Map<String, Value>,
    /// Stands for the call in the tool's own records.
    pub id: String,
    pub owner: bool,
}

impl Agents {
    /// The schema of a tool's arguments if the agent may use the tool.
    pub async fn tool_parameters(&self, agent: &str, tool: &str, owner: bool) -> Option<Value> {
        let patience = if tool.contains(mcp::BETWEEN) { Patience::Whole } else { Patience::Little };
        self.inner.servers.ensure(&self.inner, &self.inner.config.load(), patience).await;
        Some(self.allowed_tool(agent, tool, owner)?.spec().parameters)
    }

    /// Runs the call; `None` if the agent has no such tool. Dropping the future
    /// ends the call.
    pub async fn call_tool(&self, call: ToolCall) -> Option<ToolResult> {
        let tool = self.allowed_tool(&call.agent, &call.tool, call.owner)?;
        let cancel = CancellationToken::new();
        let _ends_with_us = cancel.clone().drop_guard();
        let context = ToolContext {
            inner: Arc::clone(&self.inner),
            snapshot: self.inner.config.load(),
            workspace: self.workspace(&call.agent),
            agent: call.agent,
            session_key: Some(call.session_key),
            run_id: call.id.clone(),
            tool_call_id: call.id,
            owner: call.owner,
            lane: Lane::Nested,
            origin: Origin::default(),
            answered: Arc::default(),
            cancel,
        };
        Some(tool.call(&context, Value::Object(call.arguments)).await)
    }

    fn allowed_tool(&self, agent: &str, name: &str, owner: bool) -> Option<Arc<dyn Tool>> {
        let (provider, model, _) = self.default_model(Some(agent));
        let snapshot = self.inner.config.load();
        let policy = Policy::of(&snapshot.config, agent, &provider, &model, owner);
        let tool = self.inner.toolbox.get(name)?;
        policy.allows(name, tool.owner_only()).then_some(tool)
    }
}
