//! `gateway …` and its alias `daemon …`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::base::secret::Secret;
use crate::cli::args::rpc::Rpc;
use crate::cli::args::service::{ActionArgs, InstallArgs};
use crate::gateway::RunOptions;
use crate::gateway::force::Reach;

/// How `gateway run` ends; part of the contract with service managers.
const EXIT_STATUS: &str = "Exit status:
  0   stopped in order
  1   refused in a terminal, or not everything ended in time
  75  refused under a service manager for a reason that may pass; it tries again
  78  refused under a service manager for good: another gateway has the place
  79  nobody talked for as long as --idle-exit says";

/// `openclaw gateway`: without a subcommand it runs the gateway.
#[derive(Debug, Clone, Args)]
pub struct GatewayArgs {
    #[command(flatten)]
    pub run: RunArgs,
    #[command(subcommand)]
    pub command: Option<GatewayCommand>,
}

#[derive(Debug, Clone, Subcommand)]
pub enum GatewayCommand {
    /// Run the gateway in the foreground
    Run(Box<RunArgs>),
    /// Show the service, the configuration and whether the gateway answers
    Status(StatusArgs),
    /// Install the service, start it and wait until it is ready
    Install(InstallArgs),
    /// Stop the service and remove it
    Uninstall(ActionArgs),
    /// Start the service and wait until it is ready
    Start(ActionArgs),
    /// Stop the service and its socket
    Stop(ActionArgs),
    /// Restart the service and wait until it is ready
    Restart(ActionArgs),
    /// Call one method of the gateway
    Call(CallArgs),
    /// Ask the gateway for its health
    Health(RpcOnly),
    /// Look for gateways that answer
    Probe(ProbeArgs),
    /// Look for gateways on the local network
    Discover(DiscoverArgs),
    /// Sum up what the agents' sessions cost
    UsageCost(UsageCostArgs),
}

/// Flags of `gateway run`.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = EXIT_STATUS)]
pub struct RunArgs {
    /// Port of the WebSocket and HTTP listener
    #[arg(long, value_name = "port")]
    pub port: Option<String>,
    /// Addresses to listen on: loopback, lan, tailnet, auto or custom
    #[arg(long, value_name = "mode")]
    pub bind: Option<String>,
    /// How clients sign in: none, token, password or trusted-proxy
    #[arg(long, value_name = "mode")]
    pub auth: Option<String>,
    /// Token that clients must present
    #[arg(long, value_name = "token")]
    pub token: Option<String>,
    /// Password that clients must present; visible to other users of the host
    #[arg(long, value_name = "password")]
    pub password: Option<String>,
    /// File that holds the password
    #[arg(long, value_name = "path")]
    pub password_file: Option<PathBuf>,
    /// Exposure through Tailscale: off, serve or funnel
    #[arg(long, value_name = "mode")]
    pub tailscale: Option<String>,
    /// Undo the Tailscale exposure when the gateway stops
    #[arg(long)]
    pub tailscale_reset_on_exit: bool,
    /// Start even if the configuration does not say gateway.mode=local
    #[arg(long)]
    pub allow_unconfigured: bool,
    /// Do not fall back to the last known good configuration when the file is invalid
    #[arg(long)]
    pub strict_config: bool,
    /// Create a development configuration and workspace if there is none
    #[arg(long)]
    pub dev: bool,
    /// With --dev: delete the development configuration, sessions and workspace first
    #[arg(long)]
    pub reset: bool,
    /// Stop your other gateway on the port first; with =any whatever program listens there
    #[arg(long, value_name = "whom", num_args = 0..=1, require_equals = true, default_missing_value = "gateway")]
    pub force: Option<Whom>,
    /// Log in detail
    #[arg(long)]
    pub verbose: bool,
    /// Show only the logs of command-line model backends
    #[arg(long, alias = "claude-cli-logs")]
    pub cli_backend_logs: bool,
    /// How WebSocket traffic is logged: auto, full or compact
    #[arg(long, value_name = "style")]
    pub ws_log: Option<String>,
    /// Same as --ws-log compact
    #[arg(long)]
    pub compact: bool,
    /// Write the models' raw stream events to a file
    #[arg(long)]
    pub raw_stream: bool,
    /// File of the raw stream events
    #[arg(long, value_name = "path")]
    pub raw_stream_path: Option<PathBuf>,
    /// End when nobody has talked for so long, for example 15m; a socket unit starts it again
    #[arg(long, value_name = "duration")]
    pub idle_exit: Option<String>,
}

/// Value of `--force`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Whom {
    Gateway,
    Any,
}

impl Whom {
    fn reach(self) -> Reach {
        match self {
            Self::Gateway => Reach::Gateway,
            Self::Any => Reach::Any,
        }
    }
}

