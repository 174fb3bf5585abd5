//! Taking over an edited configuration while clients stay connected.
//!
//! An edit is applied as a whole or not at all. What cannot be used keeps the
//! running configuration and is remembered, so that it can be shown.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard, Notify, watch as channel};
use tokio::time::{Instant, sleep, timeout};

use crate::base::secret::Secret;
use crate::config::gate::{self, Flags, Serving, StartRefusal};
use crate::config::reload::plan::{self, Step};
use crate::config::reload::watch::Watch;
use crate::config::{Config, Rejected, Snapshot, last_good, load, redact, standing};
use crate::gateway::rpc::tools;
use crate::gateway::{State, auth, restart, routing};
use crate::lifecycle::{self, CancellationToken};
use crate::logging;
use crate::protocol::events::Event;
use crate::secrets::{self, SecretError};
use crate::supervise::activation;
use crate::supervise::notify::Notifier;

/// Quiet time after the last change of the file, unless configured.
const DEBOUNCE: Duration = Duration::from_millis(300);
/// A file that is being replaced may be away for a moment.
const ABSENT_RETRIES: u32 = 2;
const ABSENT_PAUSE: Duration = Duration::from_millis(150);
/// A file that changes all the time is read at least this often.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// The reloader's side of the shared state.
#[derive(Debug)]
pub struct Reloader {
    flags: Flags,
    /// What the file said when it was last considered.
    seen: Mutex<Arc<Snapshot>>,
    /// Woken by the watch, SIGHUP and writers in this process.
    wanted: Arc<Notify>,
    /// Looks that began.
    begun: AtomicU64,
    /// The last look that ended, and what came of it.
    looked: channel::Sender<(u64, Outcome)>,
    /// Whether this process began with the kept configuration.
    fallen_back: AtomicBool,
    degraded: AtomicBool,
    /// Paths of changes that wait for a restart.
    pending: std::sync::Mutex<BTreeSet<String>>,
    /// What the file that was read last includes.
    includes: std::sync::Mutex<Vec<PathBuf>>,
}

/// What came of one look at the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing that matters has changed.
    Same,
    Applied,
    /// Switched off, or only a restart could do it and the mode forbids one.
    Ignored,
    /// The process starts over when its runs have ended.
    Restarting,
    /// The configuration before stays in force.
    Refused(String),
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
    pub fn new(flags: Flags, snapshot: Arc<Snapshot>, fallen_back: bool) -> Self {
        Self {
            flags,
            seen: Mutex::new(snapshot),
            wanted: Arc::default(),
            begun: AtomicU64::new(0),
            looked: channel::Sender::new((0, Outcome::Same)),
            fallen_back: AtomicBool::new(fallen_back),
            degraded: AtomicBool::new(false),
            pending: std::sync::Mutex::default(),
            includes: std::sync::Mutex::default(),
        }
    }

    /// Paths of changes that only a restart brings into force.
    pub fn pending(&self) -> Vec<String> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn postpone(&self, paths: &[String]) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.extend(paths.iter().cloned());
    }

    /// Asks for a look at the file soon.
    pub fn poke(&self) {
        self.wanted.notify_one();
    }

    /// Waits for a look that begins after this call.
    pub fn next_look(&self) -> impl Future<Output = Option<Outcome>> + use<> {
        let after = self.begun.load(Ordering::Acquire);
        let mut looked = self.looked.subscribe();
        async move {
            let look = looked.wait_for(|(number, _)| *number > after).await.ok()?;
            Some(look.1.clone())
        }
    }

    fn serving(&self) -> standing::Serving {
        if self.fallen_back.load(Ordering::Acquire) {
            standing::Serving::LastKnownGood
        } else {
            standing::Serving::Running
        }
    }
}

/// The refusal of the file in one line, while it is refused.
pub fn complaint(state: &State) -> Option<String> {
    let rejected = state.config.rejected()?;
    Some(rejected.complaint(state.reloader.serving()))
}

