//! Commands that manage what the gateway keeps: devices, sessions, agents,
//! scheduled jobs, skills.

use clap::{Args, Subcommand};

use crate::cli::args::gateway::RpcOnly;
use crate::cli::args::jobs::{CronAddArgs, CronEditArgs};
use crate::cli::args::rpc::Rpc;

#[derive(Debug, Clone, Args)]
pub struct DevicesArgs {
    #[command(subcommand)]
    pub command: DevicesCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum DevicesCommand {
    /// List devices, and those that wait for approval
    List(RpcOnly),
    /// Let a waiting device in
    Approve(ApproveArgs),
    /// Turn a waiting device away
    Reject(RequestArgs),
    /// Forget a device
    Remove(DeviceArgs),
    /// Forget all devices
    Clear(ClearArgs),
    /// Give a device a new token for a role
    Rotate(TokenArgs),
    /// Take a device's token for a role away
    Revoke(TokenArgs),
}

#[derive(Debug, Clone, Args)]
pub struct ApproveArgs {
    /// Id of the request; without it the newest one is shown
    #[arg(value_name = "requestId")]
    pub request_id: Option<String>,
    /// Approve the newest request
    #[arg(long)]
    pub latest: bool,
    #[command(flatten)]
    pub rpc: Rpc,
}

#[derive(Debug, Clone, Args)]
pub struct RequestArgs {
    /// Id of the request
    #[arg(value_name = "requestId")]
    pub request_id: String,
    #[command(flatten)]
    pub rpc: Rpc,
}

#[derive(Debug, Clone, Args)]
pub struct DeviceArgs {
    /// Id of the device
    #[arg(value_name = "deviceId")]
    pub device_id: String,
    #[command(flatten)]
    pub rpc: Rpc,
}

#[derive(Debug, Clone, Args)]
pub struct ClearArgs {
    /// Turn waiting devices away too
    #[arg(long)]
    pub pending: bool,
    /// Yes, all of them
    #[arg(long)]
    pub yes: bool,
    #[command(flatten)]
    pub rpc: Rpc,
}

#[derive(Debug, Clone, Args)]
pub struct TokenArgs {
    /// Id of the device
    #[arg(long, value_name = "id")]
    pub device: String,
    /// Role of the token
    #[arg(long, value_name = "role")]
    pub role: String,
    /// Scopes of the new token
    #[arg(long, value_name = "scope", num_args = 1..)]
    pub scope: Vec<String>,
    #[command(flatten)]
    pub rpc: Rpc,
}

#[derive(Debug, Clone, Default, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct SessionsArgs {
    #[command(subcommand)]
    pub command: Option<SessionsCommand>,
    /// Agent to look at
    #[arg(long, value_name = "id")]
    pub agent: Option<String>,
    /// Look at every configured agent
    #[arg(long)]
    pub all_agents: bool,
    /// Only sessions used within so many minutes
    #[arg(long, value_name = "minutes")]
    pub active: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Accepted for symmetry with other commands
    #[arg(long, hide = true)]
    pub verbose: bool,
}

#[derive(Debug, Clone, Subcommand)]
pub enum SessionsCommand {
    /// Remove old and surplus conversations, by `session.maintenance`
    Cleanup(SessionsCleanupArgs),
}

#[derive(Debug, Clone, Default, Args)]
pub struct SessionsCleanupArgs {
    /// Agent to look at
    #[arg(long, value_name = "id")]
    pub agent: Option<String>,
    /// Look at every configured agent
    #[arg(long)]
    pub all_agents: bool,
    /// Only show what would be removed
    #[arg(long)]
    pub dry_run: bool,
    /// Remove although `session.maintenance.mode` is `warn`
    #[arg(long)]
    pub enforce: bool,
    /// A `sessions.json` instead of an agent's
    #[arg(long, value_name = "path")]
    pub store: Option<String>,
    /// A conversation that stays
    #[arg(long, value_name = "key")]
    pub active_key: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct CronArgs {
    #[command(subcommand)]
    pub command: CronCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum CronCommand {
    /// List the jobs
    List(CronListArgs),
    /// Show whether jobs run, and when the next one does
    Status(RpcOnly),
    /// Add a job
    #[command(visible_alias = "create")]
    Add(Box<CronAddArgs>),
    /// Change a job
    Edit(Box<CronEditArgs>),
    /// Delete a job
    #[command(visible_aliases = ["remove", "delete"])]
    Rm(JobArgs),
    /// Let a job run by its schedule
    Enable(JobArgs),
    /// Keep a job, but do not run it
    Disable(JobArgs),
    /// Run a job now
    Run(RunJobArgs),
    /// Show how a job's runs ended
    Runs(RunsArgs),
}

#[derive(Debug, Clone, Args)]
pub struct CronListArgs {
    /// List disabled jobs too
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    pub rpc: Rpc,
}

#[derive(Debug, Clone, Args)]
pub struct JobArgs {
    /// Id of the job
    #[arg(value_name = "id")]
    pub id: String,
    #[command(flatten)]
    pub rpc: Rpc,
}

#[derive(Debug, Clone, Args)]
pub struct RunJobArgs {
    /// Id of the job
    #[arg(value_name = "id")]
    pub id: String,
    /// Run it only if it is due
    #[arg(long)]
    pub due: bool,
    #[command(flatten)]
    pub rpc: Rpc,
}

#[derive(Debug, Clone, Args)]
pub struct RunsArgs {
    /// Id of the job
    #[arg(long, value_name = "id")]
    pub id: String,
    /// Runs to show
    #[arg(long, value_name = "n", default_value = "50")]
    pub limit: String,
    #[command(flatten)]
    pub rpc: Rpc,
}

#[derive(Debug, Clone, Args)]
pub struct SkillsArgs {
    #[command(subcommand)]
    pub command: SkillsCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum SkillsCommand {
    /// List the skills and whether they can be used
    List(SkillsListArgs),
    /// Show one skill
    Info(SkillInfoArgs),
    /// Show which skills are ready and what the others lack
    Check(RpcOnly),
    /// Search skills on `ClawHub`
    Search(SkillsSearchArgs),
    /// Install a skill from `ClawHub` into the default agent's workspace
    Install(SkillsInstallArgs),
    /// Update skills that came from `ClawHub`
    Update(SkillsUpdateArgs),
}

#[derive(Debug, Clone, Args)]
pub struct SkillsSearchArgs {
    /// Words to look for; everything if left out
    #[arg(value_name = "query")]
    pub query: Vec<String>,
    /// Show at most so many
    #[arg(long, value_name = "n")]
    pub limit: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct SkillsInstallArgs {
    /// Name of the skill on `ClawHub`
    #[arg(value_name = "slug")]
    pub slug: String,
    /// A version other than the latest
    #[arg(long, value_name = "version")]
    pub version: Option<String>,
    /// Replace a skill of the workspace
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Clone, Args)]
pub struct SkillsUpdateArgs {
    /// Name of the skill on `ClawHub`
    #[arg(value_name = "slug")]
    pub slug: Option<String>,
    /// All that came from there
    #[arg(long)]
    pub all: bool,
}

#[derive(Debug, Clone, Args)]
pub struct SkillInfoArgs {
    /// Name of the skill
    pub name: String,
    #[command(flatten)]
    pub rpc: Rpc,
}

#[derive(Debug, Clone, Default, Args)]
pub struct SkillsListArgs {
    /// Only those that can be used
    #[arg(long)]
    pub eligible: bool,
    /// Show what is missing
    #[arg(short, long)]
    pub verbose: bool,
    #[command(flatten)]
    pub rpc: Rpc,
}
