//! `memory_search` and `memory_get`: what an agent wrote down earlier.

use futures_util::future::BoxFuture;
use serde_json::Value;
use serde_json::json;

use crate::agents::memory::{Memory, MemoryError, Query};
use crate::agents::providers::ToolSpec;
use crate::agents::tools::Tool;
use crate::agents::tools::ToolContext;
use crate::agents::tools::ToolResult;
use crate::agents::tools::number_argument;
use crate::agents::tools::text_argument;
use crate::lifecycle;

/// The `memory_search` tool.
#[derive(Debug)]
pub(crate) struct Search;

/// The `memory_get` tool.
#[derive(Debug)]
pub(crate) struct Get;

impl Tool for Search {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "memory_search".to_owned(),
            description: "Search MEMORY.md and memory/*.md by words and meaning. Returns the best \
                 passages with path and line numbers; use memory_get to read more of a file."
                .to_owned(),
            parameters: json!({"type": "object", "required": ["query"], "properties": {
                "query": {"type": "string"},
                "maxResults": {"type": "number"},
                "minScore": {"type": "number"}}}),
        }
    }

    fn summary(&self) -> &'static str {
        "Search memory files"
    }

    fn call<'a>(&'a self, context: &'a ToolContext, arguments: Value) -> BoxFuture<'a, ToolResult> {
        Box::pin(async move {
            let query = text_argument(&arguments, &["query"]).unwrap_or_default().to_owned();
            if query.trim().is_empty() {
                return ToolResult::error("Missing required parameter: query");
            }
            let most = number_argument(&arguments, "maxResults");
            let query = Query {
                text: query,
                max_results: most.map(|most| usize::try_from(most).unwrap_or(usize::MAX)),
                min_score: arguments["minScore"].as_f64(),
            };
            match context.inner.search_memory(&context.agent, query).await {
                Ok(found) => ToolResult::json(found.to_json()),
                Err(err @ MemoryError::Disabled(_)) => ToolResult::json(
                    json!({"results": [], "disabled": true, "error": err.to_string()}),
                ),
                Err(err) => ToolResult::error(err.to_string()),
            }
        })
    }
}

impl Tool for Get {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "memory_get".to_owned(),
            description: "Read MEMORY.md or a file below memory/, from a line on.".to_owned(),
            parameters: json!({"type": "object", "required": ["path"], "properties": {
                "path": {"type": "string"},
                "from": {"type": "number"},
                "lines": {"type": "number"}}}),
        }
    }

    fn summary(&self) -> &'static str {
        "Read memory files"
    }

    fn call<'a>(&'a self, context: &'a ToolContext, arguments: Value) -> BoxFuture<'a, ToolResult> {
        Box::pin(async move {
            let named = text_argument(&arguments, &["path"]).unwrap_or_default().trim().to_owned();
            let from = number_argument(&arguments, "from").unwrap_or(1).max(1);
            let lines = number_argument(&arguments, "lines").unwrap_or(200).clamp(1, 2_000);
            let memory = context.inner.memory(&context.agent);
            let read = lifecycle::spawn_blocking(move || get(&memory, &named, from, lines));
            read.await
                .unwrap_or_else(|_| ToolResult::error("internal error while reading the memory"))
        })
    }
}

fn get(memory: &Memory, named: &str, from: u64, count: u64) -> ToolResult {
    // Only what a search can return: no other file, no link out of the folder.
    let Some(path) = memory.file(named) else {
        return ToolResult::error(format!("{named} is no memory file (MEMORY.md or memory/*.md)"));
    };
    match std::fs::read(path) {
        // As a search shows it: what is no text in it is marked.
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let index = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
            let lines: Vec<&str> = text.lines().skip(index(from) - 1).take(index(count)).collect();
            ToolResult::json(json!({"path": named, "from": from, "text": lines.join("\n")}))
        }
        Err(err) => ToolResult::error(format!("Cannot read {named}: {err}")),
    }
}
