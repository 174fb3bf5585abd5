//! What cannot be done is said in the words that clients and scripts know, and
//! what is not served is neither advertised nor half there.

use serde_json::{Value, json};

use crate::support::client::{ALL_SCOPES, TestClient, connect_params};
use crate::support::gateway::TestGateway;

/// Not served on purpose: interactive set-up, speech, web logins, push, work
/// queued for sleeping nodes, fetching skills, browsers.
const NOT_SERVED: [&str; 18] = [
    "wizard.start",
    "wizard.next",
    "wizard.cancel",
    "wizard.status",
    "web.login.start",
    "web.login.wait",
    "talk.speak",
    "tts.convert",
    "tts.enable",
    "tts.disable",
    "tts.setProvider",
    "node.pending.enqueue",
    "skills.install",
    "browser.request",
    "sessions.share",
    "worker.list",
    "update.status",
    "no.such.method",
];

async fn operator(port: u16, protocol: u64) -> TestClient {
    if protocol == 3 {
        return TestClient::operator(port, &ALL_SCOPES).await;
    }
    let mut params = connect_params("cli", "cli", &ALL_SCOPES);
    params["minProtocol"] = json!(protocol);
    params["maxProtocol"] = json!(protocol);
    TestClient::connect(port, params, None).await.unwrap()
}

#[tokio::test]
async fn what_is_not_served_is_not_advertised_and_says_so() {
    let gateway = TestGateway::start().await;
    for protocol in [3, 4] {
        let mut client = operator(gateway.port, protocol).await;
        let advertised = client.hello["features"]["methods"].as_array().unwrap().clone();
        for method in NOT_SERVED {
            assert!(!advertised.contains(&json!(method)), "{method} is advertised");
            let frame = client.call(method, json!({})).await;
            let expected = format!("unknown method: {method}");
            assert_eq!(frame["error"], json!({"code": "INVALID_REQUEST", "message": expected}));
        }
        for method in advertised.iter().filter_map(Value::as_str) {
            // Those of nodes are advertised, too, but are for nodes.
            let frame = client.call(method, json!([])).await;
            let text = frame["error"]["message"].as_str().unwrap_or_default();
            assert!(!text.starts_with("unknown method"), "{method} is advertised: {text}");
        }
    }
}

#[tokio::test]
async fn refusals_are_worded_as_clients_know_them() {
    let gateway = TestGateway::start().await;
    let mut client = operator(gateway.port, 3).await;
    client.ask("sessions.create", json!({"key": "agent:main:made"})).await;
    let job = |changes: Value| {
        let mut job = json!({"name": "j", "schedule": {"kind": "every", "everyMs": 60_000},
            "sessionTarget": "isolated", "payload": {"kind": "agentTurn", "message": "x"}});
        crate::support::gateway::merge(&mut job, changes);
        job
    };
    let base = client.ask("config.get", json!({})).await["hash"].clone();
    let cases = [
        (
            "agent",
            json!({"message": "x", "idempotencyKey": "1", "channel": "pigeon"}),
            "invalid agent params: unknown channel: pigeon",
        ),
        (
            "chat.send",
            json!({"sessionKey": "main", "message": "x", "idempotencyKey": "2", "originatingChannel": "irc"}),
            "originatingTo is required when using originating route fields",
        ),
        (
            "chat.send",
            json!({"sessionKey": "main", "message": "x", "idempotencyKey": "3", "originatingTo": "#x"}),
            "originatingChannel is required when using originating route fields",
        ),
        (
            "sessions.create",
            json!({"key": "agent:main:y", "agentId": "zz"}),
            "sessions.create key agent (main) does not match agentId (zz)",
        ),
        (
            "sessions.create",
            json!({"parentSessionKey": "agent:main:nobody"}),
            "unknown parent session: agent:main:nobody",
        ),
        ("sessions.resolve", json!({"key": "nope"}), "No session found: nope"),
        (
            "sessions.patch",
            json!({"key": "agent:main:made", "spawnDepth": 1}),
            "spawnDepth is only supported for subagent:* or acp:* sessions",
        ),
        (
            "sessions.patch",
            json!({"key": "agent:main:made", "elevatedLevel": "zz"}),
            "invalid elevatedLevel (use \"on\"|\"off\"|\"ask\"|\"full\")",
        ),
        ("sessions.usage.timeseries", json!({}), "key is required for timeseries"),
        ("sessions.usage.logs", json!({}), "key is required for logs"),
        ("secrets.resolve", json!({}), "invalid secrets.resolve params: commandName"),
        (
            "secrets.resolve",
            json!({"commandName": "c", "targetIds": 1}),
            "invalid secrets.resolve params: targetIds",
        ),
        ("exec.approval.request", json!({"host": "node"}), "nodeId is required for host=node"),
        (
            "node.invoke",
            json!({"nodeId": " ", "command": "x", "idempotencyKey": "4"}),
            "nodeId and command required",
        ),
        (
            "send",
            json!({"to": "1", "message": "x", "channel": "webchat", "idempotencyKey": "5"}),
            "unsupported channel: webchat (internal-only). Use `chat.send` for WebChat UI messages or choose a deliverable channel.",
        ),
        (
            "poll",
            json!({"to": "1", "question": "q", "options": ["a", "b"], "channel": "pigeon", "idempotencyKey": "6"}),
            "unsupported poll channel: pigeon",
        ),
        (
            "config.set",
            json!({"raw": "[]", "baseHash": base}),
            "invalid config: <root>: Invalid input: expected object, received array",
        ),
        (
            "cron.add",
            json!({}),
            "invalid cron.add params: must have required property 'name'; must have required property 'schedule'; \
             must have required property 'sessionTarget'; must have required property 'payload'",
        ),
        (
            "cron.add",
            job(json!({"schedule": {"kind": "at", "at": "never", "everyMs": null}})),
            "Invalid schedule.at: expected ISO-8601 timestamp (got never)",
        ),
        (
            "cron.add",
            job(json!({"delivery": {"mode": "webhook", "to": "ftp://x"}})),
            "Error: cron webhook delivery requires delivery.to to be a valid http(s) URL",
        ),
        (
            "cron.update",
            json!({"id": "nope", "patch": {"enabled": true}}),
            "Error: unknown cron job id: nope",
        ),
    ];
    for (method, params, expected) in cases {
        let frame = client.call(method, params).await;
        assert_eq!(frame["error"]["message"], expected, "{method}");
    }
}

