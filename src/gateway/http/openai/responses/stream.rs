//! A response as server-sent events, in the order that SDK helpers rely on.

use std::collections::VecDeque;
use std::convert::Infallible;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use serde_json::{Value, json};

use crate::agents::RunOutcome;
use crate::gateway::http::openai::responses::resource::{self, Head};
use crate::gateway::http::openai::run::{self, ClientRun, Next};
use crate::gateway::http::reply::{self, Answer};

/// The answer; its body starts at once and follows the run.
pub(super) fn answer(run: ClientRun, head: Head) -> Answer {
    let mut writer = Writer { head, sequence: 0, said: String::new(), ready: VecDeque::new() };
    writer.open();
    let state = (Some(run), writer);
    let events = stream::unfold(state, |(mut run, mut writer)| async move {
        loop {
            if let Some(event) = writer.ready.pop_front() {
                return Some((Ok::<Bytes, Infallible>(event), (run, writer)));
            }
            match run.as_mut()?.next().await {
                Next::Words(words) => writer.words(&words),
                Next::End(outcome) => {
                    run = None;
                    writer.end(&outcome);
                }
            }
        }
    });
    reply::event_stream(Body::from_stream(events))
}

struct Writer {
    head: Head,
    sequence: u64,
    said: String,
    ready: VecDeque<Bytes>,
}

impl Writer {
    fn event(&mut self, kind: &str, mut body: Value) {
        body["type"] = json!(kind);
        body["sequence_number"] = json!(self.sequence);
        self.sequence += 1;
        self.ready.push_back(Bytes::from(format!("event: {kind}\ndata: {body}\n\n")));
    }

    fn open(&mut self) {
        let response = self.head.in_progress();
        self.event("response.created", json!({"response": response.clone()}));
        self.event("response.in_progress", json!({"response": response}));
        // Helpers fill the item themselves; a part in it confuses them.
        let item = self.head.message("in_progress", None);
        self.event("response.output_item.added", json!({"output_index": 0, "item": item}));
        let place = self.place();
        self.event("response.content_part.added", with(place, "part", resource::part("")));
    }

    fn place(&self) -> Value {
        json!({"item_id": self.head.message_id, "output_index": 0, "content_index": 0})
    }

    fn words(&mut self, words: &str) {
        self.said.push_str(words);
        let place = self.place();
        self.event("response.output_text.delta", with(place, "delta", json!(words)));
    }

    fn end(&mut self, outcome: &RunOutcome) {
        if let Some((_, message, kind)) = run::failure(outcome) {
            tracing::warn!(error = message, "openresponses: streaming response failed");
            let response = self.head.failed(kind, &message);
            self.event("response.failed", json!({"response": response}));
            self.done();
            return;
        }
        let said = std::mem::take(&mut self.said);
        let text = if said.is_empty() { resource::text_of(outcome).to_owned() } else { said };
        let place = self.place();
        self.event("response.output_text.done", with(place.clone(), "text", json!(text)));
        self.event("response.content_part.done", with(place, "part", resource::part(&text)));
        let item = self.head.message("completed", Some(&text));
        self.event("response.output_item.done", json!({"output_index": 0, "item": item}));
        let calls = resource::items(outcome);
        for (at, call) in calls.iter().enumerate() {
            self.call(at + 1, call);
        }
        let response = self.head.with_items(outcome, calls);
        let kind = match response["status"].as_str() {
            Some("incomplete") => "response.incomplete",
            _ => "response.completed",
        };
        self.event(kind, json!({"response": response}));
        self.done();
    }

    fn call(&mut self, index: usize, call: &Value) {
        let mut opening = call.clone();
        opening["arguments"] = json!("");
        opening["status"] = json!("in_progress");
        self.event("response.output_item.added", json!({"output_index": index, "item": opening}));
        let place = json!({"item_id": call["id"], "output_index": index});
        let arguments = &call["arguments"];
        self.event(
            "response.function_call_arguments.delta",
            with(place.clone(), "delta", arguments.clone()),
        );
        self.event(
            "response.function_call_arguments.done",
            with(place, "arguments", arguments.clone()),
        );
        let mut whole = call.clone();
        whole["status"] = json!("completed");
        self.event("response.output_item.done", json!({"output_index": index, "item": whole}));
    }

    fn done(&mut self) {
        self.ready.push_back(Bytes::from_static(b"data: [DONE]\n\n"));
    }
}

fn with(mut place: Value, key: &str, value: Value) -> Value {
    place[key] = value;
    place
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::run::ClientToolCall;

    fn kinds(writer: &mut Writer) -> Vec<String> {
        let take = |event: Bytes| {
            let text = String::from_utf8(event.to_vec()).unwrap();
            let first = text.lines().next().unwrap();
            first.strip_prefix("event: response.").unwrap_or(first).to_owned()
        };
        writer.ready.drain(..).map(take).collect()
    }

    fn writer() -> Writer {
        let head = Head {
            id: "resp_1".into(),
            message_id: "msg_1".into(),
            created_at: 1,
            model: "openclaw".into(),
        };
        let mut writer = Writer { head, sequence: 0, said: String::new(), ready: VecDeque::new() };
        writer.open();
        writer
    }

    #[test]
    fn events_come_in_the_recorded_order() {
        let mut writer = writer();
        writer.words("hi");
        writer.end(&RunOutcome::default());
        assert_eq!(
            kinds(&mut writer),
            [
                "created",
                "in_progress",
                "output_item.added",
                "content_part.added",
                "output_text.delta",
                "output_text.done",
                "content_part.done",
                "output_item.done",
                "completed",
                "data: [DONE]"
            ]
        );
    }

    #[test]
    fn a_call_of_a_client_tool_is_an_item_of_its_own() {
        let mut writer = writer();
        let call = ClientToolCall { id: "c1".into(), name: "f".into(), arguments: json!({"a":1}) };
        let outcome = RunOutcome { tool_calls: vec![call], ..RunOutcome::default() };
        writer.end(&outcome);
        let last = kinds(&mut writer);
        assert!(last.contains(&"function_call_arguments.done".to_owned()));
        assert_eq!(last[last.len() - 2], "completed");
    }
}
