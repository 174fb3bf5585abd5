//! Edits of the list of agents and of the rules that route to them, on the
//! document as it was written. Pure.

use serde_json::{Map, Value, json};

/// Longest agent id.
const MAX_ID: usize = 64;

/// The id that a name becomes: lower case, everything else a dash. Nothing when
/// there is no letter or digit in it.
pub fn id_of(name: &str) -> Option<String> {
    let mut id = String::new();
    for c in name.trim().chars() {
        if c.is_ascii_alphanumeric() || c == '_' {
            id.push(c.to_ascii_lowercase());
        } else if !id.ends_with('-') && !id.is_empty() {
            id.push('-');
        }
    }
    let id: String = id.trim_end_matches('-').chars().take(MAX_ID).collect();
    (!id.is_empty()).then_some(id)
}

/// `agents.list`, made if it is not there.
pub fn list_of(document: &mut Value) -> &mut Vec<Value> {
    list_in(object_in(document, "agents"), "list")
}

fn object_in<'v>(document: &'v mut Value, key: &str) -> &'v mut Map<String, Value> {
    if !document[key].is_object() {
        document[key] = json!({});
    }
    match &mut document[key] {
        Value::Object(section) => section,
        _ => unreachable!("made an object above"),
    }
}

fn list_in<'v>(section: &'v mut Map<String, Value>, key: &str) -> &'v mut Vec<Value> {
    let list = section.entry(key).or_insert_with(|| json!([]));
    if !list.is_array() {
        *list = json!([]);
    }
    match list {
        Value::Array(list) => list,
        _ => unreachable!("made an array above"),
    }
}

/// The agent's entry, made if it is not there. The agent that was implied until
/// then stays the default.
pub fn entry<'v>(document: &'v mut Value, id: &str) -> &'v mut Map<String, Value> {
    let list = list_of(document);
    let at = list.iter().position(|entry| is_agent(entry, id)).unwrap_or_else(|| {
        if list.is_empty() && id != "main" {
            list.push(json!({ "id": "main", "default": true }));
        }
        list.push(json!({ "id": id }));
        list.len() - 1
    });
    if !list[at].is_object() {
        list[at] = json!({ "id": id });
    }
    match &mut list[at] {
        Value::Object(entry) => entry,
        _ => unreachable!("made an object above"),
    }
}

pub fn is_agent(entry: &Value, id: &str) -> bool {
    entry["id"].as_str().is_some_and(|known| known.eq_ignore_ascii_case(id))
}

fn belongs_to(binding: &Value, id: &str) -> bool {
    binding["agentId"].as_str().is_some_and(|agent| agent.eq_ignore_ascii_case(id))
}

/// What went with an agent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    pub bindings: usize,
    /// Mentions in `tools.agentToAgent.allow`.
    pub allow: usize,
}

/// Takes an agent out, with the rules that route to it.
pub fn remove(document: &mut Value, id: &str) -> Removed {
    let list = list_of(document);
    list.retain(|entry| !is_agent(entry, id));
    let emptied = list.is_empty();
    if emptied && let Some(agents) = document["agents"].as_object_mut() {
        agents.remove("list");
    }
    let bindings = keep(document, &["bindings"], |binding| !belongs_to(binding, id));
    let allow =
        keep(document, &["tools", "agentToAgent", "allow"], |entry| entry.as_str() != Some(id));
    Removed { bindings, allow }
}

/// Keeps some of a list, which goes when nothing is left. Returns how many left.
fn keep(document: &mut Value, path: &[&str], wanted: impl Fn(&Value) -> bool) -> usize {
    let Some((last, parents)) = path.split_last() else { return 0 };
    let parent = parents.iter().try_fold(document, |value, key| value.get_mut(*key));
    let Some(parent) = parent.and_then(Value::as_object_mut) else { return 0 };
    let Some(list) = parent.get_mut(*last).and_then(Value::as_array_mut) else { return 0 };
    let before = list.len();
    list.retain(wanted);
    let gone = before - list.len();
    if list.is_empty() && gone > 0 {
        parent.remove(*last);
    }
    gone
}

