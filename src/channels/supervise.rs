//! Keeps one account running, and looks now and then whether those that should
//! run really do.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::Value;
use tokio::sync::Notify;

use crate::base::backoff::Backoff;
use crate::channels::Channels;
use crate::channels::channel::Fault;
use crate::channels::link::Link;
use crate::channels::manager::Handle;
use crate::channels::status::Status;
use crate::config::Live;
use crate::lifecycle::CancellationToken;

/// A lost connection is tried again for ever, at most this far apart, so that
/// a server that is back is found within a minute.
const LOST_FIRST: Duration = Duration::from_secs(1);
const LOST_MAX: Duration = Duration::from_secs(30);
/// A refusal needs the operator: fewer tries, further apart.
const REFUSED_FIRST: Duration = Duration::from_secs(5);
const REFUSED_MAX: Duration = Duration::from_secs(300);
const REFUSED_TRIES: u32 = 10;

/// How often health is looked at, unless configured, in minutes.
const HEALTH_MINUTES: u64 = 5;
/// Silence after which a connection counts as stale, in minutes.
const STALE_MINUTES: u64 = 30;
const STARTUP_GRACE: Duration = Duration::from_secs(60);
/// How long an account may take to connect, in milliseconds.
const CONNECT_GRACE_MS: u64 = 120_000;
const RESTARTS_PER_HOUR: usize = 10;

/// Ends the current connection, or the wait for the next one.
#[derive(Debug, Default)]
pub(super) struct Kick {
    bell: Notify,
    /// When the health monitor used it, milliseconds since the Unix epoch.
    rung: Mutex<Vec<u64>>,
}

/// Runs an account until `stop`, again and again.
pub(super) async fn keep_running(handle: Arc<Handle>, link: Link, stop: CancellationToken) {
    let (channel, account) = (handle.kind.id, handle.id.clone());
    let mut lost = Backoff::new(LOST_FIRST, LOST_MAX);
    let mut refused = Backoff::new(REFUSED_FIRST, REFUSED_MAX);
    let mut refusals = 0;
    loop {
        link.status.started();
        let before = link.status.known().last_connected_at;
        let round = stop.child_token();
        let run = Arc::clone(&handle.account).run(link.clone(), round.clone());
        let run = AssertUnwindSafe(run).catch_unwind();
        tokio::pin!(run);
        let result = tokio::select! {
            result = &mut run => result,
            () = handle.kick.bell.notified() => {
                round.cancel();
                run.await
            }
        };
        if stop.is_cancelled() {
            link.status.ended(None, false);
            return;
        }
        if link.status.known().last_connected_at != before {
            lost = Backoff::new(LOST_FIRST, LOST_MAX);
            refused = Backoff::new(REFUSED_FIRST, REFUSED_MAX);
            refusals = 0;
        }
        let fault = match result {
            Ok(Ok(())) => Fault::Lost("the connection was closed".to_owned()),
            Ok(Err(fault)) => fault,
            Err(_) => Fault::Refused("the channel's task panicked; see the log".to_owned()),
        };
        tracing::warn!(target: "channels", "[{channel}] [{account}] channel exited: {fault}");
        let pause = match &fault {
            Fault::Lost(_) => lost.next(),
            Fault::Refused(_) => {
                refusals += 1;
                if refusals > REFUSED_TRIES {
                    link.status.ended(Some(&fault.to_string()), false);
                    tracing::error!(
                        target: "channels",
                        "[{channel}] [{account}] giving up after {REFUSED_TRIES} restart attempts"
                    );
                    // Until the configuration changes or the monitor rings.
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = handle.kick.bell.notified() => {}
                    }
                    refusals = 0;
                    continue;
                }
                refused.next()
            }
        };
        let pause = jittered(pause.unwrap_or(LOST_MAX));
        link.status.ended(Some(&fault.to_string()), true);
        let seconds = pause.as_secs_f64().ceil();
        match &fault {
            Fault::Lost(_) => tracing::info!(
                target: "channels", "[{channel}] [{account}] auto-restart in {seconds}s"
            ),
            Fault::Refused(_) => tracing::info!(
                target: "channels",
                "[{channel}] [{account}] auto-restart attempt {refusals}/{REFUSED_TRIES} in {seconds}s"
            ),
        }
        tokio::select! {
            () = stop.cancelled() => {
                link.status.ended(Some(&fault.to_string()), false);
                return;
            }
            () = handle.kick.bell.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Up to a tenth more, so that many accounts do not return in step.
fn jittered(pause: Duration) -> Duration {
    let mut byte = [0_u8; 1];
    // Without randomness the pause is as long as it is.
    let random = if getrandom::fill(&mut byte).is_ok() { u32::from(byte[0]) } else { 0 };
    pause + pause * random / 2550
}

/// Why an account needs a restart.
fn ailment(status: &Status, stale_ms: u64, now: u64) -> Option<&'static str> {
    let known = status.known();
    let since = |at: Option<u64>| at.map_or(0, |at| now.saturating_sub(at));
    if !known.running {
        return (!known.restart_pending).then_some("not-running");
    }
    if since(known.last_start_at) < CONNECT_GRACE_MS {
        return None;
    }
    if !status.is_connected() {
        return Some("disconnected");
    }
    (stale_ms > 0 && since(known.last_event_at) > stale_ms).then_some("stale-socket")
}

/// The channels with an account that should be connected and is not; silence
/// alone does not count.
pub(super) fn failing(channels: &Channels) -> Vec<&'static str> {
    let now = channels.now_ms();
    let rows = channels.rows().into_iter().filter(|row| row.enabled && row.is_configured());
    let mut failing: Vec<&'static str> =
        rows.filter(|row| ailment(&row.status, 0, now).is_some()).map(|row| row.kind.id).collect();
    failing.sort_unstable();
    failing.dedup();
    failing
}

