//! `models`: providers and the models they offer.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The `models` section.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Models {
    pub mode: Option<String>,
    pub providers: IndexMap<String, Provider>,
}

/// One entry of `models.providers`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Provider {
    pub base_url: String,
    pub api: Option<String>,
    /// Secret input: plain text, `${VAR}` or a reference object.
    pub api_key: Option<Value>,
    pub auth: Option<String>,
    pub auth_header: Option<bool>,
    pub headers: IndexMap<String, Value>,
    pub models: Vec<Model>,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// One model of a provider. Costs are dollars per million tokens.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Model {
    pub id: String,
    pub name: String,
    pub api: Option<String>,
    pub reasoning: bool,
    pub input: Vec<String>,
    pub cost: Map<String, Value>,
    #[serde(deserialize_with = "super::whole")]
    pub context_window: Option<u64>,
    #[serde(deserialize_with = "super::whole")]
    pub max_tokens: Option<u64>,
    pub headers: IndexMap<String, String>,
    pub compat: Map<String, Value>,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}
