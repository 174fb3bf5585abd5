//! Start, stop, restart, install and uninstall under systemd.
//!
//! Both units always go together: stopping only the service leaves the socket
//! armed, and a start limit that was hit closes the port as well. Every action
//! reports what the manager says afterwards, not what was asked for.

use std::net::{SocketAddr, TcpListener};

use crate::supervise::listeners::{self, Owner, PortUse};
use crate::supervise::manager::{
    Drift, Force, InstallOutcome, Installed, ManageError, Rendered, Restarted, ServiceManager,
    Started, Stopped, Uninstalled,
};
use crate::supervise::report::{BLOCKED, ServiceReport};
use crate::supervise::spec::ServiceSpec;
use crate::supervise::systemd::files::Transaction;
use crate::supervise::systemd::render::{self, Values};
use crate::supervise::systemd::service::SystemdService;
use crate::supervise::systemd::systemctl::Properties;
use crate::supervise::systemd::unit::Unit;

/// Lines of the journal that explain a failed start.
const EXPLANATION_LINES: usize = 5;

impl ServiceManager for SystemdService {
    fn report(&self) -> ServiceReport {
        self.make_report()
    }

    fn render(&self, spec: &ServiceSpec) -> Result<Vec<Rendered>, ManageError> {
        if let Some(vendor) = self.vendor(&spec.program) {
            return Ok(self.drop_ins(&vendor, spec));
        }
        let service = render::service(spec, Values::Literal).to_string().into_bytes();
        let socket = render::socket(spec).to_string().into_bytes();
        Ok(vec![
            Rendered { path: self.service_path(), text: service },
            Rendered { path: self.socket_path(), text: socket },
        ])
    }

    fn install(&self, spec: &ServiceSpec, force: Force) -> Result<Installed, ManageError> {
        self.check_caller("gateway install --system")?;
        let (service, socket) = self.show()?;
        self.refuse_masked(&service, &self.names.service())?;
        self.refuse_masked(&socket, &self.names.socket())?;
        let files = self.render(spec)?;
        let ours = files
            .iter()
            .all(|file| std::fs::read(&file.path).is_ok_and(|bytes| bytes == file.text));
        let there = service.is_loaded() && !service.lost_its_file();
        if there && service.is_enabled() && force == Force::No {
            let drift = if ours && !needs_reload(&service) { Vec::new() } else { drift(&files) };
            return Ok(self.installed(InstallOutcome::AlreadyInstalled { drift }));
        }
        self.check_port(spec, &service, &socket)?;
        let mut written = Transaction::write(&files, self.clock.now_ms())?;
        let activated = self.activate(&service, &socket, &written);
        match activated {
            // A process that waits for the operator is installed all the same.
            Err(err @ ManageError::Blocked { .. }) => Err(err),
            Err(problem) if written.changed() => Err(self.roll_back(written, &service, problem)),
            Err(problem) => Err(problem),
            Ok(()) => {
                let mut installed = self.installed(InstallOutcome::Installed);
                installed.backups = std::mem::take(&mut written.backups);
                self.ensure_linger(&mut installed);
                Ok(installed)
            }
        }
    }

    fn uninstall(&self) -> Result<Uninstalled, ManageError> {
        self.check_caller("gateway uninstall --system")?;
        let (service, socket) = self.show()?;
        let (service_name, socket_name) = (self.names.service(), self.names.socket());
        let path = self.main_file();
        let mut warnings = Vec::new();
        let known: Vec<&str> = [(&socket, socket_name.as_str()), (&service, service_name.as_str())]
            .into_iter()
            .filter(|(unit, _)| unit.is_there() || unit.is_up())
            .map(|(_, name)| name)
            .collect();
        if !known.is_empty() {
            self.systemctl.change(&[&["stop"], known.as_slice()].concat())?;
            self.systemctl.attempt(&[&["disable"], known.as_slice()].concat());
        }
        let removed = self.remove_files()?;
        if !removed.is_empty() {
            self.systemctl.change(&["daemon-reload"])?;
        }
        if !known.is_empty() {
            self.systemctl.attempt(&[&["reset-failed"], known.as_slice()].concat());
        }
        let (after, _) = self.show()?;
        if after.is_loaded() {
            let at = after.get("FragmentPath");
            warnings
                .push(format!("{at} belongs to a package and stays; it is stopped and disabled"));
        }
        Ok(Uninstalled { stopped: !known.is_empty(), removed, path, warnings })
    }

