//! The one place where repairs are carried out: files first, then what is asked
//! of the service manager, then a second look. Everything is recorded before it
//! is changed, so that `--undo` brings it back.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::config::write::{self, Author, Before as Usable, WriteError};
use crate::doctor::facts::{Depth, Facts};
use crate::doctor::finding::{Finding, Gate, Repair};
use crate::doctor::host::Host;
use crate::doctor::steps::{self, ConfigChange, Step, Verb};
use crate::doctor::undo::{Record, Restart, UndoError, Unit};
use crate::doctor::{Examination, Found, Selection, examine};
use crate::store::atomic::{self, Sync};
use crate::supervise::addresses;
use crate::supervise::manager::{Force as Replace, ManageError};
use crate::supervise::spec::{Scope, ServiceSpec, SpecInput};
use crate::supervise::systemd::systemctl::Properties;

/// Whether hand-written things may be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    Yes,
    No,
}

/// Why a repair was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    #[error("{} was changed meanwhile; run the doctor again", .0.display())]
    Changed(PathBuf),
    #[error("{path}: {source}", path = path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Config(#[from] WriteError),
    #[error(transparent)]
    Manage(#[from] ManageError),
    #[error("{0}; the files were put back")]
    TakenBack(Box<RepairError>),
    #[error("every file is as it was, but the service is not: {0}")]
    Restored(Box<RepairError>),
    #[error("{0}")]
    NotPossible(String),
}

/// How a finding ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Repaired,
    /// It has a repair that was not wanted, or needs `--force`.
    Skipped,
    Failed(String),
}

/// The repairs that may be applied, each once, in the order of the findings.
pub fn plan(examination: &Examination, force: Force) -> Vec<&Repair> {
    let mut planned: Vec<&Repair> = Vec::new();
    for found in &examination.findings {
        let Some(repair) = &found.finding.repair else { continue };
        let allowed = repair.gate == Gate::Fix || force == Force::Yes;
        if allowed && !planned.contains(&repair) {
            planned.push(repair);
        }
    }
    let forced: Vec<&Repair> =
        planned.iter().copied().filter(|repair| repair.gate == Gate::Force).collect();
    planned.retain(|repair| repair.gate == Gate::Force || !is_covered(repair, &forced));
    planned
}

/// Whether one of the forced repairs does all that this plain one does, because
/// it writes the same file.
pub fn is_covered(repair: &Repair, forced: &[&Repair]) -> bool {
    let files: BTreeSet<PathBuf> = forced.iter().flat_map(|forced| written(forced)).collect();
    written(repair).iter().any(|path| files.contains(path))
}

fn written(repair: &Repair) -> Vec<PathBuf> {
    let paths = repair.steps.iter().filter_map(|step| match step {
        Step::Write { path, .. } => Some(path.clone()),
        _ => None,
    });
    paths.collect()
}

/// What came of the repairs.
#[derive(Debug)]
pub struct Applied {
    /// Every finding that had a repair, with its end.
    pub outcomes: Vec<(Found, Outcome)>,
    /// What is found afterwards.
    pub after: Examination,
    /// Notes of the writer of the configuration.
    pub notes: Vec<String>,
    /// The configuration, if it was changed.
    pub updated: Option<PathBuf>,
}

/// How often two repairs of one file may wait for each other.
const ROUNDS: usize = 4;

