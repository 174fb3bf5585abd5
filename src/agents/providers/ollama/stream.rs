//! Reading the lines of `api/chat`.

use std::collections::VecDeque;

use serde::Deserialize;
use serde_json::Value;

use crate::agents::providers::http::Dialect;
use crate::agents::providers::lines::Event;
use crate::agents::providers::{self, Part, ProviderError, Stop, classify};
use crate::agents::run::Usage;
use crate::base::id;

#[derive(Deserialize)]
struct Line {
    message: Option<Message>,
    #[serde(default)]
    done: bool,
    done_reason: Option<String>,
    prompt_eval_count: Option<u64>,
    eval_count: Option<u64>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: String,
    #[serde(default)]
    thinking: String,
    tool_calls: Option<Vec<Value>>,
}

/// The state of one answer.
#[derive(Debug, Default)]
pub(super) struct Reader {
    usage: Usage,
    called: bool,
    thought: bool,
    reason: Option<String>,
    done: bool,
}

impl Dialect for Reader {
    fn on_event(&mut self, event: &Event, out: &mut VecDeque<Part>) -> Result<(), ProviderError> {
        let line: Line = serde_json::from_str(&event.data).map_err(classify::malformed)?;
        if let Some(error) = line.error.filter(|error| !error.is_null()) {
            return Err(classify::stream_error(&error));
        }
        if let Some(message) = line.message {
            if !message.thinking.is_empty() {
                self.thought = true;
                out.push_back(Part::Thinking(message.thinking));
            }
            if !message.content.is_empty() {
                self.sign(out);
                out.push_back(Part::Text(message.content));
            }
            for call in message.tool_calls.into_iter().flatten() {
                self.sign(out);
                self.called = true;
                let function = &call["function"];
                out.push_back(Part::ToolCall {
                    id: format!("ollama_call_{}", id::uuid()),
                    name: function["name"].as_str().unwrap_or_default().to_owned(),
                    // Some models' templates leave them as JSON text.
                    arguments: match &function["arguments"] {
                        Value::String(text) => providers::tool_arguments(text.clone()),
                        arguments => arguments.clone(),
                    },
                });
            }
        }
        if line.done {
            self.done = true;
            self.reason = line.done_reason;
            self.usage.input = line.prompt_eval_count.unwrap_or(0);
            self.usage.output = line.eval_count.unwrap_or(0);
            self.usage.total_tokens = self.usage.input.saturating_add(self.usage.output);
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut VecDeque<Part>) -> Result<(), ProviderError> {
        if !self.done {
            return Err(classify::cut_short());
        }
        self.sign(out);
        let stop = match self.reason.as_deref() {
            _ if self.called => Stop::ToolUse,
            Some("length") => Stop::Length,
            _ => Stop::Stop,
        };
        out.push_back(Part::Done { stop, usage: self.usage, response_id: None });
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.done
    }
}

impl Reader {
    fn sign(&mut self, out: &mut VecDeque<Part>) {
        if std::mem::take(&mut self.thought) {
            out.push_back(Part::ThinkingSignature("thinking".to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_call_in_a_line_of_its_own_is_read_with_its_usage() {
        let mut reader = Reader::default();
        let mut out = VecDeque::new();
        for line in [
            json!({"message":{"role":"assistant","content":"","tool_calls":[{"function":{"name":"read","arguments":{"a":1}}}]},"done":false}),
            json!({"message":{"role":"assistant","content":""},"done":true,"done_reason":"stop","prompt_eval_count":700,"eval_count":6}),
        ] {
            let event = Event { name: String::new(), data: line.to_string() };
            reader.on_event(&event, &mut out).unwrap();
        }
        reader.finish(&mut out).unwrap();
        assert!(matches!(&out[0], Part::ToolCall { name, arguments, .. }
            if name == "read" && *arguments == json!({"a":1})));
        let usage = Usage { input: 700, output: 6, total_tokens: 706, ..Usage::default() };
        assert_eq!(out[1], Part::Done { stop: Stop::ToolUse, usage, response_id: None });
    }

    #[test]
    fn an_answer_without_its_last_line_is_cut_short() {
        assert!(Reader::default().finish(&mut VecDeque::new()).is_err());
    }
}
