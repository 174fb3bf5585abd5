//! `secrets apply`: references take the place of secrets in clear, and nothing
//! of the old value stays behind: not in a backup, not in the kept copy, not in
//! a profile, not in the `.env`. All files change or none does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::config::edit::{self, EditError};
use crate::config::redact::SENTINEL;
use crate::config::write::{self, Author, Before, WriteError};
use crate::config::{Snapshot, last_good, load};
use crate::profile::env::Env;
use crate::profile::paths::Paths;
use crate::secrets::plan::{Place, PlaceIn, Plan};
use crate::secrets::resolve::Resolver;
use crate::secrets::stores::{self, Kind};
use crate::secrets::{SecretError, Source, Stores, activate_with, audit, targets};
use crate::store::atomic;

/// Why nothing was applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("Error: Plan contains exec SecretRefs/providers. Re-run with --allow-exec.")]
    Exec,
    #[error("Error: Cannot apply secrets plan: config is invalid.")]
    InvalidConfig,
    #[error("Error: Config validation failed: {0}")]
    Rejected(String),
    #[error("Error: Cannot create auth profile \"{id}\" for {path} without authProfileProvider.")]
    NoProvider { id: String, path: String },
    #[error(
        "Error: Auth profile \"{id}\" type mismatch for {path}: expected \"{expected}\", got \"{found}\"."
    )]
    Kind { id: String, path: String, expected: &'static str, found: String },
    #[error("Error: {0}")]
    Edit(#[from] EditError),
    #[error("{0}")]
    Secret(#[from] SecretError),
    #[error("Error: Secrets apply failed: {0}")]
    Write(String),
}

/// What was done, or would be.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Applied {
    pub mode: &'static str,
    pub changed: bool,
    pub changed_files: BTreeSet<PathBuf>,
    pub checks: Checks,
    pub refs_checked: usize,
    pub skipped_exec_refs: usize,
    pub warning_count: usize,
    pub warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Checks {
    pub resolvability: bool,
    pub resolvability_complete: bool,
}

/// Whether files are changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    DryRun,
    Write,
}

/// Everything as it shall be.
struct Next {
    config: Snapshot,
    config_changed: bool,
    stores: Stores,
    changed_stores: BTreeSet<PathBuf>,
    others: BTreeMap<PathBuf, Vec<u8>>,
    /// Values that must not remain anywhere.
    old: BTreeSet<String>,
    warnings: Vec<String>,
}

/// The surroundings of one application.
#[derive(Debug)]
pub struct Work<'a> {
    pub paths: &'a Paths,
    pub env: &'a Env,
    pub author: &'a Author,
    pub allow_exec: bool,
}

/// How bytes get into a file; tests make it fail.
pub type Put<'p> = &'p (dyn Fn(&Path, &[u8]) -> io::Result<()> + Sync);

/// Applies a plan, or finds out what would happen.
pub async fn apply(
    plan: &Plan,
    places: &[Place],
    mode: Mode,
    work: &Work<'_>,
    put: Put<'_>,
) -> Result<Applied, ApplyError> {
    let exec = places.iter().any(|place| place.reference.source == Source::Exec)
        || plan.provider_upserts.values().any(|provider| provider["source"] == "exec");
    if mode == Mode::Write && exec && !work.allow_exec {
        return Err(ApplyError::Exec);
    }
    let current = load::read(work.paths, work.env);
    if !current.is_valid() {
        return Err(ApplyError::InvalidConfig);
    }
    let next = project(plan, places, &current, work)?;
    let run_exec = mode == Mode::Write || work.allow_exec;
    let (mut refs_checked, mut skipped) = (0, 0);
    let resolver = Resolver::of(&next.config);
    for place in places {
        let reference = &place.reference;
        if reference.source == Source::Exec && !run_exec {
            skipped += 1;
            resolver.check(reference)?;
            continue;
        }
        let values = resolver.resolve(std::slice::from_ref(reference)).await?;
        refs_checked += 1;
        let object = place.path.ends_with("serviceAccount") && values[0].is_object();
        if !object && values[0].as_str().is_none_or(str::is_empty) {
            return Err(
                SecretError::Value(format!("Ref {reference} is not a non-empty string.")).into()
            );
        }
    }
    if run_exec {
        Box::pin(activate_with(&next.config, &next.stores)).await?;
    }
    let mut changed_files: BTreeSet<PathBuf> = next.changed_stores.clone();
    changed_files.extend(next.others.keys().cloned());
    if next.config_changed {
        changed_files.insert(work.paths.config.clone());
    }
    if mode == Mode::Write && !changed_files.is_empty() {
        commit(&next, work, put)?;
    }
    Ok(Applied {
        mode: if mode == Mode::Write { "write" } else { "dry-run" },
        changed: !changed_files.is_empty(),
        changed_files,
        checks: Checks { resolvability: true, resolvability_complete: run_exec || skipped == 0 },
        refs_checked,
        skipped_exec_refs: skipped,
        warning_count: next.warnings.len(),
        warnings: next.warnings,
    })
}

