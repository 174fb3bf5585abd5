//! Which service manager this host has, and what to tell where there is none.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::base::clock::SystemClock;
use crate::profile::env::Env;
use crate::profile::paths::Paths;
use crate::supervise::launchd::service::LaunchAgent;
use crate::supervise::listeners;
use crate::supervise::manager::ServiceManager;
use crate::supervise::runner::HostRunner;
use crate::supervise::spec::{ServiceNames, unit_file};
use crate::supervise::systemd::service::{Places, SystemdService};
use crate::supervise::systemd::systemctl::Systemctl;

/// Whose service a command is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The one that exists: the user's, else the host's, else the user's to be.
    Existing,
    User,
    System,
}

/// The manager of the selected profile's service.
pub fn manager(env: &Env, paths: &Paths, choice: Choice) -> Box<dyn ServiceManager> {
    let names = ServiceNames::resolve(env, paths);
    if cfg!(target_os = "macos") {
        return Box::new(LaunchAgent::new(Box::new(HostRunner), env, names, Box::new(SystemClock)));
    }
    match choice {
        Choice::System => Box::new(systemd(env, names, true)),
        Choice::User => Box::new(systemd(env, names, false)),
        Choice::Existing => {
            let user = systemd(env, names.clone(), false);
            if has_files(env, &names, false) || !has_files(env, &names, true) {
                return Box::new(user);
            }
            let system = systemd(env, names, true);
            if system.exists() { Box::new(system) } else { Box::new(user) }
        }
    }
}

/// How long the manager of this process waits for its end, drop-ins included.
/// `None` where no unit runs it or it waits for ever. Blocking.
pub fn stop_timeout(env: &Env) -> Option<Duration> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    let unit = listeners::unit_of_cgroup(&text)?;
    if !unit.ends_with(".service") || env.get("NOTIFY_SOCKET").is_none() {
        return None;
    }
    let system = !text.contains("/user@");
    let systemctl = Systemctl::new(Box::new(HostRunner), system, env);
    let found = systemctl.show(&[&unit]).ok()?;
    time_span(found.first()?.get("TimeoutStopUSec"))
}

/// The path of this program to name in a unit: a link such as
/// `/usr/bin/openclaw` survives upgrades, what it points to may not.
pub fn program() -> io::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let link = PathBuf::from("/usr/bin/openclaw");
    Ok(match (link.canonicalize(), program.canonicalize()) {
        (Ok(target), Ok(own)) if target == own => link,
        _ => program,
    })
}

/// A duration as the manager's socket has it, in microseconds, or as
/// `systemctl show` spells it, for example `5min 30s`.
pub fn time_span(text: &str) -> Option<Duration> {
    if let Ok(micros) = text.parse::<u64>() {
        return (1..u64::MAX).contains(&micros).then(|| Duration::from_micros(micros));
    }
    let mut sum = Duration::ZERO;
    for part in text.split_whitespace() {
        let split = part.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = part[..split].parse().ok()?;
        let unit = match &part[split..] {
            "us" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "min" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            "w" => 604_800.0,
            "month" => 2_629_800.0,
            "y" => 31_557_600.0,
            _ => return None,
        };
        sum += Duration::try_from_secs_f64(number * unit).ok()?;
    }
    (!sum.is_zero()).then_some(sum)
}

/// The unit of the same name in the other scope, when its file exists.
pub fn other(env: &Env, paths: &Paths, system: bool) -> Option<String> {
    let names = ServiceNames::resolve(env, paths);
    has_own_file(env, &names, !system).then(|| {
        let places = Places::of_host(env, !system);
        places.units.join(names.service()).to_string_lossy().into_owned()
    })
}

/// The same where this scope has one too.
pub fn duplicate(env: &Env, paths: &Paths, system: bool) -> Option<String> {
    let names = ServiceNames::resolve(env, paths);
    has_own_file(env, &names, system).then(|| other(env, paths, system)).flatten()
}

fn systemd(env: &Env, names: ServiceNames, system: bool) -> SystemdService {
    let places = Places::of_host(env, system);
    SystemdService::new(Box::new(HostRunner), env, names, system, places, Box::new(SystemClock))
}

/// Whether a unit we would have written is there.
fn has_own_file(env: &Env, names: &ServiceNames, system: bool) -> bool {
    Places::of_host(env, system).units.join(names.service()).symlink_metadata().is_ok()
}

/// Whether any unit directory of the scope has the service. Looking at files
/// asks nobody and cannot hang.
fn has_files(env: &Env, names: &ServiceNames, system: bool) -> bool {
    let vendor: &[&str] = if system {
        &["/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"]
    } else {
        &["/etc/systemd/user", "/usr/lib/systemd/user"]
    };
    has_own_file(env, names, system)
        || vendor.iter().any(|dir| Path::new(dir).join(unit_file(&names.service())).exists())
}

