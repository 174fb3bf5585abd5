//! From a client's list of messages to one message for an agent.
//!
//! An agent keeps its own history, so what a client sends along is quoted in
//! front of the current message. The two headings are part of the contract.

use serde_json::Value;

const BEFORE: &str = "[Chat messages since your last reply - for context]";
const NOW: &str = "[Current message - respond to this]";

/// A client's conversation as an agent takes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conversation {
    /// Texts of system and developer messages.
    pub system: Vec<String>,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    sender: String,
    text: String,
    /// Can be the message that is answered.
    current: bool,
}

impl Conversation {
    /// Adds what someone said; blank text is dropped.
    pub fn push(&mut self, role: &str, name: Option<&str>, text: &str) {
        let text = text.trim();
        if text.is_empty() {
            return;
        }
        let (sender, current) = match role {
            "system" | "developer" => {
                self.system.push(text.to_owned());
                return;
            }
            "user" => ("User".to_owned(), true),
            "assistant" => ("Assistant".to_owned(), false),
            "tool" | "function" => {
                let name = name.map(str::trim).filter(|name| !name.is_empty());
                (name.map_or_else(|| "Tool".to_owned(), |name| format!("Tool:{name}")), true)
            }
            _ => return,
        };
        self.entries.push(Entry { sender, text: text.to_owned(), current });
    }

    /// The message to send: the last one of a user or a tool with what came
    /// before it; what came after it is dropped.
    pub fn message(&self) -> Option<String> {
        let last = self.entries.iter().rposition(|entry| entry.current)?;
        let (before, current) = (&self.entries[..last], &self.entries[last]);
        if before.is_empty() {
            return Some(current.text.clone());
        }
        let mut text = String::from(BEFORE);
        for entry in before {
            text.push('\n');
            text.push_str(&entry.line());
        }
        text.push_str("\n\n");
        text.push_str(NOW);
        text.push('\n');
        text.push_str(&current.line());
        Some(text)
    }
}

impl Entry {
    fn line(&self) -> String {
        format!("{}: {}", self.sender, self.text)
    }
}

/// Text of a message's content: a string, or its text parts joined by line
/// breaks.
pub fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts = parts.iter().filter_map(|part| match part["type"].as_str() {
                Some("text" | "input_text" | "output_text") => part["text"].as_str(),
                _ => None,
            });
            texts.collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn conversation(messages: &[(&str, Option<&str>, &str)]) -> Conversation {
        let mut conversation = Conversation::default();
        for (role, name, text) in messages {
            conversation.push(role, *name, text);
        }
        conversation
    }

    #[test]
    fn history_is_quoted_in_front_of_the_current_message() {
        let all = conversation(&[
            ("system", None, "SYS-ONE"),
            ("developer", None, "DEV-TWO"),
            ("user", None, "first q"),
            ("assistant", None, "first a"),
            ("user", None, "second q"),
        ]);
        assert_eq!(all.system, ["SYS-ONE", "DEV-TWO"]);
        assert_eq!(
            all.message().unwrap(),
            "[Chat messages since your last reply - for context]\nUser: first q\nAssistant: first a\n\n[Current message - respond to this]\nUser: second q"
        );
    }

    #[test]
    fn one_message_goes_as_it_is_and_a_trailing_answer_is_dropped() {
        assert_eq!(
            conversation(&[("user", None, "q"), ("assistant", None, "a")]).message().unwrap(),
            "q"
        );
        let tool = conversation(&[("user", None, "q"), ("tool", Some("f"), "42")]);
        assert!(
            tool.message().unwrap().ends_with("[Current message - respond to this]\nTool:f: 42")
        );
        assert_eq!(conversation(&[("system", None, "only")]).message(), None);
        assert_eq!(conversation(&[("narrator", None, "x")]).message(), None);
    }

    #[test]
    fn text_parts_are_joined_and_others_say_nothing() {
        let content =
            json!([{"type":"text","text":"a"},{"type":"video"},{"type":"input_text","text":"b"}]);
        assert_eq!(text_of(&content), "a\nb");
    }
}
