//! What the control plane asks of sessions, in the shapes it answers with.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Weak;

use serde::Deserialize;
use serde_json::Value;
use serde_json::json;

use crate::agents::choice;
use crate::agents::runtime::AbortTarget;
use crate::agents::runtime::Inner;
use crate::agents::sessions::Entry;
use crate::agents::sessions::Store;
use crate::agents::sessions::archive;
use crate::agents::sessions::canonical;
use crate::agents::sessions::history;
use crate::agents::sessions::keys;
use crate::agents::sessions::patch;
use crate::agents::sessions::read_messages;
use crate::agents::sessions::rows;
use crate::agents::sessions::transcript;
use crate::agents::sessions::transcript::Stored;
use crate::agents::sessions::transcript_path;
use crate::base::id::SessionKey;
use crate::base::id::uuid;
use crate::config::Config;
use crate::lifecycle;

/// Most keys of one preview.
const MOST_PREVIEWS: usize = 64;

/// Why a session request is refused. The texts are part of the wire contract.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The request is wrong; the text says how.
    #[error("{0}")]
    Invalid(String),
    #[error("{path}: {source}")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("session worker ended early")]
    Worker,
}

/// `sessions.preview`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PreviewParams {
    pub keys: Vec<String>,
    pub limit: Option<usize>,
    pub max_chars: Option<usize>,
}

/// `sessions.resolve`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ResolveParams {
    pub key: Option<String>,
    pub session_id: Option<String>,
    pub label: Option<String>,
    pub agent_id: Option<String>,
    pub spawned_by: Option<String>,
    pub include_global: Option<bool>,
    pub include_unknown: Option<bool>,
}

/// `chat.history`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HistoryParams {
    pub session_key: String,
    pub limit: Option<usize>,
    /// Messages at the end to leave out; only pages of protocol 4 have it.
    pub offset: usize,
    pub max_chars: Option<usize>,
}

/// `sessions.create`, without the first message.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CreateParams {
    pub key: Option<String>,
    pub agent_id: Option<String>,
    pub label: Option<String>,
    pub model: Option<String>,
    pub parent_session_key: Option<String>,
}

/// Why a session starts anew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResetReason {
    New,
    #[default]
    Reset,
}

/// The sessions of all agents. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sessions {
    pub(crate) inner: Arc<Inner>,
}

/// The rows of sessions, for whoever the agents report to: it does not keep
/// them alive.
#[derive(Debug)]
pub struct Rows(Weak<Inner>);

impl Rows {
    /// As [`Sessions::snapshot_now`].
    pub fn snapshot(&self, key: &SessionKey) -> Option<Value> {
        Sessions { inner: self.0.upgrade()? }.snapshot_now(key)
    }
}

impl Sessions {
    pub fn rows(&self) -> Rows {
        Rows(Arc::downgrade(&self.inner))
    }

    /// The stored spelling of a key that a client typed.
    pub fn canonical(&self, typed: &str) -> SessionKey {
        canonical(&self.inner.config.load().config, None, typed)
    }

    /// `session.mainKey` and whether all conversations share one session, as
    /// `agents.list` reports them.
    pub fn main_key_and_scope(&self) -> (String, &'static str) {
        let snapshot = self.inner.config.load();
        let scope = if keys::is_global(&snapshot.config) { "global" } else { "per-sender" };
        (keys::main_key(&snapshot.config).to_owned(), scope)
    }

    /// The agent a key belongs to.
    pub fn agent_of(&self, key: &SessionKey) -> String {
        let snapshot = self.inner.config.load();
        key.agent()
            .map_or_else(|| snapshot.config.agents.default_id().to_lowercase(), str::to_owned)
    }

    /// The entry of a stored key.
    pub async fn entry(&self, key: &SessionKey) -> Result<Option<Arc<Entry>>, SessionError> {
        let key = key.clone();
        self.blocking(move |this| {
            let store = this.read_store(&key)?;
            Ok(store.get(key.as_str()))
        })
        .await
    }

    /// The row of a session as lists and events show it.
    pub async fn row(&self, key: &SessionKey) -> Result<Option<Value>, SessionError> {
        let key = key.clone();
        self.blocking(move |this| {
            let store = this.read_store(&key)?;
            Ok(store.get(key.as_str()).map(|entry| this.inner.row(&key, &entry)))
        })
        .await
    }

