//! `nodes …`.

use clap::{Args, Subcommand};

use crate::cli::args::gateway::RpcOnly;
use crate::cli::args::manage::RequestArgs;
use crate::cli::args::node_media::{CameraArgs, CanvasArgs, ScreenArgs};
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
    /// Use the cameras of a node
    Camera(CameraArgs),
    /// Look after what a node shows on its canvas
    Canvas(CanvasArgs),
    /// Record the screen of a node
    Screen(ScreenArgs),
    /// Ask where a node is
    Location(LocationArgs),
    /// Show a notification on a node
    Notify(NotifyArgs),
    /// Send a test push to an iOS node
    Push(PushArgs),
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

#[derive(Debug, Clone, Args)]
pub struct LocationArgs {
    #[command(subcommand)]
    pub command: LocationCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum LocationCommand {
    /// Show where the node is now
    Get(LocationGetArgs),
}

#[derive(Debug, Clone, Args)]
pub struct LocationGetArgs {
    #[command(flatten)]
    pub of: NodeArgs,
    /// A known place that is not older than this will do, in milliseconds
    #[arg(long, value_name = "ms")]
    pub max_age: Option<String>,
    /// How exact: coarse, balanced or precise
    #[arg(long, value_name = "coarse|balanced|precise")]
    pub accuracy: Option<String>,
    /// How long the node may look for its place, in milliseconds
    #[arg(long, value_name = "ms", default_value = "10000")]
    pub location_timeout: String,
    /// How long the node may take, in milliseconds
    #[arg(long, value_name = "ms", default_value = "20000")]
    pub invoke_timeout: String,
}

#[derive(Debug, Clone, Args)]
pub struct NotifyArgs {
    #[command(flatten)]
    pub of: NodeArgs,
    /// Title
    #[arg(long, value_name = "text")]
    pub title: Option<String>,
    /// Text
    #[arg(long, value_name = "text")]
    pub body: Option<String>,
    /// Name of a sound
    #[arg(long, value_name = "name")]
    pub sound: Option<String>,
    /// How urgent: passive, active or timeSensitive
    #[arg(long, value_name = "passive|active|timeSensitive")]
    pub priority: Option<String>,
    /// Where: system, overlay or auto
    #[arg(long, value_name = "system|overlay|auto", default_value = "system")]
    pub delivery: String,
    /// How long the node may take, in milliseconds
    #[arg(long, value_name = "ms", default_value = "15000")]
    pub invoke_timeout: String,
}

#[derive(Debug, Clone, Args)]
pub struct PushArgs {
    #[command(flatten)]
    pub of: NodeArgs,
    /// Title
    #[arg(long, value_name = "text", default_value = "OpenClaw")]
    pub title: String,
    /// Text
    #[arg(long, value_name = "text")]
    pub body: Option<String>,
    /// Which of Apple's services
    #[arg(long, value_name = "sandbox|production")]
    pub environment: Option<String>,
}
