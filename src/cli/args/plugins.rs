//! `plugins …`.

use clap::{Args, Subcommand};

#[derive(Debug, Clone, Args)]
pub struct PluginsArgs {
    #[command(subcommand)]
    pub command: PluginsCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum PluginsCommand {
    /// List what is built in, and plugins that are configured or installed
    List(PluginsListArgs),
    /// Show one of them
    #[command(visible_alias = "info")]
    Inspect(PluginInspectArgs),
    /// Switch one on in the configuration
    Enable(PluginArgs),
    /// Switch one off in the configuration
    Disable(PluginArgs),
    /// Look for plugins that are configured and do not work here
    Doctor,
    /// Install a plugin; answers with the way that works here
    Install(PluginInstallArgs),
    /// Update plugins; answers with the way that works here
    Update(PluginUpdateArgs),
    /// Remove a plugin; answers with the way that works here
    Uninstall(PluginUninstallArgs),
}

#[derive(Debug, Clone, Default, Args)]
pub struct PluginsListArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Only those that are on
    #[arg(long)]
    pub enabled: bool,
    /// Show more about each
    #[arg(long)]
    pub verbose: bool,
}

#[derive(Debug, Clone, Args)]
pub struct PluginInspectArgs {
    /// Id of the plugin
    #[arg(value_name = "id")]
    pub id: Option<String>,
    /// Show all
    #[arg(long)]
    pub all: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct PluginArgs {
    /// Id of the plugin
    #[arg(value_name = "id")]
    pub id: String,
}

#[derive(Debug, Clone, Args)]
pub struct PluginInstallArgs {
    /// Folder, archive or npm package
    #[arg(value_name = "path-or-spec-or-plugin")]
    pub spec: String,
    /// Use a folder where it is
    #[arg(short, long)]
    pub link: bool,
    /// Keep to the exact version
    #[arg(long)]
    pub pin: bool,
}

#[derive(Debug, Clone, Args)]
pub struct PluginUpdateArgs {
    /// Id of the plugin
    #[arg(value_name = "id")]
    pub id: Option<String>,
    /// All of them
    #[arg(long)]
    pub all: bool,
    /// Change nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Clone, Args)]
pub struct PluginUninstallArgs {
    /// Id of the plugin
    #[arg(value_name = "id")]
    pub id: String,
    /// Do not ask
    #[arg(long)]
    pub force: bool,
    /// Change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Leave the files
    #[arg(long)]
    pub keep_files: bool,
}
