//! A client of the control plane that can say anything: each part of its
//! `connect` can be changed, and it sees every frame.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer, SigningKey};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderName;

use super::program::TOKEN;

/// How long an answer may take on a busy machine.
const ANSWER: Duration = Duration::from_secs(60);

/// The five scopes that the official command line asks for.
pub const ALL_SCOPES: [&str; 5] =
    ["operator.admin", "operator.read", "operator.write", "operator.approvals", "operator.pairing"];

/// A device key.
pub struct Device(SigningKey);

impl Device {
    pub fn new() -> Self {
        let mut seed = [0u8; 32];
        getrandom::fill(&mut seed).unwrap();
        Self(SigningKey::from_bytes(&seed))
    }

    pub fn id(&self) -> String {
        let digest = Sha256::digest(self.0.verifying_key().to_bytes());
        digest.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
    }

    /// The public key as it goes on the wire.
    pub fn public_key(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0.verifying_key().to_bytes())
    }

    /// Adds the proof of this key to connect params.
    pub fn sign(&self, params: &mut Value, nonce: &str, proof: Proof) {
        let text = |pointer: &str| {
            params.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let scopes: Vec<&str> = params["scopes"]
            .as_array()
            .map(|list| list.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        let token = ["token", "deviceToken", "bootstrapToken"]
            .iter()
            .find_map(|key| params["auth"][key].as_str())
            .unwrap_or_default();
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
        let signed_at = i64::try_from(now).unwrap() + proof.skew_ms;
        let role = params["role"].as_str().unwrap_or("operator");
        let mut payload = format!(
            "v{}|{}|{}|{}|{role}|{}|{signed_at}|{token}|{nonce}",
            proof.version,
            self.id(),
            text("/client/id"),
            text("/client/mode"),
            scopes.join(","),
        );
        if proof.version > 2 {
            for pointer in ["/client/platform", "/client/deviceFamily"] {
                payload.push('|');
                payload.push_str(&text(pointer).to_lowercase());
            }
        }
        params["device"] = json!({
            "id": self.id(),
            "publicKey": self.public_key(),
            "signature": URL_SAFE_NO_PAD.encode(self.0.sign(payload.as_bytes()).to_bytes()),
            "signedAt": signed_at,
            "nonce": nonce,
        });
    }
}

/// How a proof is made.
#[derive(Debug, Clone, Copy)]
pub struct Proof {
    /// Version of the signed text.
    pub version: u8,
    /// How wrong the client's clock is.
    pub skew_ms: i64,
}

impl Default for Proof {
    fn default() -> Self {
        Self { version: 3, skew_ms: 0 }
    }
}

/// Connect params of a client of this id and mode, without a device.
pub fn connect_params(id: &str, mode: &str, scopes: &[&str]) -> Value {
    json!({
        "minProtocol": 3,
        "maxProtocol": 3,
        "client": {"id": id, "version": "0.0.1", "platform": "linux", "mode": mode},
        "role": "operator",
        "scopes": scopes,
        "caps": [],
        "auth": {"token": TOKEN},
    })
}

/// How a connect attempt ended.
#[derive(Debug)]
pub struct Refused {
    /// The response, unless the gateway just closed.
    pub error: Value,
    pub code: u16,
    pub reason: String,
}

/// A socket to a gateway.
pub struct TestClient {
    stream: WebSocketStream<TcpStream>,
    /// Events that arrived while something else was waited for.
    pub events: VecDeque<Value>,
    pub nonce: String,
    /// The payload of `hello-ok`.
    pub hello: Value,
    next_id: u32,
}

impl TestClient {
    /// Opens a socket and waits for the challenge.
    pub async fn open(port: u16) -> Self {
        Self::open_with::<&str, &str>(port, &[]).await
    }

    /// As [`Self::open`], with extra headers.
    pub async fn open_with<N: AsRef<str>, V: AsRef<str>>(port: u16, headers: &[(N, V)]) -> Self {
        let tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let mut request = format!("ws://127.0.0.1:{port}/").into_client_request().unwrap();
        for (name, value) in headers {
            let name: HeaderName = name.as_ref().parse().unwrap();
            request.headers_mut().insert(name, value.as_ref().parse().unwrap());
        }
        let (stream, _) = tokio_tungstenite::client_async(request, tcp).await.unwrap();
        let mut client = Self {
            stream,
            events: VecDeque::new(),
            nonce: String::new(),
            hello: Value::Null,
            next_id: 0,
        };
        let challenge = client.frame().await.unwrap();
        assert_eq!(challenge["event"], "connect.challenge");
        challenge["payload"]["nonce"].as_str().unwrap().clone_into(&mut client.nonce);
        client
    }

    /// Connects as an operator with `scopes` and a device of its own.
    pub async fn operator(port: u16, scopes: &[&str]) -> Self {
        let params = connect_params("gateway-client", "backend", scopes);
        Self::connect(port, params, Some(&Device::new())).await.unwrap()
    }

    /// Connects with `params`, signed by `device` if there is one.
    pub async fn connect(
        port: u16,
        params: Value,
        device: Option<&Device>,
    ) -> Result<Self, Refused> {
        Self::open(port).await.introduce(params, device).await
    }

    /// Sends `connect` on an open socket.
    pub async fn introduce(
        mut self,
        mut params: Value,
        device: Option<&Device>,
    ) -> Result<Self, Refused> {
        if let Some(device) = device {
            device.sign(&mut params, &self.nonce, Proof::default());
        }
        self.send(&json!({"type": "req", "id": "connect", "method": "connect", "params": params}))
            .await;
        match self.frame().await {
            Ok(frame) if frame["ok"] == true => {
                assert_eq!(frame["id"], "connect");
                self.hello = frame["payload"].clone();
                Ok(self)
            }
            Ok(frame) => {
                let (code, reason) = self.closed().await;
                Err(Refused { error: frame["error"].clone(), code, reason })
            }
            Err((code, reason)) => Err(Refused { error: Value::Null, code, reason }),
        }
    }

    /// Sends a frame.
    pub async fn send(&mut self, frame: &Value) {
        self.send_raw(Message::text(frame.to_string())).await;
    }

    /// Sends anything; a closed socket is noticed at the next read.
    pub async fn send_raw(&mut self, message: Message) {
        let _closed = self.stream.send(message).await.is_err();
    }

    /// Calls a method and waits for its response frame; events are kept.
    pub async fn call(&mut self, method: &str, params: Value) -> Value {
        self.next_id += 1;
        let id = format!("t{}", self.next_id);
        self.send(&json!({"type": "req", "id": id, "method": method, "params": params})).await;
        let frame = self.response().await;
        assert_eq!(frame["id"], id.as_str(), "{frame}");
        frame
    }

    /// The next response; events before it are kept.
    pub async fn response(&mut self) -> Value {
        loop {
            let frame = self.frame().await.expect("the socket stays open");
            if frame["type"] == "res" {
                return frame;
            }
            self.events.push_back(frame);
        }
    }

    /// As [`Self::call`], for a call that succeeds.
    pub async fn ask(&mut self, method: &str, params: Value) -> Value {
        let frame = self.call(method, params).await;
        assert_eq!(frame["ok"], true, "{method}: {frame}");
        frame["payload"].clone()
    }

    /// Waits for an event of this name; others before it are dropped.
    pub async fn event(&mut self, name: &str) -> Value {
        loop {
            let frame = match self.events.pop_front() {
                Some(frame) => frame,
                None => self.frame().await.expect("the socket stays open"),
            };
            if frame["event"] == name {
                return frame;
            }
        }
    }

    /// The next frame, or how the socket was closed.
    pub async fn frame(&mut self) -> Result<Value, (u16, String)> {
        loop {
            let next = tokio::time::timeout(ANSWER, self.stream.next());
            match next.await.expect("an answer in time") {
                Some(Ok(Message::Text(text))) => {
                    return Ok(serde_json::from_str(&text).expect("frames are JSON"));
                }
                Some(Ok(Message::Close(Some(frame)))) => {
                    return Err((frame.code.into(), frame.reason.to_string()));
                }
                Some(Ok(Message::Close(None))) => return Err((1005, String::new())),
                Some(Ok(_)) => {}
                Some(Err(err)) => return Err((1006, err.to_string())),
                None => return Err((1006, "end of stream".to_owned())),
            }
        }
    }

    /// Waits for the close; events before it are dropped.
    pub async fn closed(&mut self) -> (u16, String) {
        loop {
            if let Err(closed) = self.frame().await {
                return closed;
            }
        }
    }
}
