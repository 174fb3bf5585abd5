//! What can be done with an installed service, whoever manages it. Outcomes are
//! values; the command line gives them words.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::supervise::launchd::plist::PlistError;
use crate::supervise::listeners::Owner;
use crate::supervise::report::{ServiceReport, ServiceSummary};
use crate::supervise::runner::RunError;
use crate::supervise::spec::ServiceSpec;
use crate::supervise::systemd::bus::BusError;

/// The service of one profile in one scope. Blocking; not for use inside the
/// async runtime.
pub trait ServiceManager: fmt::Debug {
    /// What is known. Never fails: what cannot be learnt is `unknown`.
    fn report(&self) -> ServiceReport;
    /// Writes, enables and starts the service, or says why not and leaves
    /// everything as it was.
    fn install(&self, spec: &ServiceSpec, force: Force) -> Result<Installed, ManageError>;
    /// The files that [`Self::install`] would leave.
    fn render(&self, spec: &ServiceSpec) -> Result<Vec<Rendered>, ManageError>;
    fn uninstall(&self) -> Result<Uninstalled, ManageError>;
    fn start(&self) -> Result<Started, ManageError>;
    fn stop(&self) -> Result<Stopped, ManageError>;
    fn restart(&self) -> Result<Restarted, ManageError>;
    /// The name that operators type, for example a unit or a launchd target.
    fn target(&self) -> String;
    /// `systemd service` or `LaunchAgent`, for messages.
    fn noun(&self) -> &'static str;
    /// The summary without asking anything but the load state.
    fn summary(&self) -> ServiceSummary {
        self.report().summary
    }
}

/// Whether an installed service may be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    Yes,
    No,
}

/// A file as it would be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    pub path: PathBuf,
    pub text: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    pub outcome: InstallOutcome,
    /// The main file of the service.
    pub path: PathBuf,
    pub backups: Vec<PathBuf>,
    /// `yes`, `no` or `unknown`; `None` where sessions do not matter.
    pub linger: Option<&'static str>,
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstallOutcome {
    /// Files written or already right, enabled, ready.
    Installed,
    /// There was one and it stays; with the differences from what would be
    /// written.
    AlreadyInstalled { drift: Vec<Drift> },
}

/// One difference between the installed service and the wanted one.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Drift {
    pub code: &'static str,
    pub message: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uninstalled {
    pub stopped: bool,
    /// Empty when there was nothing to remove.
    pub removed: Vec<PathBuf>,
    /// Where the main file would be.
    pub path: PathBuf,
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Started {
    Started,
    AlreadyRunning,
    NotInstalled,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stopped {
    Stopped,
    AlreadyStopped,
    NotInstalled,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Restarted {
    Restarted,
    /// Asked from inside the service: the manager does it after we are gone.
    Scheduled,
    NotInstalled,
}

/// Why the service manager did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ManageError {
    #[error("systemctl --user unavailable: {detail}")]
    NoUserManager { detail: String },
    #[error("systemd unavailable: {detail}")]
    NoSystemd { detail: String },
    #[error("launchd has no GUI session for this user: {detail}")]
    NoGuiSession { detail: String },
    #[error(
        "services of other users cannot be managed through sudo; run this as {user}, or add --system"
    )]
    Sudo { user: String },
    #[error("system services need root; run: sudo {command}")]
    NeedsRoot { command: String },
    #[error("{} is already in use (EADDRINUSE)", join(addresses))]
    PortTaken { addresses: Vec<SocketAddr>, owners: Vec<Owner> },
    #[error("{unit} is masked; run: {command}")]
    Masked { unit: String, command: String },
    #[error("{unit} cannot be loaded: {problem}; look at {}", path.display())]
    Unloadable { unit: String, path: PathBuf, problem: String },
    #[error("{}: {problem}", path.display())]
    File { path: PathBuf, problem: &'static str },
    #[error("{}: {source}", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the gateway is up but cannot serve: {reason}")]
    Blocked { reason: String },
    #[error("{unit} did not become ready: {reason}")]
    NotReady { unit: String, reason: String, journal: Vec<String> },
    #[error("another service owns this gateway: {other}; remove it or use --force")]
    Duplicate { other: String },
    #[error("the service manager gives no answer: {0}")]
    Bus(#[from] BusError),
    #[error("`{command}` failed: {said}")]
    Command { command: String, said: String },
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("the LaunchAgent cannot be rendered: {0}")]
    Plist(#[from] PlistError),
    #[error("{problem}; the previous service was restored")]
    RolledBack { problem: Box<ManageError> },
    #[error("{problem}; restoring the previous service failed too: {also}")]
    RollbackFailed { problem: Box<ManageError>, also: Box<ManageError> },
}

fn join(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
