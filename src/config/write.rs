//! Writing `openclaw.json`: one writer at a time, the old or the new file and
//! nothing between, a ring of backups without secrets, an audit record.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use serde_json::{Value, json};

use crate::base::clock;
use crate::config::edit::{self, EditError};
use crate::config::redact::{self, References};
use crate::config::{Issue, Snapshot, audit, json5, load, standing};
use crate::profile::env::Env;
use crate::profile::paths::Paths;
use crate::store::atomic;

/// Copies of replaced files that are kept: `.bak`, `.bak.1` … `.bak.4`.
const BACKUPS: usize = 5;
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// A temporary file that is older belongs to nobody any more.
const STALE: Duration = Duration::from_secs(5);

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Somebody else wrote since the caller read.
    #[error("config changed since last load; re-run config.get and retry")]
    Conflict,
    /// The file as it is cannot be used, so a change cannot be judged.
    #[error("Config invalid")]
    Invalid(Box<Snapshot>),
    /// The change would make the file invalid.
    #[error("Config validation failed: {}", first(.0))]
    Rejected(Vec<Issue>),
    /// The change would take away what the gateway cannot start without.
    #[error(
        "config write blocked: gateway.mode would be gone and the gateway would not start; what \
         was to be written is in {copy}", copy = .0.display()
    )]
    Blocked(PathBuf),
    #[error(transparent)]
    Edit(#[from] EditError),
    #[error("config is read-only ({0})")]
    ReadOnly(&'static str),
    #[error("another program keeps {path} locked", path = .0.display())]
    Locked(PathBuf),
    #[error("{path}: {source}", path = path.display())]
    Io { path: PathBuf, source: io::Error },
}

fn first(issues: &[Issue]) -> String {
    issues.first().map(ToString::to_string).unwrap_or_default()
}

/// Who writes, for the audit record.
#[derive(Debug, Clone, Default)]
pub struct Author {
    /// The command line, as typed; values are hidden in the record.
    pub argv: Vec<String>,
}

/// What a write did.
#[derive(Debug)]
pub struct Written {
    /// The file as it is on disk.
    pub snapshot: Snapshot,
    pub previous_hash: String,
    /// Whether bytes changed.
    pub changed: bool,
    /// Lines for people, on stderr or in the log.
    pub notes: Vec<String>,
}

/// What may stand in the way of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// The file must be usable before the change.
    Valid,
    /// The change may repair the file.
    Anything,
}

/// Reads the file, lets `change` produce its next text, checks and replaces it.
/// Blocking.
///
/// `base_hash`, if given, must be the hash of the file as it is. Nothing is
/// written when `change` fails or its result is not valid.
pub fn update(
    paths: &Paths,
    env: &Env,
    author: &Author,
    base_hash: Option<&str>,
    before: Before,
    change: impl FnOnce(&Snapshot) -> Result<String, WriteError>,
) -> Result<Written, WriteError> {
    if env.is_on("OPENCLAW_CONFIG_READONLY") {
        return Err(WriteError::ReadOnly("OPENCLAW_CONFIG_READONLY"));
    }
    if env.is_on("OPENCLAW_NIX_MODE") {
        return Err(WriteError::ReadOnly("OPENCLAW_NIX_MODE"));
    }
    let file = behind_links(&paths.config);
    let dir = file.parent().unwrap_or(Path::new("/")).to_path_buf();
    if file == paths.config {
        private_dir(&dir, paths)?;
    }
    let _lock = lock(&file)?;
    sweep(&dir);
    let current = load::read(paths, env);
    if base_hash.is_some_and(|base| base != current.hash) {
        return Err(WriteError::Conflict);
    }
    if before == Before::Valid && !current.is_valid() {
        return Err(WriteError::Invalid(Box::new(current)));
    }
    let wanted = change(&current)?;
    if current.exists && wanted == current.raw {
        let previous_hash = current.hash.clone();
        return Ok(Written { snapshot: current, previous_hash, changed: false, notes: Vec::new() });
    }
    let text = stamp(&wanted)?;
    let mut next = load::evaluate(text, paths, env);
    if !next.is_valid() {
        return Err(WriteError::Rejected(std::mem::take(&mut next.issues)));
    }
    let mut record = audit::Record::new(&current, &next, author);
    if record.drops_mode() {
        let copy = standing::keep_copy(&next, "rejected");
        let copy = copy.map_err(|source| WriteError::Io { path: dir.clone(), source })?;
        let copy = copy.unwrap_or_else(|| file.clone());
        record.blocked(&copy);
        record.append(&paths.state);
        return Err(WriteError::Blocked(copy));
    }
    // What stands in the way of a backup does not stop the write.
    let backup = if current.exists { rotate(&file, &current) } else { Ok(()) };
    let result = atomic::write(&file, next.raw.as_bytes(), atomic::Sync::Yes);
    record.finish(&result, &file);
    record.append(&paths.state);
    result.map_err(|source| WriteError::Io { path: file.clone(), source })?;
    let mut notes = notes(&current, &next, &paths.config, &record);
    notes.extend(backup.err().map(|err| format!("Config backup not kept: {err}")));
    let previous_hash = current.hash.clone();
    Ok(Written { snapshot: next, previous_hash, changed: true, notes })
}

