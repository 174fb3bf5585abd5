//! Reading `openclaw.json`: bytes → JSON5 → includes → variables → legacy →
//! validation → defaults → typed view.
//!
//! Reading never fails: whatever is wrong becomes an [`Issue`] of the snapshot,
//! so that a bad file can be shown, diffed and survived.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::base::hex;
use crate::config::include::{self, Files};
use crate::config::json5;
use crate::config::schema::Config;
use crate::config::{Issue, Snapshot, defaults, environment, legacy, substitute, validate};
use crate::profile::env::Env;
use crate::profile::paths::Paths;

/// No hand-written configuration comes near; a device or a log would.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// Reads the configuration file of `paths`. A missing file is an empty, valid
/// configuration. Blocking.
pub fn read(paths: &Paths, env: &Env) -> Snapshot {
    let text = match read_text(&paths.config) {
        Ok(text) => text,
        Err(err) => {
            let mut snapshot = parse(String::new(), false, paths, env, None);
            snapshot.exists = true;
            snapshot.issues = vec![Issue::new("", format!("config file could not be read: {err}"))];
            return snapshot;
        }
    };
    let exists = text.is_some();
    parse(text.unwrap_or_default(), exists, paths, env, None)
}

/// Evaluates `raw` as if it were the content of the configuration file.
pub fn evaluate(raw: String, paths: &Paths, env: &Env) -> Snapshot {
    parse(raw, true, paths, env, None)
}

/// The same with the included files as they were, whatever the disk says.
pub fn evaluate_kept(raw: String, includes: &Files, paths: &Paths, env: &Env) -> Snapshot {
    parse(raw, true, paths, env, Some(includes))
}

fn read_text(path: &Path) -> io::Result<Option<String>> {
    let meta = match path.metadata() {
        Ok(meta) => meta,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(err) => return Err(err),
    };
    if !meta.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("larger than {MAX_BYTES} bytes")));
    }
    String::from_utf8(bytes).map(Some).map_err(|err| {
        let good = &err.as_bytes()[..err.utf8_error().valid_up_to()];
        let line = good.split(|byte| *byte == b'\n').count();
        io::Error::other(format!("not valid UTF-8 at line {line}"))
    })
}

fn parse(raw: String, exists: bool, paths: &Paths, env: &Env, kept: Option<&Files>) -> Snapshot {
    let mut snapshot = Snapshot {
        path: paths.config.clone(),
        home: paths.home.clone(),
        state: paths.state.clone(),
        exists,
        hash: hash(raw.as_bytes()),
        raw,
        parsed: Value::Object(Map::new()),
        resolved: Value::Object(Map::new()),
        runtime: Value::Object(Map::new()),
        config: Config::default(),
        secrets: Arc::default(),
        env: Arc::new(environment::with_files(env, paths)),
        process_env: Arc::new(env.clone()),
        includes: Files::new(),
        issues: Vec::new(),
        warnings: Vec::new(),
        migrations: Vec::new(),
    };
    if exists {
        fill(&mut snapshot, paths, kept);
    }
    finish(&mut snapshot, paths);
    snapshot
}

/// Everything up to the validated document.
fn fill(snapshot: &mut Snapshot, paths: &Paths, kept: Option<&Files>) {
    let parsed = match json5::value(&snapshot.raw) {
        Ok(value) => value,
        Err(err) => {
            snapshot.issues.push(Issue::new("", format!("JSON5 parse failed: {err}")));
            return;
        }
    };
    snapshot.parsed = parsed.clone();
    let files = &mut snapshot.includes;
    let mut resolved = match include::resolve(parsed, &paths.config, files, kept) {
        Ok(value) => value,
        Err(err) => {
            snapshot.issues.push(Issue::new("", err.to_string()));
            return;
        }
    };
    let mut env = Env::clone(&snapshot.env);
    environment::with_section(&mut env, &resolved);
    for missing in substitute::substitute(&mut resolved, &env) {
        snapshot.warnings.push(Issue::new(
            missing.path,
            format!(
                "Missing env var \"{}\" - feature using this value will be unavailable",
                missing.name
            ),
        ));
    }
    snapshot.env = Arc::new(env);
    snapshot.migrations = legacy::migrate(&mut resolved);
    let (issues, warnings) = validate::validate(&resolved, paths);
    snapshot.issues.extend(issues);
    snapshot.warnings.extend(warnings);
    snapshot.resolved = resolved;
}

