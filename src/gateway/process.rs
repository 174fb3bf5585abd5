//! One gateway process from start to exit: what the service manager is told on
//! the way, what happens when the start is refused, and how it ends.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until, timeout};

use crate::base::VERSION;
use crate::base::clock::{Clock, SystemClock};
use crate::client::{Caller, Connector, Credentials, Expect, Target, target};
use crate::config::gate;
use crate::config::standing::{self, Serving};
use crate::config::{Rejected, Snapshot, last_good, load};
use crate::gateway::boots::{self, Boot};
use crate::gateway::lock::LockError;
use crate::gateway::shutdown::{self, Reason};
use crate::gateway::state::Phase;
use crate::gateway::{
    Gateway, Requests, RunOptions, Setup, StartError, State, blocked, build, listen, reload,
};
use crate::lifecycle::{self, Lifecycle};
use crate::logging::catalog;
use crate::profile::env::Env;
use crate::profile::paths::{DEFAULT_PORT, Paths};
use crate::store::atomic::{self, Sync};
use crate::supervise::activation::Unfinished;
use crate::supervise::host;
use crate::supervise::notify::{Notifier, watchdog_period};
use crate::supervise::report::BLOCKED;
use crate::supervise::signals::{Request, Signals};
use crate::supervise::watchdog;

/// Longest wait of one internal probe.
const PROBE_LIMIT: Duration = Duration::from_secs(10);
/// How long the clients of a blocked gateway may take to leave.
const LEAVE_LIMIT: Duration = Duration::from_secs(2);
/// File that says why the last start was refused.
const BLOCKED_FILE: &str = "start-blocked.json";
/// Part of the manager's stop timeout that the drain leaves for closing.
const STOP_RESERVE: Duration = Duration::from_secs(15);
/// How long a start waits for a cause that may pass by itself before it leaves
/// with status 75. Together with the unit's `RestartSec=` it keeps ten starts
/// longer than `StartLimitIntervalSec=`, so that no start limit is ever hit.
const PATIENCE: Duration = Duration::from_secs(30);
const RETRY_PAUSE: Duration = Duration::from_secs(2);
/// Longest wait for a reload to show.
const RELOAD_LIMIT: Duration = Duration::from_secs(10);

/// What a process is told at its start.
#[derive(Debug)]
pub struct Process {
    pub env: Env,
    pub paths: Paths,
    pub options: RunOptions,
    /// Listeners that the service manager passed.
    pub inherited: Vec<StdListener>,
    /// Handshakes that it stored when a process before was killed.
    pub unfinished: Vec<Unfinished>,
    /// Arguments with which no start can succeed.
    pub refusal: Option<gate::StartRefusal>,
    /// Listeners of this process before it started over.
    pub kept: Vec<StdListener>,
}

/// How the process ends.
#[derive(Debug)]
pub enum Ended {
    Done {
        clean: bool,
    },
    /// Nobody talked; the manager keeps the port.
    Idle,
    /// Asked to start over, with these listeners kept open.
    Restart(Vec<StdListener>),
    Refused(StartError),
}

