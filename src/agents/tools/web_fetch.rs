//! `web_fetch`: a page of the public web as text. Never reaches this host or a
//! private network: the address is checked when it is resolved, so that a name
//! cannot point somewhere else a moment later.

use std::collections::HashMap;
use std::fmt;
use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use reqwest::Url;
use reqwest::dns::Addrs;
use reqwest::dns::Name;
use reqwest::dns::Resolve;
use reqwest::dns::Resolving;
use reqwest::header::CONTENT_TYPE;
use reqwest::header::LOCATION;
use serde_json::Value;
use serde_json::json;

use crate::agents::providers::ToolSpec;
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
    client: OnceLock<reqwest::Client>,
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
        let mut target = checked(url)?;
        for _ in 0..=MOST_REDIRECTS {
            let answer =
                self.client()?.get(target.clone()).send().await.map_err(|err| reason(&err))?;
            if answer.status().is_redirection()
                && let Some(next) = answer.headers().get(LOCATION)
            {
                let next = next.to_str().map_err(|_| "redirect to an unreadable address")?;
                let joined = target.join(next).map_err(|err| format!("bad redirect: {err}"))?;
                target = checked(joined.as_str())?;
                continue;
            }
            return read(target, answer, markdown).await;
        }
        Err(format!("more than {MOST_REDIRECTS} redirects"))
    }

    fn client(&self) -> Result<&reqwest::Client, String> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        if rustls::crypto::ring::default_provider().install_default().is_err() {
            tracing::trace!("a crypto provider is installed already");
        }
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .dns_resolver(Arc::new(PublicOnly))
            .connect_timeout(Duration::from_secs(10))
            .pool_max_idle_per_host(0)
            .user_agent(concat!("openclaw/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|err| reason(&err))?;
        Ok(self.client.get_or_init(|| client))
    }
}

/// The innermost cause says what happened; the outer ones repeat the address.
fn reason(err: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = err;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// An address that may be fetched, as far as its text tells.
fn checked(url: &str) -> Result<Url, String> {
    let url = Url::parse(url).map_err(|err| format!("not an address: {err}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("{} addresses are not fetched, only http and https", url.scheme()));
    }
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_lowercase();
    let named_local = host == "localhost"
        || [".localhost", ".local", ".internal", ".home.arpa"]
            .iter()
            .any(|end| host.ends_with(end));
    if host.is_empty() || named_local || host.parse::<IpAddr>().is_ok_and(|ip| !is_public(ip)) {
        return Err(format!("{host} is not a public address"));
    }
    Ok(url)
}

/// Resolves names, and refuses those that lead into a private network.
#[derive(Debug)]
struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            if found.iter().any(|address| !is_public(address.ip())) {
                let refused = io::Error::other(NotPublic(host));
                return Err(Box::<dyn std::error::Error + Send + Sync>::from(refused));
            }
            let addresses: Addrs = Box::new(found.into_iter());
            Ok(addresses)
        })
    }
}

#[derive(Debug)]
struct NotPublic(String);

impl fmt::Display for NotPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not a public address", self.0)
    }
}

impl std::error::Error for NotPublic {}

fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => {
            let segments = ip.segments();
            let embedded = ip.to_ipv4_mapped().or_else(|| match segments {
                // Translated (64:ff9b::/96) and 6to4 (2002::/16) addresses.
                [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
                    Some(v4(high, low))
                }
                _ => None,
            });
            match embedded {
                Some(ip) => is_public_v4(ip),
                // 2000::/3 is what is public; without documentation and Teredo.
                None => {
                    segments[0] & 0xe000 == 0x2000
                        && !(segments[0] == 0x2001 && matches!(segments[1], 0 | 0xdb8))
                }
            }
        }
    }
}

fn v4(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from((u32::from(high) << 16) | u32::from(low))
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    !(ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_multicast()
        || ip.is_broadcast()
        || ip.is_documentation()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 198 && (b == 18 || b == 19))
        || (a == 192 && b == 0 && c == 0))
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
    let mut bytes: Vec<u8> = Vec::new();
    let mut cut = false;
    let mut body = answer.bytes_stream();
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|err| reason(&err))?;
        let room = MOST_BYTES - bytes.len();
        bytes.extend_from_slice(&piece[..piece.len().min(room)]);
        if piece.len() > room {
            cut = true;
            break;
        }
    }
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
    fn private_addresses_are_refused_in_every_spelling() {
        for url in [
            "http://127.0.0.1/",
            "http://localhost:8080/",
            "http://10.0.0.1/",
            "http://192.168.1.1/",
            "http://172.16.0.1/",
            "http://169.254.169.254/latest/meta-data",
            "http://100.64.0.1/",
            "http://0.0.0.0/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://[::1]/",
            "http://[fd00::1]/",
            "http://[fe80::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[64:ff9b::7f00:1]/",
            "http://[2002:7f00:1::]/",
            "http://printer.local/",
            "ftp://example.com/",
            "file:///etc/passwd",
            "no address",
        ] {
            assert!(checked(url).is_err(), "{url}");
        }
        for url in ["https://example.com/a?b", "http://1.1.1.1/", "http://[2606:4700::1111]/"] {
            assert!(checked(url).is_ok(), "{url}");
        }
    }

    #[tokio::test]
    async fn a_name_that_resolves_to_this_host_is_refused() {
        let name: Name = "localhost".parse().unwrap();
        let err = PublicOnly.resolve(name).await.err().unwrap();
        assert!(err.to_string().contains("not a public address"), "{err}");
    }

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
