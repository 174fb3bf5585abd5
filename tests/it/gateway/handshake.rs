//! Connecting: what is accepted, what is refused, in which words.

use serde_json::json;

use crate::support::client::{ALL_SCOPES, Device, TestClient, connect_params};
use crate::support::gateway::TestGateway;

#[tokio::test]
async fn a_local_device_with_the_token_is_let_in_and_served() {
    let gateway = TestGateway::start().await;
    let mut client = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    assert_eq!(client.hello["type"], "hello-ok");
    assert_eq!(client.hello["protocol"], 3);
    assert_eq!(client.hello["server"]["version"], "2026.4.2");
    assert_eq!(client.hello["policy"]["tickIntervalMs"], 30_000);
    assert_eq!(client.hello["snapshot"]["authMode"], "token");
    assert_eq!(client.hello["auth"]["role"], "operator");
    let health = client.ask("health", json!({})).await;
    assert_eq!(health["ok"], true);
    let event = client.event("health").await;
    assert!(event["stateVersion"]["health"].as_u64().unwrap() >= 1, "{event}");
    assert_eq!(event["seq"], 1);
    let presence = client.ask("system-presence", json!({})).await;
    assert_eq!(presence[0]["reason"], "self");
    let paired = std::fs::read_to_string(gateway.state_dir().join("devices/paired.json")).unwrap();
    assert!(paired.contains("\"clientMode\": \"backend\""), "{paired}");
    assert_eq!(gateway.state.bus.len(), 1);
    assert!(gateway.stop().await.clean);
}

#[tokio::test]
async fn a_wrong_token_is_refused_with_advice() {
    let gateway = TestGateway::start().await;
    let mut params = connect_params("cli", "cli", &ALL_SCOPES);
    params["auth"]["token"] = json!("wrong");
    let refused = TestClient::connect(gateway.port, params, Some(&Device::new())).await;
    let refused = refused.err().unwrap();
    let expected = "unauthorized: gateway token mismatch (set gateway.remote.token to match \
                    gateway.auth.token)";
    assert_eq!(refused.error["message"], expected);
    assert_eq!(
        refused.error["details"],
        json!({"code": "AUTH_TOKEN_MISMATCH", "authReason": "token_mismatch",
            "canRetryWithDeviceToken": true, "recommendedNextStep": "retry_with_device_token"})
    );
    assert_eq!((refused.code, refused.reason.as_str()), (1008, expected));
}
