//! `web_fetch`: a page of the public web as text.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use futures_util::future::BoxFuture;
use reqwest::Url;
use reqwest::header::CONTENT_TYPE;
use serde_json::Value;
use serde_json::json;

use crate::agents::providers::ToolSpec;
use crate::agents::public_web;
use crate::agents::public_web::PublicWeb;
use crate::agents::tools::Tool;
use crate::agents::tools::ToolContext;
use crate::agents::tools::ToolResult;
use crate::agents::tools::number_argument;
use crate::agents::tools::text_argument;
use crate::base::clock::now_ms;

const TIME_LIMIT: Duration = Duration::from_secs(30);
const MOST_BYTES: usize = 2 * 1024 * 1024;
const MOST_REDIRECTS: usize = 3;
const DEFAULT_CHARS: u64 = 50_000;
const CACHE_MS: u64 = 15 * 60 * 1000;
const MOST_CACHED: usize = 32;

/// The `web_fetch` tool.
#[derive(Debug, Default)]
pub(crate) struct WebFetch {
    web: PublicWeb,
    cache: Mutex<HashMap<String, (u64, Page)>>,
}

/// What a fetch brought back.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Page {
    url: String,
    status: u16,
    content_type: String,
    title: Option<String>,
    text: String,
    cut: bool,
}

impl Tool for WebFetch {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "web_fetch".to_owned(),
            description: "Fetch an http or https page and return its readable text. For public \
                          addresses only; runs no scripts."
                .to_owned(),
            parameters: json!({"type": "object", "required": ["url"], "properties": {
                "url": {"type": "string", "description": "Address, http or https"},
                "extractMode": {"type": "string", "enum": ["markdown", "text"],
                    "description": "Keep headings, lists and links, or plain text", "default": "markdown"},
                "maxChars": {"type": "number", "minimum": 100, "description": "Most characters returned"}}}),
        }
    }

    fn summary(&self) -> &'static str {
        "Fetch web pages as text"
    }

    fn call<'a>(&'a self, context: &'a ToolContext, arguments: Value) -> BoxFuture<'a, ToolResult> {
        Box::pin(async move {
            let url = text_argument(&arguments, &["url"]).map(str::trim).unwrap_or_default();
            let markdown = text_argument(&arguments, &["extractMode"]) != Some("text");
            let most = number_argument(&arguments, "maxChars").unwrap_or(DEFAULT_CHARS).max(100);
            let most = usize::try_from(most).unwrap_or(usize::MAX).min(MOST_BYTES);
            let work = async {
                tokio::time::timeout(TIME_LIMIT, self.fetch(url, markdown))
                    .await
                    .unwrap_or_else(|_| Err(format!("no answer within {} s", TIME_LIMIT.as_secs())))
            };
            let result = tokio::select! {
                result = work => result,
                () = context.cancel.cancelled() => Err("aborted".to_owned()),
            };
            match result {
                Ok(page) => render(&page, most).with_meta(format!("from {url}")),
                Err(reason) => ToolResult::error(format!("Cannot fetch {url}: {reason}")),
            }
        })
    }
}

impl WebFetch {
    async fn fetch(&self, url: &str, markdown: bool) -> Result<Page, String> {
        let key = format!("{markdown} {url}");
        let now = now_ms();
        let known = {
            let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            cache.get(&key).filter(|(at, _)| now.saturating_sub(*at) < CACHE_MS).cloned()
        };
        if let Some((_, page)) = known {
            return Ok(page);
        }
        let page = self.fetch_fresh(url, markdown).await?;
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= MOST_CACHED {
            cache.retain(|_, (at, _)| now.saturating_sub(*at) < CACHE_MS);
            if cache.len() >= MOST_CACHED {
                cache.clear();
            }
        }
        cache.insert(key, (now, page.clone()));
        Ok(page)
    }

    async fn fetch_fresh(&self, url: &str, markdown: bool) -> Result<Page, String> {
        let (url, answer) = self.web.get(url, MOST_REDIRECTS, &[]).await?;
        read(url, answer, markdown).await
    }
}

async fn read(url: Url, answer: reqwest::Response, markdown: bool) -> Result<Page, String> {
    let status = answer.status().as_u16();
    let content_type = answer
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("text/plain")
        .to_owned();
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let readable = kind.starts_with("text/") || kind.contains("json") || kind.contains("xml");
    if !readable {
        return Err(format!("the answer is {kind}, not text"));
    }
    let (bytes, cut) = public_web::read(answer, MOST_BYTES).await?;
    let body = String::from_utf8_lossy(&bytes);
    let (title, text) = if kind.contains("html") {
        crate::agents::tools::html::readable(&body, markdown)
    } else {
        (None, body.trim().to_owned())
    };
    Ok(Page { url: url.to_string(), status, content_type: kind, title, text, cut })
}

fn render(page: &Page, most: usize) -> ToolResult {
    let chars = page.text.chars().count();
    let text: String = page.text.chars().take(most).collect();
    let mut shown = format!("Content of {} (HTTP {}), written by others:\n", page.url, page.status);
    if let Some(title) = &page.title {
        // Writing to a String cannot fail.
        let _ = writeln!(shown, "Title: {title}");
    }
    shown.push('\n');
    shown.push_str(if text.is_empty() { "(no text)" } else { &text });
    let cut = page.cut || chars > most;
    if cut {
        shown.push_str("\n\n[… the page goes on …]");
    }
    let mut result = ToolResult::text(shown);
    result.is_error = page.status >= 400;
    result.details = Some(json!({
        "url": page.url, "status": page.status, "contentType": page.content_type,
        "title": page.title, "length": chars, "truncated": cut,
    }));
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_page_is_cut_and_says_so() {
        let page = Page {
            url: "https://example.com/".into(),
            status: 200,
            content_type: "text/html".into(),
            title: Some("T".into()),
            text: "ä".repeat(500),
            cut: false,
        };
        let result = render(&page, 100);
        let text = result.content[0]["text"].as_str().unwrap();
        assert!(text.contains("Title: T") && text.ends_with("goes on …]"));
        assert_eq!(result.details.unwrap()["truncated"], true);
    }
}
