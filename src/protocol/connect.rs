//! The handshake: what a client says about itself and what it is told.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::protocol::frame::{MAX_BUFFERED, MAX_PAYLOAD, StateVersion, TICK_INTERVAL_MS};
use crate::protocol::scope::Scopes;
use crate::protocol::shape::{Field, POSITIVE, STR, STR1, STR1_LIST, Shape, UINT, may, need};
use crate::protocol::version;

/// Header of the upgrade by which a gateway knows its own client; the value
/// changes with each start.
pub const OWN_CLIENT: &str = "x-openclaw-own-client";

const CLIENT_ID: Shape = Shape::AnyOf(&[
    Shape::Const("webchat-ui"),
    Shape::Const("openclaw-control-ui"),
    Shape::Const("openclaw-tui"),
    Shape::Const("webchat"),
    Shape::Const("cli"),
    Shape::Const("gateway-client"),
    Shape::Const("openclaw-macos"),
    Shape::Const("openclaw-ios"),
    Shape::Const("openclaw-android"),
    Shape::Const("node-host"),
    Shape::Const("test"),
    Shape::Const("fingerprint"),
    Shape::Const("openclaw-probe"),
]);
const CLIENT_MODE: Shape = Shape::AnyOf(&[
    Shape::Const("webchat"),
    Shape::Const("cli"),
    Shape::Const("ui"),
    Shape::Const("backend"),
    Shape::Const("node"),
    Shape::Const("probe"),
    Shape::Const("test"),
]);

const CLIENT: Shape = Shape::Object(&[
    need("id", CLIENT_ID),
    may("displayName", STR1),
    need("version", STR1),
    need("platform", STR1),
    may("deviceFamily", STR1),
    may("modelIdentifier", STR1),
    need("mode", CLIENT_MODE),
    may("instanceId", STR1),
]);
const CLIENT_V4: Shape = Shape::Open(&[
    need("id", STR1),
    may("displayName", STR1),
    need("version", STR1),
    need("platform", STR1),
    may("deviceFamily", STR1),
    may("modelIdentifier", STR1),
    need("mode", STR1),
    may("instanceId", STR1),
]);
const DEVICE: &[Field] = &[
    need("id", STR1),
    need("publicKey", STR1),
    need("signature", STR1),
    need("signedAt", UINT),
    need("nonce", STR1),
];
const AUTH: &[Field] =
    &[may("token", STR), may("bootstrapToken", STR), may("deviceToken", STR), may("password", STR)];

const PARAMS: Shape = Shape::Object(&[
    need("minProtocol", POSITIVE),
    need("maxProtocol", POSITIVE),
    need("client", CLIENT),
    may("caps", STR1_LIST),
    may("commands", STR1_LIST),
    may("permissions", Shape::Map(&Shape::Bool)),
    may("pathEnv", STR),
    may("role", STR1),
    may("scopes", STR1_LIST),
    may("device", Shape::Object(DEVICE)),
    may("auth", Shape::Object(AUTH)),
    may("locale", STR),
    may("userAgent", STR),
]);
const PARAMS_V4: Shape = Shape::Open(&[
    need("minProtocol", POSITIVE),
    need("maxProtocol", POSITIVE),
    need("client", CLIENT_V4),
    may("caps", STR1_LIST),
    may("commands", STR1_LIST),
    may("permissions", Shape::Map(&Shape::Bool)),
    may("pathEnv", STR),
    may("role", STR1),
    may("scopes", STR1_LIST),
    may("device", Shape::Open(DEVICE)),
    may("auth", Shape::Open(AUTH)),
    may("locale", STR),
    may("userAgent", STR),
]);

/// `connect` as a client sent it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectParams {
    #[serde(deserialize_with = "whole")]
    pub min_protocol: u64,
    #[serde(deserialize_with = "whole")]
    pub max_protocol: u64,
    pub client: Client,
    #[serde(default)]
    pub caps: Vec<String>,
    #[serde(default)]
    pub commands: Vec<String>,
    #[serde(default)]
    pub permissions: serde_json::Map<String, Value>,
    pub path_env: Option<String>,
    pub role: Option<String>,
    #[serde(default)]
    pub scopes: Scopes,
    pub device: Option<Device>,
    #[serde(default)]
    pub auth: Auth,
    pub locale: Option<String>,
    pub user_agent: Option<String>,
}

/// Who the client says it is.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Client {
    pub id: String,
    pub display_name: Option<String>,
    pub version: String,
    pub platform: String,
    pub device_family: Option<String>,
    pub model_identifier: Option<String>,
    pub mode: String,
    pub instance_id: Option<String>,
}

/// Proof that the client holds a device key.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    pub id: String,
    pub public_key: String,
    pub signature: String,
    /// Milliseconds since the Unix epoch.
    #[serde(deserialize_with = "whole")]
    pub signed_at: u64,
    pub nonce: String,
}

