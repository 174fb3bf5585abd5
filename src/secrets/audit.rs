//! `secrets audit`: what is stored in clear, what refers to nothing, what is
//! never used. Reads only, and asks no gateway. Texts, codes and the shape of
//! the report are part of the contract.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use crate::config::Snapshot;
use crate::config::include::{self, Files};
use crate::profile::paths::Paths;
use crate::secrets::resolve::Resolver;
use crate::secrets::stores::{self, Kind};
use crate::secrets::{SecretError, SecretRef, Source, reference, targets};

/// Headers of model providers that carry a credential.
const SECRET_HEADERS: &[&str] = &[
    "authorization",
    "proxy-authorization",
    "api-key",
    "apikey",
    "token",
    "secret",
    "password",
    "credential",
];

/// What was found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub version: u32,
    pub status: &'static str,
    pub resolution: Resolution,
    pub files_scanned: BTreeSet<PathBuf>,
    pub summary: Summary,
    pub findings: Vec<Finding>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Resolution {
    pub refs_checked: usize,
    pub skipped_exec_refs: usize,
    pub resolvability_complete: bool,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    pub plaintext_count: usize,
    pub unresolved_ref_count: usize,
    pub shadowed_ref_count: usize,
    pub legacy_residue_count: usize,
}

/// What kind of finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    PlaintextFound,
    RefUnresolved,
    RefShadowed,
    LegacyResidue,
}

impl Code {
    /// The name in the report.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PlaintextFound => "PLAINTEXT_FOUND",
            Self::RefUnresolved => "REF_UNRESOLVED",
            Self::RefShadowed => "REF_SHADOWED",
            Self::LegacyResidue => "LEGACY_RESIDUE",
        }
    }
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    pub code: Code,
    pub severity: &'static str,
    pub file: PathBuf,
    pub json_path: String,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile_id: Option<String>,
}

impl Report {
    /// 2 when a reference has no value, 1 when asked to and something was
    /// found, else 0.
    pub fn exit_code(&self, check: bool) -> u8 {
        match () {
            () if self.summary.unresolved_ref_count > 0 => 2,
            () if check && !self.findings.is_empty() => 1,
            () => 0,
        }
    }
}

/// A reference and where it stands.
struct Used {
    file: PathBuf,
    path: String,
    reference: SecretRef,
    object_allowed: bool,
    provider: Option<String>,
}

#[derive(Default)]
struct Collector {
    files: BTreeSet<PathBuf>,
    findings: Vec<Finding>,
    used: Vec<Used>,
    /// Provider → paths of the configuration that refer to its key.
    keyed: BTreeMap<String, Vec<String>>,
    /// Provider → kinds of its stored profiles.
    profiles: BTreeMap<String, Vec<&'static str>>,
}

impl Collector {
    fn add(
        &mut self,
        code: Code,
        severity: &'static str,
        file: &Path,
        path: &str,
        message: String,
    ) -> &mut Finding {
        self.findings.push(Finding {
            code,
            severity,
            file: file.to_path_buf(),
            json_path: path.to_owned(),
            message,
            provider: None,
            profile_id: None,
        });
        let last = self.findings.len() - 1;
        &mut self.findings[last]
    }

    fn profile(&mut self, provider: &str, kind: Kind) {
        let kinds = self.profiles.entry(provider.to_lowercase()).or_default();
        if !kinds.contains(&kind.as_str()) {
            kinds.push(kind.as_str());
        }
    }

    fn config(&mut self, config: &Value, file: &Path) {
        for pattern in targets::patterns() {
            targets::each(config, &pattern, &mut |path, keys, value| {
                let provider = pattern.starts_with("models.providers.").then(|| keys[2].clone());
                let beside = match value {
                    Value::String(_) if pattern.ends_with("serviceAccount") => {
                        service_account_ref(config, &keys)
                    }
                    _ => None,
                };
                if let Some(reference) = beside.or_else(|| reference(value, config)) {
                    if pattern == "models.providers.*.apiKey" {
                        let keyed = self.keyed.entry(keys[2].to_lowercase()).or_default();
                        keyed.push(path.clone());
                    }
                    let object_allowed = pattern.ends_with("serviceAccount");
                    let file = file.to_path_buf();
                    self.used.push(Used { file, path, reference, object_allowed, provider });
                    return;
                }
                let present = value.as_str().is_some_and(|text| !text.trim().is_empty())
                    || (pattern.ends_with("serviceAccount") && value.is_object());
                let header = pattern.ends_with(".headers.*");
                if present && (!header || is_secret_header(&keys[keys.len() - 1])) {
                    let message = format!("{path} is stored as plaintext.");
                    self.add(Code::PlaintextFound, "warn", file, &path, message).provider =
                        provider;
                }
            });
        }
    }

