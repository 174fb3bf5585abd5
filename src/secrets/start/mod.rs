//! Everything between a configuration and the open port: admit, resolve,
//! decide, write down what a first start decided.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use crate::config::gate::{self, Flags, Serving, StartRefusal};
use crate::config::schema::support;
use crate::config::write::{self, Author, Before};
use crate::config::{Config, Snapshot, edit};
use crate::profile::paths::Paths;
use crate::secrets::{Activation, activate, needed_by};

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

/// Decides about a start, or says why there must not be one. Writes nothing.
pub async fn check(flags: &Flags, mut snapshot: Snapshot) -> Result<Prepared, StartRefusal> {
    let intent = gate::admit(flags, &snapshot)?;
    let secrets = activate(&snapshot).await.map_err(|err| {
        tracing::error!(target: "secrets", "[SECRETS_RELOADER_DEGRADED] {err}");
        for place in needed_by(&snapshot, &err) {
            tracing::error!(target: "secrets", "needed by {place}");
        }
        StartRefusal::failed(format!("Startup failed: required secrets are unavailable. {err}"))
    })?;
    let serving = gate::serve(intent, &snapshot, &secrets.resolved)?;
    let mut notices = serving.notices.clone();
    let mut warnings: Vec<String> = serving.warnings.clone();
    warnings.extend(
        snapshot
            .warnings
            .iter()
            .map(|warning| format!("Config ({}): {warning}", snapshot.path.display())),
    );
    if !snapshot.migrations.is_empty() {
        notices.push(format!(
            "gateway: migrated legacy config entries:\n- {}",
            snapshot.migrations.join("\n- ")
        ));
    }
    let inert = support::inert_sections(&snapshot.resolved);
    if !inert.is_empty() {
        notices.push(format!(
            "[gateway] config sections without native support: {}",
            inert.join(", ")
        ));
    }
    notices.extend(secrets.surfaces.iter().map(|line| format!("[secrets] {line}")));
    warnings.extend(secrets.warnings.iter().map(|line| format!("[secrets] {line}")));
    snapshot.config = typed(&secrets.resolved)?;
    snapshot.secrets = Arc::clone(&secrets.values);
    Ok(Prepared { snapshot, secrets, serving, notices, warnings })
}

/// Writes down what a first start decided: a generated token, seeded origins,
/// current spellings. Does nothing if there is nothing to write. Blocking.
pub fn persist(prepared: &mut Prepared, paths: &Paths) -> Result<(), write::WriteError> {
    let settings = &prepared.serving.persist;
    if settings.is_empty() && prepared.snapshot.migrations.is_empty() {
        return Ok(());
    }
    let author = Author { argv: vec!["gateway".to_owned(), "run".to_owned()] };
    let env = Arc::clone(&prepared.snapshot.process_env);
    let written = write::update(paths, &env, &author, None, Before::Valid, |current| {
        let mut text = migrated(current)?;
        for (keys, value) in settings {
            let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
            text = edit::set(&text, &keys, value)?;
        }
        Ok(text)
    })?;
    for (keys, value) in settings {
        replace(&mut prepared.secrets.resolved, keys, value);
    }
    let mut snapshot = written.snapshot;
    snapshot.secrets = Arc::clone(&prepared.secrets.values);
    if let Ok(config) = typed(&prepared.secrets.resolved) {
        snapshot.config = config;
    }
    prepared.snapshot = snapshot;
    Ok(())
}

/// The typed view with secrets in place of references.
fn typed(resolved: &Value) -> Result<Config, StartRefusal> {
    Config::deserialize(resolved)
        .map_err(|err| StartRefusal::failed(format!("the config has an unexpected shape: {err}")))
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
