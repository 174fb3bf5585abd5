//! `setup`: the first configuration, the workspace and the sessions directory.

use clap::Args;

#[derive(Debug, Clone, Default, Args)]
pub struct SetupArgs {
    /// Directory in which the agent works
    #[arg(long, value_name = "dir")]
    pub workspace: Option<String>,
    /// Ask for everything
    #[arg(long)]
    pub wizard: bool,
    /// Ask for nothing
    #[arg(long)]
    pub non_interactive: bool,
    /// local or remote
    #[arg(long, value_name = "mode")]
    pub mode: Option<String>,
    /// Gateway to use in remote mode
    #[arg(long, value_name = "url")]
    pub remote_url: Option<String>,
    /// Its token
    #[arg(long, value_name = "token")]
    pub remote_token: Option<String>,
}
