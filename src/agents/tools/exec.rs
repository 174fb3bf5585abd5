//! `exec`: shell commands. A call waits for the end of its command, or hands
//! it over to the `process` tool after a while.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::Value;
use serde_json::json;

use crate::agents::providers::ToolSpec;
use crate::agents::tools::Tool;
use crate::agents::tools::ToolContext;
use crate::agents::tools::ToolResult;
use crate::agents::tools::consent;
use crate::agents::tools::consent::Ask;
use crate::agents::tools::consent::Security;
use crate::agents::tools::number_argument;
use crate::agents::tools::processes::Exit;
use crate::agents::tools::processes::Launch;
use crate::agents::tools::processes::Process;
use crate::agents::tools::processes::Why;
use crate::agents::tools::text_argument;
use crate::profile::paths::expand;

/// How long a call waits before its command goes on in the background.
const DEFAULT_YIELD_MS: u64 = 10_000;
const LONGEST_YIELD_MS: u64 = 120_000;
/// How long a command may run, in seconds.
const DEFAULT_TIMEOUT_SECONDS: u64 = 1_800;

/// How long a poll has to see an end before it becomes a note.
const NOTE_AFTER: Duration = Duration::from_millis(500);
/// How much of the output a note tells, in characters.
const NOTE_CHARS: usize = 400;

/// The `exec` tool.
#[derive(Debug)]
pub(crate) struct Exec;

impl Tool for Exec {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "exec".to_owned(),
            description:
                "Run a shell command in the workspace. Waits up to yieldMs for the end; a \
                          command that takes longer goes on in the background and is followed up \
                          with the process tool."
                    .to_owned(),
            parameters: json!({
                "type": "object",
                "required": ["command"],
                "properties": {
                    "command": {"type": "string", "description": "Shell command"},
                    "workdir": {"type": "string", "description": "Directory; the workspace if absent"},
                    "env": {"type": "object", "patternProperties": {"^(.*)$": {"type": "string"}}},
                    "yieldMs": {"type": "number", "description": "Milliseconds to wait before going to the background (10000)"},
                    "background": {"type": "boolean", "description": "Go to the background at once; only then can process write to it"},
                    "timeout": {"type": "number", "description": "Seconds until the command is killed (1800)"},
                    "pty": {"type": "boolean", "description": "Ask for a terminal; not available here"},
                    "elevated": {"type": "boolean", "description": "Run outside a sandbox; there is none here"},
                    "host": {"type": "string", "description": "auto or gateway"},
                    "security": {"type": "string", "description": "deny, allowlist or full; can only be stricter than configured"},
                    "ask": {"type": "string", "description": "off, on-miss or always; can only be stricter than configured"},
                    "node": {"type": "string", "description": "Not available here"},
                },
            }),
        }
    }

    fn summary(&self) -> &'static str {
        "Run shell commands"
    }

    fn call<'a>(&'a self, context: &'a ToolContext, arguments: Value) -> BoxFuture<'a, ToolResult> {
        Box::pin(async move {
            match run(context, &arguments).await {
                Ok(result) => result,
                Err(text) => ToolResult::error(text),
            }
        })
    }
}

async fn run(context: &ToolContext, arguments: &Value) -> Result<ToolResult, String> {
    let command = text_argument(arguments, &["command", "cmd"]).map(str::trim).unwrap_or_default();
    if command.is_empty() {
        return Err("Missing required parameter: command".to_owned());
    }
    match text_argument(arguments, &["host"]).map_or("auto", str::trim) {
        "" | "auto" | "gateway" => {}
        other => return Err(format!("exec host={other} is not available on this gateway")),
    }
    let cwd = directory(context, arguments)?;
    let (security, ask) = policy(context, arguments);
    consent::obtain(context, command, &cwd, security, ask).await?;
    let background = arguments["background"].as_bool().unwrap_or(false);
    let launch = Launch {
        agent: context.agent.clone(),
        command: command.to_owned(),
        cwd,
        env: extra_env(arguments)?,
        timeout: timeout(context, arguments),
        interactive: background,
    };
    let cwd = launch.cwd.display().to_string();
    let seconds = launch.timeout.map(|timeout| timeout.as_secs());
    let process = context
        .inner
        .toolbox
        .processes
        .start(launch, &context.snapshot.env, &context.inner.lifecycle)
        .await
        .map_err(|err| format!("Cannot run the command: {err}"))?;
    let patience = if background {
        Duration::ZERO
    } else {
        let wanted =
            number_argument(arguments, "yieldMs").or_else(|| setting(context, "backgroundMs"));
        Duration::from_millis(wanted.unwrap_or(DEFAULT_YIELD_MS).clamp(10, LONGEST_YIELD_MS))
    };
    let exit = tokio::select! {
        exit = process.ended() => Some(exit),
        () = tokio::time::sleep(patience) => None,
        () = context.cancel.cancelled() => {
            process.kill();
            Some(process.ended().await)
        }
    };
    let Some(exit) = exit else {
        process.backgrounded.store(true, Ordering::Release);
        note_end(context, &process);
        return Ok(still_running(&process, &cwd));
    };
    context.inner.toolbox.processes.remove(&process.id);
    Ok(finished(&process, &exit, seconds, &cwd))
}

