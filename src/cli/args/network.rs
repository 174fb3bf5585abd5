//! `dns …`, `docs` and the old names under `clawbot`.

use clap::{Args, Subcommand};

use crate::cli::args::upkeep::QrArgs;

#[derive(Debug, Clone, Args)]
pub struct DnsArgs {
    #[command(subcommand)]
    pub command: DnsCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum DnsCommand {
    /// Show what discovery over a tailnet needs
    Setup(DnsSetupArgs),
}

#[derive(Debug, Clone, Args)]
pub struct DnsSetupArgs {
    /// Domain of the discovery, e.g. openclaw.internal
    #[arg(long, value_name = "domain")]
    pub domain: Option<String>,
    /// Install and configure `CoreDNS`; answers with the way that works here
    #[arg(long)]
    pub apply: bool,
}

#[derive(Debug, Clone, Args)]
pub struct DocsArgs {
    /// Words to look for
    #[arg(value_name = "query")]
    pub query: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub struct ClawbotArgs {
    #[command(subcommand)]
    pub command: ClawbotCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum ClawbotCommand {
    /// Invite a phone with a QR code
    Qr(QrArgs),
}
