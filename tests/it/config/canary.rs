//! Secrets that must never show: through every command, every method, every
//! log level, on errors and in a crash.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::support::client::{ALL_SCOPES, Device, TestClient, connect_params};
use crate::support::program::{Gateway, command};

/// Part of every secret.
const CANARY: &str = "canary7f3a";

/// A secret of its own for each place.
fn secret(place: &str) -> String {
    format!("{CANARY}-{place}-{}", "x".repeat(12))
}

/// Files that are meant to hold secrets.
const STORES: &[&str] =
    &["openclaw.json", "config-last-good.json", "vault.json", "auth-profiles.json"];

/// A secret that only the environment of every program here knows.
fn hidden() -> [(&'static str, &'static str); 1] {
    [("HIDDEN_TOKEN", "canary7f3a-low-entropy")]
}

/// Everything that was said, and by whom.
#[derive(Default)]
struct Heard {
    port: u16,
    bytes: usize,
    hits: BTreeSet<String>,
    sources: usize,
}

impl Heard {
    fn listen(&mut self, source: &str, text: &str) {
        self.sources += 1;
        self.bytes += text.len();
        if let Some(at) = text.find(CANARY) {
            let from = text[..at].char_indices().rev().nth(60).map_or(0, |(at, _)| at);
            let until = text[at..].char_indices().nth(40).map_or(text.len(), |(to, _)| at + to);
            self.hits.insert(format!("{source}: …{}…", &text[from..until]));
        }
    }

    async fn run(&mut self, home: &Path, args: &[&str]) {
        let mut run = command(home);
        let run = run
            .arg("--dev")
            .args(args)
            .env("OPENCLAW_GATEWAY_PORT", self.port.to_string())
            .envs(hidden());
        let run = run.output();
        let output = tokio::time::timeout(Duration::from_secs(60), run).await;
        let output = output.unwrap_or_else(|_| panic!("{args:?} does not end")).unwrap();
        let shown = args.join(" ").replace(CANARY, "…");
        self.listen(&shown, &String::from_utf8_lossy(&output.stdout));
        self.listen(&shown, &String::from_utf8_lossy(&output.stderr));
    }

    /// Every file below `dir` that is not meant to hold secrets.
    fn files(&mut self, dir: &Path) {
        for entry in fs::read_dir(dir).unwrap().flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if path.is_dir() {
                self.files(&path);
            } else if path.is_file() && !STORES.contains(&name.as_str()) {
                let bytes = fs::read(&path).unwrap();
                self.listen(&format!("file {name}"), &String::from_utf8_lossy(&bytes));
            }
        }
    }
}

