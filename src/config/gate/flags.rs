//! The flags of `gateway run` that decide about the port, as typed.

use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::base::secret::Secret;
use crate::config::Snapshot;
use crate::config::gate::{AuthMode, Bind, StartRefusal, Tailscale, port_of};

/// What was typed; unset flags are `None`.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    pub port: Option<String>,
    pub bind: Option<String>,
    pub auth: Option<String>,
    pub token: Option<Secret>,
    pub password: Option<Secret>,
    pub password_file: Option<PathBuf>,
    pub tailscale: Option<String>,
    pub tailscale_reset_on_exit: bool,
    pub allow_unconfigured: bool,
}

impl Flags {
    pub(super) fn port(&self, snapshot: &Snapshot) -> Result<u16, StartRefusal> {
        let refusal = || StartRefusal::plain(["Invalid port"]);
        if let Some(port) = &self.port {
            return match port.trim().parse::<u16>() {
                Ok(port) if port > 0 => Ok(port),
                _ => Err(refusal()),
            };
        }
        let file = snapshot.config.gateway.port;
        let env = snapshot.env.get("OPENCLAW_GATEWAY_PORT").and_then(port_of_address);
        if env.is_none() && file.is_some_and(|port| u16::try_from(port).is_err()) {
            return Err(refusal());
        }
        Ok(port_of(snapshot))
    }

    pub(super) fn bind(&self, configured: Option<&str>) -> Result<Bind, StartRefusal> {
        let typed = self.bind.as_deref().map(str::trim).filter(|bind| !bind.is_empty());
        let Some(bind) = typed.or(configured) else { return Ok(Bind::Loopback) };
        Bind::parse(bind).ok_or_else(|| {
            StartRefusal::plain([
                "Invalid --bind (use \"loopback\", \"lan\", \"tailnet\", \"auto\", or \"custom\")",
            ])
        })
    }

    pub(super) fn auth(&self) -> Result<Option<AuthMode>, StartRefusal> {
        let Some(mode) = self.auth.as_deref().map(str::trim) else { return Ok(None) };
        AuthMode::parse(mode).map(Some).ok_or_else(|| {
            StartRefusal::plain([
                "Invalid --auth (use \"none\", \"token\", \"password\", or \"trusted-proxy\")",
            ])
        })
    }

    pub(super) fn tailscale(
        &self,
        configured: &Map<String, Value>,
    ) -> Result<(Tailscale, bool), StartRefusal> {
        let file = configured.get("mode").and_then(Value::as_str);
        let mode = match self.tailscale.as_deref().map(str::trim).or(file) {
            None | Some("off") => Tailscale::Off,
            Some("serve") => Tailscale::Serve,
            Some("funnel") => Tailscale::Funnel,
            Some(_) => {
                return Err(StartRefusal::plain([
                    "Invalid --tailscale (use \"off\", \"serve\", or \"funnel\")",
                ]));
            }
        };
        let file_reset = configured.get("resetOnExit").and_then(Value::as_bool).unwrap_or(false);
        Ok((mode, self.tailscale_reset_on_exit || file_reset))
    }

    pub(super) fn password(&self) -> Result<Option<Secret>, StartRefusal> {
        match (&self.password, &self.password_file) {
            (Some(_), Some(_)) => {
                Err(StartRefusal::plain(["Use either --password or --password-file."]))
            }
            (Some(password), None) => Ok(Some(password.clone())),
            (None, Some(file)) => match std::fs::read_to_string(file) {
                Ok(text) if !text.trim().is_empty() => Ok(Some(Secret::new(text.trim()))),
                Ok(_) => Err(StartRefusal::plain([format!(
                    "Password file {} is empty.",
                    file.display()
                )])),
                Err(err) => Err(StartRefusal::plain([format!(
                    "Password file {} could not be read: {err}",
                    file.display()
                )])),
            },
            (None, None) => Ok(None),
        }
    }
}

/// The port of `N`, `host:N` or `[v6]:N`.
pub(super) fn port_of_address(text: &str) -> Option<u16> {
    let digits = match text.rsplit_once(':') {
        Some((host, port)) if host.starts_with('[') == host.ends_with(']') => port,
        Some(_) => return None,
        None => text,
    };
    digits.parse().ok().filter(|port| *port > 0)
}
