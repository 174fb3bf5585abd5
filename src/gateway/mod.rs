//! Floor 4: the composition root. [`build`] checks, binds and wires; [`Gateway::run`]
//! serves until it is asked to stop.

pub mod approvals;
pub mod auth;
pub mod beacon;
pub mod blocked;
pub mod boots;
pub mod cron;
pub mod events;
pub mod force;
pub mod guarded;
pub mod health;
pub mod heartbeat;
pub mod http;
pub mod idle;
pub mod limits;
pub mod listen;
pub mod lock;
pub mod metrics;
pub mod nodes;
mod noted;
pub mod options;
mod own_calls;
pub mod pairing;
pub mod presence;
pub mod process;
pub mod reload;
pub mod restart;
pub mod routing;
pub mod rpc;
pub mod services;
pub mod shutdown;
pub mod start;
pub mod state;
pub mod tailscale;
pub mod tls;
pub mod ws;

use std::future::Future;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::{self, MissedTickBehavior};

use crate::agents::{Agents, AgentsDeps};
use crate::base::clock::{Clock, SystemClock};
use crate::base::id;
use crate::base::secret::Secret;
use crate::channels::manager::Deps as ChannelsDeps;
use crate::channels::{Channels, Kept};
use crate::config::{Live, Rejected, Snapshot, gate};
use crate::gateway::events::Bus;
use crate::gateway::events::runs::RunEvents;
use crate::gateway::lock::InstanceLock;
use crate::gateway::shutdown::Reason;
use crate::gateway::state::Phase;
use crate::gateway::tailscale::Exposure;
use crate::lifecycle::{self, CancellationToken, Lifecycle};
use crate::logging::{catalog, repeats};
use crate::profile::env::Env;
use crate::profile::paths::Paths;
use crate::protocol::events::Event;
use crate::protocol::frame::TICK_INTERVAL_MS;
use crate::secrets;
use crate::supervise::activation::{self, Unfinished};
use crate::supervise::signals::{Request, Signals};

pub use options::RunOptions;
pub use start::StartError;
pub use state::State;

/// Sockets of one address that have not authenticated, unless configured.
const MAX_PREAUTH: usize = 32;
/// Clients of protocol 4 expect a ping about this often.
const PING_EVERY: Duration = Duration::from_secs(25);

/// When many clients leave at once, the others are told this often.
const PRESENCE_PAUSE: Duration = Duration::from_millis(100);

/// Everything a gateway is built from.
#[derive(Debug)]
pub struct Setup {
    pub snapshot: Snapshot,
    pub env: Env,
    pub paths: Paths,
    pub options: RunOptions,
    /// Listeners that the service manager passed; they win over flags.
    pub inherited: Vec<StdListener>,
    /// Listeners of this process before it started over: used if they are still
    /// what the configuration asks for.
    pub kept: Vec<StdListener>,
    /// Handshakes that a killed process left.
    pub unfinished: Vec<Unfinished>,
    /// Why `snapshot` is not what the file says, if it is not.
    pub rejected: Option<Rejected>,
    pub clock: Arc<dyn Clock>,
}

impl Setup {
    /// With the host's clock and no inherited listeners.
    pub fn new(snapshot: Snapshot, env: Env, paths: Paths, options: RunOptions) -> Self {
        let clock = Arc::new(SystemClock);
        let (inherited, kept, unfinished) = (Vec::new(), Vec::new(), Vec::new());
        let rejected = None;
        Self { snapshot, env, paths, options, inherited, kept, unfinished, rejected, clock }
    }
}

/// A gateway that holds its port and its lock but serves nobody yet.
#[derive(Debug)]
pub struct Gateway {
    state: Arc<State>,
    listeners: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
    /// What the addresses of the service manager's sockets lack.
    mismatch: Option<activation::Mismatch>,
    exposure: Exposure,
    idle_after: Option<Duration>,
    /// Whether the service manager holds the port.
    activated: bool,
    /// Messages from channels.
    inbound: mpsc::Receiver<Kept>,
    unfinished: Vec<Unfinished>,
    _lock: InstanceLock,
}

