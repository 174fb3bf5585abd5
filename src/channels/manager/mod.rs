//! Which accounts there are and which of them run: reads the configuration,
//! starts, stops and replaces single accounts, and answers for all of them.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::base::clock::Clock;
use crate::channels::channel::{Account, AccountSpec, DEFAULT, Kind, kind};
use crate::channels::chunk;
use crate::channels::delivery::{Delivery, Receipt};
use crate::channels::gate::{Gate, Hall, Listener};
use crate::channels::inbox::{Inbox, Kept};
use crate::channels::link::Link;
use crate::channels::message::Outbound;
use crate::channels::pairing::Pairing;
use crate::channels::policy::Policy;
use crate::channels::status::Status;
use crate::channels::supervise;
use crate::config::Snapshot;
use crate::lifecycle::{self, CancellationToken, Lifecycle};
use crate::profile::env::Env;
use crate::profile::paths::Paths;

/// Sections of `channels` that configure no network.
pub const SHARED_SECTIONS: &[&str] = &["defaults", "modelByChannel"];
/// Accepted messages on their way to the agents.
const OUT: usize = 64;
/// How long an account may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(3);

/// What the manager stands on.
#[derive(Debug, Clone)]
pub struct Deps {
    pub env: Arc<Env>,
    pub paths: Paths,
    pub lifecycle: Lifecycle,
    pub clock: Arc<dyn Clock>,
}

/// The chat networks of this gateway. Clones share them.
#[derive(Debug, Clone)]
pub struct Channels(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    deps: Deps,
    roster: Roster,
    hall: Hall,
    /// One change at a time.
    changing: tokio::sync::Mutex<()>,
}

/// The accounts by channel and id.
#[derive(Debug, Clone, Default)]
pub struct Roster(Arc<Mutex<BTreeMap<(String, String), Row>>>);

/// An account that is configured, whether or not it can run.
#[derive(Debug, Clone)]
pub struct Row {
    pub kind: &'static Kind,
    pub id: String,
    pub enabled: bool,
    pub status: Status,
    /// What the account was made from.
    made_of: Value,
    /// Absent when the settings do not suffice.
    handle: Option<Arc<Handle>>,
}

/// An account that can run.
#[derive(Debug)]
pub struct Handle {
    pub kind: &'static Kind,
    pub id: String,
    pub account: Arc<dyn Account>,
    pub status: Status,
    settings: Value,
    stop: CancellationToken,
    pub(super) kick: supervise::Kick,
    tasks: TaskTracker,
}

impl Handle {
    /// A text in the pieces that the network takes.
    pub fn split(&self, text: &str) -> Vec<String> {
        let limit = self.settings["textChunkLimit"]
            .as_u64()
            .and_then(|limit| usize::try_from(limit).ok())
            .filter(|limit| *limit > 0)
            .unwrap_or(self.kind.text_limit)
            .min(self.kind.most_text);
        if let Some(bytes) = self.kind.line_bytes {
            return chunk::lines(text, limit, bytes);
        }
        if self.settings["chunkMode"] == "newline" {
            let paragraphs = chunk::paragraphs(text);
            return paragraphs.iter().flat_map(|part| chunk::markdown(part, limit)).collect();
        }
        chunk::markdown(text, limit)
    }

    /// Which pieces of an answer quote the question: `off`, `first` or `all`.
    pub fn reply_mode(&self) -> &str {
        self.settings["replyToMode"].as_str().unwrap_or("off")
    }

    /// A setting of the account.
    pub fn setting(&self, key: &str) -> &Value {
        &self.settings[key]
    }
}

impl Roster {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, String), Row>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The account, if it can run.
    pub fn get(&self, channel: &str, account: &str) -> Option<Arc<Handle>> {
        let rows = self.lock();
        let row = rows.get(&(channel.to_owned(), account.to_owned()))?;
        row.handle.as_ref().filter(|_| row.enabled).map(Arc::clone)
    }
}

impl Channels {
    /// Channels that read nothing and connect to nothing yet, and where their
    /// messages come out.
    pub fn new(deps: Deps, listener: Arc<dyn Listener>) -> (Self, mpsc::Receiver<Kept>) {
        let (out, receiver) = mpsc::channel(OUT);
        let roster = Roster::default();
        let state = &deps.paths.state;
        let hall = Hall {
            inbox: Arc::new(Inbox::new(state)),
            pairing: Pairing::new(state),
            delivery: Delivery::new(state, roster.clone(), deps.lifecycle.clone()),
            listener,
            out,
        };
        let changing = tokio::sync::Mutex::default();
        (Self(Arc::new(Inner { deps, roster, hall, changing })), receiver)
    }

