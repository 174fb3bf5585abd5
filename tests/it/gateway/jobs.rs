//! What happens without a message: jobs by the clock, reminders, heartbeats,
//! and commands that end in the background.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::client::{ALL_SCOPES, TestClient};
use crate::support::fake_provider::FakeProvider;
use crate::support::gateway::TestGateway;

async fn start() -> (TestGateway, FakeProvider) {
    let provider = FakeProvider::start().await;
    let mut config = provider.config();
    config["agents"]["defaults"]["skipBootstrap"] = true.into();
    config["agents"]["defaults"]["heartbeat"] = json!({"every": "0m"});
    let path = [("PATH", "/usr/bin:/bin")];
    (TestGateway::start_with_env(config, &path).await, provider)
}

/// What the user's side of the first model call says that contains `words`.
async fn heard(provider: &FakeProvider, words: &str) -> String {
    let found = async {
        loop {
            let last = |body: &Value| body["messages"].as_array()?.last().map(Value::to_string);
            let said = provider.bodies().iter().filter_map(last).find(|it| it.contains(words));
            if let Some(said) = said {
                return said;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), found).await.expect("the model hears of it")
}

/// Runs a job by hand and returns what is told about its end.
async fn run(client: &mut TestClient, job: &Value) -> Value {
    client.ask("cron.run", json!({"id": job["id"]})).await;
    loop {
        let event = client.event("cron").await["payload"].clone();
        if event["action"] == "finished" {
            return event;
        }
    }
}

async fn texts(client: &mut TestClient, key: &Value) -> Vec<String> {
    let history = client.ask("chat.history", json!({"sessionKey": key})).await;
    let messages = history["messages"].as_array().unwrap();
    messages.iter().map(|message| message["content"][0]["text"].to_string()).collect()
}

#[tokio::test]
async fn each_run_of_a_job_keeps_a_conversation_of_its_own() {
    let (gateway, _provider) = start().await;
    let mut client = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let job = json!({"name": "brief", "schedule": {"kind": "every", "everyMs": 3_600_000},
        "sessionTarget": "isolated", "wakeMode": "now",
        "payload": {"kind": "agentTurn", "message": "SAY first words"}, "delivery": {"mode": "none"}});
    let job = client.ask("cron.add", job).await;
    let first = run(&mut client, &job).await;
    let patch = json!({"payload": {"kind": "agentTurn", "message": "SAY second words"}});
    client.ask("cron.update", json!({"id": job["id"], "patch": patch})).await;
    let second = run(&mut client, &job).await;
    assert_ne!(first["sessionKey"], second["sessionKey"]);
    for (run, words) in [(&first, "first words"), (&second, "second words")] {
        assert_eq!(run["summary"], *words);
        let key = run["sessionKey"].as_str().unwrap();
        let job = job["id"].as_str().unwrap();
        assert!(key.starts_with(&format!("agent:main:cron:{job}:run:")), "{key}");
        let said = texts(&mut client, &run["sessionKey"]).await;
        assert!(said.last().unwrap().contains(words), "{said:?}");
        assert_eq!(said.len(), 2, "{said:?}");
    }
}

#[tokio::test]
async fn a_reminder_is_said_although_hearts_do_not_beat() {
    let (gateway, provider) = start().await;
    let mut client = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let job = json!({"name": "plants", "schedule": {"kind": "every", "everyMs": 3_600_000},
        "sessionTarget": "main", "wakeMode": "now",
        "payload": {"kind": "systemEvent", "text": "water the plants"}});
    let job = client.ask("cron.add", job).await;
    assert_eq!(run(&mut client, &job).await["status"], "ok");
    let told = heard(&provider, "water the plants").await;
    assert!(told.contains("A reminder is due"), "{told}");
}

#[tokio::test]
async fn a_heartbeat_that_a_busy_agent_missed_is_made_up_for() {
    let (gateway, provider) = start().await;
    let mut client = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let send = json!({"sessionKey": "main", "message": "HOLD", "idempotencyKey": "busy"});
    client.ask("chat.send", send).await;
    heard(&provider, "HOLD").await;
    client.ask("wake", json!({"mode": "now", "text": "the disk is full"})).await;
    let skipped = client.event("heartbeat").await["payload"].clone();
    assert_eq!(skipped["reason"], "requests-in-flight", "{skipped}");
    provider.release();
    heard(&provider, "the disk is full").await;
}

#[tokio::test]
async fn a_heartbeat_with_nothing_to_say_leaves_no_trace() {
    let (gateway, _provider) = start().await;
    let mut client = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let send = json!({"sessionKey": "main", "message": "hello", "idempotencyKey": "one"});
    client.ask("chat.send", send).await;
    client.ask("agent.wait", json!({"runId": "one", "timeoutMs": 60_000})).await;
    let main = json!("main");
    let before = texts(&mut client, &main).await;
    assert_eq!(before.len(), 2);
    for (note, left) in [("SAY HEARTBEAT_OK", 2), ("SAY the disk is full", 4)] {
        client.ask("wake", json!({"mode": "now", "text": note})).await;
        let beat = client.event("heartbeat").await["payload"].clone();
        assert_eq!(beat["status"] == "ok-token", left == 2, "{beat}");
        assert_eq!(texts(&mut client, &main).await.len(), left, "{note}");
    }
    let send = json!({"sessionKey": "main", "message": "SAY on", "idempotencyKey": "two"});
    client.ask("chat.send", send).await;
    client.ask("agent.wait", json!({"runId": "two", "timeoutMs": 60_000})).await;
    assert_eq!(texts(&mut client, &main).await.len(), 6);
}

#[tokio::test]
async fn the_end_of_a_command_in_the_background_is_told() {
    let (gateway, provider) = start().await;
    let mut client = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let call = json!({"command": "sleep 1; echo built; exit 3", "background": true});
    let message = format!("USE_TOOL exec {call}");
    let send = json!({"sessionKey": "main", "message": message, "idempotencyKey": "bg"});
    client.ask("chat.send", send).await;
    let told = heard(&provider, "Exec failed (").await;
    assert!(told.contains("code 3) :: built"), "{told}");
}
