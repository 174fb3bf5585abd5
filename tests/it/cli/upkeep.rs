//! Commands that look after the installation: agents, reset, uninstall,
//! update, qr.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{run, run_with};

fn write_config(home: &Path, config: &Value) {
    let state = home.join(".openclaw");
    fs::create_dir_all(&state).unwrap();
    fs::write(state.join("openclaw.json"), config.to_string()).unwrap();
}

fn config(home: &Path) -> Value {
    let text = fs::read_to_string(home.join(".openclaw/openclaw.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let auth = json!({"mode": "token", "token": "secret-token-1"});
    write_config(home.path(), &json!({"gateway": {"mode": "local", "auth": auth}}));
    home
}

async fn ok(home: &Path, args: &[&str]) -> String {
    let run = run(home, args).await;
    assert_eq!(run.code, 0, "{args:?}: {} {}", run.out, run.err);
    run.out
}

async fn refused(home: &Path, args: &[&str]) -> String {
    let run = run(home, args).await;
    assert_eq!(run.code, 1, "{args:?}: {} {}", run.out, run.err);
    run.err
}

async fn json_of(home: &Path, args: &[&str]) -> Value {
    serde_json::from_str(&ok(home, args).await).unwrap()
}

#[tokio::test]
async fn an_agent_is_added_routed_named_and_taken_out() {
    let dir = home();
    let home = dir.path();
    let add = ["agents", "add", "Ops Team", "--workspace", "~/ops", "--bind", "irc", "--json"];
    let added = json_of(home, &add).await;
    assert_eq!(added["agentId"], "ops-team");
    assert_eq!(added["bindings"]["added"], json!(["irc"]));
    assert!(home.join("ops").is_dir());
    assert!(refused(home, &add).await.contains("Agent \"ops-team\" already exists."));
    let taken = run(home, &["agents", "bind", "--agent", "main", "--bind", "irc", "--json"]).await;
    assert_eq!(taken.code, 1);
    let taken: Value = serde_json::from_str(&taken.out).unwrap();
    assert_eq!(taken["conflicts"], json!(["irc (agent=ops-team)"]));
    let listed = json_of(home, &["agents", "bindings", "--json"]).await;
    assert_eq!(listed[0]["description"], "irc");
    let named = ["agents", "set-identity", "--agent", "ops-team", "--name", "Op", "--json"];
    assert_eq!(json_of(home, &named).await["identity"], json!({"name": "Op"}));
    let agents = json_of(home, &["agents", "list", "--json"]).await;
    assert_eq!(agents[0]["isDefault"], true);
    assert_eq!(agents[1]["identityName"], "Op");
    assert!(refused(home, &["agents", "delete", "ops-team"]).await.contains("--force"));
    assert!(refused(home, &["agents", "delete", "main", "--force"]).await.contains("\"main\""));
    let gone = json_of(home, &["agents", "delete", "ops-team", "--force", "--json"]).await;
    assert_eq!(gone["removedBindings"], 1);
    assert!(!home.join("ops").exists());
    assert_eq!(fs::read_dir(home.join(".Trash")).unwrap().count(), 2, "workspace and sessions");
    assert_eq!(config(home)["bindings"], Value::Null);
}

#[tokio::test]
async fn a_reset_deletes_what_its_scope_says_and_a_dry_run_nothing() {
    let dir = home();
    let home = dir.path();
    let state = home.join(".openclaw");
    let sessions = state.join("agents/main/sessions");
    fs::create_dir_all(&sessions).unwrap();
    fs::create_dir_all(state.join("credentials")).unwrap();
    fs::create_dir_all(state.join("workspace")).unwrap();
    let scope = "config+creds+sessions";
    assert!(refused(home, &["reset", "--scope", scope]).await.contains("requires --yes"));
    assert!(refused(home, &["reset", "--yes"]).await.contains("requires --scope"));
    assert!(refused(home, &["reset", "--yes", "--scope", "x"]).await.contains("Invalid --scope"));
    let dry = ok(home, &["reset", "--scope", scope, "--yes", "--dry-run"]).await;
    assert!(dry.contains("[dry-run] remove ~/.openclaw/agents/main/sessions"), "{dry}");
    assert!(sessions.exists());
    let args = ["reset", "--scope", scope, "--yes", "--non-interactive"];
    let done = ok(home, &args).await;
    assert!(done.contains("Removed ~/.openclaw/openclaw.json"), "{done}");
    assert!(!sessions.exists() && !state.join("credentials").exists());
    assert!(state.join("workspace").exists());
    ok(home, &["reset", "--scope", "full", "--yes", "--non-interactive"]).await;
    assert!(!state.exists());
    assert!(home.exists());
}

#[tokio::test]
async fn nothing_is_deleted_under_a_running_gateway() {
    let dir = home();
    let home = dir.path();
    let lock = fs::File::create(home.join(".openclaw/gateway.lock")).unwrap();
    lock.lock().unwrap();
    let said = refused(home, &["uninstall", "--state", "--yes", "--non-interactive"]).await;
    assert!(said.contains("gateway already running") && said.contains("gateway stop"), "{said}");
    assert!(home.join(".openclaw/openclaw.json").exists());
    drop(lock);
    let done = ok(home, &["uninstall", "--state", "--yes", "--non-interactive"]).await;
    assert!(done.contains("Removed ~/.openclaw"), "{done}");
    assert!(!home.join(".openclaw").exists());
}

#[tokio::test]
async fn the_home_directory_is_never_deleted() {
    let dir = home();
    let home = dir.path();
    write_config(home, &json!({"agents": {"defaults": {"workspace": home}}}));
    let run = run(home, &["uninstall", "--workspace", "--yes", "--non-interactive"]).await;
    assert_eq!(run.code, 1);
    assert!(run.err.contains("Refusing to remove unsafe path"), "{}", run.err);
    assert!(home.join(".openclaw/openclaw.json").exists());
}

#[tokio::test]
async fn update_says_who_updates_and_replaces_nothing() {
    let dir = home();
    let said = ok(dir.path(), &["update"]).await;
    assert!(said.contains("Nothing was updated") && said.contains("gateway restart"), "{said}");
    let status = json_of(dir.path(), &["update", "status", "--json"]).await;
    assert_eq!(status["channel"]["value"], "stable");
    assert_eq!(status["availability"]["available"], false);
    assert_eq!(json_of(dir.path(), &["--update", "--json"]).await["status"], "skipped");
    assert!(refused(dir.path(), &["update", "--channel", "x"]).await.contains("--channel must be"));
}

#[tokio::test]
async fn a_setup_code_holds_the_address_and_an_invitation() {
    use base64::Engine as _;
    let dir = home();
    let home = dir.path();
    assert!(refused(home, &["qr"]).await.contains("only bound to loopback"));
    let code = ok(home, &["qr", "--url", "https://gw.example", "--setup-code-only"]).await;
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(code.trim()).unwrap();
    let payload: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(payload["url"], "wss://gw.example");
    let book = fs::read_to_string(home.join(".openclaw/devices/bootstrap.json")).unwrap();
    assert!(book.contains(payload["bootstrapToken"].as_str().unwrap()));
    assert!(!payload.to_string().contains("secret-token-1"));
    let drawn = ok(home, &["qr", "--url", "ws://10.0.0.1:1"]).await;
    assert!(drawn.contains('█') && drawn.contains("Setup code: "), "{drawn}");
    write_config(home, &json!({"gateway": {"mode": "local"}}));
    let run = run_with(home, &[], &["qr", "--url", "ws://10.0.0.1:1"]).await;
    assert!(run.err.contains("Gateway auth is not configured"), "{}", run.err);
}

#[tokio::test]
async fn a_command_runs_in_the_container_that_is_named() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = home();
    let home = dir.path();
    let podman = home.join("podman");
    let script = "#!/bin/sh\ncase \"$1\" in\n  inspect) [ \"$4\" = box ] && echo true;;\n  \
        exec) shift; echo \"ran: $* token=$OPENCLAW_GATEWAY_TOKEN\"; exit 7;;\nesac\n";
    fs::write(&podman, script).unwrap();
    fs::set_permissions(&podman, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", home.display());
    let vars = [("PATH", path.as_str()), ("OPENCLAW_GATEWAY_TOKEN", "of-the-host")];
    let ran = run_with(home, &vars, &["--container", "box", "status", "--json"]).await;
    assert_eq!(ran.code, 7, "{}", ran.err);
    assert!(ran.out.contains("OPENCLAW_CONTAINER_HINT=box"), "{}", ran.out);
    assert!(ran.out.ends_with("box openclaw status --json token=\n"), "{}", ran.out);
    let none = run_with(home, &vars, &["status", "--container=other"]).await;
    assert_eq!(none.code, 1);
    assert!(none.err.contains("No running container matched \"other\""), "{}", none.err);
    let update = run_with(home, &vars, &["--container", "box", "update"]).await;
    assert!(update.err.contains("rebuild or restart the container image"), "{}", update.err);
}

#[tokio::test]
async fn an_audit_names_open_doors_and_mends_what_needs_no_decision() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = home();
    let home = dir.path();
    let open = json!({"gateway": {"mode": "local", "bind": "lan", "auth": {"mode": "none"}},
        "channels": {"irc": {"host": "h", "nick": "n", "dmPolicy": "open", "allowFrom": ["*"]}}});
    write_config(home, &open);
    let file = home.join(".openclaw/openclaw.json");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    let report = json_of(home, &["security", "audit", "--json"]).await;
    assert!(report["summary"]["critical"].as_u64().unwrap() >= 2, "{report}");
    let texts = report["findings"].to_string();
    for text in ["without authentication", "anybody may send", "open to others"] {
        assert!(texts.contains(text), "{text}: {texts}");
    }
    let fixed = json_of(home, &["security", "audit", "--fix", "--json"]).await;
    assert_eq!(fixed["fix"]["ok"], true, "{fixed}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!fixed["report"]["findings"].to_string().contains("open to others"), "{fixed}");
    assert!(ok(home, &["security", "audit", "--deep"]).await.contains("Gateway probe: "));
}

#[tokio::test]
async fn a_pasted_token_is_stored_and_never_shown() {
    use tokio::io::AsyncWriteExt as _;
    let dir = home();
    let home = dir.path();
    let mut child = crate::support::program::command(home)
        .args(["models", "auth", "paste-token", "--provider", "openai", "--expires-in", "2h"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"sk-very-secret-token\n").await.unwrap();
    let said = child.wait_with_output().await.unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("Auth profile: openai:manual (openai/token)"), "{said}");
    let file = home.join(".openclaw/agents/main/agent/auth-profiles.json");
    assert!(fs::read_to_string(&file).unwrap().contains("sk-very-secret-token"));
    let status = json_of(home, &["models", "status", "--json"]).await;
    assert!(!status.to_string().contains("sk-very-secret-token"), "{status}");
    let order = ["models", "auth", "order", "set", "--provider", "openai", "openai:manual"];
    ok(home, &order).await;
    let get = ["models", "auth", "order", "get", "--provider", "openai", "--json"];
    assert_eq!(json_of(home, &get).await["order"], json!(["openai:manual"]));
    let wrong = ["models", "auth", "order", "set", "--provider", "openai", "nobody"];
    assert!(refused(home, &wrong).await.contains("Auth profile \"nobody\" not found"));
    ok(home, &["models", "auth", "order", "clear", "--provider", "openai"]).await;
    assert_eq!(json_of(home, &get).await["order"], Value::Null);
    assert_eq!(config(home)["auth"]["profiles"]["openai:manual"]["mode"], "token");
}
