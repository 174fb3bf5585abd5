//! The installed service as files and as its manager knows it. Reads only.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::doctor::host::Host;
use crate::supervise::manager::ManageError;
use crate::supervise::systemd::service::Places;
use crate::supervise::systemd::systemctl::Properties;
use crate::supervise::systemd::unit::Unit;
use crate::supervise::systemd::words::Specifiers;

/// What is asked of the manager about both units.
const PROPERTIES: &str = "Id,LoadState,ActiveState,SubState,Result,UnitFileState,FragmentPath,\
    DropInPaths,NeedDaemonReload,MainPID,NRestarts,StatusText,ExecMainStatus,Type,NotifyAccess,\
    Restart,RestartUSec,TimeoutStartUSec,TimeoutStopUSec,WatchdogUSec,KillMode,OOMPolicy,UMask,\
    Environment,ExecStart,StartLimitBurst,StartLimitIntervalUSec,Listen,FileDescriptorName";

/// A unit file with its drop-ins.
#[derive(Debug, Clone, Default)]
pub struct UnitFile {
    pub path: PathBuf,
    /// Comes with a package; never written by us.
    pub vendor: bool,
    /// A link to nothing: the unit must not run.
    pub masked: bool,
    pub bytes: Vec<u8>,
    pub mode: u32,
    pub owner: u32,
    pub drop_ins: Vec<DropIn>,
}

/// One drop-in, which is the operator's.
#[derive(Debug, Clone)]
pub struct DropIn {
    pub path: PathBuf,
    pub bytes: Vec<u8>,
}

impl UnitFile {
    pub fn unit(&self) -> Unit {
        Unit::parse(&self.bytes).0
    }

    /// The fragment with its drop-ins applied.
    pub fn merged(&self) -> Unit {
        self.unit().with_drop_ins(self.drop_ins.iter().map(|drop_in| Unit::parse(&drop_in.bytes).0))
    }
}

/// The service of this profile under one systemd manager.
#[derive(Debug)]
pub struct Service {
    pub system: bool,
    pub service_name: String,
    pub socket_name: String,
    pub places: Places,
    pub service: Option<UnitFile>,
    pub socket: Option<UnitFile>,
    /// Why the manager could not be asked.
    pub unreachable: Option<ManageError>,
    /// Both empty when the manager could not be asked.
    pub shown: (Properties, Properties),
}

impl Service {
    /// Looks at the files, and asks the manager.
    pub fn read(host: &dyn Host, system: bool) -> Self {
        let names = host.names();
        let (service_name, socket_name) = (names.service(), names.socket());
        let places = host.places(system);
        let asked =
            host.systemctl(system).show_properties(&[&service_name, &socket_name], PROPERTIES);
        let (shown, unreachable) = match asked {
            Ok(mut found) => {
                let socket = found.pop().unwrap_or_default();
                let service = found.pop().unwrap_or_default();
                let near = |unit: &Properties| is_near(host, &places, system, unit);
                if near(&service) && near(&socket) {
                    ((service, socket), None)
                } else {
                    // A shell with a home of its own talks to the account's manager.
                    ((Properties::default(), Properties::default()), None)
                }
            }
            Err(err) => ((Properties::default(), Properties::default()), Some(err)),
        };
        let read = |name: &str, shown: &Properties| read_unit(host, &places, system, name, shown);
        Self {
            system,
            service: read(&service_name, &shown.0),
            socket: read(&socket_name, &shown.1),
            service_name,
            socket_name,
            places,
            unreachable,
            shown,
        }
    }

    pub fn is_installed(&self) -> bool {
        self.service.is_some()
    }

    /// Whether the process is up, as far as the manager says.
    pub fn is_active(&self) -> bool {
        matches!(self.shown.0.get("ActiveState"), "active" | "reloading")
    }

    /// Whether it neither runs nor would start by itself. Where the manager
    /// cannot be asked, nobody knows.
    pub fn rests(&self) -> bool {
        let (service, socket) = &self.shown;
        self.unreachable.is_none()
            && ![service, socket].iter().any(|unit| unit.is_enabled() || unit.is_up())
    }

    pub fn main_pid(&self) -> Option<i32> {
        self.shown.0.get("MainPID").parse().ok().filter(|pid| *pid > 0)
    }

    pub fn specifiers(&self) -> Specifiers {
        Specifiers {
            home: self.places.home.to_string_lossy().into_owned(),
            unit: self.service_name.clone(),
            state: if self.system { "/var/lib".into() } else { String::new() },
            runtime: String::new(),
        }
    }

    /// `systemctl` or `systemctl --user` with the words given.
    pub fn spell(&self, rest: &str) -> String {
        if self.system {
            format!("sudo systemctl {rest}")
        } else {
            format!("systemctl --user {rest}")
        }
    }

