//! Setting everything up from a script, and commands that only look around.

use std::fs;

use serde_json::{Value, json};

use super::{run, run_with};
use crate::support::program::{Gateway, free_port, on_a_terminal};

#[tokio::test]
async fn a_script_sets_everything_up_with_one_command() {
    let home = tempfile::tempdir().unwrap();
    let refused = run(home.path(), &["onboard", "--non-interactive"]).await;
    assert_eq!(refused.code, 1);
    assert!(refused.err.starts_with("Non-interactive setup requires explicit risk"));
    let port = free_port().to_string();
    let setup = ["onboard", "--non-interactive", "--accept-risk", "--openai-api-key", "sk-x"];
    let setup = [&setup[..], &["--gateway-port", &port, "--skip-health", "--json"]].concat();
    let done = run(home.path(), &setup).await;
    assert_eq!(done.code, 0, "{}", done.err);
    let report = done.json();
    assert_eq!((&report["ok"], &report["authChoice"]), (&json!(true), &json!("openai-api-key")));
    assert_eq!(report["gateway"]["authMode"], "token");
    let state = home.path().join(".openclaw");
    let read = |file: &str| -> Value {
        serde_json::from_str(&fs::read_to_string(state.join(file)).unwrap()).unwrap()
    };
    let config = read("openclaw.json");
    assert_eq!(config["gateway"]["port"].to_string(), port);
    assert_eq!(config["auth"]["profiles"]["openai:default"]["mode"], "api_key");
    assert_eq!(config["wizard"]["lastRunCommand"], "onboard");
    assert!(config["agents"]["defaults"]["model"]["primary"].as_str().unwrap().contains("openai/"));
    let stored = read("agents/main/agent/auth-profiles.json");
    assert_eq!(stored["profiles"]["openai:default"]["key"], "sk-x");
    assert!(state.join("workspace").is_dir());

    // Once more: the token stays.
    let again = run(home.path(), &setup).await;
    assert_eq!(again.code, 0, "{}", again.err);
    let kept = read("openclaw.json");
    assert_eq!(kept["gateway"]["auth"]["token"], config["gateway"]["auth"]["token"]);
    let two = ["--openai-api-key", "a", "--xai-api-key", "b", "--skip-health"];
    let two = [&["onboard", "--non-interactive", "--accept-risk"], &two[..]].concat();
    let two = run(home.path(), &two).await;
    assert!(two.code == 1 && two.err.contains("Multiple API key flags"), "{}", two.err);
}

#[tokio::test]
async fn a_setup_waits_for_a_gateway_that_runs() {
    let gateway = Gateway::start(json!({})).await;
    let port = gateway.port.to_string();
    let setup = ["--dev", "onboard", "--non-interactive", "--accept-risk", "--gateway-port", &port];
    let setup = [&setup[..], &["--auth-choice", "skip", "--json"]].concat();
    let vars = [("OPENCLAW_GATEWAY_PORT", port.as_str())];
    let done = run_with(gateway.home.path(), &vars, &setup).await;
    assert_eq!((done.code, &done.json()["ok"]), (0, &json!(true)), "{}", done.err);
}

#[tokio::test]
async fn a_remote_gateway_needs_only_its_address() {
    let home = tempfile::tempdir().unwrap();
    let remote = ["onboard", "--non-interactive", "--accept-risk", "--mode", "remote"];
    let missing = run(home.path(), &remote).await;
    assert_eq!(missing.err, "Missing --remote-url for remote mode.\n");
    let given = ["--remote-url", "wss://gw.example:443", "--remote-token", "t", "--json"];
    let done = run(home.path(), &[&remote[..], &given].concat()).await;
    let report = json!({"mode": "remote", "remoteUrl": "wss://gw.example:443", "auth": "token"});
    assert_eq!(done.json(), report);
}

