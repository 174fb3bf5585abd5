//! Clients that take their time to ask.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Bed;
use crate::support::program::TOKEN;

/// Far more than the gateway grants a client.
const PATIENCE: Duration = Duration::from_secs(180);

/// Sends `begin` and then one byte after the other until the gateway has had
/// enough; returns its answer.
async fn drip(port: u16, begin: String) -> String {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let sending = async {
        if writing.write_all(begin.as_bytes()).await.is_err() {
            return;
        }
        while writing.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let mut answer = Vec::new();
    let receiving = async {
        let mut piece = [0; 4096];
        // A reset after the answer is an end like another.
        while let Ok(length @ 1..) = reading.read(&mut piece).await {
            answer.extend_from_slice(&piece[..length]);
        }
    };
    let both = async {
        tokio::select! {
            () = receiving => {}
            () = async { sending.await; std::future::pending::<()>().await } => {}
        }
    };
    tokio::time::timeout(PATIENCE, both).await.expect("the gateway gives up on a slow client");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_head_and_a_body_that_drip_are_given_up_and_others_are_served() {
    let bed = Bed::start(json!({})).await;
    let port = bed.gateway.port;
    let head = drip(port, "GET /healthz HTTP/1.1\r\nhost: x\r\nx-slow: ".to_owned());
    let body = drip(
        port,
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\
             content-length: 100000\r\n\r\n{{\"model\":\""
        ),
    );
    let others = async { bed.get("/v1/models").await.status };
    let (head, body, others) = tokio::join!(head, body, others);
    assert_eq!(others, 200);
    for (answer, message) in
        [(head, "the head of the request took too long"), (body, "Request body timeout")]
    {
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer:?}");
        assert!(answer.contains("connection: close"), "{answer}");
        assert!(answer.contains(message), "{answer}");
    }
    assert_eq!(bed.get("/healthz").await.status, 200);
}
