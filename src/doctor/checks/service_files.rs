//! Who owns the unit files, who may write them, and links that lead nowhere.

use std::path::{Path, PathBuf};

use crate::doctor::checks::{Check, Scope};
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Repair, Severity};
use crate::doctor::steps::{Step, Verb};

pub(super) const CHECK: Check = Check {
    id: "service-files",
    section: "Gateway service config",
    scope: Scope::Systemd,
    severity: Severity::Error,
    finds: "units that belong to another user or that others may write; enablement links of units that are gone",
    matters: "whoever may write the unit runs programs as its user; a dead link makes every start of the manager complain",
    repairs: "takes the write access of others away and removes dead links",
    inspect,
};

fn inspect(facts: &Facts<'_>) -> Vec<Finding> {
    let service = facts.service();
    let me = facts.host.account();
    let expected = if service.system { 0 } else { me.uid };
    let mut found = Vec::new();
    let files = [&service.service, &service.socket];
    for file in files.into_iter().flatten().filter(|file| !file.vendor && !file.masked) {
        if file.owner != expected {
            found.push(
                Finding::warning(format!(
                    "{} belongs to another user (uid {})",
                    facts.short(&file.path),
                    file.owner
                ))
                .at(&file.path)
                .advise(format!("sudo chown {expected} {}", file.path.display())),
            );
        } else if file.mode & 0o022 != 0 {
            let mode = file.mode & !0o022;
            found.push(
                Finding::error(format!(
                    "{} can be written by others ({:04o})",
                    facts.short(&file.path),
                    file.mode
                ))
                .at(&file.path)
                .mend(Repair::new(
                    format!("set the permissions of {} to {mode:04o}", facts.short(&file.path)),
                    vec![Step::Mode { path: file.path.clone(), mode }],
                )),
            );
        }
    }
    if service.unreachable.is_none() {
        for link in
            dead_links(&service.places.units, &[&service.service_name, &service.socket_name])
        {
            found.push(
                Finding::warning(format!("{} enables a unit that is gone", facts.short(&link)))
                    .at(&link)
                    .mend(Repair::new(
                        format!("remove {}", facts.short(&link)),
                        vec![
                            Step::Remove { path: link.clone() },
                            Step::Ask(Verb::Reload { system: service.system }),
                        ],
                    )),
            );
        }
    }
    found
}

/// Links to our units in `*.wants` that lead nowhere.
fn dead_links(units: &Path, names: &[&String]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for dir in std::fs::read_dir(units).into_iter().flatten().flatten() {
        if dir.path().extension().is_none_or(|ext| ext != "wants" && ext != "requires") {
            continue;
        }
        for name in names {
            let link = dir.path().join(name);
            let is_link = link.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink());
            if is_link && !link.exists() {
                found.push(link);
            }
        }
    }
    found
}
