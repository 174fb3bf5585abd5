//! A plan of `secrets apply`: which secrets in clear become references. The
//! format is part of the contract; what does not fit is refused as a whole.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::validate::secret_ref;
use crate::secrets::stores::Kind;
use crate::secrets::{SecretRef, Source, reference, targets};

/// The whole plan.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    pub version: u64,
    pub protocol_version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generated_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generated_by: Option<String>,
    pub targets: Vec<Target>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub provider_upserts: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub provider_deletes: Vec<String>,
    #[serde(default)]
    pub options: Options,
}

/// One secret and the reference that takes its place.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    #[serde(rename = "type")]
    pub kind: String,
    pub path: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub path_segments: Vec<String>,
    #[serde(rename = "ref")]
    pub reference: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_profile_provider: Option<String>,
}

/// What else is cleaned up.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Options {
    pub scrub_env: bool,
    pub scrub_auth_profiles_for_provider_targets: bool,
    pub scrub_legacy_auth_json: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            scrub_env: true,
            scrub_auth_profiles_for_provider_targets: true,
            scrub_legacy_auth_json: true,
        }
    }
}

/// Why a plan cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("ENOENT: no such file or directory, open '{0}'")]
    Missing(String),
    #[error("{path}: {reason}")]
    Unreadable { path: String, reason: String },
    #[error("Invalid secrets plan file: {path}: {reason}")]
    Invalid { path: String, reason: String },
}

/// A target whose place is known.
#[derive(Debug, Clone)]
pub struct Place {
    pub keys: Vec<String>,
    pub reference: SecretRef,
    /// The reference as it is written down.
    pub value: Value,
    pub file: PlaceIn,
    pub path: String,
}

/// Which file a target lies in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlaceIn {
    /// The configuration; the model provider whose key it is, if it is one.
    Config { provider: Option<String> },
    /// The store of an agent.
    Store { agent: String, kind: Kind, new_provider: Option<String> },
}

/// Reads a plan and finds the place of each target. Blocking.
pub fn read(file: &Path) -> Result<(Plan, Vec<Place>), PlanError> {
    let path = file.display().to_string();
    let bytes = std::fs::read(file).map_err(|err| match err.kind() {
        std::io::ErrorKind::NotFound => PlanError::Missing(path.clone()),
        _ => PlanError::Unreadable { path: path.clone(), reason: err.to_string() },
    })?;
    let invalid = |reason: String| PlanError::Invalid { path: path.clone(), reason };
    let plan: Plan = serde_json::from_slice(&bytes).map_err(|err| invalid(err.to_string()))?;
    let places = places(&plan).map_err(invalid)?;
    Ok((plan, places))
}

/// The place of every target, or what is wrong with the plan.
pub fn places(plan: &Plan) -> Result<Vec<Place>, String> {
    for (name, version) in [("version", plan.version), ("protocolVersion", plan.protocol_version)] {
        if version != 1 {
            return Err(format!("{name} must be 1, got {version}"));
        }
    }
    for (alias, provider) in &plan.provider_upserts {
        let source = provider["source"].as_str().and_then(Source::parse);
        if source.is_none() || !secret_ref::is_alias(alias) {
            return Err(format!("providerUpserts.{alias} is not a provider"));
        }
    }
    if let Some(alias) = plan.provider_deletes.iter().find(|it| !secret_ref::is_alias(it)) {
        return Err(format!("providerDeletes names \"{alias}\", which is no provider's name"));
    }
    plan.targets.iter().map(place).collect()
}

fn place(target: &Target) -> Result<Place, String> {
    let wrong = || format!("Invalid plan target path for {}: {}", target.kind, target.path);
    let keys: Vec<String> = if target.path_segments.is_empty() {
        target.path.split('.').map(str::to_owned).collect()
    } else {
        target.path_segments.clone()
    };
    let forbidden = |key: &String| matches!(&**key, "" | "__proto__" | "prototype" | "constructor");
    if keys.join(".") != target.path || keys.iter().any(forbidden) {
        return Err(wrong());
    }
    let file = match target.kind.as_str() {
        "auth-profiles.api_key.key" => store(target, &keys, Kind::ApiKey).ok_or_else(wrong)?,
        "auth-profiles.token.token" => store(target, &keys, Kind::Token).ok_or_else(wrong)?,
        kind => {
            let pattern =
                pattern_of(kind).ok_or_else(|| format!("unknown target type \"{kind}\""))?;
            let fits = targets::matches(&pattern, &keys);
            let same = |wanted: &Option<String>, after: &str| {
                wanted.as_ref().is_none_or(|wanted| {
                    let at = keys.iter().position(|key| key == after);
                    at.and_then(|at| keys.get(at + 1)) == Some(wanted)
                })
            };
            if !fits
                || !same(&target.provider_id, "providers")
                || !same(&target.account_id, "accounts")
            {
                return Err(wrong());
            }
            let provider = (pattern == "models.providers.*.apiKey").then(|| keys[2].clone());
            PlaceIn::Config { provider }
        }
    };
    let said = |what: &str| format!("{what} of {}", target.path);
    let checked = target.reference.as_object().and_then(secret_ref::check);
    if checked.is_none_or(|issues| !issues.is_empty()) {
        return Err(said("invalid ref"));
    }
    let reference =
        reference(&target.reference, &Value::Null).ok_or_else(|| said("invalid ref"))?;
    if matches!(file, PlaceIn::Store { .. }) && target.agent_id.is_none() {
        return Err(said("missing agentId"));
    }
    let (value, path) = (target.reference.clone(), target.path.clone());
    Ok(Place { keys, reference, value, file, path })
}

