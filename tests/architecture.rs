//! The house rules as tests: which module may use which, how large a file may
//! grow, where side effects live, and what must never be committed.
//!
//! It reads text, it does not parse Rust. That works because of two rules it
//! enforces itself: `use crate::x::Y` always, and never `crate::{`.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Each module with the modules it may name, lowest floor first.
///
/// Within floor 2, `store` lies below `config` (which writes its file through
/// it) and `config` below `secrets`. The modules of floor 3 do not see each
/// other.
const FLOORS: &[(&str, &[&str])] = &[
    // Floor 0: pure.
    ("base", &[]),
    // Floor 1: the wire, this host, background tasks, HTTP to services.
    ("lifecycle", &["base"]),
    ("logging", &["base"]),
    ("outbound", &[]),
    ("profile", &["base"]),
    ("protocol", &["base"]),
    // Floor 2: configuration and durable state.
    ("store", &["base", "lifecycle", "profile"]),
    ("config", &["base", "lifecycle", "profile", "store"]),
    ("secrets", &["base", "lifecycle", "profile", "store", "config"]),
    // Floor 3: siblings.
    (
        "agents",
        &[
            "base",
            "lifecycle",
            "logging",
            "outbound",
            "profile",
            "protocol",
            "store",
            "config",
            "secrets",
        ],
    ),
    (
        "channels",
        &["base", "lifecycle", "logging", "outbound", "profile", "store", "config", "secrets"],
    ),
    ("supervise", &["base", "lifecycle", "logging", "profile", "store", "config"]),
    ("client", &["base", "lifecycle", "profile", "protocol", "store", "config", "secrets"]),
    // Floor 4: the composition root.
    (
        "gateway",
        &[
            "base",
            "lifecycle",
            "logging",
            "profile",
            "protocol",
            "store",
            "config",
            "secrets",
            "agents",
            "channels",
            "supervise",
            "client",
        ],
    ),
    // Floor 5: looks at all of it from outside.
    (
        "doctor",
        &[
            "base",
            "lifecycle",
            "profile",
            "protocol",
            "store",
            "config",
            "secrets",
            "agents",
            "supervise",
            "client",
        ],
    ),
    // Floor 6: the terminal.
    (
        "cli",
        &[
            "base",
            "lifecycle",
            "logging",
            "profile",
            "protocol",
            "store",
            "config",
            "secrets",
            "agents",
            "channels",
            "supervise",
            "client",
            "gateway",
            "doctor",
        ],
    ),
];

/// The most lines a file may have, its tests not counted.
const MOST_LINES: usize = 800;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &[
    "utils", "util", "helpers", "helper", "common", "misc", "core", "types", "manager2", "impl_",
    "handler",
];

/// A text, and the only files in which it may stand; a folder ends with `/`.
const ONLY_IN: &[(&str, &[&str], &str)] = &[
    ("tokio::spawn(", &["src/lifecycle/"], "background work belongs to Lifecycle"),
    ("task::spawn(", &["src/lifecycle/"], "background work belongs to Lifecycle"),
    ("env::var(", &["src/profile/env.rs"], "the environment is read once"),
    ("env::var_os(", &["src/profile/env.rs"], "the environment is read once"),
    ("env::vars(", &["src/profile/env.rs"], "the environment is read once"),
    ("env::vars_os(", &["src/profile/env.rs"], "the environment is read once"),
    ("env::set_var(", &[], "other threads may be reading the environment"),
    ("env::remove_var(", &[], "other threads may be reading the environment"),
    ("crate::{", &[], "hides the module's name; one `use` line per module"),
    ("super::super", &[], "hides the module's name; write `crate::…`"),
    ("#[allow(", &[], "write #[expect(lint, reason = …)]"),
    ("#![allow(", &[], "write #![expect(lint, reason = …)]"),
    ("todo!(", &[], "say what is not supported"),
    ("unimplemented!(", &[], "say what is not supported"),
];