/// Applies `repairs` and looks again.
pub fn apply(
    host: &dyn Host,
    depth: Depth,
    selection: &Selection,
    before: &Examination,
    repairs: &[Repair],
    force: Force,
) -> Applied {
    let mut work = Work::new(host);
    let mut failures: Vec<(Repair, String)> = Vec::new();
    let mut fine: Vec<Repair> = Vec::new();
    let mut next = repairs.to_vec();
    for round in 1..=ROUNDS {
        let mut waiting = Vec::new();
        for repair in next {
            match work.files(&repair) {
                Ok(()) => fine.push(repair),
                // Another repair of this run changed the same file first.
                Err(RepairError::Changed(path)) if round < ROUNDS && work.changed(&path) => {
                    waiting.push(repair);
                }
                Err(err) => failures.push((repair, err.to_string())),
            }
        }
        if waiting.is_empty() {
            break;
        }
        next = again(host, depth, before, &waiting, force);
    }
    let mut failed = |repair: &Repair, err: &RepairError| {
        failures.push((repair.clone(), err.to_string()));
    };
    let mut pending: Vec<(Verb, &Repair)> = Vec::new();
    let mut config: Vec<(&ConfigChange, &Repair)> = Vec::new();
    for repair in &fine {
        for step in &repair.steps {
            match step {
                Step::Ask(verb) if !pending.iter().any(|(known, _)| known == verb) => {
                    pending.push((verb.clone(), repair));
                }
                Step::Config(change) => config.push((change, repair)),
                _ => {}
            }
        }
    }
    if !config.is_empty()
        && let Err(err) = work.config(config.iter().map(|(change, _)| *change))
    {
        for (_, repair) in &config {
            failed(repair, &err);
        }
    }
    pending.sort_by(|one, other| one.0.cmp(&other.0));
    // One restart does for all; one with the socket includes one without.
    let wide = pending.iter().any(|(verb, _)| matches!(verb, Verb::Restart { socket: true, .. }));
    pending.retain(|(verb, _)| !(wide && matches!(verb, Verb::Restart { socket: false, .. })));
    for (verb, repair) in pending {
        if let Err(err) = work.ask(&verb) {
            let err = if matches!(verb, Verb::Restart { .. }) { work.take_back(err) } else { err };
            failed(repair, &err);
        }
    }
    work.finish();
    let (notes, updated) = (work.notes, work.updated);
    let facts = Facts::new(host, depth);
    let after = examine(&facts, selection, |_| {});
    let outcomes = before
        .findings
        .iter()
        .filter(|found| found.finding.repair.is_some())
        .map(|found| (found.clone(), outcome(found, repairs, &failures, &after)))
        .collect();
    Applied { outcomes, after, notes, updated }
}

/// The repairs of the same checks, made for the files as they are by now.
fn again(
    host: &dyn Host,
    depth: Depth,
    before: &Examination,
    waiting: &[Repair],
    force: Force,
) -> Vec<Repair> {
    let ids = before
        .findings
        .iter()
        .filter(|found| {
            found.finding.repair.as_ref().is_some_and(|repair| waiting.contains(repair))
        })
        .map(|found| found.check.id.to_owned());
    let selection = Selection { only: ids.collect(), skip: Vec::new() };
    let examination = examine(&Facts::new(host, depth), &selection, |_| {});
    plan(&examination, force).into_iter().cloned().collect()
}

fn outcome(
    found: &Found,
    repairs: &[Repair],
    failures: &[(Repair, String)],
    after: &Examination,
) -> Outcome {
    let same = |finding: &Finding| {
        finding.message == found.finding.message && finding.path == found.finding.path
    };
    let still =
        after.findings.iter().any(|other| other.check.id == found.check.id && same(&other.finding));
    let Some(repair) = &found.finding.repair else { return Outcome::Skipped };
    if let Some((_, reason)) = failures.iter().find(|(failed, _)| failed == repair) {
        return if still { Outcome::Failed(reason.clone()) } else { Outcome::Repaired };
    }
    match (still, repairs.contains(repair)) {
        (false, _) => Outcome::Repaired,
        (true, true) => Outcome::Failed("it is still there".to_owned()),
        (true, false) => Outcome::Skipped,
    }
}

/// Carries out steps and records what they replace.
struct Work<'h> {
    host: &'h dyn Host,
    record: Record,
    notes: Vec<String>,
    updated: Option<PathBuf>,
}

impl<'h> Work<'h> {
    fn new(host: &'h dyn Host) -> Self {
        let record = Record { version: 1, at: host.now_ms(), ..Record::default() };
        Self { host, record, notes: Vec::new(), updated: None }
    }

