//! `google-generative-ai`:
//! `POST {base}/models/{model}:streamGenerateContent?alt=sse`.

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
pub(super) struct Google(pub(super) Http);

impl Provider for Google {
    fn stream(
        &self,
        call: ModelCall,
    ) -> BoxFuture<'_, Result<BoxStream<'static, Result<Part, ProviderError>>, ProviderError>> {
        async move {
            let model = &call.model;
            let mut own = Vec::new();
            if let Some(key) = &model.api_key {
                own.push(("x-goog-api-key", key.expose().to_owned()));
            }
            let headers = http::headers(model, &own)?;
            let path = format!("models/{}:streamGenerateContent?alt=sse", model.id);
            let url = http::join(&model.base_url, &path);
            let body = wire::request(&call);
            self.0.stream(&url, headers, &body, Framing::Sse, stream::Reader::default()).await
        }
        .boxed()
    }
}