#[tokio::test]
async fn a_person_is_asked_on_a_terminal_and_asked_again_where_an_answer_is_none() {
    let home = tempfile::tempdir().unwrap();
    let read = |file: &str| -> Value {
        let text = fs::read_to_string(home.path().join(".openclaw").join(file)).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let ask = async |args: &str, answers: &[&str]| {
        let (code, shown) = on_a_terminal(home.path(), &[], args, answers).await;
        assert_eq!(code, 0, "{args}: {shown}");
        shown
    };
    let (code, shown) = on_a_terminal(home.path(), &[], "onboard", &["n"]).await;
    assert!(code == 1 && shown.contains("Setup cancelled."), "{shown}");
    assert!(!home.path().join(".openclaw/openclaw.json").exists());

    let port = free_port().to_string();
    // Risk, workspace, models, key, port, bind (twice: the first is none), how to prove, service.
    let answers = ["y", "", "openai", "sk-first", &port, "moon", "loopback", "token", "n"];
    let shown = ask("onboard --skip-health", &answers).await;
    assert_eq!(shown.matches("Who may connect").count(), 2, "{shown}");
    let config = read("openclaw.json");
    assert_eq!(config["gateway"]["port"].to_string(), port);
    let token = config["gateway"]["auth"]["token"].as_str().unwrap();
    assert!(!shown.contains(token), "{shown}");
    let profiles = "agents/main/agent/auth-profiles.json";
    assert_eq!(read(profiles)["profiles"]["openai:default"]["key"], "sk-first");

    let answers = ["custom", "http://127.0.0.1:1/v1", "tiny", "openai", "sk-own"];
    ask("configure --section model", &answers).await;
    let config = read("openclaw.json");
    let model = config["agents"]["defaults"]["model"]["primary"].as_str().unwrap();
    assert!(model.ends_with("/tiny"), "{model}");
    assert_eq!(config["gateway"]["auth"]["token"], token);

    ask("models auth add", &["anthropic", "token", "anthropic:work", "365d", "tok-work"]).await;
    ask("models auth add", &["xai", "key", "api-key", "", "sk-xai"]).await;
    ask("models auth login --provider openai", &["sk-second"]).await;
    let stored = read(profiles);
    let work = &stored["profiles"]["anthropic:work"];
    assert_eq!((&work["type"], &work["token"]), (&json!("token"), &json!("tok-work")));
    assert!(work["expires"].as_u64().is_some());
    assert_eq!(stored["profiles"]["xai:manual"]["key"], "sk-xai");
    assert_eq!(stored["profiles"]["openai:default"]["key"], "sk-second");
}

#[tokio::test]
async fn questions_need_a_terminal_and_say_what_scripts_use_instead() {
    let home = tempfile::tempdir().unwrap();
    for (args, way_out) in [
        (&["onboard"][..], "onboard --non-interactive"),
        (&["setup", "--wizard"], "onboard --non-interactive"),
        (&["configure"], "config set"),
        (&["configure", "--section", "channels"], "channels add"),
        (&["models", "auth", "login"], "requires an interactive TTY"),
        (&["models", "auth", "add"], "requires an interactive TTY"),
        (&["models", "auth", "setup-token"], "requires an interactive TTY"),
    ] {
        let asked = run(home.path(), args).await;
        assert_eq!(asked.code, 1, "{args:?}");
        assert!(asked.err.contains(way_out), "{args:?}: {}", asked.err);
    }
}

#[tokio::test]
async fn commands_without_a_counterpart_name_the_way_out() {
    let home = tempfile::tempdir().unwrap();
    for (args, way_out) in [
        (&["tui"][..], "npx openclaw@2026.4.2 tui"),
        (&["node", "run"], "npx openclaw@2026.4.2 node run"),
        (&["webhooks", "gmail", "setup"], "hooks.mappings"),
        (&["plugins", "install", "x"], "openclaw mcp set"),
        (&["hooks", "update", "--all"], "cron add"),
    ] {
        let asked = run(home.path(), args).await;
        assert_eq!((asked.code, asked.out.as_str()), (1, ""), "{args:?}");
        assert!(asked.err.contains(way_out), "{args:?}: {}", asked.err);
    }
}

#[tokio::test]
async fn what_is_built_in_is_listed_and_what_is_not_is_an_error() {
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join(".openclaw");
    fs::create_dir(&state).unwrap();
    let config = json!({
        "channels": {"irc": {"host": "irc.example", "nick": "claw", "channels": ["#claw"],
            "allowFrom": ["Bob!b@h"]}},
        "plugins": {"entries": {"voice-call": {"enabled": true}}},
    });
    fs::write(state.join("openclaw.json"), config.to_string()).unwrap();
    let listed = run(home.path(), &["plugins", "list", "--json"]).await.json();
    let of = |id: &str| {
        let plugins = listed["plugins"].as_array().unwrap();
        plugins.iter().find(|plugin| plugin["id"] == id).unwrap().clone()
    };
    assert_eq!(
        (&of("irc")["status"], &of("telegram")["status"]),
        (&json!("loaded"), &json!("disabled"))
    );
    assert_eq!(of("irc")["channelIds"], json!(["irc"]));
    assert_eq!(of("voice-call")["status"], "error");
    assert_eq!(listed["diagnostics"][0]["pluginId"], "voice-call");
    let doctor = run(home.path(), &["plugins", "doctor"]).await;
    assert!(doctor.out.contains("- voice-call: this gateway runs no plugins"), "{}", doctor.out);
    let off = run(home.path(), &["plugins", "disable", "voice-call"]).await;
    assert_eq!(off.out, "Disabled plugin \"voice-call\". Restart the gateway to apply.\n");
    let fine = run(home.path(), &["plugins", "doctor"]).await;
    assert_eq!(fine.out, "No plugin issues detected.\n");

    let groups = run(home.path(), &["directory", "groups", "list", "--json"]).await.json();
    assert_eq!(groups, json!([{"kind": "group", "id": "#claw", "name": "#claw"}]));
    let peers = run(home.path(), &["directory", "peers", "list", "--json"]).await.json();
    assert_eq!(peers, json!([{"kind": "user", "id": "bob!b@h"}]));
    let own = run(home.path(), &["directory", "self"]).await;
    assert_eq!((own.code, own.out.as_str()), (0, "Not available.\n"));
    let sandbox = run(home.path(), &["sandbox", "list", "--json"]).await.json();
    assert_eq!(sandbox, json!({"containers": [], "browsers": []}));
    let explained = run(home.path(), &["sandbox", "explain", "--json"]).await.json();
    assert_eq!(explained["sandbox"]["sessionIsSandboxed"], false);
    let docs = run(home.path(), &["docs"]).await;
    assert!(docs.out.starts_with("Docs: https://docs.openclaw.ai/\n"), "{}", docs.out);
    let dns = run(home.path(), &["dns", "setup", "--domain", "claw.internal"]).await;
    assert!(dns.code == 0 && dns.out.contains("claw.internal.db"), "{}", dns.out);
}
