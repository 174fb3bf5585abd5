//! Streamed chat completions, as a client of the HTTP API sees them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::gateway::TOKEN;

/// Times of one chat, from the first byte sent.
pub(crate) struct Chat {
    /// Until the first text of the model.
    pub(crate) first: Duration,
    pub(crate) total: Duration,
}

/// The provider asked directly, the way a gateway asks it.
pub(crate) async fn from_provider(provider: SocketAddr) -> Chat {
    let mut stream = TcpStream::connect(provider).await.unwrap();
    ask(&mut stream, "bench-1").await
}

/// The same over the gateway's API.
pub(crate) async fn through_gateway(port: u16) -> Chat {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    ask(&mut stream, "openclaw").await
}

/// Chats per second with `width` of them at a time, for at least `time`.
pub(crate) async fn at_concurrency(port: u16, width: usize, time: Duration) -> f64 {
    let done = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..width {
        let done = Arc::clone(&done);
        workers.spawn(async move {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            stream.set_nodelay(true).unwrap();
            while began.elapsed() < time {
                ask(&mut stream, "openclaw").await;
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    while let Some(ended) = workers.join_next().await {
        ended.unwrap();
    }
    done.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64()
}

/// One streamed chat on an open connection.
async fn ask(stream: &mut TcpStream, model: &str) -> Chat {
    stream.set_nodelay(true).unwrap();
    let body = format!(
        "{{\"model\":\"{model}\",\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\"hello\"}}]}}"
    );
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {TOKEN}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let began = Instant::now();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    let mut first = None;
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = stream.read(&mut buffer).await.unwrap();
        let shown = || String::from_utf8_lossy(&seen).into_owned();
        assert!(count > 0, "the stream was cut: {}", shown());
        let from = seen.len().saturating_sub(8);
        seen.extend_from_slice(&buffer[..count]);
        assert!(seen.len() < 12 || seen[9..12] == *b"200", "{}", String::from_utf8_lossy(&seen));
        if first.is_none() && holds(&seen[from..], b"tok") {
            first = Some(began.elapsed());
        }
        if seen.ends_with(b"0\r\n\r\n") {
            break;
        }
    }
    let total = began.elapsed();
    let first = first.unwrap_or_else(|| panic!("no text: {}", String::from_utf8_lossy(&seen)));
    Chat { first, total }
}

fn holds(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}
