//! Handshakes that outlive the process (`docs/adr/007-killed-handshakes.md`).
//!
//! Until `hello-ok` is written, the service manager has a second handle of the
//! connection, and what the client sent is only peeked at, so that it is still
//! there for the next process. That one goes through the same handshake again,
//! with the same nonce, and leaves out as many bytes of its answers as the kernel
//! says were sent before.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use nix::sys::socket::{MsgFlags, Shutdown, recv, shutdown};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Duration, Instant};

use crate::base::id;
use crate::gateway::ws::upgrade;
use crate::profile::env::Env;
use crate::supervise::activation::{self, Unfinished};
use crate::supervise::fd_store::FdStore;
use crate::supervise::tcp;

/// Handshakes that are given to the manager per second: strangers must not keep
/// the manager of the host busy.
const MOST_PER_SECOND: usize = 1000;
/// Places in the store that are left for what is about to begin or to be removed.
const ROOM: usize = 4;
/// Most bytes that are left unread.
const MOST_UNREAD: usize = 64 * 1024;
/// As much of a request's head as tells whether it asks for a WebSocket.
const HEAD: usize = 4096;

/// The handshakes that are guarded now.
#[derive(Debug)]
pub struct Guards {
    store: Arc<FdStore>,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    /// The oldest first.
    guards: VecDeque<Guard>,
    second: Instant,
    begun: usize,
}

impl Guards {
    /// `None` when no manager would keep anything.
    pub fn from_env(env: &Env) -> Option<Self> {
        let store = Arc::new(FdStore::from_env(env)?);
        let held = Held { guards: VecDeque::new(), second: Instant::now(), begun: 0 };
        Some(Self { store, held: Mutex::new(held) })
    }

    /// Made before a client is accepted: between that and the second handle
    /// there is to be as little as possible.
    pub fn prepare(&self) -> Prepared<'_> {
        let guard = Guard::new(id::uuid(), 0, Some(Arc::clone(&self.store)));
        let name = activation::handshake_name(guard.nonce());
        Prepared { guards: self, guard, name }
    }

    /// Whether one more may be given to the manager now.
    fn may_begin(&self) -> bool {
        let mut held = self.held();
        if held.second.elapsed() > Duration::from_secs(1) {
            (held.second, held.begun) = (Instant::now(), 0);
        }
        held.begun < MOST_PER_SECOND
    }

    fn begun(&self, guard: Guard) {
        let mut held = self.held();
        held.begun += 1;
        held.guards.retain(|guard| !guard.is_over());
        held.guards.push_back(guard);
        if held.guards.len() + ROOM > self.store.capacity()
            && let Some(oldest) = held.guards.pop_front()
        {
            // A client that takes its time is the less likely to come to an end.
            oldest.end();
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A guard for the next client.
#[derive(Debug)]
pub struct Prepared<'a> {
    guards: &'a Guards,
    guard: Guard,
    name: String,
}

impl Prepared<'_> {
    /// Guards the connection if its request is there and asks for a WebSocket.
    pub fn begin(self, stream: &std::net::TcpStream) -> Option<Guard> {
        let mut head = [0; HEAD];
        let peeked = recv(stream.as_raw_fd(), &mut head, PEEK).ok()?;
        if !upgrade::is_asked_for(&head[..peeked])
            || !self.guards.may_begin()
            || !self.guards.store.put(stream.as_fd(), &self.name)
        {
            return None;
        }
        self.guards.begun(self.guard.clone());
        Some(self.guard)
    }
}

/// One guarded handshake, or one that a process before left unfinished.
#[derive(Debug, Clone)]
pub struct Guard(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    nonce: String,
    /// Bytes of our answers that the client has from a process before.
    sent: AtomicUsize,
    over: AtomicBool,
    store: Option<Arc<FdStore>>,
}

impl Guard {
    fn new(nonce: String, sent: usize, store: Option<Arc<FdStore>>) -> Self {
        let over = AtomicBool::new(store.is_none());
        Self(Arc::new(Inner { nonce, sent: AtomicUsize::new(sent), over, store }))
    }

    /// What the challenge of this connection says.
    pub fn nonce(&self) -> &str {
        &self.0.nonce
    }

    /// Whether the process before came further than this one has.
    pub fn was_further(&self) -> bool {
        self.0.sent.load(Ordering::Relaxed) > 0
    }

