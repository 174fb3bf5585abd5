//! `mcp.servers`: how each server of tools is reached.

use std::path::PathBuf;
use std::time::Duration;

use indexmap::IndexMap;
use serde_json::{Map, Value};

use crate::base::{embedded, redact};
use crate::config::Config;

const CONNECT: Duration = Duration::from_secs(30);

/// One entry of `mcp.servers`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    pub way: Way,
    /// How long the server may take until its tools are known.
    pub connect: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Way {
    /// A program that speaks on its standard input and output.
    Stdio {
        command: String,
        args: Vec<String>,
        env: IndexMap<String, String>,
        cwd: Option<PathBuf>,
    },
    /// An address. Servers speak streamable HTTP or the older stream of
    /// events; without a choice, whichever answers.
    Http { url: String, headers: IndexMap<String, String>, speaks: Option<Speaks> },
}

/// What `transport` chooses for an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    StreamableHttp,
    Sse,
}

impl Server {
    /// What went wrong, without what the server was told in confidence: it or a
    /// library may repeat it.
    pub(super) fn without_secrets(&self, reason: &str) -> String {
        let told: Vec<&str> = match &self.way {
            Way::Stdio { args, env, .. } => {
                let before = std::iter::once(None).chain(args.iter().map(|arg| Some(arg.as_str())));
                let named = args.iter().zip(before);
                let named = named.filter_map(|(arg, before)| embedded::in_argument(before, arg));
                let inside = args.iter().flat_map(|arg| embedded::secrets(arg));
                named.chain(inside).chain(env.values().map(String::as_str)).collect()
            }
            Way::Http { url, headers, .. } => {
                let inside = embedded::secrets(url).into_iter();
                inside.chain(headers.values().map(String::as_str)).collect()
            }
        };
        redact::without(reason, told).into_owned()
    }
}

/// Every configured server, with the reason where an entry cannot be used.
pub(crate) fn servers(config: &Config) -> IndexMap<String, Result<Server, String>> {
    let entries = config.mcp.get("servers").and_then(Value::as_object);
    let entries = entries.into_iter().flatten();
    entries.map(|(name, entry)| (name.clone(), server(entry))).collect()
}

fn server(entry: &Value) -> Result<Server, String> {
    let nothing = Map::new();
    let entry = entry.as_object().unwrap_or(&nothing);
    let text = |key: &str| {
        let value = entry.get(key).and_then(Value::as_str).map(str::trim).unwrap_or_default();
        (!value.is_empty()).then(|| value.to_owned())
    };
    let pairs = |key: &str| -> IndexMap<String, String> {
        let pairs = entry.get(key).and_then(Value::as_object).into_iter().flatten();
        pairs.filter_map(|(name, value)| Some((name.clone(), plain(value)?))).collect()
    };
    let connect = entry.get("connectionTimeoutMs").and_then(Value::as_u64);
    let connect = connect.filter(|ms| *ms > 0).map_or(CONNECT, Duration::from_millis);
    let way = match (text("command"), text("url")) {
        // A program goes before an address, as in the Node gateway.
        (Some(command), _) => {
            let args = entry.get("args").and_then(Value::as_array).into_iter().flatten();
            Way::Stdio {
                command,
                args: args.filter_map(plain).collect(),
                env: pairs("env"),
                cwd: text("cwd").or_else(|| text("workingDirectory")).map(PathBuf::from),
            }
        }
        (None, Some(url)) if url.starts_with("http://") || url.starts_with("https://") => {
            let speaks = match text("transport").as_deref().map(str::to_lowercase).as_deref() {
                None => None,
                Some("streamable-http") => Some(Speaks::StreamableHttp),
                Some("sse") => Some(Speaks::Sse),
                Some(other) => {
                    return Err(format!(
                        "`transport` \"{other}\" is not supported; use \"streamable-http\" or \"sse\""
                    ));
                }
            };
            Way::Http { url, headers: pairs("headers"), speaks }
        }
        (None, Some(_)) => return Err("`url` must begin with http:// or https://".to_owned()),
        (None, None) => return Err("has neither `command` nor `url`".to_owned()),
    };
    Ok(Server { way, connect })
}

/// Texts, numbers and booleans as text.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

/// The longest name of a tool that every provider takes.
const MOST_NAME: usize = 64;
const MOST_SERVER: usize = 30;
/// Stands between the server's and the tool's own name.
pub(crate) const BETWEEN: &str = "__";

/// The name under which a model sees a tool, as `is_taken` leaves it.
pub(crate) fn tool_name(server: &str, tool: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let server: String = fragment(server, "mcp").chars().take(MOST_SERVER).collect();
    let tool = fragment(tool, "tool");
    let room = MOST_NAME - server.len() - BETWEEN.len();
    let mut suffix = String::new();
    let mut count = 1;
    loop {
        let short: String = tool.chars().take(room - suffix.len()).collect();
        let name = format!("{server}{BETWEEN}{short}{suffix}");
        if !is_taken(&name) {
            return name;
        }
        count += 1;
        suffix = format!("-{count}");
    }
}

/// Only what providers allow in a name of a tool.
fn fragment(text: &str, usual: &str) -> String {
    let clean = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '-' };
    let text: String = text.trim().chars().map(clean).collect();
    if text.is_empty() { usual.to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_ways_are_read_and_unusable_entries_say_why() {
        let config = json!({"mcp": {"servers": {
            "files": {"command": "npx", "args": ["-y", 3], "env": {"A": 1, "B": true},
                "workingDirectory": "/srv"},
            "web": {"url": "https://mcp.example.com", "headers": {"Authorization": "Bearer x"},
                "connectionTimeoutMs": 5, "transport": "SSE"},
            "both": {"command": "a", "url": "http://b"}, "odd": {"url": "http://b", "transport": "ws"},
            "none": {}, "other": {"url": "ftp://x"}}}});
        let config: Config = serde_json::from_value(config).unwrap();
        let servers = servers(&config);
        let Ok(Server { way: Way::Stdio { args, env, cwd, .. }, connect }) = &servers["files"]
        else {
            panic!("{servers:?}")
        };
        assert_eq!((args.join(" "), *connect), ("-y 3".to_owned(), CONNECT));
        assert_eq!((env["A"].as_str(), env["B"].as_str()), ("1", "true"));
        assert_eq!(cwd.as_deref(), Some("/srv".as_ref()));
        assert_eq!(servers["web"].as_ref().unwrap().connect, Duration::from_millis(5));
        let Way::Http { speaks, .. } = &servers["web"].as_ref().unwrap().way else { panic!() };
        assert_eq!(*speaks, Some(Speaks::Sse));
        assert!(matches!(servers["both"].as_ref().unwrap().way, Way::Stdio { .. }));
        for (name, reason) in [("odd", "\"ws\""), ("none", "neither"), ("other", "http://")] {
            assert!(servers[name].as_ref().unwrap_err().contains(reason), "{name}");
        }
    }

    #[test]
    fn names_fit_every_provider_and_never_collide() {
        let free = |_: &str| false;
        assert_eq!(tool_name("my docs", "search.all", free), "my-docs__search-all");
        let long = tool_name(&"s".repeat(90), &"t".repeat(90), free);
        assert_eq!(long.len(), MOST_NAME);
        let taken = |name: &str| name == "a__b" || name == "a__b-2";
        assert_eq!(tool_name("a", "b", taken), "a__b-3");
    }
}
