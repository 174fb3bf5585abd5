//! One profile's gateway as a LaunchAgent of the calling user.
//!
//! A restart is always `kickstart -k`: taking the job out and in again would
//! leave nothing behind if the second half failed. After every action the job
//! is looked at again, and what is seen is what is reported.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use indexmap::IndexMap;
use plist::{Dictionary, Value};

use crate::base::backoff::Backoff;
use crate::base::clock::Clock;
use crate::profile::env::Env;
use crate::supervise::audit::{self, Audited};
use crate::supervise::launchd::plist as agent;
use crate::supervise::listeners::{self, PortUse};
use crate::supervise::manager::{
    Drift, Force, InstallOutcome, Installed, ManageError, Rendered, Restarted, ServiceManager,
    Started, Stopped, Uninstalled,
};
use crate::supervise::report::{
    AuditIssue, AuditLevel, ConfigAudit, Details, RunState, Runtime, ServiceCommand, ServiceReport,
    ServiceSummary,
};
use crate::supervise::runner::{CommandLine, Finished, Runner};
use crate::supervise::spec::{SHOWN_ENV, ServiceNames, ServiceSpec};
use crate::supervise::systemd::files::{self, Transaction};

/// Longest wait for launchd to do what it said it would.
const SETTLE_LIMIT: Duration = Duration::from_secs(30);
/// Attempts to load the job again after launchd refused for the moment.
const BOOTSTRAP_ATTEMPTS: usize = 5;

/// The LaunchAgent of a profile.
#[derive(Debug)]
pub struct LaunchAgent {
    pub(super) runner: Box<dyn Runner>,
    pub(super) program: String,
    names: ServiceNames,
    /// `gui/501`
    pub(super) domain: String,
    home: PathBuf,
    clock: Box<dyn Clock>,
    /// The job of the process asking, when it runs as one.
    pub(super) own_label: Option<String>,
    pub(super) env: Vec<(String, String)>,
}

/// What `launchctl print` tells about a job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) state: String,
    pub(super) pid: Option<i32>,
    pub(super) last_exit: Option<i32>,
}

impl LaunchAgent {
    pub fn new(
        runner: Box<dyn Runner>,
        env: &Env,
        names: ServiceNames,
        clock: Box<dyn Clock>,
    ) -> Self {
        Self {
            runner,
            program: "launchctl".into(),
            names,
            domain: format!("gui/{}", nix::unistd::getuid()),
            home: PathBuf::from(env.get("HOME").unwrap_or("/")),
            clock,
            own_label: env.get("XPC_SERVICE_NAME").map(str::to_owned),
            env: Vec::new(),
        }
    }

    /// The file of the agent.
    pub fn path(&self) -> PathBuf {
        self.home.join("Library/LaunchAgents").join(format!("{}.plist", self.names.label))
    }

    fn service_target(&self) -> String {
        format!("{}/{}", self.domain, self.names.label)
    }

    fn run(&self, args: &[&str]) -> Result<Finished, ManageError> {
        let mut command = CommandLine::new(&self.program, args.iter().copied());
        command.limit = SETTLE_LIMIT;
        command.env.clone_from(&self.env);
        Ok(self.runner.run(&command)?)
    }

    fn change(&self, args: &[&str]) -> Result<(), ManageError> {
        let done = self.run(args)?;
        if done.ok() {
            return Ok(());
        }
        Err(refusal(args, done.said()))
    }

    /// `None` when launchd does not know the job.
    fn job(&self) -> Result<Option<Job>, ManageError> {
        let args = ["print", &self.service_target()];
        let done = self.run(&args)?;
        if done.ok() {
            return Ok(Some(Job::parse(&done.stdout)));
        }
        // 113 is launchd's number for a job it has not got. Anything else is no
        // answer, and no answer is not the same as "stopped".
        if done.code == Some(113) || done.said().contains("ould not find service") {
            return Ok(None);
        }
        Err(refusal(&args, done.said()))
    }

