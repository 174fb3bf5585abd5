//! Secrets in units, which every user of the host can read.

use std::path::Path;

use crate::doctor::checks::{Check, Scope};
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Repair, Severity};
use crate::doctor::steps::{Step, Verb};
use crate::supervise::audit::is_secret_name;
use crate::supervise::spec::has_credentials;
use crate::supervise::systemd::settings;
use crate::supervise::systemd::unit::Unit;
use crate::supervise::systemd::words::Specifiers;

pub(super) const CHECK: Check = Check {
    id: "service-secrets",
    section: "Gateway service config",
    scope: Scope::Systemd,
    severity: Severity::Error,
    finds: "tokens, passwords, keys and proxy credentials in the unit, the socket unit and their drop-ins",
    matters: "units are readable for everybody, and `systemctl show` prints them",
    repairs: "moves secrets of the unit we own into `.env` of the state directory (0600); drop-ins are left to you",
    inspect,
};

fn inspect(facts: &Facts<'_>) -> Vec<Finding> {
    let service = facts.service();
    let Some(file) = service.service.as_ref().filter(|file| !file.masked) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let own = secrets(&file.bytes);
    if !own.is_empty() {
        let names: Vec<&str> = own.iter().map(|(name, _, _)| name.as_str()).collect();
        let repair = if file.vendor {
            None
        } else {
            relocate(facts, &file.path, &file.bytes, file.mode, &own)
        };
        let by_hand = repair.is_none();
        let mut finding =
            Finding::error(format!("Gateway service embeds secrets: {}", names.join(", ")))
                .at(&file.path)
                .on_line(own[0].2)
                .mend(repair);
        if by_hand {
            finding = finding.advise(by_hand_advice(facts, &file.path));
        }
        found.push(finding);
    }
    for drop_in in &file.drop_ins {
        let inside = secrets(&drop_in.bytes);
        if let Some((_, _, line)) = inside.first() {
            let names: Vec<&str> = inside.iter().map(|(name, _, _)| name.as_str()).collect();
            found.push(
                Finding::error(format!("a drop-in embeds secrets: {}", names.join(", ")))
                    .at(&drop_in.path)
                    .on_line(*line)
                    .advise(by_hand_advice(facts, &drop_in.path)),
            );
        }
    }
    found
}

fn by_hand_advice(facts: &Facts<'_>, path: &Path) -> String {
    let env = facts.short(&facts.state().join(".env"));
    format!("move them from {} to {env}, then: {} doctor --fix", facts.short(path), facts.program())
}

/// Name, value and line of every secret that a unit's text sets.
fn secrets(bytes: &[u8]) -> Vec<(String, String, usize)> {
    let (unit, _) = Unit::parse(bytes);
    unit.environment(&Specifiers::default())
        .into_iter()
        .filter(|(name, value)| {
            let proxy = name.to_ascii_lowercase().ends_with("_proxy") && has_credentials(value);
            (is_secret_name(name) || proxy) && !value.trim().is_empty()
        })
        .map(|(name, value)| {
            let line =
                unit.entries().iter().rfind(|entry| entry.value.contains(&format!("{name}=")));
            (name, value, line.map_or(0, |entry| entry.line))
        })
        .collect()
}

/// Takes the variables out of the unit and puts them where only the owner can
/// read them. `None` when one shares its line with something else.
fn relocate(
    facts: &Facts<'_>,
    path: &Path,
    bytes: &[u8],
    mode: u32,
    secrets: &[(String, String, usize)],
) -> Option<Repair> {
    let service = facts.service();
    let env_file = facts.state().join(".env");
    let before = std::fs::read(&env_file).ok();
    let mut text = before.clone().unwrap_or_default();
    let mut unit = bytes.to_vec();
    let known = crate::config::environment::parse(&String::from_utf8_lossy(&text));
    for (name, value, _) in secrets {
        unit = settings::without_variable(&unit, name)?;
        if known.iter().any(|(key, _)| key == name) {
            continue;
        }
        if value.contains(['\n', '\'']) {
            return None;
        }
        if !text.is_empty() && !text.ends_with(b"\n") {
            text.push(b'\n');
        }
        text.extend(format!("{name}='{value}'\n").bytes());
    }
    let mut steps = Vec::new();
    if before.as_deref() != Some(&text) {
        steps.push(Step::Write { path: env_file.clone(), before, after: text, mode: 0o600 });
    }
    steps.push(Step::Write {
        path: path.to_owned(),
        before: Some(bytes.to_vec()),
        after: unit,
        mode,
    });
    if service.unreachable.is_none() {
        steps.push(Step::Ask(Verb::Reload { system: service.system }));
        steps.push(Step::Ask(Verb::Restart { system: service.system, socket: false }));
    }
    let names: Vec<&str> = secrets.iter().map(|(name, _, _)| name.as_str()).collect();
    Some(Repair::new(
        format!("move {} from the unit to {}", names.join(", "), facts.short(&env_file)),
        steps,
    ))
}
