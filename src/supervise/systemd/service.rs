//! One profile's gateway under one systemd manager: where its files are and
//! what the manager says about it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use crate::base::clock::Clock;
use crate::profile::env::Env;
use crate::supervise::audit::{self, Audited};
use crate::supervise::manager::ManageError;
use crate::supervise::report::{
    AuditIssue, AuditLevel, ConfigAudit, Details, RunState, Runtime, ServiceCommand, ServiceReport,
    ServiceSummary,
};
use crate::supervise::runner::Runner;
use crate::supervise::spec::{SHOWN_ENV, ServiceNames};
use crate::supervise::systemd::systemctl::{Properties, Systemctl};
use crate::supervise::systemd::unit::{Issue, Unit};
use crate::supervise::systemd::words::Specifiers;

/// Where systemd's things are on this host.
#[derive(Debug, Clone)]
pub struct Places {
    /// Directory of the units we write.
    pub units: PathBuf,
    /// Directory of the units that packages bring.
    pub vendor: PathBuf,
    /// One empty file per lingering user.
    pub linger: PathBuf,
    /// `%h` of this manager.
    pub home: PathBuf,
}

impl Places {
    /// The directories of this host for one scope.
    pub fn of_host(env: &Env, system: bool) -> Self {
        let home = PathBuf::from(env.get("HOME").unwrap_or("/"));
        let units = if system {
            PathBuf::from("/etc/systemd/system")
        } else {
            home.join(".config/systemd/user")
        };
        let home = if system { PathBuf::from("/root") } else { home };
        let scope = if system { "system" } else { "user" };
        let vendor = Path::new("/usr/lib/systemd").join(scope);
        Self { units, vendor, linger: PathBuf::from("/var/lib/systemd/linger"), home }
    }
}

/// The service of a profile under systemd.
#[derive(Debug)]
pub struct SystemdService {
    pub(super) systemctl: Systemctl,
    pub(super) names: ServiceNames,
    pub(super) places: Places,
    pub(super) system: bool,
    /// The account whose manager this is.
    pub(super) user: String,
    pub(super) clock: Box<dyn Clock>,
    /// The unit of the process asking, when it runs inside one.
    pub(super) own_unit: Option<String>,
    /// Set when root acts for another account through sudo.
    pub(super) sudo_user: Option<String>,
}

impl SystemdService {
    pub fn new(
        runner: Box<dyn Runner>,
        env: &Env,
        names: ServiceNames,
        system: bool,
        places: Places,
        clock: Box<dyn Clock>,
    ) -> Self {
        let uid = nix::unistd::geteuid();
        let user = nix::unistd::User::from_uid(uid).ok().flatten();
        let sudo_user = env
            .get("SUDO_USER")
            .filter(|name| uid.is_root() && *name != "root" && !system)
            .map(str::to_owned);
        let own_unit = fs::read_to_string("/proc/self/cgroup")
            .ok()
            .and_then(|text| crate::supervise::listeners::unit_of_cgroup(&text));
        Self {
            systemctl: Systemctl::new(runner, system, env),
            names,
            places,
            system,
            user: user.map_or_else(|| uid.to_string(), |user| user.name),
            clock,
            own_unit,
            sudo_user,
        }
    }

    /// The file of the service unit that we write.
    pub fn service_path(&self) -> PathBuf {
        self.places.units.join(self.names.service())
    }

    /// The file of the socket unit that we write.
    pub fn socket_path(&self) -> PathBuf {
        self.places.units.join(self.names.socket())
    }

    /// The manager's view of both units, service first.
    pub(super) fn show(&self) -> Result<(Properties, Properties), ManageError> {
        let (service, socket) = (self.names.service(), self.names.socket());
        let mut found = self.systemctl.show(&[&service, &socket])?;
        let socket = found.pop().unwrap_or_default();
        let service = found.pop().unwrap_or_default();
        Ok((service, socket))
    }

    /// Whether this manager knows the service.
    pub fn exists(&self) -> bool {
        self.show().is_ok_and(|(service, _)| service.is_loaded())
    }

