//! Who makes a request, and what he may do.
//!
//! Checks come in the order clients rely on: lockout, credential, scope.

use std::net::{IpAddr, SocketAddr};

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HOST, ORIGIN};
use sha2::{Digest, Sha256};

use crate::gateway::State;
use crate::gateway::auth::limiter::Guess;
use crate::gateway::auth::{Mode, Settings, proxy};
use crate::gateway::http::prepared::Prepared;
use crate::gateway::http::reply::{self, Answer};
use crate::protocol::scope::Scopes;

/// Headers by which a proxy shows itself.
const FORWARDING: [&str; 5] =
    ["forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-real-ip"];

/// A permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Read,
    Write,
    Admin,
}

impl Scope {
    fn as_str(self) -> &'static str {
        match self {
            Self::Read => "operator.read",
            Self::Write => "operator.write",
            Self::Admin => "operator.admin",
        }
    }
}

/// An authenticated caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    read: bool,
    write: bool,
    admin: bool,
    /// Tells callers apart without keeping their secret.
    pub principal: Principal,
}

/// Who a caller is, as far as the gateway can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    Anyone,
    /// Digest of the bearer.
    Secret([u8; 32]),
    User(String),
}

impl Caller {
    pub fn has(&self, scope: Scope) -> bool {
        match scope {
            Scope::Read => self.read,
            Scope::Write => self.write,
            Scope::Admin => self.admin,
        }
    }

    /// The scopes as the control plane knows them: who may administer may
    /// approve and pair as well.
    pub fn scopes(&self) -> Scopes {
        if self.admin {
            return Scopes::all();
        }
        let held = [(self.read, Scope::Read), (self.write, Scope::Write)];
        let names = held.iter().filter(|(has, _)| *has).map(|(_, scope)| scope.as_str().to_owned());
        Scopes::new(names.collect())
    }

    /// Whether he may use tools reserved for the owner.
    pub fn is_owner(&self) -> bool {
        self.admin
    }

    /// The refusal when he lacks `scope`.
    pub fn require(&self, scope: Scope) -> Result<(), Answer> {
        if self.has(scope) { Ok(()) } else { Err(reply::missing_scope(scope.as_str())) }
    }

    fn all(principal: Principal) -> Self {
        Self { read: true, write: true, admin: true, principal }
    }

    /// What the `x-openclaw-scopes` header grants; absent grants all.
    fn narrowed(headers: &HeaderMap, principal: Principal) -> Self {
        let Some(list) = headers.get("x-openclaw-scopes") else {
            return Self::all(principal);
        };
        let list = list.to_str().unwrap_or_default();
        let named = |scope: Scope| list.split(',').any(|name| name.trim() == scope.as_str());
        let admin = named(Scope::Admin);
        let write = admin || named(Scope::Write);
        Self { read: write || named(Scope::Read), write, admin, principal }
    }
}

/// The caller with `scope`, or the refusal.
pub fn authorize(
    state: &State,
    prepared: &Prepared,
    remote: SocketAddr,
    headers: &HeaderMap,
    scope: Scope,
) -> Result<Caller, Answer> {
    let caller = authenticate(state, prepared, remote, headers)?;
    caller.require(scope)?;
    Ok(caller)
}

/// The caller, or the refusal.
pub fn authenticate(
    state: &State,
    prepared: &Prepared,
    remote: SocketAddr,
    headers: &HeaderMap,
) -> Result<Caller, Answer> {
    let settings = state.auth.load();
    match settings.mode {
        Mode::None => Ok(Caller::narrowed(headers, Principal::Anyone)),
        Mode::TrustedProxy => match proxy_user(state, &settings, prepared, remote, headers) {
            Some(user) => Ok(Caller::narrowed(headers, Principal::User(user))),
            None => Err(reply::unauthorized()),
        },
        Mode::Token | Mode::Password => {
            let limiters = state.limiters.load();
            let limiter = limiters.direct.as_ref();
            let limited = limiter.map(|limiter| (limiter, client_ip(prepared, remote, headers)));
            if let Some((limiter, ip)) = limited
                && let Some(left) = limiter.locked_for(Guess::SharedSecret, ip)
            {
                return Err(reply::locked_out(left));
            }
            let bearer = bearer(headers).ok_or_else(reply::unauthorized)?;
            if matches_secret(&settings, bearer) {
                if let Some((limiter, ip)) = limited {
                    limiter.succeeded(Guess::SharedSecret, ip);
                }
                return Ok(Caller::all(Principal::Secret(Sha256::digest(bearer).into())));
            }
            if let Some((limiter, ip)) = limited {
                limiter.failed(Guess::SharedSecret, ip);
            }
            Err(reply::unauthorized())
        }
    }
}

/// Whether the request carries good credentials, without counting a failure.
pub fn is_known(
    state: &State,
    prepared: &Prepared,
    remote: SocketAddr,
    headers: &HeaderMap,
) -> bool {
    let settings = state.auth.load();
    match settings.mode {
        Mode::None => false,
        Mode::TrustedProxy => proxy_user(state, &settings, prepared, remote, headers).is_some(),
        Mode::Token | Mode::Password => {
            bearer(headers).is_some_and(|bearer| matches_secret(&settings, bearer))
        }
    }
}

