//! Room for what the gateway writes.

use crate::doctor::checks::{Check, Scope};
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Severity};

pub(super) const CHECK: Check = Check {
    id: "disk-space",
    section: "State integrity",
    scope: Scope::Everywhere,
    severity: Severity::Error,
    finds: "less than 500 MiB, or less than 1000 files, left where the state directory is",
    matters: "on a full disk sessions and the configuration cannot be written",
    repairs: "",
    inspect,
};

const MIB: u64 = 1024 * 1024;
const LOW: u64 = 500 * MIB;
const FULL: u64 = 50 * MIB;
const LOW_FILES: u64 = 1000;

fn inspect(facts: &Facts<'_>) -> Vec<Finding> {
    let state = facts.state();
    let place = state.ancestors().find(|path| path.exists()).unwrap_or(state);
    let Ok(room) = facts.host.room(place) else { return Vec::new() };
    let advice = format!("du -xh --max-depth=2 {} | sort -h | tail", place.display());
    let mut found = Vec::new();
    if room.free_bytes < LOW {
        let message = format!("only {} MiB are free", room.free_bytes / MIB);
        let finding = if room.free_bytes < FULL {
            Finding::error(message)
        } else {
            Finding::warning(message)
        };
        found.push(finding.at(place).advise(advice.clone()));
    }
    if let Some(files) = room.free_files.filter(|files| *files < LOW_FILES) {
        found.push(
            Finding::warning(format!("the file system has room for {files} more files only"))
                .at(place)
                .advise(advice),
        );
    }
    found
}
