//! A chat answer as server-sent events: role, words, finish, usage, `[DONE]`.

use std::collections::VecDeque;
use std::convert::Infallible;

use axum::body::Body;
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream;
use serde_json::{Value, json};

use crate::agents::RunOutcome;
use crate::gateway::http::openai::chat::{self, Head};
use crate::gateway::http::openai::run::{self, ClientRun, Next};
use crate::gateway::http::reply::{self, Answer};

const DONE: &[u8] = b"data: [DONE]\n\n";

/// The answer; its body starts at once and follows the run.
pub(super) fn answer(run: ClientRun, head: &Head, include_usage: bool) -> Answer {
    let writer = Writer::new(head, include_usage);
    let first = writer.delta(&json!({"role": "assistant"}));
    let state = Streaming { run: Some(run), writer, ready: VecDeque::from([first]) };
    let chunks = stream::unfold(state, |mut state| async move {
        let chunk = state.next().await?;
        Some((Ok::<Bytes, Infallible>(chunk), state))
    });
    reply::event_stream(Body::from_stream(chunks))
}

struct Streaming {
    /// Gone once the run has ended; dropping it before aborts the run.
    run: Option<ClientRun>,
    writer: Writer,
    ready: VecDeque<Bytes>,
}

impl Streaming {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(chunk) = self.ready.pop_front() {
            return Some(chunk);
        }
        match self.run.as_mut()?.next().await {
            Next::Words(words) => Some(self.writer.words(&words)),
            Next::End(outcome) => {
                self.run = None;
                Some(self.writer.end(&outcome))
            }
        }
    }
}

/// Writes chunks; what they share is rendered once.
struct Writer {
    /// `data: {…,"choices":[{"index":0,"delta":`
    opening: Vec<u8>,
    /// `{"id":…,"model":…` without the closing brace.
    head: String,
    include_usage: bool,
    said: bool,
}

impl Writer {
    fn new(head: &Head, include_usage: bool) -> Self {
        let shared = json!({"id": head.id, "object": "chat.completion.chunk",
            "created": head.created, "model": head.model});
        let mut shared = shared.to_string();
        shared.pop();
        let opening = format!("data: {shared},\"choices\":[{{\"index\":0,\"delta\":");
        Self { opening: opening.into_bytes(), head: shared, include_usage, said: false }
    }

    fn chunk(&self, delta: impl FnOnce(&mut BytesMut), finish: &str, room: usize) -> Bytes {
        let mut out = BytesMut::with_capacity(self.opening.len() + room + 64);
        out.put_slice(&self.opening);
        delta(&mut out);
        out.put_slice(b",\"finish_reason\":");
        out.put_slice(finish.as_bytes());
        out.put_slice(b"}]}\n\n");
        out.freeze()
    }

    fn delta(&self, delta: &Value) -> Bytes {
        let text = delta.to_string();
        self.chunk(|out| out.put_slice(text.as_bytes()), "null", text.len())
    }

    fn words(&mut self, words: &str) -> Bytes {
        self.said = true;
        let write = |out: &mut BytesMut| {
            out.put_slice(b"{\"content\":");
            let mut out = out.writer();
            // Writing to memory cannot fail.
            serde_json::to_writer(&mut out, words).unwrap_or_default();
            out.get_mut().put_slice(b"}");
        };
        self.chunk(write, "null", words.len() + words.len() / 8)
    }

    /// Everything after the last word.
    fn end(&mut self, outcome: &RunOutcome) -> Bytes {
        let mut out = BytesMut::new();
        if let Some((_, message, kind)) = run::failure(outcome) {
            tracing::warn!(error = message, "openai-compat: streaming chat completion failed");
            let error = json!({"error": {"message": message, "type": kind}});
            out.put_slice(format!("data: {error}\n\n").as_bytes());
            out.put_slice(DONE);
            return out.freeze();
        }
        if !self.said && outcome.tool_calls.is_empty() {
            // A reply that was not streamed, or none at all.
            let text = outcome.text.trim();
            let text = if text.is_empty() { run::EMPTY_REPLY } else { text };
            let chunk = self.words(text);
            out.put_slice(&chunk);
        }
        for (index, call) in chat::tool_calls(outcome).into_iter().enumerate() {
            let arguments = call["function"]["arguments"].clone();
            let mut opening = call;
            opening["function"]["arguments"] = json!("");
            let mut opened = json!({"index": index});
            if let (Some(target), Value::Object(fields)) = (opened.as_object_mut(), opening) {
                target.extend(fields);
            }
            out.put_slice(&self.delta(&json!({"tool_calls": [opened]})));
            let rest = json!({"index": index, "function": {"arguments": arguments}});
            out.put_slice(&self.delta(&json!({"tool_calls": [rest]})));
        }
        let finish = format!("\"{}\"", chat::finish_reason(outcome));
        out.put_slice(&self.chunk(|out| out.put_slice(b"{}"), &finish, 32));
        if self.include_usage {
            let usage = chat::usage(outcome);
            let line = format!("data: {},\"choices\":[],\"usage\":{usage}}}\n\n", self.head);
            out.put_slice(line.as_bytes());
        }
        out.put_slice(DONE);
        out.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::run::{RunStatus, Usage};

    fn writer(include_usage: bool) -> Writer {
        let head = Head { id: "chatcmpl_1".into(), created: 7, model: "openclaw".into() };
        Writer::new(&head, include_usage)
    }

    fn chunks(bytes: &[u8]) -> Vec<Value> {
        let text = std::str::from_utf8(bytes).unwrap();
        text.split_terminator("\n\n")
            .map(|event| event.strip_prefix("data: ").unwrap())
            .map(|data| serde_json::from_str(data).unwrap_or_else(|_| json!(data)))
            .collect()
    }

    #[test]
    fn words_keep_every_character() {
        let chunk = chunks(&writer(false).words("a\"\n🦞"));
        assert_eq!(
            chunk,
            [
                json!({"id":"chatcmpl_1","object":"chat.completion.chunk","created":7,"model":"openclaw",
                "choices":[{"index":0,"delta":{"content":"a\"\n🦞"},"finish_reason":null}]})
            ]
        );
    }

    #[test]
    fn the_end_has_finish_usage_and_done() {
        let usage = Usage { input: 8, output: 7, cache_read: 3, ..Usage::default() };
        let outcome = RunOutcome { usage, ..RunOutcome::default() };
        let mut writer = writer(true);
        writer.words("x");
        let end = chunks(&writer.end(&outcome));
        assert_eq!(end[0]["choices"][0]["finish_reason"], "stop");
        assert_eq!(end[1]["choices"], json!([]));
        assert_eq!(end[1]["usage"]["total_tokens"], 18);
        assert_eq!(end[2], "[DONE]");
    }

    #[test]
    fn an_empty_reply_still_says_something() {
        let end = chunks(&writer(false).end(&RunOutcome::default()));
        assert_eq!(end[0]["choices"][0]["delta"]["content"], run::EMPTY_REPLY);
        assert_eq!(end.len(), 3);
    }

    #[test]
    fn a_failure_is_one_error_and_done() {
        let outcome = RunOutcome {
            status: RunStatus::Error,
            error: Some("HTTP 400: no".into()),
            failure: Some(crate::agents::providers::FailReason::Format),
            ..RunOutcome::default()
        };
        let end = chunks(&writer(false).end(&outcome));
        assert_eq!(
            end,
            [
                json!({"error":{"message":"HTTP 400: no","type":"invalid_request_error"}}),
                json!("[DONE]")
            ]
        );
    }
}
