//! `openclaw doctor` as scripts and people use it, and the page that lists its
//! checks.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use openclaw::doctor::PREFIX;
use openclaw::doctor::checks::{CHECKS, Scope};
use serde_json::{Value, json};

use crate::cli::{run, run_with};
use crate::support::program::{Gateway, TOKEN};

#[test]
fn the_page_of_checks_is_up_to_date() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/doctor.md");
    let kept = fs::read_to_string(&page).unwrap_or_default();
    let (head, _) = kept.split_once("## Checks\n").expect("the page has a part with checks");
    let wanted = format!("{head}## Checks\n{}", checks());
    if kept != wanted {
        fs::write(&page, &wanted).unwrap();
        panic!("docs/doctor.md did not fit the checks; it is written anew, look at the difference");
    }
}

/// The part of the page that is written from the code.
fn checks() -> String {
    let mut page = String::from(
        "\n<!-- Generated from the checks by `cargo test --test it cli::doctor`. -->\n",
    );
    let mut section = "";
    for check in CHECKS {
        if check.section != section {
            section = check.section;
            write!(page, "\n### {section}\n").unwrap();
        }
        let place = match check.scope {
            Scope::Everywhere => "always",
            Scope::Local => "unless `gateway.mode` is remote",
            Scope::Systemd => "with systemd",
            Scope::Launchd => "on macOS",
        };
        let repairs =
            if check.repairs.is_empty() { "nothing; it says what to do" } else { check.repairs };
        write!(
            page,
            "\n**`{PREFIX}{}`** ({place}; up to {})\n\n- Finds: {}.\n- Why: {}.\n- `--fix`: {repairs}.\n",
            check.id,
            check.severity.as_str(),
            check.finds,
            check.matters,
        )
        .unwrap();
    }
    page
}

/// Every path below `dir` with its bytes and permissions.
fn picture(dir: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut left = vec![dir.to_owned()];
    while let Some(dir) = left.pop() {
        for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
            let metadata = path.symlink_metadata().unwrap();
            if metadata.is_dir() {
                left.push(path.clone());
            }
            let bytes = if metadata.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            found.insert(path, (metadata.permissions().mode(), bytes));
        }
    }
    found
}

fn home(config: Option<&str>) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    if let Some(text) = config {
        let state = home.path().join(".openclaw");
        fs::create_dir_all(&state).unwrap();
        fs::write(state.join("openclaw.json"), text).unwrap();
    }
    home
}

/// A port on which nobody listens, for hosts whose usual port is taken.
fn quiet_port() -> String {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port().to_string()
}

