//! The comparison for systemd: fragment, drop-ins, and `systemctl show`.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use crate::doctor::drift::{Difference, Drift, Label, vendor};
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Repair, Severity};
use crate::doctor::service::{self, Service, UnitFile};
use crate::doctor::steps::{Step, Verb};
use crate::supervise::addresses;
use crate::supervise::audit::is_secret_name;
use crate::supervise::host::time_span;
use crate::supervise::spec::{PROXY_VARS, Scope, ServiceSpec, SpecInput};
use crate::supervise::systemd::render::{self, Values};
use crate::supervise::systemd::settings::{self, Kind, Setting, Standing};
use crate::supervise::systemd::systemctl::Properties;
use crate::supervise::systemd::unit::Unit;
use crate::supervise::systemd::words;

/// Mode of unit files: they hold no secrets.
pub(super) const UNIT_MODE: u32 = 0o644;

/// Variables that say whose gateway it is. Where the caller's shell relocates
/// the state by hand, the unit is not judged by them.
const IDENTITY: [&str; 4] =
    ["OPENCLAW_STATE_DIR", "OPENCLAW_CONFIG_PATH", "OPENCLAW_HOME", "OPENCLAW_PROFILE"];

/// Settings of a running process that change without a restart.
const LIVE: [&str; 8] = [
    "Restart",
    "RestartSec",
    "RestartPreventExitStatus",
    "SuccessExitStatus",
    "TimeoutStartSec",
    "TimeoutStopSec",
    "KillMode",
    "ExecReload",
];

/// Compares the service that is in use. Nothing to compare is no drift.
pub fn compare(facts: &Facts<'_>) -> Drift {
    let service = facts.service();
    let Some(file) = service.service.as_ref().filter(|file| !file.masked) else {
        return Drift::default();
    };
    if file.vendor { vendor::compare(facts, service, file) } else { own(facts, service, file) }
}

/// Both units as this version would write them for `port`.
struct Wanted {
    service: Unit,
    socket: Unit,
}

fn wanted(facts: &Facts<'_>, service: &Service, port: u16) -> Wanted {
    let spec = spec(facts, service, port);
    Wanted { service: render::service(&spec, Values::Literal), socket: render::socket(&spec) }
}

fn installed(service: &Service) -> Vec<SocketAddr> {
    let unit = service.socket.as_ref().map(UnitFile::unit).unwrap_or_default();
    let specifiers = service.specifiers();
    let listen = unit.all("Socket", "ListenStream").into_iter();
    listen.filter_map(|address| specifiers.expand(address).parse().ok()).collect()
}

/// What an install would ask for, with `port`.
pub(super) fn spec(facts: &Facts<'_>, service: &Service, port: u16) -> ServiceSpec {
    let mut env = facts.host.env().clone();
    // The shell that installed the service may have had others than this one.
    for key in PROXY_VARS {
        env.set(key, "");
    }
    let scope = if service.system {
        let unit = service.service.as_ref().map(UnitFile::unit).unwrap_or_default();
        Scope::System { user: unit.get("Service", "User").unwrap_or("root").to_owned() }
    } else {
        Scope::User
    };
    let gateway = &facts.snapshot().config.gateway;
    // An address that is not there now is no reason to take it off the unit.
    let listen = addresses::wanted(gateway, port).unwrap_or_else(|_| installed(service));
    ServiceSpec::for_host(&SpecInput {
        env: &env,
        paths: facts.host.paths(),
        scope,
        program: facts.host.program(),
        port,
        listen: &listen,
    })
}