/// The unit of a profile that is an instance of the package's template, whose
/// name is profile and port at once, and the port. An account's own unit comes
/// first.
pub fn template_instance(env: &Env, profile: &str) -> Option<(String, u16)> {
    let port =
        profile.parse().ok().filter(|port: &u16| *port > 0 && port.to_string() == profile)?;
    let own = ServiceNames::of_profile(Some(profile));
    let unit = format!("openclaw-gateway@{profile}.service");
    let is_there = [false, true]
        .map(|system| Places::of_host(env, system))
        .iter()
        .any(|places| places.vendor.join(unit_file(&unit)).exists());
    let has_own = [false, true].iter().any(|system| has_own_file(env, &own, *system));
    (is_there && !has_own).then_some((unit, port))
}

/// Where the process runs, as far as it decides what can supervise it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surroundings {
    Host,
    Wsl,
    Container,
}

impl Surroundings {
    pub fn detect(env: &Env) -> Self {
        Self::detect_below(env, Path::new("/"))
    }

    /// The same for a host whose files are below `root`.
    pub fn detect_below(env: &Env, root: &Path) -> Self {
        let kernel = fs::read_to_string(root.join("proc/sys/kernel/osrelease")).unwrap_or_default();
        let container = root.join(".dockerenv").exists()
            || root.join("run/.containerenv").exists()
            || env.get("container").is_some();
        if env.get("WSL_DISTRO_NAME").is_some() || kernel.to_lowercase().contains("microsoft") {
            Self::Wsl
        } else if container {
            Self::Container
        } else {
            Self::Host
        }
    }
}

/// A thing to try, with its kind for scripts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hint {
    pub kind: &'static str,
    pub text: String,
}

impl Hint {
    fn new(kind: &'static str, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }
}

/// How to get the service going where it is not installed.
pub fn start_hints(env: &Env, program: &str, target: &str) -> Vec<Hint> {
    if let Some(container) = env.get("OPENCLAW_CONTAINER_HINT") {
        let text = format!("Restart the container or the service that manages it for {container}.");
        return vec![Hint::new("container-restart", text)];
    }
    let native = if cfg!(target_os = "macos") {
        format!("launchctl bootstrap gui/$UID ~/Library/LaunchAgents/{target}.plist")
    } else {
        format!("systemctl --user start {target}")
    };
    vec![
        Hint::new("install", format!("{program} gateway install")),
        Hint::new("generic", format!("{program} gateway")),
        Hint::new("generic", native),
    ]
}

/// What to do where systemd's user services cannot be reached.
pub fn unavailable_hints(surroundings: Surroundings, uid: u32) -> Vec<Hint> {
    match surroundings {
        Surroundings::Wsl => vec![
            Hint::new(
                "wsl-systemd",
                "WSL2 needs systemd enabled: edit /etc/wsl.conf with [boot]\\nsystemd=true",
            ),
            Hint::new(
                "wsl-systemd",
                "Then run: wsl --shutdown (from PowerShell) and reopen your distro.",
            ),
            Hint::new("wsl-systemd", "Verify: systemctl --user status"),
            Hint::new(
                "wsl-systemd",
                format!("If it is enabled already: sudo systemctl restart user@{uid}"),
            ),
        ],
        Surroundings::Container => vec![Hint::new(
            "container-foreground",
            "In a container, run the gateway in the foreground: openclaw gateway run",
        )],
        Surroundings::Host => vec![
            Hint::new(
                "systemd-unavailable",
                "systemd user services are unavailable; install/enable systemd or run the gateway under your supervisor.",
            ),
            Hint::new(
                "systemd-headless",
                "On a headless server (SSH/no desktop session): run `sudo loginctl enable-linger $(whoami)` to persist your systemd user session across logins.",
            ),
            Hint::new(
                "systemd-headless",
                "Also ensure XDG_RUNTIME_DIR is set: `export XDG_RUNTIME_DIR=/run/user/$(id -u)`, then retry.",
            ),
            Hint::new(
                "container-foreground",
                "If you're in a container, run the gateway in the foreground instead of `openclaw gateway`.",
            ),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_carry_the_profile_and_the_unit() {
        let hints =
            start_hints(&Env::default(), "openclaw --profile x", "openclaw-gateway-x.service");
        let texts: Vec<&str> = hints.iter().map(|hint| hint.text.as_str()).collect();
        assert_eq!(texts[0], "openclaw --profile x gateway install");
        assert!(
            cfg!(target_os = "macos")
                || texts[2] == "systemctl --user start openclaw-gateway-x.service"
        );
    }

    #[test]
    fn time_spans_are_read_as_systemd_prints_them() {
        let cases = [
            ("20s", Some(20_000)),
            ("5min 30s", Some(330_000)),
            ("1.5s", Some(1500)),
            ("20000000", Some(20_000)),
            ("18446744073709551615", None),
            ("infinity", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(time_span(text), expected.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn a_container_hint_replaces_the_others() {
        let env: Env = [("OPENCLAW_CONTAINER_HINT", "box")].into_iter().collect();
        let hints = start_hints(&env, "openclaw", "x");
        assert_eq!(hints.len(), 1);
        assert_eq!(hints[0].kind, "container-restart");
    }

    #[test]
    fn windows_subsystem_is_recognised_by_its_variable() {
        let env: Env = [("WSL_DISTRO_NAME", "Debian")].into_iter().collect();
        assert_eq!(Surroundings::detect(&env), Surroundings::Wsl);
    }
}
