//! One broken host for each check.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use crate::doctor::bed::{self, Bed, PORT, PROGRAM, SERVICE, SOCKET, owner};
use crate::doctor::checks::{CHECKS, Scope};
use crate::doctor::finding::Severity;
use crate::doctor::host::{Answer, Room};
use crate::supervise::listeners::PortUse;

type Break = fn(&mut Bed);

/// Leaves behind how the configuration file stands.
fn stands(bed: &Bed, standing: &serde_json::Value) {
    let file = bed.state_file("logs/config-health.json", "{}");
    let config = file.ancestors().nth(2).unwrap().join("openclaw.json");
    let entries = serde_json::Map::from_iter([(config.display().to_string(), standing.clone())]);
    fs::write(file, json!({"entries": entries}).to_string()).unwrap();
}

/// What breaks the host, and a part of what is said about it.
const BROKEN: &[(&str, Break, &str)] = &[
    (
        "config-validity",
        |bed| bed.configure(&json!({"gateway": {"mode": "local", "bogus": 1}, "zzz": 2})),
        "Unrecognized key",
    ),
    (
        "config-validity",
        |bed| drop(bed.state_file("openclaw.json", "{\"gateway\": {")),
        "JSON5 parse failed",
    ),
    (
        "config-standing",
        |bed| {
            let rejected = json!({"hash": "h", "reasons": ["gateway.port: no number"], "since": 1});
            stands(bed, &json!({"rejected": rejected, "serving": "lastKnownGood"}));
        },
        "serving with the last known good configuration: gateway.port: no number",
    ),
    (
        "config-standing",
        |bed| {
            stands(bed, &json!({"lastLook": {"pid": 1, "count": 2, "pending": ["gateway.port"]}}));
        },
        "restart needed for gateway.port",
    ),
    (
        "config-legacy-keys",
        |bed| bed.configure(&json!({"gateway": {"mode": "local", "bind": "127.0.0.1"}})),
        "old spelling",
    ),
    (
        "config-location",
        |bed| drop(bed.write("home/claw/.clawdbot/clawdbot.json", "{}")),
        "second state directory",
    ),
    (
        "config-inert",
        |bed| bed.configure(&json!({"gateway": {"mode": "local"}, "browser": {"enabled": true}})),
        "browser is accepted",
    ),
    ("gateway-config", |bed| bed.configure(&json!({})), "gateway.mode is unset"),
    (
        "gateway-config",
        |bed| bed.configure(&json!({"gateway": {"mode": "local", "auth": {"mode": "password"}}})),
        "no password is configured",
    ),
    (
        "gateway-config",
        |bed| bed.configure(&json!({"gateway": {"mode": "remote", "remote": {"url": "wss://h"}}})),
        "mode is remote",
    ),
    (
        "gateway-auth",
        |bed| bed.configure(&json!({"gateway": {"mode": "local"}})),
        "missing a token",
    ),
    (
        "gateway-auth",
        |bed| {
            bed.configure(
                &json!({"gateway": {"mode": "local", "auth": {"token": "a", "password": "b"}}}),
            );
        },
        "both set",
    ),
    ("token-drift", |bed| bed.env.set("OPENCLAW_GATEWAY_TOKEN", "other"), "of this shell"),
    (
        "token-drift",
        |bed| drop(bed.state_file(".env", "OPENCLAW_GATEWAY_TOKEN=other\n")),
        "in .env",
    ),
    (
        "secret-refs",
        |bed| {
            let reference = json!({"source": "env", "provider": "default", "id": "NOPE_TOKEN"});
            bed.configure(&json!({"gateway": {"mode": "local", "auth": {"mode": "token", "token": reference}}}));
        },
        "NOPE_TOKEN",
    ),
    (
        "state-integrity",
        |bed| fs::remove_dir_all(bed.at("home/claw/.openclaw")).unwrap(),
        "state directory missing",
    ),
    ("state-integrity", |bed| bed.chmod("home/claw/.openclaw", 0o755), "too open"),
    (
        "state-integrity",
        |bed| fs::remove_dir(bed.at("home/claw/.openclaw/agents/main/sessions")).unwrap(),
        "Session store dir missing",
    ),
    (
        "state-integrity",
        |bed| {
            let mounts = format!("tmpfs {} tmpfs rw 0 0\n", bed.home().display());
            bed.write("proc/self/mounts", &mounts);
        },
        "in memory",
    ),
    (
        "private-files",
        |bed| bed.chmod("home/claw/.openclaw/openclaw.json", 0o644),
        "Recommend chmod 600",
    ),
    (
        "state-files",
        |bed| drop(bed.state_file("exec-approvals.json", "{\n\"a\": \n")),
        "not valid JSON",
    ),
    (
        "config-backups",
        |bed| {
            drop(bed.state_file(
                "openclaw.json.bak",
                "{gateway: {auth: {token: 'canary-old'}}} // mine",
            ));
        },
        "holds secrets",
    ),
    (
        "session-transcripts",
        |bed| drop(bed.state_file("agents/main/sessions/sessions.json", "{\"a\": ")),
        "session index",
    ),
    (
        "session-transcripts",
        |bed| {
            let index = json!({"agent:main:main": {"sessionId": "s1", "totalTokens": 5}});
            bed.state_file("agents/main/sessions/sessions.json", &index.to_string());
            bed.state_file("agents/main/sessions/orphan.jsonl", "{}\n");
        },
        "without transcript",
    ),
    (
        "session-transcripts",
        |bed| {
            let index = json!({"agent:main:main": {"sessionId": "s1", "totalTokens": 5}});
            bed.state_file("agents/main/sessions/sessions.json", &index.to_string());
            bed.state_file("agents/main/sessions/s1.jsonl", "{}\n{\"half\n{}\n");
        },
        "is not JSON",
    ),
    (
        "session-locks",
        |bed| drop(bed.state_file("agents/main/sessions/s1.jsonl.lock", "{\"pid\": 99}")),
        "process 99 is gone",
    ),
    (
        "disk-space",
        |bed| bed.room.set(Room { free_bytes: 1 << 20, free_files: Some(5) }),
        "only 1 MiB",
    ),
    ("clock", |bed| bed.now.set(0), "before the date"),
    (
        "clock",
        |bed| {
            bed.configure(&json!({"gateway": {"mode": "local"}, "meta": {"lastTouchedAt": "2099-01-01T00:00:00.000Z"}}));
        },
        "behind what was written",
    ),
    (
        "service-manager",
        |bed| {
            *bed.user.broken.borrow_mut() =
                Some("Failed to connect to bus: No medium found".into());
        },
        "systemctl --user unavailable",
    ),
    (
        "service-manager",
        |bed| {
            *bed.user.broken.borrow_mut() =
                Some("Failed to connect to bus: No medium found".into());
            bed.env.set("WSL_DISTRO_NAME", "Debian");
        },
        "WSL runs without systemd",
    ),
    (
        "service-manager",
        |bed| {
            *bed.user.broken.borrow_mut() = Some("missing".into());
            bed.write(".dockerenv", "");
        },
        "no service manager",
    ),
    (
        "service-manager",
        |bed| {
            bed.account.uid = 0;
            bed.env.set("SUDO_USER", "claw");
        },
        "called through sudo",
    ),
    (
        "service-manager",
        |bed| {
            bed.env.set("XDG_RUNTIME_DIR", "");
            let dir = bed.at(&format!("run/user/{}", bed.account.uid));
            fs::create_dir_all(dir).unwrap();
        },
        "XDG_RUNTIME_DIR is not set",
    ),
    (
        "service-duplicates",
        |bed| {
            let (service, _) = bed.units();
            bed.write("etc/systemd/system/openclaw-gateway.service", &service);
            bed.system.enabled.borrow_mut().insert(SERVICE.to_owned());
        },
        "installed twice",
    ),
    (
        "gateway-services",
        |bed| {
            let path = bed.unit("clawdbot-gateway.service");
            bed.write_path(
                &path,
                b"[Service]\nExecStart=/usr/bin/node /opt/clawdbot/index.js gateway\n",
            );
        },
        "of an older release",
    ),
    (
        "gateway-services",
        |bed| {
            let path = bed.unit("mybot.service");
            bed.write_path(
                &path,
                b"[Service]\nExecStart=/opt/node /opt/openclaw/index.js gateway\n",
            );
        },
        "mybot.service (user, unit: ",
    ),
    (
        "service-drift",
        |bed| bed.edit(SERVICE, |text| text.replace("RestartSec=5", "RestartSec=30")),
        "ours changed: Service.RestartSec is \"30\", ours is \"5\"",
    ),
    (
        "service-drift",
        |bed| bed.edit(SERVICE, |text| text.replace("WatchdogSec=60\n", "")),
        "ours missing: Service.WatchdogSec",
    ),
    (
        "service-drift",
        |bed| bed.edit(SERVICE, |text| text + "\n[Service]\nNice=5\n"),
        "operator addition: Service.Nice",
    ),
    (
        "service-drift",
        |bed| drop(bed.drop_in(SERVICE, "[Service]\nKillMode=process\n")),
        "operator override (respected): Service.KillMode",
    ),
    ("service-drift", |bed| drop(bed.drop_in(SERVICE, "[Service]\nnonsense\n")), "has no effect"),
    (
        "service-drift",
        |bed| vendor(bed, "RestartSec=5", "RestartSec=9"),
        "vendor unit: Service.RestartSec",
    ),
    (
        "service-command",
        |bed| bed.edit(SERVICE, |text| text.replace(" gateway run", " run")),
        "does not include the gateway subcommand",
    ),
    (
        "service-command",
        |bed| bed.edit(SERVICE, |text| text.replace(PROGRAM, "/opt/old/openclaw")),
        "entrypoint does not match",
    ),
    (
        "service-command",
        |bed| bed.edit(SERVICE, |text| text.replace("gateway run", "gateway run --verbose")),
        "Custom or unexpected service edits",
    ),
    (
        "service-command",
        |bed| bed.configure(&json!({"gateway": {"mode": "local", "port": 19999}})),
        "listens on port 18789",
    ),
    (
        "socket-unit",
        |bed| {
            fs::remove_file(bed.unit(SOCKET)).unwrap();
            bed.user.reload();
        },
        "is not installed",
    ),
    (
        "socket-unit",
        |bed| {
            bed.user.enabled.borrow_mut().remove(SOCKET);
        },
        "is not enabled",
    ),
    (
        "socket-unit",
        |bed| {
            bed.user.active.borrow_mut().remove(SOCKET);
        },
        "does not listen",
    ),
    (
        "socket-unit",
        |bed| drop(bed.drop_in(SOCKET, "[Socket]\nListenStream=\nListenStream=0.0.0.0:18789\n")),
        "instead of 127.0.0.1:18789",
    ),
    (
        "service-reload",
        |bed| {
            let path = bed.unit(SERVICE);
            let text = fs::read_to_string(&path).unwrap();
            fs::write(&path, text.replace("Type=notify", "Type=simple")).unwrap();
        },
        "not reloaded: Service.Type",
    ),
    (
        "service-secrets",
        |bed| {
            bed.edit(SERVICE, |text| {
                text.replace("[Install]", "[Service]\nEnvironment=OPENAI_API_KEY=canary\n[Install]")
            });
        },
        "embeds secrets: OPENAI_API_KEY",
    ),
    (
        "service-secrets",
        |bed| drop(bed.drop_in(SERVICE, "[Service]\nEnvironment=MY_TOKEN=canary\n")),
        "a drop-in embeds secrets: MY_TOKEN",
    ),
    (
        "unit-backups",
        |bed| {
            let path = bed.unit(&format!("{SERVICE}.bak"));
            bed.write_path(&path, b"[Service]\nEnvironment=A_TOKEN=canary\n");
        },
        "holds secrets",
    ),
    (
        "service-files",
        |bed| bed.chmod(&format!("home/claw/.config/systemd/user/{SERVICE}"), 0o666),
        "can be written by others",
    ),
    (
        "service-files",
        |bed| {
            let wants = bed.unit("default.target.wants");
            fs::create_dir_all(&wants).unwrap();
            symlink("/usr/lib/systemd/user/gone.service", wants.join(SERVICE)).unwrap();
        },
        "enables a unit that is gone",
    ),
    (
        "launch-agent",
        |bed| {
            let path = bed.agent_path();
            let text = fs::read_to_string(&path).unwrap();
            fs::write(path, text.replace("<integer>20</integer>", "<integer>5</integer>")).unwrap();
        },
        "ours changed: ExitTimeOut",
    ),
    (
        "launchd-environment",
        |bed| {
            bed.launchd
                .borrow_mut()
                .environment
                .insert("OPENCLAW_GATEWAY_TOKEN".into(), "x".into());
        },
        "set for the whole session",
    ),
    (
        "launchd-environment",
        |bed| drop(bed.state_file("disable-launchagent", "")),
        "keeps the LaunchAgent disabled",
    ),
    (
        "systemd-linger",
        |bed| fs::remove_file(bed.at("var/lib/systemd/linger/claw")).unwrap(),
        "Lingering is off",
    ),
    (
        "start-limit",
        |bed| {
            bed.stop();
            bed.forge(SERVICE, "ActiveState", "failed");
            bed.forge(SERVICE, "Result", "start-limit-hit");
        },
        "started too often",
    ),
    (
        "watchdog",
        |bed| {
            bed.forge(SERVICE, "NRestarts", "3");
            *bed.user.journal.borrow_mut() = "x: Watchdog timeout (limit 1min)!\n".into();
        },
        "replaced a hung gateway 1 time(s); 3 restart(s)",
    ),
    ("gateway-daemon", |bed| bed.stop(), "does not run"),
    (
        "gateway-daemon",
        |bed| {
            bed.user.enabled.borrow_mut().remove(SERVICE);
        },
        "is not enabled",
    ),
    (
        "gateway-daemon",
        |bed| {
            fs::remove_file(bed.unit(SERVICE)).unwrap();
            fs::remove_file(bed.unit(SOCKET)).unwrap();
        },
        "not installed",
    ),
    (
        "gateway-daemon",
        |bed| {
            fs::remove_file(bed.unit(SERVICE)).unwrap();
            symlink("/dev/null", bed.unit(SERVICE)).unwrap();
            bed.user.reload();
        },
        "is masked",
    ),
    (
        "stale-program",
        |bed| {
            let mut process = owner(4711, "openclaw", Some(SERVICE));
            process.executable = Some("/usr/bin/openclaw (deleted)".into());
            bed.owners.borrow_mut().insert(4711, process);
        },
        "program file that was replaced",
    ),
    (
        "gateway-port",
        |bed| {
            *bed.port_use.borrow_mut() =
                bed::listening(vec![owner(5, "python3", Some("holder.service"))]);
        },
        "Port 18789 is held by another program: pid 5 claw (python3, holder.service)",
    ),
    (
        "listener-owner",
        |bed| {
            *bed.port_use.borrow_mut() =
                bed::listening(vec![owner(5, "openclaw", Some("session-1.scope"))]);
        },
        "belongs to session-1.scope",
    ),
    (
        "gateway-health",
        |bed| {
            *bed.answer.borrow_mut() =
                Answer::Refused("unauthorized: gateway token mismatch".into());
        },
        "refuses this host's client",
    ),
    (
        "gateway-health",
        |bed| bed.forge(SERVICE, "StatusText", "blocked: no mode set"),
        "cannot serve: no mode set",
    ),
    ("gateway-health", |bed| bed.stop(), "Gateway not running."),
    (
        "unclean-boots",
        |bed| {
            let now = bed.now.get();
            let record =
                json!({"unclean": [now - 3000, now - 2000, now - 1000], "last": now - 1000});
            bed.state_file("boots.json", &record.to_string());
        },
        "safe mode: 3 boots",
    ),
    (
        "security",
        |bed| {
            bed.configure(
                &json!({"gateway": {"mode": "local", "bind": "lan", "auth": {"mode": "none"}}}),
            );
        },
        "without authentication",
    ),
    (
        "security",
        |bed| {
            bed.configure(&json!({"gateway": {"mode": "local"}, "channels": {"telegram": {"botToken": "t", "dmPolicy": "open", "allowFrom": ["*"]}}}));
        },
        "anybody may send",
    ),
    (
        "security",
        |bed| {
            bed.configure(&json!({"gateway": {"mode": "local"}, "agents": {"defaults": {"sandbox": {"mode": "all"}}}}));
        },
        "are to run in a sandbox",
    ),
    (
        "channel-credentials",
        |bed| {
            bed.configure(
                &json!({"gateway": {"mode": "local"}, "channels": {"telegram": {"enabled": true}}}),
            );
        },
        "telegram is enabled without botToken",
    ),
    ("auth-profiles", |bed| bed.env.set("OPENAI_API_KEY", ""), "agent main, model openai/gpt-5.2"),
    (
        "workspace-status",
        |bed| drop(bed.write("home/claw/.openclaw/workspace", "no directory")),
        "is not a directory",
    ),
    (
        "workspace-suggestions",
        |bed| fs::create_dir_all(bed.at("home/claw/.openclaw/workspace")).unwrap(),
        "not under version control",
    ),
    (
        "shell-completion",
        |bed| {
            fs::remove_file(bed.at("home/claw/.local/share/bash-completion/completions/openclaw"))
                .unwrap();
        },
        "completion for bash is not installed",
    ),
];

