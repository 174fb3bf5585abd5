//! What a turn needs before its first model call: workspace, history, prompt
//! parts. One trip to a blocking thread.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;

use crate::agents::failover::Chain;
use crate::agents::models::usage_record;
use crate::agents::prompt;
use crate::agents::providers::ModelRef;
use crate::agents::run::RunBody;
use crate::agents::run::RunRequest;
use crate::agents::run::Usage;
use crate::agents::runtime::Inner;
use crate::agents::runtime::Run;
use crate::agents::sessions::Branch;
use crate::agents::sessions::Entry;
use crate::agents::sessions::Pen;
use crate::agents::sessions::Store;
use crate::agents::sessions::read_branch;
use crate::agents::sessions::transcript_path;
use crate::agents::turn::answer::Answer;
use crate::agents::turn::writer::Writer;
use crate::agents::workspace::Limits;
use crate::agents::workspace::ProjectContext;
use crate::config::Snapshot;
use crate::lifecycle;
use crate::store::lock::FileLock;

/// How long a run waits for another process that writes the same transcript.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
/// How long a run may take unless configured: two days.
const DEFAULT_TIMEOUT_SECONDS: u64 = 172_800;

/// A turn in progress.
pub(crate) struct Turn<'a> {
    pub(crate) inner: &'a Arc<Inner>,
    pub(crate) run: &'a Arc<Run>,
    pub(crate) request: RunRequest,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) workspace: PathBuf,
    pub(crate) context: Arc<ProjectContext>,
    pub(crate) skills: String,
    pub(crate) store: Arc<Store>,
    pub(crate) entry: Option<Arc<Entry>>,
    pub(crate) branch: Branch,
    pub(crate) pen: Pen,
    pub(crate) writer: Writer,
    pub(crate) chain: Chain,
    pub(crate) thinking: Option<String>,
    /// The model of the latest call.
    pub(crate) model: Option<Arc<ModelRef>>,
    pub(crate) usage: Usage,
    pub(crate) last_call: Usage,
    pub(crate) cost_usd: f64,
    /// Visible text of the last answer that had any.
    pub(crate) reply: String,
    pub(crate) silent: bool,
    /// What the latest model had said when its time was over.
    pub(crate) unfinished: Option<(Answer, Arc<ModelRef>)>,
    /// Whether a tool has written to where the reply goes.
    pub(crate) answered: Arc<AtomicBool>,
    pub(crate) compactions: u64,
    pub(crate) client_calls: Vec<crate::agents::run::ClientToolCall>,
    pub(crate) timeout: Option<Duration>,
}

impl std::fmt::Debug for Turn<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turn").field("run", &self.run.id).finish_non_exhaustive()
    }
}

/// What the blocking thread brings back.
struct Loaded {
    workspace: PathBuf,
    context: Arc<ProjectContext>,
    skills: String,
    store: Arc<Store>,
    entry: Option<Arc<Entry>>,
    branch: Branch,
    path: PathBuf,
    lock: FileLock,
}

/// Loads everything and writes the user's message.
///
/// # Errors
/// A text for people.
pub(crate) async fn prepare<'a>(
    inner: &'a Arc<Inner>,
    run: &'a Arc<Run>,
    request: RunRequest,
) -> Result<Turn<'a>, String> {
    let snapshot = inner.config.load();
    let loaded = {
        let inner = Arc::clone(inner);
        let run = Arc::clone(run);
        let snapshot = Arc::clone(&snapshot);
        lifecycle::spawn_blocking(move || load(&inner, &run, &snapshot))
            .await
            .map_err(|_| "internal error while loading the session".to_owned())??
    };
    let requested = requested_model(&request, loaded.entry.as_deref());
    let chain = inner
        .models()
        .chain(&snapshot, &run.agent, requested.as_deref(), request.fallbacks.as_deref())
        .await;
    let timeout = request.timeout.or_else(|| {
        let seconds = snapshot.config.agents.defaults.timeout_seconds;
        Some(Duration::from_secs(seconds.unwrap_or(DEFAULT_TIMEOUT_SECONDS)))
    });
    let mut turn = Turn {
        inner,
        run,
        pen: Pen::after(&loaded.branch),
        writer: Writer::new(loaded.path, loaded.lock),
        workspace: loaded.workspace,
        context: loaded.context,
        skills: loaded.skills,
        store: loaded.store,
        entry: loaded.entry,
        branch: loaded.branch,
        chain,
        thinking: None,
        model: None,
        usage: Usage::default(),
        last_call: Usage::default(),
        cost_usd: 0.0,
        reply: String::new(),
        silent: false,
        unfinished: None,
        answered: Arc::default(),
        compactions: 0,
        client_calls: Vec::new(),
        timeout: timeout.filter(|timeout| !timeout.is_zero()),
        snapshot,
        request,
    };
    turn.note_start();
    Ok(turn)
}

