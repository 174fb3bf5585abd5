//! References to secrets, case by case. Each case has its number in the list
//! of cases that the Node gateway was recorded with.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use openclaw::gateway::RunOptions;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::client::{ALL_SCOPES, TestClient};
use crate::support::gateway::TestGateway;
use crate::support::program::{TOKEN, command};

fn write(path: &Path, mode: u32, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn base() -> Value {
    json!({"gateway": {"mode": "local", "auth": {"mode": "token", "token": TOKEN}}})
}

/// A home whose configuration refers to one key of a provider.
fn referring(provider: Value, reference: Value) -> (TempDir, Value) {
    let home = tempfile::tempdir().unwrap();
    let mut config = base();
    if !provider.is_null() {
        config["secrets"]["providers"]["p"] = provider;
    }
    config["models"] = json!({"providers": {"z": {"baseUrl": "http://127.0.0.1:1", "models": []}}});
    config["models"]["providers"]["z"]["apiKey"] = reference;
    (home, config)
}

/// How a start ends: its refusal, or the key that the provider has.
async fn start(home: &TempDir, config: &Value, vars: &[(&str, &str)]) -> Result<String, String> {
    write(&home.path().join(".openclaw/openclaw.json"), 0o600, &config.to_string());
    let built = Box::pin(TestGateway::build(home, vars, RunOptions::default())).await;
    match built {
        Ok(gateway) => {
            let current = gateway.state().config.load();
            let key = current.config.models.providers.get("z").and_then(|z| z.api_key.clone());
            Ok(key.and_then(|key| key.as_str().map(str::to_owned)).unwrap_or_default())
        }
        Err(refused) => Err(refused.to_string()),
    }
}

const REFUSED: &str =
    "Gateway failed to start: Error: Startup failed: required secrets are unavailable. ";

fn env_ref(id: &str) -> Value {
    json!({"source": "env", "provider": "default", "id": id})
}

/// Name, provider, reference, the file's mode and content, how it ends.
type Case = (&'static str, Value, Value, u32, &'static str, Result<&'static str, &'static str>);

#[tokio::test]
async fn cases_1_to_11_environment_and_files_at_a_start() {
    let file = |id: &str| json!({"source": "file", "provider": "p", "id": id});
    let path = "~/s.json";
    let json_file = json!({"source": "file", "path": path});
    let single = json!({"source": "file", "path": path, "mode": "singleValue"});
    let cases: Vec<Case> = vec![
        (
            "1 a set variable needs no provider",
            Value::Null,
            env_ref("HAVE"),
            0o600,
            "",
            Ok("from-env"),
        ),
        (
            "2 an unset variable",
            Value::Null,
            env_ref("NOPE_TOKEN"),
            0o600,
            "",
            Err(
                "SecretRefResolutionError: Environment variable \"NOPE_TOKEN\" is missing or empty.",
            ),
        ),
        (
            "3 an unset variable in a text",
            Value::Null,
            json!("${NOPE_TOKEN}"),
            0o600,
            "",
            Err(
                "SecretRefResolutionError: Environment variable \"NOPE_TOKEN\" is missing or empty.",
            ),
        ),
        (
            "5 a provider that is not there",
            Value::Null,
            json!({"source": "file", "provider": "nof", "id": "/a"}),
            0o600,
            "",
            Err(
                "SecretProviderResolutionError: Secret provider \"nof\" is not configured (ref: file:nof:/a).",
            ),
        ),
        (
            "6 a provider of another kind",
            json!({"source": "env"}),
            file("/a"),
            0o600,
            "",
            Err(
                "SecretProviderResolutionError: Secret provider \"p\" has source \"env\" but ref requests \"file\".",
            ),
        ),
        (
            "6 a variable that is not on the list",
            json!({"source": "env", "allowlist": ["OTHER"]}),
            json!({"source": "env", "provider": "p", "id": "HAVE"}),
            0o600,
            "",
            Err(
                "SecretRefResolutionError: Environment variable \"HAVE\" is not allowlisted in secrets.providers.p.allowlist.",
            ),
        ),
        (
            "7 a file that others may read",
            json_file.clone(),
            file("/a"),
            0o644,
            "{\"a\":\"v\"}",
            Err(
                "SecretProviderResolutionError: secrets.providers.p.path permissions are too open: $HOME/s.json",
            ),
        ),
        (
            "8 no file",
            json_file.clone(),
            file("/a"),
            0,
            "",
            Err(
                "SecretProviderResolutionError: secrets.providers.p.path is not readable: $HOME/s.json",
            ),
        ),
        (
            "8 a list",
            json_file.clone(),
            file("/a"),
            0o600,
            "[1]",
            Err("SecretProviderResolutionError: File provider \"p\" payload is not a JSON object."),
        ),
        (
            "8 no JSON",
            json_file.clone(),
            file("/a"),
            0o600,
            "canary nope",
            Err(
                "SecretProviderResolutionError: Unexpected token in JSON at line 1 column 1; not valid JSON",
            ),
        ),
        (
            "8 a number",
            json_file.clone(),
            file("/a"),
            0o600,
            "{\"a\":5}",
            Err("Error: models.providers.z.apiKey resolved to a non-string or empty value."),
        ),
        (
            "8 an empty text",
            json_file.clone(),
            file("/a"),
            0o600,
            "{\"a\":\"\"}",
            Err("Error: models.providers.z.apiKey resolved to a non-string or empty value."),
        ),
        (
            "8 more than allowed",
            json!({"source": "file", "path": path, "maxBytes": 3}),
            file("/a"),
            0o600,
            "{\"a\":\"v\"}",
            Err("SecretProviderResolutionError: File provider \"p\" exceeded maxBytes (3)."),
        ),
        (
            "9 a pointer into a single value",
            single.clone(),
            file("/a"),
            0o600,
            "tok",
            Err(
                "SecretRefResolutionError: singleValue file provider \"p\" expects ref id \"value\".",
            ),
        ),
        ("10 a single value and its line end", single, file("value"), 0o600, "tok\n", Ok("tok")),
        (
            "11 a pointer with escapes",
            json_file.clone(),
            file("/a~1b/t~0x"),
            0o600,
            "{\"a/b\":{\"t~x\":\"deep\"}}",
            Ok("deep"),
        ),
        (
            "11 a pointer past the end",
            json_file,
            file("/a/3"),
            0o600,
            "{\"a\":[\"v\"]}",
            Err("SecretRefResolutionError: JSON pointer segment \"3\" is out of bounds."),
        ),
    ];
    for (name, provider, reference, mode, text, expected) in cases {
        let (home, config) = referring(provider, reference);
        if mode != 0 {
            write(&home.path().join("s.json"), mode, text);
        }
        let ended = start(&home, &config, &[("HAVE", "from-env")]).await;
        let ended = ended.map_err(|text| text.replace(home.path().to_str().unwrap(), "$HOME"));
        let expected = expected.map(str::to_owned).map_err(|text| format!("{REFUSED}{text}"));
        assert_eq!(ended, expected, "{name}");
    }
    // 4: the same reference on a disabled channel costs a line, not the start.
    let (home, mut config) = referring(Value::Null, json!("plain"));
    config["channels"] = json!({"irc": {"enabled": false, "password": env_ref("NOPE_TOKEN")}});
    assert_eq!(start(&home, &config, &[]).await.as_deref(), Ok("plain"), "4");
}

#[tokio::test]
async fn cases_12_to_16_programs_at_a_start() {
    let say = |what: &str| format!("#!/bin/sh\n{what}\n");
    let answer = |json: &str| say(&format!("echo '{json}'"));
    let many = "head -c 300 /dev/zero | tr '\\0' x";
    let cases: Vec<(&str, String, Value, Result<&str, &str>)> = vec![
        ("12 nothing", say("true"), json!({}), Err("returned empty stdout.")),
        ("12 bad JSON", say("echo nope"), json!({}), Err("returned invalid JSON.")),
        ("12 a list", answer("[]"), json!({}), Err("response must be an object.")),
        ("12 no version", answer("{}"), json!({}), Err("protocolVersion must be 1.")),
        (
            "12 no values",
            answer("{\"protocolVersion\":1}"),
            json!({}),
            Err("response missing \"values\"."),
        ),
        (
            "12 another id",
            answer("{\"protocolVersion\":1,\"values\":{}}"),
            json!({}),
            Err("response missing id \"k\"."),
        ),
        (
            "12 an error for the id",
            answer(
                "{\"protocolVersion\":1,\"values\":{},\"errors\":{\"k\":{\"message\":\"sealed\"}}}",
            ),
            json!({}),
            Err("failed for id \"k\" (sealed)."),
        ),
        ("12 status 3", say("exit 3"), json!({}), Err("exited with code 3.")),
        (
            "13 too long while it talks",
            say("while :; do echo x >&2; sleep 0.02; done"),
            json!({"timeoutMs": 300, "noOutputTimeoutMs": 5000}),
            Err("timed out after 300ms."),
        ),
        (
            "13 silent",
            say("sleep 20"),
            json!({"noOutputTimeoutMs": 200}),
            Err("produced no output for 200ms."),
        ),
        (
            "13 too much",
            say(many),
            json!({"maxOutputBytes": 100}),
            Err("output exceeded maxOutputBytes (100)."),
        ),
        (
            "15 plain text for one id",
            say("echo raw-value"),
            json!({"jsonOnly": false}),
            Ok("raw-value"),
        ),
        (
            "16 only promised variables",
            say("read q; env | grep -v '^PWD=\\|^SHLVL=\\|^_=' | sort | tr '\\n' ' '"),
            json!({"jsonOnly": false, "passEnv": ["HAVE"], "env": {"GIVEN": "g"}}),
            Ok("GIVEN=g HAVE=from-env"),
        ),
        ("16 the question", say("cat"), json!({"jsonOnly": false}), Ok("question")),
    ];
    for (name, script, mut settings, expected) in cases {
        let home = tempfile::tempdir().unwrap();
        let program = home.path().join("v.sh");
        write(&program, 0o700, &script);
        settings["source"] = json!("exec");
        settings["command"] = json!(program);
        let (_, mut config) =
            referring(settings, json!({"source": "exec", "provider": "p", "id": "k"}));
        // Programs of the tests call others.
        let path = json!("/usr/bin:/bin");
        if name.starts_with("16 only") {
            config["secrets"]["providers"]["p"]["env"]["PATH"] = path;
        } else {
            config["secrets"]["providers"]["p"]["env"] = json!({"PATH": path});
        }
        let ended = start(&home, &config, &[("HAVE", "from-env")]).await;
        match expected {
            Err(expected) => {
                let text = ended.unwrap_err();
                assert!(text.ends_with(expected), "{name}: {text}");
            }
            Ok("question") => {
                // What comes back is the question itself, which is no answer.
                let text = ended.unwrap_err();
                assert!(text.ends_with("response missing \"values\"."), "{name}: {text}");
            }
            Ok(expected) => {
                let value = ended.unwrap().replace(" PATH=/usr/bin:/bin", "");
                assert_eq!(value.trim(), expected, "{name}");
            }
        }
    }
    // 14: who may have touched the program.
    let home = tempfile::tempdir().unwrap();
    let program = home.path().join("v.sh");
    write(&program, 0o700, "#!/bin/sh\necho raw\n");
    let link = home.path().join("link.sh");
    symlink(&program, &link).unwrap();
    let exec = |settings: Value| {
        let mut all = json!({"source": "exec", "command": program, "jsonOnly": false});
        for (key, value) in settings.as_object().unwrap() {
            all[key] = value.clone();
        }
        referring(all, json!({"source": "exec", "provider": "p", "id": "k"})).1
    };
    let ended = start(&home, &exec(json!({"command": link})), &[]).await.unwrap_err();
    assert!(ended.contains("secrets.providers.p.command must not be a symlink"), "14: {ended}");
    let linked = exec(json!({"command": link, "allowSymlinkCommand": true}));
    assert_eq!(start(&home, &linked, &[]).await.as_deref(), Ok("raw"), "14");
    let ended = start(&home, &exec(json!({"trustedDirs": ["/usr/bin"]})), &[]).await.unwrap_err();
    assert!(ended.contains("secrets.providers.p.command is outside trustedDirs"), "14: {ended}");
    let ended = start(&home, &exec(json!({"command": "v.sh"})), &[]).await.unwrap_err();
    assert!(ended.starts_with("Config invalid"), "14 relative: {ended}");
    write(&program, 0o720, "#!/bin/sh\necho raw\n");
    let ended = start(&home, &exec(json!({})), &[]).await.unwrap_err();
    assert!(ended.contains("secrets.providers.p.command permissions are too open"), "14: {ended}");
}

#[tokio::test]
async fn cases_17_and_18_the_gateways_own_token() {
    let home = tempfile::tempdir().unwrap();
    let config =
        json!({"gateway": {"mode": "local", "auth": {"mode": "token", "token": env_ref("GW")}}});
    let line = |notices: &[String]| {
        notices.iter().find(|line| line.contains("GATEWAY_AUTH_SURFACE")).cloned()
    };
    for (vars, expected) in [
        (
            &[("OPENCLAW_GATEWAY_TOKEN", "from-env")][..],
            "17 [secrets] [SECRETS_GATEWAY_AUTH_SURFACE] gateway.auth.token is inactive. gateway token env var is configured.",
        ),
        (
            &[("GW", "from-ref")],
            "18 [secrets] [SECRETS_GATEWAY_AUTH_SURFACE] gateway.auth.token is active. gateway.auth.mode is \"token\".",
        ),
    ] {
        let mut env: openclaw::profile::env::Env =
            [("HOME", home.path().to_str().unwrap())].into_iter().collect();
        for (name, value) in vars {
            env.set(*name, *value);
        }
        let paths = openclaw::profile::paths::Paths::resolve(&env);
        let snapshot = openclaw::config::load::evaluate(config.to_string(), &paths, &env);
        let flags = RunOptions::default().flags();
        let prepared = Box::pin(openclaw::secrets::start::check(&flags, snapshot)).await.unwrap();
        assert_eq!(line(&prepared.notices).as_deref(), Some(&expected[3..]), "{expected}");
        let token = prepared.serving.auth.token.unwrap();
        assert!(token.matches(vars[0].1), "{expected}");
    }
}

#[tokio::test]
async fn cases_19_to_25_a_running_gateway() {
    let home = tempfile::tempdir().unwrap();
    let vault = home.path().join("vault.json");
    write(&vault, 0o600, "{\"key\":\"one\"}");
    let reference = json!({"source": "file", "provider": "p", "id": "/key"});
    let gateway = Box::pin(TestGateway::start_with(json!({
        "gateway": {"reload": {"debounceMs": 5}},
        "secrets": {"providers": {"p": {"source": "file", "path": vault}}},
        "models": {"providers": {"z": {"baseUrl": "http://127.0.0.1:1", "models": [], "apiKey": reference}}},
    })))
    .await;
    let mut client = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let key = || gateway.state.config.load().config.models.providers["z"].api_key.clone().unwrap();
    let events =
        || gateway.state.agents.waiting_events(&gateway.state.agents.sessions().canonical("main"));
    assert_eq!(
        client.ask("secrets.reload", json!({})).await,
        json!({"ok": true, "warningCount": 0}),
        "19"
    );
    write(&vault, 0o600, "{\"other\":\"x\"}");
    for _ in 0..2 {
        let refused = client.call("secrets.reload", json!({})).await;
        assert_eq!(refused["error"]["code"], "UNAVAILABLE", "20");
        assert_eq!(
            refused["error"]["message"],
            "SecretRefResolutionError: JSON pointer segment \"key\" does not exist.",
            "20"
        );
        assert_eq!(key(), "one", "20: what was resolved stays");
    }
    assert_eq!(events().len(), 1, "20: one event for two failures");
    // 22: an edit meanwhile changes nothing.
    let before = gateway.state.config.load().hash.clone();
    let mut next: Value =
        serde_json::from_slice(&fs::read(&gateway.state.paths.config).unwrap()).unwrap();
    next["ui"] = json!({"seamColor": "112233"});
    let look = gateway.state.reloader.next_look();
    fs::write(&gateway.state.paths.config, next.to_string()).unwrap();
    gateway.state.reloader.poke();
    assert!(matches!(look.await, Some(openclaw::gateway::reload::Outcome::Refused(_))), "22");
    assert_eq!(gateway.state.config.load().hash, before, "22");
    write(&vault, 0o600, "{\"key\":\"two\"}");
    assert_eq!(client.ask("secrets.reload", json!({})).await["ok"], true, "21");
    assert_eq!(key(), "two", "21");
    assert_eq!(events().len(), 2, "21: and one for the recovery");
    client.ask("secrets.reload", json!({})).await;
    assert_eq!(events().len(), 2, "21: a third reload says nothing");
    // 23: references are no changes; 22: the edit now takes over.
    let look = gateway.state.reloader.next_look();
    gateway.state.reloader.poke();
    assert_eq!(look.await, Some(openclaw::gateway::reload::Outcome::Applied), "23");
    // 24, 25: a change over the socket is tried before it is written.
    let shown = client.ask("config.get", json!({})).await;
    let file = fs::read(&gateway.state.paths.config).unwrap();
    let mut wanted = shown["parsed"].clone();
    wanted["talk"] = json!({"apiKey": env_ref("NOPE_KEY")});
    let refused = client
        .call("config.set", json!({"raw": wanted.to_string(), "baseHash": shown["hash"]}))
        .await;
    assert_eq!(
        refused["error"]["message"],
        "invalid config: active SecretRef resolution failed (Environment variable \"NOPE_KEY\" is missing or empty.)",
        "24"
    );
    assert_eq!(fs::read(&gateway.state.paths.config).unwrap(), file, "24");
    wanted["talk"] = json!({});
    wanted["channels"] = json!({"irc": {"enabled": false, "password": env_ref("NOPE_KEY")}});
    let set = client
        .ask("config.set", json!({"raw": wanted.to_string(), "baseHash": shown["hash"]}))
        .await;
    assert_eq!(set["ok"], true, "25");
    // 41: the reply shows no id and no secret.
    let shown = client.ask("config.get", json!({})).await;
    let reference = &shown["parsed"]["models"]["providers"]["z"]["apiKey"];
    assert_eq!(
        *reference,
        json!({"source": "file", "provider": "p", "id": "__OPENCLAW_REDACTED__"}),
        "41"
    );
    assert!(!shown.to_string().contains("/key\"") && !shown.to_string().contains(TOKEN), "41");
    // 42: a hidden id does not move to another provider.
    let mut moved = shown["parsed"].clone();
    moved["models"]["providers"]["z"]["apiKey"]["provider"] = json!("other");
    let refused = client
        .call("config.set", json!({"raw": moved.to_string(), "baseHash": shown["hash"]}))
        .await;
    assert_eq!(refused["ok"], false, "42: {refused}");
}

struct Desk {
    home: TempDir,
}

impl Desk {
    fn new(config: &Value) -> Self {
        let home = tempfile::tempdir().unwrap();
        write(&home.path().join(".openclaw/openclaw.json"), 0o600, &format!("{config:#}"));
        Self { home }
    }

    fn write(&self, name: &str, text: &str) {
        write(&self.home.path().join(name), 0o600, text);
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.home.path().join(name)).unwrap()
    }

    async fn run(&self, args: &str, vars: &[(&str, &str)]) -> (i32, String, String) {
        let mut run = command(self.home.path());
        let output = run.args(args.split(' ')).envs(vars.iter().copied()).output().await.unwrap();
        let text = |bytes: Vec<u8>| {
            String::from_utf8(bytes).unwrap().replace(self.home.path().to_str().unwrap(), "$HOME")
        };
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }
}

