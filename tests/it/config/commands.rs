//! `config …` and the start of the gateway on the command line, case by case.
//! The numbers are those of the list of cases that the Node gateway was
//! recorded with; the recorded outputs themselves are in `tests/it/cli`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::program::command;

struct Desk {
    home: TempDir,
}

struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Desk {
    fn new(text: Option<&str>) -> Self {
        let desk = Self { home: tempfile::tempdir().unwrap() };
        if let Some(text) = text {
            fs::create_dir_all(desk.state()).unwrap();
            fs::write(desk.file(), text).unwrap();
        }
        desk
    }

    fn state(&self) -> PathBuf {
        self.home.path().join(".openclaw")
    }

    fn file(&self) -> PathBuf {
        self.state().join("openclaw.json")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }

    async fn with(&self, args: &[&str], vars: &[(&str, &str)]) -> Said {
        let output =
            command(self.home.path()).args(args).envs(vars.iter().copied()).output().await.unwrap();
        let text = |bytes: Vec<u8>| {
            String::from_utf8(bytes).unwrap().replace(self.home.path().to_str().unwrap(), "$HOME")
        };
        Said {
            code: output.status.code().unwrap(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    async fn run(&self, args: &[&str]) -> Said {
        self.with(args, &[]).await
    }

    async fn set(&self, path: &str, value: &str) -> Said {
        self.run(&["config", "set", path, value]).await
    }
}

#[tokio::test]
async fn cases_54_to_67_the_file_from_the_command_line() {
    let desk = Desk::new(None);
    let said = desk.run(&["config", "validate"]).await;
    assert_eq!(
        (said.code, said.err.trim_end()),
        (1, "Config file not found: ~/.openclaw/openclaw.json"),
        "54"
    );
    let said = desk.run(&["config", "validate", "--json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&said.out).unwrap()["error"], "file not found", "54");
    assert_eq!(desk.set("gateway.mode", "local").await.code, 0, "55");
    let mode = |path: PathBuf| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(desk.file()), mode(desk.state())), (0o600, 0o700), "55");
    assert!(desk.text().contains("lastTouchedVersion"), "55");
    let said = desk.set("gateway.port", "21420").await;
    assert!(
        said.err.starts_with("Config overwrite: $HOME/.openclaw/openclaw.json (sha256 "),
        "56: {}",
        said.err
    );
    assert!(
        desk.text().contains("\"port\": 21420") && desk.state().join("openclaw.json.bak").exists(),
        "56"
    );
    let before = desk.text();
    for (path, value, part) in [
        ("gateway.port", "abc", "gateway.port: Invalid input: expected number, received string"),
        ("gateway.prot", "1", "Unrecognized key: \"prot\""),
        ("__proto__.x", "1", "Invalid path segment: __proto__"),
    ] {
        let said = desk.set(path, value).await;
        assert!(said.code == 1 && said.err.contains(part), "57: {}", said.err);
    }
    assert_eq!(desk.text(), before, "57");
    desk.set("gateway.auth.token", "t").await;
    let said = desk.set("gateway.auth.mode", "password").await;
    assert!(
        said.out.contains("Removed inactive gateway.auth.token for gateway.auth.mode=password."),
        "58: {}",
        said.out
    );
    assert!(!desk.text().contains("\"token\""), "58");
    for port in 1..=6 {
        desk.set("gateway.port", &port.to_string()).await;
    }
    let mut copies: Vec<String> = fs::read_dir(desk.state())
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|name| name.contains(".bak"))
        .collect();
    copies.sort();
    assert_eq!(
        copies,
        ["", ".1", ".2", ".3", ".4"].map(|end| format!("openclaw.json.bak{end}")),
        "59"
    );
    assert!(copies.iter().all(|name| mode(desk.state().join(name)) == 0o600), "59");
    // 60, 61: comments and variables, set or not, stay where they are.
    let text = "{\n  // who may enter\n  gateway: {auth: {token: '${MYTOK}'}, port: 1},\n  ui: {assistant: {name: '${NOPE}'}},\n}\n";
    let desk = Desk::new(Some(text));
    assert_eq!(desk.with(&["config", "set", "gateway.port", "2"], &[("MYTOK", "v")]).await.code, 0);
    for kept in ["// who may enter", "'${MYTOK}'", "'${NOPE}'"] {
        assert!(desk.text().contains(kept), "60, 61: {}", desk.text());
    }
    // 62: an include stays one; what it provides is changed in its own file.
    let desk = Desk::new(Some("{agents: {$include: './agents.json'}}"));
    fs::write(desk.state().join("agents.json"), "{list: [{id: 'a'}]}").unwrap();
    assert_eq!(desk.set("ui.seamColor", "#112233").await.code, 0, "62");
    assert!(desk.text().contains("{agents: {$include: './agents.json'}"), "62: {}", desk.text());
    let said = desk.set("agents.list[0].id", "b").await;
    assert!(
        said.code == 1
            && said.err.contains(
                "config path agents.list.0.id is provided by an include; edit ./agents.json"
            ),
        "62: {}",
        said.err
    );
    // 63: a command changes what it was asked to; no defaults get into the file.
    let desk = Desk::new(Some("{gateway: {bind: '0.0.0.0'}}"));
    desk.set("ui.seamColor", "#112233").await;
    assert!(
        !desk.text().contains("commands") && !desk.text().contains("messages"),
        "63: {}",
        desk.text()
    );
    // 64: sections without an effect are kept as they are.
    let sample = include_str!("../../fixtures/config/samples/09-inert-kitchen-sink.json5");
    let desk = Desk::new(Some(sample));
    assert_eq!(desk.set("ui.seamColor", "#112233").await.code, 0, "64");
    let value = |text: &str| {
        let mut value = openclaw::config::json5::value(text).unwrap();
        for key in ["ui", "meta"] {
            value.as_object_mut().unwrap().shift_remove(key);
        }
        value
    };
    assert_eq!(value(&desk.text()), value(sample), "64");
    // 65: what `get` shows.
    let desk = Desk::new(Some(
        "{gateway:{auth:{token:'s3cr3t-value'}},talk:{apiKey:{source:'env',provider:'default',id:'K'}}}",
    ));
    assert_eq!(
        desk.run(&["config", "get", "gateway.auth.token"]).await.out,
        "__OPENCLAW_REDACTED__\n",
        "65"
    );
    assert!(desk.run(&["config", "get", "talk.apiKey"]).await.out.contains("\"id\": \"K\""), "65");
    let said = desk.run(&["config", "get", "no.such"]).await;
    assert_eq!((said.code, said.err.trim_end()), (1, "Config path not found: no.such"), "65");
    // 66: a broken file stops every command that needs it.
    let desk = Desk::new(Some("{foo:1}"));
    for args in [
        &["models", "list"][..],
        &["config", "get", "ui"],
        &["config", "set", "ui.seamColor", "1"],
        &["agents", "list"],
        &["secrets", "reload"],
    ] {
        let said = desk.run(args).await;
        assert_eq!(said.code, 1, "66 {args:?}");
        assert!(said.err.starts_with("Config invalid\nFile: ~/.openclaw/openclaw.json\nProblem:\n  - <root>: Unrecognized key: \"foo\"\n\nRun: openclaw doctor --fix"), "66 {args:?}: {}", said.err);
    }
    // 67: profiles.
    let desk = Desk::new(None);
    for (args, expected) in [
        (&["--profile", "work", "config", "file"][..], "~/.openclaw-work/openclaw.json\n"),
        (&["--dev", "config", "file"], "~/.openclaw-dev/openclaw.json\n"),
    ] {
        assert_eq!(desk.run(args).await.out, expected, "67");
    }
    for (args, expected) in [
        (
            &["--dev", "--profile", "x", "config", "file"][..],
            "[openclaw] Cannot combine --dev with --profile",
        ),
        (
            &["--profile", "a/b", "config", "file"],
            "[openclaw] Invalid --profile (use letters, numbers, \"_\", \"-\" only)",
        ),
    ] {
        let said = desk.run(args).await;
        assert_eq!((said.code, said.err.trim_end()), (2, expected), "67");
    }
    let state = [("OPENCLAW_STATE_DIR", "~/st")];
    assert_eq!(desk.with(&["config", "file"], &state).await.out, "~/st/openclaw.json\n", "67b");
    let desk = Desk::new(Some("{}"));
    assert_eq!(
        desk.with(&["config", "file"], &state).await.out,
        "~/.openclaw/openclaw.json\n",
        "67b"
    );
}

#[tokio::test]
async fn cases_68_and_69_what_stops_a_start() {
    let cases = [
        (
            "68 no file",
            None,
            "Missing config. Run `openclaw setup` or set gateway.mode=local (or pass --allow-unconfigured).",
        ),
        (
            "68 no mode",
            Some("{}"),
            "Gateway start blocked: set gateway.mode=local (current: unset) or pass --allow-unconfigured.",
        ),
        (
            "68 remote",
            Some("{gateway:{mode:'remote'}}"),
            "Gateway start blocked: set gateway.mode=local (current: remote) or pass --allow-unconfigured.",
        ),
        (
            "69 a password that is not there",
            Some("{gateway:{mode:'local',auth:{mode:'password'}}}"),
            "Gateway auth is set to password, but no password is configured.",
        ),
        (
            "69 token and password",
            Some("{gateway:{mode:'local',auth:{token:'a',password:'b'}}}"),
            "gateway.auth.token and gateway.auth.password are both configured, but gateway.auth.mode is unset.",
        ),
        (
            "69 open on the lan",
            Some("{gateway:{mode:'local',bind:'lan',auth:{mode:'none'}}}"),
            "Refusing to bind gateway to lan without auth.",
        ),
        (
            "69 custom to nowhere",
            Some("{gateway:{mode:'local',bind:'custom',auth:{mode:'token',token:'t'}}}"),
            "gateway.bind=custom requires gateway.customBindHost",
        ),
        (
            "69 a proxy without proxies",
            Some(
                "{gateway:{mode:'local',auth:{mode:'trusted-proxy',trustedProxy:{userHeader:'x-u'}}}}",
            ),
            "gateway auth mode=trusted-proxy requires gateway.trustedProxies to be configured with at least one proxy IP",
        ),
        (
            "69 one token for two",
            Some(
                "{gateway:{mode:'local',auth:{mode:'token',token:'t'}},hooks:{enabled:true,token:'t'}}",
            ),
            "hooks.token must not match gateway auth token.",
        ),
        (
            "69 hooks without token",
            Some("{gateway:{mode:'local',auth:{mode:'token',token:'t'}},hooks:{enabled:true}}"),
            "hooks.enabled requires hooks.token",
        ),
    ];
    for (name, text, expected) in cases {
        let desk = Desk::new(text);
        let said = desk.run(&["gateway", "--port", "1"]).await;
        assert_eq!(said.code, 1, "{name}: {}", said.err);
        assert!(said.err.contains(expected), "{name}: {}", said.err);
    }
}