/// Whether a binding routes messages to an agent.
pub fn is_route(binding: &Value) -> bool {
    binding["type"].as_str().is_none_or(|kind| kind == "route")
}

/// `irc accountId=work peer=group:#ops`.
pub fn describe(binding: &Value) -> String {
    let rule = &binding["match"];
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let peer = &rule["peer"];
    let peer = text(&peer["id"])
        .map(|id| format!("peer={}:{id}", peer["kind"].as_str().unwrap_or_default()));
    let named = |key: &str, name: &str| text(&rule[key]).map(|value| format!("{name}={value}"));
    let parts = [
        text(&rule["channel"]),
        named("accountId", "accountId"),
        peer,
        named("guildId", "guild"),
        named("teamId", "team"),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// What a binding matches, account apart.
fn matched(binding: &Value) -> (String, String) {
    let mut rule = binding["match"].as_object().cloned().unwrap_or_default();
    let account = rule.remove("accountId");
    let account = account.as_ref().and_then(Value::as_str).map_or("", str::trim).to_owned();
    rule.retain(|_, value| !value.is_null() && value.as_str() != Some(""));
    rule.sort_keys();
    (Value::Object(rule).to_string(), account)
}

fn same_place(one: &Value, other: &Value) -> bool {
    let (one, other) = (matched(one), matched(other));
    let account = |text: String| if text.is_empty() { "default".to_owned() } else { text };
    one.0 == other.0 && account(one.1) == account(other.1)
}

/// A rule that somebody else has.
#[derive(Debug, Clone, PartialEq)]
pub struct Conflict {
    pub binding: Value,
    pub owner: String,
}

/// What became of bindings that were asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bound {
    pub added: Vec<Value>,
    /// Rules that now name their account.
    pub updated: Vec<Value>,
    pub skipped: Vec<Value>,
    pub conflicts: Vec<Conflict>,
}

/// Adds rules that route to `agent`, unless another agent has them.
pub fn bind(document: &mut Value, agent: &str, wanted: &[Value]) -> Bound {
    let mut bound = Bound::default();
    let mut list = document["bindings"].as_array().cloned().unwrap_or_default();
    for rule in wanted {
        let binding = json!({ "type": "route", "agentId": agent, "match": rule });
        let known = list.iter().find(|known| is_route(known) && same_place(known, &binding));
        if let Some(known) = known {
            if belongs_to(known, agent) {
                bound.skipped.push(binding);
            } else {
                let owner = known["agentId"].as_str().unwrap_or_default().to_lowercase();
                bound.conflicts.push(Conflict { binding, owner });
            }
            continue;
        }
        let (place, account) = matched(&binding);
        let vague = list.iter_mut().find(|known| {
            let (known_place, known_account) = matched(known);
            is_route(known)
                && belongs_to(known, agent)
                && known_account.is_empty()
                && known_place == place
                && !account.is_empty()
        });
        if let Some(vague) = vague {
            vague["match"]["accountId"] = account.into();
            bound.updated.push(vague.clone());
            continue;
        }
        let routes = list.iter().filter(|known| is_route(known)).count();
        list.insert(routes.min(list.len()), binding.clone());
        bound.added.push(binding);
    }
    if !bound.added.is_empty() || !bound.updated.is_empty() {
        document["bindings"] = list.into();
    }
    bound
}

/// What became of bindings that were to go.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Unbound {
    pub removed: Vec<Value>,
    pub missing: Vec<Value>,
    pub conflicts: Vec<Conflict>,
}