fn settings(home: &Path) -> Value {
    json!({
        "gateway": {
            "auth": {"mode": "token", "token": secret("token")},
            "remote": {"token": secret("remote"), "url": format!("wss://user:{}@h.test/", secret("url"))},
            "reload": {"debounceMs": 5},
        },
        "models": {"providers": {
            "plain": {"baseUrl": "http://127.0.0.1:9/v1", "api": "openai-completions", "apiKey": secret("key"),
                "headers": {"x-api-key": secret("header")}, "models": [{"id": "m", "name": "m"}]},
            "kept": {"baseUrl": "http://127.0.0.1:9/v1", "api": "openai-completions",
                "apiKey": {"source": "file", "provider": "vault", "id": "/kept"}, "models": [{"id": "m", "name": "m"}]},
        }},
        "channels": {
            "telegram": {"enabled": false, "botToken": secret("bot"),
                "apiRoot": format!("http://127.0.0.1:9/bot7123456789:{CANARY}bcdefghijklmnopqrstuvwxyz"),
                "proxy": format!("u:{}@127.0.0.1:9", secret("proxy"))},
            "tlon": {"enabled": false, "ship": "~zod", "code": secret("login")},
        },
        "cron": {"webhook": format!("https://hooks.slack.com/services/T01/B01/{CANARY}hook")},
        "talk": {"providers": {"x": {"extra": {"auth": secret("talk")}}}},
        "messages": {"responsePrefix": format!("https://127.0.0.1:9/${{HIDDEN_TOKEN}}/x")},
        "env": {"vars": {"SOME_KEY": secret("env")}},
        "mcp": {"servers": {
            "program": {"command": "/bin/false", "args": [format!("--token={}", secret("argument")), "--api-key", secret("option")],
                "env": {"PLAIN": secret("variable")}},
            "odd": {"command": "/bin/false", "args": ["--header", format!("Authorization: Bearer {}", secret("bearer")),
                "--passphrase", secret("passphrase"), format!("postgres://u:{}@127.0.0.1:9/x", secret("dsn"))],
                "auth": {"cookie": secret("cookie")}},
            "near": {"url": format!("http://127.0.0.1:9/{CANARY}0123456789abcdef/sse")},
            "far": {"url": format!("http://127.0.0.1:9/sse?api_key={}", secret("query")), "headers": {"x-a": secret("far")}},
        }},
        "skills": {"entries": {"s": {"apiKey": secret("skill"), "env": {"PLAIN": secret("skill-env")}}}},
        "hooks": {"enabled": true, "token": secret("hook")},
        "secrets": {"providers": {"vault": {"source": "file", "path": home.join("vault.json")}}},
        "agents": {"defaults": {"model": {"primary": "plain/m"}, "skipBootstrap": true}},
        "logging": {"level": "trace", "consoleLevel": "trace", "redactSensitive": "off"},
    })
}

