//! The task that runs jobs when they are due, and one run of a job.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::agents::run::{Lane, Origin};
use crate::agents::{RunOutcome, RunRequest, RunStatus, time_zone};
use crate::base::duration;
use crate::base::id::{SessionKey, uuid};
use crate::gateway::State;
use crate::gateway::cron::job::{Job, Payload};
use crate::gateway::cron::{Finished, Ran, report, store};
use crate::gateway::heartbeat::REMINDER;
use crate::gateway::noted;
use crate::gateway::routing::outbound::{self, Destination};
use crate::lifecycle;
use crate::protocol::events::Event;

/// Longest sleep between looks at the jobs' file.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// How long a turn may take that says nothing about it.
const LONGEST_TURN: Duration = Duration::from_secs(60 * 60);
/// Pause after the file could not be read.
const AFTER_FAILURE: Duration = Duration::from_secs(60);

/// Whether jobs run by the clock.
pub fn is_enabled(state: &State) -> bool {
    let off = state.config.load().config.cron.get("enabled") == Some(&Value::Bool(false));
    !off && !state.env.is_on("OPENCLAW_SKIP_CRON")
}

/// Starts the clock.
pub fn start(state: &Arc<State>) {
    let lifecycle = state.lifecycle.clone();
    let state = Arc::clone(state);
    lifecycle.spawn("cron", move |stop| run(state, stop));
}

async fn run(state: Arc<State>, stop: CancellationToken) {
    let mut changes = state.config.changes();
    recover(&state, noted::forget_running).await;
    let mut at_once = max_runs(&state);
    let mut slots = Arc::new(Semaphore::new(at_once));
    loop {
        let sleep = pause(is_enabled(&state), wait_time(&state).await);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(sleep) => {}
            () = state.services.cron.bell.notified() => continue,
            // The sender lives as long as the state.
            _ = changes.changed() => {
                if state.services.cron.follow(&state.config.load().config, &state.paths) {
                    recover(&state, |_, _| {}).await;
                }
                continue;
            }
        }
        if !is_enabled(&state) {
            continue;
        }
        let claiming = Arc::clone(&state);
        let due = lifecycle::spawn_blocking(move || {
            claiming.services.cron.claim_due(claiming.clock.now_ms())
        });
        let due = match due.await {
            Ok(Ok(due)) => due,
            Ok(Err(err)) => {
                tracing::warn!(%err, "cron jobs not begun");
                stop.run_until_cancelled(tokio::time::sleep(AFTER_FAILURE)).await;
                continue;
            }
            Err(_) => continue,
        };
        let wanted = max_runs(&state);
        if wanted != at_once {
            // Jobs that run keep their place in the old count.
            (at_once, slots) = (wanted, Arc::new(Semaphore::new(wanted)));
        }
        for job in due {
            let (state, slots) = (Arc::clone(&state), Arc::clone(&slots));
            let lifecycle = state.lifecycle.clone();
            lifecycle.spawn("cron job", move |_stop| async move {
                // Closed never: the semaphore outlives its users.
                let _slot = slots.acquire().await;
                run_job(&state, job, None).await;
            });
        }
    }
}

/// How long nothing is looked at, if nobody rings: what is due does not matter
/// while the clock is off.
fn pause(enabled: bool, until_due: Option<Duration>) -> Duration {
    match until_due {
        _ if !enabled => LONGEST_SLEEP,
        Some(wait) => wait.min(LONGEST_SLEEP),
        None => AFTER_FAILURE,
    }
}

/// Takes over the jobs of the file, after `first`.
async fn recover(state: &Arc<State>, first: impl FnOnce(&State, u64) + Send + 'static) {
    let recovering = Arc::clone(state);
    let recovered = lifecycle::spawn_blocking(move || {
        let now = recovering.clock.now_ms();
        first(&recovering, now);
        recovering.services.cron.recover(now)
    });
    if let Ok(Err(err)) = recovered.await {
        tracing::warn!(%err, "cron jobs not read");
    }
}

