//! What `config set` was asked to assign: values, JSON, references, providers
//! and batches, each checked before the file is touched.

mod builder;

use serde_json::{Map, Value};

use crate::config::edit::{self, EditError};
use crate::config::json5;
use crate::config::redact::{self, References};

pub use builder::{ProviderFlags, RefFlags};

/// How the value was given; decides what a dry run checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// JSON5, else plain text.
    Value,
    /// Strict JSON, or a batch.
    Json,
    /// Put together from flags.
    Builder,
}

impl Mode {
    /// The name in a dry run's report.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::Json => "json",
            Self::Builder => "builder",
        }
    }
}

/// One path and its next value.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    pub keys: Vec<String>,
    pub value: Value,
}

/// Why a request makes no sense. The texts are part of the contract.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssignError {
    #[error("config set mode error: {0}")]
    Mode(&'static str),
    #[error("Failed to parse JSON value: {0}")]
    Json(String),
    #[error("{0}")]
    Batch(String),
    #[error("{0}")]
    Builder(String),
    #[error(transparent)]
    Edit(#[from] EditError),
}

/// The flags and arguments of `config set`.
#[derive(Debug, Clone, Default)]
pub struct Request {
    pub path: Option<String>,
    pub value: Option<String>,
    /// `--strict-json` or `--json`.
    pub strict: bool,
    pub dry_run: bool,
    pub allow_exec: bool,
    pub batch_json: Option<String>,
    /// The content of `--batch-file`.
    pub batch_file: Option<String>,
    pub reference: RefFlags,
    pub provider: ProviderFlags,
}

/// What to assign, and how it was given.
pub fn plan(request: &Request) -> Result<(Mode, Vec<Assignment>), AssignError> {
    let by_ref = request.reference.any();
    let by_provider = request.provider.any();
    let by_batch = request.batch_json.is_some() || request.batch_file.is_some();
    if by_batch && (request.path.is_some() || request.value.is_some()) {
        return Err(AssignError::Mode("batch mode does not accept <path> or <value> arguments."));
    }
    if by_batch && (by_ref || by_provider) {
        return Err(AssignError::Mode(
            "batch mode (--batch-json/--batch-file) cannot be combined with ref builder (--ref-*) or provider builder (--provider-*) flags.",
        ));
    }
    if by_ref && by_provider {
        return Err(AssignError::Mode(
            "choose exactly one mode: ref builder (--ref-provider/--ref-source/--ref-id) or provider builder (--provider-*), not both.",
        ));
    }
    if request.allow_exec && !request.dry_run {
        return Err(AssignError::Mode("--allow-exec requires --dry-run."));
    }
    if let Some(batch) = &request.batch_json {
        return Ok((Mode::Json, batch_of(batch, "--batch-json")?));
    }
    if let Some(batch) = &request.batch_file {
        return Ok((Mode::Json, batch_of(batch, "--batch-file")?));
    }
    let Some(path) = &request.path else {
        return Err(AssignError::Mode(match (by_ref, by_provider) {
            (true, _) => "ref builder mode requires <path>.",
            (_, true) => "provider builder mode requires <path>.",
            _ => "value/json mode requires <path> when batch mode is not used.",
        }));
    };
    if (by_ref || by_provider) && request.value.is_some() {
        return Err(AssignError::Mode("builder mode does not accept a <value> argument."));
    }
    if by_ref {
        let keys = edit::parse_path(path)?;
        return Ok((Mode::Builder, vec![Assignment { keys, value: request.reference.build()? }]));
    }
    if by_provider {
        let keys = edit::parse_path(path)?;
        let value = request.provider.build(&keys)?;
        return Ok((Mode::Builder, vec![Assignment { keys, value }]));
    }
    let Some(text) = &request.value else {
        return Err(AssignError::Mode("value/json mode requires <value>."));
    };
    let keys = edit::parse_path(path)?;
    if request.strict {
        let value = strict_json(text).map_err(|complaint| {
            // What was typed for a secret is not repeated.
            let hidden = redact::redact(&Value::from(text.as_str()), path, References::Shown);
            let secret = hidden == redact::SENTINEL && complaint.contains("not valid JSON");
            let told = if secret { "SyntaxError: the value is not valid JSON" } else { &complaint };
            AssignError::Json(told.to_owned())
        })?;
        return Ok((Mode::Json, vec![Assignment { keys, value }]));
    }
    let value = json5::value(text).unwrap_or_else(|_| Value::from(text.as_str()));
    Ok((Mode::Value, vec![Assignment { keys, value }]))
}

/// Parses JSON, complaining in the words of JavaScript's parser.
fn strict_json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|err| {
        let complaint = if err.is_eof() {
            "Unexpected end of JSON input".to_owned()
        } else {
            let line = text.lines().nth(err.line().saturating_sub(1)).unwrap_or_default();
            let found = first_wrong(text)
                .or_else(|| line.chars().nth(err.column().saturating_sub(1)))
                .unwrap_or(' ');
            format!("Unexpected token '{found}', {} is not valid JSON", quoted(text))
        };
        format!("SyntaxError: {complaint}")
    })
}

