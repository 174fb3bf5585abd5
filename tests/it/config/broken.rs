//! Five hundred broken files: a running gateway keeps what it has, a starting
//! one takes the last known good; both say why, every time.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use openclaw::config::{Rejected, load, standing};
use openclaw::gateway::RunOptions;
use openclaw::gateway::process::usable;
use openclaw::profile::env::Env;
use openclaw::profile::paths::Paths;
use openclaw::supervise::signals::Request;
use serde_json::{Value, json};

use crate::support::client::{ALL_SCOPES, TestClient};
use crate::support::gateway::TestGateway;
use crate::support::program::TOKEN;

const MUTANTS: u64 = 500;

/// Numbers that look random and are the same on every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

fn good() -> Value {
    json!({
        "gateway": {"mode": "local", "auth": {"mode": "token", "token": TOKEN}, "reload": {"debounceMs": 1}},
        "agents": {"defaults": {"maxConcurrent": 4}, "list": [{"id": "main"}]},
        "ui": {"seamColor": "112233"},
        "hooks": {"enabled": false, "path": "/hooks"},
        "session": {"scope": "per-sender"},
        "cron": {"enabled": true},
        "logging": {"level": "info"},
    })
}

/// Puts a broken file in place; returns a part of the reason to be given.
fn put(kind: u64, dice: &mut Dice, file: &Path) -> &'static str {
    clear(file);
    let text = good().to_string();
    match kind % 10 {
        0 => {
            // Cut off inside: the outermost brace stays open.
            let end = 1 + dice.below(text.len() - 2);
            fs::write(file, &text[..end]).unwrap();
            "JSON5 parse failed"
        }
        1 => {
            let at = text.match_indices("\":").nth(dice.below(10)).unwrap().0 + 1;
            fs::write(
                file,
                format!(
                    "{}{}{}",
                    &text[..at],
                    ["@", "]", "::", "{,"][dice.below(4)],
                    &text[at + 1..]
                ),
            )
            .unwrap();
            "JSON5 parse failed"
        }
        2 => {
            let mut document = good();
            let (path, value) = [
                ("/gateway/mode", json!(7)),
                ("/agents/defaults/maxConcurrent", json!("four")),
                ("/ui/seamColor", json!(["red"])),
                ("/hooks/enabled", json!("yes")),
                ("/session/scope", json!("everyone")),
                ("/agents/list/0/id", json!({})),
            ][dice.below(6)]
            .clone();
            *document.pointer_mut(path).unwrap() = value;
            fs::write(file, document.to_string()).unwrap();
            "nvalid"
        }
        3 => {
            let mut document = good();
            let place =
                ["/gateway", "/ui", "/cron", "/logging", "/agents/defaults", ""][dice.below(6)];
            document.pointer_mut(place).unwrap()[format!("zz{}", dice.below(1000))] = json!(1);
            fs::write(file, document.to_string()).unwrap();
            "Unrecognized key"
        }
        4 => {
            let length = 1 + dice.below(5);
            for step in 0..length {
                let next = (step + 1) % length;
                fs::write(
                    file.with_file_name(format!("loop{step}.json")),
                    format!("{{$include: './loop{next}.json'}}"),
                )
                .unwrap();
            }
            fs::write(file, "{agents: {$include: './loop0.json'}}").unwrap();
            "Circular include detected"
        }
        5 => match dice.below(3) {
            0 => {
                fs::write(file, " ".repeat(17 * 1024 * 1024)).unwrap();
                "larger than"
            }
            1 => {
                fs::write(file, "[".repeat(100_000)).unwrap();
                "nesting deeper than"
            }
            _ => {
                fs::write(file.with_file_name("big.json"), " ".repeat(3 * 1024 * 1024)).unwrap();
                fs::write(file, "{ui: {$include: './big.json'}}").unwrap();
                "security checks"
            }
        },
        6 => {
            let mut bytes = text.into_bytes();
            let at = 1 + dice.below(bytes.len() - 2);
            bytes[at] = 0xf8 + u8::try_from(dice.below(7)).unwrap();
            fs::write(file, bytes).unwrap();
            "not valid UTF-8"
        }
        7 => match dice.below(3) {
            0 => {
                symlink(file.file_name().unwrap(), file).unwrap();
                "could not be read"
            }
            1 => {
                symlink("/dev/zero", file).unwrap();
                "not a regular file"
            }
            _ => {
                symlink("/etc/hostname", file.with_file_name("out.json")).unwrap();
                fs::write(file, "{ui: {$include: './out.json'}}").unwrap();
                "resolves outside config directory"
            }
        },
        // Root may read anything; what is no file at all stops it too.
        8 if dice.below(2) == 0 => {
            fs::create_dir(file).unwrap();
            "not a regular file"
        }
        8 => {
            fs::write(file, "{ui: {$include: './gone.json'}}").unwrap();
            "Failed to read include file"
        }
        // Gone, as while somebody replaces it.
        _ => "not found",
    }
}

