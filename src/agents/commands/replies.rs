//! What each command does and answers.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::Value;
use serde_json::json;

use crate::agents::card;
use crate::agents::choice;
use crate::agents::commands::Command;
use crate::agents::commands::Name;
use crate::agents::commands::btw;
use crate::agents::models::Lookup;
use crate::agents::models::listing;
use crate::agents::queue::Drop;
use crate::agents::queue::Mode;
use crate::agents::queue::Settings;
use crate::agents::run::RunRequest;
use crate::agents::runtime::Inner;
use crate::agents::runtime::Run;
use crate::agents::sessions::Entry;
use crate::agents::sessions::Sessions;
use crate::agents::sessions::main_session;
use crate::agents::sessions::thinking_level;
use crate::agents::tools::{Policy, is_boxed};
use crate::agents::workspace::Limits;
use crate::base::id::SessionKey;

const HELP: &str = "ℹ️ Help\n\nSession\n  /new [model]  |  /reset  |  /compact [wish]  |  /stop\n\n\
Options\n  /think <level>  |  /model <id>  |  /verbose on|off  |  /queue <mode>\n\n\
Status\n  /status  |  /whoami  |  /context  |  /tools\n\nMore: /commands for the full list";

const COMMANDS: &str = "ℹ️ Slash commands\n\nSession\n  /stop - Stop the current run.\n  \
/new - Start a new session, with another model if one is given.\n  /reset - Start the session over.\n  \
/compact - Summarise the conversation to make room.\n  \
/btw - Ask something on the side.\n\nOptions\n  /model - Show or set the model.\n  \
/models - List providers or the models of one.\n  /think - Set the thinking level.\n  \
/verbose - Show tool results.\n  /reasoning - Show the model's reasoning.\n  /fast - Set fast mode.\n  \
/queue - What happens to messages while a run is active.\n  /usage - Usage footer below replies.\n  \
/send - Whether replies are sent.\n\nStatus\n  /status - Status of this session.\n  \
/context - What fills the context.\n  /tools - Tools of this session.\n  /whoami - Who you are here.\n  \
/help - Short help.\n\nManagement\n  \
/approve - Decide about a command that waits, or list what waits.\n  /restart - Restart the gateway.";

const APPROVE: &str = "/approve <id> allow-once|allow-always|deny";

/// A question to the operators in a line.
fn open(question: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    format!("{}: {}", text(&question["id"]), text(&question["request"]["command"]))
}

/// Runs a command; the text is the reply, an error text is for people as well.
pub(crate) async fn reply(
    inner: &Arc<Inner>,
    run: &Run,
    request: &RunRequest,
    command: &Command,
) -> Result<String, String> {
    let key = run.key.clone().ok_or("this command needs a session")?;
    let sessions = Sessions { inner: Arc::clone(inner) };
    let entry = sessions.entry(&key).await.map_err(|err| err.to_string())?;
    let entry = entry.as_deref();
    let argument = command.argument.trim();
    let desk = Desk { inner, sessions: &sessions, key: &key, agent: &run.agent, entry };
    match command.name {
        Name::Help => Ok(HELP.to_owned()),
        Name::Commands => Ok(COMMANDS.to_owned()),
        Name::Status => Ok(card::status(inner, &key, entry)),
        Name::Whoami => Ok(whoami(request)),
        Name::Tools => Ok(desk.tools(request)),
        Name::Model => desk.model(argument).await,
        Name::Models => Ok(desk.models(argument)),
        Name::Think => desk.think(argument).await,
        Name::Verbose => desk.verbose(argument).await,
        Name::Reasoning => desk.reasoning(argument).await,
        Name::Fast => desk.fast(argument).await,
        Name::Queue => desk.queue(argument),
        Name::Context => Ok(desk.context()),
        Name::Usage => desk.usage(argument).await,
        Name::Send => desk.send(argument).await,
        Name::Btw => Ok(btw::USAGE.to_owned()),
        Name::Restart => desk.restart(request.owner),
        Name::Approve => desk.approve(request.owner, argument).await,
        Name::Unsupported => {
            let word = request.message.split_whitespace().next().unwrap_or_default();
            Ok(format!("{word} is not supported by this gateway."))
        }
        Name::New | Name::Reset | Name::Compact => {
            Err("this command runs in the session".to_owned())
        }
    }
}

