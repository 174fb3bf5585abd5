//! Reading the events of `v1/messages`.

use std::collections::VecDeque;

use serde::Deserialize;
use serde_json::Value;

use crate::agents::providers::anthropic::wire::REDACTED;
use crate::agents::providers::http::Dialect;
use crate::agents::providers::lines::Event;
use crate::agents::providers::{self, Part, ProviderError, Stop, classify};
use crate::agents::run::Usage;

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[expect(clippy::enum_variant_names, reason = "the names on the wire")]
enum Message {
    MessageStart {
        message: Started,
    },
    ContentBlockStart {
        index: u64,
        content_block: Value,
    },
    ContentBlockDelta {
        index: u64,
        delta: Delta,
    },
    ContentBlockStop {
        index: u64,
    },
    MessageDelta {
        delta: Ending,
        #[serde(default)]
        usage: Value,
    },
    MessageStop,
    Error {
        error: Value,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Started {
    id: Option<String>,
    #[serde(default)]
    usage: Value,
}

#[derive(Deserialize)]
struct Ending {
    stop_reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[expect(clippy::enum_variant_names, reason = "the names on the wire")]
enum Delta {
    TextDelta {
        text: String,
    },
    ThinkingDelta {
        thinking: String,
    },
    SignatureDelta {
        signature: String,
    },
    InputJsonDelta {
        partial_json: String,
    },
    #[serde(other)]
    Other,
}

#[derive(Debug)]
struct OpenCall {
    index: u64,
    id: String,
    name: String,
    json: String,
    input: Value,
}

/// The state of one answer.
#[derive(Debug, Default)]
pub(super) struct Reader {
    response_id: Option<String>,
    usage: Usage,
    stop_reason: Option<String>,
    call: Option<OpenCall>,
    signature: String,
    done: bool,
}

impl Dialect for Reader {
    fn on_event(&mut self, event: &Event, out: &mut VecDeque<Part>) -> Result<(), ProviderError> {
        let message: Message = serde_json::from_str(&event.data).map_err(classify::malformed)?;
        match message {
            Message::MessageStart { message } => {
                self.response_id = message.id;
                self.count(&message.usage);
            }
            Message::ContentBlockStart { index, content_block } => {
                self.open(index, &content_block, out);
            }
            Message::ContentBlockDelta { index, delta } => match delta {
                Delta::TextDelta { text } => out.push_back(Part::Text(text)),
                Delta::ThinkingDelta { thinking } => out.push_back(Part::Thinking(thinking)),
                Delta::SignatureDelta { signature } => self.signature.push_str(&signature),
                Delta::InputJsonDelta { partial_json } => {
                    if let Some(call) = self.call.as_mut().filter(|call| call.index == index) {
                        call.json.push_str(&partial_json);
                    }
                }
                Delta::Other => {}
            },
            Message::ContentBlockStop { index } => self.close(index, out),
            Message::MessageDelta { delta, usage } => {
                self.stop_reason = delta.stop_reason.or(self.stop_reason.take());
                self.count(&usage);
            }
            Message::MessageStop => self.done = true,
            Message::Error { error } => return Err(classify::stream_error(&error)),
            Message::Other => {}
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut VecDeque<Part>) -> Result<(), ProviderError> {
        if !self.done && self.stop_reason.is_none() {
            return Err(classify::cut_short());
        }
        let stop = match self.stop_reason.as_deref() {
            Some("end_turn" | "stop_sequence" | "pause_turn") | None => Stop::Stop,
            Some("tool_use") => Stop::ToolUse,
            Some("max_tokens") => Stop::Length,
            Some(other) => {
                return Err(classify::stream_error(&Value::String(format!(
                    "the model ended its answer with `{other}`"
                ))));
            }
        };
        let usage = &mut self.usage;
        usage.total_tokens = usage.prompt().saturating_add(usage.output);
        let response_id = self.response_id.take();
        out.push_back(Part::Done { stop, usage: self.usage, response_id });
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.done
    }
}

impl Reader {
    fn open(&mut self, index: u64, block: &Value, out: &mut VecDeque<Part>) {
        let text = |key: &str| block[key].as_str().unwrap_or_default().to_owned();
        match block["type"].as_str() {
            Some("tool_use") => {
                self.call = Some(OpenCall {
                    index,
                    id: text("id"),
                    name: text("name"),
                    json: String::new(),
                    input: block["input"].clone(),
                });
            }
            Some("text") if !text("text").is_empty() => out.push_back(Part::Text(text("text"))),
            Some("thinking") => {
                self.signature = text("signature");
                if !text("thinking").is_empty() {
                    out.push_back(Part::Thinking(text("thinking")));
                }
            }
            Some("redacted_thinking") => {
                out.push_back(Part::Thinking("[Reasoning redacted]".to_owned()));
                self.signature = format!("{REDACTED}{}", text("data"));
            }
            _ => {}
        }
    }

    fn close(&mut self, index: u64, out: &mut VecDeque<Part>) {
        if !self.signature.is_empty() {
            out.push_back(Part::ThinkingSignature(std::mem::take(&mut self.signature)));
        }
        if let Some(call) = self.call.take_if(|call| call.index == index) {
            let arguments = if call.json.trim().is_empty() && call.input.is_object() {
                call.input
            } else {
                providers::tool_arguments(call.json)
            };
            out.push_back(Part::ToolCall { id: call.id, name: call.name, arguments });
        }
    }

    /// Later events repeat the counts; proxies leave some out.
    fn count(&mut self, usage: &Value) {
        let set = |slot: &mut u64, key: &str| {
            if let Some(tokens) = usage[key].as_u64() {
                *slot = tokens;
            }
        };
        set(&mut self.usage.input, "input_tokens");
        set(&mut self.usage.output, "output_tokens");
        set(&mut self.usage.cache_read, "cache_read_input_tokens");
        set(&mut self.usage.cache_write, "cache_creation_input_tokens");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(events: &[Value]) -> Result<Vec<Part>, ProviderError> {
        let mut reader = Reader::default();
        let mut out = VecDeque::new();
        for event in events {
            let event = Event { name: String::new(), data: event.to_string() };
            reader.on_event(&event, &mut out)?;
        }
        reader.finish(&mut out)?;
        Ok(out.into())
    }

    #[test]
    fn thinking_a_call_and_usage_are_read() {
        let parts = read(&[
            json!({"type":"message_start","message":{"id":"msg_1","usage":{"input_tokens":900,"cache_read_input_tokens":100,"cache_creation_input_tokens":50,"output_tokens":1}}}),
            json!({"type":"ping"}),
            json!({"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}),
            json!({"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hmm"}}),
            json!({"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"c2ln"}}),
            json!({"type":"content_block_stop","index":0}),
            json!({"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"toolu_01","name":"read","input":{}}}),
            json!({"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"path\""}}),
            json!({"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":":\"a\"}"}}),
            json!({"type":"content_block_stop","index":1}),
            json!({"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":9}}),
            json!({"type":"message_stop"}),
        ])
        .unwrap();
        let usage =
            Usage { input: 900, output: 9, cache_read: 100, cache_write: 50, total_tokens: 1059 };
        assert_eq!(
            parts,
            [
                Part::Thinking("hmm".into()),
                Part::ThinkingSignature("c2ln".into()),
                Part::ToolCall {
                    id: "toolu_01".into(),
                    name: "read".into(),
                    arguments: json!({"path":"a"})
                },
                Part::Done { stop: Stop::ToolUse, usage, response_id: Some("msg_1".into()) },
            ]
        );
    }

    #[test]
    fn an_overloaded_event_ends_the_answer_with_its_class() {
        let error = read(&[
            json!({"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}),
        ])
        .unwrap_err();
        assert_eq!(error.reason.as_str(), "overloaded");
    }
}
