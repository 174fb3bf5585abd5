//! What the doctor may look at beyond plain files, as a trait, so that tests
//! can put a broken host in its place.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::{self, SystemClock};
use crate::client::{Caller, ClientError, Connector, Credentials, Target, target};
use crate::config::Snapshot;
use crate::profile::env::Env;
use crate::profile::paths::Paths;
use crate::secrets;
use crate::supervise::host;
use crate::supervise::launchd::service::LaunchAgent;
use crate::supervise::listeners::{self, Owner, PortUse};
use crate::supervise::manager::ServiceManager;
use crate::supervise::runner::{HostRunner, Runner};
use crate::supervise::spec::ServiceNames;
use crate::supervise::systemd::service::{Places, SystemdService};
use crate::supervise::systemd::systemctl::Systemctl;

/// Longest wait for a gateway on this host to answer.
const PROBE_LIMIT: Duration = Duration::from_secs(3);

/// Who runs the doctor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub uid: u32,
    pub name: String,
    /// As the account database has it.
    pub home: PathBuf,
}

/// Room on the file system of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    pub free_bytes: u64,
    /// `None` where the file system does not count them.
    pub free_files: Option<u64>,
}

/// What a gateway said when it was asked for a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It admitted the client.
    Admitted,
    /// It answered and refused, with its words.
    Refused(String),
    /// Nobody answered, or nothing sensible.
    Silent(String),
}

/// The host under examination. Blocking.
pub trait Host: fmt::Debug {
    fn env(&self) -> &Env;
    fn paths(&self) -> &Paths;
    /// The directory that stands for `/`.
    fn root(&self) -> &Path;
    fn account(&self) -> &Account;
    /// This program, as units name it.
    fn program(&self) -> &Path;
    fn runner(&self) -> Box<dyn Runner>;
    fn now_ms(&self) -> u64;
    fn is_macos(&self) -> bool;
    fn listeners(&self, port: u16) -> PortUse;
    fn owner(&self, pid: i32) -> Option<Owner>;
    fn room(&self, path: &Path) -> io::Result<Room>;
    /// Connects to the gateway on this host; changes nothing on either side.
    fn ask_gateway(&self, snapshot: &Snapshot, port: u16) -> Answer;

    /// A path of the system, below [`Host::root`].
    fn system_path(&self, path: &str) -> PathBuf {
        self.root().join(path.trim_start_matches('/'))
    }

    fn names(&self) -> ServiceNames {
        ServiceNames::resolve(self.env(), self.paths())
    }

    fn places(&self, system: bool) -> Places {
        let places = Places::of_host(self.env(), system);
        if system {
            let units = self.system_path("etc/systemd/system");
            Places { units, linger: self.system_path("var/lib/systemd/linger"), ..places }
        } else {
            let vendor = self.system_path("usr/lib/systemd/user");
            Places { vendor, linger: self.system_path("var/lib/systemd/linger"), ..places }
        }
    }

    fn systemctl(&self, system: bool) -> Systemctl {
        Systemctl::new(self.runner(), system, self.env())
    }

    /// The manager behind the service commands.
    fn manager(&self, system: bool) -> Box<dyn ServiceManager> {
        let clock = Box::new(SystemClock);
        if self.is_macos() {
            return Box::new(LaunchAgent::new(self.runner(), self.env(), self.names(), clock));
        }
        let (names, places) = (self.names(), self.places(system));
        Box::new(SystemdService::new(self.runner(), self.env(), names, system, places, clock))
    }
}

/// The host this process runs on.
#[derive(Debug)]
pub struct ThisHost {
    env: Arc<Env>,
    paths: Paths,
    account: Account,
    program: PathBuf,
}

impl ThisHost {
    pub fn new(env: &Arc<Env>, paths: &Paths) -> Self {
        let uid = nix::unistd::geteuid();
        let user = nix::unistd::User::from_uid(uid).ok().flatten();
        let account = Account {
            uid: uid.as_raw(),
            name: user.as_ref().map_or_else(|| uid.to_string(), |user| user.name.clone()),
            home: user.map_or_else(|| paths.home.clone(), |user| user.dir),
        };
        let program = host::program().unwrap_or_else(|_| PathBuf::from("/usr/bin/openclaw"));
        Self { env: Arc::clone(env), paths: paths.clone(), account, program }
    }
}

impl Host for ThisHost {
    fn env(&self) -> &Env {
        &self.env
    }

    fn paths(&self) -> &Paths {
        &self.paths
    }

    fn root(&self) -> &Path {
        Path::new("/")
    }

    fn account(&self) -> &Account {
        &self.account
    }

    fn program(&self) -> &Path {
        &self.program
    }

    fn runner(&self) -> Box<dyn Runner> {
        Box::new(HostRunner)
    }

    fn now_ms(&self) -> u64 {
        clock::now_ms()
    }

    fn is_macos(&self) -> bool {
        cfg!(target_os = "macos")
    }

    fn listeners(&self, port: u16) -> PortUse {
        listeners::inspect(port)
    }

    fn owner(&self, pid: i32) -> Option<Owner> {
        Owner::of(pid)
    }

    #[cfg_attr(
        target_os = "linux",
        expect(clippy::useless_conversion, reason = "these have 32 bits on macOS")
    )]
    fn room(&self, path: &Path) -> io::Result<Room> {
        let stat = nix::sys::statvfs::statvfs(path).map_err(io::Error::from)?;
        let files = (stat.files() > 0).then(|| u64::from(stat.files_available()));
        // The two have other widths on other systems.
        let free = u128::from(stat.blocks_available()) * u128::from(stat.fragment_size());
        let free_bytes = u64::try_from(free).unwrap_or(u64::MAX);
        Ok(Room { free_bytes, free_files: files })
    }

    fn ask_gateway(&self, snapshot: &Snapshot, port: u16) -> Answer {
        let (env, config) = (&*snapshot.env, &snapshot.config);
        let mut target = Target::resolve(None, env, config, &self.paths);
        let scheme = if target.url.starts_with("wss") { "wss" } else { "ws" };
        target.url = format!("{scheme}://{}:{port}", target::local_host(config));
        let plain = |value: &serde_json::Value| secrets::look_up(value, snapshot).ok().flatten();
        let credentials = Credentials::resolve(None, None, &target, env, config, plain);
        let open = matches!(config.gateway.auth.mode.as_deref(), Some("none" | "trusted-proxy"));
        // Without a device identity nothing is paired and nothing is stored.
        let connector = Connector {
            target: &target,
            credentials: &credentials,
            identity: None,
            own: None,
            clock: &SystemClock,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let Ok(runtime) = runtime else { return Answer::Silent("no runtime".to_owned()) };
        runtime.block_on(async {
            match connector.connect(Caller::PROBE, PROBE_LIMIT).await {
                Ok(connection) => {
                    connection.hang_up().await;
                    Answer::Admitted
                }
                // Where there is no secret only a device is missing, or the proxy
                // that clients come through; the gateway itself is well.
                Err(ClientError::NotAdmitted(remote))
                    if open && remote.detail_code() == Some("DEVICE_IDENTITY_REQUIRED") =>
                {
                    Answer::Admitted
                }
                Err(ClientError::NotAdmitted(remote)) => Answer::Refused(remote.message),
                Err(err) => match err.close() {
                    Some((_, reason)) if !reason.is_empty() => Answer::Refused(reason.to_owned()),
                    _ => Answer::Silent(err.for_probe()),
                },
            }
        })
    }
}
