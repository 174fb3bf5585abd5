//! A host for tests: real files in a scratch directory, a service manager made
//! of values that behaves like systemd where the doctor can tell.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde_json::json;
use tempfile::TempDir;

use crate::config::Snapshot;
use crate::doctor::facts::{Depth, Facts};
use crate::doctor::host::{Account, Answer, Host, Room};
use crate::doctor::{Examination, Selection, examine};
use crate::profile::env::Env;
use crate::profile::paths::Paths;
use crate::supervise::addresses;
use crate::supervise::launchd::plist as agent;
use crate::supervise::listeners::{Listener, Owner, PortUse};
use crate::supervise::runner::{CommandLine, Finished, RunError, Runner};
use crate::supervise::spec::{Scope, ServiceSpec, SpecInput};
use crate::supervise::systemd::render::{self, Values};
use crate::supervise::systemd::unit::Unit;
use crate::supervise::systemd::words::Specifiers;

pub(crate) const PORT: u16 = 18789;
pub(crate) const SERVICE: &str = "openclaw-gateway.service";
pub(crate) const SOCKET: &str = "openclaw-gateway.socket";
pub(crate) const PROGRAM: &str = "/usr/bin/openclaw";
const PID: i32 = 4711;

/// One unit as its manager knows it: the files as last read.
#[derive(Debug, Clone, Default)]
struct Loaded {
    path: PathBuf,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

/// What `systemctl` and its relatives answer.
#[derive(Debug, Default)]
pub(crate) struct Manager {
    units: PathBuf,
    home: PathBuf,
    loaded: RefCell<BTreeMap<String, Loaded>>,
    pub(crate) enabled: RefCell<BTreeSet<String>>,
    pub(crate) active: RefCell<BTreeSet<String>>,
    /// Properties that a test sets by hand, by unit and name.
    pub(crate) forged: RefCell<BTreeMap<(String, String), String>>,
    pub(crate) verbs: RefCell<Vec<String>>,
    pub(crate) journal: RefCell<String>,
    pub(crate) linger: RefCell<Option<PathBuf>>,
    /// What every call says instead, as a host without a bus does.
    pub(crate) broken: RefCell<Option<String>>,
    /// Verbs that fail.
    pub(crate) failing: RefCell<Vec<String>>,
}

impl Manager {
    fn on_disk(&self, name: &str) -> Option<Loaded> {
        let path = self.units.join(name);
        let mut files = BTreeMap::from([(path.clone(), fs::read(&path).ok()?)]);
        for entry in
            fs::read_dir(self.units.join(format!("{name}.d"))).into_iter().flatten().flatten()
        {
            files.insert(entry.path(), fs::read(entry.path()).unwrap());
        }
        Some(Loaded { path, files })
    }

    pub(crate) fn reload(&self) {
        let mut loaded = self.loaded.borrow_mut();
        loaded.clear();
        for entry in fs::read_dir(&self.units).into_iter().flatten().flatten() {
            let name = entry.file_name().into_string().unwrap();
            if let Some(unit) = self.on_disk(&name) {
                loaded.insert(name, unit);
            }
        }
    }

