//! Signing in: challenge, proof of the device key, `connect`, hello-ok.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::base::VERSION;
use crate::base::clock::Clock;
use crate::base::id;
use crate::base::secret::Secret;
use crate::client::connection::{Connection, Incoming};
use crate::client::credentials::Credentials;
use crate::client::dial;
use crate::client::error::{ClientError, Remote};
use crate::client::identity::{DeviceToken, Identity};
use crate::client::target::Target;

/// Longest wait for `connect.challenge` and for hello-ok.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Pause before the one retry with the device token.
const RETRY: Duration = Duration::from_millis(250);
const ROLE: &str = "operator";

/// Who a command says it is. Presence and pairing show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    pub id: &'static str,
    pub mode: &'static str,
    pub scopes: &'static [&'static str],
}

impl Caller {
    /// Commands that change or may change something.
    pub const CLI: Self = Self {
        id: "cli",
        mode: "cli",
        scopes: &[
            "operator.admin",
            "operator.read",
            "operator.write",
            "operator.approvals",
            "operator.pairing",
        ],
    };
    /// Commands that only look, through the gateway's own summaries.
    pub const READER: Self =
        Self { id: "gateway-client", mode: "backend", scopes: &["operator.read"] };
    /// Commands that ask whether somebody is there.
    pub const PROBE: Self = Self { id: "cli", mode: "probe", scopes: &["operator.read"] };
}

/// Everything needed to open connections to one gateway.
#[derive(Debug)]
pub struct Connector<'a> {
    pub target: &'a Target,
    pub credentials: &'a Credentials,
    /// `None` signs in with the shared secret alone.
    pub identity: Option<&'a Identity>,
    /// What a gateway knows its own client by.
    pub own: Option<&'a Secret>,
    pub clock: &'a dyn Clock,
}