fn store(target: &Target, keys: &[String], kind: Kind) -> Option<PlaceIn> {
    let [profiles, _, field] = keys else { return None };
    let fits = profiles == "profiles" && field == kind.fields().0;
    fits.then(|| PlaceIn::Store {
        agent: target.agent_id.clone().unwrap_or_default(),
        kind,
        new_provider: target.auth_profile_provider.clone(),
    })
}

/// The pattern of a target type: its own name, or a short one.
fn pattern_of(kind: &str) -> Option<String> {
    let long = match kind {
        "models.providers.apiKey" => "models.providers.*.apiKey".to_owned(),
        "models.providers.headers" => "models.providers.*.headers.*".to_owned(),
        "skills.entries.apiKey" => "skills.entries.*.apiKey".to_owned(),
        other => other.replace("[].", ".[]."),
    };
    targets::patterns().into_iter().find(|pattern| *pattern == long)
}

/// The type that a plan names for a pattern.
pub fn kind_of(pattern: &str) -> String {
    match pattern {
        "models.providers.*.apiKey" => "models.providers.apiKey".to_owned(),
        "models.providers.*.headers.*" => "models.providers.headers".to_owned(),
        "skills.entries.*.apiKey" => "skills.entries.apiKey".to_owned(),
        other => other.replace(".[].", "[]."),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plan(targets: &Value) -> Result<Vec<Place>, String> {
        let plan = json!({"version": 1, "protocolVersion": 1, "targets": targets});
        places(&serde_json::from_value(plan).unwrap())
    }

    fn env(id: &str) -> Value {
        json!({"source": "env", "provider": "default", "id": id})
    }

    #[test]
    fn a_target_must_lie_where_its_type_says() {
        let good = json!([
            {"type": "models.providers.apiKey", "path": "models.providers.a.b.apiKey",
             "pathSegments": ["models", "providers", "a.b", "apiKey"], "providerId": "a.b", "ref": env("K")},
            {"type": "channels.telegram.accounts.*.botToken", "path": "channels.telegram.accounts.x.botToken",
             "accountId": "x", "ref": env("K")},
            {"type": "auth-profiles.api_key.key", "path": "profiles.openai:default.key", "agentId": "main", "ref": env("K")},
            {"type": "agents.list[].memorySearch.remote.apiKey", "path": "agents.list.0.memorySearch.remote.apiKey", "ref": env("K")},
        ]);
        assert_eq!(plan(&good).unwrap().len(), 4);
        let wrong = [
            (
                json!({"type": "models.providers.apiKey", "path": "models.providers.a.baseUrl", "ref": env("K")}),
                "Invalid plan target path for models.providers.apiKey: models.providers.a.baseUrl",
            ),
            (
                json!({"type": "models.providers.apiKey", "path": "models.providers.a.apiKey", "providerId": "b", "ref": env("K")}),
                "Invalid plan target path for",
            ),
            (
                json!({"type": "models.providers.apiKey", "path": "models.providers.a.apiKey", "pathSegments": ["models"], "ref": env("K")}),
                "Invalid plan target path for",
            ),
            (
                json!({"type": "skills.entries.apiKey", "path": "skills.entries.__proto__.apiKey", "ref": env("K")}),
                "Invalid plan target path for",
            ),
            (
                json!({"type": "hooks.token", "path": "hooks.token", "ref": env("K")}),
                "unknown target type \"hooks.token\"",
            ),
            (
                json!({"type": "talk.apiKey", "path": "talk.apiKey", "ref": env("low")}),
                "invalid ref of talk.apiKey",
            ),
            (
                json!({"type": "auth-profiles.api_key.key", "path": "profiles.a.key", "ref": env("K")}),
                "missing agentId of profiles.a.key",
            ),
        ];
        for (target, reason) in wrong {
            let said = plan(&json!([target])).unwrap_err();
            assert!(said.starts_with(reason), "{said}");
        }
    }
}