/// Has the conversation told when a command in the background ends, and the
/// agent look at it (`tools.exec.notifyOnExit`).
fn note_end(context: &ToolContext, process: &Arc<Process>) {
    let is = |name: &str| exec_setting(context, name).and_then(Value::as_bool);
    let Some(key) = context.session_key.clone().filter(|_| is("notifyOnExit") != Some(false))
    else {
        return;
    };
    let silence_too = is("notifyOnExitEmptySuccess") == Some(true);
    let (inner, agent, process) =
        (Arc::clone(&context.inner), context.agent.clone(), Arc::clone(process));
    context.inner.lifecycle.spawn("exec notice", move |stop| async move {
        let exit = tokio::select! {
            exit = process.ended() => exit,
            () = stop.cancelled() => return,
        };
        tokio::time::sleep(NOTE_AFTER).await;
        let text = end_note(&process, &exit);
        let tells = silence_too || exit.code != Some(0) || text.contains(" :: ");
        if exit.why == Why::Killed || process.seen.load(Ordering::Acquire) || !tells {
            return;
        }
        inner.system_events.push(key.as_str(), inner.clock.now_ms(), &text);
        if let Some(plane) = inner.control_plane() {
            plane.wake(&agent);
        }
    });
}

fn end_note(process: &Process, exit: &Exit) -> String {
    let status = if exit.code == Some(0) { "completed" } else { "failed" };
    let how = match (exit.code, exit.signal) {
        (Some(code), _) => format!("code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no code".to_owned(),
    };
    let output = process.output().text();
    let output = output.split_whitespace().collect::<Vec<_>>().join(" ");
    let more = output.chars().count().saturating_sub(NOTE_CHARS);
    let tail: String = output.chars().skip(more).collect();
    let told = if tail.is_empty() { String::new() } else { format!(" :: {tail}") };
    format!("Exec {status} ({}, {how}){told}", process.id)
}

/// A number of `tools.exec`, the agent's own first.
fn setting(context: &ToolContext, name: &str) -> Option<u64> {
    exec_setting(context, name)?.as_u64()
}

fn exec_setting<'a>(context: &'a ToolContext, name: &str) -> Option<&'a Value> {
    let config = &context.snapshot.config;
    let own =
        config.agents.get(&context.agent).and_then(|agent| agent.tools.get("exec")?.get(name));
    own.or_else(|| config.tools.get("exec")?.get(name))
}

/// What applies to a call: the session's setting, else the agent's, and the
/// call itself may only be stricter.
fn policy(context: &ToolContext, arguments: &Value) -> (Security, Ask) {
    let entry = context.session_key.as_ref().and_then(|key| {
        let store = context.inner.stores.of(&context.snapshot.config, &context.agent);
        store.get(key.as_str())
    });
    let set = |name: &str, field: &str| {
        let own = entry.as_ref().and_then(|entry| entry.text(field)).map(str::to_owned);
        own.or_else(|| exec_setting(context, name)?.as_str().map(str::to_owned))
    };
    let asked = |name: &str| text_argument(arguments, &[name]);
    let security = set("security", "execSecurity").and_then(|text| Security::parse(&text));
    let ask = set("ask", "execAsk").and_then(|text| Ask::parse(&text));
    let security = security.unwrap_or(Security::Full);
    let ask = ask.unwrap_or(Ask::Off);
    (
        asked("security").and_then(Security::parse).map_or(security, |asked| asked.max(security)),
        asked("ask").and_then(Ask::parse).map_or(ask, |asked| asked.max(ask)),
    )
}

fn directory(context: &ToolContext, arguments: &Value) -> Result<std::path::PathBuf, String> {
    let named = text_argument(arguments, &["workdir", "cwd"]).map(str::trim).unwrap_or_default();
    let dir = if named.is_empty() {
        context.workspace.clone()
    } else if named.starts_with('~') {
        expand(named, &context.inner.paths.home)
    } else {
        context.workspace.join(named)
    };
    if dir.is_dir() { Ok(dir) } else { Err(format!("workdir {} is no directory", dir.display())) }
}

