//! Which agent a message is for and which conversation it belongs to. Pure.

use serde_json::Value;

use crate::base::id::SessionKey;
use crate::channels::message::{Chat, ChatKind, Inbound};
use crate::config::Config;

/// The agent that answers: the most specific binding wins, the first of equals.
pub fn agent_for(config: &Config, message: &Inbound) -> String {
    let rank = |binding: &Value| -> Option<u8> {
        let rule = &binding["match"];
        if !rule["channel"].as_str()?.eq_ignore_ascii_case(&message.channel) {
            return None;
        }
        let account = rule["accountId"].as_str().map(str::trim).filter(|id| !id.is_empty());
        let any_account = account == Some("*");
        if !any_account && !account.unwrap_or("default").eq_ignore_ascii_case(&message.account) {
            return None;
        }
        if rule["peer"].is_object() {
            let peer = &rule["peer"];
            let kind = peer["kind"].as_str().unwrap_or_default();
            if !is_kind(kind, message.chat.kind) {
                return None;
            }
            let id = peer["id"].as_str().unwrap_or_default();
            return match id {
                "*" => Some(2),
                id if id.eq_ignore_ascii_case(peer_id(message)) => Some(0),
                id if id.eq_ignore_ascii_case(&message.chat.id) => Some(1),
                _ => None,
            };
        }
        // Guilds and teams belong to networks that this gateway does not speak.
        if ["guildId", "teamId", "roles"].iter().any(|key| !rule[*key].is_null()) {
            return None;
        }
        Some(if any_account { 4 } else { 3 })
    };
    let best = config
        .bindings
        .iter()
        .filter_map(|binding| Some((rank(binding)?, binding["agentId"].as_str()?)))
        .min_by_key(|(rank, _)| *rank);
    best.map_or(config.agents.default_id(), |(_, agent)| agent).to_lowercase()
}

fn is_kind(word: &str, kind: ChatKind) -> bool {
    match kind {
        ChatKind::Direct => matches!(word, "direct" | "dm"),
        ChatKind::Group => word == "group",
        // Rooms are called groups by many who write bindings.
        ChatKind::Channel => matches!(word, "channel" | "group"),
    }
}

/// Who or what is at the other end.
fn peer_id(message: &Inbound) -> &str {
    match message.chat.kind {
        ChatKind::Direct => &message.author.id,
        ChatKind::Group | ChatKind::Channel => &message.chat.id,
    }
}

/// The conversation of a message.
pub fn session_key(config: &Config, agent: &str, message: &Inbound) -> SessionKey {
    let text = |key: &str| config.session.get(key).and_then(Value::as_str);
    if text("scope") == Some("global") {
        return SessionKey::new("global");
    }
    let channel = &message.channel;
    let Chat { kind, id, thread, .. } = &message.chat;
    let base = match kind {
        ChatKind::Direct => {
            let peer = canonical_peer(config, message);
            match text("dmScope") {
                Some("per-peer") => format!("agent:{agent}:direct:{peer}"),
                Some("per-channel-peer") => format!("agent:{agent}:{channel}:direct:{peer}"),
                Some("per-account-channel-peer") => {
                    format!("agent:{agent}:{channel}:{}:direct:{peer}", message.account)
                }
                _ => {
                    let main = text("mainKey").map(str::trim).filter(|key| !key.is_empty());
                    return SessionKey::main(agent, main.unwrap_or("main"));
                }
            }
        }
        ChatKind::Group => format!("agent:{agent}:{channel}:group:{id}"),
        ChatKind::Channel => format!("agent:{agent}:{channel}:channel:{id}"),
    };
    match thread {
        Some(thread) if channel == "telegram" => SessionKey::new(format!("{base}:topic:{thread}")),
        Some(thread) => SessionKey::new(format!("{base}:thread:{thread}")),
        None => SessionKey::new(base),
    }
}

/// The peer's name among those that `session.identityLinks` makes one person.
fn canonical_peer(config: &Config, message: &Inbound) -> String {
    let own = &message.author.id;
    let qualified = format!("{}:{own}", message.channel);
    let links = config.session.get("identityLinks").and_then(Value::as_object);
    let linked = links.into_iter().flatten().find(|(_, ids)| {
        let ids = ids.as_array().into_iter().flatten().filter_map(Value::as_str);
        ids.into_iter()
            .any(|id| id.eq_ignore_ascii_case(&qualified) || id.eq_ignore_ascii_case(own))
    });
    linked.map_or_else(|| own.clone(), |(name, _)| name.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::channels::message::Author;

    fn config(value: Value) -> Config {
        serde_json::from_value(value).unwrap()
    }

    fn message(kind: ChatKind, chat: &str) -> Inbound {
        Inbound {
            channel: "irc".into(),
            account: "default".into(),
            chat: Chat { kind, id: chat.into(), ..Chat::default() },
            author: Author { id: "Al!a@h".into(), ..Author::default() },
            ..Inbound::default()
        }
    }

    #[test]
    fn the_most_specific_binding_wins() {
        let rule = |agent: &str, rule: Value| json!({"agentId": agent, "match": rule});
        let config = config(json!({
            "agents": {"list": [{"id": "Home", "default": true}]},
            "bindings": [
                rule("any", json!({"channel": "irc", "accountId": "*"})),
                rule("plain", json!({"channel": "irc"})),
                rule("groups", json!({"channel": "irc", "peer": {"kind": "group", "id": "*"}})),
                rule("claw", json!({"channel": "irc", "peer": {"kind": "group", "id": "#CLAW"}})),
            ],
        }));
        assert_eq!(agent_for(&config, &message(ChatKind::Group, "#claw")), "claw");
        assert_eq!(agent_for(&config, &message(ChatKind::Group, "#else")), "groups");
        assert_eq!(agent_for(&config, &message(ChatKind::Direct, "al")), "plain");
        let other = Inbound { account: "work".into(), ..message(ChatKind::Direct, "al") };
        assert_eq!(agent_for(&config, &other), "any");
        let elsewhere = Inbound { channel: "matrix".into(), ..other };
        assert_eq!(agent_for(&config, &elsewhere), "home");
    }

    #[test]
    fn conversations_have_the_keys_that_the_files_of_the_reference_have() {
        let key = |settings: Value, message: &Inbound| {
            session_key(&config(json!({"session": settings})), "main", message).as_str().to_owned()
        };
        let direct = message(ChatKind::Direct, "Al");
        assert_eq!(key(json!({}), &direct), "agent:main:main");
        assert_eq!(key(json!({"mainKey": "home"}), &direct), "agent:main:home");
        assert_eq!(key(json!({"scope": "global"}), &direct), "global");
        for (scope, expected) in [
            ("per-peer", "agent:main:direct:al!a@h"),
            ("per-channel-peer", "agent:main:irc:direct:al!a@h"),
            ("per-account-channel-peer", "agent:main:irc:default:direct:al!a@h"),
        ] {
            assert_eq!(key(json!({"dmScope": scope}), &direct), expected);
        }
        let linked = json!({"dmScope": "per-peer", "identityLinks": {"ann": ["irc:al!a@h"]}});
        assert_eq!(key(linked, &direct), "agent:main:direct:ann");
        let group = message(ChatKind::Group, "#Claw");
        assert_eq!(key(json!({}), &group), "agent:main:irc:group:#claw");
        let mut topic = message(ChatKind::Group, "-100");
        topic.channel = "telegram".into();
        topic.chat.thread = Some("7".into());
        assert_eq!(key(json!({}), &topic), "agent:main:telegram:group:-100:topic:7");
    }
}
