//! A supervised gateway that cannot serve keeps its port and tells every
//! client why, until the cause is gone. Exiting instead would have the manager
//! start it again for each client that knocks (`docs/adr/003-blocked.md`).

use std::net::TcpListener as StdListener;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::base::clock::now_ms;
use crate::base::id;
use crate::gateway::ws::upgrade;
use crate::lifecycle::{self, CancellationToken, Lifecycle};
use crate::supervise::activation::Unfinished;
use crate::supervise::tcp;

/// Clients that are told at the same time; further ones wait in the backlog.
const MAX_CLIENTS: usize = 256;
/// How long a client may take to say what it wants.
const HEAD_LIMIT: Duration = Duration::from_secs(3);
/// Most bytes of a request head that are looked at.
const MAX_HEAD: usize = 16 * 1024;
/// How long a WebSocket client may take to send its `connect`.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// When clients may try again, in seconds.
const RETRY_AFTER_SECS: u64 = 5;
/// How often the watched files are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Even without a change the start is tried again after this long, because not
/// every cause is a file.
const RETRY_EVERY: Duration = Duration::from_secs(60);

/// Tells clients the reason until the lifecycle stops.
pub fn tell(
    listeners: Vec<TcpListener>,
    unfinished: Vec<Unfinished>,
    reason: &str,
    lifecycle: &Lifecycle,
) {
    let reason: Arc<str> = Arc::from(reason);
    // Who was answered by the process before has got its challenge already.
    for one in unfinished.into_iter().filter(|one| tcp::sent(one.stream.as_fd()) == Some(0)) {
        let adopted =
            one.stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(one.stream));
        let Ok(stream) = adopted else { continue };
        let reason = Arc::clone(&reason);
        lifecycle.spawn("blocked client", |stop| tell_one(stream, reason, stop));
    }
    let places = Arc::new(Semaphore::new(MAX_CLIENTS));
    for listener in listeners {
        let (reason, places) = (Arc::clone(&reason), Arc::clone(&places));
        let children = lifecycle.clone();
        lifecycle
            .spawn("blocked listener", |stop| accept(listener, reason, places, children, stop));
    }
}

async fn accept(
    listener: TcpListener,
    reason: Arc<str>,
    places: Arc<Semaphore>,
    lifecycle: Lifecycle,
    stop: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(LOOK_EVERY).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let reason = Arc::clone(&reason);
        lifecycle.spawn("blocked client", |stop| async move {
            tell_one(stream, reason, stop).await;
            drop(place);
        });
    }
}

async fn tell_one(stream: TcpStream, reason: Arc<str>, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = answer(stream, &reason) => {}
    }
}

/// Accepts what is queued on inherited sockets, says why and hangs up. Without
/// this the manager would start the program again for the same client.
pub async fn refuse_pending(listeners: &[StdListener], reason: &str) {
    for listener in listeners {
        while let Ok((stream, _)) = listener.accept() {
            if stream.set_nonblocking(true).is_ok()
                && let Ok(stream) = TcpStream::from_std(stream)
                && timeout(HEAD_LIMIT, answer(stream, reason)).await.is_err()
            {
                tracing::debug!("a waiting client took too long to be told");
            }
        }
    }
}

async fn answer(mut stream: TcpStream, reason: &str) {
    let Ok(Some(head)) = timeout(HEAD_LIMIT, peek_head(&stream)).await else {
        // Nothing readable: close without a word, as any server would.
        return;
    };
    if upgrade::is_asked_for(&head) {
        answer_websocket(stream, reason).await;
    } else if let Err(err) = answer_http(&mut stream, reason).await {
        tracing::debug!(%err, "a client left before it was told");
    }
}