fn max_runs(state: &State) -> usize {
    let config = state.config.load();
    let max = config.config.cron.get("maxConcurrentRuns").and_then(Value::as_u64);
    max.and_then(|max| usize::try_from(max).ok()).unwrap_or(1).clamp(1, 64)
}

/// Time until the next job is due; `None` when the jobs cannot be read.
async fn wait_time(state: &Arc<State>) -> Option<Duration> {
    let reading = Arc::clone(state);
    let next =
        lifecycle::spawn_blocking(move || reading.services.cron.next_wake()).await.ok()?.ok()?;
    let now = state.clock.now_ms();
    Some(next.map_or(LONGEST_SLEEP, |at| Duration::from_millis(at.saturating_sub(now))))
}

/// Runs a claimed job to its end and notes what became of it; a run that someone
/// asked for has an id.
pub async fn run_job(state: &Arc<State>, job: Job, run_id: Option<String>) {
    let started = state.clock.now_ms();
    broadcast(state, &job.id, "started", [("runAtMs", started.into())]);
    let task = noted::job_began(state, &job, started).await;
    let (ran, details) = match &job.payload {
        Payload::SystemEvent { text } => notice(state, &job, text),
        Payload::AgentTurn { .. } => turn(state, &job).await,
    };
    let ended = state.clock.now_ms();
    let summary = details.get("summary").and_then(Value::as_str);
    noted::job_ended(state, task, &ran, summary, ended).await;
    let noting = Arc::clone(state);
    let (id, result) = (job.id.clone(), ran.clone());
    let noted = lifecycle::spawn_blocking(move || {
        let config = noting.config.load();
        noting.services.cron.finish(&id, &result, started, ended, &config.config.cron)
    });
    let end = match noted.await {
        Ok(Ok(noted)) => noted,
        Ok(Err(err)) => {
            tracing::warn!(job = job.id, %err, "result of a cron job not kept");
            Finished::default()
        }
        Err(_) => Finished::default(),
    };
    let mut event = Map::new();
    event.insert("status".into(), ran.status.into());
    if let Some(error) = &ran.error {
        event.insert("error".into(), error.clone().into());
    }
    event.extend(details);
    if let Some(delivered) = ran.delivered {
        event.insert("delivered".into(), delivered.into());
    }
    event.insert("deliveryStatus".into(), ran.delivery_status.into());
    event.insert("runAtMs".into(), started.into());
    event.insert("durationMs".into(), ended.saturating_sub(started).into());
    if let Some(next) = end.next {
        event.insert("nextRunAtMs".into(), next.into());
    }
    let mut entry = Map::new();
    entry.insert("ts".into(), ended.into());
    entry.insert("jobId".into(), job.id.clone().into());
    entry.insert("action".into(), "finished".into());
    if let Some(run_id) = run_id {
        entry.insert("runId".into(), run_id.into());
    }
    entry.extend(event.clone());
    let (path, id) = (state.services.cron.path(), job.id.clone());
    let limits = store::LogLimits::of(&state.config.load().config.cron);
    let logged = lifecycle::spawn_blocking(move || {
        store::append_run(&path, &id, &Value::Object(entry), limits)
    });
    if let Ok(Err(err)) = logged.await {
        tracing::warn!(job = job.id, %err, "cron run log not written");
    }
    let whole = with_action(&job.id, "finished", event);
    state.bus.broadcast(Event::Cron, &whole);
    let told = end.job.as_ref().unwrap_or(&job);
    let config = state.config.load();
    let notices = report::notices(&config.config.cron, told, &Value::Object(whole), end.alert);
    report::tell(state, &agent_of(state, told), told, notices);
    if end.gone {
        broadcast(state, &job.id, "removed", Map::new());
    }
}

/// Tells clients what happens to a job.
pub fn broadcast<K: Into<String>>(
    state: &State,
    job_id: &str,
    action: &str,
    rest: impl IntoIterator<Item = (K, Value)>,
) {
    state.bus.broadcast(Event::Cron, &with_action(job_id, action, rest));
}