impl Connector<'_> {
    /// Opens a connection within `limit`.
    pub async fn connect(
        &self,
        caller: Caller,
        limit: Duration,
    ) -> Result<Connection, ClientError> {
        let work = async {
            let stored = self.identity.and_then(|identity| identity.token(ROLE));
            match self.attempt(caller, stored.as_ref(), Use::Normal).await {
                Err(Attempt::Refused(remote)) if self.may_retry(&remote, stored.as_ref()) => {
                    tokio::time::sleep(RETRY).await;
                    self.attempt(caller, stored.as_ref(), Use::Both).await
                }
                other => other,
            }
        };
        match tokio::time::timeout(limit, work).await {
            Ok(result) => result.map_err(|attempt| self.settle(attempt)),
            Err(_) => Err(ClientError::Timeout(limit)),
        }
    }

    /// A refused shared token may be retried once with the device token, unless
    /// it was typed for this call, and never towards a host that could be an
    /// impostor.
    fn may_retry(&self, remote: &Remote, stored: Option<&DeviceToken>) -> bool {
        let details = &remote.details;
        let offered = details["canRetryWithDeviceToken"] == json!(true)
            || details["recommendedNextStep"] == json!("retry_with_device_token");
        let trusted = self.target.endpoint().is_ok_and(|endpoint| {
            endpoint.is_loopback() || endpoint.tls && self.target.fingerprint.is_some()
        });
        remote.detail_code() == Some("AUTH_TOKEN_MISMATCH")
            && offered
            && trusted
            && stored.is_some()
            && self.credentials.token.is_some()
            && !self.credentials.typed
    }

    /// A refusal forgets the device token if that was what it was about.
    fn settle(&self, attempt: Attempt) -> ClientError {
        match attempt {
            Attempt::Failed(err) => err,
            Attempt::Refused(remote) => {
                if self.credentials.is_empty()
                    && remote.message.contains("device token mismatch")
                    && let Some(identity) = self.identity
                    && let Err(err) = identity.drop_token(ROLE)
                {
                    tracing::debug!(err = %err, "forgetting the device token");
                }
                ClientError::NotAdmitted(Box::new(remote))
            }
        }
    }

    async fn attempt(
        &self,
        caller: Caller,
        stored: Option<&DeviceToken>,
        using: Use,
    ) -> Result<Connection, Attempt> {
        let socket = dial::dial(self.target, self.own).await?;
        let mut connection = Connection::new(socket);
        let nonce = challenge(&mut connection).await?;
        let params = self.params(caller, stored, using, &nonce);
        let request = connection.send("connect", Some(params)).await?;
        let hello = loop {
            match timed(connection.next()).await? {
                Incoming::Response { id, result } if id == request => match result {
                    Ok(hello) => break hello,
                    Err(remote) => return Err(Attempt::Refused(remote)),
                },
                _ => {}
            }
        };
        self.keep_token(&hello);
        connection.hello = hello;
        Ok(connection)
    }

    fn params(
        &self,
        caller: Caller,
        stored: Option<&DeviceToken>,
        using: Use,
        nonce: &str,
    ) -> Value {
        let text = |secret: &Secret| Value::from(secret.expose());
        let mut auth = Map::new();
        let mut signed_token = None;
        if let Some(token) = &self.credentials.token {
            auth.insert("token".to_owned(), text(token));
            signed_token = Some(token);
        } else if let Some(stored) = stored.filter(|_| self.credentials.is_empty()) {
            auth.insert("token".to_owned(), text(&stored.token));
            signed_token = Some(&stored.token);
        }
        if let Some(stored) = stored.filter(|_| using == Use::Both) {
            auth.insert("deviceToken".to_owned(), text(&stored.token));
        }
        if let Some(password) = &self.credentials.password {
            auth.insert("password".to_owned(), text(password));
        }
        let mut params = json!({
            "minProtocol": 3,
            "maxProtocol": 3,
            "client": {
                "id": caller.id,
                "version": VERSION,
                "platform": platform(),
                "mode": caller.mode,
                "instanceId": id::uuid(),
            },
            "caps": [],
            "role": ROLE,
            "scopes": caller.scopes,
        });
        if !auth.is_empty() {
            params["auth"] = Value::Object(auth);
        }
        if let Some(identity) = self.identity {
            let signed_at = self.clock.now_ms();
            let payload = Proof {
                device_id: &identity.device_id,
                caller,
                signed_at,
                token: signed_token.map_or("", Secret::expose),
                nonce,
            };
            params["device"] = json!({
                "id": identity.device_id,
                "publicKey": identity.public_key(),
                "signature": identity.sign(&payload.text()),
                "signedAt": signed_at,
                "nonce": nonce,
            });
        }
        params
    }

    /// Keeps the token that came with hello-ok. A full disk must not fail the
    /// command: the token only saves typing later.
    fn keep_token(&self, hello: &Value) {
        let auth = &hello["auth"];
        let (Some(identity), Some(token)) = (self.identity, auth["deviceToken"].as_str()) else {
            return;
        };
        let scopes = auth["scopes"].as_array().map(Vec::as_slice).unwrap_or_default();
        let token = DeviceToken {
            token: Secret::new(token),
            role: auth["role"].as_str().unwrap_or(ROLE).to_owned(),
            scopes: scopes.iter().filter_map(|scope| scope.as_str().map(str::to_owned)).collect(),
            updated_at_ms: self.clock.now_ms(),
        };
        if let Err(err) = identity.keep_token(&token) {
            tracing::debug!(err = %err, "keeping the device token");
        }
    }
}

/// Which secrets an attempt presents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Normal,
    /// The shared token and the device token.
    Both,
}

enum Attempt {
    Refused(Remote),
    Failed(ClientError),
}

impl From<ClientError> for Attempt {
    fn from(err: ClientError) -> Self {
        Self::Failed(err)
    }
}

/// What a device signs, version 3. Part of the wire contract.
struct Proof<'a> {
    device_id: &'a str,
    caller: Caller,
    signed_at: u64,
    token: &'a str,
    nonce: &'a str,
}

