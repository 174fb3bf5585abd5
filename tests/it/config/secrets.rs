//! References to secrets and the gateway that needs them, case by case. Each
//! case has its number in the list of cases that the Node gateway was recorded
//! with; those of the commands are in `secret_commands`.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use openclaw::gateway::RunOptions;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::client::{ALL_SCOPES, TestClient};
use crate::support::gateway::TestGateway;
use crate::support::program::TOKEN;

pub(super) fn write(path: &Path, mode: u32, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

pub(super) fn base() -> Value {
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

pub(super) fn env_ref(id: &str) -> Value {
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
    let file = fs::read(&gateway.state.paths.config).unwrap();
    let moved = json!({"models": {"providers": {"z": {"apiKey":
        {"source": "file", "provider": "other", "id": "__OPENCLAW_REDACTED__"}}}}});
    let mut whole = shown["parsed"].clone();
    whole["models"]["providers"]["z"]["apiKey"]["provider"] = json!("other");
    for (method, raw) in [("config.set", whole), ("config.patch", moved)] {
        let params = json!({"raw": raw.to_string(), "baseHash": shown["hash"]});
        let refused = client.call(method, params).await;
        assert_eq!(refused["ok"], false, "42: {method}: {refused}");
        assert_eq!(fs::read(&gateway.state.paths.config).unwrap(), file, "42: {method}");
    }
}
