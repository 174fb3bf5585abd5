//! The three ways in which providers are asked for vectors, one request for
//! all texts.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::agents::embeddings::EmbedError;
use crate::agents::providers::ModelRef;
use crate::agents::providers::http::{self, Http};

/// Largest answer that is read: 128 long vectors written out are 10 MB.
const MAX_ANSWER: usize = 64 * 1024 * 1024;
const IDLE: Duration = Duration::from_secs(60);

/// How a provider is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// `POST {base}/embeddings`.
    OpenAi {
        /// The name of the field for the length of vectors.
        dimensions: &'static str,
        /// Whether texts are marked as documents.
        document: bool,
    },
    /// `POST {base}/models/{model}:batchEmbedContents`.
    Gemini,
    /// `POST {base}/api/embed`.
    Ollama,
}

impl Dialect {
    /// The base of the native API when the address of an OpenAI-compatible one
    /// is configured.
    pub(super) fn base(self, url: &str) -> &str {
        let url = url.trim_end_matches('/');
        match self {
            Self::OpenAi { .. } => url,
            Self::Gemini => url.find("/openai").map_or(url, |at| &url[..at]),
            Self::Ollama => url.strip_suffix("/v1").unwrap_or(url),
        }
    }

    fn url(self, model: &ModelRef) -> String {
        match self {
            Self::OpenAi { .. } => http::join(&model.base_url, "embeddings"),
            Self::Gemini => {
                http::join(&model.base_url, &format!("{}:batchEmbedContents", gemini_path(model)))
            }
            Self::Ollama => http::join(&model.base_url, "api/embed"),
        }
    }

    fn body(self, model: &ModelRef, texts: &[String], dimensions: Option<u64>) -> Value {
        match self {
            Self::OpenAi { dimensions: field, document } => {
                let mut body = json!({"model": model.id, "input": texts});
                if let Some(dimensions) = dimensions {
                    body[field] = json!(dimensions);
                }
                if document {
                    body["input_type"] = json!("document");
                }
                body
            }
            Self::Gemini => {
                let requests = texts.iter().map(|text| {
                    let mut request = json!({"model": gemini_path(model),
                        "content": {"parts": [{"text": text}]}, "taskType": "RETRIEVAL_DOCUMENT"});
                    if let Some(dimensions) = dimensions {
                        request["outputDimensionality"] = json!(dimensions);
                    }
                    request
                });
                json!({"requests": requests.collect::<Vec<_>>()})
            }
            Self::Ollama => {
                let mut body = json!({"model": model.id, "input": texts});
                if let Some(dimensions) = dimensions {
                    body["dimensions"] = json!(dimensions);
                }
                body
            }
        }
    }

    /// The vectors of an answer, in the order of the texts.
    fn vectors(self, answer: &Value, count: usize) -> Result<Vec<Vec<f64>>, EmbedError> {
        let broken = |what: &str| EmbedError::Answer(format!("the provider's answer {what}"));
        let rows = match self {
            Self::OpenAi { .. } => &answer["data"],
            Self::Gemini | Self::Ollama => &answer["embeddings"],
        };
        let rows = rows.as_array().ok_or_else(|| broken("has no vectors"))?;
        if rows.len() != count {
            return Err(broken(&format!("has {} vectors for {count} texts", rows.len())));
        }
        let mut vectors = vec![Vec::new(); count];
        for (place, row) in rows.iter().enumerate() {
            let (slot, numbers) = match self {
                Self::OpenAi { .. } => {
                    let index = row["index"].as_u64().and_then(|it| usize::try_from(it).ok());
                    (index.unwrap_or(place), &row["embedding"])
                }
                Self::Gemini => (place, &row["values"]),
                Self::Ollama => (place, row),
            };
            let vector: Option<Vec<f64>> =
                numbers.as_array().and_then(|all| all.iter().map(Value::as_f64).collect());
            let mut vector = vector.ok_or_else(|| broken("has a vector that is no numbers"))?;
            if !matches!(self, Self::OpenAi { .. }) {
                normalize(&mut vector);
            }
            match vectors.get_mut(slot) {
                Some(free) if free.is_empty() => *free = vector,
                _ => return Err(broken("numbers its vectors wrongly")),
            }
        }
        Ok(vectors)
    }
}

fn gemini_path(model: &ModelRef) -> String {
    let id = ["models/", "gemini/", "google/"]
        .iter()
        .fold(model.id.as_str(), |id, prefix| id.strip_prefix(prefix).unwrap_or(id));
    format!("models/{id}")
}

