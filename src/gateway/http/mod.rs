//! HTTP on the gateway's port: everything that is no WebSocket upgrade.
//!
//! [`Site::answer`] looks at the path and hands the request to one stage. Each
//! endpoint checks in the same order: path, method, credential, scope, body,
//! fields. Nothing here is a middleware: the common headers are added once, on
//! the way out.

pub mod admin_rpc;
pub mod body;
pub mod caller;
pub mod control_ui;
pub mod hooks;
pub mod openai;
pub mod percent;
pub mod prepared;
pub mod probes;
pub mod reply;
pub mod sessions;
pub mod target;
pub mod tools;

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::body::Body;
use futures_util::FutureExt;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    CACHE_CONTROL, HOST, HeaderName, HeaderValue, ORIGIN, REFERRER_POLICY,
    STRICT_TRANSPORT_SECURITY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{HeaderMap, Method, Request, StatusCode, Version};

use crate::agents::public_web::PublicWeb;
use crate::gateway::State;

use caller::Scope;
use control_ui::status::{Details, Facts};
use prepared::Prepared;
use reply::Answer;

const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");

/// The HTTP side of one gateway.
#[derive(Debug)]
pub struct Site {
    state: Arc<State>,
    prepared: ArcSwap<Prepared>,
    responses: openai::responses::Memory,
    hooks: hooks::Hooks,
    /// Fetches what requests refer to.
    web: PublicWeb,
}

/// What a handler needs of a request besides its body.
struct Asked<'a> {
    remote: SocketAddr,
    method: &'a Method,
    headers: &'a HeaderMap,
    prepared: &'a Prepared,
}

impl Site {
    pub fn new(state: &Arc<State>) -> Arc<Self> {
        let prepared = Prepared::new(state.config.load());
        Arc::new(Self {
            state: Arc::clone(state),
            prepared: ArcSwap::from_pointee(prepared),
            responses: openai::responses::Memory::default(),
            hooks: hooks::Hooks::default(),
            web: PublicWeb::default(),
        })
    }

