//! `directory …`.

use clap::{Args, Subcommand};

#[derive(Debug, Clone, Args)]
pub struct DirectoryArgs {
    #[command(subcommand)]
    pub command: DirectoryCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum DirectoryCommand {
    /// Show who the account is
    #[command(name = "self")]
    Own(DirectoryOf),
    /// Look at people
    Peers(PeersArgs),
    /// Look at groups
    Groups(GroupsArgs),
}

#[derive(Debug, Clone, Default, Args)]
pub struct DirectoryOf {
    /// Channel; may be left out if only one is configured
    #[arg(long, value_name = "name")]
    pub channel: Option<String>,
    /// Account of the channel
    #[arg(long, value_name = "id")]
    pub account: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct PeersArgs {
    #[command(subcommand)]
    pub command: PeersCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum PeersCommand {
    /// List the people whom the configuration names
    List(DirectoryListArgs),
}

#[derive(Debug, Clone, Args)]
pub struct GroupsArgs {
    #[command(subcommand)]
    pub command: GroupsCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum GroupsCommand {
    /// List the groups that the configuration names
    List(DirectoryListArgs),
    /// List who is in a group
    Members(MembersArgs),
}

#[derive(Debug, Clone, Args)]
pub struct DirectoryListArgs {
    #[command(flatten)]
    pub of: DirectoryOf,
    /// Only ids that contain this
    #[arg(long, value_name = "text")]
    pub query: Option<String>,
    /// List at most so many
    #[arg(long, value_name = "n")]
    pub limit: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub struct MembersArgs {
    #[command(flatten)]
    pub of: DirectoryOf,
    /// Id of the group
    #[arg(long, value_name = "id")]
    pub group_id: String,
    /// List at most so many
    #[arg(long, value_name = "n")]
    pub limit: Option<String>,
}
