//! The agent's home: where it lies, the files it is seeded with, and what of
//! them the model is shown. Blocking.

mod context;
pub mod identity;
mod seed;

use std::io;
use std::path::PathBuf;

use crate::config::Config;
use crate::profile::paths::Paths;
use crate::profile::paths::expand;
use crate::store::atomic;

pub(crate) use context::Limits;
pub(crate) use context::ProjectContext;

/// Names that `agents.files.*` accepts.
pub const BOOTSTRAP_FILES: &[&str] = &[
    "AGENTS.md",
    "SOUL.md",
    "TOOLS.md",
    "IDENTITY.md",
    "USER.md",
    "HEARTBEAT.md",
    "BOOTSTRAP.md",
    "MEMORY.md",
];

/// The workspace of an agent, whether or not it exists.
pub fn directory(config: &Config, paths: &Paths, agent: &str) -> PathBuf {
    if let Some(own) = config.agents.get(agent).and_then(|agent| agent.workspace.as_deref())
        && !own.trim().is_empty()
    {
        return expand(own.trim(), &paths.home);
    }
    if !agent.eq_ignore_ascii_case(config.agents.default_id()) {
        return paths.state.join(format!("workspace-{agent}"));
    }
    match config.agents.defaults.workspace.as_deref().map(str::trim) {
        Some(dir) if !dir.is_empty() => expand(dir, &paths.home),
        _ => paths.workspace(),
    }
}

/// The workspaces of all agents.
#[derive(Debug)]
pub(crate) struct Workspaces {
    paths: Paths,
    cache: context::Cache,
}

impl Workspaces {
    pub(crate) fn new(paths: Paths) -> Self {
        Self { paths, cache: context::Cache::default() }
    }

    /// The workspace of an agent, whether or not it exists.
    pub(crate) fn of(&self, config: &Config, agent: &str) -> PathBuf {
        directory(config, &self.paths, agent)
    }

    /// Creates and seeds the workspace on first use.
    pub(crate) fn ensure(&self, config: &Config, agent: &str, now_ms: u64) -> io::Result<PathBuf> {
        let dir = self.of(config, agent);
        if !config.agents.defaults.skip_bootstrap {
            seed::ensure(&dir, now_ms)?;
        } else if !dir.is_dir() {
            atomic::private_dir(&dir)?;
        }
        Ok(dir)
    }

    /// What the model is shown of the workspace; read again only when a file
    /// has changed.
    pub(crate) fn context(
        &self,
        dir: &std::path::Path,
        limits: Limits,
    ) -> std::sync::Arc<ProjectContext> {
        self.cache.read(dir, limits)
    }
}
