//! `/tools/invoke`.

use serde_json::{Value, json};

use super::{Bed, user};

const PATH: &str = "/tools/invoke";

#[tokio::test]
async fn a_tool_answers_for_the_agent_of_its_session() {
    let agents = json!({"agents": {"list": [{"id": "main", "default": true}, {"id": "research"}]}});
    let bed = Bed::start(agents).await;
    let requester = async |body: Value| {
        let reply = bed.post(PATH, &body).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        reply.json()["result"]["details"]["requester"].clone()
    };
    assert_eq!(requester(json!({"tool": "agents_list"})).await, "main");
    assert_eq!(requester(json!({"name": "agents_list", "agentId": "research"})).await, "research");
    let of_session = json!({"tool": "agents_list", "sessionKey": "agent:research:main"});
    assert_eq!(requester(of_session).await, "research");
    let torn =
        json!({"tool": "agents_list", "sessionKey": "agent:research:main", "agentId": "main"});
    assert_eq!(bed.post(PATH, &torn).await.status, 400);
    let stranger = json!({"tool": "agents_list", "sessionKey": "agent:nobody:main"});
    assert_eq!(
        bed.post(PATH, &stranger).await.json()["error"]["message"],
        "Unknown agent 'nobody'."
    );
}

#[tokio::test]
async fn a_session_is_read_after_a_chat_in_it() {
    let bed = Bed::start(json!({"tools": {"sessions": {"visibility": "all"}}})).await;
    let mut chat = user("SAY quince");
    chat["user"] = json!("ann");
    assert_eq!(bed.post("/v1/chat/completions", &chat).await.status, 200);
    let list = bed.post(PATH, &json!({"tool": "sessions_list"})).await.json();
    assert_eq!(list["result"]["details"]["count"], 1, "{list}");
    assert_eq!(list["result"]["content"][0]["type"], "text");
    let args = json!({"sessionKey": "agent:main:openai-user:ann"});
    let history = bed.post(PATH, &json!({"tool": "sessions_history", "args": args})).await.json();
    assert_eq!(history["result"]["details"]["messages"].as_array().unwrap().len(), 2, "{history}");
}

#[tokio::test]
async fn what_is_closed_cannot_be_told_from_what_is_not_there() {
    let config =
        json!({"gateway": {"tools": {"deny": ["agents_list"]}}, "tools": {"deny": ["memory_get"]}});
    let bed = Bed::start(config).await;
    for tool in ["nothing", "exec", "write", "cron", "sessions_send", "agents_list", "memory_get"] {
        let reply = bed.post(PATH, &json!({"tool": tool})).await;
        let message = format!("Tool not available: {tool}");
        let error = json!({"ok": false, "error": {"type": "not_found", "message": message}});
        assert_eq!((reply.status, reply.json()), (404, error), "{tool}");
    }
}

#[tokio::test]
async fn wrong_input_is_told_by_the_tool() {
    let bed = Bed::start(json!({})).await;
    for (body, message) in [
        (json!({"tool": "sessions_history"}), "sessionKey required"),
        (json!({"tool": "memory_search", "args": {"query": ""}}), "query required"),
    ] {
        let reply = bed.post(PATH, &body).await;
        let error = json!({"ok": false, "error": {"type": "tool_error", "message": message}});
        assert_eq!((reply.status, reply.json()), (400, error));
    }
    let nameless = bed.post(PATH, &json!({"args": {}})).await;
    assert_eq!(nameless.json()["error"]["message"], "tools.invoke requires body.tool");
    assert_eq!(bed.get(PATH).await.status, 405);
}
