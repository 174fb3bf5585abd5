//! Before `connect`: reads the first frame and decides about it.
//!
//! No sockets here: a text and what is known about the peer go in, an admission
//! or a rejection comes out. The order of the checks decides which error a
//! client sees and is part of the wire contract. Looking at the device files
//! blocks, so [`Gate::admit`] is called off the runtime when a device is shown.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Value, json};

use crate::config::schema::gateway::ControlUi;
use crate::gateway::auth::limiter::Guess;
use crate::gateway::auth::{self, Limiters, Method, Mode, Refusal};
use crate::gateway::pairing::{Bearer, Claim, Devices, Paired, PairingError, Token, proof};
use crate::gateway::ws::Peer;
use crate::protocol::connect::ConnectParams;
use crate::protocol::error::{ErrorCode, ErrorShape};
use crate::protocol::events::Event;
use crate::protocol::frame::{FrameError, Request, Strictness, close};
use crate::protocol::scope::{Role, Scopes};
use crate::protocol::version;

/// The bucket that all browsers on this host share.
const BROWSER_ON_LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1));

/// A first frame that is a well-formed `connect`.
#[derive(Debug)]
pub struct Hello {
    pub id: String,
    pub params: ConnectParams,
    pub role: Role,
    pub protocol: u64,
}

/// Why a connection ends before it began.
#[derive(Debug)]
pub struct Rejection {
    /// The response, with the request's id; some failures have none.
    pub answer: Option<(String, ErrorShape)>,
    pub code: u16,
    pub reason: String,
    /// For the log.
    pub cause: String,
    /// What others are told, for example a fresh pairing request.
    pub event: Option<News>,
}

/// A connection that may go on.
#[derive(Debug)]
pub struct Admission {
    pub hello: Hello,
    /// What the connection may do; not what its token may do.
    pub scopes: Scopes,
    pub method: Method,
    pub token: Option<Token>,
    /// What others are told.
    pub event: Option<News>,
}

/// An event that a greeting causes.
pub type News = (Event, Value);

/// Everything a decision depends on besides the frame.
#[derive(Debug)]
pub struct Gate<'a> {
    pub settings: &'a auth::Settings,
    pub limiters: &'a Limiters,
    pub devices: &'a Devices,
    pub control_ui: &'a ControlUi,
    pub peer: &'a Peer,
    /// The tailnet user that the peer turned out to be, if that was asked.
    pub tailscale_user: Option<String>,
    pub nonce: &'a str,
    /// Milliseconds since the Unix epoch.
    pub now: u64,
}

impl Hello {
    /// Reads the first message of a socket.
    pub fn read(text: &str) -> Result<Self, Box<Rejection>> {
        let request = match Request::parse(text, Strictness::Closed) {
            Ok(request) => request,
            Err(FrameError::NotJson(err)) => {
                let cause = format!("not JSON: {err}");
                return Err(Box::new(Rejection::silent(close::NORMAL, "", cause)));
            }
            Err(malformed @ FrameError::Malformed { .. }) => {
                // Clients of protocol 4 add keys to every request.
                match Request::parse(text, Strictness::Open) {
                    Ok(request) if speaks_four(&request) => request,
                    _ => {
                        let reason = "invalid request frame";
                        let cause = malformed.to_string();
                        return Err(Box::new(Rejection::silent(close::POLICY, reason, cause)));
                    }
                }
            }
        };
        let Request { id, method, params } = request;
        let refuse = |message: &str| Box::new(Rejection::error(&id, ErrorShape::invalid(message)));
        if method != "connect" {
            return Err(refuse("invalid handshake: first request must be connect"));
        }
        let params = ConnectParams::parse(params)
            .map_err(|problems| refuse(&format!("invalid connect params: {problems}")))?;
        let Some(protocol) = version::negotiate(params.min_protocol, params.max_protocol) else {
            let error = ErrorShape::invalid("protocol mismatch")
                .with_details(json!({"expectedProtocol": version::NEWEST}));
            let code = close::PROTOCOL;
            return Err(Box::new(Rejection { code, ..Rejection::error(&id, error) }));
        };
        let role = Role::parse(params.role.as_deref()).ok_or_else(|| refuse("invalid role"))?;
        Ok(Self { id, params, role, protocol })
    }
}

fn speaks_four(request: &Request) -> bool {
    let bound = |key: &str| request.params.get(key).and_then(Value::as_u64);
    bound("minProtocol")
        .zip(bound("maxProtocol"))
        .is_some_and(|(min, max)| version::negotiate(min, max) == Some(4))
}

