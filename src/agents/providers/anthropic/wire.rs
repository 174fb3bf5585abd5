//! The request body of `v1/messages`.

use serde_json::{Map, Value, json};

use crate::agents::providers::replay::{self, Block, Content, ToolResult, Turn};
use crate::agents::providers::{ModelCall, ToolSpec};

/// Output bound when neither model nor caller names one; the API demands it.
const DEFAULT_MAX_TOKENS: u64 = 4096;
/// The smallest thinking budget the API takes.
const MIN_BUDGET: u64 = 1024;

/// The body for `call`.
pub(super) fn request(call: &ModelCall) -> Value {
    let limit = call.output_limit().unwrap_or(DEFAULT_MAX_TOKENS);
    let mut body = Map::new();
    body.insert("model".into(), json!(call.model.id));
    body.insert("messages".into(), Value::Array(messages(call)));
    body.insert("max_tokens".into(), json!(limit));
    body.insert("stream".into(), json!(true));
    if !call.system.is_empty() {
        body.insert(
            "system".into(),
            json!([{"type": "text", "text": call.system, "cache_control": {"type": "ephemeral"}}]),
        );
    }
    if !call.tools.is_empty() {
        body.insert("tools".into(), call.tools.iter().map(tool).collect());
    }
    let thinking = thinking(call, limit);
    let thinks = thinking.is_some();
    if let Some(thinking) = thinking {
        body.insert("thinking".into(), thinking);
    }
    params(call, thinks, &mut body);
    Value::Object(body)
}

/// What a client asked for, in this API's spelling.
fn params(call: &ModelCall, thinks: bool, body: &mut Map<String, Value>) {
    let param = |name: &str| call.params.get(name).filter(|value| !value.is_null());
    // The API refuses sampling choices together with thinking.
    if !thinks {
        for name in ["temperature", "top_p"] {
            if let Some(value) = param(name) {
                body.insert(name.into(), value.clone());
            }
        }
    }
    match param("stop") {
        Some(Value::String(one)) => {
            body.insert("stop_sequences".into(), json!([one]));
        }
        Some(several @ Value::Array(_)) => {
            body.insert("stop_sequences".into(), several.clone());
        }
        _ => {}
    }
    let choice = match param("tool_choice") {
        Some(Value::String(choice)) => match choice.as_str() {
            "required" => json!({"type": "any"}),
            "none" => json!({"type": "none"}),
            _ => json!({"type": "auto"}),
        },
        Some(named) => match named["function"]["name"].as_str().or(named["name"].as_str()) {
            Some(name) => json!({"type": "tool", "name": name}),
            None => return,
        },
        None => return,
    };
    // Nor does it force a tool on a model that thinks.
    let forces = matches!(choice["type"].as_str(), Some("any" | "tool"));
    if call.tools.is_empty() || (thinks && forces) {
        return;
    }
    body.insert("tool_choice".into(), choice);
}

fn thinking(call: &ModelCall, limit: u64) -> Option<Value> {
    if !call.model.reasoning {
        return None;
    }
    let budget = match call.thinking.as_deref()? {
        "off" => return None,
        "adaptive" => return Some(json!({"type": "adaptive"})),
        "minimal" => 1024,
        "low" => 2048,
        "medium" => 8192,
        _ => 16384,
    };
    // The budget must leave room for the answer itself.
    let budget = budget.min(limit.saturating_sub(1024));
    (budget >= MIN_BUDGET).then(|| json!({"type": "enabled", "budget_tokens": budget}))
}

fn tool(spec: &ToolSpec) -> Value {
    let mut schema = spec.parameters.clone();
    if let Some(schema) = schema.as_object_mut() {
        schema.entry("type").or_insert_with(|| json!("object"));
        schema.entry("properties").or_insert_with(|| json!({}));
        schema.entry("required").or_insert_with(|| json!([]));
    }
    json!({"name": spec.name, "description": spec.description, "input_schema": schema})
}

/// Messages with alternating roles: neighbours of one role become one.
fn messages(call: &ModelCall) -> Vec<Value> {
    let turns = replay::turns(&call.messages, &call.model);
    let mut merged: Vec<(&str, Vec<Value>)> = Vec::new();
    for turn in &turns {
        let (role, content) = match turn {
            Turn::User(content) => ("user", content.iter().map(part).collect()),
            Turn::Assistant(blocks) => {
                ("assistant", blocks.iter().filter_map(block).collect::<Vec<_>>())
            }
            Turn::ToolResult(result) => ("user", vec![tool_result(result)]),
        };
        match merged.last_mut() {
            Some((last, all)) if *last == role => all.extend(content),
            _ => merged.push((role, content)),
        }
    }
    // The cache point moves with the conversation: last block of the last user message.
    if let Some((_, content)) = merged.iter_mut().rev().find(|(role, _)| *role == "user")
        && let Some(last) = content.last_mut()
    {
        last["cache_control"] = json!({"type": "ephemeral"});
    }
    merged
        .into_iter()
        .filter(|(_, content)| !content.is_empty())
        .map(|(role, content)| json!({"role": role, "content": content}))
        .collect()
}

