//! Floor 5: looks at an installation from outside and says what is wrong.
//!
//! Inspecting changes nothing: a check reads through a [`host::Host`] and
//! returns findings, each with the repair it would make, described step by
//! step. [`repair::apply`] is the only place where steps are carried out.

pub mod checks;
pub mod diff;
pub mod drift;
pub mod facts;
pub mod finding;
pub mod host;
pub mod repair;
pub mod service;
pub mod steps;
pub mod undo;

#[cfg(test)]
mod bed;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use crate::doctor::checks::{CHECKS, Check};
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Severity};

/// What all ids begin with; it may be left out when they are typed.
pub const PREFIX: &str = "core/doctor/";

/// Which checks to run.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Empty for all.
    pub only: Vec<String>,
    pub skip: Vec<String>,
}

impl Selection {
    fn takes(&self, check: &Check) -> bool {
        let names = |ids: &[String]| ids.iter().any(|id| bare(id) == check.id);
        (self.only.is_empty() || names(&self.only)) && !names(&self.skip)
    }

    /// The first id that no check has.
    pub fn unknown(&self) -> Option<&str> {
        let ids = self.only.iter().chain(&self.skip).map(String::as_str);
        ids.into_iter().find(|id| !CHECKS.iter().any(|check| check.id == bare(id)))
    }
}

/// The ids of all checks, without their prefix.
pub fn check_ids() -> Vec<&'static str> {
    CHECKS.iter().map(|check| check.id).collect()
}

fn bare(id: &str) -> &str {
    id.strip_prefix(PREFIX).unwrap_or(id)
}

/// What one examination found, in the order of the checks.
#[derive(Debug, Default)]
pub struct Examination {
    pub findings: Vec<Found>,
    pub run: usize,
    pub skipped: usize,
    /// Of the checks that ran.
    pub sections: BTreeSet<&'static str>,
}

/// A finding with the check that made it.
#[derive(Debug, Clone)]
pub struct Found {
    pub check: &'static Check,
    pub finding: Finding,
}

impl Examination {
    /// Without what matters less than `least`.
    pub fn at_least(&self, least: Severity) -> impl Iterator<Item = &Found> {
        self.findings.iter().filter(move |found| found.finding.severity >= least)
    }
}

/// Runs the selected checks. `progress` hears the name of each before it runs.
pub fn examine(
    facts: &Facts<'_>,
    selection: &Selection,
    mut progress: impl FnMut(&'static Check),
) -> Examination {
    let mut examination = Examination::default();
    for check in CHECKS {
        if !selection.takes(check) || !facts.concerns(check.scope) {
            examination.skipped += 1;
            continue;
        }
        progress(check);
        examination.run += 1;
        examination.sections.insert(check.section);
        let findings = (check.inspect)(facts);
        examination.findings.extend(findings.into_iter().map(|finding| Found { check, finding }));
    }
    examination
}
