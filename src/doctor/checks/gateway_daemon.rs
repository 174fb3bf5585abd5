//! Whether the service is there, enabled and running.

use crate::doctor::checks::{Check, Scope};
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Repair, Severity};
use crate::doctor::service::UnitFile;
use crate::doctor::steps::{Step, Verb};
use crate::supervise::host::Surroundings;
use crate::supervise::systemd::words;

pub(super) const CHECK: Check = Check {
    id: "gateway-daemon",
    section: "Gateway",
    scope: Scope::Local,
    severity: Severity::Warning,
    finds: "no service; a masked or disabled one; an `[Install]` section that cannot be \
            read; an enabled one that does not run",
    matters: "nothing starts the gateway at boot or after a crash",
    repairs: "installs, enables or starts the service, if a start would not be refused",
    inspect,
};

fn inspect(facts: &Facts<'_>) -> Vec<Finding> {
    if facts.host.is_macos() {
        return on_macos(facts);
    }
    let service = facts.service();
    if let Some(file) = service.service.as_ref().filter(|file| file.masked) {
        let command = service.spell(&format!("unmask {}", service.service_name));
        return vec![
            Finding::warning(format!("{} is masked", service.service_name))
                .at(&file.path)
                .advise(command),
        ];
    }
    if !facts.has_service() {
        return not_installed(facts);
    }
    if service.unreachable.is_some() || !service.shown.0.is_loaded() {
        return Vec::new();
    }
    let (name, system) = (&service.service_name, service.system);
    let mut found = Vec::new();
    if service.shown.0.get("UnitFileState") == "bad" {
        found.extend(service.service.as_ref().map(|file| unreadable_install(file, name, facts)));
    } else if !service.shown.0.is_enabled() {
        let steps = [&service.service_name, &service.socket_name]
            .map(|unit| Step::Ask(Verb::Enable { system, unit: unit.clone() }));
        let finding = if service.shown.1.is_enabled() {
            Finding::info(format!(
                "{name} is not enabled; it starts with the first client, and until then no \
                 channel, job or heartbeat runs"
            ))
        } else {
            Finding::warning(format!("{name} is not enabled; it does not start by itself"))
        };
        found.push(if service.is_active() || service.shown.1.is_enabled() {
            finding.mend(Repair::new(format!("enable {name}"), steps.to_vec()))
        } else {
            // Stopped and disabled is what somebody wanted.
            Finding::info(format!("{name} is stopped and disabled"))
                .advise(format!("{} gateway start", facts.program()))
        });
    } else if matches!(service.shown.0.get("ActiveState"), "inactive" | "deactivating") {
        let can = facts.snapshot().is_valid();
        let repair = Repair::new("start the gateway", vec![Step::Ask(Verb::Start { system })]);
        found.push(
            Finding::warning("Service is installed and enabled but does not run.")
                .advise(format!("{} gateway start", facts.program()))
                .mend(can.then_some(repair)),
        );
    }
    found
}

/// One name that is none, and systemd enables nothing and knows nothing: what
/// there was is still in force, but `enable` and `disable` fail.
fn unreadable_install(file: &UnitFile, name: &str, facts: &Facts<'_>) -> Finding {
    let unit = file.unit();
    let culprit = unit.entries().iter().find_map(|entry| {
        let word = (entry.section == "Install")
            .then(|| words::split(&entry.value).unwrap_or_default())?
            .into_iter()
            .find(|word| !is_unit_name(word))?;
        Some((entry.line, format!("{}={word} is no name of a unit", entry.key)))
    });
    let (line, why) =
        culprit.unwrap_or((0, "its [Install] section cannot be understood".to_owned()));
    Finding::warning(format!("systemd cannot say whether {name} is enabled: {why}"))
        .at(&file.path)
        .on_line(line)
        .advise(format!("edit that line, then: {} doctor --fix", facts.program()))
}

/// By systemd.unit(5); `%` begins what is known only when it is enabled.
fn is_unit_name(word: &str) -> bool {
    let known = word.rsplit_once('.').is_some_and(|(stem, kind)| {
        let kinds = "service socket target path timer slice scope mount automount swap device";
        !stem.is_empty() && kinds.split(' ').any(|one| one == kind)
    });
    let plain = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@%".contains(c);
    known && word.len() < 256 && word.chars().all(plain)
}

fn not_installed(facts: &Facts<'_>) -> Vec<Finding> {
    let install = format!("{} gateway install", facts.program());
    let finding = Finding::info("Gateway service not installed.").advise(&install);
    if facts.user_service().unreachable.is_some() || facts.surroundings() == Surroundings::Container
    {
        let run = format!("{} gateway run", facts.program());
        return vec![finding.advise(run)];
    }
    vec![finding.mend(install_repair(facts))]
}

/// Installing is offered where the result would be the account's own gateway:
/// not from a shell that relocates its home, and not without a configuration.
fn install_repair(facts: &Facts<'_>) -> Option<Repair> {
    let snapshot = facts.snapshot();
    let own_home = facts.host.paths().home == facts.host.account().home;
    let configured = snapshot.exists
        && snapshot.is_valid()
        && snapshot.config.gateway.mode.as_deref() == Some("local");
    let free = facts.listeners().is_empty();
    (own_home && configured && free && !facts.host.env().is_on("OPENCLAW_NIX_MODE")).then(|| {
        Repair::new("install and start the gateway service", vec![Step::Ask(Verb::Install)])
    })
}

fn on_macos(facts: &Facts<'_>) -> Vec<Finding> {
    let report = facts.host.manager(false).report();
    if report.runtime.missing_unit {
        return not_installed(facts);
    }
    if report.summary.loaded {
        return Vec::new();
    }
    let repair = Repair::new(
        "load and start the LaunchAgent",
        vec![Step::Ask(Verb::Start { system: false })],
    );
    vec![
        Finding::warning("the LaunchAgent is installed but not loaded")
            .advise(format!("{} gateway start", facts.program()))
            .mend(facts.snapshot().is_valid().then_some(repair)),
    ]
}
