//! What can be typed: one file per command group. These types hold strings as
//! typed; the commands give them meaning.

#![expect(clippy::struct_excessive_bools, reason = "a flag is a boolean")]

pub mod agents;
pub mod approvals;
pub mod backup;
pub mod channels;
pub mod chat;
pub mod config;
pub mod directory;
pub mod doctor;
pub mod elsewhere;
pub mod gateway;
pub mod hooks;
pub mod jobs;
pub mod look;
pub mod manage;
pub mod mcp;
pub mod memory;
pub mod message;
pub mod models;
pub mod network;
pub mod node_media;
pub mod nodes;
pub mod onboard;
pub mod plugins;
pub mod root;
pub mod rpc;
pub mod sandbox;
pub mod secrets;
pub mod service;
pub mod setup;
pub mod shell;
pub mod system;
pub mod tasks;
pub mod upkeep;

use clap::{Arg, CommandFactory, Parser, Subcommand};

/// The whole command line behind the root flags.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "openclaw",
    about = "Personal AI gateway: chat channels, agents and APIs on one port",
    disable_version_flag = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Run the gateway, or ask a running one
    Gateway(Box<gateway::GatewayArgs>),
    /// Other name of the service commands of `gateway`
    Daemon(gateway::DaemonArgs),
    /// Run one turn of a conversation through the gateway
    Agent(Box<chat::AgentArgs>),
    /// Show the whole installation on one page
    Status(look::StatusArgs),
    /// Show how the gateway says it is
    Health(look::HealthArgs),
    /// Show the gateway's log
    Logs(look::LogsArgs),
    /// Look after the chat channels
    Channels(channels::ChannelsArgs),
    /// Show models, and whose keys they travel with
    Models(models::ModelsArgs),
    /// Send events, control heartbeats, list who is connected
    System(system::SystemArgs),
    /// Look after the devices that may sign in
    Devices(Box<manage::DevicesArgs>),
    /// List the conversations on this host
    Sessions(manage::SessionsArgs),
    /// Look after the agents
    Agents(Box<agents::AgentsArgs>),
    /// Let strangers on chat networks in
    Pairing(channels::PairingArgs),
    /// Send messages on chat networks
    Message(message::MessageArgs),
    /// Look after scheduled jobs
    Cron(Box<manage::CronArgs>),
    /// Look after the programs that agents may run
    #[command(visible_alias = "exec-approvals")]
    Approvals(Box<approvals::ApprovalsArgs>),
    /// Look after the nodes
    Nodes(nodes::NodesArgs),
    /// Look at what ran in the background
    Tasks(tasks::TasksArgs),
    /// Look after the hooks of the Node gateway
    Hooks(hooks::HooksArgs),
    /// Look after the servers of tools
    Mcp(mcp::McpArgs),
    /// Look at plugins, and at what is built in
    Plugins(plugins::PluginsArgs),
    /// Look at where the commands of agents run
    Sandbox(sandbox::SandboxArgs),
    /// Find people and groups of chat channels
    Directory(directory::DirectoryArgs),
    /// Search what agents wrote down
    Memory(memory::MemoryArgs),
    /// Look after the skills
    Skills(manage::SkillsArgs),
    /// Prepare discovery over a tailnet
    Dns(network::DnsArgs),
    /// Search the documentation
    Docs(network::DocsArgs),
    /// Old names of commands
    Clawbot(network::ClawbotArgs),
    /// Open the Control UI
    Dashboard(look::DashboardArgs),
    /// Read, check and change the configuration
    Config(config::ConfigArgs),
    /// Look for what is wrong, and mend it on request
    Doctor(Box<doctor::DoctorArgs>),
    /// Look after secrets that are kept outside the configuration
    Secrets(Box<secrets::SecretsArgs>),
    /// Write the first configuration and make the workspace
    Setup(setup::SetupArgs),
    /// Set everything up: workspace, models, gateway and service
    Onboard(Box<onboard::OnboardArgs>),
    /// Ask about parts of the configuration
    Configure(onboard::ConfigureArgs),
    /// Invite a phone with a QR code
    Qr(upkeep::QrArgs),
    /// Delete configuration, sessions or everything of this profile
    Reset(upkeep::ResetArgs),
    /// Write and check backups
    Backup(backup::BackupArgs),
    /// Look for doors that are open wider than is wise
    Security(upkeep::SecurityArgs),
    /// Remove the service and what it left on this host
    Uninstall(upkeep::UninstallArgs),
    /// Say how this program is brought up to date
    Update(upkeep::UpdateArgs),
    /// Write a shell completion script
    Completion(shell::CompletionArgs),
    /// Write the manual pages
    #[command(name = "__man", hide = true)]
    Man(shell::ManArgs),
    /// Have a running gateway read its configuration, and tell how that went
    #[command(name = "__reload", hide = true)]
    Reload(shell::ReloadArgs),
}

/// Whether the words before the first option begin with `command`.
fn names(args: &[String], command: &str) -> bool {
    let mut words = args.iter().take_while(|arg| !arg.starts_with('-'));
    command.split(' ').all(|word| words.next().is_some_and(|typed| typed == word))
}

/// The command tree with the habits of the reference's parser: the last of a
/// repeated option wins, and an option takes its value even if that begins
/// with a dash.
pub fn tree() -> clap::Command {
    with_habits(Cli::command()).flatten_help(false)
}

fn with_habits(command: clap::Command) -> clap::Command {
    command
        .args_override_self(true)
        .disable_help_subcommand(false)
        .mut_args(|arg: Arg| {
            // A list of values ends where the next option begins.
            let is_list = arg.get_num_args().is_some_and(|count| count.max_values() > 1);
            if arg.get_action().takes_values() && !arg.is_positional() && !is_list {
                arg.allow_hyphen_values(true)
            } else {
                arg
            }
        })
        .mut_subcommands(with_habits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_sound() {
        tree().debug_assert();
    }

    #[test]
    fn no_command_is_both_here_and_elsewhere() {
        let tree = tree();
        for (path, _) in elsewhere::ELSEWHERE {
            let mut command = Some(&tree);
            for word in path.split(' ') {
                command = command.and_then(|command| command.find_subcommand(word));
            }
            assert!(command.is_none(), "{path} exists");
        }
    }

    #[test]
    fn a_command_of_the_node_program_is_known_by_its_words() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(elsewhere::elsewhere(&words("tui --deliver")).unwrap().0, "tui");
        assert_eq!(elsewhere::elsewhere(&words("nodes list")), None);
    }
}
