//! `agents …`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Clone, Args)]
pub struct AgentsArgs {
    #[command(subcommand)]
    pub command: AgentsCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum AgentsCommand {
    /// List the configured agents
    List(ListArgs),
    /// List the rules that route messages to agents
    Bindings(BindingsArgs),
    /// Route messages to an agent
    Bind(BindArgs),
    /// Take routes from an agent
    Unbind(UnbindArgs),
    /// Add an agent with a workspace of its own
    Add(AddArgs),
    /// Say who an agent is
    SetIdentity(IdentityArgs),
    /// Take an agent out; its files go to the trash
    Delete(DeleteArgs),
}

#[derive(Debug, Clone, Default, Args)]
pub struct ListArgs {
    /// Show each agent's routing rules
    #[arg(long)]
    pub bindings: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct BindingsArgs {
    /// Only the rules of this agent
    #[arg(long, value_name = "id")]
    pub agent: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct BindArgs {
    /// The agent; the default one if left out
    #[arg(long, value_name = "id")]
    pub agent: Option<String>,
    /// Channel, with an account if it has several; may be repeated
    #[arg(long, value_name = "channel[:account]")]
    pub bind: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct UnbindArgs {
    /// The agent; the default one if left out
    #[arg(long, value_name = "id")]
    pub agent: Option<String>,
    /// Channel, with an account if it has several; may be repeated
    #[arg(long, value_name = "channel[:account]")]
    pub bind: Vec<String>,
    /// All rules of the agent
    #[arg(long)]
    pub all: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct AddArgs {
    /// Name of the agent; its id is made from it
    pub name: Option<String>,
    /// Workspace of the agent
    #[arg(long, value_name = "dir")]
    pub workspace: Option<String>,
    /// Model that answers
    #[arg(long, value_name = "id")]
    pub model: Option<String>,
    /// Directory of the agent's own state
    #[arg(long, value_name = "dir")]
    pub agent_dir: Option<String>,
    /// Route messages of a channel to it; may be repeated
    #[arg(long, value_name = "channel[:account]")]
    pub bind: Vec<String>,
    /// Ask nothing, which this command never does
    #[arg(long)]
    pub non_interactive: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct IdentityArgs {
    /// The agent
    #[arg(long, value_name = "id")]
    pub agent: Option<String>,
    /// Workspace by which the agent is found, and where its IDENTITY.md is
    #[arg(long, value_name = "dir")]
    pub workspace: Option<PathBuf>,
    /// The IDENTITY.md to read
    #[arg(long, value_name = "path")]
    pub identity_file: Option<PathBuf>,
    /// Take over what IDENTITY.md says
    #[arg(long)]
    pub from_identity: bool,
    /// Name
    #[arg(long, value_name = "name")]
    pub name: Option<String>,
    /// Manner
    #[arg(long, value_name = "theme")]
    pub theme: Option<String>,
    /// Emoji
    #[arg(long, value_name = "emoji")]
    pub emoji: Option<String>,
    /// Picture: a path in the workspace, an address or a data URI
    #[arg(long, value_name = "value")]
    pub avatar: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct DeleteArgs {
    /// Id of the agent
    pub id: String,
    /// Do not ask
    #[arg(long)]
    pub force: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
