//! Who may connect: the configured secret, its comparison, and the limits on
//! guessing it. Pure over a clock; knows no socket.

pub mod limiter;
pub mod proxy;
pub mod tailscale;

use std::fmt;

use crate::base::secret::Secret;
use crate::config::gate;
use crate::protocol::connect;

pub use crate::config::gate::AuthMode as Mode;
pub use limiter::{Limiter, Limiters};

/// The authentication in force.
#[derive(Debug, Clone)]
pub struct Settings {
    pub mode: Mode,
    pub token: Option<Secret>,
    pub password: Option<Secret>,
    pub allow_tailscale: bool,
    pub proxy: Option<proxy::Rules>,
    /// Addresses or networks whose forwarding headers are believed.
    pub trusted_proxies: Vec<String>,
}

/// Why a secret was refused, in the words clients match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    TokenMissing,
    TokenMismatch,
    TokenMissingConfig,
    PasswordMissing,
    PasswordMismatch,
    PasswordMissingConfig,
    BootstrapTokenInvalid,
    DeviceTokenMismatch,
    RateLimited,
    TailscaleUserMissing,
    TailscaleProxyMissing,
    TailscaleWhoisFailed,
    TailscaleUserMismatch,
    TrustedProxy(String),
}

/// How a connection proved itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    None,
    Token,
    Password,
    Tailscale,
    TrustedProxy,
    BootstrapToken,
    DeviceToken,
}

impl Method {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Token => "token",
            Self::Password => "password",
            Self::Tailscale => "tailscale",
            Self::TrustedProxy => "trusted-proxy",
            Self::BootstrapToken => "bootstrap-token",
            Self::DeviceToken => "device-token",
        }
    }

    /// Whether the gateway's own shared secret was proven.
    pub fn is_shared_secret(self) -> bool {
        matches!(self, Self::Token | Self::Password)
    }
}

impl Settings {
    /// What the start gate decided, with the proxies that are believed.
    pub fn new(auth: &gate::Auth, trusted_proxies: &[String]) -> Self {
        Self {
            mode: auth.mode,
            token: auth.token.clone(),
            password: auth.password.clone(),
            allow_tailscale: auth.allow_tailscale,
            proxy: auth.trusted_proxy.as_ref().map(proxy::Rules::new),
            trusted_proxies: trusted_proxies.to_vec(),
        }
    }

    /// Whether anyone who reaches the port must prove something.
    pub fn protects(&self) -> bool {
        match self.mode {
            Mode::Token => self.token.is_some(),
            Mode::Password => self.password.is_some(),
            Mode::None => false,
            Mode::TrustedProxy => true,
        }
    }

    /// Compares what a client presents with the shared secret. Under protocol 4
    /// either field may carry it.
    pub fn check_secret(&self, auth: &connect::Auth, protocol: u64) -> Result<Method, Refusal> {
        let either = protocol >= 4;
        let token = present(auth.token.as_deref());
        let password = present(auth.password.as_deref());
        match self.mode {
            Mode::None => Ok(Method::None),
            Mode::TrustedProxy => Err(Refusal::TrustedProxy("trusted_proxy_no_request".to_owned())),
            Mode::Token => {
                let own = self.token.as_ref().ok_or(Refusal::TokenMissingConfig)?;
                let shown = token.or(password.filter(|_| either)).ok_or(Refusal::TokenMissing)?;
                if own.matches(shown) { Ok(Method::Token) } else { Err(Refusal::TokenMismatch) }
            }
            Mode::Password => {
                let own = self.password.as_ref().ok_or(Refusal::PasswordMissingConfig)?;
                let shown =
                    password.or(token.filter(|_| either)).ok_or(Refusal::PasswordMissing)?;
                if own.matches(shown) {
                    Ok(Method::Password)
                } else {
                    Err(Refusal::PasswordMismatch)
                }
            }
        }
    }

