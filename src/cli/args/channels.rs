//! Commands about chat networks: `channels`, `pairing`, `message`.

use clap::{Args, Subcommand};

#[derive(Debug, Clone, Args)]
pub struct ChannelsArgs {
    #[command(subcommand)]
    pub command: ChannelsCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum ChannelsCommand {
    /// Show what is configured
    List(ListArgs),
    /// Show the channels' accounts and whether they are connected
    Status(StatusArgs),
    /// Show what this gateway can do on each channel
    Capabilities(CapabilitiesArgs),
    /// Find the ids behind names
    Resolve(ResolveArgs),
    /// Show the channels' lines of the gateway's log
    Logs(LogsArgs),
    /// Add or change an account
    Add(Box<AddArgs>),
    /// Disable or delete an account
    Remove(RemoveArgs),
    /// Sign an account in, where that is a step of its own
    Login(LoginArgs),
    /// Sign an account out, where it has a session
    Logout(LogoutArgs),
}

#[derive(Debug, Clone, Default, Args)]
pub struct ListArgs {
    /// Leave out the quotas of model providers
    #[arg(long)]
    pub no_usage: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Default, Args)]
pub struct StatusArgs {
    /// Check every account against its service
    #[arg(long)]
    pub probe: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Longest wait for an answer, in milliseconds
    #[arg(long, value_name = "ms", default_value = "10000")]
    pub timeout: String,
}

#[derive(Debug, Clone, Default, Args)]
pub struct CapabilitiesArgs {
    /// Channel, or `all`
    #[arg(long, value_name = "name")]
    pub channel: Option<String>,
    /// Account id
    #[arg(long, value_name = "id")]
    pub account: Option<String>,
    /// Target whose permissions are of interest
    #[arg(long, value_name = "dest")]
    pub target: Option<String>,
    /// Longest wait for an answer, in milliseconds
    #[arg(long, value_name = "ms", default_value = "10000")]
    pub timeout: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Default, Args)]
pub struct ResolveArgs {
    /// Names or ids
    #[arg(required = true, value_name = "entries")]
    pub entries: Vec<String>,
    /// Channel
    #[arg(long, value_name = "name")]
    pub channel: Option<String>,
    /// Account id
    #[arg(long, value_name = "id")]
    pub account: Option<String>,
    /// What the names stand for
    #[arg(long, value_name = "kind", default_value = "auto", value_parser = ["auto", "user", "group"])]
    pub kind: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Default, Args)]
pub struct LogsArgs {
    /// Channel, or `all`
    #[arg(long, value_name = "name", default_value = "all")]
    pub channel: String,
    /// Lines to show
    #[arg(long, value_name = "n", default_value = "200")]
    pub lines: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Default, Args)]
pub struct AddArgs {
    /// Channel
    #[arg(long, value_name = "name")]
    pub channel: Option<String>,
    /// Account id; the channel's own keys when omitted
    #[arg(long, value_name = "id")]
    pub account: Option<String>,
    /// Display name of the account
    #[arg(long, value_name = "name")]
    pub name: Option<String>,
    /// Bot token (Telegram)
    #[arg(long, value_name = "token")]
    pub token: Option<String>,
    /// File with the bot token (Telegram)
    #[arg(long, value_name = "path")]
    pub token_file: Option<String>,
    /// Take the credentials from the environment; default account only
    #[arg(long)]
    pub use_env: bool,
    /// Home server URL (Matrix)
    #[arg(long, value_name = "url")]
    pub homeserver: Option<String>,
    /// User id (Matrix)
    #[arg(long, value_name = "id")]
    pub user_id: Option<String>,
    /// Access token (Matrix)
    #[arg(long, value_name = "token")]
    pub access_token: Option<String>,
    /// Password (Matrix), server password (IRC)
    #[arg(long, value_name = "password")]
    pub password: Option<String>,
    /// Device name (Matrix)
    #[arg(long, value_name = "name")]
    pub device_name: Option<String>,
    /// Server (IRC)
    #[arg(long, value_name = "host")]
    pub host: Option<String>,
    /// Port (IRC)
    #[arg(long, value_name = "port")]
    pub port: Option<u16>,
    /// Nick name (IRC)
    #[arg(long, value_name = "nick")]
    pub nick: Option<String>,
    /// Without TLS (IRC)
    #[arg(long)]
    pub no_tls: bool,
    /// Channels to join, separated by commas (IRC)
    #[arg(long, value_name = "list")]
    pub channels: Option<String>,
}

#[derive(Debug, Clone, Default, Args)]
pub struct RemoveArgs {
    /// Channel
    #[arg(long, value_name = "name")]
    pub channel: Option<String>,
    /// Account id; the channel's own keys when omitted
    #[arg(long, value_name = "id")]
    pub account: Option<String>,
    /// Delete the entries instead of disabling the account
    #[arg(long)]
    pub delete: bool,
}

#[derive(Debug, Clone, Default, Args)]
pub struct LoginArgs {
    /// Channel; may be omitted when only one is configured
    #[arg(long, value_name = "channel")]
    pub channel: Option<String>,
    /// Account id
    #[arg(long, value_name = "id")]
    pub account: Option<String>,
    /// Accepted for scripts
    #[arg(long, hide = true)]
    pub verbose: bool,
}

#[derive(Debug, Clone, Default, Args)]
pub struct LogoutArgs {
    /// Channel; may be omitted when only one is configured
    #[arg(long, value_name = "channel")]
    pub channel: Option<String>,
    /// Account id
    #[arg(long, value_name = "id")]
    pub account: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub struct PairingArgs {
    #[command(subcommand)]
    pub command: PairingCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum PairingCommand {
    /// Show strangers who ask to be let in
    List(PairingListArgs),
    /// Let in the stranger who was told a code
    Approve(PairingApproveArgs),
}

#[derive(Debug, Clone, Default, Args)]
pub struct PairingListArgs {
    /// Channel
    #[arg(value_name = "channel")]
    pub name: Option<String>,
    /// Channel
    #[arg(long, value_name = "channel")]
    pub channel: Option<String>,
    /// Account id
    #[arg(long, value_name = "accountId")]
    pub account: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Default, Args)]
pub struct PairingApproveArgs {
    /// Code, or the channel when the code follows
    #[arg(value_name = "codeOrChannel")]
    pub first: String,
    /// Code
    #[arg(value_name = "code")]
    pub second: Option<String>,
    /// Channel
    #[arg(long, value_name = "channel")]
    pub channel: Option<String>,
    /// Account id
    #[arg(long, value_name = "accountId")]
    pub account: Option<String>,
    /// Tell the stranger
    #[arg(long)]
    pub notify: bool,
}
