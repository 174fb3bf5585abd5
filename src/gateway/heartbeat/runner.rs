//! The task that beats.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use crate::agents::heartbeat::{is_nothing, remark};
use crate::agents::run::{Lane, Origin};
use crate::agents::{RunRequest, RunStatus, time_zone};
use crate::base::id::{SessionKey, uuid};
use crate::gateway::State;
use crate::gateway::heartbeat::Plan;
use crate::gateway::routing::outbound;
use crate::gateway::rpc::agents::{agent_ids, workspace};
use crate::protocol::events::Event;

/// Longest sleep.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// Pause before a busy agent is asked again.
const BUSY: Duration = Duration::from_secs(1);
/// Why a beat comes that says a reminder.
pub const REMINDER: &str = "cron";

/// Starts the heartbeat task.
pub fn start(state: &Arc<State>) {
    let lifecycle = state.lifecycle.clone();
    let state = Arc::clone(state);
    lifecycle.spawn("heartbeats", move |stop| run(state, stop));
}

async fn run(state: Arc<State>, stop: CancellationToken) {
    // Period and next beat of each agent.
    let mut due: HashMap<String, (u64, u64)> = HashMap::new();
    let mut changes = state.config.changes();
    // Beats that an agent was too busy for, and why they were wanted.
    let mut busy: BTreeMap<String, Option<&'static str>> = BTreeMap::new();
    loop {
        let now = state.clock.now_ms();
        let plans = plans(&state);
        due.retain(|agent, (every, _)| plans.iter().any(|(id, it)| id == agent && it == every));
        for (agent, every) in &plans {
            due.entry(agent.clone()).or_insert((*every, now + every));
        }
        let next = due.values().map(|(_, at)| at).min().map_or(LONGEST_SLEEP, |at| {
            Duration::from_millis(at.saturating_sub(now)).min(LONGEST_SLEEP)
        });
        let next = if busy.is_empty() { next } else { next.min(BUSY) };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(next) => {}
            () = state.services.heartbeats.bell.notified() => {}
            // The sender lives as long as the state.
            _ = changes.changed() => {}
        }
        let asked = state.services.heartbeats.take_requests();
        if !state.services.heartbeats.is_enabled() {
            busy.clear();
            continue;
        }
        let now = state.clock.now_ms();
        let waited = std::mem::take(&mut busy);
        let mut wanted = waited.clone();
        for (agent, every) in plans {
            if due.get(&agent).is_some_and(|(_, at)| *at <= now) {
                due.insert(agent.clone(), (every, now + every));
                wanted.entry(agent).or_insert(None);
            }
        }
        wanted.extend(asked.into_iter().map(|(agent, reason)| (agent, Some(reason))));
        for (agent, reason) in wanted {
            if is_busy(&state, &agent) {
                if !waited.contains_key(&agent) {
                    finish(&state, skipped(now, "requests-in-flight"));
                }
                busy.insert(agent, reason);
            } else {
                beat(&state, &agent, reason).await;
            }
        }
    }
}

/// Whether any agent's heart beats.
pub fn beats(state: &State) -> bool {
    state.services.heartbeats.is_enabled() && !plans(state).is_empty()
}

/// Agents whose heart beats, with their period in milliseconds.
fn plans(state: &State) -> Vec<(String, u64)> {
    let snapshot = state.config.load();
    agent_ids(&snapshot.config, &state.paths)
        .into_iter()
        .filter_map(|agent| {
            let plan = Plan::of(&snapshot.config, &agent);
            plan.every_ms().filter(|_| plan.is_on()).map(|every| (agent, every))
        })
        .collect()
}

