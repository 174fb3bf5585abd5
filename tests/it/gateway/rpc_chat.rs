//! Runs over the control plane: two answers, streams, repeats, aborts.

use serde_json::{Value, json};

use crate::support::client::{ALL_SCOPES, Device, TestClient, connect_params};
use crate::support::fake_provider::FakeProvider;
use crate::support::gateway::TestGateway;

async fn with_model(model: &str) -> (FakeProvider, TestGateway) {
    let provider = FakeProvider::start().await;
    let mut config = provider.config();
    config["agents"] =
        json!({"defaults": {"model": {"primary": format!("fake/{model}")}, "skipBootstrap": true}});
    let gateway = TestGateway::start_with(config).await;
    (provider, gateway)
}

/// The `chat` events of a run up to its end.
async fn chat_events(client: &mut TestClient, run: &str) -> Vec<Value> {
    let mut events = Vec::new();
    loop {
        let payload = client.event("chat").await["payload"].clone();
        if payload["runId"] == run {
            let over = payload["state"] != "delta";
            events.push(payload);
            if over {
                return events;
            }
        }
    }
}

#[tokio::test]
async fn agent_is_accepted_first_and_answered_when_the_run_ends() {
    let (_provider, gateway) = Box::pin(with_model("good-1")).await;
    let mut client = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let params = json!({"message": "SAY agent hello", "sessionKey": "agent:main:main",
        "idempotencyKey": "ag-1"});
    let accepted = client.ask("agent", params.clone()).await;
    assert_eq!(accepted["runId"], "ag-1");
    assert_eq!(accepted["status"], "accepted");
    assert!(accepted["acceptedAt"].as_u64().unwrap() > 0);
    let last = loop {
        let frame = client.frame().await.unwrap();
        if frame["type"] == "res" {
            break frame;
        }
    };
    assert_eq!(last["payload"]["status"], "ok");
    assert_eq!(last["payload"]["summary"], "completed");
    let result = &last["payload"]["result"];
    assert_eq!(result["payloads"], json!([{"text": "agent hello", "mediaUrl": null}]));
    assert_eq!(result["meta"]["agentMeta"]["provider"], "fake");
    assert_eq!(result["meta"]["aborted"], false);

    let repeat = client.ask("agent", params).await;
    assert_eq!(repeat["status"], "ok");
    assert_eq!(repeat["result"]["payloads"][0]["text"], "agent hello");
    let waited = client.ask("agent.wait", json!({"runId": "ag-1"})).await;
    assert_eq!(waited["status"], "ok");
    let unknown = client.ask("agent.wait", json!({"runId": "nope", "timeoutMs": 10})).await;
    assert_eq!(unknown, json!({"runId": "nope", "status": "timeout"}));
}

