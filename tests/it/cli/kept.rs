//! Commands over what is kept on this host, without a gateway and with one.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{Run, run, run_with};
use crate::support::program::Gateway;

#[tokio::test]
async fn servers_of_tools_are_set_shown_and_removed() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join(".openclaw/openclaw.json").display().to_string();
    let none = run(home.path(), &["mcp", "list"]).await;
    assert_eq!(none.out, format!("No MCP servers configured in {file}.\n"));
    let server = r#"{"command":"uvx","args":["docs"],"env":{"KEY":"secret"}}"#;
    let set = run(home.path(), &["mcp", "set", "docs", server]).await;
    assert_eq!((set.code, set.out), (0, format!("Saved MCP server \"docs\" to {file}.\n")));
    let listed = run(home.path(), &["mcp", "list", "--json"]).await.json();
    let hidden = server.replace("secret", "__OPENCLAW_REDACTED__");
    assert_eq!(listed, json!({"docs": serde_json::from_str::<Value>(&hidden).unwrap()}));
    let shown = run(home.path(), &["mcp", "show", "docs"]).await;
    assert!(shown.out.starts_with(&format!("MCP server \"docs\" ({file}):\n{{\n  \"command\"")));
    let cases: [(&[&str], &str); 4] = [
        (&["show", "nope"], &format!("No MCP server named \"nope\" in {file}.\n")),
        (&["unset", "nope"], &format!("No MCP server named \"nope\" in {file}.\n")),
        (&["set", "x", "[1]"], "MCP server config must be a JSON object.\n"),
        (&["set", " ", "{}"], "MCP server name is required.\n"),
    ];
    for (args, err) in cases {
        let refused = run(home.path(), &[&["mcp"], args].concat()).await;
        assert_eq!((refused.code, refused.err.as_str()), (1, err), "{args:?}");
    }
    let broken = run(home.path(), &["mcp", "set", "x", "{nope"]).await;
    assert!(broken.err.starts_with("Invalid JSON: SyntaxError: "), "{}", broken.err);
    let gone = run(home.path(), &["mcp", "unset", "docs"]).await;
    assert_eq!(gone.out, format!("Removed MCP server \"docs\" from {file}.\n"));
    let config: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(config.get("mcp"), None, "nothing empty stays behind");
}

fn write_hook(home: &Path) {
    let dir = home.join(".openclaw/hooks/greet");
    fs::create_dir_all(&dir).unwrap();
    let head = "---\nname: greet\ndescription: Says hello\nmetadata: {\"openclaw\": \
                {\"emoji\": \"👋\", \"events\": [\"gateway:startup\"]}}\n---\n";
    fs::write(dir.join("HOOK.md"), head).unwrap();
    fs::write(dir.join("handler.js"), "").unwrap();
}

#[tokio::test]
async fn hooks_are_listed_with_what_keeps_them_from_running_and_can_be_switched() {
    let home = tempfile::tempdir().unwrap();
    assert_eq!(run(home.path(), &["hooks", "list"]).await.out, "No hooks found.\n");
    write_hook(home.path());
    let listed = run(home.path(), &["hooks", "list", "--json"]).await.json();
    let hook = &listed["hooks"][0];
    assert_eq!((&hook["name"], &hook["eligible"]), (&json!("greet"), &json!(false)));
    assert_eq!(hook["events"], json!(["gateway:startup"]));
    assert!(hook["blockedReason"].as_str().unwrap().contains("JavaScript"), "{hook}");
    let check = run(home.path(), &["hooks", "check", "--json"]).await.json();
    assert_eq!((&check["total"], &check["notEligible"]), (&json!(1), &json!(1)));
    let off = run(home.path(), &["hooks", "disable", "greet"]).await;
    assert_eq!((off.code, off.out.as_str()), (0, "⏸ Disabled hook: 👋 greet\n"));
    let info = run(home.path(), &["hooks", "info", "greet", "--json"]).await.json();
    assert_eq!((&info["disabled"], &info["hookKey"]), (&json!(true), &json!("greet")));
    let on = run(home.path(), &["hooks", "enable", "greet"]).await;
    assert_eq!((on.code, on.out.as_str()), (0, "✓ Enabled hook: 👋 greet\n"));
    let config = fs::read_to_string(home.path().join(".openclaw/openclaw.json")).unwrap();
    let config: Value = serde_json::from_str(&config).unwrap();
    assert_eq!(config["hooks"]["internal"]["enabled"], true);
    assert_eq!(config["hooks"]["internal"]["entries"]["greet"]["enabled"], true);
    let unknown = run(home.path(), &["hooks", "enable", "nope"]).await;
    assert_eq!((unknown.code, unknown.err.as_str()), (1, "Error: Hook \"nope\" not found\n"));
    let pack = run(home.path(), &["hooks", "install", "some-pack"]).await;
    assert!(pack.code == 1 && pack.err.starts_with("Error: hooks install: "), "{}", pack.err);
}

