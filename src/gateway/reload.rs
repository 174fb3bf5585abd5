//! Taking over an edited configuration while clients stay connected.
//!
//! An edit is applied as a whole or not at all. What cannot be used keeps the
//! running configuration and is remembered, so that it can be shown.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, sleep, timeout};

use crate::config::gate::{self, Flags, Serving, StartRefusal};
use crate::config::reload::plan::{self, Step};
use crate::config::reload::watch::Watch;
use crate::config::{Config, Rejected, Snapshot, load};
use crate::gateway::{State, auth};
use crate::lifecycle::CancellationToken;
use crate::secrets::{self, SecretError};

/// Quiet time after the last change of the file, unless configured.
const DEBOUNCE: Duration = Duration::from_millis(300);
/// A file that is being replaced may be away for a moment.
const ABSENT_RETRIES: u32 = 2;
const ABSENT_PAUSE: Duration = Duration::from_millis(150);
/// How often a waiting restart looks whether runs have ended.
const RESTART_LOOK: Duration = Duration::from_millis(500);
const RESTART_PATIENCE_MS: u64 = 300_000;
/// A file that changes all the time is read at least this often.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// The reloader's side of the shared state.
#[derive(Debug)]
pub struct Reloader {
    flags: Flags,
    /// What the file said when it was last considered.
    seen: Mutex<Arc<Snapshot>>,
    /// Woken by the watch, SIGHUP and writers in this process.
    pub wanted: Arc<Notify>,
    degraded: AtomicBool,
}

/// Why an edit was not taken over.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Refused(#[from] StartRefusal),
    #[error("{0}")]
    Shape(#[from] serde_json::Error),
}

impl Reloader {
    pub fn new(flags: Flags, snapshot: Arc<Snapshot>) -> Self {
        Self {
            flags,
            seen: Mutex::new(snapshot),
            wanted: Arc::default(),
            degraded: AtomicBool::new(false),
        }
    }

    /// Asks for a look at the file soon.
    pub fn poke(&self) {
        self.wanted.notify_one();
    }
}

/// Watches the file until everything stops.
pub async fn watch(state: Arc<State>, stop: CancellationToken) {
    let wanted = Arc::clone(&state.reloader.wanted);
    let mut watch = match Watch::start(Arc::clone(&wanted)) {
        Ok(watch) => Some(watch),
        Err(err) => {
            tracing::warn!(target: "reload", %err, "config file is not watched; use SIGHUP");
            None
        }
    };
    follow(watch.as_mut(), &state);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = wanted.notified() => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = settle(&state, &wanted) => {}
        }
        consider(&state).await;
        follow(watch.as_mut(), &state);
    }
}

fn follow(watch: Option<&mut Watch>, state: &State) {
    let Some(watch) = watch else { return };
    let current = state.config.load();
    let files = current.includes.iter().map(std::path::PathBuf::as_path);
    watch.follow(files.chain([state.paths.config.as_path()]));
}

/// Waits until the file has been quiet for the configured time.
async fn settle(state: &State, wanted: &Notify) {
    let configured = state.config.load();
    let debounce = configured.config.gateway.reload.get("debounceMs");
    let debounce =
        debounce.and_then(serde_json::Value::as_u64).map_or(DEBOUNCE, Duration::from_millis);
    let end = Instant::now() + LONGEST_WAIT;
    while Instant::now() < end {
        if timeout(debounce, wanted.notified()).await.is_err() {
            return;
        }
    }
}

/// Looks at the file and takes over what it says.
pub async fn consider(state: &Arc<State>) {
    let mut seen = state.reloader.seen.lock().await;
    let Some(next) = read(state, &seen).await else {
        tracing::warn!(target: "reload", "config reload skipped (config file not found)");
        return;
    };
    if !next.is_valid() {
        let issues: Vec<String> =
            next.issues.iter().map(|issue| format!("{}: {}", issue.path, issue.message)).collect();
        tracing::warn!(target: "reload", "config reload skipped (invalid config): {}", issues.join(", "));
        reject(state, &next, next.issues.iter().map(ToString::to_string).collect());
        return;
    }
    let plan = plan::plan(&seen, &next);
    let changed = plan.changed.join(", ");
    if plan.step != Step::Same {
        tracing::info!(target: "reload", "config change detected; evaluating reload ({changed})");
    }
    match &plan.step {
        Step::Same => {
            state.config.replace(adopt(&state.config.load(), next.clone()));
        }
        Step::Disabled => {
            tracing::info!(target: "reload", "config reload disabled (gateway.reload.mode=off)");
        }
        Step::Ignore { paths } => {
            tracing::warn!(
                target: "reload", "config reload requires gateway restart; hot mode ignoring ({})",
                paths.join(", ")
            );
        }
        Step::Apply { hot } => match prepare(state, &next).await {
            Ok((config, serving)) => {
                apply(state, next.clone(), config, &serving);
                if hot.is_empty() {
                    tracing::info!(target: "reload", "config change applied (dynamic reads: {changed})");
                } else {
                    tracing::info!(target: "reload", "config hot reload applied ({})", hot.join(", "));
                }
                recovered(state);
            }
            Err(err) => {
                degraded(state, &err);
                tracing::error!(target: "reload", "config reload failed: {err}");
                reject(state, &next, vec![err.to_string()]);
                return;
            }
        },
        Step::Restart { paths } => {
            let paths = paths.join(", ");
            match prepare(state, &next).await {
                Ok(_) => {
                    state.config.clear_rejected();
                    wait_and_restart(state, &paths);
                }
                Err(err) => {
                    degraded(state, &err);
                    tracing::error!(target: "reload", "config restart failed: {err}");
                    reject(state, &next, vec![err.to_string()]);
                    return;
                }
            }
        }
    }
    *seen = Arc::new(next);
}