#[tokio::test]
async fn a_job_needs_no_more_than_when_and_what() {
    let gateway = TestGateway::start().await;
    let mut client = operator(gateway.port, 3).await;
    let short = json!({"schedule": {"every": "x", "everyMs": 60_000, "kind": "EVERY"}});
    let refused = client.call("cron.add", short).await;
    assert!(refused["error"]["message"].as_str().unwrap().contains("unexpected property 'every'"));
    let short = json!({"schedule": {"everyMs": 60_000}, "message": "Look at the mail"});
    let job = client.ask("cron.add", short).await;
    let told = ["name", "sessionTarget", "wakeMode", "enabled"].map(|key| job[key].clone());
    assert_eq!(told, [json!("Look at the mail"), json!("isolated"), json!("now"), json!(true)]);
    assert_eq!(job["delivery"], json!({"mode": "announce"}));
}

#[tokio::test]
async fn an_unknown_job_is_answered_in_the_callers_protocol() {
    let gateway = TestGateway::start().await;
    let gone = json!({"id": "nope"});
    let mut three = operator(gateway.port, 3).await;
    assert_eq!(three.ask("cron.remove", gone.clone()).await, json!({"ok": true, "removed": false}));
    let mut four = operator(gateway.port, 4).await;
    for method in ["cron.get", "cron.remove", "cron.run"] {
        let error = four.call(method, gone.clone()).await["error"].clone();
        assert_eq!(error["details"], json!({"code": "CRON_JOB_NOT_FOUND", "jobId": "nope"}));
    }
    assert_eq!(four.ask("openclaw.approval.list", json!({})).await, json!([]));
}

#[tokio::test]
async fn a_node_that_was_approved_before_it_ever_connected_is_listed() {
    let gateway = TestGateway::start().await;
    let mut client = operator(gateway.port, 3).await;
    let asked = json!({"nodeId": "shed", "displayName": "Shed", "platform": "linux"});
    let asked = client.ask("node.pair.request", asked).await;
    client.ask("node.pair.approve", json!({"requestId": asked["request"]["requestId"]})).await;
    let listed = client.ask("node.list", json!({})).await["nodes"].clone();
    let shown = ["nodeId", "displayName", "paired", "connected"].map(|key| listed[0][key].clone());
    assert_eq!(shown, [json!("shed"), json!("Shed"), json!(true), json!(false)]);
    let described = client.ask("node.describe", json!({"nodeId": "shed"})).await;
    assert_eq!(described["approvedAtMs"], listed[0]["approvedAtMs"]);
}

#[tokio::test]
async fn where_a_message_comes_from_is_for_administrators_to_say() {
    let gateway = TestGateway::start().await;
    let mut writer = TestClient::operator(gateway.port, &["operator.write"]).await;
    let cases = [
        (json!({"systemInputProvenance": {"kind": "inter_session"}}), "system provenance"),
        (json!({"systemProvenanceReceipt": "x"}), "system provenance"),
        (json!({"originatingChannel": "irc", "originatingTo": "#x"}), "originating route"),
    ];
    for (fields, what) in cases {
        let mut params = json!({"sessionKey": "main", "message": "x", "idempotencyKey": "1"});
        crate::support::gateway::merge(&mut params, fields);
        let refused = writer.call("chat.send", params).await;
        let expected = format!("{what} fields require admin scope");
        assert_eq!(refused["error"]["message"], expected.as_str());
    }
}
