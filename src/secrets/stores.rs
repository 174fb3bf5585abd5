//! The files beside the configuration that hold credentials: each agent's
//! `auth-profiles.json` and `models.json`, the old `auth.json`, the `.env`.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::profile::env::Env;
use crate::profile::paths::expand;
use crate::secrets::{SecretRef, reference};

/// Largest file of these that is read.
const MAX_BYTES: u64 = 5 * 1024 * 1024;

/// What one profile of `auth-profiles.json` holds.
#[derive(Debug, Clone)]
pub struct Credential<'p> {
    pub id: &'p str,
    pub provider: &'p str,
    pub kind: Kind,
    /// The secret in clear, if it is there.
    pub plain: Option<&'p str>,
    /// The reference that stands for it.
    pub reference: Option<SecretRef>,
}

/// The kind of a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    ApiKey,
    Token,
    OAuth,
}

impl Kind {
    fn parse(name: &str) -> Option<Self> {
        [Self::ApiKey, Self::Token, Self::OAuth].into_iter().find(|kind| kind.as_str() == name)
    }

    /// The `type` in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
            Self::Token => "token",
            Self::OAuth => "oauth",
        }
    }

    /// The field of the secret and the one beside it for a reference.
    pub fn fields(self) -> (&'static str, &'static str) {
        match self {
            Self::ApiKey => ("key", "keyRef"),
            Self::Token => ("token", "tokenRef"),
            Self::OAuth => ("access", "accessRef"),
        }
    }
}

/// Every agent directory: those on disk and those that are configured.
pub fn agent_dirs(config: &Value, state: &Path, home: &Path, env: &Env) -> Vec<PathBuf> {
    let mut dirs = BTreeSet::from([state.join("agents/main/agent")]);
    if let Ok(entries) = fs::read_dir(state.join("agents")) {
        let found = entries.flatten().map(|entry| entry.path().join("agent"));
        dirs.extend(found.filter(|dir| dir.is_dir()));
    }
    for agent in config["agents"]["list"].as_array().into_iter().flatten() {
        match (agent["agentDir"].as_str(), agent["id"].as_str()) {
            (Some(dir), _) if !dir.trim().is_empty() => {
                dirs.insert(expand(dir, home));
            }
            (_, Some(id)) => {
                dirs.insert(state.join("agents").join(id.to_lowercase()).join("agent"));
            }
            _ => {}
        }
    }
    if let Some(dir) = env.get("OPENCLAW_AGENT_DIR") {
        dirs.insert(expand(dir, home));
    }
    dirs.into_iter().collect()
}

/// A JSON object from disk; `None` when there is no file.
pub fn read_object(path: &Path) -> Result<Option<Map<String, Value>>, String> {
    let meta = match path.metadata() {
        Ok(meta) => meta,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(err) => return Err(err.to_string()),
    };
    if !meta.is_file() || meta.len() > MAX_BYTES {
        return Err(format!("not a regular file of at most {MAX_BYTES} bytes"));
    }
    let bytes = fs::read(path).map_err(|err| err.to_string())?;
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(object)) => Ok(Some(object)),
        Ok(_) => Err("not a JSON object".to_owned()),
        // The position only: the content is secret.
        Err(err) => Err(format!("line {} column {}", err.line(), err.column())),
    }
}

/// The credentials of a store, in the order of the file.
pub fn credentials<'s>(store: &'s Map<String, Value>, config: &Value) -> Vec<Credential<'s>> {
    let profiles = store.get("profiles").and_then(Value::as_object);
    profiles
        .into_iter()
        .flatten()
        .filter_map(|(id, profile)| {
            let kind = Kind::parse(profile["type"].as_str()?)?;
            let (field, ref_field) = kind.fields();
            let plain = profile[field].as_str().filter(|text| !text.trim().is_empty());
            let beside = reference(&profile[ref_field], config);
            let within =
                if kind == Kind::OAuth { None } else { reference(&profile[field], config) };
            Some(Credential {
                id,
                provider: profile["provider"].as_str().unwrap_or_default(),
                kind,
                plain: plain.filter(|_| within.is_none()),
                reference: beside.or(within),
            })
        })
        .collect()
}

/// The lines of a `.env` text that set a variable: line number from 0, name
/// and value.
pub fn env_lines(text: &str) -> impl Iterator<Item = (usize, &str, &str)> {
    text.split('\n').enumerate().filter_map(|(number, line)| {
        let line = line.trim();
        let line = line.strip_prefix("export ").map_or(line, str::trim_start);
        let (name, value) = line.split_once('=')?;
        let name = name.trim();
        let is_name = !name.is_empty()
            && !name.starts_with(|first: char| first.is_ascii_digit())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let value = value.trim();
        let quoted = ['"', '\'']
            .into_iter()
            .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
        is_name.then_some((number, name, quoted.unwrap_or(value)))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_reference_beside_or_in_place_of_a_secret_is_found() {
        let reference = json!({"source": "env", "provider": "default", "id": "K"});
        let store = json!({"profiles": {
            "a": {"type": "api_key", "provider": "p", "key": "plain", "keyRef": reference},
            "b": {"type": "token", "provider": "p", "token": "${K}"},
            "c": {"type": "oauth", "provider": "q", "access": "x"},
            "d": {"type": "other"},
        }});
        let found = credentials(store.as_object().unwrap(), &json!({}));
        let shown: Vec<_> = found
            .iter()
            .map(|one| (one.id, one.plain, one.reference.as_ref().map(ToString::to_string)))
            .collect();
        let k = || Some("env:default:K".to_owned());
        assert_eq!(shown, [("a", Some("plain"), k()), ("b", None, k()), ("c", Some("x"), None)]);
    }

    #[test]
    fn only_assignments_count() {
        let text = "# A=1\nexport B=\"two\"\n C = 3 \nnope\n4D=x\n";
        let found: Vec<_> = env_lines(text).collect();
        assert_eq!(found, [(1, "B", "two"), (2, "C", "3")]);
    }
}