    fn state(&self) -> &'h Path {
        &self.host.paths().state
    }

    /// Whether this run has changed that file.
    fn changed(&self, path: &Path) -> bool {
        self.record.files.iter().any(|kept| kept.path == path && kept.left.is_some())
    }

    fn save(&self) -> Result<(), RepairError> {
        let path = Record::file(self.state());
        self.record.write(self.state()).map_err(|source| RepairError::Io { path, source })
    }

    /// The steps of one repair that change files: all of them or none.
    fn files(&mut self, repair: &Repair) -> Result<(), RepairError> {
        let kept = self.record.files.len();
        let mut paths: Vec<&Path> = Vec::new();
        for step in &repair.steps {
            match step {
                Step::Write { path, before, .. } => {
                    let now = fs::read(path).ok();
                    // A second repair builds on the first only when it knew it.
                    if now != *before {
                        return Err(RepairError::Changed(path.clone()));
                    }
                    paths.push(path);
                }
                Step::Remove { path } | Step::Mode { path, .. } => paths.push(path),
                Step::Directory { path } => {
                    // Those above it that are missing are made with it.
                    let mut missing: Vec<&Path> =
                        path.ancestors().filter(|dir| !dir.exists()).collect();
                    missing.reverse();
                    paths.extend(missing);
                }
                Step::Config(_) | Step::Ask(_) => {}
            }
        }
        if paths.is_empty() {
            return Ok(());
        }
        for path in paths {
            self.record
                .keep(path)
                .map_err(|source| RepairError::Io { path: path.to_owned(), source })?;
        }
        self.save()?;
        for step in &repair.steps {
            if let Err(err) = self.file(step) {
                let added =
                    Record { files: self.record.files.split_off(kept), ..Record::default() };
                drop(added.restore_files());
                return Err(err);
            }
        }
        Ok(())
    }

    fn file(&mut self, step: &Step) -> Result<(), RepairError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| RepairError::Io { path, source }
        };
        match step {
            Step::Write { path, after, mode, .. } => {
                atomic::write(path, after, Sync::Yes).map_err(io(path))?;
                fs::set_permissions(path, fs::Permissions::from_mode(*mode)).map_err(io(path))?;
                self.record.left(path, after);
                Ok(())
            }
            Step::Remove { path } => match fs::remove_file(path) {
                Err(err) if err.kind() != io::ErrorKind::NotFound => Err(io(path)(err)),
                _ => Ok(()),
            },
            Step::Mode { path, mode } => {
                fs::set_permissions(path, fs::Permissions::from_mode(*mode)).map_err(io(path))
            }
            Step::Directory { path } => atomic::private_dir(path).map_err(io(path)),
            Step::Config(_) | Step::Ask(_) => Ok(()),
        }
    }

    fn config<'c>(
        &mut self,
        changes: impl Iterator<Item = &'c ConfigChange>,
    ) -> Result<(), RepairError> {
        let paths = self.host.paths();
        let file = paths.config.canonicalize().unwrap_or_else(|_| paths.config.clone());
        self.record.keep(&file).map_err(|source| RepairError::Io { path: file.clone(), source })?;
        self.save()?;
        let author = Author { argv: vec!["doctor".to_owned(), "--fix".to_owned()] };
        let changes: Vec<&ConfigChange> = changes.collect();
        let env = self.host.env();
        let written = write::update(paths, env, &author, None, Usable::Anything, |current| {
            let text = steps::edited(changes, current)?;
            Ok(steps::signed(&text, current, self.host.now_ms())?)
        })?;
        self.updated = Some(file.clone());
        self.record.left(&file, written.snapshot.raw.as_bytes());
        self.notes.extend(written.notes);
        Ok(())
    }

    fn ask(&mut self, verb: &Verb) -> Result<(), RepairError> {
        let host = self.host;
        let held =
            [("OPENCLAW_UPDATE_IN_PROGRESS", "1"), ("OPENCLAW_SERVICE_REPAIR_POLICY", "external")];
        if verb.is_lifecycle()
            && let Some((name, _)) = held.iter().find(|(key, on)| host.env().get(key) == Some(*on))
        {
            self.notes.push(format!("{name} is set: left to do: {}", verb.describe()));
            return Ok(());
        }
        let change = |system: bool, words: &[&str]| host.systemctl(system).change(words);
        match verb {
            Verb::Linger => {
                let user = &host.account().name;
                if host.systemctl(false).enable_linger(user) {
                    self.record.lingering = true;
                } else {
                    let command = format!("needs root; run: sudo loginctl enable-linger {user}");
                    return Err(RepairError::NotPossible(command));
                }
            }
            Verb::Retire { system, unit } => {
                change(*system, &["disable", "--now", unit])?;
                self.record.retired.push(Unit { system: *system, name: unit.clone() });
            }
            Verb::Reload { system } => {
                self.record.reload[usize::from(*system)] = true;
                change(*system, &["daemon-reload"])?;
            }
            Verb::Enable { system, unit } => {
                let shown = host.systemctl(*system).show(&[unit])?;
                change(*system, &["enable", unit])?;
                // Only what was not enabled is disabled again.
                if !shown.first().is_some_and(Properties::is_enabled) {
                    self.record.enabled.push(Unit { system: *system, name: unit.clone() });
                }
            }
            Verb::ResetFailed { system, unit } => {
                host.systemctl(*system).attempt(&["reset-failed", unit]);
            }
            Verb::Restart { system, socket } => {
                self.record.restart = Some(Restart { system: *system, socket: *socket });
                restart(host, *system, *socket)?;
            }
            Verb::Start { system } => {
                host.manager(*system).start()?;
            }
            Verb::Install => install(host)?,
        }
        Ok(())
    }

    /// A service that does not come up with the repaired files gets its old
    /// ones back.
    fn take_back(&mut self, err: RepairError) -> RepairError {
        let restart = self.record.restart.take();
        let files = std::mem::take(&mut self.record.files);
        let record = Record { files, reload: self.record.reload, restart, ..Record::default() };
        let restored = record.restore_files();
        if let Err(also) = tell_manager(self.host, &record) {
            self.notes.push(also.to_string());
        }
        if restored.is_ok() {
            return RepairError::TakenBack(Box::new(err));
        }
        self.record.files = record.files;
        err
    }

    /// Leaves the record of what was done; nothing done leaves the one before.
    fn finish(&mut self) {
        let empty = Record { version: 1, at: self.record.at, ..Record::default() };
        if self.record != empty
            && let Err(err) = self.save()
        {
            self.notes.push(format!("this repair cannot be undone: {err}"));
        }
    }
}

