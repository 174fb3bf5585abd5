//! The event bus: who is connected, who hears what.
//!
//! An event is encoded once, whoever hears it, and not at all if nobody does.

pub mod runs;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock};

use serde::Serialize;

use crate::gateway::rpc::Caller;
use crate::gateway::ws::Outbox;
use crate::gateway::ws::outbox::Numbering;
use crate::gateway::ws::traffic::Traffic;
use crate::protocol::events::Event;
use crate::protocol::frame::{EventText, StateVersion, close};
use crate::protocol::scope::Role;

/// An authenticated socket.
#[derive(Debug)]
pub struct Connection {
    pub caller: Arc<Caller>,
    pub outbox: Arc<Outbox>,
    /// `sessions.subscribe`.
    sessions: AtomicBool,
    /// `sessions.messages.subscribe`, canonical keys.
    messages: Mutex<HashSet<String>>,
    /// What [`Outbox::progress`] said at the last look.
    watched: Mutex<(usize, u64)>,
}

impl Connection {
    pub fn new(caller: Arc<Caller>, outbox: Arc<Outbox>) -> Self {
        Self {
            caller,
            outbox,
            sessions: AtomicBool::new(false),
            messages: Mutex::default(),
            watched: Mutex::default(),
        }
    }

    fn may_hear(&self, event: Event) -> bool {
        let caller = &self.caller;
        event.may_be_heard(caller.role, &caller.scopes, caller.protocol)
    }

    fn follows(&self, session_key: &str) -> bool {
        self.sessions.load(Ordering::Relaxed)
            || self
                .messages
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .contains(session_key)
    }

    fn is_node_showing(&self, session_key: &str) -> bool {
        self.caller.role == Role::Node && self.follows(session_key)
    }

    fn numbering(&self) -> Numbering {
        match self.caller.role {
            Role::Operator => Numbering::Counted,
            Role::Node => Numbering::Uncounted,
        }
    }
}

/// All authenticated sockets.
#[derive(Debug, Default)]
pub struct Bus {
    connections: RwLock<HashMap<String, Arc<Connection>>>,
    presence: AtomicU64,
    health: AtomicU64,
    traffic: Traffic,
    /// Set when the gateway ends: the close of sockets that join too late.
    closing: OnceLock<(u16, String)>,
}

impl Bus {
    pub fn new(traffic: Traffic) -> Self {
        Self { traffic, ..Self::default() }
    }

    /// Adds a socket; from here on it hears events.
    pub fn join(&self, connection: Connection) -> Arc<Connection> {
        let connection = Arc::new(connection);
        let id = connection.caller.conn_id.clone();
        let mut connections = self.write();
        connections.insert(id, Arc::clone(&connection));
        // Under the same lock as in `close_all`: nobody slips in between.
        if let Some((code, reason)) = self.closing.get() {
            connection.outbox.close(*code, reason);
        }
        drop(connections);
        connection
    }

    /// Removes a socket.
    pub fn leave(&self, conn_id: &str) {
        self.write().remove(conn_id);
    }

    /// How many sockets are authenticated.
    pub fn len(&self) -> usize {
        self.read().len()
    }

    pub fn is_empty(&self) -> bool {
        self.read().is_empty()
    }

    /// Sends an event to every socket that may hear it.
    pub fn broadcast(&self, event: Event, payload: &impl Serialize) {
        self.deliver(event, payload, None, event.droppable(), |_| true);
    }

    /// As [`Bus::broadcast`], for an event that a slow peer may miss.
    pub fn broadcast_droppable(&self, event: Event, payload: &impl Serialize) {
        self.deliver(event, payload, None, true, |_| true);
    }

    /// Sends an event together with the counters of the shared state.
    pub fn broadcast_state(&self, event: Event, payload: &impl Serialize) {
        self.deliver(event, payload, Some(self.version()), event.droppable(), |_| true);
    }

    /// Sends a state event to one socket, in its count.
    pub fn send_state(&self, conn_id: &str, event: Event, payload: &impl Serialize) {
        let version = Some(self.version());
        self.deliver(event, payload, version, event.droppable(), |connection| {
            connection.caller.conn_id == conn_id
        });
    }

    /// Sends an uncounted event to one socket. Returns whether it is there.
    pub fn send_to(&self, conn_id: &str, event: Event, payload: &impl Serialize) -> bool {
        let connection = self.read().get(conn_id).cloned();
        let Some(connection) = connection else { return false };
        let text = Arc::new(EventText::new(event.name(), payload, None));
        connection.outbox.push_event(event, &text, Numbering::Uncounted, event.droppable());
        self.tell(event, 1, payload);
        true
    }

    /// Sends an uncounted event to the sockets among `conn_ids`.
    pub fn send_to_each(&self, conn_ids: &[String], event: Event, payload: &impl Serialize) {
        self.target(event, payload, |connection| {
            conn_ids.iter().any(|id| *id == connection.caller.conn_id)
        });
    }

    /// Sends an uncounted event to everyone who follows a session.
    pub fn send_to_followers(&self, session_key: &str, event: Event, payload: &impl Serialize) {
        self.target(event, payload, |connection| connection.follows(session_key));
    }

    /// Sends an uncounted event to everyone who follows the list of sessions.
    pub fn send_to_subscribers(&self, event: Event, payload: &impl Serialize) {
        self.target(event, payload, |connection| connection.sessions.load(Ordering::Relaxed));
    }

