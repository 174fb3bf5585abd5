//! `gateway`: the port, who may connect, and the surfaces on it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::profile::paths::{Paths, expand};

/// The `gateway` section.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Gateway {
    pub mode: Option<String>,
    #[serde(deserialize_with = "super::whole")]
    pub port: Option<u64>,
    pub bind: Option<String>,
    pub custom_bind_host: Option<String>,
    pub auth: Auth,
    pub trusted_proxies: Vec<String>,
    pub allow_real_ip_fallback: bool,
    pub control_ui: ControlUi,
    pub tls: Map<String, Value>,
    pub http: Http,
    pub tools: Map<String, Value>,
    pub webchat: Map<String, Value>,
    pub tailscale: Map<String, Value>,
    pub remote: Map<String, Value>,
    pub reload: Map<String, Value>,
    pub nodes: Map<String, Value>,
}

/// Where the certificate of the port and its key lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Gateway {
    /// `None` when the port does not speak TLS.
    pub fn tls_files(&self, paths: &Paths) -> Option<TlsFiles> {
        if self.tls.get("enabled") != Some(&Value::Bool(true)) {
            return None;
        }
        let file = |key: &str, usual: &str| {
            let path = self.tls.get(key).and_then(Value::as_str).map(str::trim);
            match path.filter(|path| !path.is_empty()) {
                Some(path) => expand(path, &paths.home),
                None => paths.state.join("gateway/tls").join(usual),
            }
        };
        let (cert, key) =
            (file("certPath", "gateway-cert.pem"), file("keyPath", "gateway-key.pem"));
        Some(TlsFiles { cert, key })
    }
}

/// `gateway.auth`. `token` and `password` are secret inputs: plain text,
/// `${VAR}` or a reference object.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Auth {
    pub mode: Option<String>,
    pub token: Option<Value>,
    pub password: Option<Value>,
    pub allow_tailscale: Option<bool>,
    pub rate_limit: Option<RateLimit>,
    pub trusted_proxy: Option<TrustedProxy>,
}

/// `gateway.auth.rateLimit`. Times are milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RateLimit {
    #[serde(deserialize_with = "super::whole")]
    pub max_attempts: u64,
    #[serde(deserialize_with = "super::whole")]
    pub window_ms: u64,
    #[serde(deserialize_with = "super::whole")]
    pub lockout_ms: u64,
    pub exempt_loopback: bool,
}

impl Default for RateLimit {
    fn default() -> Self {
        Self { max_attempts: 10, window_ms: 60_000, lockout_ms: 300_000, exempt_loopback: true }
    }
}

/// `gateway.auth.trustedProxy`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TrustedProxy {
    pub user_header: String,
    pub required_headers: Vec<String>,
    pub allow_users: Vec<String>,
}

/// `gateway.controlUi`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ControlUi {
    pub enabled: Option<bool>,
    pub base_path: String,
    pub root: Option<String>,
    pub allowed_origins: Vec<String>,
    pub dangerously_allow_host_header_origin_fallback: bool,
    pub allow_insecure_auth: bool,
    pub dangerously_disable_device_auth: bool,
}

/// `gateway.http`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Http {
    pub endpoints: Endpoints,
    pub security_headers: Map<String, Value>,
}

/// `gateway.http.endpoints`: both are off until enabled.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Endpoints {
    pub chat_completions: Map<String, Value>,
    pub responses: Map<String, Value>,
}