    fn show(&self, name: &str) -> String {
        let loaded = self.loaded.borrow();
        let known = loaded.get(name).cloned().or_else(|| self.on_disk(name));
        let active = self.active.borrow().contains(name);
        let mut text = BTreeMap::new();
        let mut set = |key: &str, value: String| drop(text.insert(key.to_owned(), value));
        set("Id", name.to_owned());
        set("ActiveState", if active { "active" } else { "inactive" }.to_owned());
        set("SubState", if active { "running" } else { "dead" }.to_owned());
        set("Result", "success".to_owned());
        set("NRestarts", "0".to_owned());
        set("MainPID", if active && name.ends_with("service") { PID } else { 0 }.to_string());
        match &known {
            None => set("LoadState", "not-found".to_owned()),
            Some(known) => {
                let stale = self.on_disk(name).is_none_or(|now| now.files != known.files);
                let drop_ins: Vec<String> = known
                    .files
                    .keys()
                    .filter(|path| **path != known.path)
                    .map(|path| path.display().to_string())
                    .collect();
                let fragment = Unit::parse(&known.files[&known.path]).0;
                let others = known.files.iter().filter(|(path, _)| **path != known.path);
                let unit = fragment.with_drop_ins(others.map(|(_, bytes)| Unit::parse(bytes).0));
                let enabled = self.enabled.borrow().contains(name);
                set("LoadState", "loaded".to_owned());
                set("FragmentPath", known.path.display().to_string());
                set("DropInPaths", drop_ins.join(" "));
                set("NeedDaemonReload", if stale { "yes" } else { "no" }.to_owned());
                set("UnitFileState", if enabled { "enabled" } else { "disabled" }.to_owned());
                for (key, property) in
                    [("Type", "Type"), ("KillMode", "KillMode"), ("Restart", "Restart")]
                {
                    set(property, unit.get("Service", key).unwrap_or_default().to_owned());
                }
                if let Some(value) = unit.get("Service", "RestartSec") {
                    set("RestartUSec", format!("{value}s"));
                }
                let specifiers = Specifiers {
                    home: self.home.to_string_lossy().into_owned(),
                    unit: name.to_owned(),
                    ..Specifiers::default()
                };
                if let Some(argv) = unit.exec_start(&specifiers) {
                    set(
                        "ExecStart",
                        format!(
                            "{{ path={} ; argv[]={} ; ignore_errors=no }}",
                            argv[0],
                            argv.join(" ")
                        ),
                    );
                }
            }
        }
        for ((unit, key), value) in self.forged.borrow().iter() {
            if unit == name {
                text.insert(key.clone(), value.clone());
            }
        }
        let lines: Vec<String> =
            text.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        lines.join("\n") + "\n"
    }

    fn run(&self, command: &CommandLine) -> Finished {
        let finished = |code, stdout: String, stderr: &str| Finished {
            code: Some(code),
            stdout,
            stderr: stderr.to_owned(),
        };
        let words: Vec<&str> = command
            .args
            .iter()
            .map(String::as_str)
            .filter(|word| {
                !matches!(*word, "--user" | "--no-ask-password" | "--no-pager" | "--now")
            })
            .collect();
        match command.program.as_str() {
            "journalctl" => return finished(0, self.journal.borrow().clone(), ""),
            "loginctl" => {
                self.verbs.borrow_mut().push(words.join(" "));
                let Some(dir) = self.linger.borrow().clone() else {
                    return finished(1, String::new(), "Interactive authentication required.");
                };
                match words[0] {
                    "enable-linger" => fs::write(dir.join(words[1]), "").unwrap(),
                    _ => fs::remove_file(dir.join(words[1])).unwrap(),
                }
                return finished(0, String::new(), "");
            }
            _ => {}
        }
        if let Some(said) = &*self.broken.borrow() {
            return finished(1, String::new(), said);
        }
        if words[0] == "show" {
            let units = words.iter().skip_while(|word| **word != "--").skip(1);
            let blocks: Vec<String> = units.map(|unit| self.show(unit)).collect();
            return finished(0, blocks.join("\n"), "");
        }
        self.verbs.borrow_mut().push(words.join(" "));
        if self.failing.borrow().iter().any(|verb| verb == words[0]) {
            return finished(1, String::new(), "Job failed.");
        }
        let units = || words[1..].iter().map(|word| (*word).to_owned());
        match words[0] {
            "daemon-reload" => self.reload(),
            "enable" => self.enabled.borrow_mut().extend(units()),
            "disable" => {
                for unit in units() {
                    self.enabled.borrow_mut().remove(&unit);
                    self.active.borrow_mut().remove(&unit);
                }
            }
            "start" | "restart" => self.active.borrow_mut().extend(units()),
            "stop" => self.active.borrow_mut().retain(|unit| !units().any(|one| one == *unit)),
            "reset-failed" => {
                self.forged.borrow_mut().retain(|(unit, _), _| !units().any(|one| one == *unit));
            }
            _ => {}
        }
        finished(0, String::new(), "")
    }
}

/// The programs of the host: each manager answers for its scope.
#[derive(Debug, Clone)]
struct Programs {
    user: Rc<Manager>,
    system: Rc<Manager>,
    launchd: Rc<RefCell<Launchd>>,
}

/// The job that launchd has, and what is set for the session.
#[derive(Debug, Default)]
pub(crate) struct Launchd {
    pub(crate) loaded: bool,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) verbs: Vec<String>,
}

