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
