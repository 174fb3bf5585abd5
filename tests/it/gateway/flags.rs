//! Flags of `gateway run` that show or publish something.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::client::{ALL_SCOPES, TestClient};
use crate::support::program::{Gateway, TOKEN};

/// How long a file may take to say something on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A gateway of a fresh home with `args`.
async fn run_with(args: &[&str], vars: &[(&str, &str)]) -> Gateway {
    let home = home(json!({}));
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut gateway = Gateway::over(home, port, args, vars);
    gateway.wait_until_ready().await;
    gateway
}

fn home(more: Value) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join(".openclaw-dev");
    fs::create_dir_all(&state).unwrap();
    let mut settings =
        json!({"gateway": {"mode": "local", "auth": {"mode": "token", "token": TOKEN}}});
    crate::support::gateway::merge(&mut settings, more);
    fs::write(state.join("openclaw.json"), settings.to_string()).unwrap();
    home
}

/// Waits until `read` says something that holds all of `parts`.
async fn comes_to_hold(read: impl Fn() -> String, parts: &[&str]) -> String {
    let began = Instant::now();
    loop {
        let text = read();
        if parts.iter().all(|part| text.contains(part)) {
            return text;
        }
        assert!(began.elapsed() < PATIENCE, "{parts:?} are not all in:\n{text}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn verbose_shows_the_traffic_in_the_style_that_was_asked_for() {
    for (args, shown, hidden) in [
        (&["--verbose", "--ws-log", "full"][..], &["← req no.such", "→ res ✗ no.such"][..], "⇄"),
        (&["--verbose", "--compact"][..], &["⇄ res ✗ no.such", "⇄ res ✓ health"][..], "← req"),
        (&[][..], &["⇄ res ✗ no.such errorCode=INVALID_REQUEST"][..], "res ✓ health"),
    ] {
        let gateway = run_with(args, &[]).await;
        let mut client = TestClient::operator(gateway.port, &ALL_SCOPES).await;
        assert_eq!(client.call("health", json!({})).await["ok"], true);
        assert_eq!(client.call("no.such", json!({})).await["ok"], false);
        let log = comes_to_hold(|| gateway.log(), shown).await;
        assert!(!log.contains(hidden), "{args:?} shows {hidden}:\n{log}");
        assert!(!log.contains(TOKEN), "{log}");
    }
}

#[tokio::test]
async fn raw_streams_go_to_the_file_that_was_named() {
    let gateway = run_with(&["--raw-stream-path", "~/raw/stream.jsonl"], &[]).await;
    let mut client = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let message = json!({"sessionKey": "main", "message": "hi there", "idempotencyKey": "k"});
    assert_eq!(client.call("chat.send", message).await["ok"], true);
    let file = gateway.home.path().join("raw/stream.jsonl");
    let text = comes_to_hold(
        || fs::read_to_string(&file).unwrap_or_default(),
        &["assistant_message_end", "text_delta"],
    )
    .await;
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert!(last["rawText"].as_str().unwrap().contains("hi there"), "{last}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn only_backend_lines_reach_the_console_and_the_file_has_all() {
    let mut gateway = run_with(&["--cli-backend-logs"], &[]).await;
    assert!(gateway.log().contains("all others are in "), "{}", gateway.log());
    assert!(!gateway.log().contains("listening on"), "{}", gateway.log());
    assert!(gateway.stop().await.success());
    let logs = gateway.home.path().join(".openclaw-dev/logs");
    let daily = fs::read_dir(logs).unwrap().map(|entry| entry.unwrap().path());
    let mut lines = daily.filter(|path| path.to_string_lossy().contains("/openclaw-"));
    assert!(fs::read_to_string(lines.next().unwrap()).unwrap().contains("listening on"));
}

/// A `tailscale` that notes what it is asked.
fn fake_tailscale(dir: &Path, serve: &str) -> String {
    let program = dir.join("tailscale");
    let script = format!(
        "#!/bin/sh\necho \"$*\" >> {0}/asked\ncase \"$1\" in\n  status) echo \
         '{{\"Self\":{{\"DNSName\":\"gw.tail.example.\"}}}}';;\n  *) {serve};;\nesac\n",
        dir.display()
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:/usr/bin:/bin", dir.display())
}

#[tokio::test]
async fn tailscale_publishes_the_port_and_takes_it_back_at_the_end() {
    let bin = tempfile::tempdir().unwrap();
    let path = fake_tailscale(bin.path(), "exit 0");
    let args = ["--tailscale", "serve", "--tailscale-reset-on-exit"];
    let mut gateway = run_with(&args, &[("PATH", &path)]).await;
    let link = "serve enabled: https://gw.tail.example/ (WS via wss://gw.tail.example)";
    comes_to_hold(|| gateway.log(), &[link]).await;
    assert!(gateway.stop().await.success());
    let asked = fs::read_to_string(bin.path().join("asked")).unwrap();
    let port = gateway.port;
    assert_eq!(asked, format!("serve --bg --yes {port}\nstatus --json\nserve reset\n"));
}

#[tokio::test]
async fn a_refusing_tailscale_costs_the_exposure_and_not_the_start() {
    let bin = tempfile::tempdir().unwrap();
    let path = fake_tailscale(bin.path(), "echo 'serve config: not logged in' >&2; exit 1");
    let mut gateway = run_with(&["--tailscale", "serve"], &[("PATH", &path)]).await;
    let said = "serve failed: `tailscale serve --bg --yes";
    comes_to_hold(|| gateway.log(), &[said, "not logged in"]).await;
    assert!(gateway.stop().await.success());
    assert!(!fs::read_to_string(bin.path().join("asked")).unwrap().contains("reset"));
}
