//! A killed process loses no handshake: its manager has the connection, and the
//! next process goes on with it.

use std::collections::BTreeMap;
use std::io::IoSliceMut;
use std::net::TcpListener;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::time::Duration;

use nix::cmsg_space;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixAddr, recvmsg};
use openclaw::supervise::activation::handshake_name;
use serde_json::json;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::support::client::{Device, TestClient, connect_params};
use crate::support::program::{TOKEN, command};

/// How long the program may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A service manager as far as the gateway sees it: it holds the port, hears
/// what it is told, and stores descriptors.
struct Manager {
    home: TempDir,
    notify: UnixDatagram,
    listener: TcpListener,
    stored: BTreeMap<String, OwnedFd>,
}

impl Manager {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let notify = UnixDatagram::bind(home.path().join("notify")).unwrap();
        notify.set_read_timeout(Some(PATIENCE)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        defer_accept(&listener);
        let state = home.path().join(".openclaw");
        std::fs::create_dir_all(&state).unwrap();
        let settings = json!({"gateway": {"mode": "local",
            "port": listener.local_addr().unwrap().port(),
            "auth": {"mode": "token", "token": TOKEN}}});
        std::fs::write(state.join("openclaw.json"), settings.to_string()).unwrap();
        Self { home, notify, listener, stored: BTreeMap::new() }
    }

    fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    /// Starts the gateway with the port and what is stored, as descriptors 3 and 4.
    fn start(&mut self) -> Child {
        let program = command(self.home.path());
        let program = program.as_std().get_program().to_owned();
        let mut shell = Command::new("/bin/sh");
        shell.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.home.path());
        shell.env("OPENCLAW_FD_STORE", "8");
        shell.env("NOTIFY_SOCKET", self.home.path().join("notify"));
        shell.stdin(OwnedFd::from(self.listener.try_clone().unwrap()));
        let (open, names) = if let Some((name, fd)) = self.stored.pop_first() {
            assert!(self.stored.is_empty(), "one client, one descriptor");
            shell.stdout(fd);
            ("exec 3<&0 4<&1 </dev/null >/dev/null; LISTEN_FDS=2", format!("gateway:{name}"))
        } else {
            shell.stdout(Stdio::null());
            ("exec 3<&0 </dev/null; LISTEN_FDS=1", "gateway".to_owned())
        };
        let script = format!("{open}; export LISTEN_FDS; LISTEN_PID=$$ exec \"$@\"");
        shell.env("LISTEN_FDNAMES", names).args(["-c", &script, "sh"]).arg(program);
        let log = std::fs::File::create(self.home.path().join("gateway.log")).unwrap();
        shell.args(["gateway", "run"]).stderr(log).kill_on_drop(true).spawn().unwrap()
    }

    /// A client, accepted by a process that is gone a moment later, and the next process.
    async fn accepts_and_starts(&mut self) -> (TestClient, Child) {
        let client = tokio::time::timeout(PATIENCE, TestClient::open(self.port()));
        let listener = self.listener.try_clone().unwrap();
        let next = async {
            let accepted =
                openclaw::lifecycle::spawn_blocking(move || listener.accept().unwrap().0);
            self.stored.insert(handshake_name("of-the-first"), accepted.await.unwrap().into());
            self.start()
        };
        let (client, next) = tokio::join!(client, next);
        (client.unwrap(), next)
    }

    /// Hears what it is told until a line says `wanted`.
    fn hears(&mut self, wanted: &str) {
        loop {
            let mut text = [0; 4096];
            let mut room = cmsg_space!([i32; 4]);
            let mut parts = [IoSliceMut::new(&mut text)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            let told =
                recvmsg::<UnixAddr>(self.notify.as_raw_fd(), &mut parts, Some(&mut room), flags);
            let told = told.unwrap_or_else(|err| panic!("{wanted}: {err}: {}", self.log()));
            let fds: Vec<OwnedFd> = told
                .cmsgs()
                .unwrap()
                .filter_map(|message| match message {
                    ControlMessageOwned::ScmRights(fds) => Some(fds),
                    _ => None,
                })
                .flatten()
                .map(own)
                .collect();
            let length = told.bytes;
            let text = String::from_utf8_lossy(&text[..length]).into_owned();
            let name = text.lines().find_map(|line| line.strip_prefix("FDNAME="));
            match (text.lines().next(), name) {
                (Some("FDSTORE=1"), Some(name)) => {
                    self.stored.extend(fds.into_iter().map(|fd| (name.to_owned(), fd)));
                }
                (Some("FDSTOREREMOVE=1"), Some(name)) => {
                    self.stored.remove(name);
                }
                _ => {}
            }
            if text.lines().any(|line| line.starts_with(wanted)) {
                return;
            }
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("gateway.log")).unwrap_or_default()
    }
}