#[tokio::test]
async fn a_fresh_home_is_reported_and_left_alone() {
    let home = home(None);
    let before = picture(home.path());
    let port = quiet_port();
    let vars = [("OPENCLAW_GATEWAY_PORT", port.as_str())];
    for args in [
        &["doctor"][..],
        &["doctor", "--non-interactive"],
        &["doctor", "--dry-run"],
        &["doctor", "--json"],
    ] {
        let done = run_with(home.path(), &vars, args).await;
        assert_eq!(done.code, 0, "{args:?}: {}", done.err);
        assert_eq!(picture(home.path()), before, "{args:?}");
    }
    let text = run_with(home.path(), &vars, &["doctor"]).await.out;
    for part in [
        "┌  OpenClaw doctor",
        "gateway.mode is unset; gateway start will be blocked.",
        "CRITICAL: state directory missing (~/.openclaw)",
        "Missing config: run openclaw setup first.",
        "- No channel security warnings detected.",
        "Gateway not running.",
        "Run \"openclaw doctor --fix\" to apply changes.",
        "└  Doctor complete.",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[tokio::test]
async fn lint_fails_by_severity_and_json_never_does() {
    let home = home(Some("{\"gateway\": {\"mode\": \"local\", \"bogus\": 1}}"));
    let lint = run(home.path(), &["doctor", "--lint"]).await;
    assert_eq!(lint.code, 1);
    assert!(lint.out.starts_with("doctor --lint: ran "), "{}", lint.out);
    assert!(
        lint.out
            .contains("[error] core/doctor/config-validity gateway - Unrecognized key: \"bogus\""),
        "{}",
        lint.out
    );
    let report = run(home.path(), &["doctor", "--json"]).await;
    assert_eq!(report.code, 0);
    let report = report.json();
    assert_eq!((&report["schemaVersion"], &report["ok"]), (&json!(1), &json!(false)));
    assert!(report["checksRun"].as_u64().unwrap() > 25);
    let first = &report["findings"][0];
    assert_eq!(first["checkId"], "core/doctor/config-validity");
    assert_eq!(first["severity"], "error");
    assert!(first["fixHint"].as_str().unwrap().contains("doctor --fix"), "{first}");

    let only = ["doctor", "--lint", "--only", "disk-space", "--severity-min", "error"];
    let only = run(home.path(), &only).await;
    assert_eq!(
        (only.code, only.out.as_str()),
        (0, "doctor --lint: ran 1 check(s), 0 finding(s)\n")
    );
    let skip =
        run(home.path(), &["doctor", "--json", "--skip", "core/doctor/config-validity"]).await;
    let skip = skip.json();
    assert!(
        !skip["findings"].as_array().unwrap().iter().any(|one| one["checkId"] == first["checkId"])
    );
}

#[tokio::test]
async fn wrong_words_are_refused_with_status_two() {
    let home = home(None);
    for (args, says) in [
        (["doctor", "--only", "no-such-check"], "Unknown check id \"no-such-check\""),
        (["doctor", "--severity-min", "loud"], "Invalid --severity-min \"loud\""),
    ] {
        let done = run(home.path(), &args).await;
        assert_eq!(done.code, 2);
        assert!(done.err.contains(says), "{}", done.err);
    }
    let undo = run(home.path(), &["doctor", "--undo"]).await;
    assert_eq!(undo.code, 1);
    assert!(undo.err.contains("there is no repair to undo"), "{}", undo.err);
}

#[tokio::test]
async fn fix_repairs_once_and_undo_restores_the_start() {
    let text = "{\n  // mine\n  gateway: {mode: 'local', bogus: 1},\n}\n";
    let home = home(Some(text));
    fs::create_dir_all(home.path().join(".openclaw/agents/main/sessions")).unwrap();
    let port = quiet_port();
    let vars = [
        ("OPENCLAW_GATEWAY_PORT", port.as_str()),
        ("OPENAI_API_KEY", "sk-test"),
        ("OPENCLAW_NIX_MODE", ""),
    ];
    let skip = ["--skip", "gateway-daemon", "--skip", "auth-profiles"];
    let before = picture(home.path());
    let config = home.path().join(".openclaw/openclaw.json");
    let args = [&["doctor", "--fix", "--json"][..], &skip].concat();
    let fixed = run_with(home.path(), &vars, &args).await;
    assert_eq!(fixed.code, 0, "{}", fixed.err);
    let report = fixed.json();
    let states: Vec<&Value> =
        report["repairs"].as_array().unwrap().iter().map(|one| &one["status"]).collect();
    assert!(!states.is_empty() && states.iter().all(|state| **state == "repaired"), "{report:#}");
    let after = fs::read_to_string(&config).unwrap();
    assert!(
        after.contains("// mine") && !after.contains("bogus") && after.contains("\"token\""),
        "{after}"
    );
    assert_eq!(config.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let again = run_with(home.path(), &vars, &args).await.json();
    assert!(again.get("repairs").is_none(), "{again:#}");
    let undone = run_with(home.path(), &vars, &["doctor", "--undo"]).await;
    assert_eq!(undone.code, 0, "{}", undone.err);
    assert_eq!(fs::read_to_string(&config).unwrap(), text);
    let kept = |mut found: BTreeMap<PathBuf, (u32, Vec<u8>)>| {
        // What every write of the configuration leaves: its record and its copy.
        found.retain(|path, _| {
            let path = path.to_string_lossy();
            !["/logs", "/doctor", ".bak", ".lock"].iter().any(|part| path.contains(part))
        });
        found
    };
    assert_eq!(kept(picture(home.path())), kept(before));
}

#[tokio::test]
async fn an_invalid_configuration_stops_no_check() {
    let home = home(Some("{\"gateway\": {"));
    let done = run(home.path(), &["doctor", "--non-interactive"]).await;
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(
        done.out.contains("JSON5 parse failed") && done.out.contains("Doctor complete."),
        "{}",
        done.out
    );
}

#[tokio::test]
async fn a_healthy_gateway_is_found_healthy_without_a_trace() {
    let gateway = Gateway::start(json!({})).await;
    let home = gateway.home.path();
    fs::create_dir_all(home.join(".openclaw-dev/agents/main/sessions")).unwrap();
    for path in [home.join(".openclaw-dev"), home.join(".openclaw-dev/openclaw.json")] {
        let mode = if path.is_dir() { 0o700 } else { 0o600 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let identity = home.join(".openclaw-dev/identity/device.json");
    let vars = [("OPENCLAW_GATEWAY_PORT", gateway.port.to_string())];
    let vars = [(vars[0].0, vars[0].1.as_str())];
    let began = Instant::now();
    let done = run_with(home, &vars, &["--dev", "doctor", "--json"]).await;
    println!("doctor on a healthy host: {} ms", began.elapsed().as_millis());
    let report = done.json();
    assert!(
        !report["findings"].as_array().unwrap().iter().any(|one| {
            ["core/doctor/gateway-health", "core/doctor/gateway-auth", "core/doctor/gateway-port"]
                .contains(&one["checkId"].as_str().unwrap())
        }),
        "{report:#}"
    );
    assert!(!done.out.contains(TOKEN) && !identity.exists());
    let wrong = [vars[0], ("OPENCLAW_GATEWAY_TOKEN", "not-the-token")];
    let drift = run_with(home, &wrong, &["--dev", "doctor", "--json", "--only", "token-drift"])
        .await
        .json();
    assert_eq!(drift["findings"][0]["path"], "OPENCLAW_GATEWAY_TOKEN", "{drift:#}");
}