/// Runs until asked to stop, through refused starts if a manager watches.
pub async fn run(mut process: Process, first: Snapshot, mut signals: Signals) -> Ended {
    let supervised = gate::is_supervised(&process.env)
        || process.env.get("NOTIFY_SOCKET").is_some()
        || !process.inherited.is_empty();
    let mut snapshot = Some(first);
    let began = Instant::now();
    tracing::info!(lifecycle = catalog::STARTING, "starting {VERSION}");
    loop {
        let snapshot = match snapshot.take() {
            Some(snapshot) => snapshot,
            None => process.read().await,
        };
        let boot = if supervised { Some(process.begin_boot().await) } else { None };
        Notifier.status("starting");
        let strict = process.options.strict_config;
        let Process { paths, env, .. } = &process;
        let (usable, rejected) = usable(snapshot.clone(), paths, env, strict, supervised).await;
        if let Some(rejected) = &rejected {
            tracing::error!("{}", rejected.complaint(Serving::LastKnownGood));
        }
        let built = Box::pin(process.build(usable, rejected, boot.as_ref())).await;
        let refused = match built {
            Ok(gateway) => {
                process.forget_refusal();
                // It may hold secrets that are replaced while this one serves.
                drop(snapshot);
                process.unfinished.clear();
                return serve(gateway, signals, boot, supervised).await;
            }
            Err(refused) => refused,
        };
        boot.into_iter().for_each(Boot::ended);
        if !supervised {
            return Ended::Refused(refused);
        }
        let reason = refused.to_string();
        let Some(listeners) = process.listeners_for_refusal(&refused, &snapshot).await else {
            if refused.may_pass() && began.elapsed() < PATIENCE {
                match wait_a_moment(&mut signals, &reason).await {
                    None => continue,
                    Some(ended) => return ended,
                }
            }
            tracing::error!(lifecycle = catalog::REFUSED, "{reason}");
            process.remember_refusal(&reason, &snapshot.hash);
            blocked::refuse_pending(&process.inherited, &reason).await;
            Notifier.status(&format!("refused: {reason}"));
            return Ended::Refused(refused);
        };
        tracing::error!(lifecycle = catalog::BLOCKED, "{reason}");
        process.remember_refusal(&reason, &snapshot.hash);
        process.note_blocked(&reason, &snapshot).await;
        match wait_for_fix(&mut process, &mut signals, listeners, &reason, &snapshot).await {
            None => {}
            Some(ended) => return ended,
        }
    }
}

impl Process {
    async fn read(&self) -> Snapshot {
        let (paths, env) = (self.paths.clone(), self.env.clone());
        let read = move || load::read(&paths, &env);
        match lifecycle::spawn_blocking(read).await {
            Ok(snapshot) => snapshot,
            Err(_) => load::read(&self.paths, &self.env),
        }
    }

    async fn begin_boot(&self) -> Boot {
        let state = self.paths.state.clone();
        let now = SystemClock.now_ms();
        let begin = move || Boot::begin(&state, now);
        match lifecycle::spawn_blocking(begin).await {
            Ok(boot) => boot,
            Err(_) => Boot::begin(&self.paths.state, now),
        }
    }

    async fn build(
        &self,
        snapshot: Snapshot,
        rejected: Option<Rejected>,
        boot: Option<&Boot>,
    ) -> Result<Gateway, StartError> {
        if let Some(refusal) = &self.refusal {
            return Err(refusal.clone().into());
        }
        let mut env = own_env(&snapshot);
        if let Some(boot) = boot {
            boot.apply(&mut env);
            if let Some(reason) = &boot.safe_mode {
                tracing::warn!(lifecycle = catalog::SAFE_MODE, "{reason}");
            }
        }
        let mut setup = Setup::new(snapshot, env, self.paths.clone(), self.options.clone());
        setup.inherited = clones(&self.inherited);
        setup.unfinished = self.unfinished.iter().filter_map(|one| one.try_clone().ok()).collect();
        setup.kept = clones(&self.kept);
        setup.rejected = rejected;
        build(setup).await
    }

    /// The sockets on which clients can be told. `None` when this process is
    /// not the one to answer: another gateway or program has the place.
    async fn listeners_for_refusal(
        &self,
        refused: &StartError,
        snapshot: &Snapshot,
    ) -> Option<Vec<TcpListener>> {
        let own = match refused {
            StartError::Locked(LockError::Held { .. }) => return None,
            _ if !self.inherited.is_empty() => clones(&self.inherited),
            StartError::PortTaken { .. } | StartError::Bind(_) | StartError::Locked(_) => {
                return None;
            }
            _ => listen::bind(&listen::LOOPBACK, self.port(snapshot)).await.ok()?,
        };
        let adopted: Vec<TcpListener> = own
            .into_iter()
            .filter_map(|listener| {
                listener.set_nonblocking(true).ok()?;
                TcpListener::from_std(listener).ok()
            })
            .collect();
        (!adopted.is_empty()).then_some(adopted)
    }