    fn auth_store(&mut self, config: &Value, file: &Path) {
        let store = match stores::read_object(file) {
            Ok(None) => return,
            Ok(Some(store)) => store,
            Err(err) => {
                self.files.insert(file.to_path_buf());
                let message = format!("Invalid JSON in auth-profiles store: {err}");
                self.add(Code::RefUnresolved, "error", file, "<root>", message);
                return;
            }
        };
        self.files.insert(file.to_path_buf());
        for credential in stores::credentials(&store, config) {
            let (field, _) = credential.kind.fields();
            let provider = Some(credential.provider.to_owned());
            if credential.kind == Kind::OAuth {
                self.profile(credential.provider, credential.kind);
                let message =
                    "OAuth credentials are present (out of scope for static SecretRef migration).";
                let path = format!("profiles.{}", credential.id);
                let found = self.add(Code::LegacyResidue, "info", file, &path, message.to_owned());
                found.provider = provider;
                found.profile_id = Some(credential.id.to_owned());
                continue;
            }
            let path = format!("profiles.{}.{field}", credential.id);
            if let Some(reference) = credential.reference {
                self.profile(credential.provider, credential.kind);
                self.used.push(Used {
                    file: file.to_path_buf(),
                    path: path.clone(),
                    reference,
                    object_allowed: false,
                    provider: provider.clone(),
                });
            }
            if credential.plain.is_some() {
                self.profile(credential.provider, credential.kind);
                let what = if credential.kind == Kind::ApiKey { "API key" } else { "token" };
                let message = format!("Auth profile {what} is stored as plaintext.");
                let found = self.add(Code::PlaintextFound, "warn", file, &path, message);
                found.provider = provider;
                found.profile_id = Some(credential.id.to_owned());
            }
        }
    }

    fn models_file(&mut self, file: &Path) {
        let models = match stores::read_object(file) {
            Ok(None) => return,
            Ok(Some(models)) => models,
            Err(err) => {
                self.files.insert(file.to_path_buf());
                let message = format!("Invalid JSON in models.json: {err}");
                self.add(Code::RefUnresolved, "error", file, "<root>", message);
                return;
            }
        };
        self.files.insert(file.to_path_buf());
        let providers = models.get("providers").and_then(Value::as_object);
        for (name, provider) in providers.into_iter().flatten() {
            let key = std::iter::once(("apiKey".to_owned(), &provider["apiKey"], false));
            let headers = provider["headers"].as_object().into_iter().flatten();
            let headers = headers.map(|(header, value)| (format!("headers.{header}"), value, true));
            for (field, value, header) in key.chain(headers) {
                let path = format!("providers.{name}.{field}");
                let (code, severity, message) = if value.is_object() {
                    let of = if header { " for provider headers" } else { "" };
                    (
                        Code::RefUnresolved,
                        "error",
                        format!(
                            "models.json contains an unresolved SecretRef object{of}; regenerate models.json."
                        ),
                    )
                } else if value.as_str().is_some_and(|text| {
                    !text.trim().is_empty()
                        && !is_marker(text)
                        && (!header || is_secret_header(&field["headers.".len()..]))
                }) {
                    let what = if header { "header value" } else { "apiKey" };
                    (
                        Code::PlaintextFound,
                        "warn",
                        format!("models.json provider {what} is stored as plaintext."),
                    )
                } else {
                    continue;
                };
                self.add(code, severity, file, &path, message).provider = Some(name.clone());
            }
        }
    }

    fn env_file(&mut self, file: &Path) {
        let Ok(text) = std::fs::read_to_string(file) else { return };
        self.files.insert(file.to_path_buf());
        for (_, name, value) in stores::env_lines(&text) {
            if targets::is_secret_variable(name) && !value.is_empty() {
                let message = format!("Potential secret found in .env ({name}).");
                self.add(Code::PlaintextFound, "warn", file, &format!("$env.{name}"), message);
            }
        }
    }

    fn auth_json(&mut self, file: &Path) {
        let old = match stores::read_object(file) {
            Ok(None) => return,
            Ok(Some(old)) => old,
            Err(err) => {
                self.files.insert(file.to_path_buf());
                let message = format!("Invalid JSON in legacy auth.json: {err}");
                self.add(Code::RefUnresolved, "error", file, "<root>", message);
                return;
            }
        };
        self.files.insert(file.to_path_buf());
        for (name, _) in old.iter().filter(|(_, entry)| is_static_key(entry)) {
            let message = "Legacy auth.json contains static api_key credentials.".to_owned();
            let found = self.add(Code::LegacyResidue, "warn", file, name, message);
            found.provider = Some(name.clone());
        }
    }