    /// `yes`, `no` or `unknown`; `None` for system services.
    pub(super) fn linger(&self) -> Option<&'static str> {
        if self.system {
            return None;
        }
        Some(match (self.places.linger.join(&self.user).exists(), self.places.linger.is_dir()) {
            (true, _) => "yes",
            (false, true) => "no",
            (false, false) => "unknown",
        })
    }

    pub(super) fn make_report(&self) -> ServiceReport {
        match self.show() {
            Ok((service, socket)) => self.report_of(&service, &socket),
            Err(err) => ServiceReport {
                summary: ServiceSummary::systemd(self.enabled_on_disk()),
                command: self.read_unit(&self.service_path(), &[]).1,
                runtime: Runtime::unknown(err.to_string()),
                config_audit: ConfigAudit::from(Vec::new()),
                details: Details {
                    scope: self.scope_word(),
                    unit: self.names.service(),
                    linger: self.linger(),
                    ..Details::default()
                },
            },
        }
    }

    pub(super) fn refuse_masked(&self, unit: &Properties, name: &str) -> Result<(), ManageError> {
        if unit.get("LoadState") == "masked" {
            let command = self.systemctl.spell(&format!("unmask {name}"));
            return Err(ManageError::Masked { unit: name.to_owned(), command });
        }
        Ok(())
    }

    /// Refuses a unit that is there and that the manager cannot start.
    pub(super) fn refuse_unusable(&self, service: &Properties) -> Result<(), ManageError> {
        let unit = self.names.service();
        self.refuse_masked(service, &unit)?;
        if !service.is_broken() {
            return Ok(());
        }
        let path = self.fragment(service);
        let lines = syntax(&path).into_iter().map(|issue| issue.to_string());
        let why = load_error(service).to_owned();
        let problem = std::iter::once(why).filter(|why| !why.is_empty()).chain(lines);
        let problem = problem.collect::<Vec<_>>().join("; ");
        Err(ManageError::Unloadable { unit, path, problem })
    }

    /// The unit's main file.
    fn fragment(&self, service: &Properties) -> PathBuf {
        match service.get("FragmentPath") {
            "" => self.service_path(),
            path => PathBuf::from(path),
        }
    }

    fn report_of(&self, service: &Properties, socket: &Properties) -> ServiceReport {
        let fragment = self.fragment(service);
        let drop_ins = drop_ins_of(service);
        let (unit, command) = self.read_unit(&fragment, &drop_ins);
        let mut audit = match (&unit, service.is_loaded()) {
            (Some(unit), true) => self.audit(unit, &fragment),
            _ => Vec::new(),
        };
        if service.is_there() {
            audit.extend(syntax(&fragment).into_iter().map(|issue| AuditIssue {
                code: "systemd-unit-syntax",
                message: format!("The unit has a line without effect: {issue}"),
                detail: Some(fragment.to_string_lossy().into_owned()),
                level: AuditLevel::Recommended,
            }));
        }
        ServiceReport {
            summary: ServiceSummary::systemd(service.is_enabled()),
            command,
            runtime: runtime_of(service),
            config_audit: ConfigAudit::from(audit),
            details: Details {
                scope: self.scope_word(),
                unit: self.names.service(),
                status_text: some_text(service.get("StatusText")),
                result: some_text(service.get("Result")).filter(|result| result != "success"),
                restarts: service.get("NRestarts").parse().ok(),
                socket: socket.is_loaded().then(|| socket.get("SubState").to_owned()),
                listen: if socket.is_loaded() { self.armed_addresses(socket) } else { Vec::new() },
                drop_ins,
                need_daemon_reload: service.get("NeedDaemonReload") == "yes",
                linger: self.linger(),
                duplicate: None,
            },
        }
    }

    /// Reads a fragment with its drop-ins.
    pub(super) fn read_unit(
        &self,
        fragment: &Path,
        drop_ins: &[PathBuf],
    ) -> (Option<Unit>, Option<ServiceCommand>) {
        let Ok(bytes) = fs::read(fragment) else { return (None, None) };
        let extra: Vec<Unit> =
            drop_ins.iter().filter_map(|path| Some(Unit::parse(&fs::read(path).ok()?).0)).collect();
        let unit = Unit::parse(&bytes).0.with_drop_ins(extra);
        let specifiers = self.specifiers();
        let command = unit.exec_start(&specifiers).map(|program_arguments| {
            let env = unit.environment(&specifiers);
            ServiceCommand {
                program_arguments,
                working_directory: unit
                    .get("Service", "WorkingDirectory")
                    .map(|dir| specifiers.expand(dir)),
                environment: SHOWN_ENV
                    .iter()
                    .filter_map(|key| env.iter().find(|(name, _)| name == key).cloned())
                    .collect(),
                environment_value_sources: env
                    .iter()
                    .map(|(key, _)| (key.clone(), "inline"))
                    .collect::<IndexMap<_, _>>(),
                source_path: fragment.to_owned(),
            }
        });
        (Some(unit), command)
    }

    /// Where the socket unit listens, drop-ins included.
    pub(super) fn armed_addresses(&self, socket: &Properties) -> Vec<SocketAddr> {
        let fragment = match socket.get("FragmentPath") {
            "" => self.socket_path(),
            path => PathBuf::from(path),
        };
        let (unit, _) = self.read_unit(&fragment, &drop_ins_of(socket));
        let unit = unit.unwrap_or_default();
        let specifiers = self.specifiers();
        let addresses = unit.all("Socket", "ListenStream").into_iter();
        addresses.filter_map(|address| specifiers.expand(address).parse().ok()).collect()
    }

    fn audit(&self, unit: &Unit, fragment: &Path) -> Vec<AuditIssue> {
        let specifiers = self.specifiers();
        let argv = unit.exec_start(&specifiers).unwrap_or_default();
        let env = unit.environment(&specifiers);
        let source = fragment.to_string_lossy();
        let mut issues = audit::command_issues(Audited { argv: &argv, env: &env, source: &source });
        issues.extend(audit::unit_issues(unit, &source));
        if unit.get("Service", "Type").is_none_or(|kind| !kind.starts_with("notify")) {
            issues.push(AuditIssue {
                code: "systemd-type-notify",
                message: "The unit is not Type=notify; its readiness is not known".into(),
                detail: Some(source.into_owned()),
                level: AuditLevel::Recommended,
            });
        }
        issues
    }

    pub(super) fn specifiers(&self) -> Specifiers {
        Specifiers {
            home: self.places.home.to_string_lossy().into_owned(),
            unit: self.names.service(),
            state: if self.system { "/var/lib".into() } else { String::new() },
            runtime: String::new(),
        }
    }

    /// Looks for the enablement link, for when the manager cannot be asked.
    fn enabled_on_disk(&self) -> bool {
        let target = if self.system { "multi-user.target" } else { "default.target" };
        let link = format!("{target}.wants/{}", self.names.service());
        self.places.units.join(link).symlink_metadata().is_ok()
    }

    pub(super) fn scope_word(&self) -> &'static str {
        if self.system { "system" } else { "user" }
    }
}

