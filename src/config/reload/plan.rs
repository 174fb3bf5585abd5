//! Changed paths → what has to happen. The longest matching prefix decides; a
//! path that no rule knows restarts the gateway.

use serde_json::Value;

use crate::config::Snapshot;
use crate::config::reload::diff;

/// What one changed path asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Whoever needs it reads it when it is needed.
    Nothing,
    /// A running part has to be told.
    Hot,
    /// Only a fresh start can do it.
    Restart,
}

use Action::{Hot, Nothing, Restart};

/// Prefixes with their action.
const RULES: &[(&str, Action)] = &[
    ("$schema", Nothing),
    ("acp", Nothing),
    ("agents", Nothing),
    ("agents.defaults.heartbeat", Hot),
    ("agents.defaults.model", Hot),
    ("agents.defaults.models", Hot),
    ("approvals", Nothing),
    ("audio", Nothing),
    ("auth", Nothing),
    ("bindings", Nothing),
    ("broadcast", Nothing),
    ("browser", Nothing),
    ("canvasHost", Nothing),
    ("channels", Hot),
    ("cli", Nothing),
    ("commands", Nothing),
    ("cron", Hot),
    ("diagnostics", Nothing),
    ("discovery", Nothing),
    ("discovery.mdns", Restart),
    ("env", Hot),
    ("gateway", Nothing),
    ("gateway.allowRealIpFallback", Hot),
    ("gateway.auth", Hot),
    ("gateway.auth.mode", Restart),
    ("gateway.bind", Restart),
    ("gateway.channelHealthCheckMinutes", Hot),
    ("gateway.channelMaxRestartsPerHour", Hot),
    ("gateway.channelStaleEventThresholdMinutes", Hot),
    ("gateway.customBindHost", Restart),
    ("gateway.mode", Restart),
    ("gateway.port", Restart),
    ("gateway.tailscale", Restart),
    ("gateway.tls", Restart),
    ("gateway.trustedProxies", Hot),
    ("hooks", Hot),
    ("identity", Nothing),
    ("logging", Nothing),
    ("mcp", Nothing),
    ("media", Nothing),
    ("memory", Nothing),
    ("messages", Nothing),
    ("meta", Nothing),
    ("models", Hot),
    ("nodeHost", Nothing),
    ("plugins", Nothing),
    ("routing", Nothing),
    ("secrets", Hot),
    ("session", Nothing),
    ("skills", Nothing),
    ("talk", Nothing),
    ("tools", Nothing),
    ("ui", Nothing),
    ("update", Nothing),
    ("web", Hot),
    ("wizard", Nothing),
];

/// What a change at `path` asks for.
pub fn action_for(path: &str) -> Action {
    let matching = RULES.iter().filter(|(prefix, _)| {
        path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    });
    matching.max_by_key(|(prefix, _)| prefix.len()).map_or(Restart, |(_, action)| *action)
}

/// `gateway.reload.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Off,
    Hot,
    Restart,
    Hybrid,
}

impl Mode {
    /// The mode that a configuration asks for.
    pub fn of(config: &Value) -> Self {
        match config["gateway"]["reload"]["mode"].as_str() {
            Some("off") => Self::Off,
            Some("hot") => Self::Hot,
            Some("restart") => Self::Restart,
            _ => Self::Hybrid,
        }
    }
}

/// What to do about an edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Every changed path, as logged.
    pub changed: Vec<String>,
    pub step: Step,
}

/// The one step of a plan; all or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing that matters has changed: comments, order, white space.
    Same,
    /// Reloading is switched off.
    Disabled,
    /// Take over the next configuration; these paths need a part to be told.
    Apply { hot: Vec<String> },
    /// Hot mode, but these paths need a restart: nothing is applied.
    Ignore { paths: Vec<String> },
    /// Start over because of these paths.
    Restart { paths: Vec<String> },
}

/// Plans the way from `previous` to `next`, source against source, so that
/// resolved secrets and defaults never look like edits.
pub fn plan(previous: &Snapshot, next: &Snapshot) -> Plan {
    between(&previous.resolved, &next.resolved)
}

