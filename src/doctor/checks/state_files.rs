//! Durable files that are no JSON.

use std::path::PathBuf;

use serde_json::Value;

use crate::doctor::checks::{Check, Scope};
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Severity};

pub(super) const CHECK: Check = Check {
    id: "state-files",
    section: "State integrity",
    scope: Scope::Everywhere,
    severity: Severity::Error,
    finds: "approvals, paired devices, scheduled jobs, credentials or the device key in a file that cannot be read as JSON",
    matters: "the gateway treats such a file as empty: approvals, jobs or credentials are gone until it is mended",
    repairs: "",
    inspect,
};

fn inspect(facts: &Facts<'_>) -> Vec<Finding> {
    let state = facts.state();
    let mut files: Vec<PathBuf> = vec![
        crate::store::exec_approvals::path(state),
        state.join("devices/paired.json"),
        state.join("devices/pending.json"),
        state.join("cron/jobs.json"),
        state.join("identity/device.json"),
        state.join("identity/device-auth.json"),
    ];
    files.extend(facts.agents().into_iter().map(|agent| agent.join("agent/auth-profiles.json")));
    files
        .into_iter()
        .filter_map(|path| {
            let bytes = match std::fs::read(&path) {
                Ok(bytes) => bytes,
                Err(err) if err.kind() == std::io::ErrorKind::NotFound => return None,
                Err(err) => {
                    return Some(
                        Finding::error(format!("{} cannot be read: {err}", facts.short(&path)))
                            .at(&path)
                            .advise(format!("ls -l {}", path.display())),
                    );
                }
            };
            let err = serde_json::from_slice::<Value>(&bytes).err()?;
            Some(
                Finding::error(format!("{} is not valid JSON: {err}", facts.short(&path)))
                    .at(&path)
                    .on_line(err.line())
                    .advise(format!("mend it, or move it away: mv {0} {0}.broken", path.display())),
            )
        })
        .collect()
}