/// The runtime view and its types.
fn finish(snapshot: &mut Snapshot, paths: &Paths) {
    let valid = snapshot.issues.is_empty();
    snapshot.runtime = snapshot.resolved.clone();
    if valid {
        defaults::apply(&mut snapshot.runtime, &paths.home);
        match serde_path_to_error::deserialize(&snapshot.runtime) {
            Ok(config) => snapshot.config = config,
            Err(err) => {
                let path = err.path().to_string();
                snapshot.issues.push(Issue::new(path, err.into_inner().to_string()));
            }
        }
    }
    if !snapshot.issues.is_empty() {
        snapshot.config = lenient(&snapshot.runtime);
    }
}

/// Of an invalid document, the top-level sections that can be read, so that
/// clients still find the port.
fn lenient(document: &Value) -> Config {
    let readable = document.as_object().into_iter().flatten().filter(|(key, value)| {
        let alone = Value::Object(Map::from_iter([((*key).clone(), (*value).clone())]));
        Config::deserialize(&alone).is_ok()
    });
    let kept: Map<String, Value> =
        readable.map(|(key, value)| (key.clone(), value.clone())).collect();
    Config::deserialize(&Value::Object(kept)).unwrap_or_default()
}

/// SHA-256 as lower-case hex.
pub fn hash(bytes: &[u8]) -> String {
    hex::encode(&Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(text: Option<&str>) -> (tempfile::TempDir, Paths, Env) {
        let home = tempfile::tempdir().unwrap();
        let env: Env =
            [("HOME", home.path().to_str().unwrap()), ("INVOCATION_ID", "1"), ("TOK", "t")]
                .into_iter()
                .collect();
        let paths = Paths::resolve(&env);
        if let Some(text) = text {
            std::fs::create_dir_all(&paths.state).unwrap();
            std::fs::write(&paths.config, text).unwrap();
        }
        (home, paths, env)
    }

    #[test]
    fn a_missing_file_is_an_empty_valid_configuration() {
        let (_home, paths, env) = home(None);
        let snapshot = read(&paths, &env);
        assert!(snapshot.is_valid() && !snapshot.exists);
        assert_eq!(snapshot.hash, hash(b""));
        assert_eq!(snapshot.config.gateway.port, None);
    }

    #[test]
    fn a_file_goes_through_the_whole_pipeline() {
        let (_home, paths, env) = home(Some("{ // c\n gateway: {port: 21_400, bind: 'x'} }"));
        let broken = read(&paths, &env);
        assert_eq!(broken.issues[0].shown_path(), "<root>");
        assert_eq!(
            broken.issues[0].message,
            "JSON5 parse failed: SyntaxError: JSON5: invalid character '_' at 2:20"
        );
        let text = "{env:{vars:{X:'from-config'}}, gateway:{bind:'::', auth:{token:'${TOK}-${X}'}}, ui:{seamColor:'${NOPE}'}}";
        let snapshot = evaluate(text.to_owned(), &paths, &env);
        assert_eq!(snapshot.resolved["gateway"]["auth"]["token"], "t-from-config");
        assert_eq!(snapshot.config.gateway.bind.as_deref(), Some("lan"));
        assert_eq!(snapshot.warnings[0].path, "ui.seamColor");
        assert_eq!(snapshot.env.get("X"), Some("from-config"));
        assert_eq!(snapshot.migrations.len(), 1);
    }

    #[test]
    fn what_is_not_a_text_file_is_an_issue_and_not_a_crash() {
        let (_home, paths, env) = home(Some("{}"));
        std::fs::write(&paths.config, b"{\n  \"a\": \"\xff\"}").unwrap();
        let snapshot = read(&paths, &env);
        assert!(snapshot.issues[0].message.contains("not valid UTF-8 at line 2"));
        std::fs::remove_file(&paths.config).unwrap();
        std::fs::create_dir(&paths.config).unwrap();
        assert!(read(&paths, &env).issues[0].message.contains("not a regular file"));
    }

    #[test]
    fn the_readable_sections_of_an_invalid_file_are_kept() {
        let (_home, paths, env) = home(None);
        let text = "{gateway:{port:1234}, agents:{list:5}}";
        let snapshot = evaluate(text.to_owned(), &paths, &env);
        assert!(!snapshot.is_valid());
        assert_eq!(snapshot.config.gateway.port, Some(1234));
    }
}
