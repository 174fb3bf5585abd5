//! What a command presents at the door, and where it found it.

use serde_json::Value;

use crate::base::secret::Secret;
use crate::client::target::{Source, Target};
use crate::config::Config;
use crate::profile::env::Env;

/// Shared secrets for one connection.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    pub token: Option<Secret>,
    pub password: Option<Secret>,
    /// Typed for this one call: nothing else is meant.
    pub typed: bool,
}

impl Credentials {
    pub fn is_empty(&self) -> bool {
        self.token.is_none() && self.password.is_none()
    }

    /// Chooses the credentials for `target`: typed ones first; those of the
    /// environment and the configuration only where they belong. `plain` turns
    /// a configured secret input into text.
    pub fn resolve(
        token: Option<&str>,
        password: Option<&str>,
        target: &Target,
        env: &Env,
        config: &Config,
        mut plain: impl FnMut(&Value) -> Option<String>,
    ) -> Self {
        let typed = Self::new(token, password, token.or(password).is_some());
        if target.source == Source::Flag || !typed.is_empty() && target.is_override() {
            return typed;
        }
        let from_env = Self::new(
            env.get("OPENCLAW_GATEWAY_TOKEN"),
            env.get("OPENCLAW_GATEWAY_PASSWORD"),
            false,
        );
        if target.is_override() {
            return from_env;
        }
        let auth = &config.gateway.auth;
        let mode = auth.mode.as_deref();
        // A reference that the gateway does not follow is not followed here.
        let of_use = |value: &&Value, other: &str, variable: &str| {
            value.is_string() || mode != Some(other) && env.get(variable).is_none()
        };
        let token = auth.token.as_ref();
        let token = token.filter(|it| of_use(it, "password", "OPENCLAW_GATEWAY_TOKEN"));
        let password = auth.password.as_ref();
        let password = password.filter(|it| of_use(it, "token", "OPENCLAW_GATEWAY_PASSWORD"));
        let local = [token, password];
        let remote = ["token", "password"].map(|key| config.gateway.remote.get(key));
        let mut of = |inputs: [Option<&Value>; 2]| {
            let [token, password] = inputs.map(|input| input.and_then(&mut plain));
            Self::new(token.as_deref(), password.as_deref(), false)
        };
        if target.source == Source::Remote {
            typed.or(|| of(remote)).or(|| from_env).or(|| of(local))
        } else {
            // The gateway prefers its configuration to its environment, too.
            typed.or(|| of(local)).or(|| from_env).or(|| of(remote))
        }
    }

    fn new(token: Option<&str>, password: Option<&str>, typed: bool) -> Self {
        Self { token: secret(token), password: secret(password), typed }
    }

    /// Fills what is missing.
    fn or(self, other: impl FnOnce() -> Self) -> Self {
        if self.typed || self.token.is_some() && self.password.is_some() {
            return self;
        }
        let other = other();
        Self {
            token: self.token.or(other.token),
            password: self.password.or(other.password),
            typed: self.typed,
        }
    }
}

fn secret(text: Option<&str>) -> Option<Secret> {
    text.map(str::trim).filter(|text| !text.is_empty()).map(Secret::new)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::profile::paths::Paths;

    #[track_caller]
    fn check(
        (url, token): (Option<&str>, Option<&str>),
        env: &[(&str, &str)],
        gateway: &Value,
        expected: Option<&str>,
    ) {
        let env: Env = env.iter().copied().collect();
        let config: Config = serde_json::from_value(json!({ "gateway": gateway })).unwrap();
        let target = Target::resolve(url, &env, &config, &Paths::resolve(&env));
        let plain = |value: &Value| value.as_str().map(str::to_owned);
        let found = Credentials::resolve(token, None, &target, &env, &config, plain);
        assert_eq!(found.token.as_ref().map(Secret::expose), expected);
    }

    #[test]
    fn typed_then_configuration_then_environment() {
        let gateway = || json!({"auth": {"token": "c"}, "remote": {"token": "r"}});
        let env = [("OPENCLAW_GATEWAY_TOKEN", "e")];
        check((None, Some("t")), &env, &gateway(), Some("t"));
        check((None, None), &env, &gateway(), Some("c"));
        check((None, None), &env, &json!({"remote": {"token": "r"}}), Some("e"));
        check((None, None), &[], &gateway(), Some("c"));
        check((None, None), &[], &json!({"remote": {"token": "r"}}), Some("r"));
        check((None, None), &[], &json!({"auth": {"token": "  "}}), None);
    }

    #[test]
    fn a_remote_gateway_gets_its_own_token_first() {
        let gateway = json!({"mode": "remote", "auth": {"token": "c"}, "remote": {"url": "wss://r", "token": "r"}});
        check((None, None), &[("OPENCLAW_GATEWAY_TOKEN", "e")], &gateway, Some("r"));
    }

    #[test]
    fn configured_credentials_never_go_to_an_overridden_url() {
        let gateway = || json!({"auth": {"token": "c"}});
        let token = ("OPENCLAW_GATEWAY_TOKEN", "e");
        let url = ("OPENCLAW_GATEWAY_URL", "wss://x");
        check((Some("wss://x"), None), &[token], &gateway(), None);
        check((Some("wss://x"), Some("t")), &[token], &gateway(), Some("t"));
        check((None, None), &[url], &gateway(), None);
        check((None, None), &[url, token], &gateway(), Some("e"));
    }
}
