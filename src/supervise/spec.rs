//! What the service is, independent of who runs it. Every unit and every plist
//! is rendered from a [`ServiceSpec`]; nothing else knows their contents.
//!
//! A spec never carries a secret: the process reads tokens and keys itself.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::base::VERSION;
use crate::profile::env::Env;
use crate::profile::paths::Paths;

/// Seconds the manager waits for a stop before it kills. The drain stays below.
pub const STOP_TIMEOUT_SECS: u64 = 330;
/// Seconds without a sign of life after which the manager restarts the process.
pub const WATCHDOG_SECS: u64 = 60;
/// Exit status of a gateway that left because nobody talked. The manager does
/// not start it again; the socket unit does when somebody knocks.
pub const IDLE_STATUS: u8 = 79;
/// The environment variables of a unit that are safe to show.
pub const SHOWN_ENV: [&str; 5] = [
    "OPENCLAW_PROFILE",
    "OPENCLAW_STATE_DIR",
    "OPENCLAW_CONFIG_PATH",
    "OPENCLAW_GATEWAY_PORT",
    "OPENCLAW_NIX_MODE",
];

/// Whose manager runs the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// The calling user's own manager.
    User,
    /// The host's manager; the process runs as this account.
    System { user: String },
}

impl Scope {
    pub fn is_system(&self) -> bool {
        matches!(self, Self::System { .. })
    }
}

/// The names under which managers know a profile's gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceNames {
    /// Without suffix, for example `openclaw-gateway-work`.
    pub base: String,
    /// The LaunchAgent label.
    pub label: String,
}

impl ServiceNames {
    /// The names of a profile, without overrides.
    pub fn of_profile(profile: Option<&str>) -> Self {
        match profile {
            None => Self { base: "openclaw-gateway".into(), label: "ai.openclaw.gateway".into() },
            Some(name) => Self {
                base: format!("openclaw-gateway-{name}"),
                label: format!("ai.openclaw.{name}"),
            },
        }
    }

    /// The names of the selected profile; `OPENCLAW_SYSTEMD_UNIT` and
    /// `OPENCLAW_LAUNCHD_LABEL` override them.
    pub fn resolve(env: &Env, paths: &Paths) -> Self {
        let mut names = Self::of_profile(paths.profile.as_deref());
        if let Some(unit) = env.get("OPENCLAW_SYSTEMD_UNIT") {
            unit.strip_suffix(".service").unwrap_or(unit).clone_into(&mut names.base);
        }
        if let Some(label) = env.get("OPENCLAW_LAUNCHD_LABEL") {
            label.clone_into(&mut names.label);
        }
        names
    }

    pub fn service(&self) -> String {
        format!("{}.service", self.base)
    }

    pub fn socket(&self) -> String {
        format!("{}.socket", self.base)
    }
}

/// The name of a unit's file: instances of a template share one.
pub fn unit_file(unit: &str) -> String {
    let parts = unit.split_once('@').zip(unit.rsplit_once('.'));
    parts.map_or_else(|| unit.to_owned(), |((stem, _), (_, kind))| format!("{stem}@.{kind}"))
}

/// Profile names that would collide with other services' labels.
pub const RESERVED_PROFILES: [&str; 2] = ["gateway", "node"];

/// One gateway service, as data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSpec {
    pub names: ServiceNames,
    pub scope: Scope,
    pub description: String,
    /// Absolute path of the program.
    pub program: String,
    /// Arguments after the program; contains the word `gateway` and `--port N`,
    /// which the official command line looks for.
    pub args: Vec<String>,
    /// Addresses the manager listens on for us, as `ListenStream=` spells them.
    pub listen: Vec<String>,
    /// In the order in which they are written.
    pub env: Vec<(String, String)>,
    /// Where launchd sends standard output and error.
    pub logs: PathBuf,
    /// Target that starts the service at boot or login.
    pub wanted_by: &'static str,
    /// Directories that a confined process may write to.
    pub writable: Vec<String>,
    /// Whether the unit confines the process as far as agents' tools allow.
    pub hardening: Hardening,
}

/// How far the unit confines the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hardening {
    /// Nothing beyond what every user service gets.
    None,
    /// The account's own files stay writable, the system does not.
    Home,
    /// Own account, own state directory, everything else out of sight.
    Sealed,
}

/// What `install` knows about the host and the configuration.
#[derive(Debug, Clone)]
pub struct SpecInput<'a> {
    pub env: &'a Env,
    pub paths: &'a Paths,
    pub scope: Scope,
    pub program: &'a Path,
    pub port: u16,
    pub listen: &'a [SocketAddr],
}

