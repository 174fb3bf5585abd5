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
    runner: Box<dyn Runner>,
    program: String,
    names: ServiceNames,
    /// `gui/501`
    domain: String,
    home: PathBuf,
    clock: Box<dyn Clock>,
    /// The job of the process asking, when it runs as one.
    own_label: Option<String>,
    env: Vec<(String, String)>,
}

/// What `launchctl print` tells about a job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Job {
    state: String,
    pid: Option<i32>,
    last_exit: Option<i32>,
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
        let said = done.said().to_owned();
        if said.contains("125") || said.contains("omain does not support specified action") {
            return Err(ManageError::NoGuiSession { detail: said });
        }
        Err(ManageError::Command { command: format!("launchctl {}", args.join(" ")), said })
    }

    /// `None` when launchd does not know the job.
    fn job(&self) -> Result<Option<Job>, ManageError> {
        let done = self.run(&["print", &self.service_target()])?;
        Ok(done.ok().then(|| Job::parse(&done.stdout)))
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
        self.change(&["bootout", &self.service_target()])?;
        self.settle(|job| job.is_none())?;
        Ok(true)
    }

    fn read(&self) -> Option<Dictionary> {
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

impl Job {
    fn parse(text: &str) -> Self {
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
            let had_previous = written.had_previous();
            written.undo();
            if had_previous && loaded && self.job()?.is_none() {
                return Err(match self.bootstrap() {
                    Ok(()) => ManageError::RolledBack { problem: Box::new(problem) },
                    Err(also) => ManageError::RollbackFailed {
                        problem: Box::new(problem),
                        also: Box::new(also),
                    },
                });
            }
            return Err(problem);
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::base::clock::SystemClock;
    use crate::profile::paths::Paths;
    use crate::supervise::runner::HostRunner;
    use crate::supervise::spec::{Scope, SpecInput};

    struct Mac {
        dir: tempfile::TempDir,
        agent: LaunchAgent,
    }

    fn mac() -> Mac {
        let dir = tempfile::tempdir().unwrap();
        let fake = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/launchd/launchctl");
        assert_ne!(fs::metadata(&fake).unwrap().permissions().mode() & 0o100, 0);
        let env: Env = [("HOME", dir.path().to_str().unwrap())].into_iter().collect();
        let names = ServiceNames::of_profile(None);
        let mut agent = LaunchAgent::new(Box::new(HostRunner), &env, names, Box::new(SystemClock));
        agent.program = fake.to_string_lossy().into_owned();
        let state = dir.path().join("launchd").to_string_lossy().into_owned();
        fs::create_dir(&state).unwrap();
        agent.env = vec![("FAKE_LAUNCHD".into(), state)];
        Mac { dir, agent }
    }

    impl Mac {
        fn spec(&self, port: u16) -> ServiceSpec {
            let env: Env = [("HOME", self.dir.path().to_str().unwrap())].into_iter().collect();
            ServiceSpec::for_host(&SpecInput {
                env: &env,
                paths: &Paths::resolve(&env),
                scope: Scope::User,
                program: Path::new("/opt/homebrew/bin/openclaw"),
                port,
                listen: &[std::net::SocketAddr::from(([127, 0, 0, 1], port))],
            })
        }

        fn install(&self) -> Installed {
            self.agent.install(&self.spec(free_port()), Force::No).unwrap()
        }

        fn fail(&self, verb: &str, how: &str) {
            fs::write(self.dir.path().join("launchd").join(format!("fail-{verb}")), how).unwrap();
        }

        fn changes(&self) -> Vec<String> {
            let log = fs::read_to_string(self.dir.path().join("launchd/log")).unwrap();
            let domain = self.agent.domain.clone();
            log.lines()
                .filter(|line| !line.starts_with("print"))
                .map(|line| line.replace(&domain, "D").replace("ai.openclaw.gateway", "L"))
                .map(|line| line.split(" /").next().unwrap().to_owned())
                .collect()
        }
    }

    fn free_port() -> u16 {
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    }

    #[test]
    fn a_first_install_loads_and_runs_the_agent() {
        let mac = mac();
        assert_eq!(mac.install().outcome, InstallOutcome::Installed);
        assert_eq!(mac.changes(), ["enable D/L", "bootstrap D"]);
        let report = mac.agent.report();
        assert!(report.summary.loaded);
        assert_eq!(report.runtime.status, RunState::Running);
        assert!(report.config_audit.ok, "{:?}", report.config_audit);
        assert!(report.command.unwrap().port().is_some());
    }

    #[test]
    fn a_loaded_agent_stays_and_its_drift_is_told() {
        let mac = mac();
        let port = free_port();
        mac.agent.install(&mac.spec(port), Force::No).unwrap();
        let again = mac.agent.install(&mac.spec(port), Force::No).unwrap();
        assert_eq!(again.outcome, InstallOutcome::AlreadyInstalled { drift: Vec::new() });
        let mut edited = mac.agent.read().unwrap();
        edited.insert("Nice".into(), Value::Integer(5.into()));
        edited.remove("ExitTimeOut");
        let mut text = Vec::new();
        Value::Dictionary(edited).to_writer_xml(&mut text).unwrap();
        fs::write(mac.agent.path(), text).unwrap();
        let again = mac.agent.install(&mac.spec(port), Force::No).unwrap();
        let InstallOutcome::AlreadyInstalled { drift } = again.outcome else { panic!() };
        let messages: Vec<&str> = drift.iter().map(|drift| drift.message.as_str()).collect();
        assert_eq!(messages, ["ExitTimeOut is missing", "Nice was added"]);
    }

    #[test]
    fn restart_never_takes_the_job_out() {
        let mac = mac();
        mac.install();
        let before = mac.agent.report().runtime.pid;
        assert_eq!(mac.agent.restart().unwrap(), Restarted::Restarted);
        assert_ne!(mac.agent.report().runtime.pid, before);
        assert_eq!(mac.changes().last().unwrap(), "kickstart -k D/L");
    }

    #[test]
    fn stop_and_start_are_inverse_and_repeatable() {
        let mac = mac();
        assert_eq!(mac.agent.stop().unwrap(), Stopped::NotInstalled);
        assert_eq!(mac.agent.start().unwrap(), Started::NotInstalled);
        mac.install();
        assert_eq!(mac.agent.start().unwrap(), Started::AlreadyRunning);
        assert_eq!(mac.agent.stop().unwrap(), Stopped::Stopped);
        assert_eq!(mac.agent.stop().unwrap(), Stopped::AlreadyStopped);
        assert!(!mac.agent.report().summary.loaded);
        assert_eq!(mac.agent.start().unwrap(), Started::Started);
        assert!(mac.agent.report().summary.loaded);
    }

    #[test]
    fn a_passing_refusal_is_asked_again() {
        let mac = mac();
        mac.fail("bootstrap", "2 5 Bootstrap failed: 5: Input/output error");
        assert_eq!(mac.install().outcome, InstallOutcome::Installed);
        let attempts = mac.changes().iter().filter(|line| line.starts_with("bootstrap")).count();
        assert_eq!(attempts, 3);
    }

    #[test]
    fn a_session_without_a_screen_explains_itself() {
        let mac = mac();
        mac.fail(
            "bootstrap",
            "1 125 Bootstrap failed: 125: Domain does not support specified action",
        );
        let err = mac.agent.install(&mac.spec(free_port()), Force::No).unwrap_err();
        assert!(matches!(err, ManageError::NoGuiSession { .. }), "{err}");
        assert!(!mac.agent.path().exists());
    }

    #[test]
    fn a_failed_replacement_brings_the_previous_agent_back() {
        let mac = mac();
        mac.install();
        let before = fs::read(mac.agent.path()).unwrap();
        mac.fail("bootstrap", "5 109 Bootstrap failed: 109: Invalid property list");
        let err = mac.agent.install(&mac.spec(free_port()), Force::Yes).unwrap_err();
        assert!(matches!(err, ManageError::RolledBack { .. }), "{err}");
        assert_eq!(fs::read(mac.agent.path()).unwrap(), before);
        assert_eq!(mac.agent.report().runtime.status, RunState::Running);
    }

    #[test]
    fn uninstall_moves_the_agent_to_the_trash() {
        let mac = mac();
        mac.install();
        let gone = mac.agent.uninstall().unwrap();
        assert!(gone.stopped);
        assert!(!mac.agent.path().exists());
        assert!(mac.dir.path().join(".Trash/ai.openclaw.gateway.plist").exists());
        let again = mac.agent.uninstall().unwrap();
        assert!(!again.stopped && again.removed.is_empty());
    }

    #[test]
    fn an_agent_loaded_without_its_file_is_recognised() {
        let mac = mac();
        mac.install();
        fs::remove_file(mac.agent.path()).unwrap();
        assert!(mac.agent.report().runtime.cached_label);
    }

    #[test]
    fn the_job_that_exited_tells_its_status() {
        let text = "gui/501/x = {\n\tstate = not running\n\tlast exit code = 78: EX_CONFIG\n}\n";
        let job = Job::parse(text);
        assert_eq!((job.state.as_str(), job.last_exit), ("not running", Some(78)));
    }
}
