//! May this gateway start, and how: flags, environment and file → [`Serving`].
//!
//! [`admit`] checks what can be checked before any secret is resolved,
//! [`serve`] the rest. Both are pure but for a password file and the question
//! which tailnet address this host has. The texts are those that operators
//! grep for.

mod bind;
mod flags;

use std::net::{IpAddr, SocketAddr};

use serde_json::Value;

use crate::base::secret::Secret;
use crate::config::schema::gateway::{RateLimit, TrustedProxy};
use crate::config::{Snapshot, substitute};
use crate::profile::env::Env;
use crate::profile::paths::DEFAULT_PORT;

pub use bind::{Bind, is_this_host, lan_address, tailnet_address};
pub use flags::Flags;

/// Sentinel for "a reference will provide it": the secret is not known yet.
const LATER: &str = "";

/// How connections prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMode {
    None,
    Token,
    Password,
    TrustedProxy,
}

impl AuthMode {
    /// The name in the file and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Token => "token",
            Self::Password => "password",
            Self::TrustedProxy => "trusted-proxy",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::None, Self::Token, Self::Password, Self::TrustedProxy]
            .into_iter()
            .find(|mode| mode.as_str() == text)
    }
}

/// What the tailnet gets to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tailscale {
    Off,
    Serve,
    Funnel,
}

impl Tailscale {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Serve => "serve",
            Self::Funnel => "funnel",
        }
    }
}

/// Where a secret came from, for `status` and the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Flag,
    Config,
    Env,
    /// Made on this start; to be written to the file.
    Generated,
}

/// The authentication in force.
#[derive(Debug, Clone)]
pub struct Auth {
    pub mode: AuthMode,
    pub token: Option<Secret>,
    pub token_source: Option<Source>,
    pub password: Option<Secret>,
    pub password_source: Option<Source>,
    /// Accept identity headers of `tailscale serve`.
    pub allow_tailscale: bool,
    pub rate_limit: RateLimit,
    pub trusted_proxy: Option<TrustedProxy>,
}

/// Everything needed to open the port.
#[derive(Debug, Clone)]
pub struct Serving {
    pub port: u16,
    pub bind: Bind,
    /// Addresses to listen on, the one to advertise first.
    pub hosts: Vec<IpAddr>,
    pub auth: Auth,
    pub tailscale: Tailscale,
    pub tailscale_reset_on_exit: bool,
    pub control_ui: bool,
    /// Settings to write to the file before serving, as path and value.
    pub persist: Vec<(Vec<&'static str>, Value)>,
    /// Lines to log at INFO.
    pub notices: Vec<String>,
    /// Lines to log at WARN.
    pub warnings: Vec<String>,
}

impl Serving {
    /// Hosts and port together.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.hosts.iter().map(|host| SocketAddr::new(*host, self.port)).collect()
    }
}

/// A start that must not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines.join("\n"))]
pub struct StartRefusal {
    /// What to print, one line each.
    pub lines: Vec<String>,
}

impl StartRefusal {
    /// A refusal with the words as they are.
    pub fn plain(lines: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { lines: lines.into_iter().map(Into::into).collect() }
    }

    /// A refusal found while starting, with the prefix of those.
    pub fn failed(reason: impl std::fmt::Display) -> Self {
        Self { lines: vec![format!("Gateway failed to start: Error: {reason}")] }
    }

    /// 1 for people, 78 (`EX_CONFIG`) for a supervisor, which then does not retry.
    pub fn exit_code(&self, env: &Env) -> u8 {
        if is_supervised(env) { 78 } else { 1 }
    }
}

/// Whether a service manager runs this process.
pub fn is_supervised(env: &Env) -> bool {
    [
        "OPENCLAW_SERVICE_MARKER",
        "OPENCLAW_SYSTEMD_UNIT",
        "INVOCATION_ID",
        "LAUNCH_JOB_LABEL",
        "OPENCLAW_LAUNCHD_LABEL",
    ]
    .into_iter()
    .any(|name| env.get(name).is_some())
}

/// The port that configuration and environment choose, before any flag.
pub fn port_of(snapshot: &Snapshot) -> u16 {
    let env = snapshot.env.get("OPENCLAW_GATEWAY_PORT").and_then(flags::port_of_address);
    let file = || snapshot.config.gateway.port.and_then(|port| u16::try_from(port).ok());
    env.or_else(file).filter(|port| *port > 0).unwrap_or(DEFAULT_PORT)
}

/// A start that may go on to resolve secrets.
#[derive(Debug)]
pub struct Intent {
    port: u16,
    bind: Bind,
    mode: AuthMode,
    tailscale: Tailscale,
    reset_on_exit: bool,
    token: Option<Secret>,
    password: Option<Secret>,
    warnings: Vec<String>,
}

