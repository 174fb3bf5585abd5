//! The request body of `chat/completions`.

use serde_json::{Map, Value, json};

use crate::agents::providers::replay::{self, Block, Content, ToolResult, Turn};
use crate::agents::providers::{ModelCall, ModelRef, ToolSpec};

/// Fields of a client's request that this API takes as they are.
const PARAMS: &[&str] = &[
    "temperature",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "stop",
    "response_format",
    "tool_choice",
    "parallel_tool_calls",
];

/// Precedes images that a tool returned: the API takes images from users only.
const TOOL_IMAGES: &str = "Image output of the tool call above:";

/// The body for `call`.
pub(super) fn request(call: &ModelCall) -> Value {
    let model = &*call.model;
    let mut body = Map::new();
    body.insert("model".into(), json!(model.id));
    body.insert("messages".into(), Value::Array(messages(call)));
    body.insert("stream".into(), json!(true));
    if wants_usage_option(model) {
        body.insert("stream_options".into(), json!({"include_usage": true}));
    }
    if flag(model, "supportsStore").unwrap_or(true) {
        body.insert("store".into(), json!(false));
    }
    if let Some(limit) = call.output_limit() {
        let field = model.compat.get("maxTokensField").and_then(Value::as_str);
        body.insert(field.unwrap_or("max_completion_tokens").to_owned(), json!(limit));
    }
    if !call.tools.is_empty() {
        body.insert("tools".into(), call.tools.iter().map(tool).collect());
    }
    if let Some(effort) = effort(call) {
        body.insert("reasoning_effort".into(), json!(effort));
    }
    for name in PARAMS {
        if let Some(value) = call.params.get(*name).filter(|value| !value.is_null()) {
            body.insert((*name).to_owned(), value.clone());
        }
    }
    Value::Object(body)
}

fn flag(model: &ModelRef, name: &str) -> Option<bool> {
    model.compat.get(name).and_then(Value::as_bool)
}

/// Servers that do not know `stream_options` may answer 400, so only those
/// known to take it are asked.
fn wants_usage_option(model: &ModelRef) -> bool {
    flag(model, "supportsUsageInStreaming").unwrap_or_else(|| {
        ["https://api.openai.com/", "https://openrouter.ai/"]
            .iter()
            .any(|host| model.base_url.starts_with(host))
    })
}

/// The `reasoning_effort` of a call, for models that reason.
fn effort(call: &ModelCall) -> Option<&str> {
    let model = &*call.model;
    if !model.reasoning || !flag(model, "supportsReasoningEffort").unwrap_or(true) {
        return None;
    }
    match call.thinking.as_deref()? {
        "off" => None,
        "adaptive" => Some("medium"),
        level => Some(level),
    }
}

fn tool(spec: &ToolSpec) -> Value {
    json!({"type": "function", "function": {
        "name": spec.name, "description": spec.description, "parameters": spec.parameters}})
}

fn messages(call: &ModelCall) -> Vec<Value> {
    let model = &*call.model;
    let mut messages = Vec::with_capacity(call.messages.len() + 1);
    if !call.system.is_empty() {
        let native = model.base_url.starts_with("https://api.openai.com/");
        let developer =
            model.reasoning && native && flag(model, "supportsDeveloperRole").unwrap_or(true);
        let role = if developer { "developer" } else { "system" };
        messages.push(json!({"role": role, "content": call.system}));
    }
    let turns = replay::turns(&call.messages, model);
    let named = flag(model, "requiresToolResultName").unwrap_or(false);
    let mut images: Vec<Value> = Vec::new();
    for turn in &turns {
        if !matches!(turn, Turn::ToolResult(_)) {
            flush_images(&mut messages, &mut images);
        }
        match turn {
            Turn::User(content) => messages.push(
                json!({"role": "user", "content": content.iter().map(part).collect::<Value>()}),
            ),
            Turn::Assistant(blocks) => messages.push(assistant(blocks)),
            Turn::ToolResult(result) => {
                messages.push(tool_result(result, named));
                images.extend(result.images().map(part));
            }
        }
    }
    flush_images(&mut messages, &mut images);
    messages
}

fn flush_images(messages: &mut Vec<Value>, images: &mut Vec<Value>) {
    if !images.is_empty() {
        let mut content = vec![json!({"type": "text", "text": TOOL_IMAGES})];
        content.append(images);
        messages.push(json!({"role": "user", "content": content}));
    }
}

fn part(content: &Content<'_>) -> Value {
    match content {
        Content::Text(text) => json!({"type": "text", "text": text}),
        Content::Image { mime_type, data } => json!({"type": "image_url",
            "image_url": {"url": format!("data:{mime_type};base64,{data}")}}),
    }
}