/// What `DeferAcceptSec=` in the socket unit does.
#[expect(unsafe_code, reason = "nix has no TCP_DEFER_ACCEPT")]
fn defer_accept(listener: &TcpListener) {
    use nix::libc::{IPPROTO_TCP, TCP_DEFER_ACCEPT, setsockopt};
    let seconds = 1i32;
    // SAFETY: a number of the size that is given.
    let failed = unsafe {
        setsockopt(
            listener.as_raw_fd(),
            IPPROTO_TCP,
            TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            4,
        )
    };
    assert_eq!(failed, 0);
}

#[expect(unsafe_code, reason = "descriptors from a message belong to its receiver")]
fn own(fd: i32) -> OwnedFd {
    // SAFETY: the kernel made this descriptor for us a moment ago.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Signs in on an open socket and asks for something.
async fn converse(client: TestClient) {
    let params = connect_params("gateway-client", "backend", &["operator.read"]);
    let signed_in = client.introduce(params, Some(&Device::new())).await;
    let mut client = signed_in.unwrap_or_else(|refused| panic!("{refused:?}"));
    client.ask("health", json!({})).await;
}

#[tokio::test]
async fn a_challenge_outlives_the_process_that_gave_it() {
    let mut manager = Manager::new();
    let mut first = manager.start();
    manager.hears("READY=1");
    let client = tokio::time::timeout(PATIENCE, TestClient::open(manager.port())).await.unwrap();
    let name = handshake_name(&client.nonce);
    while !manager.stored.contains_key(&name) {
        manager.hears("FD");
    }
    manager.stored.retain(|stored, _| *stored == name);
    first.kill().await.unwrap();
    let _second = manager.start();
    let served = tokio::time::timeout(PATIENCE, converse(client)).await;
    served.unwrap_or_else(|_| panic!("{}", manager.log()));
    manager.hears(&format!("FDNAME={name}"));
}

#[tokio::test]
async fn a_request_that_nobody_has_read_is_answered_by_the_next_process() {
    let mut manager = Manager::new();
    let (client, _second) = manager.accepts_and_starts().await;
    assert_eq!(client.nonce, "of-the-first");
    tokio::time::timeout(PATIENCE, converse(client)).await.unwrap();
}

#[tokio::test]
async fn a_next_process_that_cannot_serve_says_why() {
    let mut manager = Manager::new();
    std::fs::write(manager.home.path().join(".openclaw/openclaw.json"), "{}").unwrap();
    let (client, _second) = manager.accepts_and_starts().await;
    let params = connect_params("gateway-client", "backend", &["operator.read"]);
    let Err(refused) = client.introduce(params, None).await else { panic!("admitted") };
    let reason = refused.error["message"].as_str().unwrap();
    assert!(reason.contains("gateway.mode"), "{reason}");
}

/// What it was told before may have been the end of it.
#[tokio::test]
async fn who_was_further_than_the_challenge_is_not_greeted_again() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut manager = Manager::new();
    let mut client = tokio::net::TcpStream::connect(("127.0.0.1", manager.port())).await.unwrap();
    let mut accepted = manager.listener.accept().unwrap().0;
    let asked = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
        sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    client.write_all(asked).await.unwrap();
    // A text frame as a client masks it, with a key of zeros.
    client.write_all(b"\x81\x82\0\0\0\0{}").await.unwrap();
    std::io::Write::write_all(&mut accepted, &[b'.'; 5000]).unwrap();
    manager.stored.insert(handshake_name("of-the-first"), accepted.into());
    let _second = manager.start();
    let mut heard = Vec::new();
    let ended = client.read_to_end(&mut heard);
    tokio::time::timeout(PATIENCE, ended).await.unwrap().unwrap();
    assert_eq!(heard, [b'.'; 5000]);
}