fn with_action<K: Into<String>>(
    job_id: &str,
    action: &str,
    rest: impl IntoIterator<Item = (K, Value)>,
) -> Map<String, Value> {
    let mut payload = Map::new();
    payload.insert("jobId".into(), job_id.into());
    payload.insert("action".into(), action.into());
    payload.extend(rest.into_iter().map(|(key, value)| (key.into(), value)));
    payload
}

pub fn agent_of(state: &State, job: &Job) -> String {
    match &job.agent_id {
        Some(agent) => agent.to_lowercase(),
        None => state.config.load().config.agents.default_id().to_lowercase(),
    }
}

/// A notice for the main session, read now or at the next heartbeat.
fn notice(state: &State, job: &Job, text: &str) -> (Ran, Map<String, Value>) {
    let agent = agent_of(state, job);
    let sessions = state.agents.sessions();
    let key = job.session_key.as_ref().map(|key| sessions.canonical(key));
    // A reminder of one agent is none of another's business.
    let own = key.filter(|key| sessions.agent_of(key) == agent);
    let key = own.unwrap_or_else(|| sessions.canonical(&format!("agent:{agent}:main")));
    state.agents.system_event(&key, text);
    if job.wake_mode == "now" {
        state.services.heartbeats.request(&agent, REMINDER);
    }
    let ran = Ran { status: "ok", delivery_status: "not-requested", ..Ran::default() };
    let mut details = Map::new();
    details.insert("summary".into(), text.into());
    (ran, details)
}

/// A turn of an agent in a session of its own or one that the job names.
async fn turn(state: &Arc<State>, job: &Job) -> (Ran, Map<String, Value>) {
    let Payload::AgentTurn {
        message,
        model,
        fallbacks,
        thinking,
        timeout_seconds,
        tools_allow,
        ..
    } = &job.payload
    else {
        return (failed("the job has no message".to_owned()), Map::new());
    };
    let agent = agent_of(state, job);
    let sessions = state.agents.sessions();
    let named = job.session_target.strip_prefix("session:").map(str::to_owned);
    let current = job.session_key.clone().filter(|_| job.session_target == "current");
    let key = if let Some(key) = named.or(current) {
        sessions.canonical(&key)
    } else {
        let key = SessionKey::new(format!("agent:{agent}:cron:{}", job.id));
        let kept = retention(&state.config.load().config.cron);
        let label = format!("Cron: {}", job.name);
        if let Err(err) = sessions.begin_job(&key, label, kept).await {
            return (failed(err.to_string()), Map::new());
        }
        key
    };
    let now = i64::try_from(state.clock.now_ms()).unwrap_or(i64::MAX);
    let at = jiff::Timestamp::from_millisecond(now).unwrap_or_default();
    let at = at.to_zoned(time_zone(&state.config.load().config));
    let request = RunRequest {
        run_id: uuid(),
        agent: Some(agent),
        session_key: Some(key.clone()),
        message: format!(
            "[cron:{} {}] {message}\nCurrent time: {}",
            job.id,
            job.name,
            at.strftime("%A, %B %-d, %Y %H:%M (%Q)")
        ),
        model: model.clone(),
        fallbacks: fallbacks.clone(),
        thinking: thinking.clone(),
        timeout: match timeout_seconds {
            Some(0) => None,
            seconds => Some(seconds.map_or(LONGEST_TURN, Duration::from_secs)),
        },
        tools_allow: tools_allow.clone(),
        lane: Lane::Cron,
        origin: Origin { surface: Some("cron".into()), ..Origin::default() },
        owner: true,
        ..RunRequest::default()
    };
    match state.agents.submit(request).await {
        Ok(handle) => {
            let outcome = handle.outcome().await;
            let key = match job.session_target.as_str() {
                "isolated" => sessions.keep_job_run(&key).await.unwrap_or(key),
                _ => key,
            };
            let mut ran = judged(&outcome);
            if ran.status == "ok" {
                announce(state, job, &outcome, &mut ran).await;
            }
            (ran, details(&outcome, &key))
        }
        Err(err) => (failed(err.to_string()), Map::new()),
    }
}

