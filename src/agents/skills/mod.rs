//! Skills: folders with a `SKILL.md` that teach an agent to use something.
//!
//! Finds them, reads their heads and tells which can be used on this host.
//! Installs nothing and ships none: what the reference bundles is not here.

pub mod hooks;
pub mod manifest;
pub mod package;

use std::fs;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use crate::agents::skills::manifest::{Manifest, Requirements};
use crate::config::Config;
use crate::profile::env::Env;
use crate::profile::paths::{self, Paths};

/// A `SKILL.md` larger than this is not read.
const MAX_BYTES: u64 = 256 * 1024;

/// Skills looked at per folder.
const MAX_PER_FOLDER: usize = 300;

/// A skill on disk.
#[derive(Debug, Clone, PartialEq)]
pub struct Skill {
    pub manifest: Manifest,
    /// Where it was found, in the reference's spelling.
    pub source: &'static str,
    pub file: PathBuf,
}

impl Skill {
    /// Name of its entry under `skills.entries`.
    pub fn key(&self) -> &str {
        self.manifest.entry_key.as_deref().unwrap_or(&self.manifest.name)
    }
}

/// Whether a skill can be used, and what is in the way.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    pub disabled: bool,
    pub eligible: bool,
    pub missing: Requirements,
    /// Each required configuration path, and whether it is set.
    pub config_checks: Vec<(String, bool)>,
}

/// Every skill that agents of this workspace see, by name. Of two with one
/// name the more specific folder wins. Blocking.
pub fn discover(workspace: &Path, paths: &Paths, config: &Config) -> Vec<Skill> {
    let load = config.skills.get("load").and_then(Value::as_object);
    let extra = load.and_then(|load| load.get("extraDirs")).and_then(Value::as_array);
    let extra = extra.into_iter().flatten().filter_map(Value::as_str);
    let mut folders: Vec<(PathBuf, &'static str)> =
        extra.map(|dir| (paths::expand(dir, &paths.home), "openclaw-extra")).collect();
    folders.push((managed_dir(paths), "openclaw-managed"));
    folders.push((paths.home.join(".agents/skills"), "agents-skills-personal"));
    folders.push((workspace.join(".agents/skills"), "agents-skills-project"));
    folders.push((workspace.join("skills"), "openclaw-workspace"));

    let mut found: IndexMap<String, Skill> = IndexMap::new();
    for (folder, source) in folders {
        for skill in read_folder(&folder, source) {
            found.insert(skill.manifest.name.clone(), skill);
        }
    }
    let mut skills: Vec<Skill> = found.into_values().collect();
    skills.sort_by(|a, b| a.manifest.name.cmp(&b.manifest.name));
    skills
}

/// Where skills that serve all workspaces are kept.
pub fn managed_dir(paths: &Paths) -> PathBuf {
    paths.state.join("skills")
}

/// Judges a skill against this host and the configuration. `resolved` is the
/// whole configuration document.
pub fn judge(skill: &Skill, env: &Env, config: &Config, resolved: &Value) -> Verdict {
    let entry = entry_of(config, skill.key());
    let disabled = entry.get("enabled").is_some_and(|enabled| enabled == false);
    let (missing, config_checks) = lacking(&skill.manifest, env, entry, resolved);
    let complete = missing == Requirements::default();
    let eligible = !disabled && missing.os.is_empty() && (skill.manifest.always || complete);
    Verdict { disabled, eligible, missing, config_checks }
}

/// What of its requirements this host and the configuration do not meet, and
/// each required configuration path with whether it is set.
fn lacking(
    manifest: &Manifest,
    env: &Env,
    entry: &Value,
    resolved: &Value,
) -> (Requirements, Vec<(String, bool)>) {
    let needs = &manifest.requires;
    let absent = |bins: &[String]| -> Vec<String> {
        bins.iter().filter(|bin| !on_path(bin, env)).cloned().collect()
    };
    let any_missing = absent(&needs.any_bins);
    let config_checks: Vec<(String, bool)> =
        needs.config.iter().map(|path| (path.clone(), is_set(resolved, path))).collect();
    let missing = Requirements {
        bins: absent(&needs.bins),
        any_bins: if any_missing.len() == needs.any_bins.len() { any_missing } else { Vec::new() },
        env: needs
            .env
            .iter()
            .filter(|name| !provides_env(name, manifest, env, entry))
            .cloned()
            .collect(),
        config: config_checks
            .iter()
            .filter(|(_, set)| !set)
            .map(|(path, _)| path.clone())
            .collect(),
        os: if needs.os.is_empty() || needs.os.iter().any(|os| os == platform()) {
            Vec::new()
        } else {
            needs.os.clone()
        },
    };
    (missing, config_checks)
}

/// An entry of `skills.status`.
pub fn status_entry(skill: &Skill, verdict: &Verdict) -> Value {
    let manifest = &skill.manifest;
    let mut entry = Map::new();
    let mut put = |key: &str, value: Value| {
        if !value.is_null() {
            entry.insert(key.to_owned(), value);
        }
    };
    put("name", json!(manifest.name));
    put("description", json!(manifest.description));
    put("source", json!(skill.source));
    put("bundled", json!(false));
    put("filePath", json!(skill.file));
    put("baseDir", json!(skill.file.parent()));
    put("skillKey", json!(skill.key()));
    put("primaryEnv", json!(manifest.primary_env));
    put("emoji", json!(manifest.emoji));
    put("homepage", json!(manifest.homepage));
    put("always", json!(manifest.always));
    put("disabled", json!(verdict.disabled));
    put("blockedByAllowlist", json!(false));
    put("eligible", json!(verdict.eligible));
    put("requirements", json!(manifest.requires));
    put("missing", json!(verdict.missing));
    let checks = verdict.config_checks.iter();
    put(
        "configChecks",
        checks.map(|(path, set)| json!({"path": path, "satisfied": set})).collect(),
    );
    let here = manifest
        .install
        .iter()
        .filter(|way| way.os.is_empty() || way.os.iter().any(|os| os == platform()));
    put("install", here.map(|way| json!(way)).collect());
    Value::Object(entry)
}

/// Programs that any of the skills could use.
pub fn wanted_bins(skills: &[Skill]) -> Vec<String> {
    let mut bins: Vec<String> = skills
        .iter()
        .flat_map(|skill| {
            let install = skill.manifest.install.iter().flat_map(|way| way.bins.iter());
            let needs = &skill.manifest.requires;
            needs.bins.iter().chain(&needs.any_bins).chain(install).cloned()
        })
        .collect();
    bins.sort_unstable();
    bins.dedup();
    bins
}

fn read_folder(folder: &Path, source: &'static str) -> Vec<Skill> {
    let listing = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut dirs: Vec<PathBuf> = listing.map(|entry| entry.path()).collect();
    dirs.sort_unstable();
    dirs.truncate(MAX_PER_FOLDER);
    dirs.into_iter()
        .filter_map(|dir| {
            let file = dir.join("SKILL.md");
            if fs::metadata(&file).ok()?.len() > MAX_BYTES {
                return None;
            }
            let manifest = manifest::parse(&fs::read_to_string(&file).ok()?)?;
            Some(Skill { manifest, source, file })
        })
        .collect()
}

fn entry_of<'c>(config: &'c Config, key: &str) -> &'c Value {
    let entries = config.skills.get("entries");
    entries.and_then(|entries| entries.get(key)).unwrap_or(&Value::Null)
}