/// Restarts what runs; a service at rest stays at rest.
fn restart(host: &dyn Host, system: bool, socket: bool) -> Result<(), ManageError> {
    let manager = host.manager(system);
    if host.is_macos() {
        // launchd reads the file only when the job is loaded.
        if manager.report().summary.loaded {
            manager.stop()?;
            manager.start()?;
        }
        return Ok(());
    }
    let names = host.names();
    let shown = host.systemctl(system).show(&[&names.service(), &names.socket()])?;
    let up = |at: usize| shown.get(at).is_some_and(Properties::is_up);
    match (up(0), up(1), socket) {
        (true, _, true) => {
            manager.stop()?;
            manager.start()?;
        }
        (true, _, false) => {
            manager.restart()?;
        }
        (false, true, true) => host.systemctl(system).change(&["restart", &names.socket()])?,
        (false, ..) => {}
    }
    Ok(())
}

fn install(host: &dyn Host) -> Result<(), RepairError> {
    let facts = Facts::new(host, Depth::default());
    let port = facts.configured_port();
    let listen = addresses::wanted(&facts.snapshot().config.gateway, port)
        .map_err(RepairError::NotPossible)?;
    let spec = ServiceSpec::for_host(&SpecInput {
        env: host.env(),
        paths: host.paths(),
        scope: Scope::User,
        program: host.program(),
        port,
        listen: &listen,
    });
    host.manager(false).install(&spec, Replace::No)?;
    Ok(())
}

/// Takes the last repair back. Refuses when somebody changed a file since.
pub fn undo(host: &dyn Host) -> Result<Record, RepairError> {
    let state = &host.paths().state;
    let refused = |err: UndoError| RepairError::NotPossible(err.to_string());
    let record = Record::read(state).map_err(refused)?;
    if let Some(path) = record.changed_since() {
        return Err(refused(UndoError::Changed(path.to_owned())));
    }
    record.restore_files().map_err(refused)?;
    // What was damaged before is damaged again, so its units may not start.
    let told = tell_manager(host, &record);
    let file = Record::file(state);
    fs::remove_file(&file).map_err(|source| RepairError::Io { path: file, source })?;
    match told {
        Ok(()) => Ok(record),
        Err(err) => Err(RepairError::Restored(Box::new(err))),
    }
}

/// Lets the manager undo its part, after the files are back.
fn tell_manager(host: &dyn Host, record: &Record) -> Result<(), RepairError> {
    for unit in &record.enabled {
        host.systemctl(unit.system).attempt(&["disable", &unit.name]);
    }
    for system in [false, true] {
        if record.reload[usize::from(system)] {
            host.systemctl(system).change(&["daemon-reload"])?;
        }
    }
    for unit in record.retired.iter().rev() {
        host.systemctl(unit.system).change(&["enable", "--now", &unit.name])?;
    }
    if record.lingering {
        host.systemctl(false).disable_linger(&host.account().name);
    }
    if let Some(again) = &record.restart {
        restart(host, again.system, again.socket)?;
    }
    Ok(())
}
