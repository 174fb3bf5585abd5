//! The `tailscale` program of this host: asks its daemon, and has it publish
//! the port on the tailnet (`serve`) or on the internet (`funnel`).

use std::path::PathBuf;
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::config::gate::{Serving, Tailscale};
use crate::gateway::State;
use crate::lifecycle::child;
use crate::profile::env::Env;

/// Where the program of the macOS application is.
const MAC_APP: &str = "/Applications/Tailscale.app/Contents/MacOS/Tailscale";
/// Most that is read of an answer.
const MOST_BYTES: usize = 512 * 1024;
/// How long the daemon may take to publish the port.
const PUBLISH: Duration = Duration::from_secs(15);
const STATUS: Duration = Duration::from_secs(5);
/// How long taking it back may hold the end of the gateway.
const TAKE_BACK: Duration = Duration::from_secs(4);

/// Why the program gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("no program `tailscale` in PATH")]
    Absent,
    #[error("no answer of `tailscale {0}` in time")]
    Silent(String),
    #[error("`tailscale {command}`: {said}")]
    Failed { command: String, said: String },
}

/// What the program prints for `args`.
pub async fn ask(env: &Env, args: &[&str], limit: Duration) -> Result<Vec<u8>, AskError> {
    let program = find(env, "tailscale").or_else(|| {
        let app = PathBuf::from(MAC_APP);
        (cfg!(target_os = "macos") && app.is_file()).then_some(app)
    });
    let program = program.ok_or(AskError::Absent)?;
    tokio::time::timeout(limit, run(env, program, args))
        .await
        .unwrap_or_else(|_elapsed| Err(AskError::Silent(args.join(" "))))
}

/// This host's name in the tailnet, or its address there.
pub async fn host(env: &Env, limit: Duration) -> Result<String, AskError> {
    let status = ask(env, &["status", "--json"], limit).await?;
    host_of(&status).ok_or_else(|| AskError::Failed {
        command: "status --json".to_owned(),
        said: "names neither a host nor an address".to_owned(),
    })
}

/// As [`ask`], once more through `sudo` where the daemon wants root and sudo
/// asks for no password.
async fn command(env: &Env, args: &[&str], limit: Duration) -> Result<Vec<u8>, AskError> {
    let first = ask(env, args, limit).await;
    match (&first, find(env, "sudo"), find(env, "tailscale")) {
        (Err(AskError::Failed { said, .. }), Some(sudo), Some(program)) if wants_root(said) => {
            let program = program.to_string_lossy().into_owned();
            let through: Vec<&str> =
                ["-n", program.as_str()].into_iter().chain(args.iter().copied()).collect();
            match tokio::time::timeout(limit, run(env, sudo, &through)).await {
                Ok(Ok(answer)) => Ok(answer),
                // What the daemon said tells more than what sudo says.
                _ => first,
            }
        }
        _ => first,
    }
}

async fn run(env: &Env, program: PathBuf, args: &[&str]) -> Result<Vec<u8>, AskError> {
    let mut command = child::command(program);
    command.args(args).env("PATH", path(env)).stdin(std::process::Stdio::null());
    let failed = |said: String| AskError::Failed { command: args.join(" "), said };
    let Output { status, stdout, stderr } =
        command.output().await.map_err(|err| failed(err.to_string()))?;
    if stdout.len() > MOST_BYTES {
        return Err(failed("the answer is too long".to_owned()));
    }
    if status.success() {
        return Ok(stdout);
    }
    let said = String::from_utf8_lossy(if stderr.is_empty() { &stdout } else { &stderr });
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    Err(failed(if said.is_empty() { status.to_string() } else { said }))
}

fn path(env: &Env) -> &str {
    env.get("PATH").unwrap_or("/usr/local/bin:/usr/bin:/bin")
}

fn find(env: &Env, name: &str) -> Option<PathBuf> {
    std::env::split_paths(path(env)).map(|dir| dir.join(name)).find(|program| program.is_file())
}

fn wants_root(said: &str) -> bool {
    let said = said.to_lowercase();
    ["permission denied", "access denied", "not permitted", "root", "sudo"]
        .iter()
        .any(|word| said.contains(word))
}

fn host_of(status: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(status);
    // Warnings may stand before the object.
    let status: Value = serde_json::from_str(&text[text.find('{')?..]).ok()?;
    let own = &status["Self"];
    let name = own["DNSName"].as_str().map(|name| name.trim_end_matches('.'));
    let name = name.filter(|name| !name.is_empty());
    name.or_else(|| own["TailscaleIPs"][0].as_str()).map(str::to_owned)
}

/// What the tailnet gets to see of this gateway, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Exposure {
    mode: Tailscale,
    reset_on_exit: bool,
}

impl Exposure {
    pub fn new(plan: &Serving) -> Self {
        Self { mode: plan.tailscale, reset_on_exit: plan.tailscale_reset_on_exit }
    }

    /// Whether the tailnet sees anything.
    pub fn is_on(self) -> bool {
        self.mode != Tailscale::Off
    }

    /// Has the port published; a refusal costs the exposure, not the start.
    pub fn begin(self, state: &Arc<State>) {
        if !self.is_on() {
            return;
        }
        let serving = Arc::clone(state);
        state.lifecycle.spawn("tailscale", move |stop| async move {
            let _stopped = stop.run_until_cancelled(self.publish(&serving)).await;
        });
    }

    async fn publish(self, state: &State) {
        let (mode, port) = (self.mode.as_str(), state.port.to_string());
        let published = command(&state.env, &[mode, "--bg", "--yes", &port], PUBLISH).await;
        if let Err(err) = published {
            tracing::warn!(target: "gateway/tailscale", "{mode} failed: {err}");
            return;
        }
        match host(&state.env, STATUS).await {
            Ok(host) => {
                let base = state.config.load().config.gateway.control_ui.base_path.clone();
                let base = base.trim().trim_matches('/').to_owned();
                let page = if base.is_empty() { "/".to_owned() } else { format!("/{base}/") };
                tracing::info!(
                    target: "gateway/tailscale",
                    "{mode} enabled: https://{host}{page} (WS via wss://{host})"
                );
            }
            Err(_unnamed) => tracing::info!(target: "gateway/tailscale", "{mode} enabled"),
        }
    }

    /// Takes it back if that was asked for, while runs come to their end.
    pub fn end(self, state: &Arc<State>) {
        if !self.is_on() || !self.reset_on_exit {
            return;
        }
        let (mode, env) = (self.mode.as_str(), Arc::clone(&state.env));
        state.lifecycle.spawn("tailscale", move |_stop| async move {
            if let Err(err) = command(&env, &[mode, "reset"], TAKE_BACK).await {
                tracing::warn!(target: "gateway/tailscale", "{mode} cleanup failed: {err}");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_named_as_the_tailnet_knows_it() {
        let host = |text: &str| host_of(text.as_bytes());
        let name = Some("gw.tail.example".to_owned());
        assert_eq!(host(r#"{"Self":{"DNSName":"gw.tail.example."}}"#), name);
        assert_eq!(
            host("Warning: old client\n{\"Self\":{\"DNSName\":\"gw.tail.example.\"}}"),
            name
        );
        let address = Some("100.64.0.1".to_owned());
        assert_eq!(host(r#"{"Self":{"DNSName":"","TailscaleIPs":["100.64.0.1"]}}"#), address);
        assert_eq!(host("not running"), None);
    }
}
