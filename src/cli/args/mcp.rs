//! `mcp …`.

use clap::{Args, Subcommand};

#[derive(Debug, Clone, Args)]
pub struct McpArgs {
    #[command(subcommand)]
    pub command: McpCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum McpCommand {
    /// List the configured servers of tools
    List(McpListArgs),
    /// Show one server, or all
    Show(McpShowArgs),
    /// Configure a server
    Set(McpSetArgs),
    /// Remove a server
    Unset(McpNameArgs),
}

#[derive(Debug, Clone, Args)]
pub struct McpListArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct McpShowArgs {
    /// Name of the server
    #[arg(value_name = "name")]
    pub name: Option<String>,
    /// Print JSON alone
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct McpSetArgs {
    /// Name of the server
    #[arg(value_name = "name")]
    pub name: String,
    /// JSON object, e.g. `{"command":"uvx","args":["some-server"]}`
    #[arg(value_name = "value")]
    pub value: String,
}

#[derive(Debug, Clone, Args)]
pub struct McpNameArgs {
    /// Name of the server
    #[arg(value_name = "name")]
    pub name: String,
}
