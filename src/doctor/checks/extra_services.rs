//! Other services that run a gateway, among them those of older releases.

use std::path::PathBuf;

use crate::doctor::checks::{Check, Scope};
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Repair, Severity};
use crate::doctor::service::vendor_dirs;
use crate::doctor::steps::{Step, Verb};
use crate::supervise::systemd::unit::Unit;
use crate::supervise::systemd::words::Specifiers;

pub(super) const CHECK: Check = Check {
    id: "gateway-services",
    section: "Other gateway-like services detected",
    scope: Scope::Systemd,
    severity: Severity::Warning,
    finds: "other units that start a gateway, and units with the name of older releases; with `--deep` also those of the host",
    matters: "two gateways fight for port, state and channels: messages are answered twice or not at all",
    repairs: "takes units of older releases (`clawdbot-*`) out of service; others are yours to judge",
    inspect,
};

fn inspect(facts: &Facts<'_>) -> Vec<Finding> {
    let user = facts.user_service();
    let mut dirs = vec![(false, user.places.units.clone())];
    if facts.depth.deep {
        dirs.push((true, facts.host.system_path("etc/systemd/system")));
        dirs.extend(vendor_dirs(true).iter().map(|dir| (true, facts.host.system_path(dir))));
    }
    let mut found: Vec<Finding> = Vec::new();
    let mut seen: Vec<PathBuf> = Vec::new();
    for (system, dir) in dirs {
        let mut paths: Vec<PathBuf> = std::fs::read_dir(dir)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        paths.sort();
        for path in paths {
            let real = path.canonicalize().unwrap_or_else(|_| path.clone());
            if seen.contains(&real) {
                continue;
            }
            if let Some(finding) = judge(facts, system, &path) {
                seen.push(real);
                found.push(finding);
            }
        }
    }
    found
}

fn judge(facts: &Facts<'_>, system: bool, path: &std::path::Path) -> Option<Finding> {
    let name = path.file_name()?.to_str()?.to_owned();
    if !name.ends_with(".service") {
        return None;
    }
    let bytes = std::fs::read(path).ok()?;
    let unit = Unit::parse(&bytes).0;
    let specifiers = Specifiers::default();
    let env = unit.environment(&specifiers);
    let marked =
        env.iter().any(|(key, value)| key == "OPENCLAW_SERVICE_MARKER" && value == "openclaw");
    let legacy = name.starts_with("clawdbot");
    let argv = unit.exec_start(&specifiers).unwrap_or_default().join(" ");
    let runs_one =
        argv.contains("gateway") && (argv.contains("openclaw") || argv.contains("clawdbot"));
    // Gateways of other profiles and the node host are meant to be there.
    let first_class = !legacy && (marked || name.starts_with("openclaw-"));
    if first_class || !(legacy || runs_one) {
        return None;
    }
    let scope = if system { "system" } else { "user" };
    let label = format!("{name} ({scope}, unit: {})", facts.short(path));
    let ours_is_root = facts.host.account().uid == 0;
    let command = if system {
        format!("sudo systemctl disable --now {name}")
    } else {
        format!("systemctl --user disable --now {name}")
    };
    if legacy && (!system || ours_is_root) {
        let steps = vec![
            Step::Ask(Verb::Retire { system, unit: name.clone() }),
            Step::Remove { path: path.to_owned() },
            Step::Ask(Verb::Reload { system }),
        ];
        let repair = Repair::new(format!("take {name} out of service and remove its unit"), steps);
        return Some(
            Finding::warning(format!("{label}, of an older release")).at(path).mend(repair),
        );
    }
    Some(Finding::warning(label).at(path).advise(command))
}