    fn start(&self) -> Result<Started, ManageError> {
        self.check_caller("gateway start --system")?;
        let (service, socket) = self.show()?;
        if !service.is_loaded() {
            self.refuse_unusable(&service)?;
            return Ok(Started::NotInstalled);
        }
        if service.get("ActiveState") != "active" || (socket.is_loaded() && !socket.is_up()) {
            self.start_both(socket.is_loaded())?;
            return Ok(Started::Started);
        }
        if !service.get("StatusText").starts_with(BLOCKED) {
            return Ok(Started::AlreadyRunning);
        }
        // It serves nobody, and whoever asks believes the cause to be gone: the
        // process would find out by itself, but only after a while.
        let asked = self.systemctl.change(&["restart", &self.names.service()]);
        self.explain(asked)?;
        self.ready_or_blocked()?;
        Ok(Started::Started)
    }

    fn stop(&self) -> Result<Stopped, ManageError> {
        self.check_caller("gateway stop --system")?;
        let (service, socket) = self.show()?;
        if !service.is_loaded() && !service.is_up() && !socket.is_up() {
            return Ok(Stopped::NotInstalled);
        }
        if !service.is_up() && !socket.is_up() {
            return Ok(Stopped::AlreadyStopped);
        }
        self.stop_both(socket.is_loaded())?;
        Ok(Stopped::Stopped)
    }

    fn restart(&self) -> Result<Restarted, ManageError> {
        self.check_caller("gateway restart --system")?;
        let (service, socket) = self.show()?;
        if !service.is_loaded() {
            self.refuse_unusable(&service)?;
            return Ok(Restarted::NotInstalled);
        }
        let name = self.names.service();
        self.clear_start_limit(socket.is_loaded());
        if self.own_unit.as_deref() == Some(name.as_str()) {
            self.systemctl.change(&["--no-block", "restart", &name])?;
            return Ok(Restarted::Scheduled);
        }
        let socket_name = self.names.socket();
        if socket.is_loaded() && !socket.is_up() && !service.is_up() {
            self.start_both(true)?;
            return Ok(Restarted::Restarted);
        }
        if socket.is_loaded() && !socket.is_up() {
            // The service holds the port itself; the socket cannot start before
            // it is gone.
            self.systemctl.change(&["stop", &socket_name, &name])?;
            self.start_both(true)?;
            return Ok(Restarted::Restarted);
        }
        let asked = self.systemctl.change(&["restart", &name]);
        self.explain(asked)?;
        self.ready_or_blocked()?;
        Ok(Restarted::Restarted)
    }

    fn target(&self) -> String {
        self.names.service()
    }

    fn noun(&self) -> &'static str {
        "systemd service"
    }
}

impl SystemdService {
    /// Refuses what cannot work before anything is touched.
    fn check_caller(&self, command: &str) -> Result<(), ManageError> {
        if let Some(user) = &self.sudo_user {
            return Err(ManageError::Sudo { user: user.clone() });
        }
        if self.system && !nix::unistd::geteuid().is_root() {
            return Err(ManageError::NeedsRoot { command: format!("openclaw {command}") });
        }
        Ok(())
    }