    /// The row from memory alone, for events that must not wait; `None` if the
    /// session is not known yet.
    pub fn row_now(&self, key: &SessionKey) -> Option<Value> {
        let snapshot = self.inner.config.load();
        let store = self.inner.stores.of(&snapshot.config, &self.agent_of(key));
        store.get(key.as_str()).map(|entry| self.inner.row(key, &entry))
    }

    /// A row together with its fields at the top level, as tool and session
    /// events carry it.
    pub fn snapshot_now(&self, key: &SessionKey) -> Option<Value> {
        self.row_now(key).map(|row| rows::snapshot(&row))
    }

    /// `sessions.preview`.
    pub async fn preview(&self, params: PreviewParams) -> Result<Value, SessionError> {
        self.blocking(move |this| this.preview_now(&params)).await
    }

    /// `sessions.resolve`.
    pub async fn resolve(&self, params: ResolveParams) -> Result<Value, SessionError> {
        self.blocking(move |this| {
            let key = this.resolve_now(&params)?;
            Ok(json!({"ok": true, "key": key.as_str()}))
        })
        .await
    }

    /// `sessions.patch`; `patch` is the whole params object.
    pub async fn patch(&self, patch: Value) -> Result<Value, SessionError> {
        self.blocking(move |this| this.patch_now(&patch)).await
    }

    /// `sessions.reset`. Ends the session's active run first.
    pub async fn reset(&self, key: &str, reason: ResetReason) -> Result<Value, SessionError> {
        let key = self.canonical(key);
        self.stop_runs(&key).await;
        self.blocking(move |this| {
            let entry = this.reset_now(&key, reason)?;
            this.begin(&key, &entry)?;
            Ok(json!({"ok": true, "key": key.as_str(), "entry": entry.fields()}))
        })
        .await
    }

    /// Begins the conversation of a job's next run. Those of earlier runs stay
    /// under keys of their own ([`Self::keep_job_run`]) for so many milliseconds.
    pub async fn begin_job(
        &self,
        key: &SessionKey,
        label: String,
        kept: Option<u64>,
    ) -> Result<(), SessionError> {
        let key = key.clone();
        self.blocking(move |this| {
            let store = this.read_store(&key)?;
            let now = this.inner.clock.now_ms();
            let runs = format!("{key}:run:", key = key.as_str());
            for (run, entry) in store.entries() {
                let is_old = kept.is_some_and(|kept| entry.updated_at().saturating_add(kept) < now);
                if run.starts_with(&runs) && is_old {
                    store.remove(&run);
                    let path = transcript_path(store.dir(), &entry);
                    if let Err(err) = std::fs::remove_file(&path) {
                        tracing::debug!(path = %path.display(), %err, "transcript not removed");
                    }
                }
            }
            this.renew(&store, &key, now, |entry| entry.set("label", label));
            Ok(())
        })
        .await
    }

    /// Keeps the conversation of a job's run under a key of its own.
    pub async fn keep_job_run(&self, key: &SessionKey) -> Result<SessionKey, SessionError> {
        let key = key.clone();
        self.blocking(move |this| {
            let store = this.read_store(&key)?;
            let Some(entry) = store.get(key.as_str()) else { return Ok(key) };
            let run = SessionKey::new(format!("{}:run:{}", key.as_str(), entry.session_id()));
            store.update(run.as_str(), |copy| *copy = (*entry).clone());
            this.inner.stores.flush_soon(&store);
            Ok(run)
        })
        .await
    }

    /// `sessions.delete`. Ends the session's active run first.
    pub async fn delete(&self, key: &str, transcript: bool) -> Result<Value, SessionError> {
        let key = self.canonical(key);
        if key == keys::main_session(&self.inner.config.load().config, &self.agent_of(&key)) {
            return Err(SessionError::Invalid(format!("Cannot delete the main session ({key}).")));
        }
        self.stop_runs(&key).await;
        self.blocking(move |this| this.delete_now(&key, transcript)).await
    }

    /// `chat.history`.
    pub async fn history(&self, params: HistoryParams) -> Result<Value, SessionError> {
        self.blocking(move |this| this.history_now(&params)).await
    }

    /// `sessions.get`: messages as stored, envelopes included.
    pub async fn get(&self, key: &str, limit: usize) -> Result<Value, SessionError> {
        let key = self.canonical(key);
        self.blocking(move |this| {
            let messages: Vec<Value> = this
                .messages(&key, limit)?
                .into_iter()
                .map(|stored| {
                    let mut message = stored.message;
                    message["__openclaw"] = json!({"id": stored.id, "seq": stored.seq});
                    message
                })
                .collect();
            Ok(json!({"messages": messages}))
        })
        .await
    }

