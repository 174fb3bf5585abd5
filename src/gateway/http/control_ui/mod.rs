//! The Control UI: a directory that the operator configured, or a small status
//! page of our own; its bootstrap document and the agents' avatars.
//!
//! All of it is public; what a page may do is decided when its WebSocket
//! connects.

pub mod assistant;
pub mod csp;
pub mod files;
pub mod status;

use std::path::PathBuf;

use axum::body::Body;
use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use hyper::{Method, Response, StatusCode};
use serde_json::json;

use crate::config::Snapshot;
use crate::gateway::http::percent;
use crate::gateway::http::reply::{self, Answer};
use crate::gateway::http::target;
use crate::profile::paths;

use assistant::Assistant;
use status::Facts;

const FRAME_OPTIONS: HeaderName = HeaderName::from_static("x-frame-options");
const SECURITY_POLICY: HeaderName = HeaderName::from_static("content-security-policy");
/// Where interfaces of 2026.4 and of 2026.9 look for it.
const CONFIG_PATHS: [&str; 2] = ["/__openclaw/control-ui-config.json", "/control-ui-config.json"];

/// Endings whose absence is an error rather than a page of the app.
const ASSETS: &[&str] =
    &["js", "css", "json", "map", "svg", "png", "jpg", "jpeg", "gif", "webp", "ico", "txt"];

/// The UI of one configuration.
#[derive(Debug)]
pub struct Ui {
    /// Empty, or with a slash in front and none behind.
    base: String,
    root: Root,
    assistant: Assistant,
}

#[derive(Debug)]
enum Root {
    /// No directory is configured: the status page.
    Embedded,
    Directory(PathBuf),
    /// Configured, but not there.
    Missing(PathBuf),
}

impl Ui {
    /// `None` when the UI is switched off.
    pub fn new(snapshot: &Snapshot) -> Option<Self> {
        let section = &snapshot.config.gateway.control_ui;
        if section.enabled == Some(false) {
            return None;
        }
        let trimmed = section.base_path.trim().trim_matches('/');
        let base = if trimmed.is_empty() { String::new() } else { format!("/{trimmed}") };
        let configured = section.root.as_deref().map(str::trim).filter(|root| !root.is_empty());
        let root = match configured.map(|root| paths::expand(root, &snapshot.home)) {
            None => Root::Embedded,
            Some(dir) => match dir.canonicalize() {
                Ok(real) if real.join("index.html").is_file() => Root::Directory(real),
                _ => {
                    tracing::warn!("gateway: controlUi.root not found at {}", dir.display());
                    Root::Missing(dir)
                }
            },
        };
        Some(Self { base, root, assistant: Assistant::new(snapshot) })
    }

    /// The answer for a path that no other stage took; `None` when it is none
    /// of the UI's.
    pub async fn answer(
        &self,
        method: &Method,
        path: &str,
        query: Option<&str>,
        facts: impl FnOnce() -> Facts,
    ) -> Option<Answer> {
        if method != Method::GET && method != Method::HEAD {
            return None;
        }
        let inner = self.inner_path(path)?;
        if inner.is_empty() && !self.base.is_empty() {
            return Some(self.redirect(query));
        }
        if CONFIG_PATHS.contains(&inner) {
            return Some(secured(self.bootstrap(), csp::POLICY));
        }
        if let Some(rest) = inner.strip_prefix("/avatar/") {
            return Some(secured(self.avatar(rest, query).await, csp::POLICY));
        }
        Some(self.file(inner, facts).await)
    }

