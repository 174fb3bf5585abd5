//! `$include`: parts of the configuration that live in files of their own.
//!
//! Files must lie below the directory of the root file, in name and in fact.
//! Objects merge with the including file winning, arrays are appended.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use serde_json::{Map, Value};
use thiserror::Error;

use crate::config::json5;

/// The key whose value names the file or files.
pub const KEY: &str = "$include";
const MAX_DEPTH: usize = 10;
const MAX_BYTES: u64 = 2 * 1024 * 1024;

/// Why an include could not be used. The texts are those of the reference.
#[derive(Debug, Error)]
pub enum IncludeError {
    #[error("Invalid $include value: expected string or array of strings, got {0}")]
    Value(&'static str),
    #[error("Invalid $include array item: expected string, got {0}")]
    Item(&'static str),
    #[error("Sibling keys require included content to be an object")]
    Siblings,
    #[error("Include path escapes config directory: {path} (root: {root})", root = root.display())]
    Escapes { path: String, root: PathBuf },
    #[error("Include path resolves outside config directory (symlink): {path} (root: {root})", root = root.display())]
    Symlink { path: String, root: PathBuf },
    #[error("Maximum include depth ({MAX_DEPTH}) exceeded at: {0}")]
    Depth(String),
    #[error(
        "Include file failed security checks (regular file, max {MAX_BYTES} bytes, no hardlinks): {0}"
    )]
    Unsafe(String),
    #[error("Failed to read include file: {path} (resolved: {resolved})", resolved = resolved.display())]
    Read { path: String, resolved: PathBuf },
    #[error("Failed to parse include file: {path} (resolved: {resolved}): {reason}", resolved = resolved.display())]
    Parse { path: String, resolved: PathBuf, reason: String },
    #[error("Circular include detected: {0}")]
    Circular(String),
}

/// The included files by path, with their text.
pub type Files = BTreeMap<PathBuf, String>;

/// Replaces every `$include` below `value`; adds the files to `files`, without
/// a text those that cannot be used.
/// With `kept` the texts come from there and the disk is not looked at.
pub fn resolve(
    value: Value,
    config: &Path,
    files: &mut Files,
    kept: Option<&Files>,
) -> Result<Value, IncludeError> {
    let root = config.parent().unwrap_or(Path::new("/"));
    let mut reader = Reader { root, chain: vec![config.to_path_buf()], files, kept };
    reader.resolve(value)
}

struct Reader<'a> {
    root: &'a Path,
    /// The files being read, outermost first.
    chain: Vec<PathBuf>,
    files: &'a mut Files,
    kept: Option<&'a Files>,
}

impl Reader<'_> {
    fn resolve(&mut self, value: Value) -> Result<Value, IncludeError> {
        match value {
            Value::Array(items) => items
                .into_iter()
                .map(|item| self.resolve(item))
                .collect::<Result<_, _>>()
                .map(Value::Array),
            Value::Object(mut object) => {
                let Some(named) = object.shift_remove(KEY) else {
                    return self.resolve_members(object).map(Value::Object);
                };
                let included = self.included(&named)?;
                if object.is_empty() {
                    return Ok(included);
                }
                if !included.is_object() {
                    return Err(IncludeError::Siblings);
                }
                let siblings = self.resolve_members(object)?;
                Ok(merge(included, Value::Object(siblings)))
            }
            other => Ok(other),
        }
    }

    fn resolve_members(
        &mut self,
        object: Map<String, Value>,
    ) -> Result<Map<String, Value>, IncludeError> {
        object.into_iter().map(|(key, value)| Ok((key, self.resolve(value)?))).collect()
    }

    fn included(&mut self, named: &Value) -> Result<Value, IncludeError> {
        match named {
            Value::String(path) => self.file(path),
            Value::Array(paths) => {
                let mut merged = Value::Object(Map::new());
                for path in paths {
                    let path = path.as_str().ok_or(IncludeError::Item(js_type(path)))?;
                    merged = merge(merged, self.file(path)?);
                }
                Ok(merged)
            }
            other => Err(IncludeError::Value(js_type(other))),
        }
    }

    fn file(&mut self, path: &str) -> Result<Value, IncludeError> {
        let including = self.chain.last().and_then(|file| file.parent()).unwrap_or(self.root);
        let resolved = normal(&including.join(path));
        if !resolved.starts_with(self.root) {
            return Err(IncludeError::Escapes {
                path: path.to_owned(),
                root: self.root.to_path_buf(),
            });
        }
        if self.chain.contains(&resolved) {
            let names: Vec<String> = self
                .chain
                .iter()
                .chain([&resolved])
                .map(|file| file.display().to_string())
                .collect();
            return Err(IncludeError::Circular(names.join(" -> ")));
        }
        if self.chain.len() > MAX_DEPTH {
            return Err(IncludeError::Depth(path.to_owned()));
        }
        // Named also when it cannot be used: to mend it is to change it.
        self.files.entry(resolved.clone()).or_default();
        let text = match self.kept {
            Some(kept) => kept.get(&resolved).cloned().ok_or_else(|| IncludeError::Read {
                path: path.to_owned(),
                resolved: resolved.clone(),
            })?,
            None => self.read(path, &resolved)?,
        };
        let value = json5::value(&text).map_err(|err| IncludeError::Parse {
            path: path.to_owned(),
            resolved: resolved.clone(),
            reason: err.to_string(),
        })?;
        self.files.insert(resolved.clone(), text);
        self.chain.push(resolved);
        let value = self.resolve(value);
        self.chain.pop();
        value
    }

    fn read(&self, path: &str, resolved: &Path) -> Result<String, IncludeError> {
        let unreadable =
            || IncludeError::Read { path: path.to_owned(), resolved: resolved.to_path_buf() };
        let unsafe_file = || IncludeError::Unsafe(path.to_owned());
        let real = resolved.canonicalize().map_err(|_| unreadable())?;
        let real_root = self.root.canonicalize().map_err(|_| unreadable())?;
        if !real.starts_with(&real_root) {
            return Err(IncludeError::Symlink {
                path: path.to_owned(),
                root: self.root.to_path_buf(),
            });
        }
        // A FIFO would block the open, so the kind is checked before and, against a swap, after it.
        if !real.metadata().map_err(|_| unreadable())?.is_file() {
            return Err(unsafe_file());
        }
        let mut file = File::open(&real).map_err(|_| unreadable())?;
        let meta = file.metadata().map_err(|_| unreadable())?;
        if !meta.is_file() || meta.len() > MAX_BYTES || meta.nlink() > 1 {
            return Err(unsafe_file());
        }
        let mut bytes = Vec::new();
        file.by_ref().take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|_| unreadable())?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(unsafe_file());
        }
        String::from_utf8(bytes).map_err(|_| IncludeError::Parse {
            path: path.to_owned(),
            resolved: resolved.to_path_buf(),
            reason: "not valid UTF-8".to_owned(),
        })
    }
}

