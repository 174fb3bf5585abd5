//! One chat: messages in, runs, replies out, in order.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::agents::run::{Frame, Image, Origin, Queueing};
use crate::agents::{self, RunHandle, RunOutcome, RunRequest, RunStatus};
use crate::agents::{AbortTarget, RunRefused};
use crate::base::id;
use crate::channels::Kept;
use crate::channels::channel::Place;
use crate::channels::message::{ChatKind, Inbound, Outbound, Payload};
use crate::channels::policy;
use crate::config::Config;
use crate::gateway::State;
use crate::gateway::routing::bindings::{agent_for, session_key};
use crate::gateway::routing::outbound::{self, payloads};
use crate::gateway::routing::{Chats, MOST_WAITING, frame};
use crate::gateway::rpc::chat::is_stop_word;
use crate::lifecycle::CancellationToken;

/// How long an idle chat keeps its tasks.
const IDLE: Duration = Duration::from_secs(60);
/// Networks show "is typing" for about this long.
const TYPING_EVERY: Duration = Duration::from_secs(4);
/// Largest image that a model is shown, in bytes.
const MOST_IMAGE: u64 = 8 * 1024 * 1024;

/// A message with the run that answers it.
struct Asked {
    kept: Kept,
    handle: RunHandle,
}

/// Submits the messages of a chat until it is idle.
pub(super) async fn follow(
    state: Arc<State>,
    chats: Chats,
    key: String,
    mut messages: mpsc::Receiver<Kept>,
    stop: CancellationToken,
) {
    let (replies, asked) = mpsc::channel(MOST_WAITING);
    let answering = Arc::clone(&state);
    state.lifecycle.spawn("chat replies", |stop| answer(answering, asked, stop));
    loop {
        let next = tokio::select! {
            () = stop.cancelled() => return,
            next = timeout(IDLE, messages.recv()) => next,
        };
        match next {
            Ok(Some(kept)) => submit(&state, kept, &replies).await,
            Ok(None) => return,
            Err(_) => {
                // Messages are sent under this lock: none can slip in between.
                let mut open = chats.lock().unwrap_or_else(PoisonError::into_inner);
                if messages.is_empty() {
                    open.remove(&key);
                    return;
                }
            }
        }
    }
}

async fn submit(state: &Arc<State>, kept: Kept, replies: &mpsc::Sender<Asked>) {
    let snapshot = state.config.load();
    let config = &snapshot.config;
    let message = &kept.message;
    let agent = agent_for(config, message);
    let key = session_key(config, &agent, message);
    let may_command = may_command(config, message);
    tracing::debug!(
        target: "routing", channel = message.channel, account = message.account,
        session = %key, agent, "message routed"
    );
    if may_command && is_stop_word(&message.text) {
        state.agents.abort_because(&AbortTarget::Session(key), "stop");
        let outbound = reply_to(message, payloads("⚙️ Agent was aborted."));
        settle(state, vec![kept], Some(outbound)).await;
        return;
    }
    acknowledge(state, config, message).await;
    let owners = config.commands.get("ownerAllowFrom").unwrap_or(&Value::Null);
    let owners = policy::entries(&message.channel, owners);
    let author = message.author.id.to_lowercase();
    let owner = if owners.is_empty() { message.listed } else { owners.contains(&author) };
    let model = &config.channels.get("modelByChannel").unwrap_or(&Value::Null)[&message.channel];
    let model = model[&message.chat.id].as_str().or_else(|| model["*"].as_str());
    let (images, mut notes) = attachments(state, message).await;
    let mut text = message.text.clone();
    if !notes.is_empty() {
        notes.push(String::new());
        notes.push(text);
        text = String::from(notes.join("\n").trim());
    }
    let request = RunRequest {
        run_id: id::uuid(),
        agent: Some(agent),
        session_key: Some(key),
        message: text,
        images,
        extra_system_prompt: message.group_prompt.clone(),
        group_tools: message.group_tools.clone(),
        model: model.map(str::to_owned),
        origin: origin(message),
        owner,
        may_command,
        frame: Frame::Blocks { blocks: frame::blocks(message), sender: frame::sender(message) },
        queueing: Queueing::Chat,
        ..RunRequest::default()
    };
    match state.agents.submit(request).await {
        Ok(handle) => {
            let asked = Asked { kept, handle };
            if agents::is_command(&asked.kept.message.text) && may_command {
                // A command is answered at once, whatever else is going on.
                let state_of_task = Arc::clone(state);
                state.lifecycle.spawn("chat command", |_stop| async move {
                    let outcome = asked.handle.outcome().await;
                    finish(&state_of_task, vec![asked.kept], &outcome).await;
                });
            } else if replies.send(asked).await.is_err() {
                tracing::debug!("a message stays in the inbox: the gateway stops");
            }
        }
        // It stays in the inbox; the next start answers it.
        Err(RunRefused::Draining) => {}
        Err(err) => {
            let outbound = reply_to(message, payloads(&format!("⚠️ {err}")));
            settle(state, vec![kept], Some(outbound)).await;
        }
    }
}

