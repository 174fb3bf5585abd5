//! The model provider of the measurements: an OpenAI-compatible stream of
//! fifty chunks, each written on its own, as fast as the reader takes them; and
//! one vector for whatever is embedded.

use std::fmt::Write as _;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How many pieces of text an answer has.
pub(crate) const CHUNKS: usize = 50;

/// Serves on a free port until the program ends.
pub(crate) async fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(answer_all(stream));
        }
    });
    address
}

/// The frames of one answer, each a chunk of the HTTP body.
fn frames() -> Vec<Vec<u8>> {
    let event = |choices: String, usage: &str| {
        let data = format!(
            "data: {{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"bench-1\",\"choices\":[{choices}]{usage}}}\n\n"
        );
        framed(&data)
    };
    let delta = |delta: &str, reason: &str| {
        format!("{{\"index\":0,\"delta\":{{{delta}}},\"finish_reason\":{reason}}}")
    };
    let mut frames = vec![event(delta("\"role\":\"assistant\",\"content\":\"\"", "null"), "")];
    for number in 0..CHUNKS {
        frames.push(event(delta(&format!("\"content\":\"tok{number:02} \""), "null"), ""));
    }
    frames.push(event(delta("", "\"stop\""), ""));
    let usage = ",\"usage\":{\"prompt_tokens\":100,\"completion_tokens\":50,\"total_tokens\":150}";
    frames.push(event(String::new(), usage));
    frames.push(framed("data: [DONE]\n\n"));
    frames.push(b"0\r\n\r\n".to_vec());
    frames
}

fn framed(data: &str) -> Vec<u8> {
    let mut chunk = String::new();
    write!(chunk, "{:x}\r\n{data}\r\n", data.len()).unwrap();
    chunk.into_bytes()
}

async fn answer_all(mut stream: TcpStream) {
    stream.set_nodelay(true).unwrap();
    let frames = frames();
    let mut held = Vec::new();
    let vector = vector();
    while let Some(asked) = read_request(&mut stream, &mut held).await {
        if asked == Asked::Vector {
            if stream.write_all(&vector).await.is_err() {
                return;
            }
            continue;
        }
        let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        if stream.write_all(head).await.is_err() {
            return;
        }
        for frame in &frames {
            if stream.write_all(frame).await.is_err() {
                return;
            }
        }
    }
}

/// What a request is for.
#[derive(PartialEq, Eq)]
enum Asked {
    Chat,
    Vector,
}

/// The whole answer to a request for one vector of usual length.
fn vector() -> Vec<u8> {
    let numbers: Vec<String> = (0..1536).map(|n| format!("0.{n:05}")).collect();
    let body = format!(
        "{{\"object\":\"list\",\"data\":[{{\"object\":\"embedding\",\"index\":0,\"embedding\":[{}]}}],\"model\":\"bench\",\"usage\":{{\"prompt_tokens\":1,\"total_tokens\":1}}}}",
        numbers.join(",")
    );
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body.into_bytes()].concat()
}

/// Reads one request to its end; nothing when the peer is gone.
async fn read_request(stream: &mut TcpStream, held: &mut Vec<u8>) -> Option<Asked> {
    loop {
        if let Some(head) = held.windows(4).position(|window| window == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&held[..head]).to_ascii_lowercase();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length = length.and_then(|rest| rest.trim().parse().ok()).unwrap_or(0_usize);
            if held.len() >= head + 4 + length {
                held.drain(..head + 4 + length);
                let vector = text.lines().next().is_some_and(|line| line.contains("/embeddings"));
                return Some(if vector { Asked::Vector } else { Asked::Chat });
            }
        }
        let mut buffer = vec![0; 16 * 1024];
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(count) => held.extend_from_slice(&buffer[..count]),
        }
    }
}