    /// The path behind the base; `None` outside the UI.
    fn inner_path<'p>(&self, path: &'p str) -> Option<&'p str> {
        if self.base.is_empty() {
            let below = |prefix: &str| {
                path.strip_prefix(prefix)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            let foreign = ["/ui", "/plugins", "/api"].iter().any(|prefix| below(prefix));
            return (!foreign).then_some(path);
        }
        let rest = path.strip_prefix(self.base.as_str())?;
        (rest.is_empty() || rest.starts_with('/')).then_some(rest)
    }

    fn redirect(&self, query: Option<&str>) -> Answer {
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = StatusCode::FOUND;
        if let Ok(location) = HeaderValue::from_str(&format!("{}/{query}", self.base)) {
            answer.headers_mut().insert(LOCATION, location);
        }
        secured(answer, csp::POLICY)
    }

    fn bootstrap(&self) -> Answer {
        let body = json!({"basePath": self.base, "assistantName": self.assistant.name,
            "assistantAvatar": self.assistant.shown_avatar(&self.base)});
        uncached(reply::json(StatusCode::OK, &body))
    }

    async fn avatar(&self, rest: &str, query: Option<&str>) -> Answer {
        let id = percent::decoded(rest).unwrap_or_default().into_owned();
        if !target::is_agent_id(&id) {
            return reply::not_found();
        }
        let meta = query.unwrap_or_default().split('&').any(|pair| pair == "meta=1");
        if meta {
            let url = self.assistant.avatar_url(&id, &self.base);
            return uncached(reply::json(StatusCode::OK, &json!({"avatarUrl": url})));
        }
        let Some(path) = self.assistant.avatar_file(&id) else {
            return reply::not_found();
        };
        match files::read_image(path).await {
            Some((kind, bytes)) => {
                uncached(reply::with_type(StatusCode::OK, HeaderValue::from_static(kind), bytes))
            }
            None => reply::not_found(),
        }
    }

    async fn file(&self, inner: &str, facts: impl FnOnce() -> Facts) -> Answer {
        let wanted = percent::decoded(inner).and_then(|path| relative(&path));
        let Some(wanted) = wanted else {
            return secured(reply::not_found(), csp::POLICY);
        };
        let extension = wanted.rsplit('/').next().and_then(|name| name.rsplit_once('.'));
        let is_asset = extension
            .is_some_and(|(_, ending)| ASSETS.contains(&ending.to_ascii_lowercase().as_str()));
        let root = match &self.root {
            Root::Embedded if is_asset => {
                return match status::asset(&wanted) {
                    Some(bytes) => asset(&wanted, Bytes::from_static(bytes)),
                    None => secured(reply::not_found(), csp::POLICY),
                };
            }
            Root::Embedded => return page(status::page(&facts())),
            Root::Missing(dir) => {
                let text = format!(
                    "Control UI assets not found at {}. Set gateway.controlUi.root to a directory \
                     with an index.html.",
                    dir.display()
                );
                return secured(reply::text(StatusCode::SERVICE_UNAVAILABLE, text), csp::POLICY);
            }
            Root::Directory(root) => root.clone(),
        };
        let found = files::read(root.clone(), wanted.clone()).await;
        match found {
            Some(bytes) if wanted.ends_with("index.html") => page(bytes),
            Some(bytes) => asset(&wanted, bytes),
            None if is_asset => secured(reply::not_found(), csp::POLICY),
            None => match files::read(root, "index.html".to_owned()).await {
                Some(bytes) => page(bytes),
                None => secured(reply::not_found(), csp::POLICY),
            },
        }
    }
}

/// The file that a path asks for, relative to the root; `None` when it tries
/// to leave it.
fn relative(path: &str) -> Option<String> {
    // Deep links of the app ask for assets below their own path.
    let path = match path.find("/assets/") {
        Some(at) => &path[at + 1..],
        None => path.trim_start_matches('/'),
    };
    let bad = |part: &str| part == ".." || part == "." || part.contains(['\\', '\0']);
    if path.split('/').any(bad) || path.starts_with('/') {
        return None;
    }
    Some(if path.is_empty() || path.ends_with('/') {
        format!("{path}index.html")
    } else {
        path.to_owned()
    })
}

fn asset(name: &str, bytes: Bytes) -> Answer {
    let kind = HeaderValue::from_static(files::content_type(name));
    secured(uncached(reply::with_type(StatusCode::OK, kind, bytes)), csp::POLICY)
}

/// A page, with a policy that lets its own inline scripts run.
fn page(html: Bytes) -> Answer {
    let policy = csp::for_page(&html);
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    secured(uncached(reply::with_type(StatusCode::OK, kind, html)), &policy)
}

fn uncached(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    answer
}

fn secured(mut answer: Answer, policy: &str) -> Answer {
    let headers = answer.headers_mut();
    headers.insert(FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    if let Ok(policy) = HeaderValue::from_str(policy) {
        headers.insert(SECURITY_POLICY, policy);
    }
    headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside_and_deep_assets_are_found() {
        let cases = [
            ("/", Some("index.html")),
            ("/sub/", Some("sub/index.html")),
            ("/chat/assets/x.css", Some("assets/x.css")),
            ("/chat", Some("chat")),
            ("/../etc/passwd", None),
            ("//etc/passwd", Some("etc/passwd")),
            ("/a\\..\\b", None),
            ("/a\0b", None),
        ];
        for (path, expected) in cases {
            assert_eq!(relative(path).as_deref(), expected, "{path:?}");
        }
    }
}
