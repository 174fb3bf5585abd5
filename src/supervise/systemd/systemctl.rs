//! Calls to `systemctl` and its relatives, with their failures understood, and
//! what the manager answers without them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::profile::env::Env;
use crate::supervise::manager::ManageError;
use crate::supervise::runner::{CommandLine, Finished, RunError, Runner};
use crate::supervise::spec::STOP_TIMEOUT_SECS;
use crate::supervise::systemd::bus::{self, BusError, Place};

/// Longest wait for a change: a full drain, a start, and some air.
pub const CHANGE_LIMIT: Duration = Duration::from_secs(STOP_TIMEOUT_SECS + 140);

/// One manager: the calling user's, or the host's.
#[derive(Debug)]
pub struct Systemctl {
    runner: Box<dyn Runner>,
    system: bool,
    env: Vec<(String, String)>,
    place: Place,
}

/// The properties of one unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Properties(BTreeMap<String, String>);

impl Properties {
    /// The value, or an empty string.
    pub fn get(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }

    /// Whether somebody deleted the file of a unit that the manager still has.
    pub fn lost_its_file(&self) -> bool {
        let file = self.get("FragmentPath");
        self.is_loaded() && !file.is_empty() && !Path::new(file).exists()
    }

    pub fn is_loaded(&self) -> bool {
        self.get("LoadState") == "loaded"
    }

    /// There is a file for it, even one that cannot be used.
    pub fn is_there(&self) -> bool {
        self.is_loaded() || self.is_broken()
    }

    /// There is a file, but the manager cannot make a unit of it.
    pub fn is_broken(&self) -> bool {
        matches!(self.get("LoadState"), "bad-setting" | "error")
    }

    /// Starts together with the manager or the session.
    pub fn is_enabled(&self) -> bool {
        matches!(
            self.get("UnitFileState"),
            "enabled" | "enabled-runtime" | "linked" | "linked-runtime" | "static"
        )
    }

    /// Up, or on its way up or down.
    pub fn is_up(&self) -> bool {
        matches!(self.get("ActiveState"), "active" | "activating" | "reloading" | "deactivating")
    }

    fn known(pairs: Vec<(String, String)>) -> Self {
        Self(pairs.into_iter().filter(|(key, _)| PROPERTIES.contains(&key.as_str())).collect())
    }

    fn parse(block: &str) -> Self {
        let pairs = block.lines().filter_map(|line| line.split_once('='));
        Self(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }
}

const PROPERTIES: [&str; 18] = [
    "ActiveState",
    "DropInPaths",
    "ExecMainCode",
    "ExecMainStatus",
    "FragmentPath",
    "Id",
    "LoadError",
    "LoadState",
    "MainPID",
    "NRestarts",
    "NeedDaemonReload",
    "Result",
    "StatusText",
    "SubState",
    "TimeoutStopUSec",
    "Type",
    "UnitFileState",
    "WatchdogUSec",
];

impl Systemctl {
    /// A missing `XDG_RUNTIME_DIR` (cron, a bare service) is filled in when the
    /// user's runtime directory exists, because that alone is enough.
    pub fn new(runner: Box<dyn Runner>, system: bool, env: &Env) -> Self {
        let mut vars = Vec::new();
        let uid = nix::unistd::geteuid();
        let runtime = env.get("XDG_RUNTIME_DIR").map_or_else(
            || {
                let dir = format!("/run/user/{uid}");
                if !system && Path::new(&dir).is_dir() {
                    vars.push(("XDG_RUNTIME_DIR".to_owned(), dir.clone()));
                }
                PathBuf::from(dir)
            },
            PathBuf::from,
        );
        let place = match (system, uid.is_root()) {
            (false, _) => Place { path: runtime.join("systemd/private"), on_bus: false },
            (true, true) => Place { path: "/run/systemd/private".into(), on_bus: false },
            // The manager's own socket is root's; the bus is everybody's.
            (true, false) => Place { path: "/run/dbus/system_bus_socket".into(), on_bus: true },
        };
        Self { runner, system, env: vars, place }
    }

    /// The properties of each unit, in the order asked for.
    ///
    /// `systemctl` is only asked where the manager's socket is not there: it
    /// knows what to say about that.
    pub fn show(&self, units: &[&str]) -> Result<Vec<Properties>, ManageError> {
        match bus::properties(&self.place, units, bus::ANSWER_LIMIT) {
            Ok(found) => Ok(found.into_iter().map(Properties::known).collect()),
            Err(BusError::Unreachable { .. }) => self.show_properties(units, &PROPERTIES.join(",")),
            Err(err) => Err(err.into()),
        }
    }

    /// Properties as `systemctl show` prints them; the list is separated by
    /// commas.
    pub fn show_properties(
        &self,
        units: &[&str],
        properties: &str,
    ) -> Result<Vec<Properties>, ManageError> {
        let mut args = vec!["show", "--no-pager", "-p", properties, "--"];
        args.extend(units);
        let done = self.checked(&args, crate::supervise::runner::QUERY_LIMIT)?;
        let mut blocks: Vec<Properties> =
            done.stdout.split("\n\n").map(Properties::parse).collect();
        blocks.resize(units.len(), Properties::default());
        Ok(blocks)
    }

