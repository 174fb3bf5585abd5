//! What repairs do, and that they can be taken back.

use std::fs;

use serde_json::{Value, json};

use crate::doctor::bed::{Bed, SERVICE, SOCKET};
use crate::doctor::facts::{Depth, Facts};
use crate::doctor::finding::{Repair, Severity};
use crate::doctor::repair::{self, Applied, Force, Outcome};
use crate::doctor::tests::every_check::vendor;
use crate::doctor::{Examination, Selection, diff};
use crate::supervise::systemd::render;

pub(super) fn fix(bed: &Bed, force: Force) -> (Examination, Applied) {
    let before = bed.examine(&[]);
    let repairs: Vec<Repair> = repair::plan(&before, force).into_iter().cloned().collect();
    let applied =
        repair::apply(bed, Depth::default(), &Selection::default(), &before, &repairs, force);
    (before, applied)
}

#[track_caller]
fn all_repaired(applied: &Applied) {
    for (found, outcome) in &applied.outcomes {
        assert_eq!(*outcome, Outcome::Repaired, "{}: {}", found.check.id, found.finding.message);
    }
    let left: Vec<_> = applied.after.at_least(Severity::Warning).collect();
    assert!(left.is_empty(), "{left:#?}");
}

#[test]
fn a_changed_key_comes_back_and_only_what_must_restarts() {
    let bed = Bed::new();
    bed.edit(SERVICE, |text| text.replace("RestartSec=5", "RestartSec=30"));
    let (_, applied) = fix(&bed, Force::No);
    all_repaired(&applied);
    assert_eq!(bed.verbs(), ["daemon-reload"]);
    assert_eq!(fs::read_to_string(bed.unit(SERVICE)).unwrap(), bed.units().0);

    let bed = Bed::new();
    bed.edit(SERVICE, |text| text.replace("WatchdogSec=60", "WatchdogSec=5"));
    all_repaired(&fix(&bed, Force::No).1);
    assert_eq!(
        bed.verbs(),
        [
            "daemon-reload",
            "reset-failed openclaw-gateway.service openclaw-gateway.socket",
            "restart openclaw-gateway.service"
        ]
    );
}

#[test]
fn a_socket_that_changed_is_restarted_with_its_service() {
    let bed = Bed::new();
    bed.edit(SOCKET, |text| text.replace("Backlog=1024", "Backlog=5"));
    all_repaired(&fix(&bed, Force::No).1);
    let verbs = bed.verbs();
    assert!(
        verbs.contains(&"stop openclaw-gateway.socket openclaw-gateway.service".to_owned()),
        "{verbs:?}"
    );
    assert!(
        verbs.contains(&"start openclaw-gateway.socket openclaw-gateway.service".to_owned()),
        "{verbs:?}"
    );
}

#[test]
fn a_stopped_service_is_mended_and_stays_stopped() {
    let bed = Bed::new();
    bed.stop();
    bed.user.enabled.borrow_mut().clear();
    bed.edit(SERVICE, |text| text.replace("Type=notify", "Type=simple"));
    fix(&bed, Force::No);
    assert_eq!(fs::read_to_string(bed.unit(SERVICE)).unwrap(), bed.units().0);
    assert!(bed.user.active.borrow().is_empty(), "{:?}", bed.verbs());
}

#[test]
fn hand_edited_commands_need_force() {
    let bed = Bed::new();
    bed.edit(SERVICE, |text| text.replace("gateway run", "gateway run --verbose"));
    let edited = fs::read(bed.unit(SERVICE)).unwrap();
    let (_, applied) = fix(&bed, Force::No);
    assert_eq!(applied.outcomes[0].1, Outcome::Skipped);
    assert_eq!(fs::read(bed.unit(SERVICE)).unwrap(), edited);
    all_repaired(&fix(&bed, Force::Yes).1);
    assert_eq!(fs::read_to_string(bed.unit(SERVICE)).unwrap(), bed.units().0);
}

#[test]
fn a_unit_for_another_program_is_left_whole_without_force() {
    let node = "[Unit]\nAfter=network-online.target\nWants=network-online.target\n[Service]\nExecStart=/opt/node /opt/openclaw/index.js gateway --port 18789\nRestart=always\nRestartSec=5\nEnvironment=PATH=/usr/bin MINE=1\n[Install]\nWantedBy=default.target\n";
    let bed = Bed::new();
    fs::remove_file(bed.unit(SOCKET)).unwrap();
    bed.edit(SERVICE, |_| node.to_owned());
    fix(&bed, Force::No);
    assert_eq!(fs::read_to_string(bed.unit(SERVICE)).unwrap(), node);
    assert!(!bed.unit(SOCKET).exists());
    let (_, applied) = fix(&bed, Force::Yes);
    all_repaired(&applied);
    let text = fs::read_to_string(bed.unit(SERVICE)).unwrap();
    assert!(
        text.contains("Environment=PATH=/usr/bin MINE=1\n") && bed.unit(SOCKET).exists(),
        "{text}"
    );
}

