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

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Number, Value};

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

/// Reads any number as a whole one: validation has judged it. What is too small
/// is 0, what is too large the largest.
fn whole<'de, D: Deserializer<'de>, T: From<Whole> + Default>(from: D) -> Result<T, D::Error> {
    let number = Option::<Number>::deserialize(from)?;
    Ok(number.map(|number| Whole(number).into()).unwrap_or_default())
}

struct Whole(Number);

impl From<Whole> for u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a conversion that ends at the limits is what is wanted"
    )]
    fn from(Whole(number): Whole) -> Self {
        number.as_u64().unwrap_or_else(|| number.as_f64().map_or(0, |float| float.ceil() as Self))
    }
}

impl From<Whole> for Option<u64> {
    fn from(whole: Whole) -> Self {
        Some(whole.into())
    }
}

impl From<Whole> for Option<usize> {
    fn from(whole: Whole) -> Self {
        Some(usize::try_from(u64::from(whole)).unwrap_or(usize::MAX))
    }
}
