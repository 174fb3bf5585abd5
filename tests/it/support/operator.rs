//! An operator's WebSocket, down to the single frame, so that tests can also
//! send what no proper client would.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer, SigningKey};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::program::TOKEN;

const SCOPES: [&str; 5] =
    ["operator.admin", "operator.read", "operator.write", "operator.approvals", "operator.pairing"];

/// How long an answer may take on a busy machine.
const ANSWER: Duration = Duration::from_secs(20);

/// What arrived, or how it ended.
#[derive(Debug)]
pub enum Arrived {
    Frame(Value),
    /// Closed, with the code if the peer gave one.
    Closed(Option<u16>),
    Nothing,
}

pub struct Socket {
    stream: WebSocketStream<TcpStream>,
}

impl Socket {
    /// Opens a socket without signing in.
    pub async fn open(port: u16) -> Self {
        let tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let url = format!("ws://127.0.0.1:{port}/");
        let (stream, _) = tokio_tungstenite::client_async(url, tcp).await.unwrap();
        Self { stream }
    }

    /// Opens a socket and signs in with every scope.
    pub async fn connect(port: u16, key: &SigningKey) -> Self {
        Self::connect_speaking(3, port, key).await
    }

    /// As [`Self::connect`], in this version of the protocol.
    pub async fn connect_speaking(protocol: u64, port: u16, key: &SigningKey) -> Self {
        let mut socket = Self::open(port).await;
        let Arrived::Frame(challenge) = socket.next().await else { panic!("no challenge") };
        let nonce = challenge["payload"]["nonce"].as_str().expect("a nonce");
        let connect = json!({"type": "req", "id": "connect", "method": "connect", "params": {
            "minProtocol": protocol,
            "maxProtocol": protocol,
            "client": {"id": "gateway-client", "version": "it", "platform": "linux", "mode": "backend"},
            "role": "operator",
            "scopes": SCOPES,
            "caps": [],
            "auth": {"token": TOKEN},
            "device": proof(key, nonce),
        }});
        assert!(socket.send(Message::text(connect.to_string())).await, "the socket takes a frame");
        loop {
            match socket.next().await {
                Arrived::Frame(frame) if frame["type"] == "res" => {
                    assert_eq!(frame["payload"]["type"], "hello-ok", "{frame}");
                    return socket;
                }
                Arrived::Frame(_) => {}
                other => panic!("refused: {other:?}"),
            }
        }
    }

    /// Sends a frame; false when the socket is closed.
    pub async fn send(&mut self, message: Message) -> bool {
        self.stream.send(message).await.is_ok()
    }

    /// Writes bytes past the WebSocket layer; a closed socket is noticed at the
    /// next read.
    pub async fn raw(&mut self, bytes: &[u8]) {
        let _closed = self.stream.get_mut().write_all(bytes).await.is_err();
    }

    /// Waits for what comes next.
    pub async fn next(&mut self) -> Arrived {
        loop {
            let Ok(next) = tokio::time::timeout(ANSWER, self.stream.next()).await else {
                return Arrived::Nothing;
            };
            match next {
                Some(Ok(Message::Text(text))) => {
                    return Arrived::Frame(serde_json::from_str(&text).expect("frames are JSON"));
                }
                Some(Ok(Message::Close(frame))) => {
                    return Arrived::Closed(frame.map(|frame| frame.code.into()));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Arrived::Closed(None),
            }
        }
    }
}

/// The `device` of a connect: proof of the key over the challenge.
fn proof(key: &SigningKey, nonce: &str) -> Value {
    let public = key.verifying_key().to_bytes();
    let digest = Sha256::digest(public);
    let id = digest.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let signed_at = u64::try_from(now).unwrap();
    let scopes = SCOPES.join(",");
    let payload = format!(
        "v3|{id}|gateway-client|backend|operator|{scopes}|{signed_at}|{TOKEN}|{nonce}|linux|"
    );
    json!({
        "id": id,
        "publicKey": URL_SAFE_NO_PAD.encode(public),
        "signature": URL_SAFE_NO_PAD.encode(key.sign(payload.as_bytes()).to_bytes()),
        "signedAt": signed_at,
        "nonce": nonce,
    })
}
