//! Malformed frames and requests by the thousand: recorded ones, damaged at
//! random from a fixed seed. Each gets a typed error, an answer or a close;
//! afterwards the gateway serves, in bounded memory, and stops as usual.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, Instant};

use ed25519_dalek::SigningKey;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::support::operator::{Arrived, Socket};
use crate::support::program::{Gateway, TOKEN};

const FRAMES: &str = include_str!("../fixtures/wire/frames.jsonl");
const REQUESTS: &str = include_str!("../fixtures/wire/requests.jsonl");

const SIGNED_IN: usize = 5000;
const SIGNING_IN: usize = 1000;
const HTTP: usize = 10_000;

/// How many sockets send at once; the gateway admits 32 that have not signed in.
const AT_ONCE: u64 = 8;

/// Frames sent over one socket before it is given up.
const PER_SOCKET: usize = 50;

/// What the gateway may keep of all this, in KiB.
const MAY_GROW_KIB: u64 = 64 * 1024;

/// Methods whose answer waits for somebody else.
const WAITING: &[&str] = &[
    "agent",
    "agent.wait",
    "exec.approval.request",
    "exec.approval.waitDecision",
    "plugin.approval.request",
    "plugin.approval.waitDecision",
    "node.invoke",
    "web.login.start",
    "web.login.wait",
];

/// Xorshift: the same damage in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(below.max(1)).unwrap()).unwrap()
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.roll(of.len())]
    }
}

/// Damages a value somewhere: another kind, a key too many, a key too few.
fn damage_value(value: &mut Value, dice: &mut Dice) {
    let deeper = dice.roll(3) > 0;
    match value {
        Value::Object(map) if deeper && !map.is_empty() => {
            let at = dice.roll(map.len());
            damage_value(map.values_mut().nth(at).unwrap(), dice);
        }
        Value::Array(items) if deeper && !items.is_empty() => {
            let at = dice.roll(items.len());
            damage_value(&mut items[at], dice);
        }
        Value::Object(map) => match dice.roll(4) {
            0 => drop(map.insert("bogus".into(), json!(1))),
            1 => drop(map.insert("__proto__".into(), json!({"admin": true}))),
            _ if !map.is_empty() => {
                let key = map.keys().nth(dice.roll(map.len())).unwrap().clone();
                map.shift_remove(&key);
            }
            _ => *value = Value::Null,
        },
        other => *other = odd_value(dice),
    }
}

fn odd_value(dice: &mut Dice) -> Value {
    match dice.roll(14) {
        0 => Value::Null,
        1 => json!(-1),
        2 => json!(1.5),
        3 => json!(9_007_199_254_740_993_u64),
        4 => json!(-1e308),
        5 => json!(""),
        6 => json!("\u{0}\u{1b}[31m"),
        7 => json!("x".repeat(70_000)),
        8 => json!([]),
        9 => json!({}),
        10 => json!(true),
        11 => (0..100).fold(json!(0), |inner, _| json!([inner])),
        12 => json!("../../../etc/passwd"),
        _ => Value::Object(Map::from_iter([("a".repeat(5000), json!("b"))])),
    }
}

/// Damages bytes without regard to what they mean.
fn damage_bytes(bytes: &mut Vec<u8>, dice: &mut Dice) {
    let at = dice.roll(bytes.len());
    match dice.roll(8) {
        0 => bytes[at] = u8::try_from(dice.roll(256)).unwrap(),
        1 => bytes.truncate(at),
        2 => drop(bytes.drain(at..(at + 1 + dice.roll(20)).min(bytes.len()))),
        3 => {
            let slice = bytes[at..(at + 40).min(bytes.len())].to_vec();
            bytes.splice(at..at, slice);
        }
        4 => drop(bytes.splice(at..at, *b"\\ud800")),
        5 => drop(bytes.splice(at..at, [0xff, 0xfe, 0x00])),
        6 => drop(bytes.splice(at..at, vec![b'['; 20_000])),
        _ => drop(bytes.splice(at..at, *b"\r\n\r\n1e999")),
    }
}

