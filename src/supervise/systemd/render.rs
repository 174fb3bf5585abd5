//! Renders a [`ServiceSpec`] as its two units. The only writer of unit text.

use crate::supervise::fd_store;
use crate::supervise::spec::{Hardening, STOP_TIMEOUT_SECS, Scope, ServiceSpec, WATCHDOG_SECS};
use crate::supervise::systemd::unit::Unit;
use crate::supervise::systemd::words::{self, Use};

/// Whether the values of a spec are literal or hold specifiers on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    Literal,
    WithSpecifiers,
}

/// The socket unit: the manager binds once and never lets go.
pub fn socket(spec: &ServiceSpec) -> Unit {
    let mut unit = Unit::default();
    unit.push("Unit", "Description", format!("{} socket", describe(spec)));
    unit.push("Unit", "Documentation", DOCUMENTATION);
    for address in &spec.listen {
        unit.push("Socket", "ListenStream", address.clone());
    }
    if spec.listens_on_an_address_of_its_own() {
        unit.push("Socket", "FreeBind", "true");
    }
    unit.push("Socket", "BindIPv6Only", "ipv6-only");
    unit.push("Socket", "FileDescriptorName", "gateway");
    unit.push("Socket", "NoDelay", "true");
    unit.push("Socket", "Backlog", "1024");
    // The process gets a client when its request is there, and can tell a
    // handshake that is to be guarded from all others.
    unit.push("Socket", "DeferAcceptSec", "1");
    unit.push("Install", "WantedBy", "sockets.target");
    unit
}

/// The service unit.
pub fn service(spec: &ServiceSpec, values: Values) -> Unit {
    let mut unit = Unit::default();
    let socket = socket_of(spec, values);
    unit.push("Unit", "Description", describe(spec));
    unit.push("Unit", "Documentation", DOCUMENTATION);
    unit.push("Unit", "Requires", &*socket);
    unit.push("Unit", "After", &*socket);
    // Inert in a user manager; the official audit asks for both.
    unit.push("Unit", "After", "network-online.target");
    unit.push("Unit", "Wants", "network-online.target");
    unit.push("Unit", "StartLimitIntervalSec", "300");
    unit.push("Unit", "StartLimitBurst", "10");

    let mut set = |key: &str, value: String| unit.push("Service", key, value);
    set("Type", "notify".into());
    set("NotifyAccess", "main".into());
    set("ExecStart", command_line(spec, values));
    // Fails when the configuration is refused, and `systemctl reload` with it.
    set("ExecReload", format!("{} __reload $MAINPID", words_of([&spec.program], values)));
    if let Scope::System { user } = &spec.scope {
        set("User", user.clone());
    }
    for (key, value) in LIFE {
        set(key, value.into());
    }
    set("TimeoutStopSec", STOP_TIMEOUT_SECS.to_string());
    set("WatchdogSec", WATCHDOG_SECS.to_string());
    set("FileDescriptorStoreMax", fd_store::CAPACITY.to_owned());
    for (key, value) in confinement(spec) {
        set(key, value);
    }
    for (key, value) in &spec.env {
        let pair = format!("{key}={value}");
        let word = match values {
            Values::Literal => words::quote(&pair, Use::List),
            Values::WithSpecifiers => words::quote_raw(&pair),
        };
        set("Environment", word);
    }
    set("Environment", format!("{}={}", fd_store::VARIABLE, fd_store::CAPACITY));
    unit.push("Install", "WantedBy", spec.wanted_by);
    unit.push("Install", "Also", socket);
    unit
}

const DOCUMENTATION: &str = "https://docs.openclaw.ai/gateway";

/// How the manager starts, restarts and ends the process.
const LIFE: [(&str, &str); 9] = [
    ("Restart", "always"),
    // The official audit accepts no other value.
    ("RestartSec", "5"),
    ("RestartPreventExitStatus", "78 79"),
    ("SuccessExitStatus", "0 143 79"),
    ("TimeoutStartSec", "120"),
    ("KillMode", "mixed"),
    ("OOMPolicy", "continue"),
    ("UMask", "0077"),
    ("SyslogIdentifier", "openclaw-gateway"),
];

/// Each command that an agent runs gets a control group of its own.
const DELEGATE: (&str, &str) = ("Delegate", "yes");

fn confinement(spec: &ServiceSpec) -> Vec<(&'static str, String)> {
    let own: &[(&str, &str)] = match spec.hardening {
        Hardening::None => return vec![(DELEGATE.0, DELEGATE.1.to_owned())],
        Hardening::Home => &[DELEGATE],
        Hardening::Sealed if spec.names.base.ends_with('@') => &SEALED_TEMPLATE,
        Hardening::Sealed => &SEALED,
    };
    let fixed = own.iter().chain(&SHUT).chain([&("SystemCallFilter", SHUT_CALLS)]);
    let mut all: Vec<(&str, String)> =
        fixed.map(|(key, value)| (*key, (*value).to_owned())).collect();
    let writable = spec.writable.iter();
    all.extend(writable.map(|dir| ("ReadWritePaths", words::quote(&format!("-{dir}"), Use::List))));
    all
}

macro_rules! sealed {
    ($state:literal) => {
        [
            ("StateDirectory", $state),
            ("StateDirectoryMode", "0700"),
            ("WorkingDirectory", concat!("%S/", $state)),
            ("ProtectHome", "true"),
            ("ProcSubset", "pid"),
            ("RemoveIPC", "true"),
            ("ProtectControlGroups", "true"),
        ]
    };
}

const SEALED: [(&str, &str); 7] = sealed!("openclaw");
const SEALED_TEMPLATE: [(&str, &str); 7] = sealed!("openclaw/%i");