    /// Program and arguments in effect, drop-ins included.
    pub fn argv(&self) -> Option<Vec<String>> {
        self.service.as_ref()?.merged().exec_start(&self.specifiers())
    }

    /// Variables in effect, drop-ins included.
    pub fn environment(&self) -> Vec<(String, String)> {
        let unit = self.service.as_ref().map(UnitFile::merged).unwrap_or_default();
        unit.environment(&self.specifiers())
    }

    /// The port that the installed command names.
    pub fn port(&self) -> Option<u16> {
        port_of(&self.argv()?)
    }
}

/// The value of `--port`.
pub fn port_of(argv: &[String]) -> Option<u16> {
    let behind = argv.iter().position(|arg| arg == "--port").and_then(|at| argv.get(at + 1));
    let joined = argv.iter().find_map(|arg| arg.strip_prefix("--port="));
    behind.map(String::as_str).or(joined)?.parse().ok()
}

/// Whether a command line starts a gateway of ours.
pub fn is_ours(argv: &[String]) -> bool {
    let program = argv.first().and_then(|program| Path::new(program).file_name());
    program.is_some_and(|name| name.to_string_lossy().starts_with("openclaw"))
        && argv.iter().any(|arg| arg == "gateway")
}

/// Whether the manager's unit comes from the directories that are looked at.
fn is_near(host: &dyn Host, places: &Places, system: bool, unit: &Properties) -> bool {
    let path = unit.get("FragmentPath");
    let real = |path: PathBuf| path.canonicalize().unwrap_or(path);
    let Some(dir) = Path::new(path).parent().map(|dir| real(dir.to_owned())) else { return true };
    let vendors = vendor_dirs(system).iter().map(|dir| host.system_path(dir));
    let mut known = vendors.chain([places.units.clone()]).map(real);
    path.is_empty() || known.any(|known| known == dir)
}

/// Directories with units that packages bring.
pub fn vendor_dirs(system: bool) -> &'static [&'static str] {
    if system {
        &[
            "run/systemd/system",
            "usr/local/lib/systemd/system",
            "usr/lib/systemd/system",
            "lib/systemd/system",
        ]
    } else {
        &[
            "etc/systemd/user",
            "run/systemd/user",
            "usr/local/lib/systemd/user",
            "usr/lib/systemd/user",
        ]
    }
}

fn read_unit(
    host: &dyn Host,
    places: &Places,
    system: bool,
    name: &str,
    shown: &Properties,
) -> Option<UnitFile> {
    let own = places.units.join(name);
    let vendors = || vendor_dirs(system).iter().map(|dir| host.system_path(dir).join(name));
    let (path, vendor) = if own.symlink_metadata().is_ok() {
        (own, false)
    } else if let Some(path) = vendors().find(|path| path.exists()) {
        (path, true)
    } else {
        // A template instance, or a place that only the manager knows.
        let path = PathBuf::from(shown.get("FragmentPath"));
        (Some(path).filter(|path| path.is_absolute() && path.exists())?, true)
    };
    let metadata = path.symlink_metadata().ok()?;
    let masked = metadata.is_symlink()
        && path.canonicalize().is_ok_and(|target| target == Path::new("/dev/null"));
    Some(UnitFile {
        bytes: if masked { Vec::new() } else { fs::read(&path).unwrap_or_default() },
        drop_ins: drop_ins(host, places, system, name, shown),
        vendor,
        masked,
        mode: metadata.mode() & 0o7777,
        owner: metadata.uid(),
        path,
    })
}

/// The drop-ins on disk and those that the manager names, in the order in which
/// they apply: by file name, wherever they are.
fn drop_ins(
    host: &dyn Host,
    places: &Places,
    system: bool,
    name: &str,
    shown: &Properties,
) -> Vec<DropIn> {
    let folder = format!("{name}.d");
    // The first directory wins where two files have the same name.
    let mut dirs = vec![places.units.join(&folder)];
    if system {
        dirs.push(host.system_path("run/systemd/system").join(&folder));
    } else {
        dirs.push(host.system_path("etc/systemd/user").join(&folder));
    }
    dirs.extend(vendor_dirs(system).iter().map(|dir| host.system_path(dir).join(&folder)));
    let mut found: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut keep = |path: PathBuf| {
        if let Some(file) = path.file_name().and_then(|file| file.to_str())
            && path.extension().is_some_and(|ext| ext == "conf")
        {
            found.entry(file.to_owned()).or_insert(path);
        }
    };
    for dir in dirs {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            keep(entry.path());
        }
    }
    shown.get("DropInPaths").split_whitespace().map(PathBuf::from).for_each(&mut keep);
    found
        .into_values()
        .filter_map(|path| Some(DropIn { bytes: fs::read(&path).ok()?, path }))
        .collect()
}
