//! Metrics and the control plane over HTTP: off until their plugin entries
//! enable them.

use serde_json::{Value, json};

use super::{Bed, user};
use crate::support::program::TOKEN;

const RPC: &str = "/api/v1/admin/rpc";
const METRICS: &str = "/api/diagnostics/prometheus";

fn enabled(id: &str) -> Value {
    json!({"plugins": {"entries": {id: {"enabled": true}}}})
}

#[tokio::test]
async fn neither_is_there_until_it_is_enabled() {
    let bed = Bed::start(json!({})).await;
    let rpc = bed.post(RPC, &json!({"method": "health"})).await;
    assert_eq!((rpc.status, rpc.text.as_str()), (404, "Not Found"));
    assert_eq!(bed.get(METRICS).await.status, 404);
}

#[tokio::test]
async fn methods_are_called_with_the_checks_of_a_socket() {
    let bed = Bed::start(enabled("admin-http-rpc")).await;
    let health = bed.post(RPC, &json!({"id": "mine", "method": "health"})).await;
    assert_eq!((health.status, health.header("cache-control")), (200, "no-store"));
    let body = health.json();
    assert_eq!((&body["id"], &body["ok"]), (&json!("mine"), &json!(true)));
    assert_eq!(body["payload"]["ok"], true, "{body}");
    let listed = bed.post(RPC, &json!({"method": "commands.list"})).await.json();
    assert!(listed["payload"]["methods"].as_array().unwrap().contains(&json!("cron.add")));
    assert!(listed["id"].as_str().unwrap().len() == 36, "{listed}");
    let schedule = json!({"kind": "every", "everyMs": 3_600_000});
    let job = json!({"name": "n", "schedule": schedule, "sessionTarget": "main",
        "wakeMode": "next-heartbeat", "payload": {"kind": "systemEvent", "text": "t"}});
    let added = bed.post(RPC, &json!({"method": "cron.add", "params": job})).await;
    assert_eq!(added.status, 200, "{}", added.text);
    let jobs = bed.post(RPC, &json!({"method": "cron.list"})).await.json();
    assert_eq!(jobs["payload"]["total"], 1, "{jobs}");
    for (body, message) in [
        (json!({"method": "cron.add", "params": {}}), "invalid cron.add params"),
        (json!({"method": "chat.send"}), "admin HTTP RPC method is not supported: chat.send"),
    ] {
        let reply = bed.post(RPC, &body).await;
        assert_eq!(reply.status, 400, "{}", reply.text);
        assert_eq!(reply.json()["error"]["code"], "INVALID_REQUEST");
        assert!(
            reply.json()["error"]["message"].as_str().unwrap().contains(message),
            "{}",
            reply.text
        );
    }
}

#[tokio::test]
async fn what_is_no_call_is_refused_before_it_is_one() {
    let bed = Bed::start(enabled("admin-http-rpc")).await;
    let send =
        |body: &'static str| bed.send(bed.client.post(bed.url(RPC)).bearer_auth(TOKEN).body(body));
    for (body, message) in [
        ("", "request body must be JSON"),
        ("{", "request body must be valid JSON"),
        ("[]", "request body must be an object"),
        ("{}", "method must be a non-empty string"),
    ] {
        let reply = send(body).await;
        let error = json!({"ok": false, "error": {"type": "invalid_request", "message": message}});
        assert_eq!((reply.status, reply.json()), (400, error), "{body}");
    }
    let got = bed.get(RPC).await;
    assert_eq!((got.status, got.header("allow")), (405, "POST"));
    let stranger = bed.send(bed.client.post(bed.url(RPC)).body("{}")).await;
    assert_eq!(stranger.status, 401);
    let huge = bed.post(RPC, &json!({"method": "health", "params": "x".repeat(1_100_000)})).await;
    assert_eq!((huge.status, &huge.json()["error"]["message"]), (413, &json!("payload too large")));
}

#[tokio::test]
async fn scopes_narrow_what_can_be_called() {
    let mut config = enabled("admin-http-rpc");
    config["gateway"] = json!({"auth": {"mode": "none"}});
    let bed = Bed::start(config).await;
    let call = async |method: &str, scopes: &str| {
        let body = json!({"method": method}).to_string();
        let request = bed.client.post(bed.url(RPC)).header("x-openclaw-scopes", scopes);
        let reply = bed.send(request.body(body)).await;
        (reply.status, reply.json()["error"]["message"].clone())
    };
    let missing = |scope: &str| (400, json!(format!("missing scope: {scope}")));
    assert_eq!(call("agents.list", "operator.read").await, (200, Value::Null));
    assert_eq!(call("agents.list", "").await, missing("operator.read"));
    assert_eq!(call("device.pair.list", "operator.write").await, missing("operator.pairing"));
    assert_eq!(call("device.pair.list", "operator.admin").await, (200, Value::Null));
}

#[tokio::test]
async fn runs_calls_and_requests_are_counted() {
    let mut config = enabled("diagnostics-prometheus");
    config["plugins"]["entries"]["admin-http-rpc"] = json!({"enabled": true});
    let bed = Bed::start(config).await;
    assert_eq!(bed.post("/v1/chat/completions", &user("SAY one")).await.status, 200);
    assert_eq!(bed.post(RPC, &json!({"method": "agents.list"})).await.status, 200);
    let metrics = bed.get(METRICS).await;
    assert_eq!(metrics.status, 200);
    assert_eq!(metrics.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    for line in [
        "openclaw_run_completed_total{model=\"good-1\",outcome=\"completed\",provider=\"fake\",trigger=\"http\"} 1",
        "openclaw_model_tokens_total{agent=\"main\",model=\"good-1\",provider=\"fake\",token_type=\"output\"} 7",
        "openclaw_gateway_rpc_requests_total{method=\"agents.list\"} 1",
        "openclaw_http_requests_total{route=\"/v1/chat/completions\",status=\"200\"} 1",
        "openclaw_session_queue_depth{state=\"running\"} 0",
        "# TYPE openclaw_run_duration_seconds histogram",
    ] {
        assert!(
            metrics.text.lines().any(|known| known == line),
            "{line}\nnot in\n{}",
            metrics.text
        );
    }
    assert!(metrics.text.contains("openclaw_gateway_build_info{build_id=\"native-"));
    assert!(!metrics.text.contains(TOKEN) && !metrics.text.contains("agent:main"));
    let stranger = bed.send(bed.client.get(bed.url(METRICS))).await;
    assert_eq!(stranger.status, 401);
    assert_eq!(bed.post(METRICS, &json!({})).await.header("allow"), "GET");
}
