//! What happens to messages while their session is busy: they wait, are merged
//! into one, steer the active run or end it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::Value;

use crate::agents::lanes::SessionLane;
use crate::agents::run::Queueing;
use crate::agents::run::RunRequest;
use crate::agents::run::RunStatus;
use crate::agents::runtime::Inner;
use crate::agents::runtime::Run;
use crate::agents::sessions::Entry;
use crate::agents::turn;
use crate::config::Config;

const DEFAULT_DEBOUNCE: Duration = Duration::from_secs(1);
const LONGEST_DEBOUNCE: Duration = Duration::from_secs(60);
const DEFAULT_CAP: usize = 20;

/// How a busy session treats further messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    #[default]
    Collect,
    Followup,
    Steer,
    SteerBacklog,
    Interrupt,
}

/// What a full queue gives up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Drop {
    #[default]
    Summarize,
    Old,
    New,
}

/// The queue settings of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) mode: Mode,
    pub(crate) debounce: Duration,
    pub(crate) cap: usize,
    pub(crate) drop: Drop,
}

impl Mode {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text.trim().to_ascii_lowercase().as_str() {
            "collect" | "coalesce" => Self::Collect,
            "followup" | "follow-up" | "followups" => Self::Followup,
            "steer" | "queue" | "queued" | "steering" => Self::Steer,
            "steer-backlog" | "steer+backlog" | "steer_backlog" => Self::SteerBacklog,
            "interrupt" | "interrupts" | "abort" => Self::Interrupt,
            _ => return None,
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Collect => "collect",
            Self::Followup => "followup",
            Self::Steer => "steer",
            Self::SteerBacklog => "steer-backlog",
            Self::Interrupt => "interrupt",
        }
    }
}

impl Drop {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text.trim().to_ascii_lowercase().as_str() {
            "summarize" | "summary" => Self::Summarize,
            "old" | "oldest" => Self::Old,
            "new" | "newest" => Self::New,
            _ => return None,
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Summarize => "summarize",
            Self::Old => "old",
            Self::New => "new",
        }
    }
}

impl Settings {
    /// Session first, then the channel, then the configuration in general.
    pub(crate) fn of(config: &Config, entry: Option<&Entry>, channel: Option<&str>) -> Self {
        let queue = config.messages.get("queue");
        let field = |name: &str| queue.and_then(|queue| queue.get(name));
        let mode = entry
            .and_then(|entry| Mode::parse(entry.text("queueMode")?))
            .or_else(|| Mode::parse(field("byChannel")?.get(channel?)?.as_str()?))
            .or_else(|| Mode::parse(field("mode")?.as_str()?))
            .unwrap_or_default();
        let debounce = entry
            .and_then(|entry| entry.number("queueDebounceMs"))
            .or_else(|| field("debounceMs").and_then(Value::as_u64))
            .map_or(DEFAULT_DEBOUNCE, Duration::from_millis)
            .min(LONGEST_DEBOUNCE);
        let cap = entry
            .and_then(|entry| entry.number("queueCap"))
            .or_else(|| field("cap").and_then(Value::as_u64))
            .and_then(|cap| usize::try_from(cap).ok())
            .filter(|cap| *cap > 0)
            .unwrap_or(DEFAULT_CAP);
        let drop = entry
            .and_then(|entry| Drop::parse(entry.text("queueDrop")?))
            .or_else(|| Drop::parse(field("drop")?.as_str()?))
            .unwrap_or_default();
        Self { mode, debounce, cap, drop }
    }
}