/// The request head, left in the socket. `None` when it is too long or the
/// client hangs up.
async fn peek_head(stream: &TcpStream) -> Option<Vec<u8>> {
    let mut buffer = vec![0; MAX_HEAD];
    let mut known = 0;
    loop {
        let length = stream.peek(&mut buffer).await.ok().filter(|length| *length > 0)?;
        if buffer[..length].windows(4).any(|window| window == b"\r\n\r\n") {
            buffer.truncate(length);
            return Some(buffer);
        }
        if length == MAX_HEAD {
            return None;
        }
        if length == known {
            // Peeking returns at once while bytes are there; wait for more.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        known = length;
    }
}

async fn answer_http(stream: &mut TcpStream, reason: &str) -> std::io::Result<()> {
    let body = json!({
        "ok": false,
        "status": "blocked",
        "error": {"message": reason, "type": "unavailable", "code": "UNAVAILABLE"},
    })
    .to_string();
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json; charset=utf-8\r\n\
         content-length: {}\r\nretry-after: {RETRY_AFTER_SECS}\r\ncache-control: no-store\r\n\
         connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await?;
    // Unread request bytes would turn the close into a reset that can overtake
    // the answer.
    let mut sink = [0; 4096];
    let drain = async { while stream.read(&mut sink).await.is_ok_and(|length| length > 0) {} };
    drop(timeout(Duration::from_millis(500), drain).await);
    Ok(())
}

async fn answer_websocket(stream: TcpStream, reason: &str) {
    let Ok(Ok(mut socket)) = timeout(HEAD_LIMIT, tokio_tungstenite::accept_async(stream)).await
    else {
        return;
    };
    let challenge = json!({
        "type": "event",
        "event": "connect.challenge",
        "payload": {"nonce": id::uuid(), "ts": now_ms()},
    });
    if socket.send(Message::text(challenge.to_string())).await.is_err() {
        return;
    }
    let first = timeout(CONNECT_LIMIT, socket.next()).await;
    if let Ok(Some(Ok(Message::Text(text)))) = first
        && let Some(refusal) = refusal(&text, reason)
        && socket.send(Message::text(refusal)).await.is_err()
    {
        return;
    }
    let close = CloseFrame { code: CloseCode::Again, reason: close_reason(reason).into() };
    drop(socket.close(Some(close)).await);
    // The peer's close ends the connection in order.
    let rest = async { while let Some(Ok(_)) = socket.next().await {} };
    drop(timeout(HEAD_LIMIT, rest).await);
}

/// The answer to a client's first request.
fn refusal(text: &str, reason: &str) -> Option<String> {
    let request: Value = serde_json::from_str(text).ok()?;
    let id = request.get("id")?.as_str()?;
    let answer = json!({
        "type": "res",
        "id": id,
        "ok": false,
        "error": {
            "code": "UNAVAILABLE",
            "message": reason,
            "retryable": true,
            "retryAfterMs": RETRY_AFTER_SECS * 1000,
        },
    });
    Some(answer.to_string())
}

/// A close frame holds at most 123 bytes of reason.
fn close_reason(reason: &str) -> String {
    const MOST: usize = 123;
    let line = reason.lines().next().unwrap_or_default();
    let mut end = line.len().min(MOST);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line[..end].to_owned()
}

/// Waits until one of `files` changes, or long enough that another try is due.
pub async fn change(files: &[PathBuf]) {
    let before = look(files.to_vec()).await;
    let started = tokio::time::Instant::now();
    while started.elapsed() < RETRY_EVERY {
        tokio::time::sleep(LOOK_EVERY).await;
        if look(files.to_vec()).await != before {
            return;
        }
    }
}

type Seen = Vec<Option<(SystemTime, u64, u64)>>;

async fn look(files: Vec<PathBuf>) -> Seen {
    use std::os::unix::fs::MetadataExt as _;
    let look = move || -> Seen {
        let seen = files.iter().map(|path| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
        });
        seen.collect()
    };
    lifecycle::spawn_blocking(look).await.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn blocked(reason: &str) -> (std::net::SocketAddr, Lifecycle) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let lifecycle = Lifecycle::default();
        tell(vec![listener], Vec::new(), reason, &lifecycle);
        (address, lifecycle)
    }

    #[tokio::test]
    async fn http_clients_get_503_with_the_reason() {
        let (address, lifecycle) = blocked("set gateway.mode=local").await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert!(text.starts_with("HTTP/1.1 503 "), "{text}");
        assert!(text.contains("retry-after: 5"), "{text}");
        assert!(text.contains("set gateway.mode=local"), "{text}");
        assert!(lifecycle.shut_down(Duration::from_secs(5)).await);
    }

    #[tokio::test]
    async fn websocket_clients_get_an_error_and_a_close_with_the_reason() {
        let (address, lifecycle) = blocked("set gateway.mode=local").await;
        let stream = TcpStream::connect(address).await.unwrap();
        let url = format!("ws://{address}/");
        let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
        let hello = socket.next().await.unwrap().unwrap();
        assert!(hello.to_text().unwrap().contains("connect.challenge"));
        socket.send(Message::text(r#"{"type":"req","id":"7","method":"connect"}"#)).await.unwrap();
        let answer: Value =
            serde_json::from_str(socket.next().await.unwrap().unwrap().to_text().unwrap()).unwrap();
        assert_eq!(answer["id"], "7");
        assert_eq!(answer["error"]["message"], "set gateway.mode=local");
        let Some(Ok(Message::Close(Some(close)))) = socket.next().await else { panic!("no close") };
        assert_eq!(u16::from(close.code), 1013);
        assert_eq!(close.reason.as_str(), "set gateway.mode=local");
        drop(socket);
        assert!(lifecycle.shut_down(Duration::from_secs(5)).await);
    }

    #[tokio::test]
    async fn a_client_that_says_nothing_does_not_hold_the_shutdown() {
        let (address, lifecycle) = blocked("x").await;
        let _silent = TcpStream::connect(address).await.unwrap();
        assert!(lifecycle.shut_down(Duration::from_secs(5)).await);
    }

    #[tokio::test]
    async fn waiting_clients_are_told_before_the_exit() {
        let listener = StdListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        refuse_pending(&[listener], "locked").await;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert!(text.contains("locked"), "{text}");
    }

    #[tokio::test]
    async fn a_changed_file_ends_the_wait() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("openclaw.json");
        let files = [path.clone()];
        let waiting = change(&files);
        let writing = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            std::fs::write(&path, "{}").unwrap();
        };
        let both = async { tokio::join!(waiting, writing) };
        timeout(Duration::from_secs(5), both).await.unwrap();
    }

    #[test]
    fn a_close_reason_fits_its_frame() {
        let long = "ä".repeat(200);
        assert!(close_reason(&long).len() <= 123);
        assert_eq!(close_reason("one\ntwo"), "one");
    }
}
