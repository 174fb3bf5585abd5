//! `/v1/chat/completions` from the client's side and from the model's.

use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Value, json};

use super::{Bed, user};
use crate::support::program::TOKEN;

const PATH: &str = "/v1/chat/completions";

#[tokio::test]
async fn a_plain_answer_has_text_and_real_usage() {
    let bed = Bed::start(json!({})).await;
    let reply = bed.post(PATH, &user("SAY hello there")).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let body = reply.json();
    assert!(body["id"].as_str().unwrap().starts_with("chatcmpl_"));
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["model"], "openclaw");
    let choice = &body["choices"][0];
    assert_eq!(choice["message"]["content"].as_str().unwrap().trim_end(), "hello there");
    assert_eq!(choice["finish_reason"], "stop");
    let usage = json!({"prompt_tokens": 1200, "completion_tokens": 7, "total_tokens": 1207});
    assert_eq!(body["usage"], usage);
}

#[tokio::test]
async fn a_stream_has_role_words_finish_usage_and_done() {
    let bed = Bed::start(json!({})).await;
    let mut body = user("SAY one two three");
    body["stream"] = json!(true);
    let without = bed.post(PATH, &body).await;
    assert_eq!(without.header("content-type"), "text/event-stream; charset=utf-8");
    assert!(!without.text.contains("event:"));
    assert!(!without.text.contains("\"usage\""));
    body["stream_options"] = json!({"include_usage": true});
    let events = bed.post(PATH, &body).await.events();
    assert_eq!(events[0]["choices"][0]["delta"], json!({"role": "assistant"}));
    let words: String = events
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(words.trim_end(), "one two three");
    let end = &events[events.len() - 3..];
    assert_eq!(end[0]["choices"][0]["finish_reason"], "stop");
    assert_eq!(end[0]["choices"][0]["delta"], json!({}));
    assert_eq!(end[1]["usage"]["total_tokens"], 1207);
    assert_eq!(end[2], "[DONE]");
}

#[tokio::test]
async fn an_empty_reply_says_so_in_both_forms() {
    let bed = Bed::start(json!({})).await;
    let mut body = user("EMPTY");
    let plain = bed.post(PATH, &body).await.json();
    assert_eq!(plain["choices"][0]["message"]["content"], "No response from OpenClaw.");
    body["stream"] = json!(true);
    let events = bed.post(PATH, &body).await.events();
    assert_eq!(events[1]["choices"][0]["delta"]["content"], "No response from OpenClaw.");
    assert_eq!(events[2]["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn a_refusal_of_the_provider_reaches_the_client() {
    let config = json!({"agents": {"defaults": {"model": {"primary": "fake/fail400"}}}});
    let bed = Bed::start(config).await;
    let mut body = user("hi");
    let plain = bed.post(PATH, &body).await;
    assert_eq!(plain.status, 400);
    let error =
        json!({"message": "HTTP 400: bad request: something", "type": "invalid_request_error"});
    assert_eq!(plain.json()["error"], error);
    body["stream"] = json!(true);
    let events = bed.post(PATH, &body).await.events();
    assert_eq!(events[1], json!({ "error": error }));
    assert_eq!(events[2], "[DONE]");
}

#[tokio::test]
async fn bad_requests_are_named_before_anything_runs() {
    let bed = Bed::start(json!({})).await;
    let cases = [
        (json!({}), "Missing user message in `messages`."),
        (json!({"messages": []}), "Missing user message in `messages`."),
        (
            json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "x"}], "stream": true}),
            "Invalid `model`. Use `openclaw` or `openclaw/<agentId>`.",
        ),
        (
            json!({"model": "openclaw/nope", "messages": [{"role": "user", "content": "x"}]}),
            "Unknown agent 'nope'.",
        ),
        (
            json!({"messages": [{"role": "user", "content": "x"}], "temperature": 9}),
            "`temperature` must be between 0 and 2.",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]}]}),
            "Invalid image_url content in `messages`.",
        ),
    ];
    for (body, message) in cases {
        let reply = bed.post(PATH, &body).await;
        assert_eq!(reply.status, 400, "{body}");
        assert_eq!(reply.json()["error"]["message"], message, "{body}");
    }
    let malformed =
        bed.send(bed.client.post(bed.url(PATH)).bearer_auth(TOKEN).body("{\"a\":")).await;
    assert_eq!(
        (malformed.status, malformed.json()["error"]["type"].as_str()),
        (400, Some("invalid_request_error"))
    );
    let bad = bed.post_with(PATH, &user("x"), &[("x-openclaw-model", "fake/")]).await;
    assert_eq!(bad.json()["error"]["message"], "Invalid `x-openclaw-model`.");
    assert_eq!(bed.models.requests().len(), 0);
}