/// What no tracked file may hold. In pieces, so that this file does not.
const NEVER_COMMITTED: &[&str] = &[
    concat!("/tm", "p/w/"),
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("Co-Authored", "-By"),
    concat!("<<<<", "<<< "),
    concat!(">>>>", ">>> "),
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file under `dir` with the extension `rs`, sorted.
fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut found = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            if !path.ends_with("target") {
                found.extend(rust_files(&path));
            }
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Path below the project's root, for messages.
fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|err| panic!("{}: {err}", shown(path)))
}

/// The part of a source file before its unit tests.
fn without_tests(text: &str) -> &str {
    let start = text.find("\n#[cfg(test)]\nmod ").unwrap_or(text.len());
    &text[..start]
}

/// Lines of code: comments do not count as use of anything.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(index, line)| (index + 1, line))
}

/// The `x` of every `crate::x` in a file, comments excepted.
fn crate_modules_named_in(text: &str) -> impl Iterator<Item = (usize, &str)> {
    code_lines(text)
        .flat_map(|(number, line)| line.split("crate::").skip(1).map(move |rest| (number, rest)))
        .map(|(number, rest)| {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
            (number, &rest[..end.unwrap_or(rest.len())])
        })
        .filter(|(_, name)| !name.is_empty())
}

#[track_caller]
fn assert_none(wrong: &[String], rule: &str) {
    assert!(wrong.is_empty(), "{rule}:\n  {}", wrong.join("\n  "));
}

#[test]
fn modules_only_look_down() {
    let mut wrong = Vec::new();
    for (module, below) in FLOORS {
        for file in rust_files(&root().join("src").join(module)) {
            let text = read(&file);
            for (line, name) in crate_modules_named_in(&text) {
                let known = FLOORS.iter().any(|(other, _)| *other == name);
                if known && name != *module && !below.contains(&name) {
                    wrong.push(format!("{}:{line}: `{module}` uses `{name}`", shown(&file)));
                }
            }
        }
    }
    assert_none(&wrong, "a module may use only what FLOORS lists for it");
}

#[test]
fn the_table_of_floors_has_no_cycle_and_no_gap() {
    let mut seen = BTreeSet::new();
    for (module, below) in FLOORS {
        for name in *below {
            assert!(seen.contains(name), "`{module}` may use `{name}`, which is not below it");
        }
        seen.insert(*module);
    }
    for entry in fs::read_dir(root().join("src")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let known = seen.contains(name.as_str()) || name == "main.rs" || name == "lib.rs";
        assert!(known, "src/{name} stands on no floor");
    }
}

#[test]
fn the_reader_of_uses_sees_uses_and_not_comments() {
    let text = "use crate::config::Live;\n// crate::cli is not used\nlet x = crate::base::id(crate::profile);";
    let names: Vec<_> = crate_modules_named_in(text).collect();
    assert_eq!(names, [(1, "config"), (3, "base"), (3, "profile")]);
}

#[test]
fn no_file_outgrows_a_reader() {
    let mut wrong = Vec::new();
    for file in rust_files(&root().join("src")) {
        let lines = without_tests(&read(&file)).lines().count();
        if lines > MOST_LINES && !file.ends_with("tests.rs") {
            wrong.push(format!("{}: {lines} lines", shown(&file)));
        }
    }
    assert_none(&wrong, "at most 800 lines a file, tests not counted");
}

#[test]
fn every_file_says_what_it_is_for() {
    let mut wrong = Vec::new();
    for dir in ["src", "tests", "fuzz"] {
        for file in rust_files(&root().join(dir)) {
            if !read(&file).starts_with("//! ") {
                wrong.push(shown(&file));
            }
        }
    }
    assert_none(&wrong, "a file starts with `//!`: what it is for, what it does not do");
}

