//! Methods that keep something: sessions, jobs, approvals, nodes, devices,
//! files and the configuration.

use serde_json::{Value, json};

use crate::support::client::{ALL_SCOPES, Device, TestClient, connect_params};
use crate::support::fake_provider::FakeProvider;
use crate::support::gateway::TestGateway;

#[tokio::test]
async fn a_session_is_made_named_reset_and_deleted_before_all_eyes() {
    let gateway = TestGateway::start().await;
    let mut client = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    assert_eq!(client.ask("sessions.subscribe", json!({})).await, json!({"subscribed": true}));
    let params = json!({"key": "agent:main:crud1", "label": "crud label"});
    let created = client.ask("sessions.create", params).await;
    assert_eq!(
        (&created["key"], &created["runStarted"]),
        (&json!("agent:main:crud1"), &json!(false))
    );
    let changed = client.event("sessions.changed").await;
    assert_eq!(changed["payload"]["reason"], "create");
    assert_eq!(changed["payload"]["label"], "crud label");
    assert!(changed.get("seq").is_none());

    let patch = json!({"key": "agent:main:crud1", "thinkingLevel": "low"});
    let patched = client.ask("sessions.patch", patch).await;
    assert_eq!(patched["entry"]["thinkingLevel"], "low");
    let found = client.ask("sessions.resolve", json!({"label": "crud label"})).await;
    assert_eq!(found, json!({"ok": true, "key": "agent:main:crud1"}));
    let reset = client.ask("sessions.reset", json!({"key": "agent:main:crud1"})).await;
    assert_ne!(reset["entry"]["sessionId"], created["sessionId"]);
    assert_eq!(reset["entry"]["thinkingLevel"], "low");
    let deleted = client.ask("sessions.delete", json!({"key": "agent:main:crud1"})).await;
    assert_eq!(deleted["deleted"], true);
    let main = client.call("sessions.delete", json!({"key": "main"})).await;
    assert_eq!(main["error"]["message"], "Cannot delete the main session (agent:main:main).");
    let missing = client.call("sessions.send", json!({"key": "nope", "message": "x"})).await;
    assert_eq!(missing["error"]["message"], "session not found: nope");
}

#[tokio::test]
async fn a_job_runs_and_leaves_its_log() {
    let provider = FakeProvider::start().await;
    let mut config = provider.config();
    config["agents"] =
        json!({"defaults": {"model": {"primary": "fake/good-1"}, "skipBootstrap": true}});
    let gateway = TestGateway::start_with(config).await;
    let mut client = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let params = json!({"name": "job1", "schedule": {"kind": "every", "everyMs": 3_600_000},
        "sessionTarget": "isolated", "wakeMode": "now",
        "payload": {"kind": "agentTurn", "message": "SAY cron says"},
        "delivery": {"mode": "none"}});
    let job = client.ask("cron.add", params).await;
    assert_eq!(client.event("cron").await["payload"]["action"], "added");
    let id = job["id"].as_str().unwrap().to_owned();
    let run = client.ask("cron.run", json!({"id": id})).await;
    assert!(run["runId"].as_str().unwrap().starts_with(&format!("manual:{id}:")), "{run}");
    let finished = loop {
        let event = client.event("cron").await["payload"].clone();
        if event["action"] == "finished" {
            break event;
        }
    };
    assert_eq!((&finished["status"], &finished["summary"]), (&json!("ok"), &json!("cron says")));
    assert_eq!(finished["provider"], "fake");
    let runs = client.ask("cron.runs", json!({"id": id})).await;
    assert_eq!(runs["total"], 1);
    assert_eq!(runs["entries"][0]["summary"], "cron says");
    let listed = client.ask("cron.list", json!({})).await;
    assert_eq!(listed["jobs"][0]["state"]["lastStatus"], "ok");
    let bad = json!({"name": "bad", "schedule": {"kind": "cron", "expr": "bad"},
        "sessionTarget": "main", "wakeMode": "now",
        "payload": {"kind": "systemEvent", "text": "x"}});
    let refused = client.call("cron.add", bad).await;
    assert_eq!(refused["error"]["code"], "UNAVAILABLE");
    let text = refused["error"]["message"].as_str().unwrap();
    assert!(text.starts_with("TypeError: CronPattern: invalid configuration format ('bad')"));
    let removed = client.ask("cron.remove", json!({"id": id})).await;
    assert_eq!(removed, json!({"ok": true, "removed": true}));
}

