//! The handle through which the rest of the gateway runs agents: submit, join,
//! wait, abort, drain. It starts nothing until the first run.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::sync::watch;

use crate::agents::choice;
use crate::agents::choice::Connected;
use crate::agents::choice::ModelSource;
use crate::agents::commands;
use crate::agents::commands::Name;
use crate::agents::embeddings::{Asked, EmbedError, Embedder, Resolved, Target, as_vectors};
use crate::agents::events::SystemEvents;
use crate::agents::lanes::Lanes;
use crate::agents::lanes::SessionLane;
use crate::agents::lanes::SessionLanes;
use crate::agents::mcp::Servers;
use crate::agents::memory::{Found, Memory, MemoryError, Query};
use crate::agents::models::{Lookup, Models};
use crate::agents::providers::ToolSpec;
use crate::agents::queue;
use crate::agents::raw_stream::RawStream;
use crate::agents::reporter::Reporter;
use crate::agents::run::EventSink;
use crate::agents::run::Lane;
use crate::agents::run::Rights;
use crate::agents::run::RunOutcome;
use crate::agents::run::RunRequest;
use crate::agents::run::RunStatus;
use crate::agents::sessions::Entry;
use crate::agents::sessions::ModelChoice;
use crate::agents::sessions::Pen;
use crate::agents::sessions::Sessions;
use crate::agents::sessions::Store;
use crate::agents::sessions::Stores;
use crate::agents::sessions::append;
use crate::agents::sessions::read_branch;
use crate::agents::sessions::row_of;
use crate::agents::sessions::transcript_path;
use crate::agents::tools::ControlPlane;
use crate::agents::tools::Tool;
use crate::agents::tools::{Policy, Toolbox};
use crate::agents::turn;
use crate::agents::workspace::Workspaces;
use crate::base::clock::Clock;
use crate::base::id::SessionKey;
use crate::base::id::uuid;
use crate::config::Config;
use crate::config::Live;
use crate::config::Snapshot;
use crate::lifecycle::{self, Lifecycle};
use crate::profile::env::Env;
use crate::profile::paths::Paths;

/// How long the outcome of a finished run can be joined.
const REMEMBERED_MS: u64 = 5 * 60 * 1000;
/// Most runs remembered, active ones not counted.
const MOST_REMEMBERED: usize = 1000;
/// Part of the wire contract: what a run is told while the gateway drains.
pub const DRAINING_TEXT: &str = "Gateway is draining for restart; new tasks are not accepted";
/// How long an aborted run may take to write its partial reply.
const SETTLE: Duration = Duration::from_secs(5);

/// What agents stand on.
#[derive(Debug, Clone)]
pub struct AgentsDeps {
    pub config: Live,
    pub env: Arc<Env>,
    pub paths: Paths,
    pub lifecycle: Lifecycle,
    pub clock: Arc<dyn Clock>,
    /// Receives the events of all runs.
    pub sink: Arc<dyn EventSink>,
    /// File of what the models send, piece by piece (`--raw-stream`).
    pub raw_stream: Option<PathBuf>,
}

/// The agents of this gateway. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Agents {
    pub(crate) inner: Arc<Inner>,
}

/// What all clones of [`Agents`] share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: Live,
    /// The process's own; runs see that of their configuration.
    pub(crate) env: Arc<Env>,
    pub(crate) paths: Paths,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) clock: Arc<dyn Clock>,
    sink: Arc<dyn EventSink>,
    pub(crate) raw_stream: Option<RawStream>,
    pub(crate) stores: Stores,
    pub(crate) workspaces: Workspaces,
    pub(crate) toolbox: Toolbox,
    pub(crate) servers: Servers,
    models: Arc<dyn ModelSource>,
    control: OnceLock<Arc<dyn ControlPlane>>,
    embedder: Embedder,
    pub(crate) system_events: SystemEvents,
    pub(crate) lanes: Lanes,
    pub(crate) sessions: SessionLanes,
    runs: Mutex<HashMap<String, Arc<Run>>>,
    draining: AtomicBool,
}