    /// `sessions.create` without its first message: the caller submits that as
    /// a run and adds its fields.
    pub async fn create(&self, params: CreateParams) -> Result<Value, SessionError> {
        self.blocking(move |this| this.create_now(&params)).await
    }

    /// `sessions.compact`: keeps the last `max_lines` lines of the transcript.
    pub async fn compact(&self, key: &str, max_lines: usize) -> Result<Value, SessionError> {
        let key = self.canonical(key);
        self.blocking(move |this| this.compact_now(&key, max_lines)).await
    }

    /// Appends a reply that no model made; returns the entry id and the
    /// message. `label` is put in brackets in front.
    pub async fn inject(
        &self,
        key: &str,
        text: &str,
        label: Option<&str>,
    ) -> Result<(String, Value), SessionError> {
        let key = self.canonical(key);
        let text = match label.map(str::trim).filter(|label| !label.is_empty()) {
            Some(label) => format!("[{label}]\n\n{text}"),
            None => text.to_owned(),
        };
        self.blocking(move |this| {
            let store = this.read_store(&key)?;
            let entry = store
                .get(key.as_str())
                .filter(|entry| !entry.session_id().is_empty())
                .ok_or_else(|| SessionError::Invalid("session not found".to_owned()))?;
            this.inner
                .append_injected(&key, &store, &entry, &text)
                .map_err(|source| io_error(store.path(), source))
        })
        .await
    }

    async fn stop_runs(&self, key: &SessionKey) {
        let ids = self.inner.abort(&AbortTarget::Session(key.clone()), "rpc");
        for id in ids {
            self.inner.wait_settled(&id).await;
        }
    }

    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, SessionError> + Send + 'static,
    ) -> Result<T, SessionError> {
        let this = self.clone();
        lifecycle::spawn_blocking(move || work(&this)).await.map_err(|_| SessionError::Worker)?
    }
}

/// The blocking halves.
impl Sessions {
    fn store(&self, key: &SessionKey) -> Arc<Store> {
        let snapshot = self.inner.config.load();
        self.inner.stores.of(&snapshot.config, &self.agent_of(key))
    }

    pub(super) fn read_store(&self, key: &SessionKey) -> Result<Arc<Store>, SessionError> {
        let store = self.store(key);
        store.refresh().map_err(|source| io_error(store.path(), source))?;
        Ok(store)
    }

    /// All stores of the agents in question, read.
    pub(super) fn stores(
        &self,
        config: &Config,
        agent: Option<&str>,
    ) -> Result<Vec<(String, Arc<Store>)>, SessionError> {
        let agents = match agent {
            Some(agent) => vec![agent.to_lowercase()],
            None => self.inner.stores.agents(config),
        };
        let mut stores: Vec<(String, Arc<Store>)> = Vec::new();
        for agent in agents {
            let store = self.inner.stores.of(config, &agent);
            if stores.iter().any(|(_, known)| Arc::ptr_eq(known, &store)) {
                continue;
            }
            store.refresh().map_err(|source| io_error(store.path(), source))?;
            stores.push((agent, store));
        }
        Ok(stores)
    }

    fn preview_now(&self, params: &PreviewParams) -> Result<Value, SessionError> {
        let limit = params.limit.unwrap_or(12);
        let max_chars = params.max_chars.unwrap_or(240);
        let mut previews = Vec::new();
        for typed in params.keys.iter().take(MOST_PREVIEWS) {
            let key = self.canonical(typed);
            let store = self.read_store(&key)?;
            let Some(entry) = store.get(key.as_str()).filter(|e| !e.session_id().is_empty()) else {
                previews.push(json!({"key": typed, "status": "missing", "items": []}));
                continue;
            };
            // Tool results carry no text worth showing: read some more lines.
            let path = transcript_path(store.dir(), &entry);
            let preview = match read_messages(&path, limit * 4) {
                Ok(messages) => {
                    let items = preview_items(&messages, limit, max_chars);
                    let status = if items.is_empty() { "empty" } else { "ok" };
                    json!({"key": typed, "status": status, "items": items})
                }
                Err(err) => {
                    tracing::warn!(path = %path.display(), %err, "transcript not read");
                    json!({"key": typed, "status": "error", "items": []})
                }
            };
            previews.push(preview);
        }
        Ok(json!({"ts": self.inner.clock.now_ms(), "previews": previews}))
    }

