//! Who is listened to: direct-message policies, allowlists, groups and
//! mentions. Pure; the gate asks and acts.

use serde_json::{Map, Value};

use crate::channels::message::{Author, ChatKind, Inbound};

/// How a network's groups are let in when `groupPolicy` is `allowlist`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupRules {
    /// The key below a group that lists its senders.
    pub senders_key: &'static str,
    /// Whether a listed group without any list of senders admits everyone.
    pub senders_optional: bool,
    /// Whether `allowFrom` stands in for a missing `groupAllowFrom`.
    pub falls_back: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    Pairing,
    Allowlist,
    Open,
    Disabled,
}

impl Door {
    fn read(value: &Value, default: Self) -> Self {
        match value.as_str() {
            Some("pairing") => Self::Pairing,
            Some("allowlist") => Self::Allowlist,
            Some("open") => Self::Open,
            Some("disabled") => Self::Disabled,
            _ => default,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Pairing => "pairing",
            Self::Allowlist => "allowlist",
            Self::Open => "open",
            Self::Disabled => "disabled",
        }
    }
}

/// The rules of one account.
#[derive(Debug, Clone)]
pub struct Policy {
    channel: &'static str,
    rules: GroupRules,
    direct: Door,
    group: Door,
    allow_from: Vec<String>,
    group_allow_from: Vec<String>,
    groups: Value,
}

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Answer {
        may_command: bool,
        listed: bool,
    },
    /// A stranger who may ask to be let in.
    Pair,
    /// Not meant for the bot; kept as context for the next that is.
    Remember,
    /// Part of the contract: the text goes to the log as it is.
    Drop(String),
}

impl Policy {
    /// Reads the rules out of an account's settings; `defaults` is
    /// `channels.defaults`.
    pub fn of(
        channel: &'static str,
        rules: GroupRules,
        settings: &Value,
        defaults: &Value,
    ) -> Self {
        let dm = &settings["dm"];
        let own = |key: &str, nested: &str| {
            if settings[key].is_null() { dm[nested].clone() } else { settings[key].clone() }
        };
        let group_policy = match &settings["groupPolicy"] {
            Value::Null => &defaults["groupPolicy"],
            value => value,
        };
        let direct = if dm["enabled"] == false {
            Door::Disabled
        } else {
            Door::read(&own("dmPolicy", "policy"), Door::Pairing)
        };
        let allow_from = entries(channel, &own("allowFrom", "allowFrom"));
        let mut group_allow_from = entries(channel, &settings["groupAllowFrom"]);
        if group_allow_from.is_empty() && rules.falls_back {
            group_allow_from.clone_from(&allow_from);
        }
        let groups = match &settings["groups"] {
            Value::Null => settings["rooms"].clone(),
            value => value.clone(),
        };
        Self {
            channel,
            rules,
            direct,
            group: Door::read(group_policy, Door::Allowlist),
            allow_from,
            group_allow_from,
            groups,
        }
    }

    /// Whether strangers may ask to be let in.
    pub fn pairs(&self) -> bool {
        self.direct == Door::Pairing
    }