/// Puts an accepted run into its session's queue.
pub(crate) fn enqueue(inner: &Arc<Inner>, run: &Arc<Run>) {
    let run = Arc::clone(run);
    let settings = settings_of(inner, &run);
    let mut merged: Vec<Arc<Run>> = Vec::new();
    let mut interrupted: Vec<Arc<Run>> = Vec::new();
    let start = {
        let mut lanes = inner.session_lanes();
        match lanes.get_mut(&run.lane_key) {
            None => {
                let mut lane = SessionLane::default();
                lane.waiting.push_back(Arc::clone(&run));
                lanes.insert(run.lane_key.clone(), lane);
                true
            }
            Some(lane) => {
                match settings.map(|settings| settings.mode) {
                    Some(Mode::Interrupt) => {
                        interrupted.extend(lane.active.iter().map(Arc::clone));
                        // What nobody said in a chat waits on.
                        let (chats, others): (Vec<_>, Vec<_>) =
                            lane.waiting.drain(..).partition(|run| is_chat(run));
                        merged = chats;
                        lane.waiting = others.into();
                        lane.waiting.push_back(Arc::clone(&run));
                    }
                    Some(Mode::Steer | Mode::SteerBacklog) if steer(lane, &run) => {}
                    _ => {
                        lane.waiting.push_back(Arc::clone(&run));
                        if let Some(settings) = settings {
                            merged = overflow(lane, settings);
                        }
                    }
                }
                false
            }
        }
    };
    for run in interrupted {
        run.stop("interrupt");
    }
    for run in merged {
        end_silently(inner, &run, None);
    }
    if start {
        let owner = Arc::clone(inner);
        let lane_key = run.lane_key.clone();
        inner.lifecycle.spawn("session lane", move |_stop| async move {
            drive(&owner, &lane_key).await;
        });
    }
}

/// The queue settings, if the run follows them.
fn settings_of(inner: &Inner, run: &Run) -> Option<Settings> {
    let request = run.request.lock().unwrap_or_else(PoisonError::into_inner);
    let request = request.as_ref().filter(|request| request.queueing == Queueing::Chat)?;
    let snapshot = inner.config.load();
    let store = inner.stores.of(&snapshot.config, &run.agent);
    let entry = run.key.as_ref().and_then(|key| store.get(key.as_str()));
    Some(Settings::of(&snapshot.config, entry.as_deref(), request.origin.channel.as_deref()))
}

/// Hands the message to the active run; `false` if there is none that it may steer.
fn steer(lane: &SessionLane, run: &Arc<Run>) -> bool {
    let Some(active) = &lane.active else { return false };
    let mut waiting = active.steer.lock().unwrap_or_else(PoisonError::into_inner);
    // Under the lock: a run that has looked for the last time takes no more.
    if !active.steerable.load(Ordering::Acquire) || active.rights != run.rights {
        return false;
    }
    waiting.push(Arc::clone(run));
    true
}

/// What joined an active run; from now on that one answers for it. With `last`
/// it takes no more unless there was something.
pub(crate) fn joined(inner: &Inner, active: &Run, last: bool) -> Vec<RunRequest> {
    loop {
        let waiting = {
            let mut waiting = active.steer.lock().unwrap_or_else(PoisonError::into_inner);
            if last && waiting.is_empty() {
                active.steerable.store(false, Ordering::Release);
            }
            std::mem::take(&mut *waiting)
        };
        let is_empty = waiting.is_empty();
        let mut requests = Vec::new();
        for run in waiting {
            if run.cancel.is_cancelled() {
                end_aborted(inner, &run);
                continue;
            }
            requests.extend(run.request.lock().unwrap_or_else(PoisonError::into_inner).take());
            end_silently(inner, &run, Some(active.id.clone()));
        }
        if is_empty || !requests.is_empty() {
            return requests;
        }
    }
}

fn is_chat(run: &Run) -> bool {
    let request = run.request.lock().unwrap_or_else(PoisonError::into_inner);
    request.as_ref().is_some_and(|request| request.queueing == Queueing::Chat)
}

/// Makes room in a full queue; returns the runs that lost their place.
fn overflow(lane: &mut SessionLane, settings: Settings) -> Vec<Arc<Run>> {
    let mut lost = Vec::new();
    while lane.waiting.iter().filter(|run| is_chat(run)).count() > settings.cap {
        let at = match settings.drop {
            Drop::New => lane.waiting.iter().rposition(|run| is_chat(run)),
            Drop::Old | Drop::Summarize => lane.waiting.iter().position(|run| is_chat(run)),
        };
        let Some(run) = at.and_then(|at| lane.waiting.remove(at)) else { break };
        if settings.drop == Drop::Summarize
            && let Some(request) =
                run.request.lock().unwrap_or_else(PoisonError::into_inner).as_ref()
        {
            let line = request.message.lines().next().unwrap_or_default();
            lane.dropped.push(crate::agents::sessions::ellipsis(line, 160));
        }
        lost.push(run);
    }
    lost
}