    fn resolve_now(&self, params: &ResolveParams) -> Result<SessionKey, SessionError> {
        let given = [&params.key, &params.session_id, &params.label];
        let given: Vec<&str> = given
            .into_iter()
            .filter_map(|value| value.as_deref().map(str::trim).filter(|text| !text.is_empty()))
            .collect();
        let invalid = |text: String| Err(SessionError::Invalid(text));
        match given.as_slice() {
            [] => return invalid("Either key, sessionId, or label is required".to_owned()),
            [_] => {}
            _ => {
                return invalid(
                    "Provide either key, sessionId, or label (not multiple)".to_owned(),
                );
            }
        }
        if let Some(typed) = &params.key {
            let key = self.canonical(typed);
            let store = self.read_store(&key)?;
            if store.get(key.as_str()).is_some() {
                return Ok(key);
            }
            return invalid(format!("No session found: {}", typed.trim()));
        }
        let snapshot = self.inner.config.load();
        let mut hits = Vec::new();
        for (agent, store) in self.stores(&snapshot.config, params.agent_id.as_deref())? {
            for (stored, entry) in store.entries() {
                let by_id = params.session_id.as_deref().is_some_and(|id| {
                    entry.session_id() == id.trim() || stored.eq_ignore_ascii_case(id.trim())
                });
                let by_label = params
                    .label
                    .as_deref()
                    .is_some_and(|label| entry.text("label") == Some(label.trim()));
                let by_parent = params
                    .spawned_by
                    .as_deref()
                    .is_none_or(|by| entry.text("spawnedBy") == Some(by));
                if (by_id || by_label) && by_parent {
                    hits.push((
                        canonical(&snapshot.config, Some(&agent), &stored),
                        entry.updated_at(),
                    ));
                }
            }
        }
        hits.sort_by_key(|(_, updated)| std::cmp::Reverse(*updated));
        match (hits.as_slice(), &params.label) {
            ([], Some(label)) => invalid(format!("No session found with label: {label}")),
            ([], None) => invalid(format!("No session found: {}", given[0])),
            ([_, _, ..], Some(label)) => {
                let keys: Vec<&str> = hits.iter().map(|(key, _)| key.as_str()).collect();
                invalid(format!(
                    "Multiple sessions found with label: {label} ({})",
                    keys.join(", ")
                ))
            }
            ([(key, _), ..], _) => Ok(key.clone()),
        }
    }

    fn patch_now(&self, patch: &Value) -> Result<Value, SessionError> {
        let key = self.canonical(patch["key"].as_str().unwrap_or_default());
        let store = self.read_store(&key)?;
        if let Some(label) = patch["label"].as_str().map(str::trim) {
            let taken = store
                .entries()
                .iter()
                .any(|(other, entry)| other != key.as_str() && entry.text("label") == Some(label));
            if taken {
                return Err(SessionError::Invalid(format!("label already in use: {label}")));
            }
        }
        let snapshot = self.inner.config.load();
        let default = choice::default_choice(&snapshot.config, Some(&self.agent_of(&key)));
        let known = store.get(key.as_str());
        patch::check_lineage(patch, &key, known.as_deref()).map_err(SessionError::Invalid)?;
        let changes = patch::plan(patch, &default).map_err(SessionError::Invalid)?;
        let now = self.inner.clock.now_ms();
        let (entry, ()) = store.update(key.as_str(), |entry| {
            if entry.session_id().is_empty() {
                *entry = Entry::fresh(now);
            }
            entry.set("updatedAt", now);
            for (name, value) in changes {
                entry.set_or_clear(name, value);
            }
        });
        self.inner.stores.flush_soon(&store);
        let (provider, model) = rows::model_of(&entry, &default);
        Ok(json!({
            "ok": true, "path": store.path(), "key": key.as_str(), "entry": entry.fields(),
            "resolved": {"modelProvider": provider, "model": model},
        }))
    }

