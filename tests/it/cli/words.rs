//! What the program says without a gateway: complaints, exit codes, streams.

use std::fs;

use super::{run, run_with};

#[tokio::test]
async fn the_version_has_the_shape_that_installers_parse() {
    let home = tempfile::tempdir().unwrap();
    for flag in ["--version", "-V", "-v"] {
        let run = run(home.path(), &[flag]).await;
        let (lead, commit) = run.out.trim_end().rsplit_once(" (").unwrap();
        assert_eq!(lead, format!("OpenClaw {}", env!("CARGO_PKG_VERSION")));
        let commit = commit.strip_suffix(')').unwrap();
        assert!(commit.len() == 7 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!((run.code, run.err.as_str()), (0, ""));
    }
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "a question leaves no file");
}

#[tokio::test]
async fn bad_root_flags_exit_with_2_and_bad_commands_with_1() {
    let home = tempfile::tempdir().unwrap();
    let cases: [(&[&str], i32, &str); 7] = [
        (
            &["--profile", "bad name", "status"],
            2,
            "[openclaw] Invalid --profile (use letters, numbers, \"_\", \"-\" only)\n",
        ),
        (
            &["--profile", "a", "--dev", "status"],
            2,
            "[openclaw] Cannot combine --dev with --profile\n",
        ),
        (&["status", "--profile"], 2, "[openclaw] --profile requires a value\n"),
        (&["bogus"], 1, "error: unknown command 'bogus'\n(Did you mean logs?)\n"),
        (&["health", "--bogus"], 1, "error: unknown option '--bogus'\n"),
        (&["agent"], 1, "error: required option '-m, --message <text>' not specified\n"),
        (
            &["acp"],
            1,
            "openclaw acp is not part of this gateway: the bridge for editors (ACP) is part of the \
             Node program, which works with this gateway: npx openclaw@2026.4.2 acp\n",
        ),
    ];
    for (args, code, err) in cases {
        let run = run(home.path(), args).await;
        assert_eq!((run.code, run.err.as_str(), run.out.as_str()), (code, err, ""), "{args:?}");
    }
}

#[tokio::test]
async fn a_gateway_that_is_away_is_named_with_its_target() {
    let home = tempfile::tempdir().unwrap();
    let details = format!(
        "gateway closed (1006 abnormal closure (no close frame)): no close reason\n\
         Gateway target: ws://127.0.0.1:1\nSource: local loopback\nConfig: {}\nBind: loopback\n",
        home.path().join(".openclaw/openclaw.json").display()
    );
    let cases: [(&[&str], &str); 4] = [
        (&["health", "--json"], "[openclaw] Failed to start CLI: Error: "),
        (&["gateway", "call", "health"], "Gateway call failed: Error: "),
        (&["gateway", "usage-cost"], "Gateway usage cost failed: Error: "),
        (&["system", "presence"], "Error: "),
    ];
    for (args, lead) in cases {
        let run = run_with(home.path(), &[("OPENCLAW_GATEWAY_PORT", "1")], args).await;
        assert_eq!((run.code, run.err.as_str()), (1, format!("{lead}{details}").as_str()));
        assert_eq!(run.out, "", "{args:?}");
    }
}

#[tokio::test]
async fn looking_at_a_gateway_that_is_away_is_no_failure() {
    let home = tempfile::tempdir().unwrap();
    let port = [("OPENCLAW_GATEWAY_PORT", "1")];
    let status = run_with(home.path(), &port, &["status", "--json"]).await;
    assert_eq!(status.code, 0);
    assert_eq!(status.json()["gateway"]["error"], "gateway closed (1006): ");
    let gateway = run_with(home.path(), &port, &["gateway", "status", "--json"]).await;
    assert_eq!((gateway.code, &gateway.json()["rpc"]["ok"]), (0, &false.into()));
    let channels = run_with(home.path(), &port, &["channels", "status", "--json"]).await;
    assert_eq!((channels.code, &channels.json()["configOnly"]), (0, &true.into()));
    let probe = run_with(home.path(), &port, &["gateway", "probe", "--json"]).await;
    assert_eq!((probe.code, &probe.json()["ok"]), (1, &false.into()));
    let required =
        run_with(home.path(), &port, &["gateway", "status", "--json", "--require-rpc"]).await;
    assert_eq!(required.code, 1);
}