/// `cron.sessionRetention`: how long conversations of isolated runs are kept.
fn retention(cron: &Map<String, Value>) -> Option<u64> {
    const DAY_MS: u64 = 24 * 60 * 60 * 1000;
    match cron.get("sessionRetention") {
        Some(Value::Bool(false)) => None,
        Some(Value::String(text)) => duration::parse_ms(text, "h").or(Some(DAY_MS)),
        _ => Some(DAY_MS),
    }
}

fn judged(outcome: &RunOutcome) -> Ran {
    if outcome.status == RunStatus::Ok {
        return Ran {
            status: "ok",
            error: None,
            delivered: Some(false),
            delivery_status: "not-delivered",
        };
    }
    let why = outcome.error.clone().or_else(|| outcome.stop_reason.clone());
    failed(why.unwrap_or_else(|| "the run did not finish".to_owned()))
}

/// Says the reply where the job's `delivery` wants it. A place that the job
/// names and that cannot be reached is the job's failure; without one the reply
/// goes to where the main session was last used from, if that was on a channel.
async fn announce(state: &State, job: &Job, outcome: &RunOutcome, ran: &mut Ran) {
    let delivery = job.delivery.as_ref().unwrap_or(&Value::Null);
    let text = |key: &str| delivery[key].as_str().map(str::trim).filter(|text| !text.is_empty());
    if delivery["mode"] != "announce" || outcome.silent || outcome.text.trim().is_empty() {
        return;
    }
    let (channel, to) = (text("channel"), text("to"));
    let result = match place(state, job).await {
        Ok(place) => outbound::deliver(state, place, &outcome.text).await,
        Err(why) => Err(why),
    };
    let named = channel.is_some_and(|channel| channel != "last") || to.is_some();
    match result {
        Ok(arrived) => {
            ran.delivered = Some(arrived);
            ran.delivery_status = if arrived { "delivered" } else { "unknown" };
        }
        Err(why) if named && delivery["bestEffort"] != true => {
            ran.status = "error";
            ran.error = Some(why);
        }
        Err(_) => {}
    }
}

/// Where a job's `delivery` says that its reply goes.
pub async fn place(state: &State, job: &Job) -> Result<Destination, String> {
    let delivery = job.delivery.as_ref().unwrap_or(&Value::Null);
    let text = |key: &str| delivery[key].as_str().map(str::trim).filter(|text| !text.is_empty());
    let main = format!("agent:{}:main", agent_of(state, job));
    let main = state.agents.sessions().canonical(&main);
    outbound::target(state, &main, text("channel"), text("accountId"), text("to")).await
}

fn failed(error: String) -> Ran {
    Ran { status: "error", error: Some(error), delivered: Some(false), delivery_status: "unknown" }
}

fn details(outcome: &RunOutcome, key: &SessionKey) -> Map<String, Value> {
    let mut details = Map::new();
    if !outcome.text.is_empty() {
        details.insert("summary".into(), outcome.text.clone().into());
    }
    details.insert("sessionId".into(), outcome.session_id.clone().into());
    details.insert("sessionKey".into(), key.as_str().into());
    details.insert("model".into(), outcome.model.clone().into());
    details.insert("provider".into(), outcome.provider.clone().into());
    details.insert(
        "usage".into(),
        json!({
            "input_tokens": outcome.usage.input,
            "output_tokens": outcome.usage.output,
            "total_tokens": outcome.last_call.prompt(),
        }),
    );
    details
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_off_does_not_turn_for_what_is_due() {
        assert_eq!(pause(false, Some(Duration::ZERO)), LONGEST_SLEEP);
        assert_eq!(pause(true, Some(Duration::ZERO)), Duration::ZERO);
        assert_eq!(pause(true, Some(Duration::from_secs(600))), LONGEST_SLEEP);
        assert_eq!(pause(true, None), AFTER_FAILURE);
    }
}