/// The first character that JavaScript stumbles over: for a word that begins
/// like a literal, the first one that differs.
fn first_wrong(text: &str) -> Option<char> {
    let text = text.trim_start();
    let first = text.chars().next()?;
    let literal = ["true", "false", "null"].into_iter().find(|word| word.starts_with(first));
    match literal {
        Some(word) => {
            text.chars().zip(word.chars()).find(|(found, wanted)| found != wanted).map(|(c, _)| c)
        }
        None => (!matches!(first, '{' | '[' | '"' | '-' | '0'..='9')).then_some(first),
    }
}

fn quoted(text: &str) -> String {
    if text.chars().count() <= 40 {
        format!("\"{text}\"")
    } else {
        let start: String = text.chars().take(10).collect();
        format!("\"{start}\"...")
    }
}

fn batch_of(text: &str, label: &str) -> Result<Vec<Assignment>, AssignError> {
    let parsed = json5::value(text)
        .map_err(|err| AssignError::Batch(format!("Failed to parse {label}: {err}")))?;
    let Value::Array(entries) = parsed else {
        return Err(AssignError::Batch(format!("{label} must be a JSON array.")));
    };
    entries
        .iter()
        .enumerate()
        .map(|(index, entry)| batch_entry(entry, &format!("{label}[{index}]")))
        .collect()
}

fn batch_entry(entry: &Value, label: &str) -> Result<Assignment, AssignError> {
    let refuse = |text: String| Err(AssignError::Batch(text));
    let Value::Object(entry) = entry else {
        return refuse(format!("{label} must be an object."));
    };
    let Some(path) =
        entry.get("path").and_then(Value::as_str).filter(|path| !path.trim().is_empty())
    else {
        return refuse(format!("{label}.path is required."));
    };
    let given: Vec<&str> =
        ["value", "ref", "provider"].into_iter().filter(|key| entry.contains_key(*key)).collect();
    let [kind] = given.as_slice() else {
        return refuse(format!("{label} must include exactly one of: value, ref, provider."));
    };
    let keys = edit::parse_path(path)?;
    let value = entry[*kind].clone();
    match *kind {
        "ref" => builder::check_reference(&value)?,
        "provider" => builder::check_provider(&keys, &value)?,
        _ => {}
    }
    Ok(Assignment { keys, value })
}

/// The text with every assignment made; also what had to go with it, as lines.
pub fn apply(text: &str, assignments: &[Assignment]) -> Result<(String, Vec<String>), EditError> {
    let mut text = text.to_owned();
    let mut removed = Vec::new();
    for assignment in assignments {
        text = put(&text, &assignment.keys, &assignment.value)?;
        if assignment.keys == ["gateway", "auth", "mode"] {
            let mode = assignment.value.as_str().unwrap_or_default();
            let inactive: &[&str] = match mode {
                "token" => &["password"],
                "password" => &["token"],
                "trusted-proxy" => &["token", "password"],
                _ => &[],
            };
            for key in inactive {
                let keys = ["gateway", "auth", key].map(str::to_owned);
                if let Some(without) = edit::unset(&text, &keys)? {
                    text = without;
                    removed.push(format!(
                        "Removed inactive gateway.auth.{key} for gateway.auth.mode={mode}."
                    ));
                }
            }
        }
    }
    Ok((text, removed))
}

/// A null takes the key away, also inside an object; in a list it is a value.
fn put(text: &str, keys: &[String], value: &Value) -> Result<String, EditError> {
    let in_list = keys.last().is_some_and(|key| key.parse::<usize>().is_ok());
    if value.is_null() && !in_list {
        // Refuses what an include provides.
        edit::unset(text, keys)?;
        return edit::unset_exact(text, keys);
    }
    edit::set(text, keys, &without_nulls(value))
}

fn without_nulls(value: &Value) -> Value {
    let Value::Object(object) = value else { return value.clone() };
    let members = object.iter().filter(|(_, member)| !member.is_null());
    members.map(|(key, member)| (key.clone(), without_nulls(member))).collect()
}

