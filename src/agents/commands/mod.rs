//! Slash commands: messages that the gateway answers itself, without a model.
//!
//! Only a message that is nothing but the command counts; an unknown one goes
//! to the model as text.

mod btw;
mod replies;

use std::sync::Arc;

use crate::agents::run::Queueing;
use crate::agents::run::RunBody;
use crate::agents::run::RunRequest;
use crate::agents::runtime::Inner;
use crate::agents::runtime::Run;
use crate::agents::sessions::SessionError;
use crate::agents::sessions::Sessions;
use crate::base::id::SessionKey;

/// A command with what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) name: Name,
    pub(crate) argument: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    Help,
    Commands,
    Tools,
    Status,
    Whoami,
    New,
    Reset,
    Compact,
    Model,
    Models,
    Think,
    Verbose,
    Reasoning,
    Fast,
    Queue,
    Context,
    Usage,
    Send,
    Btw,
    Restart,
    Approve,
    /// Known to the reference, but not here.
    Unsupported,
}

/// Every spelling of every command.
const SPELLINGS: &[(&str, Name)] = &[
    ("help", Name::Help),
    ("commands", Name::Commands),
    ("tools", Name::Tools),
    ("status", Name::Status),
    ("whoami", Name::Whoami),
    ("id", Name::Whoami),
    ("new", Name::New),
    ("reset", Name::Reset),
    ("compact", Name::Compact),
    ("model", Name::Model),
    ("models", Name::Models),
    ("think", Name::Think),
    ("thinking", Name::Think),
    ("t", Name::Think),
    ("verbose", Name::Verbose),
    ("v", Name::Verbose),
    ("reasoning", Name::Reasoning),
    ("reason", Name::Reasoning),
    ("fast", Name::Fast),
    ("queue", Name::Queue),
    ("context", Name::Context),
    ("usage", Name::Usage),
    ("send", Name::Send),
    ("skill", Name::Unsupported),
    ("btw", Name::Btw),
    ("export-session", Name::Unsupported),
    ("export", Name::Unsupported),
    ("session", Name::Unsupported),
    ("focus", Name::Unsupported),
    ("unfocus", Name::Unsupported),
    ("acp", Name::Unsupported),
    ("agents", Name::Unsupported),
    ("tts", Name::Unsupported),
    ("voice", Name::Unsupported),
    ("subagents", Name::Unsupported),
    ("kill", Name::Unsupported),
    ("steer", Name::Unsupported),
    ("tell", Name::Unsupported),
    ("tasks", Name::Unsupported),
    ("allowlist", Name::Unsupported),
    ("activation", Name::Unsupported),
    ("bash", Name::Unsupported),
    ("elevated", Name::Unsupported),
    ("elev", Name::Unsupported),
    ("exec", Name::Unsupported),
    ("plugins", Name::Unsupported),
    ("mcp", Name::Unsupported),
    ("debug", Name::Unsupported),
    ("config", Name::Unsupported),
    ("restart", Name::Restart),
    ("approve", Name::Approve),
];

/// The command a message consists of. `/cmd: x` is `/cmd x`, and a bot's name
/// after `@` is left out.
pub(crate) fn parse(message: &str) -> Option<Command> {
    let text = message.trim().strip_prefix('/')?;
    let end = text.find(|c: char| c.is_whitespace() || c == ':').unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let word = word.split_once('@').map_or(word, |(word, _)| word).to_lowercase();
    let (_, name) = SPELLINGS.iter().find(|(spelling, _)| *spelling == word)?;
    let argument = rest.strip_prefix(':').unwrap_or(rest).trim().to_owned();
    // A card with words behind it is a question about the card, not the card.
    let takes_none = matches!(name, Name::Help | Name::Commands | Name::Status | Name::Whoami);
    (argument.is_empty() || !takes_none).then_some(Command { name: *name, argument })
}

/// Whether a message is nothing but a command.
pub fn is_command(message: &str) -> bool {
    parse(message).is_some()
}

/// The command of a request, if its sender may give commands.
pub(crate) fn of(request: &RunRequest) -> Option<Command> {
    let may = request.owner
        || request.may_command
        || request.origin.channel.as_deref() == Some("webchat");
    if request.queueing != Queueing::Chat || !may || !request.images.is_empty() {
        return None;
    }
    parse(&request.message)
}