#[tokio::test]
async fn history_and_system_texts_reach_the_model_as_recorded() {
    let bed = Bed::start(json!({})).await;
    let body = json!({"messages": [
        {"role": "system", "content": "SYS-ONE"}, {"role": "user", "content": "first q"},
        {"role": "assistant", "content": "first a"}, {"role": "user", "content": "second q"}]});
    assert_eq!(bed.post(PATH, &body).await.status, 200);
    let sent = &bed.models.bodies()[0];
    assert!(sent["messages"][0]["content"].as_str().unwrap().contains("SYS-ONE"));
    let text = sent["messages"][1]["content"][0]["text"].as_str().unwrap();
    assert_eq!(
        text,
        "[Chat messages since your last reply - for context]\nUser: first q\nAssistant: first a\n\n[Current message - respond to this]\nUser: second q"
    );
}

#[tokio::test]
async fn a_user_keeps_his_session_and_strangers_share_nothing() {
    let bed = Bed::start(json!({})).await;
    let mut body = user("SAY first");
    body["user"] = json!("  Alice ");
    bed.post(PATH, &body).await;
    body["messages"][0]["content"] = json!("SAY second");
    bed.post(PATH, &body).await;
    bed.post(PATH, &user("SAY third")).await;
    let counts: Vec<usize> =
        bed.models.bodies().iter().map(|body| body["messages"].as_array().unwrap().len()).collect();
    assert_eq!(counts, [2, 4, 2]);
}

#[tokio::test]
async fn a_model_for_one_request_goes_upstream_and_is_not_echoed() {
    let bed = Bed::start(json!({})).await;
    for name in ["fake/other-7", "other-7"] {
        let reply = bed.post_with(PATH, &user("SAY x"), &[("x-openclaw-model", name)]).await;
        assert_eq!(reply.json()["model"], "openclaw", "{name}");
    }
    assert!(bed.models.bodies().iter().all(|body| body["model"] == "other-7"));
}

#[tokio::test]
async fn a_tool_of_the_client_ends_the_turn_with_its_call() {
    let bed = Bed::start(json!({})).await;
    let mut body = user("USE_TOOL get_weather {\"city\":\"Paris\"}");
    body["tools"] = json!([{"type": "function", "function": {"name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]);
    let choice: Value = bed.post(PATH, &body).await.json()["choices"][0].clone();
    assert_eq!(choice["finish_reason"], "tool_calls");
    let function = &choice["message"]["tool_calls"][0]["function"];
    assert_eq!(function, &json!({"name": "get_weather", "arguments": "{\"city\":\"Paris\"}"}));
    body["stream"] = json!(true);
    let events = bed.post(PATH, &body).await.events();
    let finish = events.iter().find_map(|event| event["choices"][0]["finish_reason"].as_str());
    assert_eq!(finish, Some("tool_calls"));
}

#[tokio::test]
async fn a_client_that_hangs_up_ends_its_run() {
    let bed = Bed::start(json!({})).await;
    let mut body = user("SLOWLY");
    body["stream"] = json!(true);
    let request = bed.client.post(bed.url(PATH)).bearer_auth(TOKEN).body(body.to_string());
    let mut stream = request.send().await.unwrap().bytes_stream();
    while bed.models.open_streams() == 0 {
        stream.next().await.unwrap().unwrap();
    }
    drop(stream);
    let noticed = async {
        while bed.models.cut_by_client() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(8), noticed).await.unwrap();
}
