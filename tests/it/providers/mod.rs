//! Model APIs over a real socket: every dialect, every way to fail.

mod dialects;
mod failures;
mod situations;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use openclaw::agents::models::{Lookup, Models};
use openclaw::agents::providers::http::{Http, Timeouts};
use openclaw::agents::providers::{ModelCall, Part, ProviderError, ToolSpec};
use openclaw::config::Config;
use openclaw::profile::env::Env;
use openclaw::profile::paths::Paths;
use serde_json::{Value, json};

use crate::support::fake_provider::FakeProvider;

/// Pauses short enough for tests, order and number as in production.
fn models() -> Models {
    Models::new(Http::with_timeouts(Timeouts {
        retry: Duration::from_millis(5),
        idle: Duration::from_millis(400),
        first_byte: Duration::from_millis(400),
        ..Timeouts::default()
    }))
}

async fn call(server: &FakeProvider, name: &str, messages: Vec<Value>) -> ModelCall {
    let home = tempfile::tempdir().unwrap();
    let env: Env = [("HOME", home.path().to_str().unwrap())].into_iter().collect();
    let config: Config = serde_json::from_value(server.config()).unwrap();
    let paths = Paths::resolve(&env);
    let secrets = openclaw::config::SecretValues::new();
    let lookup = Lookup {
        config: &config,
        env: &env,
        secrets: &secrets,
        paths: &paths,
        agent: "main",
        now: 1,
    };
    let model = lookup.resolve(name).unwrap().model;
    ModelCall {
        model: Arc::clone(&model),
        system: "You are a test.".into(),
        messages,
        tools: Arc::from([ToolSpec {
            name: "read".into(),
            description: "Reads a file".into(),
            parameters: json!({"type": "object", "properties": {"path": {"type": "string"}}}),
        }]),
        thinking: Some("low".into()),
        ..ModelCall::default()
    }
}

async fn ask(call: ModelCall) -> Result<Vec<Part>, ProviderError> {
    let models = models();
    let provider = models.registry.get(&call.model.api)?;
    let mut stream = provider.stream(call).await?;
    let mut parts = Vec::new();
    while let Some(part) = stream.next().await {
        parts.push(part?);
    }
    Ok(parts)
}

fn user(text: &str) -> Value {
    json!({"role": "user", "content": [{"type": "text", "text": text}]})
}

fn said(parts: &[Part]) -> String {
    let texts = parts.iter().filter_map(|part| match part {
        Part::Text(text) => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}
