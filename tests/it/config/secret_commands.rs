//! The commands that find secrets stored in clear and move them out, case by
//! case, with the numbers of `secrets`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::secrets::{base, env_ref, write};
use crate::support::program::{command, on_a_terminal};

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
async fn configure_shows_what_it_would_do_before_it_asks() {
    let desk = Desk::new(&json!({
        "gateway": {"mode": "local", "auth": {"mode": "token", "token": "tok-plain"}},
        "models": {"providers": {
            "openai": {"baseUrl": "http://h/v1", "models": [], "apiKey": "sk-plain-openai"},
        }},
    }));
    // A provider and no further one; then the secrets, of which one is moved; go.
    let answers = "env env - keep env env OPENAI_API_KEY y".replace('-', "");
    let answers: Vec<&str> = answers.split(' ').collect();
    let vars = [("OPENAI_API_KEY", "sk-plain-openai")];
    let (code, text) = on_a_terminal(desk.home.path(), &vars, "secrets configure", &answers).await;
    assert_eq!(code, 0, "{text}");
    let preflight = text.find("Preflight: changed=true").expect(&text);
    let question = text.find("Apply this plan now?").expect(&text);
    assert!(preflight < question, "{text}");
    assert!(!text.contains("sk-plain-openai"), "{text}");
    let written: Value = serde_json::from_str(&desk.read(".openclaw/openclaw.json")).unwrap();
    let moved = &written["models"]["providers"]["openai"]["apiKey"];
    assert_eq!(moved["id"], "OPENAI_API_KEY", "{text}");
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

#[tokio::test]
async fn commands_follow_the_reference_to_the_gateways_own_secret() {
    let home = tempfile::tempdir().unwrap();
    let port = crate::support::program::free_port();
    let vault = home.path().join("vault.json");
    write(&vault, 0o600, "{\"token\":\"from-the-vault\"}");
    let config = json!({
        "gateway": {"mode": "local", "port": port, "auth": {"mode": "token",
            "token": {"source": "file", "provider": "v", "id": "/token"}}},
        "secrets": {"providers": {"v": {"source": "file", "path": vault}}},
    });
    write(&home.path().join(".openclaw-dev/openclaw.json"), 0o600, &config.to_string());
    let mut gateway = crate::support::program::Gateway::over(home, port, &[], &[]);
    gateway.wait_until_ready().await;
    let home = gateway.home.path().to_owned();
    let run = async |args: &str| {
        let mut run = command(&home);
        run.arg("--dev").args(args.split(' ')).env("OPENCLAW_GATEWAY_PORT", port.to_string());
        let output = run.output().await.unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code().unwrap(), text)
    };
    // The value is not where the command can have it, and no device is known yet.
    let away = vault.with_extension("away");
    fs::rename(&vault, &away).unwrap();
    let (code, text) = run("health").await;
    assert_eq!(code, 1, "{text}");
    let reason = "is configured as a reference that cannot be resolved here: SecretProviderResolutionError: secrets.providers.v.path is not readable: ";
    assert!(text.contains(reason), "{text}");
    fs::rename(&away, &vault).unwrap();
    for args in ["health", "status", "gateway call health", "secrets reload"] {
        let (code, text) = run(args).await;
        assert_eq!(code, 0, "{args}: {text}");
        assert!(!text.contains("unauthorized"), "{args}: {text}");
    }
    assert!(gateway.stop().await.success());
}