fn load(inner: &Inner, run: &Run, snapshot: &Snapshot) -> Result<Loaded, String> {
    let config = &snapshot.config;
    let workspace = inner
        .workspaces
        .ensure(config, &run.agent, inner.clock.now_ms())
        .map_err(|err| format!("workspace of agent {} is not usable: {err}", run.agent))?;
    let context = inner.workspaces.context(&workspace, Limits::of(config));
    let store = inner.stores.of(config, &run.agent);
    store.refresh().map_err(|err| format!("{}: {err}", store.path().display()))?;
    let entry = run.key.as_ref().and_then(|key| store.get(key.as_str()));
    let path = match &entry {
        Some(entry) if entry.session_id() == run.session_id => transcript_path(store.dir(), entry),
        _ => store.dir().join(format!("{}.jsonl", run.session_id)),
    };
    let lock = FileLock::acquire(&path, LOCK_PATIENCE).map_err(|err| err.to_string())?;
    let branch = read_branch(&path).map_err(|err| format!("{}: {err}", path.display()))?;
    let skills = prompt::skills(&workspace, &inner.paths, &snapshot.env, snapshot);
    Ok(Loaded { workspace, context, skills, store, entry, branch, path, lock })
}

/// The model someone asked for: the request, else the session.
pub(crate) fn requested_model(request: &RunRequest, entry: Option<&Entry>) -> Option<String> {
    request.model.clone().filter(|model| !model.trim().is_empty()).or_else(|| {
        let (provider, model) = entry?.model_override()?;
        Some(match provider {
            Some(provider) => format!("{provider}/{model}"),
            None => model.to_owned(),
        })
    })
}

