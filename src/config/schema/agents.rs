//! `agents`: who runs, on which model, in which workspace.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The `agents` section.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Agents {
    pub defaults: Defaults,
    pub list: Vec<Agent>,
}

/// `agents.defaults`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Defaults {
    pub workspace: Option<String>,
    pub skip_bootstrap: bool,
    #[serde(deserialize_with = "super::whole")]
    pub bootstrap_max_chars: Option<usize>,
    #[serde(deserialize_with = "super::whole")]
    pub bootstrap_total_max_chars: Option<usize>,
    pub model: Option<ModelChoice>,
    pub models: IndexMap<String, Value>,
    #[serde(deserialize_with = "super::whole")]
    pub timeout_seconds: Option<u64>,
    #[serde(deserialize_with = "super::whole")]
    pub max_concurrent: Option<usize>,
    #[serde(deserialize_with = "super::whole")]
    pub context_tokens: Option<u64>,
    pub thinking_default: Option<String>,
    pub verbose_default: Option<String>,
    pub user_timezone: Option<String>,
    pub heartbeat: Map<String, Value>,
    pub subagents: Map<String, Value>,
    /// Keys that no native code reads.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// One entry of `agents.list`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Agent {
    pub id: String,
    pub default: bool,
    pub name: Option<String>,
    pub workspace: Option<String>,
    pub agent_dir: Option<String>,
    pub model: Option<ModelChoice>,
    pub identity: Map<String, Value>,
    pub tools: Map<String, Value>,
    pub heartbeat: Map<String, Value>,
    pub thinking_default: Option<String>,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// `"provider/model"` or `{primary, fallbacks}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ModelChoice {
    One(String),
    Chain {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        primary: Option<String>,
        #[serde(default)]
        fallbacks: Vec<String>,
    },
}

impl Agents {
    /// The agent that answers when none is named: the first marked default,
    /// else the first, else the implicit `main`.
    pub fn default_id(&self) -> &str {
        let listed = self.list.iter().find(|agent| agent.default).or_else(|| self.list.first());
        listed.map_or("main", |agent| agent.id.as_str())
    }

    pub fn get(&self, id: &str) -> Option<&Agent> {
        self.list.iter().find(|agent| agent.id.eq_ignore_ascii_case(id))
    }
}
