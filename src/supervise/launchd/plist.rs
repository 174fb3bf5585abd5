//! Renders a [`ServiceSpec`] as a LaunchAgent and reads LaunchAgents back.
//!
//! Reading goes through `plist::Value`: agents written by other releases hold
//! keys (`Comment`) that the typed model refuses. Text is never compared.

use std::collections::HashMap;
use std::io;

use launchd::process_type::ProcessType;
use launchd::sockets::{SocketFamily, SocketOptions, SocketType};
use launchd::{KeepAliveOptions, KeepAliveType, Launchd};
use plist::{Dictionary, Value};

use crate::supervise::spec::ServiceSpec;

/// launchd caps the stop of a user agent at about this many seconds.
pub const EXIT_TIMEOUT_SECS: u32 = 20;

/// Why a LaunchAgent cannot be built or read.
#[derive(Debug, thiserror::Error)]
pub enum PlistError {
    #[error("not a property list")]
    Syntax(#[source] plist::Error),
    #[error("the top level is not a dictionary")]
    NotADictionary,
    #[error("key {key}: {problem}")]
    Key { key: &'static str, problem: &'static str },
    #[error("a path is not usable in a LaunchAgent")]
    Path(#[source] launchd::Error),
    #[error("cannot be written")]
    Write(#[source] plist::Error),
}

/// The LaunchAgent as a dictionary with sorted keys.
pub fn agent(spec: &ServiceSpec) -> Result<Dictionary, PlistError> {
    let argv = std::iter::once(spec.program.clone()).chain(spec.args.iter().cloned()).collect();
    let mut env: HashMap<String, String> =
        spec.env.iter().filter(|(key, _)| key != "OPENCLAW_SYSTEMD_UNIT").cloned().collect();
    env.insert("OPENCLAW_LAUNCHD_LABEL".into(), spec.names.label.clone());
    let job = Launchd::default()
        .with_label(&spec.names.label)
        .with_run_at_load(true)
        .with_keep_alive(KeepAliveType::Options(
            KeepAliveOptions::new().with_successful_exit(false),
        ))
        .with_throttle_interval(10)
        .with_exit_timeout(EXIT_TIMEOUT_SECS)
        .with_process_type(ProcessType::Background)
        .with_umask(0o077)
        .with_program_arguments(argv)
        .with_environment_variables(env)
        .with_standard_out_path(spec.logs.join("gateway.log"))
        .map_err(PlistError::Path)?
        .with_standard_error_path(spec.logs.join("gateway.err.log"))
        .map_err(PlistError::Path)?;
    let mut root = dictionary(plist::to_value(&job).map_err(PlistError::Write)?)?;
    root.insert("Comment".into(), Value::String(spec.description.clone()));
    if let Some(Value::Dictionary(keep)) = root.get_mut("KeepAlive") {
        keep.insert("Crashed".into(), Value::Boolean(true));
    }
    let mut sockets = Dictionary::new();
    sockets.insert("gateway".into(), Value::Array(listeners(spec)?));
    root.insert("Sockets".into(), Value::Dictionary(sockets));
    sort(&mut root);
    Ok(root)
}

/// The LaunchAgent as the XML text of its file.
pub fn render(spec: &ServiceSpec) -> Result<Vec<u8>, PlistError> {
    let mut text = Vec::new();
    Value::Dictionary(agent(spec)?).to_writer_xml(&mut text).map_err(PlistError::Write)?;
    text.push(b'\n');
    Ok(text)
}

/// Reads a LaunchAgent of any origin, XML or binary.
pub fn parse(bytes: &[u8]) -> Result<Dictionary, PlistError> {
    dictionary(Value::from_reader(io::Cursor::new(bytes)).map_err(PlistError::Syntax)?)
}

/// `ProgramArguments`, or the single `Program`.
pub fn program_arguments(agent: &Dictionary) -> Result<Vec<String>, PlistError> {
    const KEY: &str = "ProgramArguments";
    match agent.get(KEY) {
        Some(Value::Array(words)) => words
            .iter()
            .map(|word| {
                let word = word.as_string();
                word.map(str::to_owned)
                    .ok_or(PlistError::Key { key: KEY, problem: "not all are strings" })
            })
            .collect(),
        Some(_) => Err(PlistError::Key { key: KEY, problem: "not an array" }),
        None => match agent.get("Program").and_then(Value::as_string) {
            Some(program) => Ok(vec![program.to_owned()]),
            None => Err(PlistError::Key { key: KEY, problem: "missing" }),
        },
    }
}

/// `EnvironmentVariables`; entries that are not strings are left out.
pub fn environment(agent: &Dictionary) -> Vec<(String, String)> {
    let vars = agent.get("EnvironmentVariables").and_then(Value::as_dictionary);
    vars.into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_string()?.to_owned())))
        .collect()
}

