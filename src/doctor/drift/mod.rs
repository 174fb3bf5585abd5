//! Three-way comparison of a service: what this version would write, what is
//! installed, and what the manager has in force, key by key.

pub mod agent;
pub mod units;
mod vendor;

use std::path::PathBuf;

use crate::doctor::finding::{Finding, Repair, Severity};

/// What a difference is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    OursMissing,
    OursChanged,
    OperatorAddition,
    OperatorOverride,
    VendorUnit,
    NotReloaded,
}

impl Label {
    /// Part of the contract: scripts look for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OursMissing => "ours missing",
            Self::OursChanged => "ours changed",
            Self::OperatorAddition => "operator addition",
            Self::OperatorOverride => "operator override (respected)",
            Self::VendorUnit => "vendor unit",
            Self::NotReloaded => "not reloaded",
        }
    }
}

/// One difference at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub label: Label,
    pub severity: Severity,
    pub file: PathBuf,
    /// 0 when there is no line to name.
    pub line: usize,
    /// For example `Service.RestartSec`.
    pub key: String,
    pub detail: String,
    /// Only `--force` may change it back.
    pub guarded: bool,
    /// Whether it is about what the service runs.
    pub is_command: bool,
}

/// Everything that differs, and what would put ours back.
#[derive(Debug, Default)]
pub struct Drift {
    pub differences: Vec<Difference>,
    /// Leaves alone what somebody wrote by hand on purpose.
    pub repair: Option<Repair>,
    pub forced: Option<Repair>,
    /// Whether the installed command is not one of ours, so that our keys would
    /// not fit it.
    pub foreign: bool,
}

impl Drift {
    /// A difference as a finding with the repair that removes it.
    pub fn finding(&self, difference: &Difference) -> Finding {
        let ours = matches!(difference.label, Label::OursMissing | Label::OursChanged);
        let repair = match (ours, difference.guarded) {
            (false, _) => None,
            (true, false) => self.repair.clone(),
            (true, true) => self.forced.clone(),
        };
        let message =
            format!("{}: {} {}", difference.label.as_str(), difference.key, difference.detail);
        let mut finding = Finding::info(message).at(&difference.file).on_line(difference.line);
        finding.severity = difference.severity;
        if difference.severity > Severity::Info && !ours {
            finding = finding.advise("mend the line, or remove it");
        }
        finding.mend(repair)
    }
}