/// Ends a run without a turn; `into` is the run that answers for it.
fn end_silently(inner: &Inner, run: &Run, into: Option<String>) {
    run.request.lock().unwrap_or_else(PoisonError::into_inner).take();
    let mut outcome = run.outcome_without_turn(RunStatus::Ok, inner.clock.now_ms());
    outcome.merged_into = into;
    run.finish(outcome);
}

fn end_aborted(inner: &Inner, run: &Run) {
    run.finish(run.outcome_without_turn(RunStatus::Aborted, inner.clock.now_ms()));
}

/// Takes out what was aborted while it waited.
fn take_aborted(lane: &mut SessionLane) -> Vec<Arc<Run>> {
    let (aborted, left): (Vec<_>, Vec<_>) =
        lane.waiting.drain(..).partition(|run| run.cancel.is_cancelled());
    lane.waiting = left.into();
    aborted
}

/// Runs what a session has waiting, one after the other.
async fn drive(inner: &Arc<Inner>, lane_key: &str) {
    while let Some(run) = next(inner, lane_key).await {
        execute(inner, &run).await;
        requeue(inner, lane_key, &run);
    }
}

/// The next run of the session, with what is to be merged into it; `None`
/// closes the lane.
async fn next(inner: &Arc<Inner>, lane_key: &str) -> Option<Arc<Run>> {
    loop {
        let (aborted, first) = {
            let mut lanes = inner.session_lanes();
            let lane = lanes.get_mut(lane_key)?;
            lane.active = None;
            let aborted = take_aborted(lane);
            let first = lane.waiting.front().map(Arc::clone);
            if first.is_none() {
                lanes.remove(lane_key);
            }
            (aborted, first)
        };
        for run in aborted {
            end_aborted(inner, &run);
        }
        let first = first?;
        let collect = settings_of(inner, &first).filter(|settings| settings.mode == Mode::Collect);
        let crowded = |inner: &Inner| {
            inner.session_lanes().get(lane_key).is_some_and(|lane| {
                lane.waiting.len() > 1 && lane.waiting.iter().take(2).all(|run| is_chat(run))
            })
        };
        if let Some(settings) = collect
            && crowded(inner)
        {
            debounce(inner, lane_key, settings.debounce).await;
        }
        if let Some(run) = take(inner, lane_key, collect.is_some()) {
            return Some(run);
        }
        // All of them were aborted meanwhile.
    }
}

/// Makes the first of the waiting runs the active one; `collect` merges those
/// behind it into one.
fn take(inner: &Inner, lane_key: &str, collect: bool) -> Option<Arc<Run>> {
    let mut absorbed = Vec::new();
    let (aborted, run) = {
        let mut lanes = inner.session_lanes();
        let lane = lanes.get_mut(lane_key)?;
        let aborted = take_aborted(lane);
        let mut run = lane.waiting.pop_front();
        if run.as_ref().is_some_and(|run| is_chat(run)) {
            absorbed.extend(run.take());
            let joins = |next: &Arc<Run>, first: &Run| is_chat(next) && next.rights == first.rights;
            while collect && lane.waiting.front().is_some_and(|next| joins(next, &absorbed[0])) {
                absorbed.extend(lane.waiting.pop_front());
            }
            run = absorbed.pop();
            let dropped = std::mem::take(&mut lane.dropped);
            if let Some(last) = &run
                && !(absorbed.is_empty() && dropped.is_empty())
            {
                merge(&absorbed, last, &dropped);
            }
        }
        lane.active.clone_from(&run);
        (aborted, run)
    };
    for run in aborted {
        end_aborted(inner, &run);
    }
    let run = run?;
    for earlier in absorbed {
        end_silently(inner, &earlier, Some(run.id.clone()));
    }
    Some(run)
}

/// Waits until no message has arrived for `quiet`.
async fn debounce(inner: &Inner, lane_key: &str, quiet: Duration) {
    let quiet_ms = u64::try_from(quiet.as_millis()).unwrap_or(u64::MAX);
    loop {
        let newest = inner
            .session_lanes()
            .get(lane_key)
            .and_then(|lane| lane.waiting.iter().map(|run| run.accepted_at).max())
            .unwrap_or_default();
        let waited = inner.clock.now_ms().saturating_sub(newest);
        if waited >= quiet_ms {
            return;
        }
        tokio::time::sleep(Duration::from_millis(quiet_ms - waited)).await;
    }
}

