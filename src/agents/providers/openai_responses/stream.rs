//! Reading the events of `responses`.

use std::collections::VecDeque;

use serde_json::Value;

use crate::agents::providers::http::Dialect;
use crate::agents::providers::lines::Event;
use crate::agents::providers::{self, Part, ProviderError, Stop, classify};
use crate::agents::run::Usage;

/// The state of one answer.
#[derive(Debug, Default)]
pub(super) struct Reader {
    response_id: Option<String>,
    usage: Usage,
    called: bool,
    /// Present once the answer is complete.
    end: Option<End>,
    /// Text of the current message item arrived in deltas.
    text_seen: bool,
    thought: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    CutAtLimit,
}

impl Dialect for Reader {
    fn on_event(&mut self, event: &Event, out: &mut VecDeque<Part>) -> Result<(), ProviderError> {
        let data = event.data.trim();
        if data == "[DONE]" {
            return Ok(());
        }
        let body: Value = serde_json::from_str(data).map_err(classify::malformed)?;
        let delta = || body["delta"].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        match body["type"].as_str().unwrap_or(&event.name) {
            "response.created" => {
                self.response_id = body["response"]["id"].as_str().map(str::to_owned);
            }
            "response.output_item.added" => self.text_seen = false,
            "response.output_text.delta" | "response.refusal.delta" => {
                self.text_seen = true;
                out.extend(delta().map(Part::Text));
            }
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                self.thought = true;
                out.extend(delta().map(Part::Thinking));
            }
            "response.reasoning_summary_part.done" => {
                out.push_back(Part::Thinking("\n\n".to_owned()));
            }
            "response.output_item.done" => self.on_item(&body["item"], out),
            "response.completed" | "response.incomplete" => {
                self.on_end(&body["response"]);
            }
            "response.failed" => {
                return Err(classify::stream_error(&body["response"]["error"]));
            }
            "error" => return Err(classify::stream_error(&body)),
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut VecDeque<Part>) -> Result<(), ProviderError> {
        let stop = match self.end {
            None => return Err(classify::cut_short()),
            Some(_) if self.called => Stop::ToolUse,
            Some(End::CutAtLimit) => Stop::Length,
            Some(End::Whole) => Stop::Stop,
        };
        let response_id = self.response_id.take();
        out.push_back(Part::Done { stop, usage: self.usage, response_id });
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.end.is_some()
    }
}

impl Reader {
    fn on_item(&mut self, item: &Value, out: &mut VecDeque<Part>) {
        let text = |key: &str| item[key].as_str().unwrap_or_default();
        match text("type") {
            "function_call" => {
                self.called = true;
                out.push_back(Part::ToolCall {
                    id: format!("{}|{}", text("call_id"), text("id")),
                    name: text("name").to_owned(),
                    arguments: providers::tool_arguments(text("arguments").to_owned()),
                });
            }
            "message" if !self.text_seen => {
                let parts = item["content"].as_array().map(Vec::as_slice).unwrap_or_default();
                for part in parts {
                    let said = part["text"].as_str().or(part["refusal"].as_str());
                    out.extend(said.map(|text| Part::Text(text.to_owned())));
                }
            }
            "reasoning" => {
                if !self.thought {
                    out.push_back(Part::Thinking(String::new()));
                }
                self.thought = false;
                out.push_back(Part::ThinkingSignature(item.to_string()));
            }
            _ => {}
        }
    }

    fn on_end(&mut self, response: &Value) {
        let cut = response["incomplete_details"]["reason"] == "max_output_tokens";
        self.end = Some(if cut { End::CutAtLimit } else { End::Whole });
        if let Some(id) = response["id"].as_str() {
            self.response_id = Some(id.to_owned());
        }
        let usage = &response["usage"];
        let number = |value: &Value| value.as_u64().unwrap_or(0);
        let input = number(&usage["input_tokens"]);
        let cached = number(&usage["input_tokens_details"]["cached_tokens"]);
        let output = number(&usage["output_tokens"]);
        self.usage = Usage {
            input: input.saturating_sub(cached),
            output,
            cache_read: cached,
            cache_write: 0,
            total_tokens: usage["total_tokens"].as_u64().unwrap_or(input.saturating_add(output)),
        };
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_call_keeps_both_of_its_ids() {
        let mut reader = Reader::default();
        let mut out = VecDeque::new();
        for body in [
            json!({"type":"response.created","response":{"id":"resp_1"}}),
            json!({"type":"response.output_item.added","item":{"type":"function_call"}}),
            json!({"type":"response.output_item.done","item":{"type":"function_call","id":"fc_1","call_id":"call_r1","name":"read","arguments":"{\"a\":1}"}}),
            json!({"type":"response.completed","response":{"id":"resp_1","usage":{"input_tokens":800,"input_tokens_details":{"cached_tokens":300},"output_tokens":5,"total_tokens":805}}}),
        ] {
            let event = Event { name: String::new(), data: body.to_string() };
            reader.on_event(&event, &mut out).unwrap();
        }
        reader.finish(&mut out).unwrap();
        let usage =
            Usage { input: 500, output: 5, cache_read: 300, cache_write: 0, total_tokens: 805 };
        assert_eq!(
            Vec::from(out),
            [
                Part::ToolCall {
                    id: "call_r1|fc_1".into(),
                    name: "read".into(),
                    arguments: json!({"a":1})
                },
                Part::Done { stop: Stop::ToolUse, usage, response_id: Some("resp_1".into()) },
            ]
        );
    }
}