    /// As [`Settings::check_secret`] for a bearer token of an HTTP request,
    /// which may carry token or password.
    pub fn check_bearer(&self, bearer: Option<&str>) -> Result<Method, Refusal> {
        let auth = connect::Auth { token: bearer.map(str::to_owned), ..Default::default() };
        self.check_secret(&auth, 4)
    }
}

/// Trimmed; blank counts as absent.
fn present(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}

impl Refusal {
    /// `details.authReason`. Part of the wire contract.
    pub fn reason(&self) -> &str {
        match self {
            Self::TokenMissing => "token_missing",
            Self::TokenMismatch => "token_mismatch",
            Self::TokenMissingConfig => "token_missing_config",
            Self::PasswordMissing => "password_missing",
            Self::PasswordMismatch => "password_mismatch",
            Self::PasswordMissingConfig => "password_missing_config",
            Self::BootstrapTokenInvalid => "bootstrap_token_invalid",
            Self::DeviceTokenMismatch => "device_token_mismatch",
            Self::RateLimited => "rate_limited",
            Self::TailscaleUserMissing => "tailscale_user_missing",
            Self::TailscaleProxyMissing => "tailscale_proxy_missing",
            Self::TailscaleWhoisFailed => "tailscale_whois_failed",
            Self::TailscaleUserMismatch => "tailscale_user_mismatch",
            Self::TrustedProxy(reason) => reason,
        }
    }