impl ServiceSpec {
    /// The service of the selected profile on this host.
    pub fn for_host(input: &SpecInput<'_>) -> Self {
        let SpecInput { env, paths, scope, program, port, listen } = input;
        let names = ServiceNames::resolve(env, paths);
        let mut vars: Vec<(String, String)> = Vec::new();
        let mut set = |key: &str, value: &str| vars.push((key.to_owned(), value.to_owned()));
        for key in PROXY_VARS {
            if let Some(value) = env.get(key).filter(|url| !has_credentials(url)) {
                set(key, value);
            }
        }
        let home = paths.home.to_string_lossy();
        let relocated = env.get("OPENCLAW_STATE_DIR").is_some() || paths.profile.is_some();
        if relocated || scope.is_system() {
            set("OPENCLAW_STATE_DIR", &paths.state.to_string_lossy());
            set("OPENCLAW_CONFIG_PATH", &paths.config.to_string_lossy());
        } else if env.get("OPENCLAW_CONFIG_PATH").is_some() {
            set("OPENCLAW_CONFIG_PATH", &paths.config.to_string_lossy());
        }
        if env.get("OPENCLAW_HOME").is_some() {
            set("OPENCLAW_HOME", &home);
        }
        set("PATH", &search_path(&home));
        if let Some(profile) = &paths.profile {
            set("OPENCLAW_PROFILE", profile);
        }
        set("OPENCLAW_GATEWAY_PORT", &port.to_string());
        set("OPENCLAW_SYSTEMD_UNIT", &names.service());
        identify(&mut vars);

        let mut args: Vec<String> =
            ["gateway", "run", "--port"].into_iter().map(str::to_owned).collect();
        args.push(port.to_string());
        let (wanted_by, hardening) = if scope.is_system() {
            ("multi-user.target", Hardening::Home)
        } else {
            ("default.target", Hardening::None)
        };
        let mut writable = Vec::new();
        if scope.is_system() {
            writable.push(home.clone().into_owned());
            if !paths.state.starts_with(&paths.home) {
                writable.push(paths.state.to_string_lossy().into_owned());
            }
        }
        Self {
            description: describe(paths.profile.as_deref()),
            names,
            scope: scope.clone(),
            program: program.to_string_lossy().into_owned(),
            args,
            listen: listen.iter().map(ToString::to_string).collect(),
            env: vars,
            logs: paths.logs(),
            wanted_by,
            writable,
            hardening,
        }
    }

    /// Whether it listens on an address that the host may not have yet when the
    /// manager binds it: one of a network that comes up later.
    pub fn listens_on_an_address_of_its_own(&self) -> bool {
        let fixed = |ip: IpAddr| ip.is_loopback() || ip.is_unspecified();
        let addresses = self.listen.iter().filter_map(|it| it.parse::<SocketAddr>().ok());
        addresses.map(|address| address.ip()).any(|ip| !fixed(ip))
    }

    /// What a package ships for every user: paths are left to the manager.
    pub fn packaged_user() -> Self {
        Self::packaged("openclaw-gateway", None, "18789", Scope::User, "default.target")
    }

    /// The packaged template for further gateways of a user. The instance is
    /// both the port and the profile, so that it needs no file of its own.
    pub fn packaged_user_template() -> Self {
        Self::packaged("openclaw-gateway@", Some("%i"), "%i", Scope::User, "default.target")
    }

    /// What a package ships for the host: an own account, sealed.
    pub fn packaged_system() -> Self {
        Self::packaged("openclaw-gateway", None, "18789", service_account(), "multi-user.target")
    }

    /// The packaged template for further gateways of the host.
    pub fn packaged_system_template() -> Self {
        let scope = service_account();
        Self::packaged("openclaw-gateway@", Some("%i"), "%i", scope, "multi-user.target")
    }

    fn packaged(
        base: &str,
        profile: Option<&str>,
        port: &str,
        scope: Scope,
        wanted_by: &'static str,
    ) -> Self {
        let mut env = Vec::new();
        let mut set = |key: &str, value: &str| env.push((key.to_owned(), value.to_owned()));
        if scope.is_system() {
            let state = if profile.is_some() { "%S/openclaw/%i" } else { "%S/openclaw" };
            set("HOME", state);
            set("OPENCLAW_STATE_DIR", state);
            set("OPENCLAW_CONFIG_PATH", &format!("{state}/openclaw.json"));
            set("PATH", "/usr/local/bin:/usr/bin:/bin");
        } else {
            if profile.is_some() {
                set("OPENCLAW_STATE_DIR", "%h/.openclaw-%i");
                set("OPENCLAW_CONFIG_PATH", "%h/.openclaw-%i/openclaw.json");
            }
            set("PATH", &search_path("%h"));
        }
        if let Some(profile) = profile {
            set("OPENCLAW_PROFILE", profile);
        }
        set("OPENCLAW_GATEWAY_PORT", port);
        set("OPENCLAW_SYSTEMD_UNIT", "%n");
        identify(&mut env);
        let hardening = if scope.is_system() { Hardening::Sealed } else { Hardening::None };
        Self {
            names: ServiceNames { base: base.into(), label: "ai.openclaw.gateway".into() },
            scope,
            description: describe(profile),
            program: "/usr/bin/openclaw".into(),
            args: ["gateway", "run", "--allow-unconfigured", "--port", port]
                .map(str::to_owned)
                .into(),
            listen: vec![format!("127.0.0.1:{port}"), format!("[::1]:{port}")],
            env,
            logs: PathBuf::from("/var/log"),
            wanted_by,
            writable: Vec::new(),
            hardening,
        }
    }