/// The current text, or an empty document if there is none.
pub fn source_text(snapshot: &Snapshot) -> &str {
    if snapshot.raw.trim().is_empty() { "{}\n" } else { &snapshot.raw }
}

fn notes(current: &Snapshot, next: &Snapshot, path: &Path, record: &audit::Record) -> Vec<String> {
    let mut notes = Vec::new();
    if current.exists {
        let path = path.display();
        notes.push(format!(
            "Config overwrite: {path} (sha256 {} -> {}, backup={path}.bak)",
            current.hash, next.hash
        ));
        if !record.suspicious.is_empty() {
            let codes = record.suspicious.join(", ");
            notes.push(format!("Config write anomaly: {path} ({codes})"));
        }
    }
    notes
}

/// Adds who wrote last, so that an older release can say it is older.
fn stamp(text: &str) -> Result<String, EditError> {
    let key = |name: &str| ["meta".to_owned(), name.to_owned()];
    let text = edit::set(text, &key("lastTouchedVersion"), &json!(crate::base::VERSION))?;
    let now = clock::iso8601(clock::now_ms());
    edit::set(&text, &key("lastTouchedAt"), &Value::from(now))
}

fn private_dir(dir: &Path, paths: &Paths) -> Result<(), WriteError> {
    let failed = |source| WriteError::Io { path: dir.to_path_buf(), source };
    atomic::private_dir(dir).map_err(failed)?;
    let mode = dir.metadata().map_err(failed)?.permissions().mode();
    if *dir == paths.state && mode & 0o077 != 0 {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(failed)?;
    }
    Ok(())
}

/// Removes what a writer that was killed left half-written. Temporaries of other
/// programs in this directory live for milliseconds; these are older.
fn sweep(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let temporary = entry.file_name().to_string_lossy().starts_with(atomic::PREFIX);
        let age = entry.metadata().and_then(|meta| meta.modified());
        let old = age.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > STALE));
        if temporary && old {
            drop(fs::remove_file(entry.path()));
        }
    }
}

/// Waits for the other writer, if there is one.
fn lock(file: &Path) -> Result<Flock<File>, WriteError> {
    let path = sibling(file, ".lock");
    let mut handle = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|source| WriteError::Io { path: path.clone(), source })?;
    atomic::hand_over(&handle, file.parent().unwrap_or(file));
    let mut waited = Duration::ZERO;
    loop {
        match Flock::lock(handle, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((back, _)) if waited < LOCK_PATIENCE => {
                handle = back;
                std::thread::park_timeout(LOCK_PAUSE);
                waited += LOCK_PAUSE;
            }
            Err(_) => return Err(WriteError::Locked(path)),
        }
    }
}