impl Proof<'_> {
    fn text(&self) -> String {
        // The last field is the device family, which this client does not claim.
        format!(
            "v3|{}|{}|{}|{ROLE}|{}|{}|{}|{}|{}|",
            self.device_id,
            self.caller.id,
            self.caller.mode,
            self.caller.scopes.join(","),
            self.signed_at,
            self.token,
            self.nonce,
            platform(),
        )
    }
}

/// The platform in the spelling of Node, which pairing records hold.
fn platform() -> &'static str {
    match std::env::consts::OS {
        "macos" => "darwin",
        "windows" => "win32",
        other => other,
    }
}

async fn challenge(connection: &mut Connection) -> Result<String, ClientError> {
    loop {
        let incoming = timed(connection.next()).await?;
        if let Incoming::Event { event, payload } = incoming
            && event == "connect.challenge"
        {
            return match payload["nonce"].as_str().filter(|nonce| !nonce.trim().is_empty()) {
                Some(nonce) => Ok(nonce.to_owned()),
                None => Err(ClientError::Closed {
                    code: 1008,
                    reason: "connect challenge missing nonce".to_owned(),
                }),
            };
        }
    }
}

async fn timed<T>(future: impl Future<Output = Result<T, ClientError>>) -> Result<T, ClientError> {
    tokio::time::timeout(HANDSHAKE, future).await.unwrap_or_else(|_| {
        Err(ClientError::Closed { code: 1008, reason: "connect challenge timeout".to_owned() })
    })
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use ed25519_dalek::{Signature, VerifyingKey};
    use futures_util::{SinkExt, StreamExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::Message;

    use super::*;
    use crate::base::clock::SystemClock;
    use crate::client::connection::Expect;
    use crate::client::target::Source;

    const LIMIT: Duration = Duration::from_secs(10);

    fn verify(public_key: &str, signature: &str, text: &str) -> bool {
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
        let key = VerifyingKey::from_bytes(&decode(public_key).try_into().unwrap()).unwrap();
        let signature = Signature::from_slice(&decode(signature)).unwrap();
        key.verify_strict(text.as_bytes(), &signature).is_ok()
    }

    #[test]
    fn the_proof_is_the_text_that_the_official_client_signs() {
        let proof = Proof {
            device_id: "16853dfc4148dead3ffb61f17602d17237868cf70d197632338c63aa314427c2",
            caller: Caller::PROBE,
            signed_at: 1_795_349_146_255,
            token: "test-token-abc123",
            nonce: "ed4bcea4-ca55-4cc8-b4c0-b6bf4376a303",
        };
        assert!(verify(
            "1XaKxVES_BA6hN9NC6buHkmR3cJKvDTosTOZkajV5dw",
            "Pnid3JW2jQYNmZoCSVjt-lnTa97ji1eLRWTgOMjkssQkeE49ivXkb4wmH1ygIEBuzZekgzksRECrcU3eqMeuBg",
            &proof.text(),
        ));
    }

    struct Home {
        state: tempfile::TempDir,
        listener: TcpListener,
        target: Target,
    }

    impl Home {
        async fn new() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let target = Target {
                url: format!("ws://{}", listener.local_addr().unwrap()),
                source: Source::Loopback,
                config_path: "/c".into(),
                bind: None,
                fingerprint: None,
                insecure_private: false,
            };
            Self { state: tempfile::tempdir().unwrap(), listener, target }
        }

        fn identity(&self) -> Identity {
            Identity::open(self.state.path(), &SystemClock).unwrap()
        }

        async fn accept(&self) -> WebSocketStream<TcpStream> {
            let (tcp, _) = self.listener.accept().await.unwrap();
            let mut socket = tokio_tungstenite::accept_async(tcp).await.unwrap();
            say(&mut socket, json!({"type": "event", "event": "connect.challenge", "payload": {"nonce": "n-1", "ts": 1}})).await;
            socket
        }
    }

    async fn say(socket: &mut WebSocketStream<TcpStream>, frame: Value) {
        socket.send(Message::text(frame.to_string())).await.unwrap();
    }

    async fn hear(socket: &mut WebSocketStream<TcpStream>) -> Value {
        let message = socket.next().await.unwrap().unwrap();
        serde_json::from_str(message.to_text().unwrap()).unwrap()
    }

    fn token(text: &str) -> Credentials {
        Credentials { token: Some(Secret::new(text)), password: None, typed: false }
    }

    #[tokio::test]
    async fn a_call_signs_in_keeps_the_device_token_and_waits_for_the_final_answer() {
        let home = Home::new().await;
        let identity = home.identity();
        let credentials = token("right");
        let server = async {
            let mut socket = home.accept().await;
            let connect = hear(&mut socket).await;
            let params = &connect["params"];
            let device = &params["device"];
            assert_eq!(params["auth"], json!({"token": "right"}));
            assert_eq!(params["client"]["mode"], "cli");
            let proof = Proof {
                device_id: device["id"].as_str().unwrap(),
                caller: Caller::CLI,
                signed_at: device["signedAt"].as_u64().unwrap(),
                token: "right",
                nonce: "n-1",
            };
            let field = |name: &str| device[name].as_str().unwrap();
            assert!(verify(field("publicKey"), field("signature"), &proof.text()));
            say(&mut socket, json!({"type": "res", "id": connect["id"], "ok": true, "payload": {
                "type": "hello-ok", "auth": {"deviceToken": "dt", "role": "operator", "scopes": ["operator.read"]},
            }})).await;
            let call = hear(&mut socket).await;
            assert_eq!(call["params"], json!({"message": "hi"}));
            for payload in [json!({"status": "accepted"}), json!({"status": "ok", "n": 2})] {
                say(&mut socket, json!({"type": "event", "event": "tick", "payload": {}})).await;
                say(
                    &mut socket,
                    json!({"type": "res", "id": call["id"], "ok": true, "payload": payload}),
                )
                .await;
            }
        };
        let client = async {
            let connector = Connector {
                target: &home.target,
                credentials: &credentials,
                identity: Some(&identity),
                own: None,
                clock: &SystemClock,
            };
            let mut connection = connector.connect(Caller::CLI, LIMIT).await.unwrap();
            assert_eq!(connection.hello["type"], "hello-ok");
            connection.call("agent", Some(json!({"message": "hi"})), Expect::Final, LIMIT).await
        };
        let (answer, ()) = tokio::join!(client, server);
        assert_eq!(answer.unwrap(), json!({"status": "ok", "n": 2}));
        assert_eq!(identity.token("operator").unwrap().token.expose(), "dt");
    }

    #[tokio::test]
    async fn a_refused_token_is_retried_once_together_with_the_device_token() {
        let home = Home::new().await;
        let identity = home.identity();
        identity
            .keep_token(&DeviceToken {
                token: Secret::new("dt"),
                role: ROLE.to_owned(),
                scopes: vec![],
                updated_at_ms: 0,
            })
            .unwrap();
        let credentials = token("old");
        let server = async {
            for expected in [json!({"token": "old"}), json!({"token": "old", "deviceToken": "dt"})]
            {
                let mut socket = home.accept().await;
                let connect = hear(&mut socket).await;
                assert_eq!(connect["params"]["auth"], expected);
                say(&mut socket, json!({"type": "res", "id": connect["id"], "ok": false, "error": {
                    "code": "INVALID_REQUEST", "message": "unauthorized: gateway token mismatch (provide gateway auth token)",
                    "details": {"code": "AUTH_TOKEN_MISMATCH", "canRetryWithDeviceToken": true},
                }})).await;
            }
        };
        let client = async {
            let connector = Connector {
                target: &home.target,
                credentials: &credentials,
                identity: Some(&identity),
                own: None,
                clock: &SystemClock,
            };
            connector.connect(Caller::CLI, LIMIT).await.unwrap_err()
        };
        let (err, ()) = tokio::join!(client, server);
        assert_eq!(
            err.for_call(),
            "gateway closed (1008): unauthorized: gateway token mismatch (provide gateway auth token)"
        );
        assert_eq!(err.close().map(|(code, _)| code), Some(1008));
    }

    #[tokio::test]
    async fn a_stale_device_token_is_forgotten() {
        let home = Home::new().await;
        let identity = home.identity();
        identity
            .keep_token(&DeviceToken {
                token: Secret::new("dt"),
                role: ROLE.to_owned(),
                scopes: vec![],
                updated_at_ms: 0,
            })
            .unwrap();
        let credentials = Credentials::default();
        let server = async {
            let mut socket = home.accept().await;
            let connect = hear(&mut socket).await;
            assert_eq!(connect["params"]["auth"], json!({"token": "dt"}));
            say(&mut socket, json!({"type": "res", "id": connect["id"], "ok": false, "error": {
                "code": "INVALID_REQUEST", "message": "unauthorized: device token mismatch (rotate/reissue device token)",
                "details": {"code": "AUTH_DEVICE_TOKEN_MISMATCH"},
            }})).await;
        };
        let client = async {
            let connector = Connector {
                target: &home.target,
                credentials: &credentials,
                identity: Some(&identity),
                own: None,
                clock: &SystemClock,
            };
            connector.connect(Caller::PROBE, LIMIT).await.unwrap_err()
        };
        let (err, ()) = tokio::join!(client, server);
        assert!(matches!(err, ClientError::NotAdmitted(_)));
        assert!(identity.token(ROLE).is_none());
    }

    #[tokio::test]
    async fn nobody_listening_is_an_abnormal_close_and_silence_a_timeout() {
        let home = Home::new().await;
        let credentials = Credentials::default();
        let connector = Connector {
            target: &home.target,
            credentials: &credentials,
            identity: None,
            own: None,
            clock: &SystemClock,
        };
        // The listener accepts in the kernel's queue but never answers.
        let err = connector.connect(Caller::PROBE, Duration::from_millis(50)).await.unwrap_err();
        assert_eq!(err.for_probe(), "timeout");
        let target = home.target.clone();
        drop(home.listener);
        let connector = Connector {
            target: &target,
            credentials: &credentials,
            identity: None,
            own: None,
            clock: &SystemClock,
        };
        let err = connector.connect(Caller::PROBE, LIMIT).await.unwrap_err();
        assert_eq!(err.for_probe(), "gateway closed (1006): ");
    }

    #[tokio::test]
    async fn several_calls_keep_their_own_verdicts() {
        let home = Home::new().await;
        let credentials = token("t");
        let server = async {
            let mut socket = home.accept().await;
            let connect = hear(&mut socket).await;
            say(&mut socket, json!({"type": "res", "id": connect["id"], "ok": true, "payload": {"type": "hello-ok"}})).await;
            let first = hear(&mut socket).await;
            let second = hear(&mut socket).await;
            say(&mut socket, json!({"type": "res", "id": second["id"], "ok": false, "error": {"code": "X", "message": "no"}})).await;
            say(&mut socket, json!({"type": "res", "id": first["id"], "ok": true, "payload": 1}))
                .await;
        };
        let client = async {
            let connector = Connector {
                target: &home.target,
                credentials: &credentials,
                identity: None,
                own: None,
                clock: &SystemClock,
            };
            let mut connection = connector.connect(Caller::READER, LIMIT).await.unwrap();
            connection.call_all(vec![("health", None), ("status", None)], LIMIT).await
        };
        let (answers, ()) = tokio::join!(client, server);
        assert_eq!(answers[0].as_ref().unwrap(), &json!(1));
        assert_eq!(answers[1].as_ref().unwrap_err().to_string(), "no");
    }
}
