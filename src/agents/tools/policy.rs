//! Which tools a run may use: profiles, allow and deny lists of the
//! configuration and of the agent. Deny always wins.

use std::collections::BTreeSet;

use serde_json::Map;
use serde_json::Value;

use crate::config::Config;

/// Tools of a `group:<name>`.
const GROUPS: &[(&str, &[&str])] = &[
    ("fs", &["read", "write", "edit", "apply_patch"]),
    ("runtime", &["exec", "process", "code_execution"]),
    ("web", &["web_search", "web_fetch", "x_search"]),
    ("memory", &["memory_search", "memory_get"]),
    (
        "sessions",
        &[
            "sessions_list",
            "sessions_history",
            "sessions_send",
            "sessions_spawn",
            "sessions_yield",
            "subagents",
            "session_status",
        ],
    ),
    ("ui", &["browser", "canvas"]),
    ("messaging", &["message"]),
    ("automation", &["cron", "gateway"]),
    ("nodes", &["nodes"]),
    ("agents", &["agents_list"]),
    ("media", &["image", "image_generate", "tts"]),
];

/// Tools of the `coding` profile.
const CODING: &[&str] = &[
    "read",
    "write",
    "edit",
    "apply_patch",
    "exec",
    "process",
    "code_execution",
    "web_search",
    "web_fetch",
    "x_search",
    "memory_search",
    "memory_get",
    "sessions_list",
    "sessions_history",
    "sessions_send",
    "sessions_spawn",
    "sessions_yield",
    "subagents",
    "session_status",
    "cron",
    "image",
    "image_generate",
];
const MESSAGING: &[&str] =
    &["message", "sessions_list", "sessions_history", "sessions_send", "session_status"];
const MINIMAL: &[&str] = &["session_status"];

/// Tools that run in the sandbox where the configuration asks for one.
const BOXED: &[&str] = &["exec", "process", "read", "write", "edit"];

/// Whether the configuration wants a session's tools in a sandbox.
pub(crate) fn is_boxed(config: &Config, agent: &str, is_main: bool) -> bool {
    let mode = |section: &Map<String, Value>| {
        section.get("sandbox").and_then(|sandbox| sandbox["mode"].as_str()).map(str::to_owned)
    };
    let own = config.agents.get(agent).and_then(|agent| mode(&agent.rest));
    match own.or_else(|| mode(&config.agents.defaults.rest)).as_deref() {
        Some("all") => true,
        Some("non-main") => !is_main,
        _ => false,
    }
}

/// Profiles that a tool belongs to, `full` left out.
pub(crate) fn profiles_of(tool: &str) -> Vec<&'static str> {
    [("minimal", MINIMAL), ("coding", CODING), ("messaging", MESSAGING)]
        .into_iter()
        .filter(|(_, tools)| tools.contains(&tool))
        .map(|(profile, _)| profile)
        .collect()
}

/// The names of every tool that exists somewhere, ours or not.
fn is_known(name: &str) -> bool {
    name.contains(crate::agents::mcp::BETWEEN)
        || GROUPS.iter().any(|(_, tools)| tools.contains(&name))
}

/// One step: what it lets through and what it takes away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Step {
    /// Patterns; `None` lets everything through.
    allow: Option<BTreeSet<String>>,
    deny: BTreeSet<String>,
}

/// All steps together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Policy {
    steps: Vec<Step>,
    owner: bool,
}

