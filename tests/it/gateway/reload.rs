//! Editing the configuration of a running gateway: nobody is disconnected, and
//! nothing broken takes over.

use std::time::Duration;

use openclaw::config::load;
use serde_json::{Value, json};

use crate::support::client::{ALL_SCOPES, TestClient};
use crate::support::gateway::TestGateway;
use crate::support::program::TOKEN;

fn quick() -> Value {
    json!({"gateway": {"reload": {"debounceMs": 5}}})
}

fn document(color: usize) -> Value {
    json!({
        "gateway": {
            "mode": "local",
            "auth": {"mode": "token", "token": TOKEN},
            "reload": {"debounceMs": 5},
        },
        "ui": {"seamColor": format!("{color:06x}")},
        "hooks": {"path": format!("/hooks-{color}")},
    })
}

/// Replaces the file as an editor does.
fn save(gateway: &TestGateway, bytes: &[u8]) -> String {
    let file = gateway.state_dir().join("openclaw.json");
    let temporary = gateway.state_dir().join("next");
    std::fs::write(&temporary, bytes).unwrap();
    std::fs::rename(&temporary, &file).unwrap();
    load::hash(bytes)
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.expect(what);
}

#[tokio::test]
async fn a_hundred_edits_disconnect_nobody() {
    let gateway = Box::pin(TestGateway::start_with(quick())).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(TestClient::operator(gateway.port, &ALL_SCOPES).await);
    }
    for color in 0..100 {
        let hash = save(&gateway, document(color).to_string().as_bytes());
        until("the edit takes over", || gateway.state.config.load().hash == hash).await;
        let shown = format!("/hooks-{color}");
        assert_eq!(gateway.state.config.load().config.hooks["path"], shown);
    }
    assert_eq!(gateway.state.bus.len(), 20);
    for client in &mut clients {
        assert_eq!(client.ask("health", json!({})).await["ok"], true);
    }
    assert!(gateway.stop().await.clean);
}

#[tokio::test]
async fn a_broken_edit_keeps_the_running_configuration_and_says_why() {
    let gateway = Box::pin(TestGateway::start_with(quick())).await;
    let mut client = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let before = gateway.state.config.load().hash.clone();
    let deep = "[".repeat(50_000);
    let broken: [(&[u8], &str); 7] = [
        (b"", "JSON5 parse failed"),
        (b"{gateway:{", "invalid end of input at 1:11"),
        (b"{\"gateway\":{\"port\":\"x\"}}", "gateway.port: Invalid input: expected number"),
        (b"{\"nonsense\":1}", "Unrecognized key: \"nonsense\""),
        (b"{\"a\": \"\xff\xfe\"}", "not valid UTF-8"),
        (b"{\"agents\":{\"$include\":\"./openclaw.json\"}}", "Circular include detected"),
        (deep.as_bytes(), "nesting deeper than"),
    ];
    for (text, reason) in broken {
        save(&gateway, text);
        until(reason, || {
            let rejected = gateway.state.config.rejected();
            rejected.is_some_and(|rejected| rejected.reasons.iter().any(|why| why.contains(reason)))
        })
        .await;
        assert_eq!(gateway.state.config.load().hash, before);
        assert_eq!(client.ask("health", json!({})).await["ok"], true);
    }
    let unresolved = json!({
        "gateway": {"mode": "local", "auth": {"mode": "token", "token": TOKEN}, "reload": {"debounceMs": 5}},
        "talk": {"apiKey": {"source": "env", "provider": "default", "id": "NOT_THERE"}},
    });
    save(&gateway, unresolved.to_string().as_bytes());
    until("the missing secret is named", || {
        gateway
            .state
            .config
            .rejected()
            .is_some_and(|rejected| rejected.reasons[0].contains("\"NOT_THERE\" is missing"))
    })
    .await;
    let hash = save(&gateway, document(7).to_string().as_bytes());
    until("the repaired file takes over", || gateway.state.config.load().hash == hash).await;
    assert_eq!(gateway.state.config.rejected(), None);
    assert!(gateway.stop().await.clean);
}

#[tokio::test]
async fn a_rotated_token_spares_who_is_signed_in() {
    let gateway = Box::pin(TestGateway::start_with(quick())).await;
    let mut client = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let mut next = document(1);
    next["gateway"]["auth"]["token"] = json!("another-token");
    let hash = save(&gateway, next.to_string().as_bytes());
    until("the token takes over", || gateway.state.config.load().hash == hash).await;
    assert_eq!(client.ask("health", json!({})).await["ok"], true);
    let auth = gateway.state.auth.load_full();
    assert!(auth.token.as_ref().is_some_and(|token| token.matches("another-token")));
    assert!(gateway.stop().await.clean);
}