impl RunArgs {
    /// The flags of a subcommand, completed by those given before it.
    #[must_use]
    pub fn over(self, before: RunArgs) -> RunArgs {
        RunArgs {
            port: self.port.or(before.port),
            bind: self.bind.or(before.bind),
            auth: self.auth.or(before.auth),
            token: self.token.or(before.token),
            password: self.password.or(before.password),
            password_file: self.password_file.or(before.password_file),
            tailscale: self.tailscale.or(before.tailscale),
            tailscale_reset_on_exit: self.tailscale_reset_on_exit || before.tailscale_reset_on_exit,
            allow_unconfigured: self.allow_unconfigured || before.allow_unconfigured,
            strict_config: self.strict_config || before.strict_config,
            dev: self.dev || before.dev,
            reset: self.reset || before.reset,
            force: self.force.or(before.force),
            verbose: self.verbose || before.verbose,
            cli_backend_logs: self.cli_backend_logs || before.cli_backend_logs,
            ws_log: self.ws_log.or(before.ws_log),
            compact: self.compact || before.compact,
            raw_stream: self.raw_stream || before.raw_stream,
            raw_stream_path: self.raw_stream_path.or(before.raw_stream_path),
            idle_exit: self.idle_exit.or(before.idle_exit),
        }
    }

    pub fn into_options(self) -> RunOptions {
        RunOptions {
            port: self.port,
            bind: self.bind,
            auth: self.auth,
            token: self.token.map(Secret::new),
            password: self.password.map(Secret::new),
            password_file: self.password_file,
            tailscale: self.tailscale,
            tailscale_reset_on_exit: self.tailscale_reset_on_exit,
            allow_unconfigured: self.allow_unconfigured,
            strict_config: self.strict_config,
            dev: self.dev,
            reset: self.reset,
            force: self.force.map(Whom::reach),
            verbose: self.verbose,
            cli_backend_logs: self.cli_backend_logs,
            ws_log: self.ws_log,
            compact: self.compact,
            raw_stream: self.raw_stream,
            raw_stream_path: self.raw_stream_path,
            idle_exit: self.idle_exit,
        }
    }
}

/// `daemon …`: the service commands under their other name.
#[derive(Debug, Clone, Args)]
pub struct DaemonArgs {
    #[command(subcommand)]
    pub command: DaemonCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum DaemonCommand {
    /// Show the service, the configuration and whether the gateway answers
    Status(StatusArgs),
    /// Install the service, start it and wait until it is ready
    Install(InstallArgs),
    /// Stop the service and remove it
    Uninstall(ActionArgs),
    /// Start the service and wait until it is ready
    Start(ActionArgs),
    /// Stop the service and its socket
    Stop(ActionArgs),
    /// Restart the service and wait until it is ready
    Restart(ActionArgs),
}

/// `gateway status`.
#[derive(Debug, Clone, Default, Args)]
pub struct StatusArgs {
    /// WebSocket URL to probe instead of the configured one
    #[arg(long, value_name = "url")]
    pub url: Option<String>,
    /// Gateway token
    #[arg(long, value_name = "token")]
    pub token: Option<String>,
    /// Gateway password
    #[arg(long, value_name = "password")]
    pub password: Option<String>,
    /// Longest wait for the probe, in milliseconds
    #[arg(long, value_name = "ms", default_value = "10000")]
    pub timeout: String,
    /// Do not connect to the gateway
    #[arg(long)]
    pub no_probe: bool,
    /// Exit with 1 unless the gateway answers a call
    #[arg(long)]
    pub require_rpc: bool,
    /// Exit with 0 if it is well, 1 if it is unhealthy, 3 if it is stopped, 4 if there is no service
    #[arg(long)]
    pub exit_code: bool,
    /// Look for system-wide services too
    #[arg(long)]
    pub deep: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `gateway call`.
#[derive(Debug, Clone, Args)]
pub struct CallArgs {
    /// Name of the method
    pub method: String,
    /// Parameters as a JSON object
    #[arg(long, value_name = "json", default_value = "{}")]
    pub params: String,
    #[command(flatten)]
    pub rpc: Rpc,
}

/// A command whose only options are the shared ones.
#[derive(Debug, Clone, Default, Args)]
pub struct RpcOnly {
    #[command(flatten)]
    pub rpc: Rpc,
}

/// `gateway probe`.
#[derive(Debug, Clone, Default, Args)]
pub struct ProbeArgs {
    /// WebSocket URL to probe besides the configured ones
    #[arg(long, value_name = "url")]
    pub url: Option<String>,
    /// Reach a gateway through SSH, as user@host or user@host:port
    #[arg(long, value_name = "target")]
    pub ssh: Option<String>,
    /// Private key for SSH
    #[arg(long, value_name = "path")]
    pub ssh_identity: Option<String>,
    /// Use SSH to the first gateway that announces itself
    #[arg(long)]
    pub ssh_auto: bool,
    /// Gateway token
    #[arg(long, value_name = "token")]
    pub token: Option<String>,
    /// Gateway password
    #[arg(long, value_name = "password")]
    pub password: Option<String>,
    /// Time for the whole probe, in milliseconds
    #[arg(long, value_name = "ms", default_value = "3000")]
    pub timeout: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `gateway discover`.
#[derive(Debug, Clone, Default, Args)]
pub struct DiscoverArgs {
    /// How long to listen, in milliseconds
    #[arg(long, value_name = "ms", default_value = "2000")]
    pub timeout: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `gateway usage-cost`.
#[derive(Debug, Clone, Args)]
pub struct UsageCostArgs {
    /// Days to sum up, today included
    #[arg(long, value_name = "days", default_value = "30")]
    pub days: String,
    #[command(flatten)]
    pub rpc: Rpc,
}
