//! The port: which addresses, bound or inherited, and what happens to a
//! connection until its first request is understood.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use crate::gateway::State;
use crate::gateway::guarded::{Guard, Guarded, Guards};
use crate::gateway::http::{Site, probes};
use crate::gateway::ws::upgrade;
use crate::gateway::ws::wire::Stream;
use crate::lifecycle::CancellationToken;
use crate::supervise::activation::{self, Unfinished};
use crate::supervise::fd_store::FdStore;

/// How long the head of a request may take, and how long a connection may idle
/// between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Most bytes of a request's head; more is answered with 431.
const MAX_HEAD: usize = 16 * 1024;
/// How long after it was accepted a client may take to ask, when the gateway
/// stops meanwhile. A busy client is late; one that connects in advance (browsers
/// do) must not hold up the stop.
const FIRST_REQUEST: Duration = Duration::from_secs(3);
/// How long to wait after the process ran out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Descriptors that are kept for files, children and outgoing connections.
const RESERVED_DESCRIPTORS: u64 = 256;
/// How many clients are taken off the queue before they are answered. A process
/// that is killed takes those with it; the others wait for the next one.
const GREETED_AT_ONCE: usize = 4;
/// A client that says nothing holds up the others no longer than this.
const TURN_LIMIT: Duration = Duration::from_millis(50);
/// How often a taken port is tried again, and how long in between: the
/// previous gateway may be about to let go.
const BIND_TRIES: u32 = 5;
const BIND_PAUSE: Duration = Duration::from_millis(500);

/// Why the port could not be had.
#[derive(Debug, thiserror::Error)]
#[error("failed to bind gateway socket on ws://{address}: {source}")]
pub struct BindError {
    pub address: SocketAddr,
    #[source]
    pub source: io::Error,
}

impl BindError {
    pub fn is_taken(&self) -> bool {
        self.source.kind() == io::ErrorKind::AddrInUse
    }
}

/// Binds `hosts` at `port`; port 0 picks one that is free on all of them.
/// A port in use is tried again for a moment.
pub async fn bind(hosts: &[IpAddr], port: u16) -> Result<Vec<StdListener>, BindError> {
    let mut tries = 1;
    loop {
        match bind_once(hosts, port) {
            Err(err) if err.is_taken() && tries < BIND_TRIES => {
                tries += 1;
                // A port the kernel picked may be taken at the second address.
                if port != 0 {
                    tokio::time::sleep(BIND_PAUSE).await;
                }
            }
            outcome => return outcome,
        }
    }
}

/// `kept`, if it is exactly what is asked for; else it is closed, so that its
/// addresses can be bound.
pub fn still_wanted(
    kept: Vec<StdListener>,
    hosts: &[IpAddr],
    port: u16,
) -> Option<Vec<StdListener>> {
    let mut addresses: Vec<SocketAddr> =
        kept.iter().filter_map(|listener| listener.local_addr().ok()).collect();
    let mut wanted: Vec<SocketAddr> =
        hosts.iter().map(|host| SocketAddr::new(*host, port)).collect();
    // An address that this host does not have was left out when they were bound.
    if addresses.first() == wanted.first() {
        wanted.truncate(addresses.len());
    }
    addresses.sort();
    wanted.sort();
    (!kept.is_empty() && addresses == wanted).then_some(kept)
}

fn bind_once(hosts: &[IpAddr], port: u16) -> Result<Vec<StdListener>, BindError> {
    let mut listeners = Vec::new();
    let mut port = port;
    for (n, host) in hosts.iter().enumerate() {
        let address = SocketAddr::new(*host, port);
        match StdListener::bind(address) {
            Ok(listener) => {
                let bound =
                    listener.local_addr().map_err(|source| BindError { address, source })?;
                port = bound.port();
                listeners.push(listener);
            }
            // Hosts without IPv6 have no ::1; the first address is the one that counts.
            Err(source) if n > 0 && source.kind() == io::ErrorKind::AddrNotAvailable => {
                tracing::debug!(%address, err = %source, "address left out");
            }
            Err(source) => return Err(BindError { address, source }),
        }
    }
    Ok(listeners)
}

/// Both loopback addresses.
pub const LOOPBACK: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// How many connections may be open at once, by the limit on descriptors,
/// which is raised as far as allowed.
pub fn max_connections() -> usize {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    const FALLBACK: u64 = 1024;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((FALLBACK, FALLBACK));
    let limit = match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    };
    usize::try_from(limit.saturating_sub(RESERVED_DESCRIPTORS).clamp(64, 1 << 20))
        .unwrap_or(Semaphore::MAX_PERMITS)
}

