//! Resolution, end to end over configuration, environment and files.

use serde_json::json;

use super::*;

struct Host {
    home: tempfile::TempDir,
    config: Config,
    env: Env,
    paths: Paths,
}

fn host(config: Value, vars: &[(&str, &str)], profile: Option<&str>) -> Host {
    let home = tempfile::tempdir().unwrap();
    let mut env: Env = vars.iter().copied().collect();
    env.set("HOME", home.path().to_str().unwrap());
    let mut paths = Paths::resolve(&env);
    paths.profile = profile.map(str::to_owned);
    Host { home, config: serde_json::from_value(config).unwrap(), env, paths }
}

static NO_SECRETS: SecretValues = SecretValues::new();

impl Host {
    fn lookup(&self) -> Lookup<'_> {
        Lookup {
            config: &self.config,
            env: &self.env,
            secrets: &NO_SECRETS,
            paths: &self.paths,
            agent: "main",
            now: 1_000_000,
        }
    }

    fn write(&self, name: &str, document: &Value) {
        let dir = self.home.path().join(".openclaw/agents/main/agent");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join(name), document.to_string()).unwrap();
    }
}

fn fake_provider() -> Value {
    json!({"models":{"providers":{"fake":{"baseUrl":"http://127.0.0.1:9/v1","apiKey":"sk-conf",
        "api":"openai-completions","headers":{"x-team":"a"},
        "models":[{"id":"good-1","name":"Good","contextWindow":64000,"maxTokens":4096,
            "cost":{"input":1,"output":2},"input":["text","image"]},
            {"id":"tiny","name":"Tiny","contextWindow":8192}]}}}})
}

#[test]
fn a_configured_model_has_everything_it_needs() {
    let host = host(fake_provider(), &[], None);
    let resolved = host.lookup().resolve("fake/good-1").unwrap();
    let model = &resolved.model;
    assert_eq!((model.api.as_str(), model.max_tokens), ("openai-completions", 4096));
    assert_eq!(model.api_key.as_ref().unwrap().expose(), "sk-conf");
    assert_eq!(model.headers, [("x-team".to_owned(), "a".to_owned())]);
    assert_eq!(resolved.key, KeySource::Config);
    let usage = Usage { input: 1_000_000, output: 500_000, ..Usage::default() };
    assert_eq!(usage_record(&usage, model)["cost"]["total"], 2.0);
}

#[test]
fn an_unlisted_model_of_a_known_provider_works_with_defaults() {
    let host = host(fake_provider(), &[], None);
    let model = host.lookup().resolve("fake/other").unwrap().model;
    assert_eq!((model.context_window, model.max_tokens), (200_000, 8192));
    let unknown = host.lookup().resolve("nobody/x").unwrap_err();
    assert_eq!(unknown.to_string(), "Unknown model: nobody/x");
    let tiny = host.lookup().resolve("fake/tiny").unwrap_err();
    assert_eq!(tiny.to_string(), "Model context window too small (8192 tokens). Minimum is 16000.");
}

#[test]
fn keys_are_sought_in_profiles_then_environment_then_files() {
    let host = host(json!({}), &[("OPENAI_API_KEY", "sk-env")], None);
    let source = |host: &Host| host.lookup().resolve("openai/gpt-5.4").unwrap().key;
    assert_eq!(source(&host), KeySource::Env("OPENAI_API_KEY".into()));
    host.write(
        "auth-profiles.json",
        &json!({"version":1,"profiles":{"openai:default":{"type":"api_key","provider":"openai","key":"sk-prof"}}}),
    );
    assert_eq!(source(&host), KeySource::Profile("openai:default".into()));
    let named = host.lookup().resolve("openai/gpt-5.4@openai:nope").unwrap_err();
    assert_eq!(named.to_string(), "No credentials found for profile \"openai:nope\".");
}

