//! One tool of a connected server.

use std::time::Duration;

use futures_util::future::BoxFuture;
use rmcp::model::{CallToolRequestParams, CallToolResult, ContentBlock, ResourceContents};
use serde_json::{Value, json};

use crate::agents::mcp::connect::Peer;
use crate::agents::providers::ToolSpec;
use crate::agents::tools::{Tool, ToolContext, ToolResult};

/// Characters of text of one result.
const MOST_TEXT: usize = 200_000;
/// How long one call may take.
const CALL: Duration = Duration::from_secs(10 * 60);

#[derive(Debug)]
pub(super) struct McpTool {
    spec: ToolSpec,
    server: String,
    /// As the server calls it.
    name: String,
    peer: Peer,
}

impl McpTool {
    pub(super) fn new(full: String, server: &str, tool: &rmcp::model::Tool, peer: &Peer) -> Self {
        let description = tool.description.as_deref().or(tool.title.as_deref()).unwrap_or_default();
        // Model servers refuse what does not say that it is an object.
        let mut parameters = (*tool.input_schema).clone();
        parameters.entry("type").or_insert("object".into());
        parameters.entry("properties").or_insert_with(|| json!({}));
        let spec = ToolSpec {
            name: full,
            description: description.to_owned(),
            parameters: Value::Object(parameters),
        };
        let (server, name) = (server.to_owned(), tool.name.clone().into_owned());
        Self { spec, server, name, peer: peer.clone() }
    }
}

impl Tool for McpTool {
    fn spec(&self) -> ToolSpec {
        self.spec.clone()
    }

    fn summary(&self) -> &'static str {
        "Tool of a connected server"
    }

    fn call<'a>(&'a self, context: &'a ToolContext, arguments: Value) -> BoxFuture<'a, ToolResult> {
        Box::pin(async move {
            let mut params = CallToolRequestParams::new(self.name.clone());
            params.arguments = match arguments {
                Value::Object(arguments) => Some(arguments),
                _ => None,
            };
            let call = tokio::time::timeout(CALL, self.peer.call_tool(params));
            let answer = tokio::select! {
                answer = call => answer,
                () = context.cancel.cancelled() => return ToolResult::error("aborted"),
            };
            match answer {
                Ok(Ok(result)) => translate(result),
                Ok(Err(err)) => ToolResult::error(format!("MCP server {}: {err}", self.server)),
                Err(_) => ToolResult::error(format!(
                    "MCP server {} did not answer within {} s",
                    self.server,
                    CALL.as_secs()
                )),
            }
        })
    }
}

/// A server's answer in transcript form.
fn translate(result: CallToolResult) -> ToolResult {
    let mut left = MOST_TEXT;
    let mut text = |text: &str| {
        let short = crate::agents::sessions::ellipsis(text, left.max(1));
        left = left.saturating_sub(short.chars().count());
        json!({"type": "text", "text": short})
    };
    let mut content: Vec<Value> = Vec::new();
    for block in result.content {
        content.push(match block {
            ContentBlock::Text(it) => text(&it.text),
            ContentBlock::Image(it) => {
                json!({"type": "image", "data": it.data, "mimeType": it.mime_type})
            }
            ContentBlock::Audio(it) => text(&format!("[audio, {}]", it.mime_type)),
            ContentBlock::Resource(it) => match it.resource {
                ResourceContents::TextResourceContents { text: inner, .. } => text(&inner),
                ResourceContents::BlobResourceContents { uri, .. } => {
                    text(&format!("[resource {uri}]"))
                }
                _ => text("[resource]"),
            },
            ContentBlock::ResourceLink(it) => text(&format!("[resource {}]", it.uri)),
            _ => text("[content of an unknown kind]"),
        });
    }
    if content.is_empty() {
        let shown = result.structured_content.as_ref().map_or_else(
            || "(no output)".to_owned(),
            |value| serde_json::to_string_pretty(value).unwrap_or_default(),
        );
        content.push(text(&shown));
    }
    ToolResult {
        content,
        details: result.structured_content,
        is_error: result.is_error.unwrap_or(false),
        ..ToolResult::default()
    }
}