/// The conversation in which an agent's heart beats.
fn session(state: &State, plan: &Plan, agent: &str) -> SessionKey {
    let sessions = state.agents.sessions();
    let own = plan.session.as_deref().map(str::to_lowercase).unwrap_or_default();
    let prefix = format!("agent:{agent}:");
    match own.as_str() {
        "" | "main" | "global" => sessions.canonical(&format!("{prefix}main")),
        key if key.starts_with(&prefix) => sessions.canonical(key),
        key => sessions.canonical(&format!("{prefix}{key}")),
    }
}

/// Whether a run is going on where the heart would beat.
fn is_busy(state: &State, agent: &str) -> bool {
    let key = session(state, &Plan::of(&state.config.load().config, agent), agent);
    state.agents.active().iter().any(|run| run.session_key.as_ref() == Some(&key))
}

/// One beat: ask the agent, keep and tell the result.
async fn beat(state: &Arc<State>, agent: &str, asked: Option<&'static str>) {
    let snapshot = state.config.load();
    let mut plan = Plan::of(&snapshot.config, agent);
    if asked == Some(REMINDER) {
        // Whoever asked to be reminded is told, even if usual beats are silent.
        if plan.target == "none" {
            "last".clone_into(&mut plan.target);
        }
        REMIND.clone_into(&mut plan.prompt);
    }
    let started = state.clock.now_ms();
    if !plan.is_awake(moment(started)) {
        finish(state, skipped(started, "quiet-hours"));
        return;
    }
    let key = session(state, &plan, agent);
    let default = agent == snapshot.config.agents.default_id().to_lowercase();
    let workspace = workspace::dir(&snapshot.config, &state.paths, agent, default);
    let waiting = !state.agents.waiting_events(&key).is_empty();
    if asked.is_none() && !waiting && nothing_to_do(&workspace).await {
        finish(state, skipped(started, "empty-heartbeat-file"));
        return;
    }
    let main = key.clone();
    let request = RunRequest {
        run_id: uuid(),
        agent: Some(agent.to_owned()),
        session_key: Some(key),
        message: prompt(&plan, &workspace, started, time_zone(&snapshot.config)),
        model: plan.model.clone(),
        lane: Lane::Main,
        origin: Origin { surface: Some("heartbeat".into()), ..Origin::default() },
        owner: true,
        heartbeat: Some(plan.ack_max_chars),
        ..RunRequest::default()
    };
    let result = match state.agents.submit(request).await {
        Ok(handle) => {
            let outcome = handle.outcome().await;
            let ended = state.clock.now_ms();
            let mut result = match outcome.status {
                RunStatus::Ok => {
                    let result = answered(&plan, &outcome.text);
                    deliver(state, &plan, &main, remark(&outcome.text).1, result).await
                }
                _ => failed(outcome.error.as_deref().unwrap_or("the run did not finish")),
            };
            result.insert("durationMs".into(), ended.saturating_sub(started).into());
            result
        }
        Err(err) => failed(&err.to_string()),
    };
    finish(state, stamped(started, result));
}

fn finish(state: &State, result: Value) {
    state.bus.broadcast(Event::Heartbeat, &result);
    state.services.heartbeats.keep(result);
}

/// Says a reply that is worth saying where the plan wants it.
async fn deliver(
    state: &State,
    plan: &Plan,
    key: &SessionKey,
    text: &str,
    mut result: Map<String, Value>,
) -> Map<String, Value> {
    if result["status"] != "skipped" || plan.target == "none" {
        return result;
    }
    let (account, to) = (plan.account.as_deref(), plan.to.as_deref());
    let place = outbound::target(state, key, Some(&plan.target), account, to).await;
    let place = match place {
        Ok(place) => place,
        Err(why) => {
            result.insert("detail".into(), why.into());
            return result;
        }
    };
    let (channel, account) = (place.channel.clone(), place.account.clone());
    let to = place.to.clone();
    let mut told = match outbound::deliver(state, place, text).await {
        Ok(_) => Map::from_iter([("status".to_owned(), Value::from("sent"))]),
        Err(why) => failed(&why),
    };
    for (name, value) in [("channel", channel), ("accountId", account), ("to", to)] {
        told.insert(name.into(), value.into());
    }
    told.insert("preview".into(), result["preview"].clone());
    told.insert("hasMedia".into(), false.into());
    told
}

