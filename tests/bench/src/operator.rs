//! An operator's WebSocket: signed connect, requests, and a crowd of sockets
//! that an event goes out to.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer, SigningKey};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::gateway::TOKEN;
use crate::{median, millis};

const SCOPES: [&str; 3] = ["operator.admin", "operator.read", "operator.write"];

/// How many connects are under way at once: both gateways admit 32.
const CONNECTING: usize = 8;

/// The identity under which all sockets of a round connect.
#[derive(Clone)]
pub(crate) struct Device(Arc<SigningKey>);

impl Device {
    pub(crate) fn generate() -> Self {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).unwrap();
        Self(Arc::new(SigningKey::from_bytes(&seed)))
    }

    /// The `device` of a connect: proof of the key over the challenge.
    fn proof(&self, nonce: &str) -> Value {
        let public = self.0.verifying_key().to_bytes();
        let id = Sha256::digest(public)
            .iter()
            .fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
        let signed_at = u64::try_from(now).unwrap();
        let scopes = SCOPES.join(",");
        let payload = format!(
            "v3|{id}|gateway-client|backend|operator|{scopes}|{signed_at}|{TOKEN}|{nonce}|linux|"
        );
        json!({
            "id": id,
            "publicKey": URL_SAFE_NO_PAD.encode(public),
            "signature": URL_SAFE_NO_PAD.encode(self.0.sign(payload.as_bytes()).to_bytes()),
            "signedAt": signed_at,
            "nonce": nonce,
        })
    }
}

/// A connected operator.
pub(crate) struct Socket {
    stream: WebSocketStream<TcpStream>,
    sent: u64,
}

/// Connects up to `hello-ok`.
pub(crate) async fn connect(port: u16, device: &Device) -> Socket {
    let tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let url = format!("ws://127.0.0.1:{port}/");
    let (stream, _) = tokio_tungstenite::client_async(url, tcp).await.unwrap();
    let mut socket = Socket { stream, sent: 0 };
    let challenge = socket.next().await;
    let nonce = challenge["payload"]["nonce"].as_str().expect("a challenge comes first");
    let connect = json!({"type": "req", "id": "connect", "method": "connect", "params": {
        "minProtocol": 3,
        "maxProtocol": 3,
        "client": {"id": "gateway-client", "version": "bench", "platform": "linux", "mode": "backend"},
        "role": "operator",
        "scopes": SCOPES,
        "caps": [],
        "auth": {"token": TOKEN},
        "device": device.proof(nonce),
    }});
    socket.send(connect.to_string()).await;
    let hello = socket.answer("connect").await;
    assert_eq!(hello["payload"]["type"], "hello-ok", "{hello}");
    socket
}

impl Socket {
    async fn send(&mut self, text: String) {
        self.stream.send(Message::text(text)).await.unwrap();
    }

    async fn next(&mut self) -> Value {
        loop {
            match self.stream.next().await.expect("the socket is open").unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Close(frame) => panic!("closed: {frame:?}"),
                _ => {}
            }
        }
    }

    /// The response with this id; events in between are passed over.
    async fn answer(&mut self, id: &str) -> Value {
        loop {
            let frame = self.next().await;
            if frame["type"] == "res" && frame["id"] == id {
                assert_eq!(frame["ok"], true, "{frame}");
                return frame;
            }
        }
    }

    fn request(&mut self, method: &str) -> (String, String) {
        self.sent += 1;
        let id = format!("r{}", self.sent);
        let frame = json!({"type": "req", "id": id, "method": method});
        (id, frame.to_string())
    }

    /// Requests per second when each waits for the one before.
    pub(crate) async fn sequential(&mut self, method: &str, count: usize) -> f64 {
        let began = Instant::now();
        for _ in 0..count {
            let (id, frame) = self.request(method);
            self.send(frame).await;
            self.answer(&id).await;
        }
        count as f64 / began.elapsed().as_secs_f64()
    }

    /// Requests per second with `depth` of them unanswered at a time.
    pub(crate) async fn pipelined(&mut self, method: &str, count: usize, depth: usize) -> f64 {
        let began = Instant::now();
        let mut open = HashSet::new();
        let mut left = count;
        while left > 0 || !open.is_empty() {
            while left > 0 && open.len() < depth {
                let (id, frame) = self.request(method);
                self.stream.feed(Message::text(frame)).await.unwrap();
                open.insert(id);
                left -= 1;
            }
            self.stream.flush().await.unwrap();
            let frame = self.next().await;
            if frame["type"] == "res" {
                assert_eq!(frame["ok"], true, "{frame}");
                open.remove(frame["id"].as_str().unwrap_or_default());
            }
        }
        count as f64 / began.elapsed().as_secs_f64()
    }
}

/// Many sockets that only listen, and one that speaks.
pub(crate) struct Crowd {
    speaker: Socket,
    members: JoinSet<()>,
    size: usize,
    seen: mpsc::Receiver<String>,
    tell: mpsc::Sender<String>,
}

impl Crowd {
    pub(crate) async fn connect(port: u16, device: &Device, size: usize) -> Self {
        let (tell, seen) = mpsc::channel(4096);
        let speaker = connect(port, device).await;
        let mut crowd = Self { speaker, members: JoinSet::new(), size: 0, seen, tell };
        crowd.grow(port, device, size).await;
        crowd
    }

    /// Adds listeners; each reports the mark of every presence event it sees.
    pub(crate) async fn grow(&mut self, port: u16, device: &Device, count: usize) {
        let turns = Arc::new(Semaphore::new(CONNECTING));
        let mut joining = JoinSet::new();
        for _ in 0..count {
            let (device, turns) = (device.clone(), Arc::clone(&turns));
            joining.spawn(async move {
                let _turn = turns.acquire().await.unwrap();
                connect(port, &device).await
            });
        }
        while let Some(socket) = joining.join_next().await {
            let mut socket = socket.unwrap();
            let tell = self.tell.clone();
            self.members.spawn(async move {
                while let Some(Ok(message)) = socket.stream.next().await {
                    let Message::Text(text) = message else { continue };
                    if !text.contains("\"event\":\"presence\"") {
                        continue;
                    }
                    let Some(at) = text.find("mark-") else { continue };
                    let mark = text[at..].chars().take_while(|c| c.is_alphanumeric() || *c == '-');
                    let _ = tell.send(mark.collect()).await;
                }
            });
        }
        self.size += count;
    }

    /// Milliseconds from sending an event until the last listener has it, median of `times`.
    pub(crate) async fn fan_out(&mut self, times: usize) -> f64 {
        let mut took = Vec::new();
        for number in 0..times {
            let mark = format!("mark-{number}-end");
            let frame = json!({"type": "req", "id": mark, "method": "system-event", "params": {"text": mark}});
            let began = Instant::now();
            self.speaker.send(frame.to_string()).await;
            let mut reached = 0;
            while reached < self.size {
                let seen = tokio::time::timeout(Duration::from_secs(30), self.seen.recv())
                    .await
                    .unwrap_or_else(|_| panic!("{reached} of {} saw the event", self.size));
                reached += usize::from(seen.as_deref() == Some(mark.as_str()));
            }
            took.push(millis(began.elapsed()));
            self.speaker.answer(&mark).await;
        }
        median(took)
    }

    /// Closes every socket.
    pub(crate) async fn leave(mut self) {
        self.members.shutdown().await;
    }
}
