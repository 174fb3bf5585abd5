//! Copies of the configuration that keep secrets in clear.

use std::os::unix::fs::MetadataExt as _;

use crate::config::json5;
use crate::config::redact::{self, References};
use crate::doctor::checks::{Check, Scope};
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Repair, Severity};
use crate::doctor::steps::Step;

pub(super) const CHECK: Check = Check {
    id: "config-backups",
    section: "Secrets",
    scope: Scope::Everywhere,
    severity: Severity::Warning,
    finds: "backups of `openclaw.json` that hold secrets, as other releases write them",
    matters: "a secret that was replaced or revoked lives on in the copy, and copies travel",
    repairs: "hides the secrets in the backup and keeps everything else of it",
    inspect,
};

fn inspect(facts: &Facts<'_>) -> Vec<Finding> {
    let path = &facts.snapshot().path;
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str()))
    else {
        return Vec::new();
    };
    let prefix = format!("{name}.bak");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let copy = entry.path();
        if !entry.file_name().to_string_lossy().starts_with(&prefix) || !copy.is_file() {
            continue;
        }
        let Ok(text) = std::fs::read_to_string(&copy) else { continue };
        let Ok(root) = json5::parse(&text) else { continue };
        let hidden = redact::redact_text(&text, &root, References::Shown);
        if hidden == text {
            continue;
        }
        let mode = copy.metadata().map_or(0o600, |metadata| metadata.mode() & 0o700);
        let shown = facts.short(&copy);
        let repair = Repair::new(
            format!("hide the secrets in {shown}"),
            vec![Step::Write {
                path: copy.clone(),
                before: Some(text.into_bytes()),
                after: hidden.into_bytes(),
                mode,
            }],
        );
        found.push(Finding::warning(format!("{shown} holds secrets")).at(&copy).mend(repair));
    }
    found
}
