//! `POST /v1/embeddings`: vectors from the provider that the agent's
//! `memorySearch` names.

use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};

use crate::agents::embeddings::{Target, TargetError};
use crate::gateway::State;
use crate::gateway::http::body;
use crate::gateway::http::prepared::Prepared;
use crate::gateway::http::reply::{self, Answer};
use crate::gateway::http::target;

const MAX_BODY: usize = 5 * 1024 * 1024;
const MAX_INPUTS: usize = 128;
/// Lengths are counted as JavaScript counts them, in UTF-16 units.
const MAX_CHARS: usize = 8192;
const MAX_TOTAL_CHARS: usize = 65_536;

/// Answers a request whose caller has been checked.
pub async fn answer(
    state: &State,
    prepared: &Prepared,
    headers: &HeaderMap,
    body: Body,
) -> Result<Answer, Answer> {
    let fields = body::read_object(headers, body, MAX_BODY).await?;
    let model = fields.get("model").and_then(Value::as_str).map(str::trim).unwrap_or_default();
    if model.is_empty() {
        return Err(reply::invalid("Missing `model`."));
    }
    let agent = target::agent(prepared, headers, model)?;
    let texts = inputs(fields.get("input"))?;
    let chosen = target::header(headers, "x-openclaw-model");
    let target = Target::of(&prepared.snapshot.config, &agent, chosen).map_err(|err| {
        reply::invalid(match err {
            TargetError::Provider(_) => {
                "This agent does not allow that embedding provider on `/v1/embeddings`."
            }
            TargetError::Model(_) => "Unsupported embedding model reference.",
        })
    })?;
    let target = target.with_dimensions(dimensions(&fields));
    let vectors = state.agents.embed(&agent, target, &texts).await.map_err(|err| {
        tracing::warn!("openai-compat: embeddings request failed: {err}");
        reply::internal_error()
    })?;
    let base64 = fields.get("encoding_format").is_some_and(|format| format == "base64");
    let data: Vec<Value> = vectors
        .into_iter()
        .enumerate()
        .map(|(index, vector)| {
            let embedding = if base64 { json!(packed(&vector)) } else { json!(vector) };
            json!({"object": "embedding", "index": index, "embedding": embedding})
        })
        .collect();
    let body = json!({"object": "list", "data": data, "model": model,
        "usage": {"prompt_tokens": 0, "total_tokens": 0}});
    Ok(reply::json(StatusCode::OK, &body))
}

/// The texts of `input`, within the limits.
fn inputs(input: Option<&Value>) -> Result<Vec<String>, Answer> {
    let texts: Option<Vec<String>> = match input {
        Some(Value::String(text)) => Some(vec![text.clone()]),
        Some(Value::Array(all)) => all.iter().map(|it| it.as_str().map(str::to_owned)).collect(),
        _ => None,
    };
    let texts =
        texts.ok_or_else(|| reply::invalid("`input` must be a string or an array of strings."))?;
    if texts.len() > MAX_INPUTS {
        return Err(reply::invalid(&format!("Too many inputs (max {MAX_INPUTS}).")));
    }
    let mut total = 0;
    for text in &texts {
        let length = text.encode_utf16().count();
        total += length;
        if length > MAX_CHARS {
            return Err(reply::invalid(&format!("Input too long (max {MAX_CHARS} chars).")));
        }
        if total > MAX_TOTAL_CHARS {
            let message = format!("Total input too large (max {MAX_TOTAL_CHARS} chars).");
            return Err(reply::invalid(&message));
        }
    }
    Ok(texts)
}

/// A positive number, without its fraction; anything else is ignored.
fn dimensions(fields: &Map<String, Value>) -> Option<u64> {
    let number = fields.get("dimensions")?.as_f64()?.floor();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be a small positive number"
    )]
    (1.0..1e9).contains(&number).then_some(number as u64)
}

/// Little-endian 32-bit floats in base64, as the SDKs ask for.
fn packed(vector: &[f64]) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "the format has 32-bit floats")]
    let bytes: Vec<u8> = vector.iter().flat_map(|number| (*number as f32).to_le_bytes()).collect();
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_packed_as_floats() {
        assert_eq!(packed(&[0.25, -0.5, 0.125]), "AACAPgAAAL8AAAA+");
    }

    #[test]
    fn inputs_are_texts_within_limits() {
        assert_eq!(inputs(Some(&json!("a"))).unwrap(), ["a"]);
        assert_eq!(inputs(Some(&json!([]))).unwrap().len(), 0);
        assert_eq!(inputs(Some(&json!(vec!["x".repeat(8192); 8]))).unwrap().len(), 8);
        for wrong in [
            None,
            Some(json!([1])),
            Some(json!({})),
            Some(json!(vec!["x"; 129])),
            Some(json!("🦞".repeat(4097))),
            Some(json!(vec!["x".repeat(8192); 9])),
        ] {
            assert_eq!(inputs(wrong.as_ref()).unwrap_err().status(), StatusCode::BAD_REQUEST);
        }
    }

    #[test]
    fn only_positive_dimensions_count() {
        let of = |value: Value| dimensions(json!({"dimensions": value}).as_object().unwrap());
        assert_eq!(of(json!(256.9)), Some(256));
        for ignored in [json!(0), json!(-1), json!("3"), json!(null), json!(0.5)] {
            assert_eq!(of(ignored), None);
        }
    }
}
