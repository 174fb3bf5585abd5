//! The recorded conversations of official clients with the Node gateway,
//! played to ours: frame by frame the same, but for what
//! `tests/fixtures/ws/differences.tsv` lists with a reason.

mod capture;
mod compare;
mod talk;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use self::talk::{Finding, Player};
use crate::support::fake_provider::FakeProvider;
use crate::support::gateway::TestGateway;

const DIFFERENCES: &str = include_str!("../../fixtures/ws/differences.tsv");

/// A line of the list: where a difference may be, and why.
struct Known<'a> {
    line: &'a str,
    fields: [&'a str; 4],
    /// Whether it has to be there.
    certain: bool,
}

impl<'a> Known<'a> {
    fn parse(line: &'a str) -> Self {
        let fields: Vec<&str> = line.split('\t').collect();
        let [capture, frame, pointer, kind, reason] = fields[..] else {
            panic!("five columns, not {}: {line}", fields.len());
        };
        assert!(!reason.trim().is_empty(), "no reason: {line}");
        let certain = !kind.ends_with('?');
        Self { line, fields: [capture, frame, pointer, kind.trim_end_matches('?')], certain }
    }

    fn covers(&self, finding: &Finding) -> bool {
        let kind = finding.difference.kind.to_string();
        let of = [
            finding.capture.as_str(),
            finding.frame.as_str(),
            finding.difference.pointer.as_str(),
            kind.as_str(),
        ];
        self.fields
            .iter()
            .zip(of)
            .all(|(pattern, text)| pattern.split(' ').any(|pattern| matches(pattern, text)))
    }
}

/// Whether a text fits a pattern in which `**` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once("**") {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|text| {
            rest.is_empty()
                || text.char_indices().any(|(at, _)| matches(rest, &text[at..]))
                || matches(rest, "")
        }),
    }
}

/// The configuration that the Node gateway was recorded with.
fn recorded_config(provider: &FakeProvider) -> Value {
    let cost = json!({"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0});
    let model = json!({"id": "tiny-1", "name": "Tiny One", "contextWindow": 65536,
        "maxTokens": 4096, "input": ["text"], "cost": cost});
    json!({
        "gateway": {
            "bind": "loopback",
            "port": 18789,
            "controlUi": {"allowedOrigins": ["http://127.0.0.1:18789", "http://localhost:18789"]},
            "http": {"endpoints": {"chatCompletions": {"enabled": true}, "responses": {"enabled": true}}},
        },
        "agents": {"defaults": {"model": {"primary": "fake/tiny-1"}, "workspace": "<home>/workspace"}},
        "models": {"providers": {"fake": {"baseUrl": provider.openai_url(), "apiKey": "sk-fake",
            "api": "openai-completions", "models": [model]}}},
        "logging": {"file": "<home>/log/openclaw.log"},
        "browser": {"enabled": false},
    })
}

/// Plays conversations in the order they were recorded: each text to a gateway
/// of its own, all over the same files.
async fn play(texts: &[&str], over: Value, vars: &[(&str, &str)]) -> Vec<Finding> {
    let provider = FakeProvider::start().await;
    let mut config = recorded_config(&provider);
    crate::support::gateway::merge(&mut config, over);
    let mut gateway = TestGateway::start_with_env(config, vars).await;
    let mut player = Player::default();
    for (number, text) in texts.iter().enumerate() {
        if number > 0 {
            gateway = gateway.again().await;
        }
        for capture in capture::read(text) {
            player.play(&gateway, &capture).await;
        }
    }
    player.findings
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recorded_conversations_are_answered_as_the_node_gateway_answered() {
    macro_rules! recorded {
        ($name:literal) => {
            include_str!(concat!("../../fixtures/ws/", $name, ".jsonl"))
        };
    }
    let irc = json!({"channels": {"irc": {"host": "127.0.0.1", "port": 6667, "tls": false, "nick": "ocbot"}}});
    let quiet = json!({"gateway": {"reload": {"mode": "off"}, "controlUi": {"allowedOrigins": ["http://127.0.0.1:18789"]}}});
    let timeout = [("OPENCLAW_HANDSHAKE_TIMEOUT_MS", "300")];
    let played = tokio::join!(
        play(&[recorded!("first"), recorded!("restart"), recorded!("later")], json!({}), &[]),
        play(&[recorded!("v4")], json!({}), &[]),
        play(&[recorded!("irc")], irc, &[]),
        play(&[recorded!("write")], quiet, &[]),
        play(&[recorded!("silence")], json!({}), &timeout),
    );
    let findings = [played.0, played.1, played.2, played.3, played.4].into_iter().flatten();

    let known: Vec<Known<'_>> = DIFFERENCES
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(Known::parse)
        .collect();
    let mut used = vec![false; known.len()];
    let mut unknown: BTreeMap<[String; 4], (usize, String)> = BTreeMap::new();
    for finding in findings {
        let mut listed = false;
        for (known, used) in known.iter().zip(&mut used) {
            if known.covers(&finding) {
                *used = true;
                listed = true;
            }
        }
        if !listed {
            let difference = &finding.difference;
            let place = [
                finding.capture.clone(),
                finding.frame.clone(),
                difference.pointer.clone(),
                difference.kind.to_string(),
            ];
            let short = |value: &Value| value.to_string().chars().take(300).collect::<String>();
            let shown = format!("{} | {}", short(&difference.recorded), short(&difference.ours));
            unknown.entry(place).or_insert((0, shown)).0 += 1;
        }
    }
    let mut report = String::new();
    for (place, (count, shown)) in &unknown {
        writeln!(report, "{}\t×{count} {shown}", place.join("\t")).unwrap();
    }
    for (known, used) in known.iter().zip(used) {
        if !used && known.certain {
            writeln!(report, "no longer differs: {}", known.line).unwrap();
        }
    }
    assert!(report.is_empty(), "{} differences:\n{report}", unknown.len());
}
