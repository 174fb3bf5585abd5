//! `tasks …`.

use clap::{Args, Subcommand};

#[derive(Debug, Clone, Args)]
pub struct TasksArgs {
    #[command(subcommand)]
    pub command: Option<TasksCommand>,
    #[command(flatten)]
    pub list: TasksListArgs,
}

#[derive(Debug, Clone, Subcommand)]
pub enum TasksCommand {
    /// List the tasks in the background
    List(TasksListArgs),
    /// Show one task
    Show(TaskArgs),
    /// Say when a task reports
    Notify(TaskNotifyArgs),
    /// Stop a running task
    Cancel(LookupArgs),
    /// Show tasks that are stuck or broken
    Audit(TasksAuditArgs),
    /// Show or do what keeps the list in order
    Maintenance(TasksMaintenanceArgs),
    /// Look at flows of tasks
    Flow(FlowArgs),
}

#[derive(Debug, Clone, Default, Args)]
pub struct TasksListArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Only one kind: subagent, acp, cron or cli
    #[arg(long, value_name = "name")]
    pub runtime: Option<String>,
    /// Only one state: queued, running, succeeded, failed, `timed_out`, cancelled or lost
    #[arg(long, value_name = "name")]
    pub status: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub struct LookupArgs {
    /// Id of the task or of its run, or a session key
    #[arg(value_name = "lookup")]
    pub lookup: String,
}

#[derive(Debug, Clone, Args)]
pub struct TaskArgs {
    #[command(flatten)]
    pub of: LookupArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct TaskNotifyArgs {
    #[command(flatten)]
    pub of: LookupArgs,
    /// When: `done_only`, `state_changes` or silent
    #[arg(value_name = "notify")]
    pub notify: String,
}

#[derive(Debug, Clone, Args)]
pub struct TasksAuditArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Only one weight: warn or error
    #[arg(long, value_name = "level")]
    pub severity: Option<String>,
    /// Only one kind of finding
    #[arg(long, value_name = "name")]
    pub code: Option<String>,
    /// Show at most so many
    #[arg(long, value_name = "n")]
    pub limit: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub struct TasksMaintenanceArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Do it
    #[arg(long)]
    pub apply: bool,
}

#[derive(Debug, Clone, Args)]
pub struct FlowArgs {
    #[command(subcommand)]
    pub command: FlowCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum FlowCommand {
    /// List the flows
    List(FlowListArgs),
    /// Show one flow
    Show(FlowShowArgs),
    /// Stop a flow
    Cancel(FlowLookupArgs),
}

#[derive(Debug, Clone, Args)]
pub struct FlowListArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Only one state
    #[arg(long, value_name = "name")]
    pub status: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub struct FlowLookupArgs {
    /// Id of the flow or key of its owner
    #[arg(value_name = "lookup")]
    pub lookup: String,
}

#[derive(Debug, Clone, Args)]
pub struct FlowShowArgs {
    #[command(flatten)]
    pub of: FlowLookupArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
