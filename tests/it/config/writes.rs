//! Writers that die and writers that meet: the file is the old or the new one,
//! whole, and nobody's change is lost without a word.

use std::fs;
use std::sync::Arc;
use std::time::Instant;

use openclaw::config::load;
use openclaw::profile::env::Env;
use openclaw::profile::paths::Paths;
use serde_json::{Value, json};

use crate::support::client::{ALL_SCOPES, TestClient};
use crate::support::gateway::TestGateway;
use crate::support::program::command;

const WRITES: usize = 500;
const ROUNDS: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_killed_at_any_moment_leaves_the_old_or_the_new_file() {
    let home = tempfile::tempdir().unwrap();
    let env: Env =
        [("HOME", home.path().to_str().unwrap()), ("INVOCATION_ID", "1")].into_iter().collect();
    let paths = Paths::resolve(&env);
    fs::create_dir_all(&paths.state).unwrap();
    let filler: Vec<String> = (0..2000).map(|n| format!("// line {n}")).collect();
    fs::write(&paths.config, format!("{{\n{}\n}}\n", filler.join("\n"))).unwrap();
    let write = |number: usize| {
        command(home.path())
            .args(["config", "set", "env.vars.NUMBER", &format!("v{number}")])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap()
    };
    let began = Instant::now();
    assert!(write(0).wait().await.unwrap().success());
    // As long as one write takes, and a little more: some are not hit at all.
    let whole = began.elapsed() * 5 / 4;
    let (mut old, mut new) = (0, 0);
    let mut current = "v0".to_owned();
    for number in 1..=WRITES {
        let mut writer = write(number);
        // Spread over the run of a writer, denser towards its end.
        let part = f64::from(u32::try_from(number * 7919 % 1000).unwrap()) / 1000.0;
        tokio::time::sleep(whole.mul_f64(part.sqrt())).await;
        drop(writer.start_kill());
        writer.wait().await.unwrap();
        let snapshot = load::read(&paths, &env);
        assert!(snapshot.is_valid(), "{number}: {:?}", snapshot.issues);
        assert!(snapshot.raw.starts_with("{\n// line 0\n") && snapshot.raw.ends_with("}\n"));
        let found = snapshot.resolved["env"]["vars"]["NUMBER"].as_str().unwrap().to_owned();
        if found == current {
            old += 1;
        } else {
            assert_eq!(found, format!("v{number}"), "neither the old nor the new one");
            new += 1;
            current = found;
        }
    }
    assert!(old > 0 && new > 0, "{old} old, {new} new: the kills all came at one moment");
    assert!(write(WRITES + 1).wait().await.unwrap().success(), "no lock is left behind");
    // What a killed writer left goes with the first write after it has aged.
    for entry in fs::read_dir(&paths.state).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with(".openclaw-") {
            let left = fs::File::options().write(true).open(entry.path()).unwrap();
            left.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        }
    }
    assert!(write(WRITES + 2).wait().await.unwrap().success());
    let stale = fs::read_dir(&paths.state)
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(".openclaw-"))
        .count();
    assert_eq!(stale, 0, "the next write clears what a killed one left");
    println!(
        "{WRITES} killed writes: {old} times the old file, {new} times the new one, always whole"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_writers_at_once_one_wins_and_the_other_is_told() {
    let config = json!({"gateway": {"reload": {"debounceMs": 5}}});
    let gateway = Arc::new(Box::pin(TestGateway::start_with(config)).await);
    let mut one = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let mut two = TestClient::operator(gateway.port, &ALL_SCOPES).await;
    let (mut won, mut told) = (0, 0);
    for round in 0..ROUNDS {
        let shown = one.ask("config.get", json!({})).await;
        let next = |who: &str| {
            let mut document = shown["parsed"].clone();
            document["env"] = json!({"vars": {"WHO": format!("{who}-{round}")}});
            json!({"raw": document.to_string(), "baseHash": shown["hash"]})
        };
        let (first, second) =
            tokio::join!(one.call("config.set", next("one")), two.call("config.set", next("two")));
        let ok = [&first, &second].map(|answer| answer["ok"] == true);
        assert!(ok[0] != ok[1], "round {round}: {first} {second}");
        let (winner, loser) = if ok[0] { ("one", &second) } else { ("two", &first) };
        assert_eq!(
            loser["error"]["message"],
            "config changed since last load; re-run config.get and retry"
        );
        let file = fs::read_to_string(&gateway.state.paths.config).unwrap();
        assert!(file.contains(&format!("{winner}-{round}")), "{file}");
        won += 1;
        told += 1;
    }
    let audit = fs::read_to_string(gateway.state_dir().join("logs/config-audit.jsonl")).unwrap();
    let last: Value = serde_json::from_str(audit.lines().last().unwrap()).unwrap();
    let file = fs::read(&gateway.state.paths.config).unwrap();
    assert_eq!(last["nextHash"], load::hash(&file));
    println!("{ROUNDS} meetings of two writers: {won} won, {told} got the conflict, nothing lost");
}

#[tokio::test]
async fn what_stands_in_the_way_of_a_backup_does_not_stop_a_write() {
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join(".openclaw");
    let at = |name: &str| state.join(name);
    fs::create_dir_all(at("openclaw.json.bak.1/kept")).unwrap();
    fs::create_dir_all(at("openclaw.json.bak.4/kept")).unwrap();
    fs::write(at("elsewhere"), "kept").unwrap();
    std::os::unix::fs::symlink("elsewhere", at("openclaw.json.bak.2")).unwrap();
    for number in 0..8 {
        let set = ["config", "set", "env.vars.NUMBER", &format!("v{number}")];
        let output = command(home.path()).args(set).output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    // The latest copy is there, what is not ours is untouched.
    let backup = fs::read_to_string(at("openclaw.json.bak")).unwrap();
    assert!(backup.contains("NUMBER"), "{backup}");
    assert!(at("openclaw.json.bak.1/kept").is_dir() && at("openclaw.json.bak.4/kept").is_dir());
    assert_eq!(fs::read_to_string(at("elsewhere")).unwrap(), "kept");
    // Where even the first place is taken, the write says so.
    fs::remove_file(at("openclaw.json.bak")).unwrap();
    fs::create_dir_all(at("openclaw.json.bak/kept")).unwrap();
    let set = ["config", "set", "env.vars.NUMBER", "last"];
    let output = command(home.path()).args(set).output().await.unwrap();
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("Config backup not kept: "), "{said}");
    assert!(fs::read_to_string(at("openclaw.json")).unwrap().contains("last"));
}

#[tokio::test]
async fn what_root_configures_for_somebody_stays_theirs() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: only root can give files away");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(home.path(), Some(65534), Some(65534)).unwrap();
    for number in 0..2 {
        let set = ["config", "set", "env.vars.NUMBER", &format!("v{number}")];
        assert!(command(home.path()).args(set).output().await.unwrap().status.success());
    }
    let mut found = 0;
    let mut folders = vec![home.path().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let meta = entry.metadata().unwrap();
            assert_eq!(std::os::unix::fs::MetadataExt::uid(&meta), 65534, "{:?}", entry.path());
            found += 1;
            folders.extend(meta.is_dir().then(|| entry.path()));
        }
    }
    // The file, its backup, the lock and the audit record.
    assert!(found >= 6, "{found}");
}

#[tokio::test]
async fn a_link_to_nothing_is_written_behind_the_link() {
    let home = tempfile::tempdir().unwrap();
    let (link, target) =
        (home.path().join(".openclaw/openclaw.json"), home.path().join("own.json"));
    fs::create_dir_all(link.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("../own.json", &link).unwrap();
    let set = ["config", "set", "ui.assistant.name", "behind"];
    assert!(command(home.path()).args(set).output().await.unwrap().status.success());
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(fs::read_to_string(&target).unwrap().contains("behind"));
}

#[tokio::test]
async fn ten_commands_at_once_all_arrive() {
    let home = tempfile::tempdir().unwrap();
    let mut writers = Vec::new();
    for number in 0..10 {
        let path = format!("env.vars.V{number}");
        writers.push(command(home.path()).args(["config", "set", &path, "x"]).spawn().unwrap());
    }
    for mut writer in writers {
        assert!(writer.wait().await.unwrap().success());
    }
    let file = fs::read(home.path().join(".openclaw/openclaw.json")).unwrap();
    let document: Value = serde_json::from_slice(&file).unwrap();
    assert_eq!(document["env"]["vars"].as_object().unwrap().len(), 10);
}