/// The refusal as `health` and `status` show it, while there is one.
pub fn degraded_config(state: &State) -> Option<Value> {
    let rejected = state.config.rejected()?;
    Some(json!({
        "status": "degraded",
        "serving": state.reloader.serving(),
        "reasons": rejected.reasons,
        "rejectedHash": rejected.hash,
        "appliedHash": state.config.load().hash,
        "sinceMs": rejected.since,
    }))
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
    keep(&state, continue_counting(&state).await).await;
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
        Box::pin(turn(&state).await.consider(Duration::ZERO)).await;
        follow(watch.as_mut(), &state);
    }
}

/// The number of the look that the start was. Who waits for the next look of this
/// process must find it greater than what it saw before the start.
async fn continue_counting(state: &Arc<State>) -> u64 {
    let paths = Arc::clone(state);
    let before = move || standing::looks_of_this_process(&paths.paths);
    let number = lifecycle::spawn_blocking(before).await.unwrap_or(0) + 1;
    state.reloader.begun.fetch_max(number, Ordering::AcqRel);
    number
}

/// Follows the files of the configuration in force and of the one on disk,
/// which may be the one that a refused edit has to be mended in.
fn follow(watch: Option<&mut Watch>, state: &State) {
    let Some(watch) = watch else { return };
    let current = state.config.load();
    let read = state.reloader.includes.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let includes = current.includes.keys().chain(&read).map(PathBuf::as_path);
    if watch.follow(&state.paths.config, includes) {
        // It may have changed between being read and being watched.
        state.reloader.poke();
    }
}

/// Waits until the file has been quiet for the configured time.
async fn settle(state: &State, wanted: &Notify) {
    let configured = state.config.load();
    let debounce = configured.config.gateway.reload.get("debounceMs");
    let debounce = debounce.and_then(Value::as_u64).map_or(DEBOUNCE, Duration::from_millis);
    let end = Instant::now() + LONGEST_WAIT;
    while Instant::now() < end {
        if timeout(debounce, wanted.notified()).await.is_err() {
            return;
        }
    }
}

/// Whether a change counts although the reload mode leaves it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Insists {
    Yes,
    No,
}

/// The right to look at the file. Who writes the file takes it first, so that
/// nobody else looks between the write and the writer's own look.
#[derive(Debug)]
pub struct Turn<'s> {
    state: &'s Arc<State>,
    seen: MutexGuard<'s, Arc<Snapshot>>,
}

/// Waits for the turn.
pub async fn turn(state: &Arc<State>) -> Turn<'_> {
    Turn { state, seen: state.reloader.seen.lock().await }
}

impl Turn<'_> {
    /// Looks at the file and takes over what it says. A restart that this asks
    /// for comes no earlier than `restart_delay` from here.
    pub async fn consider(self, restart_delay: Duration) -> Outcome {
        self.take(restart_delay, Insists::No).await
    }

    /// The same for what this process wrote itself, which counts in every mode.
    pub async fn insist(self) -> Outcome {
        self.take(Duration::ZERO, Insists::Yes).await
    }

    async fn take(mut self, restart_delay: Duration, insists: Insists) -> Outcome {
        let state = self.state;
        let number = state.reloader.begun.fetch_add(1, Ordering::AcqRel) + 1;
        let before = state.config.load();
        let mut outcome = Box::pin(look(state, &mut self.seen, restart_delay)).await;
        if outcome == Outcome::Ignored && insists == Insists::Yes {
            outcome = match prepare(state, &self.seen).await {
                Ok((usable, serving)) => {
                    enforce(state, usable, &serving);
                    Outcome::Applied
                }
                Err(err) => Outcome::Refused(err.to_string()),
            };
        }
        keep(state, number).await;
        tell_of_models(state, before).await;
        state.reloader.looked.send_replace((number, outcome.clone()));
        outcome
    }
}

