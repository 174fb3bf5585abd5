//! `backup create` and `backup verify`: what is worth keeping of this host, in
//! one archive.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::base::VERSION;
use crate::base::clock::{self, iso8601};
use crate::cli::args::backup::{BackupCommand, BackupCreateArgs, BackupVerifyArgs};
use crate::cli::commands::cleanup::oauth_dir;
use crate::cli::context::Context;
use crate::cli::local::Local;
use crate::cli::ui::page::Page;
use crate::cli::ui::{CommandResult, Failure, Outcome};
use crate::profile::paths;
use crate::store::archive::{self, ArchiveError};

pub(super) fn run(context: &Context, command: &BackupCommand) -> CommandResult {
    match command {
        BackupCommand::Create(args) => create(context, args),
        BackupCommand::Verify(args) => verify(context, args),
    }
}

fn fail(err: impl std::fmt::Display) -> Failure {
    Failure::new(format!("Error: {err}"))
}

/// Something to save, or why it is not saved.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    kind: &'static str,
    path: PathBuf,
    fate: Fate,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    Saved,
    Missing,
    /// Within another part.
    Covered(PathBuf),
}

/// Sorts candidates into what is saved and what need not be.
fn plan(candidates: Vec<(&'static str, PathBuf)>) -> Vec<Part> {
    let mut real: Vec<(&'static str, PathBuf, bool)> = candidates
        .into_iter()
        .map(|(kind, path)| match path.canonicalize() {
            Ok(real) => (kind, real, true),
            Err(_) => (kind, path, false),
        })
        .collect();
    // Outer folders come before what is inside them.
    real.sort_by_key(|(_, path, _)| path.as_os_str().len());
    let mut parts: Vec<Part> = Vec::new();
    for (kind, path, there) in real {
        if parts.iter().any(|part| part.path == path) {
            continue;
        }
        let saved = |part: &&Part| part.fate == Fate::Saved && path.starts_with(&part.path);
        let fate = match parts.iter().find(saved) {
            _ if !there => Fate::Missing,
            Some(part) => Fate::Covered(part.path.clone()),
            None => Fate::Saved,
        };
        parts.push(Part { kind, path, fate });
    }
    parts
}

fn candidates(context: &Context, workspaces: &[PathBuf]) -> Vec<(&'static str, PathBuf)> {
    let paths = &context.paths;
    let mut found = vec![("state", paths.state.clone())];
    for (kind, path) in [("config", paths.config.clone()), ("credentials", oauth_dir(context))] {
        if !path.starts_with(&paths.state) {
            found.push((kind, path));
        }
    }
    found.extend(workspaces.iter().map(|dir| ("workspace", dir.clone())));
    found
}

fn create(context: &Context, args: &BackupCreateArgs) -> CommandResult {
    let now = clock::now_ms();
    let root = format!("{}-openclaw-backup", iso8601(now).replace(':', "-"));
    let with_workspaces = !args.only_config && !args.no_include_workspace;
    let config = context.config();
    if with_workspaces && config.exists && !config.is_valid() {
        return Err(fail(format!(
            "Config invalid at {}: it names the workspaces to save. Mend it ({} doctor --fix) or \
             pass --no-include-workspace.",
            context.short(&context.paths.config),
            context.program()
        )));
    }
    let workspaces = if with_workspaces { Local::open(context).workspaces() } else { Vec::new() };
    let parts = plan(if args.only_config {
        vec![("config", context.paths.config.clone())]
    } else {
        candidates(context, &workspaces)
    });
    let saved: Vec<&Part> = parts.iter().filter(|part| part.fate == Fate::Saved).collect();
    let output = output(context, args.output.as_deref(), &root, &saved)?;
    if saved.is_empty() {
        return Err(fail(if args.only_config {
            "No OpenClaw config file was found to back up."
        } else {
            "No local OpenClaw state was found to back up."
        }));
    }
    if let Some(part) = saved.iter().find(|part| real(&output).starts_with(&part.path)) {
        return Err(fail(format!(
            "Backup output must not be written inside a source path: {} is inside {}",
            output.display(),
            part.path.display()
        )));
    }
    if !args.dry_run && output.exists() {
        return Err(fail(ArchiveError::Exists(output)));
    }
    let asset = |part: &&Part| {
        json!({ "kind": part.kind, "sourcePath": part.path, "displayPath": context.short(&part.path),
            "archivePath": archive::place(&root, &part.path) })
    };
    let assets: Vec<Value> = saved.iter().map(asset).collect();
    let skipped: Vec<Value> = parts.iter().filter_map(|part| skip(context, part)).collect();
    if !args.dry_run {
        let manifest = json!({
            "schemaVersion": 1,
            "createdAt": iso8601(now),
            "archiveRoot": root,
            "runtimeVersion": VERSION,
            "platform": if cfg!(target_os = "macos") { "darwin" } else { "linux" },
            "options": { "includeWorkspace": with_workspaces, "onlyConfig": args.only_config },
            "paths": { "stateDir": context.paths.state, "configPath": context.paths.config,
                "oauthDir": oauth_dir(context), "workspaceDirs": workspaces },
            "assets": assets.iter().map(|asset| without(asset, "displayPath")).collect::<Vec<_>>(),
            "skipped": skipped.iter().map(|part| without(part, "displayPath")).collect::<Vec<_>>(),
        });
        let text = format!("{}\n", crate::cli::ui::json(&manifest));
        let sources: Vec<PathBuf> = saved.iter().map(|part| part.path.clone()).collect();
        archive::write(&output, &root, text.as_bytes(), &sources).map_err(fail)?;
    }
    let verified = args.verify && !args.dry_run;
    if verified {
        archive::verify(&output).map_err(fail)?;
    }
    let result = json!({
        "createdAt": iso8601(now),
        "archiveRoot": root,
        "archivePath": output,
        "dryRun": args.dry_run,
        "includeWorkspace": with_workspaces,
        "onlyConfig": args.only_config,
        "verified": verified,
        "assets": assets,
        "skipped": skipped,
    });
    Ok(if args.json { Outcome::json(&result) } else { Outcome::text(said(&result)) })
}

fn without(object: &Value, key: &str) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.shift_remove(key);
    }
    object
}