/// The file that is meant: a link keeps pointing where it pointed, also while
/// nothing is there.
fn behind_links(path: &Path) -> PathBuf {
    const MAX_LINKS: usize = 16;
    let mut file = path.to_path_buf();
    for _ in 0..MAX_LINKS {
        let Ok(target) = file.read_link() else { break };
        file = file.parent().unwrap_or(Path::new("/")).join(target);
    }
    file.canonicalize().unwrap_or(file)
}

/// Moves the ring by one and keeps the file about to be replaced, its plain
/// secrets hidden: whoever reads a backup must not get in with it. A copy that
/// cannot be moved, because a folder has its place, is replaced.
fn rotate(file: &Path, current: &Snapshot) -> io::Result<()> {
    let slot = |index: usize| match index {
        0 => sibling(file, ".bak"),
        index => sibling(file, &format!(".bak.{index}")),
    };
    for index in (0..BACKUPS - 1).rev() {
        let from = slot(index);
        if from.is_file()
            && let Err(err) = fs::rename(&from, slot(index + 1))
        {
            tracing::debug!(path = %from.display(), %err, "backup not moved");
        }
    }
    let kept = match json5::parse(&current.raw) {
        Ok(root) => redact::redact_text(&current.raw, &root, References::Shown),
        // A text without structure cannot be searched for secrets.
        Err(_) => return Ok(()),
    };
    let path = slot(0);
    atomic::write(&path, kept.as_bytes(), atomic::Sync::Yes)
        .map_err(|err| io::Error::new(err.kind(), format!("{}: {err}", path.display())))
}