    /// Loads the job; a refusal that may pass is asked again.
    fn bootstrap(&self) -> Result<(), ManageError> {
        let target = self.service_target();
        self.change(&["enable", &target])?;
        let path = self.path().to_string_lossy().into_owned();
        let delays = Backoff::new(Duration::from_millis(200), Duration::from_secs(2));
        let mut last = None;
        for delay in delays.take(BOOTSTRAP_ATTEMPTS) {
            match self.change(&["bootstrap", &self.domain, &path]) {
                Ok(()) => return Ok(()),
                Err(err @ ManageError::NoGuiSession { .. }) => return Err(err),
                Err(err) => {
                    if self.job()?.is_some() {
                        return Ok(());
                    }
                    last = Some(err);
                }
            }
            self.runner.pause(delay);
        }
        Err(last.expect("there was at least one attempt"))
    }

    /// Waits until the job is as wanted.
    fn settle(&self, wanted: impl Fn(Option<&Job>) -> bool) -> Result<(), ManageError> {
        let delays = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        let mut waited = Duration::ZERO;
        for delay in delays {
            let job = self.job()?;
            if wanted(job.as_ref()) {
                return Ok(());
            }
            if waited >= SETTLE_LIMIT {
                let reason = job.map_or("it is not loaded".to_owned(), |job| job.describe());
                return Err(ManageError::NotReady {
                    unit: self.service_target(),
                    reason,
                    journal: Vec::new(),
                });
            }
            self.runner.pause(delay);
            waited += delay;
        }
        unreachable!("the delays never end")
    }

    fn settle_running(&self) -> Result<(), ManageError> {
        self.settle(|job| job.is_some_and(|job| job.state == "running"))
    }

    fn take_out(&self) -> Result<bool, ManageError> {
        if self.job()?.is_none() {
            return Ok(false);
        }
        // A job that takes its time to end is refused for now and goes all the same.
        let asked = self.change(&["bootout", &self.service_target()]);
        match (asked, self.settle(|job| job.is_none())) {
            (_, Ok(())) => Ok(true),
            (Err(refused), Err(_)) => Err(refused),
            (Ok(()), Err(stays)) => Err(stays),
        }
    }

    pub(super) fn read(&self) -> Option<Dictionary> {
        agent::parse(&fs::read(self.path()).ok()?).ok()
    }

    fn command(&self, agent: &Dictionary) -> Option<ServiceCommand> {
        let env = agent::environment(agent);
        Some(ServiceCommand {
            program_arguments: agent::program_arguments(agent).ok()?,
            working_directory: agent
                .get("WorkingDirectory")
                .and_then(Value::as_string)
                .map(str::to_owned),
            environment: SHOWN_ENV
                .iter()
                .filter_map(|key| env.iter().find(|(name, _)| name == key).cloned())
                .collect(),
            environment_value_sources: env
                .iter()
                .map(|(key, _)| (key.clone(), "inline"))
                .collect::<IndexMap<_, _>>(),
            source_path: self.path(),
        })
    }

    /// Puts the file back, and the job that was loaded from it.
    fn roll_back(
        &self,
        mut written: Transaction,
        was_loaded: bool,
        problem: ManageError,
    ) -> ManageError {
        let (changed, had_previous) = (written.changed(), written.had_previous());
        written.undo();
        if !changed {
            return problem;
        }
        // What launchd took from the new file must not stay.
        let out = self.take_out();
        if !had_previous || !was_loaded {
            return problem;
        }
        match out.and_then(|_| self.bootstrap()) {
            Ok(()) => ManageError::RolledBack { problem: Box::new(problem) },
            Err(also) => {
                ManageError::RollbackFailed { problem: Box::new(problem), also: Box::new(also) }
            }
        }
    }

    fn check_port(&self, spec: &ServiceSpec) -> Result<(), ManageError> {
        if self.job()?.is_some() {
            return Ok(());
        }
        let Some(port) = spec.port().and_then(|port| port.parse().ok()) else { return Ok(()) };
        match listeners::inspect(port) {
            PortUse::Busy(found) => Err(ManageError::PortTaken {
                addresses: found.iter().map(|listener| listener.address).collect(),
                owners: found.into_iter().flat_map(|listener| listener.owners).collect(),
            }),
            PortUse::Free | PortUse::Unknown => Ok(()),
        }
    }
}

