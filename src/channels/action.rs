//! What can be done with messages beyond sending them: edit, delete, react,
//! pin, read, poll. Names and parameters are those of `message.action`.

use serde_json::{Map, Value};

/// One thing to do.
#[derive(Debug, Clone, Copy)]
pub struct Action<'a> {
    pub name: &'a str,
    /// The chat it happens in; empty where the action needs none.
    pub to: &'a str,
    pub params: &'a Map<String, Value>,
}

/// Whether an action of this name happens in a chat.
pub fn needs_chat(name: &str) -> bool {
    let whole_server = matches!(
        name,
        "search" | "member-info" | "thread-list" | "voice-status" | "timeout" | "kick" | "ban"
    );
    let families = ["role-", "emoji-", "event-", "sticker-", "set-"];
    !whole_server && name != "channel-list" && !families.iter().any(|it| name.starts_with(it))
}

/// Why it was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ActionError {
    /// Not on this network, or not by us.
    #[error("not supported")]
    Unsupported,
    #[error("{0}")]
    Failed(String),
}

impl ActionError {
    #[expect(
        clippy::needless_pass_by_value,
        reason = "errors and texts alike, as `map_err` hands them over"
    )]
    pub fn failed(why: impl ToString) -> Self {
        Self::Failed(why.to_string())
    }
}

impl Action<'_> {
    /// A text, trimmed; numbers are written out, blanks count as absent.
    pub fn text(&self, key: &str) -> Option<String> {
        let text = match self.params.get(key)? {
            Value::String(text) => text.trim().to_owned(),
            Value::Number(number) => number.to_string(),
            _ => return None,
        };
        (!text.is_empty()).then_some(text)
    }

    pub fn required(&self, key: &str) -> Result<String, ActionError> {
        self.text(key).ok_or_else(|| ActionError::Failed(format!("{key} required")))
    }

    /// A whole number, also one that was typed.
    pub fn number(&self, key: &str) -> Result<Option<i64>, ActionError> {
        let Some(text) = self.text(key) else { return Ok(None) };
        let number = text.parse().map_err(|_| {
            ActionError::Failed(format!("{key} must be a whole number, not \"{text}\""))
        })?;
        Ok(Some(number))
    }

    /// How many of a list are asked for.
    pub fn limit(&self, usual: i64) -> Result<i64, ActionError> {
        Ok(self.number("limit")?.unwrap_or(usual).max(1))
    }

    pub fn flag(&self, key: &str) -> bool {
        self.params.get(key) == Some(&Value::Bool(true))
    }

    /// Texts of a list; one alone is a list of one.
    pub fn texts(&self, key: &str) -> Vec<String> {
        let clean = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        match self.params.get(key) {
            Some(Value::String(text)) => clean(text).into_iter().collect(),
            Some(Value::Array(all)) => {
                all.iter().filter_map(|one| one.as_str().and_then(clean)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Whether a reaction is taken away, and which; no emoji means all of ours.
    pub fn reaction(&self) -> Result<Reaction, ActionError> {
        match (self.text("emoji"), self.flag("remove")) {
            (Some(emoji), false) => Ok(Reaction::Add(emoji)),
            (Some(emoji), true) => Ok(Reaction::Remove(Some(emoji))),
            (None, false) => Ok(Reaction::Remove(None)),
            (None, true) => Err(ActionError::failed("emoji is required to remove a reaction")),
        }
    }

    /// Question and answers.
    pub fn poll(&self) -> Result<Poll, ActionError> {
        let question = self.required("pollQuestion")?;
        let options = self.texts("pollOption");
        if !(2..=12).contains(&options.len()) {
            return Err(ActionError::failed(
                "pollOption requires at least two values, twelve at most",
            ));
        }
        Ok(Poll { question, options, several: self.flag("pollMulti") })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reaction {
    Add(String),
    Remove(Option<String>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Poll {
    pub question: String,
    pub options: Vec<String>,
    /// Whether one may choose more than one answer.
    pub several: bool,
}

/// `channels.<id>.actions`: what the operator leaves to agents and commands.
#[derive(Debug, Clone, Default)]
pub struct Gates(Value);

impl Gates {
    pub fn of(settings: &Value) -> Self {
        Self(settings["actions"].clone())
    }

    /// Fails with the key that forbids it.
    pub fn check(&self, channel: &str, key: &str, usual: bool) -> Result<(), ActionError> {
        if self.0[key].as_bool().unwrap_or(usual) {
            return Ok(());
        }
        Err(ActionError::Failed(format!(
            "disabled by channels.{channel}.actions.{key}; set it to true to allow this"
        )))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with<T>(params: Value, ask: impl FnOnce(Action<'_>) -> T) -> T {
        let Value::Object(params) = params else { panic!("{params}") };
        ask(Action { name: "x", to: "y", params: &params })
    }

    #[test]
    fn parameters_are_read_as_people_and_models_write_them() {
        with(json!({"messageId": 7, "limit": "5", "blank": " ", "pollOption": "only"}), |action| {
            assert_eq!(action.required("messageId").unwrap(), "7");
            assert_eq!(action.limit(20).unwrap(), 5);
            assert_eq!(action.required("blank").unwrap_err().to_string(), "blank required");
            assert_eq!(action.texts("pollOption"), ["only"]);
        });
        with(json!({"limit": "many", "pollQuestion": "?", "pollOption": ["a"]}), |action| {
            let refused = action.limit(1).unwrap_err().to_string();
            assert!(refused.contains("limit") && refused.contains("many"), "{refused}");
            assert!(action.poll().unwrap_err().to_string().contains("at least two"));
        });
    }

    #[test]
    fn what_is_done_to_a_whole_server_needs_no_chat() {
        for name in ["react", "pin", "sticker", "channel-info", "topic-create"] {
            assert!(needs_chat(name), "{name}");
        }
        for name in ["role-add", "ban", "sticker-upload", "channel-list", "member-info"] {
            assert!(!needs_chat(name), "{name}");
        }
    }

    #[test]
    fn a_reaction_is_added_or_taken_away() {
        let of = |params| with(params, |action| action.reaction());
        assert_eq!(of(json!({"emoji": "👍"})), Ok(Reaction::Add("👍".into())));
        assert_eq!(of(json!({})), Ok(Reaction::Remove(None)));
        assert!(of(json!({"remove": true})).is_err());
    }

    #[test]
    fn a_gate_names_its_key() {
        let gates = Gates::of(&json!({"actions": {"poll": false}}));
        let refused = gates.check("telegram", "poll", true).unwrap_err().to_string();
        assert!(refused.contains("channels.telegram.actions.poll"), "{refused}");
        assert!(gates.check("telegram", "reactions", true).is_ok());
        assert!(gates.check("telegram", "sticker", false).is_err());
    }
}
