//! `approvals …`: which programs agents may run without being asked about.

use clap::{Args, Subcommand};

use crate::cli::args::rpc::Rpc;

#[derive(Debug, Clone, Args)]
pub struct ApprovalsArgs {
    #[command(subcommand)]
    pub command: ApprovalsCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum ApprovalsCommand {
    /// Show the approvals and what follows from them
    Get(TargetArgs),
    /// Replace the approvals with a file
    Set(ApprovalsSetArgs),
    /// Edit the list of an agent
    Allowlist(AllowlistArgs),
}

/// Whose approvals: this host's file unless told otherwise.
#[derive(Debug, Clone, Default, Args)]
pub struct TargetArgs {
    /// A node's approvals
    #[arg(long, value_name = "node")]
    pub node: Option<String>,
    /// The gateway's approvals
    #[arg(long)]
    pub gateway: bool,
    #[command(flatten)]
    pub rpc: Rpc,
}

#[derive(Debug, Clone, Args)]
pub struct ApprovalsSetArgs {
    /// File to take
    #[arg(long, value_name = "path")]
    pub file: Option<std::path::PathBuf>,
    /// Take what comes in on standard input
    #[arg(long)]
    pub stdin: bool,
    #[command(flatten)]
    pub target: TargetArgs,
}

#[derive(Debug, Clone, Args)]
pub struct AllowlistArgs {
    #[command(subcommand)]
    pub command: AllowlistCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum AllowlistCommand {
    /// Add a pattern
    Add(PatternArgs),
    /// Remove a pattern
    Remove(PatternArgs),
}

#[derive(Debug, Clone, Args)]
pub struct PatternArgs {
    /// Path of a program; `*` stands for anything within a name
    #[arg(value_name = "pattern")]
    pub pattern: String,
    /// Agent; every agent if absent
    #[arg(long, value_name = "id")]
    pub agent: Option<String>,
    #[command(flatten)]
    pub target: TargetArgs,
}
