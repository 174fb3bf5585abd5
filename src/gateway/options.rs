//! What the command line says about one run of the gateway. Values are as
//! typed: `gateway::build` checks them against the configuration, in the order
//! in which operators expect the complaints.

use std::path::PathBuf;

use crate::base::secret::Secret;
use crate::config::gate::Flags;
use crate::gateway::force::Reach;
use crate::gateway::ws::traffic::Traffic;
use crate::profile::env::Env;
use crate::profile::paths::{self, Paths};

/// The flags of `gateway run`.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "a flag is a boolean")]
pub struct RunOptions {
    pub port: Option<String>,
    /// `loopback`, `lan`, `tailnet`, `auto` or `custom`.
    pub bind: Option<String>,
    /// `none`, `token`, `password` or `trusted-proxy`.
    pub auth: Option<String>,
    pub token: Option<Secret>,
    pub password: Option<Secret>,
    pub password_file: Option<PathBuf>,
    /// `off`, `serve` or `funnel`.
    pub tailscale: Option<String>,
    pub tailscale_reset_on_exit: bool,
    pub allow_unconfigured: bool,
    /// Never serve with the last known good configuration.
    pub strict_config: bool,
    /// `--dev` after the word `gateway`: create a development configuration.
    pub dev: bool,
    pub reset: bool,
    pub force: Option<Reach>,
    pub verbose: bool,
    pub cli_backend_logs: bool,
    /// `auto`, `full` or `compact`.
    pub ws_log: Option<String>,
    pub compact: bool,
    pub raw_stream: bool,
    pub raw_stream_path: Option<PathBuf>,
    /// Leave after nobody has talked for so long.
    pub idle_exit: Option<String>,
}

impl RunOptions {
    /// What of the sockets' traffic is logged.
    pub fn traffic(&self) -> Traffic {
        let style = if self.compact { Some("compact") } else { self.ws_log.as_deref() };
        Traffic::new(self.verbose, style)
    }

    /// Where the models' raw streams go, if anybody asks for them.
    pub fn raw_stream_file(&self, env: &Env, paths: &Paths) -> Option<PathBuf> {
        let asked =
            self.raw_stream || self.raw_stream_path.is_some() || env.is_on("OPENCLAW_RAW_STREAM");
        let named = self.raw_stream_path.clone().or_else(|| {
            let named = env.get("OPENCLAW_RAW_STREAM_PATH").map(str::trim);
            named.filter(|path| !path.is_empty()).map(PathBuf::from)
        });
        asked.then(|| match named {
            Some(path) => paths::expand(&path.to_string_lossy(), &paths.home),
            None => paths.logs().join("raw-stream.jsonl"),
        })
    }

    /// The flags that decide about the port.
    pub fn flags(&self) -> Flags {
        Flags {
            port: self.port.clone(),
            bind: self.bind.clone(),
            auth: self.auth.clone(),
            token: self.token.clone(),
            password: self.password.clone(),
            password_file: self.password_file.clone(),
            tailscale: self.tailscale.clone(),
            tailscale_reset_on_exit: self.tailscale_reset_on_exit,
            allow_unconfigured: self.allow_unconfigured,
        }
    }
}
