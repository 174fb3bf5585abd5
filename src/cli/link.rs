//! A command's way to the gateway: picks target and credentials from flags,
//! environment and configuration, opens connections, and words the failure.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::base::clock::SystemClock;
use crate::cli::args::rpc::Rpc;
use crate::cli::context::Context;
use crate::cli::ui::Failure;
use crate::client::{
    Caller, ClientError, Connection, Connector, Credentials, Expect, Identity, Target,
};
use crate::config::load;
use crate::profile::env::Env;
use crate::profile::paths::Paths;
use crate::secrets::{self, SecretError};

/// Milliseconds that a call may take unless the command says otherwise.
pub const CALL_MS: u64 = 30_000;

/// One gateway with what it takes to sign in there.
#[derive(Debug)]
pub struct Link {
    pub target: Target,
    pub credentials: Credentials,
    identity: Identity,
    paths: Paths,
    env: Arc<Env>,
    /// Why a configured secret is not among the credentials.
    lacking: Option<SecretError>,
}

/// Why a call gave no answer.
#[derive(Debug)]
pub enum CallError {
    /// An explicit URL without explicit credentials.
    NoCredentials {
        config: String,
    },
    Client {
        err: ClientError,
        details: String,
    },
}

impl Link {
    /// Prepares connections with the shared options of `rpc`.
    pub fn new(context: &Context, rpc: &Rpc) -> Result<Self, CallError> {
        Self::open(context, rpc.url.as_deref(), rpc.token.as_deref(), rpc.password.as_deref())
    }

    pub fn open(
        context: &Context,
        url: Option<&str>,
        token: Option<&str>,
        password: Option<&str>,
    ) -> Result<Self, CallError> {
        let snapshot = context.config_in_force();
        let target = Target::resolve(url, &snapshot.env, &snapshot.config, &context.paths);
        Self::to(context, target, token, password)
    }

    /// Prepares connections to a target chosen by the command.
    pub fn to(
        context: &Context,
        target: Target,
        token: Option<&str>,
        password: Option<&str>,
    ) -> Result<Self, CallError> {
        let snapshot = context.config_in_force();
        let (env, config) = (&*snapshot.env, &snapshot.config);
        let mut lacking = None;
        let credentials = Credentials::resolve(token, password, &target, env, config, |value| {
            let found = secrets::look_up(value, snapshot);
            found.unwrap_or_else(|err| {
                lacking = Some(err);
                None
            })
        });
        if target.is_override() && credentials.is_empty() {
            return Err(CallError::NoCredentials {
                config: context.paths.config.display().to_string(),
            });
        }
        let identity = Identity::open(&context.paths.state, &SystemClock)
            .map_err(|err| CallError::Client { err, details: target.details() })?;
        let (paths, env) = (context.paths.clone(), Arc::clone(&context.env));
        Ok(Self { target, credentials, identity, paths, env, lacking })
    }

    /// Opens a connection.
    pub async fn connect(&self, caller: Caller, limit: Duration) -> Result<Connection, CallError> {
        let with = |credentials| Connector {
            target: &self.target,
            credentials,
            identity: Some(&self.identity),
            own: None,
            clock: &SystemClock,
        };
        let mut outcome = with(&self.credentials).connect(caller, limit).await;
        if matches!(outcome, Err(ClientError::NotAdmitted(_))) && self.credentials.is_empty() {
            let made_up = self.credentials_now();
            if !made_up.is_empty() {
                outcome = with(&made_up).connect(caller, limit).await;
            }
        }
        outcome.map_err(|err| self.error(err))
    }

    /// What the configuration says by now: a gateway that the first connection
    /// started, by its socket unit, makes up its token on the way.
    fn credentials_now(&self) -> Credentials {
        let snapshot = load::read(&self.paths, &self.env);
        let plain = |value: &Value| secrets::look_up(value, &snapshot).ok().flatten();
        Credentials::resolve(None, None, &self.target, &snapshot.env, &snapshot.config, plain)
    }

    /// Connects, calls one method and hangs up.
    pub async fn call(
        &self,
        caller: Caller,
        method: &str,
        params: Option<Value>,
        expect: Expect,
        limit: Duration,
    ) -> Result<Value, CallError> {
        let mut connection = self.connect(caller, limit).await?;
        let answer = connection.call(method, params, expect, limit).await;
        connection.hang_up().await;
        answer.map_err(|err| self.error(err))
    }

