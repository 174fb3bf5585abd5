//! A host where a package brought the units: an install leaves them in charge
//! and writes drop-ins beside them for what differs on this account, or nothing.
//! So an upgrade of the package reaches every account.

use std::fs;
use std::path::{Path, PathBuf};

use crate::supervise::manager::{ManageError, Rendered};
use crate::supervise::spec::{ServiceSpec, unit_file};
use crate::supervise::systemd::files::{self, Transaction};
use crate::supervise::systemd::service::SystemdService;
use crate::supervise::systemd::unit::Unit;
use crate::supervise::systemd::words::{self, Specifiers, Use};

/// Name of the drop-ins that an install writes. What operators write with
/// `systemctl edit` is `override.conf` and comes later.
pub const DROP_IN: &str = "50-openclaw.conf";

const HEADER: &str =
    "# Written by `openclaw gateway install`: what differs from the package's unit.\n";

/// The units of a package.
#[derive(Debug)]
pub struct Vendor {
    service_unit: Unit,
    socket_unit: Unit,
}

impl Vendor {
    /// The units in `dir` under these names, when they run `program`.
    fn find(
        dir: &Path,
        (service, socket): (&str, &str),
        program: &str,
        on: &Specifiers,
    ) -> Option<Self> {
        let read = |name| Some(Unit::parse(&fs::read(dir.join(unit_file(name))).ok()?).0);
        let (service_unit, socket_unit): (Unit, Unit) = (read(service)?, read(socket)?);
        let runs = service_unit.exec_start(on)?;
        runs.first()
            .is_some_and(|first| first == program)
            .then_some(Self { service_unit, socket_unit })
    }

    /// What the service needs beside the package's unit, if anything.
    fn service_drop_in(&self, spec: &ServiceSpec, on: &Specifiers) -> Unit {
        let mut unit = Unit::default();
        let mut argv = self.service_unit.exec_start(on).unwrap_or_default();
        if let (Some(at), Some(port)) = (argv.iter().position(|arg| arg == "--port"), spec.port())
            && argv.get(at + 1).is_some_and(|have| have != port)
        {
            port.clone_into(&mut argv[at + 1]);
            let words: Vec<String> =
                argv.iter().map(|word| words::quote(word, Use::Command)).collect();
            unit.push("Service", "ExecStart", "");
            unit.push("Service", "ExecStart", words.join(" "));
        }
        let env = self.service_unit.environment(on);
        for pair in spec.env.iter().filter(|pair| !env.contains(pair)) {
            let word = words::quote(&format!("{}={}", pair.0, pair.1), Use::List);
            unit.push("Service", "Environment", word);
        }
        unit
    }

    /// What the socket needs beside the package's unit, if anything.
    fn socket_drop_in(&self, spec: &ServiceSpec, on: &Specifiers) -> Unit {
        let mut unit = Unit::default();
        let listen = self.socket_unit.all("Socket", "ListenStream").into_iter();
        if listen.map(|address| on.expand(address)).collect::<Vec<_>>() != spec.listen {
            unit.push("Socket", "ListenStream", "");
            for address in &spec.listen {
                unit.push("Socket", "ListenStream", address.clone());
            }
            if spec.listens_on_an_address_of_its_own() {
                unit.push("Socket", "FreeBind", "true");
            }
        }
        unit
    }
}

impl SystemdService {
    /// The package's units, where they are the ones in charge of `program`: this
    /// account has no unit of its own in their place.
    pub(super) fn vendor(&self, program: &str) -> Option<Vendor> {
        if self.system || self.service_path().symlink_metadata().is_ok() {
            return None;
        }
        let (service, socket) = (self.names.service(), self.names.socket());
        Vendor::find(&self.places.vendor, (&service, &socket), program, &self.specifiers())
    }

    /// The drop-ins an install leaves beside a package's units. One that is
    /// there and no longer needed is emptied.
    pub(super) fn drop_ins(&self, vendor: &Vendor, spec: &ServiceSpec) -> Vec<Rendered> {
        let [service, socket] = self.drop_in_paths();
        let units = [
            (service, vendor.service_drop_in(spec, &self.specifiers())),
            (socket, vendor.socket_drop_in(spec, &self.specifiers())),
        ];
        units
            .into_iter()
            .filter(|(path, unit)| !unit.entries().is_empty() || path.exists())
            .map(|(path, unit)| Rendered { path, text: format!("{HEADER}{unit}").into_bytes() })
            .collect()
    }

    /// Drop-ins of the service and of the socket.
    pub fn drop_in_paths(&self) -> [PathBuf; 2] {
        [self.names.service(), self.names.socket()]
            .map(|unit| self.places.units.join(format!("{unit}.d")).join(DROP_IN))
    }

    /// The file that makes the service what it is: the account's own, else the
    /// package's where there is one.
    pub(super) fn main_file(&self) -> PathBuf {
        let own = self.service_path();
        let vendor = self.places.vendor.join(unit_file(&self.names.service()));
        if !self.system && !own.exists() && vendor.exists() { vendor } else { own }
    }

    /// Whether an install changed where the socket listens.
    pub(super) fn rewrote_socket(&self, written: &Transaction) -> bool {
        let [_, drop_in] = self.drop_in_paths();
        written.wrote(&self.socket_path()) || written.wrote(&drop_in)
    }

