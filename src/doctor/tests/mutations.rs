//! Generated damage to installed units, drop-ins and LaunchAgents: every key of
//! ours comes back, every byte of the operator stays, a second look is clean,
//! the preview is what was written, and undoing leads to the start.

use std::fs;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::doctor::bed::{Bed, SERVICE, SOCKET};
use crate::doctor::diff;
use crate::doctor::drift::{Label, agent, units};
use crate::doctor::facts::{Depth, Facts};
use crate::doctor::repair::{self, Force};
use crate::doctor::tests::repairs::fix;
use crate::supervise::launchd::plist as job;
use crate::supervise::launchd::settings as agent_settings;
use crate::supervise::systemd::settings::{self, Standing};
use crate::supervise::systemd::unit::Unit;

/// Generated hosts of each kind.
const UNIT_CASES: u32 = 150;
const AGENT_CASES: u32 = 50;

/// One edit of a text made of lines; indices are taken modulo what is there.
#[derive(Debug, Clone)]
enum Edit {
    Delete(usize),
    Value(usize, String),
    Duplicate(usize, String),
    Insert(usize, String),
    Swap(usize, usize),
    CutNewline,
    CarriageReturn(usize),
    Continue(usize),
    Append(String),
}

/// What only an operator writes; each is found again byte for byte.
fn operator_line() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("# a remark of mine, ünïcödé".to_owned()),
        Just("; another one".to_owned()),
        Just("Nice=5".to_owned()),
        Just("  LimitNOFILE = 4096  ".to_owned()),
        Just("Environment=MINE=\"a b\" OTHER=2".to_owned()),
        Just("Environment=\"EDITOR=vi -u NONE\"".to_owned()),
        Just("After=my-vpn.service".to_owned()),
        Just("ExecStartPre=-/bin/sh -c 'echo %n; true'".to_owned()),
        Just("not an assignment at all".to_owned()),
        Just(String::new()),
        "#[ -~]{0,40}",
        "X-[A-Z][a-z]{1,8}=[ -\\[\\]-~]{0,20}",
    ]
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        Just("no".to_owned()),
        Just("30".to_owned()),
        Just("simple".to_owned()),
        Just("\"open quote".to_owned()),
        Just("/usr/bin/env FOO=%n".to_owned()),
        "[ -\\[\\]-~]{1,24}",
    ]
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = any::<prop::sample::Index>().prop_map(|index| index.index(1 << 20));
    prop_oneof![
        3 => at.clone().prop_map(Edit::Delete),
        3 => (at.clone(), value()).prop_map(|(at, value)| Edit::Value(at, value)),
        2 => (at.clone(), value()).prop_map(|(at, value)| Edit::Duplicate(at, value)),
        3 => (at.clone(), operator_line()).prop_map(|(at, line)| Edit::Insert(at, line)),
        1 => (at.clone(), at.clone()).prop_map(|(one, other)| Edit::Swap(one, other)),
        1 => Just(Edit::CutNewline),
        1 => at.clone().prop_map(Edit::CarriageReturn),
        1 => at.prop_map(Edit::Continue),
        1 => operator_line().prop_map(Edit::Append),
    ]
}

