//! Paths and names that follow from the profile.

use std::path::{Path, PathBuf};

use directories::BaseDirs;

use crate::profile::env::Env;

/// Port of the default profile.
pub const DEFAULT_PORT: u16 = 18789;
/// Port of the `dev` profile.
pub const DEV_PORT: u16 = 19001;

/// Where this profile keeps its things.
#[derive(Debug, Clone)]
pub struct Paths {
    /// Base of `~` in configured paths: `OPENCLAW_HOME`, else the home directory.
    pub home: PathBuf,
    /// Everything the gateway keeps; mode 0700.
    pub state: PathBuf,
    /// The configuration file, whether or not it exists.
    pub config: PathBuf,
    /// `None` for the default profile.
    pub profile: Option<String>,
}

impl Paths {
    /// Resolves the paths of the profile that `env` selects.
    pub fn resolve(env: &Env) -> Self {
        let home = home_dir(env);
        let profile = env
            .get("OPENCLAW_PROFILE")
            .filter(|name| !name.eq_ignore_ascii_case("default"))
            .map(str::to_owned);
        let state = match env.get("OPENCLAW_STATE_DIR") {
            Some(dir) => expand(dir, &home),
            None => first_existing([home.join(".openclaw"), home.join(".clawdbot")]),
        };
        let config = match env.get("OPENCLAW_CONFIG_PATH") {
            Some(file) => expand(file, &home),
            None => first_existing(
                [&state, &home.join(".openclaw"), &home.join(".clawdbot")]
                    .into_iter()
                    .flat_map(|dir| [dir.join("openclaw.json"), dir.join("clawdbot.json")]),
            ),
        };
        Self { home, state, config, profile }
    }

    /// `agents/<id>` below the state directory.
    pub fn agent(&self, id: &str) -> PathBuf {
        self.state.join("agents").join(id)
    }

    /// Where the default agent works unless configured: always below
    /// `~/.openclaw`, with the profile in its name.
    pub fn workspace(&self) -> PathBuf {
        let base = self.home.join(".openclaw");
        match &self.profile {
            Some(profile) => base.join(format!("workspace-{profile}")),
            None => base.join("workspace"),
        }
    }

    /// Directory of the gateway's own log files.
    pub fn logs(&self) -> PathBuf {
        self.state.join("logs")
    }
}

/// Expands a leading `~` and makes a path absolute.
pub fn expand(path: &str, home: &Path) -> PathBuf {
    let expanded = match path.strip_prefix('~') {
        Some("") => home.to_path_buf(),
        Some(rest) if rest.starts_with('/') => home.join(rest.trim_start_matches('/')),
        _ => PathBuf::from(path),
    };
    std::path::absolute(&expanded).unwrap_or(expanded)
}

/// A path for people: the home directory becomes `~`.
pub fn shorten(path: &Path, home: &Path) -> String {
    match path.strip_prefix(home) {
        Ok(rest) if rest.as_os_str().is_empty() => "~".to_owned(),
        Ok(rest) if home != Path::new("/") => format!("~/{}", rest.display()),
        _ => path.display().to_string(),
    }
}

fn home_dir(env: &Env) -> PathBuf {
    let os_home = || {
        env.get("HOME")
            .map(PathBuf::from)
            .or_else(|| BaseDirs::new().map(|dirs| dirs.home_dir().to_path_buf()))
            .unwrap_or_else(|| PathBuf::from("/"))
    };
    match env.get("OPENCLAW_HOME") {
        Some(dir) => expand(dir, &os_home()),
        None => os_home(),
    }
}

/// The first candidate that exists, else the first.
fn first_existing(candidates: impl IntoIterator<Item = PathBuf>) -> PathBuf {
    let candidates: Vec<PathBuf> = candidates.into_iter().collect();
    candidates.iter().find(|path| path.exists()).unwrap_or(&candidates[0]).clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_home_uses_the_modern_names() {
        let home = tempfile::tempdir().unwrap();
        let env: Env = [("HOME", home.path().to_str().unwrap())].into_iter().collect();
        let paths = Paths::resolve(&env);
        assert_eq!(paths.state, home.path().join(".openclaw"));
        assert_eq!(paths.config, home.path().join(".openclaw/openclaw.json"));
    }

    #[test]
    fn an_old_home_keeps_its_names() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".clawdbot")).unwrap();
        std::fs::write(home.path().join(".clawdbot/clawdbot.json"), "{}").unwrap();
        let env: Env = [("HOME", home.path().to_str().unwrap())].into_iter().collect();
        let paths = Paths::resolve(&env);
        assert_eq!(paths.state, home.path().join(".clawdbot"));
        assert_eq!(paths.config, home.path().join(".clawdbot/clawdbot.json"));
    }

    #[test]
    fn an_explicit_config_path_never_falls_back() {
        let env: Env =
            [("HOME", "/nowhere"), ("OPENCLAW_CONFIG_PATH", "~/my.json")].into_iter().collect();
        assert_eq!(Paths::resolve(&env).config, Path::new("/nowhere/my.json"));
    }
}
