//! What clients of protocol 4 are told and may ask beyond protocol 3, and what
//! of it older clients never see.

use serde_json::{Value, json};

use crate::support::client::{ALL_SCOPES, TestClient, connect_params};
use crate::support::fake_provider::FakeProvider;
use crate::support::gateway::TestGateway;

async fn of_protocol_four(port: u16, scopes: &[&str]) -> TestClient {
    let mut params = connect_params("cli", "cli", scopes);
    params["minProtocol"] = json!(4);
    params["maxProtocol"] = json!(4);
    TestClient::connect(port, params, None).await.unwrap()
}

/// Asks for something whose answer comes after every event before it, and
/// returns the names of those events.
async fn heard(client: &mut TestClient) -> Vec<String> {
    client.ask("health", json!({})).await;
    let names = client.events.drain(..).map(|event| event["event"].as_str().unwrap().to_owned());
    names.collect()
}

/// A gateway whose agents answer at once.
async fn answering(provider: &FakeProvider) -> TestGateway {
    let mut config = provider.config();
    config["agents"] =
        json!({"defaults": {"model": {"primary": "fake/good-1"}, "skipBootstrap": true}});
    TestGateway::start_with(config).await
}

#[tokio::test]
async fn background_tasks_are_told_listed_and_shown() {
    let provider = FakeProvider::start().await;
    let gateway = answering(&provider).await;
    let mut four = of_protocol_four(gateway.port, &ALL_SCOPES).await;
    let mut older = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let events = |client: &TestClient| client.hello["features"]["events"].to_string();
    assert!(events(&four).contains("\"task\"") && !events(&older).contains("\"task\""));

    let run = json!({"message": "SAY done", "sessionKey": "agent:main:t", "idempotencyKey": "r1"});
    older.ask("agent", run).await;
    let began = four.event("task").await["payload"].clone();
    assert_eq!(
        (&began["action"], &began["task"]["status"]),
        (&json!("upserted"), &json!("running"))
    );
    assert_eq!(began["task"]["title"], "SAY done");
    assert_eq!(began["task"]["sessionKey"], "agent:main:t");
    let ended = loop {
        let event = four.event("task").await["payload"].clone();
        if event["task"]["status"] != "running" {
            break event;
        }
    };
    assert_eq!(ended["task"]["status"], "completed");
    assert_eq!(ended["task"]["id"], began["task"]["id"]);
    assert_eq!(older.response().await["payload"]["status"], "ok");
    assert!(!heard(&mut older).await.contains(&"task".to_owned()), "no event of protocol 4");

    let id = ended["task"]["id"].clone();
    let listed = four.ask("tasks.list", json!({"status": "completed"})).await;
    assert_eq!(listed["tasks"], json!([ended["task"]]));
    let none = four.ask("tasks.list", json!({"status": ["failed", "running"]})).await;
    assert_eq!(none, json!({"tasks": []}));
    let shown = four.ask("tasks.get", json!({"taskId": id})).await;
    assert_eq!(shown["task"]["prompt"], "SAY done");
    let over = four.ask("tasks.cancel", json!({"taskId": id})).await;
    assert_eq!(
        (&over["cancelled"], &over["reason"]),
        (&json!(false), &json!("Task is already terminal."))
    );
    let refused = four.call("tasks.get", json!({"taskId": "nope"})).await;
    assert_eq!(refused["error"]["message"], "task not found: nope");
    let refused = four.call("tasks.list", json!({"cursor": "zz", "limit": 5})).await;
    assert!(refused["error"]["message"].as_str().unwrap().starts_with("invalid or expired"));
    let refused = four.call("tasks.list", json!({"limit": 0})).await;
    assert!(refused["error"]["message"].as_str().unwrap().contains("at /limit"), "{refused}");
}

