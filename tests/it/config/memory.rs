//! A secret that was replaced is nowhere in the memory of the gateway.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::{Duration, Instant};

use openclaw::agents::providers::http::Http;
use serde_json::{Value, json};

use crate::support::client::{ALL_SCOPES, Device, TestClient, connect_params};
use crate::support::fake_provider::FakeProvider;
use crate::support::program::{Gateway, free_port};

const LIMIT: Duration = Duration::from_secs(60);
/// Secrets behind references.
const REFERRED: [&str; 3] = ["entry", "key", "header"];

fn secret(place: &str, generation: u32) -> String {
    format!("canary-{place}-of-{generation}-9c1d5e7b")
}

fn write(path: &Path, value: &Value) {
    use std::os::unix::fs::PermissionsExt as _;
    let new = path.with_extension("new");
    fs::write(&new, value.to_string()).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(new, path).unwrap();
}

fn vault(home: &Path, generation: u32) {
    let values: BTreeMap<&str, String> =
        REFERRED.iter().map(|place| (*place, secret(place, generation))).collect();
    write(&home.join("vault.json"), &json!(values));
}

fn settings(home: &Path, port: u16, provider: &FakeProvider) -> Value {
    let kept = |id: &str| json!({"source": "file", "provider": "vault", "id": format!("/{id}")});
    let mut config = provider.config();
    config["gateway"] = json!({
        "mode": "local", "port": port, "auth": {"mode": "token", "token": kept("entry")},
        "http": {"endpoints": {"chatCompletions": {"enabled": true}}},
    });
    config["secrets"] =
        json!({"providers": {"vault": {"source": "file", "path": home.join("vault.json")}}});
    let providers = &mut config["models"]["providers"];
    providers["fake"]["apiKey"] = kept("key");
    providers["fake"]["headers"] = json!({"x-extra": kept("header")});
    config
}

/// The same with the values in clear, and more of them.
fn in_clear(port: u16, provider: &FakeProvider, generation: u32) -> Value {
    let of = |place: &str| secret(place, generation);
    let mut config = provider.config();
    config["gateway"] = json!({
        "mode": "local", "port": port, "auth": {"mode": "token", "token": of("entry")},
        "http": {"endpoints": {"chatCompletions": {"enabled": true}}},
        "reload": {"debounceMs": 20},
    });
    config["env"] = json!({"vars": {"SPOKEN": of("variable")}, "BESIDE": of("sibling")});
    config["hooks"] = json!({"enabled": true, "token": of("hook")});
    config["ui"] = json!({"assistant": {"name": "${SPOKEN}"}});
    // Nobody listens there: it is tried again and again.
    config["channels"] = json!({"irc": {
        "host": "127.0.0.1", "port": 9, "tls": false, "nick": "n", "password": of("channel"),
    }});
    config["mcp"] =
        json!({"servers": {"none": {"command": "/bin/false", "env": {"TOKEN": of("tool")}}}});
    let providers = &mut config["models"]["providers"];
    providers["fake"]["apiKey"] = json!(of("key"));
    providers["fake"]["headers"] = json!({"x-extra": of("header")});
    config
}

/// How often each of `words` is in the memory of a process.
fn found(pid: i32, words: &[String]) -> io::Result<BTreeMap<String, usize>> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let mut memory = fs::File::open(format!("/proc/{pid}/mem"))?;
    let mut counts = BTreeMap::new();
    let tops = stack_tops(pid)?;
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let range = line.split_whitespace().next().unwrap().split_once('-').unwrap();
        let [from, to] = [range.0, range.1].map(|end| u64::from_str_radix(end, 16).unwrap());
        if tops.iter().any(|top| (from..to).contains(top)) {
            continue;
        }
        memory.seek(SeekFrom::Start(from))?;
        let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
        // It goes on meanwhile: a mapping may be gone.
        if memory.read_exact(&mut bytes).is_err() {
            continue;
        }
        for at in starts(&bytes) {
            for word in words.iter().filter(|word| bytes[at..].starts_with(word.as_bytes())) {
                *counts.entry(word.clone()).or_default() += 1;
            }
        }
    }
    Ok(counts)
}

/// Where the stacks of the threads are that wait; what they used before is not
/// wiped, and is written over with the next call.
fn stack_tops(pid: i32) -> io::Result<Vec<u64>> {
    let mut tops = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // `number arguments… sp pc`, or a word if it runs.
        let state = fs::read_to_string(thread?.path().join("syscall")).unwrap_or_default();
        let fields: Vec<&str> = state.split_whitespace().collect();
        let top = fields.len().checked_sub(2).and_then(|at| fields[at].strip_prefix("0x"));
        tops.extend(top.and_then(|top| u64::from_str_radix(top, 16).ok()));
    }
    Ok(tops)
}

