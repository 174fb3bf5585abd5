//! The `file` provider: a private JSON file, or a file that is one value.
//!
//! `$CREDENTIALS_DIRECTORY` of systemd works as it is: its files are read-only
//! for the service user, and owned by root under a system manager.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::Uid;
use serde_json::Value;

use crate::lifecycle;
use crate::secrets::SecretError;

type Values = Result<BTreeMap<String, Value>, SecretError>;

/// Reads the provider's file once and picks `ids` from it.
pub(super) async fn read(provider: &str, settings: &Value, path: PathBuf, ids: &[&str]) -> Values {
    let limit = settings["maxBytes"].as_u64().unwrap_or(1_048_576);
    let patience = settings["timeoutMs"].as_u64().unwrap_or(5000);
    let name = provider.to_owned();
    let reading = lifecycle::spawn_blocking(move || read_checked(&name, &path, limit));
    let bytes = match tokio::time::timeout(Duration::from_millis(patience), reading).await {
        Ok(Ok(bytes)) => bytes?,
        Ok(Err(_)) => {
            return Err(SecretError::Provider(format!("File provider \"{provider}\" failed.")));
        }
        Err(_) => {
            return Err(SecretError::Provider(format!(
                "File provider \"{provider}\" timed out after {patience}ms."
            )));
        }
    };
    let text = String::from_utf8(bytes).map_err(|_| {
        SecretError::Provider(format!("File provider \"{provider}\" payload is not UTF-8."))
    })?;
    if settings["mode"] == "singleValue" {
        return single_value(provider, &text, ids);
    }
    let payload: Value =
        serde_json::from_str(&text).map_err(|_| SecretError::Provider(syntax_error(&text)))?;
    if !payload.is_object() {
        return Err(SecretError::Provider(format!(
            "File provider \"{provider}\" payload is not a JSON object."
        )));
    }
    ids.iter().map(|id| Ok(((*id).to_owned(), pointer(&payload, id)?))).collect()
}

/// Reads one credential of the service per id, `/name`.
pub(super) async fn credentials(dir: &Path, ids: &[&str]) -> Values {
    let mut values = BTreeMap::new();
    for id in ids {
        let name = id
            .strip_prefix('/')
            .filter(|name| !name.is_empty() && !name.contains('/') && !matches!(*name, "." | ".."));
        let Some(name) = name else {
            return Err(SecretError::Reference(format!(
                "Secret provider \"systemd\" expects ref id \"/<name of the credential>\", got \"{id}\"."
            )));
        };
        let single = serde_json::json!({"mode": "singleValue"});
        let path = dir.join(name.replace("~1", "/").replace("~0", "~"));
        let value = Box::pin(read("systemd", &single, path, &["value"])).await?;
        values.insert((*id).to_owned(), value.get("value").cloned().unwrap_or_default());
    }
    Ok(values)
}

fn single_value(provider: &str, text: &str, ids: &[&str]) -> Values {
    let value = text.strip_suffix('\n').unwrap_or(text);
    let value = value.strip_suffix('\r').unwrap_or(value);
    ids.iter()
        .map(|id| {
            if *id == "value" {
                Ok(("value".to_owned(), Value::from(value)))
            } else {
                Err(SecretError::Reference(format!(
                    "singleValue file provider \"{provider}\" expects ref id \"value\"."
                )))
            }
        })
        .collect()
}

/// The shape of JavaScript's complaint without the content, which is a secret.
fn syntax_error(text: &str) -> String {
    match serde_json::from_str::<Value>(text) {
        Err(err) if err.is_eof() => "Unexpected end of JSON input".to_owned(),
        Err(err) => format!(
            "Unexpected token in JSON at line {} column {}; not valid JSON",
            err.line(),
            err.column()
        ),
        Ok(_) => "not valid JSON".to_owned(),
    }
}

/// Follows an RFC 6901 pointer.
fn pointer(payload: &Value, id: &str) -> Result<Value, SecretError> {
    let mut value = payload;
    for segment in id.split('/').skip(1) {
        let segment = segment.replace("~1", "/").replace("~0", "~");
        let next = match value {
            Value::Array(items) => {
                let item = segment.parse::<usize>().ok().and_then(|index| items.get(index));
                item.ok_or_else(|| format!("JSON pointer segment \"{segment}\" is out of bounds."))
            }
            other => other
                .get(&segment)
                .ok_or_else(|| format!("JSON pointer segment \"{segment}\" does not exist.")),
        };
        value = next.map_err(SecretError::Reference)?;
    }
    Ok(value.clone())
}

fn read_checked(provider: &str, path: &Path, limit: u64) -> Result<Vec<u8>, SecretError> {
    check(
        &format!("secrets.providers.{provider}.path"),
        path,
        Allow { readable: false, links: false },
    )?;
    let failed = |_| {
        SecretError::Provider(format!(
            "secrets.providers.{provider}.path is not readable: {}",
            path.display()
        ))
    };
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(SecretError::Provider(format!(
            "File provider \"{provider}\" exceeded maxBytes ({limit})."
        )));
    }
    Ok(bytes)
}

/// What a provider's file may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allow {
    /// Others may read it: a program is no secret.
    pub(super) readable: bool,
    pub(super) links: bool,
}

/// Checks who can have touched a file before it is trusted.
pub(super) fn check(label: &str, path: &Path, allow: Allow) -> Result<(), SecretError> {
    let say = |what: String| SecretError::Provider(what);
    let shown = path.display();
    if !path.is_absolute() {
        return Err(say(format!("{label} must be an absolute path.")));
    }
    let link =
        path.symlink_metadata().map_err(|_| say(format!("{label} is not readable: {shown}")))?;
    if link.is_symlink() && !allow.links {
        return Err(say(format!("{label} must not be a symlink: {shown}")));
    }
    let meta = path.metadata().map_err(|_| say(format!("{label} is not readable: {shown}")))?;
    if !meta.is_file() {
        return Err(say(format!("{label} must be a file: {shown}")));
    }
    let uid = Uid::effective();
    let mode = meta.mode();
    // Root can change anything anyway, and hands out credentials this way.
    let by_root = meta.uid() == 0 && mode & 0o022 == 0;
    let closed_to_others = mode.trailing_zeros() >= 3;
    let forbidden = if allow.readable || (by_root && !uid.is_root() && closed_to_others) {
        0o022
    } else {
        0o066
    };
    if mode & forbidden != 0 {
        return Err(say(format!("{label} permissions are too open: {shown}")));
    }
    if meta.uid() != uid.as_raw() && !by_root {
        return Err(say(format!("{label} must be owned by the current user (uid={uid}): {shown}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pointer_unescapes_its_segments() {
        let payload = json!({"a/b": {"t~x": "v", "list": ["z"]}});
        assert_eq!(pointer(&payload, "/a~1b/t~0x").unwrap(), "v");
        assert_eq!(pointer(&payload, "/a~1b/list/0").unwrap(), "z");
        assert_eq!(
            pointer(&payload, "/a~1b/list/1").unwrap_err().to_string(),
            "SecretRefResolutionError: JSON pointer segment \"1\" is out of bounds."
        );
        assert_eq!(
            pointer(&payload, "/no").unwrap_err().to_string(),
            "SecretRefResolutionError: JSON pointer segment \"no\" does not exist."
        );
    }
}
