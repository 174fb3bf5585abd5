//! Every sequence of `launchctl` calls, against an executable that keeps state
//! as launchd does and fails on request.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use plist::Value;

use crate::base::clock::SystemClock;
use crate::profile::env::Env;
use crate::profile::paths::Paths;
use crate::supervise::launchd::service::{Job, LaunchAgent};
use crate::supervise::manager::{
    Force, InstallOutcome, Installed, ManageError, Restarted, ServiceManager as _, Started, Stopped,
};
use crate::supervise::report::RunState;
use crate::supervise::runner::{CommandLine, Finished, HostRunner, RunError, Runner};
use crate::supervise::spec::{Scope, ServiceNames, ServiceSpec, SpecInput};

/// Runs the fake and does not wait between two looks at it.
#[derive(Debug)]
struct Impatient;

impl Runner for Impatient {
    fn run(&self, command: &CommandLine) -> Result<Finished, RunError> {
        HostRunner.run(command)
    }

    fn pause(&self, _: Duration) {}
}

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
    let mut agent = LaunchAgent::new(Box::new(Impatient), &env, names, Box::new(SystemClock));
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

    /// The next `count` calls of `verb` fail: `count status message`.
    fn fail(&self, verb: &str, how: &str) {
        self.set(&format!("fail-{verb}"), how);
    }

    fn set(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join("launchd").join(name), text).unwrap();
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
    mac.fail("bootstrap", "1 125 Bootstrap failed: 125: Domain does not support specified action");
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
fn a_replacement_that_never_runs_is_taken_out_again() {
    let mac = mac();
    mac.install();
    let before = fs::read(mac.agent.path()).unwrap();
    mac.set("exits", "1");
    let err = mac.agent.install(&mac.spec(free_port()), Force::Yes).unwrap_err();
    assert!(matches!(err, ManageError::RolledBack { .. }), "{err}");
    assert_eq!(fs::read(mac.agent.path()).unwrap(), before);
    let changes = mac.changes();
    assert_eq!(changes[changes.len() - 3..], ["bootout D/L", "enable D/L", "bootstrap D"]);
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

#[test]
fn a_job_that_ended_is_kicked_and_not_loaded_again() {
    let mac = mac();
    mac.install();
    fs::remove_file(mac.dir.path().join("launchd/running/ai.openclaw.gateway")).unwrap();
    assert_eq!(mac.agent.report().runtime.status, RunState::Stopped);
    assert_eq!(mac.agent.start().unwrap(), Started::Started);
    assert_eq!(mac.changes().last().unwrap(), "kickstart D/L");
    assert_eq!(mac.agent.report().runtime.status, RunState::Running);
}

#[test]
fn a_job_that_never_runs_is_told_with_its_exit_status() {
    let mac = mac();
    mac.set("exits", "78");
    let err = mac.agent.install(&mac.spec(free_port()), Force::No).unwrap_err();
    assert!(matches!(err, ManageError::NotReady { .. }), "{err}");
    assert!(err.to_string().contains("it exited with status 78"), "{err}");
    assert!(!mac.agent.path().exists() && !mac.agent.report().summary.loaded);
}

#[test]
fn restart_loads_a_job_that_was_stopped() {
    let mac = mac();
    assert_eq!(mac.agent.restart().unwrap(), Restarted::NotInstalled);
    mac.install();
    mac.agent.stop().unwrap();
    assert_eq!(mac.agent.restart().unwrap(), Restarted::Restarted);
    assert_eq!(mac.changes().last().unwrap(), "bootstrap D");
}

#[test]
fn a_restart_from_inside_is_left_to_launchd() {
    let mut mac = mac();
    mac.install();
    mac.agent.own_label = Some("ai.openclaw.gateway".into());
    assert_eq!(mac.agent.restart().unwrap(), Restarted::Scheduled);
    assert_eq!(mac.changes().last().unwrap(), "kickstart -k D/L");
}

#[test]
fn a_refused_restart_says_what_launchd_said_and_keeps_the_job() {
    let mac = mac();
    mac.install();
    mac.fail("kickstart", "1 5 Could not kickstart service: 5: Input/output error");
    let err = mac.agent.restart().unwrap_err();
    let ManageError::Command { command, said } = &err else { panic!("{err}") };
    assert!(command.starts_with("launchctl kickstart -k gui/"), "{command}");
    assert!(said.contains("Input/output error"));
    assert_eq!(mac.agent.report().runtime.status, RunState::Running);
}

#[test]
fn a_job_that_takes_its_time_to_end_is_waited_for() {
    let mac = mac();
    mac.install();
    mac.set("leaves-after", "3");
    assert_eq!(mac.agent.stop().unwrap(), Stopped::Stopped);
    assert!(!mac.agent.report().summary.loaded);
}

#[test]
fn a_stop_that_launchd_refuses_is_no_stop() {
    let mac = mac();
    mac.install();
    mac.fail("bootout", "1 1 Boot-out failed: 1: Operation not permitted");
    let err = mac.agent.stop().unwrap_err();
    assert!(err.to_string().contains("Operation not permitted"), "{err}");
    assert!(mac.agent.report().summary.loaded);
}

#[test]
fn no_answer_is_not_taken_for_stopped() {
    let mac = mac();
    mac.install();
    mac.fail("print", "1 1 Could not connect to launchd");
    assert_eq!(mac.agent.report().runtime.status, RunState::Unknown);
    mac.fail("print", "1 1 Could not connect to launchd");
    let err = mac.agent.stop().unwrap_err();
    assert!(err.to_string().contains("launchctl print gui/"), "{err}");
    assert!(mac.changes().iter().all(|line| !line.starts_with("bootout")));
}

#[test]
fn a_disabled_agent_is_enabled_before_it_is_loaded() {
    let mac = mac();
    mac.install();
    mac.agent.stop().unwrap();
    mac.set("disabled/ai.openclaw.gateway", "");
    assert_eq!(mac.agent.start().unwrap(), Started::Started);
    assert_eq!(mac.changes()[3..], ["enable D/L", "bootstrap D"]);
}

#[test]
fn a_forced_install_of_the_same_agent_touches_nothing() {
    let mac = mac();
    let spec = mac.spec(free_port());
    mac.agent.install(&spec, Force::No).unwrap();
    let (before, pid) = (fs::metadata(mac.agent.path()).unwrap(), mac.agent.report().runtime.pid);
    mac.agent.install(&spec, Force::Yes).unwrap();
    assert_eq!(mac.changes(), ["enable D/L", "bootstrap D"]);
    let after = fs::metadata(mac.agent.path()).unwrap();
    assert_eq!(after.modified().unwrap(), before.modified().unwrap());
    assert_eq!(mac.agent.report().runtime.pid, pid);
}

#[test]
fn a_foreign_listener_stops_the_install_before_anything_is_written() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mac = mac();
    let port = holder.local_addr().unwrap().port();
    let err = mac.agent.install(&mac.spec(port), Force::Yes).unwrap_err();
    assert!(matches!(err, ManageError::PortTaken { .. }), "{err}");
    assert!(!mac.agent.path().exists() && mac.changes().is_empty());
}

#[test]
fn a_host_without_launchctl_says_so() {
    let mut mac = mac();
    mac.agent.program = "/nowhere/launchctl".into();
    assert_eq!(mac.agent.report().runtime.status, RunState::Unknown);
    let err = mac.agent.start().unwrap_err();
    assert!(matches!(err, ManageError::Run(RunError::Missing { .. })), "{err}");
}

#[test]
fn each_profile_has_an_agent_of_its_own() {
    let names = ServiceNames::of_profile(Some("work"));
    let env: Env = [("HOME", "/Users/claw")].into_iter().collect();
    let agent = LaunchAgent::new(Box::new(Impatient), &env, names, Box::new(SystemClock));
    assert!(agent.path().ends_with("Library/LaunchAgents/ai.openclaw.work.plist"));
}