#[test]
fn secrets_move_from_the_unit_to_the_owners_file_in_one_run_with_drift() {
    let bed = Bed::new();
    bed.state_file(".env", "OTHER=1");
    bed.edit(SERVICE, |text| {
        text.replace("RestartSec=5", "RestartSec=9").replace(
            "[Install]",
            "[Service]\nEnvironment=OPENCLAW_GATEWAY_TOKEN=canary-1\n\n[Install]",
        )
    });
    let (_, applied) = fix(&bed, Force::No);
    let unit = fs::read_to_string(bed.unit(SERVICE)).unwrap();
    assert!(!unit.contains("canary") && unit.contains("RestartSec=5"), "{unit}");
    let env = fs::read_to_string(bed.home().join(".openclaw/.env")).unwrap();
    assert_eq!(env, "OTHER=1\nOPENCLAW_GATEWAY_TOKEN='canary-1'\n");
    assert!(
        applied.outcomes.iter().all(|(_, outcome)| *outcome == Outcome::Repaired),
        "{:?}",
        applied.outcomes
    );
}

#[test]
fn the_configuration_loses_unknown_keys_and_keeps_its_comments() {
    let bed = Bed::new();
    let text = "{\n  // mine\n  gateway: {mode: 'local', bogus: 1, bind: 'localhost', auth: {mode: 'token', token: 't-1'}},\n  zzz: 2,\n  agents: {defaults: {model: {primary: 'openai/gpt-5.2'}}},\n}\n";
    bed.state_file("openclaw.json", text);
    all_repaired(&fix(&bed, Force::No).1);
    let after = fs::read_to_string(bed.home().join(".openclaw/openclaw.json")).unwrap();
    assert!(
        after.contains("// mine") && !after.contains("bogus") && !after.contains("zzz"),
        "{after}"
    );
    assert!(after.contains("loopback"), "{after}");
}

#[test]
fn a_missing_token_is_made_up_and_a_reference_never_replaced() {
    let bed = Bed::new();
    bed.configure(&json!({"gateway": {"mode": "local"}, "agents": {"defaults": {"model": {"primary": "openai/x"}}}}));
    fix(&bed, Force::No);
    let config: Value =
        serde_json::from_slice(&fs::read(bed.home().join(".openclaw/openclaw.json")).unwrap())
            .unwrap();
    assert_eq!(config["gateway"]["auth"]["token"].as_str().unwrap().len(), 48);
    let reference = json!({"source": "env", "provider": "default", "id": "NOT_THERE"});
    bed.configure(
        &json!({"gateway": {"mode": "local", "auth": {"mode": "token", "token": reference}}}),
    );
    fix(&bed, Force::Yes);
    let config: Value =
        serde_json::from_slice(&fs::read(bed.home().join(".openclaw/openclaw.json")).unwrap())
            .unwrap();
    assert_eq!(config["gateway"]["auth"]["token"], reference);
}

#[test]
fn undo_brings_back_files_permissions_units_and_lingering() {
    let bed = Bed::new();
    bed.edit(SERVICE, |text| text.replace("KillMode=mixed", "KillMode=process"));
    bed.chmod("home/claw/.openclaw", 0o755);
    bed.chmod("home/claw/.openclaw/openclaw.json", 0o644);
    bed.state_file("agents/main/sessions/s.jsonl.lock", "{\"pid\": 99}");
    fs::remove_file(bed.at("var/lib/systemd/linger/claw")).unwrap();
    bed.write_path(
        &bed.unit("clawdbot-gateway.service"),
        b"[Service]\nExecStart=/old/clawdbot gateway\n",
    );
    bed.user.reload();
    bed.user.active.borrow_mut().insert("clawdbot-gateway.service".into());
    let before = bed.picture();
    all_repaired(&fix(&bed, Force::No).1);
    assert_ne!(bed.picture(), before);
    assert!(!bed.user.active.borrow().contains("clawdbot-gateway.service"));
    repair::undo(&bed).unwrap();
    let mut after = bed.picture();
    after.retain(|path, _| !path.ends_with("doctor"));
    assert_eq!(after, before);
    assert!(!bed.at("var/lib/systemd/linger/claw").exists());
    assert!(bed.user.enabled.borrow().contains("clawdbot-gateway.service"));
    assert!(repair::undo(&bed).unwrap_err().to_string().contains("no repair to undo"));
}

#[test]
fn undo_refuses_when_somebody_edited_since() {
    let bed = Bed::new();
    bed.edit(SERVICE, |text| text.replace("KillMode=mixed", "KillMode=process"));
    fix(&bed, Force::No);
    bed.edit(SERVICE, |text| text + "# mine\n");
    let err = repair::undo(&bed).unwrap_err().to_string();
    assert!(err.contains("was changed since the repair"), "{err}");
    assert!(fs::read_to_string(bed.unit(SERVICE)).unwrap().ends_with("# mine\n"));
}