/// Prepares `/new` and `/reset`: ends what runs, starts the session anew and
/// turns the request into the greeting of the fresh session.
pub(crate) async fn start_over(
    inner: &Arc<Inner>,
    request: &mut RunRequest,
    command: &Command,
) -> Result<(), SessionError> {
    let sessions = Sessions { inner: Arc::clone(inner) };
    let typed = request.session_key.as_ref().map_or("main", SessionKey::as_str).to_owned();
    let reason = match command.name {
        Name::New => crate::agents::sessions::ResetReason::New,
        _ => crate::agents::sessions::ResetReason::Reset,
    };
    sessions.reset(&typed, reason).await?;
    let mut rest = command.argument.as_str();
    if command.name == Name::New && !rest.is_empty() {
        let (first, others) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let config = inner.config.load();
        let expanded = crate::agents::choice::expand_alias(&config.config, first);
        if expanded.contains('/') {
            let patch = serde_json::json!({"key": typed, "model": expanded});
            sessions.patch(patch).await?;
            rest = others.trim();
        }
    }
    request.message = if rest.is_empty() { GREETING.to_owned() } else { rest.to_owned() };
    if rest.is_empty() {
        request.frame = crate::agents::run::Frame::Raw;
    }
    Ok(())
}

/// What the model is told when a session was started anew without a message.
const GREETING: &str = "The user has just started a fresh session. Greet them in your own manner, in \
one to three sentences, and ask what they would like to do. If BOOTSTRAP.md is part of your context, \
follow it instead. Do not mention files, tools or this instruction.";

/// Answers a command and closes its run.
pub(crate) async fn answer(
    inner: &Arc<Inner>,
    run: &Arc<Run>,
    request: &RunRequest,
    command: &Command,
) {
    let now = inner.clock.now_ms();
    let mut outcome = run.outcome_without_turn(crate::agents::run::RunStatus::Ok, now);
    outcome.injected = true;
    if command.name == Name::Btw && !command.argument.is_empty() {
        outcome.text = aside(inner, run, request, &command.argument).await;
        outcome.silent = outcome.text.is_empty();
        outcome.ended_at = inner.clock.now_ms();
        return run.finish(outcome);
    }
    match replies::reply(inner, run, request, command).await {
        Ok(text) => {
            outcome.silent = text.is_empty();
            if let (false, Some(key)) = (text.is_empty(), &run.key) {
                let sessions = Sessions { inner: Arc::clone(inner) };
                if let Err(err) = sessions.inject(key.as_str(), &text, None).await {
                    tracing::warn!(session = %key, %err, "reply of a command not written");
                }
            }
            outcome.text = text;
        }
        Err(text) => outcome.text = format!("⚠️ {text}"),
    }
    outcome.ended_at = inner.clock.now_ms();
    run.finish(outcome);
}

/// Answers a question on the side: to those who follow the chat as an event of
/// its own, on a channel as its reply. Nothing is written down.
async fn aside(inner: &Arc<Inner>, run: &Run, request: &RunRequest, question: &str) -> String {
    let answer = btw::ask(inner, run, request, question).await;
    let is_error = answer.is_err();
    let text = answer.unwrap_or_else(|why| format!("⚠️ /btw failed: {why}"));
    run.reporter.send(RunBody::Aside { question, text: &text, is_error });
    match request.origin.channel.as_deref() {
        None | Some("webchat") => String::new(),
        Some(_) => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_messages_are_commands() {
        let cases = [
            ("/status", Some((Name::Status, ""))),
            (" /STATUS@mybot ", Some((Name::Status, ""))),
            ("/think: high", Some((Name::Think, "high"))),
            ("/t high", Some((Name::Think, "high"))),
            ("/new", Some((Name::New, ""))),
            ("/compact keep names", Some((Name::Compact, "keep names"))),
            ("/status please", None),
            ("/nosuchcmd foo", None),
            ("see /status", None),
            ("/", None),
        ];
        for (text, expected) in cases {
            let parsed = parse(text);
            let shown = parsed.as_ref().map(|command| (command.name, command.argument.as_str()));
            assert_eq!(shown, expected, "{text}");
        }
    }
}
