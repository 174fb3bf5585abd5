//! `skills.*` and `hooks.status`: what agents were taught, its switches, and
//! what of the Node gateway's hooks lies on this host.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use crate::agents::skills::{self, hooks};
use crate::config::Config;
use crate::config::redact::{self, References, SENTINEL};
use crate::gateway::rpc::agents::{agent_ids, workspace};
use crate::gateway::rpc::edits::{change, changing};
use crate::gateway::rpc::params::{blocking, flag, text};
use crate::gateway::rpc::tools::known_agent;
use crate::gateway::rpc::{Call, Method, Reply};
use crate::profile::paths::Paths;
use crate::protocol::error::ErrorShape;

pub(crate) const METHODS: &[Method] = &[
    Method { name: "skills.status", run: |call| Box::pin(status(call)) },
    Method { name: "skills.bins", run: |call| Box::pin(bins(call)) },
    Method { name: "skills.update", run: |call| Box::pin(update(call)) },
];

fn workspace_of(config: &Config, paths: &Paths, agent: &str) -> PathBuf {
    let default = agent == config.agents.default_id().to_lowercase();
    workspace::dir(config, paths, agent, default)
}

async fn status(call: Call) -> Reply {
    let agent = known_agent(&call)?;
    blocking(move || {
        let state = &call.state;
        let snapshot = state.config.load();
        let config = &snapshot.config;
        let workspace = workspace_of(config, &state.paths, &agent);
        let found = skills::discover(&workspace, &state.paths, config);
        let entries: Vec<Value> = found
            .iter()
            .map(|skill| {
                let verdict = skills::judge(skill, &snapshot.env, config, &snapshot.resolved);
                skills::status_entry(skill, &verdict)
            })
            .collect();
        Ok(json!({
            "workspaceDir": workspace,
            "managedSkillsDir": skills::managed_dir(&state.paths),
            "skills": entries,
        }))
    })
    .await
}

async fn bins(call: Call) -> Reply {
    blocking(move || {
        let state = &call.state;
        let snapshot = state.config.load();
        let config = &snapshot.config;
        let mut bins: Vec<String> = Vec::new();
        for agent in agent_ids(config, &state.paths) {
            let workspace = workspace_of(config, &state.paths, &agent);
            bins.extend(skills::wanted_bins(&skills::discover(&workspace, &state.paths, config)));
        }
        bins.sort_unstable();
        bins.dedup();
        Ok(json!({ "bins": bins }))
    })
    .await
}

/// Turns a skill on or off, or changes what it is given.
async fn update(call: Call) -> Reply {
    if call.params.get("source").is_some() {
        let all = flag(&call.params, "all") == Some(true);
        let wrong = match text(&call.params, "slug") {
            None if !all => Some("clawhub skills.update requires \"slug\" or \"all\""),
            Some(_) if all => {
                Some("clawhub skills.update accepts either \"slug\" or \"all\", not both")
            }
            _ => None,
        };
        if let Some(wrong) = wrong {
            return Err(ErrorShape::invalid(wrong));
        }
        return Err(ErrorShape::unavailable(
            "this gateway fetches no skills from ClawHub; put the skill's folder under \
             ~/.openclaw/skills or <workspace>/skills",
        ));
    }
    changing(call, |call| {
        let key = text(&call.params, "skillKey").unwrap_or_default().to_owned();
        if key.is_empty() {
            return Err(ErrorShape::invalid("skillKey required"));
        }
        let mut entry = Map::new();
        change(call, |document, _| {
            let entries = object_at(object_at(document, "skills"), "entries");
            let known = object_at(entries, &key).as_object_mut();
            if let Some(known) = known {
                patch(known, &call.params);
                entry.clone_from(known);
            }
            Ok(())
        })?;
        let path = format!("skills.entries.{}", key.replace('.', "_"));
        let shown = redact::redact(&Value::Object(entry), &path, References::Masked);
        Ok(json!({ "ok": true, "skillKey": key, "config": shown }))
    })
    .await
}

/// The object under a key, made if there is none.
fn object_at<'v>(value: &'v mut Value, key: &str) -> &'v mut Value {
    if !value[key].is_object() {
        value[key] = json!({});
    }
    &mut value[key]
}

/// Applies what a client sent. Blank takes away; what is hidden from clients
/// and comes back hidden stays as it is.
fn patch(entry: &mut Map<String, Value>, params: &Value) {
    if let Some(enabled) = flag(params, "enabled") {
        entry.insert("enabled".into(), enabled.into());
    }
    let put = |map: &mut Map<String, Value>, key: &str, value: &str| match value {
        SENTINEL => {}
        "" => drop(map.shift_remove(key)),
        value => drop(map.insert(key.to_owned(), value.into())),
    };
    if let Some(given) = params.get("apiKey").and_then(Value::as_str) {
        let one_line: String = given.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
        put(entry, "apiKey", one_line.trim());
    }
    if let Some(given) = params.get("env").and_then(Value::as_object) {
        let env = entry.entry("env").or_insert_with(|| json!({}));
        if !env.is_object() {
            *env = json!({});
        }
        let Some(env) = env.as_object_mut() else { return };
        for (name, value) in given {
            if let Some(value) = value.as_str().filter(|_| !name.trim().is_empty()) {
                put(env, name.trim(), value.trim());
            }
        }
    }
}

/// The hooks on this host, each with the reason why it is not called.
pub(super) async fn hooks_status(call: Call) -> Reply {
    let agent = known_agent(&call)?;
    blocking(move || {
        let state = &call.state;
        let snapshot = state.config.load();
        let config = &snapshot.config;
        let workspace = workspace_of(config, &state.paths, &agent);
        let found = hooks::discover(&workspace, &state.paths, &config.hooks);
        let judge = |hook| hooks::status(hook, &snapshot.env, &config.hooks, &snapshot.resolved);
        Ok(json!({
            "workspaceDir": workspace,
            "managedHooksDir": hooks::managed_dir(&state.paths),
            "hooks": found.iter().map(judge).collect::<Vec<_>>(),
        }))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skill_is_switched_and_given_what_it_needs() {
        let mut entry = json!({"apiKey": "old", "env": {"A": "1", "B": "2"}, "config": {"x": 1}});
        let entry = entry.as_object_mut().unwrap();
        patch(
            entry,
            &json!({"enabled": false, "apiKey": SENTINEL,
            "env": {" A ": " 3 ", "B": "", "": "x", "C": SENTINEL}}),
        );
        let expected =
            json!({"apiKey": "old", "env": {"A": "3"}, "config": {"x": 1}, "enabled": false});
        assert_eq!(Value::Object(entry.clone()), expected);
        patch(entry, &json!({"apiKey": " ke\ny "}));
        assert_eq!(entry["apiKey"], "key");
        patch(entry, &json!({"apiKey": ""}));
        assert!(entry.get("apiKey").is_none());
        let mut document = json!({"skills": {"entries": 3}});
        object_at(object_at(&mut document, "skills"), "entries")["k"] = json!({});
        assert_eq!(document, json!({"skills": {"entries": {"k": {}}}}));
    }
}