fn project(
    plan: &Plan,
    places: &[Place],
    current: &Snapshot,
    work: &Work<'_>,
) -> Result<Next, ApplyError> {
    let (config, env) = (&current.resolved, &current.env);
    let mut next = Next {
        config: current.clone(),
        config_changed: false,
        stores: super::stores_on_disk(config, &work.paths.state, &work.paths.home, env),
        changed_stores: BTreeSet::new(),
        others: BTreeMap::new(),
        old: BTreeSet::new(),
        warnings: Vec::new(),
    };
    let mut text = write::source_text(current).to_owned();
    let keys = |alias: &str| ["secrets", "providers", alias].map(str::to_owned);
    for (alias, provider) in &plan.provider_upserts {
        if config["secrets"]["providers"][alias] != *provider {
            text = edit::set(&text, &keys(alias), provider)?;
        }
    }
    for alias in &plan.provider_deletes {
        text = edit::unset(&text, &keys(alias))?.unwrap_or(text);
    }
    let mut providers = BTreeSet::new();
    for place in places {
        match &place.file {
            PlaceIn::Config { provider } => {
                providers.extend(provider.as_ref().map(|name| name.to_lowercase()));
                text = refer(text, place, config, &mut next.old)?;
            }
            PlaceIn::Store { agent, kind, new_provider } => {
                store_refer(place, agent, *kind, new_provider.as_deref(), work, config, &mut next)?;
            }
        }
    }
    if plan.options.scrub_auth_profiles_for_provider_targets {
        scrub_profiles(&providers, config, &mut next);
    }
    let dirs = stores::agent_dirs(config, &work.paths.state, &work.paths.home, env);
    if plan.options.scrub_legacy_auth_json {
        for path in dirs.iter().map(|dir| dir.join("auth.json")) {
            let Ok(Some(mut old)) = stores::read_object(&path) else { continue };
            let before = old.len();
            old.retain(|_, entry| {
                let goes = audit::is_static_key(entry);
                if goes {
                    next.old.extend(entry["key"].as_str().map(|key| key.trim().to_owned()));
                }
                !goes
            });
            if old.len() < before {
                next.others.insert(path, pretty(&old));
            }
        }
    }
    if plan.options.scrub_env {
        scrub_env(&work.paths.state.join(".env"), &mut next);
    }
    if text != current.raw {
        next.config_changed = true;
        // The values of the `.env` as they are: what is checked is what runs next.
        next.config = load::evaluate(text, work.paths, work.env);
        if let Some(issue) = next.config.issues.first() {
            return Err(ApplyError::Rejected(issue.to_string()));
        }
    }
    Ok(next)
}