/// Checks the file, the flags and the shape of authentication.
pub fn admit(flags: &Flags, snapshot: &Snapshot) -> Result<Intent, StartRefusal> {
    if !snapshot.is_valid() {
        return Err(invalid(snapshot));
    }
    let gateway = &snapshot.config.gateway;
    let port = flags.port(snapshot)?;
    let bind = flags.bind(gateway.bind.as_deref())?;
    let forced = flags.auth()?;
    let (tailscale, reset_on_exit) = flags.tailscale(&gateway.tailscale)?;
    let password = flags.password()?;
    let mut warnings = Vec::new();
    if flags.password.is_some() {
        warnings.push("Warning: --password can be exposed via process listings. Prefer --password-file or OPENCLAW_GATEWAY_PASSWORD.".to_owned());
    }
    if !flags.allow_unconfigured {
        configured(snapshot)?;
    }
    let file_password = known(gateway.auth.password.as_ref(), snapshot);
    let env_password = snapshot.env.get("OPENCLAW_GATEWAY_PASSWORD");
    let has_password = password.is_some() || file_password.is_some() || env_password.is_some();
    let has_token = flags.token.is_some()
        || known(gateway.auth.token.as_ref(), snapshot).is_some()
        || snapshot.env.get("OPENCLAW_GATEWAY_TOKEN").is_some();
    let mode = forced
        .or_else(|| gateway.auth.mode.as_deref().and_then(AuthMode::parse))
        .unwrap_or(if has_password { AuthMode::Password } else { AuthMode::Token });
    let hints = misplaced(snapshot);
    if mode == AuthMode::Password && !has_password {
        let lines = [
            "Gateway auth is set to password, but no password is configured.".to_owned(),
            "Set gateway.auth.password (or OPENCLAW_GATEWAY_PASSWORD), or pass --password."
                .to_owned(),
        ];
        return Err(StartRefusal::plain(lines.into_iter().chain(hints)));
    }
    if mode == AuthMode::None {
        warnings.push("Gateway auth mode=none explicitly configured; all gateway connections are unauthenticated.".to_owned());
        // A proxy-less open door is for this host only.
        if bind != Bind::Loopback {
            let lines = [
                format!("Refusing to bind gateway to {} without auth.", bind.as_str()),
                "Set gateway.auth.token/password (or OPENCLAW_GATEWAY_TOKEN/OPENCLAW_GATEWAY_PASSWORD) or pass --token/--password.".to_owned(),
            ];
            return Err(StartRefusal::plain(lines.into_iter().chain(hints)));
        }
    }
    let unset = forced.is_none() && gateway.auth.mode.is_none();
    if unset && has_token && gateway.auth.token.is_some() && gateway.auth.password.is_some() {
        return Err(StartRefusal::failed(
            "Invalid config: gateway.auth.token and gateway.auth.password are both configured, but gateway.auth.mode is unset. Set gateway.auth.mode to token or password.",
        ));
    }
    let token = flags.token.clone();
    Ok(Intent { port, bind, mode, tailscale, reset_on_exit, token, password, warnings })
}

/// Completes an admitted start. `resolved` is the document with every secret
/// reference replaced by its value.
pub fn serve(
    intent: Intent,
    snapshot: &Snapshot,
    resolved: &Value,
) -> Result<Serving, StartRefusal> {
    let gateway = &snapshot.config.gateway;
    let from_file = |key: &str| {
        let value = resolved["gateway"]["auth"][key].as_str().map(str::trim)?;
        (!value.is_empty() && substitute::whole_variable(value).is_none())
            .then(|| (Secret::new(value), Source::Config))
    };
    let from_env = |name: &str| snapshot.env.get(name).map(|v| (Secret::new(v), Source::Env));
    let token = intent
        .token
        .map(|token| (token, Source::Flag))
        .or_else(|| from_file("token"))
        .or_else(|| from_env("OPENCLAW_GATEWAY_TOKEN"));
    let password = intent
        .password
        .map(|password| (password, Source::Flag))
        .or_else(|| from_file("password"))
        .or_else(|| from_env("OPENCLAW_GATEWAY_PASSWORD"));
    let mut serving = Serving {
        port: intent.port,
        bind: intent.bind,
        hosts: Vec::new(),
        auth: Auth {
            mode: intent.mode,
            allow_tailscale: gateway
                .auth
                .allow_tailscale
                .unwrap_or(intent.tailscale == Tailscale::Serve),
            rate_limit: gateway.auth.rate_limit.clone().unwrap_or_default(),
            trusted_proxy: gateway.auth.trusted_proxy.clone(),
            token_source: token.as_ref().map(|(_, source)| *source),
            token: token.map(|(token, _)| token),
            password_source: password.as_ref().map(|(_, source)| *source),
            password: password.map(|(password, _)| password),
        },
        tailscale: intent.tailscale,
        tailscale_reset_on_exit: intent.reset_on_exit,
        control_ui: gateway.control_ui.enabled.unwrap_or(true),
        persist: Vec::new(),
        notices: Vec::new(),
        warnings: intent.warnings,
    };
    if serving.auth.mode == AuthMode::Token && serving.auth.token.is_none() {
        generate_token(&mut serving)?;
    }
    hooks(&serving, resolved)?;
    trusted_proxy(&serving, snapshot)?;
    serving.hosts = bind::hosts(serving.bind, gateway.custom_bind_host.as_deref())
        .map_err(StartRefusal::failed)?;
    exposure(&serving)?;
    origins(&mut serving, snapshot);
    Ok(serving)
}