/// How a gateway ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    pub reason: Reason,
    /// Whether everything ended within the grace.
    pub clean: bool,
}

/// Where stop, restart and reload requests come from.
pub trait Requests: Send {
    /// Waits for the next request. Cancel-safe.
    fn next(&mut self) -> impl Future<Output = Request> + Send;
}

impl Requests for Signals {
    fn next(&mut self) -> impl Future<Output = Request> + Send {
        Signals::next(self)
    }
}

/// For tests and embedders; a dropped sender asks nothing.
impl Requests for mpsc::Receiver<Request> {
    async fn next(&mut self) -> Request {
        match self.recv().await {
            Some(request) => request,
            None => std::future::pending().await,
        }
    }
}

/// Checks flags and configuration, takes the lock, binds the port, wires the state.
pub async fn build(setup: Setup) -> Result<Gateway, StartError> {
    let Setup { snapshot, env, paths, options, inherited, kept, unfinished, rejected, clock } =
        setup;
    let flags = options.flags();
    let mut prepared = Box::pin(secrets::start::check(&flags, snapshot)).await?;
    for line in &prepared.warnings {
        tracing::warn!("{line}");
    }
    for entry in auth::proxy::unusable(&prepared.snapshot.config.gateway.trusted_proxies) {
        tracing::warn!(
            "gateway.trustedProxies: {entry:?} is neither an address nor a network such as 10.0.0.0/8; it matches nobody"
        );
    }
    for line in &prepared.notices {
        tracing::info!("{line}");
    }
    let idle_after = idle::patience(options.idle_exit.as_deref(), &env)?;
    let tls = load_tls(&prepared.snapshot, &paths).await?;
    if let Some(reach) = options.force.filter(|_| inherited.is_empty()) {
        force::free(prepared.serving.port, reach).await?;
    }
    let lock = InstanceLock::take(&paths.state, &paths.config).map_err(StartError::Locked)?;
    // A file that cannot be written costs the setting, not the start.
    // A broken file is left for its owner to mend.
    if rejected.is_none()
        && let Err(err) = secrets::start::persist(&mut prepared, &paths)
    {
        tracing::warn!(%err, "settings made at this start could not be saved");
    }
    let secrets::start::Prepared { snapshot, serving: plan, .. } = prepared;
    let activated = !inherited.is_empty();
    let mismatch = activation::mismatch(&activation::addresses(&inherited), &plan.addresses());
    let mismatch = mismatch.filter(|_| activated);
    if let Some(mismatch) = &mismatch {
        tracing::error!(lifecycle = catalog::MISMATCH, "{mismatch}");
    }
    refuse_open_sockets(&inherited, &plan)?;
    let std_listeners = if inherited.is_empty() {
        match listen::still_wanted(kept, &plan.hosts, plan.port) {
            Some(kept) => kept,
            None => bind(&plan).await?,
        }
    } else {
        inherited
    };
    let mut listeners = Vec::with_capacity(std_listeners.len());
    let mut addresses = Vec::with_capacity(std_listeners.len());
    for listener in std_listeners {
        let address = SocketAddr::new(plan.hosts[0], plan.port);
        let adopt = || {
            listener.set_nonblocking(true)?;
            let listener = TcpListener::from_std(listener)?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let (listener, address) =
            adopt().map_err(|source| StartError::Bind(listen::BindError { address, source }))?;
        listeners.push(listener);
        addresses.push(address);
    }
    reload::conceal(&snapshot);
    let exposure = Exposure::new(&plan);
    let max_preauth = env
        .get("OPENCLAW_MAX_PREAUTH_CONNECTIONS_PER_IP")
        .and_then(|text| text.parse().ok())
        .filter(|&max: &usize| max > 0)
        .unwrap_or(MAX_PREAUTH);
    let traffic = options.traffic();
    let bus = Arc::new(Bus::new(traffic));
    let gateway = &snapshot.config.gateway;
    let settings = auth::Settings::new(&plan.auth, &gateway.trusted_proxies);
    let limiters = auth::Limiters::new(gateway.auth.rate_limit.as_ref());
    let runs = Arc::new(RunEvents::new(Arc::clone(&bus)));
    let metrics = Arc::new(metrics::Metrics::default());
    let (live, lifecycle, env) = (Live::new(snapshot), Lifecycle::default(), Arc::new(env));
    let fallen_back = rejected.is_some();
    if let Some(rejected) = rejected {
        live.reject(rejected);
    }
    let agents = Agents::new(AgentsDeps {
        config: live.clone(),
        env: Arc::clone(&env),
        paths: paths.clone(),
        lifecycle: lifecycle.clone(),
        clock: Arc::clone(&clock),
        sink: Arc::new(metrics::Counted { metrics: Arc::clone(&metrics), next: Arc::clone(&runs) }),
        raw_stream: options.raw_stream_file(&env, &paths),
    });
    runs.show_rows(agents.sessions().rows());
    let channels = ChannelsDeps {
        env: Arc::clone(&env),
        paths: paths.clone(),
        lifecycle: lifecycle.clone(),
        clock: Arc::clone(&clock),
    };
    let names = Arc::new(routing::Names { config: live.clone() });
    let (channels, inbound) = Channels::new(channels, names);
    let state = Arc::new(State {
        port: addresses.first().map_or(plan.port, SocketAddr::port),
        started_at: clock.now_ms(),
        boot_id: id::uuid(),
        own_client: Secret::new(id::uuid()),
        status: OnceLock::new(),
        auth: ArcSwap::from_pointee(settings),
        limiters: ArcSwap::from_pointee(limiters),
        devices: pairing::Devices::new(&paths.state),
        presence: presence::Presence::new(),
        health: health::Health::default(),
        services: services::Services::new(&live.load().config, &paths),
        agents,
        channels,
        runs,
        metrics,
        traffic,
        bus,
        dedupe: limits::Dedupe::default(),
        writes: limits::WriteBudget::default(),
        preauth: limits::PreauthBudget::new(max_preauth),
        talks: idle::Talks::default(),
        tls,
        phase: watch::Sender::new(Phase::Starting),
        grace: Mutex::new(shutdown::GRACE),
        lifecycle,
        reloader: reload::Reloader::new(flags, live.load(), fallen_back),
        config: live,
        env,
        paths,
        clock,
    });
    state.agents.set_control_plane(Arc::new(own_calls::OwnCalls::new(&state)));
    Ok(Gateway {
        state,
        listeners,
        addresses,
        mismatch,
        exposure,
        idle_after,
        activated,
        inbound,
        unfinished,
        _lock: lock,
    })
}

async fn load_tls(snapshot: &Snapshot, paths: &Paths) -> Result<Option<tls::Tls>, StartError> {
    let (gateway, paths) = (snapshot.config.gateway.clone(), paths.clone());
    if gateway.tls.is_empty() {
        return Ok(None);
    }
    let loaded = lifecycle::spawn_blocking(move || tls::load(&gateway, &paths)).await;
    let loaded = loaded.map_err(|err| gate::StartRefusal::failed(err.to_string()))?;
    let tls = loaded.map_err(gate::StartRefusal::failed)?;
    if let Some(tls) = &tls {
        tracing::info!("gateway tls: serving with fingerprint sha256:{}", tls.fingerprint);
    }
    Ok(tls)
}

/// The gate judged the address it was told; a socket unit may publish another.
fn refuse_open_sockets(
    inherited: &[StdListener],
    plan: &gate::Serving,
) -> Result<(), gate::StartRefusal> {
    let open = activation::addresses(inherited).into_iter().find(|at| !at.ip().is_loopback());
    match open {
        Some(address) if plan.auth.mode == gate::AuthMode::None => Err(gate::StartRefusal::plain([
            format!("Refusing to bind gateway to {address} without auth."),
            "The address comes from the socket unit. Set gateway.auth.mode to token, or let the socket listen on 127.0.0.1.".to_owned(),
        ])),
        _ => Ok(()),
    }
}

async fn bind(plan: &gate::Serving) -> Result<Vec<StdListener>, StartError> {
    match listen::bind(&plan.hosts, plan.port).await {
        Ok(listeners) => Ok(listeners),
        Err(err) if err.is_taken() => {
            let (port, address) = (plan.port, err.address.to_string());
            let lookup = move || start::port_taken(port, address);
            Err(lifecycle::spawn_blocking(lookup).await.unwrap_or(StartError::Bind(err)))
        }
        Err(err) => Err(StartError::Bind(err)),
    }
}

impl Gateway {
    /// What handlers share.
    pub fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// Where it listens; the first address is the one to show.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// How the manager's sockets differ from what flags and configuration ask for.
    pub fn mismatch(&self) -> Option<&activation::Mismatch> {
        self.mismatch.as_ref()
    }

    /// Second handles of the listeners.
    pub fn handles(&self) -> Vec<StdListener> {
        let handles = self.listeners.iter().filter_map(|listener| {
            use std::os::fd::AsFd as _;
            Some(StdListener::from(listener.as_fd().try_clone_to_owned().ok()?))
        });
        handles.collect()
    }

    /// Serves until a request to stop or restart, then drains. A second
    /// request while draining ends at once.
    pub async fn run(self, mut requests: impl Requests) -> Exit {
        let Self {
            state,
            listeners,
            addresses,
            mismatch: _,
            exposure,
            idle_after,
            activated,
            inbound,
            unfinished,
            _lock,
        } = self;
        let accepting = CancellationToken::new();
        // Clients may wait in the backlog: the first one must not be turned away.
        state.phase.send_replace(Phase::Ready);
        serve(&state, listeners, unfinished, &accepting);
        routing::start(&state, inbound);
        announce(&addresses, if state.tls.is_some() { "wss" } else { "ws" });
        exposure.begin(&state);
        let public = addresses.iter().any(|address| !address.ip().is_loopback());
        beacon::start(&state, public || exposure.is_on());
        let watching = Arc::clone(&state);
        let mut idle = std::pin::pin!(idle::over(&watching, idle_after, activated));
        let reason = loop {
            let request = tokio::select! {
                () = &mut idle => {
                    tracing::info!(lifecycle = catalog::IDLE, "nobody talks; leaving the port to the service manager");
                    break Reason::Idle;
                }
                request = requests.next() => request,
                () = state.services.restart.due() => {
                    tracing::info!(
                        lifecycle = catalog::RESTARTING,
                        "restarting to apply the changed configuration"
                    );
                    break Reason::Restart;
                }
            };
            match request {
                Request::Reload => {
                    tracing::info!(lifecycle = catalog::RELOADING, "reload requested");
                    state.reloader.poke();
                }
                Request::Stop(signal) => {
                    tracing::info!(lifecycle = catalog::STOPPING, "signal {signal} received");
                    tracing::info!("received {signal}; shutting down");
                    break Reason::Stop;
                }
                Request::Restart(signal @ "SIGUSR1") if !may_restart(&state) => {
                    tracing::info!("signal {signal} received");
                    // Part of the contract: operators search the log for this line.
                    tracing::warn!(
                        "SIGUSR1 restart ignored (not authorized; commands.restart=false or use gateway tool)."
                    );
                }
                Request::Restart(signal) => {
                    tracing::info!(
                        lifecycle = catalog::RESTARTING,
                        "received {signal}; restarting"
                    );
                    break Reason::Restart;
                }
            }
        };
        accepting.cancel();
        if reason != Reason::Idle {
            exposure.end(&state);
        }
        if reason == Reason::Stop {
            // Whoever comes now is to be refused, not queued.
            drop(state.services.restart.take_kept());
        }
        let impatient = async {
            loop {
                if matches!(requests.next().await, Request::Stop(_)) {
                    return;
                }
            }
        };
        let clean = tokio::select! {
            clean = shutdown::shut_down(&state, reason) => clean,
            () = impatient => {
                tracing::warn!("second signal; ending without waiting");
                false
            }
        };
        tell_left_out();
        Exit { reason, clean }
    }
}

/// Whether somebody else may have the gateway start over.
fn may_restart(state: &State) -> bool {
    state.config.load().config.commands.get("restart") != Some(&json!(false))
}

/// Starts everything that runs while the gateway is up.
fn serve(
    state: &Arc<State>,
    listeners: Vec<TcpListener>,
    unfinished: Vec<Unfinished>,
    accepting: &CancellationToken,
) {
    let mut changes = state.config.changes();
    let site = http::Site::new(state);
    let (following, settings) = (Arc::clone(state), Arc::clone(&site));
    // The next use would see to it; until then they would keep replaced secrets.
    state.lifecycle.spawn("settings", |stop| async move {
        while let Some(Ok(())) = stop.run_until_cancelled(changes.changed()).await {
            drop(settings.prepared());
            following.agents.forget_old_settings();
        }
    });
    let door = Arc::new(listen::Door::new(state, site));
    for one in unfinished {
        listen::resume(&door, one);
    }
    for listener in listeners {
        let (door, accepting) = (Arc::clone(&door), accepting.clone());
        state.lifecycle.spawn("listener", |_stop| listen::accept(door, listener, accepting));
    }
    let beating = Arc::clone(state);
    state.lifecycle.spawn("tick", |stop| async move {
        every(Duration::from_millis(TICK_INTERVAL_MS), stop, || {
            beating.bus.broadcast(Event::Tick, &json!({"ts": beating.clock.now_ms()}));
            beating.bus.close_stalled();
            tell_left_out();
        })
        .await;
    });
    let telling = Arc::clone(state);
    state.lifecycle.spawn("presence", |stop| async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = telling.presence.next_change() => {}
            }
            let list = telling.presence.list(telling.clock.now_ms());
            telling.bus.broadcast_state(Event::Presence, &json!({"presence": list}));
            time::sleep(PRESENCE_PAUSE).await;
        }
    });
    let pinging = Arc::clone(state);
    state.lifecycle.spawn("ping", |stop| async move {
        every(PING_EVERY, stop, || pinging.bus.ping()).await;
    });
    let resting = Arc::clone(state);
    state.lifecycle.spawn("rest", |stop| idle::rest(resting, stop));
    let reloading = Arc::clone(state);
    state.lifecycle.spawn("reload", |stop| reload::watch(reloading, stop));
    heartbeat::start(state);
    cron::runner::start(state);
    let checking = Arc::clone(state);
    state.lifecycle.spawn("health", |stop| async move {
        let mut ticks = time::interval(health::REFRESH_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            checking.health.refresh_and_tell(&checking).await;
        }
    });
}

/// Calls `work` once per `period`, not at once, until `stop`.
async fn every(period: Duration, stop: CancellationToken, work: impl Fn()) {
    let mut ticks = time::interval_at(time::Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => work(),
        }
    }
}

/// Says which lines were repeated so often that they were left out.
fn tell_left_out() {
    for line in repeats::told() {
        let (times, subsystem) = (line.times, line.subsystem);
        tracing::warn!(times, subsystem, "repeated and left out: {}", line.text);
    }
}

/// Part of the contract: operators search the log for this line.
fn announce(addresses: &[SocketAddr], scheme: &str) {
    let urls: Vec<String> =
        addresses.iter().map(|address| format!("{scheme}://{address}")).collect();
    tracing::info!(
        lifecycle = catalog::LISTENING,
        "listening on {} (PID {})",
        urls.join(", "),
        std::process::id()
    );
}
