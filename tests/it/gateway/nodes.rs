//! What nodes may be asked, and what counts as approved by an operator.

use serde_json::{Value, json};

use crate::support::client::{ALL_SCOPES, Device, TestClient, connect_params};
use crate::support::fake_provider::FakeProvider;
use crate::support::gateway::TestGateway;

/// A node that runs programs, approved by `operator`.
async fn node(port: u16, operator: &mut TestClient) -> (TestClient, String) {
    let mut params = connect_params("node-host", "node", &[]);
    params["role"] = json!("node");
    params["commands"] = json!(["system.run", "system.which"]);
    let device = Device::new();
    let node = TestClient::connect(port, params, Some(&device)).await.unwrap();
    let asked = operator.event("node.pair.requested").await["payload"].clone();
    operator.ask("node.pair.approve", json!({"requestId": asked["requestId"]})).await;
    (node, device.id())
}

/// Answers the next thing that the node is asked; returns what it was.
async fn answer(node: &mut TestClient, result: Value) -> (String, Value) {
    let request = node.event("node.invoke.request").await["payload"].clone();
    let mut reply = json!({"id": request["id"], "nodeId": request["nodeId"]});
    crate::support::gateway::merge(&mut reply, result);
    assert_eq!(node.ask("node.invoke.result", reply).await, json!({"ok": true}));
    let params = serde_json::from_str(request["paramsJSON"].as_str().unwrap()).unwrap();
    (request["command"].as_str().unwrap().to_owned(), params)
}

#[tokio::test]
async fn the_file_of_standing_answers_is_the_nodes_own() {
    let gateway = TestGateway::start().await;
    let mut operator = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let away = operator.call("exec.approvals.node.get", json!({"nodeId": "nobody"})).await;
    assert_eq!(away["error"]["code"], "UNAVAILABLE");
    assert_eq!(away["error"]["message"], "NOT_CONNECTED: node not connected");
    let (mut node, id) = node(gateway.port, &mut operator).await;
    let file = json!({"version": 1, "defaults": {"security": "allowlist"}, "agents": {}});
    let snapshot =
        json!({"path": "/n/exec-approvals.json", "exists": true, "hash": "h", "file": file});
    let (shown, asked) = tokio::join!(
        operator.ask("exec.approvals.node.get", json!({"nodeId": id})),
        answer(&mut node, json!({"ok": true, "payloadJSON": snapshot.to_string()})),
    );
    assert_eq!(shown, snapshot);
    assert_eq!(asked, ("system.execApprovals.get".to_owned(), json!({})));
    let set = json!({"nodeId": id, "file": file, "baseHash": "h"});
    let (kept, asked) = tokio::join!(
        operator.ask("exec.approvals.node.set", set),
        answer(&mut node, json!({"ok": true, "payload": snapshot})),
    );
    assert_eq!(kept, snapshot);
    assert_eq!(asked.1, json!({"file": file, "baseHash": "h"}));
    let set = json!({"nodeId": id, "file": file});
    let error = json!({"code": "INVALID_REQUEST", "message": "exec approvals base hash required"});
    let (refused, _) = tokio::join!(
        operator.call("exec.approvals.node.set", set),
        answer(&mut node, json!({"ok": false, "error": error})),
    );
    assert_eq!(refused["error"]["message"], "INVALID_REQUEST: exec approvals base hash required");
    assert_eq!(refused["error"]["details"]["nodeError"], error);
    let wrong = [
        (json!({"nodeId": id}), "must have required property 'file'"),
        (json!({"nodeId": id, "file": {"version": 2}}), "at /file/version"),
        (
            json!({"nodeId": id, "native": {"rules": []}, "baseHash": "h"}),
            "unexpected property 'native'",
        ),
        (json!({"nodeId": id, "file": file, "x": 1}), "unexpected property 'x'"),
    ];
    for (params, expected) in wrong {
        let refused = operator.call("exec.approvals.node.set", params).await;
        let text = refused["error"]["message"].as_str().unwrap();
        assert!(text.starts_with("invalid exec.approvals.node.set params: "), "{text}");
        assert!(text.contains(expected), "{text}");
    }
    let mut reader = TestClient::operator(gateway.port, &["operator.read", "operator.write"]).await;
    let refused = reader.call("exec.approvals.node.get", json!({"nodeId": id})).await;
    assert_eq!(refused["error"]["message"], "missing scope: operator.admin");
}