fn own(facts: &Facts<'_>, service: &Service, file: &UnitFile) -> Drift {
    let argv = file.unit().exec_start(&service.specifiers());
    let written = !file.unit().assignments("Service", "ExecStart").is_empty();
    let foreign = written && !argv.as_deref().is_some_and(service::is_ours);
    let installed_port = argv.as_deref().and_then(service::port_of);
    let explicit = facts.snapshot().config.gateway.port.is_some();
    let configured = facts.configured_port();
    let plain = wanted(facts, service, installed_port.unwrap_or(configured));
    let forced_port = installed_port.filter(|_| !explicit).unwrap_or(configured);
    let forced = wanted(facts, service, forced_port);

    let relocated = facts.host.paths().profile.is_none()
        && IDENTITY.iter().any(|key| facts.host.env().get(key).is_some());
    let judged =
        |setting: &Setting| !service.system || !is_identity(setting) && setting.key != "User";
    let guarded = |setting: &Setting, standing: &Standing| {
        foreign
            || setting.is_command() && matches!(standing, Standing::Changed { .. })
            || relocated && is_identity(setting)
    };

    let mut drift = Drift { foreign, ..Drift::default() };
    let specifiers = service.specifiers();
    let mut mended = Mended::default();
    let mut look = |file: &UnitFile, plain: &Unit, forced: &Unit, drift: &mut Drift| {
        let (unit, merged) = (file.unit(), file.merged());
        let ours: Vec<Setting> =
            settings::settings(plain).into_iter().filter(|one| judged(one)).collect();
        let mut broken: Vec<&Setting> = Vec::new();
        for setting in &ours {
            let standing = setting.standing(&unit, &specifiers);
            if standing != Standing::Same {
                let guarded = guarded(setting, &standing);
                drift.differences.push(ours_differs(&file.path, setting, &standing, guarded));
                if !guarded {
                    broken.push(setting);
                }
            } else if setting.standing(&merged, &specifiers) != Standing::Same {
                drift.differences.push(overridden(file, setting));
            }
        }
        additions(&file.path, &file.bytes, &ours, drift);
        for drop_in in &file.drop_ins {
            additions(&drop_in.path, &drop_in.bytes, &ours, drift);
        }
        mended.plain.add(file, settings::mend(&file.bytes, &broken, &specifiers), &broken);
        let all: Vec<Setting> =
            settings::settings(forced).into_iter().filter(|one| judged(one)).collect();
        let off: Vec<&Setting> = all
            .iter()
            .filter(|setting| setting.standing(&unit, &specifiers) != Standing::Same)
            .collect();
        mended.forced.add(file, settings::mend(&file.bytes, &off, &specifiers), &off);
    };
    look(file, &plain.service, &forced.service, &mut drift);
    match &service.socket {
        Some(socket) if !socket.vendor && !socket.masked => {
            look(socket, &plain.socket, &forced.socket, &mut drift);
        }
        Some(_) => {}
        None => {
            let path = service.places.units.join(&service.socket_name);
            drift.differences.push(Difference {
                label: Label::OursMissing,
                severity: Severity::Warning,
                file: path.clone(),
                line: 0,
                key: service.socket_name.clone(),
                detail: "is not installed".to_owned(),
                guarded: foreign,
                is_command: false,
            });
            for (repair, socket) in
                [(&mut mended.plain, &plain.socket), (&mut mended.forced, &forced.socket)]
            {
                repair.create(&path, socket.to_string().into_bytes());
            }
            if foreign {
                mended.plain = Files::default();
            }
        }
    }
    drift.repair = mended.plain.repair(service);
    drift.forced = mended.forced.repair(service).map(Repair::forced);
    drift
}

fn is_identity(setting: &Setting) -> bool {
    setting.name.as_deref().is_some_and(|name| IDENTITY.contains(&name))
}

/// The files of the two repairs.
#[derive(Debug, Default)]
struct Mended {
    plain: Files,
    forced: Files,
}

#[derive(Debug, Default)]
pub(super) struct Files {
    steps: Vec<Step>,
    restart: bool,
    socket: bool,
    enable: bool,
}

impl Files {
    pub(super) fn add(&mut self, file: &UnitFile, after: Vec<u8>, changed: &[&Setting]) {
        if after == file.bytes {
            return;
        }
        self.steps.push(Step::Write {
            path: file.path.clone(),
            before: Some(file.bytes.clone()),
            after,
            mode: file.mode,
        });
        for setting in changed {
            match setting.section.as_str() {
                "Socket" => self.socket = true,
                "Install" => self.enable = true,
                "Service" => self.restart |= needs_restart(setting),
                _ => {}
            }
        }
    }

    fn create(&mut self, path: &Path, after: Vec<u8>) {
        self.steps.push(Step::Write {
            path: path.to_owned(),
            before: None,
            after,
            mode: UNIT_MODE,
        });
        self.socket = true;
        self.enable = true;
    }

    pub(super) fn repair(self, service: &Service) -> Option<Repair> {
        if self.steps.is_empty() {
            return None;
        }
        let system = service.system;
        let names: Vec<String> = self
            .steps
            .iter()
            .filter_map(|step| match step {
                Step::Write { path, .. } => path.file_name(),
                _ => None,
            })
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        let mut steps = self.steps;
        if service.unreachable.is_none() {
            steps.push(Step::Ask(Verb::Reload { system }));
            if self.enable {
                for unit in [&service.service_name, &service.socket_name] {
                    steps.push(Step::Ask(Verb::Enable { system, unit: unit.clone() }));
                }
            }
            if self.restart || self.socket {
                steps.push(Step::Ask(Verb::Restart { system, socket: self.socket }));
            }
        }
        let summary = format!("put our settings back into {}", names.join(" and "));
        Some(Repair::new(summary, steps))
    }
}