    /// Adds to a client's error what this link knows about its target.
    pub fn error(&self, err: ClientError) -> CallError {
        let mut details = self.target.details();
        if let (Some(lacking), ClientError::NotAdmitted(_)) = (&self.lacking, &err) {
            details = format!(
                "The gateway's secret is configured as a reference that cannot be resolved here: {lacking}\n{details}"
            );
        }
        CallError::Client { err, details }
    }
}

impl CallError {
    /// The message with the lines that say which gateway was meant. An answer
    /// of a method needs no such lines.
    pub fn text(&self) -> String {
        match self {
            Self::NoCredentials { config } => format!(
                "gateway url override requires explicit credentials\n\
                 Fix: pass --token or --password (or gatewayToken in tools).\n\
                 Config: {config}"
            ),
            Self::Client { err: ClientError::Refused(remote), .. } => remote.message.clone(),
            Self::Client { err, details } => format!("{}\n{details}", err.for_call()),
        }
    }

    /// The text behind the name of its class, which scripts look for.
    pub fn classed(&self) -> String {
        let class = match self {
            Self::NoCredentials { .. } => "Error",
            Self::Client { err, .. } => err.class(),
        };
        format!("{class}: {}", self.text())
    }

    /// The spelling of a probe.
    pub fn for_probe(&self) -> String {
        match self {
            Self::NoCredentials { .. } => {
                "gateway url override requires explicit credentials".to_owned()
            }
            Self::Client { err, .. } => err.for_probe(),
        }
    }

    /// The line that tells a refused sign-in from a gateway that is away.
    pub fn notice(&self) -> Option<String> {
        match self {
            Self::Client { err: ClientError::NotAdmitted(remote), .. } => Some(format!(
                "gateway connect failed: GatewayClientRequestError: {}\n",
                remote.message
            )),
            _ => None,
        }
    }

    pub fn is_pairing_required(&self) -> bool {
        matches!(self, Self::Client { err, .. } if err.is_pairing_required())
    }

    /// The failure of a command; `lead` comes before the class.
    pub fn failure(&self, lead: &str) -> Failure {
        Failure::new(format!("{}{lead}{}", self.notice().unwrap_or_default(), self.classed()))
    }
}

/// Reads `--timeout`: whole milliseconds, more than none.
pub fn timeout(text: Option<&str>, default_ms: u64) -> Result<Duration, Failure> {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else {
        return Ok(Duration::from_millis(default_ms));
    };
    match text.parse::<u64>() {
        Ok(ms) if ms > 0 => Ok(Duration::from_millis(ms)),
        _ => Err(Failure::new("--timeout must be a positive integer (milliseconds)")),
    }
}

/// Whether a call ends with the first answer.
pub fn expect(rpc: &Rpc) -> Expect {
    if rpc.expect_final { Expect::Final } else { Expect::First }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::error::Remote;

    fn remote(message: &str) -> Remote {
        Remote { code: "X".to_owned(), message: message.to_owned(), details: Value::Null }
    }

    #[test]
    fn failures_say_which_gateway_was_meant_unless_it_answered() {
        let details = || "Gateway target: ws://h".to_owned();
        let away = CallError::Client { err: ClientError::abnormal(), details: details() };
        assert_eq!(
            away.classed(),
            "Error: gateway closed (1006 abnormal closure (no close frame)): no close reason\nGateway target: ws://h"
        );
        let answered = CallError::Client {
            err: ClientError::Refused(Box::new(remote("unknown method: x"))),
            details: details(),
        };
        assert_eq!(answered.classed(), "GatewayClientRequestError: unknown method: x");
        let refused = CallError::Client {
            err: ClientError::NotAdmitted(Box::new(remote("pairing required"))),
            details: details(),
        };
        assert_eq!(
            refused.failure("Gateway call failed: ").to_string(),
            "gateway connect failed: GatewayClientRequestError: pairing required\n\
             Gateway call failed: Error: gateway closed (1008): pairing required\nGateway target: ws://h"
        );
    }

    #[test]
    fn a_timeout_is_a_positive_whole_number() {
        assert_eq!(timeout(None, 7).unwrap(), Duration::from_millis(7));
        assert_eq!(timeout(Some("250"), 7).unwrap(), Duration::from_millis(250));
        for text in ["x", "0", "-1", "1.5"] {
            assert!(timeout(Some(text), 7).is_err(), "{text}");
        }
    }
}