    /// The port in the arguments.
    pub fn port(&self) -> Option<&str> {
        let at = self.args.iter().position(|arg| arg == "--port")?;
        self.args.get(at + 1).map(String::as_str)
    }
}

/// Whether a URL carries a user name or password.
pub fn has_credentials(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().is_some_and(|authority| authority.contains('@'))
}

/// Proxy variables that a service takes over from the installing shell.
pub const PROXY_VARS: [&str; 8] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
];

/// Directories below the home directory in which users keep programs. The
/// official audit expects each of them on the service's `PATH`.
const HOME_BINS: [&str; 9] = [
    ".local/bin",
    ".npm-global/bin",
    "bin",
    ".volta/bin",
    ".asdf/shims",
    ".bun/bin",
    ".nvm/current/bin",
    ".fnm/current/bin",
    ".local/share/pnpm",
];

fn search_path(home: &str) -> String {
    let mut dirs: Vec<String> = HOME_BINS.iter().map(|dir| format!("{home}/{dir}")).collect();
    dirs.extend(["/usr/local/bin", "/usr/bin", "/bin"].map(str::to_owned));
    dirs.join(":")
}

/// The variables by which command lines recognise a first-class service.
fn identify(env: &mut Vec<(String, String)>) {
    for (key, value) in [
        ("OPENCLAW_SERVICE_MARKER", "openclaw"),
        ("OPENCLAW_SERVICE_KIND", "gateway"),
        ("OPENCLAW_SERVICE_VERSION", VERSION),
    ] {
        env.push((key.into(), value.into()));
    }
}

fn describe(profile: Option<&str>) -> String {
    match profile {
        None => format!("OpenClaw Gateway (v{VERSION})"),
        Some(name) => format!("OpenClaw Gateway (profile: {name}, v{VERSION})"),
    }
}

fn service_account() -> Scope {
    Scope::System { user: "openclaw".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(vars: &[(&str, &str)]) -> ServiceSpec {
        let env: Env = vars.iter().copied().collect();
        let paths = Paths::resolve(&env);
        let listen: Vec<SocketAddr> = vec!["127.0.0.1:18789".parse().unwrap()];
        ServiceSpec::for_host(&SpecInput {
            env: &env,
            paths: &paths,
            scope: Scope::User,
            program: Path::new("/usr/bin/openclaw"),
            port: 18789,
            listen: &listen,
        })
    }

    #[test]
    fn secrets_of_the_installing_shell_stay_out() {
        let spec = spec(&[
            ("HOME", "/home/claw"),
            ("OPENCLAW_GATEWAY_TOKEN", "canary-token"),
            ("ANTHROPIC_API_KEY", "canary-key"),
            ("HTTPS_PROXY", "http://user:canary@proxy:1"),
            ("HTTP_PROXY", "http://proxy:1"),
        ]);
        let text = format!("{spec:?}");
        assert!(!text.contains("canary"), "{text}");
        assert!(spec.env.contains(&("HTTP_PROXY".into(), "http://proxy:1".into())));
    }

    #[test]
    fn a_profile_carries_its_paths_and_names() {
        let spec = spec(&[
            ("HOME", "/home/claw"),
            ("OPENCLAW_PROFILE", "work"),
            ("OPENCLAW_STATE_DIR", "/home/claw/.openclaw-work"),
            ("OPENCLAW_CONFIG_PATH", "/home/claw/.openclaw-work/openclaw.json"),
        ]);
        assert_eq!(spec.names.service(), "openclaw-gateway-work.service");
        assert_eq!(spec.names.label, "ai.openclaw.work");
        assert!(spec.description.contains("profile: work"));
        assert!(spec.env.iter().any(|(key, _)| key == "OPENCLAW_STATE_DIR"));
    }

    #[test]
    fn the_default_profile_does_not_pin_its_paths() {
        let spec = spec(&[("HOME", "/home/claw")]);
        assert!(!spec.env.iter().any(|(key, _)| key == "OPENCLAW_STATE_DIR"));
        assert_eq!(spec.port(), Some("18789"));
    }

    #[test]
    fn instances_of_a_template_share_its_file() {
        assert_eq!(unit_file("openclaw-gateway@19001.service"), "openclaw-gateway@.service");
        assert_eq!(unit_file("openclaw-gateway.socket"), "openclaw-gateway.socket");
    }

    #[test]
    fn an_overridden_unit_name_is_honoured() {
        let spec = spec(&[("HOME", "/home/claw"), ("OPENCLAW_SYSTEMD_UNIT", "my-claw.service")]);
        assert_eq!(spec.names.socket(), "my-claw.socket");
    }
}
