//! `reset`, `uninstall`, `update`, `qr`, `security`.

use clap::{Args, Subcommand};

#[derive(Debug, Clone, Args)]
pub struct ResetArgs {
    /// What to delete: config, config+creds+sessions or full
    #[arg(long, value_name = "scope")]
    pub scope: Option<String>,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// Ask nothing; needs --scope and --yes
    #[arg(long)]
    pub non_interactive: bool,
    /// Only say what would be deleted
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Clone, Args)]
pub struct UninstallArgs {
    /// Remove the service
    #[arg(long)]
    pub service: bool,
    /// Delete state and configuration
    #[arg(long)]
    pub state: bool,
    /// Delete the workspaces
    #[arg(long)]
    pub workspace: bool,
    /// Delete the macOS application
    #[arg(long)]
    pub app: bool,
    /// All of these
    #[arg(long)]
    pub all: bool,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// Ask nothing; needs --yes
    #[arg(long)]
    pub non_interactive: bool,
    /// Only say what would be deleted
    #[arg(long)]
    pub dry_run: bool,
}

/// `update`: says who brings this program up to date.
#[derive(Debug, Clone, Args)]
pub struct UpdateArgs {
    #[command(subcommand)]
    pub command: Option<UpdateCommand>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Change nothing, which this command never does
    #[arg(long)]
    pub dry_run: bool,
    /// Accepted for the sake of scripts
    #[arg(long)]
    pub no_restart: bool,
    /// Accepted for the sake of scripts
    #[arg(long)]
    pub yes: bool,
    /// Update channel: stable, beta or dev
    #[arg(long, value_name = "channel")]
    pub channel: Option<String>,
    /// Accepted for the sake of scripts
    #[arg(long, value_name = "tag")]
    pub tag: Option<String>,
    /// Accepted for the sake of scripts
    #[arg(long, value_name = "seconds")]
    pub timeout: Option<String>,
}

#[derive(Debug, Clone, Subcommand)]
pub enum UpdateCommand {
    /// Show what is installed and who updates it
    Status(UpdateStatusArgs),
}

#[derive(Debug, Clone, Args)]
pub struct UpdateStatusArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Accepted for the sake of scripts
    #[arg(long, value_name = "seconds")]
    pub timeout: Option<String>,
}

/// `security …`.
#[derive(Debug, Clone, Args)]
pub struct SecurityArgs {
    #[command(subcommand)]
    pub command: SecurityCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum SecurityCommand {
    /// Run the checks about who gets in and who reads what
    Audit(AuditArgs),
}

#[derive(Debug, Clone, Args)]
pub struct AuditArgs {
    /// Ask the gateway, too
    #[arg(long)]
    pub deep: bool,
    /// Carry out the repairs that need no decision
    #[arg(long)]
    pub fix: bool,
    /// Gateway token for --deep
    #[arg(long, value_name = "token")]
    pub token: Option<String>,
    /// Gateway password for --deep
    #[arg(long, value_name = "password")]
    pub password: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `qr`.
#[derive(Debug, Clone, Args)]
pub struct QrArgs {
    /// Use gateway.remote.url
    #[arg(long)]
    pub remote: bool,
    /// URL of the gateway to put into the code
    #[arg(long, value_name = "url")]
    pub url: Option<String>,
    /// The same under its other name
    #[arg(long, value_name = "url")]
    pub public_url: Option<String>,
    /// Token of the gateway
    #[arg(long, value_name = "token")]
    pub token: Option<String>,
    /// Password of the gateway
    #[arg(long, value_name = "password")]
    pub password: Option<String>,
    /// Print the setup code alone
    #[arg(long)]
    pub setup_code_only: bool,
    /// Do not draw the code
    #[arg(long)]
    pub no_ascii: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
