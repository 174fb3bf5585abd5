//! A stored conversation as a model may see it again.
//!
//! Borrowed from the transcript, in an order and pairing that every API
//! accepts: each tool call has exactly one result, failed answers are left
//! out, thinking goes back only to the model that thought it.

use std::borrow::Cow;
use std::collections::HashSet;

use serde_json::Value;

use crate::agents::providers::ModelRef;

/// Result of a call whose outcome was never recorded.
const NO_RESULT: &str = "No result was recorded for this call.";
/// Stands for an image that the model cannot see.
const UNSEEN_IMAGE: &str = "[an image this model cannot see]";

/// One message of the conversation.
#[derive(Debug, Clone, PartialEq)]
pub enum Turn<'a> {
    User(Vec<Content<'a>>),
    Assistant(Vec<Block<'a>>),
    ToolResult(ToolResult<'a>),
}

/// What a user or a tool said.
#[derive(Debug, Clone, PartialEq)]
pub enum Content<'a> {
    Text(&'a str),
    Image { mime_type: &'a str, data: &'a str },
}

/// What the model said.
#[derive(Debug, Clone, PartialEq)]
pub enum Block<'a> {
    Text {
        text: &'a str,
        signature: Option<&'a str>,
    },
    Thinking {
        text: &'a str,
        signature: &'a str,
    },
    ToolCall {
        /// As the API may see it: letters and digits alone.
        id: String,
        name: Cow<'a, str>,
        arguments: &'a Value,
        signature: Option<&'a str>,
    },
}

/// The outcome of a tool call.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolResult<'a> {
    pub id: String,
    pub name: Cow<'a, str>,
    pub content: Vec<Content<'a>>,
    pub is_error: bool,
}

impl<'a> ToolResult<'a> {
    /// All text, joined by line breaks.
    pub fn text(&self) -> Cow<'a, str> {
        joined(&self.content)
    }

    pub fn images(&self) -> impl Iterator<Item = &Content<'a>> {
        self.content.iter().filter(|content| matches!(content, Content::Image { .. }))
    }
}

/// All text of `content`, joined by line breaks.
pub fn joined<'a>(content: &[Content<'a>]) -> Cow<'a, str> {
    let mut texts = content.iter().filter_map(|content| match content {
        Content::Text(text) => Some(*text),
        Content::Image { .. } => None,
    });
    match (texts.next(), texts.next()) {
        (None, _) => Cow::Borrowed(""),
        (Some(one), None) => Cow::Borrowed(one),
        (Some(first), Some(second)) => {
            let mut all = vec![first, second];
            all.extend(texts);
            Cow::Owned(all.join("\n"))
        }
    }
}

/// The conversation for `model`.
pub fn turns<'a>(messages: &'a [Value], model: &ModelRef) -> Vec<Turn<'a>> {
    let sees_images = model.input.iter().any(|kind| kind == "image");
    let mut turns = Vec::with_capacity(messages.len());
    // Calls that wait for their result, in order.
    let mut open: Vec<Open<'_>> = Vec::new();
    let mut ids = Ids::for_model(model);
    for message in messages {
        match message["role"].as_str() {
            Some("user") => {
                close(&mut turns, &mut open);
                let content = contents(&message["content"], sees_images);
                if !content.is_empty() {
                    turns.push(Turn::User(content));
                }
            }
            Some("assistant") => {
                let own = is_own(message, model);
                let mut blocks = blocks(message, own);
                if !blocks.is_empty() {
                    close(&mut turns, &mut open);
                    for block in &mut blocks {
                        if let Block::ToolCall { id, name, .. } = block {
                            let stored = std::mem::take(id);
                            *id = ids.fresh(&stored);
                            open.push(Open { stored, id: id.clone(), name: name.clone() });
                        }
                    }
                    turns.push(Turn::Assistant(blocks));
                }
            }
            Some("toolResult") => {
                let answered = message["toolCallId"].as_str().unwrap_or_default();
                if let Some(at) = open.iter().position(|call| call.stored == answered) {
                    let Open { id, name, .. } = open.remove(at);
                    turns.push(Turn::ToolResult(ToolResult {
                        id,
                        name,
                        content: contents(&message["content"], sees_images),
                        is_error: message["isError"].as_bool().unwrap_or(false),
                    }));
                }
            }
            _ => {}
        }
    }
    close(&mut turns, &mut open);
    turns
}

/// A call that waits for its result.
struct Open<'a> {
    stored: String,
    id: String,
    name: Cow<'a, str>,
}

/// The ids of one conversation's calls, as an API may see them: letters and
/// digits alone, not too long, none twice. Models on one's own machine number
/// the calls of each answer anew.
struct Ids {
    used: HashSet<String>,
    longest: usize,
    /// Every id has to be that long.
    exact: bool,
}