/// The turn of a client that was accepted and has no answer yet.
#[derive(Debug, Clone, Default)]
struct Turn(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl Turn {
    fn new(permit: OwnedSemaphorePermit) -> Self {
        Self(Arc::new(Mutex::new(Some(permit))))
    }

    /// The next client may be accepted.
    fn end(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// A connection as it was accepted.
pub struct Accepted {
    stream: Box<dyn Stream>,
    turn: Turn,
    guard: Option<Guard>,
}

impl std::fmt::Debug for Accepted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Accepted")
    }
}

impl Accepted {
    fn guarded(stream: Guarded, turn: Turn) -> Self {
        let guard = Some(stream.guard().clone());
        Self { stream: Box::new(stream), turn, guard }
    }

    /// For a socket that goes on after HTTP.
    pub fn into_stream(self) -> (Box<dyn Stream>, Option<Guard>) {
        self.turn.end();
        (self.stream, self.guard)
    }
}

/// What every connection goes through.
#[derive(Debug)]
pub struct Door {
    state: Arc<State>,
    site: Arc<Site>,
    places: Arc<Semaphore>,
    /// Handshakes in TLS cannot be gone through again.
    guards: Option<Guards>,
}

impl Door {
    pub fn new(state: &Arc<State>, site: Arc<Site>) -> Self {
        Self {
            state: Arc::clone(state),
            site,
            places: Arc::new(Semaphore::new(max_connections())),
            guards: Guards::from_env(&state.env).filter(|_| state.tls.is_none()),
        }
    }
}

/// Accepts connections until `stop`, then closes the listener. Connections in
/// progress end by themselves when the gateway stops.
pub async fn accept(door: Arc<Door>, listener: TcpListener, stop: CancellationToken) {
    let listener = match watched(listener) {
        Ok(listener) => listener,
        Err(err) => return tracing::error!(%err, "the port cannot be served"),
    };
    let turns = Arc::new(Semaphore::new(GREETED_AT_ONCE));
    loop {
        let free = async {
            let place = Arc::clone(&door.places).acquire_owned().await?;
            Ok::<_, AcquireError>((place, Arc::clone(&turns).acquire_owned().await?))
        };
        let (place, turn) = tokio::select! {
            () = stop.cancelled() => return,
            free = free => match free {
                Ok((place, turn)) => (place, Turn::new(turn)),
                Err(_) => return,
            },
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = next_client(&listener, door.guards.as_ref()) => accepted,
        };
        let (stream, remote, guard) = match accepted {
            Ok(accepted) => accepted,
            Err(err) => {
                tracing::warn!(%err, "connection not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if let Err(err) = stream.set_nodelay(true) {
            tracing::debug!(%err, "TCP_NODELAY not set");
        }
        let (serving, site) = (Arc::clone(&door.state), Arc::clone(&door.site));
        door.state.lifecycle.spawn("connection", |stop| async move {
            let served = async {
                let accepted = match guard {
                    Some(guard) => {
                        Some(Accepted::guarded(Guarded::new(stream, guard), turn.clone()))
                    }
                    None => secured(&serving, stream, turn.clone()).await,
                };
                if let Some(accepted) = accepted {
                    serve(serving, accepted, remote, site)(stop).await;
                }
            };
            let out_of_turn = async {
                tokio::time::sleep(TURN_LIMIT).await;
                turn.end();
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = served => {}
                () = out_of_turn => {}
            }
            drop(place);
        });
    }
}

#[expect(unsafe_code, reason = "of all descriptors, only owned ones may be watched")]
fn watched(listener: TcpListener) -> io::Result<AsyncFd<StdListener>> {
    let listener = listener.into_std()?;
    // SAFETY: a listener has one descriptor, its own, as long as it lives.
    Ok(unsafe { AsyncFd::register(listener) }?)
}

/// Accepts the next client; guards it at once, if it is to be guarded.
async fn next_client(
    listener: &AsyncFd<StdListener>,
    guards: Option<&Guards>,
) -> io::Result<(TcpStream, SocketAddr, Option<Guard>)> {
    let prepared = guards.map(Guards::prepare);
    loop {
        let mut ready = listener.readable().await?;
        let Ok(accepted) = ready.try_io(|listener| listener.get_ref().accept()) else { continue };
        let (stream, remote) = accepted?;
        let guard = prepared.and_then(|prepared| prepared.begin(&stream));
        return match stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)) {
            Ok(stream) => Ok((stream, remote, guard)),
            Err(err) => {
                guard.inspect(Guard::end);
                Err(err)
            }
        };
    }
}

/// Goes on with a handshake that a killed process left.
pub fn resume(door: &Door, unfinished: Unfinished) {
    if let Some(store) = FdStore::from_env(&door.state.env) {
        // Once only: it may be what killed the process.
        store.remove(&activation::handshake_name(&unfinished.nonce));
    }
    let remote = unfinished.stream.peer_addr();
    let (Ok(remote), None) = (remote, &door.state.tls) else { return };
    let Some(resumed) = Guarded::resume(unfinished) else { return };
    tracing::debug!(%remote, "going on with the handshake of a process that was killed");
    let (state, site) = (Arc::clone(&door.state), Arc::clone(&door.site));
    let accepted = Accepted::guarded(resumed, Turn::default());
    door.state.lifecycle.spawn("connection", serve(state, accepted, remote, site));
}

/// The connection as it is served: encrypted if TLS is on.
async fn secured(state: &State, stream: TcpStream, turn: Turn) -> Option<Accepted> {
    let plain = |stream: Box<dyn Stream>, turn| Accepted { stream, turn, guard: None };
    let Some(tls) = &state.tls else { return Some(plain(Box::new(stream), turn)) };
    let handshake = async {
        let mut first = [0];
        // TLS begins with the byte 22; a letter begins a request in clear.
        if stream.peek(&mut first).await? == 1 && first[0].is_ascii_uppercase() {
            turn.end();
            return told_of_tls(stream).await.map(|()| None);
        }
        tls.acceptor.accept(stream).await.map(Some)
    };
    match timeout(HEAD_TIMEOUT, handshake).await {
        Ok(Ok(stream)) => Some(plain(Box::new(stream?), turn)),
        Ok(Err(err)) => {
            tracing::debug!(%err, "TLS handshake failed");
            None
        }
        Err(_elapsed) => None,
    }
}

/// Answers who speaks plain HTTP to a port that speaks TLS. What was sent is
/// read first: closing before that would take the answer away again.
async fn told_of_tls(mut stream: TcpStream) -> io::Result<()> {
    const ANSWER: &str = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
        Content-Length: 55\r\nConnection: close\r\n\r\n\
        This port speaks TLS: use https:// or wss:// addresses\n";
    stream.write_all(ANSWER.as_bytes()).await?;
    stream.shutdown().await?;
    let mut rest = [0; 4096];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

/// Serves HTTP/1.1 on one connection until it is closed or upgraded.
fn serve(
    state: Arc<State>,
    stream: Accepted,
    remote: SocketAddr,
    site: Arc<Site>,
) -> impl FnOnce(CancellationToken) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    move |stop| {
        Box::pin(async move {
            let accepted = Instant::now();
            let asked = CancellationToken::new();
            let busy = Arc::new(AtomicBool::new(false));
            let (asking, working) = (asked.clone(), Arc::clone(&busy));
            let turn = stream.turn.clone();
            let answer = move |request: Request<Incoming>| {
                asking.cancel();
                working.store(true, Ordering::Relaxed);
                if !upgrade::is_wanted(&request) {
                    turn.end();
                }
                let (state, site) = (Arc::clone(&state), Arc::clone(&site));
                let working = Arc::clone(&working);
                async move {
                    let answer = route(&state, remote, &site, request).await;
                    working.store(false, Ordering::Relaxed);
                    Ok::<_, Infallible>(answer)
                }
            };
            let mut connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .max_buf_size(MAX_HEAD)
                .serve_connection(TokioIo::new(stream), service_fn(answer))
                .with_upgrades();
            let ended = tokio::select! {
                ended = &mut connection => ended,
                () = stop.cancelled() => {
                    // Closing with its first request unread would reset a client
                    // that was accepted a moment before the stop.
                    let first = timeout(FIRST_REQUEST.saturating_sub(accepted.elapsed()), asked.cancelled());
                    tokio::select! {
                        ended = &mut connection => ended,
                        _ = first => {
                            Pin::new(&mut connection).graceful_shutdown();
                            (&mut connection).await
                        }
                    }
                }
            };
            let Err(err) = ended else { return };
            tracing::debug!(%remote, %err, "connection ended");
            let refusal = match () {
                () if err.is_incomplete_message() => CUT_SHORT,
                () if err.is_timeout() => TOO_SLOW,
                () => return,
            };
            if !busy.load(Ordering::Relaxed)
                && let Some(parts) = connection.into_parts()
                && !parts.read_buf.is_empty()
            {
                refuse_half_a_head(parts.io.into_inner(), refusal).await;
            }
        })
    }
}

const CUT_SHORT: (&str, &str) = ("400 Bad Request", "the request ends before its head does");
const TOO_SLOW: (&str, &str) = ("408 Request Timeout", "the head of the request took too long");

/// Tells a client that stopped sending in the middle of a request's head.
async fn refuse_half_a_head(mut stream: Accepted, (status, message): (&str, &str)) {
    let body = format!(r#"{{"error":{{"message":"{message}","type":"invalid_request_error"}}}}"#);
    let answer = format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\n\
         content-type: application/json; charset=utf-8\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let told = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await
    };
    // The client may be gone altogether.
    if !matches!(timeout(HEAD_TIMEOUT, told).await, Ok(Ok(()))) {
        tracing::debug!("half a request was not answered");
    }
}

async fn route(
    state: &Arc<State>,
    remote: SocketAddr,
    site: &Site,
    request: Request<Incoming>,
) -> Response<Body> {
    if upgrade::is_wanted(&request) {
        return upgrade::answer(state, remote, request);
    }
    if !probes::is_probe(request.uri().path()) {
        state.talks.count();
    }
    site.answer(remote, request.map(Body::new)).await
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_loopback_addresses_share_a_picked_port() {
        let listeners = bind(&LOOPBACK, 0).await.unwrap();
        let ports: Vec<u16> =
            listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
        assert!(ports.iter().all(|&port| port == ports[0] && port != 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_taken_port_is_reported_after_a_moment() {
        let other = StdListener::bind(("127.0.0.1", 0)).unwrap();
        let port = other.local_addr().unwrap().port();
        let err = bind(&LOOPBACK, port).await.unwrap_err();
        assert!(err.is_taken());
    }
}
