//! Skills from a registry and models from a catalogue, both served here.

use std::fs;
use std::io::{Cursor, Write};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Query, State};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{Run, run_with};

/// A skill as the registry hands it out.
fn archive(text: &str) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    writer.start_file("SKILL.md", zip::write::SimpleFileOptions::default()).unwrap();
    writer.write_all(format!("---\nname: tea\ndescription: d\n---\n{text}").as_bytes()).unwrap();
    writer.finish().unwrap().into_inner()
}

#[expect(clippy::disallowed_methods, reason = "a server of the test, which ends with it")]
async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

/// A registry whose latest version of the skill `tea` can be moved on.
async fn registry(latest: &Arc<Mutex<&'static str>>) -> String {
    type Latest = State<Arc<Mutex<&'static str>>>;
    type Params = Query<std::collections::HashMap<String, String>>;
    let search = |params: Params| async move {
        let found = json!([{"slug": "tea", "displayName": "Tea", "version": "1.0.0",
            "summary": format!("asked for {}", params["q"])}]);
        json!({ "results": found }).to_string()
    };
    let detail = |State(latest): Latest| async move {
        let version = *latest.lock().unwrap();
        json!({"skill": {"slug": "tea"}, "latestVersion": {"version": version}}).to_string()
    };
    let download = |params: Params| async move { archive(&params["version"]) };
    let router = Router::new()
        .route("/api/v1/search", get(search))
        .route("/api/v1/skills/tea", get(detail))
        .route("/api/v1/download", get(download))
        .with_state(Arc::clone(latest));
    serve(router).await
}

#[tokio::test]
async fn skills_are_found_installed_and_brought_up_to_date() {
    let home = tempfile::tempdir().unwrap();
    let latest = Arc::new(Mutex::new("1.0.0"));
    let url = registry(&latest).await;
    let ask = async |args: &[&str]| -> Run {
        let args = [&["skills"], args].concat();
        run_with(home.path(), &[("OPENCLAW_CLAWHUB_URL", &url)], &args).await
    };
    let found = ask(&["search", "green", "tea"]).await;
    assert_eq!(found.out, "tea v1.0.0  Tea  asked for green tea\n", "{}", found.err);
    let found = ask(&["search", "--json"]).await.json();
    assert_eq!(found["results"][0]["summary"], "asked for *");
    let workspace = home.path().join(".openclaw/workspace");
    let target = workspace.join("skills/tea");
    let installed = ask(&["install", "tea"]).await;
    let said = format!("Installed tea@1.0.0 -> {}\n", target.display());
    assert_eq!((installed.code, installed.out), (0, said), "{}", installed.err);
    assert!(fs::read_to_string(target.join("SKILL.md")).unwrap().ends_with("1.0.0"));
    let lock = fs::read_to_string(workspace.join(".clawhub/lock.json")).unwrap();
    let lock: Value = serde_json::from_str(&lock).unwrap();
    assert_eq!(lock["skills"]["tea"]["version"], "1.0.0");
    let again = ask(&["install", "tea"]).await;
    assert!(again.code == 1 && again.err.starts_with("Skill already exists at "), "{}", again.err);
    assert_eq!(ask(&["update", "--all"]).await.out, "tea already at 1.0.0\n");
    *latest.lock().unwrap() = "1.1.0";
    assert_eq!(ask(&["update", "tea"]).await.out, "Updated tea: 1.0.0 -> 1.1.0\n");
    assert!(fs::read_to_string(target.join("SKILL.md")).unwrap().ends_with("1.1.0"));
    let older = ask(&["install", "tea", "--force", "--version", "1.0.0"]).await;
    assert_eq!(older.code, 0, "{}", older.err);
    let cases: [(&[&str], &str); 4] = [
        (&["install", "../evil"], "Invalid skill slug: ../evil\n"),
        (&["install", "nope"], "ClawHub /api/v1/skills/nope failed (404): \n"),
        (&["update"], "Provide a skill slug or use --all.\n"),
        (&["update", "other"], "Skill \"other\" is not tracked as a ClawHub install.\n"),
    ];
    for (args, err) in cases {
        let refused = ask(args).await;
        assert_eq!((refused.code, refused.err.as_str()), (1, err), "{args:?}");
    }
}

/// A catalogue of three models; the second calls no tools, the third is not free.
async fn catalogue() -> String {
    let models = json!({"data": [
        {"id": "a/good-70b:free", "modality": "text+image->text", "context_length": 65536},
        {"id": "b/mute:free", "context_length": 4096},
        {"id": "c/paid", "pricing": {"prompt": "0.1", "completion": "0.1"}},
    ]});
    let answer = |body: String| async move {
        let asked: Value = serde_json::from_str(&body).unwrap();
        let calls = asked["model"] == "a/good-70b:free" && asked["tools"].is_array();
        let message = if calls {
            json!({"tool_calls": [{"id": "1", "function": {"name": "ping", "arguments": "{}"}}]})
        } else {
            json!({"content": "OK"})
        };
        json!({"choices": [{"message": message}]}).to_string()
    };
    let router = Router::new()
        .route("/models", get(move || async move { models.to_string() }))
        .route("/chat/completions", post(answer));
    serve(router).await
}

#[tokio::test]
async fn free_models_are_tried_and_the_best_become_fallbacks() {
    let home = tempfile::tempdir().unwrap();
    let url = catalogue().await;
    let state = home.path().join(".openclaw");
    fs::create_dir(&state).unwrap();
    let config = json!({"models": {"providers": {"openrouter": {"baseUrl": url,
        "api": "openai-completions", "models": []}}}});
    fs::write(state.join("openclaw.json"), config.to_string()).unwrap();
    let scan = async |args: &[&str], key: &str| -> Run {
        let args = [&["models", "scan"], args].concat();
        run_with(home.path(), &[("OPENROUTER_API_KEY", key)], &args).await
    };
    let keyless = run_with(home.path(), &[], &["models", "scan", "--yes"]).await;
    let missing = "Error: Missing OpenRouter API key. Set OPENROUTER_API_KEY to run models scan.\n";
    assert_eq!((keyless.code, keyless.err.as_str()), (1, missing));
    let listed = run_with(home.path(), &[], &["models", "scan", "--no-probe", "--json"]).await;
    let listed = listed.json();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert_eq!(
        (&listed[0]["id"], &listed[0]["inferredParamB"]),
        (&json!("a/good-70b:free"), &json!(70.0))
    );
    assert_eq!(listed[0]["tool"], json!({"ok": false, "latencyMs": null, "skipped": true}));
    let chosen = scan(&["--json", "--set-default"], "sk").await;
    let chosen = chosen.json();
    assert_eq!(chosen["selected"], json!(["openrouter/a/good-70b:free"]));
    assert_eq!(chosen["selectedImages"], json!(["openrouter/a/good-70b:free"]));
    let mute = chosen["results"].as_array().unwrap().iter().find(|it| it["id"] == "b/mute:free");
    assert_eq!(mute.unwrap()["tool"]["error"], "No tool call returned");
    let config: Value =
        serde_json::from_str(&fs::read_to_string(state.join("openclaw.json")).unwrap()).unwrap();
    let model = &config["agents"]["defaults"]["model"];
    assert_eq!(model["primary"], "openrouter/a/good-70b:free");
    let bad = scan(&["--max-candidates", "0"], "sk").await;
    assert_eq!(bad.err, "Error: --max-candidates must be > 0\n");
    let none = scan(&["--provider", "b", "--yes"], "sk").await;
    assert_eq!(none.err, "Error: No tool-capable OpenRouter free models found.\n");
}