fn damage(text: &str, edits: &[Edit]) -> String {
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    for edit in edits {
        let count = lines.len().max(1);
        let spot = |at: usize| at % count;
        match edit {
            Edit::Delete(at) if !lines.is_empty() => drop(lines.remove(spot(*at))),
            Edit::Value(at, value) | Edit::Duplicate(at, value) if !lines.is_empty() => {
                let line = lines[spot(*at)].clone();
                // The command has tests of its own: it needs `--force`.
                if let Some((key, _)) =
                    line.split_once('=').filter(|(key, _)| !key.contains("ExecStart"))
                {
                    let line = format!("{key}={value}\n");
                    match edit {
                        Edit::Value(..) => lines[spot(*at)] = line,
                        _ => lines.insert(spot(*at) + 1, line),
                    }
                }
            }
            Edit::Insert(at, line) => lines.insert(spot(*at).min(lines.len()), format!("{line}\n")),
            Edit::Swap(one, other) if !lines.is_empty() => lines.swap(spot(*one), spot(*other)),
            Edit::CutNewline => {
                if let Some(last) = lines.last_mut() {
                    last.truncate(last.trim_end_matches('\n').len());
                }
            }
            Edit::CarriageReturn(at) if !lines.is_empty() => {
                let line = &mut lines[spot(*at)];
                *line = line.replace('\n', "\r\n");
            }
            Edit::Continue(at) if !lines.is_empty() => {
                let line = &mut lines[spot(*at)];
                if line.contains('=') && !line.contains("ExecStart") {
                    *line = line.replacen('=', "=\\\n # in between\n ", 1);
                }
            }
            Edit::Append(line) => lines.push(line.clone()),
            _ => {}
        }
    }
    lines.concat()
}

/// Lines that were there, are no assignment of ours, and must still be there,
/// in the same order.
fn foreign_lines<'t>(text: &'t str, ours: &[settings::Setting]) -> Vec<&'t str> {
    let (unit, _) = Unit::parse(text.as_bytes());
    let mine = |number: usize| {
        unit.entries().iter().any(|entry| {
            entry.line == number
                && entry.last_line == number
                && ours.iter().any(|setting| setting.is_at(&entry.section, &entry.key))
        })
    };
    text.split_inclusive('\n')
        .enumerate()
        .filter(|(index, _)| !mine(index + 1))
        .map(|(_, line)| line.trim_end_matches('\n'))
        .collect()
}

fn is_subsequence(parts: &[&str], text: &str) -> bool {
    let mut lines = text.split('\n');
    parts.iter().all(|part| lines.any(|line| line == *part))
}

/// Applies a unified difference the way `patch` does.
fn patch(before: &str, diff: &str, path: &str) -> String {
    let old: Vec<&str> = before.split_inclusive('\n').collect();
    let mut out = String::new();
    let mut at = 0;
    let mut inside = false;
    let mut lines = diff.split_inclusive('\n').peekable();
    while let Some(line) = lines.next() {
        if line.starts_with("--- ") {
            inside = lines.next().is_some_and(|to| to.trim_end() == format!("+++ {path}"));
            continue;
        }
        if !inside || line.starts_with("# then") {
            continue;
        }
        if let Some(rest) = line.strip_prefix("@@ -") {
            let start: usize = rest.split([',', ' ']).next().unwrap().parse().unwrap();
            let count: usize =
                rest.split(' ').next().unwrap().split(',').nth(1).map_or(1, |n| n.parse().unwrap());
            let start = if count == 0 { start } else { start - 1 };
            out.extend(old[at..start].iter().copied());
            at = start;
            continue;
        }
        if line.starts_with('\\') {
            continue;
        }
        let (sign, text) = line.split_at(1);
        let ended = lines.peek().is_some_and(|next| next.starts_with('\\'));
        let text = if ended { text.trim_end_matches('\n') } else { text };
        match sign {
            "-" => at += 1,
            "+" => out.push_str(text),
            _ => {
                out.push_str(old[at]);
                at += 1;
            }
        }
    }
    out.extend(old[at..].iter().copied());
    out
}