    /// `details.code`. Part of the wire contract.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TokenMissing => "AUTH_TOKEN_MISSING",
            Self::TokenMismatch => "AUTH_TOKEN_MISMATCH",
            Self::TokenMissingConfig => "AUTH_TOKEN_NOT_CONFIGURED",
            Self::PasswordMissing => "AUTH_PASSWORD_MISSING",
            Self::PasswordMismatch => "AUTH_PASSWORD_MISMATCH",
            Self::PasswordMissingConfig => "AUTH_PASSWORD_NOT_CONFIGURED",
            Self::BootstrapTokenInvalid => "AUTH_BOOTSTRAP_TOKEN_INVALID",
            Self::DeviceTokenMismatch => "AUTH_DEVICE_TOKEN_MISMATCH",
            Self::RateLimited => "AUTH_RATE_LIMITED",
            Self::TailscaleUserMissing => "AUTH_TAILSCALE_IDENTITY_MISSING",
            Self::TailscaleProxyMissing => "AUTH_TAILSCALE_PROXY_MISSING",
            Self::TailscaleWhoisFailed => "AUTH_TAILSCALE_WHOIS_FAILED",
            Self::TailscaleUserMismatch => "AUTH_TAILSCALE_IDENTITY_MISMATCH",
            Self::TrustedProxy(_) => "AUTH_UNAUTHORIZED",
        }
    }

    /// Whether it counts as a guess: a missing credential does not.
    pub fn is_a_guess(&self) -> bool {
        matches!(self, Self::TokenMismatch | Self::PasswordMismatch | Self::DeviceTokenMismatch)
    }

    /// What the client reads, for a client of this kind.
    pub fn message(&self, client: &connect::Client) -> String {
        let token_hint = if client.is_cli() {
            "set gateway.remote.token to match gateway.auth.token"
        } else if client.is_operator_ui() || client.is_webchat() {
            "open the dashboard URL and paste the token in Control UI settings"
        } else {
            "provide gateway auth token"
        };
        let password_hint = if client.is_cli() {
            "set gateway.remote.password to match gateway.auth.password"
        } else if client.is_operator_ui() || client.is_webchat() {
            "enter the password in Control UI settings"
        } else {
            "provide gateway auth password"
        };
        let tail = match self {
            Self::TokenMissing => format!("gateway token missing ({token_hint})"),
            Self::TokenMismatch => format!("gateway token mismatch ({token_hint})"),
            Self::TokenMissingConfig => {
                "gateway token not configured on gateway (set gateway.auth.token)".to_owned()
            }
            Self::PasswordMissing => format!("gateway password missing ({password_hint})"),
            Self::PasswordMismatch => format!("gateway password mismatch ({password_hint})"),
            Self::PasswordMissingConfig => {
                "gateway password not configured on gateway (set gateway.auth.password)".to_owned()
            }
            Self::BootstrapTokenInvalid => {
                "bootstrap token invalid or expired (scan a fresh setup code)".to_owned()
            }
            Self::DeviceTokenMismatch => {
                "device token mismatch (rotate/reissue device token)".to_owned()
            }
            Self::RateLimited => {
                "too many failed authentication attempts (retry later)".to_owned()
            }
            Self::TailscaleUserMissing => {
                "tailscale identity missing (use Tailscale Serve auth or gateway token/password)"
                    .to_owned()
            }
            Self::TailscaleProxyMissing => {
                "tailscale proxy headers missing (use Tailscale Serve or gateway token/password)"
                    .to_owned()
            }
            Self::TailscaleWhoisFailed => {
                "tailscale identity check failed (use Tailscale Serve auth or gateway token/password)"
                    .to_owned()
            }
            Self::TailscaleUserMismatch => {
                "tailscale identity mismatch (use Tailscale Serve auth or gateway token/password)"
                    .to_owned()
            }
            Self::TrustedProxy(_) => return "unauthorized".to_owned(),
        };
        format!("unauthorized: {tail}")
    }

    /// `details.canRetryWithDeviceToken` and `details.recommendedNextStep`.
    pub fn advice(&self, may_have_device_token: bool) -> (bool, &'static str) {
        match self {
            Self::TokenMismatch if may_have_device_token => (true, "retry_with_device_token"),
            Self::TokenMismatch | Self::PasswordMismatch | Self::DeviceTokenMismatch => {
                (false, "update_auth_credentials")
            }
            Self::TokenMissing
            | Self::TokenMissingConfig
            | Self::PasswordMissing
            | Self::PasswordMissingConfig => (false, "update_auth_configuration"),
            Self::RateLimited => (false, "wait_then_retry"),
            _ => (false, "review_auth_configuration"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(mode: Mode) -> Settings {
        Settings {
            mode,
            token: Some(Secret::new("tok")),
            password: Some(Secret::new("pass")),
            allow_tailscale: false,
            proxy: None,
            trusted_proxies: Vec::new(),
        }
    }

    fn shown(token: Option<&str>, password: Option<&str>) -> connect::Auth {
        connect::Auth {
            token: token.map(str::to_owned),
            password: password.map(str::to_owned),
            ..Default::default()
        }
    }

    #[test]
    fn each_mode_wants_its_own_secret_under_protocol_three() {
        let cases = [
            (Mode::Token, Some("tok"), None, Ok(Method::Token)),
            (Mode::Token, Some(" tok "), None, Ok(Method::Token)),
            (Mode::Token, Some("no"), None, Err(Refusal::TokenMismatch)),
            (Mode::Token, None, Some("tok"), Err(Refusal::TokenMissing)),
            (Mode::Token, Some("  "), None, Err(Refusal::TokenMissing)),
            (Mode::Password, None, Some("pass"), Ok(Method::Password)),
            (Mode::Password, Some("pass"), None, Err(Refusal::PasswordMissing)),
            (Mode::Password, None, Some("no"), Err(Refusal::PasswordMismatch)),
            (Mode::None, None, None, Ok(Method::None)),
        ];
        for (mode, token, password, expected) in cases {
            let outcome = settings(mode).check_secret(&shown(token, password), 3);
            assert_eq!(outcome, expected, "{mode:?} {token:?} {password:?}");
        }
    }

    #[test]
    fn protocol_four_takes_the_secret_in_either_field() {
        let password_as_token = shown(Some("pass"), None);
        assert_eq!(
            settings(Mode::Password).check_secret(&password_as_token, 4),
            Ok(Method::Password)
        );
        assert_eq!(
            settings(Mode::Token).check_secret(&shown(None, Some("tok")), 4),
            Ok(Method::Token)
        );
    }
}