/// A new object from pairs that have a value.
fn object(pairs: impl IntoIterator<Item = (&'static str, Option<Value>)>) -> Value {
    let members = pairs.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Value::Object(members.collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_null_takes_a_key_away() {
        let text = "{ // c\n  a: {b: 1, c: 2},\n  list: [1],\n}\n";
        let with = |batch: &str| {
            let assignments = batch_of(batch, "--batch-json").unwrap();
            json5::value(&apply(text, &assignments).unwrap().0).unwrap()
        };
        assert_eq!(with("[{path: 'a.b', value: null}]"), json!({"a": {"c": 2}, "list": [1]}));
        assert_eq!(with("[{path: 'a.x', value: null}]"), json5::value(text).unwrap());
        assert_eq!(
            with("[{path: 'a', value: {b: null, d: {e: null, f: [null]}}}]"),
            json!({"a": {"d": {"f": [null]}}, "list": [1]})
        );
        assert_eq!(with("[{path: 'list[0]', value: null}]")["list"], json!([null]));
    }

    fn request(path: &str, value: &str) -> Request {
        Request { path: Some(path.into()), value: Some(value.into()), ..Request::default() }
    }

    #[track_caller]
    fn refuses(request: &Request, expected: &str) {
        assert_eq!(plan(request).unwrap_err().to_string(), expected);
    }

    #[test]
    fn values_are_json5_else_text() {
        let value = |text: &str| plan(&request("a.b", text)).unwrap().1[0].value.clone();
        assert_eq!(value("21420"), json!(21420));
        assert_eq!(value("[1,]"), json!([1]));
        assert_eq!(value("local"), json!("local"));
        assert_eq!(value("https://x/y"), json!("https://x/y"));
    }

    #[test]
    fn contradictions_are_refused_with_known_texts() {
        let strict = Request { strict: true, ..request("gateway.port", "abc") };
        refuses(
            &strict,
            "Failed to parse JSON value: SyntaxError: Unexpected token 'a', \"abc\" is not valid JSON",
        );
        let strict = Request { strict: true, ..request("gateway.port", "notanumber") };
        refuses(
            &strict,
            "Failed to parse JSON value: SyntaxError: Unexpected token 'o', \"notanumber\" is not valid JSON",
        );
        refuses(
            &Request { value: None, ..request("gateway.port", "") },
            "config set mode error: value/json mode requires <value>.",
        );
        refuses(
            &Request { allow_exec: true, ..request("a.b", "1") },
            "config set mode error: --allow-exec requires --dry-run.",
        );
        refuses(
            &Request { batch_json: Some("[]".into()), ..request("x", "1") },
            "config set mode error: batch mode does not accept <path> or <value> arguments.",
        );
        let batch = |text: &str| Request { batch_json: Some(text.into()), ..Request::default() };
        refuses(&batch("{}"), "--batch-json must be a JSON array.");
        refuses(&batch("[{\"value\":1}]"), "--batch-json[0].path is required.");
        refuses(
            &batch("[{\"path\":\"a\",\"value\":1,\"ref\":{}}]"),
            "--batch-json[0] must include exactly one of: value, ref, provider.",
        );
        refuses(&request("__proto__.x", "1"), "Invalid path segment: __proto__");
    }

    #[test]
    fn builders_check_what_they_build() {
        let by_ref = |source: &str, id: &str| Request {
            path: Some("channels.discord.token".into()),
            reference: RefFlags {
                provider: Some("default".into()),
                source: Some(source.into()),
                id: Some(id.into()),
            },
            ..Request::default()
        };
        refuses(&by_ref("env", "low"), "ref.id must match /^[A-Z][A-Z0-9_]{0,127}$/ for env refs.");
        refuses(&by_ref("vault", "X"), "ref.source must be one of: env, file, exec.");
        let mut partial = by_ref("env", "X");
        partial.reference.id = None;
        refuses(
            &partial,
            "config set mode error: ref builder mode requires --ref-provider <alias>, --ref-source <env|file|exec>, and --ref-id <id>.",
        );
        assert_eq!(
            plan(&by_ref("env", "X")).unwrap().1[0].value,
            json!({"source": "env", "provider": "default", "id": "X"})
        );
        let provider = |path: &str, command: &str| Request {
            path: Some(path.into()),
            provider: ProviderFlags {
                source: Some("exec".into()),
                command: Some(command.into()),
                ..ProviderFlags::default()
            },
            ..Request::default()
        };
        refuses(
            &provider("foo.bar", "/x"),
            "Provider builder mode requires path \"secrets.providers.<alias>\" (example: secrets.providers.vault).",
        );
        refuses(
            &provider("secrets.providers.v2", "vault"),
            "Provider builder config invalid at command: secrets.providers.*.command must be an absolute path.",
        );
        let both = Request {
            path: Some("x".into()),
            reference: RefFlags { id: Some("A".into()), ..RefFlags::default() },
            provider: ProviderFlags { source: Some("env".into()), ..ProviderFlags::default() },
            ..Request::default()
        };
        refuses(
            &both,
            "config set mode error: choose exactly one mode: ref builder (--ref-provider/--ref-source/--ref-id) or provider builder (--provider-*), not both.",
        );
    }

    #[test]
    fn choosing_a_mode_drops_the_credentials_of_the_other() {
        let text = "{gateway:{auth:{mode:'token',token:'t'}}}";
        let (_, assignments) = plan(&request("gateway.auth.mode", "password")).unwrap();
        let (text, removed) = apply(text, &assignments).unwrap();
        assert_eq!(text, "{gateway:{auth:{mode:\"password\"}}}");
        assert_eq!(
            removed,
            ["Removed inactive gateway.auth.token for gateway.auth.mode=password."]
        );
    }
}