/// Leaves no file and no helper behind.
fn clear(file: &Path) {
    drop(fs::remove_dir(file));
    drop(fs::remove_file(file));
    for name in ["big.json", "out.json"] {
        drop(fs::remove_file(file.with_file_name(name)));
    }
}

#[tokio::test]
async fn a_running_gateway_survives_five_hundred_broken_files() {
    let gateway = Box::pin(TestGateway::start_with(good())).await;
    let mut client = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let (file, before) =
        (gateway.state.paths.config.clone(), gateway.state.config.load().hash.clone());
    let mut dice = Dice(1);
    for kind in 0..MUTANTS {
        let expected = put(kind, &mut dice, &file);
        let named =
            |rejected: &Arc<Rejected>| rejected.reasons.iter().any(|why| why.contains(expected));
        let wait = async {
            loop {
                let look = gateway.state.reloader.next_look();
                gateway.state.reloader.poke();
                look.await;
                if gateway.state.config.rejected().as_ref().is_some_and(named) {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap_or_else(|_| {
            panic!("{kind}: no {expected:?} in {:?}", gateway.state.config.rejected())
        });
        assert_eq!(gateway.state.config.load().hash, before, "{kind}");
        let shown = standing::read(&gateway.state.paths).complaint();
        assert!(shown.is_some_and(|shown| shown.contains(expected)), "{kind}: {expected}");
        if kind % 25 == 0 {
            let status = client.ask("status", json!({})).await;
            assert_eq!(status["config"]["status"], "degraded", "{kind}");
        }
        assert_eq!(client.ask("health", json!({})).await["ok"], true, "{kind}");
    }
    println!(
        "{MUTANTS} broken files under a running gateway: it served and named the reason each time"
    );
    assert!(gateway.stop().await.clean);
}

#[tokio::test]
async fn a_starting_gateway_survives_five_hundred_broken_files() {
    let home = tempfile::tempdir().unwrap();
    let env: Env =
        [("HOME", home.path().to_str().unwrap()), ("INVOCATION_ID", "1")].into_iter().collect();
    let paths = Paths::resolve(&env);
    fs::create_dir_all(&paths.state).unwrap();
    fs::write(&paths.config, good().to_string()).unwrap();
    openclaw::config::last_good::save(&load::read(&paths, &env), &paths).unwrap();
    let mut dice = Dice(2);
    for kind in 0..MUTANTS {
        let expected = put(kind, &mut dice, &paths.config);
        let snapshot = load::read(&paths, &env);
        let (usable, rejected) = usable(snapshot, &paths, &env, false, true).await;
        let rejected = rejected.unwrap_or_else(|| panic!("{kind}: {expected} was accepted"));
        assert!(
            rejected.reasons.iter().any(|why| why.contains(expected)),
            "{kind}: {expected} in {rejected:?}"
        );
        assert_eq!(usable.config.ui["seamColor"], "112233");
        // Every tenth goes on to serve, with all that belongs to a start.
        if kind % 10 == kind / 10 % 10 {
            let served = served(&env, &paths, usable, rejected).await;
            assert!(served.contains(expected), "{kind}: {served}");
        }
    }
    println!(
        "{MUTANTS} broken files before a start: the last known good one served, the reason named each time"
    );
}

/// Starts and asks the gateway how it is.
async fn served(
    env: &Env,
    paths: &Paths,
    usable: openclaw::config::Snapshot,
    rejected: Rejected,
) -> String {
    let mut setup =
        openclaw::gateway::Setup::new(usable, env.clone(), paths.clone(), RunOptions::default());
    setup.inherited = vec![std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap()];
    setup.rejected = Some(rejected);
    let built = Box::pin(openclaw::gateway::build(setup)).await.unwrap();
    let port = built.addresses()[0].port();
    let (requests, receiver) = tokio::sync::mpsc::channel(1);
    #[expect(clippy::disallowed_methods, reason = "the test waits for it below")]
    let running = tokio::spawn(built.run(receiver));
    let mut client = TestClient::operator(port, &ALL_SCOPES).await;
    let health = client.ask("health", json!({"probe": true})).await;
    requests.send(Request::Stop("SIGTERM")).await.unwrap();
    assert!(running.await.unwrap().clean);
    health["config"].to_string()
}