    /// Runs a verb that changes something and must succeed.
    pub fn change(&self, args: &[&str]) -> Result<(), ManageError> {
        self.checked(args, CHANGE_LIMIT).map(|_| ())
    }

    /// Runs a verb whose failure does not matter.
    pub fn attempt(&self, args: &[&str]) {
        if let Err(err) = self.checked(args, CHANGE_LIMIT) {
            tracing::debug!(%err, "ignored");
        }
    }

    /// The last lines the unit wrote to the journal.
    pub fn journal(&self, unit: &str, lines: usize) -> Vec<String> {
        let count = lines.to_string();
        let scope = if self.system { "--system" } else { "--user" };
        let args = [scope, "-u", unit, "-n", &count, "-o", "cat", "--no-pager", "-q"];
        match self.runner.run(&self.with_env(CommandLine::new("journalctl", args))) {
            Ok(done) if done.ok() => done.stdout.lines().map(str::to_owned).collect(),
            _ => Vec::new(),
        }
    }

    /// Makes the user's manager run without a session.
    pub fn enable_linger(&self, user: &str) -> bool {
        let command = CommandLine::new("loginctl", ["--no-ask-password", "enable-linger", user]);
        self.runner.run(&self.with_env(command)).is_ok_and(|done| done.ok())
    }

    /// Takes that back.
    pub fn disable_linger(&self, user: &str) -> bool {
        let command = CommandLine::new("loginctl", ["--no-ask-password", "disable-linger", user]);
        self.runner.run(&self.with_env(command)).is_ok_and(|done| done.ok())
    }

    /// What an operator would type for this manager.
    pub fn spell(&self, rest: &str) -> String {
        if self.system { format!("systemctl {rest}") } else { format!("systemctl --user {rest}") }
    }

    fn checked(&self, args: &[&str], limit: Duration) -> Result<Finished, ManageError> {
        let scope = (!self.system).then_some("--user");
        let words = scope.into_iter().chain(["--no-ask-password"]).chain(args.iter().copied());
        let command = self.with_env(CommandLine::new("systemctl", words).within(limit));
        let done = match self.runner.run(&command) {
            Ok(done) => done,
            Err(RunError::Missing { program }) => {
                let detail = format!("{program} not found");
                return Err(self.unavailable(detail));
            }
            Err(err) => return Err(err.into()),
        };
        if done.ok() {
            return Ok(done);
        }
        let said = done.said();
        let no_manager = [
            "Failed to connect to bus",
            "System has not been booted with systemd",
            "Failed to get D-Bus connection",
        ];
        if no_manager.iter().any(|text| said.contains(text)) {
            return Err(self.unavailable(said.to_owned()));
        }
        let denied = ["Interactive authentication required", "Access denied", "Permission denied"];
        if self.system && denied.iter().any(|text| said.contains(text)) {
            let command = format!("systemctl {}", args.join(" "));
            return Err(ManageError::NeedsRoot { command });
        }
        let command = self.spell(&args.join(" "));
        Err(ManageError::Command { command, said: said.to_owned() })
    }

    fn unavailable(&self, detail: String) -> ManageError {
        if self.system {
            ManageError::NoSystemd { detail }
        } else {
            ManageError::NoUserManager { detail }
        }
    }

    fn with_env(&self, mut command: CommandLine) -> CommandLine {
        command.env.clone_from(&self.env);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervise::runner::fake::Script;

    fn systemctl(script: Script) -> Systemctl {
        let env: Env = [("XDG_RUNTIME_DIR", "/run/user/1")].into_iter().collect();
        Systemctl::new(Box::new(script), false, &env)
    }

    #[test]
    fn units_are_told_apart_by_blank_lines() {
        let script = Script::default().on(
            "systemctl --user --no-ask-password show",
            0,
            "Id=a.service\nLoadState=loaded\nUnitFileState=enabled\n\nId=a.socket\nLoadState=not-found\n",
            "",
        );
        let found = systemctl(script).show(&["a.service", "a.socket"]).unwrap();
        assert!(found[0].is_loaded() && found[0].is_enabled());
        assert_eq!(found[1].get("LoadState"), "not-found");
    }

    #[test]
    fn a_missing_bus_is_told_from_a_failed_command() {
        let script = Script::default()
            .on("systemctl --user --no-ask-password start", 1, "", "Job failed.")
            .on("systemctl", 1, "", "Failed to connect to bus: No medium found");
        let systemctl = systemctl(script);
        let err = systemctl.show(&["a.service"]).unwrap_err();
        assert_eq!(
            err.to_string(),
            "systemctl --user unavailable: Failed to connect to bus: No medium found"
        );
        let err = systemctl.change(&["start", "a.service"]).unwrap_err();
        assert_eq!(err.to_string(), "`systemctl --user start a.service` failed: Job failed.");
    }
}
