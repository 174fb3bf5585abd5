//! Connecting: what is accepted, what is refused, in which words.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::client::{ALL_SCOPES, Device, Proof, Refused, TestClient, connect_params};
use crate::support::gateway::TestGateway;
use crate::support::program::TOKEN;

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

/// Connects and expects a refusal.
async fn refusal(port: u16, params: Value, device: Option<&Device>) -> Refused {
    TestClient::connect(port, params, device).await.err().expect("a refusal")
}

#[track_caller]
fn check(refused: &Refused, message: &str, details: &Value) {
    assert_eq!(refused.error["message"], message);
    assert_eq!(refused.error.get("details").cloned().unwrap_or_default(), *details);
    let reason = &message[..message.len().min(120)];
    assert_eq!((refused.code, refused.reason.as_str()), (1008, reason), "close of {message}");
}

fn unauthorized(code: &str, reason: &str, retry: bool, next: &str) -> Value {
    json!({"code": code, "authReason": reason, "canRetryWithDeviceToken": retry,
        "recommendedNextStep": next})
}

#[tokio::test]
async fn each_wrong_credential_is_refused_in_its_own_words() {
    let gateway = TestGateway::start().await;
    let device = Device::new();
    let with_auth = |auth: Value| {
        let mut params = connect_params("gateway-client", "backend", &["operator.read"]);
        params["auth"] = auth;
        params
    };
    let mismatch = "unauthorized: gateway token mismatch (provide gateway auth token)";
    let code = "AUTH_TOKEN_MISMATCH";
    let wrong = refusal(gateway.port, with_auth(json!({"token": "no"})), Some(&device)).await;
    let retry = unauthorized(code, "token_mismatch", true, "retry_with_device_token");
    check(&wrong, mismatch, &retry);

    let wrong = refusal(gateway.port, with_auth(json!({"token": "no"})), None).await;
    let update = unauthorized(code, "token_mismatch", false, "update_auth_credentials");
    check(&wrong, mismatch, &update);

    let missing = refusal(gateway.port, with_auth(json!({})), Some(&device)).await;
    check(
        &missing,
        "unauthorized: gateway token missing (provide gateway auth token)",
        &unauthorized("AUTH_TOKEN_MISSING", "token_missing", false, "update_auth_configuration"),
    );

    let password = with_auth(json!({"password": TOKEN}));
    let password = refusal(gateway.port, password, Some(&device)).await;
    assert_eq!(password.error["details"]["code"], "AUTH_TOKEN_MISSING");

    let token = with_auth(json!({"deviceToken": "no"}));
    let token = refusal(gateway.port, token, Some(&device)).await;
    let code = "AUTH_DEVICE_TOKEN_MISMATCH";
    check(
        &token,
        "unauthorized: device token mismatch (rotate/reissue device token)",
        &unauthorized(code, "device_token_mismatch", false, "update_auth_credentials"),
    );

    let bootstrap = with_auth(json!({"bootstrapToken": "no"}));
    let bootstrap = refusal(gateway.port, bootstrap, Some(&device)).await;
    assert_eq!(bootstrap.error["details"]["authReason"], "bootstrap_token_invalid");

    let nothing = refusal(gateway.port, with_auth(json!({})), None).await;
    assert_eq!(nothing.error["code"], "NOT_PAIRED");
    check(&nothing, "device identity required", &json!({"code": "DEVICE_IDENTITY_REQUIRED"}));

    let mut node = connect_params("node-host", "node", &[]);
    node["role"] = json!("node");
    let node = refusal(gateway.port, node, None).await;
    assert_eq!(node.error["message"], "device identity required");
}

