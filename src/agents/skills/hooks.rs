//! Hooks: folders with a `HOOK.md` and a handler in JavaScript, which the Node
//! gateway calls when something happens. This gateway runs no such code; it
//! finds them, tells what they want, and keeps their switches.

use std::fs;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use crate::agents::skills::manifest::{self, Manifest};
use crate::agents::skills::{MAX_BYTES, MAX_PER_FOLDER, lacking};
use crate::profile::env::Env;
use crate::profile::paths::{self, Paths};

/// Why a hook that is switched on is not called.
pub const NOT_RUN: &str = "this gateway runs no hook handlers (JavaScript)";

const HANDLERS: [&str; 4] = ["handler.ts", "handler.js", "index.ts", "index.js"];

/// A hook on disk.
#[derive(Debug, Clone, PartialEq)]
pub struct Hook {
    pub manifest: Manifest,
    /// Where it was found, in the reference's spelling.
    pub source: &'static str,
    pub file: PathBuf,
    pub handler: PathBuf,
}

impl Hook {
    /// Name of its entry under `hooks.internal.entries`.
    pub fn key(&self) -> &str {
        self.manifest.entry_key.as_deref().unwrap_or(&self.manifest.name)
    }
}

/// Where hooks that serve all workspaces are kept.
pub fn managed_dir(paths: &Paths) -> PathBuf {
    paths.state.join("hooks")
}

