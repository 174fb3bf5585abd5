//! `config …` against what the Node program printed for the same commands.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::support::program::command;

#[derive(Deserialize)]
struct Case {
    label: String,
    args: Vec<String>,
    exit: i32,
    stdout: String,
    stderr: String,
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// Content of the configuration file before the command.
    file: Option<String>,
}

/// Replaces the home directory and every SHA-256.
fn normal(text: &[u8], home: &str) -> String {
    let text = String::from_utf8(text.to_vec()).unwrap().replace(home, "$HOME");
    let mut out = String::new();
    for word in text.split_inclusive([' ', '\n', ')', ',']) {
        let hex: String = word.chars().take_while(char::is_ascii_hexdigit).collect();
        if hex.len() == 64 {
            out.push_str("HASH");
            out.push_str(&word[64..]);
        } else {
            out.push_str(word);
        }
    }
    out
}

#[tokio::test]
async fn recorded_commands_print_and_end_as_recorded() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join(".openclaw/openclaw.json");
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in include_str!("../../fixtures/config/cli.jsonl").lines() {
        let case: Case = serde_json::from_str(line).unwrap();
        if let Some(content) = &case.file {
            std::fs::write(&file, content).unwrap();
        }
        let mut run = command(home.path());
        let output = run.args(&case.args).envs(&case.env).output().await.unwrap();
        let shown = home.path().to_str().unwrap();
        let stdout = normal(&output.stdout, shown);
        // A line that speaks about the directory's history, which differs here.
        let stderr: String = normal(&output.stderr, shown)
            .split_inclusive('\n')
            .filter(|line| !line.starts_with("Config write anomaly"))
            .collect();
        if (output.status.code(), &stdout, &stderr) != (Some(case.exit), &case.stdout, &case.stderr)
        {
            wrong.push(format!(
                "{}: {:?}\n{stdout}{stderr}instead of {}\n{}{}",
                case.label, output.status, case.exit, case.stdout, case.stderr
            ));
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{} of {count} differ:\n{}", wrong.len(), wrong.join("\n\n"));
    println!("{count} recorded commands, {count} equal answers");
}

#[tokio::test]
async fn setup_is_idempotent_and_a_profile_has_its_own_places() {
    let home = tempfile::tempdir().unwrap();
    let say = async |args: &[&str]| {
        let output = command(home.path()).args(args).output().await.unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let rest = "Workspace OK: ~/ws\nSessions OK: ~/.openclaw/agents/main/sessions\n";
    assert_eq!(
        say(&["setup", "--workspace", "~/ws"]).await,
        format!("Wrote ~/.openclaw/openclaw.json\n{rest}")
    );
    let first = std::fs::read(home.path().join(".openclaw/openclaw.json")).unwrap();
    assert_eq!(say(&["setup"]).await, format!("Config OK: ~/.openclaw/openclaw.json\n{rest}"));
    assert_eq!(std::fs::read(home.path().join(".openclaw/openclaw.json")).unwrap(), first);
    assert_eq!(
        say(&["--dev", "setup"]).await,
        "Wrote ~/.openclaw-dev/openclaw.json\nWorkspace OK: ~/.openclaw/workspace-dev\nSessions OK: ~/.openclaw-dev/agents/main/sessions\n"
    );
}
