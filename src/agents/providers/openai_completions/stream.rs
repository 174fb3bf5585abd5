//! Reading the chunks of `chat/completions`.

use std::borrow::Cow;
use std::collections::VecDeque;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::agents::providers::http::Dialect;
use crate::agents::providers::lines::Event;
use crate::agents::providers::{self, Part, ProviderError, Stop, classify};
use crate::agents::run::Usage;
use crate::base::id;

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    choices: Option<Vec<Choice<'a>>>,
    usage: Option<Value>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    /// A server that cannot stream sends the whole `message`.
    #[serde(borrow, alias = "message")]
    delta: Option<Delta<'a>>,
    #[serde(borrow)]
    finish_reason: Option<Cow<'a, str>>,
    usage: Option<Value>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow)]
    content: Option<Content<'a>>,
    #[serde(borrow)]
    refusal: Option<Cow<'a, str>>,
    #[serde(borrow)]
    reasoning_content: Option<Cow<'a, str>>,
    #[serde(borrow)]
    reasoning: Option<Cow<'a, str>>,
    #[serde(borrow)]
    reasoning_text: Option<Cow<'a, str>>,
    tool_calls: Option<Vec<CallDelta>>,
}

/// Words, or a list of blocks as some reasoning models send it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Content<'a> {
    Words(#[serde(borrow)] Cow<'a, str>),
    Blocks(Vec<Value>),
}

#[derive(Deserialize)]
struct CallDelta {
    index: Option<u64>,
    id: Option<String>,
    function: Option<FunctionDelta>,
}

#[derive(Deserialize)]
struct FunctionDelta {
    name: Option<String>,
    arguments: Option<Value>,
}

#[derive(Debug, Default)]
struct PendingCall {
    index: u64,
    id: String,
    name: String,
    arguments: String,
}

/// The state of one answer.
#[derive(Debug, Default)]
pub(super) struct Reader {
    response_id: Option<String>,
    usage: Usage,
    finish: Option<String>,
    calls: Vec<PendingCall>,
    /// The field that thinking comes in, once it has.
    thinking_field: Option<&'static str>,
    signed: bool,
    done: bool,
}

impl Dialect for Reader {
    fn on_event(&mut self, event: &Event, out: &mut VecDeque<Part>) -> Result<(), ProviderError> {
        let data = event.data.trim();
        if data == "[DONE]" {
            self.done = true;
            return Ok(());
        }
        let chunk: Chunk<'_> = serde_json::from_str(data).map_err(classify::malformed)?;
        if let Some(error) = chunk.error.filter(|error| !error.is_null()) {
            return Err(classify::stream_error(&error));
        }
        if self.response_id.is_none() {
            self.response_id = chunk.id.filter(|id| !id.is_empty()).map(Cow::into_owned);
        }
        if let Some(usage) = chunk.usage.filter(Value::is_object) {
            self.usage = usage_of(&usage);
        }
        let Some(choice) = chunk.choices.and_then(|choices| choices.into_iter().next()) else {
            return Ok(());
        };
        if let Some(usage) = choice.usage.filter(Value::is_object) {
            self.usage = usage_of(&usage);
        }
        if let Some(reason) = choice.finish_reason {
            self.finish = Some(reason.into_owned());
        }
        if let Some(delta) = choice.delta {
            self.on_delta(delta, out);
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut VecDeque<Part>) -> Result<(), ProviderError> {
        if self.finish.is_none() && !self.done {
            return Err(classify::cut_short());
        }
        self.sign(out);
        let had_calls = !self.calls.is_empty();
        for call in self.calls.drain(..) {
            out.push_back(Part::ToolCall {
                id: if call.id.is_empty() { format!("call_{}", id::uuid()) } else { call.id },
                arguments: providers::tool_arguments(call.arguments),
                name: call.name,
            });
        }
        let stop = match self.finish.as_deref() {
            Some("tool_calls" | "function_call") => Stop::ToolUse,
            Some("stop" | "end") | None if had_calls => Stop::ToolUse,
            Some("stop" | "end" | "eos") | None => Stop::Stop,
            Some("length") => Stop::Length,
            Some(other) => {
                return Err(classify::stream_error(
                    &json!({"message": format!("Provider finish_reason: {other}")}),
                ));
            }
        };
        let response_id = self.response_id.take();
        out.push_back(Part::Done { stop, usage: self.usage, response_id });
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.done
    }
}

impl Reader {
    fn on_delta(&mut self, delta: Delta<'_>, out: &mut VecDeque<Part>) {
        let thinking = [
            ("reasoning_content", delta.reasoning_content),
            ("reasoning", delta.reasoning),
            ("reasoning_text", delta.reasoning_text),
        ];
        // Some servers fill two fields with the same words.
        let thinking = thinking
            .into_iter()
            .find_map(|(field, text)| Some((field, text.filter(|text| !text.is_empty())?)));
        if let Some((field, text)) = thinking {
            self.thinking_field.get_or_insert(field);
            out.push_back(Part::Thinking(text.into_owned()));
        }
        let content = match delta.content {
            Some(Content::Words(text)) => Some(text),
            Some(Content::Blocks(blocks)) => {
                for block in &blocks {
                    self.on_block(block, out);
                }
                None
            }
            None => None,
        };
        for text in [content, delta.refusal].into_iter().flatten() {
            self.say(&text, out);
        }
        for call in delta.tool_calls.into_iter().flatten() {
            self.on_call(call);
        }
    }

