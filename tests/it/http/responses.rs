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
