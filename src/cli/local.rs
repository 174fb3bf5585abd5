//! What this host's files say about agents and sessions, without a gateway.
//! Reads with the same code as the gateway, and only reads.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use crate::agents::run::{EventSink, RunEvent};
use crate::agents::sessions::ListParams;
use crate::agents::{Agents, AgentsDeps};
use crate::base::clock::SystemClock;
use crate::cli::context::Context;
use crate::cli::ui::Failure;
use crate::config::Live;
use crate::lifecycle::Lifecycle;

/// Nobody runs anything here, so nobody listens.
#[derive(Debug)]
struct Silence;

impl EventSink for Silence {
    fn on_event(&self, _event: RunEvent<'_>) {}
}

/// The agents of this host.
#[derive(Debug)]
pub struct Local {
    agents: Agents,
    pub default_id: String,
    /// Ids as configured; `main` when the configuration names none.
    pub ids: Vec<String>,
}

/// The sessions of one agent.
#[derive(Debug, Clone)]
pub struct AgentSessions {
    pub agent: String,
    pub store: PathBuf,
    /// Rows of `sessions.list`, newest first.
    pub rows: Vec<Value>,
}

impl Local {
    pub fn open(context: &Context) -> Self {
        let snapshot = context.config();
        let config = &snapshot.config.agents;
        let default_id = config.default_id().to_lowercase();
        let mut ids: Vec<String> =
            config.list.iter().map(|agent| agent.id.to_lowercase()).collect();
        if ids.is_empty() {
            ids.push(default_id.clone());
        }
        let deps = AgentsDeps {
            config: Live::new(snapshot.clone()),
            env: Arc::clone(&snapshot.env),
            paths: context.paths.clone(),
            lifecycle: Lifecycle::default(),
            clock: Arc::new(SystemClock),
            sink: Arc::new(Silence),
            raw_stream: None,
        };
        Self { agents: Agents::new(deps), default_id, ids }
    }

    pub fn workspace(&self, agent: &str) -> PathBuf {
        self.agents.workspace(agent)
    }

    /// The workspaces of all agents, each once.
    pub fn workspaces(&self) -> Vec<PathBuf> {
        let mut workspaces: Vec<PathBuf> = Vec::new();
        for dir in self.ids.iter().map(|id| self.workspace(id)) {
            if !workspaces.contains(&dir) {
                workspaces.push(dir);
            }
        }
        workspaces
    }

    /// Provider, model and context window of the default agent.
    pub fn default_model(&self, context: &Context) -> (String, String, u64) {
        let lookup = context.lookup(&self.default_id);
        let name = lookup.default_offline().unwrap_or_else(|built_in| built_in);
        match lookup.resolve(&name) {
            Ok(found) => {
                let model = &found.model;
                (model.provider.clone(), model.id.clone(), model.context_window)
            }
            // Without a key the configured name is still the answer.
            Err(_) => self.agents.default_model(None),
        }
    }

    /// The sessions of one agent, changed within the last `active` minutes if
    /// that is given.
    pub async fn sessions(
        &self,
        agent: &str,
        active: Option<u64>,
    ) -> Result<AgentSessions, Failure> {
        let params = ListParams {
            agent_id: Some(agent.to_owned()),
            active_minutes: active,
            include_global: Some(true),
            include_unknown: Some(true),
            ..ListParams::default()
        };
        let list = self
            .agents
            .sessions()
            .list(params)
            .await
            .map_err(|err| Failure::new(format!("Error: sessions of {agent}: {err}")))?;
        Ok(AgentSessions {
            agent: agent.to_owned(),
            store: PathBuf::from(list["path"].as_str().unwrap_or_default()),
            rows: list["sessions"].as_array().cloned().unwrap_or_default(),
        })
    }
}
