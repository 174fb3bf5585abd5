//! What the checks share, each fact looked up when the first check asks for
//! it. Reads only.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use crate::client::target;
use crate::config::{Snapshot, load};
use crate::doctor::checks::Scope;
use crate::doctor::host::{Answer, Host};
use crate::doctor::service::Service;
use crate::profile::paths;
use crate::supervise::host::Surroundings;
use crate::supervise::listeners::{Listener, PortUse};

/// How thorough the examination is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Depth {
    /// Look at the host's services too, not only at the user's.
    pub deep: bool,
    /// Leave out suggestions about the workspace.
    pub no_suggestions: bool,
}

#[derive(Debug)]
pub struct Facts<'h> {
    pub host: &'h dyn Host,
    pub depth: Depth,
    snapshot: OnceCell<Snapshot>,
    user: OnceCell<Service>,
    system: OnceCell<Service>,
    port_use: OnceCell<PortUse>,
    answer: OnceCell<Option<Answer>>,
}

impl<'h> Facts<'h> {
    pub fn new(host: &'h dyn Host, depth: Depth) -> Self {
        Self {
            host,
            depth,
            snapshot: OnceCell::new(),
            user: OnceCell::new(),
            system: OnceCell::new(),
            port_use: OnceCell::new(),
            answer: OnceCell::new(),
        }
    }

    pub fn snapshot(&self) -> &Snapshot {
        self.snapshot.get_or_init(|| load::read(self.host.paths(), self.host.env()))
    }

    /// Whether checks of that scope have something to look at here.
    pub fn concerns(&self, scope: Scope) -> bool {
        match scope {
            Scope::Everywhere => true,
            Scope::Systemd => !self.host.is_macos() && !self.is_remote(),
            Scope::Launchd => self.host.is_macos() && !self.is_remote(),
            Scope::Local => !self.is_remote(),
        }
    }

    /// Whether the gateway of this configuration is another host's.
    pub fn is_remote(&self) -> bool {
        self.snapshot().config.gateway.mode.as_deref() == Some("remote")
    }

    /// The user's own service.
    pub fn user_service(&self) -> &Service {
        self.user.get_or_init(|| Service::read(self.host, false))
    }

    /// The host's service; only asked for when there is a unit.
    pub fn system_service(&self) -> Option<&Service> {
        let name = self.host.names().service();
        let dirs = std::iter::once("etc/systemd/system")
            .chain(crate::doctor::service::vendor_dirs(true).iter().copied());
        let found = dirs
            .map(|dir| self.host.system_path(dir).join(&name))
            .find(|path| path.symlink_metadata().is_ok())?;
        // What a package ships and nobody enabled is not in use.
        let in_use = found.starts_with(self.host.system_path("etc")) || self.is_wanted(&name);
        in_use.then(|| self.system.get_or_init(|| Service::read(self.host, true)))
    }

    fn is_wanted(&self, name: &str) -> bool {
        let wants = self.host.system_path("etc/systemd/system/multi-user.target.wants");
        wants.join(name).symlink_metadata().is_ok()
    }

    /// The service that this profile's gateway has: the user's, else the host's.
    pub fn service(&self) -> &Service {
        let own = || self.user_service();
        let replaced = || {
            self.vendor_only() && self.system_service().is_some()
                || own().rests() && self.system_service().is_some_and(|other| !other.rests())
        };
        if own().is_installed() && !replaced() {
            return own();
        }
        self.system_service().filter(|service| service.is_installed()).unwrap_or_else(own)
    }

    /// Whether the user's unit is only what a package ships to every user.
    fn vendor_only(&self) -> bool {
        let service = self.user_service();
        service.service.as_ref().is_some_and(|file| file.vendor)
            && !service.shown.0.is_enabled()
            && !service.is_active()
    }

    /// Whether a service is installed and meant to be used.
    pub fn has_service(&self) -> bool {
        let service = self.service();
        service.is_installed() && (service.system || !self.vendor_only())
    }

    /// The port on which the gateway should be: the service's, else the
    /// configured one.
    pub fn port(&self) -> u16 {
        let installed =
            if self.host.is_macos() || !self.has_service() { None } else { self.service().port() };
        installed.unwrap_or_else(|| self.configured_port())
    }

    /// The port that clients of this configuration try.
    pub fn configured_port(&self) -> u16 {
        let snapshot = self.snapshot();
        target::port(&snapshot.env, &snapshot.config)
    }

    pub fn port_use(&self) -> &PortUse {
        self.port_use.get_or_init(|| self.host.listeners(self.port()))
    }

    pub fn listeners(&self) -> &[Listener] {
        match self.port_use() {
            PortUse::Busy(found) => found,
            PortUse::Free | PortUse::Unknown => &[],
        }
    }

    /// What the gateway answers; `None` when asking could start it, because
    /// only the manager listens.
    pub fn answer(&self) -> Option<&Answer> {
        self.answer
            .get_or_init(|| {
                let armed = self.listeners().iter().any(|listener| {
                    listener
                        .owners
                        .iter()
                        .any(crate::supervise::listeners::Owner::is_service_manager)
                });
                if armed && !self.host.is_macos() && !self.service().is_active() {
                    return None;
                }
                if matches!(self.port_use(), PortUse::Free) {
                    return Some(Answer::Silent("nobody listens".to_owned()));
                }
                Some(self.host.ask_gateway(self.snapshot(), self.port()))
            })
            .as_ref()
    }

    pub fn surroundings(&self) -> Surroundings {
        Surroundings::detect_below(self.host.env(), self.host.root())
    }

    /// A path for people.
    pub fn short(&self, path: &Path) -> String {
        paths::shorten(path, &self.host.paths().home)
    }

    /// `openclaw` with the flag that selects this profile.
    pub fn program(&self) -> String {
        match &self.host.paths().profile {
            Some(name) => format!("openclaw --profile {name}"),
            None => "openclaw".to_owned(),
        }
    }

    pub fn state(&self) -> &Path {
        &self.host.paths().state
    }

    /// The folder of each agent that is configured or has left files.
    pub fn agents(&self) -> Vec<PathBuf> {
        let mut ids: Vec<String> = self
            .snapshot()
            .config
            .agents
            .list
            .iter()
            .map(|agent| agent.id.to_lowercase())
            .collect();
        ids.push(self.snapshot().config.agents.default_id().to_lowercase());
        let dir = self.state().join("agents");
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                ids.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        ids.sort();
        ids.dedup();
        ids.into_iter().map(|id| dir.join(id)).collect()
    }
}