impl Runner for Programs {
    fn run(&self, command: &CommandLine) -> Result<Finished, RunError> {
        if command.program == "launchctl" {
            return Ok(self.launchd.borrow_mut().run(command));
        }
        let user = command.program == "loginctl" || command.args.iter().any(|arg| arg == "--user");
        let manager = if user { &self.user } else { &self.system };
        if manager.broken.borrow().as_deref() == Some("missing") {
            return Err(RunError::Missing { program: command.program.clone() });
        }
        Ok(manager.run(command))
    }

    fn pause(&self, _delay: std::time::Duration) {}
}

impl Launchd {
    fn run(&mut self, command: &CommandLine) -> Finished {
        let words: Vec<&str> = command.args.iter().map(String::as_str).collect();
        let said = |code, stdout: &str| Finished {
            code: Some(code),
            stdout: stdout.to_owned(),
            stderr: String::new(),
        };
        match words[0] {
            "print" if self.loaded => return said(0, "\tstate = running\n\tpid = 4711\n"),
            "print" => return said(113, ""),
            "getenv" => {
                let value = self.environment.get(words[1]).cloned().unwrap_or_default();
                return said(0, &value);
            }
            _ => self.verbs.push(words[0].to_owned()),
        }
        match words[0] {
            "bootstrap" | "kickstart" => self.loaded = true,
            "bootout" => self.loaded = false,
            _ => {}
        }
        said(0, "")
    }
}

/// A healthy host with a running gateway service; tests break it.
#[derive(Debug)]
pub(crate) struct Bed {
    dir: TempDir,
    pub(crate) env: Env,
    paths: Paths,
    pub(crate) account: Account,
    pub(crate) program: PathBuf,
    pub(crate) macos: bool,
    pub(crate) user: Rc<Manager>,
    pub(crate) system: Rc<Manager>,
    pub(crate) launchd: Rc<RefCell<Launchd>>,
    pub(crate) now: Cell<u64>,
    pub(crate) port_use: RefCell<PortUse>,
    pub(crate) owners: RefCell<BTreeMap<i32, Owner>>,
    pub(crate) room: Cell<Room>,
    pub(crate) answer: RefCell<Answer>,
    pub(crate) depth: Depth,
}

pub(crate) fn owner(pid: i32, command: &str, unit: Option<&str>) -> Owner {
    Owner {
        pid,
        parent: 1,
        user: "claw".into(),
        uid: nix::unistd::geteuid().as_raw(),
        command: command.into(),
        command_line: command.into(),
        executable: Some(format!("/usr/bin/{command}").into()),
        unit: unit.map(str::to_owned),
    }
}

pub(crate) fn listening(owners: Vec<Owner>) -> PortUse {
    PortUse::Busy(vec![Listener {
        address: SocketAddr::from(([127, 0, 0, 1], PORT)),
        inode: 1,
        owners,
    }])
}

impl Bed {
    /// A Linux host: units installed, enabled, loaded and active.
    pub(crate) fn new() -> Self {
        let bed = Self::bare();
        bed.install_units();
        bed
    }