impl Ids {
    fn for_model(model: &ModelRef) -> Self {
        let exact = model.provider == "mistral" || model.base_url.contains("api.mistral.ai");
        Self { used: HashSet::new(), longest: if exact { 9 } else { 40 }, exact }
    }

    /// The part after `|`, which names an item of the Responses API, is dropped.
    fn fresh(&mut self, stored: &str) -> String {
        let stored = stored.split('|').next().unwrap_or_default();
        let mut id: String = stored.chars().filter(char::is_ascii_alphanumeric).collect();
        id.truncate(self.longest);
        if id.is_empty() {
            id.push_str("call");
        }
        if self.exact {
            id = format!("{id:0<width$}", width = self.longest);
        }
        let stem = id.clone();
        let mut again = 1_u64;
        while !self.used.insert(id.clone()) {
            again += 1;
            let mark = format!("x{again}");
            id.clone_from(&stem);
            id.truncate(self.longest - mark.len());
            id.push_str(&mark);
        }
        id
    }
}

/// A tool's name as APIs accept it; one that a model made up could spoil every
/// later turn.
fn tool_name(name: &str) -> Cow<'_, str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if (1..=64).contains(&name.len()) && name.chars().all(fits) {
        return Cow::Borrowed(name);
    }
    let mut fitting: String = name.trim().chars().map(|c| if fits(c) { c } else { '_' }).collect();
    fitting.truncate(64);
    if fitting.is_empty() { Cow::Borrowed("unknown") } else { Cow::Owned(fitting) }
}

/// The arguments of a call as an object; what a model garbled becomes `{}`.
pub fn object(arguments: &Value) -> Cow<'_, Value> {
    if arguments.is_object() {
        Cow::Borrowed(arguments)
    } else {
        Cow::Owned(Value::Object(serde_json::Map::new()))
    }
}

fn close<'a>(turns: &mut Vec<Turn<'a>>, open: &mut Vec<Open<'a>>) {
    for Open { id, name, .. } in open.drain(..) {
        turns.push(Turn::ToolResult(ToolResult {
            id,
            name,
            content: vec![Content::Text(NO_RESULT)],
            is_error: true,
        }));
    }
}

fn is_own(message: &Value, model: &ModelRef) -> bool {
    message["provider"] == model.provider.as_str() && message["model"] == model.id.as_str()
}

fn contents(content: &Value, sees_images: bool) -> Vec<Content<'_>> {
    if let Some(text) = content.as_str() {
        return if text.is_empty() { Vec::new() } else { vec![Content::Text(text)] };
    }
    let blocks = content.as_array().map(Vec::as_slice).unwrap_or_default();
    blocks
        .iter()
        .filter_map(|block| match block["type"].as_str()? {
            "text" => block["text"].as_str().filter(|text| !text.is_empty()).map(Content::Text),
            "image" if sees_images => Some(Content::Image {
                mime_type: block["mimeType"].as_str().unwrap_or("image/png"),
                data: block["data"].as_str()?,
            }),
            "image" => Some(Content::Text(UNSEEN_IMAGE)),
            _ => None,
        })
        .collect()
}