    /// The configured policy for direct messages, by its name.
    pub fn direct_name(&self) -> &'static str {
        self.direct.name()
    }

    /// The configured allowlist for direct messages.
    pub fn allow_from(&self) -> &[String] {
        &self.allow_from
    }

    /// Judges a message. `approved` comes from pairing, `mentioned` says that
    /// the bot is meant, `is_command` that the text is a command.
    pub fn judge(
        &self,
        message: &Inbound,
        approved: &[String],
        mentioned: bool,
        is_command: bool,
    ) -> Verdict {
        match message.chat.kind {
            ChatKind::Direct => self.judge_direct(message, approved),
            ChatKind::Group | ChatKind::Channel => self.judge_group(message, mentioned, is_command),
        }
    }

    fn judge_direct(&self, message: &Inbound, approved: &[String]) -> Verdict {
        let listed = matches(&self.allow_from, message, false);
        let door = self.direct;
        // An explicit allowlist is the whole truth: earlier approvals do not add to it.
        let approved = door != Door::Allowlist && matches(approved, message, false);
        let known = listed || approved;
        match door {
            Door::Open => {
                let open = known || matches(&self.allow_from, message, true);
                if open {
                    return Verdict::Answer { may_command: known, listed: known };
                }
            }
            Door::Pairing | Door::Allowlist if known => {
                return Verdict::Answer { may_command: true, listed: true };
            }
            Door::Pairing => return Verdict::Pair,
            Door::Allowlist | Door::Disabled => {}
        }
        Verdict::Drop(format!("drop DM sender {} (dmPolicy={})", message.author.id, door.name()))
    }

    fn judge_group(&self, message: &Inbound, mentioned: bool, is_command: bool) -> Verdict {
        let author = &message.author.id;
        let refused =
            |policy: &str| Verdict::Drop(format!("drop group sender {author} (policy={policy})"));
        let (known, group) = self.group_settings(message);
        if self.group == Door::Disabled {
            return refused("disabled");
        }
        if group["enabled"] == false || group["allow"] == false {
            return Verdict::Drop(format!("drop channel {} (disabled)", message.chat.id));
        }
        let door = Door::read(&group["groupPolicy"], self.group);
        let own = entries(self.channel, &group[self.rules.senders_key]);
        let senders = if own.is_empty() { &self.group_allow_from } else { &own };
        let listed = matches(senders, message, false);
        if door == Door::Allowlist {
            // Without a list of groups, a list of senders is the allowlist.
            let group_in = known || (self.groups.is_null() && !self.group_allow_from.is_empty());
            if !group_in {
                return Verdict::Drop(format!(
                    "drop channel {} (not allowlisted)",
                    message.chat.id
                ));
            }
            let anyone = senders.is_empty() && self.rules.senders_optional && known;
            if !anyone && !matches(senders, message, true) {
                return refused("allowlist");
            }
        } else if !own.is_empty() && !matches(&own, message, true) {
            return refused(door.name());
        }
        let listed = listed || matches(&self.allow_from, message, false);
        let needs_mention =
            group["autoReply"].as_bool().map_or(group["requireMention"] != false, |auto| !auto);
        if needs_mention && !mentioned && !(is_command && listed) {
            return Verdict::Remember;
        }
        Verdict::Answer { may_command: listed, listed }
    }

    /// What is written about the very group of the message.
    fn group_section(&self, message: &Inbound) -> Option<&Value> {
        let names = [Some(message.chat.id.as_str()), message.chat.title.as_deref()];
        let mut groups = self.groups.as_object().into_iter().flatten();
        let is_it = |key: &str| names.iter().flatten().any(|name| key.eq_ignore_ascii_case(name));
        groups.find(|(key, _)| is_it(key)).map(|(_, section)| section)
    }

    /// What the message's group lets its author use: the group's own settings
    /// before those of `*`, and in both what is said of the author first.
    pub fn group_tools(&self, message: &Inbound) -> Option<Map<String, Value>> {
        if message.chat.kind == ChatKind::Direct {
            return None;
        }
        let layers = [self.group_section(message), self.groups.get("*")];
        let found = layers.into_iter().flatten().find_map(|group| {
            of_sender(&group["toolsBySender"], &message.author)
                .or_else(|| group["tools"].as_object())
        });
        found.cloned()
    }

    /// The settings of the message's group, topic over group over `*`, and
    /// whether the group is named at all.
    fn group_settings(&self, message: &Inbound) -> (bool, Value) {
        let section = self.group_section(message);
        let wildcard = &self.groups["*"];
        let known = section.is_some() || wildcard.is_object();
        let mut merged = wildcard.as_object().cloned().unwrap_or_default();
        if let Some(own) = section.and_then(Value::as_object) {
            merged.extend(own.clone());
            let thread = message.chat.thread.as_deref().unwrap_or_default();
            if let Some(topic) = own.get("topics").and_then(|topics| topics[thread].as_object()) {
                merged.extend(topic.clone());
            }
        }
        (known, Value::Object(merged))
    }

    /// The prompt that the message's group adds to its agent's.
    pub fn group_prompt(&self, message: &Inbound) -> Option<String> {
        let (_, group) = self.group_settings(message);
        let text = group["systemPrompt"].as_str()?.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }
}