#[test]
fn names_mean_something() {
    let mut wrong = Vec::new();
    for dir in ["src", "tests", "fuzz"] {
        for file in rust_files(&root().join(dir)) {
            let below = file.strip_prefix(root()).unwrap();
            let empty = below.iter().any(|part| {
                let part = part.to_str().unwrap();
                EMPTY_NAMES.contains(&part.strip_suffix(".rs").unwrap_or(part))
            });
            if empty {
                wrong.push(shown(&file));
            }
        }
    }
    assert_none(&wrong, "name the thing an operator would name");
}

#[test]
fn a_module_is_a_folder_or_a_file_and_not_both() {
    let mut wrong = Vec::new();
    for dir in ["src", "tests"] {
        for file in rust_files(&root().join(dir)) {
            if file.with_extension("").is_dir() {
                wrong.push(shown(&file));
            }
        }
    }
    assert_none(&wrong, "put it into mod.rs of the folder");
}

#[test]
fn side_effects_and_forbidden_forms_stay_where_they_belong() {
    let mut wrong = Vec::new();
    for file in rust_files(&root().join("src")) {
        let text = read(&file);
        let name = shown(&file);
        for (number, line) in code_lines(without_tests(&text)) {
            for (form, places, reason) in ONLY_IN {
                let home = places.iter().any(|place| name.starts_with(place));
                if line.contains(form) && !home {
                    wrong.push(format!("{name}:{number}: `{form}`: {reason}"));
                }
            }
        }
    }
    assert_none(&wrong, "not here");
}

#[test]
fn every_source_file_is_part_of_the_program_or_of_its_tests() {
    let mut wrong = Vec::new();
    for dir in ["src", "tests/it"] {
        for file in rust_files(&root().join(dir)) {
            let folder = file.parent().unwrap();
            let stem = file.file_stem().unwrap().to_str().unwrap();
            let (name, owner) = match stem {
                "main" | "lib" => continue,
                "mod" => (folder.file_name().unwrap().to_str().unwrap(), folder.parent().unwrap()),
                _ => (stem, folder),
            };
            let declared = ["mod.rs", "lib.rs", "main.rs"]
                .iter()
                .filter_map(|root| fs::read_to_string(owner.join(root)).ok())
                .any(|text| text.lines().any(|line| declares(line, name)));
            // A unit test in a file of its own is declared by the file it tests.
            let beside = stem == "tests" && owner.join("mod.rs").exists();
            if !declared && !beside {
                wrong.push(shown(&file));
            }
        }
    }
    assert_none(&wrong, "no `mod` line names it");
}

/// Whether a line is `mod name;`, with or without visibility.
fn declares(line: &str, name: &str) -> bool {
    let rest = line.trim().strip_suffix(';').unwrap_or("");
    rest.strip_suffix(name).is_some_and(|start| start.ends_with("mod "))
}

#[test]
fn integration_tests_are_one_binary() {
    let manifest = read(&root().join("Cargo.toml"));
    let binaries: Vec<_> = manifest.lines().filter(|line| line.trim() == "[[test]]").collect();
    assert_eq!(binaries.len(), 2, "`it` and `architecture`: each further one links everything");
    assert!(manifest.contains("autotests = false"), "or a stray file becomes a third");
}

#[test]
fn no_tracked_file_holds_what_belongs_to_one_machine() {
    let mut wrong = Vec::new();
    for file in tracked_files() {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        for (index, line) in text.lines().enumerate() {
            for word in NEVER_COMMITTED {
                if line.contains(word) {
                    wrong.push(format!("{}:{}: `{word}`", shown(&file), index + 1));
                }
            }
        }
    }
    assert_none(&wrong, "not in a tracked file");
}

/// What git tracks; in an unpacked archive, every Rust file and the top level.
fn tracked_files() -> Vec<PathBuf> {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output();
    if let Ok(output) = listed
        && output.status.success()
    {
        let names = String::from_utf8(output.stdout).unwrap();
        return names.split_terminator('\0').map(|name| root().join(name)).collect();
    }
    let top = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = top.filter(|path| path.is_file()).collect();
    found.extend(rust_files(root()));
    found
}
