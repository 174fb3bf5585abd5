//! One socket from upgrade to close: the only place where the control plane
//! does I/O. Decisions are made in `greeting` and `session`.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::base::{VERSION, id};
use crate::gateway::State;
use crate::gateway::auth::{Settings, tailscale};
use crate::gateway::events::Connection;
use crate::gateway::guarded::Guard;
use crate::gateway::limits::PreauthSlot;
use crate::gateway::nodes::arrival;
use crate::gateway::rpc::params::Desk;
use crate::gateway::rpc::{self, Caller, Reply, dispatch};
use crate::gateway::ws::greeting::{Admission, Gate, Hello, Rejection};
use crate::gateway::ws::session::{Refusal, Session, Step};
use crate::gateway::ws::traffic::Traffic;
use crate::gateway::ws::wire::{NO_CODE, Turn, Wire};
use crate::gateway::ws::{Outbox, Peer};
use crate::lifecycle::{self, CancellationToken};
use crate::protocol::connect::{Features, Granted, HelloOk, Policy, Server, Snapshot};
use crate::protocol::events;
use crate::protocol::frame::{self, EventText, close};
use crate::protocol::scope::{Role, Scope};

/// How long a socket may take from accept to `hello-ok`.
/// What clients of protocol 4 count on; those of protocol 3 expect ten seconds and do not mind.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);
/// How long we wait for the peer to close after we did.
const LINGER: Duration = Duration::from_secs(1);
/// How long a request may still take once the gateway ends.
const LAST_ANSWER: Duration = Duration::from_secs(1);
/// How long a last message may take to a peer that does not read.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Requests of one socket that may be worked on at once; more wait unread.
const MAX_IN_FLIGHT: usize = 512;

/// Serves one upgraded connection until it is closed.
pub async fn serve(
    state: Arc<State>,
    mut wire: Wire,
    peer: Peer,
    slot: Option<PreauthSlot>,
    stop: CancellationToken,
) {
    let conn_id = id::uuid();
    let outbox = Arc::new(Outbox::default());
    state.traffic.opened(&conn_id, peer.client_ip);
    let greeted = {
        // Boxed: what the greeting needs is not kept while the socket idles.
        let greeting = Box::pin(greet(&state, &mut wire, &peer, &outbox, &conn_id));
        let limit = handshake_timeout(&state);
        tokio::select! {
            greeted = timeout(limit, greeting) => greeted.unwrap_or_else(|_elapsed| {
                tracing::warn!(conn_id, remote = %peer.client_ip, "handshake timeout");
                Err(Ended::WithClose(close::NORMAL, String::new()))
            }),
            () = stop.cancelled() => {
                Err(Ended::WithClose(close::RESTART, "service restart".to_owned()))
            }
        }
    };
    drop(slot);
    match greeted {
        Ok(caller) => {
            drop(peer);
            converse(&state, &mut wire, caller, &outbox).await;
        }
        Err(Ended::Gone(cause)) => {
            tracing::debug!(conn_id, remote = %peer.client_ip, cause, "closed before connect");
            return;
        }
        Err(Ended::WithClose(code, reason)) => outbox.close(code, &reason),
    }
    say_goodbye(&mut wire, &outbox).await;
}

/// Why a greeting led to no conversation.
#[derive(Debug)]
enum Ended {
    /// The connection is gone already.
    Gone(String),
    WithClose(u16, String),
}

async fn greet(
    state: &Arc<State>,
    wire: &mut Wire,
    peer: &Peer,
    outbox: &Arc<Outbox>,
    conn_id: &str,
) -> Result<Arc<Caller>, Ended> {
    let nonce = wire.guard().map_or_else(id::uuid, |guard| guard.nonce().to_owned());
    let challenge = json!({"nonce": nonce, "ts": state.clock.now_ms()});
    outbox.push_text(EventText::new("connect.challenge", &challenge, None).with_seq(None));
    let text = first_message(wire, outbox).await?;
    if wire.guard().is_some_and(Guard::was_further) {
        return Err(Ended::Gone("answered by a process that was killed".to_owned()));
    }
    let admitted = match Hello::read(&text) {
        Ok(hello) => decide(state, hello, peer, nonce).await,
        Err(rejection) => Err(rejection),
    };
    match admitted {
        Ok(admission) => Ok(welcome(state, admission, peer, outbox, conn_id)),
        Err(rejection) => Err(refuse(state, *rejection, peer, outbox, conn_id)),
    }
}

