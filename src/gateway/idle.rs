//! What a gateway does when nobody talks. It gives memory back; and if its port
//! is held by the service manager it may end, to be started again by the next
//! client. The latter is off unless asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::base::duration;
use crate::config::gate::StartRefusal;
use crate::gateway::{State, cron, heartbeat};
use crate::lifecycle::{self, CancellationToken};
use crate::profile::env::Env;
use crate::supervise::footprint;

/// The variable that stands for `--idle-exit`.
pub const VARIABLE: &str = "OPENCLAW_IDLE_EXIT";
/// How often to look, at most and at least.
const LOOK: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

/// How long it must be quiet before memory is given back: after the start,
/// whose code nobody needs again, and later.
const SETTLED: Duration = Duration::from_secs(1);
const QUIET: Duration = Duration::from_secs(60);

/// Counts what clients ask for; probes do not count.
#[derive(Debug, Default)]
pub struct Talks(AtomicU64);

impl Talks {
    /// Somebody signed in or asked something.
    pub fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn so_far(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How long nobody may talk, as flag and environment have it; `None` for ever.
pub fn patience(flag: Option<&str>, env: &Env) -> Result<Option<Duration>, StartRefusal> {
    let Some(text) = flag.or_else(|| env.get(VARIABLE)) else { return Ok(None) };
    match text.trim() {
        "off" | "0" => Ok(None),
        text => match duration::parse_ms(text, "s").filter(|&millis| millis > 0) {
            Some(millis) => Ok(Some(Duration::from_millis(millis))),
            None => Err(StartRefusal::plain([format!(
                "Invalid --idle-exit \"{text}\" (use a duration such as 15m, or off)"
            )])),
        },
    }
}

/// What needs the process to stay, in words.
fn needs(state: &State, activated: bool) -> Vec<&'static str> {
    let config = &state.config.load().config;
    let has_channels = config.channels.iter().any(|(name, settings)| {
        name != "defaults" && settings.get("enabled") != Some(&serde_json::Value::Bool(false))
    });
    let has_jobs = || state.services.cron.next_wake().is_ok_and(|next| next.is_some());
    let mut needs = Vec::new();
    if !activated {
        needs.push("the port, which no socket unit keeps open");
    }
    if has_channels && !state.env.is_on("OPENCLAW_SKIP_CHANNELS") {
        needs.push("channels");
    }
    if cron::runner::is_enabled(state) && has_jobs() {
        needs.push("cron jobs");
    }
    if heartbeat::beats(state) {
        needs.push("heartbeats");
    }
    needs
}

/// Ends when nobody has talked for `patience` and nothing needs the process.
pub async fn over(state: &Arc<State>, patience: Option<Duration>, activated: bool) {
    let Some(patience) = patience else { return std::future::pending().await };
    let pause = (patience / 10).clamp(LOOK.0, LOOK.1);
    let (mut talks, mut since) = (state.talks.so_far(), Instant::now());
    let mut told = Vec::new();
    loop {
        let looking = Arc::clone(state);
        let look = lifecycle::spawn_blocking(move || needs(&looking, activated));
        let needs = look.await.unwrap_or_default();
        if needs != told {
            match needs.as_slice() {
                [] => tracing::info!("idle exit is in force again"),
                words => tracing::info!(
                    "idle exit is ignored: the process is needed for {}",
                    words.join(", ")
                ),
            }
            told.clone_from(&needs);
        }
        let now = state.talks.so_far();
        let busy = !state.bus.is_empty() || state.runs.active() > 0;
        if busy || now != talks || !needs.is_empty() {
            (talks, since) = (now, Instant::now());
        } else if since.elapsed() >= patience {
            return;
        }
        sleep(pause).await;
    }
}

/// Gives memory back soon after the start and in every quiet minute.
pub async fn rest(state: Arc<State>, stop: CancellationToken) {
    let mut pause = SETTLED;
    loop {
        let talks = state.talks.so_far();
        if stop.run_until_cancelled(sleep(pause)).await.is_none() {
            return;
        }
        pause = QUIET;
        if state.talks.so_far() != talks || state.runs.active() > 0 {
            continue;
        }
        match lifecycle::spawn_blocking(footprint::give_back).await {
            Ok(Ok(bytes)) => tracing::debug!(bytes, "gave pages of the program back"),
            Ok(Err(err)) => tracing::debug!(%err, "the memory stays as it is"),
            Err(err) => tracing::debug!(%err, "the memory stays as it is"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_is_a_duration_or_off() {
        let none = Env::default();
        let set: Env = [(VARIABLE, "2m")].into_iter().collect();
        let of = |flag, env| patience(flag, env).map(|found| found.map(|after| after.as_secs()));
        assert_eq!(of(None, &none), Ok(None));
        assert_eq!(of(None, &set), Ok(Some(120)));
        assert_eq!(of(Some("15m"), &set), Ok(Some(900)));
        assert_eq!(of(Some("off"), &set), Ok(None));
        let refusal = of(Some("soon"), &none).unwrap_err();
        assert!(refusal.to_string().contains("--idle-exit \"soon\""), "{refusal}");
    }
}
