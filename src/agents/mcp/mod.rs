//! Servers of tools (Model Context Protocol): connected when the first run
//! needs them, kept while the configuration names them, ended with the
//! gateway. A server that fails costs its tools, never the run.

mod connect;
mod settings;
mod tool;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::agents::runtime::Inner;
use crate::agents::tools::Tool;
use crate::config::Snapshot;
pub(crate) use settings::BETWEEN;
use settings::Server;

/// How long a server that failed is left alone.
const RETRY: Duration = Duration::from_secs(60);

/// All servers of this gateway.
#[derive(Debug, Default)]
pub(crate) struct Servers {
    /// Held while connecting, so that two runs do not start a server twice.
    known: tokio::sync::Mutex<BTreeMap<String, Known>>,
}

#[derive(Debug)]
struct Known {
    /// What it was connected with.
    server: Result<Server, String>,
    state: State,
}

#[derive(Debug)]
enum State {
    Connected(Connected),
    Failed(Instant),
}

/// A live connection and the names of its tools.
#[derive(Debug)]
struct Connected {
    tools: Vec<String>,
    /// Ends the connection and the program behind it; cancelled when they end.
    end: CancellationToken,
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

impl Known {
    /// Whether nothing is to be done for it now.
    fn is_settled(&self) -> bool {
        match &self.state {
            State::Connected(connected) => !connected.end.is_cancelled(),
            State::Failed(at) => at.elapsed() < RETRY,
        }
    }
}

impl Servers {
    /// Connects what the configuration names and ends what it does not.
    pub(crate) async fn ensure(&self, inner: &Arc<Inner>, snapshot: &Snapshot) {
        let wanted = settings::servers(&snapshot.config);
        let mut known = self.known.lock().await;
        let is_current = |name: &str, known: &Known| wanted.get(name) == Some(&known.server);
        let settled = known.iter().all(|(name, it)| is_current(name, it) && it.is_settled());
        if settled && known.len() == wanted.len() {
            return;
        }
        let toolbox = &inner.toolbox;
        known.retain(|name, it| {
            let keep = is_current(name, it) && it.is_settled();
            if let (false, State::Connected(connected)) = (keep, &it.state) {
                toolbox.remove(&connected.tools);
            }
            keep
        });
        let missing = wanted.into_iter().filter(|(name, _)| !known.contains_key(name));
        let connecting = missing.map(|(name, server)| async {
            let state = match &server {
                Ok(server) => connect::connect(inner, &name, server).await,
                Err(reason) => Err(reason.clone()),
            };
            (name, server, state)
        });
        for (name, server, outcome) in futures_util::future::join_all(connecting).await {
            let state = match outcome {
                Ok(live) => {
                    let mut tools = Vec::new();
                    for offered in live.tools {
                        let taken = |name: &str| toolbox.get(name).is_some();
                        let full = settings::tool_name(&name, &offered.name, taken);
                        let tool = tool::McpTool::new(full.clone(), &name, &offered, &live.peer);
                        toolbox.add(Arc::new(tool) as Arc<dyn Tool>);
                        tools.push(full);
                    }
                    tracing::info!(server = name, tools = tools.len(), "MCP server connected");
                    State::Connected(Connected { tools, end: live.end })
                }
                Err(reason) => {
                    tracing::warn!("MCP server {name}: {reason}");
                    State::Failed(Instant::now())
                }
            };
            known.insert(name, Known { server, state });
        }
    }
}