fn recorded_frames() -> Vec<Value> {
    FRAMES.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A damaged frame as it goes on the wire.
fn damaged_frame(frames: &[Value], dice: &mut Dice) -> Vec<u8> {
    let mut frame = dice.pick(frames).clone();
    if dice.roll(2) == 0 {
        damage_value(&mut frame, dice);
        if dice.roll(4) == 0 {
            damage_value(&mut frame, dice);
        }
        return frame.to_string().into_bytes();
    }
    let mut bytes = frame.to_string().into_bytes();
    damage_bytes(&mut bytes, dice);
    bytes
}

/// Text where the bytes are text, else binary, which the protocol reads as text.
fn as_message(bytes: Vec<u8>) -> Message {
    String::from_utf8(bytes).map_or_else(|err| Message::binary(err.into_bytes()), Message::text)
}

/// Counts what happened, by kind.
#[derive(Default)]
struct Outcomes(BTreeMap<String, usize>);

impl Outcomes {
    fn add(&mut self, kind: impl Into<String>) {
        *self.0.entry(kind.into()).or_default() += 1;
    }

    fn merge(&mut self, other: Self) {
        for (kind, count) in other.0 {
            *self.0.entry(kind).or_default() += count;
        }
    }

    fn of(&self, start: &str) -> usize {
        self.0.iter().filter(|(kind, _)| kind.starts_with(start)).map(|(_, count)| count).sum()
    }

    /// Prints past the test runner, which swallows what passing tests print.
    fn print(&self, title: &str) {
        let mut text = format!("{title}:\n");
        for (kind, count) in &self.0 {
            writeln!(text, "  {count:6} {kind}").unwrap();
        }
        show(&text);
    }
}

fn show(text: &str) {
    std::io::stdout().write_all(text.as_bytes()).unwrap();
}

/// Whether the gateway has to answer these bytes at once.
///
/// Bytes that are not JSON are passed over by the protocol, and some methods
/// answer when somebody else acts.
fn wants_answer(bytes: &[u8]) -> bool {
    let Ok(frame) = serde_json::from_slice::<Value>(bytes) else { return false };
    !frame["method"].as_str().is_some_and(|method| WAITING.contains(&method))
}

/// Sends damaged frames over signed-in sockets. After each comes a sound
/// request: either it is answered, or the socket was closed.
async fn over_signed_in_sockets(port: u16, seed: u64, count: usize) -> Outcomes {
    let (frames, mut dice, mut outcomes) = (recorded_frames(), Dice(seed), Outcomes::default());
    let key = SigningKey::from_bytes(&[7; 32]);
    let mut left = count;
    let mut protocols = [3, 4].into_iter().cycle();
    while left > 0 {
        let protocol = protocols.next().unwrap();
        let mut socket = Socket::connect_speaking(protocol, port, &key).await;
        for number in 0..PER_SOCKET.min(left) {
            left -= 1;
            let bytes = damaged_frame(&frames, &mut dice);
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]).into_owned();
            let mut wanted = wants_answer(&bytes);
            let probe = format!("probe-{number}");
            let sound = json!({"type": "req", "id": probe, "method": "last-heartbeat"});
            socket.send(as_message(bytes)).await;
            socket.send(Message::text(sound.to_string())).await;
            let mut alive = true;
            let mut probed = false;
            while alive && (wanted || !probed) {
                match socket.next().await {
                    Arrived::Frame(frame) if frame["type"] != "res" => {}
                    Arrived::Frame(frame) if frame["id"] == probe.as_str() => probed = true,
                    Arrived::Frame(frame) => {
                        wanted = false;
                        outcomes.add(kind_of(&frame));
                    }
                    Arrived::Closed(code) => {
                        outcomes.add(format!(
                            "closed with {}",
                            code.map_or("no code".into(), |c| c.to_string())
                        ));
                        alive = false;
                    }
                    Arrived::Nothing => {
                        panic!("no answer (probe answered: {probed}) after {shown}")
                    }
                }
            }
            if !alive {
                break;
            }
        }
    }
    outcomes
}