#[tokio::test]
async fn another_operator_decides_about_a_command() {
    let gateway = TestGateway::start().await;
    let mut asker = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let request = json!({"command": "echo hi", "host": "gateway", "timeoutMs": 8000,
        "twoPhase": true});
    let alone = asker.ask("exec.approval.request", request.clone()).await;
    assert_eq!(alone["decision"], Value::Null);

    let mut judge = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let accepted = asker.ask("exec.approval.request", request).await;
    assert_eq!(accepted["status"], "accepted");
    let asked = judge.event("exec.approval.requested").await["payload"].clone();
    assert_eq!(asked["id"], accepted["id"]);
    assert_eq!(asked["request"]["command"], "echo hi");
    let bad = json!({"id": asked["id"], "decision": "maybe"});
    let refused = judge.call("exec.approval.resolve", bad).await;
    assert_eq!(refused["error"]["message"], "invalid decision");
    let id = asked["id"].as_str().unwrap();
    let good = json!({"id": id[..8], "decision": "allow-once"});
    assert_eq!(judge.ask("exec.approval.resolve", good).await, json!({"ok": true}));
    let last = loop {
        let frame = asker.frame().await.unwrap();
        if frame["type"] == "res" {
            break frame;
        }
    };
    assert_eq!(last["payload"]["decision"], "allow-once");
    let late = judge.call("exec.approval.resolve", json!({"id": id, "decision": "deny"})).await;
    assert_eq!(late["error"]["details"]["reason"], "APPROVAL_NOT_FOUND");
}

#[tokio::test]
async fn a_node_is_approved_asked_and_answers() {
    let gateway = TestGateway::start().await;
    let mut operator = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let mut params = connect_params("node-host", "node", &[]);
    params["role"] = json!("node");
    params["caps"] = json!(["system"]);
    params["commands"] = json!(["system.run", "system.which", "canvas.snapshot"]);
    let device = Device::new();
    let mut node = TestClient::connect(gateway.port, params, Some(&device)).await.unwrap();
    let wake = node.event("voicewake.changed").await;
    assert_eq!(wake["payload"]["triggers"], json!(["openclaw", "claude", "computer"]));
    let asked = operator.event("node.pair.requested").await["payload"].clone();
    assert_eq!(asked["commands"], json!(["system.run", "system.which"]));
    let approved =
        operator.ask("node.pair.approve", json!({"requestId": asked["requestId"]})).await;
    assert!(approved["node"]["token"].as_str().unwrap().len() >= 40);
    let listed = operator.ask("node.list", json!({})).await;
    assert_eq!(listed["nodes"][0]["connected"], true);
    assert_eq!(listed["nodes"][0]["paired"], true);

    let id = device.id();
    let denied = json!({"nodeId": id, "command": "camera.snap", "idempotencyKey": "2"});
    let denied = operator.call("node.invoke", denied).await;
    assert_eq!(denied["error"]["details"]["reason"], "command not allowlisted");
    let invoke = json!({"nodeId": id, "command": "system.which", "params": {"bins": ["ls"]},
        "timeoutMs": 5000, "idempotencyKey": "1"});
    let (answer, ()) = tokio::join!(operator.ask("node.invoke", invoke), async {
        let request = node.event("node.invoke.request").await["payload"].clone();
        assert_eq!(request["paramsJSON"], "{\"bins\":[\"ls\"]}");
        let result = json!({"id": request["id"], "nodeId": request["nodeId"], "ok": true,
            "payloadJSON": "{\"bins\":{\"ls\":\"/bin/ls\"}}"});
        assert_eq!(node.ask("node.invoke.result", result.clone()).await, json!({"ok": true}));
        let late = node.ask("node.invoke.result", result).await;
        assert_eq!(late, json!({"ok": true, "ignored": true}));
    });
    assert_eq!(answer["payload"], json!({"bins": {"ls": "/bin/ls"}}));
    drop(node);
    let gone = json!({"nodeId": "zzz", "command": "system.which", "idempotencyKey": "3"});
    let gone = operator.call("node.invoke", gone).await;
    assert_eq!(gone["error"]["details"]["code"], "NOT_CONNECTED");
}

