//! What the doctor looks at, in the order in which it reports: one file per
//! check. `docs/doctor.md` is written from this table.

mod auth;
mod boots;
mod channel_credentials;
mod clock;
mod completion;
mod config_backups;
mod config_inert;
mod config_legacy;
mod config_location;
mod config_standing;
mod config_validity;
mod disk_space;
mod extra_services;
mod gateway_config;
mod gateway_daemon;
mod gateway_health;
mod gateway_port;
mod launch_agent;
mod launchd_environment;
mod linger;
mod listener_owner;
mod private_files;
mod provider_credentials;
mod secret_refs;
mod security;
mod service_command;
mod service_drift;
mod service_duplicates;
mod service_files;
mod service_manager;
mod service_reload;
mod service_secrets;
mod session_locks;
mod session_store;
mod socket_unit;
mod stale_program;
mod start_limit;
mod state_files;
mod state_integrity;
mod token_drift;
mod unit_backups;
mod watchdog;
mod workspace_status;
mod workspace_suggestions;

use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Severity};

/// Where a check has something to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Everywhere,
    /// Only where the gateway runs on this host.
    Local,
    Systemd,
    Launchd,
}

/// One thing that the doctor looks at. Looking changes nothing.
#[derive(Debug)]
pub struct Check {
    /// Stable, without the prefix. Part of the contract.
    pub id: &'static str,
    /// Heading of the report under which its findings stand.
    pub section: &'static str,
    pub scope: Scope,
    /// The worst that it reports.
    pub severity: Severity,
    /// What it finds.
    pub finds: &'static str,
    /// Why that matters.
    pub matters: &'static str,
    /// What a repair does; empty when there is none.
    pub repairs: &'static str,
    pub inspect: fn(&Facts<'_>) -> Vec<Finding>,
}

/// All checks, in the order of the report.
pub const CHECKS: &[&Check] = &[
    &config_validity::CHECK,
    &config_standing::CHECK,
    &config_legacy::CHECK,
    &config_location::CHECK,
    &config_inert::CHECK,
    &gateway_config::CHECK,
    &auth::CHECK,
    &token_drift::CHECK,
    &secret_refs::CHECK,
    &state_integrity::CHECK,
    &private_files::CHECK,
    &state_files::CHECK,
    &config_backups::CHECK,
    &session_store::CHECK,
    &session_locks::CHECK,
    &disk_space::CHECK,
    &clock::CHECK,
    &service_manager::CHECK,
    &service_duplicates::CHECK,
    &extra_services::CHECK,
    &service_drift::CHECK,
    &service_command::CHECK,
    &socket_unit::CHECK,
    &service_reload::CHECK,
    &service_secrets::CHECK,
    &unit_backups::CHECK,
    &service_files::CHECK,
    &launch_agent::CHECK,
    &launchd_environment::CHECK,
    &linger::CHECK,
    &start_limit::CHECK,
    &watchdog::CHECK,
    &gateway_daemon::CHECK,
    &stale_program::CHECK,
    &gateway_port::CHECK,
    &listener_owner::CHECK,
    &gateway_health::CHECK,
    &boots::CHECK,
    &security::CHECK,
    &channel_credentials::CHECK,
    &provider_credentials::CHECK,
    &workspace_status::CHECK,
    &workspace_suggestions::CHECK,
    &completion::CHECK,
];