async fn first_message(wire: &mut Wire, outbox: &Outbox) -> Result<String, Ended> {
    match poll_fn(|cx| wire.poll_turn(cx, outbox, || true)).await {
        Turn::Message(text) => Ok(text),
        Turn::PeerClosed(code) => Err(Ended::WithClose(code.unwrap_or(NO_CODE), String::new())),
        Turn::Violation { code, err } => {
            tracing::debug!(err, code, "protocol violation before connect");
            Err(Ended::WithClose(code, String::new()))
        }
        Turn::CloseSent | Turn::Stuck => Err(Ended::Gone("closed".to_owned())),
        Turn::Gone(err) => Err(Ended::Gone(err)),
    }
}

/// Lets the gate decide, off the runtime if it has to read device files.
async fn decide(
    state: &Arc<State>,
    hello: Hello,
    peer: &Peer,
    nonce: String,
) -> Result<Admission, Box<Rejection>> {
    let settings: Arc<Settings> = state.auth.load_full();
    let shows_device = hello.params.device.is_some();
    let tailscale_user = if settings.allow_tailscale && !peer.local {
        tailscale::user(&state.env, peer).await
    } else {
        None
    };
    let state = Arc::clone(state);
    let peer = peer.clone();
    let admit = move || {
        let config = state.config.load();
        let limiters = state.limiters.load();
        let gate = Gate {
            settings: &settings,
            limiters: &limiters,
            devices: &state.devices,
            control_ui: &config.config.gateway.control_ui,
            peer: &peer,
            tailscale_user,
            nonce: &nonce,
            now: state.clock.now_ms(),
        };
        gate.admit(hello)
    };
    if !shows_device {
        return admit();
    }
    lifecycle::spawn_blocking(admit).await.unwrap_or_else(|err| {
        Err(Box::new(Rejection {
            answer: None,
            code: close::INTERNAL,
            reason: "internal error".to_owned(),
            cause: err.to_string(),
            event: None,
        }))
    })
}

fn refuse(
    state: &State,
    rejection: Rejection,
    peer: &Peer,
    outbox: &Outbox,
    conn_id: &str,
) -> Ended {
    let unset = || "n/a".to_owned();
    tracing::warn!(
        conn_id,
        remote = %peer.client_ip,
        fwd = peer.forwarded_for.clone().unwrap_or_else(unset),
        origin = peer.origin.clone().unwrap_or_else(unset),
        host = peer.host.clone().unwrap_or_else(unset),
        ua = peer.user_agent.clone().unwrap_or_else(unset),
        code = rejection.code,
        reason = rejection.cause,
        "closed before connect"
    );
    if let Some((event, payload)) = &rejection.event {
        state.bus.broadcast(*event, payload);
    }
    if let Some((id, error)) = rejection.answer {
        outbox.push_text(frame::response(&id, &Err(error)));
    }
    Ended::WithClose(rejection.code, rejection.reason)
}

/// Queues `hello-ok`, then lets the connection hear events.
fn welcome(
    state: &Arc<State>,
    admission: Admission,
    peer: &Peer,
    outbox: &Arc<Outbox>,
    conn_id: &str,
) -> Arc<Caller> {
    let Admission { hello, scopes, method, token, event } = admission;
    if let Some((event, payload)) = &event {
        state.bus.broadcast(*event, payload);
    }
    let now = state.clock.now_ms();
    let caller = Arc::new(rpc::caller_of(
        conn_id.to_owned(),
        hello.protocol,
        hello.role,
        scopes,
        hello.params,
        peer,
        now,
    ));
    if state.presence.connected(&caller, now) {
        state.bus.bump_presence();
    }
    let four = caller.protocol >= 4;
    let granted = token.as_ref().map(|token| Granted {
        method: four.then(|| method.as_str()),
        device_token: Some(token.token.expose()),
        role: token.role.as_str(),
        scopes: token.scopes.as_slice(),
        issued_at_ms: Some(token.issued_at_ms()),
    });
    // Under protocol 4 the key is always there.
    let granted = granted.or_else(|| {
        four.then(|| Granted {
            method: Some(method.as_str()),
            device_token: None,
            role: caller.role.as_str(),
            scopes: caller.scopes.as_slice(),
            issued_at_ms: None,
        })
    });
    let payload = hello_ok(state, &caller, granted, now);
    outbox.push_text(frame::response(&hello.id, &Ok(payload)));
    if is_probe(&caller) {
        tracing::debug!(conn_id, remote = %peer.client_ip, "probe connected");
    } else {
        state.talks.count();
        tracing::info!(
            conn_id,
            client = caller.client.label(),
            mode = caller.client.mode,
            version = caller.client.version,
            protocol = caller.protocol,
            role = caller.role.as_str(),
            remote = %peer.client_ip,
            "client connected"
        );
    }
    state.bus.join(Connection::new(Arc::clone(&caller), Arc::clone(outbox)));
    if caller.role == Role::Node {
        arrival::arrived(state, &caller);
    }
    let background = Arc::clone(state);
    let id = caller.conn_id.clone();
    state.lifecycle.spawn("first health", |_stop| async move {
        background.health.greet(&background, &id).await;
    });
    caller
}

