//! Whether a gateway would start with this configuration.

use crate::config::gate::{self, Flags};
use crate::doctor::checks::{Check, Scope};
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Severity};

/// The flag of `gateway run`.
const ALLOW_UNCONFIGURED: &str = "--allow-unconfigured";

pub(super) const CHECK: Check = Check {
    id: "gateway-config",
    section: "Gateway",
    scope: Scope::Everywhere,
    severity: Severity::Error,
    finds: "whatever a start would be refused for: no configuration, `gateway.mode` unset, addresses without authentication",
    matters: "the gateway does not start, or stays up blocked and answers every client with the reason",
    repairs: "",
    inspect,
};

fn inspect(facts: &Facts<'_>) -> Vec<Finding> {
    let snapshot = facts.snapshot();
    if facts.is_remote() {
        return vec![Finding::info("Gateway mode is remote; skipped local service audit.")];
    }
    if !snapshot.is_valid() {
        // Told by `config-validity`, which has the details.
        return Vec::new();
    }
    let program = facts.program();
    let mut found = Vec::new();
    if snapshot.config.gateway.mode.is_none() && !starts_anyway(facts) {
        found.push(
            Finding::warning("gateway.mode is unset; gateway start will be blocked.")
                .at("gateway.mode")
                .advise(format!("{program} config set gateway.mode local")),
        );
        if !snapshot.exists {
            found.push(
                Finding::warning("Missing config: run openclaw setup first.")
                    .at(&snapshot.path)
                    .advise(format!("{program} setup")),
            );
        }
    }
    let flags = Flags { allow_unconfigured: true, ..Flags::default() };
    if let Err(refusal) = gate::admit(&flags, snapshot) {
        let mut lines = refusal.lines.into_iter();
        let message = lines.next().unwrap_or_default();
        let mut finding = Finding::error(message).at("gateway");
        let more: Vec<String> = lines.collect();
        if !more.is_empty() {
            finding = finding.advise(more.join(" "));
        }
        found.push(finding);
    }
    found
}

/// Whether the service was told to do without, as a package's is.
fn starts_anyway(facts: &Facts<'_>) -> bool {
    !facts.host.is_macos()
        && facts.has_service()
        && facts
            .service()
            .argv()
            .is_some_and(|argv| argv.iter().any(|arg| arg == ALLOW_UNCONFIGURED))
}