/// The text with a reference in place of the secret.
fn refer(
    text: String,
    place: &Place,
    config: &Value,
    old: &mut BTreeSet<String>,
) -> Result<String, EditError> {
    let before = edit::get(config, &place.keys);
    let secret = match before {
        Some(Value::String(text)) => Some(text.trim().to_owned()),
        Some(Value::Object(_)) if place.path.ends_with("serviceAccount") => {
            edit::get(config, &place.keys)
                .map(|object| object["private_key"].clone())
                .and_then(|key| key.as_str().map(str::to_owned))
        }
        _ => None,
    };
    old.extend(secret.filter(|secret| !secret.is_empty()));
    if !place.path.ends_with(".serviceAccount") {
        if before == Some(&place.value) {
            return Ok(text);
        }
        return edit::set(&text, &place.keys, &place.value);
    }
    let mut beside = place.keys.clone();
    if let Some(last) = beside.last_mut() {
        "serviceAccountRef".clone_into(last);
    }
    let text = if edit::get(config, &beside) == Some(&place.value) {
        text
    } else {
        edit::set(&text, &beside, &place.value)?
    };
    Ok(edit::unset(&text, &place.keys)?.unwrap_or(text))
}

fn store_refer(
    place: &Place,
    agent: &str,
    kind: Kind,
    new_provider: Option<&str>,
    work: &Work<'_>,
    config: &Value,
    next: &mut Next,
) -> Result<(), ApplyError> {
    let own_dir = config["agents"]["list"]
        .as_array()
        .into_iter()
        .flatten()
        .find_map(|entry| (entry["id"] == agent).then(|| entry["agentDir"].as_str()).flatten());
    let dir = own_dir.map_or_else(
        || work.paths.agent(agent).join("agent"),
        |dir| crate::profile::paths::expand(dir, &work.paths.home),
    );
    let path = dir.join("auth-profiles.json");
    let fresh =
        || Map::from_iter([("version".to_owned(), json!(1)), ("profiles".to_owned(), json!({}))]);
    let store = next.stores.entry(path.clone()).or_insert_with(fresh);
    let profiles = store.entry("profiles").or_insert_with(|| json!({}));
    let id = &place.keys[1];
    let (field, ref_field) = kind.fields();
    let profile = &mut profiles[id.as_str()];
    if profile.is_null() {
        let Some(provider) = new_provider else {
            return Err(ApplyError::NoProvider { id: id.clone(), path: place.path.clone() });
        };
        *profile = json!({"type": kind.as_str(), "provider": provider});
    } else if let Some(found) = profile["type"].as_str().filter(|found| *found != kind.as_str()) {
        return Err(ApplyError::Kind {
            id: id.clone(),
            path: place.path.clone(),
            expected: kind.as_str(),
            found: found.to_owned(),
        });
    }
    let before = profile.clone();
    if let Some(profile) = profile.as_object_mut() {
        if let Some(Value::String(secret)) = profile.shift_remove(field) {
            next.old.insert(secret.trim().to_owned());
        }
        profile.insert(ref_field.to_owned(), place.value.clone());
    }
    if *profile != before {
        next.changed_stores.insert(path);
    }
    Ok(())
}

/// The stored keys of providers whose key comes from the configuration go.
fn scrub_profiles(providers: &BTreeSet<String>, config: &Value, next: &mut Next) {
    let paths: Vec<PathBuf> = next.stores.keys().cloned().collect();
    for path in paths {
        let Some(store) = next.stores.get_mut(&path) else { continue };
        let found: Vec<(String, Kind, String, Option<String>)> = stores::credentials(store, config)
            .into_iter()
            .filter(|one| providers.contains(&one.provider.to_lowercase()))
            .map(|one| {
                let plain = one.plain.map(|plain| plain.trim().to_owned());
                (one.id.to_owned(), one.kind, one.provider.to_lowercase(), plain)
            })
            .collect();
        for (id, kind, provider, plain) in found {
            if kind == Kind::OAuth {
                next.warnings.push(format!(
                    "Provider \"{provider}\" has OAuth credentials in {}; those still take precedence and are out of scope for static SecretRef migration.",
                    path.display()
                ));
                continue;
            }
            next.old.extend(plain);
            let Some(profile) = store["profiles"][id.as_str()].as_object_mut() else { continue };
            let (field, ref_field) = kind.fields();
            let removed = [field, ref_field].map(|key| profile.shift_remove(key).is_some());
            if removed.contains(&true) {
                next.changed_stores.insert(path.clone());
            }
        }
    }
}

