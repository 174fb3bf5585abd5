//! Tools of an agent that act on the gateway which runs it.

use serde_json::{Value, json};

use crate::support::client::{ALL_SCOPES, TestClient};
use crate::support::fake_provider::FakeProvider;
use crate::support::gateway::TestGateway;

/// Has the agent call one tool and returns what the model was told.
pub(crate) async fn use_tool(
    provider: &FakeProvider,
    client: &mut TestClient,
    id: &str,
    name: &str,
    arguments: &Value,
) -> String {
    let message = format!("USE_TOOL {name} {arguments}");
    let params = json!({"sessionKey": "main", "message": message, "idempotencyKey": id});
    client.ask("chat.send", params).await;
    loop {
        let payload = client.event("chat").await["payload"].clone();
        if payload["runId"] == id && payload["state"] != "delta" {
            assert_eq!(payload["state"], "final", "{payload}");
            break;
        }
    }
    let bodies = provider.bodies();
    let messages = bodies.last().unwrap()["messages"].as_array().unwrap();
    let result = messages.iter().rfind(|message| message["role"] == "tool").unwrap();
    result["content"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_agent_schedules_a_job_reads_the_configuration_and_is_told_what_it_cannot_do() {
    let provider = FakeProvider::start().await;
    let mut config = provider.config();
    config["agents"]["defaults"]["skipBootstrap"] = true.into();
    let gateway = Box::pin(TestGateway::start_with(config)).await;
    let mut client = TestClient::operator(gateway.port, &ALL_SCOPES).await;

    let job = json!({"action": "add", "job": {"name": "later", "sessionTarget": "main",
        "wakeMode": "next-heartbeat", "schedule": {"kind": "every", "everyMs": 3_600_000},
        "payload": {"kind": "systemEvent", "text": "look"}}});
    let told = use_tool(&provider, &mut client, "t-1", "cron", &job).await;
    let added: Value = serde_json::from_str(&told).unwrap();
    let listed = client.ask("cron.list", json!({})).await;
    assert_eq!(listed["jobs"][0]["id"], added["id"]);
    assert_eq!(listed["jobs"][0]["agentId"], "main");

    let bad = json!({"action": "add", "job": {"name": "bad", "schedule": {"kind": "never"}}});
    let told = use_tool(&provider, &mut client, "t-2", "cron", &bad).await;
    assert!(told.contains("invalid cron.add params"), "{told}");

    let told =
        use_tool(&provider, &mut client, "t-3", "gateway", &json!({"action": "config.get"})).await;
    assert!(told.contains("\"hash\"") && told.contains("skipBootstrap"), "{told}");
    assert!(!told.contains(crate::support::program::TOKEN), "{told}");

    let told = use_tool(&provider, &mut client, "t-4", "gateway", &json!({"action": "fly"})).await;
    assert!(told.contains("unknown action \"fly\"; use one of restart"), "{told}");

    let send = json!({"action": "send", "channel": "nowhere", "target": "#x", "message": "hi"});
    let told = use_tool(&provider, &mut client, "t-5", "message", &send).await;
    assert!(told.contains("unsupported channel: nowhere"), "{told}");
}