const PROFILES: &str = ".openclaw/agents/main/agent/auth-profiles.json";

fn stored() -> (Desk, Value) {
    let config = json!({
        "gateway": {"mode": "local", "auth": {"mode": "token", "token": "tok-plain"}},
        "channels": {"telegram": {"botToken": "bot-plain"}},
        "models": {"providers": {
            "openai": {"baseUrl": "http://h/v1", "models": [], "apiKey": "sk-plain-openai",
                "headers": {"x-api-key": "hdr-plain", "x-note": "a note"}},
            "b": {"baseUrl": "http://h/v1", "models": [], "apiKey": env_ref("NOPE_A")},
        }},
        "secrets": {"providers": {
            "vault": {"source": "exec", "command": "/bin/false"},
            "f": {"source": "file", "path": "~/vault.json"},
        }},
        "talk": {"apiKey": {"source": "exec", "provider": "vault", "id": "k"}},
    });
    let desk = Desk::new(&config);
    desk.write(PROFILES, &json!({"version": 1, "extra": {"kept": 1}, "profiles": {
        "openai:default": {"type": "api_key", "provider": "openai", "key": "sk-plain-openai", "note": "n"},
        "x:o": {"type": "oauth", "provider": "x", "access": "a", "refresh": "r"},
        "b:default": {"type": "api_key", "provider": "b", "keyRef": env_ref("HAVE_A")},
    }}).to_string());
    desk.write(".openclaw/.env", "# mine\nOPENAI_API_KEY=sk-plain-openai\nOTHER=sk-plain-openai\n");
    desk.write(
        ".openclaw/agents/main/agent/auth.json",
        "{\"openai\":{\"type\":\"api_key\",\"key\":\"old\"},\"y\":{\"type\":\"oauth\"}}",
    );
    desk.write("vault.json", "{\"openai\":\"sk-from-vault\"}");
    (desk, config)
}