impl Policy {
    /// The policy for a run of `agent` on a model of `provider`.
    pub(crate) fn of(
        config: &Config,
        agent: &str,
        provider: &str,
        model: &str,
        owner: bool,
    ) -> Self {
        let mut steps = Vec::new();
        let agent_tools = config.agents.get(agent).map(|agent| &agent.tools);
        let profile = agent_tools
            .and_then(|tools| tools.get("profile"))
            .or_else(|| config.tools.get("profile"))
            .and_then(Value::as_str);
        if let Some(allow) = profile.and_then(profile_tools) {
            let more = [Some(&config.tools), agent_tools]
                .into_iter()
                .flatten()
                .flat_map(|tools| patterns(tools.get("alsoAllow")));
            steps.push(Step {
                allow: Some(allow.into_iter().chain(more).collect()),
                deny: BTreeSet::new(),
            });
        }
        for tools in [Some(&config.tools), agent_tools].into_iter().flatten() {
            steps.push(step(tools));
            if let Some(own) = by_provider(tools, provider, model) {
                if let Some(allow) =
                    own.get("profile").and_then(Value::as_str).and_then(profile_tools)
                {
                    steps.push(Step { allow: Some(allow), deny: BTreeSet::new() });
                }
                steps.push(step(own));
            }
        }
        Self { steps, owner }
    }

    /// Narrows to what a group lets a sender use.
    #[must_use]
    pub(crate) fn within(mut self, group: Option<&Map<String, Value>>) -> Self {
        self.steps.extend(group.map(step));
        self
    }

    /// Takes away what is to run in a sandbox: there is none here, and outside of
    /// one it is not to run.
    #[must_use]
    pub(crate) fn unless_boxed(mut self, is_boxed: bool) -> Self {
        if is_boxed {
            let deny = BOXED.iter().map(|name| (*name).to_owned()).collect();
            self.steps.push(Step { allow: None, deny });
        }
        self
    }

    /// Narrows to the named tools.
    #[must_use]
    pub(crate) fn only(mut self, names: Option<&[String]>) -> Self {
        if let Some(names) = names {
            let allow = names.iter().flat_map(|name| expand(name)).collect();
            self.steps.push(Step { allow: Some(allow), deny: BTreeSet::new() });
        }
        self
    }

    pub(crate) fn allows(&self, name: &str, owner_only: bool) -> bool {
        (self.owner || !owner_only)
            && self.steps.iter().all(|step| {
                let hit = |set: &BTreeSet<String>| set.iter().any(|pattern| fits(pattern, name));
                step.allow.as_ref().is_none_or(hit) && !hit(&step.deny)
            })
    }
}

fn profile_tools(profile: &str) -> Option<BTreeSet<String>> {
    let tools = match profile.trim() {
        "minimal" => MINIMAL,
        "coding" => CODING,
        "messaging" => MESSAGING,
        _ => return None,
    };
    Some(tools.iter().map(|name| (*name).to_owned()).collect())
}

fn by_provider<'a>(
    tools: &'a Map<String, Value>,
    provider: &str,
    model: &str,
) -> Option<&'a Map<String, Value>> {
    let table = tools.get("byProvider")?.as_object()?;
    let find = |name: &str| {
        table
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .and_then(|(_, v)| v.as_object())
    };
    find(&format!("{provider}/{model}")).or_else(|| find(provider))
}

fn step(tools: &Map<String, Value>) -> Step {
    let allow: BTreeSet<String> = patterns(tools.get("allow")).collect();
    let only_unknown = !allow.is_empty()
        && !allow.iter().any(|pattern| pattern.contains('*') || is_known(pattern));
    if only_unknown {
        tracing::warn!(?allow, "tools.allow names no tool that exists; it is ignored");
    }
    let allow = (!allow.is_empty() && !only_unknown).then(|| {
        let more = patterns(tools.get("alsoAllow"));
        allow.into_iter().chain(more).collect()
    });
    Step { allow, deny: patterns(tools.get("deny")).collect() }
}

fn patterns(value: Option<&Value>) -> impl Iterator<Item = String> {
    let items = value.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).flat_map(expand)
}

