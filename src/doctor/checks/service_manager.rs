//! Whether there is a manager for the user's services, and a way to it.

use crate::doctor::checks::{Check, Scope};
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Severity};
use crate::doctor::service::Service;
use crate::supervise::host::{Surroundings, unavailable_hints};
use crate::supervise::manager::ManageError;

pub(super) const CHECK: Check = Check {
    id: "service-manager",
    section: "Gateway",
    scope: Scope::Systemd,
    severity: Severity::Warning,
    finds: "no systemd, no bus of the user's manager, a missing `XDG_RUNTIME_DIR`, WSL or a container without an init, a call through sudo",
    matters: "without a manager nothing starts the gateway at boot or after a crash",
    repairs: "",
    inspect,
};

fn inspect(facts: &Facts<'_>) -> Vec<Finding> {
    let host = facts.host;
    let mut found = Vec::new();
    if let Some(user) = host.env().get("SUDO_USER").filter(|user| *user != "root")
        && host.account().uid == 0
    {
        found.push(
            Finding::warning(format!(
                "called through sudo: this looks at root's gateway, not at that of {user}"
            ))
            .advise(format!("run it as {user}: {} doctor", facts.program())),
        );
    }
    let Some(err) = &facts.user_service().unreachable else {
        let runtime = format!("run/user/{}", host.account().uid);
        if host.env().get("XDG_RUNTIME_DIR").is_none()
            && host.env().get("DBUS_SESSION_BUS_ADDRESS").is_none()
            && host.system_path(&runtime).is_dir()
        {
            found.push(
                Finding::info("XDG_RUNTIME_DIR is not set; openclaw finds the manager all the same, systemctl --user does not")
                    .advise(format!("export XDG_RUNTIME_DIR=/{runtime}")),
            );
        }
        return found;
    };
    if facts.system_service().is_some_and(Service::is_installed) {
        return found;
    }
    // With systemd as its first process, a container or a WSL is a host like others.
    let booted = host.system_path("run/systemd/system").is_dir();
    let surroundings = if booted { Surroundings::Host } else { facts.surroundings() };
    let hints = unavailable_hints(surroundings, host.account().uid);
    let advice: Vec<String> = hints.into_iter().map(|hint| hint.text).collect();
    let (message, severity): (String, Severity) = match (err, surroundings) {
        (_, Surroundings::Container) => {
            ("this container has no service manager".to_owned(), Severity::Info)
        }
        (_, Surroundings::Wsl) => ("WSL runs without systemd".to_owned(), Severity::Warning),
        (ManageError::NoUserManager { detail }, _) if detail.contains("not found") => {
            (format!("this host has no systemd ({detail})"), Severity::Info)
        }
        (err, _) => (err.to_string(), Severity::Warning),
    };
    let mut finding = Finding::warning(message);
    finding.severity = severity;
    found.push(finding.advise(advice.join(" ")));
    found
}
