//! The request body of `responses`.

use serde_json::{Map, Value, json};

use crate::agents::providers::replay::{self, Block, Content, Turn};
use crate::agents::providers::{ModelCall, ToolSpec};

/// The body for `call`.
pub(super) fn request(call: &ModelCall) -> Value {
    let model = &*call.model;
    let mut body = Map::new();
    body.insert("model".into(), json!(model.id));
    body.insert("input".into(), Value::Array(input(call)));
    body.insert("stream".into(), json!(true));
    body.insert("store".into(), json!(false));
    if let Some(limit) = call.output_limit() {
        body.insert("max_output_tokens".into(), json!(limit));
    }
    if !call.tools.is_empty() {
        body.insert("tools".into(), call.tools.iter().map(tool).collect());
    }
    if model.reasoning {
        match call.thinking.as_deref() {
            None | Some("off") => {}
            Some(level) => {
                let effort = if level == "adaptive" { "medium" } else { level };
                body.insert("reasoning".into(), json!({"effort": effort, "summary": "auto"}));
                body.insert("include".into(), json!(["reasoning.encrypted_content"]));
            }
        }
    } else {
        for name in ["temperature", "top_p"] {
            if let Some(value) = call.params.get(name).filter(|value| !value.is_null()) {
                body.insert(name.into(), value.clone());
            }
        }
    }
    if let Some(choice) = call.params.get("tool_choice").filter(|_| !call.tools.is_empty()) {
        // The nested spelling of chat completions becomes the flat one.
        let choice = match choice["function"]["name"].as_str() {
            Some(name) => json!({"type": "function", "name": name}),
            None => choice.clone(),
        };
        body.insert("tool_choice".into(), choice);
    }
    if let Some(format) = call.params.get("response_format").filter(|format| format.is_object()) {
        body.insert("text".into(), json!({"format": text_format(format)}));
    }
    Value::Object(body)
}

fn text_format(format: &Value) -> Value {
    let Some(schema) = format["json_schema"].as_object() else {
        return format.clone();
    };
    let mut flat = schema.clone();
    flat.insert("type".into(), json!("json_schema"));
    Value::Object(flat)
}

fn tool(spec: &ToolSpec) -> Value {
    json!({"type": "function", "name": spec.name, "description": spec.description,
        "parameters": spec.parameters, "strict": false})
}

fn input(call: &ModelCall) -> Vec<Value> {
    let model = &*call.model;
    let mut items = Vec::with_capacity(call.messages.len() + 1);
    if !call.system.is_empty() {
        let role = if model.reasoning { "developer" } else { "system" };
        items.push(json!({"role": role, "content": call.system}));
    }
    for turn in replay::turns(&call.messages, model) {
        match turn {
            Turn::User(content) => {
                items.push(
                    json!({"role": "user", "content": content.iter().map(part).collect::<Value>()}),
                );
            }
            Turn::Assistant(blocks) => items.extend(blocks.iter().filter_map(item)),
            Turn::ToolResult(result) => {
                let output = if result.images().next().is_some() {
                    result.content.iter().map(part).collect()
                } else {
                    json!(result.text())
                };
                items.push(
                    json!({"type": "function_call_output", "call_id": result.id, "output": output}),
                );
            }
        }
    }
    items
}

fn part(content: &Content<'_>) -> Value {
    match content {
        Content::Text(text) => json!({"type": "input_text", "text": text}),
        Content::Image { mime_type, data } => json!({"type": "input_image", "detail": "auto",
            "image_url": format!("data:{mime_type};base64,{data}")}),
    }
}

fn item(block: &Block<'_>) -> Option<Value> {
    match block {
        Block::Text { text, .. } => Some(json!({"type": "message", "role": "assistant",
            "content": [{"type": "output_text", "text": text, "annotations": []}],
            "status": "completed"})),
        // The stored signature is the whole encrypted item.
        Block::Thinking { signature, .. } => {
            serde_json::from_str(signature).ok().filter(Value::is_object)
        }
        Block::ToolCall { id, name, arguments, .. } => Some(json!({"type": "function_call",
            "call_id": id, "name": name, "arguments": replay::object(arguments).to_string()})),
    }
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
                id: "resp-1".into(),
                reasoning: true,
                max_tokens: 4096,
                ..ModelRef::default()
            }),
            system: "sys".into(),
            thinking: Some("low".into()),
            messages: vec![
                json!({"role":"user","content":[{"type":"text","text":"hi"}]}),
                json!({"role":"assistant","content":[{"type":"toolCall","id":"call_r1|fc_1","name":"read","arguments":{"path":"USER.md"}}]}),
                json!({"role":"toolResult","toolCallId":"call_r1|fc_1","toolName":"read","content":[{"type":"text","text":"body"}]}),
            ],
            ..ModelCall::default()
        };
        assert_eq!(
            request(&call),
            json!({"model":"resp-1","input":[
                {"role":"developer","content":"sys"},
                {"role":"user","content":[{"type":"input_text","text":"hi"}]},
                {"type":"function_call","call_id":"callr1","name":"read","arguments":"{\"path\":\"USER.md\"}"},
                {"type":"function_call_output","call_id":"callr1","output":"body"}],
              "stream":true,"store":false,"max_output_tokens":4096,
              "reasoning":{"effort":"low","summary":"auto"},"include":["reasoning.encrypted_content"]})
        );
    }
}