    /// The port as far as it can be told without a valid configuration.
    fn port(&self, snapshot: &Snapshot) -> u16 {
        let flag = self.options.port.as_deref().and_then(|port| port.parse().ok());
        flag.or_else(|| self.env.get("OPENCLAW_GATEWAY_PORT").and_then(target::env_port))
            .or_else(|| snapshot.config.gateway.port.and_then(|port| u16::try_from(port).ok()))
            .unwrap_or(DEFAULT_PORT)
    }

    fn remember_refusal(&self, reason: &str, hash: &str) {
        let note = json!({
            "version": 1,
            "reason": reason,
            "configHash": hash,
            "since": SystemClock.now_ms(),
        });
        let path = self.paths.state.join(BLOCKED_FILE);
        if let Err(err) = atomic::write(&path, note.to_string().as_bytes(), Sync::No) {
            tracing::warn!(path = %path.display(), %err, "the refusal is not recorded");
        }
    }

    /// For `status`, and for who asked for a reload and waits for what came of it.
    async fn note_blocked(&self, reason: &str, snapshot: &Snapshot) {
        let mut reasons: Vec<String> = snapshot.issues.iter().map(ToString::to_string).collect();
        if reasons.is_empty() {
            let lines = reason.lines().map(str::trim).filter(|line| !line.is_empty());
            reasons.push(lines.collect::<Vec<_>>().join(" "));
        }
        let since = SystemClock.now_ms();
        let rejected = Rejected { hash: snapshot.hash.clone(), reasons, since };
        let paths = self.paths.clone();
        let note = move || standing::blocked(&rejected, &paths);
        if let Ok(Err(err)) = lifecycle::spawn_blocking(note).await {
            tracing::warn!(%err, "how the configuration stands is not recorded");
        }
    }

    fn forget_refusal(&self) {
        drop(std::fs::remove_file(self.paths.state.join(BLOCKED_FILE)));
    }

    /// Files whose change may be the fix.
    fn causes(&self, snapshot: &Snapshot) -> Vec<PathBuf> {
        let own = [self.paths.config.clone(), self.paths.state.join(".env")];
        let files = own.into_iter().chain(snapshot.includes.keys().cloned());
        files.chain(self.options.password_file.clone()).collect()
    }

    /// Whether flags and configuration would be refused again, cheaply.
    fn still_refused(&self, snapshot: &Snapshot) -> Option<String> {
        if let Some(refusal) = &self.refusal {
            return Some(refusal.to_string());
        }
        let admitted = gate::admit(&self.options.flags(), snapshot);
        admitted
            .and_then(|intent| gate::serve(intent, snapshot, &snapshot.resolved))
            .err()
            .map(|refusal| refusal.to_string())
    }
}

/// Waits before the next try of a start that nobody can be told about.
async fn wait_a_moment(signals: &mut Signals, reason: &str) -> Option<Ended> {
    tracing::warn!(lifecycle = catalog::WAITING, "{reason}; trying again");
    Notifier.status(&format!("waiting: {reason}"));
    Notifier.extend(PATIENCE + RETRY_PAUSE);
    tokio::select! {
        () = tokio::time::sleep(RETRY_PAUSE) => None,
        request = Signals::next(signals) => match request {
            Request::Reload => None,
            Request::Stop(_) => Some(Ended::Done { clean: true }),
            Request::Restart(_) => Some(Ended::Restart(Vec::new())),
        },
    }
}

/// The environment of the gateway itself: the process's, and the switches that
/// the configuration adds. The rest of what it adds may be secret, and goes with
/// it when it is replaced.
fn own_env(snapshot: &Snapshot) -> Env {
    let mut env = (*snapshot.process_env).clone();
    for (key, value) in snapshot.env.iter() {
        let secret = key.ends_with("_TOKEN") || key.ends_with("_PASSWORD");
        if key.starts_with("OPENCLAW_") && !secret {
            env.set(key, value);
        }
    }
    env
}