/// One run from submission until it is forgotten.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) id: String,
    /// Queue of the session: its key, or its id when there is no key.
    pub(crate) lane_key: String,
    pub(crate) key: Option<SessionKey>,
    pub(crate) agent: String,
    pub(crate) session_id: String,
    pub(crate) lane: Lane,
    pub(crate) accepted_at: u64,
    pub(crate) cancel: tokio_util::sync::CancellationToken,
    pub(crate) reporter: Reporter,
    pub(crate) rights: Rights,
    /// Taken by the turn.
    pub(crate) request: Mutex<Option<RunRequest>>,
    /// Messages that steer the run at its next step.
    pub(crate) steer: Mutex<Vec<Arc<Run>>>,
    pub(crate) steerable: AtomicBool,
    /// Milliseconds since the epoch; 0 while it waits.
    pub(crate) started_at: AtomicU64,
    ended_at: AtomicU64,
    stop_reason: Mutex<Option<String>>,
    done: watch::Sender<Option<Arc<RunOutcome>>>,
}

/// A run as its submitter sees it.
#[derive(Debug, Clone)]
pub struct RunHandle {
    pub run_id: String,
    pub session_key: Option<SessionKey>,
    pub session_id: String,
    /// Milliseconds since the Unix epoch.
    pub accepted_at: u64,
    /// Whether this submission found a run of the same id.
    pub joined: bool,
    run: Arc<Run>,
}

impl RunHandle {
    /// Waits for the end of the run.
    pub async fn outcome(&self) -> Arc<RunOutcome> {
        self.run.outcome().await
    }

    /// The outcome if the run has ended.
    pub fn outcome_now(&self) -> Option<Arc<RunOutcome>> {
        self.run.done.borrow().clone()
    }
}

/// Why a run is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum RunRefused {
    #[error("{DRAINING_TEXT}")]
    Draining,
    #[error("unknown agent id \"{0}\"")]
    UnknownAgent(String),
    #[error("{0}")]
    Session(#[from] crate::agents::sessions::SessionError),
}

/// What to abort.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AbortTarget {
    Run(String),
    Session(SessionKey),
}

/// A run that waits or works.
#[derive(Debug, Clone)]
pub struct ActiveRun {
    pub run_id: String,
    pub session_key: Option<SessionKey>,
    pub session_id: String,
    pub agent: String,
    pub lane: Lane,
    pub accepted_at: u64,
    /// `None` while it waits in a queue.
    pub started_at: Option<u64>,
}

impl Agents {
    pub fn new(deps: AgentsDeps) -> Self {
        let models = Connected {
            models: Models::default(),
            paths: deps.paths.clone(),
            clock: Arc::clone(&deps.clock),
            lifecycle: deps.lifecycle.clone(),
        };
        Self::with_models(deps, Arc::new(models))
    }

