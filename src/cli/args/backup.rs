//! `backup …`.

use clap::{Args, Subcommand};

#[derive(Debug, Clone, Args)]
pub struct BackupArgs {
    #[command(subcommand)]
    pub command: BackupCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum BackupCommand {
    /// Write configuration, credentials, sessions and workspaces into an archive
    Create(BackupCreateArgs),
    /// Check an archive
    Verify(BackupVerifyArgs),
}

#[derive(Debug, Clone, Args)]
pub struct BackupCreateArgs {
    /// File to write, or the directory for it
    #[arg(long, value_name = "path")]
    pub output: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Show what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Check the archive afterwards
    #[arg(long)]
    pub verify: bool,
    /// Only the configuration file
    #[arg(long)]
    pub only_config: bool,
    /// Leave the workspaces out
    #[arg(long)]
    pub no_include_workspace: bool,
}

#[derive(Debug, Clone, Args)]
pub struct BackupVerifyArgs {
    /// The archive
    #[arg(value_name = "archive")]
    pub archive: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