/// The configuration to start with: what the file says, or the last known good
/// one while the file is broken. A person at a terminal who has removed the file
/// gets to hear that it is missing; a service goes on.
pub async fn usable(
    snapshot: Snapshot,
    paths: &Paths,
    env: &Env,
    strict: bool,
    supervised: bool,
) -> (Snapshot, Option<Rejected>) {
    let gone = supervised && !snapshot.exists;
    let gutted = standing::is_gutted(&snapshot);
    if strict || (snapshot.is_valid() && !gone && !gutted) {
        return (snapshot, None);
    }
    let (paths, env) = (paths.clone(), env.clone());
    let kept = lifecycle::spawn_blocking(move || last_good::load(&paths, &env)).await;
    let Ok(Some((good, _))) = kept else { return (snapshot, None) };
    let mut reasons: Vec<String> = snapshot.issues.iter().map(ToString::to_string).collect();
    if gone {
        reasons.push("config file not found".to_owned());
    } else if gutted {
        reasons.push("everything but update.channel is gone from the file".to_owned());
    }
    let since = SystemClock.now_ms();
    (good, Some(Rejected { hash: snapshot.hash.clone(), reasons, since }))
}

/// Handles of sockets for one attempt; the originals stay open whatever becomes
/// of it.
fn clones(listeners: &[StdListener]) -> Vec<StdListener> {
    listeners.iter().filter_map(|listener| listener.try_clone().ok()).collect()
}

/// Tells clients the reason until there is a point in trying again (`None`) or
/// the process is asked to end.
async fn wait_for_fix(
    process: &mut Process,
    signals: &mut Signals,
    listeners: Vec<TcpListener>,
    reason: &str,
    snapshot: &Snapshot,
) -> Option<Ended> {
    let lifecycle = Lifecycle::default();
    let address = listeners.first().and_then(|listener| listener.local_addr().ok());
    blocked::tell(listeners, std::mem::take(&mut process.unfinished), reason, &lifecycle);
    Notifier.ready(&format!("{BLOCKED}{reason}"));
    if let (Some(period), Some(address)) = (watchdog_period(), address) {
        let state = process.paths.state.clone();
        lifecycle.spawn("watchdog", move |stop| {
            watchdog::feed(period, state, move || answers_http(reachable(address)), stop)
        });
    }
    let mut files = process.causes(snapshot);
    let ended = loop {
        tokio::select! {
            () = blocked::change(&files) => {
                let snapshot = process.read().await;
                match process.still_refused(&snapshot) {
                    // Clients keep hearing the first reason until the next try.
                    Some(now) if now == *reason => files = process.causes(&snapshot),
                    _ => break None,
                }
            }
            request = Signals::next(signals) => match request {
                Request::Reload => break None,
                Request::Stop(_) => break Some(Ended::Done { clean: true }),
                Request::Restart(_) => break Some(Ended::Restart(Vec::new())),
            }
        }
    };
    if ended.is_some() {
        Notifier.stopping(LEAVE_LIMIT, "stopping");
    }
    if !lifecycle.shut_down(LEAVE_LIMIT).await {
        tracing::debug!("a client of the blocked gateway did not leave in time");
    }
    ended
}

async fn serve(gateway: Gateway, signals: Signals, boot: Option<Boot>, supervised: bool) -> Ended {
    let state = Arc::clone(gateway.state());
    let safe_mode = boot.as_ref().and_then(|boot| boot.safe_mode.clone());
    let mut status = status_line(gateway.addresses(), safe_mode.as_deref());
    if let Some(mismatch) = gateway.mismatch() {
        status = format!("{status}; {mismatch}");
    }
    // Set once, here: this process serves one gateway.
    state.status.get_or_init(|| status);
    if !supervised {
        state.services.restart.keep(gateway.handles());
    }
    let address = gateway.addresses().first().copied();
    tell_manager(&state, address);
    let requests = Watched {
        signals,
        state: Arc::clone(&state),
        safe_until: safe_mode.map(|_| Instant::now() + boots::WINDOW),
    };
    let exit = gateway.run(requests).await;
    if let Some(boot) = boot
        && exit.clean
    {
        boot.ended();
    }
    match exit.reason {
        Reason::Restart if !supervised => Ended::Restart(state.services.restart.take_kept()),
        Reason::Idle => Ended::Idle,
        Reason::Restart | Reason::Stop => Ended::Done { clean: exit.clean },
    }
}