    /// Resolves every reference once; what has no value is a finding.
    async fn references(&mut self, snapshot: &Snapshot, exec: bool) -> Resolution {
        let resolver = Resolver::of(snapshot);
        let mut asked: BTreeMap<SecretRef, Option<Result<Value, SecretError>>> = BTreeMap::new();
        for used in &self.used {
            if asked.contains_key(&used.reference) {
                continue;
            }
            let skip = used.reference.source == Source::Exec && !exec;
            let answer = if skip {
                resolver.check(&used.reference).err().map(Err)
            } else {
                let one = [used.reference.clone()];
                let mut values = resolver.resolve(&one).await;
                Some(values.as_mut().map(|values| values.remove(0)).map_err(|err| err.clone()))
            };
            asked.insert(used.reference.clone(), answer);
        }
        let skipped = |reference: &SecretRef| reference.source == Source::Exec && !exec;
        let skipped_exec_refs = asked.keys().filter(|reference| skipped(reference)).count();
        for used in std::mem::take(&mut self.used) {
            let why = match asked.get(&used.reference) {
                Some(Some(Err(err))) => err.detail().to_owned(),
                Some(Some(Ok(Value::String(text)))) if !text.is_empty() => continue,
                Some(Some(Ok(Value::Object(_)))) if used.object_allowed => continue,
                Some(Some(Ok(_))) if used.object_allowed => {
                    "resolved value is not a string/object".to_owned()
                }
                Some(Some(Ok(_))) => "resolved value is not a non-empty string".to_owned(),
                _ => continue,
            };
            let message = format!("Failed to resolve {} ({why}).", used.reference);
            let found = self.add(Code::RefUnresolved, "error", &used.file, &used.path, message);
            found.provider = used.provider;
        }
        Resolution {
            refs_checked: asked.len() - skipped_exec_refs,
            skipped_exec_refs,
            resolvability_complete: skipped_exec_refs == 0,
        }
    }

    fn shadows(&mut self) {
        for (provider, paths) in std::mem::take(&mut self.keyed) {
            let Some(kinds) = self.profiles.get(&provider) else { continue };
            let kinds = kinds.join("/");
            for path in paths {
                let message = format!(
                    "Auth profile credentials ({kinds}) take precedence for provider \"{provider}\", so this config ref may never be used."
                );
                let file = Path::new("openclaw.json");
                let found = self.add(Code::RefShadowed, "warn", file, &path, message);
                found.provider = Some(provider.clone());
            }
        }
    }
}

/// Looks through every file that may hold a secret.
pub async fn audit(snapshot: &Snapshot, paths: &Paths, exec: bool) -> Report {
    let mut collector = Collector::default();
    collector.files.insert(snapshot.path.clone());
    let config = &snapshot.resolved;
    let mut resolution = Resolution { resolvability_complete: true, ..Resolution::default() };
    let dirs = stores::agent_dirs(config, &paths.state, &paths.home, &snapshot.env);
    if snapshot.is_valid() {
        // As written: a variable that was replaced is not stored in clear.
        let written = with_references(snapshot);
        collector.config(&written, &snapshot.path);
        for dir in &dirs {
            collector.auth_store(config, &dir.join("auth-profiles.json"));
        }
        for dir in &dirs {
            collector.models_file(&dir.join("models.json"));
        }
        resolution = collector.references(snapshot, exec).await;
        collector.shadows();
    } else {
        let message = "Config is invalid; cannot validate secret references reliably.";
        collector.add(Code::RefUnresolved, "error", &snapshot.path, "<root>", message.to_owned());
    }
    collector.env_file(&paths.state.join(".env"));
    for dir in &dirs {
        collector.auth_json(&dir.join("auth.json"));
    }
    let count =
        |code: Code| collector.findings.iter().filter(|finding| finding.code == code).count();
    let summary = Summary {
        plaintext_count: count(Code::PlaintextFound),
        unresolved_ref_count: count(Code::RefUnresolved),
        shadowed_ref_count: count(Code::RefShadowed),
        legacy_residue_count: count(Code::LegacyResidue),
    };
    let status = match () {
        () if summary.unresolved_ref_count > 0 => "unresolved",
        () if collector.findings.is_empty() => "clean",
        () => "findings",
    };
    Report {
        version: 1,
        status,
        resolution,
        files_scanned: collector.files,
        summary,
        findings: collector.findings,
    }
}

/// The merged document before variables were replaced.
fn with_references(snapshot: &Snapshot) -> Value {
    let (parsed, mut files) = (snapshot.parsed.clone(), Files::new());
    include::resolve(parsed, &snapshot.path, &mut files, Some(&snapshot.includes))
        .unwrap_or_else(|_| snapshot.resolved.clone())
}

/// Whether an entry of the old `auth.json` is a key in clear.
pub(super) fn is_static_key(entry: &Value) -> bool {
    entry["type"] == "api_key" && entry["key"].as_str().is_some_and(|key| !key.trim().is_empty())
}

fn service_account_ref(config: &Value, keys: &[String]) -> Option<SecretRef> {
    let (_, parent) = keys.split_last()?;
    let section = crate::config::edit::get(config, parent)?;
    reference(&section["serviceAccountRef"], config)
}

/// What `models.json` holds in place of a secret: the name of a variable, or
/// a word that says where the secret comes from.
fn is_marker(text: &str) -> bool {
    let text = text.trim();
    text.starts_with("secretref-")
        || matches!(text, "minimax-oauth" | "oauth" | "ollama-local" | "custom-local")
        || (text.len() > 3
            && text
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_'))
}

fn is_secret_header(name: &str) -> bool {
    let name = name.trim().to_ascii_lowercase();
    SECRET_HEADERS.iter().any(|word| name.contains(word))
}