fn needs_restart(setting: &Setting) -> bool {
    !LIVE.contains(&setting.key.as_str()) && !is_cosmetic(setting)
}

/// Differs after every upgrade and matters to nobody.
pub(super) fn is_cosmetic(setting: &Setting) -> bool {
    matches!(setting.key.as_str(), "Description" | "Documentation")
        || setting.name.as_deref() == Some("OPENCLAW_SERVICE_VERSION")
}

pub(super) fn ours_differs(
    file: &Path,
    setting: &Setting,
    standing: &Standing,
    guarded: bool,
) -> Difference {
    let value = |text: &str| match &setting.name {
        Some(name) if is_secret_name(name) => "hidden".to_owned(),
        _ => format!("\"{text}\""),
    };
    let ours = match (&setting.name, setting.text.split_once('=')) {
        (Some(_), Some((_, value))) => value.trim_end_matches('"'),
        _ => &setting.text,
    };
    let (label, line, detail) = match standing {
        Standing::Changed { have, line } => {
            (Label::OursChanged, *line, format!("is {}, ours is {}", value(have), value(ours)))
        }
        _ if matches!(setting.kind, Kind::Word | Kind::Value) => {
            (Label::OursMissing, 0, "is missing".to_owned())
        }
        _ => (Label::OursMissing, 0, format!("is missing, ours is {}", value(ours))),
    };
    let severity = if is_cosmetic(setting) { Severity::Info } else { Severity::Warning };
    Difference {
        label,
        severity,
        file: file.to_owned(),
        line,
        key: setting.label(),
        detail,
        guarded,
        is_command: setting.is_command(),
    }
}

/// A drop-in decides otherwise; that is what drop-ins are for.
pub(super) fn overridden(file: &UnitFile, setting: &Setting) -> Difference {
    let place = file.drop_ins.iter().rev().find_map(|drop_in| {
        let (unit, _) = Unit::parse(&drop_in.bytes);
        let mut entries = unit.entries().iter();
        let entry = entries.rfind(|entry| setting.is_at(&entry.section, &entry.key))?;
        Some((drop_in.path.clone(), entry.line))
    });
    let (path, line) = place.unwrap_or_else(|| (file.path.clone(), 0));
    Difference {
        label: Label::OperatorOverride,
        severity: Severity::Info,
        file: path,
        line,
        key: setting.label(),
        detail: "is decided by a drop-in".to_owned(),
        guarded: false,
        is_command: setting.is_command(),
    }
}

/// What the operator added to a file, and what no parser understands.
pub(super) fn additions(path: &Path, bytes: &[u8], ours: &[Setting], drift: &mut Drift) {
    let (unit, issues) = Unit::parse(bytes);
    let mut seen = BTreeSet::new();
    let mut note = |severity, line, key: String, detail: String| {
        drift.differences.push(Difference {
            label: Label::OperatorAddition,
            severity,
            file: path.to_owned(),
            line,
            key,
            detail,
            guarded: false,
            is_command: false,
        });
    };
    for entry in unit.entries() {
        for key in foreign_keys(entry, ours) {
            if seen.insert(key.clone()) {
                note(Severity::Info, entry.line, key, "stays as it is".to_owned());
            }
        }
    }
    for issue in issues {
        let detail = format!("has no effect: {}", issue.problem);
        note(Severity::Warning, issue.line, "a line".to_owned(), detail);
    }
}

/// The parts of an assignment that are nothing of ours.
fn foreign_keys(entry: &crate::supervise::systemd::unit::Entry, ours: &[Setting]) -> Vec<String> {
    let at: Vec<&Setting> =
        ours.iter().filter(|one| one.is_at(&entry.section, &entry.key)).collect();
    let plain = format!("{}.{}", entry.section, entry.key);
    let words = || words::split(&entry.value).unwrap_or_default();
    match at.first().map(|setting| setting.kind) {
        None if entry.value.is_empty() => Vec::new(),
        None if entry.key == "Environment" => names(&words(), &at, &plain),
        None => vec![plain],
        Some(Kind::Variable) => names(&words(), &at, &plain),
        Some(Kind::Word) => words()
            .into_iter()
            .filter(|word| !at.iter().any(|setting| setting.text == *word))
            .map(|word| format!("{plain} {word}"))
            .collect(),
        Some(Kind::Value)
            if !entry.value.is_empty() && !at.iter().any(|setting| setting.text == entry.value) =>
        {
            vec![format!("{plain} {}", entry.value)]
        }
        Some(_) => Vec::new(),
    }
}