/// Secrets the client presents. An empty text counts as present where the
/// signature covers it and as absent where it is compared.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Auth {
    pub token: Option<String>,
    pub bootstrap_token: Option<String>,
    pub device_token: Option<String>,
    pub password: Option<String>,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Auth { [redacted] }")
    }
}

impl ConnectParams {
    /// Checks and reads params; the error is the text after
    /// `invalid connect params: `.
    pub fn parse(params: Value) -> Result<Self, String> {
        let shape = if speaks_four(&params) { PARAMS_V4 } else { PARAMS };
        if let Some(problems) = shape.check(&params) {
            return Err(problems);
        }
        serde_json::from_value(params).map_err(|err| err.to_string())
    }
}

/// Clients of protocol 4 may say more than protocol 3 knows.
fn speaks_four(params: &Value) -> bool {
    let bound = |key: &str| params.get(key).and_then(Value::as_u64);
    match (bound("minProtocol"), bound("maxProtocol")) {
        (Some(min), Some(max)) => version::negotiate(min, max) == Some(4),
        _ => false,
    }
}

/// JavaScript writes whole numbers as it likes.
fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number = serde_json::Number::deserialize(deserializer)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates, which is what an out-of-range bound means"
    )]
    Ok(number.as_u64().unwrap_or_else(|| number.as_f64().unwrap_or_default() as u64))
}

impl Client {
    /// The command line of any kind.
    pub fn is_cli(&self) -> bool {
        self.mode == "cli"
    }

    /// The web interface served by the gateway.
    pub fn is_control_ui(&self) -> bool {
        self.id == "openclaw-control-ui"
    }

    /// An interface for people: the web one or the terminal one.
    pub fn is_operator_ui(&self) -> bool {
        self.is_control_ui() || self.id == "openclaw-tui"
    }

    pub fn is_webchat(&self) -> bool {
        self.mode == "webchat" || self.id == "webchat-ui"
    }

    /// How people name this client.
    pub fn label(&self) -> &str {
        self.display_name.as_deref().unwrap_or(&self.id)
    }
}

/// The payload of a successful `connect`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HelloOk<'a> {
    pub r#type: &'static str,
    pub protocol: u64,
    pub server: Server<'a>,
    pub features: Features<'a>,
    pub snapshot: Snapshot<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canvas_host_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Granted<'a>>,
    pub policy: Policy,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Server<'a> {
    pub version: &'a str,
    /// Under protocol 4 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<&'a str>,
    pub conn_id: &'a str,
}

#[derive(Debug, Serialize)]
pub struct Features<'a> {
    pub methods: &'a [&'static str],
    pub events: &'a [&'static str],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot<'a> {
    pub presence: &'a Value,
    pub health: &'a Value,
    pub state_version: StateVersion,
    pub uptime_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_defaults: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_available: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_dir: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_mode: Option<&'a str>,
}

/// What the connection was granted. Protocol 3 knows only the device token.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Granted<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_token: Option<&'a str>,
    pub role: &'a str,
    pub scopes: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued_at_ms: Option<u64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    pub max_payload: usize,
    pub max_buffered_bytes: usize,
    pub tick_interval_ms: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            max_payload: MAX_PAYLOAD,
            max_buffered_bytes: MAX_BUFFERED,
            tick_interval_ms: TICK_INTERVAL_MS,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn minimal(protocol: u64, id: &str) -> Value {
        json!({
            "minProtocol": protocol, "maxProtocol": protocol,
            "client": {"id": id, "version": "1", "platform": "linux", "mode": "backend"},
        })
    }

    #[track_caller]
    fn refused(params: Value, expected: &str) {
        assert_eq!(ConnectParams::parse(params).unwrap_err(), expected);
    }

    #[test]
    fn what_is_missing_is_listed() {
        refused(
            json!({"minProtocol": 3}),
            "must have required property 'maxProtocol'; must have required property 'client'",
        );
    }

    #[test]
    fn a_foreign_client_id_is_refused_under_protocol_three_only() {
        refused(
            minimal(3, "my-own-client"),
            "at /client/id: must be equal to constant; at /client/id: must match a schema in anyOf",
        );
        assert_eq!(
            ConnectParams::parse(minimal(4, "my-own-client")).unwrap().client.id,
            "my-own-client"
        );
    }

    #[test]
    fn an_extra_key_is_refused_under_protocol_three_only() {
        for (protocol, ok) in [(3, false), (4, true)] {
            let mut params = minimal(protocol, "cli");
            params["foo"] = json!(1);
            assert_eq!(ConnectParams::parse(params).is_ok(), ok, "protocol {protocol}");
        }
    }
}