#[tokio::test]
async fn a_running_task_is_ended_and_pages_follow_each_other() {
    let provider = FakeProvider::start().await;
    let gateway = answering(&provider).await;
    let mut four = of_protocol_four(gateway.port, &ALL_SCOPES).await;
    for number in 0..3 {
        let key = format!("agent:main:p{number}");
        let run = json!({"message": "SAY x", "sessionKey": key, "idempotencyKey": key});
        four.ask("agent", run).await;
        four.response().await;
    }
    let mut seen: Vec<Value> = Vec::new();
    let mut ask = json!({"limit": 2});
    loop {
        let page = four.ask("tasks.list", ask.clone()).await;
        seen.extend(page["tasks"].as_array().unwrap().iter().map(|task| task["runId"].clone()));
        match page.get("nextCursor") {
            Some(cursor) => ask["cursor"] = cursor.clone(),
            None => break,
        }
    }
    assert_eq!(seen, [json!("agent:main:p2"), json!("agent:main:p1"), json!("agent:main:p0")]);

    let slow =
        json!({"message": "SLOWLY", "sessionKey": "agent:main:slow", "idempotencyKey": "slow"});
    four.events.clear();
    four.ask("agent", slow).await;
    let task = loop {
        let event = four.event("task").await["payload"]["task"].clone();
        if event["runId"] == "slow" {
            break event;
        }
    };
    let ended = four.ask("tasks.cancel", json!({"taskId": task["id"]})).await;
    assert_eq!(ended["cancelled"], true, "{ended}");
    let after = loop {
        let event = four.event("task").await["payload"]["task"].clone();
        if event["runId"] == "slow" && event["status"] != "running" {
            break event;
        }
    };
    assert_eq!(after["status"], "cancelled");
}

#[tokio::test]
async fn another_choice_of_models_is_told_to_those_who_show_it() {
    let gateway = TestGateway::start().await;
    let mut four = of_protocol_four(gateway.port, &["operator.admin"]).await;
    let mut bare = of_protocol_four(gateway.port, &["operator.pairing"]).await;
    let mut older = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let patch = |raw: &str, hash: &Value| json!({"raw": raw, "baseHash": hash});
    let hash = older.ask("config.get", json!({})).await["hash"].clone();
    let seam = older.ask("config.patch", patch("{ui:{seamColor:'#001122'}}", &hash)).await;
    let models = "{models:{providers:{own:{baseUrl:'http://127.0.0.1:9/v1',apiKey:'k',\
                  api:'openai-completions',models:[{id:'m1',name:'M1'}]}}}}";
    older.ask("config.patch", patch(models, &seam["hash"])).await;
    let changed = four.event("chat.metadata.changed").await;
    assert_eq!(changed["payload"], json!({}));
    let shown = four.ask("chat.metadata", json!({})).await.to_string();
    assert!(shown.contains("\"m1\""), "{shown}");
    let more: Vec<String> = heard(&mut four).await;
    assert!(!more.contains(&"chat.metadata.changed".to_owned()), "told once: {more:?}");
    for client in [&mut bare, &mut older] {
        let names = heard(client).await;
        assert!(!names.contains(&"chat.metadata.changed".to_owned()), "{names:?}");
    }
}

#[tokio::test]
async fn an_operator_of_protocol_four_without_read_hears_no_presence() {
    let gateway = TestGateway::start().await;
    let mut bare = of_protocol_four(gateway.port, &["operator.pairing"]).await;
    let mut reader = of_protocol_four(gateway.port, &["operator.read"]).await;
    let mut older = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let event = json!({"text": "Node: somewhere · mode test"});
    older.ask("system-event", event).await;
    reader.event("presence").await;
    older.event("presence").await;
    assert!(!heard(&mut bare).await.contains(&"presence".to_owned()));
}