    /// The same for a macOS host and its LaunchAgent.
    pub(crate) fn macos() -> Self {
        let mut bed = Self::bare();
        bed.macos = true;
        bed.write_path(&bed.agent_path(), &agent::render(&bed.spec()).unwrap());
        bed.launchd.borrow_mut().loaded = true;
        bed
    }

    /// A configured host without a service.
    fn bare() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home/claw");
        fs::create_dir_all(&home).unwrap();
        let env: Env = [
            ("HOME", home.to_str().unwrap()),
            ("SHELL", "/bin/bash"),
            ("XDG_RUNTIME_DIR", "/nowhere"),
            ("OPENAI_API_KEY", "sk-test"),
        ]
        .into_iter()
        .collect();
        let paths = Paths::resolve(&env);
        let manager =
            |units: PathBuf| Rc::new(Manager { units, home: home.clone(), ..Manager::default() });
        let user = manager(home.join(".config/systemd/user"));
        let system = manager(dir.path().join("etc/systemd/system"));
        let linger = dir.path().join("var/lib/systemd/linger");
        *user.linger.borrow_mut() = Some(linger.clone());
        let me = nix::unistd::geteuid();
        let bed = Self {
            account: Account { uid: me.as_raw(), name: "claw".into(), home: home.clone() },
            program: PROGRAM.into(),
            macos: false,
            user,
            system,
            launchd: Rc::default(),
            now: Cell::new(crate::base::clock::now_ms()),
            port_use: RefCell::new(listening(vec![owner(PID, "openclaw", Some(SERVICE))])),
            owners: RefCell::new(BTreeMap::from([(PID, owner(PID, "openclaw", Some(SERVICE)))])),
            room: Cell::new(Room { free_bytes: 1 << 40, free_files: Some(1 << 20) }),
            answer: RefCell::new(Answer::Admitted),
            depth: Depth::default(),
            env,
            paths,
            dir,
        };
        fs::create_dir_all(&linger).unwrap();
        fs::write(linger.join("claw"), "").unwrap();
        bed.write_path(&home.join(".local/share/bash-completion/completions/openclaw"), b"");
        fs::create_dir_all(bed.paths.state.join("agents/main/sessions")).unwrap();
        bed.chmod("home/claw/.openclaw", 0o700);
        bed.configure(&json!({
            "gateway": {"mode": "local", "auth": {"mode": "token", "token": "t-0123456789"}},
            "agents": {"defaults": {"model": {"primary": "openai/gpt-5.2"}}},
        }));
        bed
    }

    pub(crate) fn configure(&self, config: &serde_json::Value) {
        self.write_path(&self.paths.config, config.to_string().as_bytes());
        fs::set_permissions(&self.paths.config, fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub(crate) fn spec(&self) -> ServiceSpec {
        let gateway = crate::config::Gateway::default();
        ServiceSpec::for_host(&SpecInput {
            env: &self.env,
            paths: &self.paths,
            scope: Scope::User,
            program: &self.program,
            port: PORT,
            listen: &addresses::wanted(&gateway, PORT).unwrap(),
        })
    }

    pub(crate) fn units(&self) -> (String, String) {
        let spec = self.spec();
        (render::service(&spec, Values::Literal).to_string(), render::socket(&spec).to_string())
    }

    fn install_units(&self) {
        let (service, socket) = self.units();
        self.write_path(&self.unit(SERVICE), service.as_bytes());
        self.write_path(&self.unit(SOCKET), socket.as_bytes());
        self.user.reload();
        for unit in [SERVICE, SOCKET] {
            self.user.enabled.borrow_mut().insert(unit.to_owned());
            self.user.active.borrow_mut().insert(unit.to_owned());
        }
    }

    /// The file of a unit of the user.
    pub(crate) fn unit(&self, name: &str) -> PathBuf {
        self.user.units.join(name)
    }

    pub(crate) fn agent_path(&self) -> PathBuf {
        self.home().join("Library/LaunchAgents/ai.openclaw.gateway.plist")
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.dir.path().join("home/claw")
    }

    /// A path of the whole host, `/` included.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// Writes a file of the whole host.
    pub(crate) fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.at(path);
        self.write_path(&path, text.as_bytes());
        path
    }

    /// Writes a file below the state directory, for its owner alone.
    pub(crate) fn state_file(&self, path: &str, text: &str) -> PathBuf {
        let path = self.paths.state.join(path);
        self.write_path(&path, text.as_bytes());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    #[expect(clippy::unused_self, reason = "reads like its siblings")]
    pub(crate) fn write_path(&self, path: &Path, bytes: &[u8]) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub(crate) fn chmod(&self, path: &str, mode: u32) {
        fs::set_permissions(self.at(path), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Changes the text of a unit and lets the manager read it.
    pub(crate) fn edit(&self, name: &str, change: impl FnOnce(String) -> String) {
        let path = self.unit(name);
        let text = change(fs::read_to_string(&path).unwrap());
        fs::write(&path, text).unwrap();
        self.user.reload();
    }

    pub(crate) fn drop_in(&self, name: &str, text: &str) -> PathBuf {
        let path = self.unit(&format!("{name}.d/50-mine.conf"));
        self.write_path(&path, text.as_bytes());
        self.user.reload();
        path
    }

    pub(crate) fn forge(&self, unit: &str, key: &str, value: &str) {
        let key = (unit.to_owned(), key.to_owned());
        self.user.forged.borrow_mut().insert(key, value.to_owned());
    }

    pub(crate) fn stop(&self) {
        self.user.active.borrow_mut().clear();
        *self.port_use.borrow_mut() = PortUse::Free;
        self.owners.borrow_mut().clear();
    }

    pub(crate) fn verbs(&self) -> Vec<String> {
        self.user.verbs.borrow().clone()
    }

    pub(crate) fn examine(&self, only: &[&str]) -> Examination {
        let only = only.iter().map(|id| (*id).to_owned()).collect();
        let selection = Selection { only, skip: Vec::new() };
        examine(&Facts::new(self, self.depth), &selection, |_| {})
    }

    /// Every file below the home directory with its bytes and permissions.
    pub(crate) fn picture(&self) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
        let mut found = BTreeMap::new();
        let mut left = vec![self.home()];
        while let Some(dir) = left.pop() {
            for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
                let metadata = entry.symlink_metadata().unwrap();
                let mode = metadata.permissions().mode() & 0o7777;
                let bytes = if metadata.is_file() { fs::read(&entry).unwrap() } else { Vec::new() };
                if metadata.is_dir() {
                    left.push(entry.clone());
                }
                found.insert(entry, (mode, bytes));
            }
        }
        found
    }
}

impl Host for Bed {
    fn env(&self) -> &Env {
        &self.env
    }

    fn paths(&self) -> &Paths {
        &self.paths
    }

    fn root(&self) -> &Path {
        self.dir.path()
    }

    fn account(&self) -> &Account {
        &self.account
    }

    fn program(&self) -> &Path {
        &self.program
    }

    fn runner(&self) -> Box<dyn Runner> {
        Box::new(Programs {
            user: Rc::clone(&self.user),
            system: Rc::clone(&self.system),
            launchd: Rc::clone(&self.launchd),
        })
    }

    fn now_ms(&self) -> u64 {
        self.now.get()
    }

    fn is_macos(&self) -> bool {
        self.macos
    }

    fn listeners(&self, _port: u16) -> PortUse {
        self.port_use.borrow().clone()
    }

    fn owner(&self, pid: i32) -> Option<Owner> {
        self.owners.borrow().get(&pid).cloned()
    }

    fn room(&self, _path: &Path) -> io::Result<Room> {
        Ok(self.room.get())
    }

    fn ask_gateway(&self, _snapshot: &Snapshot, _port: u16) -> Answer {
        self.answer.borrow().clone()
    }
}