fn sibling(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(text: &str) -> (tempfile::TempDir, Paths, Env) {
        let home = tempfile::tempdir().unwrap();
        let env: Env =
            [("HOME", home.path().to_str().unwrap()), ("INVOCATION_ID", "1")].into_iter().collect();
        let paths = Paths::resolve(&env);
        if !text.is_empty() {
            fs::create_dir_all(&paths.state).unwrap();
            fs::write(&paths.config, text).unwrap();
        }
        (home, paths, env)
    }

    fn set(paths: &Paths, env: &Env, path: &str, value: &Value) -> Result<Written, WriteError> {
        let keys = edit::parse_path(path)?;
        update(paths, env, &Author::default(), None, Before::Valid, |current| {
            Ok(edit::set(source_text(current), &keys, value)?)
        })
    }

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_first_write_makes_a_private_file_with_its_author() {
        let (_home, paths, env) = home("");
        let written = set(&paths, &env, "gateway.mode", &json!("local")).unwrap();
        assert!(written.notes.is_empty());
        assert_eq!((mode(&paths.config), mode(&paths.state)), (0o600, 0o700));
        let text = fs::read_to_string(&paths.config).unwrap();
        assert!(text.starts_with("{\n  \"gateway\": {\n    \"mode\": \"local\"\n  },\n  \"meta\": {\n    \"lastTouchedVersion\": \"2026.4.2\",\n    \"lastTouchedAt\": \"20"), "{text}");
        assert!(text.ends_with("Z\"\n  }\n}\n"));
    }

    #[test]
    fn backups_form_a_ring_of_five_without_secrets() {
        let (_home, paths, env) = home("{gateway:{auth:{token:'canary-1'}}} // mine");
        for port in 1..=7 {
            set(&paths, &env, "gateway.port", &json!(port)).unwrap();
        }
        let mut names: Vec<String> = fs::read_dir(&paths.state)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.contains(".bak"))
            .collect();
        names.sort();
        assert_eq!(
            names,
            [
                "openclaw.json.bak",
                "openclaw.json.bak.1",
                "openclaw.json.bak.2",
                "openclaw.json.bak.3",
                "openclaw.json.bak.4"
            ]
        );
        for name in names {
            let path = paths.state.join(&name);
            let text = fs::read_to_string(&path).unwrap();
            assert!(!text.contains("canary"), "{name}");
            assert!(text.contains("// mine"));
            assert_eq!(mode(&path), 0o600);
        }
        assert!(fs::read_to_string(&paths.config).unwrap().contains("canary-1"));
        let audit = fs::read_to_string(paths.state.join("logs/config-audit.jsonl")).unwrap();
        assert_eq!(audit.lines().count(), 7);
        let last: Value = serde_json::from_str(audit.lines().last().unwrap()).unwrap();
        assert_eq!(last["nextHash"], load::hash(&fs::read(&paths.config).unwrap()));
    }

    #[test]
    fn a_bad_change_leaves_the_file_alone() {
        let text = "{gateway:{port:1}}";
        let (_home, paths, env) = home(text);
        let error = set(&paths, &env, "gateway.port", &json!("abc")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Config validation failed: gateway.port: Invalid input: expected number, received string"
        );
        let error = set(&paths, &env, "gateway.prot", &json!(1)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Config validation failed: gateway: Unrecognized key: \"prot\""
        );
        let stale = update(&paths, &env, &Author::default(), Some("00"), Before::Valid, |_| {
            Ok(String::new())
        });
        assert!(matches!(stale, Err(WriteError::Conflict)));
        assert_eq!(fs::read_to_string(&paths.config).unwrap(), text);
    }

    #[test]
    fn nobody_writes_a_file_that_the_gateway_cannot_start_with() {
        let text = "{gateway:{mode:'local',auth:{token:'canary-5'}}}";
        let (_home, paths, env) = home(text);
        let author = Author::default();
        let drop_mode = |current: &Snapshot| {
            let mode = ["gateway".to_owned(), "mode".to_owned()];
            Ok(edit::unset(&current.raw, &mode)?.unwrap())
        };
        let blocked = update(&paths, &env, &author, None, Before::Anything, drop_mode).unwrap_err();
        let WriteError::Blocked(copy) = blocked else { panic!("{blocked}") };
        assert!(copy.to_string_lossy().contains("openclaw.json.rejected.20"), "{}", copy.display());
        let kept = fs::read_to_string(&copy).unwrap();
        assert!(kept.contains("auth") && !kept.contains("mode") && !kept.contains("canary"));
        assert_eq!(mode(&copy), 0o600);
        assert_eq!(fs::read_to_string(&paths.config).unwrap(), text);
        let audit = fs::read_to_string(paths.state.join("logs/config-audit.jsonl")).unwrap();
        assert!(audit.contains("\"result\":\"rejected\""), "{audit}");
    }

    #[test]
    fn variables_comments_includes_and_links_survive() {
        let text = "{\n  // who\n  gateway: {auth: {token: '${MYTOK}'}},\n  agents: {$include: './agents.json'},\n  logging: {level: 'info'},\n}\n";
        let (_home, paths, env) = home(text);
        fs::write(paths.state.join("agents.json"), "{list:[{id:'a'}]}").unwrap();
        let real = paths.state.join("real.json");
        fs::rename(&paths.config, &real).unwrap();
        std::os::unix::fs::symlink(&real, &paths.config).unwrap();
        set(&paths, &env, "ui.seamColor", &json!("#aabbcc")).unwrap();
        assert!(paths.config.symlink_metadata().unwrap().is_symlink());
        let after = fs::read_to_string(&real).unwrap();
        assert!(after.starts_with(&text[..text.len() - 2]), "{after}");
        assert!(set(&paths, &env, "agents.list[0].id", &json!("b")).is_err());
    }

    #[test]
    fn ten_writers_at_once_lose_nothing() {
        let (_home, paths, env) = home("{}");
        std::thread::scope(|scope| {
            for index in 0..10 {
                let (paths, env) = (&paths, &env);
                scope.spawn(move || {
                    set(paths, env, &format!("env.vars.V{index}"), &json!("x")).unwrap();
                });
            }
        });
        let snapshot = load::read(&paths, &env);
        assert!(snapshot.is_valid());
        assert_eq!(snapshot.resolved["env"]["vars"].as_object().unwrap().len(), 10);
    }
}