#[tokio::test]
async fn the_configuration_is_shown_without_secrets_and_changed_with_them() {
    let gateway = TestGateway::start().await;
    let mut client = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let shown = client.ask("config.get", json!({})).await;
    let text = shown.to_string();
    assert!(!text.contains(crate::support::program::TOKEN), "{text}");
    assert_eq!(shown["parsed"]["gateway"]["auth"]["token"], "__OPENCLAW_REDACTED__");
    let refused = client.call("config.set", json!({"raw": "{}"})).await;
    assert_eq!(
        refused["error"]["message"],
        "config base hash required; re-run config.get and retry"
    );
    let stale = client.call("config.set", json!({"raw": "{}", "baseHash": "abc"})).await;
    assert_eq!(
        stale["error"]["message"],
        "config changed since last load; re-run config.get and retry"
    );
    let broken = json!({"raw": "{nope", "baseHash": shown["hash"]});
    let broken = client.call("config.set", broken).await;
    assert!(broken["error"]["message"].as_str().unwrap().starts_with("SyntaxError: JSON5: "));
    let wrong = json!({"raw": "{\"gateway\":{\"port\":\"x\"}}", "baseHash": shown["hash"]});
    let wrong = client.call("config.set", wrong).await;
    assert_eq!(
        wrong["error"]["message"],
        "invalid config: gateway.port: Invalid input: expected number, received string"
    );
    let mut next = shown["parsed"].clone();
    next["ui"] = json!({"seamColor": "#00ff00"});
    let set = json!({"raw": next.to_string(), "baseHash": shown["hash"]});
    let set = client.ask("config.set", set).await;
    assert_eq!(set["config"]["ui"]["seamColor"], "#00ff00");
    let file = std::fs::read_to_string(gateway.state_dir().join("openclaw.json")).unwrap();
    assert!(file.contains(crate::support::program::TOKEN), "the secret came back");
    let hash = client.ask("config.get", json!({})).await["hash"].clone();
    let same = json!({"raw": "{ui:{seamColor:'#00ff00'}}", "baseHash": hash});
    assert_eq!(client.ask("config.patch", same).await["noop"], true);
    let patch = json!({"raw": "{ui:{seamColor:null}}", "baseHash": hash, "note": "n",
        "restartDelayMs": 60000});
    let patched = client.ask("config.patch", patch).await;
    assert_eq!(patched["changedPaths"], json!(["ui.seamColor", "meta.lastTouchedAt"]));
    assert_eq!(patched["restart"], Value::Null, "it is in force already");
    let patch = json!({"raw": "{gateway:{tailscale:{resetOnExit:true}}}",
        "baseHash": patched["hash"], "note": "n", "restartDelayMs": 60000});
    let patched = client.ask("config.patch", patch).await;
    assert_eq!(patched["restart"]["delayMs"], 60000);
    assert_eq!(patched["sentinel"]["payload"]["message"], "n");
    assert!(gateway.state_dir().join("restart-sentinel.json").exists());
}

#[tokio::test]
async fn a_changed_configuration_restarts_the_gateway_when_its_time_has_come() {
    let gateway = TestGateway::start().await;
    let mut client = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let hash = client.ask("config.get", json!({})).await["hash"].clone();
    let patch = json!({"raw": "{gateway:{tailscale:{resetOnExit:true}}}",
        "baseHash": hash, "restartDelayMs": 0});
    assert_eq!(client.ask("config.patch", patch).await["ok"], true);
    let shutdown = client.event("shutdown").await;
    assert_eq!(shutdown["payload"]["reason"], "gateway restarting");
    assert_eq!(client.closed().await, (1012, "service restart".to_owned()));
}

#[tokio::test]
async fn a_device_is_listed_rotated_and_removed() {
    let gateway = TestGateway::start().await;
    let mut admin = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let device = Device::new();
    let params = connect_params("gateway-client", "backend", &["operator.read"]);
    let mut other = TestClient::connect(gateway.port, params, Some(&device)).await.unwrap();
    let listed = admin.ask("device.pair.list", json!({})).await;
    let text = listed.to_string();
    assert_eq!(listed["paired"].as_array().unwrap().len(), 2);
    assert!(listed["paired"][0]["tokens"].is_array());
    assert!(!text.contains("approvedScopes") && !text.contains("\"token\""), "{text}");
    let wide = json!({"deviceId": device.id(), "role": "operator", "scopes": ["operator.admin"]});
    let denied = admin.call("device.token.rotate", wide).await;
    assert_eq!(denied["error"]["message"], "device token rotation denied");
    let rotate = json!({"deviceId": device.id(), "role": "operator"});
    let rotated = admin.ask("device.token.rotate", rotate).await;
    assert_eq!(rotated["scopes"], json!(["operator.read"]));
    assert_eq!(other.closed().await, (4001, "device removed".to_owned()));
    let remove = json!({"deviceId": device.id()});
    admin.ask("device.pair.remove", remove.clone()).await;
    let again = admin.call("device.pair.remove", remove).await;
    assert_eq!(again["error"]["message"], "unknown deviceId");
}

