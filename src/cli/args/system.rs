//! `system …`: events, heartbeats and presence.

use clap::{Args, Subcommand};

use crate::cli::args::gateway::RpcOnly;
use crate::cli::args::rpc::Rpc;

#[derive(Debug, Clone, Args)]
pub struct SystemArgs {
    #[command(subcommand)]
    pub command: SystemCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum SystemCommand {
    /// Queue an event for the main session
    Event(EventArgs),
    /// Control the heartbeat
    Heartbeat(HeartbeatArgs),
    /// List who is connected
    Presence(RpcOnly),
}

#[derive(Debug, Clone, Args)]
pub struct EventArgs {
    /// Text of the event
    #[arg(long, value_name = "text")]
    pub text: String,
    /// When the agent sees it: now or next-heartbeat
    #[arg(long, value_name = "mode", default_value = "next-heartbeat")]
    pub mode: String,
    #[command(flatten)]
    pub rpc: Rpc,
}

#[derive(Debug, Clone, Args)]
pub struct HeartbeatArgs {
    #[command(subcommand)]
    pub command: HeartbeatCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum HeartbeatCommand {
    /// Show the last heartbeat
    Last(RpcOnly),
    /// Switch heartbeats on until the gateway restarts
    Enable(RpcOnly),
    /// Switch heartbeats off until the gateway restarts
    Disable(RpcOnly),
}