#[tokio::test]
async fn cases_26_to_30_the_audit_finds_what_is_stored_in_clear() {
    let (desk, _) = stored();
    let (code, text, _) = desk.run("secrets audit", &[]).await;
    assert_eq!(code, 2, "27: {text}");
    let expected = [
        "Secrets audit: unresolved. plaintext=6, unresolved=2, shadowed=1, legacy=2.",
        "- [PLAINTEXT_FOUND] $HOME/.openclaw/openclaw.json:channels.telegram.botToken channels.telegram.botToken is stored as plaintext.",
        "- [PLAINTEXT_FOUND] $HOME/.openclaw/openclaw.json:gateway.auth.token gateway.auth.token is stored as plaintext.",
        "- [PLAINTEXT_FOUND] $HOME/.openclaw/openclaw.json:models.providers.openai.apiKey models.providers.openai.apiKey is stored as plaintext.",
        "- [PLAINTEXT_FOUND] $HOME/.openclaw/openclaw.json:models.providers.openai.headers.x-api-key models.providers.openai.headers.x-api-key is stored as plaintext.",
        "- [PLAINTEXT_FOUND] $HOME/.openclaw/agents/main/agent/auth-profiles.json:profiles.openai:default.key Auth profile API key is stored as plaintext.",
        "- [LEGACY_RESIDUE] $HOME/.openclaw/agents/main/agent/auth-profiles.json:profiles.x:o OAuth credentials are present (out of scope for static SecretRef migration).",
        "- [REF_UNRESOLVED] $HOME/.openclaw/openclaw.json:models.providers.b.apiKey Failed to resolve env:default:NOPE_A (Environment variable \"NOPE_A\" is missing or empty.).",
        "- [REF_UNRESOLVED] $HOME/.openclaw/agents/main/agent/auth-profiles.json:profiles.b:default.key Failed to resolve env:default:HAVE_A (Environment variable \"HAVE_A\" is missing or empty.).",
        "- [REF_SHADOWED] openclaw.json:models.providers.b.apiKey Auth profile credentials (api_key) take precedence for provider \"b\", so this config ref may never be used.",
        "- [PLAINTEXT_FOUND] $HOME/.openclaw/.env:$env.OPENAI_API_KEY Potential secret found in .env (OPENAI_API_KEY).",
        "- [LEGACY_RESIDUE] $HOME/.openclaw/agents/main/agent/auth.json:openai Legacy auth.json contains static api_key credentials.",
        "Audit note: skipped 1 exec SecretRef resolvability check(s). Re-run with --allow-exec to execute exec providers during audit.",
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected, "26, 29, 30: as recorded");
    assert_eq!(desk.run("secrets audit --check", &[]).await.0, 2, "27");
    let vars = [("NOPE_A", "v"), ("HAVE_A", "w")];
    let (code, text, _) = desk.run("secrets audit --json", &vars).await;
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &report["status"]), (0, &json!("findings")), "26");
    assert_eq!(
        report["resolution"],
        json!({"refsChecked": 2, "skippedExecRefs": 1, "resolvabilityComplete": false}),
        "28"
    );
    assert_eq!(desk.run("secrets audit --check", &vars).await.0, 1, "26");
    let (code, text, _) = desk.run("secrets audit --allow-exec", &vars).await;
    assert_eq!(code, 2, "28: the program is run: {text}");
    assert!(text.contains("Exec provider \"vault\" exited with code 1."), "28: {text}");
    let clean = Desk::new(&json!({}));
    assert_eq!(clean.run("secrets audit --check", &[]).await.0, 0, "26: nothing to find");
}

