//! The typed view of the configuration: one file per top-level section.
//!
//! Strictness lives in validation; these types read leniently, so that a
//! section nobody uses natively costs nothing. Sections without a type of
//! their own stay [`Value`]s.

pub mod agents;
pub mod gateway;
pub mod json_schema;
pub mod models;
pub mod support;
pub mod table;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use agents::Agents;
pub use gateway::Gateway;
pub use models::Models;

/// The whole configuration with defaults in place.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Config {
    pub gateway: Gateway,
    pub agents: Agents,
    pub models: Models,
    pub session: Map<String, Value>,
    pub messages: Map<String, Value>,
    pub commands: Map<String, Value>,
    pub tools: Map<String, Value>,
    pub channels: Map<String, Value>,
    pub bindings: Vec<Value>,
    pub hooks: Map<String, Value>,
    pub cron: Map<String, Value>,
    pub logging: Map<String, Value>,
    pub auth: Map<String, Value>,
    pub secrets: Map<String, Value>,
    pub env: Map<String, Value>,
    pub ui: Map<String, Value>,
    pub discovery: Map<String, Value>,
    pub plugins: Map<String, Value>,
    pub skills: Map<String, Value>,
    pub approvals: Map<String, Value>,
    pub mcp: Map<String, Value>,
}