#[tokio::test]
async fn hooks_of_the_node_gateway_are_shown_with_why_they_are_not_called() {
    let gateway = TestGateway::start().await;
    let dir = gateway.state_dir().join("hooks/greet");
    std::fs::create_dir_all(&dir).unwrap();
    let head = "---\nname: greet\ndescription: says hello\nmetadata: {\"openclaw\": {\"events\": \
                [\"command:new\"]}}\n---\n";
    std::fs::write(dir.join("HOOK.md"), head).unwrap();
    std::fs::write(dir.join("handler.js"), "").unwrap();
    let mut four = of_protocol_four(gateway.port, &["operator.read"]).await;
    let report = four.ask("hooks.status", json!({"agentId": "main"})).await;
    let hook = &report["hooks"][0];
    assert_eq!((&hook["name"], &hook["loadable"]), (&json!("greet"), &json!(false)));
    assert!(hook["blockedReason"].as_str().unwrap().contains("runs no hook handlers"), "{hook}");
    let refused = four.call("hooks.status", json!({"agentId": "nobody"})).await;
    assert_eq!(refused["error"]["message"], "unknown agent id \"nobody\"");
}

#[tokio::test]
async fn a_skill_is_switched_off_and_given_a_key_that_nobody_sees() {
    let gateway = TestGateway::start().await;
    let dir = gateway.state_dir().join("skills/pigeon");
    std::fs::create_dir_all(&dir).unwrap();
    let head = "---\nname: pigeon\ndescription: sends pigeons\n---\nFeed it.\n";
    std::fs::write(dir.join("SKILL.md"), head).unwrap();
    let mut client = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let disabled = |status: &Value| status["skills"][0]["disabled"].clone();
    let status = client.ask("skills.status", json!({})).await;
    assert_eq!(disabled(&status), json!(false));
    let change = json!({"skillKey": "pigeon", "enabled": false, "apiKey": "sk-secret-1",
        "env": {"COOP": "north"}});
    let answer = client.ask("skills.update", change).await;
    assert_eq!(
        (&answer["skillKey"], &answer["config"]["enabled"]),
        (&json!("pigeon"), &json!(false))
    );
    assert!(!answer.to_string().contains("sk-secret-1"), "{answer}");
    let status = client.ask("skills.status", json!({})).await;
    assert_eq!(disabled(&status), json!(true), "in force at once");
    let file = || std::fs::read_to_string(gateway.state_dir().join("openclaw.json")).unwrap();
    assert!(file().contains("sk-secret-1") && file().contains("\"COOP\""));
    client.ask("skills.update", json!({"skillKey": "pigeon", "enabled": true})).await;
    client.ask("skills.update", json!({"skillKey": "pigeon", "apiKey": " "})).await;
    assert!(!file().contains("sk-secret-1"), "taken away");
    let refused = client.call("skills.update", json!({"skillKey": "pigeon", "enabled": 1})).await;
    assert!(refused["error"]["message"].as_str().unwrap().contains("must be boolean"), "{refused}");
    let fetch = client.call("skills.update", json!({"source": "clawhub", "all": true})).await;
    assert_eq!(fetch["error"]["code"], "UNAVAILABLE");
    assert!(fetch["error"]["message"].as_str().unwrap().contains("ClawHub"), "{fetch}");
    for (what, expected) in [(json!({}), "requires"), (json!({"slug": "a", "all": true}), "either")]
    {
        let mut params = json!({"source": "clawhub"});
        crate::support::gateway::merge(&mut params, what);
        let refused = client.call("skills.update", params).await;
        assert_eq!(refused["error"]["code"], "INVALID_REQUEST");
        assert!(refused["error"]["message"].as_str().unwrap().contains(expected), "{refused}");
    }
    let mut reader = TestClient::operator(gateway.port, &["operator.read"]).await;
    let refused = reader.call("skills.update", json!({"skillKey": "x", "enabled": false})).await;
    assert_eq!(refused["error"]["message"], "missing scope: operator.admin");
}

