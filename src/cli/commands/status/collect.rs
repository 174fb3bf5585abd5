//! Facts of `status`: files, service, and one connection to the gateway.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::base::VERSION;
use crate::base::clock;
use crate::cli::args::look::StatusArgs;
use crate::cli::commands::probe;
use crate::cli::commands::status::sessions;
use crate::cli::commands::update;
use crate::cli::context::Context;
use crate::cli::link::{CallError, Link};
use crate::cli::local::{AgentSessions, Local};
use crate::cli::ui::Failure;
use crate::client::target::Source;
use crate::client::{Caller, Target};
use crate::profile::installation::Installation;
use crate::supervise::host::{self, Choice};
use crate::supervise::report::ServiceReport;

/// Sessions shown per list.
const RECENT: usize = 10;

/// Everything the pages and the document are made of.
#[derive(Debug)]
pub struct Facts {
    pub now: u64,
    pub gateway: Asked,
    pub service: ServiceReport,
    pub default_agent: String,
    pub agents: Vec<AgentFacts>,
    /// Provider, model and context window.
    pub model: (String, String, u64),
    pub heartbeats: Vec<Value>,
    pub os: Os,
    /// Name and where it comes from.
    pub update_channel: (String, &'static str),
}

/// What the gateway said.
#[derive(Debug)]
pub struct Asked {
    pub target: Target,
    pub latency_ms: Option<u64>,
    /// `None` if it could be reached.
    pub error: Option<String>,
    pub own: Option<Value>,
    pub status: Option<Value>,
    pub channels: Option<Value>,
    pub health: Option<Value>,
    pub last_heartbeat: Option<Value>,
    pub usage: Option<Value>,
    pub auth: &'static str,
}

#[derive(Debug)]
pub struct AgentFacts {
    pub sessions: AgentSessions,
    pub workspace: PathBuf,
    /// Whether the agent still has to introduce itself.
    pub bootstrap: bool,
}

#[derive(Debug)]
pub struct Os {
    pub platform: &'static str,
    pub arch: &'static str,
    pub release: String,
}

impl Os {
    pub fn label(&self) -> String {
        format!("{} {} ({})", self.platform, self.release, self.arch)
    }

    fn of_host() -> Self {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            platform: if cfg!(target_os = "macos") { "darwin" } else { std::env::consts::OS },
            arch: match std::env::consts::ARCH {
                "x86_64" => "x64",
                "aarch64" => "arm64",
                other => other,
            },
            release: release.trim().to_owned(),
        }
    }
}

pub fn collect(context: &Context, args: &StatusArgs, limit: Duration) -> Result<Facts, Failure> {
    let local = Local::open(context);
    let service = host::manager(&context.env, &context.paths, Choice::Existing).report();
    let gateway = ask(context, args, limit)?;
    let agents = context.block_on(async {
        let mut agents = Vec::new();
        for id in &local.ids {
            let workspace = local.workspace(id);
            agents.push(AgentFacts {
                sessions: local.sessions(id, None).await?,
                bootstrap: workspace.join("BOOTSTRAP.md").exists(),
                workspace,
            });
        }
        Ok(agents)
    })?;
    let known = gateway.status.as_ref().and_then(|status| status["heartbeat"]["agents"].as_array());
    let heartbeats = match known {
        Some(known) => known.clone(),
        None => configured_heartbeats(context, &local),
    };
    let (channel, source) = update::channel(context);
    Ok(Facts {
        now: clock::now_ms(),
        gateway,
        service,
        default_agent: local.default_id.clone(),
        agents,
        model: local.default_model(context),
        heartbeats,
        os: Os::of_host(),
        update_channel: (channel.to_owned(), source),
    })
}

/// The heartbeats that the configuration asks for, while no gateway says which
/// ones it runs.
fn configured_heartbeats(context: &Context, local: &Local) -> Vec<Value> {
    let agents = &context.config().config.agents;
    local
        .ids
        .iter()
        .map(|id| {
            let own = agents.get(id).and_then(|agent| agent.heartbeat.get("every"));
            let every = own.or(agents.defaults.heartbeat.get("every")).and_then(Value::as_str);
            let every = every.unwrap_or("30m");
            let enabled = *id == local.default_id && !every.starts_with('0');
            json!({ "agentId": id, "enabled": enabled, "every": if enabled { every } else { "disabled" } })
        })
        .collect()
}