/// Variables of the call; those that decide which code runs are refused.
fn extra_env(arguments: &Value) -> Result<Vec<(String, String)>, String> {
    let Some(fields) = arguments.get("env").and_then(Value::as_object) else {
        return Ok(Vec::new());
    };
    let mut env = Vec::with_capacity(fields.len());
    for (name, value) in fields {
        let upper = name.to_ascii_uppercase();
        if upper == "PATH" || upper.starts_with("LD_") || upper.starts_with("DYLD_") {
            return Err(format!("env.{name} must not be set: it decides which code is loaded"));
        }
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(format!("env has an invalid variable name: {name:?}"));
        }
        let value = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        if value.contains('\0') {
            return Err(format!("env.{name} contains a null byte"));
        }
        env.push((name.clone(), value));
    }
    Ok(env)
}

fn timeout(context: &ToolContext, arguments: &Value) -> Option<Duration> {
    let seconds = number_argument(arguments, "timeout")
        .or_else(|| setting(context, "timeoutSec"))
        .unwrap_or(DEFAULT_TIMEOUT_SECONDS);
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

fn still_running(process: &Process, cwd: &str) -> ToolResult {
    let pid = process.pid.map_or("unknown".to_owned(), |pid| pid.to_string());
    let tail = process.output().take_fresh();
    let mut text = format!(
        "Command still running (session {}, pid {pid}). Use process (list, poll, log, write, kill) to follow up.",
        process.id
    );
    if !tail.trim().is_empty() {
        text = format!("{}\n\n{text}", tail.trim_end());
    }
    let mut result = ToolResult::text(text);
    result.details = Some(json!({
        "status": "running", "sessionId": process.id, "pid": process.pid,
        "startedAt": process.started_at, "cwd": cwd, "tail": tail,
    }));
    result.with_meta(format!("running in background, `{}`", process.command))
}

fn finished(process: &Arc<Process>, exit: &Exit, seconds: Option<u64>, cwd: &str) -> ToolResult {
    let output = process.output().text();
    let output = output.trim_end();
    let duration = u64::try_from(exit.duration.as_millis()).unwrap_or(u64::MAX);
    let failure = match (exit.why, exit.code) {
        (Why::Killed, _) => Some("Command aborted before exit code was captured".to_owned()),
        (Why::TimedOut, _) => Some(match seconds {
            Some(seconds) => format!(
                "Command timed out after {seconds} seconds. Run it again with a larger timeout if it needs longer."
            ),
            None => "Command timed out".to_owned(),
        }),
        (Why::Exited, Some(127)) => Some("Command not found".to_owned()),
        (Why::Exited, Some(126)) => Some("Command not executable (permission denied)".to_owned()),
        (Why::Exited, Some(_)) => None,
        (Why::Exited, None) => Some(match exit.signal {
            Some(signal) => format!("Command aborted by signal {signal}"),
            None => "Command aborted before exit code was captured".to_owned(),
        }),
    };
    let meta = format!("exit {}, `{}`", exit.code.unwrap_or(-1), process.command);
    let status = if failure.is_some() { "failed" } else { "completed" };
    let text = match (&failure, exit.code) {
        (Some(reason), _) if output.is_empty() => reason.clone(),
        (Some(reason), _) => format!("{output}\n\n{reason}"),
        (None, Some(code)) if code != 0 => format!("{output}\n\n(Command exited with code {code})"),
        (None, _) => output.to_owned(),
    };
    let shown = if text.is_empty() { "(no output)" } else { text.as_str() };
    let mut result = ToolResult::text(shown);
    result.is_error = failure.is_some();
    result.details = Some(json!({
        "status": status, "exitCode": exit.code, "durationMs": duration,
        "aggregated": text, "cwd": cwd,
    }));
    result.with_meta(meta)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_decide_which_code_runs_are_refused() {
        for name in ["PATH", "LD_PRELOAD", "DYLD_INSERT_LIBRARIES", "path", ""] {
            assert!(extra_env(&json!({"env": {name: "x"}})).is_err(), "{name}");
        }
        let env = extra_env(&json!({"env": {"A": "1", "N": 2}})).unwrap();
        assert_eq!(env, [("A".to_owned(), "1".to_owned()), ("N".to_owned(), "2".to_owned())]);
    }
}