    /// Answers one request. A panic in a handler is answered, not passed on.
    pub async fn answer(&self, remote: SocketAddr, request: Request<Body>) -> Answer {
        let prepared = self.prepared();
        if request.version() == Version::HTTP_11 && !request.headers().contains_key(HOST) {
            let mut answer = reply::closing(reply::invalid("the request has no Host header"));
            decorate(&mut answer, &prepared, None);
            return answer;
        }
        let origin = allowed_origin(&prepared, request.headers());
        let is_preflight = origin.is_some()
            && request.method() == Method::OPTIONS
            && request.headers().contains_key("access-control-request-method");
        let route = route_name(request.uri().path());
        let mut answer = if is_preflight {
            preflight()
        } else {
            let path = request.uri().path().to_owned();
            let work = self.dispatch(&prepared, remote, request);
            AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_| {
                tracing::error!(path, "an HTTP handler panicked");
                reply::internal_error()
            })
        };
        decorate(&mut answer, &prepared, origin);
        self.state.metrics.request(route, answer.status().as_u16());
        answer
    }

    /// What the configuration in force means for HTTP.
    pub fn prepared(&self) -> Arc<Prepared> {
        loop {
            let snapshot = self.state.config.load();
            let prepared = self.prepared.load_full();
            if Arc::ptr_eq(&prepared.snapshot, &snapshot) {
                return prepared;
            }
            // Looked at once more: it may have been replaced meanwhile.
            self.prepared.store(Arc::new(Prepared::new(snapshot)));
        }
    }

    async fn dispatch(
        &self,
        prepared: &Prepared,
        remote: SocketAddr,
        request: Request<Body>,
    ) -> Answer {
        let (parts, body) = request.into_parts();
        let asked = Asked { remote, method: &parts.method, headers: &parts.headers, prepared };
        let path = percent::normalized(parts.uri.path());
        if let Some(settings) = &prepared.hooks
            && let Some(rest) = path.strip_prefix(settings.base.as_str())
            && (rest.is_empty() || rest.starts_with('/'))
        {
            let query = parts.uri.query().unwrap_or_default();
            let asked = hooks::Asked {
                remote,
                method: asked.method,
                headers: asked.headers,
                path: rest,
                query,
            };
            let outcome = self.hooks.answer(&self.state, settings, &asked, body).await;
            return outcome.unwrap_or_else(|refusal| refusal);
        }
        let outcome = match &*path {
            "/health" | "/healthz" => Ok(probes::live(asked.method)),
            "/ready" | "/readyz" => {
                Ok(probes::ready(&self.state, prepared, remote, asked.method, asked.headers))
            }
            "/v1/models" if prepared.openai() => self.models(&asked, None),
            "/v1/chat/completions" if prepared.chat.is_some() => self.chat(&asked, body).await,
            "/v1/responses" if prepared.responses.is_some() => self.responses(&asked, body).await,
            "/v1/embeddings" if prepared.openai() => self.embeddings(&asked, body).await,
            "/tools/invoke" => self.tool(&asked, body).await,
            "/api/v1/admin/rpc" if prepared.admin_rpc => self.admin_rpc(&asked, body).await,
            "/api/diagnostics/prometheus" if prepared.metrics => self.metrics(&asked),
            "/v1/models" | "/v1/chat/completions" | "/v1/embeddings" | "/v1/responses" => {
                Ok(reply::not_found())
            }
            path => {
                let query = parts.uri.query();
                match (path.strip_prefix("/v1/models/"), session_route(path)) {
                    (Some(id), _) if prepared.openai() => self.models(&asked, Some(id)),
                    (_, Some((key, action))) => self.session(&asked, key, action, query).await,
                    _ => Ok(self.page(&asked, path, query).await),
                }
            }
        };
        outcome.unwrap_or_else(|refusal| refusal)
    }

    fn models(&self, asked: &Asked<'_>, id: Option<&str>) -> Result<Answer, Answer> {
        allow(asked, &Method::GET, "GET")?;
        self.authorize(asked, Scope::Read)?;
        Ok(match id {
            None => openai::models::list(asked.prepared),
            Some(id) => openai::models::retrieve(asked.prepared, id),
        })
    }

    async fn chat(&self, asked: &Asked<'_>, body: Body) -> Result<Answer, Answer> {
        let Some(limits) = &asked.prepared.chat else {
            return Err(reply::not_found());
        };
        allow(asked, &Method::POST, "POST")?;
        let caller = self.authorize(asked, Scope::Write)?;
        let Asked { prepared, headers, .. } = asked;
        let asked = (*headers, body);
        openai::chat::answer(&self.state, prepared, limits, &caller, &self.web, asked).await
    }

    async fn responses(&self, asked: &Asked<'_>, body: Body) -> Result<Answer, Answer> {
        let Some(limits) = &asked.prepared.responses else {
            return Err(reply::not_found());
        };
        allow(asked, &Method::POST, "POST")?;
        let caller = self.authorize(asked, Scope::Write)?;
        let Asked { prepared, headers, .. } = asked;
        let (state, memory, web) = (&self.state, &self.responses, &self.web);
        let asked = (*headers, body);
        openai::responses::answer(state, prepared, memory, limits, &caller, web, asked).await
    }

    async fn embeddings(&self, asked: &Asked<'_>, body: Body) -> Result<Answer, Answer> {
        allow(asked, &Method::POST, "POST")?;
        self.authorize(asked, Scope::Write)?;
        openai::embeddings::answer(&self.state, asked.prepared, asked.headers, body).await
    }

    async fn tool(&self, asked: &Asked<'_>, body: Body) -> Result<Answer, Answer> {
        allow(asked, &Method::POST, "POST")?;
        let caller = self.authorize(asked, Scope::Write)?;
        tools::answer(&self.state, asked.prepared, &caller, asked.headers, body).await
    }

    fn metrics(&self, asked: &Asked<'_>) -> Result<Answer, Answer> {
        allow(asked, &Method::GET, "GET")?;
        self.authorize(asked, Scope::Read)?;
        let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        let text = self.state.metrics.render(&self.state);
        let mut answer = reply::with_type(StatusCode::OK, kind, text);
        answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(answer)
    }

    /// Each method asks for its own scope.
    async fn admin_rpc(&self, asked: &Asked<'_>, body: Body) -> Result<Answer, Answer> {
        if let Some(refusal) = admin_rpc::wrong_method(asked.method) {
            return Err(refusal);
        }
        let caller =
            caller::authenticate(&self.state, asked.prepared, asked.remote, asked.headers)?;
        admin_rpc::answer(&self.state, &caller, asked.headers, body).await
    }

    /// History and end of a session.
    async fn session(
        &self,
        asked: &Asked<'_>,
        key: &str,
        action: SessionAction,
        query: Option<&str>,
    ) -> Result<Answer, Answer> {
        let key = percent::decoded(key).filter(|key| !key.trim().is_empty());
        let key = key.ok_or_else(|| reply::invalid("invalid session key"))?;
        if action == SessionAction::History {
            allow(asked, &Method::GET, "GET")?;
            self.authorize(asked, Scope::Read)?;
            return sessions::history(&self.state, &key, query, asked.headers).await;
        }
        allow(asked, &Method::POST, "POST")?;
        let caller =
            caller::authenticate(&self.state, asked.prepared, asked.remote, asked.headers)?;
        if caller::is_local(asked.remote, asked.headers) {
            caller.require(Scope::Admin)?;
        } else {
            let requester = target::header(asked.headers, "x-openclaw-requester-session-key");
            if requester.is_none() {
                return Err(reply::gateway_error(
                    StatusCode::FORBIDDEN,
                    "forbidden",
                    "Session kills require a local admin request or requester session ownership.",
                ));
            }
            caller.require(Scope::Write)?;
            sessions::owned_by(&self.state, &key, requester.unwrap_or_default()).await?;
        }
        sessions::kill(&self.state, &key).await
    }

    /// The Control UI, and what no stage took.
    async fn page(&self, asked: &Asked<'_>, path: &str, query: Option<&str>) -> Answer {
        let below = |prefix: &str| {
            path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if below("/v1") {
            return reply::no_such_api();
        }
        if below("/api/channels") {
            let caller = self.authorize(asked, Scope::Read);
            return caller.map_or_else(|refusal| refusal, |_| reply::not_found());
        }
        // `/sessions` itself is a page of the Control UI; only what lies below is API.
        let session_api = path.strip_prefix("/sessions/").is_some_and(|rest| !rest.is_empty());
        if session_api || ["/tools", "/hooks", "/__openclaw__"].iter().any(|prefix| below(prefix)) {
            return reply::not_found();
        }
        let answer = match &asked.prepared.ui {
            Some(ui) => ui.answer(asked.method, path, query, || self.facts(asked)).await,
            None => None,
        };
        answer.unwrap_or_else(reply::not_found)
    }

    /// What the page of a gateway without a Control UI tells this caller.
    fn facts(&self, asked: &Asked<'_>) -> Facts {
        let Asked { prepared, remote, headers, .. } = *asked;
        let details = caller::is_local(remote, headers).then(|| {
            let (provider, model, _) = self.state.agents.default_model(None);
            Details {
                uptime_ms: self.state.uptime_ms(),
                agents: prepared.agents.clone(),
                model: format!("{provider}/{model}"),
                surfaces: vec![
                    ("Chat completions", prepared.chat.is_some()),
                    ("Responses", prepared.responses.is_some()),
                    ("Webhooks", prepared.hooks.is_some()),
                ],
                rejected: self.state.config.rejected().map(|it| it.reasons.join("; ")),
            }
        });
        Facts { phase: self.state.phase(), details }
    }

    fn authorize(&self, asked: &Asked<'_>, scope: Scope) -> Result<caller::Caller, Answer> {
        caller::authorize(&self.state, asked.prepared, asked.remote, asked.headers, scope)
    }
}

