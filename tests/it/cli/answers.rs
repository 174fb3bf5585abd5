//! Commands against a running gateway, in an order that has tripped others:
//! a look that needs little first, then commands that need everything.

use serde_json::json;

use super::{Run, run_with};
use crate::support::program::Gateway;

/// Runs a command of the profile that `gateway` serves.
async fn ask(gateway: &Gateway, args: &[&str]) -> Run {
    let port = gateway.port.to_string();
    let args = [&["--dev"], args].concat();
    run_with(gateway.home.path(), &[("OPENCLAW_GATEWAY_PORT", &port)], &args).await
}

#[tokio::test]
async fn every_command_is_served_on_a_new_installation() {
    let gateway = Gateway::start(json!({})).await;
    let status = ask(&gateway, &["status", "--json"]).await.json();
    assert_eq!(status["gateway"]["reachable"], true, "{status}");
    assert_eq!(status["gateway"]["self"]["version"], env!("CARGO_PKG_VERSION"));
    let logs = ask(&gateway, &["logs", "--json", "--limit", "2"]).await;
    assert_eq!((logs.code, logs.err.as_str()), (0, ""));
    for line in logs.out.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(["meta", "log", "notice"].contains(&line["type"].as_str().unwrap()), "{line}");
    }
    let health = ask(&gateway, &["health", "--json"]).await;
    assert_eq!((health.code, &health.json()["ok"]), (0, &true.into()));
    let human = ask(&gateway, &["health"]).await;
    assert!(human.out.starts_with("Agents: main (default)\n"), "{}", human.out);
    let called = ask(&gateway, &["gateway", "call", "health", "--json"]).await;
    assert_eq!((called.code, &called.json()["ok"]), (0, &true.into()));
    let presence = ask(&gateway, &["system", "presence", "--json"]).await.json();
    assert!(presence.as_array().unwrap().iter().any(|entry| entry["mode"] == "gateway"));
    let event = ask(&gateway, &["system", "event", "--text", "hello"]).await;
    assert_eq!((event.code, event.out.as_str()), (0, "ok\n"));
    let channels = ask(&gateway, &["channels", "status", "--probe", "--json"]).await;
    assert_eq!(channels.json()["channelOrder"], json!([]));
    let probe = ask(&gateway, &["gateway", "probe", "--json"]).await;
    assert_eq!((probe.code, &probe.json()["ok"]), (0, &true.into()));
}

#[tokio::test]
async fn the_gateway_status_shows_the_two_lines_that_scripts_look_for() {
    let gateway = Gateway::start(json!({})).await;
    let run = ask(&gateway, &["gateway", "status"]).await;
    assert_eq!(run.code, 0);
    assert!(run.out.lines().any(|line| line.starts_with("Runtime: ")), "{}", run.out);
    assert!(run.out.contains("\nRPC probe: ok\n"), "{}", run.out);
    assert!(run.out.contains(&format!("Listening: 127.0.0.1:{}", gateway.port)), "{}", run.out);
}

#[tokio::test]
async fn a_turn_waits_for_the_final_answer() {
    let gateway = Gateway::start(json!({})).await;
    let said = ask(&gateway, &["agent", "--session-id", "s1", "--message", "hi there"]).await;
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    assert!(said.out.trim_end().ends_with("hi there"), "{}", said.out);
    let answer = ask(&gateway, &["agent", "--to", "+1555", "-m", "again", "--json"]).await;
    let answer = answer.json();
    assert_eq!((&answer["status"], &answer["summary"]), (&"ok".into(), &"completed".into()));
    assert!(answer["result"]["meta"]["durationMs"].is_u64(), "{answer}");
}

#[tokio::test]
async fn an_unknown_method_is_the_gateways_own_words() {
    let gateway = Gateway::start(json!({})).await;
    let run = ask(&gateway, &["gateway", "call", "nope", "--json"]).await;
    assert_eq!(
        (run.code, run.err.as_str()),
        (1, "Gateway call failed: GatewayClientRequestError: unknown method: nope\n")
    );
}

#[tokio::test]
async fn a_wrong_token_is_refused_and_said_so() {
    let gateway = Gateway::start(json!({})).await;
    let url = format!("ws://127.0.0.1:{}", gateway.port);
    let run =
        ask(&gateway, &["gateway", "call", "health", "--url", &url, "--token", "wrong"]).await;
    let words = "unauthorized: gateway token mismatch";
    assert_eq!(run.code, 1);
    let mut lines = run.err.lines();
    let first = lines.next().unwrap();
    assert!(first.starts_with("gateway connect failed: GatewayClientRequestError: "), "{first}");
    assert!(first.contains(words), "{first}");
    let second = lines.next().unwrap();
    assert!(
        second.starts_with(&format!("Gateway call failed: Error: gateway closed (1008): {words}")),
        "{second}"
    );
    assert_eq!(lines.next(), Some(format!("Gateway target: {url}").as_str()));
    assert_eq!(lines.next(), Some("Source: cli --url"));
}
