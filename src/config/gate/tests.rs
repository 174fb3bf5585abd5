//! Every refusal with its text, and who wins over whom.

use serde_json::json;

use super::*;
use crate::config::load;
use crate::profile::paths::Paths;

const TOKEN: &str = r#"gateway:{mode:"local",auth:{mode:"token",token:"t"}}"#;

fn start(config: &str, vars: &[(&str, &str)], flags: &Flags) -> Result<Serving, Vec<String>> {
    let home = tempfile::tempdir().unwrap();
    let env: Env = vars
        .iter()
        .copied()
        .chain([("HOME", home.path().to_str().unwrap()), ("INVOCATION_ID", "1")])
        .collect();
    let paths = Paths::resolve(&env);
    let snapshot = if config.is_empty() {
        load::read(&paths, &env)
    } else {
        load::evaluate(config.to_owned(), &paths, &env)
    };
    let home = home.path().to_str().unwrap().to_owned();
    admit(flags, &snapshot)
        .and_then(|intent| serve(intent, &snapshot, &snapshot.resolved))
        .map_err(|refusal| refusal.lines.iter().map(|line| line.replace(&home, "~")).collect())
}

#[track_caller]
fn refuses(config: &str, flags: &Flags, expected: &[&str]) {
    assert_eq!(start(config, &[], flags).unwrap_err(), expected, "{config}");
}

fn flag(set: impl FnOnce(&mut Flags)) -> Flags {
    let mut flags = Flags::default();
    set(&mut flags);
    flags
}

