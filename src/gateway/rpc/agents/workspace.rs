//! Where an agent's files are.

use std::path::PathBuf;

use crate::config::Config;
use crate::profile::paths::{Paths, expand};

/// The workspace of an agent, whether or not it exists.
pub fn dir(config: &Config, paths: &Paths, agent: &str, default: bool) -> PathBuf {
    let own = config.agents.get(agent).and_then(|agent| agent.workspace.as_deref());
    let shared = config.agents.defaults.workspace.as_deref().filter(|_| default);
    if let Some(dir) = own.or(shared).map(str::trim).filter(|dir| !dir.is_empty()) {
        return expand(dir, &paths.home);
    }
    if !default {
        return paths.state.join(format!("workspace-{agent}"));
    }
    let name = match &paths.profile {
        Some(profile) => format!("workspace-{profile}"),
        None => "workspace".to_owned(),
    };
    paths.home.join(".openclaw").join(name)
}
