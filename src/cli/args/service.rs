//! `gateway install|uninstall|start|stop|restart`.

use clap::Args;

/// `gateway install`.
#[derive(Debug, Clone, Default, Args)]
pub struct InstallArgs {
    /// Port of the service; also stored as gateway.port
    #[arg(long, value_name = "port")]
    pub port: Option<String>,
    /// Accepted for compatibility; this gateway needs no runtime
    #[arg(long, value_name = "runtime")]
    pub runtime: Option<String>,
    /// Token that clients must present; stored as gateway.auth.token
    #[arg(long, value_name = "token")]
    pub token: Option<String>,
    /// Replace an installed service
    #[arg(long)]
    pub force: bool,
    /// Print the files and actions, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Install for the whole host instead of for this user
    #[arg(long)]
    pub system: bool,
    /// With --system: account that runs the gateway
    #[arg(long, value_name = "name", requires = "system")]
    pub user: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The other service commands.
#[derive(Debug, Clone, Default, Args)]
pub struct ActionArgs {
    /// Act on the host's service instead of this user's
    #[arg(long)]
    pub system: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
