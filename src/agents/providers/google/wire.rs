//! The request body of `streamGenerateContent`.

use serde_json::{Map, Value, json};

use crate::agents::providers::ModelCall;
use crate::agents::providers::replay::{self, Block, Content, Turn};

/// The body for `call`.
pub(super) fn request(call: &ModelCall) -> Value {
    let mut body = Map::new();
    body.insert("contents".into(), Value::Array(contents(call)));
    if !call.system.is_empty() {
        body.insert(
            "systemInstruction".into(),
            json!({"parts": [{"text": call.system}], "role": "user"}),
        );
    }
    if !call.tools.is_empty() {
        let declarations = call.tools.iter().map(|spec| {
            json!({"name": spec.name, "description": spec.description,
                "parametersJsonSchema": spec.parameters})
        });
        body.insert(
            "tools".into(),
            json!([{"functionDeclarations": declarations.collect::<Value>()}]),
        );
        if let Some(mode) = calling_mode(call) {
            body.insert("toolConfig".into(), json!({"functionCallingConfig": {"mode": mode}}));
        }
    }
    body.insert("generationConfig".into(), Value::Object(generation(call)));
    Value::Object(body)
}

fn calling_mode(call: &ModelCall) -> Option<&'static str> {
    match call.params.get("tool_choice")?.as_str()? {
        "required" => Some("ANY"),
        "none" => Some("NONE"),
        _ => None,
    }
}

fn generation(call: &ModelCall) -> Map<String, Value> {
    let mut config = Map::new();
    if let Some(limit) = call.output_limit() {
        config.insert("maxOutputTokens".into(), json!(limit));
    }
    for (name, own) in [("temperature", "temperature"), ("top_p", "topP"), ("seed", "seed")] {
        if let Some(value) = call.params.get(name).filter(|value| !value.is_null()) {
            config.insert(own.into(), value.clone());
        }
    }
    // The API refuses a format beside tools.
    if let Some(format) = call.params.get("response_format").filter(|_| call.tools.is_empty()) {
        if format["type"] == "json_object" || format["type"] == "json_schema" {
            config.insert("responseMimeType".into(), json!("application/json"));
        }
        if let Some(schema) = format["json_schema"].get("schema") {
            config.insert("responseJsonSchema".into(), schema.clone());
        }
    }
    let level = call.thinking.as_deref().unwrap_or("off");
    if call.model.reasoning && level != "off" {
        let budget = match level {
            "minimal" => 128,
            "low" => 2048,
            "medium" => 8192,
            "adaptive" => -1,
            _ => 24_576,
        };
        config.insert(
            "thinkingConfig".into(),
            json!({"includeThoughts": true, "thinkingBudget": budget}),
        );
    }
    config
}

/// Turns with neighbours of one role put together, as the API demands for
/// the answers to parallel calls.
fn contents(call: &ModelCall) -> Vec<Value> {
    let mut merged: Vec<(&str, Vec<Value>)> = Vec::new();
    for turn in replay::turns(&call.messages, &call.model) {
        let (role, parts): (&str, Vec<Value>) = match turn {
            Turn::User(content) => ("user", content.iter().map(part).collect()),
            Turn::Assistant(blocks) => ("model", blocks.iter().map(block).collect()),
            Turn::ToolResult(result) => {
                let key = if result.is_error { "error" } else { "output" };
                let mut parts = vec![json!({"functionResponse": {"name": result.name,
                    "response": {key: result.text()}}})];
                parts.extend(result.images().map(part));
                ("user", parts)
            }
        };
        match merged.last_mut() {
            Some((last, all)) if *last == role => all.extend(parts),
            _ => merged.push((role, parts)),
        }
    }
    merged.into_iter().map(|(role, parts)| json!({"parts": parts, "role": role})).collect()
}

fn part(content: &Content<'_>) -> Value {
    match content {
        Content::Text(text) => json!({"text": text}),
        Content::Image { mime_type, data } => {
            json!({"inlineData": {"mimeType": mime_type, "data": data}})
        }
    }
}

fn block(block: &Block<'_>) -> Value {
    let (mut part, signature) = match block {
        Block::Text { text, signature } => (json!({"text": text}), signature.unwrap_or_default()),
        Block::Thinking { text, signature } => (json!({"thought": true, "text": text}), *signature),
        Block::ToolCall { name, arguments, signature, .. } => (
            json!({"functionCall": {"name": name, "args": replay::object(arguments)}}),
            signature.unwrap_or_default(),
        ),
    };
    if !signature.is_empty() {
        part["thoughtSignature"] = json!(signature);
    }
    part
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::agents::providers::ModelRef;

    #[test]
    fn a_tool_round_trip_has_the_recorded_shape_and_keeps_signatures() {
        let call = ModelCall {
            model: Arc::new(ModelRef {
                provider: "gem".into(),
                id: "gem-1".into(),
                max_tokens: 4096,
                ..ModelRef::default()
            }),
            messages: vec![
                json!({"role":"user","content":[{"type":"text","text":"hi"}]}),
                json!({"role":"assistant","provider":"gem","model":"gem-1","content":[{"type":"toolCall","id":"read_1_1","name":"read","arguments":{"path":"USER.md"},"thoughtSignature":"sig"}]}),
                json!({"role":"toolResult","toolCallId":"read_1_1","toolName":"read","content":[{"type":"text","text":"body"}]}),
            ],
            ..ModelCall::default()
        };
        assert_eq!(
            request(&call),
            json!({"contents":[
                {"parts":[{"text":"hi"}],"role":"user"},
                {"parts":[{"functionCall":{"name":"read","args":{"path":"USER.md"}},"thoughtSignature":"sig"}],"role":"model"},
                {"parts":[{"functionResponse":{"name":"read","response":{"output":"body"}}}],"role":"user"}],
              "generationConfig":{"maxOutputTokens":4096}})
        );
    }

    #[test]
    fn a_response_format_goes_along_unless_there_are_tools() {
        let schema = json!({"type": "object"});
        let format = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema}});
        let params = Map::from_iter([("response_format".to_owned(), format)]);
        let call = ModelCall { params: params.into(), ..ModelCall::default() };
        let config = generation(&call);
        assert_eq!(config["responseMimeType"], "application/json");
        assert_eq!(config["responseJsonSchema"], schema);
        let tools = Arc::from([crate::agents::providers::ToolSpec {
            name: "t".into(),
            description: String::new(),
            parameters: json!({}),
        }]);
        assert!(!generation(&ModelCall { tools, ..call }).contains_key("responseMimeType"));
    }
}
