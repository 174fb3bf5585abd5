//! Which file is read, when that is not the obvious one.

use std::path::Path;

use crate::doctor::checks::{Check, Scope};
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Severity};

pub(super) const CHECK: Check = Check {
    id: "config-location",
    section: "Config",
    scope: Scope::Everywhere,
    severity: Severity::Warning,
    finds: "a configuration outside the chosen state directory, files and directories with names of older releases, several state directories",
    matters: "two gateways may share one configuration without knowing, or an edit goes to the file that is not read",
    repairs: "",
    inspect,
};

fn inspect(facts: &Facts<'_>) -> Vec<Finding> {
    let paths = facts.host.paths();
    let env = facts.host.env();
    let mut found = Vec::new();
    let chosen = env.get("OPENCLAW_STATE_DIR").is_some();
    if chosen
        && env.get("OPENCLAW_CONFIG_PATH").is_none()
        && !paths.config.starts_with(&paths.state)
    {
        found.push(
            Finding::warning(
                "the configuration is read from the default place although OPENCLAW_STATE_DIR names another directory",
            )
            .at(&paths.config)
            .advise(format!("create {}, or set OPENCLAW_CONFIG_PATH", facts.short(&paths.state.join("openclaw.json")))),
        );
    }
    let named = |path: &Path, name: &str| path.file_name().is_some_and(|own| own == name);
    if named(&paths.config, "clawdbot.json") {
        found.push(
            Finding::warning("the configuration has the name of an older release")
                .at(&paths.config)
                .advise(format!(
                    "mv {} {}",
                    facts.short(&paths.config),
                    facts.short(&paths.config.with_file_name("openclaw.json"))
                )),
        );
    }
    if named(&paths.state, ".clawdbot") {
        found.push(
            Finding::warning("the state directory has the name of an older release")
                .at(&paths.state)
                .advise(format!(
                    "stop the gateway, then: mv {} ~/.openclaw",
                    facts.short(&paths.state)
                )),
        );
    } else if paths.home.join(".clawdbot").is_dir() && paths.profile.is_none() {
        found.push(
            Finding::info(
                "there is a second state directory of an older release, which is not used",
            )
            .at(paths.home.join(".clawdbot"))
            .advise("move what you need from it, then remove it"),
        );
    }
    found
}