async fn look(state: &Arc<State>, seen: &mut Arc<Snapshot>, restart_delay: Duration) -> Outcome {
    let Some(next) = read(state, seen).await else {
        tracing::warn!(target: "reload", "config reload skipped (config file not found)");
        return reject(state, &load::hash(b""), vec!["config file not found".to_owned()]);
    };
    *state.reloader.includes.lock().unwrap_or_else(PoisonError::into_inner) =
        next.includes.keys().cloned().collect();
    if !next.is_valid() {
        let issues: Vec<String> =
            next.issues.iter().map(|issue| format!("{}: {}", issue.path, issue.message)).collect();
        tracing::warn!(target: "reload", "config reload skipped (invalid config): {}", issues.join(", "));
        return reject(state, &next.hash, next.issues.iter().map(ToString::to_string).collect());
    }
    let plan = plan::plan(seen, &next);
    let changed = plan.changed.join(", ");
    if plan.step != Step::Same {
        tracing::info!(target: "reload", "config change detected; evaluating reload ({changed})");
    }
    let outcome = match &plan.step {
        Step::Same => {
            state.config.replace(adopt(&state.config.load(), next.clone()));
            Outcome::Same
        }
        Step::Disabled => {
            state.reloader.postpone(&plan.changed);
            tracing::info!(target: "reload", "config reload disabled (gateway.reload.mode=off)");
            state.config.clear_rejected();
            Outcome::Ignored
        }
        Step::Ignore { paths } => {
            state.reloader.postpone(paths);
            tracing::warn!(
                target: "reload", "config reload requires gateway restart; hot mode ignoring ({})",
                paths.join(", ")
            );
            state.config.clear_rejected();
            Outcome::Ignored
        }
        Step::Apply { hot } => match prepare(state, &next).await {
            Ok((usable, serving)) => {
                enforce(state, usable, &serving);
                if hot.is_empty() {
                    tracing::info!(target: "reload", "config change applied (dynamic reads: {changed})");
                } else {
                    tracing::info!(target: "reload", "config hot reload applied ({})", hot.join(", "));
                }
                recovered(state);
                Outcome::Applied
            }
            Err(err) => {
                degraded(state, &err);
                tracing::error!(target: "reload", "config reload failed: {err}");
                return reject(state, &next.hash, vec![err.to_string()]);
            }
        },
        Step::Restart { paths } => match ready_to_restart(state, &next).await {
            Ok(()) => {
                state.config.clear_rejected();
                state.reloader.postpone(paths);
                let why = format!("config change requires gateway restart ({})", paths.join(", "));
                restart::when_idle(state, &why, restart_delay);
                Outcome::Restarting
            }
            Err(err) => {
                degraded(state, &err);
                tracing::error!(target: "reload", "config restart failed: {err}");
                return reject(state, &next.hash, vec![err.to_string()]);
            }
        },
    };
    if outcome != Outcome::Ignored {
        state.reloader.fallen_back.store(false, Ordering::Release);
    }
    *seen = Arc::new(next);
    outcome
}

/// Resolves the secrets of the configuration in force anew.
///
/// # Errors
/// The first reference without a value; everything stays as it was.
pub async fn resolve_again(state: &Arc<State>) -> Result<usize, SecretError> {
    let turn = turn(state).await;
    // Not what the file said last: that may wait for a restart.
    let current = state.config.load();
    let result = secrets::activate(&current).await;
    match result {
        Ok(activation) => {
            let warnings = activation.warnings.len();
            if let Ok(config) = Config::deserialize(&activation.resolved) {
                let mut next = Snapshot::clone(&current);
                next.config = config;
                next.secrets = Arc::clone(&activation.values);
                conceal(&next);
                if let Ok(serving) = decide(state, &next, &activation.resolved) {
                    swap_auth(state, &next, &serving);
                }
                state.config.refresh(next);
            }
            routing::apply(state);
            drop(turn);
            tell_of_models(state, current).await;
            recovered(state);
            Ok(warnings)
        }
        Err(err) => {
            drop(turn);
            degraded(state, &ReloadError::Secret(err.clone()));
            Err(err)
        }
    }
}

