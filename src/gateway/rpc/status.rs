//! `status`: one look at heartbeats, waiting notices, tasks and sessions.

use serde_json::{Map, Value, json};

use crate::agents::run::Lane;
use crate::agents::sessions::ListParams;
use crate::gateway::rpc::{Call, Method, Reply};
use crate::gateway::{heartbeat, noted, reload};
use crate::protocol::scope::Scope;
use crate::store::tasks::Task;
use crate::store::tasks::audit::{CODES, counts, findings, summary};

pub(crate) const METHODS: &[Method] =
    &[Method { name: "status", run: |call| Box::pin(status(call)) }];

/// Sessions shown per list.
const RECENT: usize = 10;

async fn status(call: Call) -> Reply {
    let state = &call.state;
    let snapshot = state.config.load();
    let config = &snapshot.config;
    let now = call.now();
    let sessions = state.agents.sessions();
    let admin = call.caller.scopes.allow(Scope::Admin);
    let beats: Vec<Value> = super::agents::agent_ids(config, &state.paths)
        .iter()
        .map(|id| {
            let plan = heartbeat::Plan::of(config, id);
            let mut entry = Map::new();
            entry.insert("agentId".into(), id.clone().into());
            entry.insert("enabled".into(), plan.is_on().into());
            entry.insert("every".into(), plan.every_text().into());
            entry.insert("everyMs".into(), plan.every_ms().into());
            if call.caller.protocol >= 4 {
                // Whether it would tell somebody if it knew whom.
                let key = sessions.canonical(&format!("agent:{id}:main"));
                let row = sessions.row_now(&key).unwrap_or_default();
                let lost = row["lastTo"].is_null() && plan.is_on() && plan.target == "last";
                entry.insert("waitingForRoute".into(), lost.into());
            }
            Value::Object(entry)
        })
        .collect();
    let default = config.agents.default_id().to_lowercase();
    let (_, model, context) = state.agents.default_model(None);
    let mut by_agent = Vec::new();
    let mut paths = Vec::new();
    let mut all = Vec::new();
    let mut count = 0;
    for id in super::agents::agent_ids(config, &state.paths) {
        let params = ListParams {
            agent_id: Some(id.clone()),
            include_global: Some(true),
            include_unknown: Some(true),
            ..ListParams::default()
        };
        let list = sessions.list(params).await?;
        let listed = list["sessions"].as_array().map_or(&[][..], Vec::as_slice);
        let path = list["path"].clone();
        let recent: Vec<Value> =
            listed.iter().take(RECENT).map(|row| status_row(row, &id, now)).collect();
        count += listed.len();
        all.extend(recent.iter().cloned());
        by_agent.push(json!({
            "agentId": id,
            "path": if admin { path.clone() } else { "[redacted]".into() },
            "count": listed.len(),
            "recent": if admin { recent } else { Vec::new() },
        }));
        paths.push(path);
    }
    all.sort_by_key(|row| std::cmp::Reverse(row["updatedAt"].as_u64().unwrap_or(0)));
    all.truncate(RECENT);
    let defaults = if admin {
        json!({ "model": model, "contextTokens": context })
    } else {
        json!({ "model": null, "contextTokens": null })
    };
    let main = sessions.canonical("main");
    let noted = noted::all(state).await;
    let mut report = json!({
        "runtimeVersion": crate::base::VERSION,
        "heartbeat": { "defaultAgentId": default, "agents": beats },
        "channelSummary": [],
        "queuedSystemEvents": state.agents.waiting_events(&main),
        "tasks": tasks(&call, &noted),
        "taskAudit": counts(&CODES, &findings(&noted, now)),
        "sessions": {
            "paths": if admin { paths } else { Vec::new() },
            "count": count,
            "defaults": defaults,
            "recent": if admin { all } else { Vec::new() },
            "byAgent": by_agent,
        },
    });
    if let Some(degraded) = reload::degraded_config(state) {
        report["config"] = degraded;
    }
    let pending = state.reloader.pending();
    if !pending.is_empty() {
        report["configPendingRestart"] = pending.into();
    }
    Ok(report)
}