impl Turn<'_> {
    pub(crate) fn now(&self) -> u64 {
        self.inner.clock.now_ms()
    }

    /// Marks the session as running.
    fn note_start(&mut self) {
        let Some(key) = &self.run.key else { return };
        let now = self.now();
        let origin = &self.request.origin;
        let heartbeat = self.request.heartbeat.is_some();
        let session_id = &self.run.session_id;
        let (entry, ()) = self.store.update(key.as_str(), |entry| {
            if entry.session_id().is_empty() {
                entry.set("sessionId", session_id.as_str());
            }
            if !heartbeat {
                entry.set("updatedAt", now);
            }
            entry.set("status", "running");
            entry.set("startedAt", now);
            entry.set("abortedLastRun", false);
            for field in ["endedAt", "runtimeMs"] {
                entry.clear(field);
            }
            if let Some(channel) = origin.channel.as_deref().filter(|_| !heartbeat) {
                note_origin(entry, channel, origin);
            }
        });
        self.inner.stores.flush_soon(&self.store);
        self.entry = Some(entry);
    }

    /// Writes what precedes the first answer: header, model, thinking level and
    /// the user's message.
    pub(crate) async fn begin_transcript(&mut self, model: &ModelRef) -> Result<(), String> {
        let now = self.now();
        let cwd = self.workspace.display().to_string();
        let thinking = self.thinking.clone().unwrap_or_else(|| "off".to_owned());
        self.pen.begin(&self.run.session_id, &cwd, now);
        self.note_model(model);
        if self.branch.thinking.as_deref() != Some(thinking.as_str()) {
            self.pen.entry("thinking_level_change", json!({"thinkingLevel": thinking}), now);
            self.branch.thinking = Some(thinking);
        }
        let text = self.user_text();
        let message = crate::agents::turn::user_message(&text, &self.request.images, now);
        self.add_message(message);
        self.flush().await
    }

    /// Notes a change of the model in the transcript.
    pub(crate) fn note_model(&mut self, model: &ModelRef) {
        let name = (model.provider.clone(), model.id.clone());
        if self.branch.model.as_ref() == Some(&name) {
            return;
        }
        let now = self.now();
        let change = json!({"provider": model.provider, "modelId": model.id});
        self.pen.entry("model_change", change, now);
        let snapshot = json!({
            "customType": "model-snapshot",
            "data": {
                "timestamp": now, "provider": model.provider, "modelApi": model.api,
                "modelId": model.id,
            },
        });
        self.pen.entry("custom", snapshot, now);
        self.branch.model = Some(name);
    }

    /// The user's text with its frame and waiting system events.
    fn user_text(&self) -> String {
        let zone = crate::agents::turn::time_zone(&self.snapshot.config);
        let text = prompt::frame(&self.request.frame, &self.request.message, self.now(), &zone);
        let Some(key) = &self.run.key else { return text };
        let events = self.inner.system_events.take(key.as_str());
        if events.is_empty() {
            return text;
        }
        let lines: Vec<String> =
            events.iter().map(|(at, note)| prompt::stamp_line(*at, &zone, note)).collect();
        format!("{}\n\n{text}", lines.join("\n"))
    }

    /// Adds a message to the transcript and to what the model sees next.
    pub(crate) fn add_message(&mut self, message: Value) {
        let (id, seq) = self.pen.message(&message, self.now());
        self.run.reporter.send(RunBody::Message { id: &id, seq, message: &message });
        self.branch.messages.push(message);
        self.branch.ids.push(id);
    }

    /// Hands what the pen wrote to the file.
    pub(crate) async fn flush(&mut self) -> Result<(), String> {
        let lines = self.pen.take();
        self.writer.append(lines).await
    }

    /// Counts the tokens of a call and returns its usage for the transcript.
    pub(crate) fn account(&mut self, usage: Usage, model: &ModelRef) -> Value {
        self.usage.add(usage);
        self.last_call = usage;
        let record = usage_record(&usage, model);
        self.cost_usd += record["cost"]["total"].as_f64().unwrap_or_default();
        record
    }
}

/// Remembers where the session's messages come from and where replies go.
fn note_origin(entry: &mut Entry, channel: &str, origin: &crate::agents::run::Origin) {
    let chat_type = origin.chat_type.as_deref().unwrap_or("direct");
    let surface = origin.surface.as_deref().unwrap_or(channel);
    let to = origin.to.as_deref().or(origin.chat.as_deref());
    let mut seen = json!({});
    let mut delivery = json!({"channel": channel});
    if let Some(label) = &origin.label {
        seen["label"] = label.as_str().into();
    }
    seen["provider"] = channel.into();
    seen["surface"] = surface.into();
    seen["chatType"] = chat_type.into();
    for (field, value) in [
        ("to", to),
        ("accountId", origin.account.as_deref()),
        ("threadId", origin.thread.as_deref()),
    ] {
        if let Some(value) = value {
            seen[field] = value.into();
            delivery[field] = value.into();
        }
    }
    entry.set("chatType", chat_type);
    entry.set("origin", seen);
    // Who also looks in with a client is still reached where he was last.
    let elsewhere = entry.text("lastChannel").is_some_and(|last| last != channel);
    if channel == "webchat" && elsewhere && entry.text("lastTo").is_some() {
        return;
    }
    entry.set("deliveryContext", delivery);
    entry.set("lastChannel", channel);
    entry.set_or_clear("lastTo", to);
    entry.set_or_clear("lastAccountId", origin.account.as_deref());
    entry.set_or_clear("lastThreadId", origin.thread.as_deref());
}