    /// Gives a session a fresh id and archives its transcript.
    pub(crate) fn reset_now(
        &self,
        key: &SessionKey,
        _reason: ResetReason,
    ) -> Result<Arc<Entry>, SessionError> {
        let store = self.read_store(key)?;
        let now = self.inner.clock.now_ms();
        let config = self.inner.config.load();
        let default = choice::default_choice(&config.config, Some(&self.agent_of(key)));
        if let Some(old) = store.get(key.as_str()).filter(|old| !old.session_id().is_empty()) {
            let path = transcript_path(store.dir(), &old);
            archive(&path, "reset", now).map_err(|source| io_error(&path, source))?;
        }
        Ok(self.renew(&store, key, now, |entry| {
            if entry.text("model").is_none() {
                let (provider, model) = rows::model_of(entry, &default);
                let (provider, model) = (provider.to_owned(), model.to_owned());
                entry.set("modelProvider", provider);
                entry.set("model", model);
            }
        }))
    }

    /// Gives a key a conversation without a past.
    fn renew(
        &self,
        store: &Arc<Store>,
        key: &SessionKey,
        now: u64,
        more: impl FnOnce(&mut Entry),
    ) -> Arc<Entry> {
        let (entry, ()) = store.update(key.as_str(), |entry| {
            *entry = entry.reset(now);
            let file = store.dir().join(format!("{}.jsonl", entry.session_id()));
            entry.set("sessionFile", file.display().to_string());
            more(entry);
        });
        self.inner.stores.flush_soon(store);
        entry
    }

    /// Other programs expect a session that someone made to have its file.
    fn begin(&self, key: &SessionKey, entry: &Entry) -> Result<(), SessionError> {
        let store = self.store(key);
        let begun = self.inner.begin_transcript(key, &store, entry);
        begun.map_err(|source| io_error(&transcript_path(store.dir(), entry), source))
    }

    fn delete_now(&self, key: &SessionKey, transcript: bool) -> Result<Value, SessionError> {
        let store = self.read_store(key)?;
        let mut archived = Vec::new();
        let removed = store.remove(key.as_str());
        if let Some(entry) =
            removed.as_ref().filter(|entry| transcript && !entry.session_id().is_empty())
        {
            let path = transcript_path(store.dir(), entry);
            archived.extend(
                archive(&path, "deleted", self.inner.clock.now_ms())
                    .map_err(|source| io_error(&path, source))?,
            );
        }
        self.inner.stores.flush_soon(&store);
        Ok(json!({
            "ok": true, "key": key.as_str(), "deleted": removed.is_some(), "archived": archived,
        }))
    }

    pub(super) fn messages(
        &self,
        key: &SessionKey,
        limit: usize,
    ) -> Result<Vec<Stored>, SessionError> {
        let store = self.read_store(key)?;
        let Some(entry) = store.get(key.as_str()).filter(|entry| !entry.session_id().is_empty())
        else {
            return Ok(Vec::new());
        };
        let path = transcript_path(store.dir(), &entry);
        read_messages(&path, limit).map_err(|source| io_error(&path, source))
    }

    fn history_now(&self, params: &HistoryParams) -> Result<Value, SessionError> {
        let key = self.canonical(&params.session_key);
        let limit = params.limit.unwrap_or(200).min(1000);
        let messages = history::shape(self.messages(&key, limit)?, params.max_chars, false);
        let entry = self.store(&key).get(key.as_str());
        let snapshot = self.inner.config.load();
        let mut result = json!({"sessionKey": params.session_key});
        let id = entry.as_ref().map(|entry| entry.session_id()).filter(|id| !id.is_empty());
        if let Some(id) = id {
            result["sessionId"] = id.into();
        }
        result["messages"] = messages.into();
        let agent = self.agent_of(&key);
        result["thinkingLevel"] = Inner::thinking_of(&snapshot, &agent, entry.as_deref()).into();
        let field = |name: &str| entry.as_ref().and_then(|entry| entry.fields().get(name).cloned());
        if let Some(fast) = field("fastMode") {
            result["fastMode"] = fast;
        }
        let verbose = field("verboseLevel")
            .or_else(|| snapshot.config.agents.defaults.verbose_default.clone().map(Value::from));
        if let Some(verbose) = verbose {
            result["verboseLevel"] = verbose;
        }
        Ok(result)
    }

