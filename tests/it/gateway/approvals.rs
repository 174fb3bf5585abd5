//! Commands that an operator is asked about before they run.

use serde_json::{Value, json};

use crate::support::client::{ALL_SCOPES, TestClient};
use crate::support::fake_provider::FakeProvider;
use crate::support::gateway::TestGateway;

/// A gateway whose agents ask before they run a command, and its model.
async fn asking(exec: Value) -> (TestGateway, FakeProvider) {
    let provider = FakeProvider::start().await;
    let mut config = provider.config();
    config["agents"] =
        json!({"defaults": {"model": {"primary": "fake/good-1"}, "skipBootstrap": true}});
    config["tools"] = json!({ "exec": exec });
    let path = [("PATH", "/usr/bin:/bin")];
    (TestGateway::start_with_env(config, &path).await, provider)
}

async fn say(client: &mut TestClient, text: &str, run: &str) {
    let send = json!({"sessionKey": "main", "message": text, "idempotencyKey": run});
    assert_eq!(client.ask("chat.send", send).await["status"], "started");
}

/// What the tool call of a run said, once the run has ended.
async fn tool_result(client: &mut TestClient, run: &str) -> String {
    let wait = json!({"runId": run, "timeoutMs": 30000});
    assert_eq!(client.ask("agent.wait", wait).await["status"], "ok");
    let history = client.ask("chat.history", json!({"sessionKey": "main"})).await;
    let messages = history["messages"].as_array().unwrap();
    let result = messages.iter().rev().find(|message| message["role"] == "toolResult").unwrap();
    result["content"][0]["text"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_agents_command_waits_for_an_operator() {
    let (gateway, _provider) = asking(json!({"ask": "always"})).await;
    let mut client = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let mut reader = TestClient::operator(gateway.port, &["operator.read"]).await;
    for (decision, said) in [("allow-once", "approved-output"), ("deny", "an operator refused")] {
        let run = format!("run-{decision}");
        say(&mut client, "USE_TOOL exec {\"command\": \"echo approved-output\"}", &run).await;
        let asked = client.event("exec.approval.requested").await["payload"].clone();
        assert_eq!(asked["request"]["command"], "echo approved-output");
        assert_eq!(asked["request"]["ask"], "always");
        assert_eq!(asked["request"]["sessionKey"], "agent:main:main");
        assert_eq!(asked["request"]["allowedDecisions"], json!(["allow-once", "deny"]));
        let answer = json!({"id": asked["id"], "decision": decision});
        client.ask("exec.approval.resolve", answer).await;
        let resolved = client.event("exec.approval.resolved").await["payload"].clone();
        assert_eq!((&resolved["id"], &resolved["decision"]), (&asked["id"], &json!(decision)));
        let result = tool_result(&mut client, &run).await;
        assert!(result.contains(said), "{decision}: {result}");
    }
    reader.ask("health", json!({})).await;
    let leaked = reader
        .events
        .iter()
        .any(|event| event["event"].as_str().is_some_and(|name| name.starts_with("exec.approval")));
    assert!(!leaked, "a reader heard of an approval");
}

#[tokio::test]
async fn an_owner_decides_in_a_chat() {
    let (gateway, _provider) = asking(json!({"ask": "always"})).await;
    let mut client = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    say(&mut client, "USE_TOOL exec {\"command\": \"echo approved-output\"}", "asks").await;
    let asked = client.event("exec.approval.requested").await["payload"].clone();
    let id = asked["id"].as_str().unwrap();
    let mut answer = async |text: &str, run: &str| {
        say(&mut client, text, run).await;
        client.ask("agent.wait", json!({"runId": run, "timeoutMs": 30000})).await;
        let history = client.ask("chat.history", json!({"sessionKey": "main"})).await;
        let last = history["messages"].as_array().unwrap().last().unwrap().clone();
        last["content"][0]["text"].as_str().unwrap().to_owned()
    };
    let listed = answer("/approve", "lists").await;
    assert!(listed.starts_with(&format!("{id}: echo approved-output\nUsage: ")), "{listed}");
    let done = answer(&format!("/approve {id} allow-once"), "decides").await;
    assert!(done.contains("allow-once") || done.contains("approved-output"), "{done}");
    let result = tool_result(&mut client, "asks").await;
    assert!(result.contains("approved-output"), "{result}");
}

#[tokio::test]
async fn a_program_that_was_allowed_for_good_is_not_asked_about_again() {
    let (gateway, _provider) = asking(json!({"security": "allowlist", "ask": "on-miss"})).await;
    let mut client = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    say(&mut client, "USE_TOOL exec {\"command\": \"uname -s\"}", "first").await;
    let asked = client.event("exec.approval.requested").await["payload"].clone();
    let answer = json!({"id": asked["id"], "decision": "allow-always"});
    client.ask("exec.approval.resolve", answer).await;
    tool_result(&mut client, "first").await;
    let list = client.ask("exec.approvals.get", json!({})).await;
    let pattern = list["file"]["agents"]["main"]["allowlist"][0]["pattern"].as_str().unwrap();
    assert!(pattern.ends_with("/uname"), "{list}");

    say(&mut client, "USE_TOOL exec {\"command\": \"uname -r\"}", "second").await;
    let result = tool_result(&mut client, "second").await;
    assert!(!result.contains("denied"), "{result}");
    // The other program of this line is on no list.
    say(&mut client, "USE_TOOL exec {\"command\": \"uname -r; id\"}", "third").await;
    let asked = client.event("exec.approval.requested").await["payload"].clone();
    assert_eq!(asked["request"]["command"], "uname -r; id");
}

#[tokio::test]
async fn a_command_for_a_shell_is_allowed_for_good_as_it_stands() {
    let (gateway, _provider) = asking(json!({"security": "allowlist", "ask": "on-miss"})).await;
    let mut client = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let shell = "USE_TOOL exec {\"command\": \"sh -c 'echo $((40 + 2))'\"}";
    say(&mut client, shell, "first").await;
    let asked = client.event("exec.approval.requested").await["payload"].clone();
    let answer = json!({"id": asked["id"], "decision": "allow-always"});
    client.ask("exec.approval.resolve", answer).await;
    tool_result(&mut client, "first").await;
    say(&mut client, shell, "second").await;
    assert_eq!(tool_result(&mut client, "second").await, "42");
    // Another command of the same shell is another question.
    say(&mut client, "USE_TOOL exec {\"command\": \"sh -c id\"}", "third").await;
    let asked = client.event("exec.approval.requested").await["payload"].clone();
    assert_eq!(asked["request"]["command"], "sh -c id");
}

#[tokio::test]
async fn rules_that_cannot_be_read_forbid_every_command() {
    let (gateway, _provider) = asking(json!({})).await;
    let mut client = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let file = gateway.state_dir().join("exec-approvals.json");
    std::fs::write(&file, "{\"defaults\": {\"security\": \"deny\"").unwrap();
    say(&mut client, "USE_TOOL exec {\"command\": \"echo never\"}", "broken").await;
    let result = tool_result(&mut client, "broken").await;
    assert!(result.contains("exec-approvals.json cannot be read: EOF"), "{result}");
}

#[tokio::test]
async fn a_command_is_denied_at_once_when_nobody_can_be_asked() {
    let (gateway, _provider) = asking(json!({"ask": "always"})).await;
    let mut client = TestClient::operator(gateway.port, &["operator.write"]).await;
    say(&mut client, "USE_TOOL exec {\"command\": \"echo never\"}", "alone").await;
    let result = tool_result(&mut client, "alone").await;
    assert!(result.starts_with("exec denied: the command needs approval"), "{result}");
}