fn whoami(request: &RunRequest) -> String {
    let channel = request.origin.channel.as_deref().unwrap_or("unknown");
    let mut text = format!("🧭 Identity\nChannel: {channel}");
    if let Some(sender) = request.frame.sender() {
        // Writing to a String cannot fail.
        let _ = write!(text, "\nUser id: {}", sender.id);
        if let Some(name) = &sender.username {
            let _ = write!(text, "\nUsername: @{name}");
        }
        let _ = write!(text, "\nAllowFrom: {}", sender.id);
    }
    text
}

/// One session at which commands are carried out.
struct Desk<'a> {
    inner: &'a Arc<Inner>,
    sessions: &'a Sessions,
    key: &'a SessionKey,
    agent: &'a str,
    entry: Option<&'a Entry>,
}

impl Desk<'_> {
    async fn patch(&self, field: &str, value: Value) -> Result<(), String> {
        let mut patch = json!({"key": self.key.as_str()});
        patch[field] = value;
        self.sessions.patch(patch).await.map(|_| ()).map_err(|err| err.to_string())
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.entry.and_then(|entry| entry.text(name))
    }

    fn current_model(&self) -> String {
        let config = self.inner.config.load();
        let default = choice::default_choice(&config.config, Some(self.agent));
        match self.entry.and_then(Entry::model_override) {
            Some((provider, model)) => format!("{}/{model}", provider.unwrap_or(&default.provider)),
            None => format!("{}/{}", default.provider, default.model),
        }
    }

    async fn model(&self, argument: &str) -> Result<String, String> {
        let snapshot = self.inner.config.load();
        if matches!(argument, "" | "status" | "list") {
            let mut text = format!("Current: {}", self.current_model());
            if argument == "status" {
                let default = choice::default_choice(&snapshot.config, Some(self.agent));
                // Writing to a String cannot fail.
                let _ = write!(
                    text,
                    "\nDefault: {}/{}\nAgent: {}",
                    default.provider, default.model, self.agent
                );
            }
            text.push_str(
                "\nSwitch: /model <provider/model>\nBrowse: /models (providers) or /models <provider> (models)\nMore: /model status",
            );
            return Ok(text);
        }
        if argument == "default" {
            self.patch("model", Value::Null).await?;
            return Ok("Model reset to the default.".to_owned());
        }
        let wanted = choice::expand_alias(&snapshot.config, argument);
        let lookup = self.lookup(&snapshot);
        let named = crate::agents::models::reference::Named::parse(
            &wanted,
            &choice::default_choice(&snapshot.config, Some(self.agent)).provider,
        )
        .ok_or_else(|| format!("Invalid model: {argument}"))?;
        if !crate::agents::models::reference::is_allowed(&snapshot.config, self.agent, &named) {
            return Err(format!(
                "Model \"{}\" is not allowed. Use /models to list what is.",
                named.key()
            ));
        }
        lookup.resolve(&wanted).map_err(|err| err.to_string())?;
        self.patch("model", named.key().into()).await?;
        Ok(format!("Model set to {}.", named.key()))
    }

    fn lookup<'b>(&'b self, snapshot: &'b crate::config::Snapshot) -> Lookup<'b> {
        Lookup {
            config: &snapshot.config,
            env: &snapshot.env,
            secrets: &snapshot.secrets,
            paths: &self.inner.paths,
            agent: self.agent,
            now: self.inner.clock.now_ms(),
        }
    }

    fn models(&self, provider: &str) -> String {
        let snapshot = self.inner.config.load();
        let rows = listing::rows(&self.lookup(&snapshot));
        if provider.is_empty() {
            let mut counts: std::collections::BTreeMap<&str, usize> =
                std::collections::BTreeMap::new();
            for row in &rows {
                *counts.entry(row.provider.as_str()).or_default() += 1;
            }
            let lines: Vec<String> =
                counts.iter().map(|(provider, count)| format!("- {provider} ({count})")).collect();
            return format!("Providers:\n{}\n\nUse: /models <provider>", lines.join("\n"));
        }
        let lines: Vec<String> = rows
            .iter()
            .filter(|row| row.provider.eq_ignore_ascii_case(provider))
            .map(|row| format!("- {}/{}", row.provider, row.id))
            .collect();
        if lines.is_empty() {
            format!("No models of {provider}. Use /models for the list of providers.")
        } else {
            format!("Models ({provider}):\n{}\n\nSwitch: /model <provider/model>", lines.join("\n"))
        }
    }

    fn restart(&self, owner: bool) -> Result<String, String> {
        let snapshot = self.inner.config.load();
        if snapshot.config.commands.get("restart") == Some(&Value::Bool(false)) {
            return Err("/restart is disabled (commands.restart=false).".to_owned());
        }
        if !owner {
            return Err("/restart is for owners (commands.ownerAllowFrom).".to_owned());
        }
        let plane = self.inner.control_plane().ok_or("the gateway is not up yet")?;
        plane.restart(None, "/restart")?;
        Ok("⚙️ Restarting OpenClaw in-process (SIGUSR1); back in a few seconds.".to_owned())
    }

    /// Decides about a question to the operators, or lists the open ones.
    async fn approve(&self, owner: bool, argument: &str) -> Result<String, String> {
        if !owner {
            return Err("/approve is for owners (commands.ownerAllowFrom).".to_owned());
        }
        let plane = self.inner.control_plane().ok_or("the gateway is not up yet")?;
        let mut words = argument.split_whitespace();
        let (Some(id), Some(decision)) = (words.next(), words.next()) else {
            let waiting = plane.call("exec.approval.list", json!({})).await?;
            let lines: Vec<String> = waiting.as_array().into_iter().flatten().map(open).collect();
            let waiting =
                if lines.is_empty() { "Nothing waits.".to_owned() } else { lines.join("\n") };
            return Ok(format!("{waiting}\nUsage: {APPROVE}"));
        };
        let decision = match decision.to_lowercase().as_str() {
            "allow-once" | "once" | "allow" => "allow-once",
            "allow-always" | "always" => "allow-always",
            "deny" | "reject" => "deny",
            _ => return Err(format!("Usage: {APPROVE}")),
        };
        let is_plugin = id.starts_with("plugin:");
        let method = if is_plugin { "plugin.approval.resolve" } else { "exec.approval.resolve" };
        plane.call(method, json!({"id": id, "decision": decision})).await?;
        Ok(format!("✅ {decision}: {id}"))
    }

    async fn think(&self, argument: &str) -> Result<String, String> {
        if argument.is_empty() {
            let snapshot = self.inner.config.load();
            let level = Inner::thinking_of(&snapshot, self.agent, self.entry);
            return Ok(format!(
                "Current thinking level: {level}.\nOptions: off, minimal, low, medium, high, adaptive."
            ));
        }
        let level = thinking_level(argument).ok_or_else(|| {
            format!("Unknown thinking level \"{argument}\". Options: off, minimal, low, medium, high, adaptive.")
        })?;
        self.patch("thinkingLevel", level.into()).await?;
        Ok(if level == "off" {
            "Thinking disabled.".to_owned()
        } else {
            format!("Thinking level set to {level}.")
        })
    }

    async fn verbose(&self, argument: &str) -> Result<String, String> {
        let level = match argument.to_ascii_lowercase().as_str() {
            "" => {
                let level = self.field("verboseLevel").unwrap_or("off");
                return Ok(format!("Current verbose level: {level}.\nOptions: on, full, off."));
            }
            "on" => "on",
            "full" => "full",
            "off" => "off",
            other => {
                return Err(format!("Unknown verbose level \"{other}\". Options: on, full, off."));
            }
        };
        self.patch("verboseLevel", level.into()).await?;
        Ok(match level {
            "off" => "⚙️ Verbose logging disabled.",
            "full" => "⚙️ Verbose logging set to full.",
            _ => "⚙️ Verbose logging enabled.",
        }
        .to_owned())
    }

    async fn reasoning(&self, argument: &str) -> Result<String, String> {
        let level = argument.to_ascii_lowercase();
        match level.as_str() {
            "" => {
                let level = self.field("reasoningLevel").unwrap_or("off");
                return Ok(format!("Current reasoning level: {level}.\nOptions: on, off, stream."));
            }
            "on" | "off" | "stream" => {}
            other => {
                return Err(format!(
                    "Unknown reasoning level \"{other}\". Options: on, off, stream."
                ));
            }
        }
        self.patch("reasoningLevel", level.as_str().into()).await?;
        Ok(format!("⚙️ Reasoning visibility set to {level}."))
    }

    async fn fast(&self, argument: &str) -> Result<String, String> {
        let on = self.entry.is_some_and(|entry| entry.flag("fastMode"));
        match argument.to_ascii_lowercase().as_str() {
            "" | "status" => {
                let (state, source) = match self.entry.and_then(|e| e.fields().get("fastMode")) {
                    Some(_) => (if on { "on" } else { "off" }, "session"),
                    None => ("off", "default"),
                };
                Ok(format!("Current fast mode: {state} ({source})."))
            }
            "on" => {
                self.patch("fastMode", true.into()).await?;
                Ok("⚙️ Fast mode enabled.".to_owned())
            }
            "off" => {
                self.patch("fastMode", false.into()).await?;
                Ok("⚙️ Fast mode disabled.".to_owned())
            }
            other => Err(format!("Unknown fast mode \"{other}\". Options: on, off.")),
        }
    }

    async fn usage(&self, argument: &str) -> Result<String, String> {
        let level = match argument.to_ascii_lowercase().as_str() {
            "" => {
                let level = self.field("responseUsage").unwrap_or("off");
                return Ok(format!("⚙️ Usage footer: {level}."));
            }
            "on" => "tokens".to_owned(),
            level @ ("off" | "tokens" | "full") => level.to_owned(),
            other => {
                return Err(format!(
                    "Unknown usage footer \"{other}\". Options: off, tokens, full."
                ));
            }
        };
        self.patch("responseUsage", level.as_str().into()).await?;
        Ok(format!("⚙️ Usage footer: {level}."))
    }

    async fn send(&self, argument: &str) -> Result<String, String> {
        let (value, shown) = match argument.to_ascii_lowercase().as_str() {
            "on" | "allow" => ("allow".into(), "on"),
            "off" | "deny" => ("deny".into(), "off"),
            "inherit" | "default" => (Value::Null, "inherit"),
            _ => return Err("Use /send on, /send off or /send inherit.".to_owned()),
        };
        self.patch("sendPolicy", value).await?;
        Ok(format!("⚙️ Send policy set to {shown}."))
    }

    fn queue(&self, argument: &str) -> Result<String, String> {
        let snapshot = self.inner.config.load();
        if argument.is_empty() {
            let settings = Settings::of(&snapshot.config, self.entry, None);
            return Ok(format!(
                "Current queue settings: mode={}, debounce={}ms, cap={}, drop={}.\nOptions: modes steer, followup, collect, steer+backlog, interrupt; debounce:<ms|s|m>, cap:<n>, drop:old|new|summarize.",
                settings.mode.name(),
                settings.debounce.as_millis(),
                settings.cap,
                settings.drop.name(),
            ));
        }
        let changes = queue_changes(argument)?;
        let store = self.inner.stores.of(&snapshot.config, self.agent);
        store.update(self.key.as_str(), |entry| {
            for (field, value) in &changes {
                entry.set_or_clear(field, value.clone());
            }
        });
        self.inner.stores.flush_soon(&store);
        let mode = changes.iter().find(|(field, _)| *field == "queueMode");
        Ok(match mode {
            Some((_, Some(mode))) => {
                format!("⚙️ Queue mode set to {}.", mode.as_str().unwrap_or_default())
            }
            Some((_, None)) => "⚙️ Queue settings reset to the default.".to_owned(),
            None => "⚙️ Queue settings updated.".to_owned(),
        })
    }

    fn context(&self) -> String {
        let snapshot = self.inner.config.load();
        let config = &snapshot.config;
        let dir = self.inner.workspaces.of(config, self.agent);
        let limits = Limits::of(config);
        let context = self.inner.workspaces.context(&dir, limits);
        let mut text = format!(
            "🧠 Context breakdown\nWorkspace: {}\nBootstrap max/file: {} chars\nBootstrap max/total: {} chars\n\nInjected workspace files:",
            dir.display(),
            limits.per_file,
            limits.total
        );
        for file in &context.files {
            let shown = file.text.chars().count();
            let state = if file.missing {
                "missing"
            } else if shown < file.raw_chars {
                "cut"
            } else {
                "OK"
            };
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                "\n- {}: {state} | raw {} chars | injected {shown} chars",
                file.name, file.raw_chars
            );
        }
        let used = self.entry.and_then(|entry| entry.number("totalTokens")).unwrap_or_default();
        let window = choice::default_choice(config, Some(self.agent)).context_tokens;
        let window = self.entry.and_then(|entry| entry.number("contextTokens")).unwrap_or(window);
        let _ =
            write!(text, "\n\nSession tokens: {} of {}", card::short(used), card::short(window));
        text
    }

    fn tools(&self, request: &RunRequest) -> String {
        let snapshot = self.inner.config.load();
        let model = self.current_model();
        let (provider, model) = model.split_once('/').unwrap_or(("", &model));
        let (config, agent) = (&snapshot.config, self.agent);
        let is_main = *self.key == main_session(config, agent);
        let policy = Policy::of(config, agent, provider, model, request.owner)
            .within(request.group_tools.as_ref())
            .unless_boxed(is_boxed(config, agent, is_main));
        let names: Vec<String> =
            self.inner.toolbox.allowed(&policy).iter().map(|tool| tool.spec().name).collect();
        let profile =
            snapshot.config.tools.get("profile").and_then(Value::as_str).unwrap_or("full");
        format!("Available tools\n\nProfile: {profile}\n\nBuilt-in tools\n  {}", names.join(", "))
    }
}

