//! The last configuration that was in force, kept whole: a gateway that starts
//! and finds a broken file serves with this one and says so.
//!
//! The copy holds what the file held, secrets in clear included, so it is as
//! private as the file and is replaced whenever the file's secrets move out.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::base::clock;
use crate::config::include::Files;
use crate::config::{Snapshot, load};
use crate::profile::env::Env;
use crate::profile::paths::Paths;
use crate::store::atomic;

const FILE: &str = "config-last-good.json";

/// The copy as it lies on disk.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    version: u32,
    config_path: PathBuf,
    /// Of `raw`; tells a torn copy from a whole one.
    hash: String,
    /// Milliseconds since the Unix epoch.
    saved_at: u64,
    raw: String,
    includes: Files,
}

/// Where the copy of this state directory lies.
pub fn path(paths: &Paths) -> PathBuf {
    paths.state.join(FILE)
}

/// Keeps what is in force. Blocking.
pub fn save(snapshot: &Snapshot, paths: &Paths) -> io::Result<()> {
    if !snapshot.exists || !snapshot.is_valid() {
        return Ok(());
    }
    let kept = Kept {
        version: 1,
        config_path: snapshot.path.clone(),
        hash: snapshot.hash.clone(),
        saved_at: clock::now_ms(),
        raw: snapshot.raw.clone(),
        includes: snapshot.includes.clone(),
    };
    atomic::write(&path(paths), &serde_json::to_vec(&kept)?, atomic::Sync::No)
}

/// The copy, evaluated, and when it was kept. `None` when there is none for
/// this configuration file or when it would not be accepted. Blocking.
pub fn load(paths: &Paths, env: &Env) -> Option<(Snapshot, u64)> {
    let bytes = std::fs::read(path(paths)).ok()?;
    let kept: Kept = serde_json::from_slice(&bytes).ok()?;
    if kept.config_path != paths.config || kept.hash != load::hash(kept.raw.as_bytes()) {
        return None;
    }
    let snapshot = load::evaluate_kept(kept.raw, &kept.includes, paths, env);
    snapshot.is_valid().then_some((snapshot, kept.saved_at))
}

/// Replaces an existing copy after a write that moved secrets out of the file.
pub fn refresh(snapshot: &Snapshot, paths: &Paths) -> io::Result<()> {
    if path(paths).exists() { save(snapshot, paths) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_kept_configuration_survives_its_file_and_its_includes() {
        let home = tempfile::tempdir().unwrap();
        let env: Env =
            [("HOME", home.path().to_str().unwrap()), ("INVOCATION_ID", "1")].into_iter().collect();
        let paths = Paths::resolve(&env);
        fs::create_dir_all(&paths.state).unwrap();
        fs::write(&paths.config, "{agents: {$include: './a.json'}} // mine").unwrap();
        fs::write(paths.state.join("a.json"), "{list: [{id: 'x'}]}").unwrap();
        save(&load::read(&paths, &env), &paths).unwrap();
        assert_eq!(path(&paths).metadata().unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&paths.config, "{broken").unwrap();
        fs::remove_file(paths.state.join("a.json")).unwrap();
        let (kept, _) = super::load(&paths, &env).unwrap();
        assert_eq!(kept.resolved["agents"]["list"][0]["id"], "x");
        save(&load::read(&paths, &env), &paths).unwrap();
        assert!(super::load(&paths, &env).is_some(), "a broken file is never kept");
        let torn = fs::read(path(&paths)).unwrap();
        fs::write(path(&paths), &torn[..torn.len() / 2]).unwrap();
        assert!(super::load(&paths, &env).is_none());
    }
}