    /// Takes up what an earlier process left, then starts what is configured.
    pub async fn start(&self, snapshot: &Snapshot) {
        let inner = &self.0;
        let answered = inner.hall.delivery.recover().await.unwrap_or_else(|err| {
            tracing::warn!(%err, "delivery queue not read");
            Vec::new()
        });
        let inbox = Arc::clone(&inner.hall.inbox);
        let left = lifecycle::spawn_blocking(move || inbox.left_over(&answered)).await;
        match left.unwrap_or_else(|err| Err(io::Error::other(err))) {
            Ok(left) => {
                for kept in left {
                    if inner.hall.out.send(kept).await.is_err() {
                        return;
                    }
                }
            }
            Err(err) => tracing::warn!(%err, "inbox not read"),
        }
        self.apply(snapshot).await;
    }

    /// Makes the accounts those of the configuration: what did not change goes
    /// on undisturbed.
    pub async fn apply(&self, snapshot: &Snapshot) {
        let _one = self.0.changing.lock().await;
        let wanted = wanted(snapshot);
        let gone: Vec<Row> = {
            let mut rows = self.0.roster.lock();
            let stale: Vec<_> = rows
                .iter()
                .filter(|(key, row)| wanted.get(*key).is_none_or(|it| it.made_of != row.made_of))
                .map(|(key, _)| key.clone())
                .collect();
            stale.iter().filter_map(|key| rows.remove(key)).collect()
        };
        join_all(gone.iter().filter_map(|row| row.handle.as_ref()).map(|it| it.end())).await;
        for (key, wanted) in wanted {
            if self.0.roster.lock().contains_key(&key) {
                continue;
            }
            let row = self.open(wanted, snapshot);
            self.0.roster.lock().insert(key, row);
        }
    }

    /// Makes an account and, where it can and may, starts it.
    fn open(&self, wanted: Wanted, snapshot: &Snapshot) -> Row {
        let inner = &self.0;
        let Wanted { kind, id, enabled, settings, made_of } = wanted;
        let status = Status::new(Arc::clone(&inner.deps.clock));
        let spec = AccountSpec {
            channel: kind.id,
            id: id.clone(),
            settings: settings.clone(),
            env: Arc::clone(&snapshot.env),
            paths: inner.deps.paths.clone(),
        };
        let opened = (kind.open)(&spec);
        if let Err(why) = &opened {
            status.at_rest(why);
        } else if !enabled {
            status.at_rest("disabled");
        }
        let handle = opened.ok().map(|account| {
            Arc::new(Handle {
                kind,
                id: id.clone(),
                account,
                status: status.clone(),
                settings: settings.clone(),
                stop: inner.deps.lifecycle.stopping().child_token(),
                kick: supervise::Kick::default(),
                tasks: TaskTracker::new(),
            })
        });
        if let Some(handle) = handle.as_ref().filter(|_| enabled) {
            let off = ["OPENCLAW_SKIP_CHANNELS", "OPENCLAW_SKIP_PROVIDERS"];
            if let Some(name) = off.iter().find(|name| inner.deps.env.is_on(name)) {
                status.at_rest(&format!("channels are switched off ({name})"));
            } else {
                let defaults = snapshot.config.channels.get("defaults").unwrap_or(&Value::Null);
                let policy = Policy::of(kind.id, kind.groups, &settings, defaults);
                let gate = Gate::new(kind, id.clone(), policy, inner.hall.clone());
                let link = Link { status: status.clone(), gate: Arc::new(gate) };
                handle.begin(link, &inner.deps.lifecycle);
            }
        }
        Row { kind, id, enabled, status, made_of, handle }
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.0.deps.clock.now_ms()
    }

    /// Every configured account, by channel and id.
    pub fn rows(&self) -> Vec<Row> {
        self.0.roster.lock().values().cloned().collect()
    }

    /// An account that can run.
    pub fn account(&self, channel: &str, account: &str) -> Option<Arc<Handle>> {
        self.0.roster.get(channel, account)
    }

    /// The channels with an account that should be connected and is not.
    pub fn failing(&self) -> Vec<&'static str> {
        supervise::failing(self)
    }

    /// Whether any account is configured.
    pub fn is_empty(&self) -> bool {
        self.0.roster.lock().is_empty()
    }

    /// Asks every account whether it would work, all at once.
    pub async fn probe(&self, limit: Duration) {
        let probes = self.rows().into_iter().filter(|row| row.enabled).filter_map(|row| {
            let handle = row.handle?;
            Some(async move {
                let probe = tokio::time::timeout(limit, handle.account.probe(limit)).await;
                let late = json!({
                    "ok": false,
                    "error": format!("no answer within {} ms", limit.as_millis()),
                });
                handle.status.probed(probe.unwrap_or(late));
            })
        });
        join_all(probes).await;
    }

    /// Accepts a message for delivery: once this returns, it survives a crash.
    pub async fn send(&self, outbound: Outbound) -> io::Result<Receipt> {
        self.0.hall.delivery.accept(outbound).await
    }

    /// Takes a message out of the inbox: it is answered or needs no answer.
    pub async fn answered(&self, kept: Kept) {
        let inbox = Arc::clone(&self.0.hall.inbox);
        if lifecycle::spawn_blocking(move || inbox.done(&kept)).await.is_err() {
            tracing::warn!("an answered message was not removed");
        }
    }

    /// Stops an account until the configuration changes or the gateway
    /// restarts.
    pub async fn stop_account(&self, channel: &str, account: &str) {
        if let Some(handle) = self.account(channel, account) {
            handle.end().await;
            handle.status.at_rest("logged out");
        }
    }

    /// Waits, within bounds, until everything accepted is delivered.
    pub async fn settle(&self, limit: Duration) {
        if tokio::time::timeout(limit, self.0.hall.delivery.idle()).await.is_err() {
            tracing::info!("undelivered messages stay in the delivery queue");
        }
    }

    /// Looks after the health of accounts until everything stops.
    pub fn watch_health(&self, live: crate::config::Live) {
        let channels = self.clone();
        self.0.deps.lifecycle.spawn("channel health", move |stop| async move {
            supervise::watch_health(channels, live, stop).await;
        });
    }
}

