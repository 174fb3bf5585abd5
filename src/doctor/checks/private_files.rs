//! Files with secrets that others may read.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use crate::doctor::checks::{Check, Scope};
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Repair, Severity};
use crate::doctor::steps::Step;

pub(super) const CHECK: Check = Check {
    id: "private-files",
    section: "State integrity",
    scope: Scope::Everywhere,
    severity: Severity::Error,
    finds: "configuration, `.env`, credentials, device keys or approvals that others may read or write",
    matters: "they hold keys and tokens; whoever may write the configuration owns the gateway",
    repairs: "sets their permissions to 0600",
    inspect,
};

fn inspect(facts: &Facts<'_>) -> Vec<Finding> {
    let snapshot = facts.snapshot();
    let state = facts.state();
    let mut files: Vec<PathBuf> = vec![
        snapshot.path.clone(),
        state.join(".env"),
        state.join("exec-approvals.json"),
        state.join("identity/device.json"),
        state.join("identity/device-auth.json"),
        state.join("devices/paired.json"),
        state.join("devices/pending.json"),
    ];
    files.extend(snapshot.includes.keys().cloned());
    files.extend(facts.agents().into_iter().map(|agent| agent.join("agent/auth-profiles.json")));
    let me = facts.host.account().uid;
    files
        .into_iter()
        .filter_map(|path| {
            let metadata = path.metadata().ok()?;
            let open = metadata.mode() & 0o077;
            if open == 0 || !metadata.is_file() {
                return None;
            }
            let message = format!(
                "{} is open to others ({:04o}). Recommend chmod 600.",
                facts.short(&path),
                metadata.mode() & 0o777
            );
            let finding =
                if open & 0o022 != 0 { Finding::error(message) } else { Finding::warning(message) };
            let finding = finding.at(&path);
            Some(if metadata.uid() == me {
                finding.mend(Repair::new(
                    format!("set the permissions of {} to 0600", facts.short(&path)),
                    vec![Step::Mode { path, mode: 0o600 }],
                ))
            } else {
                finding.advise(format!("sudo chmod 600 {}", path.display()))
            })
        })
        .collect()
}
