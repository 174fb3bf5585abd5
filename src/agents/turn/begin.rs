//! From a request to a session: which agent, which key, which session id.
//! Blocking; touches the index in memory alone.

use std::sync::Arc;

use crate::agents::run::RunRequest;
use crate::agents::runtime::Inner;
use crate::agents::runtime::RunRefused;
use crate::agents::sessions::Entry;
use crate::agents::sessions::ResetPolicy;
use crate::agents::sessions::SessionError;
use crate::agents::sessions::Store;
use crate::agents::sessions::archive;
use crate::agents::sessions::canonical;
use crate::agents::sessions::main_session;
use crate::agents::sessions::transcript_path;
use crate::base::id::SessionKey;
use crate::config::Config;

/// Where a run belongs.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) agent: String,
    pub(crate) key: Option<SessionKey>,
    pub(crate) session_id: String,
}

/// Resolves the session of a request and creates its entry if need be.
pub(crate) fn begin(inner: &Arc<Inner>, request: &RunRequest) -> Result<Begun, RunRefused> {
    let snapshot = inner.config.load();
    let config = &snapshot.config;
    let agent = agent_of(inner, config, request)?;
    let store = inner.stores.of(config, &agent);
    let io_error = |source| SessionError::Io { path: store.path().to_path_buf(), source };
    store.refresh().map_err(io_error)?;
    let wanted_id = request.session_id.as_deref().map(str::trim).filter(|id| is_plain(id));
    let key = match (&request.session_key, wanted_id) {
        (Some(key), _) => Some(canonical(config, Some(&agent), key.as_str())),
        (None, Some(id)) => key_of_id(&store, config, &agent, id),
        (None, None) => Some(main_session(config, &agent)),
    };
    let Some(key) = key else {
        // A conversation known by its id alone has a transcript but no entry.
        return Ok(Begun {
            agent,
            key: None,
            session_id: wanted_id.unwrap_or_default().to_owned(),
        });
    };
    let entry = store.get(key.as_str()).filter(|entry| !entry.session_id().is_empty());
    let now = inner.clock.now_ms();
    let session_id = match (entry, wanted_id) {
        (Some(entry), Some(id)) if entry.session_id() != id => adopt(inner, &store, &key, id, now),
        (Some(entry), _) if is_due(inner, config, &key, &entry, request, now) => {
            renew(inner, &store, &key, &entry, now).map_err(io_error)?
        }
        (Some(entry), _) => entry.session_id().to_owned(),
        (None, Some(id)) => adopt(inner, &store, &key, id, now),
        (None, None) => {
            let (entry, ()) = store.update(key.as_str(), |entry| {
                for (name, value) in Entry::fresh(now).into_fields() {
                    entry.set(&name, value);
                }
            });
            inner.stores.flush_soon(&store);
            entry.session_id().to_owned()
        }
    };
    Ok(Begun { agent, key: Some(key), session_id })
}

fn agent_of(inner: &Inner, config: &Config, request: &RunRequest) -> Result<String, RunRefused> {
    let named = request
        .agent
        .as_deref()
        .map(str::trim)
        .filter(|agent| !agent.is_empty())
        .or_else(|| request.session_key.as_ref().and_then(SessionKey::agent));
    let Some(agent) = named.map(str::to_lowercase) else {
        return Ok(config.agents.default_id().to_lowercase());
    };
    let is_known = config.agents.get(&agent).is_some()
        || agent == config.agents.default_id().to_lowercase()
        || inner.paths.agent(&agent).is_dir();
    // A key may name an agent that has been removed; its sessions stay usable.
    if is_plain(&agent) && (is_known || request.agent.is_none()) {
        Ok(agent)
    } else {
        Err(RunRefused::UnknownAgent(agent))
    }
}

/// Whether a name can be part of a file name without leaving its directory.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 200
        && !name.starts_with('.')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

fn key_of_id(store: &Store, config: &Config, agent: &str, id: &str) -> Option<SessionKey> {
    store
        .entries()
        .iter()
        .find(|(_, entry)| entry.session_id() == id)
        .map(|(key, _)| canonical(config, Some(agent), key))
}

/// Points the key at another conversation.
fn adopt(inner: &Inner, store: &Arc<Store>, key: &SessionKey, id: &str, now: u64) -> String {
    store.update(key.as_str(), |entry| {
        entry.set("sessionId", id);
        entry.set("updatedAt", now);
        entry.clear("sessionFile");
    });
    inner.stores.flush_soon(store);
    id.to_owned()
}

/// Whether the conversation starts anew with this message.
fn is_due(
    inner: &Inner,
    config: &Config,
    key: &SessionKey,
    entry: &Entry,
    request: &RunRequest,
    now: u64,
) -> bool {
    if request.heartbeat.is_some() || inner.session_lanes().contains_key(key.as_str()) {
        return false;
    }
    let policy = ResetPolicy::of(config, key.as_str(), request.origin.channel.as_deref());
    policy.is_stale(entry.updated_at(), now, &jiff::tz::TimeZone::system())
}

fn renew(
    inner: &Inner,
    store: &Arc<Store>,
    key: &SessionKey,
    old: &Entry,
    now: u64,
) -> std::io::Result<String> {
    archive(&transcript_path(store.dir(), old), "reset", now)?;
    let (entry, ()) = store.update(key.as_str(), |entry| *entry = entry.reset(now));
    inner.stores.flush_soon(store);
    Ok(entry.session_id().to_owned())
}
