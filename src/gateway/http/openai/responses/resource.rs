//! The response object.

use serde_json::{Value, json};

use crate::agents::RunOutcome;
use crate::base::id;
use crate::gateway::http::openai::run;

/// What all shapes of one response share.
#[derive(Debug)]
pub(super) struct Head {
    pub id: String,
    pub message_id: String,
    /// Seconds since the Unix epoch.
    pub created_at: u64,
    pub model: String,
}

impl Head {
    fn object(&self, status: &str, output: &[Value], usage: &Value) -> Value {
        json!({"id": self.id, "object": "response", "created_at": self.created_at,
            "status": status, "model": self.model, "output": output, "usage": usage})
    }

    pub(super) fn in_progress(&self) -> Value {
        self.object("in_progress", &[], &no_usage())
    }

    pub(super) fn failed(&self, kind: &str, message: &str) -> Value {
        let mut object = self.object("failed", &[], &no_usage());
        object["error"] = json!({"code": kind, "message": message});
        object
    }

    /// The message item; `status` is `in_progress` or `completed`.
    pub(super) fn message(&self, status: &str, text: Option<&str>) -> Value {
        let content = match text {
            Some(text) => json!([part(text)]),
            None => json!([]),
        };
        json!({"type": "message", "id": self.message_id, "role": "assistant",
            "content": content, "status": status})
    }

    /// The whole response of a run that ended well.
    pub(super) fn finished(&self, outcome: &RunOutcome) -> Value {
        self.with_items(outcome, items(outcome))
    }

    /// As [`Head::finished`], with function calls that were announced before.
    pub(super) fn with_items(&self, outcome: &RunOutcome, calls: Vec<Value>) -> Value {
        let mut output = Vec::new();
        if calls.is_empty() || !outcome.text.trim().is_empty() {
            output.push(self.message("completed", Some(text_of(outcome))));
        }
        output.extend(calls);
        let cut = outcome.stop_reason.as_deref() == Some("length");
        let status = if cut { "incomplete" } else { "completed" };
        let mut object = self.object(status, &output, &usage(outcome));
        if cut {
            object["incomplete_details"] = json!({"reason": "max_output_tokens"});
        }
        object
    }
}

/// What the client reads.
pub(super) fn text_of(outcome: &RunOutcome) -> &str {
    match outcome.text.trim() {
        "" if outcome.tool_calls.is_empty() => run::EMPTY_REPLY,
        _ => outcome.text.as_str(),
    }
}

pub(super) fn part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": []})
}

/// One item per call of a client tool.
pub(super) fn items(outcome: &RunOutcome) -> Vec<Value> {
    let calls = outcome.tool_calls.iter().map(|call| {
        json!({"type": "function_call", "id": format!("call_{}", id::uuid()),
            "call_id": call.id, "name": call.name, "arguments": call.arguments.to_string()})
    });
    calls.collect()
}

fn no_usage() -> Value {
    json!({"input_tokens": 0, "output_tokens": 0, "total_tokens": 0})
}

fn usage(outcome: &RunOutcome) -> Value {
    let usage = &outcome.usage;
    let input = usage.input + usage.cache_read + usage.cache_write;
    json!({"input_tokens": input, "output_tokens": usage.output,
        "total_tokens": input + usage.output,
        "input_tokens_details": {"cached_tokens": usage.cache_read},
        "output_tokens_details": {"reasoning_tokens": 0}})
}