/// Takes rules that route to `agent` out; all of them without a list.
pub fn unbind(document: &mut Value, agent: &str, wanted: Option<&[Value]>) -> Unbound {
    let mut unbound = Unbound::default();
    let list = document["bindings"].as_array().cloned().unwrap_or_default();
    let mut rest = list.clone();
    let own = |binding: &Value| is_route(binding) && belongs_to(binding, agent);
    match wanted {
        None => {
            unbound.removed = list.into_iter().filter(own).collect();
            rest.retain(|binding| !own(binding));
        }
        Some(wanted) => {
            for rule in wanted {
                let binding = json!({ "type": "route", "agentId": agent, "match": rule });
                let there = |known: &Value| is_route(known) && same_place(known, &binding);
                if let Some(at) = rest.iter().position(|known| there(known) && own(known)) {
                    unbound.removed.push(rest.remove(at));
                } else if let Some(known) = rest.iter().find(|known| there(known)) {
                    let owner = known["agentId"].as_str().unwrap_or_default().to_lowercase();
                    unbound.conflicts.push(Conflict { binding, owner });
                } else {
                    unbound.missing.push(binding);
                }
            }
        }
    }
    if !unbound.removed.is_empty() {
        if rest.is_empty() {
            if let Some(document) = document.as_object_mut() {
                document.remove("bindings");
            }
        } else {
            document["bindings"] = rest.into();
        }
    }
    unbound
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;

    #[test]
    fn a_name_becomes_an_id() {
        assert_eq!(id_of("  Ops Team! ").as_deref(), Some("ops-team"));
        assert_eq!(id_of("Main").as_deref(), Some("main"));
        assert_eq!(id_of("🦀"), None);
    }

    #[test]
    fn the_implied_agent_stays_the_default_when_another_comes() {
        let mut document = json!({});
        entry(&mut document, "ops").insert("name".into(), "Ops".into());
        let list = json!([{"id": "main", "default": true}, {"id": "ops", "name": "Ops"}]);
        assert_eq!(document["agents"]["list"], list);
        entry(&mut document, "OPS").insert("name".into(), "Op".into());
        assert_eq!(document["agents"]["list"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn an_agent_leaves_with_its_rules_and_mentions() {
        let mut document = json!({
            "agents": {"list": [{"id": "ops"}], "defaults": {}},
            "bindings": [{"agentId": "Ops", "match": {"channel": "irc"}}],
            "tools": {"agentToAgent": {"enabled": true, "allow": ["ops"]}},
        });
        assert_eq!(remove(&mut document, "ops"), Removed { bindings: 1, allow: 1 });
        let left =
            json!({"agents": {"defaults": {}}, "tools": {"agentToAgent": {"enabled": true}}});
        assert_eq!(document, left);
    }

    #[test]
    fn a_rule_has_one_owner_and_gets_its_account_later() {
        let mut document = json!({});
        let irc = json!({"channel": "irc"});
        let work = json!({"channel": "irc", "accountId": "work"});
        assert_eq!(bind(&mut document, "ops", from_ref(&irc)).added.len(), 1);
        assert_eq!(bind(&mut document, "ops", from_ref(&irc)).skipped.len(), 1);
        let taken = bind(&mut document, "main", from_ref(&irc));
        assert_eq!(taken.conflicts[0].owner, "ops");
        let updated = bind(&mut document, "ops", from_ref(&work)).updated;
        assert_eq!(describe(&updated[0]), "irc accountId=work");
        assert_eq!(bind(&mut document, "main", from_ref(&irc)).added.len(), 1);
        assert_eq!(unbind(&mut document, "ops", Some(from_ref(&irc))).conflicts.len(), 1);
        let telegram = json!({"channel": "telegram"});
        assert_eq!(unbind(&mut document, "ops", Some(&[telegram])).missing.len(), 1);
        assert_eq!(unbind(&mut document, "ops", Some(&[work])).removed.len(), 1);
        assert_eq!(unbind(&mut document, "main", None).removed.len(), 1);
        assert_eq!(document, json!({}));
    }

    #[test]
    fn a_description_names_what_is_matched() {
        let binding = json!({"match": {"channel": "discord", "guildId": "1",
            "peer": {"kind": "group", "id": "#ops"}}});
        assert_eq!(describe(&binding), "discord peer=group:#ops guild=1");
    }
}
