//! Identifiers, each its own type where confusing two would be a bug.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A fresh random (version 4) UUID in its usual spelling.
pub fn uuid() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// Names a conversation, for example `agent:main:main`. Always lower case.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionKey(String);

impl SessionKey {
    /// Takes a key in any case.
    pub fn new(key: impl AsRef<str>) -> Self {
        Self(key.as_ref().trim().to_lowercase())
    }

    /// The main conversation of an agent.
    pub fn main(agent: &str, main_key: &str) -> Self {
        Self::new(format!("agent:{agent}:{main_key}"))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The agent that the key names, if it has the `agent:<id>:…` shape.
    pub fn agent(&self) -> Option<&str> {
        self.0.strip_prefix("agent:")?.split(':').next().filter(|id| !id.is_empty())
    }
}

impl fmt::Display for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionKey({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_key_is_lower_case_and_knows_its_agent() {
        let key = SessionKey::new("agent:Main:IRC:group:#Claw");
        assert_eq!(key.as_str(), "agent:main:irc:group:#claw");
        assert_eq!(key.agent(), Some("main"));
        assert_eq!(SessionKey::new("global").agent(), None);
    }
}
