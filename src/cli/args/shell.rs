//! `completion`, the manual pages and the reload of a service: what packaging,
//! shells and units ask for.

use clap::{Args, ValueEnum};

#[derive(Debug, Clone, Default, Args)]
pub struct CompletionArgs {
    /// Shell to write for
    #[arg(short, long, value_name = "shell", value_enum, default_value = "zsh")]
    pub shell: Shell,
    /// Load the completion from the shell's start-up file
    #[arg(short, long)]
    pub install: bool,
    /// Keep the scripts of all shells in the state directory
    #[arg(long)]
    pub write_state: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

/// A shell that can complete our commands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    #[default]
    Zsh,
    Bash,
    Powershell,
    Fish,
}

#[derive(Debug, Clone, Args)]
pub struct ManArgs {
    /// Directory to write the pages to
    #[arg(value_name = "dir")]
    pub dir: std::path::PathBuf,
}

#[derive(Debug, Clone, Args)]
pub struct ReloadArgs {
    /// Process id of the gateway
    #[arg(value_name = "pid")]
    pub pid: u32,
}
