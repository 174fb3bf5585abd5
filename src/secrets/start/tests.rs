//! Starts with secrets of every source, good and bad.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::json;

use super::*;
use crate::config::gate::Source;
use crate::config::load;
use crate::profile::env::Env;

struct Home {
    dir: tempfile::TempDir,
    env: Env,
    paths: Paths,
}

impl Home {
    fn new(config: &Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let env: Env =
            [("HOME", dir.path().to_str().unwrap()), ("INVOCATION_ID", "1"), ("SET", "from-env")]
                .into_iter()
                .collect();
        let paths = Paths::resolve(&env);
        fs::create_dir_all(&paths.state).unwrap();
        let home = Self { dir, env, paths };
        fs::write(&home.paths.config, home.at_home(&config.to_string())).unwrap();
        home
    }

    fn at_home(&self, text: &str) -> String {
        text.replace("$HOME", self.dir.path().to_str().unwrap())
    }

    fn file(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.paths.state.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    async fn start(&self) -> Result<Prepared, String> {
        let snapshot = load::read(&self.paths, &self.env);
        let started = check(&Flags::default(), snapshot).await.map(|mut prepared| {
            persist(&mut prepared, &self.paths).unwrap();
            prepared
        });
        let home = self.dir.path().to_str().unwrap();
        started.map_err(|refusal| refusal.to_string().replace(home, "$HOME"))
    }
}

fn with_provider(provider: &Value, source: &str, id: &str) -> Value {
    json!({
        "gateway": {"mode": "local", "auth": {"mode": "token", "token": "t"}},
        "secrets": {"providers": {"p": provider}},
        "models": {"providers": {"z": {"baseUrl": "http://127.0.0.1:1", "models": [], "apiKey": {"source": source, "provider": "p", "id": id}}}},
    })
}

const REFUSED: &str =
    "Gateway failed to start: Error: Startup failed: required secrets are unavailable. ";

#[tokio::test]
async fn an_environment_reference_resolves_or_stops_the_start() {
    let config = |id: &str| json!({"gateway": {"mode": "local", "auth": {"mode": "token", "token": {"source": "env", "provider": "default", "id": id}}}});
    let prepared = Home::new(&config("SET")).start().await.unwrap();
    assert_eq!(prepared.serving.auth.token.unwrap().expose(), "from-env");
    assert!(
        prepared.notices[0]
            .contains("gateway.auth.token is active. gateway.auth.mode is \"token\".")
    );
    let refused = Home::new(&config("NOPE_TOKEN")).start().await.unwrap_err();
    let missing =
        "SecretRefResolutionError: Environment variable \"NOPE_TOKEN\" is missing or empty.";
    assert_eq!(refused, format!("{REFUSED}{missing}"));
    let template =
        json!({"gateway": {"mode": "local", "auth": {"mode": "token", "token": "${NOPE_TOKEN}"}}});
    assert_eq!(Home::new(&template).start().await.unwrap_err(), format!("{REFUSED}{missing}"));
}

#[tokio::test]
async fn the_environment_token_makes_a_broken_reference_harmless() {
    let config = json!({"gateway": {"mode": "local", "auth": {"mode": "token", "token": {"source": "env", "provider": "default", "id": "NOPE"}}}});
    let mut home = Home::new(&config);
    home.env.set("OPENCLAW_GATEWAY_TOKEN", "e");
    let prepared = home.start().await.unwrap();
    assert_eq!(prepared.serving.auth.token_source, Some(Source::Env));
    assert!(
        prepared.notices[0]
            .ends_with("gateway.auth.token is inactive. gateway token env var is configured.")
    );
}

#[tokio::test]
async fn a_file_provider_must_be_private_and_well_formed() {
    let json_file = json!({"source": "file", "path": "~/.openclaw/s.json"});
    let cases: [(&Value, &str, &str, u32, &str); 6] = [
        (
            &json_file,
            "/a",
            "{\"a\":\"x\"}",
            0o644,
            "SecretProviderResolutionError: secrets.providers.p.path permissions are too open: $HOME/.openclaw/s.json",
        ),
        (
            &json_file,
            "/a",
            "[1]",
            0o600,
            "SecretProviderResolutionError: File provider \"p\" payload is not a JSON object.",
        ),
        (
            &json_file,
            "/a",
            "{\"a\":5}",
            0o600,
            "Error: models.providers.z.apiKey resolved to a non-string or empty value.",
        ),
        (
            &json_file,
            "/b",
            "{\"a\":\"x\"}",
            0o600,
            "SecretRefResolutionError: JSON pointer segment \"b\" does not exist.",
        ),
        (
            &json!({"source": "file", "path": "~/.openclaw/s.json", "maxBytes": 3}),
            "/a",
            "{\"a\":\"x\"}",
            0o600,
            "SecretProviderResolutionError: File provider \"p\" exceeded maxBytes (3).",
        ),
        (
            &json!({"source": "file", "path": "~/.openclaw/s.json", "mode": "singleValue"}),
            "/a",
            "x",
            0o600,
            "SecretRefResolutionError: singleValue file provider \"p\" expects ref id \"value\".",
        ),
    ];
    for (provider, id, text, mode, expected) in cases {
        let home = Home::new(&with_provider(provider, "file", id));
        home.file("s.json", text, mode);
        assert_eq!(home.start().await.unwrap_err(), format!("{REFUSED}{expected}"));
    }
    let home = Home::new(&with_provider(&json_file, "file", "/a"));
    assert_eq!(
        home.start().await.unwrap_err(),
        format!(
            "{REFUSED}SecretProviderResolutionError: secrets.providers.p.path is not readable: $HOME/.openclaw/s.json"
        )
    );
    home.file("s.json", "{\"a\":\"good\"}", 0o600);
    let prepared = home.start().await.unwrap();
    assert_eq!(prepared.secrets.resolved["models"]["providers"]["z"]["apiKey"], "good");
    assert!(!format!("{prepared:?}").contains("good"));
}

#[tokio::test]
async fn a_provider_must_exist_and_be_of_the_right_kind() {
    let config = with_provider(&json!({"source": "env"}), "file", "/a");
    assert_eq!(
        Home::new(&config).start().await.unwrap_err(),
        format!(
            "{REFUSED}SecretProviderResolutionError: Secret provider \"p\" has source \"env\" but ref requests \"file\"."
        )
    );
    let mut config = config;
    config["secrets"] = json!({});
    assert_eq!(
        Home::new(&config).start().await.unwrap_err(),
        format!(
            "{REFUSED}SecretProviderResolutionError: Secret provider \"p\" is not configured (ref: file:p:/a)."
        )
    );
}

async fn exec(script: &str, more: &Value, mode: u32) -> Result<Prepared, String> {
    let mut provider = json!({"source": "exec", "command": "$HOME/.openclaw/v.sh"});
    for (key, value) in more.as_object().unwrap() {
        provider[key] = value.clone();
    }
    let home = Home::new(&with_provider(&provider, "exec", "k"));
    home.file("v.sh", &format!("#!/bin/sh\n{script}\n"), mode);
    home.start().await
}

#[tokio::test]
async fn an_exec_provider_answers_over_its_protocol() {
    let none = json!({});
    let good = r#"read q; [ "$q" = '{"protocolVersion":1,"provider":"p","ids":["k"]}' ] && echo '{"protocolVersion":1,"values":{"k":"v1"}}'"#;
    let prepared = exec(good, &none, 0o700).await.unwrap();
    assert_eq!(prepared.secrets.resolved["models"]["providers"]["z"]["apiKey"], "v1");
    let cases = [
        (":", "SecretProviderResolutionError: Exec provider \"p\" returned empty stdout."),
        ("echo nope", "SecretProviderResolutionError: Exec provider \"p\" returned invalid JSON."),
        (
            "echo {}",
            "SecretProviderResolutionError: Exec provider \"p\" protocolVersion must be 1.",
        ),
        (
            "echo '{\"protocolVersion\":1}'",
            "SecretProviderResolutionError: Exec provider \"p\" response missing \"values\".",
        ),
        (
            "echo '{\"protocolVersion\":1,\"values\":{}}'",
            "SecretRefResolutionError: Exec provider \"p\" response missing id \"k\".",
        ),
        (
            "echo '{\"protocolVersion\":1,\"values\":{},\"errors\":{\"k\":{\"message\":\"not found\"}}}'",
            "SecretRefResolutionError: Exec provider \"p\" failed for id \"k\" (not found).",
        ),
        ("exit 3", "SecretProviderResolutionError: Exec provider \"p\" exited with code 3."),
    ];
    for (script, expected) in cases {
        assert_eq!(exec(script, &none, 0o700).await.unwrap_err(), format!("{REFUSED}{expected}"));
    }
    let raw = exec("echo ' raw '", &json!({"jsonOnly": false}), 0o700).await.unwrap();
    assert_eq!(raw.secrets.resolved["models"]["providers"]["z"]["apiKey"], "raw");
}

#[tokio::test]
async fn an_exec_provider_is_bounded_and_sees_only_what_it_was_promised() {
    let refused = exec("exec sleep 30", &json!({"timeoutMs": 300}), 0o700).await.unwrap_err();
    assert_eq!(
        refused,
        format!(
            "{REFUSED}SecretProviderResolutionError: Exec provider \"p\" produced no output for 300ms."
        )
    );
    let refused =
        exec("head -c 500 /dev/zero", &json!({"maxOutputBytes": 100}), 0o700).await.unwrap_err();
    assert_eq!(
        refused,
        format!(
            "{REFUSED}SecretProviderResolutionError: Exec provider output exceeded maxOutputBytes (100)."
        )
    );
    let refused = exec("echo x", &json!({}), 0o770).await.unwrap_err();
    assert_eq!(
        refused,
        format!(
            "{REFUSED}SecretProviderResolutionError: secrets.providers.p.command permissions are too open: $HOME/.openclaw/v.sh"
        )
    );
    let refused = exec("echo x", &json!({"trustedDirs": ["/usr/bin"]}), 0o700).await.unwrap_err();
    assert_eq!(
        refused,
        format!(
            "{REFUSED}SecretProviderResolutionError: secrets.providers.p.command is outside trustedDirs: $HOME/.openclaw/v.sh"
        )
    );
    let seen = exec(
        "echo \"[$SET$HOME$MINE]\"",
        &json!({"jsonOnly": false, "env": {"MINE": "m"}, "passEnv": ["SET"]}),
        0o700,
    )
    .await
    .unwrap();
    assert_eq!(seen.secrets.resolved["models"]["providers"]["z"]["apiKey"], "[from-envm]");
}

#[tokio::test]
async fn a_first_start_saves_its_token_and_a_second_one_keeps_it() {
    let home = Home::new(&json!({"gateway": {"mode": "local", "bind": "127.0.0.1"}}));
    let first = home.start().await.unwrap();
    let token = first.serving.auth.token.unwrap();
    assert_eq!(first.snapshot.config.gateway.auth.token, Some(json!(token.expose())));
    assert_eq!(first.snapshot.parsed["gateway"]["bind"], "loopback");
    let second = home.start().await.unwrap();
    assert_eq!(second.serving.auth.token_source, Some(Source::Config));
    assert_eq!(second.serving.auth.token.unwrap().expose(), token.expose());
    assert!(second.serving.persist.is_empty() && second.snapshot.migrations.is_empty());
}
