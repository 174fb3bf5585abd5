//! Copies of unit files that keep secrets.

use crate::doctor::checks::{Check, Scope};
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Repair, Severity};
use crate::doctor::steps::Step;
use crate::supervise::audit::is_secret_name;
use crate::supervise::systemd::unit::Unit;
use crate::supervise::systemd::words::Specifiers;

pub(super) const CHECK: Check = Check {
    id: "unit-backups",
    section: "Gateway service config",
    scope: Scope::Systemd,
    severity: Severity::Error,
    finds: "backups of our units (`.bak`, `.bak-…`) that hold secrets, as other releases write them",
    matters: "they are readable for everybody and outlive the secret's replacement",
    repairs: "removes the copy; `doctor --undo` brings it back",
    inspect,
};

fn inspect(facts: &Facts<'_>) -> Vec<Finding> {
    let service = facts.service();
    let prefix = format!("{}.bak", service.service_name);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&service.places.units).into_iter().flatten().flatten() {
        let path = entry.path();
        if !entry.file_name().to_string_lossy().starts_with(&prefix) {
            continue;
        }
        let Ok(bytes) = std::fs::read(&path) else { continue };
        let env = Unit::parse(&bytes).0.environment(&Specifiers::default());
        if env.iter().any(|(name, value)| is_secret_name(name) && !value.trim().is_empty()) {
            let shown = facts.short(&path);
            let repair =
                Repair::new(format!("remove {shown}"), vec![Step::Remove { path: path.clone() }]);
            found.push(Finding::error(format!("{shown} holds secrets")).at(&path).mend(repair));
        }
    }
    found
}