/// The block that a command prints when the file cannot be used.
pub fn invalid(snapshot: &Snapshot) -> StartRefusal {
    StartRefusal { lines: snapshot.invalid_block() }
}

fn configured(snapshot: &Snapshot) -> Result<(), StartRefusal> {
    let mode = snapshot.config.gateway.mode.as_deref();
    if mode == Some("local") {
        return Ok(());
    }
    if !snapshot.exists {
        return Err(StartRefusal::plain([
            "Missing config. Run `openclaw setup` or set gateway.mode=local (or pass --allow-unconfigured).",
        ]));
    }
    let audit = snapshot.state.join("logs/config-audit.jsonl");
    Err(StartRefusal::plain([
        format!(
            "Gateway start blocked: set gateway.mode=local (current: {}) or pass --allow-unconfigured.",
            mode.unwrap_or("unset")
        ),
        format!("Config write audit: {}", audit.display()),
    ]))
}

/// A configured secret: its text, or [`LATER`] for a reference or an unset `${VAR}`.
fn known<'v>(value: Option<&'v Value>, snapshot: &Snapshot) -> Option<&'v str> {
    match value? {
        Value::String(text) => Some(text.trim()).filter(|text| {
            !text.is_empty()
                && substitute::whole_variable(text)
                    .is_none_or(|name| snapshot.env.get(name).is_none())
        }),
        Value::Object(_) => Some(LATER),
        _ => None,
    }
}

fn misplaced(snapshot: &Snapshot) -> Vec<String> {
    let remote = snapshot.config.gateway.remote.get("token");
    let remote = remote.is_some_and(|token| !token.is_null());
    remote
        .then(|| {
            "\"gateway.remote.token\" is for remote CLI calls; it does not enable local gateway auth."
                .to_owned()
        })
        .into_iter()
        .collect()
}

fn generate_token(serving: &mut Serving) -> Result<(), StartRefusal> {
    let mut bytes = [0_u8; 24];
    getrandom::fill(&mut bytes)
        .map_err(|err| StartRefusal::failed(format!("no random numbers for a token: {err}")))?;
    let token = crate::base::hex::encode(&bytes);
    serving.persist.push((vec!["gateway", "auth", "mode"], Value::from("token")));
    serving.persist.push((vec!["gateway", "auth", "token"], Value::from(token.as_str())));
    serving.notices.push("Gateway auth token was missing. Generated a new token and saved it to config (gateway.auth.token).".to_owned());
    serving.auth.token = Some(Secret::new(token));
    serving.auth.token_source = Some(Source::Generated);
    Ok(())
}

fn hooks(serving: &Serving, resolved: &Value) -> Result<(), StartRefusal> {
    let hooks = &resolved["hooks"];
    if hooks["enabled"] != true {
        return Ok(());
    }
    let token = hooks["token"].as_str().unwrap_or_default().trim();
    if token.is_empty() {
        return Err(StartRefusal::failed("hooks.enabled requires hooks.token"));
    }
    if serving.auth.token.as_ref().is_some_and(|own| own.matches(token)) {
        return Err(StartRefusal::failed(
            "Invalid config: hooks.token must not match gateway auth token. Set a distinct hooks.token for hook ingress.",
        ));
    }
    if let Some(path) = hooks["path"].as_str().map(str::trim)
        && !path.is_empty()
        && path.trim_matches('/').is_empty()
    {
        return Err(StartRefusal::failed("hooks.path may not be '/'"));
    }
    hook_sessions(hooks)
}