fn skip(context: &Context, part: &Part) -> Option<Value> {
    let (reason, by) = match &part.fate {
        Fate::Saved => return None,
        Fate::Missing => ("missing", None),
        Fate::Covered(by) => ("covered", Some(by)),
    };
    let mut shown = json!({ "kind": part.kind, "sourcePath": part.path,
        "displayPath": context.short(&part.path), "reason": reason });
    if let Some(by) = by {
        shown["coveredBy"] = json!(context.short(by));
    }
    Some(shown)
}

/// Where the archive goes: here, unless here is saved too.
fn output(
    context: &Context,
    typed: Option<&str>,
    root: &str,
    saved: &[&Part],
) -> Result<PathBuf, Failure> {
    let name = format!("{root}.tar.gz");
    let Some(typed) = typed.map(str::trim).filter(|typed| !typed.is_empty()) else {
        let here = std::env::current_dir().map_err(fail)?;
        let inside = saved.iter().any(|part| here.starts_with(&part.path));
        return Ok(if inside { context.paths.home.join(name) } else { here.join(name) });
    };
    let path = std::path::absolute(paths::expand(typed, &context.paths.home)).map_err(fail)?;
    Ok(if typed.ends_with('/') || path.is_dir() { path.join(name) } else { path })
}

/// A path that need not be there, with the links of what is there followed.
fn real(path: &Path) -> PathBuf {
    let there = path.ancestors().find_map(|dir| Some((dir, dir.canonicalize().ok()?)));
    match there {
        Some((dir, real)) => match path.strip_prefix(dir) {
            Ok(rest) if !rest.as_os_str().is_empty() => real.join(rest),
            _ => real,
        },
        None => path.to_owned(),
    }
}

fn said(result: &Value) -> String {
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let list = |key: &str| result[key].as_array().cloned().unwrap_or_default();
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    let (assets, skipped) = (list("assets"), list("skipped"));
    let archive = text(result, "archivePath");
    let mut page = Page::default();
    page.line(format!("Backup archive: {archive}"));
    page.line(format!("Included {} path{}:", assets.len(), plural(assets.len())));
    page.lines(
        assets
            .iter()
            .map(|part| format!("- {}: {}", text(part, "kind"), text(part, "displayPath"))),
    );
    if !skipped.is_empty() {
        page.line(format!("Skipped {} path{}:", skipped.len(), plural(skipped.len())));
    }
    for part in &skipped {
        let by = part["coveredBy"].as_str().map(|by| format!(" by {by}")).unwrap_or_default();
        let (kind, path) = (text(part, "kind"), text(part, "displayPath"));
        page.line(format!("- {kind}: {path} ({}{by})", text(part, "reason")));
    }
    if result["dryRun"] == true {
        page.line("Dry run only; archive was not written.");
    } else {
        page.line(format!("Created {archive}"));
    }
    if result["verified"] == true {
        page.line("Archive verification: passed");
    }
    page.into()
}

fn verify(context: &Context, args: &BackupVerifyArgs) -> CommandResult {
    let path = paths::expand(&args.archive, &context.paths.home);
    let path = std::path::absolute(path).map_err(fail)?;
    let checked = archive::verify(&path).map_err(fail)?;
    if args.json {
        return Ok(Outcome::json(&json!({
            "ok": true,
            "archivePath": path,
            "archiveRoot": checked.root,
            "createdAt": checked.created_at,
            "runtimeVersion": checked.runtime_version,
            "assetCount": checked.assets,
            "entryCount": checked.entries,
        })));
    }
    let mut page = Page::default();
    page.line(format!("Backup archive OK: {}", path.display()));
    page.line(format!("Archive root: {}", checked.root));
    page.line(format!("Created at: {}", checked.created_at));
    page.line(format!("Runtime version: {}", checked.runtime_version));
    page.line(format!("Assets verified: {}", checked.assets));
    page.line(format!("Archive entries scanned: {}", checked.entries));
    Ok(Outcome::text(page))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_inside_something_saved_is_covered_and_nothing_is_named_twice() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let (state, work, inner) = (root.join("s"), root.join("work"), root.join("s/work"));
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::create_dir_all(&work).unwrap();
        let gone = root.join("gone-for-good");
        let parts = plan(vec![
            ("state", state.clone()),
            ("workspace", inner.clone()),
            ("workspace", work.clone()),
            ("workspace", work.clone()),
            ("credentials", gone.clone()),
        ]);
        let part = |kind, path: &Path, fate| Part { kind, path: path.to_owned(), fate };
        assert_eq!(
            parts,
            [
                part("state", &state, Fate::Saved),
                part("workspace", &work, Fate::Saved),
                part("workspace", &inner, Fate::Covered(state.clone())),
                part("credentials", &gone, Fate::Missing),
            ]
        );
    }
}