/// Resolves the secrets of the configuration in force anew.
///
/// # Errors
/// The first reference without a value; everything stays as it was.
pub async fn resolve_again(state: &Arc<State>) -> Result<usize, SecretError> {
    let seen = state.reloader.seen.lock().await;
    let result = secrets::activate(&seen).await;
    match result {
        Ok(activation) => {
            let warnings = activation.warnings.len();
            if let Ok(config) = Config::deserialize(&activation.resolved) {
                let mut next = Snapshot::clone(&state.config.load());
                next.config = config;
                if let Ok(serving) = decide(state, &next, &activation.resolved) {
                    swap_auth(state, &next, &serving);
                }
                state.config.replace(next);
            }
            drop(seen);
            recovered(state);
            Ok(warnings)
        }
        Err(err) => {
            drop(seen);
            degraded(state, &ReloadError::Secret(err.clone()));
            Err(err)
        }
    }
}

async fn read(state: &Arc<State>, seen: &Snapshot) -> Option<Snapshot> {
    for attempt in 0..=ABSENT_RETRIES {
        let (reading, env) = (Arc::clone(state), Arc::clone(&seen.process_env));
        let read = move || load::read(&reading.paths, &env);
        let snapshot = tokio::task::spawn_blocking(read).await.ok()?;
        if snapshot.exists {
            return Some(snapshot);
        }
        if attempt < ABSENT_RETRIES {
            tracing::info!(
                target: "reload", "config reload retry ({}/{ABSENT_RETRIES}): config file not found",
                attempt + 1
            );
            sleep(ABSENT_PAUSE).await;
        }
    }
    None
}

/// Everything that can fail, before anything is changed.
async fn prepare(state: &Arc<State>, next: &Snapshot) -> Result<(Config, Serving), ReloadError> {
    let activation = secrets::activate(next).await?;
    let config = Config::deserialize(&activation.resolved)?;
    let serving = decide(state, next, &activation.resolved)?;
    Ok((config, serving))
}

fn decide(
    state: &State,
    next: &Snapshot,
    resolved: &serde_json::Value,
) -> Result<Serving, StartRefusal> {
    let intent = gate::admit(&state.reloader.flags, next)?;
    gate::serve(intent, next, resolved)
}

fn apply(state: &State, mut next: Snapshot, config: Config, serving: &Serving) {
    next.config = config;
    swap_auth(state, &next, serving);
    state.config.replace(next);
}

/// Sessions that are signed in stay; the next sign-in meets the new settings.
fn swap_auth(state: &State, next: &Snapshot, serving: &Serving) {
    // A token made up on the spot would lock everyone out.
    if serving.auth.token_source != Some(gate::Source::Generated) {
        let proxies = &next.config.gateway.trusted_proxies;
        state.auth.store(Arc::new(auth::Settings::new(&serving.auth, proxies)));
    }
}

/// The next document with the secrets that are in force.
fn adopt(current: &Snapshot, mut next: Snapshot) -> Snapshot {
    next.config = current.config.clone();
    next
}

fn reject(state: &State, next: &Snapshot, reasons: Vec<String>) {
    state.config.reject(Rejected { hash: next.hash.clone(), reasons, since: state.clock.now_ms() });
}

/// Restarts when no run is active, at the latest after the configured time. The
/// first look comes a little later, so that the reply to whoever made the change
/// goes out before.
fn wait_and_restart(state: &Arc<State>, paths: &str) {
    let active = state.agents.active().len();
    if active == 0 {
        tracing::warn!(target: "reload", "config change requires gateway restart ({paths})");
    } else {
        tracing::warn!(
            target: "reload",
            "config change requires gateway restart ({paths}) — deferring until {active} embedded run(s) complete"
        );
    }
    let current = state.config.load();
    let patience = current.config.gateway.reload.get("deferralTimeoutMs");
    let patience = patience.and_then(serde_json::Value::as_u64).unwrap_or(RESTART_PATIENCE_MS);
    let (waiting, deferred) = (Arc::clone(state), active > 0);
    state.lifecycle.spawn("deferred restart", move |stop| async move {
        let end = Instant::now() + Duration::from_millis(patience);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(RESTART_LOOK) => {}
            }
            let active = waiting.agents.active().len();
            if active == 0 {
                if !deferred {
                    break;
                }
                tracing::info!(target: "reload", "all operations and replies completed; restarting gateway now");
                break;
            }
            if Instant::now() >= end {
                tracing::warn!(target: "reload", "restart timeout after {patience}ms with {active} embedded run(s) still active; restarting anyway");
                break;
            }
        }
        waiting.services.restart.ring();
    });
}

fn degraded(state: &State, err: &ReloadError) {
    let ReloadError::Secret(err) = err else { return };
    if state.reloader.degraded.swap(true, Ordering::AcqRel) {
        tracing::warn!(target: "secrets", "[SECRETS_RELOADER_DEGRADED] {err}");
    } else {
        tracing::error!(target: "secrets", "[SECRETS_RELOADER_DEGRADED] {err}");
    }
}

fn recovered(state: &State) {
    if state.reloader.degraded.swap(false, Ordering::AcqRel) {
        tracing::info!(
            target: "secrets", "[SECRETS_RELOADER_RECOVERED] Secret resolution recovered; runtime remained on last-known-good during the outage."
        );
    }
}