fn names(words: &[String], ours: &[&Setting], plain: &str) -> Vec<String> {
    words
        .iter()
        .filter_map(|word| word.split_once('='))
        .filter(|(name, _)| !ours.iter().any(|setting| setting.name.as_deref() == Some(*name)))
        .map(|(name, _)| format!("{plain} {name}"))
        .collect()
}

/// What the manager has in force where the files say something else.
pub fn not_in_force(service: &Service) -> Vec<Difference> {
    let pairs = [
        (&service.service, &service.shown.0, SHOWN_OF_SERVICE),
        (&service.socket, &service.shown.1, SHOWN_OF_SOCKET),
    ];
    let mut found = Vec::new();
    for (file, shown, table) in pairs {
        let Some(file) = file.as_ref().filter(|file| !file.masked) else { continue };
        if !shown.is_loaded() {
            continue;
        }
        // The manager does not notice a drop-in in a directory that is new.
        let stale = shown.get("NeedDaemonReload") == "yes" || has_unread(file, shown);
        let before = found.len();
        let merged = file.merged();
        for (section, key, property) in table {
            let Some((have, want)) =
                shown_differs(&merged, service, shown, (section, key, property))
            else {
                continue;
            };
            // A process keeps the watchdog that it was started with; nobody else
            // can set one at run time.
            let stale = stale || *key == "WatchdogSec";
            found.push(Difference {
                label: if stale { Label::NotReloaded } else { Label::OperatorOverride },
                severity: if stale { Severity::Warning } else { Severity::Info },
                file: file.path.clone(),
                line: 0,
                key: format!("{section}.{key}"),
                detail: format!("is \"{want}\" on disk and \"{have}\" for the manager"),
                guarded: false,
                is_command: *key == "ExecStart",
            });
        }
        if stale && found.len() == before {
            found.push(Difference {
                label: Label::NotReloaded,
                severity: Severity::Warning,
                file: file.path.clone(),
                line: 0,
                key: file.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                detail: "or a drop-in of it was changed since the manager read it".to_owned(),
                guarded: false,
                is_command: false,
            });
        }
    }
    found
}

/// Whether there is a drop-in that the manager has not read.
fn has_unread(file: &UnitFile, shown: &Properties) -> bool {
    let read: Vec<&OsStr> = shown
        .get("DropInPaths")
        .split_whitespace()
        .filter_map(|path| Path::new(path).file_name())
        .collect();
    file.drop_ins
        .iter()
        .filter_map(|drop_in| drop_in.path.file_name())
        .any(|name| !read.contains(&name))
}

type Row = (&'static str, &'static str, &'static str);

const SHOWN_OF_SERVICE: &[Row] = &[
    ("Service", "Type", "Type"),
    ("Service", "NotifyAccess", "NotifyAccess"),
    ("Service", "Restart", "Restart"),
    ("Service", "RestartSec", "RestartUSec"),
    ("Service", "TimeoutStartSec", "TimeoutStartUSec"),
    ("Service", "TimeoutStopSec", "TimeoutStopUSec"),
    ("Service", "WatchdogSec", "WatchdogUSec"),
    ("Service", "KillMode", "KillMode"),
    ("Service", "OOMPolicy", "OOMPolicy"),
    ("Service", "UMask", "UMask"),
    ("Service", "ExecStart", "ExecStart"),
    ("Unit", "StartLimitBurst", "StartLimitBurst"),
    ("Unit", "StartLimitIntervalSec", "StartLimitIntervalUSec"),
];

const SHOWN_OF_SOCKET: &[Row] = &[("Socket", "FileDescriptorName", "FileDescriptorName")];

/// The manager's value and the file's, where they differ. Properties that an
/// older manager does not know are empty and no difference.
fn shown_differs(
    unit: &Unit,
    service: &Service,
    shown: &Properties,
    (section, key, property): Row,
) -> Option<(String, String)> {
    let have = shown.get(property);
    if have.is_empty() {
        return None;
    }
    if key == "ExecStart" {
        let want = unit.exec_start(&service.specifiers())?.join(" ");
        let have = have.split("argv[]=").nth(1)?.split(" ;").next()?.trim();
        return (have != want).then(|| (have.to_owned(), want));
    }
    let want = unit.get(section, key)?;
    if property.ends_with("USec") {
        let (have_span, want_span) = (span(have), span(want));
        return (have_span != want_span && want_span.is_some())
            .then(|| (have.to_owned(), want.to_owned()));
    }
    (have != want).then(|| (have.to_owned(), want.to_owned()))
}

/// A time as units and as `systemctl show` spell it.
fn span(text: &str) -> Option<Duration> {
    match text.parse::<u64>() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => time_span(text),
    }
}