#[test]
fn an_unfit_configuration_is_refused_with_the_texts_that_operators_know() {
    let none = Flags::default();
    refuses(
        "",
        &none,
        &[
            "Missing config. Run `openclaw setup` or set gateway.mode=local (or pass --allow-unconfigured).",
        ],
    );
    refuses(
        "{}",
        &none,
        &[
            "Gateway start blocked: set gateway.mode=local (current: unset) or pass --allow-unconfigured.",
            "Config write audit: ~/.openclaw/logs/config-audit.jsonl",
        ],
    );
    refuses(
        r#"{gateway:{mode:"remote"}}"#,
        &none,
        &[
            "Gateway start blocked: set gateway.mode=local (current: remote) or pass --allow-unconfigured.",
            "Config write audit: ~/.openclaw/logs/config-audit.jsonl",
        ],
    );
    refuses(
        r#"{gateway:{mode:"local",auth:{mode:"password"}}}"#,
        &none,
        &[
            "Gateway auth is set to password, but no password is configured.",
            "Set gateway.auth.password (or OPENCLAW_GATEWAY_PASSWORD), or pass --password.",
        ],
    );
    refuses(
        r#"{gateway:{mode:"local",bind:"lan",auth:{mode:"none"}}}"#,
        &none,
        &[
            "Refusing to bind gateway to lan without auth.",
            "Set gateway.auth.token/password (or OPENCLAW_GATEWAY_TOKEN/OPENCLAW_GATEWAY_PASSWORD) or pass --token/--password.",
        ],
    );
    refuses(
        r#"{gateway:{mode:"local",auth:{token:"a",password:"b"}}}"#,
        &none,
        &[
            "Gateway failed to start: Error: Invalid config: gateway.auth.token and gateway.auth.password are both configured, but gateway.auth.mode is unset. Set gateway.auth.mode to token or password.",
        ],
    );
    refuses(
        r#"{gateway:{mode:"local",bind:"custom",auth:{token:"t"}}}"#,
        &none,
        &["Gateway failed to start: Error: gateway.bind=custom requires gateway.customBindHost"],
    );
    refuses(
        r#"{gateway:{mode:"local",bind:"custom",customBindHost:"x",auth:{token:"t"}}}"#,
        &none,
        &[
            "Gateway failed to start: Error: gateway.bind=custom requires a valid IPv4 customBindHost (got x)",
        ],
    );
    refuses(
        r#"{gateway:{mode:"local",auth:{mode:"trusted-proxy",trustedProxy:{userHeader:"x-u"}}}}"#,
        &none,
        &[
            "Gateway failed to start: Error: gateway auth mode=trusted-proxy requires gateway.trustedProxies to be configured with at least one proxy IP",
        ],
    );
    refuses(
        &format!(r#"{{{TOKEN},hooks:{{enabled:true,token:"t"}}}}"#),
        &none,
        &[
            "Gateway failed to start: Error: Invalid config: hooks.token must not match gateway auth token. Set a distinct hooks.token for hook ingress.",
        ],
    );
    refuses(
        &format!("{{{TOKEN},hooks:{{enabled:true}}}}"),
        &none,
        &["Gateway failed to start: Error: hooks.enabled requires hooks.token"],
    );
    for (hooks, text) in [
        (r#"path:"//""#, "hooks.path may not be '/'"),
        (
            r#"allowedSessionKeyPrefixes:["task:"]"#,
            "hooks.allowedSessionKeyPrefixes must include 'hook:' when hooks.defaultSessionKey is unset",
        ),
        (
            r#"allowedSessionKeyPrefixes:[" Hook:"],defaultSessionKey:"main""#,
            "hooks.defaultSessionKey must match hooks.allowedSessionKeyPrefixes",
        ),
    ] {
        let text = format!("Gateway failed to start: Error: {text}");
        refuses(
            &format!(r#"{{{TOKEN},hooks:{{enabled:true,token:"h",{hooks}}}}}"#),
            &none,
            &[text.as_str()],
        );
    }
}

#[test]
fn a_wrong_flag_is_refused_with_its_text() {
    let config = format!("{{{TOKEN}}}");
    let cases: [(Flags, &str); 7] = [
        (flag(|f| f.port = Some("abc".into())), "Invalid port"),
        (flag(|f| f.port = Some("70000".into())), "Invalid port"),
        (
            flag(|f| f.bind = Some("foo".into())),
            "Invalid --bind (use \"loopback\", \"lan\", \"tailnet\", \"auto\", or \"custom\")",
        ),
        (
            flag(|f| f.auth = Some("foo".into())),
            "Invalid --auth (use \"none\", \"token\", \"password\", or \"trusted-proxy\")",
        ),
        (
            flag(|f| f.tailscale = Some("foo".into())),
            "Invalid --tailscale (use \"off\", \"serve\", or \"funnel\")",
        ),
        (
            flag(|f| {
                f.password = Some(Secret::new("a"));
                f.password_file = Some("b".into());
            }),
            "Use either --password or --password-file.",
        ),
        (
            flag(|f| f.tailscale = Some("funnel".into())),
            "Gateway failed to start: Error: tailscale funnel requires gateway auth mode=password (set gateway.auth.password or OPENCLAW_GATEWAY_PASSWORD)",
        ),
    ];
    for (flags, expected) in cases {
        refuses(&config, &flags, &[expected]);
    }
    refuses(r#"{gateway:{mode:"local",port:99999}}"#, &Flags::default(), &["Invalid port"]);
}

#[test]
fn an_invalid_file_is_shown_with_its_problems() {
    refuses(
        r#"{gateway:{port:"x"},foo:1}"#,
        &Flags::default(),
        &[
            "Config invalid",
            "File: ~/.openclaw/openclaw.json",
            "Problem:",
            "  - gateway.port: Invalid input: expected number, received string",
            "  - <root>: Unrecognized key: \"foo\"",
            "",
            "Run: openclaw doctor --fix",
        ],
    );
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file_for_the_port() {
    let config = r#"{gateway:{mode:"local",port:1111,auth:{token:"t"}}}"#;
    let port = |vars: &[(&str, &str)], flags: &Flags| start(config, vars, flags).unwrap().port;
    let none = Flags::default();
    assert_eq!(port(&[], &none), 1111);
    assert_eq!(port(&[("OPENCLAW_GATEWAY_PORT", "[::1]:2222")], &none), 2222);
    assert_eq!(port(&[("OPENCLAW_GATEWAY_PORT", "junk")], &none), 1111);
    let typed = flag(|flags| flags.port = Some("3333".into()));
    assert_eq!(port(&[("OPENCLAW_GATEWAY_PORT", "2222")], &typed), 3333);
}

#[test]
fn a_plain_token_in_the_file_wins_over_the_environment() {
    let vars = [("OPENCLAW_GATEWAY_TOKEN", "env")];
    let auth = start(&format!("{{{TOKEN}}}"), &vars, &Flags::default()).unwrap().auth;
    assert_eq!((auth.token.unwrap().expose(), auth.token_source), ("t", Some(Source::Config)));
    let auth = start(r#"{gateway:{mode:"local"}}"#, &vars, &Flags::default()).unwrap().auth;
    assert_eq!((auth.token.unwrap().expose(), auth.token_source), ("env", Some(Source::Env)));
    let vars = [("OPENCLAW_GATEWAY_PASSWORD", "p")];
    let auth = start(r#"{gateway:{mode:"local"}}"#, &vars, &Flags::default()).unwrap().auth;
    assert_eq!(auth.mode, AuthMode::Password);
}

#[test]
fn a_first_start_makes_a_token_to_keep() {
    let serving = start("", &[], &flag(|flags| flags.allow_unconfigured = true)).unwrap();
    assert_eq!(serving.port, DEFAULT_PORT);
    let token = serving.auth.token.unwrap();
    assert_eq!(token.expose().len(), 48);
    assert_eq!(serving.auth.token_source, Some(Source::Generated));
    assert_eq!(
        serving.persist,
        [
            (vec!["gateway", "auth", "mode"], json!("token")),
            (vec!["gateway", "auth", "token"], json!(token.expose()))
        ]
    );
    assert!(serving.notices[0].starts_with("Gateway auth token was missing."));
}

#[test]
fn a_public_port_lets_browsers_of_this_host_in() {
    let serving = start(
        r#"{gateway:{mode:"local",bind:"lan",port:5,auth:{token:"t"}}}"#,
        &[],
        &Flags::default(),
    );
    let serving = serving.unwrap();
    assert_eq!(serving.hosts, [IpAddr::from([0, 0, 0, 0])]);
    assert_eq!(
        serving.persist,
        [(
            vec!["gateway", "controlUi", "allowedOrigins"],
            json!(["http://localhost:5", "http://127.0.0.1:5"])
        )]
    );
}

#[test]
fn a_supervisor_learns_that_retrying_is_pointless() {
    let refusal = StartRefusal::plain(["x"]);
    assert_eq!(refusal.exit_code(&Env::default()), 1);
    assert_eq!(refusal.exit_code(&[("INVOCATION_ID", "1")].into_iter().collect()), 78);
}
