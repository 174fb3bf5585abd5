//! Edits of a running gateway and changes over its socket, case by case. The
//! numbers are those of the list of cases that the Node gateway was recorded with.

use std::fs;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::support::client::{ALL_SCOPES, TestClient};
use crate::support::fake_provider::FakeProvider;
use crate::support::gateway::TestGateway;
use crate::support::program::{Gateway, TOKEN};

/// A gateway whose file is edited and whose log is read.
struct Desk {
    gateway: Gateway,
    settings: Value,
    /// How much of the log was read.
    read: usize,
}

impl Desk {
    async fn new(config: Value) -> Self {
        let gateway = Box::pin(Gateway::start(config)).await;
        let settings = serde_json::from_slice(&fs::read(gateway.config()).unwrap()).unwrap();
        let read = gateway.log().len();
        Self { gateway, settings, read }
    }

    fn save(&self, text: &str) {
        let next = self.gateway.config().with_extension("next");
        fs::write(&next, text).unwrap();
        fs::rename(&next, self.gateway.config()).unwrap();
    }

    fn edit(&mut self, pointer: &str, value: Value) {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        self.settings.pointer_mut(parent).unwrap()[key] = value;
        self.save(&self.settings.to_string());
    }

    /// Waits for a line, and returns what was logged up to it.
    async fn line(&mut self, name: &str, part: &str) -> String {
        let wait = async {
            loop {
                let log = self.gateway.log();
                if let Some(at) = log[self.read..].find(part) {
                    let end = self.read + at + part.len();
                    return log[std::mem::replace(&mut self.read, end)..end].to_owned();
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(60), wait).await;
        found.unwrap_or_else(|_| panic!("{name}: no {part:?} in\n{}", self.gateway.log()))
    }
}

fn quick() -> Value {
    json!({"gateway": {"reload": {"debounceMs": 20}}, "agents": {"defaults": {}}, "hooks": {}})
}

#[tokio::test]
async fn cases_70_to_83_edits_of_the_file() {
    let mut desk = Desk::new(quick()).await;
    let applied = [
        (
            "70 the log's level",
            "/logging",
            json!({"level": "debug"}),
            "config change applied (dynamic reads: logging)",
        ),
        (
            "70 the log's file",
            "/logging/file",
            json!("~/other.log"),
            "config change applied (dynamic reads: logging.file)",
        ),
        ("71 hooks", "/hooks/path", json!("/in"), "config hot reload applied (hooks.path)"),
        ("71 cron", "/cron", json!({"enabled": false}), "config hot reload applied (cron)"),
        (
            "71 heartbeat",
            "/agents/defaults/heartbeat",
            json!({"every": "2h"}),
            "config hot reload applied (agents.defaults.heartbeat)",
        ),
        (
            "71 model",
            "/agents/defaults/model",
            json!("dev/echo"),
            "config hot reload applied (agents.defaults.model)",
        ),
        (
            "71 health minutes",
            "/gateway/channelHealthCheckMinutes",
            json!(9),
            "config hot reload applied (gateway.channelHealthCheckMinutes)",
        ),
        (
            "73 the first channel",
            "/channels",
            json!({"irc": {"enabled": false, "host": "h", "nick": "n"}}),
            "config hot reload applied (channels)",
        ),
        (
            "72 a channel",
            "/channels/irc/nick",
            json!("m"),
            "config hot reload applied (channels.irc.nick)",
        ),
        // Both restart the Node gateway; here they do not have to.
        ("74 env", "/env", json!({"vars": {"A": "b"}}), "config hot reload applied (env)"),
        (
            "74 commands",
            "/commands",
            json!({"text": true}),
            "config change applied (dynamic reads: commands)",
        ),
    ];
    for (name, pointer, value, expected) in applied {
        desk.edit(pointer, value);
        let log = desk.line(name, expected).await;
        assert!(log.contains("config change detected; evaluating reload ("), "{name}: {log}");
    }
    let other = fs::read_to_string(desk.gateway.home.path().join("other.log")).unwrap();
    assert!(other.contains("config hot reload applied (hooks.path)"), "70: {other}");
    // 75: two broken files, then the one before.
    let good = desk.settings.to_string();
    desk.save("{gateway: {");
    desk.line("75", "config reload skipped (invalid config): : JSON5 parse failed").await;
    desk.save("{gateway: {port: 'x'}}");
    desk.line("75", "config reload skipped (invalid config): gateway.port: Invalid input").await;
    desk.save(&good);
    // 76: neither the repaired file nor a comment is a change.
    desk.save(&format!("// mine\n{good}\n"));
    desk.edit("/ui", json!({"seamColor": "010203"}));
    let log = desk.line("75, 76", "config change applied (dynamic reads: ui)").await;
    assert_eq!(log.matches("config change detected").count(), 1, "75, 76: {log}");
    // 82: every way to save is one reload.
    desk.settings["ui"]["seamColor"] = json!("040506");
    let text = desk.settings.to_string();
    let file = desk.gateway.config();
    let backup = file.with_extension("json~");
    fs::rename(&file, &backup).unwrap();
    fs::write(&file, &text).unwrap();
    let log =
        desk.line("82 as vim saves", "config change applied (dynamic reads: ui.seamColor)").await;
    assert_eq!(log.matches("config change detected").count(), 1, "82: {log}");
    desk.settings["ui"]["seamColor"] = json!("070809");
    let text = desk.settings.to_string();
    // Both steps fall within the quiet time.
    fs::write(&file, "").unwrap();
    fs::write(&file, &text).unwrap();
    let log =
        desk.line("82 in two steps", "config change applied (dynamic reads: ui.seamColor)").await;
    assert_eq!(log.matches("config change detected").count(), 1, "82: {log}");
    // 83: an edit of an included file counts.
    let part = file.with_file_name("ui.json");
    fs::write(&part, "{seamColor: '0a0b0c'}").unwrap();
    desk.edit("/ui", json!({"$include": "./ui.json"}));
    desk.line("83", "config change applied (dynamic reads: ui.seamColor)").await;
    fs::write(&part, "{seamColor: '0d0e0f'}").unwrap();
    desk.line("83", "config change applied (dynamic reads: ui.seamColor)").await;
    // 77, 78, 80: what the mode allows, and a new mode counts at once.
    desk.settings["gateway"]["reload"]["mode"] = json!("hot");
    desk.edit("/gateway/tailscale", json!({"resetOnExit": true}));
    desk.line(
        "77, 80",
        "config reload requires gateway restart; hot mode ignoring (gateway.tailscale)",
    )
    .await;
    let mut client = TestClient::operator(desk.gateway.port, &ALL_SCOPES).await;
    let shown = client.ask("status", json!({})).await;
    assert_eq!(shown["configPendingRestart"], json!(["gateway.tailscale"]), "77");
    drop(client);
    desk.settings["gateway"]["reload"]["mode"] = json!("off");
    desk.edit("/ui", json!({"seamColor": "111111"}));
    desk.line("78", "config reload disabled (gateway.reload.mode=off)").await;
    // 81: the file goes away; the gateway stays.
    fs::remove_file(&file).unwrap();
    let log = desk.line("81", "config reload skipped (config file not found)").await;
    for retry in [
        "config reload retry (1/2): config file not found",
        "config reload retry (2/2): config file not found",
    ] {
        assert!(log.contains(retry), "81: {log}");
    }
    assert!(desk.gateway.get("/readyz").await.unwrap().starts_with("HTTP/1.1 200"), "81");
    // 79: in mode restart every change is one.
    desk.settings["gateway"]["reload"]["mode"] = json!("restart");
    desk.edit("/ui", json!({"seamColor": "222222"}));
    desk.line("79", "config change requires gateway restart (").await;
    desk.line("79", "listening on ws://").await;
    assert!(desk.gateway.stop().await.success());
}

#[tokio::test]
async fn cases_84_to_86_restarts() {
    let provider = FakeProvider::start().await;
    let mut config = provider.config();
    config["gateway"] = json!({"reload": {"debounceMs": 20}});
    config["agents"]["defaults"]["skipBootstrap"] = json!(true);
    config["commands"] = json!({"restart": false});
    let mut desk = Desk::new(config).await;
    let mut client = TestClient::operator(desk.gateway.port, &ALL_SCOPES).await;
    // 85: a restart by signal is forbidden.
    kill(Pid::from_raw(desk.gateway.pid()), Signal::SIGUSR1).unwrap();
    desk.line(
        "85",
        "SIGUSR1 restart ignored (not authorized; commands.restart=false or use gateway tool).",
    )
    .await;
    // 86: a file that could not start never stops what runs.
    desk.edit("/gateway/bind", json!("lan"));
    desk.settings["gateway"]["auth"] = json!({"mode": "none"});
    desk.save(&desk.settings.to_string());
    let log = desk.line("86", "Refusing to bind gateway to lan without auth.").await;
    assert!(log.contains("config restart failed: "), "86: {log}");
    assert_eq!(client.ask("health", json!({})).await["ok"], true, "86");
    desk.settings["gateway"]["bind"] = json!("loopback");
    desk.settings["gateway"]["auth"] = json!({"mode": "token", "token": TOKEN});
    desk.save(&desk.settings.to_string());
    // 84: a change that needs a restart waits for the run.
    let params = json!({"message": "HOLD SAY done", "sessionKey": "agent:main:main", "idempotencyKey": "slow"});
    assert_eq!(client.ask("agent", params).await["status"], "accepted");
    desk.edit("/gateway/tailscale", json!({"resetOnExit": true}));
    desk.line("84", "config change requires gateway restart (gateway.tailscale) — deferring until 1 embedded run(s) complete").await;
    desk.edit("/gateway/tailscale", json!({"resetOnExit": false}));
    desk.line("84", "— already waiting for operations to complete").await;
    // Meanwhile the file breaks: nobody goes down for that one.
    desk.save("{broken");
    desk.line("84", "config reload skipped (invalid config)").await;
    provider.release();
    let ended = loop {
        match client.frame().await {
            Ok(frame) if frame["type"] == "res" => break frame,
            Ok(_) => {}
            Err(closed) => panic!("84: closed before the run ended: {closed:?}"),
        }
    };
    assert_eq!(ended["payload"]["status"], "ok", "84: the run is not cut");
    desk.line("84", "— waiting until the file can be used again").await;
    assert_eq!(client.ask("health", json!({})).await["ok"], true, "84: still connected");
    desk.save(&desk.settings.to_string());
    desk.line("84", "all operations and replies completed; restarting gateway now").await;
    assert_eq!(client.closed().await.0, 1012, "84");
    desk.line("84", "listening on ws://").await;
    assert!(desk.gateway.stop().await.success());
}

#[tokio::test]
async fn cases_87_to_98_over_the_socket() {
    let gateway = Box::pin(TestGateway::start_with(json!({
        "gateway": {"reload": {"debounceMs": 5}},
        "agents": {"list": [{"id": "a", "workspace": "~/w"}, {"id": "b", "workspace": "~/v"}]},
        "env": {"vars": {"K": "canary-env"}},
    })))
    .await;
    let file = || fs::read_to_string(&gateway.state.paths.config).unwrap();
    let mut client = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let shown = client.ask("config.get", json!({})).await;
    for key in [
        "path",
        "exists",
        "raw",
        "parsed",
        "resolved",
        "valid",
        "config",
        "hash",
        "issues",
        "warnings",
        "legacyIssues",
        "sourceConfig",
        "runtimeConfig",
    ] {
        assert!(shown.get(key).is_some(), "87: {key}");
    }
    assert!(!shown.to_string().contains(TOKEN) && !shown.to_string().contains("canary-env"), "87");
    assert_eq!(shown["hash"], openclaw::config::load::hash(file().as_bytes()), "87");
    let said = |answer: &Value| answer["error"]["message"].as_str().unwrap_or_default().to_owned();
    let answer = client.call("config.set", json!({"raw": "{}"})).await;
    assert_eq!(said(&answer), "config base hash required; re-run config.get and retry", "88");
    let answer = client.call("config.set", json!({"raw": "{}", "baseHash": "00"})).await;
    assert_eq!(said(&answer), "config changed since last load; re-run config.get and retry", "88");
    let answer = client.call("config.set", json!({"foo": 1})).await;
    assert!(said(&answer).starts_with("invalid config.set params: "), "89: {answer}");
    let wrong = "{gateway:{port:'x'},ui:{seamColor:5},cron:{enabled:1},logging:{level:2}}";
    let answer = client.call("config.set", json!({"raw": wrong, "baseHash": shown["hash"]})).await;
    assert!(said(&answer).ends_with("(+1 more issue)"), "90: {answer}");
    assert_eq!(answer["error"]["details"]["issues"].as_array().unwrap().len(), 4, "90");
    // 91: what was hidden comes back as it was.
    let set = json!({"raw": shown["parsed"].to_string(), "baseHash": shown["hash"]});
    assert_eq!(client.ask("config.set", set).await["ok"], true, "91");
    assert!(file().contains(TOKEN) && file().contains("canary-env"), "91");
    let hash = client.ask("config.get", json!({})).await["hash"].clone();
    let hidden = "{talk:{apiKey:'__OPENCLAW_REDACTED__'}}";
    let answer = client.call("config.patch", json!({"raw": hidden, "baseHash": hash})).await;
    assert!(said(&answer).contains("__OPENCLAW_REDACTED__"), "92: {answer}");
    // 93, 67c: null deletes, entries with an id merge, other lists are replaced,
    // and what is not named stays as it is spelled.
    let patch = "{env:null, agents:{list:[{id:'b',name:'B'}]}, tools:{deny:['x']}}";
    let answer = client.ask("config.patch", json!({"raw": patch, "baseHash": hash})).await;
    let parsed: Value = serde_json::from_str(&file()).unwrap();
    assert_eq!(
        parsed["agents"]["list"],
        json!([{"id": "a", "workspace": "~/w"}, {"id": "b", "workspace": "~/v", "name": "B"}]),
        "93"
    );
    assert!(parsed.get("env").is_none() && parsed["tools"]["deny"] == json!(["x"]), "93");
    let same = json!({"raw": "{tools:{deny:['x']}}", "baseHash": answer["hash"]});
    let answer = client.ask("config.patch", same).await;
    assert_eq!(answer["noop"], true, "94");
    // 97: places of the schema.
    for path in ["gateway.auth", "agents.list[0].id"] {
        let place = client.ask("config.schema.lookup", json!({"path": path})).await;
        assert!(place["children"].is_array() && place["schema"].is_object(), "97: {place}");
    }
    let answer = client.call("config.schema.lookup", json!({"path": "nope"})).await;
    assert_eq!(said(&answer), "config schema path not found", "97");
    // 98: who may only read.
    let mut reader = TestClient::operator(gateway.port, &["operator.read"]).await;
    assert_eq!(reader.call("config.get", json!({})).await["ok"], true, "98");
    for method in ["config.schema", "config.set"] {
        let answer = reader.call(method, json!({})).await;
        assert!(said(&answer).contains("missing scope"), "98 {method}: {answer}");
    }
    // 95: the reply arrives before the close.
    let hash = client.ask("config.get", json!({})).await["hash"].clone();
    let patch = json!({"raw": "{gateway:{tailscale:{resetOnExit:true}}}", "baseHash": hash, "restartDelayMs": 0});
    // 96: the limit counts every try; three were used up above.
    let mut other = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let answer = other.ask("config.patch", patch).await;
    assert_eq!(answer["restart"]["reason"], "config.patch", "95");
    assert_eq!(answer["sentinel"]["payload"]["kind"], "config-patch", "95");
    let answer = client.call("config.patch", json!({"raw": "{}", "baseHash": "x"})).await;
    assert_eq!(answer["error"]["code"], "UNAVAILABLE", "96: {answer}");
    assert!(
        said(&answer).starts_with("rate limit exceeded for config.patch; retry after "),
        "96: {answer}"
    );
    assert!(answer["error"]["retryAfterMs"].as_u64().is_some_and(|ms| ms <= 60_000), "96");
    assert_eq!(other.closed().await, (1012, "service restart".to_owned()), "95");
}

#[tokio::test]
async fn what_the_mode_leaves_out_stays_out_and_secrets_stay_resolved() {
    let config = json!({
        "gateway": {"reload": {"mode": "off", "debounceMs": 5}},
        "models": {"providers": {"z": {"baseUrl": "http://127.0.0.1:1", "models": [],
            "apiKey": {"source": "env", "provider": "default", "id": "HAVE"}}}},
    });
    let vars = [("HAVE", "resolved-key")];
    let gateway = Box::pin(TestGateway::start_with_env(config, &vars)).await;
    let mut client = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let current = || gateway.state.config.load();
    let key = || current().config.models.providers["z"].api_key.clone();
    assert_eq!(key(), Some(json!("resolved-key")));
    let file = &gateway.state.paths.config;
    let mut settings: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    settings["ui"] = json!({"seamColor": "010203"});
    let look = gateway.state.reloader.next_look();
    fs::write(file, settings.to_string()).unwrap();
    tokio::time::timeout(Duration::from_secs(30), look).await.expect("the edit is seen");
    // To resolve again is not to take over what was left out.
    client.ask("secrets.reload", json!({})).await;
    assert_eq!(current().config.ui.get("seamColor"), None);
    assert_eq!(key(), Some(json!("resolved-key")));
    // What a client has the gateway write counts, with its secrets.
    let params = json!({"name": "ops", "workspace": gateway.state_dir().join("ops")});
    client.ask("agents.create", params).await;
    assert_eq!(client.ask("agents.list", json!({})).await["agents"][1]["id"], "ops");
    assert_eq!(key(), Some(json!("resolved-key")));
    assert!(gateway.stop().await.clean);
}

#[tokio::test]
async fn a_refused_edit_is_mended_in_the_file_that_it_includes() {
    let mut desk = Desk::new(quick()).await;
    let part = desk.gateway.config().with_file_name("parts").join("ui.json");
    desk.edit("/ui", json!({"$include": "./parts/ui.json"}));
    desk.line("no such file", "config reload skipped (invalid config): : Failed to read").await;
    fs::create_dir(part.parent().unwrap()).unwrap();
    fs::write(&part, "{seamColor: ").unwrap();
    desk.line("half a file", "config reload skipped (invalid config): : Failed to parse").await;
    fs::write(&part, "{seamColor: '0a0b0c'}").unwrap();
    desk.line("a whole one", "config change applied (dynamic reads: ui)").await;
    // The folder may be another one, as when a checkout replaces it.
    fs::rename(part.parent().unwrap(), part.parent().unwrap().with_file_name("old")).unwrap();
    desk.line("moved away", "config reload skipped (invalid config): : Failed to read").await;
    fs::create_dir(part.parent().unwrap()).unwrap();
    fs::write(&part, "{seamColor: '0d0e0f'}").unwrap();
    desk.line("another folder", "config change applied (dynamic reads: ui.seamColor)").await;
    assert!(desk.gateway.stop().await.success());
}

#[tokio::test]
async fn the_clock_is_stopped_and_its_jobs_are_exchanged_while_it_runs() {
    let gateway = Box::pin(TestGateway::start_with(json!({
        "gateway": {"reload": {"debounceMs": 5}}, "cron": {"enabled": true},
    })))
    .await;
    let mut client = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let file = &gateway.state.paths.config;
    let edit = async |cron: Value| {
        let mut settings: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        settings["cron"] = cron;
        let wanted = openclaw::config::load::hash(settings.to_string().as_bytes());
        fs::write(file, settings.to_string()).unwrap();
        let applied = async {
            while gateway.state.config.load().hash != wanted {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), applied).await.expect("the edit is applied");
    };
    edit(json!({"enabled": false})).await;
    let due = gateway.state.clock.now_ms() + 50;
    let job = json!({"name": "soon", "sessionTarget": "main", "wakeMode": "next-heartbeat",
        "schedule": {"kind": "at", "at": openclaw::base::clock::iso8601(due)},
        "payload": {"kind": "systemEvent", "text": "now"}});
    client.ask("cron.add", job).await;
    while gateway.state.clock.now_ms() <= due {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let jobs = async |client: &mut TestClient| {
        client.ask("cron.list", json!({})).await["jobs"].as_array().unwrap().len()
    };
    assert_eq!(jobs(&mut client).await, 1, "nothing runs while the clock is off");
    // Another file has other jobs, and this one keeps its own.
    let other = gateway.state_dir().join("other/jobs.json");
    edit(json!({"enabled": false, "store": other})).await;
    let moved = async {
        while client.ask("cron.status", json!({})).await["storePath"] != json!(other) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), moved).await.expect("the other file is used");
    assert_eq!(jobs(&mut client).await, 0);
    // Back, and on again: what was missed is made up for.
    edit(json!({"enabled": true})).await;
    let ran = async { while client.event("cron").await["payload"]["action"] != "finished" {} };
    tokio::time::timeout(Duration::from_secs(30), ran).await.expect("the job runs");
    assert!(gateway.stop().await.clean);
}

#[tokio::test]
async fn case_86_a_port_that_is_taken_stops_nothing() {
    let config = json!({"gateway": {"reload": {"debounceMs": 5}}});
    let gateway = Box::pin(TestGateway::start_with(config)).await;
    let mut client = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let file = &gateway.state.paths.config;
    let mut settings: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    settings["gateway"]["port"] = json!(port);
    fs::write(file, settings.to_string()).unwrap();
    let refused = format!("port {port} is already in use");
    let shown = async {
        while client.ask("status", json!({})).await["config"]["reasons"] != json!([refused]) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), shown).await.expect("the reason is shown");
    assert_eq!(client.ask("health", json!({})).await["ok"], true);
    assert!(gateway.stop().await.clean);
}