impl Row {
    pub fn is_configured(&self) -> bool {
        self.handle.is_some()
    }

    pub fn handle(&self) -> Option<&Arc<Handle>> {
        self.handle.as_ref()
    }

    /// A setting of the account.
    pub fn setting(&self, key: &str) -> &Value {
        &self.made_of["settings"][key]
    }
}

impl Handle {
    fn begin(self: &Arc<Self>, link: Link, lifecycle: &Lifecycle) {
        let handle = Arc::clone(self);
        let done = self.tasks.token();
        let stop = self.stop.clone();
        lifecycle.spawn("channel", move |_stop| async move {
            supervise::keep_running(handle, link, stop).await;
            drop(done);
        });
    }

    /// Stops the account and waits a moment for its goodbye.
    async fn end(&self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(GOODBYE, self.tasks.wait()).await.is_err() {
            tracing::warn!(
                channel = self.kind.id,
                account = self.id,
                "channel did not end in time"
            );
        }
    }
}

/// An account that the configuration asks for.
struct Wanted {
    kind: &'static Kind,
    id: String,
    enabled: bool,
    settings: Value,
    made_of: Value,
}

fn wanted(snapshot: &Snapshot) -> BTreeMap<(String, String), Wanted> {
    let channels = &snapshot.config.channels;
    let defaults = channels.get("defaults").cloned().unwrap_or_default();
    let mut all = BTreeMap::new();
    for (name, section) in channels {
        let Some(kind) = kind(name) else { continue };
        let plugin = snapshot.config.plugins.get("entries").map(|entries| &entries[name.as_str()]);
        let switched_off = plugin.is_some_and(|plugin| plugin["enabled"] == false);
        for id in account_ids(kind, section, &snapshot.env) {
            let settings = merged(section, &id);
            let enabled =
                section["enabled"] != false && settings["enabled"] != false && !switched_off;
            let made_of = json!({
                "settings": settings, "enabled": enabled, "groupPolicy": defaults["groupPolicy"],
            });
            let wanted = Wanted { kind, id: id.clone(), enabled, settings, made_of };
            all.insert((name.clone(), id), wanted);
        }
    }
    all
}

/// The accounts of a section: those it names, and its own keys as `default`
/// where they hold credentials or nothing else is named. Never empty.
pub fn account_ids(kind: &Kind, section: &Value, env: &Env) -> Vec<String> {
    let named = section["accounts"].as_object().into_iter().flatten();
    let mut ids: Vec<String> = named.map(|(id, _account)| id.clone()).collect();
    ids.sort_unstable();
    let own = (kind.has_credentials)(section)
        || kind.env_credential.is_some_and(|name| env.get(name).is_some());
    if ids.is_empty() || (own && !ids.iter().any(|id| id == DEFAULT)) {
        ids.insert(0, DEFAULT.to_owned());
    }
    ids
}

/// Opens one account without running it, for questions that a command asks.
///
/// # Errors
/// Says what is missing and where it belongs.
pub fn open_account(
    snapshot: &Snapshot,
    paths: &Paths,
    channel: &str,
    account: &str,
) -> Result<Arc<dyn Account>, String> {
    let kind = kind(channel).ok_or_else(|| format!("unsupported channel: {channel}"))?;
    let section = snapshot.config.channels.get(channel).unwrap_or(&Value::Null);
    if !account_ids(kind, section, &snapshot.env).iter().any(|id| id == account) {
        return Err(format!("channel {channel} has no account \"{account}\""));
    }
    (kind.open)(&AccountSpec {
        channel: kind.id,
        id: account.to_owned(),
        settings: merged(section, account),
        env: Arc::clone(&snapshot.env),
        paths: paths.clone(),
    })
}

/// The section with the account's own keys over it.
fn merged(section: &Value, account: &str) -> Value {
    let mut settings: Map<String, Value> = section.as_object().cloned().unwrap_or_default();
    settings.shift_remove("accounts");
    settings.shift_remove("defaultAccount");
    if let Some(own) = section["accounts"][account].as_object() {
        settings.extend(own.clone());
    }
    Value::Object(settings)
}

#[cfg(test)]
mod tests;