#[tokio::test]
async fn status_hides_sessions_from_readers_and_files_are_kept_in_the_workspace() {
    let gateway = TestGateway::start().await;
    let mut admin = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    admin.ask("sessions.create", json!({"key": "agent:main:a"})).await;
    let full = admin.ask("status", json!({})).await;
    assert_eq!(full["sessions"]["count"], 1);
    assert_eq!(full["sessions"]["recent"][0]["key"], "agent:main:a");
    let mut reader = TestClient::operator(gateway.port, &["operator.read"]).await;
    let redacted = reader.ask("status", json!({})).await;
    assert_eq!(redacted["sessions"]["recent"], json!([]));
    assert_eq!(redacted["sessions"]["byAgent"][0]["path"], "[redacted]");

    let file = json!({"agentId": "main", "name": "SOUL.md", "content": "calm"});
    admin.ask("agents.files.set", file).await;
    let read = json!({"agentId": "main", "name": "SOUL.md"});
    let read = reader.ask("agents.files.get", read).await;
    assert_eq!(read["file"]["content"], "calm");
    let other = json!({"agentId": "main", "name": "../../openclaw.json"});
    let other = reader.call("agents.files.get", other).await;
    let expected = "unsupported file \"../../openclaw.json\"";
    assert_eq!(other["error"]["message"], expected);
    let nobody = reader.call("agents.files.list", json!({"agentId": "nope"})).await;
    assert_eq!(nobody["error"]["message"], "unknown agent id");
}

#[tokio::test]
async fn an_agent_is_hired_renamed_and_let_go() {
    let gateway = TestGateway::start().await;
    let mut client = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let workspace = gateway.state_dir().join("ops");
    let params = json!({"name": "Ops Team", "workspace": workspace, "emoji": "🦀"});
    let created = client.ask("agents.create", params.clone()).await;
    assert_eq!(created["agentId"], "ops-team");
    let twice = client.call("agents.create", params).await;
    assert_eq!(twice["error"]["message"], "agent \"ops-team\" already exists");
    let update = json!({"agentId": "ops-team", "name": "Operators"});
    assert_eq!(client.ask("agents.update", update).await["ok"], true);
    let listed = client.ask("agents.list", json!({})).await;
    assert_eq!(listed["defaultId"], "main");
    assert_eq!(listed["agents"][1]["name"], "Operators");
    let identity = client.ask("agent.identity.get", json!({"agentId": "ops-team"})).await;
    assert_eq!((&identity["name"], &identity["emoji"]), (&json!("Ops Team"), &json!("🦀")));
    let main = client.call("agents.delete", json!({"agentId": "main"})).await;
    assert_eq!(main["error"]["message"], "\"main\" cannot be deleted");
    let deleted = client.ask("agents.delete", json!({"agentId": "ops-team"})).await;
    assert_eq!(deleted["removedBindings"], 0);
    assert!(!workspace.exists());
    let gone = client.call("agents.update", json!({"agentId": "ops-team"})).await;
    assert_eq!(gone["error"]["message"], "agent \"ops-team\" not found");
}

#[tokio::test]
async fn health_says_of_a_channel_what_channels_status_says() {
    let irc = json!({"host": "127.0.0.1", "port": 1, "tls": false, "nick": "bot"});
    let gateway = TestGateway::start_with(json!({"channels": {"irc": irc}})).await;
    let mut client = TestClient::operator(gateway.port, &["operator.read"]).await;
    let began = std::time::Instant::now();
    loop {
        let health = client.call("health", json!({})).await["payload"].clone();
        let account = &health["channels"]["irc"]["accounts"]["default"];
        assert_ne!(account["lastError"], "not supported by this gateway");
        if account["lastError"].as_str().is_some_and(|text| text.contains("127.0.0.1:1")) {
            break;
        }
        assert!(began.elapsed() < std::time::Duration::from_secs(60), "{health}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
