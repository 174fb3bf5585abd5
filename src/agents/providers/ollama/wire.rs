//! The request body of `api/chat`: plain string content, arguments as objects.

use serde_json::{Map, Value, json};

use crate::agents::providers::ModelCall;
use crate::agents::providers::replay::{self, Block, Content, Turn};

/// Fields of a client's request and their names among `options`.
const PARAMS: &[&str] =
    &["temperature", "top_p", "seed", "stop", "frequency_penalty", "presence_penalty"];

/// The body for `call`.
pub(super) fn request(call: &ModelCall) -> Value {
    let model = &*call.model;
    let mut body = Map::new();
    body.insert("model".into(), json!(model.id));
    body.insert("messages".into(), Value::Array(messages(call)));
    body.insert("stream".into(), json!(true));
    if !call.tools.is_empty() {
        let tools = call.tools.iter().map(|spec| {
            json!({"type": "function", "function": {"name": spec.name,
                "description": spec.description, "parameters": spec.parameters}})
        });
        body.insert("tools".into(), tools.collect());
    }
    let mut options = Map::new();
    if model.context_window > 0 {
        options.insert("num_ctx".into(), json!(model.context_window));
    }
    if let Some(limit) = call.max_tokens {
        options.insert("num_predict".into(), json!(limit));
    }
    for name in PARAMS {
        if let Some(value) = call.params.get(*name).filter(|value| !value.is_null()) {
            options.insert((*name).to_owned(), value.clone());
        }
    }
    body.insert("options".into(), Value::Object(options));
    let level = call.thinking.as_deref().unwrap_or("off");
    body.insert("think".into(), json!(model.reasoning && level != "off"));
    if let Some(format) = format(call) {
        body.insert("format".into(), format);
    }
    Value::Object(body)
}

/// `response_format` in Ollama's spelling: `"json"`, or the schema itself.
fn format(call: &ModelCall) -> Option<Value> {
    let format = call.params.get("response_format")?;
    match format["type"].as_str()? {
        "json_object" => Some(json!("json")),
        "json_schema" => Some(format["json_schema"]["schema"].clone()).filter(Value::is_object),
        _ => None,
    }
}

fn messages(call: &ModelCall) -> Vec<Value> {
    let mut messages = Vec::with_capacity(call.messages.len() + 1);
    if !call.system.is_empty() {
        messages.push(json!({"role": "system", "content": call.system}));
    }
    for turn in replay::turns(&call.messages, &call.model) {
        messages.push(match turn {
            Turn::User(content) => with_images("user", &content),
            Turn::Assistant(blocks) => assistant(&blocks),
            Turn::ToolResult(result) => {
                let mut message = with_images("tool", &result.content);
                message["tool_name"] = json!(result.name);
                message
            }
        });
    }
    messages
}

fn with_images(role: &str, content: &[Content<'_>]) -> Value {
    let images: Vec<&str> = content
        .iter()
        .filter_map(|part| match part {
            Content::Image { data, .. } => Some(*data),
            Content::Text(_) => None,
        })
        .collect();
    let mut message = json!({"role": role, "content": replay::joined(content)});
    if !images.is_empty() {
        message["images"] = json!(images);
    }
    message
}

fn assistant(blocks: &[Block<'_>]) -> Value {
    let mut text = String::new();
    let mut calls = Vec::new();
    for block in blocks {
        match block {
            Block::Text { text: said, .. } => text.push_str(said),
            Block::Thinking { .. } => {}
            Block::ToolCall { name, arguments, .. } => calls
                .push(json!({"function": {"name": name, "arguments": replay::object(arguments)}})),
        }
    }
    let mut message = json!({"role": "assistant", "content": text});
    if !calls.is_empty() {
        message["tool_calls"] = Value::Array(calls);
    }
    message
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::agents::providers::ModelRef;

    #[test]
    fn a_tool_round_trip_has_the_recorded_shape() {
        let call = ModelCall {
            model: Arc::new(ModelRef {
                id: "llama3.3".into(),
                context_window: 128_000,
                ..ModelRef::default()
            }),
            system: "sys".into(),
            messages: vec![
                json!({"role":"user","content":[{"type":"text","text":"hi"}]}),
                json!({"role":"assistant","content":[{"type":"toolCall","id":"ollama_call_1","name":"read","arguments":{"path":"USER.md"}}]}),
                json!({"role":"toolResult","toolCallId":"ollama_call_1","toolName":"read","content":[{"type":"text","text":"body"}]}),
            ],
            ..ModelCall::default()
        };
        assert_eq!(
            request(&call),
            json!({"model":"llama3.3","messages":[
                {"role":"system","content":"sys"},
                {"role":"user","content":"hi"},
                {"role":"assistant","content":"","tool_calls":[{"function":{"name":"read","arguments":{"path":"USER.md"}}}]},
                {"role":"tool","content":"body","tool_name":"read"}],
              "stream":true,"options":{"num_ctx":128_000},"think":false})
        );
    }

    #[test]
    fn a_response_format_is_a_schema_or_the_word_for_any_json() {
        let of = |value: Value| {
            let params = Map::from_iter([("response_format".to_owned(), value)]);
            format(&ModelCall { params: params.into(), ..ModelCall::default() })
        };
        let schema = json!({"type": "object"});
        let named = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema}});
        assert_eq!(of(named), Some(schema));
        assert_eq!(of(json!({"type": "json_object"})), Some(json!("json")));
        assert_eq!(of(json!({"type": "text"})), None);
    }
}
