//! A file that cannot be used: what is served instead, and where that is said.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::client::{ALL_SCOPES, TestClient};
use crate::support::program::{Gateway, command};

async fn said(gateway: &Gateway, args: &[&str]) -> (Option<i32>, String) {
    let mut run = command(gateway.home.path());
    let port = gateway.port.to_string();
    let run = run.arg("--dev").args(args).env("OPENCLAW_GATEWAY_PORT", port);
    let output = run.output().await.unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect(what);
}

#[tokio::test]
async fn a_file_broken_before_a_start_is_survived_and_named_everywhere() {
    let gateway = Gateway::start(json!({"ui": {"seamColor": "112233"}})).await;
    let good = fs::read(gateway.config()).unwrap();
    let file = gateway.config();
    until("the good file is kept", async || {
        gateway.home.path().join(".openclaw-dev/config-last-good.json").exists()
    })
    .await;
    let (home, port) = gateway.kill().await;
    fs::write(&file, "{gateway: {port: 'x'}}").unwrap();
    let mut gateway = Gateway::over(home, port, &[], &[]);
    gateway.wait_until_ready().await;
    let reason = "gateway.port: Invalid input: expected number, received string";
    assert!(gateway.log().contains(&format!(
        "openclaw.json is refused, serving with the last known good configuration: {reason}"
    )));
    let mut client = TestClient::operator(port, &ALL_SCOPES).await;
    for method in ["health", "status"] {
        let answer = client.ask(method, json!({})).await;
        assert_eq!(answer["config"]["status"], "degraded", "{method}: {answer}");
        assert_eq!(answer["config"]["serving"], "lastKnownGood");
        assert_eq!(answer["config"]["reasons"], json!([reason]));
    }
    for args in [&["health"][..], &["status"], &["status", "--all"], &["gateway", "status"]] {
        let (_, text) = said(&gateway, args).await;
        assert!(text.replace("│", "").contains("last known"), "{args:?}: {text}");
    }
    fs::write(&file, &good).unwrap();
    until("the mended file takes over", async || {
        client.ask("status", json!({})).await.get("config").is_none()
    })
    .await;
    assert!(gateway.stop().await.success());
}

#[tokio::test]
async fn strict_configuration_is_not_replaced_by_an_older_one() {
    let mut gateway = Gateway::start(json!({})).await;
    gateway.stop().await;
    let file = gateway.config();
    let (home, port) = (gateway.home, gateway.port);
    fs::write(&file, "{nonsense: 1}").unwrap();
    let mut gateway = Gateway::over(home, port, &["--strict-config"], &[]);
    assert_eq!(gateway.ended().await.code(), Some(1));
    assert!(gateway.log().contains("Unrecognized key: \"nonsense\""), "{}", gateway.log());
    // A service stays up and tells whoever asks.
    let supervised = [("INVOCATION_ID", "1")];
    let mut gateway = Gateway::over(gateway.home, port, &["--strict-config"], &supervised);
    until("it says why it does not serve", async || {
        gateway.get("/healthz").await.is_some_and(|answer| answer.contains("nonsense"))
    })
    .await;
    assert!(gateway.stop().await.success());
}

#[tokio::test]
async fn a_reload_request_succeeds_or_fails_with_the_reason() {
    let mut gateway = Gateway::start(json!({})).await;
    let pid = gateway.pid().to_string();
    assert_eq!(said(&gateway, &["__reload", &pid]).await, (Some(0), "reload done\n".to_owned()));
    fs::write(gateway.config(), "{gateway: {").unwrap();
    let (code, text) = said(&gateway, &["__reload", &pid]).await;
    assert_eq!(code, Some(1));
    assert!(text.starts_with("reload failed: openclaw.json is refused, the configuration before it stays in force: <root>: JSON5 parse failed"), "{text}");
    assert!(gateway.stop().await.success());
}

#[tokio::test]
async fn a_blocked_gateway_says_that_nothing_is_in_force_until_a_reload_finds_it_mended() {
    let mut gateway = Gateway::start(json!({"gateway": {"reload": {"debounceMs": 5}}})).await;
    let file = gateway.config();
    let good = fs::read(&file).unwrap();
    // What is refused while it runs is no longer in force instead when it is gone.
    fs::write(&file, "{nonsense: 1}").unwrap();
    until("the running one refuses it", async || {
        said(&gateway, &["status"]).await.1.replace('│', "").contains("stays in force")
    })
    .await;
    assert!(gateway.stop().await.success());
    for args in [&["status"][..], &["status", "--all"], &["gateway", "status"]] {
        let (_, text) = said(&gateway, args).await;
        assert!(!text.contains("in force"), "{args:?}: {text}");
    }
    let (home, port) = (gateway.home, gateway.port);
    let supervised = [("INVOCATION_ID", "1")];
    let mut gateway = Gateway::over(home, port, &["--strict-config"], &supervised);
    let blocked = "the gateway cannot start and is blocked: <root>: Unrecognized key: \"nonsense\"";
    until("it is blocked", async || {
        let (_, text) = said(&gateway, &["gateway", "status"]).await;
        text.contains(blocked)
    })
    .await;
    let pid = gateway.pid().to_string();
    let (code, text) = said(&gateway, &["__reload", &pid]).await;
    assert_eq!((code, text.trim_end()), (Some(1), format!("reload failed: {blocked}").as_str()));
    fs::write(&file, &good).unwrap();
    // The change alone may have been enough, and the reload finds it running.
    let (code, text) = said(&gateway, &["__reload", &pid]).await;
    assert_eq!((code, text.as_str()), (Some(0), "reload done\n"), "{}", gateway.log());
    gateway.wait_until_ready().await;
    assert!(gateway.stop().await.success());
}

#[tokio::test]
async fn a_restart_of_its_own_keeps_the_process_and_the_port() {
    let mut gateway = Gateway::start(json!({"gateway": {"reload": {"debounceMs": 5}}})).await;
    let pid = gateway.pid();
    until("it says where it listens", async || boot(&gateway) == 1).await;
    let mut settings: Value = serde_json::from_slice(&fs::read(gateway.config()).unwrap()).unwrap();
    settings["gateway"]["tailscale"] = json!({"resetOnExit": true});
    fs::write(gateway.config(), settings.to_string()).unwrap();
    // From here on somebody always listens: no connection is refused.
    let mut asked = 0;
    loop {
        let answer = gateway.get("/readyz").await.expect("the port stays open");
        asked += 1;
        if answer.starts_with("HTTP/1.1 200") && boot(&gateway) == 2 {
            break;
        }
        assert!(asked < 5000, "{}", gateway.log());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(gateway.pid(), pid);
    assert!(gateway.log().contains("config change requires gateway restart (gateway.tailscale)"));
    println!("restarted in place: pid {pid}, {asked} connections, none refused");
    assert!(gateway.stop().await.success());
}

/// How often it announced its port.
fn boot(gateway: &Gateway) -> usize {
    gateway.log().matches("listening on ws://").count()
}