/// Puts the units where a package has them, one value changed.
pub(super) fn vendor(bed: &mut Bed, from: &str, to: &str) {
    use crate::supervise::spec::ServiceSpec;
    use crate::supervise::systemd::render::{self, Values};
    let spec = ServiceSpec::packaged_user();
    for (name, unit) in
        [(SERVICE, render::service(&spec, Values::WithSpecifiers)), (SOCKET, render::socket(&spec))]
    {
        fs::remove_file(bed.unit(name)).unwrap();
        bed.write(&format!("usr/lib/systemd/user/{name}"), &unit.to_string().replace(from, to));
        for (key, value) in
            [("LoadState", "loaded"), ("UnitFileState", "enabled"), ("ActiveState", "active")]
        {
            bed.forge(name, key, value);
        }
    }
    bed.user.reload();
}

fn host_for(id: &str) -> Bed {
    let check = CHECKS.iter().find(|check| check.id == id).unwrap();
    if check.scope == Scope::Launchd { Bed::macos() } else { Bed::new() }
}

#[test]
fn each_check_fires_on_its_broken_host() {
    for (id, spoil, says) in BROKEN {
        let mut bed = host_for(id);
        let before = bed.examine(&[id]);
        assert!(before.findings.is_empty(), "{id} on a healthy host: {:?}", before.findings);
        spoil(&mut bed);
        let found = bed.examine(&[id]);
        let messages: Vec<&str> =
            found.findings.iter().map(|found| found.finding.message.as_str()).collect();
        assert!(
            messages.iter().any(|text| text.contains(says)),
            "{id}: {says:?} not in {messages:#?}"
        );
        for found in &found.findings {
            assert!(found.finding.severity <= found.check.severity, "{id}: {found:?}");
            let acts = found.finding.repair.is_some() || found.finding.advice.is_some();
            assert!(
                acts || found.finding.severity == Severity::Info,
                "{id} names no way out: {found:?}"
            );
        }
    }
}