/// Tells those who show a choice of models that there is another one now.
async fn tell_of_models(state: &Arc<State>, before: Arc<Snapshot>) {
    let now = state.config.load();
    let event = Event::ChatMetadataChanged;
    if Arc::ptr_eq(&before, &now) || !state.bus.has_audience(event) {
        return;
    }
    let looking = Arc::clone(state);
    let rows = move |snapshot: &Snapshot| tools::model_rows(&looking, snapshot);
    let differ = lifecycle::spawn_blocking(move || rows(&before) != rows(&now));
    if differ.await.unwrap_or(false) {
        state.bus.broadcast(event, &json!({}));
    }
}

async fn read(state: &Arc<State>, seen: &Snapshot) -> Option<Snapshot> {
    for attempt in 0..=ABSENT_RETRIES {
        let (reading, env) = (Arc::clone(state), Arc::clone(&seen.process_env));
        let read = move || load::read(&reading.paths, &env);
        let snapshot = lifecycle::spawn_blocking(read).await.ok()?;
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
async fn prepare(state: &Arc<State>, next: &Snapshot) -> Result<(Snapshot, Serving), ReloadError> {
    let activation = secrets::activate(next).await?;
    let mut usable = next.clone();
    usable.config = Config::deserialize(&activation.resolved)?;
    usable.secrets = Arc::clone(&activation.values);
    let serving = decide(state, next, &activation.resolved)?;
    Ok((usable, serving))
}

/// The same for a process that starts over, which must not find its new port
/// taken. Sockets of a service manager are there already.
async fn ready_to_restart(state: &Arc<State>, next: &Snapshot) -> Result<(), ReloadError> {
    let (_, serving) = prepare(state, next).await?;
    let moves = next.config.gateway.port != state.config.load().config.gateway.port;
    if !moves || serving.port == state.port || activation::is_activated(&state.env) {
        return Ok(());
    }
    for host in serving.hosts {
        if let Err(err) = std::net::TcpListener::bind((host, serving.port))
            && err.kind() == std::io::ErrorKind::AddrInUse
        {
            let refusal = format!("port {} is already in use", serving.port);
            return Err(StartRefusal::plain([refusal]).into());
        }
    }
    Ok(())
}

fn decide(state: &State, next: &Snapshot, resolved: &Value) -> Result<Serving, StartRefusal> {
    let intent = gate::admit(&state.reloader.flags, next)?;
    gate::serve(intent, next, resolved)
}

/// Puts what was prepared in force.
fn enforce(state: &Arc<State>, usable: Snapshot, serving: &Serving) {
    swap_auth(state, &usable, serving);
    swap_logging(&usable);
    state.config.replace(usable);
    routing::apply(state);
}

/// Sessions that are signed in stay; the next sign-in meets the new settings.
fn swap_auth(state: &State, next: &Snapshot, serving: &Serving) {
    // A token made up on the spot would lock everyone out.
    if serving.auth.token_source != Some(gate::Source::Generated) {
        let proxies = &next.config.gateway.trusted_proxies;
        state.auth.store(Arc::new(auth::Settings::new(&serving.auth, proxies)));
    }
    let limits = next.config.gateway.auth.rate_limit.as_ref();
    if limits != state.config.load().config.gateway.auth.rate_limit.as_ref() {
        state.limiters.store(Arc::new(auth::Limiters::new(limits)));
    }
}

/// The log's file, levels and hidden values.
fn swap_logging(next: &Snapshot) {
    let setting = |key: &str| next.config.logging.get(key).and_then(Value::as_str);
    let most = next.config.logging.get("maxFileBytes").and_then(Value::as_u64);
    logging::adjust(&logging::Settings {
        file: setting("level"),
        console: setting("consoleLevel"),
        redact: setting("redactSensitive") != Some("off"),
        log_file: next.log_file(),
        max_file_bytes: most.unwrap_or(logging::DEFAULT_MAX_BYTES),
    });
    conceal(next);
}

/// Keeps the secrets in force out of every log line, wherever it comes from.
pub fn conceal(next: &Snapshot) {
    let mut values: Vec<Secret> = next.secrets.values().cloned().collect();
    redact::each_secret(&next.resolved, &mut |text| values.push(Secret::new(text)));
    values.extend(redact::secret_variables(&next.env).map(Secret::new));
    logging::conceal(values);
}

/// The next document with the secrets that are in force.
fn adopt(current: &Snapshot, mut next: Snapshot) -> Snapshot {
    next.config = current.config.clone();
    next.secrets = Arc::clone(&current.secrets);
    next
}

fn reject(state: &State, hash: &str, reasons: Vec<String>) -> Outcome {
    let first = reasons.first().cloned().unwrap_or_default();
    let since = state.clock.now_ms();
    state.config.reject(Rejected { hash: hash.to_owned(), reasons, since });
    Outcome::Refused(first)
}

/// Writes down how the file stands and tells the service manager. The next
/// start falls back to what is kept here.
async fn keep(state: &Arc<State>, count: u64) {
    let rejected = state.config.rejected();
    let serving = state.reloader.serving();
    let pending = state.reloader.pending();
    let keeping = Arc::clone(state);
    let written = lifecycle::spawn_blocking(move || {
        let pid = std::process::id();
        let mut look = standing::Look { pid, count, refused: None, pending };
        if let Some(rejected) = rejected {
            look.refused = Some(rejected.complaint(serving));
            standing::refused(&rejected, serving, &keeping.paths, look)?;
            return Ok(Vec::new());
        }
        let current = keeping.config.load();
        last_good::save(&current, &keeping.paths)?;
        standing::accepted(&current, &keeping.paths, look)
    });
    match written.await {
        Ok(Ok(codes)) if !codes.is_empty() => {
            let path = state.paths.config.display();
            tracing::warn!("Config observe anomaly: {path} ({})", codes.join(", "));
        }
        Ok(Err(err)) => tracing::warn!(%err, "how the configuration stands is not recorded"),
        _ => {}
    }
    let status = status(state);
    Notifier.status(&status);
}

/// The line for the service manager.
pub fn status(state: &State) -> String {
    let usual = state.status.get().map_or("", String::as_str);
    match complaint(state) {
        Some(complaint) => format!("degraded: {complaint}; {usual}"),
        None => usual.to_owned(),
    }
}

fn degraded(state: &State, err: &ReloadError) {
    let ReloadError::Secret(err) = err else { return };
    if state.reloader.degraded.swap(true, Ordering::AcqRel) {
        tracing::warn!(target: "secrets", "[SECRETS_RELOADER_DEGRADED] {err}");
        return;
    }
    tracing::error!(target: "secrets", "[SECRETS_RELOADER_DEGRADED] {err}");
    tell_main_session(
        state,
        &format!(
            "[SECRETS_RELOADER_DEGRADED] Secret resolution failed; runtime remains on last-known-good snapshot. {err}"
        ),
    );
}

fn recovered(state: &State) {
    const RECOVERED: &str = "[SECRETS_RELOADER_RECOVERED] Secret resolution recovered; runtime remained on last-known-good during the outage.";
    if state.reloader.degraded.swap(false, Ordering::AcqRel) {
        tracing::info!(target: "secrets", "{RECOVERED}");
        tell_main_session(state, RECOVERED);
    }
}

fn tell_main_session(state: &State, text: &str) {
    let main = state.agents.sessions().canonical("main");
    state.agents.system_event(&main, text);
}