#[tokio::test]
async fn a_broken_first_frame_closes_with_its_reason() {
    let gateway = TestGateway::start().await;
    let invalid = "invalid request frame";
    let cases = [
        ("nope", 1000, ""),
        ("[]", 1008, invalid),
        (r#"{"type":"req","id":"1","method":"connect","params":{},"foo":1}"#, 1008, invalid),
        (
            r#"{"type":"req","id":"1","method":"health"}"#,
            1008,
            "invalid handshake: first request must be connect",
        ),
        (
            r#"{"type":"req","id":"1","method":"connect","params":{"minProtocol":3}}"#,
            1008,
            "invalid connect params: must have required property 'maxProtocol'; must have \
             required property 'client'",
        ),
    ];
    for (text, code, reason) in cases {
        let mut client = TestClient::open(gateway.port).await;
        client.send_raw(Message::text(text)).await;
        assert_eq!(client.closed().await, (code, reason.to_owned()), "{text}");
    }
    let mut client = TestClient::open(gateway.port).await;
    client.send_raw(Message::text("x".repeat(65_537))).await;
    assert_eq!(client.closed().await, (1009, String::new()));
}

#[tokio::test]
async fn version_role_and_origin_are_checked_in_this_order() {
    let gateway = TestGateway::start().await;
    let mut params = connect_params("gateway-client", "backend", &["operator.read"]);
    params["role"] = json!("king");
    params["minProtocol"] = json!(9);
    params["maxProtocol"] = json!(9);
    let version = refusal(gateway.port, params.clone(), None).await;
    assert_eq!(version.error["message"], "protocol mismatch");
    assert_eq!(version.error["details"], json!({"expectedProtocol": 4}));
    assert_eq!((version.code, version.reason.as_str()), (1002, "protocol mismatch"));

    params["minProtocol"] = json!(3);
    let role = refusal(gateway.port, params.clone(), None).await;
    assert_eq!(role.error["message"], "invalid role");

    params["role"] = json!("operator");
    let denied = "origin not allowed (open the Control UI from the gateway host or allow it in \
                  gateway.controlUi.allowedOrigins)";
    let evil = TestClient::open_with(gateway.port, &[("origin", "https://evil.example")]).await;
    let evil = evil.introduce(params.clone(), Some(&Device::new())).await.err().unwrap();
    let code = "CONTROL_UI_ORIGIN_NOT_ALLOWED";
    check(&evil, denied, &json!({"code": code, "reason": "origin not allowed"}));

    let ui = connect_params("openclaw-control-ui", "webchat", &["operator.read"]);
    let absent = refusal(gateway.port, ui.clone(), Some(&Device::new())).await;
    check(&absent, denied, &json!({"code": code, "reason": "origin missing or invalid"}));

    let local = [("origin", "http://localhost:18789")];
    let ours = TestClient::open_with(gateway.port, &local).await;
    assert!(ours.introduce(ui.clone(), Some(&Device::new())).await.is_ok());
    let bare = TestClient::open_with(gateway.port, &local).await;
    let bare = bare.introduce(ui, None).await.err().unwrap();
    check(
        &bare,
        "control ui requires device identity (use HTTPS or localhost secure context)",
        &json!({"code": "CONTROL_UI_DEVICE_IDENTITY_REQUIRED"}),
    );
}

#[tokio::test]
async fn a_device_must_prove_its_key_for_this_very_connection() {
    let gateway = TestGateway::start().await;
    let device = Device::new();
    let params = connect_params("gateway-client", "backend", &["operator.read"]);
    let cases: [(&str, Value, &str, &str); 4] = [
        ("/device/nonce", json!("another"), "device nonce mismatch", "device-nonce-mismatch"),
        ("/device/nonce", json!("  "), "device nonce required", "device-nonce-missing"),
        ("/device/signedAt", json!(5), "device signature expired", "device-signature-stale"),
        ("/device/id", json!("abc"), "device identity mismatch", "device-id-mismatch"),
    ];
    for (pointer, value, message, reason) in cases {
        let client = TestClient::open(gateway.port).await;
        let mut signed = params.clone();
        device.sign(&mut signed, &client.nonce, Proof::default());
        *signed.pointer_mut(pointer).unwrap() = value;
        let refused = client.introduce(signed, None).await.err().unwrap();
        assert_eq!(refused.error["message"], message);
        assert_eq!(refused.error["details"]["reason"], reason);
    }
    let client = TestClient::open(gateway.port).await;
    let mut signed = params.clone();
    device.sign(&mut signed, &client.nonce, Proof::default());
    signed["scopes"] = json!(ALL_SCOPES);
    let refused = client.introduce(signed, None).await.err().unwrap();
    assert_eq!(refused.error["message"], "device signature invalid");
}

#[tokio::test]
async fn without_a_device_the_scopes_are_cleared_under_protocol_three() {
    let gateway = TestGateway::start().await;
    let mut params = connect_params("cli", "cli", &ALL_SCOPES);
    let mut three = TestClient::connect(gateway.port, params.clone(), None).await.unwrap();
    assert!(three.hello.get("auth").is_none());
    assert!(three.hello["snapshot"].get("configPath").is_none());
    assert_eq!(three.ask("health", json!({})).await["ok"], true);
    let refused = three.call("system-presence", json!({})).await;
    assert_eq!(refused["error"]["code"], "INVALID_REQUEST");
    assert_eq!(refused["error"]["message"], "missing scope: operator.read");

    params["minProtocol"] = json!(4);
    params["maxProtocol"] = json!(4);
    params["client"]["buildId"] = json!("x");
    let mut four = TestClient::connect(gateway.port, params.clone(), None).await.unwrap();
    assert_eq!(four.hello["protocol"], 4);
    assert_eq!(four.hello["auth"]["method"], "token");
    assert_eq!(four.hello["auth"]["scopes"], json!(ALL_SCOPES));
    four.ask("system-presence", json!({})).await;

    params["client"]["mode"] = json!("probe");
    let mut probe = TestClient::connect(gateway.port, params, None).await.unwrap();
    let refused = probe.call("system-presence", json!({})).await;
    assert_eq!(refused["error"]["code"], "FORBIDDEN");
}

#[tokio::test]
async fn more_than_was_paired_needs_a_terminal_with_the_token_or_a_person() {
    let gateway = TestGateway::start().await;
    let device = Device::new();
    let backend = |scopes: &[&str]| connect_params("gateway-client", "backend", scopes);
    let connect = |params| TestClient::connect(gateway.port, params, Some(&device));
    drop(connect(backend(&["operator.read"])).await.unwrap());
    let refused = connect(backend(&["operator.write"])).await.err().unwrap();
    assert_eq!(refused.error["code"], "NOT_PAIRED");
    assert_eq!(refused.error["message"], "pairing required");
    assert_eq!(refused.error["details"]["code"], "PAIRING_REQUIRED");
    assert_eq!(refused.error["details"]["reason"], "scope-upgrade");
    let request = refused.error["details"]["requestId"].as_str().unwrap().to_owned();
    let again = connect(backend(&["operator.write"])).await.err().unwrap();
    assert_eq!(again.error["details"]["requestId"], request.as_str(), "the request is kept");

    let mut terminal = connect(connect_params("cli", "cli", &ALL_SCOPES)).await.unwrap();
    terminal.ask("system-presence", json!({})).await;
    assert!(connect(backend(&["operator.write"])).await.is_ok());

    let mut other_platform = backend(&["operator.read"]);
    other_platform["client"]["platform"] = json!("darwin");
    let refused = connect(other_platform).await.err().unwrap();
    assert_eq!(refused.error["details"]["reason"], "metadata-upgrade");
}

#[tokio::test]
async fn without_a_secret_a_terminal_gets_what_it_asks_for_in_any_order() {
    let open = json!({"gateway": {"auth": {"mode": "none", "token": null}}});
    let gateway = TestGateway::start_with(open).await;
    let device = Device::new();
    let connect = |params| TestClient::connect(gateway.port, params, Some(&device));
    drop(connect(connect_params("cli", "probe", &["operator.read"])).await.unwrap());
    let mut terminal = connect(connect_params("cli", "cli", &ALL_SCOPES)).await.unwrap();
    terminal.ask("system-presence", json!({})).await;
    let mut elsewhere = connect_params("cli", "cli", &ALL_SCOPES);
    elsewhere["client"]["platform"] = json!("darwin");
    let refused = connect(elsewhere).await.err().unwrap();
    assert_eq!(refused.error["details"]["reason"], "metadata-upgrade");
}

#[tokio::test]
async fn a_proxy_in_between_makes_a_new_device_wait_for_a_person() {
    let gateway = TestGateway::start().await;
    let mut watcher = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let far = [("x-forwarded-for", "203.0.113.9")];
    let client = TestClient::open_with(gateway.port, &far).await;
    let params = connect_params("gateway-client", "backend", &["operator.read"]);
    let refused = client.introduce(params, Some(&Device::new())).await.err().unwrap();
    assert_eq!(refused.error["details"]["reason"], "not-paired");
    let event = watcher.event("device.pair.requested").await;
    assert_eq!(event["payload"]["requestId"], refused.error["details"]["requestId"]);
    assert_eq!(event["payload"]["silent"], false);
}

#[tokio::test]
async fn a_device_token_stands_in_for_the_shared_one() {
    let gateway = TestGateway::start().await;
    let device = Device::new();
    let mut params = connect_params("gateway-client", "backend", &["operator.read"]);
    let first = TestClient::connect(gateway.port, params.clone(), Some(&device)).await.unwrap();
    let token = first.hello["auth"]["deviceToken"].clone();
    for field in ["token", "deviceToken"] {
        params["auth"] = json!({});
        params["auth"][field] = token.clone();
        let again = TestClient::connect(gateway.port, params.clone(), Some(&device)).await.unwrap();
        assert_eq!(again.hello["auth"]["deviceToken"], token, "{field}");
    }
    params["scopes"] = json!(["operator.admin"]);
    let beyond = refusal(gateway.port, params, Some(&device)).await;
    assert_eq!(beyond.error["details"]["code"], "AUTH_DEVICE_TOKEN_MISMATCH");
}

#[tokio::test]
async fn the_eleventh_guess_of_a_browser_is_locked_out_even_with_the_token() {
    let gateway = TestGateway::start().await;
    let origin = [("origin", "http://127.0.0.1:18789")];
    let mut params = connect_params("openclaw-control-ui", "webchat", &["operator.read"]);
    params["auth"]["token"] = json!("wrong");
    for n in 0..10 {
        let client = TestClient::open_with(gateway.port, &origin).await;
        let refused = client.introduce(params.clone(), Some(&Device::new())).await.err().unwrap();
        assert_eq!(refused.error["details"]["authReason"], "token_mismatch", "guess {n}");
    }
    params["auth"]["token"] = json!(TOKEN);
    let client = TestClient::open_with(gateway.port, &origin).await;
    let refused = client.introduce(params.clone(), Some(&Device::new())).await.err().unwrap();
    check(
        &refused,
        "unauthorized: too many failed authentication attempts (retry later)",
        &unauthorized("AUTH_RATE_LIMITED", "rate_limited", false, "wait_then_retry"),
    );
    drop(TestClient::operator(gateway.port, &ALL_SCOPES).await);
}

#[tokio::test]
async fn password_mode_asks_for_the_password() {
    let config =
        json!({"gateway": {"auth": {"mode": "password", "token": null, "password": "pw"}}});
    let gateway = TestGateway::start_with(config).await;
    let mut params = connect_params("openclaw-tui", "ui", &["operator.read"]);
    let missing = refusal(gateway.port, params.clone(), Some(&Device::new())).await;
    assert_eq!(
        missing.error["message"],
        "unauthorized: gateway password missing (enter the password in Control UI settings)"
    );
    params["auth"] = json!({"password": "no"});
    let wrong = refusal(gateway.port, params.clone(), Some(&Device::new())).await;
    assert_eq!(wrong.error["details"]["code"], "AUTH_PASSWORD_MISMATCH");
    params["auth"] = json!({"password": "pw"});
    assert!(TestClient::connect(gateway.port, params, Some(&Device::new())).await.is_ok());
}

#[tokio::test]
async fn silence_is_closed_and_the_budget_is_given_back() {
    let vars = [
        ("OPENCLAW_HANDSHAKE_TIMEOUT_MS", "2000"),
        ("OPENCLAW_MAX_PREAUTH_CONNECTIONS_PER_IP", "2"),
    ];
    let gateway = TestGateway::start_with_env(json!({}), &vars).await;
    let mut first = TestClient::open(gateway.port).await;
    let mut second = TestClient::open(gateway.port).await;
    let refused = upgrade_by_hand(gateway.port).await;
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    assert!(refused.contains("Too many unauthenticated sockets"), "{refused}");
    assert_eq!(first.closed().await, (1000, String::new()));
    assert_eq!(second.closed().await, (1000, String::new()));
    drop(TestClient::operator(gateway.port, &ALL_SCOPES).await);
}

/// Asks for an upgrade by hand and returns the whole answer.
async fn upgrade_by_hand(port: u16) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut tcp = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let head = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    tcp.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    answer
}