fn refusal(args: &[&str], said: &str) -> ManageError {
    if said.contains("failed: 125:") || said.contains("omain does not support specified action") {
        return ManageError::NoGuiSession { detail: said.to_owned() };
    }
    let command = format!("launchctl {}", args.join(" "));
    ManageError::Command { command, said: said.to_owned() }
}

impl Job {
    pub(super) fn parse(text: &str) -> Self {
        let field = |name: &str| {
            text.lines().find_map(|line| {
                let (key, value) = line.split_once('=')?;
                (key.trim() == name).then(|| value.trim())
            })
        };
        let exit = field("last exit code").or_else(|| field("last exit status"));
        Self {
            state: field("state").unwrap_or("unknown").to_owned(),
            pid: field("pid").and_then(|pid| pid.parse().ok()),
            last_exit: exit.and_then(|code| code.split([':', ' ']).next()?.parse().ok()),
        }
    }

    fn describe(&self) -> String {
        match self.last_exit {
            Some(code) => format!("its state is {}, it exited with status {code}", self.state),
            None => format!("its state is {}", self.state),
        }
    }
}

impl ServiceManager for LaunchAgent {
    fn report(&self) -> ServiceReport {
        let job = self.job();
        let file = self.read();
        let loaded = matches!(job, Ok(Some(_)));
        let runtime = match &job {
            Err(err) => Runtime::unknown(err.to_string()),
            Ok(job) => Runtime {
                status: match job {
                    Some(job) if job.state == "running" => RunState::Running,
                    _ => RunState::Stopped,
                },
                state: job.as_ref().map(|job| job.state.clone()),
                sub_state: None,
                pid: job.as_ref().and_then(|job| job.pid),
                last_exit_status: job.as_ref().and_then(|job| job.last_exit),
                last_exit_reason: None,
                detail: None,
                missing_unit: file.is_none() && job.is_none(),
                cached_label: file.is_none() && job.is_some(),
            },
        };
        let issues = file.as_ref().map(|agent| issues(agent, &self.path())).unwrap_or_default();
        ServiceReport {
            summary: ServiceSummary::launchd(loaded),
            command: file.as_ref().and_then(|agent| self.command(agent)),
            runtime,
            config_audit: ConfigAudit::from(issues),
            details: Details {
                scope: "user",
                unit: self.names.label.clone(),
                ..Details::default()
            },
        }
    }

    fn render(&self, spec: &ServiceSpec) -> Result<Vec<Rendered>, ManageError> {
        Ok(vec![Rendered { path: self.path(), text: agent::render(spec)? }])
    }

    fn install(&self, spec: &ServiceSpec, force: Force) -> Result<Installed, ManageError> {
        let files = self.render(spec)?;
        let loaded = self.job()?.is_some();
        let installed = |outcome| Installed {
            outcome,
            path: self.path(),
            backups: Vec::new(),
            linger: None,
            warnings: Vec::new(),
        };
        if loaded && force == Force::No {
            let drift = self.read().map(|have| drift(&have, spec)).transpose()?;
            let drift = drift.unwrap_or_default();
            return Ok(installed(InstallOutcome::AlreadyInstalled { drift }));
        }
        self.check_port(spec)?;
        fs::create_dir_all(&spec.logs)
            .map_err(|source| ManageError::Io { path: spec.logs.clone(), source })?;
        let mut written = Transaction::write(&files, self.clock.now_ms())?;
        let attempt = || {
            if written.changed() {
                self.take_out()?;
            }
            if self.job()?.is_none() {
                self.bootstrap()?;
            }
            self.settle_running()
        };
        if let Err(problem) = attempt() {
            return Err(self.roll_back(written, loaded, problem));
        }
        let mut done = installed(InstallOutcome::Installed);
        done.backups = std::mem::take(&mut written.backups);
        Ok(done)
    }