fn hello_ok(state: &State, caller: &Caller, auth: Option<Granted<'_>>, now: u64) -> Value {
    let admin = caller.scopes.allow(Scope::Admin);
    let four = caller.protocol >= 4;
    let snapshot = state.config.load();
    let agent = snapshot.config.agents.default_id();
    let session = |key: &str| snapshot.config.session.get(key).and_then(Value::as_str);
    let main_key = session("mainKey").unwrap_or("main");
    let scope = session("scope").unwrap_or("per-sender");
    let main_session =
        if scope == "global" { "global".to_owned() } else { format!("agent:{agent}:{main_key}") };
    let mut session_defaults = json!({
        "defaultAgentId": agent,
        "mainKey": main_key,
        "mainSessionKey": main_session,
        "scope": scope,
    });
    if four {
        rpc::agents::tell_ownership(&snapshot.config, &mut session_defaults);
    }
    let settings = state.auth.load();
    let hello = HelloOk {
        r#type: "hello-ok",
        protocol: caller.protocol,
        server: Server {
            version: VERSION,
            boot_id: four.then_some(state.boot_id.as_str()),
            conn_id: &caller.conn_id,
        },
        features: Features {
            methods: dispatch::advertised(caller.protocol),
            events: events::advertised(caller.protocol),
        },
        snapshot: Snapshot {
            presence: &state.presence.list_for(caller.protocol, &state.boot_id, now),
            health: &state.health.cached(),
            state_version: state.bus.version(),
            uptime_ms: state.uptime_ms(),
            session_defaults: Some(session_defaults),
            update_available: None,
            config_path: admin.then(|| state.paths.config.display().to_string()),
            state_dir: admin.then(|| state.paths.state.display().to_string()),
            auth_mode: admin.then(|| settings.mode.as_str()),
        },
        canvas_host_url: None,
        auth,
        policy: Policy::default(),
    };
    serde_json::to_value(&hello).unwrap_or_default()
}

/// The conversation after `hello-ok`, until either side closes.
async fn converse(state: &Arc<State>, wire: &mut Wire, caller: Arc<Caller>, outbox: &Arc<Outbox>) {
    wire.authenticated();
    let mut session = Session::new(Arc::clone(&caller));
    let (in_flight, desk) = (Arc::new(AtomicUsize::new(0)), Desk::default());
    let ended = loop {
        let turn = poll_fn(|cx| {
            wire.poll_turn(cx, outbox, || {
                in_flight.load(Ordering::Relaxed) < MAX_IN_FLIGHT && !outbox.is_heavy()
            })
        })
        .await;
        match turn {
            Turn::Message(text) => match session.on_text(&text) {
                Step::Run(row, request) => {
                    let asked = Asked {
                        conn_id: caller.conn_id.clone(),
                        id: request.id.clone(),
                        method: row.name,
                        at: Instant::now(),
                    };
                    state.traffic.request(&asked.conn_id, &asked.id, asked.method);
                    let run = dispatch::run(
                        Arc::clone(state),
                        Arc::clone(&caller),
                        row,
                        request,
                        Some(Arc::clone(outbox)),
                    );
                    begin(state, outbox, &in_flight, asked, desk.serve(run)).await;
                }
                Step::Refuse(refusal) => refuse_call(state, &caller, outbox, refusal),
                Step::Close { last, code, reason } => {
                    refuse_call(state, &caller, outbox, last);
                    outbox.close(code, reason);
                }
            },
            Turn::PeerClosed(code) => {
                outbox.abandon(code.unwrap_or(NO_CODE), "");
                break format!("code {}", code.unwrap_or(NO_CODE));
            }
            Turn::Violation { code, err } => {
                outbox.abandon(code, "");
                break err;
            }
            Turn::Stuck => break "slow consumer".to_owned(),
            Turn::CloseSent => break "closed by the gateway".to_owned(),
            Turn::Gone(err) => {
                outbox.abandon(close::INTERNAL, "");
                break err;
            }
        }
    };
    state.traffic.closed(&caller.conn_id, &ended);
    state.bus.leave(&caller.conn_id);
    state.runs.forget_connection(&caller.conn_id);
    state.services.nodes.remove(&caller.conn_id);
    if is_probe(&caller) {
        tracing::debug!(conn_id = caller.conn_id, reason = ended, "probe disconnected");
    } else {
        tracing::info!(
            conn_id = caller.conn_id,
            client = caller.client.label(),
            reason = ended,
            "client disconnected"
        );
    }
    let now = state.clock.now_ms();
    if state.presence.disconnected(&caller, now) {
        state.bus.bump_presence();
        state.presence.changed();
    }
}

