//! The host's clock, as far as it can be judged without asking anybody.

use jiff::Timestamp;

use crate::doctor::checks::{Check, Scope};
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Severity};

pub(super) const CHECK: Check = Check {
    id: "clock",
    section: "State integrity",
    scope: Scope::Everywhere,
    severity: Severity::Warning,
    finds: "a clock before this release, or behind what the configuration and the boot record say was written",
    matters: "tokens expire at the wrong time, schedules fire at the wrong time, TLS certificates are refused",
    repairs: "",
    inspect,
};

/// 2026-04-01: this release did not exist before.
const RELEASE_MS: u64 = 1_775_001_600_000;
/// Written by a clock that is ahead of this one by more.
const TOLERANCE_MS: u64 = 5 * 60 * 1000;

fn inspect(facts: &Facts<'_>) -> Vec<Finding> {
    let now = facts.host.now_ms();
    let advice = if facts.host.is_macos() { "sntp time.apple.com" } else { "timedatectl" };
    if now < RELEASE_MS {
        return vec![
            Finding::warning("the clock is before the date of this release").advise(advice),
        ];
    }
    let touched = facts.snapshot().parsed["meta"]["lastTouchedAt"]
        .as_str()
        .and_then(|text| text.parse::<Timestamp>().ok())
        .and_then(|time| u64::try_from(time.as_millisecond()).ok());
    let booted = super::boots::read(facts).map(|record| record.last);
    let ahead = touched.into_iter().chain(booted).max().unwrap_or(0);
    if ahead > now + TOLERANCE_MS {
        let minutes = (ahead - now) / 60_000;
        return vec![
            Finding::warning(format!(
                "the clock is {minutes} minutes behind what was written before"
            ))
            .advise(advice),
        ];
    }
    Vec::new()
}
