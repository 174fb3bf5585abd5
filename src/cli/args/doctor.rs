//! `doctor`.

use clap::Args;

#[derive(Debug, Clone, Default, Args)]
pub struct DoctorArgs {
    /// Apply repairs without asking
    #[arg(long, visible_alias = "repair")]
    pub fix: bool,
    /// Apply repairs without asking; other name of --fix
    #[arg(long)]
    pub yes: bool,
    /// With --fix: also replace what was edited by hand
    #[arg(long)]
    pub force: bool,
    /// Never ask; without --fix nothing is changed
    #[arg(long)]
    pub non_interactive: bool,
    /// Print what --fix would change as unified differences, change nothing
    #[arg(long, conflicts_with = "undo")]
    pub dry_run: bool,
    /// Take the last repair back
    #[arg(long)]
    pub undo: bool,
    /// Also look at the services of the host
    #[arg(long)]
    pub deep: bool,
    /// Make up a gateway token if there is none
    #[arg(long)]
    pub generate_gateway_token: bool,
    /// Leave out suggestions about the workspace
    #[arg(long)]
    pub no_workspace_suggestions: bool,
    /// Only look, and fail when something is found
    #[arg(long, conflicts_with_all = ["fix", "yes", "undo", "dry_run"])]
    pub lint: bool,
    /// With --lint or --json: leave out what matters less: info, warning or error
    #[arg(long, value_name = "level", default_value = "warning")]
    pub severity_min: String,
    /// Run only this check; may be repeated
    #[arg(long, value_name = "id")]
    pub only: Vec<String>,
    /// Leave this check out; may be repeated
    #[arg(long, value_name = "id")]
    pub skip: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
