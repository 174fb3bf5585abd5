//! After `connect`: frames, limits, events, and the end.

use std::time::Duration;

use openclaw::protocol::events::Event;
use openclaw::supervise::signals::Request;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::support::client::{ALL_SCOPES, TestClient, connect_params};
use crate::support::fake_provider::FakeProvider;
use crate::support::gateway::TestGateway;

#[tokio::test]
async fn a_bad_frame_is_answered_and_the_socket_stays() {
    let gateway = TestGateway::start().await;
    let mut client = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    client.event("health").await;
    let cases = [
        (
            r#"{"type":"req","id":"e1","method":"health","bogus":1}"#,
            "e1",
            "invalid request frame: at root: unexpected property 'bogus'",
        ),
        (
            r#"{"type":"req","method":"health"}"#,
            "invalid",
            "invalid request frame: must have required property 'id'",
        ),
        (
            r#"{"type":"req","id":"c","method":"connect","params":{}}"#,
            "c",
            "connect is only valid as the first request",
        ),
        (r#"{"type":"req","id":"u","method":"nope.x"}"#, "u", "unknown method: nope.x"),
    ];
    for (text, id, message) in cases {
        client.send_raw(Message::text(text)).await;
        let frame = client.response().await;
        assert_eq!(frame["id"], id);
        assert_eq!(frame["error"]["message"], message);
    }
    client.send_raw(Message::binary(r#"{"type":"req","id":"b","method":"health"}"#)).await;
    assert_eq!(client.response().await["id"], "b");
    client.send_raw(Message::text("not json")).await;
    let frame = client.response().await;
    assert_eq!(frame["error"]["code"], "INVALID_REQUEST");
    client.ask("health", json!({})).await;
}

#[tokio::test]
async fn an_oversize_message_is_closed_with_its_code() {
    let gateway = TestGateway::start().await;
    let mut client = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let big = "x".repeat(200_000);
    let answer = client.call("system-presence", json!({"pad": big})).await;
    assert_eq!(answer["ok"], true);
    client.send_raw(Message::text("x".repeat(26_214_401))).await;
    assert_eq!(client.closed().await.0, 1009);
}

#[tokio::test]
async fn eleven_calls_for_the_wrong_role_end_the_socket() {
    let gateway = TestGateway::start().await;
    let mut client = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    for _ in 0..10 {
        let answer = client.call("skills.bins", json!({})).await;
        assert_eq!(answer["error"]["message"], "unauthorized role: operator");
    }
    client.ask("health", json!({})).await;
    for _ in 0..11 {
        let answer = client.call("skills.bins", json!({})).await;
        assert_eq!(answer["error"]["message"], "unauthorized role: operator");
    }
    assert_eq!(client.closed().await, (1008, "repeated unauthorized calls".to_owned()));
}

#[tokio::test]
async fn events_are_gated_by_scope_and_numbered_without_gaps() {
    let gateway = TestGateway::start().await;
    let mut admin = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let mut reader = TestClient::operator(gateway.port, &["operator.read"]).await;
    let params = connect_params("cli", "cli", &ALL_SCOPES);
    let mut bare = TestClient::connect(gateway.port, params, None).await.unwrap();
    for client in [&mut admin, &mut reader, &mut bare] {
        client.event("health").await;
    }
    let bus = &gateway.state.bus;
    bus.broadcast(Event::DevicePairResolved, &json!({"n": 1}));
    bus.broadcast(Event::Chat, &json!({"n": 2}));
    bus.broadcast(Event::Tick, &json!({"n": 3}));
    let mut heard = Vec::new();
    for client in [&mut admin, &mut reader, &mut bare] {
        let mut numbers = Vec::new();
        let mut last = None;
        while numbers.last() != Some(&3) {
            let frame = client.frame().await.unwrap();
            let seq = frame["seq"].as_u64().unwrap();
            assert!(last.is_none_or(|last| seq == last + 1), "{frame} after {last:?}");
            last = Some(seq);
            numbers.extend(frame["payload"]["n"].as_u64());
        }
        heard.push(numbers);
    }
    assert_eq!(heard, [vec![1, 2, 3], vec![2, 3], vec![3]]);
}

#[tokio::test]
async fn leaving_is_told_to_those_who_stay() {
    let gateway = TestGateway::start().await;
    let mut stays = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let leaves = TestClient::operator(gateway.port, &["operator.read"]).await;
    drop(leaves);
    let event = stays.event("presence").await;
    let list = event["payload"]["presence"].as_array().unwrap();
    assert!(list.iter().any(|entry| entry["reason"] == "disconnect"), "{list:?}");
    assert!(event["stateVersion"]["presence"].as_u64().unwrap() > 1);
}

#[tokio::test]
async fn a_stop_is_announced_before_every_close() {
    let gateway = TestGateway::start().await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(TestClient::operator(gateway.port, &["operator.read"]).await);
    }
    let mut silent = TestClient::open(gateway.port).await;
    let exit = gateway.stop().await;
    assert!(exit.clean);
    for client in &mut clients {
        let event = client.event("shutdown").await;
        assert_eq!(
            event["payload"],
            json!({"reason": "gateway stopping", "restartExpectedMs": null})
        );
        assert_eq!(client.closed().await, (1012, "service restart".to_owned()));
    }
    assert_eq!(silent.closed().await, (1012, "service restart".to_owned()));
}

#[tokio::test]
async fn a_restart_says_when_it_will_be_back() {
    let gateway = TestGateway::start().await;
    let mut client = TestClient::operator(gateway.port, &["operator.read"]).await;
    gateway.request(Request::Restart("SIGUSR1")).await;
    let event = client.event("shutdown").await;
    assert_eq!(
        event["payload"],
        json!({"reason": "gateway restarting", "restartExpectedMs": 1500})
    );
}

#[tokio::test]
async fn a_peer_that_does_not_read_cannot_hold_the_others() {
    let gateway = TestGateway::start().await;
    let _deaf = TestClient::operator(gateway.port, &["operator.read"]).await;
    let mut hears = TestClient::operator(gateway.port, &["operator.read"]).await;
    let load = "x".repeat(1024 * 1024);
    for n in 0..80 {
        gateway.state.bus.broadcast(Event::Agent, &json!({"n": n, "load": load}));
        loop {
            let frame = hears.event("agent").await;
            if frame["payload"]["n"] == n {
                break;
            }
        }
    }
    let closed = async {
        while gateway.state.bus.len() > 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    // The deaf peer's own close cannot reach it; its socket is given up.
    let deadline = Duration::from_secs(20);
    assert!(tokio::time::timeout(deadline, closed).await.is_ok());
    hears.ask("health", json!({})).await;
}

#[tokio::test]
async fn the_status_card_says_whose_key_is_used_and_never_the_key() {
    let provider = FakeProvider::start().await;
    let mut config = provider.config();
    config["models"]["providers"]["fake"]["apiKey"] = json!("sk-never-to-be-shown");
    let gateway = TestGateway::start_with(config).await;
    let mut client = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let params = json!({"sessionKey": "main", "message": "/status", "idempotencyKey": "card"});
    client.ask("chat.send", params).await;
    let card = loop {
        let payload = client.event("chat").await["payload"].clone();
        if payload["state"] == "final" {
            break payload.to_string();
        }
    };
    assert!(card.contains("fake/good-1 · 🔑 api-key (models.json)"), "{card}");
    assert!(!card.contains("never-to-be-shown"), "{card}");
}