fn drop_ins_of(unit: &Properties) -> Vec<PathBuf> {
    unit.get("DropInPaths").split_whitespace().map(PathBuf::from).collect()
}

fn runtime_of(service: &Properties) -> Runtime {
    let state = service.get("ActiveState");
    let status = match state {
        "active" | "reloading" => RunState::Running,
        _ => RunState::Stopped,
    };
    let result = service.get("Result");
    let restarts = service.get("NRestarts");
    let detail = match (state, result) {
        _ if matches!(service.get("LoadState"), "bad-setting" | "error" | "masked") => {
            let why = load_error(service);
            let word = service.get("LoadState");
            Some(if why.is_empty() {
                format!("unit {word}")
            } else {
                format!("unit {word}: {why}")
            })
        }
        ("failed", "start-limit-hit") => Some(format!("start limit hit after {restarts} restarts")),
        ("failed", other) if other != "success" => Some(format!("failed: {other}")),
        _ => None,
    };
    Runtime {
        status,
        state: some_text(state),
        sub_state: some_text(service.get("SubState")),
        pid: service.get("MainPID").parse().ok().filter(|pid| *pid > 0),
        last_exit_status: service.get("ExecMainStatus").parse().ok(),
        last_exit_reason: some_text(service.get("ExecMainCode")),
        detail,
        missing_unit: service.get("LoadState") == "not-found",
        cached_label: false,
    }
}

/// The manager's words about a unit that it could not load, without the
/// error's name in front.
fn load_error(unit: &Properties) -> &str {
    unit.get("LoadError").split_once(' ').map_or("", |(_, text)| text.trim_matches('"'))
}

/// The lines of a unit file that have no effect.
fn syntax(path: &Path) -> Vec<Issue> {
    fs::read(path).map(|bytes| Unit::parse(&bytes).1).unwrap_or_default()
}

fn some_text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}