/// The session that a hook gets without asking must be one that it may ask for.
fn hook_sessions(hooks: &Value) -> Result<(), StartRefusal> {
    let normal = |text: &Value| text.as_str().unwrap_or_default().trim().to_lowercase();
    let prefixes = hooks["allowedSessionKeyPrefixes"].as_array().map(Vec::as_slice);
    let prefixes: Vec<String> = prefixes.unwrap_or_default().iter().map(normal).collect();
    let prefixes: Vec<&String> = prefixes.iter().filter(|prefix| !prefix.is_empty()).collect();
    let allowed = |key: &str| {
        prefixes.is_empty() || prefixes.iter().any(|prefix| key.starts_with(prefix.as_str()))
    };
    match normal(&hooks["defaultSessionKey"]).as_str() {
        "" if !allowed("hook:example") => Err(StartRefusal::failed(
            "hooks.allowedSessionKeyPrefixes must include 'hook:' when hooks.defaultSessionKey is unset",
        )),
        key if !key.is_empty() && !allowed(key) => Err(StartRefusal::failed(
            "hooks.defaultSessionKey must match hooks.allowedSessionKeyPrefixes",
        )),
        _ => Ok(()),
    }
}

fn trusted_proxy(serving: &Serving, snapshot: &Snapshot) -> Result<(), StartRefusal> {
    if serving.auth.mode != AuthMode::TrustedProxy {
        return Ok(());
    }
    let Some(proxy) = &serving.auth.trusted_proxy else {
        return Err(StartRefusal::failed(
            "gateway auth mode is trusted-proxy, but no trustedProxy config was provided (set gateway.auth.trustedProxy)",
        ));
    };
    if proxy.user_header.trim().is_empty() {
        return Err(StartRefusal::failed(
            "gateway auth mode is trusted-proxy, but trustedProxy.userHeader is empty (set gateway.auth.trustedProxy.userHeader)",
        ));
    }
    if serving.auth.token.is_some() {
        return Err(StartRefusal::failed(
            "gateway auth mode is trusted-proxy, but a shared token is also configured; remove gateway.auth.token / OPENCLAW_GATEWAY_TOKEN because trusted-proxy and token auth are mutually exclusive",
        ));
    }
    if snapshot.config.gateway.trusted_proxies.is_empty() {
        return Err(StartRefusal::failed(
            "gateway auth mode=trusted-proxy requires gateway.trustedProxies to be configured with at least one proxy IP",
        ));
    }
    Ok(())
}

fn exposure(serving: &Serving) -> Result<(), StartRefusal> {
    let outside = serving.hosts.iter().find(|host| !host.is_loopback());
    if serving.tailscale == Tailscale::Funnel && serving.auth.mode != AuthMode::Password {
        return Err(StartRefusal::failed(
            "tailscale funnel requires gateway auth mode=password (set gateway.auth.password or OPENCLAW_GATEWAY_PASSWORD)",
        ));
    }
    if serving.tailscale != Tailscale::Off && outside.is_some() {
        return Err(StartRefusal::failed(
            "tailscale serve/funnel requires gateway bind=loopback (127.0.0.1)",
        ));
    }
    let open = match serving.auth.mode {
        AuthMode::None => true,
        AuthMode::Token => serving.auth.token.is_none(),
        AuthMode::Password => serving.auth.password.is_none(),
        AuthMode::TrustedProxy => false,
    };
    match outside {
        Some(host) if open => Err(StartRefusal::failed(format!(
            "refusing to bind gateway to {host}:{} without auth (set gateway.auth.token/password, or set OPENCLAW_GATEWAY_TOKEN/OPENCLAW_GATEWAY_PASSWORD)",
            serving.port
        ))),
        _ => Ok(()),
    }
}

/// Browsers on this host may use the Control UI even when the port is public.
fn origins(serving: &mut Serving, snapshot: &Snapshot) {
    let ui = &snapshot.config.gateway.control_ui;
    let needed = serving.control_ui
        && serving.bind != Bind::Loopback
        && ui.allowed_origins.is_empty()
        && !ui.dangerously_allow_host_header_origin_fallback;
    if !needed {
        return;
    }
    let mut origins = vec![
        format!("http://localhost:{}", serving.port),
        format!("http://127.0.0.1:{}", serving.port),
    ];
    if serving.bind == Bind::Custom
        && let Some(host) = &snapshot.config.gateway.custom_bind_host
    {
        origins.push(format!("http://{host}:{}", serving.port));
    }
    serving.notices.push(format!(
        "gateway: seeded gateway.controlUi.allowedOrigins {} for bind={} (required since browsers send an Origin)",
        Value::from(origins.clone()),
        serving.bind.as_str()
    ));
    serving.persist.push((vec!["gateway", "controlUi", "allowedOrigins"], Value::from(origins)));
}

#[cfg(test)]
mod tests;