#[tokio::test]
async fn a_backup_holds_state_and_workspaces_and_can_be_checked() {
    let home = tempfile::tempdir().unwrap();
    let none = run(home.path(), &["backup", "create"]).await;
    let text = "Error: No local OpenClaw state was found to back up.\n";
    assert_eq!((none.code, none.err.as_str()), (1, text));
    assert_eq!(run(home.path(), &["setup", "--workspace", "~/desk"]).await.code, 0);
    fs::write(home.path().join("desk/AGENTS.md"), "be kind").unwrap();
    let plan = run(home.path(), &["backup", "create", "--dry-run", "--json"]).await.json();
    let kinds: Vec<&str> = plan["assets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|asset| asset["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["workspace", "state"]);
    assert!(!Path::new(plan["archivePath"].as_str().unwrap()).exists());

    let made = ["backup", "create", "--output", "saved/", "--verify", "--json"];
    let made = run(home.path(), &made).await.json();
    assert_eq!(made["verified"], true);
    let archive = made["archivePath"].as_str().unwrap();
    let checked = run(home.path(), &["backup", "verify", archive, "--json"]).await.json();
    assert_eq!((&checked["ok"], &checked["assetCount"]), (&json!(true), &json!(2)));
    assert_eq!(checked["archiveRoot"], made["archiveRoot"]);
    let again = run(home.path(), &["backup", "create", "--output", archive]).await;
    assert!(again.err.starts_with("Error: Refusing to overwrite existing"), "{}", again.err);
    let inside = run(home.path(), &["backup", "create", "--output", "~/desk/"]).await;
    assert!(inside.err.starts_with("Error: Backup output must not be written inside"));
    let other = run(home.path(), &["backup", "verify", "desk/AGENTS.md"]).await;
    assert!(other.code == 1 && other.err.starts_with("Error: "), "{}", other.err);
}

async fn ask(gateway: &Gateway, args: &[&str]) -> Run {
    let port = gateway.port.to_string();
    let vars = [("OPENCLAW_GATEWAY_PORT", port.as_str())];
    run_with(gateway.home.path(), &vars, &[&["--dev"], args].concat()).await
}

#[tokio::test]
async fn runs_of_jobs_are_tasks() {
    let gateway = Gateway::start(json!({})).await;
    let empty = ask(&gateway, &["tasks", "--json"]).await.json();
    assert_eq!(empty, json!({"count": 0, "runtime": null, "status": null, "tasks": []}));
    let add = ["cron", "add", "--name", "tidy", "--at", "2h", "--session", "isolated"];
    let add = [&add[..], &["--message", "hello", "--no-deliver", "--json"]].concat();
    let job = ask(&gateway, &add).await.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(ask(&gateway, &["cron", "run", &job]).await.code, 0);
    let mut task = Value::Null;
    for _ in 0..300 {
        let listed = ask(&gateway, &["tasks", "list", "--runtime", "cron", "--json"]).await.json();
        task = listed["tasks"][0].clone();
        if task["status"] == "succeeded" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!((&task["status"], &task["sourceId"]), (&json!("succeeded"), &json!(job)));
    assert_eq!((&task["label"], &task["scopeKind"]), (&json!("tidy"), &json!("system")));
    let id = task["taskId"].as_str().unwrap();
    let shown = ask(&gateway, &["tasks", "show", id, "--json"]).await.json();
    assert_eq!(shown, task);
    let quiet = ask(&gateway, &["tasks", "notify", id, "done_only"]).await;
    assert_eq!(quiet.out, format!("Updated {id} notify policy to done_only.\n"));
    let over = ask(&gateway, &["tasks", "cancel", id]).await;
    assert_eq!((over.code, over.err.as_str()), (1, "Task is already terminal.\n"));
    let audit = ask(&gateway, &["tasks", "audit", "--json"]).await.json();
    assert_eq!((&audit["count"], &audit["summary"]["combined"]["total"]), (&json!(0), &json!(0)));
    let kept = ask(&gateway, &["tasks", "maintenance", "--apply", "--json"]).await.json();
    assert_eq!(kept["tasks"]["byStatus"]["succeeded"], 1);
    let cases: [(&[&str], &str); 3] = [
        (&["show", "nope"], "Task not found: nope\n"),
        (&["flow", "show", "nope"], "TaskFlow not found: nope\n"),
        (&["flow", "cancel", "nope"], "Flow not found: nope\n"),
    ];
    for (args, err) in cases {
        let run = ask(&gateway, &[&["tasks"], args].concat()).await;
        assert_eq!((run.code, run.err.as_str()), (1, err), "{args:?}");
    }
}

#[tokio::test]
async fn turns_are_tasks_and_the_status_counts_them() {
    let gateway = Gateway::start(json!({})).await;
    let turn = ask(&gateway, &["agent", "--message", "hello", "--json"]).await.json();
    let listed = ask(&gateway, &["tasks", "list", "--runtime", "cli", "--json"]).await.json();
    let task = &listed["tasks"][0];
    assert_eq!((&listed["count"], &task["status"]), (&json!(1), &json!("succeeded")));
    assert_eq!((&task["runId"], &task["sourceId"]), (&turn["runId"], &turn["runId"]));
    assert_eq!((&task["task"], &task["scopeKind"]), (&json!("hello"), &json!("session")));
    assert_eq!(task["childSessionKey"], task["ownerKey"]);
    let status = ask(&gateway, &["status", "--json"]).await.json();
    let tasks = &status["tasks"];
    assert_eq!((&tasks["total"], &tasks["terminal"]), (&json!(1), &json!(1)));
    assert_eq!((&tasks["active"], &tasks["byStatus"]["succeeded"]), (&json!(0), &json!(1)));
    assert_eq!(tasks["byRuntime"]["cli"], 1);
    assert_eq!(status["taskAudit"]["total"], 0);
}