fn private(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Commands that leave this host, change it beyond the home of this test, wait
/// for somebody, or exist to show or pack secrets.
fn is_left_out(line: &[String]) -> bool {
    const LEFT_OUT: &[&str] = &[
        "backup create",
        "clawbot",
        "configure",
        "daemon",
        "dashboard",
        "dns",
        "docs",
        "gateway discover",
        "gateway install",
        "gateway restart",
        "gateway run",
        "gateway start",
        "gateway stop",
        "gateway uninstall",
        "models auth",
        "models scan",
        "onboard",
        "qr",
        "reset",
        "skills install",
        "skills search",
        "skills update",
        "uninstall",
        "update",
    ];
    let line = line.join(" ");
    LEFT_OUT.iter().any(|name| line == *name || line.starts_with(&format!("{name} ")))
}

/// Every command that has none below it, with something for all it requires.
fn leaves(command: &clap::Command, way: &[String]) -> Vec<Vec<String>> {
    let below: Vec<&clap::Command> =
        command.get_subcommands().filter(|below| !below.is_hide_set()).collect();
    if !below.is_empty() {
        let deeper =
            |below: &&clap::Command| leaves(below, &[way, &[below.get_name().to_owned()]].concat());
        return below.iter().flat_map(deeper).collect();
    }
    let mut line = way.to_vec();
    for argument in command.get_arguments().filter(|argument| argument.is_required_set()) {
        line.extend(argument.get_long().map(|long| format!("--{long}")));
        line.push("x".to_owned());
    }
    vec![line]
}

async fn operator(port: u16) -> TestClient {
    let mut params = connect_params("gateway-client", "backend", &ALL_SCOPES);
    params["auth"]["token"] = json!(secret("token"));
    TestClient::connect(port, params, Some(&Device::new())).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_shows_in_a_command_a_method_a_log_an_error_or_a_crash() {
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join(".openclaw-dev");
    let port = crate::support::program::free_port();
    let mut config = settings(home.path());
    config["gateway"]["mode"] = json!("local");
    config["gateway"]["port"] = json!(port);
    let text = format!("{config:#}");
    private(&state.join("openclaw.json"), &text);
    private(&home.path().join("vault.json"), &json!({"kept": secret("vault")}).to_string());
    let profiles = json!({"version": 1, "profiles": {
        "plain:default": {"type": "api_key", "provider": "other", "key": secret("profile")}}});
    private(&state.join("agents/main/agent/auth-profiles.json"), &profiles.to_string());
    let mut gateway = Gateway::over(home, port, &["--verbose"], &hidden());
    gateway.wait_until_ready().await;
    let mut heard = Heard { port, ..Heard::default() };
    let home = gateway.home.path().to_owned();

    // Every method, with nothing and with nonsense.
    let mut client = operator(port).await;
    let methods: Vec<String> = client.hello["features"]["methods"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap().to_owned())
        // Hands secrets to an administrator's command; it exists for that.
        .filter(|name| name != "secrets.resolve")
        .collect();
    assert!(methods.len() > 80, "{}", methods.len());
    for name in &methods {
        for params in
            [json!({}), json!({"path": "gateway.auth", "raw": "{", "baseHash": "x", "nonsense": 1})]
        {
            let answer = client.call(name, params).await;
            heard.listen(&format!("method {name}"), &answer.to_string());
        }
    }
    let shown = client.ask("config.get", json!({})).await;
    for (name, raw) in [
        ("config.set", format!("{{gateway: {{auth: {{token: ['{}']}}}}}}", secret("wrong"))),
        ("config.patch", format!("{{hooks: {{token: {{x: '{}'}}}}}}", secret("wrong"))),
        ("config.apply", format!("{{\"talk\": '{}'", secret("wrong"))),
        ("config.set", format!("{{gateway: '{}'}}", secret("wrong"))),
    ] {
        let answer = client.call(name, json!({"raw": raw, "baseHash": shown["hash"]})).await;
        heard.listen(&format!("method {name}"), &answer.to_string());
    }
    // A run that fails with the provider's key in hand, and one that is refused.
    let params =
        json!({"message": "hello", "sessionKey": "agent:main:main", "idempotencyKey": "c-1"});
    heard.listen("method agent", &client.call("agent", params).await.to_string());
    let waited = client.call("agent.wait", json!({"runId": "c-1", "timeoutMs": 15000})).await;
    heard.listen("method agent.wait", &waited.to_string());
    let mut wrong = connect_params("gateway-client", "backend", &ALL_SCOPES);
    wrong["auth"]["token"] = json!(secret("guess"));
    if let Err(refused) = TestClient::connect(port, wrong, None).await {
        heard.listen("a refused connect", &refused.error.to_string());
        heard.listen("a refused connect", &refused.reason);
    }
    drop(client);

    // Every command that reads or writes; but `dashboard`, whose purpose is an
    // address with the token in it.
    for line in [
        "status",
        "status --all",
        "status --json",
        "status --deep",
        "health",
        "health --json",
        "health --verbose",
        "gateway status",
        "gateway status --json",
        "gateway status --deep",
        "gateway probe",
        "gateway probe --json",
        "gateway health",
        "gateway usage-cost",
        "gateway call config.get",
        "gateway call status",
        "gateway call no.such.method",
        "daemon status",
        "logs --limit 500",
        "logs --json --limit 500",
        "channels status",
        "channels status --json",
        "models list",
        "models list --json",
        "models status",
        "models status --json",
        "devices list",
        "devices list --json",
        "sessions",
        "sessions --json",
        "agents list",
        "agents list --json",
        "cron list",
        "nodes status",
        "skills list",
        "skills list --json",
        "system presence",
        "config file",
        "config validate",
        "config validate --json",
        "config schema",
        "config get gateway",
        "config get gateway.auth.token",
        "config get models",
        "config get channels",
        "config get env",
        "config get secrets",
        "config get mcp",
        "config get cron",
        "config get messages",
        "config get talk",
        "mcp show",
        "mcp list --json",
        "config get hooks --json",
        "config unset no.such.key",
        "config set ui.seamColor 112233",
        "config set gateway.auth.nonsense 1",
        "secrets audit",
        "secrets audit --check --json",
        "secrets audit --allow-exec",
        "secrets reload",
        "secrets reload --json",
        "secrets configure",
        "secrets apply --from no-such-plan.json",
        "agent --message hi --agent main",
    ] {
        heard.run(&home, &line.split(' ').collect::<Vec<_>>()).await;
    }
    let leaves = leaves(&openclaw::cli::args::tree(), &[]);
    let leaves: Vec<_> = leaves.into_iter().filter(|line| !is_left_out(line)).collect();
    assert!(leaves.len() > 150, "{}", leaves.len());
    for line in &leaves {
        heard.run(&home, &line.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }
    for value in [secret("typed"), format!("{{\"x\":\"{}\"}}", secret("typed"))] {
        heard.run(&home, &["config", "set", "gateway.auth.token", &value, "--strict-json"]).await;
        heard.run(&home, &["config", "set", "gateway.nonsense", &value]).await;
        heard
            .run(&home, &["config", "set", "models.providers.plain.apiKey", &value, "--dry-run"])
            .await;
        heard.run(&home, &["gateway", "call", "health", "--token", &value]).await;
        let url = format!("ws://u:{}@127.0.0.1:{}/", secret("address"), heard.port);
        for command in
            [&["gateway", "call", "health"][..], &["gateway", "status"], &["gateway", "probe"]]
        {
            heard.run(&home, &[command, &["--url", &url, "--token", &value]].concat()).await;
        }
    }
    heard.run(&home, &["config", "set", "models.providers.plain.apiKey", &secret("typed")]).await;

    // Files that are wrong in and around a secret, under the running gateway
    // and for a command.
    let file = state.join("openclaw.json");
    let good = fs::read_to_string(&file).unwrap();
    for (at, broken) in [
        good.replace(&format!("\"{}\"", secret("token")), &secret("token")),
        good.replace(&format!("\"{}\"", secret("hook")), &format!("[\"{}\"]", secret("hook"))),
        good.replace("\"botToken\"", "\"botTokem\""),
        good.replace("\"vault\"", "\"Vault\""),
        format!("{{gateway: {{port: '{}'}}}}", secret("port")),
    ]
    .into_iter()
    .enumerate()
    {
        assert_ne!(broken, good, "{at}");
        fs::write(&file, &broken).unwrap();
        for line in [
            "config validate",
            "config validate --json",
            "status",
            "health",
            "secrets audit",
            "secrets reload",
            "config get ui",
        ] {
            heard.run(&home, &line.split(' ').collect::<Vec<_>>()).await;
        }
    }
    fs::write(&file, &good).unwrap();
    // A store that cannot be read as what it is.
    private(&home.join("vault.json"), &format!("{} is not JSON", secret("vault")));
    for line in ["secrets audit", "secrets reload", "gateway call secrets.reload"] {
        heard.run(&home, &line.split(' ').collect::<Vec<_>>()).await;
    }

    // A crash: nothing is dumped, nothing is printed.
    let limits = fs::read_to_string(format!("/proc/{}/limits", gateway.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("1"), "{core}");
    kill(Pid::from_raw(gateway.pid()), Signal::SIGABRT).unwrap();
    gateway.ended().await;
    let dumps = fs::read_dir(&home).unwrap().flatten();
    let dumps = dumps.filter(|entry| entry.file_name().to_string_lossy().starts_with("core"));
    assert_eq!(dumps.count(), 0);
    heard.files(&home);
    let log = gateway.log();
    assert!(log.len() > 10_000, "the log is detailed");
    let hits: Vec<&String> = heard.hits.iter().collect();
    assert!(hits.is_empty(), "{} places show a secret:\n{hits:#?}", hits.len());
    println!(
        "canaries: {} methods, {} commands, {} outputs and files, {} KiB, a crash: 0 hits",
        methods.len(),
        leaves.len(),
        heard.sources,
        heard.bytes / 1024
    );
}