    fn create_now(&self, params: &CreateParams) -> Result<Value, SessionError> {
        let snapshot = self.inner.config.load();
        let config = &snapshot.config;
        let agent = params.agent_id.as_deref().unwrap_or(config.agents.default_id()).to_lowercase();
        let key = match params.key.as_deref().map(str::trim).filter(|key| !key.is_empty()) {
            Some(key) => canonical(config, Some(&agent), key),
            None => SessionKey::new(format!("agent:{agent}:dashboard:{}", uuid())),
        };
        if let (Some(owner), Some(named)) = (key.agent(), &params.agent_id)
            && owner != named.trim().to_lowercase()
        {
            return Err(SessionError::Invalid(format!(
                "sessions.create key agent ({owner}) does not match agentId ({named})"
            )));
        }
        if let Some(parent) = params.parent_session_key.as_deref().map(str::trim) {
            let known = canonical(config, None, parent);
            if self.read_store(&known)?.get(known.as_str()).is_none() {
                let text = format!("unknown parent session: {parent}");
                return Err(SessionError::Invalid(text));
            }
        }
        let store = self.read_store(&key)?;
        let mut patch = json!({"key": key.as_str()});
        for (name, value) in [("label", &params.label), ("model", &params.model)] {
            if let Some(value) = value {
                patch[name] = value.as_str().into();
            }
        }
        self.patch_now(&patch)?;
        let (entry, ()) = store.update(key.as_str(), |entry| {
            let file = transcript_path(store.dir(), entry);
            entry.set("sessionFile", file.display().to_string());
            if let Some(parent) = &params.parent_session_key {
                entry.set("parentSessionKey", canonical(config, None, parent).as_str());
            }
        });
        self.inner.stores.flush_soon(&store);
        self.begin(&key, &entry)?;
        Ok(json!({
            "ok": true, "key": key.as_str(), "sessionId": entry.session_id(),
            "entry": entry.fields(), "runStarted": false,
        }))
    }

    fn compact_now(&self, key: &SessionKey, max_lines: usize) -> Result<Value, SessionError> {
        let store = self.read_store(key)?;
        let missing = |reason: &str| {
            Ok(json!({"ok": true, "key": key.as_str(), "compacted": false, "reason": reason}))
        };
        let Some(entry) = store.get(key.as_str()).filter(|entry| !entry.session_id().is_empty())
        else {
            return missing("no sessionId");
        };
        let path = transcript_path(store.dir(), &entry);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return missing("no transcript"),
            Err(source) => return Err(io_error(&path, source)),
        };
        let lines = text.lines().filter(|line| !line.trim().is_empty()).count();
        if lines <= max_lines {
            return Ok(json!({"ok": true, "key": key.as_str(), "compacted": false, "kept": lines}));
        }
        let kept: Vec<&str> =
            text.lines().filter(|line| !line.trim().is_empty()).skip(lines - max_lines).collect();
        let now = self.inner.clock.now_ms();
        let archived = archive(&path, "bak", now).map_err(|source| io_error(&path, source))?;
        transcript::append(&path, format!("{}\n", kept.join("\n")).as_bytes())
            .map_err(|source| io_error(&path, source))?;
        store.update(key.as_str(), |entry| {
            for name in ["inputTokens", "outputTokens", "totalTokens", "totalTokensFresh"] {
                entry.clear(name);
            }
            entry.set("updatedAt", now);
        });
        self.inner.stores.flush_soon(&store);
        Ok(json!({
            "ok": true, "key": key.as_str(), "compacted": true, "archived": archived,
            "kept": kept.len(),
        }))
    }
}

fn io_error(path: &std::path::Path, source: io::Error) -> SessionError {
    SessionError::Io { path: path.to_path_buf(), source }
}

fn preview_items(messages: &[Stored], limit: usize, max_chars: usize) -> Vec<Value> {
    let mut items: Vec<Value> = messages
        .iter()
        .rev()
        .filter_map(|stored| {
            let role = match stored.message["role"].as_str()? {
                "toolResult" => "tool",
                role @ ("user" | "assistant" | "system") => role,
                _ => "other",
            };
            let text = history::plain_text(&stored.message);
            let text = text.trim();
            let text =
                if text.is_empty() { called_tools(&stored.message)? } else { text.to_owned() };
            Some(json!({"role": role, "text": history::ellipsis(&text, max_chars)}))
        })
        .take(limit)
        .collect();
    items.reverse();
    items
}

/// `call read, exec` for an assistant message that only calls tools.
fn called_tools(message: &Value) -> Option<String> {
    let names: Vec<&str> = message["content"]
        .as_array()?
        .iter()
        .filter(|block| block["type"] == "toolCall")
        .filter_map(|block| block["name"].as_str())
        .collect();
    (!names.is_empty()).then(|| format!("call {}", names.join(", ")))
}
