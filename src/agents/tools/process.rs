//! `process`: follows up commands that `exec` left running.

use std::fmt::Write as _;
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
use crate::agents::tools::number_argument;
use crate::agents::tools::processes::Exit;
use crate::agents::tools::processes::Process;
use crate::agents::tools::processes::Why;
use crate::agents::tools::text_argument;

/// Longest wait of one poll.
const LONGEST_POLL_MS: u64 = 120_000;
/// How long a write to a process that does not read may take.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
const LOG_LINES: u64 = 200;
/// Part of the tool's schema.
const ACTIONS: &str = "list, poll, log, write, send-keys, submit, paste, kill, clear or remove";

/// Keys by the names that models use, and what a terminal would send.
const KEYS: &[(&str, &[u8])] = &[
    ("enter", b"\n"),
    ("return", b"\n"),
    ("tab", b"\t"),
    ("escape", b"\x1b"),
    ("esc", b"\x1b"),
    ("space", b" "),
    ("backspace", b"\x7f"),
    ("up", b"\x1b[A"),
    ("down", b"\x1b[B"),
    ("right", b"\x1b[C"),
    ("left", b"\x1b[D"),
    ("c-c", b"\x03"),
    ("c-d", b"\x04"),
    ("c-z", b"\x1a"),
];

/// The `process` tool.
#[derive(Debug)]
pub(crate) struct ProcessTool;

impl Tool for ProcessTool {
    fn spec(&self) -> ToolSpec {
        let text = |description: &str| json!({"type": "string", "description": description});
        ToolSpec {
            name: "process".to_owned(),
            description: format!("Manage commands that exec left running: {ACTIONS}."),
            parameters: json!({
                "type": "object",
                "required": ["action"],
                "properties": {
                    "action": text("What to do"),
                    "sessionId": text("Which process, for all actions but list"),
                    "data": text("Bytes for write"),
                    "keys": {"type": "array", "items": {"type": "string"}, "description": "Key names for send-keys"},
                    "hex": {"type": "array", "items": {"type": "string"}, "description": "Bytes in hex for send-keys"},
                    "literal": text("Text for send-keys"),
                    "text": text("Text for paste"),
                    "bracketed": {"type": "boolean", "description": "Mark the paste as one"},
                    "eof": {"type": "boolean", "description": "Close standard input after write"},
                    "offset": {"type": "number", "description": "First line of log"},
                    "limit": {"type": "number", "description": "Most lines of log"},
                    "timeout": {"type": "number", "minimum": 0, "description": "Milliseconds to wait in poll"},
                },
            }),
        }
    }

    fn summary(&self) -> &'static str {
        "Manage background commands"
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
    let processes = &context.inner.toolbox.processes;
    let action = text_argument(arguments, &["action"]).map(str::trim).unwrap_or_default();
    if action == "list" {
        let list = processes.of(&context.agent);
        return Ok(listing(&list));
    }
    if !ACTIONS.split([',', ' ']).any(|known| known == action && known != "or") || action.is_empty()
    {
        return Err(format!("Unknown action {action:?}; use {ACTIONS}"));
    }
    let id = text_argument(arguments, &["sessionId", "id"]).map(str::trim).unwrap_or_default();
    if id.is_empty() {
        return Err(format!("Missing required parameter: sessionId (for action {action:?})"));
    }
    let process =
        processes.find(&context.agent, id).ok_or_else(|| format!("No process {id} found"))?;
    match action {
        "poll" => Ok(poll(context, &process, arguments).await),
        "log" => Ok(log(&process, arguments)),
        "write" => {
            let data = text_argument(arguments, &["data"]).unwrap_or_default();
            let eof = arguments["eof"].as_bool().unwrap_or(false);
            send(&process, data.as_bytes(), eof).await
        }
        "send-keys" => send(&process, &keys(arguments)?, false).await,
        "submit" => send(&process, b"\n", false).await,
        "paste" => {
            let text = text_argument(arguments, &["text", "data"]).unwrap_or_default();
            let bytes = if arguments["bracketed"].as_bool().unwrap_or(false) {
                format!("\x1b[200~{text}\x1b[201~")
            } else {
                text.to_owned()
            };
            send(&process, bytes.as_bytes(), false).await
        }
        "kill" => {
            process.kill();
            process.ended().await;
            Ok(ToolResult::text(format!("Killed process {}.", process.id)))
        }
        "clear" => {
            process.output().clear();
            Ok(ToolResult::text(format!("Cleared the output of process {}.", process.id)))
        }
        "remove" => {
            process.kill();
            process.ended().await;
            processes.remove(&process.id);
            Ok(ToolResult::text(format!("Removed process {}.", process.id)))
        }
        other => Err(format!("Unknown action {other:?}; use {ACTIONS}")),
    }
}

fn status(exit: Option<&Exit>) -> &'static str {
    match exit {
        None => "running",
        Some(Exit { why: Why::Exited, code: Some(_), .. }) => "completed",
        Some(Exit { why: Why::Killed, .. }) => "killed",
        Some(_) => "failed",
    }
}

