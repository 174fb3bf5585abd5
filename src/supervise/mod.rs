//! Floor 3: the operating system as our supervisor: units, LaunchAgents,
//! readiness, watchdog, inherited sockets, signals.
//!
//! It knows nothing of the gateway: what must be proven healthy or run comes in
//! as a closure or a value.

pub mod activation;
pub mod addresses;
pub mod audit;
pub mod fd_store;
pub mod footprint;
pub mod host;
pub mod launchd;
pub mod listeners;
pub mod manager;
pub mod notify;
pub mod report;
pub mod runner;
pub mod signals;
pub mod spec;
pub mod systemd;
pub mod tcp;
pub mod watchdog;
