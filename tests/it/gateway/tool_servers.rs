//! Tools of MCP servers: a program on its standard input and output, and one
//! behind HTTP.

use axum::Router;
use axum::extract::Json;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};

use crate::gateway::tools::use_tool;
use crate::support::client::{ALL_SCOPES, TestClient};
use crate::support::fake_provider::FakeProvider;
use crate::support::gateway::TestGateway;

/// Answers line by line; starts a child that would outlive it.
const PROGRAM: &str = r#"
import json, os, subprocess, sys
subprocess.Popen(["sleep", "600"], start_new_session=True)
open(sys.argv[1], "w").write(str(os.getpid()))
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    method, params = asked["method"], asked.get("params", {})
    if method == "initialize":
        result = {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}},
                  "serverInfo": {"name": "test", "version": "1"}}
    elif method == "tools/list":
        result = {"tools": [{"name": "who.am-i", "description": "Tells the environment",
                             "inputSchema": {"type": "object"}}]}
    elif method == "tools/call":
        text = json.dumps({"given": os.environ.get("GIVEN"), "args": params.get("arguments"),
                           "seen": sorted(name for name in os.environ
                                          if "TOKEN" in name or "API_KEY" in name)})
        result = {"content": [{"type": "text", "text": text}]}
    else:
        result = {}
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}), flush=True)
"#;

async fn over_http(headers: HeaderMap, Json(asked): Json<Value>) -> Response {
    if headers.get("x-key").is_none_or(|key| key != "k") {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let result = match asked["method"].as_str().unwrap_or_default() {
        "initialize" => json!({"protocolVersion": asked["params"]["protocolVersion"],
            "capabilities": {"tools": {}}, "serverInfo": {"name": "web", "version": "1"}}),
        "tools/list" => json!({"tools": [{"name": "add", "inputSchema": {"type": "object"}}]}),
        "tools/call" => {
            let [a, b] = ["a", "b"].map(|it| asked["params"]["arguments"][it].as_i64().unwrap());
            json!({"content": [], "structuredContent": {"sum": a + b}})
        }
        _ => return StatusCode::ACCEPTED.into_response(),
    };
    Json(json!({"jsonrpc": "2.0", "id": asked["id"], "result": result})).into_response()
}

fn alive(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a server of the test, which ends with it")]
async fn tools_of_programs_and_of_addresses_are_called_and_a_broken_server_costs_only_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (script, pid_file) = (dir.path().join("server.py"), dir.path().join("pid"));
    std::fs::write(&script, PROGRAM).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let app = Router::new().route("/mcp", post(over_http));
    tokio::spawn(async { axum::serve(listener, app).await.unwrap() });

    let provider = FakeProvider::start().await;
    let mut config = provider.config();
    config["agents"]["defaults"]["skipBootstrap"] = true.into();
    config["mcp"] = json!({"servers": {
        "own": {"command": "python3", "args": [script, pid_file], "env": {"GIVEN": 7}},
        "web": {"url": url, "headers": {"x-key": "k"}},
        "gone": {"command": "/nowhere/at/all"},
        "shut": {"url": url}}});
    let gateway = Box::pin(TestGateway::start_with(config)).await;
    let mut client = TestClient::operator(gateway.port, &ALL_SCOPES).await;

    let told = use_tool(&provider, &mut client, "m-1", "own__who-am-i", &json!({"x": 1})).await;
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told, json!({"given": "7", "args": {"x": 1}, "seen": []}));
    let sum = json!({"a": 2, "b": 40});
    let told = use_tool(&provider, &mut client, "m-2", "web__add", &sum).await;
    assert!(told.contains("42"), "{told}");
    let told = use_tool(&provider, &mut client, "m-3", "gone__x", &json!({})).await;
    assert!(told.contains("not found"), "{told}");

    let bodies = provider.bodies();
    let offered: Vec<&str> = bodies[0]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["function"]["name"].as_str().unwrap())
        .filter(|name| name.contains("__"))
        .collect();
    assert_eq!(offered, ["own__who-am-i", "web__add"]);

    let pid = std::fs::read_to_string(&pid_file).unwrap();
    assert!(alive(&pid));
    gateway.stop().await;
    for _ in 0..600 {
        if !alive(&pid) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the server outlived the gateway");
}

/// Has one tool more after each call, and says so.
const GROWING: &str = r#"
import json, sys
tools = []
def grow():
    tools.append({"name": f"tool{len(tools)}", "inputSchema": {}})
def say(**what):
    print(json.dumps({"jsonrpc": "2.0", **what}), flush=True)
grow()
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    method = asked["method"]
    if method == "initialize":
        result = {"protocolVersion": asked["params"]["protocolVersion"],
                  "capabilities": {"tools": {"listChanged": True}},
                  "serverInfo": {"name": "growing", "version": "1"}}
    elif method == "tools/list":
        result = {"tools": tools}
    else:
        result = {"content": [{"type": "text", "text": "called " + asked["params"]["name"]}]}
        grow()
        say(method="notifications/tools/list_changed")
    say(id=asked["id"], result=result)
"#;

