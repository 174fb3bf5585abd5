//! A thousand edits of a busy gateway: nobody is disconnected, no run ends.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::client::{ALL_SCOPES, TestClient};
use crate::support::fake_provider::FakeProvider;
use crate::support::program::Gateway;

const EDITS: usize = 1000;
const SOCKETS: usize = 50;
const RUNS: usize = 10;
/// Edits after which memory has settled.
const WARM: usize = 300;
/// What the allocator may keep for itself, in KiB.
const SLACK_KIB: u64 = 8 * 1024;

/// One hot-safe change; which section it is in goes round.
fn edit(settings: &mut Value, number: usize) {
    let n = number.to_string();
    match number % 10 {
        0 => settings["ui"] = json!({"seamColor": format!("{number:06x}")}),
        1 => settings["hooks"] = json!({"path": format!("/hooks-{n}")}),
        2 => settings["env"] = json!({"vars": {"EDIT": n}}),
        3 => settings["agents"]["defaults"]["heartbeat"] = json!({"every": format!("{number}h")}),
        4 => settings["cron"] = json!({"maxConcurrentRuns": 1 + number % 4}),
        5 => settings["tools"] = json!({"deny": [format!("tool-{n}")]}),
        6 => {
            settings["logging"] =
                json!({"consoleLevel": if number % 20 == 6 { "warn" } else { "info" }});
        }
        7 => settings["gateway"]["auth"]["rateLimit"] = json!({"maxAttempts": 10 + number}),
        8 => {
            settings["gateway"]["controlUi"] =
                json!({"allowedOrigins": [format!("http://h{n}.test")]});
        }
        _ => settings["models"]["providers"]["fake"]["headers"] = json!({"x-edit": n}),
    }
}

/// Replaces the file as an editor does.
fn save(file: &Path, settings: &Value) -> String {
    let text = settings.to_string();
    let next = file.with_extension("next");
    fs::write(&next, &text).unwrap();
    fs::rename(&next, file).unwrap();
    openclaw::config::load::hash(text.as_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_edits_disconnect_nobody_and_end_no_run() {
    let provider = FakeProvider::start().await;
    let mut config = provider.config();
    config["agents"]["defaults"] = json!({
        "model": {"primary": "fake/good-1"}, "skipBootstrap": true, "maxConcurrent": 2 * RUNS,
    });
    let models = &mut config["models"]["providers"]["fake"]["models"];
    let mut hang = models[0].clone();
    hang["id"] = json!("hang");
    models.as_array_mut().unwrap().push(hang);
    config["gateway"] = json!({"reload": {"debounceMs": 5}});
    let gateway = Box::pin(Gateway::start(config)).await;
    let file = gateway.config();
    let standing = file.with_file_name("logs").join("config-health.json");
    let mut settings: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let mut clients = Vec::new();
    for _ in 0..SOCKETS {
        clients.push(TestClient::operator(gateway.port, &ALL_SCOPES).await);
    }
    for (run, client) in clients.iter_mut().take(RUNS).enumerate() {
        let params = json!({"message": "wait", "sessionKey": format!("agent:main:busy-{run}"),
            "idempotencyKey": format!("busy-{run}"), "model": "fake/hang"});
        assert_eq!(client.ask("agent", params).await["status"], "accepted");
    }
    let mut watcher = clients.pop().unwrap();
    while watcher.ask("status", json!({})).await["tasks"]["byStatus"]["running"] != RUNS {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (mut applied, mut settled) = (Vec::with_capacity(EDITS), 0);
    for number in 0..EDITS {
        edit(&mut settings, number);
        let began = Instant::now();
        let hash = save(&file, &settings);
        // What is in force is written down when it is.
        while !fs::read_to_string(&standing).is_ok_and(|text| text.contains(&hash)) {
            assert!(began.elapsed() < Duration::from_secs(20), "{number}: {}", gateway.log());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        applied.push(began.elapsed());
        if number == WARM {
            settled = gateway.resident_kib();
        }
    }
    let grown = gateway.resident_kib().saturating_sub(settled);
    let (mut going, mut done) = (0, 0);
    for run in 0..RUNS {
        let wait = json!({"runId": format!("busy-{run}"), "timeoutMs": 1});
        match watcher.ask("agent.wait", wait).await["status"].as_str() {
            Some("timeout") => going += 1,
            Some("ok") => done += 1,
            other => panic!("run {run} was cut: {other:?}"),
        }
    }
    for client in &mut clients {
        assert_eq!(client.ask("health", json!({})).await["ok"], true);
    }
    let shown = watcher.ask("config.get", json!({})).await;
    assert_eq!(shown["appliedConfigHash"], shown["hash"]);
    assert!(gateway.log().contains("config hot reload applied"));
    assert!(grown <= SLACK_KIB, "memory grew by {grown} KiB over {} edits", EDITS - WARM);
    applied.sort();
    println!(
        "{EDITS} edits under {SOCKETS} sockets and {RUNS} runs: 0 disconnects, 0 aborted runs ({going} go on, {done} ended well); \
         in force after {} ms at the median, {} ms at the 99th percentile; \
         memory +{grown} KiB over the last {} edits",
        applied[EDITS / 2].as_millis(),
        applied[EDITS * 99 / 100].as_millis(),
        EDITS - WARM
    );
    drop(clients);
    gateway.kill().await;
}
