//! `anthropic-messages`: `POST {base}/v1/messages`.

mod stream;
mod wire;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

use crate::agents::providers::http::{self, Http};
use crate::agents::providers::lines::Framing;
use crate::agents::providers::{ModelCall, ModelRef, Part, Provider, ProviderError};

/// The dialect.
#[derive(Debug)]
pub(super) struct Anthropic(pub(super) Http);

impl Provider for Anthropic {
    fn stream(
        &self,
        call: ModelCall,
    ) -> BoxFuture<'_, Result<BoxStream<'static, Result<Part, ProviderError>>, ProviderError>> {
        async move {
            let headers = http::headers(&call.model, &own_headers(&call.model))?;
            // The base URL is given without `/v1`, but many write it.
            let base = call.model.base_url.trim_end_matches('/');
            let url = http::join(base.strip_suffix("/v1").unwrap_or(base), "v1/messages");
            let body = wire::request(&call);
            self.0.stream(&url, headers, &body, Framing::Sse, stream::Reader::default()).await
        }
        .boxed()
    }
}

fn own_headers(model: &ModelRef) -> Vec<(&'static str, String)> {
    let mut betas =
        "fine-grained-tool-streaming-2025-05-14,interleaved-thinking-2025-05-14".to_owned();
    let mut own = vec![("anthropic-version", "2023-06-01".to_owned())];
    if let Some(key) = &model.api_key {
        let key = key.expose();
        let bearer = model.compat.get("authHeader").and_then(serde_json::Value::as_bool);
        let subscription = key.starts_with("sk-ant-oat");
        if subscription {
            betas = format!("oauth-2025-04-20,{betas}");
        }
        if subscription || bearer == Some(true) {
            own.push(("authorization", format!("Bearer {key}")));
        } else {
            own.push(("x-api-key", key.to_owned()));
        }
    }
    own.push(("anthropic-beta", betas));
    own
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::Secret;

    #[test]
    fn a_setup_token_travels_as_bearer_and_a_key_does_not() {
        let names = |key: &str| {
            let model = ModelRef { api_key: Some(Secret::new(key)), ..ModelRef::default() };
            own_headers(&model).into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert!(names("sk-ant-oat01-x").contains(&"authorization"));
        assert!(names("sk-ant-api03-x").contains(&"x-api-key"));
    }
}
