//! Everything between the command line and the open port: read, admit,
//! resolve, decide, write down what a first start decided.

use serde_json::Value;

use crate::config::gate::{self, Flags, Serving, StartRefusal};
use crate::config::write::{self, Author, Before};
use crate::config::{Snapshot, edit, load};
use crate::profile::env::Env;
use crate::profile::paths::Paths;
use crate::secrets::{Activation, activate};

/// A gateway that may open its port.
#[derive(Debug)]
pub struct Prepared {
    pub snapshot: Snapshot,
    pub secrets: Activation,
    pub serving: Serving,
    /// Lines for the log at INFO.
    pub notices: Vec<String>,
    /// Lines for the log at WARN.
    pub warnings: Vec<String>,
}

/// Prepares a start, or says why there must not be one.
///
/// Writes the file only for a generated token, seeded origins and migrated
/// keys; on a read-only configuration a start that needs none goes ahead.
pub async fn prepare(flags: &Flags, paths: &Paths, env: &Env) -> Result<Prepared, StartRefusal> {
    let mut snapshot = load::read(paths, env);
    let intent = gate::admit(flags, &snapshot)?;
    let mut secrets = activate(&snapshot).await.map_err(|err| {
        tracing::error!("[secrets] [SECRETS_RELOADER_DEGRADED] {err}");
        StartRefusal::failed(format!("Startup failed: required secrets are unavailable. {err}"))
    })?;
    let serving = gate::serve(intent, &snapshot, &secrets.resolved)?;
    let mut notices = serving.notices.clone();
    let mut warnings: Vec<String> = serving.warnings.clone();
    warnings.extend(snapshot.warnings.iter().map(|warning| {
        format!("Config ({}): {}: {}", paths.config.display(), warning.path, warning.message)
    }));
    if !snapshot.migrations.is_empty() {
        notices.push(format!(
            "gateway: migrated legacy config entries:\n- {}",
            snapshot.migrations.join("\n- ")
        ));
    }
    if !serving.persist.is_empty() || !snapshot.migrations.is_empty() {
        match persist(&serving, paths, env) {
            Ok(written) => {
                snapshot = written;
                for (keys, value) in &serving.persist {
                    replace(&mut secrets.resolved, keys, value);
                }
            }
            Err(err) if serving.persist.is_empty() => {
                warnings.push(format!("migrated config entries could not be saved: {err}"));
            }
            Err(err) => {
                return Err(StartRefusal::failed(format!(
                    "the config could not be saved ({err}); set gateway.auth.token, or OPENCLAW_GATEWAY_TOKEN, or make it writable"
                )));
            }
        }
    }
    notices.extend(secrets.surfaces.iter().map(|line| format!("[secrets] {line}")));
    warnings.extend(secrets.warnings.iter().map(|line| format!("[secrets] {line}")));
    Ok(Prepared { snapshot, secrets, serving, notices, warnings })
}

fn persist(serving: &Serving, paths: &Paths, env: &Env) -> Result<Snapshot, write::WriteError> {
    let written = write::update(paths, env, &Author::default(), None, Before::Valid, |current| {
        let mut text = migrated(current)?;
        for (keys, value) in &serving.persist {
            let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
            text = edit::set(&text, &keys, value)?;
        }
        Ok(text)
    })?;
    Ok(written.snapshot)
}

/// The source with old spellings replaced. Parts that come from an include are
/// left to their own file.
fn migrated(current: &Snapshot) -> Result<String, edit::EditError> {
    let text = write::source_text(current);
    let mut next = current.parsed.clone();
    if crate::config::legacy::migrate(&mut next).is_empty() {
        return Ok(text.to_owned());
    }
    edit::transform(text, &current.parsed, &next)
}

fn replace(document: &mut Value, keys: &[&str], value: &Value) {
    let mut place = document;
    for key in keys {
        if !place.is_object() {
            *place = Value::Object(serde_json::Map::new());
        }
        place = &mut place[*key];
    }
    *place = value.clone();
}

#[cfg(test)]
mod tests;