    fn on_block(&mut self, block: &Value, out: &mut VecDeque<Part>) {
        if block["type"] != "thinking" {
            return self.say(block["text"].as_str().unwrap_or_default(), out);
        }
        let inner = block["thinking"].as_array().into_iter().flatten();
        let thinking: String = inner.filter_map(|part| part["text"].as_str()).collect();
        if !thinking.is_empty() {
            out.push_back(Part::Thinking(thinking));
        }
    }

    fn say(&mut self, text: &str, out: &mut VecDeque<Part>) {
        if !text.is_empty() {
            self.sign(out);
            out.push_back(Part::Text(text.to_owned()));
        }
    }

    fn on_call(&mut self, delta: CallDelta) {
        let known = match (delta.index, &delta.id) {
            (Some(index), _) => self.calls.iter().rposition(|call| call.index == index),
            // Without an index, a fresh id opens a call and anything else goes on.
            (None, Some(id)) if !id.is_empty() => {
                self.calls.iter().rposition(|call| call.id == *id)
            }
            (None, _) => self.calls.len().checked_sub(1),
        };
        let at = known.unwrap_or_else(|| {
            let index = delta.index.unwrap_or(self.calls.len() as u64);
            self.calls.push(PendingCall { index, ..PendingCall::default() });
            self.calls.len() - 1
        });
        let call = &mut self.calls[at];
        if let Some(id) = delta.id.filter(|id| !id.is_empty()) {
            call.id = id;
        }
        if let Some(function) = delta.function {
            if let Some(name) = function.name.filter(|name| !name.is_empty()) {
                call.name = name;
            }
            match function.arguments {
                Some(Value::String(piece)) => call.arguments.push_str(&piece),
                Some(Value::Null) | None => {}
                Some(whole) => call.arguments = whole.to_string(),
            }
        }
    }