impl Rejection {
    fn silent(code: u16, reason: &str, cause: String) -> Self {
        Self { answer: None, code, reason: reason.to_owned(), cause, event: None }
    }

    fn error(id: &str, error: ErrorShape) -> Self {
        Self {
            code: close::POLICY,
            reason: error.message.clone(),
            cause: error.message.clone(),
            answer: Some((id.to_owned(), error)),
            event: None,
        }
    }
}

/// Outcome of the shared-secret check: kept until it is needed.
type Proven = Result<Method, Refusal>;

impl Gate<'_> {
    /// Decides about a `connect`. Blocks on the device files when the client
    /// shows a device.
    pub fn admit(&self, hello: Hello) -> Result<Admission, Box<Rejection>> {
        let id = hello.id.clone();
        self.decide(hello).map_err(|refusal| match *refusal {
            Denied::Error(error) => Box::new(Rejection::error(&id, error)),
            Denied::Full(rejection) => Box::new(rejection),
        })
    }

    fn decide(&self, hello: Hello) -> Result<Admission, Box<Denied>> {
        self.check_origin(&hello)?;
        let proven = self.prove_secret(&hello);
        let scopes = self.scopes_without_device(&hello, &proven)?;
        if let Some(scopes) = scopes {
            let method = proven.map_err(|refusal| unauthorized(&hello, &refusal))?;
            return Ok(Admission { scopes, method, token: None, event: None, hello });
        }
        self.admit_device(hello, proven)
    }

    fn check_origin(&self, hello: &Hello) -> Result<(), Box<Denied>> {
        let client = &hello.params.client;
        if self.peer.origin.is_none() && !client.is_control_ui() && !client.is_webchat() {
            return Ok(());
        }
        let reason = match self.peer.origin.as_deref().and_then(origin_parts) {
            None => "origin missing or invalid",
            Some(origin) if self.origin_allowed(&origin) => return Ok(()),
            Some(_) => "origin not allowed",
        };
        Err(ErrorShape::invalid(
            "origin not allowed (open the Control UI from the gateway host or allow it in \
             gateway.controlUi.allowedOrigins)",
        )
        .with_details(json!({"code": "CONTROL_UI_ORIGIN_NOT_ALLOWED", "reason": reason}))
        .into())
    }

    fn origin_allowed(&self, origin: &Origin) -> bool {
        let listed = self.control_ui.allowed_origins.iter().any(|allowed| {
            let allowed = allowed.trim().to_lowercase();
            allowed == "*" || allowed.trim_end_matches('/') == origin.whole
        });
        let by_host = self.control_ui.dangerously_allow_host_header_origin_fallback
            && self
                .peer
                .host
                .as_deref()
                .is_some_and(|host| host.to_lowercase() == origin.authority);
        listed || by_host || (self.peer.local && is_loopback_name(&origin.host))
    }

    /// Step six: compares the shared secret without acting on it.
    fn prove_secret(&self, hello: &Hello) -> Proven {
        let settings = self.settings;
        match settings.mode {
            Mode::None => return Ok(Method::None),
            // The gateway's own client comes through no proxy.
            Mode::TrustedProxy if self.peer.own => return Ok(Method::None),
            Mode::TrustedProxy => return self.prove_by_proxy(),
            Mode::Token | Mode::Password => {}
        }
        let (limiter, ip) = self.limiter();
        if let Some(limiter) = limiter
            && limiter.locked_for(Guess::SharedSecret, ip).is_some()
        {
            return Err(Refusal::RateLimited);
        }
        if settings.allow_tailscale && !self.peer.local && self.tailscale_user.is_some() {
            return Ok(Method::Tailscale);
        }
        let proven = settings.check_secret(&hello.params.auth, hello.protocol);
        match (&proven, limiter) {
            (Ok(_), Some(limiter)) => limiter.succeeded(Guess::SharedSecret, ip),
            (Err(refusal), Some(limiter)) if refusal.is_a_guess() => {
                limiter.failed(Guess::SharedSecret, ip);
            }
            _ => {}
        }
        proven
    }

    fn prove_by_proxy(&self) -> Proven {
        let refuse = |reason: &str| Err(Refusal::TrustedProxy(reason.to_owned()));
        let Some(rules) = &self.settings.proxy else {
            return refuse("trusted_proxy_config_missing");
        };
        if self.settings.trusted_proxies.is_empty() {
            return refuse("trusted_proxy_no_proxies_configured");
        }
        if !self.peer.via_trusted_proxy {
            return refuse("trusted_proxy_untrusted_source");
        }
        if self.peer.remote.ip().to_canonical().is_loopback() {
            return refuse("trusted_proxy_loopback_source");
        }
        let header = |name: &str| self.peer.headers.get(name).and_then(|v| v.to_str().ok());
        rules.user(header).map(|_user| Method::TrustedProxy).map_err(Refusal::TrustedProxy)
    }

    /// The gateway's own client signs in from this very host: others' guesses
    /// must not fail it, and it must not clear their count.
    fn limiter(&self) -> (Option<&auth::Limiter>, IpAddr) {
        let ip = self.peer.client_ip;
        if self.peer.own {
            (None, ip)
        } else if self.peer.origin.is_some() {
            let ip = if ip.is_loopback() { BROWSER_ON_LOOPBACK } else { ip };
            (Some(&self.limiters.browser), ip)
        } else {
            (self.limiters.direct.as_ref(), ip)
        }
    }

    /// Step seven: whether the connection may go on without a device, and with
    /// which scopes. `None` means that a device was shown and must be checked.
    fn scopes_without_device(
        &self,
        hello: &Hello,
        proven: &Proven,
    ) -> Result<Option<Scopes>, Box<Denied>> {
        let params = &hello.params;
        let operator = hello.role == Role::Operator;
        let control_ui = params.client.is_control_ui();
        if control_ui && operator && self.control_ui.dangerously_disable_device_auth {
            return Ok(Some(params.scopes.clone()));
        }
        if params.device.is_some() {
            return Ok(None);
        }
        if self.peer.own && proven.is_ok() {
            return Ok(Some(params.scopes.clone()));
        }
        if control_ui {
            if operator && proven == &Ok(Method::TrustedProxy) {
                return Ok(Some(Scopes::default()));
            }
            if self.control_ui.allow_insecure_auth && self.peer.local && operator {
                return Ok(Some(params.scopes.clone()));
            }
            return Err(ErrorShape::invalid(
                "control ui requires device identity (use HTTPS or localhost secure context)",
            )
            .with_details(json!({"code": "CONTROL_UI_DEVICE_IDENTITY_REQUIRED"}))
            .into());
        }
        if operator {
            match proven {
                Ok(method) if self.keeps_scopes(hello, *method) => {
                    return Ok(Some(params.scopes.clone()));
                }
                Ok(Method::None) => {}
                Ok(_) => return Ok(Some(Scopes::default())),
                Err(refusal) if shows_secret(params) => {
                    return Err(unauthorized(hello, refusal).into());
                }
                Err(_) => {}
            }
        }
        Err(ErrorShape::new(ErrorCode::NotPaired, "device identity required")
            .with_details(json!({"code": "DEVICE_IDENTITY_REQUIRED"}))
            .into())
    }

    /// Clients of protocol 4 on this host need no device.
    fn keeps_scopes(&self, hello: &Hello, method: Method) -> bool {
        hello.protocol >= 4
            && self.peer.local
            && self.peer.origin.is_none()
            && (method.is_shared_secret() || method == Method::None)
            && matches!(hello.params.client.mode.as_str(), "cli" | "backend")
    }

    /// Steps eight to eleven: device proof, final decision, pairing, token.
    fn admit_device(&self, hello: Hello, proven: Proven) -> Result<Admission, Box<Denied>> {
        let params = &hello.params;
        let Some(device) = &params.device else {
            return Err(ErrorShape::invalid("device identity required").into());
        };
        let key = proof::verify(params, device, hello.role, self.nonce, self.now)
            .map_err(proof_refused)?;
        let record = self.devices.paired(&device.id).map_err(|err| storage(&err))?;
        let record = record.filter(|record| record.public_key == key);
        let method = self
            .finally(&hello, proven, record.as_ref(), (&device.id, &key))
            .map_err(|refusal| unauthorized(&hello, &refusal))?;
        let claim = self.claim(&hello, &device.id, &key);
        let (record, event) = if self.needs_no_pairing(&hello, method) {
            (record, None)
        } else {
            let (record, event) = self.pair(&hello, record, &claim, method)?;
            (Some(record), event)
        };
        let mut hello = hello;
        let mut token = None;
        if let Some(record) = &record {
            // The decision stands even where nothing can be noted: on a full disk
            // the operator must get in.
            let noted = self
                .devices
                .ensure_token(&claim.device_id, &claim.role, &claim.scopes, self.now)
                .and_then(|kept| {
                    token = kept;
                    self.devices.note_connection(&claim)
                });
            if let Err(err) = noted {
                tracing::error!(%err, "a device's connection is not on record");
            }
            pin(&mut hello, record);
        }
        let scopes = hello.params.scopes.clone();
        Ok(Admission { hello, scopes, method, token, event })
    }

    /// Step nine: the shared secret, else a bootstrap or device token.
    fn finally(
        &self,
        hello: &Hello,
        proven: Proven,
        record: Option<&Paired>,
        (device_id, key): (&str, &str),
    ) -> Result<Method, Refusal> {
        let refusal = match proven {
            Ok(method) => return Ok(method),
            Err(refusal) => refusal,
        };
        let shown = &hello.params.auth;
        let blank = |text: &&str| !text.trim().is_empty();
        if let Some(bootstrap) = shown.bootstrap_token.as_deref().filter(blank) {
            let bearer = Bearer {
                device_id,
                public_key: key,
                role: hello.role,
                scopes: &hello.params.scopes,
            };
            return if self.devices.redeem_bootstrap(bootstrap, bearer, self.now) {
                Ok(Method::BootstrapToken)
            } else {
                Err(Refusal::BootstrapTokenInvalid)
            };
        }
        let explicit = shown.device_token.as_deref().map(str::trim).filter(|t| !t.is_empty());
        let candidate =
            explicit.or(shown.token.as_deref().map(str::trim)).filter(|t| !t.is_empty());
        let Some(candidate) = candidate else { return Err(refusal) };
        let (limiter, ip) = self.limiter();
        if let Some(limiter) = limiter
            && limiter.locked_for(Guess::DeviceToken, ip).is_some()
        {
            return Err(Refusal::RateLimited);
        }
        let accepted = record.is_some_and(|record| {
            record.accepts_token(hello.role.as_str(), candidate, &hello.params.scopes)
        });
        match (accepted, limiter) {
            (true, Some(limiter)) => limiter.succeeded(Guess::DeviceToken, ip),
            (false, Some(limiter)) => limiter.failed(Guess::DeviceToken, ip),
            _ => {}
        }
        match (accepted, explicit) {
            (true, _) => Ok(Method::DeviceToken),
            (false, Some(_)) => Err(Refusal::DeviceTokenMismatch),
            (false, None) => Err(refusal),
        }
    }

    fn needs_no_pairing(&self, hello: &Hello, method: Method) -> bool {
        hello.params.client.is_control_ui()
            && hello.role == Role::Operator
            && (method == Method::TrustedProxy || self.settings.mode == Mode::None)
    }

    fn claim(&self, hello: &Hello, device_id: &str, key: &str) -> Claim {
        let client = &hello.params.client;
        Claim {
            device_id: device_id.to_owned(),
            public_key: key.to_owned(),
            display_name: client.display_name.clone(),
            platform: Some(client.platform.clone()),
            device_family: client.device_family.clone(),
            client_id: Some(client.id.clone()),
            client_mode: Some(client.mode.clone()),
            role: hello.role.as_str().to_owned(),
            scopes: hello.params.scopes.clone(),
            remote_ip: self.peer.shown_ip(),
            silent: false,
        }
    }

    /// Step ten: whether the device may be what it asks to be.
    fn pair(
        &self,
        hello: &Hello,
        record: Option<Paired>,
        claim: &Claim,
        method: Method,
    ) -> Result<(Paired, Option<News>), Box<Denied>> {
        let Some((reason, silent)) = self.shortfall(hello, record.as_ref(), claim, method)? else {
            let record = record.ok_or_else(|| ErrorShape::unavailable("device record vanished"))?;
            return Ok((record, None));
        };
        if reason != "not-paired" {
            tracing::warn!(
                reason,
                device = claim.device_id,
                ip = %self.peer.client_ip,
                auth = method.as_str(),
                role = claim.role,
                scopes = claim.scopes.as_slice().join(","),
                client = hello.params.client.label(),
                "security audit: device access upgrade requested"
            );
        }
        if silent {
            let (request_id, device) =
                self.devices.approve_silently(claim, self.now).map_err(|err| storage(&err))?;
            tracing::info!(
                device = claim.device_id,
                role = claim.role,
                "device pairing auto-approved"
            );
            let event = json!({"requestId": request_id, "deviceId": claim.device_id,
                "decision": "approved", "ts": self.now});
            return Ok((device, Some((Event::DevicePairResolved, event))));
        }
        let (request, fresh) =
            self.devices.request(claim, self.now).map_err(|err| storage(&err))?;
        let error = ErrorShape::new(ErrorCode::NotPaired, "pairing required").with_details(json!({
            "code": "PAIRING_REQUIRED", "requestId": request.request_id, "reason": reason,
        }));
        let event = fresh.then(|| {
            (Event::DevicePairRequested, serde_json::to_value(&request).unwrap_or_default())
        });
        Err(Box::new(Denied::Full(Rejection { event, ..Rejection::error(&hello.id, error) })))
    }

    /// What the device lacks, and whether it is granted without asking.
    fn shortfall(
        &self,
        hello: &Hello,
        record: Option<&Paired>,
        claim: &Claim,
        method: Method,
    ) -> Result<Option<(&'static str, bool)>, Box<Denied>> {
        let client = &hello.params.client;
        let local = self.peer.local;
        let Some(record) = record else {
            let own = self.peer.origin.is_none() || client.is_control_ui() || client.is_webchat();
            let bootstrapped = method == Method::BootstrapToken
                && hello.role == Role::Node
                && claim.scopes.is_empty();
            return Ok(Some(("not-paired", (local && own) || bootstrapped)));
        };
        if record.contradicts(claim) {
            return Ok(Some(("metadata-upgrade", false)));
        }
        if !record.has_role(&claim.role) {
            let waits = self
                .devices
                .waits_for_approval(&claim.device_id, self.now)
                .map_err(|err| storage(&err))?;
            // A host that knows the gateway's secret is back a second after it lost
            // its token: what somebody took away, somebody gives again.
            let taken = hello.role != Role::Operator && record.was_revoked(&claim.role);
            return Ok(Some(("role-upgrade", local && !waits && !taken)));
        }
        let held = record.scopes.clone().unwrap_or_default();
        if held.first_missing(claim.scopes.as_slice()).is_some() {
            // The gateway's own secret, shown on this host by a terminal, is
            // worth more than what the device asked for the first time. Where
            // there is no secret, a new device would get it all anyway.
            let terminal = client.is_cli() || client.id == "openclaw-tui";
            let silent = local
                && self.peer.origin.is_none()
                && (method.is_shared_secret() || method == Method::None)
                && terminal
                && hello.role == Role::Operator;
            return Ok(Some(("scope-upgrade", silent)));
        }
        Ok(None)
    }
}