fn blocks(message: &Value, own: bool) -> Vec<Block<'_>> {
    let stop = message["stopReason"].as_str().unwrap_or_default();
    // A failed answer says nothing; of an aborted one only the words count.
    if stop == "error"
        || (message["provider"] == "openclaw" && message["model"] == "gateway-injected")
    {
        return Vec::new();
    }
    let whole = stop != "aborted";
    if let Some(text) = message["content"].as_str() {
        return if text.is_empty() {
            Vec::new()
        } else {
            vec![Block::Text { text, signature: None }]
        };
    }
    let content = message["content"].as_array().map(Vec::as_slice).unwrap_or_default();
    let blocks: Vec<Block<'_>> = content
        .iter()
        .filter_map(|block| match block["type"].as_str()? {
            "text" => {
                let text = block["text"].as_str().filter(|text| !text.trim().is_empty())?;
                let signature = block["textSignature"].as_str().filter(|_| own);
                Some(Block::Text { text, signature })
            }
            "thinking" if own && whole => Some(Block::Thinking {
                text: block["thinking"].as_str().unwrap_or_default(),
                signature: block["thinkingSignature"].as_str().unwrap_or_default(),
            }),
            "toolCall" if whole => Some(Block::ToolCall {
                id: block["id"].as_str()?.to_owned(),
                name: tool_name(block["name"].as_str()?),
                arguments: &block["arguments"],
                signature: block["thoughtSignature"].as_str().filter(|_| own),
            }),
            _ => None,
        })
        .collect();
    let says = blocks.iter().any(|block| !matches!(block, Block::Thinking { .. }));
    if says { blocks } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn model() -> ModelRef {
        ModelRef { provider: "fake".into(), id: "m".into(), ..ModelRef::default() }
    }

    #[test]
    fn a_call_without_result_gets_one_and_a_result_without_call_is_dropped() {
        let messages = [
            json!({"role":"user","content":"hi"}),
            json!({"role":"assistant","content":[{"type":"toolCall","id":"call_a-1|fc_9","name":"read","arguments":{}}]}),
            json!({"role":"toolResult","toolCallId":"other","toolName":"x","content":[]}),
            json!({"role":"user","content":"go on"}),
        ];
        let turns = turns(&messages, &model());
        assert_eq!(turns.len(), 4);
        let Turn::ToolResult(result) = &turns[2] else { panic!("{turns:?}") };
        assert_eq!((result.id.as_str(), &*result.name, result.is_error), ("calla1", "read", true));
    }

    #[test]
    fn ids_are_short_and_unique_and_names_are_names_whatever_a_model_said() {
        let call = |id: &str, name: &str| json!({"type": "toolCall", "id": id, "name": name, "arguments": {}});
        let result = |id: &str, text: &str| json!({"role": "toolResult", "toolCallId": id, "toolName": "x", "content": text});
        let long = format!("call_{}", "x".repeat(200));
        let messages = [
            json!({"role": "assistant", "content": [call("call_1", "read"), call("call-1", " a.b "), call("é", "")]}),
            result("call-1", "second"),
            result("call_1", "first"),
            json!({"role": "assistant", "content": [call("call_1", "read"), call("call_1", "read"), call(&long, "read"), call(&long, "read")]}),
            result("call_1", "third"),
            result("call_1", "fourth"),
        ];
        let seen = |model: &ModelRef| {
            let mut names = Vec::new();
            let mut calls = Vec::new();
            let mut results = Vec::new();
            for turn in turns(&messages, model) {
                match turn {
                    Turn::Assistant(blocks) => {
                        for block in blocks {
                            let Block::ToolCall { id, name, .. } = block else {
                                panic!("{block:?}")
                            };
                            calls.push(id);
                            names.push(name.into_owned());
                        }
                    }
                    Turn::ToolResult(result) => {
                        results.push((result.id.clone(), result.text().into_owned()));
                    }
                    Turn::User(_) => panic!("no user spoke"),
                }
            }
            (calls, names, results)
        };
        let (calls, names, results) = seen(&model());
        let cut = format!("call{}", "x".repeat(36));
        let cut_again = format!("call{}x2", "x".repeat(34));
        assert_eq!(calls, ["call1", "call1x2", "call", "call1x3", "call1x4", &cut, &cut_again]);
        assert_eq!(names[..3], ["read", "a_b", "unknown"]);
        let of =
            |text: &str| results.iter().find(|(_, said)| said == text).map(|(id, _)| id.as_str());
        assert_eq!(
            ["first", "second", "third", "fourth"].map(of),
            ["call1", "call1x2", "call1x3", "call1x4"].map(Some)
        );
        assert_eq!(results.len(), calls.len());

        let (calls, ..) = seen(&ModelRef { provider: "mistral".into(), ..model() });
        let different: HashSet<&String> = calls.iter().collect();
        assert!(
            calls.iter().all(|id| id.len() == 9) && different.len() == calls.len(),
            "{calls:?}"
        );
    }

    #[test]
    fn failed_and_injected_answers_never_reach_a_model() {
        let messages = [
            json!({"role":"assistant","stopReason":"error","content":[{"type":"text","text":"x"}]}),
            json!({"role":"assistant","provider":"openclaw","model":"gateway-injected","content":[{"type":"text","text":"x"}]}),
            json!({"role":"assistant","content":[]}),
        ];
        assert_eq!(turns(&messages, &model()), []);
    }

    #[test]
    fn thinking_goes_back_only_to_the_model_that_thought_it() {
        let said = |provider: &str| {
            json!({"role":"assistant","provider":provider,"model":"m","content":[
                {"type":"thinking","thinking":"hmm","thinkingSignature":"sig"},
                {"type":"text","text":"done"}]})
        };
        let own = [said("fake")];
        let foreign = [said("other")];
        let count = |messages: &[Value]| match &turns(messages, &model())[0] {
            Turn::Assistant(blocks) => blocks.len(),
            other => panic!("{other:?}"),
        };
        assert_eq!((count(&own), count(&foreign)), (2, 1));
    }

    #[test]
    fn an_aborted_answer_keeps_its_words_alone() {
        let messages = [json!({"role":"assistant","stopReason":"aborted","content":[
            {"type":"text","text":"half"},{"type":"toolCall","id":"a","name":"read","arguments":{}}]})];
        assert_eq!(
            turns(&messages, &model()),
            [Turn::Assistant(vec![Block::Text { text: "half", signature: None }])]
        );
    }
}