    /// Closes the thinking with the name of its field.
    fn sign(&mut self, out: &mut VecDeque<Part>) {
        if let (Some(field), false) = (self.thinking_field, self.signed) {
            self.signed = true;
            out.push_back(Part::ThinkingSignature(field.to_owned()));
        }
    }
}

fn usage_of(usage: &Value) -> Usage {
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let prompt = number(&usage["prompt_tokens"]);
    let output = number(&usage["completion_tokens"]);
    let cached = number(&usage["prompt_tokens_details"]["cached_tokens"]);
    Usage {
        input: prompt.saturating_sub(cached),
        output,
        cache_read: cached,
        cache_write: 0,
        total_tokens: usage["total_tokens"].as_u64().unwrap_or(prompt.saturating_add(output)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(chunks: &[&str]) -> Result<Vec<Part>, ProviderError> {
        let mut reader = Reader::default();
        let mut out = VecDeque::new();
        for chunk in chunks {
            let event = Event { name: String::new(), data: (*chunk).to_owned() };
            reader.on_event(&event, &mut out)?;
        }
        reader.finish(&mut out)?;
        Ok(out.into())
    }

    #[test]
    fn text_thinking_and_usage_arrive_in_order() {
        let parts = read(&[
            r#"{"id":"chatcmpl-1","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#,
            r#"{"id":"chatcmpl-1","choices":[{"delta":{"reasoning_content":"Let me"}}]}"#,
            r#"{"id":"chatcmpl-1","choices":[{"delta":{"content":"Hi \ud83e\udd9e"}}]}"#,
            r#"{"id":"chatcmpl-1","choices":[{"delta":{},"finish_reason":"stop"}]}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":1200,"completion_tokens":7,"total_tokens":1207,"prompt_tokens_details":{"cached_tokens":200}}}"#,
            "[DONE]",
        ])
        .unwrap();
        let usage =
            Usage { input: 1000, output: 7, cache_read: 200, cache_write: 0, total_tokens: 1207 };
        assert_eq!(
            parts,
            [
                Part::Thinking("Let me".into()),
                Part::ThinkingSignature("reasoning_content".into()),
                Part::Text("Hi 🦞".into()),
                Part::Done { stop: Stop::Stop, usage, response_id: Some("chatcmpl-1".into()) },
            ]
        );
    }

    #[test]
    fn parallel_calls_are_put_together_from_their_pieces() {
        let parts = read(&[
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"call_a","function":{"name":"read","arguments":""}}]}}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[{"index":1,"id":"call_b","function":{"name":"exec","arguments":"{}"}}]}}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"path\":"}}]}}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"\"a\"}"}}]}}]}"#,
            r#"{"choices":[{"delta":{},"finish_reason":"tool_calls"}]}"#,
        ])
        .unwrap();
        assert_eq!(
            parts[..2],
            [
                Part::ToolCall {
                    id: "call_a".into(),
                    name: "read".into(),
                    arguments: json!({"path":"a"})
                },
                Part::ToolCall { id: "call_b".into(), name: "exec".into(), arguments: json!({}) },
            ]
        );
        assert!(matches!(parts[2], Part::Done { stop: Stop::ToolUse, .. }));
    }

    #[test]
    fn blocks_and_whole_messages_are_read_as_well() {
        let parts = read(&[
            r#"{"choices":[{"delta":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]}]}}]}"#,
            r#"{"choices":[{"delta":{"content":[{"type":"text","text":"Hi"}]},"finish_reason":"stop"}]}"#,
        ])
        .unwrap();
        assert_eq!(parts[..2], [Part::Thinking("hm".into()), Part::Text("Hi".into())]);
        let parts = read(&[
            r#"{"choices":[{"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]}"#,
        ])
        .unwrap();
        assert_eq!(parts[0], Part::Text("Hi".into()));
    }

    #[test]
    fn a_stream_that_just_ends_is_an_error() {
        let error = read(&[r#"{"choices":[{"delta":{"content":"partial"}}]}"#]).unwrap_err();
        assert_eq!(error.reason.as_str(), "timeout");
    }

    #[test]
    fn an_error_in_mid_stream_is_reported() {
        let error = read(&[r#"{"error":{"message":"Rate limit exceeded"}}"#]).unwrap_err();
        assert_eq!(error.reason.as_str(), "rate_limit");
    }
}
