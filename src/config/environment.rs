//! Which variables the gateway sees: the process, `.env` files, the `env`
//! section. Pure overlay; an existing variable is never replaced.

use std::path::Path;

use serde_json::Value;

use crate::config::substitute;
use crate::profile::env::Env;
use crate::profile::paths::Paths;

/// Names an untrusted `.env` must not set: where we look, whom we trust, whom we talk to.
const UNTRUSTED: &[&str] = &[
    "ALL_PROXY",
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_OAUTH_TOKEN",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NODE_TLS_REJECT_UNAUTHORIZED",
    "NO_PROXY",
    "OPENAI_API_KEY",
    "OPENAI_API_KEYS",
    "OPENCLAW_AGENT_DIR",
    "OPENCLAW_CONFIG_PATH",
    "OPENCLAW_GATEWAY_PASSWORD",
    "OPENCLAW_GATEWAY_SECRET",
    "OPENCLAW_GATEWAY_TOKEN",
    "OPENCLAW_HOME",
    "OPENCLAW_OAUTH_DIR",
    "OPENCLAW_PROFILE",
    "OPENCLAW_STATE_DIR",
];
const UNTRUSTED_PREFIXES: &[&str] =
    &["ANTHROPIC_API_KEY_", "OPENAI_API_KEY_", "OPENCLAW_BUNDLED_", "OPENCLAW_PINNED_"];

/// Names that change how programs are loaded or found.
const DANGEROUS: &[&str] = &[
    "BASH_ENV",
    "CDPATH",
    "CLASSPATH",
    "ENV",
    "GCONV_PATH",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "HOME",
    "IFS",
    "JAVA_TOOL_OPTIONS",
    "LUA_PATH",
    "NODE_OPTIONS",
    "NODE_PATH",
    "PATH",
    "PERL5LIB",
    "PERL5OPT",
    "PROMPT_COMMAND",
    "PS4",
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "RUBYLIB",
    "RUBYOPT",
    "SHELL",
    "SHELLOPTS",
    "SSLKEYLOGFILE",
];
const DANGEROUS_PREFIXES: &[&str] = &["BASH_FUNC_", "DYLD_", "LD_"];

/// Adds the `.env` files of the working directory and the state directory.
///
/// A supervised service has no meaningful working directory, so there only the
/// state directory counts.
pub fn with_files(env: &Env, paths: &Paths) -> Env {
    let mut seen = env.clone();
    let supervised = ["OPENCLAW_SERVICE_MARKER", "INVOCATION_ID", "LAUNCH_JOB_LABEL"]
        .into_iter()
        .any(|name| env.get(name).is_some());
    let cwd = std::env::current_dir()
        .ok()
        .filter(|cwd| !supervised && *cwd != paths.state && *cwd != Path::new("/"));
    if let Some(cwd) = cwd {
        overlay(&mut seen, &cwd.join(".env"), trusted_nowhere);
    }
    overlay(&mut seen, &paths.state.join(".env"), |_| true);
    seen
}

/// Adds the strings of the `env` section, before `${VAR}` is replaced.
///
/// Dangerous names and values that themselves mention a variable are left out.
pub fn with_section(env: &mut Env, config: &Value) {
    let Some(section) = config.get("env").and_then(Value::as_object) else { return };
    let vars = section.get("vars").and_then(Value::as_object);
    let siblings = section.iter().filter(|(key, _)| !matches!(key.as_str(), "vars" | "shellEnv"));
    for (key, value) in vars.into_iter().flatten().chain(siblings) {
        let Some(value) = value.as_str() else { continue };
        if !is_dangerous(key) && !value.trim().is_empty() && !substitute::mentions_variable(value) {
            env.set_default(key, value);
        }
    }
}