/// What no tool of an agent needs: the system is read-only, other processes and
/// devices are out of sight, and no privilege can be gained. There is no
/// `MemoryDenyWriteExecute=`, because tools may be programs with a compiler.
const SHUT: [(&str, &str); 20] = [
    ("ProtectSystem", "strict"),
    ("PrivateTmp", "true"),
    ("PrivateDevices", "true"),
    ("ProtectClock", "true"),
    ("ProtectHostname", "true"),
    ("ProtectKernelLogs", "true"),
    ("ProtectKernelModules", "true"),
    ("ProtectKernelTunables", "true"),
    ("ProtectProc", "invisible"),
    ("NoNewPrivileges", "true"),
    ("CapabilityBoundingSet", ""),
    ("AmbientCapabilities", ""),
    ("LockPersonality", "true"),
    ("RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6 AF_NETLINK"),
    ("RestrictNamespaces", "true"),
    ("RestrictRealtime", "true"),
    ("RestrictSUIDSGID", "true"),
    ("SystemCallArchitectures", "native"),
    ("SystemCallFilter", "@system-service"),
    ("SystemCallErrorNumber", "EPERM"),
];
/// Calls of that group that no tool needs either.
const SHUT_CALLS: &str = "~@privileged @resources";

fn command_line(spec: &ServiceSpec, values: Values) -> String {
    words_of(std::iter::once(&spec.program).chain(&spec.args), values)
}

fn words_of<'w>(words: impl IntoIterator<Item = &'w String>, values: Values) -> String {
    let words = words.into_iter();
    let words: Vec<String> = match values {
        Values::Literal => words.map(|word| words::quote(word, Use::Command)).collect(),
        Values::WithSpecifiers => words.map(|word| words::quote_raw(word)).collect(),
    };
    words.join(" ")
}

fn describe(spec: &ServiceSpec) -> String {
    spec.description.replace(['\n', '\r'], " ")
}

/// A template's service needs the socket of the same instance.
fn socket_of(spec: &ServiceSpec, values: Values) -> String {
    if values == Values::WithSpecifiers && spec.names.base.ends_with('@') {
        format!("{}%i.socket", spec.names.base)
    } else {
        spec.names.socket()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::profile::env::Env;
    use crate::profile::paths::Paths;
    use crate::supervise::spec::SpecInput;
    use crate::supervise::systemd::words::Specifiers;

    fn compare(path: &str, unit: &Unit) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(path);
        if option_env!("UPDATE_UNITS").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, unit.to_string()).unwrap();
        }
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, unit.to_string(), "{}", path.display());
    }

    #[test]
    fn an_address_of_a_network_that_comes_up_later_is_bound_at_once() {
        let with = |address: &str| {
            let listen = vec![address.to_owned()];
            socket(&ServiceSpec { listen, ..ServiceSpec::packaged_user() })
        };
        for address in ["100.64.7.1:18789", "192.168.1.5:18789", "[fd00::5]:18789"] {
            assert_eq!(with(address).get("Socket", "FreeBind"), Some("true"), "{address}");
        }
        for address in ["127.0.0.1:18789", "[::1]:18789", "0.0.0.0:18789"] {
            assert_eq!(with(address).get("Socket", "FreeBind"), None, "{address}");
        }
    }

    #[test]
    fn the_checked_in_units_are_what_is_rendered() {
        for (dir, spec) in [
            ("user", ServiceSpec::packaged_user()),
            ("user", ServiceSpec::packaged_user_template()),
            ("system", ServiceSpec::packaged_system()),
            ("system", ServiceSpec::packaged_system_template()),
        ] {
            let (service_name, socket_name) = (spec.names.service(), spec.names.socket());
            compare(&format!("{dir}/{service_name}"), &service(&spec, Values::WithSpecifiers));
            compare(&format!("{dir}/{socket_name}"), &socket(&spec));
        }
    }

    #[test]
    fn awkward_paths_survive_the_unit() {
        let env: Env = [("HOME", "/home/a b"), ("OPENCLAW_STATE_DIR", "/srv/100%/$x/\"q\"")]
            .into_iter()
            .collect();
        let paths = Paths::resolve(&env);
        let listen = ["[::1]:18789".parse().unwrap()];
        let spec = ServiceSpec::for_host(&SpecInput {
            env: &env,
            paths: &paths,
            scope: Scope::User,
            program: Path::new("/opt/my $claw/openclaw"),
            port: 18789,
            listen: &listen,
        });
        let (unit, issues) = Unit::parse(service(&spec, Values::Literal).to_string().as_bytes());
        assert_eq!(issues, []);
        let none = Specifiers::default();
        let mut argv = vec![spec.program.clone()];
        argv.extend(spec.args.clone());
        assert_eq!(unit.exec_start(&none).unwrap(), argv);
        let mut env = spec.env.clone();
        env.push((fd_store::VARIABLE.to_owned(), fd_store::CAPACITY.to_owned()));
        assert_eq!(unit.environment(&none), env);
    }

    #[test]
    fn the_official_audit_finds_what_it_looks_for() {
        let unit = service(&ServiceSpec::packaged_user(), Values::WithSpecifiers);
        assert!(unit.words("Unit", "After").contains(&"network-online.target".to_owned()));
        assert!(unit.words("Unit", "Wants").contains(&"network-online.target".to_owned()));
        assert_eq!(unit.get("Service", "RestartSec"), Some("5"));
        let argv = unit.exec_start(&Specifiers::default()).unwrap();
        assert!(argv.contains(&"gateway".to_owned()));
    }
}