fn between(previous: &Value, next: &Value) -> Plan {
    let changed = diff::changed_paths(previous, next);
    // A write of ours stamps `meta`, which nobody has to hear about.
    let relevant: Vec<&String> = changed.iter().filter(|path| !is_meta(path)).collect();
    let step = if relevant.is_empty() { Step::Same } else { step(previous, next, &relevant) };
    Plan { changed, step }
}

fn is_meta(path: &str) -> bool {
    path == "meta" || path.starts_with("meta.")
}

fn step(previous: &Value, next: &Value, relevant: &[&String]) -> Step {
    let strongest = |path: &str| {
        let leaves = diff::leaves(path, previous, next);
        leaves.iter().map(|leaf| action_for(leaf)).max().unwrap_or(Restart)
    };
    let of = |wanted: Action| -> Vec<String> {
        relevant
            .iter()
            .filter(|path| strongest(path) == wanted)
            .map(|path| (*path).clone())
            .collect()
    };
    let restart = of(Restart);
    match Mode::of(next) {
        Mode::Off => Step::Disabled,
        Mode::Restart => {
            Step::Restart { paths: relevant.iter().map(|path| (*path).clone()).collect() }
        }
        Mode::Hot if !restart.is_empty() => Step::Ignore { paths: restart },
        Mode::Hybrid if !restart.is_empty() => Step::Restart { paths: restart },
        Mode::Hot | Mode::Hybrid => Step::Apply { hot: of(Hot) },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::schema::table;

    #[test]
    fn the_longest_prefix_wins() {
        assert_eq!(action_for("gateway.reload.mode"), Nothing);
        assert_eq!(action_for("gateway.port"), Restart);
        assert_eq!(action_for("gateway.auth.token"), Hot);
        assert_eq!(action_for("gateway.auth.mode"), Restart);
        assert_eq!(action_for("agents.defaults.model.primary"), Hot);
        assert_eq!(action_for("agents.defaults.workspace"), Nothing);
        assert_eq!(action_for("hooksy"), Restart);
        assert_eq!(action_for(""), Restart);
    }

    #[test]
    fn every_section_of_the_file_has_a_rule() {
        for edge in table::table().root().named() {
            assert!(RULES.iter().any(|(prefix, _)| *prefix == edge.key), "{}", edge.key);
        }
    }

    #[track_caller]
    fn check(previous: &Value, next: &Value, changed: &[&str], step: &Step) {
        let plan = between(previous, next);
        assert_eq!(plan.changed, changed);
        assert_eq!(plan.step, *step);
    }

    #[test]
    fn the_mode_of_the_next_configuration_decides() {
        let with =
            |mode: &str, port: u16| json!({"gateway": {"port": port, "reload": {"mode": mode}}});
        let restart = || vec!["gateway.port".to_owned()];
        check(
            &with("hot", 1),
            &with("hot", 2),
            &["gateway.port"],
            &Step::Ignore { paths: restart() },
        );
        check(
            &with("hybrid", 1),
            &with("hybrid", 2),
            &["gateway.port"],
            &Step::Restart { paths: restart() },
        );
        check(&with("off", 1), &with("off", 2), &["gateway.port"], &Step::Disabled);
        check(
            &with("hot", 1),
            &with("restart", 1),
            &["gateway.reload.mode"],
            &Step::Restart { paths: vec!["gateway.reload.mode".to_owned()] },
        );
        check(
            &with("hot", 1),
            &with("hybrid", 1),
            &["gateway.reload.mode"],
            &Step::Apply { hot: Vec::new() },
        );
    }

    #[test]
    fn a_first_channel_is_hot_and_a_stamp_is_nothing() {
        let next = json!({"channels": {"telegram": {"enabled": true}}});
        check(&json!({}), &next, &["channels"], &Step::Apply { hot: vec!["channels".to_owned()] });
        check(&json!({}), &json!({"meta": {"lastTouchedAt": "x"}}), &["meta"], &Step::Same);
        let both = json!({"gateway": {"port": 1, "reload": {"mode": "hybrid"}}});
        check(
            &json!({}),
            &both,
            &["gateway"],
            &Step::Restart { paths: vec!["gateway".to_owned()] },
        );
    }
}