fn ask(context: &Context, args: &StatusArgs, limit: Duration) -> Result<Asked, Failure> {
    let snapshot = context.config();
    let target = Target::resolve(None, &snapshot.env, &snapshot.config, &context.paths);
    let mut asked = Asked {
        target,
        latency_ms: None,
        error: None,
        own: None,
        status: None,
        channels: None,
        health: None,
        last_heartbeat: None,
        usage: None,
        auth: "none",
    };
    let link = match Link::open(context, None, None, None) {
        Ok(link) => link,
        Err(err) => {
            asked.error = Some(err.for_probe());
            return Ok(asked);
        }
    };
    asked.auth = match (&link.credentials.token, &link.credentials.password) {
        (Some(_), _) => "token",
        (None, Some(_)) => "password",
        (None, None) => "none",
    };
    context.block_on(async {
        let begun = Instant::now();
        let mut connection = match link.connect(Caller::PROBE, limit).await {
            Ok(connection) => connection,
            Err(err) => {
                asked.error = Some(reason(&err));
                return Ok(());
            }
        };
        asked.latency_ms = u64::try_from(begun.elapsed().as_millis()).ok();
        let mut calls = vec![
            ("system-presence", None),
            ("status", None),
            ("channels.status", Some(json!({ "probe": false, "timeoutMs": 8000 }))),
        ];
        if args.deep || args.all {
            calls.push(("health", Some(json!({ "probe": true }))));
        }
        if args.deep || args.all || args.usage {
            calls.push(("last-heartbeat", Some(json!({}))));
        }
        if args.usage {
            calls.push(("usage.status", None));
        }
        let names: Vec<&str> = calls.iter().map(|(name, _)| *name).collect();
        let answers = connection.call_all(calls, limit).await;
        connection.hang_up().await;
        for (name, answer) in names.into_iter().zip(answers) {
            let Ok(answer) = answer else { continue };
            match name {
                "system-presence" => asked.own = probe::gateway_itself(&answer),
                "status" => asked.status = Some(answer),
                "channels.status" => asked.channels = Some(answer),
                "health" => asked.health = Some(answer),
                "last-heartbeat" => asked.last_heartbeat = Some(answer),
                _ => asked.usage = Some(answer),
            }
        }
        Ok(())
    })?;
    Ok(asked)
}

fn reason(err: &CallError) -> String {
    err.for_probe()
}

impl Facts {
    /// Whether the gateway answered.
    pub fn reachable(&self) -> bool {
        self.gateway.latency_ms.is_some()
    }

    pub fn session_count(&self) -> usize {
        self.agents.iter().map(|agent| agent.sessions.rows.len()).sum()
    }

