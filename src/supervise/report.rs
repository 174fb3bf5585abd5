//! What is known about the installed service, as one value for `status`,
//! `doctor` and the service commands. Field names and order are those of the
//! reference's JSON.

use std::net::SocketAddr;
use std::path::PathBuf;

use indexmap::IndexMap;
use serde::Serialize;

/// The service as `gateway status` shows it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceReport {
    #[serde(flatten)]
    pub summary: ServiceSummary,
    pub command: Option<ServiceCommand>,
    pub runtime: Runtime,
    pub config_audit: ConfigAudit,
    /// Facts beyond the reference's shape.
    #[serde(flatten)]
    pub details: Details,
}

/// The `service` object of every action's JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceSummary {
    pub label: &'static str,
    /// Enabled on systemd, bootstrapped on launchd.
    pub loaded: bool,
    pub loaded_text: &'static str,
    pub not_loaded_text: &'static str,
}

impl ServiceSummary {
    pub fn systemd(loaded: bool) -> Self {
        Self { label: "systemd", loaded, loaded_text: "enabled", not_loaded_text: "disabled" }
    }

    pub fn launchd(loaded: bool) -> Self {
        Self { label: "LaunchAgent", loaded, loaded_text: "loaded", not_loaded_text: "not loaded" }
    }

    /// The word for the present state.
    pub fn text(&self) -> &'static str {
        if self.loaded { self.loaded_text } else { self.not_loaded_text }
    }
}

/// What the manager runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceCommand {
    pub program_arguments: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_directory: Option<String>,
    /// Only the variables that are safe to show.
    pub environment: IndexMap<String, String>,
    /// `inline` or `file` for every variable, without its value.
    pub environment_value_sources: IndexMap<String, &'static str>,
    pub source_path: PathBuf,
}

impl ServiceCommand {
    /// The value after `--port`, or `OPENCLAW_GATEWAY_PORT`.
    pub fn port(&self) -> Option<u16> {
        let args = &self.program_arguments;
        let flag = args.iter().position(|arg| arg == "--port").and_then(|at| args.get(at + 1));
        let joined = args.iter().find_map(|arg| arg.strip_prefix("--port="));
        let variable = self.environment.get("OPENCLAW_GATEWAY_PORT");
        flag.map(String::as_str).or(joined).or(variable.map(String::as_str))?.parse().ok()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    Running,
    Stopped,
    Unknown,
}

/// What the process does, as the manager sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Runtime {
    pub status: RunState,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub_state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_exit_status: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_exit_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub missing_unit: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cached_label: bool,
}

impl Runtime {
    /// Nothing is known, for the reason given.
    pub fn unknown(detail: impl Into<String>) -> Self {
        Self {
            status: RunState::Unknown,
            state: None,
            sub_state: None,
            pid: None,
            last_exit_status: None,
            last_exit_reason: None,
            detail: Some(detail.into()),
            missing_unit: false,
            cached_label: false,
        }
    }

    /// `running (pid 385, state active, …)`. Part of the contract: scripts look
    /// for `Runtime: running`.
    pub fn line(&self) -> String {
        let word = match self.status {
            RunState::Running => "running",
            RunState::Stopped => "stopped",
            RunState::Unknown => "unknown",
        };
        let mut parts = Vec::new();
        parts.extend(self.pid.map(|pid| format!("pid {pid}")));
        parts.extend(self.state.as_ref().map(|state| format!("state {state}")));
        parts.extend(self.sub_state.as_ref().map(|sub| format!("sub {sub}")));
        parts.extend(self.last_exit_status.map(|code| format!("last exit {code}")));
        parts.extend(self.last_exit_reason.as_ref().map(|reason| format!("reason {reason}")));
        parts.extend(self.detail.clone());
        if parts.is_empty() { word.to_owned() } else { format!("{word} ({})", parts.join(", ")) }
    }
}

/// Differences between the installed service and what a gateway needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfigAudit {
    pub ok: bool,
    pub issues: Vec<AuditIssue>,
}

impl From<Vec<AuditIssue>> for ConfigAudit {
    fn from(issues: Vec<AuditIssue>) -> Self {
        Self { ok: issues.is_empty(), issues }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditIssue {
    pub code: &'static str,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    pub level: AuditLevel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditLevel {
    Recommended,
    Aggressive,
}

/// What the manager and the host know beyond the reference's report.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// `user` or `system`.
    pub scope: &'static str,
    pub unit: String,
    /// The process's own words, for example `blocked: …`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_text: Option<String>,
    /// Why the last run ended, when that was no success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarts: Option<u64>,
    /// State of the socket unit: `listening`, `running`, `dead`, `failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<String>,
    /// Where the socket unit listens.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub listen: Vec<SocketAddr>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drop_ins: Vec<PathBuf>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub need_daemon_reload: bool,
    /// `yes`, `no` or `unknown`; absent for services that need no login.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linger: Option<&'static str>,
    /// The same service in the other scope, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicate: Option<String>,
}

/// Begins the status line of a process that waits for the operator.
pub const BLOCKED: &str = "blocked: ";

impl Details {
    /// The reason of a process that is up but cannot serve.
    pub fn blocked(&self) -> Option<&str> {
        self.status_text.as_deref()?.strip_prefix(BLOCKED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtime_line_reads_as_recorded() {
        let runtime = Runtime {
            status: RunState::Running,
            state: Some("active".into()),
            sub_state: Some("running".into()),
            pid: Some(385),
            last_exit_status: Some(0),
            last_exit_reason: Some("0".into()),
            detail: None,
            missing_unit: false,
            cached_label: false,
        };
        assert_eq!(
            runtime.line(),
            "running (pid 385, state active, sub running, last exit 0, reason 0)"
        );
        assert_eq!(Runtime::unknown("no bus").line(), "unknown (no bus)");
    }

    #[test]
    fn the_port_of_a_command_is_its_flag_before_its_variable() {
        let mut command = ServiceCommand {
            program_arguments: ["openclaw", "gateway"].map(str::to_owned).into(),
            working_directory: None,
            environment: [("OPENCLAW_GATEWAY_PORT".to_owned(), "1".to_owned())].into(),
            environment_value_sources: IndexMap::new(),
            source_path: PathBuf::new(),
        };
        assert_eq!(command.port(), Some(1));
        command.program_arguments.push("--port=2".into());
        assert_eq!(command.port(), Some(2));
        command.program_arguments.extend(["--port".into(), "3".into()]);
        assert_eq!(command.port(), Some(3));
    }
}