/// On this host, with no proxy in between.
pub fn is_local(remote: SocketAddr, headers: &HeaderMap) -> bool {
    remote.ip().to_canonical().is_loopback()
        && !FORWARDING.iter().any(|name| headers.contains_key(*name))
}

fn matches_secret(settings: &Settings, bearer: &str) -> bool {
    let secret = match settings.mode {
        Mode::Password => &settings.password,
        _ => &settings.token,
    };
    secret.as_ref().is_some_and(|secret| secret.matches(bearer))
}

/// The secret of `Authorization: Bearer …`.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?.trim();
    let (scheme, secret) = value.split_once(|c: char| c.is_ascii_whitespace())?;
    let secret = secret.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !secret.is_empty()).then_some(secret)
}

/// The user that a trusted proxy speaks for. One on this host is believed only
/// where the operator said so: any process here can pose as it.
fn proxy_user(
    state: &State,
    settings: &Settings,
    prepared: &Prepared,
    remote: SocketAddr,
    headers: &HeaderMap,
) -> Option<String> {
    let loopback = state.env.is_on("OPENCLAW_TRUSTED_PROXY_ALLOW_LOOPBACK");
    let ip = remote.ip().to_canonical();
    let gateway = &prepared.snapshot.config.gateway;
    if !proxy::is_listed(ip, &settings.trusted_proxies) || (ip.is_loopback() && !loopback) {
        return None;
    }
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let user = settings.proxy.as_ref()?.user(header).ok()?;
    if let Some(origin) = headers.get(ORIGIN) {
        let origin = origin.to_str().ok()?;
        let listed = prepared.allowed_origins.iter().any(|allowed| allows(allowed, origin));
        let by_host = gateway.control_ui.dangerously_allow_host_header_origin_fallback
            && header(HOST.as_str()).is_some_and(|host| {
                origin.split_once("://").is_some_and(|(_, it)| it.eq_ignore_ascii_case(host))
            });
        if !listed && !by_host {
            return None;
        }
    }
    Some(user)
}

/// Whether an entry of `allowedOrigins` lets `origin` through.
pub fn allows(allowed: &str, origin: &str) -> bool {
    allowed == "*" || allowed.trim_end_matches('/').eq_ignore_ascii_case(origin)
}

/// The client's own address: what a trusted proxy says, else the peer's.
fn client_ip(prepared: &Prepared, remote: SocketAddr, headers: &HeaderMap) -> IpAddr {
    let ip = remote.ip().to_canonical();
    let gateway = &prepared.snapshot.config.gateway;
    let trusted = &gateway.trusted_proxies;
    if !proxy::is_listed(ip, trusted) {
        return ip;
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let parse = |part: &str| part.trim().parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
    let own = |hop: &IpAddr| !hop.is_loopback() && !proxy::is_listed(*hop, trusted);
    let hops = text("x-forwarded-for").unwrap_or_default();
    let nearest = hops.rsplit(',').filter_map(parse).find(own);
    let real = || text("x-real-ip").filter(|_| gateway.allow_real_ip_fallback).and_then(parse);
    nearest.or_else(real).unwrap_or(ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (hyper::header::HeaderName::from_static(name), value.parse().unwrap())
            })
            .collect()
    }

    #[test]
    fn only_a_bearer_is_a_credential() {
        let of =
            |value: &'static str| bearer(&headers(&[("authorization", value)])).map(str::to_owned);
        assert_eq!(of("Bearer tok").as_deref(), Some("tok"));
        assert_eq!(of("bearer    tok  ").as_deref(), Some("tok"));
        for refused in ["Basic dG9r", "tok", "Bearer", "Bearer  "] {
            assert_eq!(of(refused), None, "{refused}");
        }
    }

    #[test]
    fn scopes_narrow_and_imply() {
        let of = |list: Option<&'static str>| {
            let pairs: Vec<_> = list.map(|list| ("x-openclaw-scopes", list)).into_iter().collect();
            let caller = Caller::narrowed(&headers(&pairs), Principal::Anyone);
            (caller.read, caller.write, caller.admin)
        };
        assert_eq!(of(None), (true, true, true));
        assert_eq!(of(Some("")), (false, false, false));
        assert_eq!(of(Some("operator.read")), (true, false, false));
        assert_eq!(of(Some("operator.write")), (true, true, false));
        assert_eq!(of(Some(" operator.admin , bogus")), (true, true, true));
    }

    #[test]
    fn a_forwarded_request_is_not_local() {
        let loopback: SocketAddr = "127.0.0.1:1".parse().unwrap();
        assert!(is_local(loopback, &headers(&[])));
        assert!(!is_local(loopback, &headers(&[("x-forwarded-for", "1.2.3.4")])));
        assert!(!is_local("192.0.2.1:1".parse().unwrap(), &headers(&[])));
    }
}