/// What the reply means.
fn answered(plan: &Plan, text: &str) -> Map<String, Value> {
    let mut result = Map::new();
    if is_nothing(text, plan.ack_max_chars) {
        let status = if text.trim().is_empty() { "ok-empty" } else { "ok-token" };
        result.insert("status".into(), status.into());
    } else {
        let reason = if plan.target == "none" { "target-none" } else { "no-target" };
        result.insert("status".into(), "skipped".into());
        result.insert("reason".into(), reason.into());
        result
            .insert("preview".into(), remark(text).1.chars().take(200).collect::<String>().into());
        result.insert("hasMedia".into(), false.into());
    }
    result
}

/// The prompt of a beat that says a reminder.
const REMIND: &str = "A reminder is due: it is the newest of the system lines in this message. Tell the user about it in your own words, and do what it asks for, if anything.";

fn failed(reason: &str) -> Map<String, Value> {
    let mut result = Map::new();
    result.insert("status".into(), "failed".into());
    result.insert("reason".into(), reason.into());
    result.insert("indicatorType".into(), "error".into());
    result
}

fn skipped(at: u64, reason: &str) -> Value {
    json!({ "ts": at, "status": "skipped", "reason": reason, "durationMs": 0 })
}

fn stamped(at: u64, result: Map<String, Value>) -> Value {
    let mut whole = Map::new();
    whole.insert("ts".into(), at.into());
    whole.extend(result);
    Value::Object(whole)
}

fn moment(ms: u64) -> Timestamp {
    let at = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    at.unwrap_or_default()
}

fn prompt(plan: &Plan, workspace: &Path, now: u64, zone: jiff::tz::TimeZone) -> String {
    let at = moment(now).to_zoned(zone);
    let file = workspace.join("HEARTBEAT.md");
    format!(
        "{}\nWorkspace file: {}\nCurrent time: {}",
        plan.prompt,
        file.display(),
        at.strftime("%A, %B %-d, %Y %H:%M (%Q)")
    )
}

/// Whether `HEARTBEAT.md` exists and holds nothing but headings and comments.
async fn nothing_to_do(workspace: &Path) -> bool {
    match tokio::fs::read_to_string(workspace.join("HEARTBEAT.md")).await {
        Ok(text) => is_effectively_empty(&text),
        Err(_) => false,
    }
}

fn is_effectively_empty(text: &str) -> bool {
    let mut in_comment = false;
    text.lines().map(str::trim).all(|line| {
        if in_comment {
            in_comment = !line.contains("-->");
            return true;
        }
        if line.starts_with("<!--") {
            in_comment = !line.contains("-->");
            return true;
        }
        let empty_item = matches!(line, "-" | "*" | "- [ ]" | "* [ ]");
        line.is_empty() || empty_item || line.starts_with('#')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_judged_by_its_token_and_length() {
        let plan = Plan::of(&crate::config::Config::default(), "main");
        let status = |text: &str| answered(&plan, text)["status"].clone();
        assert_eq!(status("HEARTBEAT_OK"), "ok-token");
        assert_eq!(status("All calm. HEARTBEAT_OK"), "ok-token");
        assert_eq!(status(""), "ok-empty");
        let long = format!("HEARTBEAT_OK {}", "x".repeat(301));
        assert_eq!(status(&long), "skipped");
        assert_eq!(answered(&plan, "Look!")["reason"], "target-none");
    }

    #[test]
    fn headings_and_comments_are_nothing_to_do() {
        assert!(is_effectively_empty("# HEARTBEAT\n\n<!-- add\ntasks -->\n- [ ]\n"));
        assert!(!is_effectively_empty("# HEARTBEAT\n- water the plants\n"));
    }
}