/// Every hook of this workspace; `section` is `hooks` of the configuration.
/// One of the workspace never takes the place of another. Blocking.
pub fn discover(workspace: &Path, paths: &Paths, section: &Map<String, Value>) -> Vec<Hook> {
    let internal = section.get("internal").unwrap_or(&Value::Null);
    let extra = internal["load"]["extraDirs"].as_array().into_iter().flatten();
    let mut folders: Vec<(PathBuf, &'static str)> = extra
        .filter_map(Value::as_str)
        .map(|dir| (paths::expand(dir.trim(), &paths.home), "openclaw-managed"))
        .collect();
    folders.push((managed_dir(paths), "openclaw-managed"));
    folders.push((workspace.join("hooks"), "openclaw-workspace"));
    let mut found: IndexMap<String, Hook> = IndexMap::new();
    for (folder, source) in folders {
        for hook in read_folder(&folder, source) {
            let name = hook.manifest.name.clone();
            if source == "openclaw-managed" || !found.contains_key(&name) {
                found.insert(name, hook);
            }
        }
    }
    found.into_values().collect()
}

/// A hook as `hooks info --json` shows it, judged for this host.
pub fn status(hook: &Hook, env: &Env, section: &Map<String, Value>, resolved: &Value) -> Value {
    let manifest = &hook.manifest;
    let entries = section.get("internal").map_or(&Value::Null, |internal| &internal["entries"]);
    let entry = &entries[hook.key()];
    let (missing, checks) = lacking(manifest, env, entry, resolved);
    let met = manifest.always || missing == manifest::Requirements::default();
    let off = match entry["enabled"].as_bool() {
        Some(false) => Some("disabled in config"),
        None if hook.source == "openclaw-workspace" => Some("workspace hook (disabled by default)"),
        _ => None,
    };
    let reason = off.unwrap_or(if met { NOT_RUN } else { "missing requirements" });
    let checks = checks.iter().map(|(path, set)| json!({"path": path, "satisfied": set}));
    let mut status = json!({
        "name": manifest.name,
        "description": manifest.description,
        "source": hook.source,
        "filePath": hook.file,
        "baseDir": hook.file.parent(),
        "handlerPath": hook.handler,
        "hookKey": hook.key(),
        "events": manifest.events,
        "always": manifest.always,
        "enabledByConfig": off.is_none(),
        "requirementsSatisfied": met,
        "loadable": false,
        "blockedReason": reason,
        "managedByPlugin": false,
        "requirements": manifest.requires,
        "missing": missing,
        "configChecks": checks.collect::<Vec<_>>(),
        "install": manifest.install,
    });
    for (key, value) in [("emoji", &manifest.emoji), ("homepage", &manifest.homepage)] {
        if let Some(value) = value {
            status[key] = json!(value);
        }
    }
    status
}

/// Hooks of a folder, and those of packs inside it that name theirs in
/// `package.json`. Nothing outside the folder is read.
fn read_folder(folder: &Path, source: &'static str) -> Vec<Hook> {
    let listing = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut dirs: Vec<PathBuf> =
        listing.map(|entry| entry.path()).filter(|dir| dir.is_dir()).collect();
    dirs.sort_unstable();
    dirs.truncate(MAX_PER_FOLDER);
    let mut hooks = Vec::new();
    for dir in dirs {
        let pack: Value = fs::read(dir.join("package.json"))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        let named: Vec<PathBuf> = pack["openclaw"]["hooks"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|path| inside(&dir, path.as_str()?.trim()))
            .collect();
        let dirs = if named.is_empty() { vec![dir] } else { named };
        hooks.extend(dirs.iter().filter_map(|dir| read(dir, source)));
    }
    hooks
}

fn read(dir: &Path, source: &'static str) -> Option<Hook> {
    let file = inside(dir, "HOOK.md")?;
    if fs::metadata(&file).ok()?.len() > MAX_BYTES {
        return None;
    }
    let handler = HANDLERS.iter().find_map(|name| inside(dir, name))?;
    let manifest = manifest::parse(&fs::read_to_string(&file).ok()?)?;
    Some(Hook { manifest, source, file, handler })
}

/// What `path` names inside `dir`, if it is there and does not lead out.
fn inside(dir: &Path, path: &str) -> Option<PathBuf> {
    let wanted = dir.join(path);
    let real = wanted.canonicalize().ok()?;
    real.starts_with(dir.canonicalize().ok()?).then_some(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_hook(dir: &Path, name: &str, metadata: &str) {
        fs::create_dir_all(dir).unwrap();
        let text = format!(
            "---\nname: {name}\ndescription: d\nmetadata: {{\"openclaw\": {metadata}}}\n---\n"
        );
        fs::write(dir.join("HOOK.md"), text).unwrap();
        fs::write(dir.join("handler.js"), "").unwrap();
    }

    #[test]
    fn hooks_are_found_and_say_why_they_are_not_called() {
        let home = tempfile::tempdir().unwrap();
        let env: Env = [("HOME", home.path().to_str().unwrap())].into_iter().collect();
        let paths = Paths::resolve(&env);
        let workspace = home.path().join("work");
        let managed = managed_dir(&paths);
        write_hook(&managed.join("one"), "one", r#"{"events": ["command:new"], "hookKey": "k"}"#);
        write_hook(&managed.join("pack/inner"), "two", r#"{"requires": {"env": ["NOPE_X"]}}"#);
        fs::write(
            managed.join("pack/package.json"),
            r#"{"openclaw": {"hooks": ["inner", "../../escape"]}}"#,
        )
        .unwrap();
        write_hook(&home.path().join(".openclaw/escape"), "escape", "{}");
        write_hook(&workspace.join("hooks/one"), "one", "{}");
        write_hook(&workspace.join("hooks/three"), "three", "{}");
        let section = json!({"internal": {"entries": {"k": {"enabled": false}}}});
        let section = section.as_object().unwrap();
        let hooks = discover(&workspace, &paths, section);
        let shown: Vec<Value> =
            hooks.iter().map(|hook| status(hook, &env, section, &Value::Null)).collect();
        let reasons: Vec<(&str, &str)> = shown
            .iter()
            .map(|hook| (hook["name"].as_str().unwrap(), hook["blockedReason"].as_str().unwrap()))
            .collect();
        assert_eq!(
            reasons,
            [
                ("one", "disabled in config"),
                ("two", "missing requirements"),
                ("three", "workspace hook (disabled by default)"),
            ]
        );
        assert_eq!(shown[0]["source"], "openclaw-managed");
        assert_eq!(shown[0]["events"], json!(["command:new"]));
        assert_eq!(shown[1]["missing"]["env"], json!(["NOPE_X"]));
        let ready = status(&hooks[0], &env, &Map::new(), &Value::Null);
        assert_eq!((&ready["loadable"], &ready["blockedReason"]), (&json!(false), &json!(NOT_RUN)));
    }
}