    /// Rows of all agents, newest first.
    pub fn recent(&self) -> Vec<Value> {
        let mut rows: Vec<Value> = self
            .agents
            .iter()
            .flat_map(|agent| {
                let id = agent.sessions.agent.as_str();
                agent.sessions.rows.iter().map(move |row| sessions::row(row, id, self.now))
            })
            .collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row["updatedAt"].as_u64()));
        rows.truncate(RECENT);
        rows
    }

    /// Milliseconds since an agent was last spoken to.
    pub fn idle_ms(&self, agent: &AgentFacts) -> Option<u64> {
        let newest =
            agent.sessions.rows.iter().filter_map(|row| row["updatedAt"].as_u64()).max()?;
        Some(self.now.saturating_sub(newest))
    }

    /// The document of `--json`.
    pub fn document(&self, args: &StatusArgs) -> Value {
        let said = |key: &str, otherwise: Value| {
            let status = self.gateway.status.as_ref();
            status.and_then(|status| status.get(key)).cloned().unwrap_or(otherwise)
        };
        let mut document = Map::new();
        let mut set = |key: &str, value: Value| {
            document.insert(key.to_owned(), value);
        };
        set("runtimeVersion", json!(VERSION));
        set(
            "heartbeat",
            json!({ "defaultAgentId": self.default_agent, "agents": self.heartbeats }),
        );
        set("channelSummary", said("channelSummary", json!([])));
        set("queuedSystemEvents", said("queuedSystemEvents", json!([])));
        set("tasks", said("tasks", Value::Null));
        set("taskAudit", said("taskAudit", Value::Null));
        set("sessions", self.sessions());
        set(
            "os",
            json!({
                "platform": self.os.platform, "arch": self.os.arch, "release": self.os.release,
                "label": self.os.label(),
            }),
        );
        set("update", update::facts(&Installation::of_this_program()));
        set("updateChannel", json!(self.update_channel.0));
        set("updateChannelSource", json!(self.update_channel.1));
        set("memory", Value::Null);
        set("memoryPlugin", json!({ "enabled": false, "slot": null }));
        set("gateway", self.gateway_document());
        set("gatewayService", self.service_document());
        set("nodeService", self.no_node_service());
        set("agents", self.agents_document());
        set("secretDiagnostics", json!([]));
        if args.deep || args.all {
            set("health", self.gateway.health.clone().unwrap_or_default());
        }
        if args.deep || args.all || args.usage {
            set("lastHeartbeat", self.gateway.last_heartbeat.clone().unwrap_or_default());
        }
        if args.usage {
            set("usage", self.gateway.usage.clone().unwrap_or_default());
        }
        Value::Object(document)
    }

    fn sessions(&self) -> Value {
        let (_, model, context) = &self.model;
        let by_agent: Vec<Value> = self
            .agents
            .iter()
            .map(|agent| {
                let id = &agent.sessions.agent;
                let rows = agent.sessions.rows.iter().take(RECENT);
                json!({
                    "agentId": id,
                    "path": agent.sessions.store,
                    "count": agent.sessions.rows.len(),
                    "recent": rows.map(|row| sessions::row(row, id, self.now)).collect::<Vec<_>>(),
                })
            })
            .collect();
        json!({
            "paths": self.agents.iter().map(|agent| &agent.sessions.store).collect::<Vec<_>>(),
            "count": self.session_count(),
            "defaults": { "model": model, "contextTokens": context },
            "recent": self.recent(),
            "byAgent": by_agent,
        })
    }

    fn gateway_document(&self) -> Value {
        let gateway = &self.gateway;
        let remote =
            matches!(gateway.target.source, Source::Remote | Source::LoopbackForLackOfRemote);
        json!({
            "mode": if remote { "remote" } else { "local" },
            "url": gateway.target.shown_url(),
            "urlSource": gateway.target.source.to_string(),
            "misconfigured": gateway.target.source == Source::LoopbackForLackOfRemote,
            "reachable": self.reachable(),
            "connectLatencyMs": gateway.latency_ms,
            "self": gateway.own,
            "error": gateway.error,
            "authWarning": null,
        })
    }

    fn service_document(&self) -> Value {
        let installed = self.service.command.is_some();
        json!({
            "label": self.service.summary.label,
            "installed": installed,
            "loaded": self.service.summary.loaded,
            "managedByOpenClaw": installed,
            "externallyManaged": false,
            "loadedText": self.service.summary.text(),
            "runtimeShort": self.runtime_short(),
        })
    }

    /// A node host is no part of this gateway, so there is never one.
    fn no_node_service(&self) -> Value {
        json!({
            "label": self.service.summary.label,
            "installed": false,
            "loaded": false,
            "managedByOpenClaw": false,
            "externallyManaged": false,
            "loadedText": self.service.summary.not_loaded_text,
            "runtimeShort": "not installed",
        })
    }

    /// `running (pid 385, state active)`.
    pub fn runtime_short(&self) -> String {
        let mut runtime = self.service.runtime.clone();
        runtime.sub_state = None;
        runtime.last_exit_status = None;
        runtime.last_exit_reason = None;
        runtime.line()
    }

    fn agents_document(&self) -> Value {
        let agents: Vec<Value> = self
            .agents
            .iter()
            .map(|agent| {
                let idle = self.idle_ms(agent);
                json!({
                    "id": agent.sessions.agent,
                    "workspaceDir": agent.workspace,
                    "bootstrapPending": agent.bootstrap,
                    "sessionsPath": agent.sessions.store,
                    "sessionsCount": agent.sessions.rows.len(),
                    "lastUpdatedAt": idle.map(|idle| self.now - idle),
                    "lastActiveAgeMs": idle,
                })
            })
            .collect();
        json!({
            "defaultId": self.default_agent,
            "agents": agents,
            "totalSessions": self.session_count(),
            "bootstrapPendingCount": self.agents.iter().filter(|agent| agent.bootstrap).count(),
        })
    }
}