#[test]
fn no_check_is_without_a_broken_host() {
    let tried: BTreeSet<&str> = BROKEN.iter().map(|(id, ..)| *id).collect();
    let all: BTreeSet<&str> = CHECKS.iter().map(|check| check.id).collect();
    assert_eq!(tried, all);
}

#[test]
fn a_healthy_host_is_quiet_on_both_systems() {
    for bed in [Bed::new(), Bed::macos()] {
        let examination = bed.examine(&[]);
        assert!(examination.findings.is_empty(), "{:#?}", examination.findings);
        assert!(examination.run > 25, "{}", examination.run);
    }
}

#[test]
fn every_check_explains_itself() {
    let mut ids = BTreeSet::new();
    for check in CHECKS {
        assert!(ids.insert(check.id), "{} is there twice", check.id);
        assert!(!check.finds.is_empty() && !check.matters.is_empty() && !check.section.is_empty());
    }
}

#[test]
fn looking_writes_nothing_anywhere() {
    for (id, spoil, _) in BROKEN {
        let mut bed = host_for(id);
        spoil(&mut bed);
        let before = bed.picture();
        bed.examine(&[]);
        assert_eq!(bed.picture(), before, "{id}");
        assert_eq!(bed.verbs(), [""; 0], "{id}");
    }
}

#[test]
fn no_secret_is_in_what_is_said() {
    for (id, spoil, _) in BROKEN {
        let mut bed = host_for(id);
        spoil(&mut bed);
        let text = format!(
            "{:?}",
            bed.examine(&[])
                .findings
                .iter()
                .map(|found| &found.finding.message)
                .collect::<Vec<_>>()
        );
        assert!(!text.contains("canary") && !text.contains("t-0123456789"), "{id}: {text}");
    }
}

#[test]
fn a_sleeping_socket_is_not_woken() {
    let bed = Bed::new();
    bed.stop();
    *bed.port_use.borrow_mut() = bed::listening(vec![owner(1, "systemd", None)]);
    *bed.answer.borrow_mut() = Answer::Silent("must not be asked".into());
    let health = bed.examine(&["gateway-health"]);
    assert!(health.findings.is_empty(), "{:?}", health.findings);
    assert!(matches!(*bed.port_use.borrow(), PortUse::Busy(_)) && PORT == 18789);
}