/// Brings a vector to length one; callers compare vectors by their angle.
fn normalize(vector: &mut [f64]) {
    let length = vector.iter().map(|number| number * number).sum::<f64>().sqrt();
    if length > 1e-10 {
        for number in vector {
            *number /= length;
        }
    }
}

pub(super) async fn ask(
    http: &Http,
    model: &ModelRef,
    dialect: Dialect,
    texts: &[String],
    dimensions: Option<u64>,
) -> Result<Vec<Vec<f64>>, EmbedError> {
    let key = model.api_key.as_ref().map(|key| key.expose().to_owned());
    let own = match (dialect, key) {
        (_, None) => Vec::new(),
        (Dialect::Gemini, Some(key)) => vec![("x-goog-api-key", key)],
        (_, Some(key)) => vec![("authorization", format!("Bearer {key}"))],
    };
    let headers = http::headers(model, &own)?;
    let body = dialect.body(model, texts, dimensions);
    let response = http.post(&dialect.url(model), headers, Bytes::from(body.to_string())).await?;
    let answer = read(response).await?;
    dialect.vectors(&answer, texts.len())
}

async fn read(response: reqwest::Response) -> Result<Value, EmbedError> {
    let broken = |what: &str| EmbedError::Answer(format!("the provider's answer {what}"));
    let mut bytes = Vec::new();
    let mut pieces = response.bytes_stream();
    loop {
        match tokio::time::timeout(IDLE, pieces.next()).await {
            Ok(Some(Ok(piece))) if bytes.len() + piece.len() <= MAX_ANSWER => {
                bytes.extend_from_slice(&piece);
            }
            Ok(Some(Ok(_))) => return Err(broken("is too large")),
            Ok(Some(Err(_))) => return Err(broken("was cut short")),
            Ok(None) => break,
            Err(_) => return Err(broken("stopped in the middle")),
        }
    }
    serde_json::from_slice(&bytes).map_err(|err| broken(&format!("is not JSON: {err}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPENAI: Dialect = Dialect::OpenAi { dimensions: "dimensions", document: false };

    fn model(id: &str, base: &str) -> ModelRef {
        ModelRef { id: id.into(), base_url: base.into(), ..ModelRef::default() }
    }

    #[test]
    fn each_dialect_asks_for_all_texts_at_once() {
        let texts = ["a".to_owned(), "b".to_owned()];
        let openai = model("m", "http://h/v1");
        assert_eq!(OPENAI.url(&openai), "http://h/v1/embeddings");
        assert_eq!(
            OPENAI.body(&openai, &texts, Some(3)),
            json!({"model": "m", "input": ["a", "b"], "dimensions": 3})
        );
        let gemini = model("google/g", "http://h/v1beta");
        assert_eq!(Dialect::Gemini.url(&gemini), "http://h/v1beta/models/g:batchEmbedContents");
        let body = Dialect::Gemini.body(&gemini, &texts, None);
        assert_eq!(body["requests"][1]["content"]["parts"][0]["text"], "b");
        assert_eq!(body["requests"][0]["model"], "models/g");
        let ollama = model("n", Dialect::Ollama.base("http://h:11434/v1/"));
        assert_eq!(Dialect::Ollama.url(&ollama), "http://h:11434/api/embed");
        assert_eq!(Dialect::Gemini.base("http://h/v1beta/openai/"), "http://h/v1beta");
    }

    #[test]
    fn vectors_are_put_in_order_and_foreign_answers_are_refused() {
        let answer =
            json!({"data": [{"index": 1, "embedding": [2]}, {"index": 0, "embedding": [1]}]});
        assert_eq!(OPENAI.vectors(&answer, 2).unwrap(), [[1.0], [2.0]]);
        let gemini = json!({"embeddings": [{"values": [3.0, 4.0]}]});
        assert_eq!(Dialect::Gemini.vectors(&gemini, 1).unwrap(), [[0.6, 0.8]]);
        let ollama = json!({"embeddings": [[0.0, 2.0]]});
        assert_eq!(Dialect::Ollama.vectors(&ollama, 1).unwrap(), [[0.0, 1.0]]);
        for (wrong, count) in [
            (json!({}), 1),
            (json!({"data": [{"embedding": [1]}]}), 2),
            (json!({"data": [{"embedding": ["x"]}]}), 1),
            (json!({"data": [{"index": 9, "embedding": [1]}]}), 1),
            (json!({"data": [{"index": 0, "embedding": [1]}, {"index": 0, "embedding": [1]}]}), 2),
        ] {
            assert!(OPENAI.vectors(&wrong, count).is_err(), "{wrong}");
        }
    }
}
