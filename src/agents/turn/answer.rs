//! One answer of a model, put together from its parts. Pure.

use serde_json::Value;
use serde_json::json;

use crate::agents::prompt::visible_text;
use crate::agents::providers::Part;
use crate::agents::providers::Stop;
use crate::agents::providers::ToolSpec;
use crate::agents::run::Usage;

/// A call the model asks for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) arguments: Value,
}

/// What the listeners are told about a part.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    Nothing,
    /// Bytes of the visible text that are new, as a start index.
    Text {
        from: usize,
    },
    Thinking {
        from: usize,
    },
}

/// The answer so far.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// Blocks in transcript form, in the order of arrival.
    pub(crate) blocks: Vec<Value>,
    pub(crate) calls: Vec<Call>,
    text: String,
    thinking: String,
    shown: usize,
    pub(crate) stop: Option<Stop>,
    pub(crate) usage: Usage,
    pub(crate) response_id: Option<String>,
}

impl Answer {
    /// The raw text of all text blocks.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn thinking(&self) -> &str {
        &self.thinking
    }

    /// What people see of the text.
    pub(crate) fn visible(&self) -> &str {
        visible_text(&self.text)
    }

    /// The visible text of a finished answer: nothing is held back any more,
    /// except a reply that asks for silence.
    pub(crate) fn final_text(&self) -> &str {
        let text = crate::agents::prompt::strip_reply_tag(&self.text).trim();
        if crate::agents::prompt::is_silent(text) { "" } else { text }
    }

    /// Takes a part in.
    pub(crate) fn push(&mut self, part: Part) -> Shown {
        match part {
            Part::Text(text) => {
                self.text.push_str(&text);
                self.extend("text", "text", &text);
                let visible = visible_text(&self.text).len();
                if visible > self.shown {
                    let from = self.shown;
                    self.shown = visible;
                    return Shown::Text { from };
                }
            }
            Part::Thinking(text) => {
                let from = self.thinking.len();
                self.thinking.push_str(&text);
                self.extend("thinking", "thinking", &text);
                return Shown::Thinking { from };
            }
            Part::ThinkingSignature(signature) => self.sign(&signature),
            Part::ToolCall { id, name, arguments } => {
                self.blocks.push(json!({
                    "type": "toolCall", "id": id, "name": name, "arguments": arguments,
                }));
                self.calls.push(Call { id, name, arguments });
            }
            Part::Done { stop, usage, response_id } => {
                self.stop = Some(stop);
                self.usage = usage;
                self.response_id = response_id;
            }
        }
        Shown::Nothing
    }

    /// Appends to the last block if it is of that kind, else begins one.
    fn extend(&mut self, kind: &str, field: &str, text: &str) {
        if let Some(last) = self.blocks.last_mut().filter(|block| block["type"] == kind)
            && last.get(signature_field(kind)).is_none()
            && let Some(Value::String(existing)) = last.get_mut(field)
        {
            existing.push_str(text);
            return;
        }
        self.blocks.push(json!({"type": kind, field: text}));
    }

    /// Signs the block before; a signature without a block stands for thinking
    /// that the provider keeps to itself.
    fn sign(&mut self, signature: &str) {
        match self.blocks.last_mut() {
            Some(last) => {
                let field = signature_field(last["type"].as_str().unwrap_or_default());
                last[field] = signature.into();
            }
            None => self.blocks.push(json!({
                "type": "thinking", "thinking": "", "thinkingSignature": signature,
            })),
        }
    }

    /// Gives calls the names of `tools` that they mean: models add blanks,
    /// capitals and prefixes.
    pub(crate) fn correct_names(&mut self, tools: &[ToolSpec]) {
        let blocks = self.blocks.iter_mut().filter(|block| block["type"] == "toolCall");
        for (call, block) in self.calls.iter_mut().zip(blocks) {
            if let Some(name) = meant(&call.name, tools) {
                name.clone_into(&mut call.name);
                block["name"] = name.into();
            }
        }
    }

    /// What is worth keeping of an answer that was cut off: text and finished
    /// thinking, no calls.
    pub(crate) fn partial_blocks(&self) -> Vec<Value> {
        self.blocks.iter().filter(|block| block["type"] == "text").cloned().collect()
    }
}

