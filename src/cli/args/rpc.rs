//! The options that every command talking to the gateway shares.

use clap::Args;

use crate::cli::args::gateway::RunArgs;

/// Where the gateway is and how to prove who we are.
#[derive(Debug, Clone, Default, Args)]
pub struct Rpc {
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
    #[arg(long, value_name = "ms")]
    pub timeout: Option<String>,
    /// Wait for the final answer of a method that answers twice
    #[arg(long)]
    pub expect_final: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

impl Rpc {
    /// Takes over credentials given before the subcommand
    /// (`gateway --token t call health`).
    pub fn inherit(&mut self, before: &RunArgs) {
        self.token = self.token.take().or_else(|| before.token.clone());
        self.password = self.password.take().or_else(|| before.password.clone());
    }
}