#[tokio::test]
async fn cases_31_to_35_a_plan_moves_secrets_and_leaves_nothing_behind() {
    let (desk, _) = stored();
    let plan = json!({"version": 1, "protocolVersion": 1, "targets": [
        {"type": "models.providers.apiKey", "path": "models.providers.openai.apiKey",
         "providerId": "openai", "ref": {"source": "file", "provider": "f", "id": "/openai"}}]});
    desk.write("plan.json", &plan.to_string());
    let from = format!("--from {}/plan.json", desk.home.path().display());
    let vars = [("NOPE_A", "v"), ("HAVE_A", "w")];
    let all = "\"$HOME/.openclaw/.env\",\"$HOME/.openclaw/agents/main/agent/auth-profiles.json\",\"$HOME/.openclaw/agents/main/agent/auth.json\",\"$HOME/.openclaw/openclaw.json\"";
    let before = desk.read(".openclaw/openclaw.json");
    let (code, text, _) = desk.run(&format!("secrets apply {from} --dry-run --json"), &[]).await;
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(code, 0, "31");
    assert_eq!(report["changedFiles"].to_string(), format!("[{all}]"), "31");
    assert_eq!(
        report["checks"],
        json!({"resolvability": true, "resolvabilityComplete": true}),
        "31"
    );
    assert_eq!(desk.read(".openclaw/openclaw.json"), before, "31: nothing is written");
    // 32: what does not fit is refused as a whole.
    for (field, value) in [
        ("type", json!("hooks.token")),
        ("path", json!("models.providers.openai.baseUrl")),
        ("providerId", json!("other")),
        ("pathSegments", json!(["models", "providers"])),
    ] {
        let mut wrong = plan.clone();
        wrong["targets"][0][field] = value;
        desk.write("wrong.json", &wrong.to_string());
        let args =
            format!("secrets apply --from {}/wrong.json --dry-run", desk.home.path().display());
        let (code, _, text) = desk.run(&args, &[]).await;
        assert_eq!(code, 1, "32 {field}");
        assert!(
            text.starts_with("Error: Invalid secrets plan file: $HOME/wrong.json"),
            "32 {field}: {text}"
        );
    }
    // 33: programs are run only when allowed.
    let mut exec = plan.clone();
    exec["targets"][0]["ref"] = json!({"source": "exec", "provider": "vault", "id": "k"});
    desk.write("exec.json", &exec.to_string());
    let args = format!("secrets apply --from {}/exec.json", desk.home.path().display());
    let (code, text, _) = desk.run(&format!("{args} --dry-run"), &[]).await;
    assert_eq!(code, 0, "33");
    assert!(text.contains("Secrets apply dry-run note: skipped 1 exec SecretRef"), "33: {text}");
    let (code, _, text) = desk.run(&args, &[]).await;
    assert_eq!(
        (code, text.trim_end()),
        (1, "Error: Plan contains exec SecretRefs/providers. Re-run with --allow-exec."),
        "33"
    );
    // Copies that others made hold the old value too.
    desk.write(".openclaw/openclaw.json.bak", &before);
    desk.write(".openclaw/openclaw.json.clobbered.x", &before);
    // 34: the talk key's program fails, which stops the whole; so it goes first.
    assert_eq!(desk.run("config unset talk.apiKey", &[]).await.0, 0);
    let (code, text, err) = desk.run(&format!("secrets apply {from}"), &vars).await;
    assert_eq!((code, text.trim_end()), (0, "Secrets applied. Updated 4 file(s)."), "34: {err}");
    let written: Value = serde_json::from_str(&desk.read(".openclaw/openclaw.json")).unwrap();
    assert_eq!(written["models"]["providers"]["openai"]["apiKey"], plan["targets"][0]["ref"], "34");
    let profiles: Value = serde_json::from_str(&desk.read(PROFILES)).unwrap();
    assert_eq!(
        profiles["profiles"]["openai:default"],
        json!({"type": "api_key", "provider": "openai", "note": "n"}),
        "34"
    );
    assert_eq!(profiles["extra"], json!({"kept": 1}), "34: unknown fields stay");
    assert_eq!(
        desk.read(".openclaw/agents/main/agent/auth.json").replace(['\n', ' '], ""),
        "{\"y\":{\"type\":\"oauth\"}}",
        "34"
    );
    assert_eq!(
        desk.read(".openclaw/.env"),
        "# mine\nOTHER=sk-plain-openai\n",
        "34: only the known variable goes"
    );
    for entry in fs::read_dir(desk.home.path().join(".openclaw")).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("openclaw.json") {
            let text = fs::read_to_string(entry.path()).unwrap();
            assert!(!text.contains("sk-plain-openai"), "34: {name}");
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "34: {name}");
        }
    }
    let (code, text, _) = desk.run(&format!("secrets apply {from}"), &vars).await;
    assert_eq!((code, text.trim_end()), (0, "Secrets apply: no changes."), "35");
    // Recorded texts of the rest.
    let (code, _, text) = desk.run("secrets apply --from /no/plan.json", &[]).await;
    assert_eq!(
        (code, text.trim_end()),
        (1, "Error: ENOENT: no such file or directory, open '/no/plan.json'")
    );
    let (code, _, text) = desk.run("secrets apply", &[]).await;
    assert_eq!(
        (code, text.trim_end()),
        (1, "error: required option '--from <path>' not specified")
    );
    let (code, _, text) = desk.run("secrets configure", &[]).await;
    assert_eq!(
        (code, text.trim_end()),
        (1, "Error: secrets configure requires an interactive TTY.")
    );
}