    fn activate(
        &self,
        service: &Properties,
        socket: &Properties,
        written: &Transaction,
    ) -> Result<(), ManageError> {
        let (service_name, socket_name) = (self.names.service(), self.names.socket());
        if written.changed() || needs_reload(service) || needs_reload(socket) {
            self.systemctl.change(&["daemon-reload"])?;
        }
        self.systemctl.change(&["enable", &service_name, &socket_name])?;
        let socket_changed = self.rewrote_socket(written);
        if service.is_up() && (socket_changed || !socket.is_up()) {
            self.stop_both(true)?;
        } else if service.is_up() && written.changed() {
            self.clear_start_limit(true);
            let asked = self.systemctl.change(&["restart", &service_name]);
            self.explain(asked)?;
            return self.ready_or_blocked();
        } else if socket.is_up() && socket_changed {
            self.stop_both(true)?;
        }
        self.start_both(true)
    }

    fn roll_back(
        &self,
        mut written: Transaction,
        before: &Properties,
        problem: ManageError,
    ) -> ManageError {
        let had_previous = written.had_previous();
        let (service_name, socket_name) = (self.names.service(), self.names.socket());
        self.systemctl.attempt(&["stop", &socket_name, &service_name]);
        if !had_previous {
            self.systemctl.attempt(&["disable", &service_name, &socket_name]);
        }
        written.undo();
        let mut restored = self.systemctl.change(&["daemon-reload"]);
        self.clear_start_limit(true);
        if had_previous && before.is_up() {
            let has_socket = self.socket_path().exists();
            restored = restored.and_then(|()| self.start_both(has_socket));
        }
        match restored {
            Err(also) => {
                ManageError::RollbackFailed { problem: Box::new(problem), also: Box::new(also) }
            }
            Ok(()) if had_previous => ManageError::RolledBack { problem: Box::new(problem) },
            Ok(()) => problem,
        }
    }

    /// Starts socket and service; returns when the service says it is ready.
    fn start_both(&self, has_socket: bool) -> Result<(), ManageError> {
        self.clear_start_limit(has_socket);
        let (service, socket) = (self.names.service(), self.names.socket());
        let asked = if has_socket {
            self.systemctl.change(&["start", &socket, &service])
        } else {
            self.systemctl.change(&["start", &service])
        };
        self.explain(asked)?;
        self.ready_or_blocked()
    }

    fn stop_both(&self, has_socket: bool) -> Result<(), ManageError> {
        let (service, socket) = (self.names.service(), self.names.socket());
        if has_socket {
            self.systemctl.change(&["stop", &socket, &service])
        } else {
            self.systemctl.change(&["stop", &service])
        }
    }

    fn clear_start_limit(&self, has_socket: bool) {
        let (service, socket) = (self.names.service(), self.names.socket());
        if has_socket {
            self.systemctl.attempt(&["reset-failed", &service, &socket]);
        } else {
            self.systemctl.attempt(&["reset-failed", &service]);
        }
    }

    /// Turns the manager's "Job failed" into what really happened.
    fn explain(&self, asked: Result<(), ManageError>) -> Result<(), ManageError> {
        let Err(ManageError::Command { .. }) = &asked else { return asked };
        let Ok((service, socket)) = self.show() else { return asked };
        if socket.get("Result") == "resources" {
            let taken = taken(&self.armed_addresses(&socket));
            if let Some((addresses, owners)) = first_conflict(taken) {
                return Err(ManageError::PortTaken { addresses, owners });
            }
        }
        let status = service.get("StatusText");
        if let Some(reason) = status.strip_prefix(BLOCKED) {
            return Err(ManageError::Blocked { reason: reason.to_owned() });
        }
        let reason = match (service.get("Result"), service.get("ExecMainStatus")) {
            ("exit-code", code) => format!("it exited with status {code}"),
            ("start-limit-hit", _) => "it was started too often".to_owned(),
            ("timeout", _) => "it took too long".to_owned(),
            ("success" | "", _) => match socket.get("Result") {
                "success" | "" => return asked,
                other => format!("the socket failed: {other}"),
            },
            (other, _) => other.to_owned(),
        };
        let unit = self.names.service();
        let journal = self.systemctl.journal(&unit, EXPLANATION_LINES);
        Err(ManageError::NotReady { unit, reason, journal })
    }