fn provides_env(name: &str, manifest: &Manifest, env: &Env, entry: &Value) -> bool {
    let set = |value: &Value| value.as_str().is_none_or(|text| !text.is_empty());
    env.get(name).is_some()
        || entry.get("env").and_then(|env| env.get(name)).is_some_and(set)
        || (manifest.primary_env.as_deref() == Some(name) && entry.get("apiKey").is_some_and(set))
}

fn on_path(bin: &str, env: &Env) -> bool {
    use std::os::unix::fs::PermissionsExt;
    let path = env.get("PATH").unwrap_or("/usr/local/bin:/usr/bin:/bin");
    path.split(':').filter(|dir| !dir.is_empty()).any(|dir| {
        fs::metadata(Path::new(dir).join(bin))
            .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    })
}

/// Whether a dotted path of the configuration holds something that is on.
fn is_set(resolved: &Value, path: &str) -> bool {
    let found = path.split('.').try_fold(resolved, |at, key| at.get(key));
    match found {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::String(text)) => !text.trim().is_empty(),
        Some(_) => true,
    }
}

/// This host in Node's spelling.
fn platform() -> &'static str {
    if cfg!(target_os = "macos") { "darwin" } else { "linux" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_skill(root: &Path, name: &str, metadata: &str) {
        let dir = root.join(name);
        fs::create_dir_all(&dir).unwrap();
        let text = format!(
            "---\nname: {name}\ndescription: d\nmetadata: {{\"openclaw\": {metadata}}}\n---\n"
        );
        fs::write(dir.join("SKILL.md"), text).unwrap();
    }

    #[test]
    fn the_workspace_wins_and_requirements_decide() {
        let home = tempfile::tempdir().unwrap();
        let env: Env =
            [("HOME", home.path().to_str().unwrap()), ("PATH", "/nowhere")].into_iter().collect();
        let paths = Paths::resolve(&env);
        let workspace = home.path().join("work");
        write_skill(&managed_dir(&paths), "one", "{}");
        write_skill(&workspace.join("skills"), "one", r#"{"requires":{"bins":["nope"]}}"#);
        write_skill(&workspace.join("skills"), "two", r#"{"requires":{"config":["ui.x"]}}"#);
        let config = Config::default();
        let skills = discover(&workspace, &paths, &config);
        assert_eq!(skills.len(), 2);
        assert_eq!(skills[0].source, "openclaw-workspace");

        let one = judge(&skills[0], &env, &config, &Value::Null);
        assert_eq!((one.eligible, one.missing.bins), (false, vec!["nope".to_owned()]));
        let two = judge(&skills[1], &env, &config, &json!({"ui": {"x": "y"}}));
        assert!(two.eligible);
        let entry = status_entry(&skills[1], &two);
        assert_eq!(entry["configChecks"], json!([{"path": "ui.x", "satisfied": true}]));
        assert_eq!(entry["missing"], json!({"bins":[],"anyBins":[],"env":[],"config":[],"os":[]}));
        assert!(entry.get("homepage").is_none());
    }

    #[test]
    fn a_skill_can_be_switched_off() {
        let home = tempfile::tempdir().unwrap();
        let env: Env = [("HOME", home.path().to_str().unwrap())].into_iter().collect();
        let paths = Paths::resolve(&env);
        write_skill(&managed_dir(&paths), "one", "{}");
        let config: Config =
            serde_json::from_value(json!({"skills": {"entries": {"one": {"enabled": false}}}}))
                .unwrap();
        let skills = discover(home.path(), &paths, &config);
        let verdict = judge(&skills[0], &env, &config, &Value::Null);
        assert!(verdict.disabled && !verdict.eligible);
    }
}
