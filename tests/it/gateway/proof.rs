//! The gateway proves to its manager that it answers, whatever its settings and
//! its other clients are.

use std::time::Duration;

use openclaw::agents::providers::http::Http;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixDatagram};

use crate::support::program::{Gateway, TOKEN};

const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: upgrade\r\n\
    upgrade: websocket\r\nsec-websocket-version: 13\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// The end of the line that a service manager holds.
struct Manager {
    path: String,
    _dir: TempDir,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify").to_str().unwrap().to_owned();
        let socket = UnixDatagram::bind(&path).unwrap();
        Self { path, _dir: dir, socket }
    }

    fn vars(&self) -> [(&str, &str); 2] {
        [("NOTIFY_SOCKET", &self.path), ("WATCHDOG_USEC", "400000")]
    }

    /// Waits until it is told so.
    async fn hears(&self, wanted: &str) {
        let mut message = [0; 4096];
        let heard = async {
            loop {
                let length = self.socket.recv(&mut message).await.unwrap();
                let text = String::from_utf8_lossy(&message[..length]);
                if text.lines().any(|line| line == wanted) {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), heard).await.expect(wanted);
    }
}

#[tokio::test]
async fn it_is_ready_and_stays_fed_however_clients_sign_in() {
    let proxy = json!({"gateway": {
        "bind": "lan",
        "auth": {"mode": "trusted-proxy", "token": null, "trustedProxy": {"userHeader": "x-user"}},
        "trustedProxies": ["192.0.2.1"],
        "controlUi": {"allowedOrigins": ["https://ui.example.com"]}}});
    for config in [
        json!({}),
        json!({"gateway": {"auth": {"mode": "password", "token": null, "password": "hunter22"}}}),
        json!({"gateway": {"auth": {"mode": "none", "token": null}}}),
        json!({"gateway": {"tls": {"enabled": true, "autoGenerate": true}}}),
        proxy,
    ] {
        let manager = Manager::new();
        let _gateway = Gateway::spawn_with(config, &manager.vars());
        manager.hears("READY=1").await;
        manager.hears("WATCHDOG=1").await;
    }
}

#[tokio::test]
async fn commands_of_this_host_reach_it_wherever_it_listens() {
    for config in [
        json!({"gateway": {"tls": {"enabled": true}}}),
        json!({"gateway": {"bind": "custom", "customBindHost": "127.0.0.7",
            "controlUi": {"allowedOrigins": ["https://ui.example.com"]}}}),
        json!({"gateway": {"auth": {"mode": "none", "token": null}}}),
    ] {
        let manager = Manager::new();
        let gateway = Gateway::spawn_with(config.clone(), &manager.vars());
        manager.hears("READY=1").await;
        for line in ["health", "gateway status --require-rpc", "gateway probe", "status"] {
            let output = gateway.command(line).output().await.unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{config}: {line}: {text}{said}");
            assert!(!text.contains("unreachable"), "{config}: {line}: {text}");
        }
    }
}

/// The watchdog's proof signs in from the same address as they do.
#[tokio::test]
async fn clients_of_this_host_cannot_starve_the_watchdog_nor_does_it_forgive_their_guesses() {
    let manager = Manager::new();
    let config = json!({"gateway": {
        "http": {"endpoints": {"chatCompletions": {"enabled": true}}},
        "auth": {"rateLimit": {"maxAttempts": 3, "windowMs": 3_600_000,
            "lockoutMs": 3_600_000, "exemptLoopback": false}}}});
    let gateway = Gateway::start_with(config, &manager.vars()).await;
    let url = format!("http://127.0.0.1:{}/v1/models", gateway.port);
    let client = Http::default().client("http://127.0.0.1/").unwrap();
    let ask = async |secret: &str| {
        client.get(&url).bearer_auth(secret).send().await.unwrap().status().as_u16()
    };
    for _ in 0..3 {
        manager.hears("WATCHDOG=1").await;
        assert_eq!(ask("wrong").await, 401);
    }
    assert_eq!(ask(TOKEN).await, 429);
    let mut silent = Vec::new();
    for _ in 0..40 {
        let mut socket = TcpStream::connect(("127.0.0.1", gateway.port)).await.unwrap();
        socket.write_all(UPGRADE).await.unwrap();
        let mut status = [0; 12];
        socket.read_exact(&mut status).await.unwrap();
        silent.push((socket, status));
    }
    assert_eq!(&silent.last().unwrap().1, b"HTTP/1.1 503");
    for _ in 0..5 {
        manager.hears("WATCHDOG=1").await;
    }
    assert_eq!(ask(TOKEN).await, 429);
    assert!(!gateway.log().contains("probe failed"), "{}", gateway.log());
}