fn listing(list: &[Arc<Process>]) -> ToolResult {
    if list.is_empty() {
        return ToolResult::text("No running or recent processes.");
    }
    let rows: Vec<Value> = list
        .iter()
        .map(|process| {
            let exit = process.exit();
            json!({
                "sessionId": process.id, "status": status(exit.as_ref()), "pid": process.pid,
                "startedAt": process.started_at, "command": process.command,
                "cwd": process.cwd, "exitCode": exit.and_then(|exit| exit.code),
            })
        })
        .collect();
    let lines: Vec<String> = rows
        .iter()
        .zip(list)
        .map(|(row, process)| {
            format!(
                "{} {} :: {}",
                process.id,
                row["status"].as_str().unwrap_or(""),
                process.command
            )
        })
        .collect();
    let mut result = ToolResult::text(lines.join("\n"));
    result.details = Some(json!({"status": "completed", "sessions": rows}));
    result
}

async fn poll(context: &ToolContext, process: &Process, arguments: &Value) -> ToolResult {
    let wait = number_argument(arguments, "timeout").unwrap_or(0).min(LONGEST_POLL_MS);
    let mut fresh = process.output().take_fresh();
    if fresh.is_empty() && process.exit().is_none() && wait > 0 {
        tokio::select! {
            () = process.changed() => {}
            () = tokio::time::sleep(Duration::from_millis(wait)) => {}
            () = context.cancel.cancelled() => {}
        }
        fresh = process.output().take_fresh();
    }
    let exit = process.exit();
    process.seen.store(exit.is_some(), Ordering::Release);
    let shown = if fresh.trim().is_empty() { "(no new output)" } else { fresh.trim_end() };
    let state = match &exit {
        None => "Process still running.".to_owned(),
        Some(Exit { code: Some(code), .. }) => format!("Process exited with code {code}."),
        Some(Exit { signal: Some(signal), .. }) => format!("Process ended by signal {signal}."),
        Some(_) => "Process ended.".to_owned(),
    };
    let mut result = ToolResult::text(format!("{shown}\n\n{state}"));
    result.details = Some(json!({
        "status": status(exit.as_ref()), "sessionId": process.id,
        "exitCode": exit.and_then(|exit| exit.code), "aggregated": fresh,
    }));
    result
}

fn log(process: &Process, arguments: &Value) -> ToolResult {
    let text = process.output().text();
    let lines: Vec<&str> = text.lines().collect();
    let index = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let limit = index(number_argument(arguments, "limit").unwrap_or(LOG_LINES));
    let offset = number_argument(arguments, "offset");
    let first = offset.map_or(lines.len().saturating_sub(limit), index).min(lines.len());
    let shown: Vec<&str> = lines.iter().skip(first).take(limit).copied().collect();
    let mut out = if shown.is_empty() { "(no output)".to_owned() } else { shown.join("\n") };
    if shown.len() < lines.len() {
        let end = first + shown.len();
        // Writing to a String cannot fail.
        let _ = write!(out, "\n\n[Lines {}-{end} of {}]", first + 1, lines.len());
    }
    let mut result = ToolResult::text(out);
    result.details = Some(json!({
        "status": status(process.exit().as_ref()), "sessionId": process.id, "total": lines.len(),
    }));
    result
}

fn keys(arguments: &Value) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    for key in arguments["keys"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let name = key.trim().to_ascii_lowercase();
        match KEYS.iter().find(|(known, _)| *known == name) {
            Some((_, sequence)) => bytes.extend_from_slice(sequence),
            None if key.chars().count() == 1 => bytes.extend_from_slice(key.as_bytes()),
            None => return Err(format!("Unknown key {key:?}")),
        }
    }
    for hex in arguments["hex"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let digits = hex.trim().trim_start_matches("0x");
        let byte = u8::from_str_radix(digits, 16).map_err(|_| format!("{hex:?} is no hex byte"))?;
        bytes.push(byte);
    }
    bytes.extend_from_slice(text_argument(arguments, &["literal"]).unwrap_or_default().as_bytes());
    if bytes.is_empty() {
        Err("Nothing to send: give keys, hex or literal".to_owned())
    } else {
        Ok(bytes)
    }
}

async fn send(process: &Process, bytes: &[u8], eof: bool) -> Result<ToolResult, String> {
    if process.exit().is_some() {
        return Err(format!("Process {} has ended", process.id));
    }
    match tokio::time::timeout(WRITE_LIMIT, process.write(bytes, eof)).await {
        Ok(Ok(())) => {
            Ok(ToolResult::text(format!("Sent {} bytes to process {}.", bytes.len(), process.id)))
        }
        Ok(Err(err)) => Err(format!("Cannot write to process {}: {err}", process.id)),
        Err(_) => Err(format!("Process {} does not read its input", process.id)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_become_what_a_terminal_sends() {
        let bytes = keys(&json!({"keys": ["Up", "x", "Enter"], "hex": ["0x41"], "literal": "z"}));
        assert_eq!(bytes.unwrap(), b"\x1b[Ax\nAz");
        assert!(keys(&json!({"keys": ["F99"]})).is_err());
        assert!(keys(&json!({"hex": ["zz"]})).is_err());
        assert!(keys(&json!({})).is_err());
    }
}