fn part(content: &Content<'_>) -> Value {
    match content {
        Content::Text(text) => json!({"type": "text", "text": text}),
        Content::Image { mime_type, data } => json!({"type": "image",
            "source": {"type": "base64", "media_type": mime_type, "data": data}}),
    }
}

fn block(block: &Block<'_>) -> Option<Value> {
    Some(match block {
        Block::Text { text, .. } => json!({"type": "text", "text": text}),
        // Without its proof the API refuses a thinking block.
        Block::Thinking { signature: "", .. } => return None,
        Block::Thinking { text, signature } => match signature.strip_prefix(REDACTED) {
            Some(data) => json!({"type": "redacted_thinking", "data": data}),
            None => json!({"type": "thinking", "thinking": text, "signature": signature}),
        },
        Block::ToolCall { id, name, arguments, .. } => json!({
            "type": "tool_use", "id": id, "name": name, "input": replay::object(arguments)}),
    })
}

/// Marks a stored signature that is a block of encrypted thinking.
pub(super) const REDACTED: &str = "redacted:";

fn tool_result(result: &ToolResult<'_>) -> Value {
    let content = if result.images().next().is_some() {
        result.content.iter().map(part).collect()
    } else {
        json!(result.text())
    };
    json!({"type": "tool_result", "tool_use_id": result.id, "content": content,
        "is_error": result.is_error})
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::agents::providers::ModelRef;

    fn model() -> ModelRef {
        ModelRef {
            provider: "claudish".into(),
            id: "claude-x".into(),
            max_tokens: 4096,
            reasoning: true,
            ..ModelRef::default()
        }
    }

    #[test]
    fn a_tool_round_trip_has_the_recorded_shape() {
        let call = ModelCall {
            model: Arc::new(model()),
            system: "sys".into(),
            thinking: Some("low".into()),
            tools: Arc::from([ToolSpec {
                name: "read".into(),
                description: "d".into(),
                parameters: json!({"type":"object","properties":{},"required":[]}),
            }]),
            messages: vec![
                json!({"role":"user","content":[{"type":"text","text":"hi"}]}),
                json!({"role":"assistant","provider":"claudish","model":"claude-x","content":[
                    {"type":"thinking","thinking":"hmm ok","thinkingSignature":"c2ln"},
                    {"type":"toolCall","id":"toolu_01","name":"read","arguments":{"path":"USER.md"}}]}),
                json!({"role":"toolResult","toolCallId":"toolu_01","toolName":"read","content":[{"type":"text","text":"body"}],"isError":false}),
            ],
            ..ModelCall::default()
        };
        assert_eq!(
            request(&call),
            json!({"model":"claude-x","messages":[
                {"role":"user","content":[{"type":"text","text":"hi"}]},
                {"role":"assistant","content":[{"type":"thinking","thinking":"hmm ok","signature":"c2ln"},
                    {"type":"tool_use","id":"toolu01","name":"read","input":{"path":"USER.md"}}]},
                {"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu01","content":"body","is_error":false,"cache_control":{"type":"ephemeral"}}]}],
              "max_tokens":4096,"stream":true,
              "system":[{"type":"text","text":"sys","cache_control":{"type":"ephemeral"}}],
              "tools":[{"name":"read","description":"d","input_schema":{"type":"object","properties":{},"required":[]}}],
              "thinking":{"type":"enabled","budget_tokens":2048}})
        );
    }

    #[test]
    fn users_in_a_row_become_one_message() {
        let call = ModelCall {
            model: Arc::new(model()),
            messages: vec![
                json!({"role":"user","content":"a"}),
                json!({"role":"user","content":"b"}),
            ],
            ..ModelCall::default()
        };
        assert_eq!(request(&call)["messages"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn a_budget_that_leaves_no_room_for_an_answer_turns_thinking_off() {
        let call = ModelCall {
            model: Arc::new(ModelRef { max_tokens: 1500, ..model() }),
            thinking: Some("high".into()),
            ..ModelCall::default()
        };
        assert_eq!(request(&call).get("thinking"), None);
    }
}
