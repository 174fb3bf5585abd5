//! What in a group message means the bot, beyond what the network says: the
//! configured patterns, else the name of the agent that would answer.

use regex_lite::{Regex, RegexBuilder};
use serde_json::Value;

use crate::agents;
use crate::channels::gate::{self, Listener};
use crate::channels::message::Inbound;
use crate::config::{Config, Live};
use crate::gateway::routing::bindings::agent_for;
use crate::gateway::rpc::chat::is_stop_word;

/// The gate's view of agents.
#[derive(Debug)]
pub struct Names {
    pub config: Live,
}

impl Listener for Names {
    fn is_addressed(&self, message: &Inbound) -> bool {
        let snapshot = self.config.load();
        let agent = agent_for(&snapshot.config, message);
        patterns(&snapshot.config, &agent).iter().any(|pattern| pattern.is_match(&message.text))
    }

    fn is_command(&self, text: &str) -> bool {
        agents::is_command(text) || is_stop_word(text)
    }

    fn history_limit(&self, message: &Inbound) -> usize {
        let snapshot = self.config.load();
        let config = &snapshot.config;
        let channel = config.channels.get(&message.channel);
        let own = channel.and_then(|section| section["historyLimit"].as_u64());
        let shared = config.messages.get("groupChat").and_then(|it| it["historyLimit"].as_u64());
        let limit = own.or(shared).and_then(|limit| usize::try_from(limit).ok());
        limit.unwrap_or(gate::HISTORY)
    }
}

/// The patterns of an agent; those that are no regular expression are left out.
fn patterns(config: &Config, agent: &str) -> Vec<Regex> {
    let agent = config.agents.get(agent);
    let listed = |value: Option<&Value>| {
        let list = value.and_then(|chat| chat["mentionPatterns"].as_array());
        list.map(|list| {
            list.iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
        })
    };
    let own = listed(agent.and_then(|agent| agent.rest.get("groupChat")));
    let texts = own.or_else(|| listed(config.messages.get("groupChat"))).unwrap_or_else(|| {
        let name = agent.and_then(|agent| agent.identity.get("name")).and_then(Value::as_str);
        let name = name.map(str::trim).filter(|name| !name.is_empty());
        name.map(|name| format!(r"\b@?{}\b", regex_lite::escape(name))).into_iter().collect()
    });
    let compile = |text: &String| {
        let built = RegexBuilder::new(text).case_insensitive(true).size_limit(1 << 20).build();
        if let Err(err) = &built {
            tracing::warn!(pattern = text, %err, "mention pattern is not usable");
        }
        built.ok()
    };
    texts.iter().filter_map(compile).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn own_patterns_come_first_then_shared_ones_then_the_name() {
        let config = |value: Value| -> Config { serde_json::from_value(value).unwrap() };
        let hears = |config: &Config, text: &str| {
            patterns(config, "main").iter().any(|pattern| pattern.is_match(text))
        };
        let named =
            config(json!({"agents": {"list": [{"id": "main", "identity": {"name": "Rex"}}]}}));
        assert!(hears(&named, "hey @rex!"));
        assert!(!hears(&named, "trex"));
        let shared =
            config(json!({"messages": {"groupChat": {"mentionPatterns": ["^bot\\b", "("]}}}));
        assert!(hears(&shared, "Bot, hello"));
        assert!(!hears(&shared, "hello bot"));
    }
}
