//! `ollama`: native `POST {base}/api/chat`, and which models a local server
//! offers.

mod stream;
mod wire;

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use serde_json::Value;

use crate::agents::providers::http::{self, Http};
use crate::agents::providers::lines::Framing;
use crate::agents::providers::{ModelCall, Part, Provider, ProviderError};

/// How long a local server may take to list its models.
const DISCOVERY_TIMEOUT: Duration = Duration::from_millis(700);

/// The dialect.
#[derive(Debug)]
pub(super) struct Ollama(pub(super) Http);

impl Provider for Ollama {
    fn stream(
        &self,
        call: ModelCall,
    ) -> BoxFuture<'_, Result<BoxStream<'static, Result<Part, ProviderError>>, ProviderError>> {
        async move {
            let model = &call.model;
            let mut own = Vec::new();
            // Any value opts in; only a hosted server wants to see it.
            if let Some(key) = model.api_key.as_ref().filter(|key| key.expose().len() > 16) {
                own.push(("authorization", format!("Bearer {}", key.expose())));
            }
            let headers = http::headers(model, &own)?;
            let base = model.base_url.trim_end_matches('/');
            let url = http::join(base.strip_suffix("/v1").unwrap_or(base), "api/chat");
            let body = wire::request(&call);
            self.0.stream(&url, headers, &body, Framing::Ndjson, stream::Reader::default()).await
        }
        .boxed()
    }
}

/// Names of the models that the server at `base_url` has; `None` when no
/// server answers.
pub async fn discover(http: &Http, base_url: &str) -> Option<Vec<String>> {
    let url = http::join(base_url, "api/tags");
    let client = http.client(&url).ok()?;
    let ask = async {
        let answer = client.get(&url).send().await.ok()?.error_for_status().ok()?;
        answer.json::<Value>().await.ok()
    };
    let tags = tokio::time::timeout(DISCOVERY_TIMEOUT, ask).await.ok()??;
    let models = tags["models"].as_array()?;
    Some(models.iter().filter_map(|model| model["name"].as_str().map(str::to_owned)).collect())
}
