//! Webhooks.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Bed, Reply};
use crate::support::program::TOKEN;

const SECRET: &str = "hook-secret";

async fn bed() -> Bed {
    Bed::start(json!({"hooks": {"enabled": true, "token": SECRET, "mappings": [
        {"id": "gh", "match": {"path": "github"}, "action": "agent", "name": "GitHub",
            "messageTemplate": "repo {{repo}} item {{items[0].x}}"},
        {"id": "wk", "match": {"path": "wakeme"}, "action": "wake", "wakeMode": "next-heartbeat",
            "textTemplate": "kind {{kind}}"},
        {"id": "empty", "match": {"path": "empty"}, "action": "agent", "messageTemplate": "{{nothing}}"}]}}))
    .await
}

impl Bed {
    async fn hook(&self, path: &str, body: &Value, headers: &[(&str, &str)]) -> Reply {
        let mut request = self.client.post(self.url(path)).header("x-openclaw-token", SECRET);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(body.to_string())).await
    }

    /// Waits for the first model call whose user text contains `words`.
    async fn heard(&self, words: &str) {
        let heard = async {
            while !self.models.bodies().iter().any(|body| body.to_string().contains(words)) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), heard).await.expect("the model hears of it");
    }
}

#[tokio::test]
async fn a_task_runs_in_the_background_and_its_text_is_marked_as_foreign() {
    let bed = bed().await;
    let reply = bed
        .hook("/hooks/agent", &json!({"message": "Summarize inbox", "name": "Email"}), &[])
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.json()["runId"].as_str().unwrap().len(), 36);
    bed.heard("Summarize inbox").await;
    let told = bed.models.bodies()[0].to_string();
    for part in ["Task: Email | Job ID: ", "<<<EXTERNAL_UNTRUSTED_CONTENT id=", "Source: Webhook"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    bed.hook("/hooks/github", &json!({"repo": "r1", "items": [{"x": 7}]}), &[]).await;
    bed.heard("repo r1 item 7").await;
}

#[tokio::test]
async fn the_same_request_twice_is_one_run() {
    let bed = bed().await;
    let send = async |message: &'static str| {
        let body = json!({"message": message});
        bed.hook("/hooks/agent", &body, &[("idempotency-key", "k1")]).await.json()["runId"].clone()
    };
    let first = send("one").await;
    assert_eq!(send("one").await, first);
    assert_ne!(send("two").await, first);
}

#[tokio::test]
async fn wakes_and_refusals_have_their_words() {
    let bed = bed().await;
    let cases = [
        ("/hooks/wake", json!({"text": "hi"}), 200, json!({"ok": true, "mode": "now"})),
        (
            "/hooks/wake",
            json!({"text": "hi", "mode": "next-heartbeat"}),
            200,
            json!({"ok": true, "mode": "next-heartbeat"}),
        ),
        ("/hooks/wakeme", json!({"kind": "k"}), 200, json!({"ok": true, "mode": "next-heartbeat"})),
        ("/hooks/wake", json!([]), 400, json!({"ok": false, "error": "text required"})),
        ("/hooks/agent", json!({}), 400, json!({"ok": false, "error": "message required"})),
        (
            "/hooks/agent",
            json!({"message": "m", "model": " "}),
            400,
            json!({"ok": false, "error": "model required"}),
        ),
        (
            "/hooks/agent",
            json!({"message": "m", "channel": "zzz"}),
            400,
            json!({"ok": false, "error": "channel must be last"}),
        ),
        (
            "/hooks/empty",
            json!({}),
            400,
            json!({"ok": false, "error": "hook mapping requires message"}),
        ),
    ];
    for (path, body, status, expected) in cases {
        let reply = bed.hook(path, &body, &[]).await;
        assert_eq!((reply.status, reply.json()), (status, expected), "{path} {body}");
    }
    for path in ["/hooks", "/hooks/", "/hooks/unmapped"] {
        assert_eq!(bed.hook(path, &json!({}), &[]).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn only_the_hook_token_counts_and_guessing_is_throttled() {
    let bed = bed().await;
    let url = bed.url("/hooks/wake");
    assert_eq!(bed.send(bed.client.get(&url)).await.status, 405);
    assert_eq!(bed.send(bed.client.post(format!("{url}?token={SECRET}"))).await.status, 400);
    for _ in 0..20 {
        let reply = bed.send(bed.client.post(&url).bearer_auth(TOKEN)).await;
        assert_eq!((reply.status, reply.text.as_str()), (401, "Unauthorized"));
    }
    let throttled = bed.send(bed.client.post(&url).bearer_auth("x")).await;
    assert_eq!((throttled.status, throttled.header("retry-after")), (429, "60"));
    assert_eq!(bed.hook("/hooks/wake", &json!({"text": "x"}), &[]).await.status, 200);
    assert_eq!(bed.send(bed.client.post(&url).bearer_auth("x")).await.status, 401);
}