#[tokio::test]
async fn talking_is_told_to_everybody_and_refused_where_nothing_can_talk() {
    let gateway = TestGateway::start().await;
    let mut app = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let mut other = TestClient::operator(gateway.port, &["operator.read"]).await;
    let mode = app.ask("talk.mode", json!({"enabled": true, "phase": "listening"})).await;
    let told = other.event("talk.mode").await["payload"].clone();
    assert_eq!((&told, &told["phase"]), (&mode, &json!("listening")));
    let off = app.ask("talk.mode", json!({"enabled": false})).await;
    assert_eq!(off["phase"], Value::Null);
    let page = connect_params("webchat-ui", "webchat", &ALL_SCOPES);
    let origin = [("origin", format!("http://127.0.0.1:{}", gateway.port))];
    let device = crate::support::client::Device::new();
    let page = TestClient::open_with(gateway.port, &origin).await.introduce(page, Some(&device));
    let refused = page.await.unwrap().call("talk.mode", json!({"enabled": true})).await;
    assert_eq!(refused["error"]["message"], "talk disabled: no connected iOS/Android nodes");
}

#[tokio::test]
async fn a_long_list_of_sessions_is_turned_page_by_page() {
    let gateway = TestGateway::start().await;
    let mut four = of_protocol_four(gateway.port, &ALL_SCOPES).await;
    for name in ["a", "b", "c"] {
        four.ask("sessions.create", json!({"key": format!("agent:main:{name}")})).await;
    }
    let first = four.ask("sessions.list", json!({"limit": 2})).await;
    let facts = |page: &Value| {
        ["count", "totalCount", "limitApplied", "hasMore", "nextOffset", "offset"]
            .map(|key| page.get(key).cloned().unwrap_or_default())
    };
    assert_eq!(facts(&first), [json!(2), json!(3), json!(2), json!(true), json!(2), json!(null)]);
    let rest = four.ask("sessions.list", json!({"limit": 2, "offset": 2})).await;
    assert_eq!(facts(&rest), [json!(1), json!(3), json!(2), json!(false), json!(null), json!(2)]);
    let pages = [&first, &rest].map(|page| page["sessions"].as_array().unwrap().clone()).concat();
    let mut keys: Vec<&str> = pages.iter().filter_map(|row| row["key"].as_str()).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["agent:main:a", "agent:main:b", "agent:main:c"]);
    let found = four.ask("sessions.list", json!({"search": "main:b"})).await;
    assert_eq!((&found["totalCount"], &found["limitApplied"]), (&json!(1), &json!(100)));
    let wrong = four.call("sessions.list", json!({"offset": "two"})).await;
    assert!(wrong["error"]["message"].as_str().unwrap().contains("offset"), "{wrong}");

    let mut older = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let whole = older.ask("sessions.list", json!({})).await;
    assert!(whole.get("totalCount").is_none(), "{whole}");
}

#[tokio::test]
async fn a_conversation_is_a_page_with_what_is_shown_around_it() {
    let provider = FakeProvider::start().await;
    let gateway = answering(&provider).await;
    let mut four = of_protocol_four(gateway.port, &ALL_SCOPES).await;
    let mut older = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    for number in 0..3 {
        let run = json!({"message": format!("SAY {number}"), "sessionKey": "main", "idempotencyKey": format!("r{number}")});
        four.ask("agent", run).await;
        let done = four.response().await["payload"].clone();
        assert_eq!(done["result"]["meta"]["finalAssistantVisibleText"], number.to_string());
        assert!(
            done["result"]["meta"]["agentMeta"]["usage"]["cost"]["total"].is_number(),
            "{done}"
        );
    }
    let page =
        four.ask("chat.history", json!({"sessionKey": "main", "limit": 2, "offset": 2})).await;
    assert_eq!(page["messages"][0]["content"], "SAY 1", "{page}");
    assert!(page["messages"][1]["usage"]["cost"]["input"].is_number(), "{page}");
    let place = [&page["offset"], &page["nextOffset"], &page["hasMore"], &page["totalMessages"]];
    assert_eq!(place, [&json!(2), &json!(4), &json!(true), &json!(6)]);
    assert_eq!(page["sessionInfo"]["classification"], "main");
    assert_eq!(page["sessionInfo"]["hasActiveRun"], false);
    let end = four.ask("chat.history", json!({"sessionKey": "main", "offset": 4})).await;
    assert_eq!((&end["hasMore"], end.get("nextOffset")), (&json!(false), None));
    let past = four.ask("chat.history", json!({"sessionKey": "main", "offset": 99})).await;
    assert_eq!((&past["messages"], &past["totalMessages"]), (&json!([]), &json!(6)));
    let refused = four.call("chat.history", json!({"sessionKey": "main", "offset": "x"})).await;
    assert_eq!(refused["ok"], false, "{refused}");

    let before = older.ask("chat.history", json!({"sessionKey": "main", "limit": 2})).await;
    assert!(before.get("sessionInfo").is_none() && before["thinkingLevel"].is_string());
    assert!(before["messages"][0]["content"].is_array(), "{before}");

    let rows = four.ask("sessions.list", json!({})).await;
    assert_eq!(rows["sessions"][0]["agentId"], "main");
    assert_eq!(rows["sessions"][0]["modelOverrideSource"], Value::Null);
    assert_eq!(rows["defaults"]["thinkingLevels"][0]["id"], "off");
    let rows = older.ask("sessions.list", json!({})).await;
    assert!(rows["sessions"][0].get("agentId").is_none(), "{rows}");
}

