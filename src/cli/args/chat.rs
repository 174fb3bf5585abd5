//! `agent`: one turn from the command line.

use clap::Args;

#[derive(Debug, Clone, Args)]
pub struct AgentArgs {
    /// What to say
    #[arg(short, long, value_name = "text")]
    pub message: String,
    /// Sender whose conversation to continue, as a phone number or a chat address
    #[arg(short, long, value_name = "number")]
    pub to: Option<String>,
    /// Conversation to continue, by its session id
    #[arg(long, value_name = "id")]
    pub session_id: Option<String>,
    /// Agent to talk to
    #[arg(long, value_name = "id")]
    pub agent: Option<String>,
    /// How hard to think: off, minimal, low, medium, high, xhigh
    #[arg(long, value_name = "level")]
    pub thinking: Option<String>,
    /// Keep the session's verbosity: on or off
    #[arg(long, value_name = "on|off")]
    pub verbose: Option<String>,
    /// Channel to deliver the reply to
    #[arg(long, value_name = "channel")]
    pub channel: Option<String>,
    /// Recipient of the reply, if not the sender
    #[arg(long, value_name = "target")]
    pub reply_to: Option<String>,
    /// Channel of the reply, if not the sender's
    #[arg(long, value_name = "channel")]
    pub reply_channel: Option<String>,
    /// Account that sends the reply
    #[arg(long, value_name = "id")]
    pub reply_account: Option<String>,
    /// Run the turn in this process instead of the gateway
    #[arg(long)]
    pub local: bool,
    /// Send the reply to the channel too
    #[arg(long)]
    pub deliver: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Longest run in seconds; 0 for no limit
    #[arg(long, value_name = "seconds")]
    pub timeout: Option<String>,
}
