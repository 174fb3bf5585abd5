//! `nodes …`.

use clap::{Args, Subcommand};

use crate::cli::args::gateway::RpcOnly;
use crate::cli::args::manage::RequestArgs;
use crate::cli::args::rpc::Rpc;

#[derive(Debug, Clone, Args)]
pub struct NodesArgs {
    #[command(subcommand)]
    pub command: NodesCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum NodesCommand {
    /// Show the known nodes and whether they are connected
    Status(NodeListArgs),
    /// Show the nodes that are approved, and those that wait for it
    List(NodeListArgs),
    /// Show the nodes that wait for approval
    Pending(RpcOnly),
    /// Let a waiting node in
    Approve(RequestArgs),
    /// Turn a waiting node away
    Reject(RequestArgs),
    /// Give a node another name
    Rename(RenameArgs),
    /// Show what a node can do
    Describe(NodeArgs),
    /// Have a node run one of its commands
    Invoke(InvokeArgs),
}

#[derive(Debug, Clone, Default, Args)]
pub struct NodeListArgs {
    /// Only nodes that are connected
    #[arg(long)]
    pub connected: bool,
    /// Only nodes that connected within this time, e.g. 24h
    #[arg(long, value_name = "duration")]
    pub last_connected: Option<String>,
    #[command(flatten)]
    pub rpc: Rpc,
}

#[derive(Debug, Clone, Args)]
pub struct NodeArgs {
    /// Id, name or address of the node
    #[arg(long, value_name = "idOrNameOrIp")]
    pub node: String,
    #[command(flatten)]
    pub rpc: Rpc,
}

#[derive(Debug, Clone, Args)]
pub struct RenameArgs {
    #[command(flatten)]
    pub of: NodeArgs,
    /// The new name
    #[arg(long, value_name = "displayName")]
    pub name: String,
}

#[derive(Debug, Clone, Args)]
pub struct InvokeArgs {
    #[command(flatten)]
    pub of: NodeArgs,
    /// Command of the node, e.g. system.which
    #[arg(long, value_name = "command")]
    pub command: String,
    /// What the command is given, as a JSON object
    #[arg(long, value_name = "json", default_value = "{}")]
    pub params: String,
    /// How long the node may take, in milliseconds
    #[arg(long, value_name = "ms", default_value = "15000")]
    pub invoke_timeout: String,
    /// Names this call, so that a repeat does nothing
    #[arg(long, value_name = "key")]
    pub idempotency_key: Option<String>,
}