/// What Tailscale Serve adds to a request.
fn identity<'a>(login: &'a str, address: &'a str) -> [(&'static str, &'a str); 4] {
    [
        ("tailscale-user-login", login),
        ("x-forwarded-for", address),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "gw.tail.example"),
    ]
}

#[tokio::test]
async fn a_tailnet_user_is_let_in_when_the_local_daemon_knows_the_address() {
    let bin = tempfile::tempdir().unwrap();
    let daemon = bin.path().join("tailscale");
    let script = "#!/bin/sh\n[ \"$1 $2 $3\" = \"whois --json 100.64.0.7\" ] || exit 1\n\
        echo '{\"UserProfile\":{\"LoginName\":\"op@example.com\"}}'\n";
    std::fs::write(&daemon, script).unwrap();
    std::fs::set_permissions(&daemon, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", bin.path().display());
    let config = json!({"gateway": {
        "auth": {"allowTailscale": true},
        "http": {"endpoints": {"chatCompletions": {"enabled": true}}}}});
    let gateway = TestGateway::start_with_env(config, &[("PATH", &path)]).await;
    let connect = async |login: &str, address: &str| {
        let headers = identity(login, address);
        let mut params = connect_params("gateway-client", "backend", &["operator.read"]);
        params["auth"] = json!({});
        let client = TestClient::open_with(gateway.port, &headers).await;
        client.introduce(params, Some(&Device::new())).await.err().expect("a new device waits")
    };
    // For the API it counts for nothing.
    let url = format!("http://127.0.0.1:{}/v1/models", gateway.port);
    let client = openclaw::agents::providers::http::Http::default().client(&url).unwrap();
    let mut request = client.get(&url);
    for (name, value) in identity("op@example.com", "100.64.0.7") {
        request = request.header(name, value);
    }
    assert_eq!(request.send().await.unwrap().status().as_u16(), 401);
    // The identity holds; what is left to do is to approve the device.
    let known = connect("Op@example.com", "100.64.0.7").await;
    assert_eq!(known.error["details"]["code"], "PAIRING_REQUIRED");
    for (login, address) in [("else@example.com", "100.64.0.7"), ("op@example.com", "100.64.0.8")] {
        let unknown = connect(login, address).await;
        assert_eq!(unknown.error["details"]["code"], "AUTH_TOKEN_MISSING", "{login} at {address}");
    }
}

#[tokio::test]
async fn an_invited_phone_is_let_in_and_keeps_its_invitation_to_itself() {
    let gateway = TestGateway::start().await;
    let file = gateway.state_dir().join("devices/bootstrap.json");
    let now = gateway.state.clock.now_ms();
    let token = openclaw::gateway::pairing::bootstrap::issue(&file, now).unwrap();
    let phone = |token: &str| {
        let mut params = connect_params("openclaw-ios", "node", &[]);
        params["role"] = json!("node");
        params["auth"] = json!({ "bootstrapToken": token });
        params
    };
    let device = Device::new();
    // From elsewhere: nothing here is let in for being local.
    let from = [("x-forwarded-for", "192.0.2.7")];
    let client = TestClient::open_with(gateway.port, &from).await;
    let client = client.introduce(phone(token.expose()), Some(&device)).await.unwrap();
    assert_eq!(client.hello["auth"]["role"], "node");
    assert!(client.hello["auth"]["deviceToken"].is_string(), "{}", client.hello);
    let other = TestClient::open_with(gateway.port, &from).await;
    let other = other.introduce(phone(token.expose()), Some(&Device::new())).await;
    let refused = other.err().expect("it belongs to the first phone");
    assert_eq!(refused.error["details"]["authReason"], "bootstrap_token_invalid");
}

#[tokio::test]
async fn a_node_whose_token_was_revoked_comes_back_when_somebody_approves_it() {
    let gateway = TestGateway::start().await;
    let device = Device::new();
    let host = async || {
        let mut params = connect_params("node-host", "node", &[]);
        params["role"] = json!("node");
        TestClient::connect(gateway.port, params, Some(&device)).await
    };
    let mut operator = TestClient::operator(gateway.port, &["operator.admin"]).await;
    let mut node = host().await.unwrap();
    let revoked = json!({"deviceId": device.id(), "role": "node"});
    operator.ask("device.token.revoke", revoked).await;
    assert_eq!(node.closed().await.0, 4001);
    // It still knows the secret of the gateway, and that is not enough.
    let refused = host().await.err().expect("a revoked node waits");
    assert_eq!(refused.error["details"]["code"], "PAIRING_REQUIRED");
    assert_eq!(refused.error["details"]["reason"], "role-upgrade");
    let request = &refused.error["details"]["requestId"];
    operator.ask("device.pair.approve", json!({ "requestId": request })).await;
    host().await.unwrap();
}