/// The entry of `toolsBySender` that is for an author: by id, user name or name
/// (`id:`, `username:`, `name:`; nothing in front means the id), else `*`.
fn of_sender<'a>(table: &'a Value, author: &Author) -> Option<&'a Map<String, Value>> {
    let plain = |text: &str| text.trim().trim_start_matches('@').to_lowercase();
    let known = [
        ("id", Some(plain(&author.id))),
        ("username", author.username.as_deref().map(plain)),
        ("name", Some(plain(&author.name))),
    ];
    let entries = table.as_object()?;
    let find = |kind: &str, wanted: &str| {
        entries.iter().find(|(key, _)| {
            let key = key.trim();
            let typed = ["id", "e164", "username", "name"]
                .into_iter()
                .find_map(|known| Some((known, key.strip_prefix(known)?.strip_prefix(':')?)));
            let (said, value) = typed.unwrap_or(("id", key));
            key != "*" && said == kind && plain(value) == wanted
        })
    };
    let own = known.iter().find_map(|(kind, value)| {
        find(kind, value.as_deref().filter(|value| !value.is_empty())?).map(|(_, tools)| tools)
    });
    own.or_else(|| entries.get("*"))?.as_object()
}

/// The entries of a list in their stored spelling: lower case, without the
/// channel's name in front.
pub fn entries(channel: &str, list: &Value) -> Vec<String> {
    let texts = list.as_array().into_iter().flatten().map(|entry| match entry {
        Value::String(text) => text.trim().to_lowercase(),
        other => other.to_string(),
    });
    texts.map(|text| bare(channel, &text).to_owned()).filter(|text| !text.is_empty()).collect()
}

/// An id without the channel's name, or `user:`, in front.
pub fn bare<'t>(channel: &str, text: &'t str) -> &'t str {
    let mut rest = text.trim();
    let short = if channel == "telegram" { "tg" } else { channel };
    for prefix in [channel, short, "user"] {
        let cut = rest.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
        if cut && rest[prefix.len()..].starts_with(':') {
            rest = &rest[prefix.len() + 1..];
        }
    }
    rest
}

