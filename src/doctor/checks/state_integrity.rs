//! The state directory itself.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::doctor::checks::{Check, Scope};
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Repair, Severity};
use crate::doctor::steps::Step;

pub(super) const CHECK: Check = Check {
    id: "state-integrity",
    section: "State integrity",
    scope: Scope::Everywhere,
    severity: Severity::Error,
    finds: "a state directory that is missing, belongs to somebody else, cannot be written, is open to others, lies in a cloud folder or in memory; a missing session directory",
    matters: "sessions, credentials and the log are kept there; what cannot be written is lost",
    repairs: "makes missing directories (0700) and takes the access of others away",
    inspect,
};

/// Folders that are copied elsewhere while programs write to them.
const CLOUD: [&str; 6] =
    ["Dropbox", "OneDrive", "Google Drive", "Mobile Documents", "CloudStorage", "Nextcloud"];

fn inspect(facts: &Facts<'_>) -> Vec<Finding> {
    let state = facts.state();
    let shown = facts.short(state);
    let Ok(metadata) = state.metadata() else {
        let repair = Repair::new(
            format!("make {shown} (0700)"),
            vec![Step::Directory { path: state.to_owned() }],
        );
        return vec![
            Finding::error(format!(
                "CRITICAL: state directory missing ({shown}). Sessions, credentials, logs, and config are stored there."
            ))
            .at(state)
            .mend(repair),
        ];
    };
    let mut found = Vec::new();
    let me = facts.host.account();
    if metadata.uid() != me.uid {
        found.push(
            Finding::error(format!(
                "the state directory belongs to another user (uid {})",
                metadata.uid()
            ))
            .at(state)
            .advise(format!("sudo chown -R {} {}", me.name, state.display())),
        );
    } else if metadata.mode() & 0o200 == 0 {
        let repair = Repair::new(
            format!("set the permissions of {shown} to 0700"),
            vec![Step::Mode { path: state.to_owned(), mode: 0o700 }],
        );
        found
            .push(Finding::error("CRITICAL: state directory not writable.").at(state).mend(repair));
    } else if metadata.mode() & 0o077 != 0 {
        let repair = Repair::new(
            format!("set the permissions of {shown} to 0700"),
            vec![Step::Mode { path: state.to_owned(), mode: 0o700 }],
        );
        found.push(
            Finding::warning(format!(
                "State directory permissions are too open ({:04o}). Recommend chmod 700.",
                metadata.mode() & 0o777
            ))
            .at(state)
            .mend(repair),
        );
    }
    found.extend(placement(facts, state));
    if facts.snapshot().exists && metadata.uid() == me.uid {
        for agent in facts.agents() {
            let sessions = agent.join("sessions");
            // An agent that has never run gets its directories with the first turn.
            if agent.is_dir() && !sessions.is_dir() {
                let shown = facts.short(&sessions);
                let repair = Repair::new(
                    format!("make {shown} (0700)"),
                    vec![Step::Directory { path: sessions.clone() }],
                );
                found.push(
                    Finding::warning(format!("CRITICAL: Session store dir missing ({shown})."))
                        .at(&sessions)
                        .mend(repair),
                );
            }
        }
    }
    found
}

fn placement(facts: &Facts<'_>, state: &Path) -> Option<Finding> {
    let cloud = state.components().find_map(|part| {
        let part = part.as_os_str().to_string_lossy();
        CLOUD.into_iter().find(|name| part == **name || part.starts_with(&format!("{name} ")))
    });
    if let Some(name) = cloud {
        return Some(
            Finding::warning(format!(
                "the state directory lies in a folder that is copied elsewhere ({name}); half-written files may come back"
            ))
            .at(state)
            .advise("move it to a local directory and set OPENCLAW_STATE_DIR"),
        );
    }
    let mounts = std::fs::read_to_string(facts.host.system_path("proc/self/mounts")).ok()?;
    let kind = mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ').skip(1);
            let point = words.next()?.replace("\\040", " ");
            Some((point, words.next()?.to_owned()))
        })
        .filter(|(point, _)| state.starts_with(point))
        .max_by_key(|(point, _)| point.len())?
        .1;
    (matches!(kind.as_str(), "tmpfs" | "ramfs")).then(|| {
        Finding::warning(format!(
            "the state directory lies in memory ({kind}); a reboot empties it"
        ))
        .at(state)
        .advise("set OPENCLAW_STATE_DIR to a directory on disk")
    })
}
