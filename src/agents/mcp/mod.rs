//! Servers of tools (Model Context Protocol): connected when the first run
//! needs them, kept while the configuration names them, ended with the
//! gateway. A server that fails or hangs costs its tools, never the run.

mod connect;
mod settings;
mod sse;
mod tool;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::agents::mcp::connect::{Live, Peer};
use crate::agents::runtime::Inner;
use crate::agents::tools::Tool;
use crate::config::Snapshot;
pub(crate) use settings::BETWEEN;
use settings::Server;

/// How long a server that failed is left alone.
const RETRY: Duration = Duration::from_secs(60);
/// How long runs wait for a server that connects for the first time.
const GRACE: Duration = Duration::from_secs(3);

/// How long a caller waits for servers that are connecting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// A run: a moment for a new server, none for one that is tried again.
    Little,
    /// A caller who named the tool: until each has answered or had its time.
    Whole,
}

/// All servers of this gateway.
#[derive(Debug, Default)]
pub(crate) struct Servers {
    known: Mutex<BTreeMap<String, Known>>,
}

#[derive(Debug)]
struct Known {
    /// What it was connected with.
    server: Result<Server, String>,
    state: State,
    /// When connecting began.
    since: Instant,
    /// Whether it failed before.
    again: bool,
    /// Cancelled when nobody wants it any more; parent of `end`.
    unwanted: CancellationToken,
    /// Ends the connection and the program behind it; cancelled when they end.
    end: CancellationToken,
    /// Cancelled once it is connected or has failed.
    settled: CancellationToken,
}

#[derive(Debug)]
enum State {
    Connecting,
    /// The names of its tools.
    Connected(Vec<String>),
    Failed(Instant),
}

impl Drop for Known {
    fn drop(&mut self) {
        self.unwanted.cancel();
    }
}

impl Known {
    /// Whether nothing is to be done for it now.
    fn is_in_order(&self) -> bool {
        match &self.state {
            State::Connecting => true,
            State::Connected(_) => !self.end.is_cancelled(),
            State::Failed(at) => at.elapsed() < RETRY,
        }
    }

    /// Takes its tools away.
    fn withdraw(&self, inner: &Inner) {
        if let State::Connected(tools) = &self.state {
            inner.toolbox.remove(tools);
        }
    }

    /// Until when a caller waits for it.
    fn deadline(&self, patience: Patience) -> Option<Instant> {
        let most = match (patience, &self.server) {
            (Patience::Little, _) if self.again => return None,
            (Patience::Whole, Ok(server)) => server.connect,
            (Patience::Little, _) | (_, Err(_)) => GRACE,
        };
        matches!(self.state, State::Connecting).then(|| self.since + most)
    }
}

impl Servers {
    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects what the configuration names and ends what it does not, beside
    /// the caller, who waits for what is new as long as `patience` says.
    pub(crate) async fn ensure(&self, inner: &Arc<Inner>, snapshot: &Snapshot, patience: Patience) {
        self.update(inner, snapshot);
        let awaited: Vec<(CancellationToken, Instant)> = self
            .known()
            .values()
            .filter_map(|it| Some((it.settled.clone(), it.deadline(patience)?)))
            .collect();
        for (settled, deadline) in awaited {
            drop(tokio::time::timeout_at(deadline, settled.cancelled()).await);
        }
    }

    fn update(&self, inner: &Arc<Inner>, snapshot: &Snapshot) {
        let wanted = settings::servers(&snapshot.config);
        let mut known = self.known();
        let mut failed = Vec::new();
        known.retain(|name, it| {
            let is_current = wanted.get(name) == Some(&it.server);
            if is_current && it.is_in_order() {
                return true;
            }
            if is_current && matches!(it.state, State::Failed(_)) {
                failed.push(name.clone());
            }
            it.withdraw(inner);
            false
        });
        for (name, server) in wanted {
            if known.contains_key(&name) {
                continue;
            }
            let unwanted = inner.lifecycle.stopping().child_token();
            let it = Known {
                server,
                state: State::Connecting,
                since: Instant::now(),
                again: failed.contains(&name),
                end: unwanted.child_token(),
                unwanted,
                settled: CancellationToken::new(),
            };
            start(inner, name.clone(), &it);
            known.insert(name, it);
        }
    }

    /// Ends what the configuration no longer says, and forgets the secrets in it.
    pub(crate) fn forget(&self, inner: &Inner, snapshot: &Snapshot) {
        let mut known = self.known();
        if known.is_empty() {
            return;
        }
        let wanted = settings::servers(&snapshot.config);
        known.retain(|name, it| {
            let stays = wanted.get(name) == Some(&it.server);
            if !stays {
                it.withdraw(inner);
            }
            stays
        });
    }

    /// Takes over the tools that a connected server has now.
    fn offer(
        &self,
        inner: &Inner,
        name: &str,
        end: &CancellationToken,
        offered: &[rmcp::model::Tool],
        peer: &Peer,
    ) {
        let mut known = self.known();
        let is_same = |it: &&mut Known| matches!(it.state, State::Connected(_)) && it.end == *end;
        let Some(it) = known.get_mut(name).filter(is_same) else { return };
        it.withdraw(inner);
        let tools = add(inner, name, offered, peer);
        tracing::info!(server = name, tools = tools.len(), "MCP server changed its tools");
        it.state = State::Connected(tools);
    }

    /// Takes over what became of a connection, unless it is no longer wanted.
    fn settle(&self, inner: &Inner, name: &str, end: &CancellationToken, outcome: Outcome) {
        let mut known = self.known();
        // The configuration may have changed meanwhile; what it dropped was ended.
        let is_same = |it: &&mut Known| matches!(it.state, State::Connecting) && it.end == *end;
        let Some(it) = known.get_mut(name).filter(is_same) else { return };
        it.state = match outcome {
            Ok(live) => {
                let tools = add(inner, name, &live.tools, &live.peer);
                tracing::info!(server = name, tools = tools.len(), "MCP server connected");
                State::Connected(tools)
            }
            Err(reason) => {
                tracing::warn!("mcp.servers.{name}: {reason}");
                State::Failed(Instant::now())
            }
        };
    }
}

type Outcome = Result<Live, String>;

/// Adds what a server offers to the toolbox; returns the names.
fn add(inner: &Inner, name: &str, offered: &[rmcp::model::Tool], peer: &Peer) -> Vec<String> {
    let mut tools = Vec::new();
    for offered in offered {
        let taken = |name: &str| inner.toolbox.get(name).is_some();
        let full = settings::tool_name(name, &offered.name, taken);
        let tool = tool::McpTool::new(full.clone(), name, offered, peer);
        inner.toolbox.add(Arc::new(tool) as Arc<dyn Tool>);
        tools.push(full);
    }
    tools
}

/// Connects to a server as a task of its own.
fn start(inner: &Arc<Inner>, name: String, it: &Known) {
    let owner = Arc::clone(inner);
    let (server, end, unwanted) = (it.server.clone(), it.end.clone(), it.unwanted.clone());
    let settled = it.settled.clone().drop_guard();
    inner.lifecycle.spawn("MCP server connecting", move |_| async move {
        let outcome = match &server {
            Ok(server) => tokio::select! {
                outcome = connect::connect(&owner, &name, server, &end) => outcome,
                () = unwanted.cancelled() => return,
            },
            Err(reason) => Err(reason.clone()),
        };
        owner.servers.settle(&owner, &name, &end, outcome);
        drop(settled);
    });
}