#[tokio::test]
async fn case_36_a_failure_in_the_middle_puts_everything_back() {
    use openclaw::config::write::Author;
    use openclaw::secrets::apply::{Mode, Work, apply};
    let (desk, _) = stored();
    desk.run("config unset talk.apiKey", &[]).await;
    let env: openclaw::profile::env::Env =
        [("HOME", desk.home.path().to_str().unwrap()), ("NOPE_A", "v"), ("HAVE_A", "w")]
            .into_iter()
            .collect();
    let paths = openclaw::profile::paths::Paths::resolve(&env);
    let plan = serde_json::from_value(json!({"version": 1, "protocolVersion": 1, "targets": [
        {"type": "models.providers.apiKey", "path": "models.providers.openai.apiKey",
         "ref": {"source": "file", "provider": "f", "id": "/openai"}}]}))
    .unwrap();
    let places = openclaw::secrets::plan::places(&plan).unwrap();
    let before =
        [".openclaw/openclaw.json", PROFILES, ".openclaw/.env"].map(|name| desk.read(name));
    let author = Author::default();
    let work = Work { paths: &paths, env: &env, author: &author, allow_exec: false };
    let full = |path: &Path, bytes: &[u8]| {
        if path.ends_with("auth.json") {
            Err(std::io::Error::other("disk full"))
        } else {
            fs::write(path, bytes)
        }
    };
    let failed = Box::pin(apply(&plan, &places, Mode::Write, &work, &full)).await.unwrap_err();
    assert!(failed.to_string().starts_with("Error: Secrets apply failed: "), "36: {failed}");
    assert!(failed.to_string().ends_with("disk full"), "36: {failed}");
    let after = [".openclaw/openclaw.json", PROFILES, ".openclaw/.env"].map(|name| desk.read(name));
    assert_eq!(after, before, "36");
}