/// A refusal on its way out of the decision.
#[derive(Debug)]
enum Denied {
    Error(ErrorShape),
    Full(Rejection),
}

impl From<ErrorShape> for Box<Denied> {
    fn from(error: ErrorShape) -> Self {
        Self::new(Denied::Error(error))
    }
}

fn unauthorized(hello: &Hello, refusal: &Refusal) -> ErrorShape {
    let params = &hello.params;
    let shows_device_token =
        params.auth.device_token.as_deref().is_some_and(|token| !token.trim().is_empty());
    let (retry, next) = refusal.advice(params.device.is_some() && !shows_device_token);
    ErrorShape::invalid(refusal.message(&params.client)).with_details(json!({
        "code": refusal.code(),
        "authReason": refusal.reason(),
        "canRetryWithDeviceToken": retry,
        "recommendedNextStep": next,
    }))
}

fn proof_refused(err: proof::ProofError) -> ErrorShape {
    let (code, reason) = err.details();
    ErrorShape::invalid(err.to_string()).with_details(json!({"code": code, "reason": reason}))
}

fn storage(err: &PairingError) -> ErrorShape {
    tracing::error!(%err, "device files cannot be used");
    ErrorShape::unavailable(format!("device pairing is unavailable: {err}"))
}

/// The spelling of platform and family that was paired replaces the claimed one.
fn pin(hello: &mut Hello, record: &Paired) {
    let client = &mut hello.params.client;
    if let Some(platform) = &record.platform {
        client.platform.clone_from(platform);
    }
    if record.device_family.is_some() {
        client.device_family.clone_from(&record.device_family);
    }
}

fn shows_secret(params: &ConnectParams) -> bool {
    let present = |text: &Option<String>| text.as_deref().is_some_and(|t| !t.trim().is_empty());
    present(&params.auth.token) || present(&params.auth.password)
}

#[derive(Debug)]
struct Origin {
    /// `scheme://host[:port]`, lower case.
    whole: String,
    /// `host[:port]`.
    authority: String,
    host: String,
}

fn origin_parts(text: &str) -> Option<Origin> {
    let whole = text.trim().trim_end_matches('/').to_lowercase();
    let (scheme, authority) = whole.split_once("://")?;
    if scheme.is_empty() || authority.is_empty() || authority.contains('/') {
        return None;
    }
    let host = if let Some(v6) = authority.strip_prefix('[') {
        v6.split(']').next()?.to_owned()
    } else {
        authority.split(':').next()?.to_owned()
    };
    Some(Origin { authority: authority.to_owned(), host, whole: whole.clone() })
}

fn is_loopback_name(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}