/// Lines that hold a migrated value go; all others stay byte for byte.
fn scrub_env(path: &Path, next: &mut Next) {
    let Ok(text) = fs::read_to_string(path) else { return };
    let gone: BTreeSet<usize> = stores::env_lines(&text)
        .filter(|(_, name, value)| targets::is_secret_variable(name) && next.old.contains(*value))
        .map(|(number, _, _)| number)
        .collect();
    if gone.is_empty() {
        return;
    }
    let kept: String = text
        .split_inclusive('\n')
        .enumerate()
        .filter(|(number, _)| !gone.contains(number))
        .map(|(_, line)| line)
        .collect();
    next.others.insert(path.to_path_buf(), kept.into_bytes());
}

/// Writes everything, or puts everything back.
fn commit(next: &Next, work: &Work<'_>, put: Put<'_>) -> Result<(), ApplyError> {
    let mut before: Vec<(PathBuf, Option<Vec<u8>>)> = Vec::new();
    let mut keep = |path: &Path| before.push((path.to_path_buf(), fs::read(path).ok()));
    let config = work.paths.config.canonicalize().unwrap_or_else(|_| work.paths.config.clone());
    let written = (|| -> Result<Option<Snapshot>, String> {
        let mut snapshot = None;
        if next.config_changed {
            keep(&config);
            let change = |_: &Snapshot| Ok(next.config.raw.clone());
            let before = Before::Valid;
            let done = write::update(work.paths, work.env, work.author, None, before, change)
                .map_err(|err: WriteError| err.to_string())?;
            snapshot = Some(done.snapshot);
        }
        let stores = next
            .changed_stores
            .iter()
            .filter_map(|path| Some((path, pretty(next.stores.get(path)?))));
        let others = next.others.iter().map(|(path, bytes)| (path, bytes.clone()));
        for (path, bytes) in stores.chain(others) {
            keep(path);
            put(path, &bytes).map_err(|err| format!("{}: {err}", path.display()))?;
        }
        Ok(snapshot)
    })();
    match written {
        Ok(snapshot) => {
            forget(next, work, snapshot.as_ref()).map_err(|err| ApplyError::Write(err.to_string()))
        }
        Err(reason) => {
            for (path, bytes) in before {
                let restored = match bytes {
                    Some(bytes) => atomic::write(&path, &bytes, atomic::Sync::Yes),
                    None => fs::remove_file(&path),
                };
                if let Err(err) = restored {
                    tracing::warn!(path = %path.display(), %err, "file not restored");
                }
            }
            Err(ApplyError::Write(reason))
        }
    }
}

/// Removes the old values from every copy of the configuration that lies
/// beside it, whoever made it.
fn forget(next: &Next, work: &Work<'_>, written: Option<&Snapshot>) -> io::Result<()> {
    if let Some(written) = written {
        last_good::refresh(written, work.paths)?;
    }
    let file = work.paths.config.canonicalize().unwrap_or_else(|_| work.paths.config.clone());
    let Some(dir) = file.parent() else { return Ok(()) };
    let prefix = format!("{}.", file.file_name().unwrap_or_default().to_string_lossy());
    for entry in fs::read_dir(dir)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_lock = Path::new(&name).extension().is_some_and(|ending| ending == "lock");
        let is_copy = name.starts_with(&prefix) && !is_lock;
        if !is_copy || !entry.file_type()?.is_file() {
            continue;
        }
        let Ok(text) = fs::read_to_string(entry.path()) else { continue };
        let mut clean = text.clone();
        for old in next.old.iter().filter(|old| old.len() >= 4) {
            let quoted = Value::from(old.as_str()).to_string();
            clean = clean.replace(&quoted[1..quoted.len() - 1], SENTINEL).replace(old, SENTINEL);
        }
        if clean != text {
            atomic::write(&entry.path(), clean.as_bytes(), atomic::Sync::Yes)?;
        }
    }
    Ok(())
}

fn pretty(object: &Map<String, Value>) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(object).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

/// Replaces a file for good.
pub fn to_disk(path: &Path, bytes: &[u8]) -> io::Result<()> {
    atomic::write(path, bytes, atomic::Sync::Yes)
}