#[tokio::test]
async fn cases_37_to_40_and_43_and_44() {
    let desk = Desk::new(&json!({}));
    let refer = |id: &str, path: &str| {
        format!("config set {path} --ref-source env --ref-provider default --ref-id {id}")
    };
    let (code, _, text) = desk.run(&refer("low", "talk.apiKey"), &[]).await;
    assert_eq!(code, 1, "37");
    assert!(
        text.contains("ref.id must match /^[A-Z][A-Z0-9_]{0,127}$/ for env refs."),
        "37: {text}"
    );
    let (code, _, text) = desk.run(&refer("HOOK", "hooks.token"), &[]).await;
    assert_eq!(code, 1, "38");
    assert!(text.contains("SecretRef objects are not supported at hooks.token."), "38: {text}");
    let dry = format!("{} --dry-run --json", refer("KEY", "talk.apiKey"));
    let (code, text, _) = desk.run(&dry, &[]).await;
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &report["ok"]), (1, &json!(false)), "39");
    let (code, text, _) = desk.run(&dry, &[("KEY", "v")]).await;
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &report["ok"], &report["refsChecked"]), (0, &json!(true), &json!(1)), "39");
    let program = desk.home.path().join("v.sh");
    write(&program, 0o700, "#!/bin/sh\necho '{\"protocolVersion\":1,\"values\":{\"k\":\"v\"}}'\n");
    let config = json!({"secrets": {"providers": {"v": {"source": "exec", "command": program}}}});
    desk.write(".openclaw/openclaw.json", &config.to_string());
    let dry =
        "config set talk.apiKey --ref-source exec --ref-provider v --ref-id k --dry-run --json";
    for (args, checked, skipped) in [(dry.to_owned(), 0, 1), (format!("{dry} --allow-exec"), 1, 0)]
    {
        let (code, text, _) = desk.run(&args, &[]).await;
        let report: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(code, 0, "40: {text}");
        assert_eq!(
            (&report["refsChecked"], &report["skippedExecRefs"]),
            (&json!(checked), &json!(skipped)),
            "40"
        );
    }
    // 43: a reference beside a key wins, and the key is named as useless.
    let home = tempfile::tempdir().unwrap();
    let profile =
        |extra: Value| json!({"version": 1, "profiles": {"z:default": extra}}).to_string();
    write(
        &home.path().join(PROFILES),
        0o600,
        &profile(json!({
        "type": "api_key", "provider": "z", "key": "plain", "keyRef": env_ref("HAVE")})),
    );
    let env: openclaw::profile::env::Env =
        [("HOME", home.path().to_str().unwrap()), ("HAVE", "from-ref")].into_iter().collect();
    let paths = openclaw::profile::paths::Paths::resolve(&env);
    let activate = async |config: Value| {
        let snapshot = openclaw::config::load::evaluate(config.to_string(), &paths, &env);
        Box::pin(openclaw::secrets::activate(&snapshot)).await
    };
    let activation = activate(base()).await.unwrap();
    assert_eq!(
        activation.warnings,
        [
            "[SECRETS_REF_OVERRIDES_PLAINTEXT] auth-profiles z:default: keyRef is set; runtime will ignore plaintext key."
        ],
        "43"
    );
    assert!(activation.values["env:default:HAVE"].matches("from-ref"), "43");
    // 44: what the gateway itself renews cannot be a reference.
    let mut config = base();
    config["auth"] = json!({"profiles": {"z:default": {"provider": "z", "mode": "oauth"}}});
    let refused = activate(config).await.unwrap_err().to_string();
    assert!(
        refused.contains("OAuth + SecretRef is not supported")
            && refused.contains("profiles.z:default.key"),
        "44: {refused}"
    );
    // A key that refers to nothing stops a start, used or not.
    write(
        &home.path().join(PROFILES),
        0o600,
        &profile(json!({
        "type": "api_key", "provider": "z", "keyRef": env_ref("NOPE_B")})),
    );
    assert!(activate(base()).await.is_err());
}