    /// The manager says "active"; the process may still wait for the operator.
    fn ready_or_blocked(&self) -> Result<(), ManageError> {
        let (service, _) = self.show()?;
        if let Some(reason) = service.get("StatusText").strip_prefix(BLOCKED) {
            return Err(ManageError::Blocked { reason: reason.to_owned() });
        }
        if service.get("ActiveState") == "active" {
            return Ok(());
        }
        let unit = self.names.service();
        let reason = format!("its state is {}", service.get("ActiveState"));
        let journal = self.systemctl.journal(&unit, EXPLANATION_LINES);
        Err(ManageError::NotReady { unit, reason, journal })
    }

    /// Fails when somebody else holds an address of the service.
    fn check_port(
        &self,
        spec: &ServiceSpec,
        service: &Properties,
        socket: &Properties,
    ) -> Result<(), ManageError> {
        let addresses: Vec<SocketAddr> =
            spec.listen.iter().filter_map(|address| address.parse().ok()).collect();
        let armed = if socket.is_up() { self.armed_addresses(socket) } else { Vec::new() };
        let wanted: Vec<SocketAddr> =
            addresses.into_iter().filter(|address| !armed.contains(address)).collect();
        let own_pid = service.get("MainPID");
        // Nobody can read where a socket unit without a file listens; the
        // manager keeps its sockets until it is stopped.
        let ghost = socket.is_up() && socket.lost_its_file();
        let is_ours =
            |owner: &Owner| owner.pid.to_string() == own_pid || ghost && owner.command == "systemd";
        let conflicts = taken(&wanted)
            .into_iter()
            .filter(|(_, owners)| {
                // Our own process without a socket unit is stopped before the start.
                owners.is_empty() || !owners.iter().all(is_ours)
            })
            .collect();
        match first_conflict(conflicts) {
            Some((addresses, owners)) => Err(ManageError::PortTaken { addresses, owners }),
            None => Ok(()),
        }
    }

    fn installed(&self, outcome: InstallOutcome) -> Installed {
        Installed {
            outcome,
            path: self.main_file(),
            backups: Vec::new(),
            linger: self.linger(),
            warnings: Vec::new(),
        }
    }

    fn ensure_linger(&self, installed: &mut Installed) {
        if installed.linger != Some("no") {
            return;
        }
        self.systemctl.enable_linger(&self.user);
        installed.linger = self.linger();
        if installed.linger == Some("no") {
            installed.warnings.push(format!(
                "Lingering is off: the gateway stops when {user} logs out. Run: sudo loginctl enable-linger {user}",
                user = self.user
            ));
        }
    }
}

/// What an install would change, on the level of keys.
fn drift(files: &[Rendered]) -> Vec<Drift> {
    let mut drift = Vec::new();
    for file in files {
        let name = file.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Ok(bytes) = std::fs::read(&file.path) else {
            let message = format!("{name} is not installed");
            drift.push(Drift { code: "unit-missing", message });
            continue;
        };
        let (installed, issues) = Unit::parse(&bytes);
        for issue in issues {
            drift.push(Drift { code: "unit-syntax", message: format!("{name}: {issue}") });
        }
        let (wanted, _) = Unit::parse(&file.text);
        drift.extend(differences(&name, &installed, &wanted));
    }
    drift
}

/// Key by key: what the installed unit lacks, changed or has in addition.
pub fn differences(name: &str, installed: &Unit, wanted: &Unit) -> Vec<Drift> {
    let mut drift = Vec::new();
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for entry in wanted.entries().iter().chain(installed.entries()) {
        let (section, key) = (entry.section.as_str(), entry.key.as_str());
        if seen.contains(&(section, key)) {
            continue;
        }
        seen.push((section, key));
        let have = installed.all(section, key);
        let want = wanted.all(section, key);
        let (code, word) = match (have.is_empty(), want.is_empty()) {
            _ if have == want => continue,
            (true, _) => ("unit-key-missing", "is missing"),
            (false, true) => ("unit-key-added", "was added"),
            (false, false) => ("unit-key-changed", "differs"),
        };
        drift.push(Drift { code, message: format!("{name}: {section}.{key} {word}") });
    }
    drift
}

