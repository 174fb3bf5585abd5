//! What handlers share.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::agents::Agents;
use crate::base::clock::Clock;
use crate::base::secret::Secret;
use crate::channels::Channels;
use crate::config::Live;
use crate::gateway::auth;
use crate::gateway::events::Bus;
use crate::gateway::events::runs::RunEvents;
use crate::gateway::health::Health;
use crate::gateway::idle::Talks;
use crate::gateway::limits::{Dedupe, PreauthBudget, WriteBudget};
use crate::gateway::metrics::Metrics;
use crate::gateway::pairing::Devices;
use crate::gateway::presence::Presence;
use crate::gateway::reload::Reloader;
use crate::gateway::services::Services;
use crate::gateway::tls::Tls;
use crate::gateway::ws::traffic::Traffic;
use crate::lifecycle::Lifecycle;
use crate::profile::env::Env;
use crate::profile::paths::Paths;

/// How far the gateway has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Bound, not serving yet.
    Starting,
    Ready,
    /// Says goodbye to its clients and lets runs end.
    Draining,
    Stopped,
}

/// The running gateway as its handlers see it.
#[derive(Debug)]
pub struct State {
    pub config: Live,
    pub reloader: Reloader,
    pub env: Arc<Env>,
    pub paths: Paths,
    pub clock: Arc<dyn Clock>,
    pub lifecycle: Lifecycle,
    /// Milliseconds since the Unix epoch.
    pub started_at: u64,
    /// Differs from one start to the next.
    pub boot_id: String,
    /// The port of the first listener.
    pub port: u16,
    /// What the service manager shows while all is well; set once it is known.
    pub status: OnceLock<String>,
    /// Authentication in force; replaced as a whole on reload.
    pub auth: ArcSwap<auth::Settings>,
    /// Replaced when their settings change; the counts begin anew then.
    pub limiters: ArcSwap<auth::Limiters>,
    /// What the client that proves the gateway to itself is known by.
    pub own_client: Secret,
    pub devices: Devices,
    pub presence: Presence,
    pub health: Health,
    pub bus: Arc<Bus>,
    /// Turns what happens in runs into events.
    pub runs: Arc<RunEvents>,
    pub metrics: Arc<Metrics>,
    /// What of the sockets' traffic is logged.
    pub traffic: Traffic,
    pub agents: Agents,
    pub channels: Channels,
    pub services: Services,
    pub dedupe: Dedupe,
    pub writes: WriteBudget,
    pub preauth: PreauthBudget,
    pub talks: Talks,
    /// Present when the port speaks TLS.
    pub tls: Option<Tls>,
    pub phase: watch::Sender<Phase>,
    /// How long runs may take to finish once the gateway stops.
    pub grace: Mutex<Duration>,
}

impl State {
    /// How long runs may take to finish once the gateway stops.
    pub fn grace(&self) -> Duration {
        *self.grace.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Whether clients are being served.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Milliseconds since the start.
    pub fn uptime_ms(&self) -> u64 {
        self.clock.now_ms().saturating_sub(self.started_at)
    }
}