/// What the registry has of ended tasks, and the runs that wait or work now: those
/// of chats are among them, which the registry does not have.
fn tasks(call: &Call, noted: &[Task]) -> Value {
    let over: Vec<Task> = noted.iter().filter(|task| !task.is_active()).cloned().collect();
    let mut summed = summary(&over);
    let active = call.state.agents.active();
    let lane = |wanted: Lane| active.iter().filter(|run| run.lane == wanted).count();
    let running = active.iter().filter(|run| run.started_at.is_some()).count();
    let (subagent, cron) = (lane(Lane::Subagent), lane(Lane::Cron));
    summed["total"] = (over.len() + active.len()).into();
    summed["active"] = active.len().into();
    summed["byStatus"]["queued"] = (active.len() - running).into();
    summed["byStatus"]["running"] = running.into();
    for (runtime, more) in
        [("subagent", subagent), ("cron", cron), ("cli", active.len() - subagent - cron)]
    {
        let before = summed["byRuntime"][runtime].as_u64().unwrap_or(0);
        summed["byRuntime"][runtime] = (before + more as u64).into();
    }
    summed
}

/// A row of `sessions.list` as `status` shows it.
fn status_row(row: &Value, agent: &str, now: u64) -> Value {
    let number = |key: &str| row[key].as_u64();
    let updated = number("updatedAt").unwrap_or(0);
    let mut entry = Map::new();
    entry.insert("agentId".into(), agent.into());
    for key in ["key", "kind", "sessionId"] {
        entry.insert(key.into(), row[key].clone());
    }
    entry.insert("updatedAt".into(), updated.into());
    entry.insert("age".into(), now.saturating_sub(updated).into());
    for key in [
        "thinkingLevel",
        "verboseLevel",
        "reasoningLevel",
        "elevatedLevel",
        "systemSent",
        "abortedLastRun",
        "inputTokens",
        "outputTokens",
    ] {
        if let Some(value) = row.get(key) {
            entry.insert(key.into(), value.clone());
        }
    }
    for key in ["cacheRead", "cacheWrite"] {
        if row.get("inputTokens").is_some() {
            entry.insert(key.into(), number(key).unwrap_or(0).into());
        }
    }
    let total = number("totalTokens");
    let context = number("contextTokens");
    let left = total.zip(context).map(|(total, context)| context.saturating_sub(total));
    let percent = total
        .zip(context)
        .filter(|(_, context)| *context > 0)
        .map(|(total, context)| ((total * 200 + context) / (context * 2)).min(999));
    entry.insert("totalTokens".into(), json!(total));
    entry.insert("totalTokensFresh".into(), json!(row["totalTokensFresh"] == true));
    entry.insert("remainingTokens".into(), json!(left));
    entry.insert("percentUsed".into(), json!(percent));
    entry.insert("model".into(), row["model"].clone());
    entry.insert("contextTokens".into(), json!(context));
    entry.insert("flags".into(), json!(flags(row)));
    Value::Object(entry)
}

fn flags(row: &Value) -> Vec<String> {
    let text = |key: &str| row[key].as_str().filter(|text| !text.is_empty());
    let mut flags = Vec::new();
    for (key, label) in [
        ("thinkingLevel", "think"),
        ("verboseLevel", "verbose"),
        ("reasoningLevel", "reasoning"),
        ("elevatedLevel", "elevated"),
    ] {
        if let Some(level) = text(key) {
            flags.push(format!("{label}:{level}"));
        }
    }
    if row["fastMode"] == true {
        flags.push("fast".into());
    }
    if row["systemSent"] == true {
        flags.push("system".into());
    }
    if row["abortedLastRun"] == true {
        flags.push("aborted".into());
    }
    if let Some(id) = text("sessionId") {
        flags.push(format!("id:{id}"));
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_shown_as_recorded() {
        let row = json!({"key": "agent:main:main", "kind": "direct", "sessionId": "1c83",
            "updatedAt": 1_795_350_238_377_u64, "systemSent": true, "abortedLastRun": false,
            "inputTokens": 11, "outputTokens": 7, "totalTokens": 11, "totalTokensFresh": true,
            "status": "done", "model": "tiny-1", "contextTokens": 65536});
        let expected = json!({"agentId": "main", "key": "agent:main:main", "kind": "direct",
            "sessionId": "1c83", "updatedAt": 1_795_350_238_377_u64, "age": 118_170,
            "systemSent": true, "abortedLastRun": false, "inputTokens": 11, "outputTokens": 7,
            "cacheRead": 0, "cacheWrite": 0, "totalTokens": 11, "totalTokensFresh": true,
            "remainingTokens": 65525, "percentUsed": 0, "model": "tiny-1",
            "contextTokens": 65536, "flags": ["system", "id:1c83"]});
        assert_eq!(status_row(&row, "main", 1_795_350_356_547), expected);
    }
}