/// The tool that a wrong name stands for.
fn meant<'a>(name: &str, tools: &'a [ToolSpec]) -> Option<&'a str> {
    let named = |name: &str| tools.iter().map(|tool| tool.name.as_str()).find(|tool| *tool == name);
    if named(name).is_some() {
        return None;
    }
    let name = name.trim();
    let last = name.rsplit(['.', '/', ':']).next().unwrap_or_default();
    let alike = |name: &str| {
        tools.iter().map(|tool| tool.name.as_str()).find(|tool| tool.eq_ignore_ascii_case(name))
    };
    named(name).or_else(|| alike(name)).or_else(|| alike(last))
}

fn signature_field(kind: &str) -> &'static str {
    match kind {
        "thinking" => "thinkingSignature",
        "toolCall" => "thoughtSignature",
        _ => "textSignature",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_become_blocks_in_order() {
        let mut answer = Answer::default();
        answer.push(Part::Thinking("hm".into()));
        answer.push(Part::Thinking("m".into()));
        answer.push(Part::ThinkingSignature("sig".into()));
        answer.push(Part::Text("a".into()));
        answer.push(Part::Text("b".into()));
        let call = Part::ToolCall { id: "1".into(), name: "read".into(), arguments: json!({}) };
        answer.push(call);
        answer.push(Part::ThinkingSignature("tool-sig".into()));
        answer.push(Part::Text("c".into()));
        assert_eq!(
            Value::from(answer.blocks.clone()),
            json!([
                {"type": "thinking", "thinking": "hmm", "thinkingSignature": "sig"},
                {"type": "text", "text": "ab"},
                {"type": "toolCall", "id": "1", "name": "read", "arguments": {}, "thoughtSignature": "tool-sig"},
                {"type": "text", "text": "c"}
            ])
        );
        assert_eq!(answer.text(), "abc");
    }

    #[test]
    fn a_call_means_the_tool_whose_name_it_nearly_says() {
        let tool = |name: &str| ToolSpec {
            name: name.to_owned(),
            description: String::new(),
            parameters: json!({}),
        };
        let tools = [tool("read"), tool("web_fetch")];
        let cases = [
            ("read", "read"),
            (" Read", "read"),
            ("functions.read", "read"),
            ("default_api:WEB_FETCH", "web_fetch"),
            ("rm", "rm"),
            ("", ""),
        ];
        for (said, meant) in cases {
            let mut answer = Answer::default();
            answer.push(Part::Text("x".into()));
            let call = Part::ToolCall { id: "1".into(), name: said.into(), arguments: json!({}) };
            answer.push(call);
            answer.correct_names(&tools);
            assert_eq!((&*answer.calls[0].name, &answer.blocks[1]["name"]), (meant, &json!(meant)));
        }
    }

    #[test]
    fn only_visible_text_is_shown_and_each_byte_once() {
        let mut answer = Answer::default();
        assert_eq!(answer.push(Part::Text("Hello ".into())), Shown::Text { from: 0 });
        assert_eq!(answer.visible(), "Hello");
        assert_eq!(answer.push(Part::Text("\n".into())), Shown::Nothing);
        assert_eq!(answer.push(Part::Text("x".into())), Shown::Text { from: 5 });
        let mut silent = Answer::default();
        for piece in ["NO", "_REP", "LY"] {
            assert_eq!(silent.push(Part::Text(piece.into())), Shown::Nothing);
        }
        assert_eq!(silent.final_text(), "");
        let mut short = Answer::default();
        assert_eq!(short.push(Part::Text("NO".into())), Shown::Nothing);
        assert_eq!(short.final_text(), "NO");
    }
}
