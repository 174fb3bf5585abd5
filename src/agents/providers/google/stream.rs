//! Reading the chunks of `streamGenerateContent`.

use std::collections::VecDeque;

use serde_json::Value;

use crate::agents::providers::http::Dialect;
use crate::agents::providers::lines::Event;
use crate::agents::providers::{Part, ProviderError, Stop, classify};
use crate::agents::run::Usage;
use crate::base::clock;

/// The state of one answer.
#[derive(Debug, Default)]
pub(super) struct Reader {
    response_id: Option<String>,
    usage: Usage,
    finish: Option<String>,
    calls: usize,
}

impl Dialect for Reader {
    fn on_event(&mut self, event: &Event, out: &mut VecDeque<Part>) -> Result<(), ProviderError> {
        let chunk: Value = serde_json::from_str(&event.data).map_err(classify::malformed)?;
        if chunk["error"].is_object() {
            return Err(classify::stream_error(&chunk));
        }
        if let Some(id) = chunk["responseId"].as_str() {
            self.response_id = Some(id.to_owned());
        }
        if let Some(reason) = chunk["promptFeedback"]["blockReason"].as_str() {
            return Err(classify::stream_error(&Value::String(format!(
                "the provider blocked the prompt: {reason}"
            ))));
        }
        let candidate = &chunk["candidates"][0];
        let parts = candidate["content"]["parts"].as_array().map(Vec::as_slice).unwrap_or_default();
        for part in parts {
            self.on_part(part, out);
        }
        if let Some(reason) = candidate["finishReason"].as_str() {
            self.finish = Some(reason.to_owned());
        }
        let usage = &chunk["usageMetadata"];
        if usage.is_object() {
            let number = |key: &str| usage[key].as_u64().unwrap_or(0);
            let cached = number("cachedContentTokenCount");
            let input = number("promptTokenCount").saturating_sub(cached);
            let output =
                number("candidatesTokenCount").saturating_add(number("thoughtsTokenCount"));
            self.usage = Usage {
                input,
                output,
                cache_read: cached,
                cache_write: 0,
                total_tokens: usage["totalTokenCount"]
                    .as_u64()
                    .unwrap_or(input.saturating_add(cached).saturating_add(output)),
            };
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut VecDeque<Part>) -> Result<(), ProviderError> {
        let stop = match self.finish.as_deref() {
            None => return Err(classify::cut_short()),
            Some("STOP") if self.calls > 0 => Stop::ToolUse,
            Some("STOP") => Stop::Stop,
            Some("MAX_TOKENS") => Stop::Length,
            Some(other) => {
                return Err(classify::stream_error(&Value::String(format!(
                    "the model ended its answer with `{other}`"
                ))));
            }
        };
        let response_id = self.response_id.take();
        out.push_back(Part::Done { stop, usage: self.usage, response_id });
        Ok(())
    }
}

impl Reader {
    fn on_part(&mut self, part: &Value, out: &mut VecDeque<Part>) {
        let signature = part["thoughtSignature"].as_str();
        if let Some(text) = part["text"].as_str().filter(|text| !text.is_empty()) {
            let thought = part["thought"].as_bool().unwrap_or(false);
            let text = text.to_owned();
            out.push_back(if thought { Part::Thinking(text) } else { Part::Text(text) });
        }
        let call = &part["functionCall"];
        if let Some(name) = call["name"].as_str() {
            self.calls += 1;
            let id = match call["id"].as_str() {
                Some(id) if !id.is_empty() => id.to_owned(),
                _ => format!("{name}_{}_{}", clock::now_ms(), self.calls),
            };
            let arguments = match &call["args"] {
                Value::Null => Value::Object(serde_json::Map::new()),
                arguments => arguments.clone(),
            };
            out.push_back(Part::ToolCall { id, name: name.to_owned(), arguments });
        }
        if let Some(signature) = signature {
            out.push_back(Part::ThinkingSignature(signature.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn text_a_call_and_usage_are_read() {
        let mut reader = Reader::default();
        let mut out = VecDeque::new();
        for chunk in [
            json!({"candidates":[{"content":{"role":"model","parts":[{"text":"Hi "}]}}],"usageMetadata":{"promptTokenCount":600,"candidatesTokenCount":4,"totalTokenCount":604,"cachedContentTokenCount":60}}),
            json!({"candidates":[{"content":{"parts":[{"functionCall":{"name":"read","args":{"a":1}}}]},"finishReason":"STOP"}]}),
        ] {
            let event = Event { name: String::new(), data: chunk.to_string() };
            reader.on_event(&event, &mut out).unwrap();
        }
        reader.finish(&mut out).unwrap();
        assert_eq!(out[0], Part::Text("Hi ".into()));
        assert!(matches!(&out[1], Part::ToolCall { name, .. } if name == "read"));
        let usage =
            Usage { input: 540, output: 4, cache_read: 60, cache_write: 0, total_tokens: 604 };
        assert_eq!(out[2], Part::Done { stop: Stop::ToolUse, usage, response_id: None });
    }
}