    /// Sends what happens in a session to the nodes that show it.
    pub fn send_to_nodes(&self, session_key: &str, event: Event, payload: &impl Serialize) {
        let shows = |connection: &Connection| connection.is_node_showing(session_key);
        let shown = self.select_connections(shows);
        if shown.is_empty() {
            return;
        }
        let text = Arc::new(EventText::new(event.name(), payload, None));
        for connection in &shown {
            connection.outbox.push_event(event, &text, Numbering::Uncounted, event.droppable());
        }
        self.tell(event, shown.len(), payload);
    }

    /// Whether a node shows this session.
    pub fn is_on_a_node(&self, session_key: &str) -> bool {
        self.read().values().any(|connection| connection.is_node_showing(session_key))
    }

    /// Whether anyone would hear `event`.
    pub fn has_audience(&self, event: Event) -> bool {
        self.read().values().any(|connection| connection.may_hear(event))
    }

    /// Whether anyone follows the list of sessions.
    pub fn has_subscribers(&self) -> bool {
        self.read().values().any(|connection| connection.sessions.load(Ordering::Relaxed))
    }

    /// Whether anyone follows this session.
    pub fn has_followers(&self, session_key: &str) -> bool {
        self.read().values().any(|connection| connection.follows(session_key))
    }

    /// Turns `sessions.*` events on or off for a socket.
    pub fn subscribe_sessions(&self, conn_id: &str, on: bool) {
        if let Some(connection) = self.read().get(conn_id) {
            connection.sessions.store(on, Ordering::Relaxed);
        }
    }

    /// Turns `session.message` of one session on or off for a socket.
    pub fn subscribe_messages(&self, conn_id: &str, session_key: &str, on: bool) {
        if let Some(connection) = self.read().get(conn_id) {
            let mut keys =
                connection.messages.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if on {
                keys.insert(session_key.to_owned());
            } else {
                keys.remove(session_key);
            }
        }
    }

    /// The socket with this id.
    pub fn get(&self, conn_id: &str) -> Option<Arc<Connection>> {
        self.read().get(conn_id).cloned()
    }

    /// Every socket that `wanted` picks.
    pub fn select(&self, wanted: impl Fn(&Caller) -> bool) -> Vec<Arc<Connection>> {
        self.select_connections(|connection| wanted(&connection.caller))
    }

    fn select_connections(&self, wanted: impl Fn(&Connection) -> bool) -> Vec<Arc<Connection>> {
        self.read().values().filter(|connection| wanted(connection)).cloned().collect()
    }

    /// Closes the sockets of a device, of one role only if given.
    pub fn close_device(&self, device_id: &str, role: Option<&str>) {
        let affected = self.select(|caller| {
            caller.device_id.as_deref() == Some(device_id)
                && role.is_none_or(|role| role == caller.role.as_str())
        });
        for connection in affected {
            connection.outbox.close(close::DEVICE_REMOVED, "device removed");
        }
    }

    /// Closes every socket after what is queued for it, and each one that
    /// still joins.
    pub fn close_all(&self, code: u16, reason: &str) {
        let connections = self.write();
        self.closing.get_or_init(|| (code, reason.to_owned()));
        for connection in connections.values() {
            connection.outbox.close(code, reason);
        }
    }

    /// Closes sockets whose peer has not read anything since the last call
    /// although something was waiting.
    pub fn close_stalled(&self) {
        for connection in self.read().values() {
            let seen = connection.outbox.progress();
            let mut watched =
                connection.watched.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let stalled = watched.0 > 0 && seen.0 > 0 && watched.1 == seen.1;
            *watched = seen;
            drop(watched);
            if stalled {
                connection.outbox.abandon(close::POLICY, "slow consumer");
            }
        }
    }

    /// Pings the clients that expect it.
    pub fn ping(&self) {
        for connection in self.read().values().filter(|c| c.caller.protocol >= 4) {
            connection.outbox.push_ping();
        }
    }

    /// Both counters of the shared state.
    pub fn version(&self) -> StateVersion {
        StateVersion {
            presence: self.presence.load(Ordering::Relaxed) + 1,
            health: self.health.load(Ordering::Relaxed) + 1,
        }
    }

    pub fn bump_presence(&self) {
        self.presence.fetch_add(1, Ordering::Relaxed);
    }

    pub fn bump_health(&self) {
        self.health.fetch_add(1, Ordering::Relaxed);
    }

    fn target(&self, event: Event, payload: &impl Serialize, wanted: impl Fn(&Connection) -> bool) {
        let (mut text, mut hearers) = (None, 0);
        for connection in self.read().values() {
            if connection.may_hear(event) && wanted(connection) {
                hearers += 1;
                let text = text
                    .get_or_insert_with(|| Arc::new(EventText::new(event.name(), payload, None)));
                let droppable = event.droppable();
                connection.outbox.push_event(event, text, Numbering::Uncounted, droppable);
            }
        }
        self.tell(event, hearers, payload);
    }

    fn tell(&self, event: Event, hearers: usize, payload: &impl Serialize) {
        let payload = || serde_json::to_value(payload).unwrap_or_default();
        self.traffic.event(event.name(), hearers, payload);
    }

    fn deliver(
        &self,
        event: Event,
        payload: &impl Serialize,
        version: Option<StateVersion>,
        droppable: bool,
        wanted: impl Fn(&Connection) -> bool,
    ) {
        let (mut text, mut hearers) = (None, 0);
        for connection in self.read().values() {
            if connection.may_hear(event) && wanted(connection) {
                hearers += 1;
                let text = text.get_or_insert_with(|| {
                    Arc::new(EventText::new(event.name(), payload, version))
                });
                connection.outbox.push_event(event, text, connection.numbering(), droppable);
            }
        }
        self.tell(event, hearers, payload);
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, HashMap<String, Arc<Connection>>> {
        self.connections.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<String, Arc<Connection>>> {
        self.connections.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
