//! Commands that look: `health`, `status`, `logs`,
//! `dashboard`.

use clap::Args;

#[derive(Debug, Clone, Default, Args)]
pub struct HealthArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Longest wait for an answer, in milliseconds
    #[arg(long, value_name = "ms", default_value = "10000")]
    pub timeout: String,
    /// Show every account and the gateway that was asked
    #[arg(long, alias = "debug")]
    pub verbose: bool,
}

#[derive(Debug, Clone, Default, Args)]
pub struct StatusArgs {
    /// Print a full report that is safe to paste
    #[arg(long)]
    pub all: bool,
    /// Ask the gateway to probe its channels
    #[arg(long)]
    pub deep: bool,
    /// Show how much of the providers' quotas is used
    #[arg(long)]
    pub usage: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Longest wait for the gateway, in milliseconds
    #[arg(long, value_name = "ms", default_value = "10000")]
    pub timeout: String,
    /// Show which gateway was asked
    #[arg(long, alias = "debug")]
    pub verbose: bool,
}

#[derive(Debug, Clone, Default, Args)]
pub struct LogsArgs {
    /// Lines to show
    #[arg(long, value_name = "n", default_value = "200")]
    pub limit: String,
    /// Bytes to read from the end of the file
    #[arg(long, value_name = "n", default_value = "250000")]
    pub max_bytes: String,
    /// Keep printing lines as they come
    #[arg(long)]
    pub follow: bool,
    /// Pause between two looks, in milliseconds
    #[arg(long, value_name = "ms", default_value = "1000")]
    pub interval: String,
    /// Print one JSON object per line
    #[arg(long)]
    pub json: bool,
    /// Print without styling
    #[arg(long)]
    pub plain: bool,
    /// Show times in this host's time zone
    #[arg(long)]
    pub local_time: bool,
    /// WebSocket URL of the gateway; needs explicit credentials
    #[arg(long, value_name = "url")]
    pub url: Option<String>,
    /// Gateway token
    #[arg(long, value_name = "token")]
    pub token: Option<String>,
    /// Gateway password
    #[arg(long, value_name = "password")]
    pub password: Option<String>,
    /// Longest wait for an answer, in milliseconds
    #[arg(long, value_name = "ms", default_value = "30000")]
    pub timeout: String,
    /// Accepted for symmetry; the log has only final answers
    #[arg(long, hide = true)]
    pub expect_final: bool,
}

#[derive(Debug, Clone, Default, Args)]
pub struct DashboardArgs {
    /// Only print the address
    #[arg(long)]
    pub no_open: bool,
}