/// Answers a message that leads to no call.
fn refuse_call(state: &State, caller: &Caller, outbox: &Outbox, refusal: Refusal) {
    let Refusal { id, method, error } = refusal;
    let conn_id = &caller.conn_id;
    let reply = Err(error);
    if let Some(method) = method {
        state.traffic.request(conn_id, &id, &method);
        state.traffic.answer(conn_id, &id, &method, Some(Duration::ZERO), &reply);
    } else if let Err(error) = &reply {
        state.traffic.malformed(conn_id, &error.message);
    }
    outbox.push_text(frame::response(&id, &reply));
}

/// A request that is being worked on.
#[derive(Debug)]
struct Asked {
    conn_id: String,
    id: String,
    method: &'static str,
    at: Instant,
}

impl Asked {
    fn answered(&self, traffic: Traffic, reply: &Reply) {
        traffic.answer(&self.conn_id, &self.id, self.method, Some(self.at.elapsed()), reply);
    }
}

/// Starts a handler. One that has its answer at once costs no task.
async fn begin(
    state: &Arc<State>,
    outbox: &Arc<Outbox>,
    in_flight: &Arc<AtomicUsize>,
    asked: Asked,
    run: impl Future<Output = Reply> + Send + 'static,
) {
    let traffic = state.traffic;
    let mut run = Box::pin(run);
    let first_poll = poll_fn(|cx| Poll::Ready(run.poll_unpin(cx))).await;
    if let Poll::Ready(reply) = first_poll {
        asked.answered(traffic, &reply);
        outbox.push_text(frame::response(&asked.id, &reply));
        return;
    }
    in_flight.fetch_add(1, Ordering::Relaxed);
    let outbox = Arc::clone(outbox);
    let in_flight = Arc::clone(in_flight);
    state.lifecycle.spawn("request", |stop| async move {
        let given_up = async {
            stop.cancelled().await;
            tokio::time::sleep(LAST_ANSWER).await;
        };
        // A request that waits for something, such as `agent.wait`, must not hold the end up.
        let reply = tokio::select! {
            reply = run => Some(reply),
            () = given_up => None,
        };
        in_flight.fetch_sub(1, Ordering::Relaxed);
        if let Some(reply) = reply {
            asked.answered(traffic, &reply);
            outbox.push_text(frame::response(&asked.id, &reply));
            outbox.nudge();
        }
    });
}

/// Probes, the watchdog's among them, come too often for the log of an operator.
fn is_probe(caller: &Caller) -> bool {
    caller.client.mode == "probe"
}

/// Writes what is queued up to the close frame, then waits a moment for the
/// peer, so that its kernel does not throw our last words away.
async fn say_goodbye(wire: &mut Wire, outbox: &Outbox) {
    let written = poll_fn(|cx| wire.poll_turn(cx, outbox, || false).map(|_turn| ()));
    if timeout(LAST_WORDS, written).await.is_err() {
        return;
    }
    let farewell = pin!(async {
        poll_fn(|cx| wire.poll_shutdown(cx)).await?;
        poll_fn(|cx| wire.poll_drain(cx)).await;
        std::io::Result::Ok(())
    });
    if let Ok(Err(err)) = timeout(LINGER, farewell).await {
        tracing::trace!(%err, "the peer closed first");
    }
}

fn handshake_timeout(state: &State) -> Duration {
    state
        .env
        .get("OPENCLAW_HANDSHAKE_TIMEOUT_MS")
        .and_then(|text| text.parse().ok())
        .filter(|&milliseconds: &u64| milliseconds > 0)
        .map_or(HANDSHAKE_TIMEOUT, Duration::from_millis)
}
