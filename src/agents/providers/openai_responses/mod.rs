//! `openai-responses`: `POST {base}/responses`, stateless (`store: false`).

mod stream;
mod wire;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

use crate::agents::providers::http::{self, Http};
use crate::agents::providers::lines::Framing;
use crate::agents::providers::{ModelCall, Part, Provider, ProviderError};

/// The dialect.
#[derive(Debug)]
pub(super) struct OpenAiResponses(pub(super) Http);

impl Provider for OpenAiResponses {
    fn stream(
        &self,
        call: ModelCall,
    ) -> BoxFuture<'_, Result<BoxStream<'static, Result<Part, ProviderError>>, ProviderError>> {
        async move {
            let model = &call.model;
            let mut own = Vec::new();
            if let Some(key) = &model.api_key {
                own.push(("authorization", format!("Bearer {}", key.expose())));
            }
            let headers = http::headers(model, &own)?;
            let url = http::join(&model.base_url, "responses");
            let body = wire::request(&call);
            self.0.stream(&url, headers, &body, Framing::Sse, stream::Reader::default()).await
        }
        .boxed()
    }
}
