//! `/v1/embeddings` in front of each kind of provider.

use serde_json::{Value, json};

use super::Bed;

const PATH: &str = "/v1/embeddings";

/// A gateway whose agents take vectors from the scripted server, found below
/// `base`.
async fn bed(provider: &str, base: &str) -> Bed {
    Bed::start_with(|models| {
        let remote = json!({"baseUrl": format!("{}{base}", models.url()), "apiKey": "sk-vec",
            "headers": {"x-team": "claw"}});
        let search = json!({"provider": provider, "remote": remote});
        json!({"agents": {"defaults": {"memorySearch": search}}})
    })
    .await
}

fn ask(input: &Value) -> Value {
    json!({"model": "openclaw", "input": input})
}

#[tokio::test]
async fn three_kinds_of_provider_are_asked_once_for_all_texts() {
    let cases = [
        ("openai", "/v1", "/v1/embeddings", "text-embedding-3-small", "authorization", 3.0),
        (
            "gemini",
            "/v1beta",
            "/v1beta/models/gemini-embedding-001:batchEmbedContents",
            "",
            "x-goog-api-key",
            0.6,
        ),
        ("ollama", "", "/api/embed", "nomic-embed-text", "authorization", 0.6),
    ];
    for (provider, base, path, model, key_header, first) in cases {
        let bed = bed(provider, base).await;
        let reply = bed.post(PATH, &ask(&json!(["a", "b"]))).await;
        assert_eq!(reply.status, 200, "{provider}: {}", reply.text);
        let body = reply.json();
        assert_eq!(body["data"][1]["index"], 1);
        assert_eq!(body["data"][1]["embedding"][0], first, "{provider}");
        assert_eq!(body["usage"], json!({"prompt_tokens": 0, "total_tokens": 0}));
        let sent = bed.models.requests();
        assert_eq!(sent.len(), 1, "{provider}");
        assert_eq!(sent[0].path, path);
        assert!(sent[0].headers[key_header].ends_with("sk-vec"), "{:?}", sent[0].headers);
        assert_eq!(sent[0].headers["x-team"], "claw");
        assert_eq!(sent[0].body["model"].as_str().unwrap_or_default(), model);
    }
}

#[tokio::test]
async fn length_and_model_reach_the_provider() {
    let bed = bed("openai", "/v1").await;
    let mut body = ask(&json!("a"));
    body["dimensions"] = json!(256.7);
    body["encoding_format"] = json!("base64");
    let headers = [("x-openclaw-model", "openai/text-embedding-3-large")];
    let reply = bed.post_with(PATH, &body, &headers).await;
    // printf '\x00\x00\x40\x40\0\0\0\0\x00\x00\x80\x40' | base64
    assert_eq!(reply.json()["data"][0]["embedding"], "AABAQAAAAAAAAIBA", "{}", reply.text);
    let sent = bed.models.bodies();
    let expected = json!({"model": "text-embedding-3-large", "input": ["a"], "dimensions": 256});
    assert_eq!(sent, [expected]);
}

#[tokio::test]
async fn without_a_provider_the_caller_gets_an_error_and_the_operator_the_reason() {
    let search = json!({"provider": "voyage"});
    let bed = Bed::start(json!({"agents": {"defaults": {"memorySearch": search}}})).await;
    let reply = bed.post(PATH, &ask(&json!("a"))).await;
    assert_eq!(reply.status, 500);
    assert_eq!(reply.json(), json!({"error": {"message": "internal error", "type": "api_error"}}));
    let log = bed.gateway.log();
    assert!(log.contains("embeddings request failed: No API key found"), "{log}");
    let unknown = json!({"model": "openclaw/nope", "input": "a"});
    assert_eq!(bed.post(PATH, &unknown).await.json()["error"]["message"], "Unknown agent 'nope'.");
}