#[tokio::test]
async fn a_chat_streams_and_its_repeat_does_nothing() {
    let (provider, gateway) = Box::pin(with_model("good-1")).await;
    let mut client = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    client.ask("system-event", json!({"text": "hello sys event"})).await;
    let params = json!({"sessionKey": "main", "message": "SAY one two", "idempotencyKey": "c-1"});
    let started = client.ask("chat.send", params.clone()).await;
    assert_eq!(started, json!({"runId": "c-1", "status": "started"}));
    let repeat = client.ask("chat.send", params.clone()).await;
    assert!(repeat["status"] == "in_flight" || repeat["status"] == "ok", "{repeat}");
    let events = chat_events(&mut client, "c-1").await;
    let last = events.last().unwrap();
    assert_eq!(last["state"], "final");
    assert_eq!(last["sessionKey"], "agent:main:main");
    assert_eq!(last["message"]["content"][0]["text"], "one two");
    assert_eq!(client.ask("chat.send", params).await, json!({"runId": "c-1", "status": "ok"}));
    assert_eq!(provider.requests().len(), 1);
    let sent = provider.bodies()[0].to_string();
    assert!(sent.contains("hello sys event"), "{sent}");

    let history = client.ask("chat.history", json!({"sessionKey": "main"})).await;
    assert_eq!(history["sessionKey"], "main");
    let messages = history["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 2);
    assert_eq!(messages[0]["senderLabel"], "gateway-client");
    assert_eq!(messages[1]["__openclaw"]["seq"], 2);
}

#[tokio::test]
async fn what_waits_is_put_together_only_for_those_who_may_do_the_same() {
    let (provider, gateway) = Box::pin(with_model("good-1")).await;
    let mut owner = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let mut other = TestClient::operator(gateway.port, &["operator.read", "operator.write"]).await;
    let message =
        |text: &str, id: &str| json!({"sessionKey": "main", "message": text, "idempotencyKey": id});
    owner.ask("chat.send", message("SLOWLY", "slow")).await;
    while owner.event("chat").await["payload"]["state"] != "delta" {}
    other.ask("chat.send", message("SAY first of the other", "other-1")).await;
    other.ask("chat.send", message("SAY second of the other", "other-2")).await;
    owner.ask("chat.send", message("SAY of the owner", "owner-1")).await;
    owner.ask("chat.abort", json!({"sessionKey": "main", "runId": "slow"})).await;
    for id in ["other-1", "other-2", "owner-1"] {
        owner.ask("agent.wait", json!({"runId": id, "timeoutMs": 60000})).await;
    }
    let asked: Vec<String> = provider
        .bodies()
        .iter()
        .map(|body| body["messages"].as_array().unwrap().last().unwrap()["content"].to_string())
        .collect();
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert!(asked[1].contains("first of the other") && asked[1].contains("second of the other"));
    assert!(!asked[1].contains("of the owner"), "{asked:?}");
    assert!(asked[2].contains("of the owner") && !asked[2].contains("of the other"), "{asked:?}");
}

#[tokio::test]
async fn only_the_owner_or_an_admin_aborts_and_the_key_is_echoed() {
    let (_provider, gateway) = Box::pin(with_model("good-1")).await;
    let mut owner = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let scopes = ["operator.read", "operator.write"];
    let mut other = TestClient::operator(gateway.port, &scopes).await;
    let params = json!({"sessionKey": "main", "message": "SLOWLY", "idempotencyKey": "slow"});
    owner.ask("chat.send", params).await;
    while owner.event("chat").await["payload"]["state"] != "delta" {}
    let abort = json!({"sessionKey": "main", "runId": "slow"});
    let refused = other.call("chat.abort", abort.clone()).await;
    assert_eq!(refused["error"]["message"], "unauthorized");
    let elsewhere = json!({"sessionKey": "agent:main:x", "runId": "slow"});
    let wrong = owner.call("chat.abort", elsewhere).await;
    assert_eq!(wrong["error"]["message"], "runId does not match sessionKey");
    let aborted = owner.ask("chat.abort", abort).await;
    assert_eq!(aborted, json!({"ok": true, "aborted": true, "runIds": ["slow"]}));
    let events = chat_events(&mut owner, "slow").await;
    let last = events.last().unwrap();
    assert_eq!((&last["state"], &last["stopReason"]), (&json!("aborted"), &json!("rpc")));
    assert_eq!(last["sessionKey"], "main");
}

#[tokio::test]
async fn a_refusing_model_ends_the_run_once() {
    let (_provider, gateway) = Box::pin(with_model("fail400")).await;
    let mut client = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let params = json!({"sessionKey": "main", "message": "hi", "idempotencyKey": "bad"});
    client.ask("chat.send", params).await;
    let events = chat_events(&mut client, "bad").await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["state"], "error");
    assert!(!events[0]["errorMessage"].as_str().unwrap().is_empty());
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_before_a_run() {
    let gateway = TestGateway::start().await;
    let mut client = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let cases = [
        (
            "chat.send",
            json!({"sessionKey": "main", "message": " ", "idempotencyKey": "1"}),
            "message or attachment required",
        ),
        (
            "chat.send",
            json!({"sessionKey": "main", "message": "a\0", "idempotencyKey": "2"}),
            "message must not contain null bytes",
        ),
        (
            "agent",
            json!({"message": "x", "agentId": "nope", "idempotencyKey": "3"}),
            "invalid agent params: unknown agent id \"nope\"",
        ),
        (
            "agent",
            json!({"message": "x"}),
            "invalid agent params: must have required property 'idempotencyKey'",
        ),
        ("chat.inject", json!({"sessionKey": "main", "message": "x"}), "session not found"),
    ];
    for (method, params, expected) in cases {
        let frame = client.call(method, params).await;
        assert_eq!(frame["error"]["message"], expected, "{method}");
    }
    let stop = json!({"sessionKey": "main", "message": "/stop", "idempotencyKey": "4"});
    let stopped = client.ask("chat.send", stop).await;
    assert_eq!(stopped, json!({"ok": true, "aborted": false, "runIds": []}));
}

#[tokio::test]
async fn a_question_on_the_side_is_answered_and_leaves_no_trace() {
    let (_provider, gateway) = Box::pin(with_model("good-1")).await;
    let mut client = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let say = |text: &str, run: &str| json!({"sessionKey": "main", "message": text, "idempotencyKey": run});
    client.ask("chat.send", say("/btw SAY nothing yet", "b-0")).await;
    let early = client.event("chat.side_result").await["payload"].clone();
    assert_eq!((&early["kind"], &early["isError"]), (&json!("btw"), &json!(true)), "{early}");
    chat_events(&mut client, "b-0").await;

    client.ask("chat.send", say("SAY the main thing", "b-1")).await;
    chat_events(&mut client, "b-1").await;
    let history = json!({"sessionKey": "main"});
    let before = client.ask("chat.history", history.clone()).await["messages"].clone();

    client.ask("chat.send", say("/btw SAY an aside", "b-2")).await;
    let aside = client.event("chat.side_result").await["payload"].clone();
    let told = ["kind", "runId", "sessionKey", "question", "text", "isError"];
    let told = told.map(|key| aside[key].clone());
    let expected = json!(["btw", "b-2", "agent:main:main", "SAY an aside", "an aside", false]);
    assert_eq!(json!(told), expected);
    let ends = chat_events(&mut client, "b-2").await;
    assert_eq!((ends.len(), &ends[0]["state"]), (1, &json!("final")));
    assert!(ends[0].get("message").is_none(), "{}", ends[0]);
    let after = client.ask("chat.history", history).await["messages"].clone();
    assert_eq!(after, before);
}

#[tokio::test]
async fn a_message_restarts_the_gateway_unless_that_is_forbidden() {
    let say = json!({"sessionKey": "main", "message": "/restart", "idempotencyKey": "r"});
    let forbidden = TestGateway::start_with(json!({"commands": {"restart": false}})).await;
    let mut client = TestClient::operator(forbidden.port, &ALL_SCOPES).await;
    client.ask("chat.send", say.clone()).await;
    let told = chat_events(&mut client, "r").await;
    let text = told[0]["message"]["content"][0]["text"].as_str().unwrap();
    assert_eq!(text, "⚠️ /restart is disabled (commands.restart=false).");

    let gateway = TestGateway::start().await;
    let mut client = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    client.ask("chat.send", say).await;
    let told = chat_events(&mut client, "r").await;
    let text = told[0]["message"]["content"][0]["text"].as_str().unwrap();
    assert!(text.starts_with("⚙️ Restarting OpenClaw"), "{text}");
    let shutdown = client.event("shutdown").await;
    assert_eq!(shutdown["payload"]["reason"], "gateway restarting");
}

#[tokio::test]
async fn tool_events_reach_who_asked_for_them() {
    let (_provider, gateway) = Box::pin(with_model("good-1")).await;
    let mut params = connect_params("gateway-client", "backend", &ALL_SCOPES);
    params["caps"] = json!(["tool-events"]);
    let mut shown = TestClient::connect(gateway.port, params, Some(&Device::new())).await.unwrap();
    let mut plain = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let send = json!({"sessionKey": "main", "idempotencyKey": "tool",
        "message": "USE_TOOL exec {\"command\":\"echo hi-from-tool\"}"});
    shown.ask("chat.send", send).await;
    let mut phases = Vec::new();
    loop {
        let frame = shown.frame().await.unwrap();
        let payload = &frame["payload"];
        if frame["event"] == "agent" && payload["stream"] == "tool" {
            assert!(frame.get("seq").is_none());
            assert!(payload["data"].get("result").is_none());
            phases.push(payload["data"]["phase"].as_str().unwrap().to_owned());
        }
        if frame["event"] == "chat" && payload["state"] == "final" {
            break;
        }
    }
    assert_eq!(phases.first().map(String::as_str), Some("start"));
    assert_eq!(phases.last().map(String::as_str), Some("result"));
    let events = chat_events(&mut plain, "tool").await;
    assert_eq!(events.last().unwrap()["state"], "final");
    assert!(plain.events.iter().all(|event| event["payload"]["stream"] != "tool"));
}
