//! What launchd hands to every program of the session, and the marker by which
//! the app keeps the agent away.

use crate::doctor::checks::{Check, Scope};
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Severity};
use crate::supervise::runner::CommandLine;

pub(super) const CHECK: Check = Check {
    id: "launchd-environment",
    section: "Gateway (macOS)",
    scope: Scope::Launchd,
    severity: Severity::Warning,
    finds: "a gateway token or password set with `launchctl setenv`; the app's marker that disables the LaunchAgent",
    matters: "such a variable beats the configuration in every program of the session; with the marker the app removes the agent again",
    repairs: "",
    inspect,
};

fn inspect(facts: &Facts<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for name in ["OPENCLAW_GATEWAY_TOKEN", "OPENCLAW_GATEWAY_PASSWORD"] {
        let asked = facts.host.runner().run(&CommandLine::new("launchctl", ["getenv", name]));
        if asked.is_ok_and(|done| done.ok() && !done.stdout.trim().is_empty()) {
            found.push(
                Finding::warning(format!("{name} is set for the whole session"))
                    .at(name)
                    .advise(format!("launchctl unsetenv {name}")),
            );
        }
    }
    let marker = facts.host.paths().home.join(".openclaw/disable-launchagent");
    if marker.exists() {
        found.push(
            Finding::warning("the app keeps the LaunchAgent disabled")
                .at(&marker)
                .advise(format!("rm {}", marker.display())),
        );
    }
    found
}
