//! The HTTP surface of the built program, over real sockets.

mod access;
mod chat;
mod embeddings;
mod hooks;
mod operators;
mod pages;
mod responses;
mod sessions;
mod slow;
mod streams;
mod tools;

use openclaw::agents::providers::http::Http;
use serde_json::{Value, json};

use crate::support::fake_provider::FakeProvider;
use crate::support::program::{Gateway, TOKEN};

/// A gateway in front of a scripted model server.
struct Bed {
    gateway: Gateway,
    models: FakeProvider,
    client: reqwest::Client,
}

/// The last status and body of an exchange.
#[derive(Debug)]
struct Reply {
    status: u16,
    headers: reqwest::header::HeaderMap,
    text: String,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The `data:` of each server-sent event.
    fn events(&self) -> Vec<Value> {
        self.text
            .split("\n\n")
            .filter_map(|event| event.lines().find_map(|line| line.strip_prefix("data: ")))
            .map(|data| serde_json::from_str(data).unwrap_or_else(|_| json!(data)))
            .collect()
    }
}

impl Bed {
    /// Both OpenAI endpoints are on; `config` goes over everything.
    async fn start(config: Value) -> Self {
        Self::start_with(|_| config).await
    }

    /// As [`Bed::start`], for a configuration that names the model server.
    async fn start_with(config: impl FnOnce(&FakeProvider) -> Value) -> Self {
        let models = FakeProvider::start().await;
        let config = config(&models);
        let mut settings = models.config();
        settings["gateway"] = json!({"http": {"endpoints": {
            "chatCompletions": {"enabled": true}, "responses": {"enabled": true}}}});
        merge(&mut settings, config);
        let gateway = Gateway::start(settings).await;
        let client = Http::default().client("http://127.0.0.1/").unwrap();
        Self { gateway, models, client }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.gateway.port)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Reply {
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Reply { status, headers, text: answer.text().await.unwrap() }
    }

    /// A GET with the token.
    async fn get(&self, path: &str) -> Reply {
        self.send(self.client.get(self.url(path)).bearer_auth(TOKEN)).await
    }

    /// A POST of JSON with the token.
    async fn post(&self, path: &str, body: &Value) -> Reply {
        self.post_with(path, body, &[]).await
    }

    async fn post_with(&self, path: &str, body: &Value, headers: &[(&str, &str)]) -> Reply {
        let mut request = self.client.post(self.url(path)).bearer_auth(TOKEN);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(body.to_string())).await
    }
}

fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over,
    }
}

fn user(text: &str) -> Value {
    json!({"model": "openclaw", "messages": [{"role": "user", "content": text}]})
}
