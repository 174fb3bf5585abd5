//! What every command gets: the environment with the profile applied, the
//! paths that follow from it, and the terminal.

use std::cell::OnceCell;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use crate::agents::models::Lookup;
use crate::base::clock;
use crate::cli::args::root::Root;
use crate::cli::ui::page::Page;
use crate::cli::ui::{Failure, Ui};
use crate::config::Snapshot;
use crate::config::last_good;
use crate::config::load;
use crate::profile::env::Env;
use crate::profile::paths::{DEV_PORT, Paths};
use crate::supervise::host;

/// The surroundings of one command.
#[derive(Debug)]
pub struct Context {
    pub env: Arc<Env>,
    pub paths: Paths,
    pub ui: Ui,
    pub log_level: Option<String>,
    config: OnceCell<Snapshot>,
    last_good: OnceCell<Option<Snapshot>>,
}

impl Context {
    /// Applies the root flags to the environment.
    pub fn new(mut env: Env, root: &Root) -> Self {
        if let Some(name) = &root.profile {
            apply_profile(&mut env, name);
        }
        let ui = Ui::new(&env, root.no_color);
        let paths = Paths::resolve(&env);
        Self {
            env: Arc::new(env),
            paths,
            ui,
            log_level: root.log_level.clone(),
            config: OnceCell::new(),
            last_good: OnceCell::new(),
        }
    }

    /// The same command as another process sees the host: with these variables.
    #[must_use]
    pub fn with_variables<'a>(
        &self,
        variables: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let mut env = Env::clone(&self.env);
        for (key, value) in variables {
            env.set(key, value);
        }
        let paths = Paths::resolve(&env);
        let log_level = self.log_level.clone();
        Self {
            env: Arc::new(env),
            paths,
            ui: self.ui,
            log_level,
            config: OnceCell::new(),
            last_good: OnceCell::new(),
        }
    }

    /// The configuration, read when the first command asks for it.
    pub fn config(&self) -> &Snapshot {
        self.config.get_or_init(|| load::read(&self.paths, &self.env))
    }

    /// Where an agent's models and their keys are looked up.
    pub fn lookup<'a>(&'a self, agent: &'a str) -> Lookup<'a> {
        let snapshot = self.config();
        Lookup {
            config: &snapshot.config,
            env: &snapshot.env,
            secrets: &snapshot.secrets,
            paths: &self.paths,
            agent,
            now: clock::now_ms(),
        }
    }

    /// What a running gateway serves with: the file, or the copy it keeps of the
    /// last good one while the file is broken.
    pub fn config_in_force(&self) -> &Snapshot {
        let current = self.config();
        if current.is_valid() {
            return current;
        }
        let kept = self
            .last_good
            .get_or_init(|| last_good::load(&self.paths, &self.env).map(|(snapshot, _)| snapshot));
        kept.as_ref().unwrap_or(current)
    }

    /// A path with the home directory shortened to `~`.
    pub fn short(&self, path: &Path) -> String {
        match path.strip_prefix(&self.paths.home) {
            Ok(rest) if rest.as_os_str().is_empty() => "~".to_owned(),
            Ok(rest) => format!("~/{}", rest.display()),
            Err(_) => path.display().to_string(),
        }
    }

    /// The complaint about an invalid configuration, if it is invalid.
    pub fn config_complaint(&self) -> Option<String> {
        let snapshot = self.config();
        if snapshot.is_valid() {
            return None;
        }
        let mut page = Page::default();
        page.line("Config invalid");
        page.line(format!("File: {}", self.short(&snapshot.path)));
        page.line("Problem:");
        page.lines(snapshot.issues.iter().map(|issue| format!("  - {issue}")));
        page.gap();
        page.line(format!("Run: {} doctor --fix", self.program()));
        Some(page.into())
    }

    /// Runs a client command on this thread.
    pub fn block_on<T>(
        &self,
        future: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|err| Failure::new(format!("starting the runtime: {err}")))?
            .block_on(future)
    }

    /// `openclaw` with the flag that selects this profile, for hints.
    pub fn program(&self) -> String {
        match &self.paths.profile {
            Some(name) => format!("openclaw --profile {name}"),
            None => "openclaw".to_owned(),
        }
    }
}

/// Selects a profile: its name, and its own state directory and configuration
/// unless the environment names others.
fn apply_profile(env: &mut Env, name: &str) {
    env.set("OPENCLAW_PROFILE", name);
    if !name.eq_ignore_ascii_case("default") {
        let home = Paths::resolve(env).home;
        env.set_default(
            "OPENCLAW_STATE_DIR",
            home.join(format!(".openclaw-{name}")).to_string_lossy(),
        );
        let state = Paths::resolve(env).state;
        env.set_default("OPENCLAW_CONFIG_PATH", state.join("openclaw.json").to_string_lossy());
    }
    if name == "dev" {
        env.set_default("OPENCLAW_GATEWAY_PORT", DEV_PORT.to_string());
    }
    if let Some((unit, port)) = host::template_instance(env, name) {
        env.set_default("OPENCLAW_SYSTEMD_UNIT", unit);
        env.set_default("OPENCLAW_GATEWAY_PORT", port.to_string());
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[track_caller]
    fn context(profile: &str, vars: &[(&str, &str)]) -> Context {
        let env: Env = vars.iter().copied().chain([("HOME", "/h")]).collect();
        Context::new(env, &Root { profile: Some(profile.to_owned()), ..Root::default() })
    }

    #[test]
    fn a_profile_has_its_own_directory_and_configuration() {
        let context = context("work", &[]);
        assert_eq!(context.paths.state, Path::new("/h/.openclaw-work"));
        assert_eq!(context.paths.config, Path::new("/h/.openclaw-work/openclaw.json"));
        assert_eq!(context.env.get("OPENCLAW_GATEWAY_PORT"), None);
        assert_eq!(context.program(), "openclaw --profile work");
    }

    #[test]
    fn the_dev_profile_moves_the_port_unless_it_is_set() {
        assert_eq!(context("dev", &[]).env.get("OPENCLAW_GATEWAY_PORT"), Some("19001"));
        let own = context("dev", &[("OPENCLAW_GATEWAY_PORT", "5")]);
        assert_eq!(own.env.get("OPENCLAW_GATEWAY_PORT"), Some("5"));
    }

    #[test]
    fn an_explicit_state_directory_beats_the_profile() {
        let context = context("work", &[("OPENCLAW_STATE_DIR", "/s")]);
        assert_eq!(context.paths.state, Path::new("/s"));
        assert_eq!(context.paths.config, Path::new("/s/openclaw.json"));
    }

    #[test]
    fn the_default_profile_is_no_profile() {
        let context = context("default", &[]);
        assert_eq!(context.paths.state, Path::new("/h/.openclaw"));
        assert_eq!(context.program(), "openclaw");
    }
}