/// Whether a variable of this name could change how a program is run.
pub fn is_dangerous(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    DANGEROUS.contains(&name.as_str())
        || DANGEROUS_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn trusted_nowhere(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    !(is_dangerous(&upper)
        || UNTRUSTED.contains(&upper.as_str())
        || upper.ends_with("_BASE_URL")
        || UNTRUSTED_PREFIXES.iter().any(|prefix| upper.starts_with(prefix)))
}

fn overlay(env: &mut Env, file: &Path, allowed: impl Fn(&str) -> bool) {
    let Ok(text) = std::fs::read_to_string(file) else { return };
    for (key, value) in parse(&text) {
        if allowed(&key) && !value.is_empty() {
            env.set_default(&key, value);
        }
    }
}

/// The assignments of a `.env` text, in order.
pub fn parse(text: &str) -> Vec<(String, String)> {
    let text = text.trim_start_matches('\u{feff}').replace("\r\n", "\n");
    let mut found = Vec::new();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let line_end = rest.find('\n').unwrap_or(rest.len());
        let line = rest[..line_end].trim_start();
        let line = line.strip_prefix("export ").map_or(line, str::trim_start);
        let assignment = line.split_once('=').filter(|(key, _)| is_name(key.trim()));
        let Some((key, value)) = assignment.filter(|_| !line.starts_with('#')) else {
            rest = rest[line_end..].trim_start_matches('\n');
            continue;
        };
        let key = key.trim().to_owned();
        let value_at = line_end - value.len();
        let (value, used) = value_of(&rest[value_at..]);
        found.push((key, value));
        let tail = &rest[value_at + used..];
        rest = tail.find('\n').map_or("", |newline| &tail[newline + 1..]);
    }
    found
}

fn is_name(key: &str) -> bool {
    !key.is_empty()
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

/// A value and how many bytes it took; a quoted value may span lines.
fn value_of(text: &str) -> (String, usize) {
    let blank = text.len() - text.trim_start_matches([' ', '\t']).len();
    let body = &text[blank..];
    if let Some(quote) = body.chars().next().filter(|c| matches!(c, '"' | '\'' | '`'))
        && let Some(end) = closing(&body[1..], quote)
    {
        let inner = &body[1..=end];
        let value = if quote == '"' {
            inner.replace("\\n", "\n").replace("\\r", "\r").replace("\\\"", "\"")
        } else {
            inner.to_owned()
        };
        return (value, blank + end + 2);
    }
    let line = &body[..body.find('\n').unwrap_or(body.len())];
    let value = line.split('#').next().unwrap_or(line).trim();
    (value.to_owned(), blank + line.len())
}

fn closing(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, found) in text.char_indices() {
        match found {
            '\\' => escaped = !escaped,
            _ if found == quote && !escaped => return Some(at),
            _ => escaped = false,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn dotenv_spellings_are_understood() {
        let text =
            "# c\nA=1\nexport B = two # tail\nC=\"x\\ny # z\"\nD='a\nb'\nbroken line\nE=\nF=last";
        let expected =
            [("A", "1"), ("B", "two"), ("C", "x\ny # z"), ("D", "a\nb"), ("E", ""), ("F", "last")];
        let found = parse(text);
        let found: Vec<(&str, &str)> =
            found.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn an_untrusted_file_cannot_redirect_the_gateway() {
        for name in [
            "OPENAI_API_KEY",
            "OPENAI_API_KEY_2",
            "X_BASE_URL",
            "LD_PRELOAD",
            "https_proxy",
            "OPENCLAW_STATE_DIR",
        ] {
            assert!(!trusted_nowhere(name), "{name}");
        }
        assert!(trusted_nowhere("TELEGRAM_BOT_TOKEN"));
    }

    #[test]
    fn the_env_section_fills_gaps_only() {
        let mut env: Env = [("A", "process")].into_iter().collect();
        with_section(
            &mut env,
            &json!({"env": {"vars": {"A": "x", "B": "b", "PATH": "/evil"}, "C": "c", "D": "${A}", "shellEnv": {"enabled": true}}}),
        );
        assert_eq!(env.get("A"), Some("process"));
        assert_eq!(env.get("B"), Some("b"));
        assert_eq!(env.get("C"), Some("c"));
        assert_eq!(env.get("D"), None);
        assert_eq!(env.get("PATH"), None);
    }
}