#[test]
fn without_any_key_the_error_names_the_store() {
    let host = host(json!({}), &[], None);
    let error = host.lookup().resolve("openai/gpt-5.4").unwrap_err().to_string();
    assert!(error.starts_with("No API key found for provider \"openai\". Auth store: "));
    assert!(error.contains("auth-profiles.json (agentDir: "));
}

#[test]
fn models_json_adds_providers_and_wins_over_the_configured_address() {
    let host = host(fake_provider(), &[("OPENROUTER_API_KEY", "sk-or")], None);
    host.write(
        "models.json",
        &json!({"providers":{
            "fake":{"baseUrl":"http://127.0.0.1:10/v1"},
            "filed":{"baseUrl":"https://f.example/v1","api":"anthropic-messages","apiKey":"OPENROUTER_API_KEY","models":[]}}}),
    );
    let lookup = host.lookup();
    assert_eq!(lookup.resolve("fake/good-1").unwrap().model.base_url, "http://127.0.0.1:10/v1");
    let filed = lookup.resolve("filed/m").unwrap();
    assert_eq!(filed.model.api_key.as_ref().unwrap().expose(), "sk-or");
    assert_eq!(filed.key, KeySource::ModelsFile);
}

#[test]
fn an_unresolved_reference_is_named_by_its_path() {
    let host = host(
        json!({"models":{"providers":{"fake":{"baseUrl":"https://f.example","apiKey":{"source":"env","provider":"default","id":"NOPE"},"models":[]}}}}),
        &[],
        None,
    );
    let error = host.lookup().resolve("fake/m").unwrap_err().to_string();
    assert_eq!(error, "models.providers.fake.apiKey: environment variable `NOPE` is not set");
}

#[tokio::test]
async fn the_dev_profile_takes_what_it_finds() {
    let models = Models::default();
    // As if a probe had just found no server.
    *models.ollama.lock().unwrap() = Some((1_000_000, None));
    let cases = [
        (json!({}), "X", Some("dev"), "dev/echo"),
        (json!({}), "OPENAI_API_KEY", Some("dev"), "openai/gpt-5.4"),
        (json!({}), "ANTHROPIC_API_KEY", Some("dev"), "anthropic/claude-opus-4-6"),
        (fake_provider(), "X", Some("dev"), "fake/good-1"),
        (json!({}), "X", None, "anthropic/claude-opus-4-6"),
    ];
    for (config, variable, profile, expected) in cases {
        let host = host(config, &[(variable, "k")], profile);
        assert_eq!(models.default_model(host.lookup()).await, expected);
    }
    let host = host(json!({}), &[], Some("dev"));
    *models.ollama.lock().unwrap() = Some((1_000_000, Some("llama3.3:latest".into())));
    assert_eq!(models.default_model(host.lookup()).await, "ollama/llama3.3:latest");
    assert_eq!(host.lookup().resolve("dev/echo").unwrap().model.api, "dev-echo");
}

#[test]
fn the_list_has_the_catalogue_and_what_is_configured() {
    let host = host(fake_provider(), &[], Some("dev"));
    let rows = listing::rows(&host.lookup());
    let has =
        |provider: &str, id: &str| rows.iter().any(|row| row.provider == provider && row.id == id);
    assert!(has("fake", "good-1") && has("openai", "gpt-5.4") && has("dev", "echo"));
    assert!(rows.is_sorted_by(|a, b| (&a.provider, &a.name) <= (&b.provider, &b.name)));
}

#[test]
fn a_bare_override_belongs_to_the_provider_of_the_default() {
    let host = host(
        json!({"agents":{"defaults":{"model":{"primary":"fake/good-1","fallbacks":["b/2"]}}}}),
        &[],
        None,
    );
    let chain = host.lookup().chain(Some("other"), "x/y");
    assert_eq!(chain.requested(), "fake/other");
    assert_eq!(host.lookup().chain(None, "x/y").requested(), "fake/good-1");
}
