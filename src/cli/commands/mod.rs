//! What the commands do: one file per command, args → calls → outcome.

pub mod agent;
pub mod agents;
pub mod approvals;
mod backup;
pub mod call;
pub mod channels;
pub mod choose;
pub mod cleanup;
pub mod config;
pub mod dashboard;
mod dev;
pub mod devices;
mod directory;
pub mod discover;
mod dns;
mod docs;
pub mod doctor;
pub mod gateway_status;
pub mod health;
mod hooks;
mod hub;
pub mod jobs;
pub mod kept;
pub mod logs;
pub mod manage;
pub mod manual;
mod mcp;
mod memory;
pub mod message;
pub mod model_auth;
pub mod model_keys;
mod model_scan;
pub mod models;
pub mod nodes;
mod onboard;
pub mod pairing;
mod plugins;
pub mod probe;
pub mod qr;
mod reload;
mod sandbox;
mod secrets;
pub mod security;
pub mod serve;
pub mod service;
mod sessions_cleanup;
pub mod setup;
pub mod shell;
pub mod skills;
pub mod status;
mod tasks;
pub mod update;

use crate::cli::args::Command;
use crate::cli::args::config::ConfigCommand;
use crate::cli::args::gateway::{DaemonCommand, GatewayArgs, GatewayCommand, RunArgs};
use crate::cli::args::manage::SessionsCommand;
use crate::cli::args::network::{ClawbotCommand, DnsCommand};
use crate::cli::args::secrets::SecretsCommand;
use crate::cli::context::Context;
use crate::cli::ui::{CommandResult, Failure};

/// Runs one command to its end.
pub fn run(context: &Context, command: Command) -> CommandResult {
    match heed(&command) {
        Heed::Nothing => {}
        Heed::Tell => context.ui.err(&context.config_complaint().unwrap_or_default()),
        Heed::Stop => {
            if let Some(complaint) = context.config_complaint() {
                return Err(Failure::new(complaint));
            }
        }
    }
    if let Some(result) = service::dispatch(context, &command) {
        return result;
    }
    match command {
        Command::Gateway(args) => gateway(context, *args),
        Command::Daemon(args) => match args.command {
            DaemonCommand::Status(args) => gateway_status::run(context, &args, &RunArgs::default()),
            other => unreachable!("a service command was not dispatched: {other:?}"),
        },
        Command::Agent(args) => agent::run(context, &args),
        Command::Health(args) => health::run(context, &args),
        Command::Logs(args) => logs::run(context, &args),
        Command::Channels(args) => channels::run(context, &args.command),
        Command::Pairing(args) => pairing::run(context, &args.command),
        Command::Message(args) => message::run(context, &args.command),
        Command::Models(args) => models::run(context, &args),
        Command::Status(args) => status::run(context, &args),
        Command::Devices(args) => devices::run(context, &args.command),
        Command::Sessions(args) => match &args.command {
            Some(SessionsCommand::Cleanup(args)) => sessions_cleanup::run(context, args),
            None => kept::sessions(context, &args),
        },
        Command::Agents(args) => agents::run(context, &args.command),
        Command::Cron(args) => manage::cron(context, &args.command),
        Command::Approvals(args) => approvals::run(context, &args.command),
        Command::Nodes(args) => nodes::run(context, &args.command),
        Command::Tasks(args) => tasks::run(context, &args),
        Command::Hooks(args) => hooks::run(context, args.command.as_ref()),
        Command::Mcp(args) => mcp::run(context, &args.command),
        Command::Plugins(args) => plugins::run(context, &args.command),
        Command::Sandbox(args) => sandbox::run(context, &args.command),
        Command::Directory(args) => directory::run(context, &args.command),
        Command::Memory(args) => memory::run(context, &args.command),
        Command::Skills(args) => skills::run(context, &args.command),
        Command::System(args) => call::system(context, &args.command),
        Command::Dns(args) => {
            let DnsCommand::Setup(args) = args.command;
            dns::setup(context, &args)
        }
        Command::Docs(args) => docs::run(context, &args),
        Command::Clawbot(args) => {
            let ClawbotCommand::Qr(args) = args.command;
            qr::run(context, &args)
        }
        Command::Dashboard(args) => dashboard::run(context, &args),
        Command::Config(args) => config::run(context, args),
        Command::Doctor(args) => doctor::run(context, &args),
        Command::Secrets(args) => secrets::run(context, &args.command),
        Command::Onboard(args) => onboard::run(context, &args),
        Command::Configure(args) => onboard::configure(context, &args),
        Command::Setup(args) => setup::run(context, &args),
        Command::Qr(args) => qr::run(context, &args),
        Command::Reset(args) => cleanup::reset(context, &args),
        Command::Backup(args) => backup::run(context, &args.command),
        Command::Security(args) => security::run(context, &args.command),
        Command::Uninstall(args) => cleanup::uninstall(context, &args),
        Command::Update(args) => update::run(context, &args),
        Command::Completion(args) => shell::completion(context, &args),
        Command::Man(args) => manual::write(&args),
        Command::Reload(args) => reload::run(context, &args),
    }
}

fn gateway(context: &Context, args: GatewayArgs) -> CommandResult {
    let before = args.run;
    match args.command {
        None => serve::run(context, before),
        Some(GatewayCommand::Run(args)) => serve::run(context, args.over(before)),
        Some(GatewayCommand::Status(args)) => gateway_status::run(context, &args, &before),
        Some(GatewayCommand::Probe(args)) => probe::run(context, &args, &before),
        Some(GatewayCommand::Call(mut args)) => {
            args.rpc.inherit(&before);
            call::gateway_call(context, &args)
        }
        Some(GatewayCommand::Health(mut args)) => {
            args.rpc.inherit(&before);
            call::gateway_health(context, &args)
        }
        Some(GatewayCommand::Discover(args)) => discover::run(context, &args),
        Some(GatewayCommand::UsageCost(mut args)) => {
            args.rpc.inherit(&before);
            call::usage_cost(context, &args)
        }
        Some(other) => unreachable!("a service command was not dispatched: {other:?}"),
    }
}

/// What an invalid configuration means for a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heed {
    /// It does not read the configuration, or reports on it itself.
    Nothing,
    /// It is needed to find out what is wrong, so it goes on.
    Tell,
    Stop,
}

fn heed(command: &Command) -> Heed {
    match command {
        Command::Gateway(args) => match &args.command {
            // The gateway names the problems itself, with its own exit status.
            None | Some(GatewayCommand::Run(_)) => Heed::Nothing,
            Some(GatewayCommand::UsageCost(_)) => Heed::Stop,
            Some(_) => Heed::Tell,
        },
        Command::Daemon(_)
        | Command::Health(_)
        | Command::Logs(_)
        | Command::Status(_)
        | Command::Reset(_)
        | Command::Backup(_)
        | Command::Tasks(_)
        | Command::Security(_)
        | Command::Uninstall(_)
        | Command::Update(_) => Heed::Tell,
        Command::Completion(_)
        | Command::Man(_)
        | Command::Docs(_)
        | Command::Doctor(_)
        | Command::Onboard(_)
        | Command::Reload(_) => Heed::Nothing,
        // An audit reports an invalid file as a finding.
        Command::Secrets(args) if matches!(args.command, SecretsCommand::Audit(_)) => Heed::Nothing,
        Command::Config(args) => match &args.command {
            Some(ConfigCommand::Get(_) | ConfigCommand::Set(_) | ConfigCommand::Unset(_)) => {
                Heed::Stop
            }
            _ => Heed::Nothing,
        },
        _ => Heed::Stop,
    }
}
