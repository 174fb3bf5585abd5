//! `config`: reading and changing the configuration file.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Clone, Default, Args)]
pub struct ConfigArgs {
    /// Part of the guided configuration to run
    #[arg(long, value_name = "section")]
    pub section: Vec<String>,
    #[command(subcommand)]
    pub command: Option<ConfigCommand>,
}

#[derive(Debug, Clone, Subcommand)]
pub enum ConfigCommand {
    /// Print the path of the configuration file
    File,
    /// Print a value; secrets stay hidden
    Get(GetArgs),
    /// Print the JSON Schema of the file
    Schema,
    /// Change values
    Set(Box<SetArgs>),
    /// Remove a value
    Unset(UnsetArgs),
    /// Check the file
    Validate(ValidateArgs),
}

#[derive(Debug, Clone, Args)]
pub struct GetArgs {
    /// For example gateway.port or agents.list[0].id
    pub path: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct UnsetArgs {
    /// For example gateway.port or agents.list[0]
    pub path: String,
}

#[derive(Debug, Clone, Args)]
pub struct ValidateArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Default, Args)]
pub struct SetArgs {
    /// For example gateway.port or agents.list[0].id
    pub path: Option<String>,
    /// JSON5, else plain text
    pub value: Option<String>,
    /// Take the value as JSON or not at all
    #[arg(long)]
    pub strict_json: bool,
    /// With --dry-run, print JSON; else the same as --strict-json
    #[arg(long)]
    pub json: bool,
    /// Check everything, write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// With --dry-run, also run secret programs
    #[arg(long)]
    pub allow_exec: bool,
    /// Several changes: [{"path": …, "value"|"ref"|"provider": …}]
    #[arg(long, value_name = "json")]
    pub batch_json: Option<String>,
    /// The same from a file
    #[arg(long, value_name = "path")]
    pub batch_file: Option<PathBuf>,
    /// Secret reference: provider alias
    #[arg(long, value_name = "alias")]
    pub ref_provider: Option<String>,
    /// Secret reference: env, file or exec
    #[arg(long, value_name = "source")]
    pub ref_source: Option<String>,
    /// Secret reference: id
    #[arg(long, value_name = "id")]
    pub ref_id: Option<String>,
    /// Secret provider: env, file or exec
    #[arg(long, value_name = "source")]
    pub provider_source: Option<String>,
    /// Secret provider: variable that references may name; repeatable
    #[arg(long, value_name = "envVar")]
    pub provider_allowlist: Vec<String>,
    /// Secret provider: file
    #[arg(long, value_name = "path")]
    pub provider_path: Option<String>,
    /// Secret provider: json or singleValue
    #[arg(long, value_name = "mode")]
    pub provider_mode: Option<String>,
    /// Secret provider: longest wait
    #[arg(long, value_name = "ms")]
    pub provider_timeout_ms: Option<String>,
    /// Secret provider: largest file
    #[arg(long, value_name = "bytes")]
    pub provider_max_bytes: Option<String>,
    /// Secret provider: program, as an absolute path
    #[arg(long, value_name = "path")]
    pub provider_command: Option<String>,
    /// Secret provider: argument of the program; repeatable
    #[arg(long, value_name = "arg")]
    pub provider_arg: Vec<String>,
    /// Secret provider: longest silence of the program
    #[arg(long, value_name = "ms")]
    pub provider_no_output_timeout_ms: Option<String>,
    /// Secret provider: longest output of the program
    #[arg(long, value_name = "bytes")]
    pub provider_max_output_bytes: Option<String>,
    /// Secret provider: the program must answer JSON
    #[arg(long)]
    pub provider_json_only: bool,
    /// Secret provider: variable of the program; repeatable
    #[arg(long, value_name = "key=value")]
    pub provider_env: Vec<String>,
    /// Secret provider: variable to hand through; repeatable
    #[arg(long, value_name = "envVar")]
    pub provider_pass_env: Vec<String>,
    /// Secret provider: directory the program must lie in; repeatable
    #[arg(long, value_name = "path")]
    pub provider_trusted_dir: Vec<String>,
    /// Secret provider: do not check who owns the program
    #[arg(long)]
    pub provider_allow_insecure_path: bool,
    /// Secret provider: the program may be a symlink
    #[arg(long)]
    pub provider_allow_symlink_command: bool,
}