/// One entry of a list: a group, an alias, a pattern or a name.
fn expand(entry: &str) -> Vec<String> {
    let name = entry.trim().to_ascii_lowercase();
    match name.as_str() {
        "bash" => vec!["exec".to_owned()],
        "apply-patch" => vec!["apply_patch".to_owned()],
        "bundle-mcp" | "group:plugins" => vec![format!("*{}*", crate::agents::mcp::BETWEEN)],
        "group:openclaw" => {
            GROUPS.iter().flat_map(|(_, tools)| tools.iter().map(|t| (*t).to_owned())).collect()
        }
        _ => match name.strip_prefix("group:") {
            Some(group) => GROUPS
                .iter()
                .filter(|(known, _)| *known == group)
                .flat_map(|(_, tools)| tools.iter().map(|tool| (*tool).to_owned()))
                .collect(),
            None => vec![name],
        },
    }
}

/// Whether a name fits a pattern in which `*` stands for anything.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(first) else { return false };
    let mut pieces = rest.split('*').peekable();
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return left.ends_with(piece);
        }
        match left.find(piece) {
            Some(at) => left = &left[at + piece.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn policy(tools: &Value, agent: &Value) -> Policy {
        let config = json!({"tools": tools, "agents": {"list": [{"id": "main", "tools": agent}]}});
        Policy::of(&serde_json::from_value(config).unwrap(), "main", "fake", "m", true)
    }

    #[test]
    fn deny_wins_over_allow_on_every_level() {
        let policy = policy(&json!({"allow": ["group:fs", "exec"]}), &json!({"deny": ["write"]}));
        for (name, allowed) in [("read", true), ("write", false), ("exec", true), ("cron", false)] {
            assert_eq!(policy.allows(name, false), allowed, "{name}");
        }
    }

    #[test]
    fn a_group_takes_away_and_gives_nothing() {
        let Value::Object(group) = json!({"allow": ["read", "exec"], "deny": ["exec"]}) else {
            unreachable!("the literal is an object")
        };
        let policy = policy(&json!({"deny": ["write"]}), &json!({})).within(Some(&group));
        for (name, allowed) in [("read", true), ("write", false), ("exec", false), ("edit", false)]
        {
            assert_eq!(policy.allows(name, false), allowed, "{name}");
        }
    }

    #[test]
    fn what_is_to_run_in_a_sandbox_does_not_run_outside() {
        let config = |mode: &str, own: &Value| -> Config {
            let agents = json!({"defaults": {"sandbox": {"mode": mode}}, "list": [{"id": "main", "sandbox": own}]});
            serde_json::from_value(json!({ "agents": agents })).unwrap()
        };
        let none = json!({});
        assert!(is_boxed(&config("all", &none), "main", true));
        assert!(is_boxed(&config("non-main", &none), "main", false));
        assert!(!is_boxed(&config("non-main", &none), "main", true));
        assert!(!is_boxed(&config("all", &json!({"mode": "off"})), "main", false));
        let policy = policy(&none, &none).unless_boxed(true);
        assert!(!policy.allows("exec", false) && policy.allows("web_fetch", false));
    }

    #[test]
    fn a_profile_limits_and_also_allow_widens() {
        let policy = policy(&json!({"profile": "minimal", "alsoAllow": ["Bash"]}), &json!({}));
        assert!(policy.allows("session_status", false) && policy.allows("exec", false));
        assert!(!policy.allows("read", false));
    }

    #[test]
    fn a_list_of_unknown_tools_is_ignored() {
        assert!(policy(&json!({"allow": ["nonsense"]}), &json!({})).allows("read", false));
    }

    #[test]
    fn owner_tools_vanish_for_others_and_runs_can_narrow() {
        let mut policy = policy(&json!({}), &json!({}));
        assert!(policy.allows("cron", true));
        policy.owner = false;
        assert!(!policy.allows("cron", true));
        let narrow = policy.only(Some(&["read".to_owned()]));
        assert!(narrow.allows("read", false) && !narrow.allows("exec", false));
    }

    #[test]
    fn stars_stand_for_anything() {
        let cases = [
            ("*", "read", true),
            ("sessions_*", "sessions_list", true),
            ("sessions_*", "session_status", false),
            ("*_get", "memory_get", true),
            ("s*_l*t", "sessions_list", true),
            ("a*a", "a", false),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }
}