fn listeners(spec: &ServiceSpec) -> Result<Vec<Value>, PlistError> {
    spec.listen
        .iter()
        .map(|address| {
            let (host, port) = address
                .rsplit_once(':')
                .ok_or(PlistError::Key { key: "Sockets", problem: "an address without a port" })?;
            let host = host.trim_matches(['[', ']']);
            let family = if host.contains(':') { SocketFamily::IPv6 } else { SocketFamily::IPv4 };
            let socket = SocketOptions::new()
                .with_type(SocketType::Stream)
                .with_family(family)
                .with_node_name(host)
                .with_service_name(port);
            plist::to_value(&socket).map_err(PlistError::Write)
        })
        .collect()
}

fn dictionary(value: Value) -> Result<Dictionary, PlistError> {
    value.into_dictionary().ok_or(PlistError::NotADictionary)
}

fn sort(dict: &mut Dictionary) {
    dict.sort_keys();
    for value in dict.values_mut() {
        if let Value::Dictionary(inner) = value {
            sort(inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::profile::env::Env;
    use crate::profile::paths::Paths;
    use crate::supervise::spec::{Scope, SpecInput};

    fn spec() -> ServiceSpec {
        let env: Env = [("HOME", "/Users/claw")].into_iter().collect();
        let paths = Paths {
            home: PathBuf::from("/Users/claw"),
            state: PathBuf::from("/Users/claw/.openclaw"),
            config: PathBuf::from("/Users/claw/.openclaw/openclaw.json"),
            profile: None,
        };
        let listen = ["127.0.0.1:18789".parse().unwrap(), "[::1]:18789".parse().unwrap()];
        ServiceSpec::for_host(&SpecInput {
            env: &env,
            paths: &paths,
            scope: Scope::User,
            program: Path::new("/opt/homebrew/bin/openclaw"),
            port: 18789,
            listen: &listen,
        })
    }

    #[test]
    fn the_checked_in_agent_is_what_is_rendered() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("launchd/ai.openclaw.gateway.plist");
        let text = String::from_utf8(render(&spec()).unwrap()).unwrap();
        if option_env!("UPDATE_UNITS").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &text).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }

    #[test]
    fn a_rendered_agent_reads_back() {
        let agent = parse(&render(&spec()).unwrap()).unwrap();
        assert_eq!(
            program_arguments(&agent).unwrap(),
            ["/opt/homebrew/bin/openclaw", "gateway", "run", "--port", "18789"]
        );
        assert_eq!(agent.get("Umask").and_then(Value::as_unsigned_integer), Some(0o077));
        let keep = agent.get("KeepAlive").and_then(Value::as_dictionary).unwrap();
        assert_eq!(keep.get("SuccessfulExit").and_then(Value::as_boolean), Some(false));
        assert_eq!(keep.get("Crashed").and_then(Value::as_boolean), Some(true));
        let sockets = agent.get("Sockets").and_then(Value::as_dictionary).unwrap();
        assert_eq!(sockets.get("gateway").and_then(Value::as_array).unwrap().len(), 2);
        assert!(environment(&agent).iter().any(|(key, _)| key == "OPENCLAW_LAUNCHD_LABEL"));
    }

    #[test]
    fn keys_have_the_types_launchd_wants() {
        type IsType = fn(&Value) -> bool;
        let table: &[(&str, IsType)] = &[
            ("Label", |value| value.as_string().is_some()),
            ("Comment", |value| value.as_string().is_some()),
            ("RunAtLoad", |value| value.as_boolean().is_some()),
            ("KeepAlive", |value| value.as_dictionary().is_some()),
            ("ThrottleInterval", |value| value.as_unsigned_integer().is_some()),
            ("ExitTimeOut", |value| value.as_unsigned_integer().is_some()),
            ("ProcessType", |value| value.as_string() == Some("Background")),
            ("Umask", |value| value.as_unsigned_integer().is_some()),
            ("ProgramArguments", |value| value.as_array().is_some()),
            ("StandardOutPath", |value| value.as_string().is_some()),
            ("StandardErrorPath", |value| value.as_string().is_some()),
            ("EnvironmentVariables", |value| value.as_dictionary().is_some()),
            ("Sockets", |value| value.as_dictionary().is_some()),
        ];
        let agent = agent(&spec()).unwrap();
        for (key, is_type) in table {
            assert!(agent.get(key).is_some_and(is_type), "{key}");
        }
        for key in agent.keys() {
            assert!(table.iter().any(|(known, _)| known == key), "unexpected key {key}");
        }
    }

    #[test]
    fn broken_agents_name_the_problem() {
        assert!(matches!(parse(b"<plist><dict><key>a"), Err(PlistError::Syntax(_))));
        let list = b"<?xml version=\"1.0\"?><plist version=\"1.0\"><array/></plist>";
        assert!(matches!(parse(list), Err(PlistError::NotADictionary)));
        let mut agent = Dictionary::new();
        assert!(matches!(
            program_arguments(&agent),
            Err(PlistError::Key { key: "ProgramArguments", problem: "missing" })
        ));
        agent.insert("ProgramArguments".into(), Value::Boolean(true));
        assert!(program_arguments(&agent).is_err());
    }
}
