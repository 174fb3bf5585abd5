//! A turn and a tool round trip in each of the five dialects.

use openclaw::agents::providers::{Part, Stop};
use serde_json::json;

use super::{ask, call, said, user};
use crate::support::fake_provider::FakeProvider;

/// Model, prompt tokens with cache, answer tokens.
const MODELS: &[(&str, u64, u64)] = &[
    ("fake/good-1", 1200, 7),
    ("resp/resp-1", 800, 5),
    ("claudish/claude-x", 1050, 9),
    ("gem/gem-1", 600, 4),
    ("llama/llama3.3", 700, 6),
];

#[tokio::test]
async fn every_dialect_streams_words_and_reports_usage() {
    let server = FakeProvider::start().await;
    for (model, prompt, answer) in MODELS {
        let parts = ask(call(&server, model, vec![user("SAY one two three")]).await).await.unwrap();
        assert_eq!(said(&parts).trim_end(), "one two three", "{model}");
        assert!(parts.len() >= 4, "{model} must stream word by word: {parts:?}");
        let Some(Part::Done { stop: Stop::Stop, usage, .. }) = parts.last() else {
            panic!("{model}: {parts:?}");
        };
        assert_eq!(usage.input + usage.cache_read + usage.cache_write, *prompt, "{model}");
        assert_eq!(usage.output, *answer, "{model}");
    }
}

#[tokio::test]
async fn every_dialect_calls_a_tool_and_takes_its_result_back() {
    let server = FakeProvider::start().await;
    for (model, ..) in MODELS {
        let question = user("USE_TOOL read {\"path\":\"USER.md\"}");
        let parts = ask(call(&server, model, vec![question.clone()]).await).await.unwrap();
        let Some(Part::ToolCall { id, name, arguments }) =
            parts.iter().find(|part| matches!(part, Part::ToolCall { .. }))
        else {
            panic!("{model}: {parts:?}");
        };
        assert_eq!((name.as_str(), arguments), ("read", &json!({"path": "USER.md"})), "{model}");
        assert!(matches!(parts.last(), Some(Part::Done { stop: Stop::ToolUse, .. })), "{model}");
        let back = vec![
            question,
            json!({"role": "assistant", "content": [{"type": "toolCall", "id": id, "name": name, "arguments": arguments}]}),
            json!({"role": "toolResult", "toolCallId": id, "toolName": name, "content": [{"type": "text", "text": "body"}], "isError": false}),
        ];
        let parts = ask(call(&server, model, back).await).await.unwrap();
        assert_eq!(said(&parts).trim_end(), "Tool said ok.", "{model}");
    }
}

#[tokio::test]
async fn thinking_arrives_before_the_words_with_its_proof() {
    let server = FakeProvider::start().await;
    for (model, proof) in [("fake/reason-1", "reasoning_content"), ("claudish/think-1", "c2ln")] {
        let parts = ask(call(&server, model, vec![user("SAY hi")]).await).await.unwrap();
        let at = |wanted: fn(&Part) -> bool| parts.iter().position(wanted).unwrap();
        let thought = at(|part| matches!(part, Part::Thinking(_)));
        let text = at(|part| matches!(part, Part::Text(_)));
        assert!(thought < text, "{model}");
        assert!(parts.contains(&Part::ThinkingSignature(proof.into())), "{model}: {parts:?}");
    }
}

#[tokio::test]
async fn keys_travel_in_the_header_of_their_dialect() {
    let server = FakeProvider::start().await;
    for (model, ..) in MODELS {
        ask(call(&server, model, vec![user("SAY x")]).await).await.unwrap();
    }
    let requests = server.requests();
    assert!(requests.iter().all(|request| request.method == "POST"));
    assert_eq!(server.bodies()[0]["messages"][0]["content"], "You are a test.");
    let header = |at: usize, name: &str| requests[at].headers.get(name).cloned();
    assert_eq!(header(0, "authorization").as_deref(), Some("Bearer sk-fake"));
    assert_eq!(header(2, "x-api-key").as_deref(), Some("sk-ant-fake"));
    assert_eq!(header(2, "anthropic-version").as_deref(), Some("2023-06-01"));
    assert_eq!(header(3, "x-goog-api-key").as_deref(), Some("gem-key"));
    let paths: Vec<&str> = requests.iter().map(|request| request.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "/v1/chat/completions",
            "/v1/responses",
            "/v1/messages",
            "/v1beta/models/gem-1:streamGenerateContent?alt=sse",
            "/api/chat"
        ]
    );
}
