//! `docs`: where the documentation is, and what of it answers a question.

use std::time::Duration;

use rmcp::ServiceExt;
use rmcp::model::{CallToolRequestParams, ClientCapabilities, ClientConfig, Implementation};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use serde_json::{Value, json};

use crate::agents::providers::http::Http;
use crate::base::VERSION;
use crate::base::cause::innermost;
use crate::cli::args::network::DocsArgs;
use crate::cli::context::Context;
use crate::cli::ui::page::Page;
use crate::cli::ui::{CommandResult, Failure, Outcome};

/// The documentation's own server of tools.
const SERVER: &str = "https://docs.openclaw.ai/mcp";
const TOOL: &str = "SearchOpenClaw";
const LIMIT: Duration = Duration::from_secs(30);

/// Characters of a hit that are shown.
const SNIPPET: usize = 220;

pub(super) fn run(context: &Context, args: &DocsArgs) -> CommandResult {
    let query = args.query.join(" ").trim().to_owned();
    if query.is_empty() {
        let program = context.program();
        return Ok(Outcome::text(format!(
            "Docs: https://docs.openclaw.ai/\nSearch: {program} docs \"your query\""
        )));
    }
    let found = context.block_on(async {
        let answer = tokio::time::timeout(LIMIT, search(&query)).await;
        let late = || Err(format!("no answer within {} s", LIMIT.as_secs()));
        let found = answer.unwrap_or_else(|_| late());
        found.map_err(|why| Failure::new(format!("Docs search failed: {why}")))
    })?;
    Ok(Outcome::text(page(&query, &found)))
}

/// The answer of the search tool as text.
async fn search(query: &str) -> Result<String, String> {
    let http = Http::default().client(SERVER).map_err(|err| err.to_string())?;
    let config = StreamableHttpClientTransportConfig::with_uri(SERVER);
    let transport = StreamableHttpClientTransport::with_client(http, config);
    let who = Implementation::new("openclaw", VERSION);
    let client = ClientConfig::new(ClientCapabilities::default(), who)
        .serve(transport)
        .await
        .map_err(|err| why(&err))?;
    let arguments = json!({ "query": query }).as_object().cloned().unwrap_or_default();
    let request = CallToolRequestParams::new(TOOL).with_arguments(arguments);
    let answer = client.call_tool(request).await.map_err(|err| why(&err))?;
    let answer = serde_json::to_value(&answer).unwrap_or_default();
    let texts: Vec<&str> = answer["content"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|block| block["text"].as_str())
        .collect();
    if answer["isError"] == true { Err(texts.join("\n")) } else { Ok(texts.join("\n")) }
}

fn why(err: &dyn std::error::Error) -> String {
    format!("{SERVER}: {}", innermost(err))
}

/// The hits as a list in Markdown.
fn page(query: &str, found: &str) -> String {
    let mut page = Page::default();
    page.line(format!("# Docs search: {}", escaped(query)));
    page.gap();
    let hits = hits(found);
    if hits.is_empty() {
        page.line("_No results._");
    }
    for hit in &hits {
        let text = |key: &str| hit[key].as_str().unwrap_or_default();
        let snippet = escaped(text("snippet"));
        let dash = if snippet.is_empty() { "" } else { " - " };
        page.line(format!("- [{}]({}){dash}{snippet}", escaped(text("title")), text("link")));
    }
    page.into()
}

/// Blocks of `Title:`, `Link:` and `Content:`.
fn hits(found: &str) -> Vec<Value> {
    let found = found.replace('\r', "");
    let mut blocks: Vec<Vec<&str>> = Vec::new();
    for line in found.lines() {
        if line.starts_with("Title: ") || blocks.is_empty() {
            blocks.push(Vec::new());
        }
        if let Some(block) = blocks.last_mut() {
            block.push(line);
        }
    }
    blocks
        .iter()
        .filter_map(|lines| {
            let field = |name: &str| lines.iter().find_map(|line| line.strip_prefix(name));
            let (title, link) = (field("Title:")?.trim(), field("Link:")?.trim());
            let at = lines.iter().position(|line| line.starts_with("Content:"));
            let first = field("Content:").unwrap_or_default().trim().to_owned();
            let content = if first.is_empty() {
                let rest = at.map_or(&[][..], |at| &lines[at + 1..]);
                let rest = rest.iter().skip_while(|line| line.trim().is_empty());
                let lines: Vec<&str> =
                    rest.take_while(|line| !line.trim().is_empty()).copied().collect();
                lines.join(" ")
            } else {
                first
            };
            (!title.is_empty() && !link.is_empty())
                .then(|| json!({ "title": title, "link": link, "snippet": cut(&content) }))
        })
        .collect()
}

fn cut(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.chars().count() <= SNIPPET {
        return text;
    }
    let kept: String = text.chars().take(SNIPPET - 3).collect();
    format!("{kept}...")
}

/// What Markdown would take for a link is not one.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars().filter(|c| !c.is_control()) {
        if matches!(c, '(' | ')' | '[' | ']') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_become_a_list_and_nothing_becomes_a_sentence() {
        let found = "Title: Hooks (HTTP)\nLink: https://docs.openclaw.ai/hooks\nContent: How to\n\
                     Title: Jobs\nLink: https://docs.openclaw.ai/cron\nContent:\n\n# Head\nmore\n\n\
                     last\nTitle: no link";
        assert_eq!(
            page("web [x]", found),
            "# Docs search: web \\[x\\]\n\n- [Hooks \\(HTTP\\)](https://docs.openclaw.ai/hooks) - How to\n\
             - [Jobs](https://docs.openclaw.ai/cron) - # Head more\n"
        );
        assert_eq!(page("x", "nothing"), "# Docs search: x\n\n_No results._\n");
        assert!(cut(&"a ".repeat(300)).ends_with("..."));
    }
}