/// Whether the author is on the list; `*` counts where `wildcard` says so.
fn matches(list: &[String], message: &Inbound, wildcard: bool) -> bool {
    let id = message.author.id.to_lowercase();
    list.iter().any(|entry| {
        (wildcard && entry == "*") || *entry == id || message.author.aliases.contains(entry)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::channels::message::Chat;

    const RULES: GroupRules =
        GroupRules { senders_key: "allowFrom", senders_optional: false, falls_back: false };

    fn from(id: &str, chat: Option<&str>) -> Inbound {
        let kind = if chat.is_some() { ChatKind::Group } else { ChatKind::Direct };
        Inbound {
            author: Author { id: id.into(), ..Author::default() },
            chat: Chat { kind, id: chat.unwrap_or(id).into(), ..Chat::default() },
            ..Inbound::default()
        }
    }

    fn policy(settings: &Value) -> Policy {
        Policy::of("irc", RULES, settings, &Value::Null)
    }

    const YES: Verdict = Verdict::Answer { may_command: true, listed: true };

    #[test]
    fn a_stranger_is_asked_to_pair_unless_configured_otherwise() {
        let judge = |settings: Value, approved: &[String]| {
            policy(&settings).judge(&from("bob!b@h", None), approved, false, false)
        };
        assert_eq!(judge(json!({}), &[]), Verdict::Pair);
        assert_eq!(judge(json!({}), &["bob!b@h".into()]), YES);
        assert_eq!(judge(json!({"dmPolicy": "allowlist", "allowFrom": ["irc:BOB!b@h"]}), &[]), YES);
        let drop = |policy| Verdict::Drop(format!("drop DM sender bob!b@h (dmPolicy={policy})"));
        assert_eq!(judge(json!({"dmPolicy": "allowlist"}), &[]), drop("allowlist"));
        assert_eq!(judge(json!({"dmPolicy": "disabled"}), &["bob!b@h".into()]), drop("disabled"));
        assert_eq!(
            judge(json!({"dmPolicy": "open", "allowFrom": ["*"]}), &[]),
            Verdict::Answer { may_command: false, listed: false }
        );
        assert_eq!(judge(json!({"dmPolicy": "open"}), &[]), drop("open"));
    }

    #[test]
    fn a_group_needs_its_place_on_the_list_its_sender_too_and_a_mention() {
        let settings = json!({
            "groups": {"#claw": {"allowFrom": ["bob!b@h"]}, "#Quiet": {"requireMention": false}},
            "groupAllowFrom": ["eve!e@h"],
        });
        let policy = policy(&settings);
        let judge = |id, chat, mentioned, command| {
            policy.judge(&from(id, Some(chat)), &[], mentioned, command)
        };
        assert_eq!(judge("bob!b@h", "#claw", true, false), YES);
        assert_eq!(judge("bob!b@h", "#claw", false, false), Verdict::Remember);
        assert_eq!(judge("bob!b@h", "#claw", false, true), YES);
        assert_eq!(judge("eve!e@h", "#quiet", false, false), YES);
        let drop = |text: &str| Verdict::Drop(text.into());
        assert_eq!(
            judge("eve!e@h", "#claw", true, false),
            drop("drop group sender eve!e@h (policy=allowlist)")
        );
        assert_eq!(
            judge("bob!b@h", "#else", true, false),
            drop("drop channel #else (not allowlisted)")
        );
    }

    #[test]
    fn a_group_says_what_its_senders_may_use() {
        let only = |name: &str| json!({"allow": [name]});
        let policy = policy(&json!({"groups": {
            "#claw": {"toolsBySender": {"id:Bob!b@h": only("exec"), "*": only("read")},
                "tools": only("none")},
            "#plain": {"tools": only("web_fetch")},
            "*": {"toolsBySender": {"@eve!e@h": only("write"), "name:Carl": only("edit")}},
        }}));
        let tools = |message: &Inbound| policy.group_tools(message).map(Value::from);
        assert_eq!(tools(&from("bob!b@h", Some("#claw"))), Some(only("exec")));
        assert_eq!(tools(&from("eve!e@h", Some("#claw"))), Some(only("read")));
        assert_eq!(tools(&from("eve!e@h", Some("#plain"))), Some(only("web_fetch")));
        assert_eq!(tools(&from("eve!e@h", Some("#other"))), Some(only("write")));
        let mut carl = from("x!x@h", Some("#other"));
        assert_eq!(tools(&carl), None);
        carl.author.name = "carl".into();
        assert_eq!(tools(&carl), Some(only("edit")));
        assert_eq!(tools(&from("bob!b@h", None)), None, "not in a direct chat");
    }

    #[test]
    fn a_room_can_be_closed_and_answer_by_itself() {
        let policy = policy(&json!({"groups": {"!a": {"allow": false}, "!b": {"autoReply": true}},
            "groupAllowFrom": ["bob!b@h"]}));
        let judge = |chat| policy.judge(&from("bob!b@h", Some(chat)), &[], false, false);
        assert_eq!(judge("!a"), Verdict::Drop("drop channel !a (disabled)".into()));
        assert_eq!(judge("!b"), YES);
    }

    #[test]
    fn pairing_opens_no_group_and_an_empty_section_fails_closed() {
        let policy = policy(&json!({}));
        let message = from("bob!b@h", Some("#claw"));
        let approved = ["bob!b@h".to_owned()];
        let verdict = policy.judge(&message, &approved, true, true);
        assert_eq!(verdict, Verdict::Drop("drop channel #claw (not allowlisted)".into()));
    }

    #[test]
    fn an_open_group_policy_admits_everyone_who_mentions_the_bot() {
        let policy = policy(&json!({"groupPolicy": "open"}));
        let message = from("bob!b@h", Some("#any"));
        let open = Verdict::Answer { may_command: false, listed: false };
        assert_eq!(policy.judge(&message, &[], true, false), open);
        assert_eq!(policy.judge(&message, &[], false, true), Verdict::Remember);
    }
}
