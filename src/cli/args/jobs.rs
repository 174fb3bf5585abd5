//! What a scheduled job is made of on the command line: `cron add` and
//! `cron edit`.

use clap::Args;

use crate::cli::args::rpc::Rpc;

/// What both commands can set.
#[derive(Debug, Clone, Default, Args)]
pub struct JobFields {
    /// Name of the job
    #[arg(long, value_name = "name")]
    pub name: Option<String>,
    /// What the job is for
    #[arg(long, value_name = "text")]
    pub description: Option<String>,
    /// Agent that runs it
    #[arg(long, value_name = "id")]
    pub agent: Option<String>,
    /// Where it runs: main, isolated, current or session:<id>
    #[arg(long, value_name = "target")]
    pub session: Option<String>,
    /// Session that it belongs to
    #[arg(long, value_name = "key")]
    pub session_key: Option<String>,
    /// When the main session looks at it: now or next-heartbeat
    #[arg(long, value_name = "mode")]
    pub wake: Option<String>,
    /// Run once: ISO time with offset, or a duration from now
    #[arg(long, value_name = "when")]
    pub at: Option<String>,
    /// Run every so often, e.g. 10m, 1h
    #[arg(long, value_name = "duration")]
    pub every: Option<String>,
    /// Run by a cron expression of five fields, or six with seconds
    #[arg(long, value_name = "expr")]
    pub cron: Option<String>,
    /// Time zone of --cron, or of --at without offset
    #[arg(long, value_name = "iana")]
    pub tz: Option<String>,
    /// Window over which starts are spread, e.g. 30s, 5m
    #[arg(long, value_name = "duration")]
    pub stagger: Option<String>,
    /// Do not spread starts
    #[arg(long)]
    pub exact: bool,
    /// Note for the main session
    #[arg(long, value_name = "text")]
    pub system_event: Option<String>,
    /// Message for an agent
    #[arg(long, value_name = "text")]
    pub message: Option<String>,
    /// How hard the agent thinks
    #[arg(long, value_name = "level")]
    pub thinking: Option<String>,
    /// Model of the agent
    #[arg(long, value_name = "model")]
    pub model: Option<String>,
    /// Longest run, in seconds
    #[arg(long, value_name = "n")]
    pub timeout_seconds: Option<String>,
    /// Start the agent with few workspace files
    #[arg(long)]
    pub light_context: bool,
    /// Tools that the agent may use, separated by commas
    #[arg(long, value_name = "csv")]
    pub tools: Option<String>,
    /// Send the result to a chat
    #[arg(long)]
    pub announce: bool,
    /// Older name of --announce
    #[arg(long)]
    pub deliver: bool,
    /// Send the result nowhere
    #[arg(long)]
    pub no_deliver: bool,
    /// Channel of the chat: last, or a channel's id
    #[arg(long, value_name = "channel")]
    pub channel: Option<String>,
    /// Chat or person that gets the result
    #[arg(long, value_name = "dest")]
    pub to: Option<String>,
    /// Account of the channel
    #[arg(long, value_name = "id")]
    pub account: Option<String>,
    /// A result that cannot be sent is no failure
    #[arg(long)]
    pub best_effort_deliver: bool,
    /// Delete the job after it has run once
    #[arg(long)]
    pub delete_after_run: bool,
    /// Keep the job after it has run once
    #[arg(long)]
    pub keep_after_run: bool,
    #[command(flatten)]
    pub rpc: Rpc,
}

#[derive(Debug, Clone, Default, Args)]
pub struct CronAddArgs {
    #[command(flatten)]
    pub job: JobFields,
    /// Keep the job, but do not run it yet
    #[arg(long)]
    pub disabled: bool,
}

#[derive(Debug, Clone, Default, Args)]
pub struct CronEditArgs {
    /// Id of the job
    #[arg(value_name = "id")]
    pub id: String,
    #[command(flatten)]
    pub job: JobFields,
    /// Let it run by its schedule
    #[arg(long)]
    pub enable: bool,
    /// Keep it, but do not run it
    #[arg(long)]
    pub disable: bool,
    /// Back to the default agent
    #[arg(long)]
    pub clear_agent: bool,
    /// It belongs to no session any more
    #[arg(long)]
    pub clear_session_key: bool,
    /// Start the agent with all workspace files
    #[arg(long)]
    pub no_light_context: bool,
    /// The agent may use every tool
    #[arg(long)]
    pub clear_tools: bool,
    /// A result that cannot be sent is a failure
    #[arg(long)]
    pub no_best_effort_deliver: bool,
    /// Tell someone when the job keeps failing
    #[arg(long)]
    pub failure_alert: bool,
    /// Tell nobody
    #[arg(long)]
    pub no_failure_alert: bool,
    /// Failures in a row before somebody is told
    #[arg(long, value_name = "n")]
    pub failure_alert_after: Option<String>,
    /// Channel of the alert
    #[arg(long, value_name = "channel")]
    pub failure_alert_channel: Option<String>,
    /// Who is told
    #[arg(long, value_name = "dest")]
    pub failure_alert_to: Option<String>,
    /// Least time between two alerts, e.g. 1h
    #[arg(long, value_name = "duration")]
    pub failure_alert_cooldown: Option<String>,
    /// How: announce or webhook
    #[arg(long, value_name = "mode")]
    pub failure_alert_mode: Option<String>,
    /// Account of the alert's channel
    #[arg(long, value_name = "id")]
    pub failure_alert_account_id: Option<String>,
}