#[tokio::test]
async fn a_run_counts_as_approved_only_if_an_operator_approved_it() {
    let gateway = TestGateway::start().await;
    let mut judge = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let (mut node, id) = node(gateway.port, &mut judge).await;
    let writer = ["operator.write", "operator.approvals"];
    let mut asker = TestClient::operator(gateway.port, &writer).await;
    let run = |params: Value| json!({"nodeId": id, "command": "system.run", "params": params, "idempotencyKey": "k"});
    let code = |frame: Value| frame["error"]["details"]["code"].as_str().unwrap_or("").to_owned();

    let claim = json!({"command": ["rm", "-rf", "/"], "approved": true});
    assert_eq!(code(asker.call("node.invoke", run(claim)).await), "MISSING_RUN_ID");
    let forged = json!({"command": ["rm"], "approvalDecision": "allow-always", "runId": "r0"});
    assert_eq!(code(asker.call("node.invoke", run(forged)).await), "UNKNOWN_APPROVAL_ID");
    let plain = json!({"command": ["ls"], "approved": false, "somethingElse": 1});
    let (_, asked) = tokio::join!(
        asker.ask("node.invoke", run(plain)),
        answer(&mut node, json!({"ok": true, "payload": {}})),
    );
    assert_eq!(asked.1, json!({"command": ["ls"]}), "what a client adds goes no further");

    let plan = json!({"argv": ["ls", "-l"], "cwd": "/srv", "commandText": "ls -l", "agentId": null,
        "sessionKey": null});
    let question = json!({"id": "r1", "host": "node", "nodeId": id, "systemRunPlan": plan,
        "timeoutMs": 60000, "twoPhase": true});
    asker.ask("exec.approval.request", question).await;
    let claim = json!({"command": ["rm", "-rf", "/"], "approved": true, "runId": "r1",
        "approvalDecision": "allow-once"});
    assert_eq!(code(asker.call("node.invoke", run(claim.clone())).await), "APPROVAL_REQUIRED");
    judge.event("exec.approval.requested").await;
    judge.ask("exec.approval.resolve", json!({"id": "r1", "decision": "allow-once"})).await;
    assert_eq!(asker.response().await["payload"]["decision"], "allow-once");
    assert_eq!(
        code(judge.call("node.invoke", run(claim.clone())).await),
        "APPROVAL_DEVICE_MISMATCH"
    );
    let (_, asked) = tokio::join!(
        asker.ask("node.invoke", run(claim.clone())),
        answer(&mut node, json!({"ok": true, "payload": {}})),
    );
    assert_eq!(asked.1["command"], json!(["ls", "-l"]), "what was decided about, nothing else");
    assert_eq!((&asked.1["approved"], &asked.1["cwd"]), (&json!(true), &json!("/srv")));
    assert_eq!(code(asker.call("node.invoke", run(claim)).await), "APPROVAL_REQUIRED", "once");
}

#[tokio::test]
async fn what_is_said_on_a_node_is_answered_and_shown_there() {
    let provider = FakeProvider::start().await;
    let mut config = provider.config();
    config["agents"] =
        json!({"defaults": {"model": {"primary": "fake/good-1"}, "skipBootstrap": true}});
    let gateway = TestGateway::start_with(config).await;
    let mut operator = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let (mut node, id) = node(gateway.port, &mut operator).await;
    let tell =
        |event: &str, payload: Value| json!({"event": event, "payloadJSON": payload.to_string()});
    let follow = tell("chat.subscribe", json!({"sessionKey": "main"}));
    assert_eq!(node.ask("node.event", follow).await, json!({"ok": true}));
    let said = tell("voice.transcript", json!({"text": "SAY heard you", "eventId": "e1"}));
    node.ask("node.event", said.clone()).await;
    let shown = loop {
        let event = node.event("chat").await["payload"].clone();
        if event["state"] == "final" {
            break event;
        }
    };
    assert_eq!(shown["sessionKey"], "agent:main:main");
    assert_eq!(shown["message"]["content"][0]["text"], "heard you");
    node.ask("node.event", said).await;
    let unfollow = tell("chat.unsubscribe", json!({"sessionKey": "main"}));
    node.ask("node.event", unfollow).await;
    let request = tell("agent.request", json!({"message": "SAY shared"}));
    node.ask("node.event", request).await;
    let final_text = loop {
        let event = operator.event("chat").await["payload"].clone();
        if event["state"] == "final" && event["sessionKey"] != "agent:main:main" {
            assert_eq!(event["sessionKey"], format!("agent:main:node-{id}"));
            break event["message"]["content"][0]["text"].clone();
        }
    };
    assert_eq!(final_text, "shared");
    let history = operator.ask("chat.history", json!({"sessionKey": "main"})).await.to_string();
    assert_eq!(history.matches("SAY heard you").count(), 1, "an echo is no second message");
    node.ask("health", json!({})).await;
    let chats = node.events.iter().filter(|event| event["event"] == "chat").count();
    assert_eq!(chats, 0, "it no longer shows the conversation");
}
