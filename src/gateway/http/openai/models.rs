//! `GET /v1/models` and `GET /v1/models/{id}`: agents, as models.

use hyper::StatusCode;

use crate::gateway::http::percent;
use crate::gateway::http::prepared::{Prepared, model_object};
use crate::gateway::http::reply::{self, Answer, INVALID};
use crate::gateway::http::target;

/// The whole list.
pub fn list(prepared: &Prepared) -> Answer {
    reply::rendered(StatusCode::OK, prepared.models.clone())
}

/// One model; `raw` is the rest of the path, still encoded.
pub fn retrieve(prepared: &Prepared, raw: &str) -> Answer {
    if raw.is_empty() {
        return reply::invalid("Missing model id.");
    }
    let Some(id) = percent::decoded(raw) else {
        return reply::invalid("Invalid model id encoding.");
    };
    if prepared.lists(&id) {
        return reply::json(StatusCode::OK, &model_object(&id));
    }
    if target::parse_model(&id).is_none() {
        return reply::invalid("Invalid model id.");
    }
    reply::openai_error(StatusCode::NOT_FOUND, &format!("Model '{id}' not found."), INVALID)
}
