//! `sandbox …`.

use clap::{Args, Subcommand};

#[derive(Debug, Clone, Args)]
pub struct SandboxArgs {
    #[command(subcommand)]
    pub command: SandboxCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum SandboxCommand {
    /// List the containers of agents
    List(SandboxListArgs),
    /// Remove containers, so that they are made anew
    Recreate(SandboxRecreateArgs),
    /// Explain where the commands of an agent run
    Explain(SandboxExplainArgs),
}

#[derive(Debug, Clone, Args)]
pub struct SandboxListArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Only containers of browsers
    #[arg(long)]
    pub browser: bool,
}

#[derive(Debug, Clone, Args)]
pub struct SandboxRecreateArgs {
    /// All of them
    #[arg(long)]
    pub all: bool,
    /// That of one session
    #[arg(long, value_name = "key")]
    pub session: Option<String>,
    /// Those of one agent
    #[arg(long, value_name = "id")]
    pub agent: Option<String>,
    /// Only containers of browsers
    #[arg(long)]
    pub browser: bool,
    /// Do not ask
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Clone, Args)]
pub struct SandboxExplainArgs {
    /// Session to look at; the agent's main one if left out
    #[arg(long, value_name = "key")]
    pub session: Option<String>,
    /// Agent to look at
    #[arg(long, value_name = "id")]
    pub agent: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
