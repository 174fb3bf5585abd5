//! What a check reports: the difference between what is and what should be,
//! and the change that would remove it.

use std::path::Path;

use serde::Serialize;

use crate::doctor::steps::Step;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; nothing has to be done.
    Info,
    /// Something does not work as it should, or will not.
    Warning,
    /// The gateway cannot work, or a secret is open.
    Error,
}

impl Severity {
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "info" => Some(Self::Info),
            "warning" => Some(Self::Warning),
            "error" => Some(Self::Error),
            _ => None,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    pub severity: Severity,
    pub message: String,
    /// A file, or the dotted path of a configuration key.
    pub path: Option<String>,
    pub line: Option<usize>,
    /// What to run or to edit where no repair does it.
    pub advice: Option<String>,
    pub repair: Option<Repair>,
}

impl Finding {
    fn new(severity: Severity, message: impl Into<String>) -> Self {
        Self {
            severity,
            message: message.into(),
            path: None,
            line: None,
            advice: None,
            repair: None,
        }
    }

    pub fn info(message: impl Into<String>) -> Self {
        Self::new(Severity::Info, message)
    }

    pub fn warning(message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, message)
    }

    pub fn error(message: impl Into<String>) -> Self {
        Self::new(Severity::Error, message)
    }

    #[must_use]
    pub fn at(mut self, path: impl AsRef<Path>) -> Self {
        self.path = Some(path.as_ref().to_string_lossy().into_owned());
        self
    }

    #[must_use]
    pub fn on_line(mut self, line: usize) -> Self {
        self.line = (line > 0).then_some(line);
        self
    }

    /// Adds what the operator can do.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    #[must_use]
    pub fn mend(mut self, repair: impl Into<Option<Repair>>) -> Self {
        self.repair = repair.into();
        self
    }
}

/// Who may apply a repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    Fix,
    /// It replaces what somebody wrote by hand.
    Force,
}

/// A change that would remove findings, described before it is made.
#[derive(Debug, Clone, PartialEq)]
pub struct Repair {
    /// What will be changed, as one sentence without a full stop.
    pub summary: String,
    pub gate: Gate,
    pub steps: Vec<Step>,
}

impl Repair {
    pub fn new(summary: impl Into<String>, steps: Vec<Step>) -> Self {
        Self { summary: summary.into(), gate: Gate::Fix, steps }
    }

    #[must_use]
    pub fn forced(mut self) -> Self {
        self.gate = Gate::Force;
        self
    }

    /// The command that applies it.
    pub fn command(&self, program: &str) -> String {
        match self.gate {
            Gate::Fix => format!("{program} doctor --fix"),
            Gate::Force => format!("{program} doctor --fix --force"),
        }
    }
}