/// Follows the gateway's phases: ready after a proven answer, fed while it
/// lasts, stopping with what it waits for.
fn tell_manager(state: &Arc<State>, address: Option<SocketAddr>) {
    let proving = Arc::clone(state);
    state.lifecycle.spawn("readiness", move |stop| async move {
        let Some(address) = address.map(reachable) else { return };
        let proven = async {
            let mut phase = proving.phase.subscribe();
            if phase.wait_for(|phase| *phase == Phase::Ready).await.is_err() {
                return false;
            }
            while let Err(problem) = proves_itself(&proving, address).await {
                tracing::warn!(err = %problem, "the gateway does not answer itself yet");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            true
        };
        // Once it is ready a stop may come at any moment, and must fit.
        let prepared = async { tokio::join!(proven, bound_drain(&proving)).0 };
        // A stop may come first: then it is never ready.
        if Box::pin(stop.run_until_cancelled(prepared)).await != Some(true) {
            return;
        }
        Notifier.ready(&reload::status(&proving));
        tracing::info!(lifecycle = catalog::READY, "ready: an internal client was answered");
        if let Some(period) = watchdog_period() {
            let dir = proving.paths.state.clone();
            let probe = move || {
                let state = Arc::clone(&proving);
                async move { proves_itself(&state, address).await }
            };
            watchdog::feed(period, dir, probe, stop).await;
        }
    });
    let draining = Arc::clone(state);
    state.lifecycle.spawn("stop notice", move |stop| async move {
        let mut phase = draining.phase.subscribe();
        tokio::select! {
            () = stop.cancelled() => {}
            reached = phase.wait_for(|phase| *phase >= Phase::Draining) => {
                if reached.is_ok() {
                    let runs = draining.runs.active();
                    let status = format!("draining {runs} runs");
                    Notifier.stopping(draining.grace() + shutdown::CLOSE, &status);
                }
            }
        }
    });
}

/// The drain ends before the manager would kill, whatever a drop-in says.
async fn bound_drain(state: &State) {
    let env = Arc::clone(&state.env);
    let limit = lifecycle::spawn_blocking(move || host::stop_timeout(&env)).await;
    let Ok(Some(limit)) = limit else { return };
    let budget = limit.saturating_sub(STOP_RESERVE).max(Duration::from_secs(1));
    if let Ok(mut grace) = state.grace.lock() {
        *grace = budget;
    }
    tracing::info!(budget_s = budget.as_secs(), stop_timeout_s = limit.as_secs(), "drain budget");
}

/// An internal client goes through the real accept path: connect, hello,
/// health.
async fn proves_itself(state: &State, address: SocketAddr) -> Result<(), String> {
    let auth = state.auth.load_full();
    let target = Target {
        url: format!("{}://{address}", if state.tls.is_some() { "wss" } else { "ws" }),
        source: target::Source::Loopback,
        config_path: state.paths.config.clone(),
        bind: None,
        fingerprint: state.tls.as_ref().map(|tls| tls.fingerprint.clone()),
        insecure_private: false,
    };
    let credentials =
        Credentials { token: auth.token.clone(), password: auth.password.clone(), typed: false };
    let connector = Connector {
        target: &target,
        credentials: &credentials,
        identity: None,
        own: Some(&state.own_client),
        clock: state.clock.as_ref(),
    };
    let said = |err: crate::client::ClientError| err.to_string();
    let mut connection = connector.connect(Caller::PROBE, PROBE_LIMIT).await.map_err(said)?;
    let answer = connection.call("health", None, Expect::First, PROBE_LIMIT).await;
    connection.hang_up().await;
    answer.map(|_| ()).map_err(said)
}

/// Any HTTP answer over a fresh connection.
async fn answers_http(address: SocketAddr) -> Result<(), String> {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .await?;
        let mut start = [0; 9];
        stream.read_exact(&mut start).await?;
        Ok::<_, std::io::Error>(start)
    };
    match timeout(PROBE_LIMIT, ask).await {
        Ok(Ok(start)) if start.starts_with(b"HTTP/1.1 ") => Ok(()),
        Ok(Ok(_)) => Err("the answer is not HTTP".into()),
        Ok(Err(err)) => Err(err.to_string()),
        Err(_) => Err("no answer".into()),
    }
}