/// The endpoint of a path, for counting.
fn route_name(path: &str) -> &'static str {
    const ROUTES: [&str; 11] = [
        "/healthz",
        "/health",
        "/readyz",
        "/ready",
        "/v1/models",
        "/v1/chat/completions",
        "/v1/responses",
        "/v1/embeddings",
        "/tools/invoke",
        "/sessions",
        "/api",
    ];
    let below = |route: &str| {
        path.strip_prefix(route).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    ROUTES.into_iter().find(|route| below(route)).unwrap_or("other")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SessionAction {
    History,
    Kill,
}

/// The key, still encoded, and the action of a path below `/sessions`.
fn session_route(path: &str) -> Option<(&str, SessionAction)> {
    let (key, action) = path.strip_prefix("/sessions/")?.split_once('/')?;
    match action {
        "history" => Some((key, SessionAction::History)),
        "kill" => Some((key, SessionAction::Kill)),
        _ => None,
    }
}

fn allow(asked: &Asked<'_>, method: &Method, allow: &'static str) -> Result<(), Answer> {
    if asked.method == method { Ok(()) } else { Err(reply::method_not_allowed(allow)) }
}

/// The origin of a browser that the configuration lets in.
fn allowed_origin(prepared: &Prepared, headers: &HeaderMap) -> Option<HeaderValue> {
    if prepared.allowed_origins.is_empty() {
        return None;
    }
    let origin = headers.get(ORIGIN)?;
    let text = origin.to_str().ok()?;
    // A wildcard admits pages to the WebSocket, which asks for more than an
    // origin; it does not open the API to every page.
    let named = |allowed: &String| allowed != "*" && caller::allows(allowed, text);
    prepared.allowed_origins.iter().any(named).then(|| origin.clone())
}

fn preflight() -> Answer {
    let mut answer = Answer::new(Body::empty());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    let headers = answer.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
    headers.insert(
        ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static(
            "authorization, content-type, x-openclaw-agent-id, x-openclaw-model, \
             x-openclaw-session-key, x-stainless-arch, x-stainless-lang, x-stainless-os, \
             x-stainless-package-version, x-stainless-retry-count, x-stainless-runtime, \
             x-stainless-runtime-version, x-stainless-timeout",
        ),
    );
    answer
}

/// Headers that every answer carries.
fn decorate(answer: &mut Answer, prepared: &Prepared, origin: Option<HeaderValue>) {
    let headers = answer.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(
        PERMISSIONS_POLICY,
        HeaderValue::from_static("camera=(), microphone=(), geolocation=()"),
    );
    if let Some(value) = &prepared.strict_transport {
        headers.insert(STRICT_TRANSPORT_SECURITY, value.clone());
    }
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.append(VARY, HeaderValue::from_static("Origin"));
    }
}
