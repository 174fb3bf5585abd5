//! `/v1/responses`.

use serde_json::json;

use super::Bed;

const PATH: &str = "/v1/responses";

#[tokio::test]
async fn a_response_continues_the_one_before() {
    let bed = Bed::start(json!({})).await;
    let first = bed.post(PATH, &json!({"model": "openclaw", "input": "SAY one"})).await;
    assert_eq!(first.status, 200, "{}", first.text);
    let first = first.json();
    assert_eq!(first["status"], "completed");
    assert_eq!(first["output"][0]["content"][0]["type"], "output_text");
    assert_eq!(first["usage"]["total_tokens"], 1207);
    let next =
        json!({"model": "openclaw", "input": "SAY two", "previous_response_id": first["id"]});
    bed.post(PATH, &next).await;
    let stranger =
        json!({"model": "openclaw", "input": "SAY x", "previous_response_id": "resp_no"});
    assert_eq!(bed.post(PATH, &stranger).await.status, 200);
    let counts: Vec<usize> =
        bed.models.bodies().iter().map(|body| body["messages"].as_array().unwrap().len()).collect();
    assert_eq!(counts, [2, 4, 2]);
}

#[tokio::test]
async fn each_event_is_named_as_its_data_says() {
    let bed = Bed::start(json!({})).await;
    let body = json!({"model": "openclaw", "input": [{"role": "user", "content": "SAY hi"}], "stream": true});
    let reply = bed.post(PATH, &body).await;
    let names: Vec<&str> =
        reply.text.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    let events = reply.events();
    let kinds: Vec<&str> = events.iter().filter_map(|event| event["type"].as_str()).collect();
    assert_eq!(names, kinds);
    assert_eq!(events[2]["item"]["content"], json!([]));
    assert_eq!(kinds.last(), Some(&"response.completed"));
    assert_eq!(events.last().unwrap(), "[DONE]");
}

#[tokio::test]
async fn a_refusal_of_the_provider_is_a_failed_response() {
    let config = json!({"agents": {"defaults": {"model": {"primary": "fake/fail400"}}}});
    let bed = Bed::start(config).await;
    let mut body = json!({"model": "openclaw", "input": "hi"});
    let plain = bed.post(PATH, &body).await;
    assert_eq!((plain.status, plain.json()["status"].as_str()), (400, Some("failed")));
    body["stream"] = json!(true);
    let events = bed.post(PATH, &body).await.events();
    assert_eq!(events[events.len() - 2]["type"], "response.failed");
}

#[tokio::test]
async fn a_pdf_is_read_for_the_model_and_a_broken_one_is_refused() {
    use base64::Engine as _;
    let bed = Bed::start(json!({})).await;
    let letter = include_bytes!("../../fixtures/http/letter.pdf");
    let ask = |bytes: &[u8]| {
        let data = base64::engine::general_purpose::STANDARD.encode(bytes);
        let file = format!("data:application/pdf;base64,{data}");
        json!({"model": "openclaw", "input": [{"role": "user", "content": [
            {"type": "input_text", "text": "SAY read"},
            {"type": "input_file", "filename": "letter.pdf", "file_data": file}]}]})
    };
    let read = bed.post(PATH, &ask(letter)).await;
    assert_eq!(read.status, 200, "{}", read.text);
    let seen = bed.models.bodies().pop().unwrap();
    let system = seen["messages"][0].to_string();
    assert!(system.contains("<file name=\\\"letter.pdf\\\">"), "{system}");
    assert!(system.contains("Offer 2026-117"), "{system}");
    let refused = bed.post(PATH, &ask(&letter[..200])).await;
    assert_eq!(refused.status, 400);
    assert_eq!(refused.json()["error"]["message"], "invalid request");
}
