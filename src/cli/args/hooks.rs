//! `hooks …`.

use clap::{Args, Subcommand};

#[derive(Debug, Clone, Args)]
pub struct HooksArgs {
    #[command(subcommand)]
    pub command: Option<HooksCommand>,
}

#[derive(Debug, Clone, Subcommand)]
pub enum HooksCommand {
    /// List the hooks on this host
    List(HooksListArgs),
    /// Show what is known about a hook
    Info(HookArgs),
    /// Show which hooks are ready, and why the others are not
    Check(HooksCheckArgs),
    /// Switch a hook on in the configuration
    Enable(HookNameArgs),
    /// Switch a hook off in the configuration
    Disable(HookNameArgs),
    /// Install a pack of hooks; answers with the way that works here
    Install(HooksInstallArgs),
    /// Update packs of hooks; answers with the way that works here
    Update(HooksUpdateArgs),
}

#[derive(Debug, Clone, Default, Args)]
pub struct HooksListArgs {
    /// Only hooks that are ready
    #[arg(long)]
    pub eligible: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Show what is missing, too
    #[arg(short, long)]
    pub verbose: bool,
}

#[derive(Debug, Clone, Args)]
pub struct HookArgs {
    /// Name of the hook
    #[arg(value_name = "name")]
    pub name: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct HooksCheckArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct HookNameArgs {
    /// Name of the hook
    #[arg(value_name = "name")]
    pub name: String,
}

#[derive(Debug, Clone, Args)]
pub struct HooksInstallArgs {
    /// Folder, archive or npm package
    #[arg(value_name = "path-or-spec")]
    pub spec: String,
    /// Use a folder where it is
    #[arg(short, long)]
    pub link: bool,
    /// Keep to the exact version
    #[arg(long)]
    pub pin: bool,
}

#[derive(Debug, Clone, Args)]
pub struct HooksUpdateArgs {
    /// Name of the pack
    #[arg(value_name = "id")]
    pub id: Option<String>,
    /// All of them
    #[arg(long)]
    pub all: bool,
    /// Change nothing
    #[arg(long)]
    pub dry_run: bool,
}