    /// The handshake is over; its connection ends with this process from now on.
    pub fn end(&self) {
        if !self.0.over.swap(true, Ordering::Relaxed)
            && let Some(store) = &self.0.store
        {
            store.remove(&activation::handshake_name(&self.0.nonce));
        }
    }

    fn is_over(&self) -> bool {
        self.0.over.load(Ordering::Relaxed)
    }

    /// How many of the next `length` bytes the client has already.
    fn leave_out(&self, length: usize) -> usize {
        let sent = self.0.sent.load(Ordering::Relaxed);
        let known = sent.min(length);
        self.0.sent.store(sent - known, Ordering::Relaxed);
        known
    }
}

/// The connection of a guarded handshake.
#[derive(Debug)]
pub struct Guarded {
    io: TcpStream,
    guard: Guard,
    /// Bytes that were read and are still in the kernel.
    unread: usize,
}

impl Guarded {
    pub fn new(io: TcpStream, guard: Guard) -> Self {
        Self { io, guard, unread: 0 }
    }

    /// The connection goes on where a killed process left it. `None` when that
    /// cannot be told.
    pub fn resume(unfinished: Unfinished) -> Option<Self> {
        let sent = tcp::sent(unfinished.stream.as_fd())?;
        unfinished.stream.set_nonblocking(true).ok()?;
        let io = TcpStream::from_std(unfinished.stream).ok()?;
        Some(Self::new(io, Guard::new(unfinished.nonce, sent, None)))
    }

    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Takes out of the kernel what was read.
    fn catch_up(&mut self) {
        let mut scratch = [0; 4096];
        while self.unread > 0 {
            let most = self.unread.min(scratch.len());
            match recv(self.io.as_raw_fd(), &mut scratch[..most], MsgFlags::MSG_DONTWAIT) {
                Ok(taken) if taken > 0 => self.unread -= taken,
                _ => self.unread = 0,
            }
        }
    }
}

const PEEK: MsgFlags = MsgFlags::MSG_PEEK.union(MsgFlags::MSG_DONTWAIT);