/// The health monitor.
pub(super) async fn watch_health(channels: Channels, live: Live, stop: CancellationToken) {
    let minutes = |key: &str, default: u64| {
        let snapshot = live.load();
        let value = snapshot.runtime["gateway"].get(key).and_then(Value::as_u64);
        value.unwrap_or(default)
    };
    let mut wait = STARTUP_GRACE;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        let every = minutes("channelHealthCheckMinutes", HEALTH_MINUTES);
        // Switched off: looks again later whether it still is.
        wait = Duration::from_secs(60 * if every == 0 { HEALTH_MINUTES } else { every });
        if every == 0 {
            continue;
        }
        let stale_ms = minutes("channelStaleEventThresholdMinutes", STALE_MINUTES) * 60_000;
        let most = minutes("channelMaxRestartsPerHour", RESTARTS_PER_HOUR as u64);
        for row in channels.rows().into_iter().filter(|row| row.enabled) {
            let Some(handle) = row.handle() else { continue };
            if handle.setting("healthMonitor")["enabled"] == false {
                continue;
            }
            let now = channels.now_ms();
            if let Some(reason) = ailment(&handle.status, stale_ms, now) {
                ring(handle, reason, now, most);
            }
        }
    }
}

fn ring(handle: &Handle, reason: &str, now: u64, most: u64) {
    let (channel, account) = (handle.kind.id, &handle.id);
    let mut rung = handle.kick.rung.lock().unwrap_or_else(PoisonError::into_inner);
    rung.retain(|at| now.saturating_sub(*at) < 3_600_000);
    if rung.len() as u64 >= most {
        tracing::warn!(
            target: "channels",
            "[{channel}:{account}] health-monitor: hit {most} restarts/hour limit, skipping"
        );
        return;
    }
    rung.push(now);
    drop(rung);
    tracing::info!(
        target: "channels", "[{channel}:{account}] health-monitor: restarting (reason: {reason})"
    );
    handle.kick.bell.notify_one();
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::base::clock::Clock;

    #[derive(Debug, Default)]
    struct Hand(AtomicU64);

    impl Clock for Hand {
        fn now_ms(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn an_account_ails_when_it_had_time_to_connect_and_did_not() {
        const STALE: u64 = 30 * 60_000;
        let hand = Arc::new(Hand::default());
        let clock: Arc<dyn Clock> = Arc::<Hand>::clone(&hand);
        let status = Status::new(clock);
        let ailment = |stale| ailment(&status, stale, hand.now_ms());
        status.started();
        assert_eq!(ailment(STALE), None);
        hand.0.store(CONNECT_GRACE_MS, Ordering::Relaxed);
        assert_eq!(ailment(STALE), Some("disconnected"));
        status.ended(Some("server gone"), true);
        assert_eq!(ailment(STALE), None, "it is about to return");
        status.ended(Some("wrong password"), false);
        assert_eq!(ailment(STALE), Some("not-running"));
        status.started();
        status.connected();
        assert_eq!(ailment(STALE), None);
        hand.0.store(CONNECT_GRACE_MS + STALE + 1, Ordering::Relaxed);
        assert_eq!(ailment(STALE), Some("stale-socket"));
        assert_eq!(ailment(0), None);
    }
}
