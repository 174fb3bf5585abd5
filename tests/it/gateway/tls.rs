//! TLS on the port: a certificate made at the first start, pinned by clients.

use futures_util::StreamExt;
use openclaw::client::tls;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::gateway::TestGateway;

#[tokio::test]
async fn a_pinned_certificate_is_accepted_and_another_is_not() {
    let config = json!({"gateway": {"tls": {"enabled": true}}});
    let gateway = TestGateway::start_with(config).await;
    let fingerprint = gateway.state.tls.as_ref().unwrap().fingerprint.clone();
    assert!(gateway.state_dir().join("gateway/tls/gateway-cert.pem").exists());

    let dial = || TcpStream::connect(("127.0.0.1", gateway.port));
    let stream = tls::wrap(dial().await.unwrap(), "127.0.0.1", Some(&fingerprint)).await.unwrap();
    let url = format!("ws://127.0.0.1:{}/", gateway.port);
    let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    let challenge = socket.next().await.unwrap().unwrap();
    assert!(challenge.to_text().unwrap().contains("connect.challenge"));

    let stranger = tls::wrap(dial().await.unwrap(), "127.0.0.1", None).await.unwrap_err();
    assert!(stranger.to_string().contains("gateway.remote.tlsFingerprint"), "{stranger}");

    let mut plain = dial().await.unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    plain.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
    assert!(body.contains("use https:// or wss://"), "{body}");

    let other = "00".repeat(32);
    assert!(tls::wrap(dial().await.unwrap(), "127.0.0.1", Some(&other)).await.is_err());
}