/// Fields that `/queue` changes; `None` removes one.
type QueueChange = (&'static str, Option<Value>);

fn queue_changes(argument: &str) -> Result<Vec<QueueChange>, String> {
    if matches!(argument, "default" | "reset" | "clear") {
        let fields = ["queueMode", "queueDebounceMs", "queueCap", "queueDrop"];
        return Ok(fields.map(|field| (field, None)).to_vec());
    }
    let mut changes = Vec::new();
    for word in argument.split_whitespace() {
        let (name, value) = word.split_once([':', '=']).unwrap_or(("", word));
        let bad = || format!("Unknown queue setting \"{word}\".");
        changes.push(match name.to_ascii_lowercase().as_str() {
            "" | "mode" => {
                let mode = Mode::parse(value).ok_or_else(bad)?;
                ("queueMode", Some(Value::from(mode.name())))
            }
            "debounce" => ("queueDebounceMs", Some(milliseconds(value).ok_or_else(bad)?.into())),
            "cap" => {
                let cap: u64 = value.parse().ok().filter(|cap| *cap > 0).ok_or_else(bad)?;
                ("queueCap", Some(cap.into()))
            }
            "drop" => {
                let drop = Drop::parse(value).ok_or_else(bad)?;
                ("queueDrop", Some(Value::from(drop.name())))
            }
            _ => return Err(bad()),
        });
    }
    Ok(changes)
}

/// `500`, `500ms`, `2s` or `1m` in milliseconds.
fn milliseconds(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().ok()?;
    let factor = match unit {
        "" | "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => return None,
    };
    number.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queue_settings_are_read_word_by_word() {
        let changes = queue_changes("steer debounce:2s cap:5 drop:old").unwrap();
        assert_eq!(
            changes,
            [
                ("queueMode", Some("steer".into())),
                ("queueDebounceMs", Some(2_000.into())),
                ("queueCap", Some(5.into())),
                ("queueDrop", Some("old".into())),
            ]
        );
        assert!(queue_changes("sideways").is_err());
        assert!(queue_changes("cap:0").is_err());
        assert_eq!(queue_changes("reset").unwrap().len(), 4);
    }
}
