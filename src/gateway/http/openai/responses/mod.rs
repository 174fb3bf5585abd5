//! `POST /v1/responses`, plain and streaming.

mod memory;
mod request;
mod resource;
mod stream;

use axum::body::Body;
use hyper::{HeaderMap, StatusCode};

use crate::agents::RunRequest;
use crate::agents::public_web::PublicWeb;
use crate::agents::run::{Frame, Origin, Queueing};
use crate::base::id;
use crate::gateway::State;
use crate::gateway::http::body;
use crate::gateway::http::caller::Caller;
use crate::gateway::http::openai::run::{self, ClientRun};
use crate::gateway::http::prepared::{Prepared, ResponsesLimits};
use crate::gateway::http::reply::{self, Answer};
use crate::gateway::http::target::{self, Surface};

pub use memory::Memory;

use memory::Remembered;
use request::ResponsesRequest;
use resource::Head;

/// Answers a request whose caller has been checked.
pub async fn answer(
    state: &State,
    prepared: &Prepared,
    memory: &Memory,
    limits: &ResponsesLimits,
    caller: &Caller,
    web: &PublicWeb,
    (headers, body): (&HeaderMap, Body),
) -> Result<Answer, Answer> {
    let fields = body::read_json(headers, body, limits.max_body).await?;
    let asked = ResponsesRequest::parse(fields, limits, web).await?;
    let mut target = target::resolve(
        prepared,
        headers,
        Surface::Responses,
        &asked.model,
        asked.user.as_deref(),
    )?;
    let now = state.clock.now_ms();
    let place = Remembered {
        agent: target.agent.clone(),
        explicit_session: target.explicit_session.clone(),
        principal: caller.principal.clone(),
        session: target.session.clone(),
    };
    let place = match asked.previous.as_deref().and_then(|id| memory.find(id, &place, now)) {
        Some(session) => {
            target.session = session.clone();
            Remembered { session, ..place }
        }
        None => place,
    };
    let head = Head {
        id: format!("resp_{}", id::uuid()),
        message_id: format!("msg_{}", id::uuid()),
        created_at: now / 1000,
        model: asked.model,
    };
    memory.remember(head.id.clone(), place, now);
    let request = RunRequest {
        run_id: head.id.clone(),
        agent: Some(target.agent),
        session_key: Some(target.session),
        message: asked.message,
        images: asked.images,
        extra_system_prompt: asked.system,
        model: target.model,
        max_tokens: asked.max_tokens,
        params: asked.params,
        client_tools: asked.tools,
        owner: caller.is_owner(),
        origin: Origin {
            channel: Some(target.channel.clone()),
            surface: Some(target.channel),
            ..Origin::default()
        },
        frame: Frame::Raw,
        queueing: Queueing::Wait,
        ..RunRequest::default()
    };
    let run = ClientRun::start(&state.agents, request).await?;
    if asked.stream {
        return Ok(stream::answer(run, head));
    }
    let outcome = run.outcome().await;
    if let Some((status, message, kind)) = run::failure(&outcome) {
        tracing::warn!(error = message, "openresponses: response failed");
        return Err(reply::json(status, &head.failed(kind, &message)));
    }
    Ok(reply::json(StatusCode::OK, &head.finished(&outcome)))
}