    fn uninstall(&self) -> Result<Uninstalled, ManageError> {
        let stopped = self.take_out()?;
        let path = self.path();
        let mut removed = Vec::new();
        if path.exists() {
            let trash = self.home.join(".Trash");
            let moved = fs::create_dir_all(&trash)
                .and_then(|()| fs::rename(&path, trash.join(path.file_name().unwrap_or_default())));
            if moved.is_err() {
                files::remove(&path)?;
            }
            removed.push(path.clone());
        }
        Ok(Uninstalled { stopped, removed, path, warnings: Vec::new() })
    }

    fn start(&self) -> Result<Started, ManageError> {
        match self.job()? {
            Some(job) if job.state == "running" => return Ok(Started::AlreadyRunning),
            Some(_) => self.change(&["kickstart", &self.service_target()])?,
            None if self.path().exists() => self.bootstrap()?,
            None => return Ok(Started::NotInstalled),
        }
        self.settle_running()?;
        Ok(Started::Started)
    }

    fn stop(&self) -> Result<Stopped, ManageError> {
        match (self.take_out()?, self.path().exists()) {
            (true, _) => Ok(Stopped::Stopped),
            (false, true) => Ok(Stopped::AlreadyStopped),
            (false, false) => Ok(Stopped::NotInstalled),
        }
    }

    fn restart(&self) -> Result<Restarted, ManageError> {
        if self.job()?.is_none() {
            return Ok(match self.start()? {
                Started::NotInstalled => Restarted::NotInstalled,
                Started::Started | Started::AlreadyRunning => Restarted::Restarted,
            });
        }
        self.change(&["kickstart", "-k", &self.service_target()])?;
        if self.own_label.as_deref() == Some(self.names.label.as_str()) {
            return Ok(Restarted::Scheduled);
        }
        self.settle_running()?;
        Ok(Restarted::Restarted)
    }

    fn target(&self) -> String {
        self.service_target()
    }

    fn noun(&self) -> &'static str {
        "LaunchAgent"
    }
}

fn issues(agent: &Dictionary, path: &Path) -> Vec<AuditIssue> {
    let argv = agent::program_arguments(agent).unwrap_or_default();
    let env = agent::environment(agent);
    let source = path.to_string_lossy();
    let mut issues = audit::command_issues(Audited { argv: &argv, env: &env, source: &source });
    let at_source = |code, message: &str| AuditIssue {
        code,
        message: message.to_owned(),
        detail: Some(source.clone().into_owned()),
        level: AuditLevel::Recommended,
    };
    if agent.get("RunAtLoad").and_then(Value::as_boolean) != Some(true) {
        issues.push(at_source("launchd-run-at-load", "LaunchAgent is missing RunAtLoad=true"));
    }
    let kept = match agent.get("KeepAlive") {
        Some(Value::Boolean(kept)) => *kept,
        Some(Value::Dictionary(when)) => !when.is_empty(),
        _ => false,
    };
    if !kept {
        issues.push(at_source("launchd-keep-alive", "LaunchAgent is missing KeepAlive"));
    }
    issues
}

/// Key by key, on values.
fn drift(have: &Dictionary, spec: &ServiceSpec) -> Result<Vec<Drift>, ManageError> {
    let want = agent::agent(spec)?;
    let mut drift = Vec::new();
    for (key, value) in &want {
        let (code, word) = match have.get(key) {
            Some(found) if same(found, value) => continue,
            Some(_) => ("agent-key-changed", "differs"),
            None => ("agent-key-missing", "is missing"),
        };
        drift.push(Drift { code, message: format!("{key} {word}") });
    }
    for key in have.keys().filter(|key| want.get(key).is_none()) {
        drift.push(Drift { code: "agent-key-added", message: format!("{key} was added") });
    }
    Ok(drift)
}

/// Equality that does not look at the order of keys.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Dictionary(left), Value::Dictionary(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .all(|(key, value)| right.get(key).is_some_and(|other| same(value, other)))
        }
        _ => left == right,
    }
}
