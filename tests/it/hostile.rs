//! Peers that do not play by the rules, beside one that does: each gets its
//! close, the others notice nothing, and memory stays bounded.

use std::io::Write as _;
use std::time::{Duration, Instant};

use ed25519_dalek::SigningKey;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::support::operator::{Arrived, Socket};
use crate::support::program::Gateway;

const HALF_OPEN: usize = 10_000;

/// What the gateway may keep of one connection that has said nothing, in KiB.
const PER_HALF_OPEN_KIB: u64 = 32;

const PINGS: usize = 50_000;

/// What else may grow while a test runs, in KiB.
const SLACK_KIB: u64 = 16 * 1024;

fn show(text: &str) {
    // Past the test runner, which swallows what passing tests print.
    std::io::stdout().write_all(text.as_bytes()).unwrap();
}

/// A frame as a client sends it: masked, with a mask of zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..126 => bytes.push(0x80 | u8::try_from(length).unwrap()),
        length => {
            bytes.push(0x80 | 0x7e);
            bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

fn request(id: &str) -> String {
    json!({"type": "req", "id": id, "method": "last-heartbeat"}).to_string()
}

/// Waits for the answer to `id`.
async fn answered(socket: &mut Socket, id: &str) {
    loop {
        match socket.next().await {
            Arrived::Frame(frame) if frame["id"] == id => return,
            Arrived::Frame(_) => {}
            other => panic!("no answer to {id}: {other:?}"),
        }
    }
}

/// Waits for the close and returns its code.
async fn closed(socket: &mut Socket) -> Option<u16> {
    loop {
        match socket.next().await {
            Arrived::Frame(_) => {}
            Arrived::Closed(code) => return code,
            Arrived::Nothing => panic!("the socket stays open"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_half_open_connections_leave_room_for_others() {
    let mut gateway = Gateway::start(json!({})).await;
    let key = SigningKey::from_bytes(&[9; 32]);
    let mut regular = Socket::connect(gateway.port, &key).await;
    let before = gateway.resident_kib();
    let began = Instant::now();
    let mut open = Vec::with_capacity(HALF_OPEN);
    for number in 0..HALF_OPEN {
        let mut stream = TcpStream::connect(("127.0.0.1", gateway.port)).await.unwrap();
        if number % 2 == 0 {
            // As far as a slow writer got.
            let part = b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nupgrade: websocket\r\n";
            // The peer may have given up on this one already.
            drop(stream.write_all(part).await);
        }
        open.push(stream);
        if number % 1000 == 999 {
            let id = format!("among-{number}");
            assert!(regular.send(Message::text(request(&id))).await);
            answered(&mut regular, &id).await;
        }
    }
    let among = gateway.resident_kib();
    let took = began.elapsed();
    let mut newcomer = Socket::connect(gateway.port, &key).await;
    assert!(newcomer.send(Message::text(request("new"))).await);
    answered(&mut newcomer, "new").await;
    let health = gateway.get("/healthz").await.expect("the port answers");
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");
    let per = among.saturating_sub(before) * 1024 / u64::try_from(HALF_OPEN).unwrap();
    show(&format!(
        "{HALF_OPEN} half-open connections in {:.1} s: {before} KiB before, {among} KiB with them, \
         {per} bytes each\n",
        took.as_secs_f64()
    ));
    let limit = before + SLACK_KIB + PER_HALF_OPEN_KIB * u64::try_from(HALF_OPEN).unwrap();
    assert!(among < limit, "grew from {before} to {among} KiB");
    drop(open);
    let status = gateway.stop().await;
    assert!(status.success(), "ended with {status}:\n{}", gateway.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_pings_costs_the_others_nothing() {
    let mut gateway = Gateway::start(json!({})).await;
    let key = SigningKey::from_bytes(&[9; 32]);
    let mut regular = Socket::connect(gateway.port, &key).await;
    let mut flooder = Socket::connect(gateway.port, &key).await;
    let before = gateway.resident_kib();
    let ping = frame(0x89, &[b'p'; 125]);
    let batch = ping.repeat(500);
    // It never reads its pongs, so at some point its sends may block: that is
    // the gateway holding it back.
    let flood = async {
        for _ in 0..PINGS / 500 {
            let sent = tokio::time::timeout(Duration::from_secs(2), flooder.raw(&batch)).await;
            if sent.is_err() {
                return false;
            }
        }
        true
    };
    let (finished, ()) = tokio::join!(flood, async {
        for number in 0..50 {
            let id = format!("calm-{number}");
            assert!(regular.send(Message::text(request(&id))).await);
            answered(&mut regular, &id).await;
        }
    });
    let after = gateway.resident_kib();
    show(&format!(
        "{PINGS} pings (all taken: {finished}): {before} KiB before, {after} KiB after\n"
    ));
    assert!(after < before + SLACK_KIB, "grew from {before} to {after} KiB");
    drop(flooder);
    assert!(gateway.stop().await.success());
}

#[tokio::test]
async fn broken_frames_are_closed_with_the_code_that_fits() {
    let mut gateway = Gateway::start(json!({})).await;
    let key = SigningKey::from_bytes(&[9; 32]);
    let mut regular = Socket::connect(gateway.port, &key).await;
    let mut huge = vec![0x81, 0xff];
    huge.extend((1u64 << 40).to_be_bytes());
    huge.extend([0; 4]);
    let mut unmasked = vec![0x81, 2];
    unmasked.extend(b"{}");
    let cases: [(&str, Vec<u8>, u16); 8] = [
        ("a text that is no UTF-8", frame(0x81, &[0xff, 0xfe, 0xfd]), 1007),
        ("a frame marked as compressed", frame(0xc1, b"{}"), 1002),
        ("a reserved bit", frame(0xa1, b"{}"), 1002),
        ("an unknown kind of frame", frame(0x83, b"{}"), 1002),
        ("a continuation of nothing", frame(0x80, b"{}"), 1002),
        ("a ping in two parts", frame(0x09, b"p"), 1002),
        ("a frame without a mask", unmasked, 1002),
        ("a frame of a terabyte", huge, 1009),
    ];
    let before = gateway.resident_kib();
    for (what, bytes, code) in cases {
        let mut socket = Socket::connect(gateway.port, &key).await;
        socket.raw(&bytes).await;
        assert_eq!(closed(&mut socket).await, Some(code), "{what}");
        // The same before `connect`.
        let mut stranger = Socket::open(gateway.port).await;
        stranger.raw(&bytes).await;
        assert_eq!(closed(&mut stranger).await, Some(code), "{what}, before connect");
    }
    assert!(gateway.resident_kib() < before + SLACK_KIB);
    assert!(regular.send(Message::text(request("still"))).await);
    answered(&mut regular, "still").await;
    assert!(gateway.stop().await.success());
}

#[tokio::test]
async fn a_request_may_come_in_pieces_with_pings_in_between() {
    let mut gateway = Gateway::start(json!({})).await;
    let key = SigningKey::from_bytes(&[9; 32]);
    let mut socket = Socket::connect(gateway.port, &key).await;
    let text = request("pieces");
    let (head, rest) = text.as_bytes().split_at(7);
    let (middle, tail) = rest.split_at(11);
    socket.raw(&frame(0x01, head)).await;
    socket.raw(&frame(0x89, b"are you there")).await;
    socket.raw(&frame(0x00, middle)).await;
    socket.raw(&frame(0x80, tail)).await;
    answered(&mut socket, "pieces").await;
    // Byte by byte, as the slowest of networks would bring it.
    for byte in frame(0x81, request("bytes").as_bytes()) {
        socket.raw(&[byte]).await;
    }
    answered(&mut socket, "bytes").await;
    assert!(gateway.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_asks_and_never_reads_is_held_back() {
    let mut gateway = Gateway::start(json!({})).await;
    let key = SigningKey::from_bytes(&[9; 32]);
    let mut regular = Socket::connect(gateway.port, &key).await;
    let mut deaf = Socket::connect(gateway.port, &key).await;
    let before = gateway.resident_kib();
    let ask = json!({"type": "req", "id": "schema", "method": "config.schema"}).to_string();
    let batch = frame(0x81, ask.as_bytes()).repeat(100);
    // Each answer is large; the gateway stops reading the questions.
    let mut asked = 0;
    while asked < 5000
        && tokio::time::timeout(Duration::from_secs(3), deaf.raw(&batch)).await.is_ok()
    {
        asked += 100;
    }
    assert!(regular.send(Message::text(request("calm"))).await);
    answered(&mut regular, "calm").await;
    let after = gateway.resident_kib();
    show(&format!("{asked} large questions, no answer read: {before} KiB, then {after} KiB\n"));
    // The bound of the outbox and what was being worked on.
    assert!(after < before + 96 * 1024, "grew from {before} to {after} KiB");
    drop(deaf);
    let health: Value = json!({"type": "req", "id": "health", "method": "health"});
    assert!(regular.send(Message::text(health.to_string())).await);
    answered(&mut regular, "health").await;
    // What has been asked and not begun is dropped, so the end comes in time.
    assert!(gateway.stop().await.success());
}