/// Waits for the outcomes in the order of the messages.
async fn answer(state: Arc<State>, mut asked: mpsc::Receiver<Asked>, stop: CancellationToken) {
    let mut carried = Vec::new();
    while let Some(Asked { kept, handle }) = asked.recv().await {
        let outcome = tokio::select! {
            biased;
            outcome = wait(&state, &kept.message, &handle) => outcome,
            () = stop.cancelled() => return,
        };
        carried.push(kept);
        if let Some(into) = &outcome.merged_into {
            // The run that answers for it may have ended before.
            let waits = state.agents.known(into).is_some_and(|outcome| outcome.is_none());
            if waits {
                continue;
            }
            settle(&state, std::mem::take(&mut carried), None).await;
            continue;
        }
        finish(&state, std::mem::take(&mut carried), &outcome).await;
    }
}

/// Waits for an outcome and shows meanwhile that an answer is being written.
async fn wait(state: &State, message: &Inbound, handle: &RunHandle) -> Arc<RunOutcome> {
    let account = state.channels.account(&message.channel, &message.account);
    let place = Place { to: &message.chat.to, thread: message.chat.thread.as_deref() };
    let mut ticks = interval(TYPING_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let typing = async {
        loop {
            ticks.tick().await;
            if let Some(account) = &account {
                account.account.typing(place).await;
            }
        }
    };
    tokio::select! {
        biased;
        outcome = handle.outcome() => outcome,
        () = typing => unreachable!("typing goes on until the outcome is there"),
    }
}

/// Says what became of the messages and takes them out of the inbox.
async fn finish(state: &Arc<State>, kept: Vec<Kept>, outcome: &RunOutcome) {
    if outcome.stop_reason.as_deref() == Some("shutdown") {
        // The next start answers it.
        return;
    }
    let Some(last) = kept.last() else { return };
    let text = match outcome.status {
        RunStatus::Ok if outcome.silent || outcome.answered => None,
        RunStatus::Ok => Some(outcome.text.clone()),
        RunStatus::Error | RunStatus::TimedOut => {
            let why = outcome.error.as_deref().unwrap_or("The agent did not answer in time.");
            Some(if why.starts_with("⚠️") { why.to_owned() } else { format!("⚠️ {why}") })
        }
        RunStatus::Aborted => None,
    };
    let prefix = prefix(&state.config.load().config, &last.message);
    let text = text.filter(|text| !text.trim().is_empty()).map(|text| match prefix {
        Some(prefix) if outcome.status == RunStatus::Ok => format!("{prefix} {text}"),
        _ => text,
    });
    let outbound = text.map(|text| reply_to(&last.message, payloads(&text)));
    settle(state, kept, outbound).await;
}

/// Queues a reply, then takes what it answers out of the inbox. The order
/// matters: a crash between the two is recognised, the other way round it
/// would lose the reply.
async fn settle(state: &Arc<State>, kept: Vec<Kept>, outbound: Option<Outbound>) {
    if let Some(mut outbound) = outbound {
        outbound.answers = kept.iter().map(|kept| kept.message.key()).collect();
        if let Err(err) = state.channels.send(outbound).await {
            tracing::error!(%err, "a reply could not be queued; the message stays in the inbox");
            return;
        }
    }
    for kept in kept {
        state.channels.answered(kept).await;
    }
}

fn reply_to(message: &Inbound, payloads: Vec<Payload>) -> Outbound {
    Outbound {
        channel: message.channel.clone(),
        account: message.account.clone(),
        to: message.chat.to.clone(),
        thread: message.chat.thread.clone(),
        reply_to: Some(message.id.clone()),
        payloads,
        ..Outbound::default()
    }
}

fn origin(message: &Inbound) -> Origin {
    let direct = message.chat.kind == ChatKind::Direct;
    let title = message.chat.title.as_ref();
    let label = match (direct, title) {
        (true, _) => message.chat.to.clone(),
        (false, Some(title)) => format!("{title} id:{}", message.chat.id),
        (false, None) => message.chat.id.clone(),
    };
    Origin {
        channel: Some(message.channel.clone()),
        account: Some(message.account.clone()),
        chat: Some(message.chat.to.clone()),
        chat_type: Some(if direct { "direct" } else { "group" }.to_owned()),
        surface: Some(message.channel.clone()),
        label: Some(label),
        to: Some(message.chat.to.clone()),
        thread: message.chat.thread.clone(),
    }
}

/// `commands.allowFrom` decides where it is set, else the gate did.
fn may_command(config: &Config, message: &Inbound) -> bool {
    if config.commands.get("text") == Some(&Value::Bool(false)) {
        return false;
    }
    let Some(lists) = config.commands.get("allowFrom").filter(|lists| lists.is_object()) else {
        return message.may_command;
    };
    let list =
        if lists[&message.channel].is_null() { &lists["*"] } else { &lists[&message.channel] };
    let entries = policy::entries(&message.channel, list);
    entries.iter().any(|entry| {
        entry == "*"
            || *entry == message.author.id.to_lowercase()
            || message.author.aliases.contains(entry)
    })
}

/// `responsePrefix` of the account's channel, else the shared one.
fn prefix(config: &Config, message: &Inbound) -> Option<String> {
    let section = config.channels.get(&message.channel).unwrap_or(&Value::Null);
    let own = &section["accounts"][&message.account]["responsePrefix"];
    let places = [
        own,
        &section["responsePrefix"],
        config.messages.get("responsePrefix").unwrap_or(&Value::Null),
    ];
    let text = places.into_iter().find_map(Value::as_str)?.trim();
    // `auto` means the agent's name, which is not known to be wanted here.
    (!text.is_empty() && text != "auto").then(|| text.to_owned())
}

async fn acknowledge(state: &State, config: &Config, message: &Inbound) {
    let setting = |key: &str| config.messages.get(key).and_then(Value::as_str);
    let direct = message.chat.kind == ChatKind::Direct;
    let wanted = match setting("ackReactionScope").unwrap_or("group-mentions") {
        "all" => true,
        "direct" => direct,
        "group-all" => !direct,
        "group-mentions" => !direct && message.mentioned,
        _ => false,
    };
    let emoji = setting("ackReaction").unwrap_or("👀").trim();
    let Some(account) = state.channels.account(&message.channel, &message.account) else { return };
    let emoji = (wanted && !emoji.is_empty()).then_some(emoji);
    let place = Place { to: &message.chat.to, thread: message.chat.thread.as_deref() };
    account.account.acknowledge(place, &message.id, emoji).await;
}

/// Images for the model, and a line for everything that came along.
async fn attachments(state: &State, message: &Inbound) -> (Vec<Image>, Vec<String>) {
    let (mut images, mut notes) = (Vec::new(), Vec::new());
    let account = state.channels.account(&message.channel, &message.account);
    for attachment in &message.attachments {
        let Some(account) = &account else { break };
        let name = if attachment.name.is_empty() { "file" } else { &attachment.name };
        let kind = &attachment.mime_type;
        match account.account.fetch(attachment).await {
            Ok(bytes) if kind.starts_with("image/") && bytes.len() as u64 <= MOST_IMAGE => {
                images.push(Image { mime_type: kind.clone(), data: STANDARD.encode(&bytes) });
            }
            Ok(bytes) => match outbound::store_media(&state.paths, name, bytes).await {
                Ok(path) => notes.push(format!("[media attached: {} ({kind})]", path.display())),
                Err(err) => notes.push(format!("[media not stored: {name} ({kind}): {err}]")),
            },
            Err(err) => notes.push(format!("[media not available: {name} ({kind}): {err}]")),
        }
    }
    (images, notes)
}