/// Merges `over` into `base`: objects by key, arrays appended, else `over`.
fn merge(base: Value, over: Value) -> Value {
    match (base, over) {
        (Value::Object(mut base), Value::Object(over)) => {
            for (key, value) in over {
                if matches!(key.as_str(), "__proto__" | "prototype" | "constructor") {
                    continue;
                }
                let value = match base.get_mut(&key) {
                    Some(existing) => merge(existing.take(), value),
                    None => value,
                };
                base.insert(key, value);
            }
            Value::Object(base)
        }
        (Value::Array(mut base), Value::Array(over)) => {
            base.extend(over);
            Value::Array(base)
        }
        (_, over) => over,
    }
}

/// Resolves `.` and `..` by name only.
pub(super) fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            other => normal.push(other),
        }
    }
    normal
}

/// The word that JavaScript's `typeof` has for a value.
fn js_type(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Null | Value::Array(_) | Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    fn load(files: &[(&str, &str)], root: Value) -> Result<Value, String> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let mut seen = Files::new();
        resolve(root, &dir.path().join("openclaw.json"), &mut seen, None)
            .map_err(|err| err.to_string().replace(dir.path().to_str().unwrap(), "DIR"))
    }

    #[test]
    fn siblings_win_and_arrays_are_appended() {
        let merged = load(
            &[
                ("a.json5", "{x: 1, list: ['a'], deep: {p: 1}}"),
                ("b.json", "{\"list\": [\"b\"], \"deep\": {\"q\": 2}}"),
            ],
            json!({"agents": {"$include": ["./a.json5", "b.json"], "x": 9, "list": ["c"]}}),
        );
        assert_eq!(
            merged.unwrap(),
            json!({"agents": {"x": 9, "list": ["a","b","c"], "deep": {"p":1,"q":2}}})
        );
    }

    #[test]
    fn each_refusal_has_its_text() {
        let cases = [
            (
                json!({"a": {"$include": 5}}),
                "Invalid $include value: expected string or array of strings, got number",
            ),
            (
                json!({"a": {"$include": [true]}}),
                "Invalid $include array item: expected string, got boolean",
            ),
            (
                json!({"a": {"$include": "./no.json"}}),
                "Failed to read include file: ./no.json (resolved: DIR/no.json)",
            ),
            (
                json!({"a": {"$include": "../../etc/passwd"}}),
                "Include path escapes config directory: ../../etc/passwd (root: DIR)",
            ),
            (
                json!({"a": {"$include": "list.json", "b": 1}}),
                "Sibling keys require included content to be an object",
            ),
            (
                json!({"a": {"$include": "loop.json"}}),
                "Circular include detected: DIR/openclaw.json -> DIR/loop.json -> DIR/loop.json",
            ),
            (
                json!({"a": {"$include": "bad.json"}}),
                "Failed to parse include file: bad.json (resolved: DIR/bad.json): SyntaxError: JSON5: invalid end of input at 1:2",
            ),
        ];
        for (root, expected) in cases {
            let files = [
                ("list.json", "[1]"),
                ("loop.json", "{\"$include\": \"./loop.json\"}"),
                ("bad.json", "{"),
            ];
            assert_eq!(load(&files, root).unwrap_err(), expected);
        }
    }

    #[test]
    fn depth_size_links_and_symlinks_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("openclaw.json");
        for level in 0..12 {
            fs::write(
                dir.path().join(format!("{level}.json")),
                format!("{{\"$include\": \"{}.json\"}}", level + 1),
            )
            .unwrap();
        }
        let load = |name: &str| {
            let mut seen = Files::new();
            resolve(json!({"$include": name}), &root, &mut seen, None).unwrap_err().to_string()
        };
        assert_eq!(load("0.json"), "Maximum include depth (10) exceeded at: 10.json");
        fs::write(dir.path().join("big.json"), " ".repeat(3 * 1024 * 1024)).unwrap();
        assert!(load("big.json").starts_with("Include file failed security checks"));
        fs::write(dir.path().join("one.json"), "{}").unwrap();
        fs::hard_link(dir.path().join("one.json"), dir.path().join("two.json")).unwrap();
        assert!(load("two.json").starts_with("Include file failed security checks"));
        std::os::unix::fs::symlink("/etc/hostname", dir.path().join("out.json")).unwrap();
        assert!(
            load("out.json")
                .starts_with("Include path resolves outside config directory (symlink)")
        );
    }
}