    /// Agents whose models come from somewhere else, for tests.
    pub fn with_models(deps: AgentsDeps, models: Arc<dyn ModelSource>) -> Self {
        let AgentsDeps { config, env, paths, lifecycle, clock, sink, raw_stream } = deps;
        let inner = Inner {
            stores: Stores::new(paths.clone(), lifecycle.clone()),
            workspaces: Workspaces::new(paths.clone()),
            toolbox: Toolbox::default(),
            servers: Servers::default(),
            models,
            control: OnceLock::new(),
            embedder: Embedder::default(),
            system_events: SystemEvents::default(),
            lanes: Lanes::default(),
            sessions: Mutex::default(),
            runs: Mutex::default(),
            raw_stream: raw_stream.map(|path| RawStream::start(path, &lifecycle)),
            draining: AtomicBool::new(false),
            config,
            env,
            paths,
            lifecycle,
            clock,
            sink,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Lets go of what belongs to a configuration that is no longer in force.
    pub fn forget_old_settings(&self) {
        self.inner.servers.forget(&self.inner, &self.inner.config.load());
        self.inner.models.forget_connections();
        self.inner.embedder.forget_connections();
    }

    /// Accepts a run. A second submission of a run id joins the first.
    pub async fn submit(&self, request: RunRequest) -> Result<RunHandle, RunRefused> {
        self.inner.submit(request).await
    }

    /// Waits at most `timeout` for the end of a run; an unknown run is waited
    /// for as well, as it may still be submitted.
    pub async fn wait(&self, run_id: &str, timeout: Duration) -> Option<Arc<RunOutcome>> {
        let known = async {
            loop {
                let run = self.inner.runs().get(run_id).map(Arc::clone);
                match run {
                    Some(run) => return run.outcome().await,
                    None => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        };
        tokio::time::timeout(timeout, known).await.ok()
    }

    /// Aborts runs, waiting ones included; returns their ids.
    pub fn abort(&self, target: &AbortTarget) -> Vec<String> {
        self.inner.abort(target, "rpc")
    }

    /// Aborts runs for a reason clients are told (`rpc`, `stop`, `timeout`).
    pub fn abort_because(&self, target: &AbortTarget, reason: &str) -> Vec<String> {
        self.inner.abort(target, reason)
    }

    /// The status of a run that is remembered: `None` if unknown, else its
    /// outcome if it has ended.
    pub fn known(&self, run_id: &str) -> Option<Option<Arc<RunOutcome>>> {
        self.inner.runs().get(run_id).map(|run| run.done.borrow().clone())
    }

    /// Runs that wait or work, oldest first.
    pub fn active(&self) -> Vec<ActiveRun> {
        let mut active: Vec<ActiveRun> = self
            .inner
            .runs()
            .values()
            .filter(|run| !run.is_done())
            .map(|run| ActiveRun {
                run_id: run.id.clone(),
                session_key: run.key.clone(),
                session_id: run.session_id.clone(),
                agent: run.agent.clone(),
                lane: run.lane,
                accepted_at: run.accepted_at,
                started_at: Some(run.started_at.load(Ordering::Acquire)).filter(|at| *at > 0),
            })
            .collect();
        active.sort_by_key(|run| run.accepted_at);
        active
    }

    /// Refuses further runs, waits at most `grace` for the active ones, aborts
    /// the rest and writes everything that is due. Returns how many were
    /// aborted.
    pub async fn drain(&self, grace: Duration) -> usize {
        self.inner.draining.store(true, Ordering::Release);
        let all_done = async {
            for run in self.inner.unfinished() {
                run.outcome().await;
            }
        };
        let mut aborted = 0;
        if tokio::time::timeout(grace, all_done).await.is_err() {
            let left = self.inner.unfinished();
            aborted = left.len();
            for run in &left {
                run.stop("shutdown");
            }
            let settled = async {
                for run in left {
                    run.outcome().await;
                }
            };
            if tokio::time::timeout(SETTLE, settled).await.is_err() {
                tracing::warn!("runs did not end in time after being aborted");
            }
        }
        let inner = Arc::clone(&self.inner);
        if lifecycle::spawn_blocking(move || inner.stores.flush_all()).await.is_err() {
            tracing::warn!("session indexes were not flushed");
        }
        aborted
    }

    /// Queues a note that the session's next prompt begins with.
    pub fn system_event(&self, key: &SessionKey, text: &str) {
        self.inner.system_events.push(key.as_str(), self.inner.clock.now_ms(), text);
    }

    /// Notes that wait for the next prompt of a session, oldest first.
    pub fn waiting_events(&self, key: &SessionKey) -> Vec<String> {
        self.inner.system_events.peek(key.as_str())
    }

    /// The workspace of an agent, whether or not it exists.
    pub fn workspace(&self, agent: &str) -> std::path::PathBuf {
        self.inner.workspaces.of(&self.inner.config.load().config, agent)
    }

    /// One vector per text from the provider that `target` names for `agent`.
    pub async fn embed(
        &self,
        agent: &str,
        target: Target,
        texts: &[String],
    ) -> Result<Vec<Vec<f64>>, EmbedError> {
        let resolved = self.inner.embedding(agent, target).await?;
        self.inner.embedder.embed(&resolved, texts).await
    }

    /// Searches the memory of an agent.
    pub async fn search_memory(&self, agent: &str, query: Query) -> Result<Found, MemoryError> {
        self.inner.search_memory(agent, query).await
    }

    /// The state of an agent's memory index, and whether a provider of
    /// embeddings could be asked.
    pub async fn memory_status(&self, agent: &str) -> (Result<Value, MemoryError>, Option<String>) {
        let (resolved, complaint) = match self.inner.memory_vectors(agent).await {
            Ok(resolved) => (Some(resolved.name()), None),
            Err(err) => (None, Some(err.to_string())),
        };
        let memory = self.inner.memory(agent);
        let status = lifecycle::spawn_blocking(move || {
            let provider = resolved.as_deref().and_then(|name| name.split('/').next());
            memory.status(provider.unwrap_or_default(), resolved.as_deref())
        });
        (status.await.unwrap_or(Err(MemoryError::Stopped)), complaint)
    }

    /// Sessions as the control plane sees them.
    pub fn sessions(&self) -> Sessions {
        Sessions { inner: Arc::clone(&self.inner) }
    }

    /// Lets tools act on the gateway that owns these agents. Only the first
    /// call counts.
    pub fn set_control_plane(&self, plane: Arc<dyn ControlPlane>) {
        drop(self.inner.control.set(plane));
    }

    /// Adds or replaces a tool, for example one of a connected server.
    pub fn add_tool(&self, tool: Arc<dyn Tool>) {
        self.inner.toolbox.add(tool);
    }

    /// The tools an agent is given with its default model.
    pub fn effective_tools(&self, agent: &str, owner: bool) -> Vec<ToolSpec> {
        let (provider, model, _) = self.default_model(Some(agent));
        let snapshot = self.inner.config.load();
        let policy = Policy::of(&snapshot.config, agent, &provider, &model, owner);
        self.inner.toolbox.allowed(&policy).iter().map(|tool| tool.spec()).collect()
    }

    /// `tools.catalog`: every tool by group, with the profiles it belongs to.
    pub fn tool_catalog(&self, agent: &str) -> Value {
        self.inner.toolbox.catalog(agent)
    }

    /// The model an agent uses by default: provider, model, context window.
    pub fn default_model(&self, agent: Option<&str>) -> (String, String, u64) {
        let model = choice::default_choice(&self.inner.config.load().config, agent);
        (model.provider, model.model, model.context_tokens)
    }
}

impl Inner {
    fn runs(&self) -> MutexGuard<'_, HashMap<String, Arc<Run>>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn session_lanes(&self) -> MutexGuard<'_, HashMap<String, SessionLane>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn models(&self) -> Arc<dyn ModelSource> {
        Arc::clone(&self.models)
    }

    pub(crate) fn control_plane(&self) -> Option<&dyn ControlPlane> {
        self.control.get().map(AsRef::as_ref)
    }

    /// Keys of sessions with runs that wait or work.
    pub(crate) fn busy_sessions(&self) -> std::collections::BTreeSet<String> {
        let busy = self.unfinished();
        busy.iter().filter_map(|run| Some(run.key.as_ref()?.as_str().to_owned())).collect()
    }

    /// Server and key for the vectors of a request.
    async fn embedding(
        self: &Arc<Self>,
        agent: &str,
        target: Target,
    ) -> Result<Resolved, EmbedError> {
        let (inner, agent) = (Arc::clone(self), agent.to_owned());
        let resolve = move || {
            let snapshot = inner.config.load();
            let lookup = Lookup {
                config: &snapshot.config,
                env: &snapshot.env,
                secrets: &snapshot.secrets,
                paths: &inner.paths,
                agent: &agent,
                now: inner.clock.now_ms(),
            };
            Embedder::resolve(&target, &lookup)
        };
        let resolved = lifecycle::spawn_blocking(resolve);
        resolved.await.map_err(|err| EmbedError::Answer(err.to_string()))?
    }

    pub(crate) fn memory(&self, agent: &str) -> Memory {
        let snapshot = self.config.load();
        let workspace = self.workspaces.of(&snapshot.config, agent);
        Memory::of(&snapshot.config, agent, &self.paths, workspace)
    }

    async fn memory_vectors(self: &Arc<Self>, agent: &str) -> Result<Resolved, EmbedError> {
        let target = Target::of(&self.config.load().config, agent, None)
            .map_err(|err| EmbedError::Answer(err.to_string()))?;
        self.embedding(agent, target).await
    }

    pub(crate) async fn search_memory(
        self: &Arc<Self>,
        agent: &str,
        query: Query,
    ) -> Result<Found, MemoryError> {
        let resolved = self.memory_vectors(agent).await;
        let asked = Asked::of(&self.embedder, &resolved);
        self.memory(agent).search(query, as_vectors(&asked)).await
    }

    fn unfinished(&self) -> Vec<Arc<Run>> {
        self.runs().values().filter(|run| !run.is_done()).map(Arc::clone).collect()
    }

    /// [`Self::submit`] for tools, whose futures a run contains.
    pub(crate) fn submit_boxed(
        self: &Arc<Self>,
        request: RunRequest,
    ) -> BoxFuture<'static, Result<RunHandle, RunRefused>> {
        let this = Arc::clone(self);
        Box::pin(async move { this.submit(request).await })
    }

    pub(crate) async fn submit(
        self: &Arc<Self>,
        mut request: RunRequest,
    ) -> Result<RunHandle, RunRefused> {
        if request.run_id.is_empty() {
            request.run_id = uuid();
        }
        if let Some(run) = self.runs().get(&request.run_id) {
            return Ok(run.handle(true));
        }
        if self.draining.load(Ordering::Acquire) {
            return Err(RunRefused::Draining);
        }
        let command = commands::of(&request);
        if let Some(command) =
            command.as_ref().filter(|it| matches!(it.name, Name::New | Name::Reset))
        {
            commands::start_over(self, &mut request, command).await?;
        }
        let command =
            command.filter(|it| !matches!(it.name, Name::New | Name::Reset | Name::Compact));
        let this = Arc::clone(self);
        let (request, begun) = lifecycle::spawn_blocking(move || {
            let begun = turn::begin(&this, &request);
            (request, begun)
        })
        .await
        .map_err(|_| crate::agents::sessions::SessionError::Worker)?;
        let begun = begun?;
        let lane_key = begun
            .key
            .as_ref()
            .map_or_else(|| format!("id:{}", begun.session_id), |key| key.as_str().to_owned());
        let reporter = Reporter::new(
            request.run_id.clone(),
            begun.key.clone(),
            begun.agent.clone(),
            Arc::clone(&self.clock),
            Arc::clone(&self.sink),
            request.observer.clone(),
        );
        let run = Arc::new(Run {
            id: request.run_id.clone(),
            lane_key,
            key: begun.key,
            agent: begun.agent,
            session_id: begun.session_id,
            lane: request.lane,
            accepted_at: self.clock.now_ms(),
            cancel: tokio_util::sync::CancellationToken::new(),
            reporter,
            steer: Mutex::default(),
            steerable: AtomicBool::new(false),
            started_at: AtomicU64::new(0),
            ended_at: AtomicU64::new(0),
            stop_reason: Mutex::default(),
            done: watch::Sender::new(None),
            rights: request.rights(),
            request: Mutex::new(Some(request)),
        });
        {
            let mut runs = self.runs();
            // Two submissions of one id may have raced through the lookup.
            if let Some(first) = runs.get(&run.id) {
                return Ok(first.handle(true));
            }
            self.forget_old(&mut runs);
            runs.insert(run.id.clone(), Arc::clone(&run));
        }
        let handle = run.handle(false);
        match command {
            None => queue::enqueue(self, &run),
            Some(command) => {
                let owner = Arc::clone(self);
                self.lifecycle.spawn("slash command", move |_stop| async move {
                    let request = run.request.lock().unwrap_or_else(PoisonError::into_inner).take();
                    if let Some(request) = request {
                        commands::answer(&owner, &run, &request, &command).await;
                    }
                });
            }
        }
        Ok(handle)
    }

    /// Forgets finished runs that are old or too many.
    fn forget_old(&self, runs: &mut HashMap<String, Arc<Run>>) {
        let now = self.clock.now_ms();
        let is_old = |run: &Run| {
            run.is_done()
                && now.saturating_sub(run.ended_at.load(Ordering::Acquire)) > REMEMBERED_MS
        };
        if runs.len().is_multiple_of(64) || runs.len() > MOST_REMEMBERED {
            runs.retain(|_, run| !is_old(run));
        }
        if runs.len() > MOST_REMEMBERED {
            let mut finished: Vec<(u64, String)> = runs
                .values()
                .filter(|run| run.is_done())
                .map(|run| (run.ended_at.load(Ordering::Acquire), run.id.clone()))
                .collect();
            finished.sort_unstable();
            // A tenth more than needed, so that not every submission sorts.
            let surplus = (runs.len() - MOST_REMEMBERED) + MOST_REMEMBERED / 10;
            for (_, id) in finished.into_iter().take(surplus) {
                runs.remove(&id);
            }
        }
    }

    pub(crate) fn abort(&self, target: &AbortTarget, reason: &str) -> Vec<String> {
        let hit: Vec<Arc<Run>> = self
            .runs()
            .values()
            .filter(|run| !run.is_done())
            .filter(|run| match target {
                AbortTarget::Run(id) => run.id == *id,
                AbortTarget::Session(key) => run.key.as_ref() == Some(key),
            })
            .map(Arc::clone)
            .collect();
        for run in &hit {
            run.stop(reason);
        }
        hit.iter().map(|run| run.id.clone()).collect()
    }

    /// Waits, within bounds, until an aborted run has written what it had.
    pub(crate) async fn wait_settled(&self, run_id: &str) {
        let run = self.runs().get(run_id).map(Arc::clone);
        if let Some(run) = run
            && tokio::time::timeout(SETTLE, run.outcome()).await.is_err()
        {
            tracing::warn!(run_id, "aborted run has not ended in time");
        }
    }

    /// The row of a session as lists show it.
    pub(crate) fn row(&self, key: &SessionKey, entry: &Entry) -> Value {
        Self::row_with(&self.config.load().config, key, entry)
    }

    /// The runs that wait or work in a session.
    pub(crate) fn active_in(&self, key: &SessionKey) -> Vec<String> {
        let runs = self.runs();
        let active = runs.values().filter(|run| !run.is_done() && run.key.as_ref() == Some(key));
        active.map(|run| run.id.clone()).collect()
    }

    pub(crate) fn row_with(config: &Config, key: &SessionKey, entry: &Entry) -> Value {
        let default: ModelChoice = choice::default_choice(config, key.agent());
        row_of(key.as_str(), entry, &default)
    }

    /// The thinking level that applies to a session.
    pub(crate) fn thinking_of(snapshot: &Snapshot, agent: &str, entry: Option<&Entry>) -> String {
        let config = &snapshot.config;
        let default = choice::default_choice(config, Some(agent));
        let (provider, model) = match entry.and_then(Entry::model_override) {
            Some((provider, model)) => (provider.unwrap_or(&default.provider), model),
            None => (default.provider.as_str(), default.model.as_str()),
        };
        choice::thinking(config, agent, entry, choice::reasons(config, provider, model))
    }

    /// Where the next lines of a session go, its header among them if it has none.
    fn pen_of(&self, key: &SessionKey, store: &Store, entry: &Entry) -> io::Result<(PathBuf, Pen)> {
        let path = transcript_path(store.dir(), entry);
        let mut pen = Pen::after(&read_branch(&path)?);
        let cwd = self.workspaces.of(&self.config.load().config, key.agent().unwrap_or("main"));
        pen.begin(entry.session_id(), &cwd.display().to_string(), self.clock.now_ms());
        Ok((path, pen))
    }

    /// Gives a session its file before anything is said in it. Blocking.
    pub(crate) fn begin_transcript(
        &self,
        key: &SessionKey,
        store: &Store,
        entry: &Entry,
    ) -> io::Result<()> {
        let (path, mut pen) = self.pen_of(key, store, entry)?;
        append(&path, &pen.take())
    }

    /// Appends a reply that no model made to a session. Blocking.
    pub(crate) fn append_injected(
        &self,
        key: &SessionKey,
        store: &Arc<Store>,
        entry: &Entry,
        text: &str,
    ) -> io::Result<(String, Value)> {
        let now = self.clock.now_ms();
        let message = turn::injected_message(text, now);
        let (path, mut pen) = self.pen_of(key, store, entry)?;
        let (id, _) = pen.message(&message, now);
        append(&path, &pen.take())?;
        store.update(key.as_str(), |entry| entry.set("updatedAt", now));
        self.stores.flush_soon(store);
        Ok((id, message))
    }
}

impl Run {
    fn handle(self: &Arc<Self>, joined: bool) -> RunHandle {
        RunHandle {
            run_id: self.id.clone(),
            session_key: self.key.clone(),
            session_id: self.session_id.clone(),
            accepted_at: self.accepted_at,
            joined,
            run: Arc::clone(self),
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done.borrow().is_some()
    }

    async fn outcome(&self) -> Arc<RunOutcome> {
        let mut done = self.done.subscribe();
        match done.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or_default(),
            // The sender lives in `self`.
            Err(_) => Arc::default(),
        }
    }

    /// Asks the run to end; the first reason counts.
    pub(crate) fn stop(&self, reason: &str) {
        let mut stop = self.stop_reason.lock().unwrap_or_else(PoisonError::into_inner);
        stop.get_or_insert_with(|| reason.to_owned());
        drop(stop);
        self.cancel.cancel();
    }

    pub(crate) fn stop_reason(&self) -> Option<String> {
        self.stop_reason.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Closes the run: the terminal event, then everyone who waits.
    pub(crate) fn finish(&self, outcome: RunOutcome) {
        self.ended_at.store(outcome.ended_at.max(1), Ordering::Release);
        if self.reporter.close(&outcome) {
            self.done.send_replace(Some(Arc::new(outcome)));
        }
    }

    /// An outcome for a run that never called a model.
    pub(crate) fn outcome_without_turn(&self, status: RunStatus, now: u64) -> RunOutcome {
        RunOutcome {
            status,
            silent: status == RunStatus::Ok,
            stop_reason: self.stop_reason(),
            session_key: self.key.clone(),
            session_id: self.session_id.clone(),
            started_at: now,
            ended_at: now,
            ..RunOutcome::default()
        }
    }
}
