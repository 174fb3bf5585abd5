//! `reset` and `uninstall`: what the gateway made on this host goes. Nothing is
//! deleted under a running gateway, and never the home directory itself.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::cli::args::upkeep::{ResetArgs, UninstallArgs};
use crate::cli::context::Context;
use crate::cli::local::Local;
use crate::cli::ui::page::Page;
use crate::cli::ui::{CommandResult, Failure, Outcome};
use crate::gateway::lock::InstanceLock;
use crate::profile::paths;
use crate::supervise::host::{self, Choice};

const SCOPES: [&str; 3] = ["config", "config+creds+sessions", "full"];

pub fn reset(context: &Context, args: &ResetArgs) -> CommandResult {
    if args.non_interactive && !args.yes {
        return Err(Failure::new("Non-interactive mode requires --yes."));
    }
    let asks = !args.non_interactive && context.ui.interactive();
    let scope = match args.scope.as_deref() {
        Some(scope) if SCOPES.contains(&scope) => scope,
        Some(_) => {
            return Err(Failure::new(
                "Invalid --scope. Expected \"config\", \"config+creds+sessions\", or \"full\".",
            ));
        }
        None => {
            return Err(Failure::new(
                "Non-interactive mode requires --scope. Choose config, config+creds+sessions or full.",
            ));
        }
    };
    if !args.yes && !args.dry_run {
        if !asks {
            return Err(Failure::new("Non-interactive mode requires --yes."));
        }
        if !context.ui.confirm(&format!("Proceed with {scope} reset?"))? {
            return Ok(Outcome::text("Reset cancelled."));
        }
    }
    let mut work = Work::new(context, args.dry_run);
    if scope == "config" {
        work.remove(&context.paths.config);
        return Ok(work.done());
    }
    work.stop_service();
    if let Some(refused) = work.refuse_running() {
        return Err(refused);
    }
    if scope == "full" {
        work.remove_state();
        work.remove_workspaces();
    } else {
        work.remove(&context.paths.config);
        work.remove(&oauth_dir(context));
        for dir in session_dirs(&context.paths.state) {
            work.remove(&dir);
        }
    }
    let program = context.program();
    work.page.line(format!("Next: {program} setup, then {program} gateway install"));
    Ok(work.done())
}

pub fn uninstall(context: &Context, args: &UninstallArgs) -> CommandResult {
    if args.non_interactive && !args.yes {
        return Err(Failure::new("Non-interactive mode requires --yes."));
    }
    let (service, state) = (args.all || args.service, args.all || args.state);
    let (workspace, app) = (args.all || args.workspace, args.all || args.app);
    if !(service || state || workspace || app) {
        return Err(Failure::new(
            "Non-interactive mode requires explicit scopes (use --all, or --service, --state, --workspace, --app).",
        ));
    }
    if !args.yes && !args.dry_run {
        if !context.ui.interactive() {
            return Err(Failure::new("Non-interactive mode requires --yes."));
        }
        if !context.ui.confirm("Proceed with uninstall?")? {
            return Ok(Outcome::text("Uninstall cancelled."));
        }
    }
    let mut work = Work::new(context, args.dry_run);
    if service {
        work.remove_service();
    }
    if state && let Some(refused) = work.refuse_running() {
        return Err(refused);
    }
    if state {
        work.remove_state();
    }
    if workspace {
        work.remove_workspaces();
    }
    if app && cfg!(target_os = "macos") {
        work.remove(Path::new("/Applications/OpenClaw.app"));
    }
    work.page.line("The program itself stays. Remove it as you installed it.");
    if state && !workspace && work.workspaces.iter().any(|dir| dir.exists()) {
        work.page.line("Tip: workspaces were preserved. Re-run with --workspace to remove them.");
    }
    Ok(work.done())
}

/// One run: what was said, and whether everything went.
struct Work<'a> {
    context: &'a Context,
    dry_run: bool,
    page: Page,
    wrong: Vec<String>,
    /// Looked up before the configuration goes.
    workspaces: Vec<PathBuf>,
}

