//! The service audit: what an installed unit lacks or should not hold. Codes
//! and messages are the reference's, because scripts and its own doctor know
//! them; everything is judged on the effective unit, drop-ins included.

use crate::supervise::report::{AuditIssue, AuditLevel};
use crate::supervise::spec::has_credentials;
use crate::supervise::systemd::unit::Unit;

/// What is judged, independent of the platform.
#[derive(Debug, Clone, Copy)]
pub struct Audited<'a> {
    pub argv: &'a [String],
    pub env: &'a [(String, String)],
    pub source: &'a str,
}

/// The issues that do not depend on the service manager.
pub fn command_issues(audited: Audited<'_>) -> Vec<AuditIssue> {
    let Audited { argv, env, .. } = audited;
    let mut issues = Vec::new();
    if !argv.iter().any(|arg| arg == "gateway") {
        issues.push(AuditIssue {
            code: "gateway-command-missing",
            message: "Service command does not include the gateway subcommand".into(),
            detail: None,
            level: AuditLevel::Aggressive,
        });
    }
    for (code, key) in [
        ("gateway-token-embedded", "OPENCLAW_GATEWAY_TOKEN"),
        ("gateway-password-embedded", "OPENCLAW_GATEWAY_PASSWORD"),
    ] {
        if env.iter().any(|(name, value)| name == key && !value.trim().is_empty()) {
            issues.push(AuditIssue {
                code,
                message: format!("Gateway service embeds {key} and should be reinstalled."),
                detail: Some(format!(
                    "Run `openclaw gateway install --force` to remove embedded service {}.",
                    if key.ends_with("TOKEN") { "token" } else { "password" }
                )),
                level: AuditLevel::Recommended,
            });
        }
    }
    let embedded: Vec<&str> = env
        .iter()
        .filter(|(name, value)| is_secret_name(name) && !value.trim().is_empty())
        .map(|(name, _)| name.as_str())
        .filter(|name| !name.starts_with("OPENCLAW_GATEWAY_"))
        .collect();
    if !embedded.is_empty() {
        issues.push(recommended(
            "gateway-managed-env-embedded",
            format!("Gateway service embeds secrets: {}", embedded.join(", ")),
        ));
    }
    if env.iter().any(|(name, value)| {
        name.to_ascii_lowercase().ends_with("_proxy") && has_credentials(value)
    }) {
        issues.push(recommended(
            "gateway-proxy-env-embedded",
            "Gateway service embeds a proxy address with credentials".into(),
        ));
    }
    match env.iter().find(|(name, _)| name == "PATH") {
        None => issues.push(recommended(
            "gateway-path-missing",
            "Gateway service PATH is not set; the daemon should use a minimal PATH.".into(),
        )),
        Some((_, path)) => {
            let missing: Vec<&str> = ["/usr/local/bin", "/usr/bin", "/bin"]
                .into_iter()
                .filter(|dir| !path.split(':').any(|part| part.trim_end_matches('/') == *dir))
                .collect();
            if !missing.is_empty() {
                issues.push(recommended(
                    "gateway-path-missing-dirs",
                    format!("Gateway service PATH missing required dirs: {}", missing.join(", ")),
                ));
            }
        }
    }
    issues
}

/// The issues of a systemd unit.
pub fn unit_issues(unit: &Unit, source: &str) -> Vec<AuditIssue> {
    let mut issues = Vec::new();
    let at_source = |code, message: &str| AuditIssue {
        code,
        message: message.to_owned(),
        detail: Some(source.to_owned()),
        level: AuditLevel::Recommended,
    };
    for (code, key) in
        [("systemd-after-network-online", "After"), ("systemd-wants-network-online", "Wants")]
    {
        if !unit.words("Unit", key).iter().any(|word| word == "network-online.target") {
            issues.push(at_source(code, &format!("Missing systemd {key}=network-online.target")));
        }
    }
    if !unit.get("Service", "RestartSec").is_some_and(is_five_seconds) {
        issues
            .push(at_source("systemd-restart-sec", "RestartSec does not match the recommended 5s"));
    }
    if let Some(mode @ ("process" | "none")) = unit.get("Service", "KillMode") {
        issues.push(at_source(
            "systemd-kill-mode-process-or-none",
            &format!("KillMode={mode} leaves children behind when the gateway stops"),
        ));
    }
    issues
}

/// Whether a variable of this name holds a secret.
pub fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    ["_TOKEN", "_PASSWORD", "_KEY", "_SECRET", "_PASSPHRASE", "_CREDENTIALS"]
        .iter()
        .any(|suffix| name.ends_with(suffix))
}

fn is_five_seconds(value: &str) -> bool {
    let compact: String = value.split_whitespace().collect();
    matches!(compact.as_str(), "5" | "5s" | "5sec" | "5000ms")
}

fn recommended(code: &'static str, message: String) -> AuditIssue {
    AuditIssue { code, message, detail: None, level: AuditLevel::Recommended }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervise::spec::ServiceSpec;
    use crate::supervise::systemd::render::{self, Values};
    use crate::supervise::systemd::words::Specifiers;

    fn codes(text: &str) -> Vec<&'static str> {
        let (unit, _) = Unit::parse(text.as_bytes());
        let specifiers = Specifiers::default();
        let argv = unit.exec_start(&specifiers).unwrap_or_default();
        let env = unit.environment(&specifiers);
        let audited = Audited { argv: &argv, env: &env, source: "x" };
        let mut issues = command_issues(audited);
        issues.extend(unit_issues(&unit, "x"));
        issues.into_iter().map(|issue| issue.code).collect()
    }

    #[test]
    fn our_own_units_are_clean() {
        for spec in [ServiceSpec::packaged_user(), ServiceSpec::packaged_system()] {
            let text = render::service(&spec, Values::WithSpecifiers).to_string();
            assert_eq!(codes(&text), [""; 0]);
        }
    }

    #[test]
    fn recorded_edits_are_recognised() {
        let text = "[Service]\nExecStart=/usr/bin/node x.js --port 1\nRestartSec=30\n\
            Environment=OPENCLAW_GATEWAY_TOKEN=t ANTHROPIC_API_KEY=k\n";
        assert_eq!(
            codes(text),
            [
                "gateway-command-missing",
                "gateway-token-embedded",
                "gateway-managed-env-embedded",
                "gateway-path-missing",
                "systemd-after-network-online",
                "systemd-wants-network-online",
                "systemd-restart-sec",
            ]
        );
    }

    #[test]
    fn a_drop_in_can_satisfy_the_audit() {
        let (unit, _) = Unit::parse(b"[Service]\nRestartSec=30\n");
        let (drop_in, _) = Unit::parse(
            b"[Unit]\nAfter=network-online.target\nWants=network-online.target\n[Service]\nRestartSec=5s\n",
        );
        assert_eq!(unit_issues(&unit.with_drop_ins([drop_in]), "x"), []);
    }
}