/// Puts the messages of `group` in front of the last one's.
fn merge(group: &[Arc<Run>], last: &Run, dropped: &[String]) {
    let mut parts = Vec::new();
    if !dropped.is_empty() {
        let lines: Vec<String> = dropped.iter().map(|line| format!("- {line}")).collect();
        parts.push(format!(
            "[{} earlier messages did not fit the queue; their first lines]\n{}",
            dropped.len(),
            lines.join("\n")
        ));
    }
    let mut request = last.request.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(request) = request.as_mut() else { return };
    let mut images = Vec::new();
    let mut texts = Vec::new();
    for run in group {
        if let Some(earlier) = run.request.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            texts.push(std::mem::take(&mut earlier.message));
            images.append(&mut earlier.images);
        }
    }
    texts.push(std::mem::take(&mut request.message));
    if texts.len() > 1 {
        let numbered = texts.iter().enumerate();
        let blocks: Vec<String> =
            numbered.map(|(at, text)| format!("---\nMessage {}\n{text}", at + 1)).collect();
        parts.push(format!(
            "[Messages that arrived while you were busy]\n\n{}",
            blocks.join("\n\n")
        ));
    } else {
        parts.append(&mut texts);
    }
    images.append(&mut request.images);
    request.images = images;
    request.message = parts.join("\n\n");
}

/// One run from its turn in the session until its terminal event.
async fn execute(inner: &Arc<Inner>, run: &Arc<Run>) {
    let Some(request) = run.request.lock().unwrap_or_else(PoisonError::into_inner).take() else {
        return;
    };
    let snapshot = inner.config.load();
    let permit = tokio::select! {
        permit = inner.lanes.enter(run.lane, &snapshot.config) => permit,
        () = run.cancel.cancelled() => None,
    };
    if run.cancel.is_cancelled() {
        end_aborted(inner, run);
        return;
    }
    let outcome = AssertUnwindSafe(turn::run(inner, run, request)).catch_unwind().await;
    drop(permit);
    run.finish(outcome.unwrap_or_else(|_| {
        tracing::error!(run_id = %run.id, "a run panicked");
        let mut outcome = run.outcome_without_turn(RunStatus::Error, inner.clock.now_ms());
        outcome.error = Some("internal error while running the agent".to_owned());
        outcome
    }));
}

/// Messages that were to steer a run which ended first are next.
fn requeue(inner: &Inner, lane_key: &str, run: &Run) {
    let left = {
        let mut waiting = run.steer.lock().unwrap_or_else(PoisonError::into_inner);
        run.steerable.store(false, Ordering::Release);
        std::mem::take(&mut *waiting)
    };
    if left.is_empty() {
        return;
    }
    tracing::debug!(
        session = lane_key,
        count = left.len(),
        "steering messages wait for their turn"
    );
    if let Some(lane) = inner.session_lanes().get_mut(lane_key) {
        for run in left.into_iter().rev() {
            lane.waiting.push_front(run);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_sessions_own_queue_settings_come_first() {
        let config: Config = serde_json::from_value(json!({"messages": {"queue": {
            "mode": "followup", "debounceMs": 5, "cap": 3, "drop": "old", "byChannel": {"irc": "interrupt"}
        }}}))
        .unwrap();
        let of = |entry: Option<&Entry>, channel| Settings::of(&config, entry, channel);
        assert_eq!(of(None, None).mode, Mode::Followup);
        assert_eq!(of(None, Some("irc")).mode, Mode::Interrupt);
        let mut entry = Entry::default();
        entry.set("queueMode", "steer+backlog");
        entry.set("queueCap", 7);
        let own = of(Some(&entry), Some("irc"));
        assert_eq!((own.mode, own.cap, own.drop), (Mode::SteerBacklog, 7, Drop::Old));
        assert_eq!(own.debounce, Duration::from_millis(5));
    }

    #[test]
    fn the_defaults_collect_up_to_twenty() {
        let settings = Settings::of(&Config::default(), None, None);
        assert_eq!(settings.mode, Mode::Collect);
        assert_eq!((settings.cap, settings.drop), (20, Drop::Summarize));
        assert_eq!(settings.debounce, Duration::from_secs(1));
    }
}