#[tokio::test]
async fn a_file_that_changed_since_it_was_read_is_not_overwritten() {
    let gateway = TestGateway::start().await;
    let mut four = of_protocol_four(gateway.port, &ALL_SCOPES).await;
    let file = |content: &str, hash: &Value| json!({"agentId": "main", "name": "USER.md", "content": content, "expectedHash": hash});
    let first = json!({"agentId": "main", "name": "USER.md", "content": "one"});
    let first = four.ask("agents.files.set", first).await["file"]["hash"].clone();
    let read = four.ask("agents.files.get", json!({"agentId": "main", "name": "USER.md"})).await;
    assert_eq!(read["file"]["hash"], first);
    let second = four.ask("agents.files.set", file("two", &first)).await["file"]["hash"].clone();
    let refused = four.call("agents.files.set", file("three", &first)).await;
    assert_eq!(refused["error"]["details"]["type"], "agent_file_conflict", "{refused}");
    assert_eq!(refused["error"]["details"]["currentHash"], second);
    let kept = four.ask("agents.files.get", json!({"agentId": "main", "name": "USER.md"})).await;
    assert_eq!(kept["file"]["content"], "two");
    let mut older = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let read = older.ask("agents.files.get", json!({"agentId": "main", "name": "USER.md"})).await;
    assert!(read["file"].get("hash").is_none(), "{read}");
}

#[tokio::test]
async fn a_job_that_changed_since_it_was_read_is_not_changed_again() {
    let gateway = TestGateway::start().await;
    let mut four = of_protocol_four(gateway.port, &ALL_SCOPES).await;
    let job = json!({"name": "j", "schedule": {"kind": "every", "everyMs": 3_600_000},
        "sessionTarget": "isolated", "wakeMode": "now",
        "payload": {"kind": "agentTurn", "message": "hi"}, "delivery": {"mode": "none"}});
    let job = four.ask("cron.add", job).await;
    assert_eq!(job["deliveryPreview"]["label"], "not requested");
    let rename = |name: &str, revision: &Value| json!({"id": job["id"], "patch": {"name": name}, "expectedConfigRevision": revision});
    let renamed = four.ask("cron.update", rename("k", &job["configRevision"])).await;
    assert_ne!(renamed["configRevision"], job["configRevision"]);
    let refused = four.call("cron.update", rename("l", &job["configRevision"])).await;
    assert_eq!(refused["error"]["details"]["code"], "CRON_JOB_CHANGED", "{refused}");
    let listed = four.ask("cron.list", json!({})).await;
    assert_eq!(listed["jobs"][0]["name"], "k");
    assert_eq!(listed["jobs"][0]["configRevision"], renamed["configRevision"]);
    assert_eq!(listed["jobs"][0]["nextRunAtMs"], listed["jobs"][0]["state"]["nextRunAtMs"]);
}