fn tool_result(result: &ToolResult<'_>, named: bool) -> Value {
    let text = result.text();
    let text =
        if text.is_empty() && result.images().next().is_some() { "(image follows)" } else { &text };
    let mut message = json!({"role": "tool", "content": text, "tool_call_id": result.id});
    if named {
        message["name"] = json!(result.name);
    }
    message
}

fn assistant(blocks: &[Block<'_>]) -> Value {
    let mut text = String::new();
    let mut calls = Vec::new();
    let mut message = Map::new();
    message.insert("role".into(), json!("assistant"));
    message.insert("content".into(), Value::Null);
    for block in blocks {
        match block {
            Block::Text { text: said, .. } => text.push_str(said),
            // The signature of this dialect is the name of the field that
            // carried the thinking; without one it cannot be sent back.
            Block::Thinking { signature: "", .. } => {}
            Block::Thinking { text: thought, signature } => {
                let entry = message.entry(*signature).or_insert_with(|| json!(""));
                if let Value::String(all) = entry {
                    if !all.is_empty() {
                        all.push('\n');
                    }
                    all.push_str(thought);
                }
            }
            Block::ToolCall { id, name, arguments, .. } => calls.push(json!({
                "id": id, "type": "function",
                "function": {"name": name, "arguments": replay::object(arguments).to_string()}})),
        }
    }
    if !text.is_empty() {
        message.insert("content".into(), json!(text));
    }
    if !calls.is_empty() {
        message.insert("tool_calls".into(), Value::Array(calls));
    }
    Value::Object(message)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn call(model: ModelRef, messages: Vec<Value>) -> ModelCall {
        ModelCall { model: Arc::new(model), system: "sys".into(), messages, ..ModelCall::default() }
    }

    #[test]
    fn a_second_turn_has_the_recorded_shape() {
        let model = ModelRef {
            provider: "fake".into(),
            id: "good-1".into(),
            base_url: "http://127.0.0.1:1/v1".into(),
            max_tokens: 4096,
            ..ModelRef::default()
        };
        let mut call = call(
            model,
            vec![
                json!({"role":"user","content":[{"type":"text","text":"hi"}]}),
                json!({"role":"assistant","content":[{"type":"toolCall","id":"call_abc123","name":"read","arguments":{"path":"USER.md"}}]}),
                json!({"role":"toolResult","toolCallId":"call_abc123","toolName":"read","content":[{"type":"text","text":"body"}],"isError":false}),
                json!({"role":"assistant","content":[{"type":"text","text":"Hello."}]}),
            ],
        );
        call.tools = Arc::from([ToolSpec {
            name: "read".into(),
            description: "d".into(),
            parameters: json!({"type":"object"}),
        }]);
        assert_eq!(
            request(&call),
            json!({"model":"good-1","messages":[
                {"role":"system","content":"sys"},
                {"role":"user","content":[{"type":"text","text":"hi"}]},
                {"role":"assistant","content":null,"tool_calls":[{"id":"callabc123","type":"function","function":{"name":"read","arguments":"{\"path\":\"USER.md\"}"}}]},
                {"role":"tool","content":"body","tool_call_id":"callabc123"},
                {"role":"assistant","content":"Hello."}],
              "stream":true,"store":false,"max_completion_tokens":4096,
              "tools":[{"type":"function","function":{"name":"read","description":"d","parameters":{"type":"object"}}}]})
        );
    }

    #[test]
    fn usage_is_asked_for_only_where_it_is_known_to_be_understood() {
        let at = |url: &str| {
            let model = ModelRef { base_url: url.into(), ..ModelRef::default() };
            request(&call(model, vec![])).get("stream_options").is_some()
        };
        assert!(at("https://api.openai.com/v1"));
        assert!(!at("http://127.0.0.1:8000/v1"));
    }

    #[test]
    fn thinking_is_replayed_under_the_field_it_came_in() {
        let model = ModelRef {
            provider: "fake".into(),
            id: "m".into(),
            reasoning: true,
            ..ModelRef::default()
        };
        let said = json!({"role":"assistant","provider":"fake","model":"m","content":[
            {"type":"thinking","thinking":"hmm","thinkingSignature":"reasoning_content"},
            {"type":"text","text":"ok"}]});
        let mut call = call(model, vec![said]);
        call.thinking = Some("low".into());
        let body = request(&call);
        assert_eq!(body["messages"][1]["reasoning_content"], "hmm");
        assert_eq!(body["reasoning_effort"], "low");
    }
}
