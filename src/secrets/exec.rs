//! The `exec` provider: a program that is told ids and answers values, both as
//! one JSON document. It sees only the variables it was promised.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout_at};

use crate::profile::env::Env;
use crate::secrets::SecretError;
use crate::secrets::file::{Allow, check};

type Values = Result<BTreeMap<String, Value>, SecretError>;

/// Runs the provider's program for `ids`.
pub(super) async fn ask(
    provider: &str,
    settings: &Value,
    env: &Env,
    ids: &[&str],
    max_batch: u64,
) -> Values {
    let failed = |what: &str| SecretError::Provider(format!("Exec provider \"{provider}\" {what}"));
    let request =
        json!({"protocolVersion": 1, "provider": provider, "ids": ids}).to_string() + "\n";
    if request.len() as u64 > max_batch {
        return Err(failed(&format!("request exceeded maxBatchBytes ({max_batch}).")));
    }
    let command = trusted_command(provider, settings)?;
    let mut child = spawn(&command, settings, env)
        .map_err(|err| failed(&format!("could not start: {err}.")))?;
    let result = converse(provider, settings, &mut child, request).await;
    if result.is_err() {
        kill(&mut child).await;
    }
    let output = result?;
    answer(provider, settings, &output, ids)
}

/// The program's path if nobody else can have changed it.
fn trusted_command(provider: &str, settings: &Value) -> Result<String, SecretError> {
    let command = settings["command"].as_str().unwrap_or_default();
    let label = format!("secrets.providers.{provider}.command");
    let path = Path::new(command);
    if settings["allowInsecurePath"] != true {
        let links = settings["allowSymlinkCommand"] == true;
        check(&label, path, Allow { readable: true, links })?;
    }
    let dirs: Vec<&str> = settings["trustedDirs"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if !dirs.is_empty() {
        let real = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        if !dirs.iter().any(|dir| real.starts_with(dir)) {
            return Err(SecretError::Provider(format!(
                "{label} is outside trustedDirs: {command}"
            )));
        }
    }
    Ok(command.to_owned())
}

fn spawn(command: &str, settings: &Value, env: &Env) -> std::io::Result<Child> {
    let texts = |key: &str| {
        settings[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>()
    };
    let mut run = Command::new(command);
    run.args(texts("args"))
        .env_clear()
        .current_dir(Path::new(command).parent().unwrap_or(Path::new("/")))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    for name in texts("passEnv") {
        if let Some(value) = env.raw(name) {
            run.env(name, value);
        }
    }
    for (name, value) in settings["env"].as_object().into_iter().flatten() {
        if let Some(value) = value.as_str() {
            run.env(name, value);
        }
    }
    run.spawn()
}

/// Ends the program and whatever it started.
async fn kill(child: &mut Child) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    if let Some(Err(err)) = pid.map(|pid| killpg(Pid::from_raw(pid), Signal::SIGKILL)) {
        tracing::debug!(%err, "exec provider had ended");
    }
    drop(child.kill().await);
}

/// Sends the request and collects stdout within the limits.
async fn converse(
    provider: &str,
    settings: &Value,
    child: &mut Child,
    request: String,
) -> Result<String, SecretError> {
    let limit = |key: &str, default: u64| settings[key].as_u64().unwrap_or(default);
    let total = limit("timeoutMs", 5000);
    let silence = limit("noOutputTimeoutMs", total);
    let max_output = limit("maxOutputBytes", 1_048_576);
    let failed =
        |what: String| SecretError::Provider(format!("Exec provider \"{provider}\" {what}"));
    let begun = Instant::now();
    let deadline = begun + Duration::from_millis(total);
    let quiet = Duration::from_millis(silence);
    let (Some(mut stdin), Some(mut stdout), Some(mut stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(failed("has no pipes.".to_owned()));
    };
    let send = async move {
        // A program that does not read its question may still answer.
        drop(stdin.write_all(request.as_bytes()).await);
        drop(stdin);
    };
    let receive = async {
        let (mut out, mut seen) = (Vec::new(), 0_u64);
        let (mut chunk, mut noise) = (vec![0_u8; 8192], vec![0_u8; 8192]);
        let (mut out_open, mut err_open) = (true, true);
        let mut quiet_until = begun + quiet;
        while out_open || err_open {
            let read = async {
                tokio::select! {
                    read = stdout.read(&mut chunk), if out_open => (true, read),
                    read = stderr.read(&mut noise), if err_open => (false, read),
                }
            };
            let Ok((is_out, read)) = timeout_at(deadline.min(quiet_until), read).await else {
                return Err(failed(if quiet_until <= deadline {
                    format!("produced no output for {silence}ms.")
                } else {
                    format!("timed out after {total}ms.")
                }));
            };
            let count = read.unwrap_or(0);
            quiet_until = Instant::now() + quiet;
            seen += count as u64;
            if seen > max_output {
                return Err(SecretError::Provider(format!(
                    "Exec provider output exceeded maxOutputBytes ({max_output})."
                )));
            }
            match (is_out, count) {
                (true, 0) => out_open = false,
                (false, 0) => err_open = false,
                (true, count) => out.extend_from_slice(&chunk[..count]),
                (false, _) => {}
            }
        }
        Ok(out)
    };
    let ((), out) = tokio::join!(send, receive);
    let out = out?;
    let status = timeout_at(deadline, child.wait())
        .await
        .map_err(|_| failed(format!("timed out after {total}ms.")))?
        .map_err(|err| failed(format!("could not be waited for: {err}.")))?;
    match status.code() {
        Some(0) => String::from_utf8(out).map_err(|_| failed("returned invalid JSON.".to_owned())),
        Some(code) => Err(failed(format!("exited with code {code}."))),
        None => Err(failed("was ended by a signal.".to_owned())),
    }
}

fn answer(provider: &str, settings: &Value, output: &str, ids: &[&str]) -> Values {
    let failed = |what: &str| SecretError::Provider(format!("Exec provider \"{provider}\" {what}"));
    let one = |what: String| SecretError::Reference(format!("Exec provider \"{provider}\" {what}"));
    let output = output.trim();
    if output.is_empty() {
        return Err(failed("returned empty stdout."));
    }
    let parsed: Result<Value, _> = serde_json::from_str(output);
    if settings["jsonOnly"] == false
        && let [id] = ids
        && let Some(text) = match &parsed {
            Ok(Value::String(text)) => Some(text.as_str()),
            Ok(_) => None,
            Err(_) => Some(output),
        }
    {
        return Ok(BTreeMap::from([((*id).to_owned(), Value::from(text))]));
    }
    let parsed = parsed.map_err(|_| failed("returned invalid JSON."))?;
    if !parsed.is_object() {
        return Err(failed("response must be an object."));
    }
    if parsed["protocolVersion"] != 1 {
        return Err(failed("protocolVersion must be 1."));
    }
    let Some(values) = parsed["values"].as_object() else {
        return Err(failed("response missing \"values\"."));
    };
    ids.iter()
        .map(|id| {
            if let Some(error) = parsed["errors"].get(*id) {
                return Err(one(match error["message"].as_str() {
                    Some(message) => format!("failed for id \"{id}\" ({message})."),
                    None => format!("failed for id \"{id}\"."),
                }));
            }
            let value = values.get(*id);
            value
                .map(|value| ((*id).to_owned(), value.clone()))
                .ok_or_else(|| one(format!("response missing id \"{id}\".")))
        })
        .collect()
}
