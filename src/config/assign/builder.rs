//! References and providers put together from flags.

use serde_json::{Value, json};

use crate::config::assign::{AssignError, object};
use crate::config::validate;
use crate::config::validate::{secret_ref, text};

/// `--ref-*`.
#[derive(Debug, Clone, Default)]
pub struct RefFlags {
    pub provider: Option<String>,
    pub source: Option<String>,
    pub id: Option<String>,
}

impl RefFlags {
    pub(super) fn any(&self) -> bool {
        self.provider.is_some() || self.source.is_some() || self.id.is_some()
    }

    pub(super) fn build(&self) -> Result<Value, AssignError> {
        let (Some(provider), Some(source), Some(id)) = (&self.provider, &self.source, &self.id)
        else {
            return Err(AssignError::Mode(
                "ref builder mode requires --ref-provider <alias>, --ref-source <env|file|exec>, and --ref-id <id>.",
            ));
        };
        let value = json!({"source": source, "provider": provider, "id": id});
        check_reference(&value)?;
        Ok(value)
    }
}

/// Checks a reference object from flags or a batch.
pub(super) fn check_reference(value: &Value) -> Result<(), AssignError> {
    let field = |key: &str| value[key].as_str().unwrap_or_default();
    let id = field("id");
    let complaint = match field("source") {
        "env" if !text::is_env_name(id) => {
            "ref.id must match /^[A-Z][A-Z0-9_]{0,127}$/ for env refs."
        }
        "file" if !secret_ref::is_file_id(id) => {
            "ref.id must be an absolute JSON pointer (or \"value\") for file refs."
        }
        "exec" if !secret_ref::is_exec_id(id) => {
            "ref.id must match /^[A-Za-z0-9][A-Za-z0-9._:/-]{0,255}$/ and must not include \".\" or \"..\" path segments for exec refs."
        }
        "env" | "file" | "exec" if !text::is_alias(field("provider")) => {
            "ref.provider must match /^[a-z][a-z0-9_-]{0,63}$/."
        }
        "env" | "file" | "exec" => return Ok(()),
        _ => "ref.source must be one of: env, file, exec.",
    };
    Err(AssignError::Builder(complaint.to_owned()))
}

/// `--provider-*`.
#[derive(Debug, Clone, Default)]
pub struct ProviderFlags {
    pub source: Option<String>,
    pub allowlist: Vec<String>,
    pub path: Option<String>,
    pub mode: Option<String>,
    pub timeout_ms: Option<String>,
    pub max_bytes: Option<String>,
    pub command: Option<String>,
    pub args: Vec<String>,
    pub no_output_timeout_ms: Option<String>,
    pub max_output_bytes: Option<String>,
    pub json_only: bool,
    pub env: Vec<String>,
    pub pass_env: Vec<String>,
    pub trusted_dirs: Vec<String>,
    pub allow_insecure_path: bool,
    pub allow_symlink_command: bool,
}

impl ProviderFlags {
    pub(super) fn any(&self) -> bool {
        self.source.is_some()
            || self.path.is_some()
            || self.mode.is_some()
            || self.timeout_ms.is_some()
            || self.max_bytes.is_some()
            || self.command.is_some()
            || self.no_output_timeout_ms.is_some()
            || self.max_output_bytes.is_some()
            || self.json_only
            || self.allow_insecure_path
            || self.allow_symlink_command
            || ![&self.allowlist, &self.args, &self.env, &self.pass_env, &self.trusted_dirs]
                .iter()
                .all(|list| list.is_empty())
    }

    pub(super) fn build(&self, keys: &[String]) -> Result<Value, AssignError> {
        check_path(keys)?;
        let Some(source) = &self.source else {
            return Err(AssignError::Mode(
                "provider builder mode requires --provider-source <env|file|exec>.",
            ));
        };
        let number = |flag: &str, value: &Option<String>| match value {
            None => Ok(None),
            Some(text) => text
                .parse::<u64>()
                .map(|number| Some(json!(number)))
                .map_err(|_| AssignError::Builder(format!("{flag} must be a positive integer."))),
        };
        let list = |values: &[String]| (!values.is_empty()).then(|| json!(values));
        let flag = |on: bool| on.then_some(Value::Bool(true));
        let mut variables = serde_json::Map::new();
        for pair in &self.env {
            let Some((name, value)) = pair.split_once('=').filter(|(name, _)| !name.is_empty())
            else {
                return Err(AssignError::Builder(
                    "--provider-env expects KEY=VALUE entries.".to_owned(),
                ));
            };
            variables.insert(name.to_owned(), Value::from(value));
        }
        let value = object([
            ("source", Some(json!(source))),
            ("allowlist", list(&self.allowlist)),
            ("path", self.path.as_ref().map(|path| json!(path))),
            ("mode", self.mode.as_ref().map(|mode| json!(mode))),
            ("command", self.command.as_ref().map(|command| json!(command))),
            ("args", list(&self.args)),
            ("timeoutMs", number("--provider-timeout-ms", &self.timeout_ms)?),
            ("maxBytes", number("--provider-max-bytes", &self.max_bytes)?),
            (
                "noOutputTimeoutMs",
                number("--provider-no-output-timeout-ms", &self.no_output_timeout_ms)?,
            ),
            ("maxOutputBytes", number("--provider-max-output-bytes", &self.max_output_bytes)?),
            ("jsonOnly", flag(self.json_only)),
            ("env", (!variables.is_empty()).then_some(Value::Object(variables))),
            ("passEnv", list(&self.pass_env)),
            ("trustedDirs", list(&self.trusted_dirs)),
            ("allowInsecurePath", flag(self.allow_insecure_path)),
            ("allowSymlinkCommand", flag(self.allow_symlink_command)),
        ]);
        check_provider(keys, &value)?;
        Ok(value)
    }
}

fn check_path(keys: &[String]) -> Result<(), AssignError> {
    match keys {
        [secrets, providers, alias]
            if secrets == "secrets" && providers == "providers" && text::is_alias(alias) =>
        {
            Ok(())
        }
        _ => Err(AssignError::Builder("Provider builder mode requires path \"secrets.providers.<alias>\" (example: secrets.providers.vault).".to_owned())),
    }
}

/// Checks a provider object from flags or a batch.
pub(super) fn check_provider(keys: &[String], value: &Value) -> Result<(), AssignError> {
    check_path(keys)?;
    let prefix = keys.join(".");
    let document = json!({"secrets": {"providers": {&keys[2]: value}}});
    match validate::fragment(&document).first() {
        None => Ok(()),
        Some(issue) => {
            let place = issue.path.strip_prefix(&prefix).unwrap_or(&issue.path);
            let place = place.trim_start_matches('.');
            let place = if place.is_empty() { "<root>" } else { place };
            Err(AssignError::Builder(format!(
                "Provider builder config invalid at {place}: {}",
                issue.message
            )))
        }
    }
}