/// What came after the `known` bytes, without taking it.
fn peek_past(io: &TcpStream, known: usize, buf: &mut ReadBuf<'_>) -> io::Result<usize> {
    let mut all = vec![0; known + buf.remaining()];
    let length = recv(io.as_raw_fd(), &mut all, PEEK)?;
    if length > known {
        buf.put_slice(&all[known..length]);
        return Ok(length - known);
    }
    if length == 0 || tcp::peer_has_ended(io.as_fd()) {
        return Ok(0);
    }
    Err(io::ErrorKind::WouldBlock.into())
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.unread > MOST_UNREAD {
            self.guard.end();
        }
        if self.guard.is_over() {
            self.catch_up();
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        loop {
            ready!(self.io.poll_read_ready(cx))?;
            let peeked =
                self.io.try_io(Interest::READABLE, || peek_past(&self.io, self.unread, buf));
            match peeked {
                Ok(length) => {
                    self.unread += length;
                    return Poll::Ready(Ok(()));
                }
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
                Err(err) => return Poll::Ready(Err(err)),
            }
        }
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.guard.leave_out(buf.len()) {
            0 => Pin::new(&mut self.io).poll_write(cx, buf),
            known => Poll::Ready(Ok(known)),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.guard.end();
        // What is left unread would turn the end into a reset.
        self.catch_up();
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.guard.leave_out(bufs.iter().map(|buf| buf.len()).sum()) {
            0 => Pin::new(&mut self.io).poll_write_vectored(cx, bufs),
            known => Poll::Ready(Ok(known)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.guard.end();
        self.catch_up();
        // The manager's handle may be open for a moment yet.
        let _closed_already = shutdown(self.io.as_raw_fd(), Shutdown::Both).is_err();
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixDatagram;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::supervise::fd_store;

    const ASK: &[u8] = b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

    /// A process with a manager, a client of it, and the connection as accepted.
    struct Scene {
        _dir: tempfile::TempDir,
        manager: UnixDatagram,
        guards: Guards,
        client: TcpStream,
        accepted: TcpStream,
    }

    impl Scene {
        async fn new(asked: &[u8]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("notify");
            let manager = UnixDatagram::bind(&path).unwrap();
            manager.set_nonblocking(true).unwrap();
            let mut env = Env::default();
            env.set("NOTIFY_SOCKET", path.to_str().unwrap());
            env.set(fd_store::VARIABLE, "6");
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            client.write_all(asked).await.unwrap();
            let (accepted, _) = listener.accept().await.unwrap();
            accepted.readable().await.unwrap();
            let guards = Guards::from_env(&env).unwrap();
            Self { _dir: dir, manager, guards, client, accepted }
        }

        fn begin(&self) -> Option<Guard> {
            self.guards.prepare().begin(&second_handle(&self.accepted, "").stream)
        }

        fn heard(&self) -> String {
            let mut said = [0; 200];
            let length = self.manager.recv(&mut said).unwrap_or(0);
            String::from_utf8_lossy(&said[..length]).into_owned()
        }
    }

    /// What the manager passes to the process after this one.
    fn second_handle(stream: &TcpStream, nonce: &str) -> Unfinished {
        let stream = std::net::TcpStream::from(stream.as_fd().try_clone_to_owned().unwrap());
        Unfinished { stream, nonce: nonce.to_owned() }
    }

    async fn read(from: &mut (impl AsyncRead + Unpin), length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        from.read_exact(&mut bytes).await.unwrap();
        bytes
    }

    #[tokio::test]
    async fn a_killed_process_leaves_the_handshake_to_the_next() {
        let mut scene = Scene::new(ASK).await;
        let guard = scene.begin().unwrap();
        assert!(scene.heard().starts_with("FDSTORE=1\nFDNAME=handshake-"));
        let left = second_handle(&scene.accepted, guard.nonce());
        let mut first = Guarded::new(scene.accepted, guard);
        assert_eq!(read(&mut first, ASK.len()).await, ASK);
        first.write_all(b"switching, challenge").await.unwrap();
        assert_eq!(read(&mut scene.client, 20).await, b"switching, challenge");
        scene.client.write_all(b"connect").await.unwrap();
        assert_eq!(read(&mut first, 7).await, b"connect");
        // Killed: nothing of it runs any more.
        std::mem::forget(first);

        let mut next = Guarded::resume(left).unwrap();
        assert_eq!(read(&mut next, ASK.len()).await, ASK);
        assert!(next.guard().was_further());
        next.write_all(b"switching, ").await.unwrap();
        next.write_all(b"challenge").await.unwrap();
        assert!(!next.guard().was_further());
        assert_eq!(read(&mut next, 7).await, b"connect");
        next.write_all(b"hello").await.unwrap();
        assert_eq!(read(&mut scene.client, 5).await, b"hello");
    }

    #[tokio::test]
    async fn after_the_end_nothing_is_left_in_the_kernel() {
        let mut scene = Scene::new(ASK).await;
        let guard = scene.begin().unwrap();
        let nonce = guard.nonce().to_owned();
        let left = second_handle(&scene.accepted, &nonce);
        let mut io = Guarded::new(scene.accepted, guard.clone());
        assert_eq!(read(&mut io, ASK.len()).await, ASK);
        guard.end();
        scene.client.write_all(b"more").await.unwrap();
        assert_eq!(read(&mut io, 4).await, b"more");
        scene.manager.recv(&mut [0; 200]).unwrap();
        let mut said = [0; 200];
        let length = scene.manager.recv(&mut said).unwrap();
        let removed = format!("FDSTOREREMOVE=1\nFDNAME=handshake-{nonce}\n");
        assert_eq!(String::from_utf8_lossy(&said[..length]), removed);
        // The client sees the end although somebody else has a handle.
        drop(io);
        assert_eq!(scene.client.read(&mut [0; 9]).await.unwrap(), 0);
        drop(left);
    }

    #[tokio::test]
    async fn a_client_that_leaves_in_between_is_noticed() {
        let scene = Scene::new(ASK).await;
        let guard = scene.begin().unwrap();
        let mut io = Guarded::new(scene.accepted, guard);
        assert_eq!(read(&mut io, ASK.len()).await, ASK);
        drop(scene.client);
        assert_eq!(io.read(&mut [0; 9]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn who_asks_for_something_else_costs_the_manager_nothing() {
        let scene = Scene::new(b"GET /healthz HTTP/1.1\r\n\r\n").await;
        assert!(scene.begin().is_none());
        assert_eq!(scene.heard(), "");
    }

    #[tokio::test]
    async fn the_oldest_gives_way_when_the_store_is_full() {
        let scene = Scene::new(ASK).await;
        let guards: Vec<Guard> = (0..3).map(|_| scene.begin().unwrap()).collect();
        let over: Vec<bool> = guards.iter().map(Guard::is_over).collect();
        assert_eq!(over, [true, false, false]);
    }
}