/// Where a client of this host reaches a listener.
fn reachable(address: SocketAddr) -> SocketAddr {
    let host = match address.ip() {
        IpAddr::V4(host) if host.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(host) if host.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        host => host,
    };
    SocketAddr::new(host, address.port())
}

fn status_line(addresses: &[SocketAddr], safe_mode: Option<&str>) -> String {
    let urls: Vec<String> = addresses.iter().map(|address| format!("ws://{address}")).collect();
    let listening = format!("listening on {}", urls.join(", "));
    match safe_mode {
        Some(reason) => format!("{reason}; {listening}"),
        None => listening,
    }
}

/// Signals, with what the service manager wants to hear about them.
struct Watched {
    signals: Signals,
    state: Arc<State>,
    /// End of safe mode, which a fresh start leaves behind.
    safe_until: Option<Instant>,
}

impl Requests for Watched {
    async fn next(&mut self) -> Request {
        let safe_until = self.safe_until;
        let safe_mode_over = async {
            match safe_until {
                Some(end) => sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        let request = tokio::select! {
            request = Signals::next(&mut self.signals) => request,
            () = safe_mode_over => {
                self.safe_until = None;
                Request::Restart("end of safe mode")
            }
        };
        if request == Request::Reload {
            Notifier.reloading();
            let state = Arc::clone(&self.state);
            let look = state.reloader.next_look();
            self.state.lifecycle.spawn("reload notice", move |stop| async move {
                tokio::select! {
                    () = stop.cancelled() => return,
                    looked = timeout(RELOAD_LIMIT, look) => {
                        if let Ok(Some(outcome)) = looked {
                            tracing::info!(?outcome, "reload is over");
                        } else {
                            tracing::warn!("reload takes longer than expected");
                        }
                    }
                }
                Notifier.ready(&reload::status(&state));
            });
        }
        request
    }
}

/// Whether the last start in this state directory was refused, and why.
pub fn last_refusal(state: &Path) -> Option<String> {
    let bytes = std::fs::read(state.join(BLOCKED_FILE)).ok()?;
    let note: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
    note["reason"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unspecified_address_is_reached_over_loopback() {
        let of = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(of("0.0.0.0:1"), "127.0.0.1:1");
        assert_eq!(of("[::]:1"), "[::1]:1");
        assert_eq!(of("192.0.2.1:1"), "192.0.2.1:1");
    }

    #[test]
    fn a_refusal_is_remembered_until_a_start_succeeds() {
        let dir = tempfile::tempdir().unwrap();
        let env: Env = [("HOME", dir.path().to_str().unwrap())].into_iter().collect();
        let paths = Paths::resolve(&env);
        let state = paths.state.clone();
        let (options, inherited, kept) = (RunOptions::default(), Vec::new(), Vec::new());
        let process =
            Process { env, paths, options, inherited, unfinished: Vec::new(), kept, refusal: None };
        process.remember_refusal("set gateway.mode=local", "abc");
        assert_eq!(last_refusal(&state).as_deref(), Some("set gateway.mode=local"));
        process.forget_refusal();
        assert_eq!(last_refusal(&state), None);
    }
}
