//! Many streams at once, and readers that do not read.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{Bed, user};
use crate::support::program::TOKEN;

const PATH: &str = "/v1/chat/completions";
const STREAMS: usize = 1000;
/// How many of them begin at once.
const OPENING: usize = 32;
/// What one open stream may cost: connection on both sides, run, session.
const KIB_PER_STREAM: u64 = 256;
const PATIENCE: Duration = Duration::from_secs(300);

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_streams_hold_side_by_side() {
    let bed = Bed::start(json!({"agents": {"defaults": {"maxConcurrent": STREAMS}}})).await;
    // The first request loads what all share.
    assert_eq!(bed.post(PATH, &user("SAY ready")).await.status, 200);
    let before = bed.gateway.resident_kib();
    let mut body = user("HOLD SAY and now all");
    body["stream"] = json!(true);
    let mut readers = JoinSet::new();
    let opening = Arc::new(Semaphore::new(OPENING));
    for _ in 0..STREAMS {
        let request = bed.client.post(bed.url(PATH)).bearer_auth(TOKEN).body(body.to_string());
        let opening = Arc::clone(&opening);
        readers.spawn(async move {
            let turn = opening.acquire().await.unwrap();
            let answer = request.send().await.unwrap();
            drop(turn);
            answer.text().await.unwrap()
        });
    }
    until("all streams open", || bed.models.open_streams() == STREAMS).await;
    let held = bed.gateway.resident_kib();
    let others = bed.get("/v1/models").await;
    assert_eq!(others.status, 200, "nobody else is kept out");
    bed.models.release();
    while let Some(text) = readers.join_next().await {
        let text = text.unwrap();
        let words = words_of(&text);
        assert_eq!(words.trim_end(), "held and now all", "{text}");
        assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    }
    let cost = held.saturating_sub(before) / u64::try_from(STREAMS).unwrap();
    assert!(cost < KIB_PER_STREAM, "{cost} KiB per stream");
    assert_eq!(bed.models.cut_by_client(), 0);
}

#[tokio::test]
async fn a_reader_that_does_not_read_costs_no_more_than_his_answer() {
    const CHUNKS: usize = 5_000;
    let bed = Bed::start(json!({})).await;
    assert_eq!(bed.post(PATH, &user("SAY ready")).await.status, 200);
    let before = bed.gateway.resident_kib();
    let mut body = user(&format!("CHUNKS {CHUNKS}"));
    body["stream"] = json!(true);
    let body = body.to_string();
    // Little room on the way, so that the gateway is left with the rest.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], bed.gateway.port));
    let mut stream = socket.connect(address).await.unwrap();
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
    // The model is done before the first byte is read.
    until("the model has said all", || bed.models.finished() == 2).await;
    let grown = bed.gateway.resident_kib().saturating_sub(before);
    assert!(grown < 32 * 1024, "grew by {grown} KiB for one slow reader");
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.contains("data: [DONE]"), "{} bytes: {answer:.2000}", answer.len());
    let words = words_of(&answer);
    let expected: Vec<String> = (0..CHUNKS).map(|n| format!("w{n}")).collect();
    assert_eq!(words.split_whitespace().collect::<Vec<_>>(), expected);
}

/// What the chunks of a stream say, one after the other.
fn words_of(text: &str) -> String {
    text.lines()
        .filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok())
        .filter_map(|chunk: Value| {
            chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned)
        })
        .collect()
}
