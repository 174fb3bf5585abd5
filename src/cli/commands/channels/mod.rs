//! `channels …`: one file per kind of question.

mod accounts;
mod facts;
pub mod status;

use crate::cli::args::channels::ChannelsCommand;
use crate::cli::context::Context;
use crate::cli::ui::CommandResult;

pub fn run(context: &Context, command: &ChannelsCommand) -> CommandResult {
    match command {
        ChannelsCommand::List(args) => Ok(facts::list(context, args)),
        ChannelsCommand::Status(args) => status::run(context, args),
        ChannelsCommand::Capabilities(args) => facts::capabilities(context, args),
        ChannelsCommand::Resolve(args) => facts::resolve(context, args),
        ChannelsCommand::Logs(args) => facts::logs(context, args),
        ChannelsCommand::Add(args) => accounts::add(context, args),
        ChannelsCommand::Remove(args) => accounts::remove(context, args),
        ChannelsCommand::Login(args) => accounts::login(context, args),
        ChannelsCommand::Logout(args) => accounts::logout(context, args),
    }
}
