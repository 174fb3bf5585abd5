//! `secrets`: references to secrets that are kept elsewhere.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::args::rpc::Rpc;

#[derive(Debug, Clone, Args)]
pub struct SecretsArgs {
    #[command(subcommand)]
    pub command: SecretsCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum SecretsCommand {
    /// Have the gateway resolve every reference anew
    Reload(ReloadArgs),
    /// Look for secrets in clear and for references without a value
    Audit(AuditArgs),
    /// Make a plan by asking, and apply it
    Configure(ConfigureArgs),
    /// Put references in place of secrets, as a plan says
    Apply(ApplyArgs),
}

#[derive(Debug, Clone, Args)]
pub struct ReloadArgs {
    #[command(flatten)]
    pub rpc: Rpc,
}

#[derive(Debug, Clone, Args)]
pub struct AuditArgs {
    /// Exit with 1 when anything is found
    #[arg(long)]
    pub check: bool,
    /// Also run secret programs
    #[arg(long)]
    pub allow_exec: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct ConfigureArgs {
    /// Apply the plan without asking first
    #[arg(long)]
    pub apply: bool,
    /// Do not ask whether to go on
    #[arg(long)]
    pub yes: bool,
    /// Only set up providers
    #[arg(long)]
    pub providers_only: bool,
    /// Leave the providers as they are
    #[arg(long)]
    pub skip_provider_setup: bool,
    /// Agent whose stored credentials are looked at
    #[arg(long, value_name = "id")]
    pub agent: Option<String>,
    /// Also run secret programs while checking
    #[arg(long)]
    pub allow_exec: bool,
    /// File to write the plan to
    #[arg(long, value_name = "path")]
    pub plan_out: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct ApplyArgs {
    /// Plan to apply
    #[arg(long, value_name = "path")]
    pub from: PathBuf,
    /// Check everything, write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Also run secret programs
    #[arg(long)]
    pub allow_exec: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