/// The kind of a response; every error has a code and a text.
fn kind_of(frame: &Value) -> String {
    if frame["ok"] == true {
        return "answered".into();
    }
    let code = frame["error"]["code"].as_str().unwrap_or_default();
    let text = frame["error"]["message"].as_str().unwrap_or_default();
    assert!(!code.is_empty() && !text.is_empty(), "an error without code or text: {frame}");
    format!("error {code}")
}

fn in_protocol_four(mut connect: Value) -> Value {
    connect["params"]["minProtocol"] = json!(4);
    connect["params"]["maxProtocol"] = json!(4);
    connect
}

/// Sends one damaged frame as the first of a socket.
async fn before_signing_in(port: u16, seed: u64, count: usize) -> Outcomes {
    let mut dice = Dice(seed);
    let mut outcomes = Outcomes::default();
    let frames = recorded_frames();
    let mut connects: Vec<_> =
        frames.iter().filter(|frame| frame["method"] == "connect").cloned().collect();
    let newer: Vec<_> = connects.iter().cloned().map(in_protocol_four).collect();
    connects.extend(newer);
    for number in 0..count {
        let of = if number % 4 == 0 { &frames } else { &connects };
        let bytes = damaged_frame(of, &mut dice);
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]).into_owned();
        let mut socket = Socket::open(port).await;
        socket.send(as_message(bytes)).await;
        let mut error = None;
        let kind = loop {
            match socket.next().await {
                Arrived::Frame(frame) if frame["ok"] == true => break "signed in".to_owned(),
                Arrived::Frame(frame) if frame["type"] == "res" => error = Some(kind_of(&frame)),
                Arrived::Frame(_) => {}
                Arrived::Closed(code) => {
                    let code = code.map_or("no code".into(), |code| code.to_string());
                    break error.map_or(format!("closed with {code}"), |error| {
                        format!("{error}, closed with {code}")
                    });
                }
                Arrived::Nothing => panic!("neither an answer nor a close after {shown}"),
            }
        };
        outcomes.add(kind);
    }
    outcomes
}

/// Whether a sender takes these bytes for a whole request: its head has ended,
/// and as much of its body as was announced is there.
fn is_whole(bytes: &[u8]) -> bool {
    // Empty lines before a request do not count; a bare line feed ends a line as well.
    let first = bytes.iter().position(|byte| !b"\r\n".contains(byte)).unwrap_or(bytes.len());
    let bytes = &bytes[first..];
    let ends = |at: &usize| {
        let rest = &bytes[*at..];
        rest.starts_with(b"\n\n") || rest.starts_with(b"\n\r\n")
    };
    let Some(end) = (0..bytes.len()).find(ends) else { return false };
    let blank = if bytes[end..].starts_with(b"\n\n") { 2 } else { 3 };
    let body = &bytes[end + blank..];
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let announced = head.lines().filter_map(|line| line.strip_prefix("content-length:"));
    let announced: Vec<_> = announced.map(|size| size.trim().parse::<usize>()).collect();
    match announced.as_slice() {
        [] => !head.contains("transfer-encoding"),
        [Ok(size)] => body.len() >= *size,
        _ => true,
    }
}