#[tokio::test]
async fn configured_credentials_never_go_to_a_url_of_the_command_line() {
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join(".openclaw");
    fs::create_dir(&state).unwrap();
    fs::write(state.join("openclaw.json"), r#"{gateway:{auth:{token:"secret"}}}"#).unwrap();
    let run = run(home.path(), &["gateway", "call", "health", "--url", "ws://127.0.0.1:1"]).await;
    assert_eq!(run.code, 1);
    assert!(
        run.err.starts_with(
            "Gateway call failed: Error: gateway url override requires explicit credentials\n\
             Fix: pass --token or --password (or gatewayToken in tools).\nConfig: "
        ),
        "{}",
        run.err
    );
}

#[tokio::test]
async fn an_invalid_configuration_stops_commands_but_not_those_that_explain_it() {
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join(".openclaw");
    fs::create_dir(&state).unwrap();
    fs::write(state.join("openclaw.json"), "{gateway:{bogus:1,port:1}}").unwrap();
    let block = "Config invalid\nFile: ~/.openclaw/openclaw.json\nProblem:\n  \
                 - gateway: Unrecognized key: \"bogus\"\n\nRun: openclaw doctor --fix\n";
    let stopped = run(home.path(), &["system", "presence"]).await;
    assert_eq!((stopped.code, stopped.err.as_str()), (1, block));
    let goes_on = run(home.path(), &["gateway", "status", "--json"]).await;
    assert_eq!((goes_on.code, goes_on.err.as_str()), (0, block));
    assert_eq!(goes_on.json()["config"]["cli"]["valid"], false);
}

#[tokio::test]
async fn logs_are_read_from_disk_while_the_gateway_is_away() {
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join(".openclaw");
    fs::create_dir(&state).unwrap();
    let file = home.path().join("own.log");
    let config = serde_json::json!({"gateway": {"port": 1}, "logging": {"file": file}});
    fs::write(state.join("openclaw.json"), config.to_string()).unwrap();
    let line = r#"{"0":"{\"subsystem\":\"gateway\"}","1":"hello","_meta":{"logLevelName":"INFO","name":"{\"subsystem\":\"gateway\"}"},"time":"2026-11-23T06:00:00.000+00:00"}"#;
    fs::write(&file, format!("{line}\n")).unwrap();
    let run = run(home.path(), &["logs", "--plain"]).await;
    assert_eq!(run.err, "Gateway not reachable; reading local log file\n");
    assert_eq!(
        run.out,
        format!("Log file: {}\n2026-11-23T06:00:00.000Z info gateway hello\n", file.display())
    );
    assert_eq!(run.code, 0);
}

#[tokio::test]
async fn an_install_with_a_token_that_no_file_holds_writes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join(".openclaw");
    fs::create_dir(&state).unwrap();
    let reference = serde_json::json!({"source": "file", "provider": "vault", "id": "/token"});
    let config = serde_json::json!({
        "gateway": {"mode": "local", "auth": {"mode": "token", "token": reference}},
        "secrets": {"providers": {"vault": {"source": "file", "path": home.path().join("vault.json")}}},
    });
    fs::write(state.join("openclaw.json"), config.to_string()).unwrap();
    let run = run(home.path(), &["gateway", "install", "--port", "18999"]).await;
    assert_eq!(run.code, 1, "{}", run.err);
    let said = run.out + &run.err;
    let lead =
        "Gateway install blocked: gateway.auth.token SecretRef is configured but unresolved (";
    assert!(said.contains(lead), "{said}");
    assert!(said.contains("--force"), "{said}");
    assert!(!home.path().join(".config").exists(), "no unit is left behind");
    let kept = fs::read_to_string(state.join("openclaw.json")).unwrap();
    assert_eq!(kept, config.to_string(), "and the configuration is as it was");
}