fn needs_reload(unit: &Properties) -> bool {
    unit.get("NeedDaemonReload") == "yes"
}

/// The addresses that cannot be bound, with those who hold them.
fn taken(addresses: &[SocketAddr]) -> Vec<(SocketAddr, Vec<Owner>)> {
    addresses
        .iter()
        .filter(|address| {
            TcpListener::bind(address).is_err_and(|err| err.kind() == std::io::ErrorKind::AddrInUse)
        })
        .map(|address| {
            let owners = match listeners::inspect(address.port()) {
                PortUse::Busy(found) => {
                    found.into_iter().flat_map(|listener| listener.owners).collect()
                }
                PortUse::Free | PortUse::Unknown => Vec::new(),
            };
            (*address, owners)
        })
        .collect()
}

fn first_conflict(taken: Vec<(SocketAddr, Vec<Owner>)>) -> Option<(Vec<SocketAddr>, Vec<Owner>)> {
    let addresses: Vec<SocketAddr> = taken.iter().map(|(address, _)| *address).collect();
    let mut owners: Vec<Owner> = taken.into_iter().flat_map(|(_, owners)| owners).collect();
    owners.sort_by_key(|owner| owner.pid);
    owners.dedup_by_key(|owner| owner.pid);
    (!addresses.is_empty()).then_some((addresses, owners))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::rc::Rc;

    use super::*;
    use crate::base::clock::SystemClock;
    use crate::profile::env::Env;
    use crate::profile::paths::Paths;
    use crate::supervise::report::RunState;
    use crate::supervise::runner::fake::Script;
    use crate::supervise::runner::{CommandLine, Finished, RunError, Runner};
    use crate::supervise::spec::{Scope, ServiceNames, SpecInput};
    use crate::supervise::systemd::service::Places;

    #[derive(Debug, Clone)]
    struct Shared(Rc<Script>);

    impl Runner for Shared {
        fn run(&self, command: &CommandLine) -> Result<Finished, RunError> {
            self.0.run(command)
        }
    }

    struct Bed {
        dir: tempfile::TempDir,
        script: Rc<Script>,
        service: SystemdService,
    }

    const SHOW: &str = "systemctl --user --no-ask-password show";

    fn state(service: &str, socket: &str) -> String {
        let block = |words: &str| {
            let mut parts = words.split_whitespace();
            let (load, active, sub) =
                (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
            let rest: Vec<&str> = parts.collect();
            format!(
                "LoadState={load}\nActiveState={active}\nSubState={sub}\nUnitFileState=enabled\n{}\n",
                rest.join("\n")
            )
        };
        format!("{}\n{}", block(service), block(socket))
    }

    fn bed(script: Script) -> Bed {
        let dir = tempfile::tempdir().unwrap();
        let env: Env = [("HOME", dir.path().to_str().unwrap()), ("XDG_RUNTIME_DIR", "/nowhere")]
            .into_iter()
            .collect();
        let script = Rc::new(script);
        let places = Places {
            units: dir.path().join("units"),
            vendor: dir.path().join("vendor"),
            linger: dir.path().join("linger"),
            home: dir.path().to_owned(),
        };
        let mut service = SystemdService::new(
            Box::new(Shared(Rc::clone(&script))),
            &env,
            ServiceNames::of_profile(None),
            false,
            places,
            Box::new(SystemClock),
        );
        service.own_unit = None;
        service.sudo_user = None;
        Bed { dir, script, service }
    }

    impl Bed {
        fn spec(&self, port: u16) -> ServiceSpec {
            let env: Env = [("HOME", self.dir.path().to_str().unwrap())].into_iter().collect();
            ServiceSpec::for_host(&SpecInput {
                env: &env,
                paths: &Paths::resolve(&env),
                scope: Scope::User,
                program: Path::new("/usr/bin/openclaw"),
                port,
                listen: &[SocketAddr::from(([127, 0, 0, 1], port))],
            })
        }

        fn verbs(&self) -> Vec<String> {
            self.script
                .commands()
                .iter()
                .filter_map(|line| line.strip_prefix("systemctl --user --no-ask-password "))
                .filter(|line| !line.starts_with("show"))
                .map(|line| line.replace("openclaw-gateway", "X"))
                .collect()
        }
    }

    fn free_port() -> u16 {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    }

    const ABSENT: &str = "not-found inactive dead";
    const RUNNING: &str = "loaded active running MainPID=7";
    const LISTENING: &str = "loaded active running";
    const DEAD: &str = "loaded inactive dead";

    #[test]
    fn a_first_install_writes_enables_and_starts_both_units() {
        let bed = bed(Script::default().on(SHOW, 0, &state(ABSENT, ABSENT), "").on(
            SHOW,
            0,
            &state(RUNNING, LISTENING),
            "",
        ));
        let spec = bed.spec(free_port());
        let installed = bed.service.install(&spec, Force::No).unwrap();
        assert_eq!(installed.outcome, InstallOutcome::Installed);
        assert_eq!(
            bed.verbs(),
            [
                "daemon-reload",
                "enable X.service X.socket",
                "reset-failed X.service X.socket",
                "start X.socket X.service"
            ]
        );
        let text = fs::read_to_string(bed.service.service_path()).unwrap();
        assert!(text.contains("ExecStart=/usr/bin/openclaw gateway run --port"));
    }

    #[test]
    fn a_forced_install_of_the_same_bytes_touches_nothing_and_restarts_nothing() {
        let bed = bed(Script::default().on(SHOW, 0, &state(RUNNING, LISTENING), ""));
        let spec = bed.spec(free_port());
        for file in bed.service.render(&spec).unwrap() {
            fs::create_dir_all(file.path.parent().unwrap()).unwrap();
            fs::write(&file.path, &file.text).unwrap();
        }
        bed.service.install(&spec, Force::Yes).unwrap();
        assert_eq!(
            bed.verbs(),
            [
                "enable X.service X.socket",
                "reset-failed X.service X.socket",
                "start X.socket X.service"
            ]
        );
    }

    #[test]
    fn an_installed_service_stays_and_its_drift_is_told() {
        let bed = bed(Script::default().on(SHOW, 0, &state(RUNNING, LISTENING), ""));
        let spec = bed.spec(free_port());
        let files = bed.service.render(&spec).unwrap();
        fs::create_dir_all(files[0].path.parent().unwrap()).unwrap();
        let text = String::from_utf8(files[0].text.clone()).unwrap();
        let edited = text.replace("WatchdogSec=60\n", "").replace("RestartSec=5", "RestartSec=9")
            + "\n[Service]\nNice=5\n";
        fs::write(&files[0].path, edited).unwrap();
        fs::write(&files[1].path, &files[1].text).unwrap();
        let installed = bed.service.install(&spec, Force::No).unwrap();
        let InstallOutcome::AlreadyInstalled { drift } = installed.outcome else {
            panic!("installed over")
        };
        let messages: Vec<&str> = drift.iter().map(|drift| drift.message.as_str()).collect();
        assert_eq!(
            messages,
            [
                "openclaw-gateway.service: Service.RestartSec differs",
                "openclaw-gateway.service: Service.WatchdogSec is missing",
                "openclaw-gateway.service: Service.Nice was added",
            ]
        );
        assert_eq!(bed.verbs(), [""; 0]);
    }

    #[test]
    fn a_foreign_listener_stops_the_install_before_anything_is_written() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = holder.local_addr().unwrap().port();
        let bed = bed(Script::default().on(SHOW, 0, &state(ABSENT, ABSENT), ""));
        let err = bed.service.install(&bed.spec(port), Force::Yes).unwrap_err();
        let ManageError::PortTaken { owners, .. } = err else { panic!("{err}") };
        let me = i32::try_from(std::process::id()).unwrap();
        assert!(owners.iter().any(|owner| owner.pid == me));
        assert!(!bed.service.service_path().exists());
        assert_eq!(bed.verbs(), [""; 0]);
    }

    #[test]
    fn a_start_that_fails_brings_the_previous_unit_back() {
        let failed = "loaded failed failed Result=exit-code ExecMainStatus=203";
        let bed = bed(Script::default()
            .on(SHOW, 0, &state(RUNNING, LISTENING), "")
            .on(SHOW, 0, &state(failed, LISTENING), "")
            .on(SHOW, 0, &state(RUNNING, LISTENING), "")
            .on("systemctl --user --no-ask-password start", 1, "", "Job failed.")
            .on("systemctl --user --no-ask-password start", 0, "", ""));
        fs::create_dir_all(bed.dir.path().join("units")).unwrap();
        fs::write(bed.service.service_path(), "[Service]\nExecStart=/old\n").unwrap();
        let err = bed.service.install(&bed.spec(free_port()), Force::Yes).unwrap_err();
        assert!(matches!(err, ManageError::RolledBack { .. }), "{err}");
        assert!(err.to_string().contains("exited with status 203"), "{err}");
        let text = fs::read_to_string(bed.service.service_path()).unwrap();
        assert_eq!(text, "[Service]\nExecStart=/old\n");
        assert!(!bed.service.socket_path().exists());
    }

    #[test]
    fn start_leaves_a_running_gateway_alone() {
        let bed = bed(Script::default().on(SHOW, 0, &state(RUNNING, LISTENING), ""));
        assert_eq!(bed.service.start().unwrap(), Started::AlreadyRunning);
        assert_eq!(bed.verbs(), [""; 0]);
    }

    #[test]
    fn a_blocked_gateway_looks_again_when_it_is_started() {
        let blocked = "loaded active running StatusText=blocked:reason";
        let shown = state(blocked, LISTENING).replace("blocked:reason", "blocked: no mode set");
        let still = bed(Script::default().on(SHOW, 0, &shown, ""));
        let err = still.service.start().unwrap_err();
        assert!(matches!(err, ManageError::Blocked { reason } if reason == "no mode set"));
        assert_eq!(still.verbs(), ["restart X.service"]);
        let mended = bed(Script::default().on(SHOW, 0, &shown, "").on(
            SHOW,
            0,
            &state(RUNNING, LISTENING),
            "",
        ));
        assert_eq!(mended.service.start().unwrap(), Started::Started);
    }

    #[test]
    fn stop_takes_the_socket_along_and_knows_when_it_is_done() {
        let running = bed(Script::default().on(SHOW, 0, &state(DEAD, LISTENING), ""));
        assert_eq!(running.service.stop().unwrap(), Stopped::Stopped);
        assert_eq!(running.verbs(), ["stop X.socket X.service"]);
        let stopped = bed(Script::default().on(SHOW, 0, &state(DEAD, DEAD), ""));
        assert_eq!(stopped.service.stop().unwrap(), Stopped::AlreadyStopped);
        let absent = bed(Script::default().on(SHOW, 0, &state(ABSENT, ABSENT), ""));
        assert_eq!(absent.service.stop().unwrap(), Stopped::NotInstalled);
    }

    #[test]
    fn restart_clears_the_start_limit_first_and_is_left_to_the_manager_from_inside() {
        let mut bed = bed(Script::default().on(SHOW, 0, &state(RUNNING, LISTENING), ""));
        assert_eq!(bed.service.restart().unwrap(), Restarted::Restarted);
        assert_eq!(bed.verbs(), ["reset-failed X.service X.socket", "restart X.service"]);
        bed.service.own_unit = Some("openclaw-gateway.service".into());
        assert_eq!(bed.service.restart().unwrap(), Restarted::Scheduled);
        assert_eq!(bed.verbs().last().unwrap(), "--no-block restart X.service");
    }

    #[test]
    fn uninstall_removes_both_files_and_tells_the_manager() {
        let bed = bed(Script::default().on(SHOW, 0, &state(RUNNING, LISTENING), "").on(
            SHOW,
            0,
            &state(ABSENT, ABSENT),
            "",
        ));
        let units: PathBuf = bed.dir.path().join("units");
        fs::create_dir_all(&units).unwrap();
        fs::write(bed.service.service_path(), "x").unwrap();
        fs::write(bed.service.socket_path(), "x").unwrap();
        let gone = bed.service.uninstall().unwrap();
        assert!(gone.stopped);
        assert_eq!(gone.removed.len(), 2);
        assert_eq!(fs::read_dir(units).unwrap().count(), 0);
        assert_eq!(
            bed.verbs(),
            [
                "stop X.socket X.service",
                "disable X.socket X.service",
                "daemon-reload",
                "reset-failed X.socket X.service"
            ]
        );
    }

    #[test]
    fn masked_units_and_sudo_explain_themselves() {
        let mut bed =
            bed(Script::default().on(SHOW, 0, &state("masked inactive dead", ABSENT), ""));
        let err = bed.service.start().unwrap_err();
        assert_eq!(
            err.to_string(),
            "openclaw-gateway.service is masked; run: systemctl --user unmask openclaw-gateway.service"
        );
        bed.service.sudo_user = Some("claw".into());
        let err = bed.service.start().unwrap_err();
        assert!(err.to_string().contains("run this as claw, or add --system"));
    }

    #[test]
    fn lingering_is_switched_on_or_asked_for() {
        let bed = bed(Script::default()
            .on(SHOW, 0, &state(ABSENT, ABSENT), "")
            .on(SHOW, 0, &state(RUNNING, LISTENING), "")
            .on("loginctl", 1, "", "Interactive authentication required."));
        fs::create_dir_all(bed.dir.path().join("linger")).unwrap();
        let installed = bed.service.install(&bed.spec(free_port()), Force::No).unwrap();
        assert_eq!(installed.linger, Some("no"));
        assert!(installed.warnings[0].contains("sudo loginctl enable-linger"));
    }

    #[test]
    fn a_report_follows_drop_ins_and_hides_values() {
        let bed_dir = tempfile::tempdir().unwrap();
        let fragment = bed_dir.path().join("x.service");
        let drop_in = bed_dir.path().join("10-more.conf");
        fs::write(
            &fragment,
            "[Service]\nType=notify\nExecStart=/usr/bin/openclaw gateway run --port 1\nEnvironment=PATH=/usr/local/bin:/usr/bin:/bin SECRET_THING=hush\n",
        )
        .unwrap();
        fs::write(&drop_in, "[Service]\nExecStart=\nExecStart=/usr/bin/openclaw gateway run --port 2\nEnvironment=OPENCLAW_PROFILE=p\n").unwrap();
        let shown = format!(
            "{}\nFragmentPath={}\nDropInPaths={}\n\n{}",
            "LoadState=loaded\nActiveState=active\nSubState=running\nMainPID=385\nExecMainStatus=0\nExecMainCode=0\nUnitFileState=enabled",
            fragment.display(),
            drop_in.display(),
            "LoadState=loaded\nActiveState=active\nSubState=running"
        );
        let bed = bed(Script::default().on(SHOW, 0, &shown, ""));
        let report = bed.service.report();
        assert_eq!(report.runtime.status, RunState::Running);
        let command = report.command.as_ref().unwrap();
        assert_eq!(command.port(), Some(2));
        assert_eq!(command.environment.get("OPENCLAW_PROFILE").map(String::as_str), Some("p"));
        let json = serde_json::to_string(&report).unwrap();
        assert!(!json.contains("hush"), "{json}");
        assert!(json.contains("\"SECRET_THING\":\"inline\""));
    }
}