/// Sends damaged requests, each over a connection of its own. A sender that
/// has said everything waits; one that has not half-closes, so that a request
/// cut short is seen to be one.
async fn over_http(port: u16, seed: u64, count: usize) -> Outcomes {
    let mut dice = Dice(seed);
    let mut outcomes = Outcomes::default();
    let requests: Vec<String> = REQUESTS
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["raw"]
                .as_str()
                .unwrap()
                .replace("TOKEN", TOKEN)
        })
        .collect();
    for _ in 0..count {
        let mut bytes = dice.pick(&requests).clone().into_bytes();
        damage_bytes(&mut bytes, &mut dice);
        if dice.roll(3) == 0 && !bytes.is_empty() {
            damage_bytes(&mut bytes, &mut dice);
        }
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]).into_owned();
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        // The peer may refuse the rest of a request it has already answered.
        drop(stream.write_all(&bytes).await);
        let mut answer = Vec::new();
        if is_whole(&bytes) {
            // The gateway may count differently and wait for more.
            let first = stream.read_buf(&mut answer);
            drop(tokio::time::timeout(Duration::from_secs(15), first).await);
        }
        drop(stream.shutdown().await);
        let read =
            tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
        assert!(read.is_ok(), "the connection stays open after {shown}");
        let text = String::from_utf8_lossy(&answer);
        if let Some(status) = text.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)) {
            // A request that came through may fail at the provider; then it says so.
            let said = !status.starts_with('5') || text.contains("\"type\":\"api_error\"");
            assert!(said, "{shown}\nanswered with\n{text}");
            outcomes.add(format!("status {status}"));
        } else {
            assert!(text.is_empty(), "{shown}\nanswered with\n{text}");
            // Whoever half-closes while his request is worked on has left.
            assert!(bytes.is_empty() || shown.contains("hunked"), "no answer to\n{shown}");
            outcomes.add("closed without an answer");
        }
    }
    outcomes
}

/// Runs a sender `AT_ONCE` times side by side, each with its share and seed.
async fn side_by_side<F>(count: usize, sender: impl Fn(u64, usize) -> F) -> Outcomes
where
    F: Future<Output = Outcomes> + Send + 'static,
{
    let share = count / usize::try_from(AT_ONCE).unwrap();
    let mut senders = tokio::task::JoinSet::new();
    for number in 0..AT_ONCE {
        senders.spawn(sender(
            0x9e37_79b9_7f4a_7c15_u64.rotate_left(u32::try_from(number).unwrap()),
            share,
        ));
    }
    let mut outcomes = Outcomes::default();
    while let Some(ended) = senders.join_next().await {
        outcomes.merge(ended.unwrap_or_else(|err| std::panic::resume_unwind(err.into_panic())));
    }
    outcomes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_malformed_frames_and_requests_leave_it_serving() {
    let endpoints = json!({"chatCompletions": {"enabled": true}, "responses": {"enabled": true}});
    let plugins =
        json!({"admin-http-rpc": {"enabled": true}, "diagnostics-prometheus": {"enabled": true}});
    let mut gateway = Gateway::start(json!({"gateway": {"http": {"endpoints": endpoints}},
        "hooks": {"enabled": true, "token": "hook-secret"}, "plugins": {"entries": plugins}}))
    .await;
    let port = gateway.port;
    let key = SigningKey::from_bytes(&[7; 32]);
    // The first connect pairs the device, the second finds everything loaded.
    drop(Socket::connect(port, &key).await);
    drop(Socket::connect(port, &key).await);
    let before = gateway.resident_kib();
    let began = Instant::now();

    let signed_in =
        side_by_side(SIGNED_IN, |seed, count| over_signed_in_sockets(port, seed, count)).await;
    let signing_in =
        side_by_side(SIGNING_IN, |seed, count| before_signing_in(port, seed, count)).await;
    let http = side_by_side(HTTP, |seed, count| over_http(port, seed, count)).await;

    let took = began.elapsed();
    let after = gateway.resident_kib();
    signed_in.print("5,000 frames over signed-in sockets");
    signing_in.print("1,000 first frames");
    http.print("10,000 requests");
    let seconds = took.as_secs_f64();
    show(&format!("memory {before} KiB before, {after} KiB after; {seconds:.1} s\n"));

    // The damage was damage, and it was not all stopped by the first check.
    assert!(signed_in.of("error ") > SIGNED_IN / 4, "few frames were refused");
    assert!(signed_in.of("answered") > 0, "no frame came through");
    assert!(http.of("status 4") > HTTP / 4, "few requests were refused");
    assert!(after < before + MAY_GROW_KIB, "grew from {before} to {after} KiB");
    let health = gateway.get("/healthz").await.expect("the port answers");
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");
    drop(Socket::connect(port, &key).await);
    assert!(!gateway.log().contains("panicked"), "{}", gateway.log());
    let status = gateway.stop().await;
    assert!(status.success(), "ended with {status}:\n{}", gateway.log());
}