/// The same cases in every run: what one run finds, the next one shows again.
fn runner(config: Config) -> TestRunner {
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

#[test]
fn units_are_mended_around_everything_the_operator_wrote() {
    let mut runner =
        runner(Config { cases: UNIT_CASES, failure_persistence: None, ..Config::default() });
    let edits = || proptest::collection::vec(edit(), 1..6);
    let strategy =
        (edits(), edits(), proptest::option::of(proptest::collection::vec(operator_line(), 1..4)));
    runner
        .run(&strategy, |(service_edits, socket_edits, drop_in)| {
            let bed = Bed::new();
            let (service, socket) = bed.units();
            let damaged = [
                (SERVICE, damage(&service, &service_edits), service),
                (SOCKET, damage(&socket, &socket_edits), socket),
            ];
            for (name, text, _) in &damaged {
                fs::write(bed.unit(name), text).unwrap();
            }
            if let Some(lines) = drop_in {
                bed.drop_in(SERVICE, &format!("[Service]\n{}\n", lines.join("\n")));
            }
            bed.user.reload();
            check_units(&bed, &damaged)
        })
        .unwrap();
    println!(
        "{UNIT_CASES} mutated units with their drop-ins: mended, nothing of the operator's changed"
    );
}

fn check_units(bed: &Bed, damaged: &[(&str, String, String)]) -> Result<(), TestCaseError> {
    let before = bed.picture();
    // A command that went missing or cannot be read is written anew by force.
    let force = if units::compare(&Facts::new(bed, Depth::default())).foreign {
        Force::Yes
    } else {
        Force::No
    };
    let examination = bed.examine(&[]);
    let preview = {
        let facts = Facts::new(bed, Depth::default());
        diff::preview(&repair::plan(&examination, force), facts.snapshot())
    };
    fix(bed, force);
    for (name, text, clean) in damaged {
        let path = bed.unit(name);
        let mended = fs::read_to_string(&path).unwrap();
        let ours = settings::settings(&Unit::parse(clean.as_bytes()).0);
        let unit = Unit::parse(mended.as_bytes()).0;
        let specifiers = Facts::new(bed, Depth::default()).service().specifiers();
        for setting in &ours {
            prop_assert_eq!(
                setting.standing(&unit, &specifiers),
                Standing::Same,
                "{:?} in\n{}",
                setting,
                mended
            );
        }
        let kept = foreign_lines(text, &ours);
        prop_assert!(
            is_subsequence(&kept, &mended),
            "{:?}\nbefore:\n{}\nafter:\n{}",
            kept,
            text,
            mended
        );
        let shown = path.display().to_string();
        if *text == mended {
            prop_assert!(!preview.contains(&format!("+++ {shown}\n")), "{}", preview);
        } else {
            prop_assert_eq!(&patch(text, &preview, &shown), &mended, "{}", preview);
        }
    }
    let second =
        bed.examine(&["service-drift", "service-command", "service-reload", "socket-unit"]);
    let ours: Vec<_> = second
        .findings
        .iter()
        .filter(|found| {
            let text = &found.finding.message;
            [Label::OursMissing, Label::OursChanged, Label::NotReloaded]
                .iter()
                .any(|label| text.starts_with(label.as_str()))
        })
        .collect();
    prop_assert!(ours.is_empty(), "{:#?}", ours);
    prop_assert!(repair::plan(&second, Force::Yes).is_empty(), "{:#?}", second.findings);
    let changed =
        damaged.iter().any(|(name, text, _)| fs::read_to_string(bed.unit(name)).unwrap() != *text);
    if changed {
        repair::undo(bed).map_err(|err| TestCaseError::fail(err.to_string()))?;
        let mut after = bed.picture();
        after.retain(|path, _| !path.ends_with("doctor"));
        prop_assert_eq!(after, before);
    }
    Ok(())
}

#[derive(Debug, Clone)]
enum AgentEdit {
    Drop(usize),
    Replace(usize, &'static str),
    Add(&'static str),
    Remark(usize),
    Respace,
}

fn agent_edit() -> impl Strategy<Value = AgentEdit> {
    let at = any::<prop::sample::Index>().prop_map(|index| index.index(1 << 20));
    let value = prop_oneof![
        Just("<true/>"),
        Just("<string>x &amp; y</string>"),
        Just("<integer>7</integer>"),
        Just("<dict/>"),
        Just("<array>\n<string>a</string></array>"),
    ];
    let added = prop_oneof![
        Just("<key>Nice</key><integer>5</integer>"),
        Just("\t<key>LowPriorityIO</key>\n\t<true/>"),
        Just("<key>My&amp;Key</key> <dict><key>a</key><!-- b --><string/></dict>"),
    ];
    prop_oneof![
        at.clone().prop_map(AgentEdit::Drop),
        (at.clone(), value).prop_map(|(at, value)| AgentEdit::Replace(at, value)),
        added.prop_map(AgentEdit::Add),
        at.prop_map(AgentEdit::Remark),
        Just(AgentEdit::Respace),
    ]
}

/// The top-level members of a rendered agent, as text.
fn members(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let body = text.split_once("<dict>\n").unwrap().1.rsplit_once("</dict>").unwrap().0;
    for line in body.split_inclusive('\n') {
        if line.starts_with("\t<key>") {
            found.push(String::new());
        }
        found.last_mut().unwrap().push_str(line);
    }
    found
}

#[test]
fn launch_agents_are_mended_around_everything_the_operator_wrote() {
    let mut runner =
        runner(Config { cases: AGENT_CASES, failure_persistence: None, ..Config::default() });
    runner
        .run(&proptest::collection::vec(agent_edit(), 1..6), |edits| {
            let bed = Bed::macos();
            let path = bed.agent_path();
            let clean = fs::read_to_string(&path).unwrap();
            let mut parts = members(&clean);
            let mut mine: Vec<String> = Vec::new();
            for edit in &edits {
                let count = parts.len().max(1);
                match edit {
                    AgentEdit::Drop(at) if !parts.is_empty() && mine.is_empty() => drop(parts.remove(at % count)),
                    AgentEdit::Replace(at, value) if !parts.is_empty() && mine.is_empty() => {
                        let part = &mut parts[at % count];
                        // The command needs `--force` and has tests of its own.
                        if let Some((key, _)) = part.split_once("</key>").filter(|(key, _)| !key.contains("ProgramArguments")) {
                            *part = format!("{key}</key>{value}\n");
                        }
                    }
                    AgentEdit::Add(text) if !mine.contains(&(*text).to_owned()) => {
                        parts.push(format!("{text}\n"));
                        mine.push((*text).to_owned());
                    }
                    AgentEdit::Remark(at) => {
                        parts.insert(at % count, "  <!-- of mine -->\n".to_owned());
                        mine.push("  <!-- of mine -->\n".to_owned());
                    }
                    AgentEdit::Respace => {
                        for part in parts.iter_mut().chain(&mut mine) {
                            *part = part.replace('\t', "    ");
                        }
                    }
                    _ => {}
                }
            }
            let text = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<plist version=\"1.0\">\n<dict>\n{}</dict>\n</plist>\n", parts.concat());
            fs::write(&path, &text).unwrap();
            let before = bed.picture();
            let preview = {
                let facts = Facts::new(&bed, Depth::default());
                diff::preview(&repair::plan(&bed.examine(&[]), Force::No), facts.snapshot())
            };
            fix(&bed, Force::No);
            let mended = fs::read_to_string(&path).unwrap();
            let root = job::parse(mended.as_bytes()).unwrap();
            let wanted = job::agent(&bed.spec()).unwrap();
            for setting in agent_settings::settings(&wanted) {
                prop_assert_eq!(setting.standing(&root), agent_settings::Standing::Same, "{:?}\n{}", setting, mended);
            }
            for part in &mine {
                prop_assert!(mended.contains(part.as_str()), "{}\n{}", part, mended);
            }
            if text != mended {
                prop_assert_eq!(&patch(&text, &preview, &path.display().to_string()), &mended);
            }
            let drift = agent::compare(&Facts::new(&bed, Depth::default()));
            prop_assert!(drift.repair.is_none() && drift.forced.is_none(), "{:#?}", drift);
            if text != mended {
                repair::undo(&bed).map_err(|err| TestCaseError::fail(err.to_string()))?;
                let mut after = bed.picture();
                after.retain(|path, _| !path.ends_with("doctor"));
                prop_assert_eq!(after, before);
            }
            Ok(())
        })
        .unwrap();
    println!("{AGENT_CASES} mutated property lists: mended, nothing of the operator's changed");
}