#[tokio::test]
async fn a_server_whose_tools_change_offers_the_new_ones() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("server.py");
    std::fs::write(&script, GROWING).unwrap();
    let provider = FakeProvider::start().await;
    let mut config = provider.config();
    config["agents"]["defaults"]["skipBootstrap"] = true.into();
    config["mcp"] = json!({"servers": {"it": {"command": "python3", "args": [script]}}});
    let gateway = Box::pin(TestGateway::start_with(config)).await;
    let mut client = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let mut called = 0;
    for turn in 0..600 {
        let (id, name) = (format!("g-{turn}"), format!("it__tool{called}"));
        let told = use_tool(&provider, &mut client, &id, &name, &json!({})).await;
        if told.contains("not found") {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            continue;
        }
        assert_eq!(told, format!("called tool{called}"));
        called += 1;
        if called == 3 {
            // What says nothing about its arguments takes an object all the same.
            let body = provider.bodies().pop().unwrap();
            let offered = body["tools"].as_array().unwrap().iter();
            let mut ours =
                offered.map(|tool| &tool["function"]).filter(|it| it["name"] == "it__tool0");
            assert_eq!(ours.next().unwrap()["parameters"]["type"], "object");
            return;
        }
    }
    panic!("the new tools were not offered; {called} were");
}

/// Says nothing until the file of its argument is there, then what `PROGRAM` says.
const LATE: &str = r"
import os, sys, time
while not os.path.exists(sys.argv[2]):
    time.sleep(0.02)
";

#[tokio::test]
async fn runs_go_on_without_a_server_that_hangs_and_have_its_tools_once_it_answers() {
    let dir = tempfile::tempdir().unwrap();
    let paths = ["server.py", "pid", "open"].map(|name| dir.path().join(name));
    let [script, pid_file, opened] = &paths;
    std::fs::write(script, format!("{LATE}{PROGRAM}")).unwrap();
    let provider = FakeProvider::start().await;
    let mut config = provider.config();
    config["agents"]["defaults"]["skipBootstrap"] = true.into();
    // Far longer than any test: a run that waited would never end.
    config["mcp"] = json!({"servers": {"late": {
        "command": "python3", "args": [script, pid_file, opened],
        "connectionTimeoutMs": 3_600_000}}});
    let gateway = Box::pin(TestGateway::start_with(config)).await;
    let mut client = TestClient::operator(gateway.port, &ALL_SCOPES).await;

    for id in ["l-1", "l-2"] {
        let told = use_tool(&provider, &mut client, id, "late__who-am-i", &json!({})).await;
        assert!(told.contains("not found"), "{told}");
    }
    std::fs::write(opened, "").unwrap();
    for turn in 0..600 {
        let id = format!("l-then-{turn}");
        let told = use_tool(&provider, &mut client, &id, "late__who-am-i", &json!({})).await;
        if told.contains("given") {
            gateway.stop().await;
            return;
        }
        assert!(told.contains("not found"), "{told}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the tools of a server that answered late never came");
}

/// Messages of the one client for its stream of events.
type Feed = tokio::sync::mpsc::UnboundedSender<String>;

/// A server that speaks the older way alone: a stream of events, and an
/// address for messages that answers nothing itself.
#[expect(clippy::disallowed_methods, reason = "a server of the test, which ends with it")]
async fn older_server() -> String {
    use axum::extract::State;
    use axum::response::sse::{Event, Sse};
    use futures_util::StreamExt;

    type Feeds = std::sync::Arc<std::sync::Mutex<Option<Feed>>>;

    async fn open(State(feeds): State<Feeds>) -> impl IntoResponse {
        let (feed, mut messages) = tokio::sync::mpsc::unbounded_channel();
        *feeds.lock().unwrap() = Some(feed);
        let first = Event::default().event("endpoint").data("/messages?session=1");
        let rest = futures_util::stream::poll_fn(move |cx| messages.poll_recv(cx));
        let rest = rest.map(|text| Event::default().event("message").data(text));
        let events = futures_util::stream::iter([first]).chain(rest);
        Sse::new(events.map(Ok::<_, std::convert::Infallible>))
    }

    async fn take(
        State(feeds): State<Feeds>,
        headers: HeaderMap,
        asked: Json<Value>,
    ) -> StatusCode {
        let answer = over_http(headers, asked).await;
        let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        if !body.is_empty() {
            let feeds = feeds.lock().unwrap();
            feeds.as_ref().unwrap().send(String::from_utf8(body.to_vec()).unwrap()).unwrap();
        }
        StatusCode::ACCEPTED
    }

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/sse", listener.local_addr().unwrap());
    let app = Router::new()
        .route("/sse", axum::routing::get(open))
        .route("/messages", post(take))
        .with_state(Feeds::default());
    tokio::spawn(async { axum::serve(listener, app).await.unwrap() });
    url
}

#[tokio::test]
async fn servers_of_the_older_way_are_spoken_to_when_named_so_and_when_nothing_is_said() {
    let provider = FakeProvider::start().await;
    let mut config = provider.config();
    config["agents"]["defaults"]["skipBootstrap"] = true.into();
    let key = json!({"x-key": "k"});
    config["mcp"] = json!({"servers": {
        "named": {"url": older_server().await, "headers": key, "transport": "sse"},
        "plain": {"url": older_server().await, "headers": key}}});
    let gateway = Box::pin(TestGateway::start_with(config)).await;
    let mut client = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    for tool in ["named__add", "plain__add"] {
        let sum = json!({"a": 2, "b": 40});
        let told = use_tool(&provider, &mut client, tool, tool, &sum).await;
        assert!(told.contains("42"), "{tool}: {told}");
    }
    gateway.stop().await;
}
