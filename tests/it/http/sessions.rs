//! `/sessions/{key}/history` and `/kill`.

use std::time::Duration;

use futures_util::StreamExt;
use serde_json::json;

use super::{Bed, user};
use crate::support::program::TOKEN;

const KEY: &str = "agent%3Amain%3Aopenai-user%3An";

async fn talk(bed: &Bed, text: &str) {
    let mut body = user(text);
    body["user"] = json!("n");
    assert_eq!(bed.post("/v1/chat/completions", &body).await.status, 200);
}

#[tokio::test]
async fn a_history_is_read_page_by_page() {
    let bed = Bed::start(json!({})).await;
    talk(&bed, "SAY hello").await;
    let whole = bed.get(&format!("/sessions/{KEY}/history")).await;
    assert_eq!(whole.status, 200, "{}", whole.text);
    let whole = whole.json();
    assert_eq!(whole["sessionKey"], "agent:main:openai-user:n");
    assert_eq!(whole["items"], whole["messages"]);
    assert_eq!(whole["items"][0]["__openclaw"]["seq"], 1);
    assert_eq!(whole["hasMore"], false);
    let last = bed.get(&format!("/sessions/{KEY}/history?limit=1")).await.json();
    assert_eq!(
        (last["items"][0]["role"].as_str(), last["hasMore"].as_bool()),
        (Some("assistant"), Some(true))
    );
    let cursor = last["nextCursor"].as_str().unwrap();
    let older = bed.get(&format!("/sessions/{KEY}/history?limit=1&cursor={cursor}")).await.json();
    assert_eq!(older["items"][0]["role"], "user");
}

#[tokio::test]
async fn a_watcher_hears_of_what_is_added() {
    let bed = Bed::start(json!({})).await;
    talk(&bed, "SAY hello").await;
    let url = bed.url(&format!("/sessions/{KEY}/history"));
    let request = bed.client.get(url).bearer_auth(TOKEN).header("accept", "text/event-stream");
    let mut stream = request.send().await.unwrap().bytes_stream();
    let mut seen = String::new();
    let watch = async {
        while !seen.contains("event: history") {
            seen.push_str(std::str::from_utf8(&stream.next().await.unwrap().unwrap()).unwrap());
        }
        assert!(seen.starts_with("retry: 1000"));
        talk(&bed, "SAY more").await;
        while !seen.contains("event: message") {
            seen.push_str(std::str::from_utf8(&stream.next().await.unwrap().unwrap()).unwrap());
        }
    };
    tokio::time::timeout(Duration::from_secs(10), watch).await.unwrap();
}

#[tokio::test]
async fn refusals_have_their_shapes() {
    let bed = Bed::start(json!({})).await;
    talk(&bed, "SAY hello").await;
    let unknown = bed.get("/sessions/nope/history").await;
    assert_eq!(
        (unknown.status, unknown.json()["error"]["type"].as_str()),
        (404, Some("not_found"))
    );
    let broken = bed.get("/sessions/%E0%A4%A/history").await;
    assert_eq!(broken.json()["error"]["message"], "invalid session key");
    assert_eq!(bed.post("/sessions/x/history", &json!({})).await.status, 405);
    assert_eq!(bed.get("/sessions/x/kill").await.status, 405);
    let path = format!("/sessions/{KEY}/kill");
    assert_eq!(bed.post(&path, &json!({})).await.json(), json!({"ok": true, "killed": false}));
    let remote = bed.post_with(&path, &json!({}), &[("x-forwarded-for", "1.2.3.4")]).await;
    assert_eq!(remote.status, 403);
    assert_eq!(bed.send(bed.client.get(bed.url("/sessions/x/history"))).await.status, 401);
}