impl<'a> Work<'a> {
    fn new(context: &'a Context, dry_run: bool) -> Self {
        let workspaces = Local::open(context).workspaces();
        Self { context, dry_run, page: Page::default(), wrong: Vec::new(), workspaces }
    }

    fn stop_service(&mut self) {
        if self.dry_run {
            self.page.line("[dry-run] stop gateway service");
            return;
        }
        let manager = host::manager(&self.context.env, &self.context.paths, Choice::Existing);
        if !manager.summary().loaded {
            return;
        }
        match manager.stop() {
            Ok(_) => self.page.line(format!("Stopped {}", manager.target())),
            Err(err) => self.wrong.push(format!("Gateway stop failed: {err}")),
        }
    }

    fn remove_service(&mut self) {
        if self.dry_run {
            self.page.line("[dry-run] remove gateway service");
            return;
        }
        let manager = host::manager(&self.context.env, &self.context.paths, Choice::Existing);
        if manager.report().command.is_none() {
            let text = manager.summary().not_loaded_text;
            self.page.line(format!("Gateway service {text}."));
            return;
        }
        match manager.uninstall() {
            Ok(_) => self.page.line(format!("Removed {}", manager.target())),
            Err(err) => self.wrong.push(format!("Gateway uninstall failed: {err}")),
        }
    }

    /// Nothing is deleted while a gateway works with it.
    fn refuse_running(&self) -> Option<Failure> {
        let paths = &self.context.paths;
        if self.dry_run || !paths.state.exists() {
            return None;
        }
        let held = InstanceLock::take(&paths.state, &paths.config).err()?;
        let stop = self.context.program();
        Some(Failure::new(format!("Not deleted: {held}. Stop it first: {stop} gateway stop")))
    }

    fn remove_state(&mut self) {
        let state = self.context.paths.state.clone();
        self.remove(&state);
        for outside in [self.context.paths.config.clone(), oauth_dir(self.context)] {
            if !outside.starts_with(&state) {
                self.remove(&outside);
            }
        }
    }

    fn remove_workspaces(&mut self) {
        for dir in self.workspaces.clone() {
            self.remove(&dir);
        }
    }

    fn remove(&mut self, path: &Path) {
        let shown = self.context.short(path);
        let home = &self.context.paths.home;
        if path.parent().is_none() || home.starts_with(path) {
            self.wrong.push(format!("Refusing to remove unsafe path: {shown}"));
            return;
        }
        if self.dry_run {
            self.page.line(format!("[dry-run] remove {shown}"));
            return;
        }
        let removed = match fs::symlink_metadata(path) {
            Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
            Ok(_) => fs::remove_file(path),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(err) => Err(err),
        };
        match removed {
            Ok(()) => self.page.line(format!("Removed {shown}")),
            Err(err) => self.wrong.push(format!("Failed to remove {shown}: {err}")),
        }
    }

    fn done(self) -> Outcome {
        let code = u8::from(!self.wrong.is_empty());
        Outcome::text(self.page).with_stderr(self.wrong.join("\n")).with_code(code)
    }
}

/// Where credentials of channels are kept.
pub(super) fn oauth_dir(context: &Context) -> PathBuf {
    match context.env.get("OPENCLAW_OAUTH_DIR").map(str::trim).filter(|dir| !dir.is_empty()) {
        Some(dir) => paths::expand(dir, &context.paths.home),
        None => context.paths.state.join("credentials"),
    }
}

fn session_dirs(state: &Path) -> Vec<PathBuf> {
    let agents = fs::read_dir(state.join("agents")).into_iter().flatten().flatten();
    let mut dirs: Vec<PathBuf> = agents.map(|entry| entry.path().join("sessions")).collect();
    dirs.retain(|dir| dir.is_dir());
    dirs.sort();
    dirs
}