    /// Removes what installs have written; the operator's files and the
    /// package's stay.
    pub(super) fn remove_files(&self) -> Result<Vec<PathBuf>, ManageError> {
        let mut removed = Vec::new();
        for file in [self.service_path(), self.socket_path()] {
            if files::remove(&file)? {
                removed.push(file);
            }
        }
        for file in self.drop_in_paths() {
            if files::remove(&file)? {
                if let Some(dir) = file.parent() {
                    // Fails while other drop-ins are in it, as it should.
                    drop(fs::remove_dir(dir));
                }
                removed.push(file);
            }
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::SystemClock;
    use crate::profile::env::Env;
    use crate::profile::paths::Paths;
    use crate::supervise::manager::ServiceManager as _;
    use crate::supervise::runner::HostRunner;
    use crate::supervise::spec::{Scope, ServiceNames, SpecInput};
    use crate::supervise::systemd::service::Places;

    struct Host {
        dir: tempfile::TempDir,
        service: SystemdService,
        env: Env,
    }

    /// An account on a host with the package.
    fn host() -> Host {
        let dir = tempfile::tempdir().unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/user");
        let env: Env = [("HOME", dir.path().to_str().unwrap())].into_iter().collect();
        let places = Places {
            units: dir.path().join("units"),
            vendor: root,
            linger: dir.path().join("linger"),
            home: dir.path().to_owned(),
        };
        let names = ServiceNames::of_profile(None);
        let runner = Box::new(HostRunner);
        let clock = Box::new(SystemClock);
        let service = SystemdService::new(runner, &env, names, false, places, clock);
        Host { dir, service, env }
    }

    impl Host {
        fn spec(&self, program: &str, port: u16, more: &[(&str, &str)]) -> ServiceSpec {
            let mut env: Vec<(&str, &str)> = vec![("HOME", self.env.get("HOME").unwrap())];
            env.extend(more);
            let env: Env = env.into_iter().collect();
            let listen: [std::net::SocketAddr; 2] =
                ["127.0.0.1", "[::1]"].map(|address| format!("{address}:{port}").parse().unwrap());
            ServiceSpec::for_host(&SpecInput {
                env: &env,
                paths: &Paths::resolve(&self.env),
                scope: Scope::User,
                program: Path::new(program),
                port,
                listen: &listen,
            })
        }

        fn rendered(&self, spec: &ServiceSpec) -> Vec<(String, String)> {
            let files = self.service.render(spec).unwrap();
            let name = |path: &Path| {
                path.strip_prefix(self.dir.path()).unwrap().to_string_lossy().into_owned()
            };
            files
                .iter()
                .map(|file| (name(&file.path), String::from_utf8(file.text.clone()).unwrap()))
                .collect()
        }
    }

    #[test]
    fn the_packages_unit_needs_nothing_beside_it_by_default() {
        let host = host();
        assert!(host.rendered(&host.spec("/usr/bin/openclaw", 18789, &[])).is_empty());
        assert!(host.service.main_file().ends_with("systemd/user/openclaw-gateway.service"));
    }

    #[test]
    fn what_differs_goes_into_drop_ins_and_nothing_else() {
        let host = host();
        let spec = host.spec("/usr/bin/openclaw", 18800, &[("HTTP_PROXY", "http://p:1")]);
        let files = host.rendered(&spec);
        assert_eq!(
            files,
            [
                (
                    format!("units/openclaw-gateway.service.d/{DROP_IN}"),
                    format!(
                        "{HEADER}[Service]\nExecStart=\nExecStart=/usr/bin/openclaw gateway run --allow-unconfigured --port 18800\nEnvironment=HTTP_PROXY=http://p:1\nEnvironment=OPENCLAW_GATEWAY_PORT=18800\n"
                    )
                ),
                (
                    format!("units/openclaw-gateway.socket.d/{DROP_IN}"),
                    format!(
                        "{HEADER}[Socket]\nListenStream=\nListenStream=127.0.0.1:18800\nListenStream=[::1]:18800\n"
                    )
                ),
            ]
        );
    }

    #[test]
    fn a_drop_in_that_is_no_longer_needed_is_emptied() {
        let host = host();
        let [service, _] = host.service.drop_in_paths();
        fs::create_dir_all(service.parent().unwrap()).unwrap();
        fs::write(&service, "[Service]\nNice=1\n").unwrap();
        let files = host.rendered(&host.spec("/usr/bin/openclaw", 18789, &[]));
        assert_eq!(files.len(), 1);
        assert_eq!(files[0].1, HEADER);
    }

    #[test]
    fn another_program_or_a_unit_of_its_own_is_written_whole() {
        let host = host();
        let whole = |files: &[(String, String)]| {
            files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>()
                == ["units/openclaw-gateway.service", "units/openclaw-gateway.socket"]
        };
        assert!(whole(&host.rendered(&host.spec("/home/claw/bin/openclaw", 18789, &[]))));
        fs::create_dir_all(host.dir.path().join("units")).unwrap();
        fs::write(host.service.service_path(), "[Service]\n").unwrap();
        assert!(whole(&host.rendered(&host.spec("/usr/bin/openclaw", 18789, &[]))));
        assert_eq!(host.service.main_file(), host.service.service_path());
    }

    #[test]
    fn removing_leaves_what_the_operator_wrote() {
        let host = host();
        let [service, socket] = host.service.drop_in_paths();
        for file in [&service, &socket] {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, HEADER).unwrap();
        }
        let own = service.with_file_name("override.conf");
        fs::write(&own, "[Service]\nNice=1\n").unwrap();
        assert_eq!(host.service.remove_files().unwrap(), [service, socket.clone()]);
        assert!(own.exists() && !socket.parent().unwrap().exists());
    }
}