/// Where a secret of this test may begin.
fn starts(bytes: &[u8]) -> impl Iterator<Item = usize> {
    const START: &[u8] = b"canary-";
    let firsts = (0..bytes.len()).filter(|at| bytes[*at] == START[0]);
    firsts.filter(|at| bytes[*at..].starts_with(START))
}

async fn chat(port: u16, token: &str) -> u16 {
    let url = format!("http://127.0.0.1:{port}/v1/chat/completions");
    let client = Http::default().client(&url).unwrap();
    let answer = client
        .post(&url)
        .bearer_auth(token)
        .json(&json!({"model": "openclaw", "messages": [{"role": "user", "content": "hello"}]}))
        .send();
    answer.await.unwrap().status().as_u16()
}

async fn gone(pid: i32, words: &[String]) {
    let began = Instant::now();
    loop {
        let left = found(pid, words).unwrap();
        if left.is_empty() {
            return;
        }
        assert!(began.elapsed() < LIMIT, "still in memory: {left:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replaced_secret_is_nowhere_in_the_memory_of_the_gateway() {
    let provider = FakeProvider::start().await;
    let (home, port) = (tempfile::tempdir().unwrap(), free_port());
    let state = home.path().join(".openclaw-dev");
    fs::create_dir_all(&state).unwrap();
    vault(home.path(), 1);
    write(&state.join("openclaw.json"), &settings(home.path(), port, &provider));
    let mut gateway = Gateway::over(home, port, &[], &[]);
    gateway.wait_until_ready().await;
    let (home, pid) = (gateway.home.path().to_owned(), gateway.pid());
    let words = |generation| -> Vec<String> {
        REFERRED.iter().map(|place| secret(place, generation)).collect()
    };

    // Used in every way: a client signs in, a run calls the provider.
    assert_eq!(chat(port, &secret("entry", 1)).await, 200);
    let mut params = connect_params("gateway-client", "backend", &ALL_SCOPES);
    params["auth"]["token"] = json!(secret("entry", 1));
    let mut client = TestClient::connect(port, params, Some(&Device::new())).await.unwrap();
    let held = match found(pid, &words(1)) {
        Ok(held) => held,
        Err(err) => {
            eprintln!("skipped: the memory of another process cannot be read here: {err}");
            return;
        }
    };
    assert_eq!(held.len(), 3, "the search sees what is in force: {held:?}");

    // The values behind references are replaced, under the eyes of a client.
    vault(&home, 2);
    client.ask("secrets.reload", json!({})).await;
    drop(client);
    assert_eq!(chat(port, &secret("entry", 2)).await, 200);
    let sent = provider.requests().pop().unwrap();
    assert_eq!(sent.headers["authorization"], format!("Bearer {}", secret("key", 2)));
    assert_eq!(chat(port, &secret("entry", 1)).await, 401);
    gone(pid, &words(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_in_clear_is_gone_from_memory_once_the_file_has_another() {
    let places = ["entry", "variable", "sibling", "hook", "channel", "tool", "key", "header"];
    let words = |generation| places.map(|place| secret(place, generation));
    let provider = FakeProvider::start().await;
    let (home, port) = (tempfile::tempdir().unwrap(), free_port());
    let state = home.path().join(".openclaw-dev");
    fs::create_dir_all(&state).unwrap();
    let file = state.join("openclaw.json");
    write(&file, &in_clear(port, &provider, 1));
    let mut gateway = Gateway::over(home, port, &[], &[]);
    gateway.wait_until_ready().await;
    let pid = gateway.pid();
    assert_eq!(chat(port, &secret("entry", 1)).await, 200);
    let mut params = connect_params("gateway-client", "backend", &ALL_SCOPES);
    params["auth"]["token"] = json!(secret("entry", 1));
    let mut client = TestClient::connect(port, params, Some(&Device::new())).await.unwrap();
    let held = match found(pid, &words(1)) {
        Ok(held) => held,
        Err(err) => {
            eprintln!("skipped: the memory of another process cannot be read here: {err}");
            return;
        }
    };
    assert_eq!(held.len(), places.len(), "the search sees what is in force: {held:?}");

    write(&file, &in_clear(port, &provider, 2));
    let applied = async {
        while client.ask("config.get", json!({})).await["appliedConfigHash"]
            != openclaw::config::load::hash(&fs::read(&file).unwrap())
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, applied).await.expect("the edit is taken over");
    // The client stays, and nobody else asks anything.
    gone(pid, &words(1)).await;
    assert_eq!(client.ask("health", json!({})).await["ok"], true);
}