#[test]
fn a_service_that_does_not_come_up_gets_its_files_back() {
    let bed = Bed::new();
    bed.edit(SERVICE, |text| text.replace("Type=notify", "Type=simple"));
    let before = fs::read(bed.unit(SERVICE)).unwrap();
    bed.user.failing.borrow_mut().push("restart".into());
    let (_, applied) = fix(&bed, Force::No);
    let failed = applied.outcomes.iter().any(|(_, outcome)| matches!(outcome, Outcome::Failed(_)));
    assert!(failed, "{:?}", applied.outcomes);
    assert_eq!(fs::read(bed.unit(SERVICE)).unwrap(), before);
}

#[test]
fn a_preview_hides_secrets_and_names_what_follows() {
    let bed = Bed::new();
    bed.edit(SERVICE, |text| {
        text.replace("[Install]", "[Service]\nEnvironment=A_TOKEN=canary\n[Install]")
    });
    let before = bed.examine(&[]);
    let facts = Facts::new(&bed, Depth::default());
    let text = diff::preview(&repair::plan(&before, Force::No), facts.snapshot());
    assert!(!text.contains("canary"), "{text}");
    assert!(text.contains("-Environment=A_TOKEN=[hidden]"), "{text}");
    assert!(text.contains("# then: let the manager read its units again"), "{text}");
    drop(render::socket(&bed.spec()));
}

#[test]
fn works_without_any_manager_and_with_a_broken_configuration() {
    for said in ["missing", "Failed to connect to bus: No medium found"] {
        let bed = Bed::new();
        *bed.user.broken.borrow_mut() = Some(said.to_owned());
        bed.state_file("openclaw.json", "{nonsense");
        bed.write_path(
            &bed.unit(SERVICE),
            bed.units().0.replace("RestartSec=5", "RestartSec=7").as_bytes(),
        );
        let (before, _) = fix(&bed, Force::No);
        assert!(before.run > 25);
        assert_eq!(fs::read_to_string(bed.unit(SERVICE)).unwrap(), bed.units().0);
    }
}

#[test]
fn what_an_install_leaves_beside_a_packages_unit_is_ours() {
    const COMMAND: &str = "/usr/bin/openclaw gateway run --allow-unconfigured --port 18800";
    let mut bed = Bed::new();
    vendor(&mut bed, "RestartSec=5", "RestartSec=5");
    bed.configure(&json!({"gateway": {"mode": "local", "port": 18800}}));
    let service = bed.unit(&format!("{SERVICE}.d/50-openclaw.conf"));
    let socket = bed.unit(&format!("{SOCKET}.d/50-openclaw.conf"));
    let text = format!(
        "[Service]\nExecStart=\nExecStart={COMMAND}\nEnvironment=OPENCLAW_GATEWAY_PORT=18800\nEnvironment=HTTP_PROXY=http://p:1\n"
    );
    bed.write_path(&service, text.as_bytes());
    bed.write_path(
        &socket,
        b"[Socket]\nListenStream=\nListenStream=127.0.0.1:18800\nListenStream=[::1]:18800\n",
    );
    let checks = ["service-drift", "service-command", "socket-unit"];
    let said = |bed: &Bed| -> Vec<String> {
        let found = bed.examine(&checks).findings;
        found.into_iter().map(|found| found.finding.message).collect()
    };
    assert_eq!(said(&bed), [""; 0]);

    let worn = text.replace("PORT=18800", "PORT=1") + "Nice=5\n";
    bed.write_path(&service, worn.as_bytes());
    assert_eq!(
        said(&bed),
        [
            "ours changed: Service.Environment OPENCLAW_GATEWAY_PORT is \"1\", ours is \"18800\"",
            "operator addition: Service.Nice stays as it is",
        ]
    );
    fix(&bed, Force::No);
    assert_eq!(fs::read_to_string(&service).unwrap(), text.clone() + "Nice=5\n");

    bed.write_path(&service, text.replace("gateway run", "gateway run --verbose").as_bytes());
    assert!(
        said(&bed)[0].starts_with("Custom or unexpected service edits detected"),
        "{:?}",
        said(&bed)
    );
    fix(&bed, Force::No);
    assert!(fs::read_to_string(&service).unwrap().contains("--verbose"));
    fix(&bed, Force::Yes);
    assert_eq!(fs::read_to_string(&service).unwrap(), text);

    let mine = bed.unit(&format!("{SERVICE}.d/override.conf"));
    bed.write_path(&mine, b"[Service]\nKillMode=process\nCPUWeight=5\n");
    assert_eq!(
        said(&bed),
        [
            "operator override (respected): Service.KillMode is decided by a drop-in",
            "operator addition: Service.CPUWeight stays as it is",
        ]
    );
}
