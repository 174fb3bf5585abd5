//! Shell completion. Reported only: nobody's shell files are edited.

use std::path::PathBuf;

use crate::doctor::checks::{Check, Scope};
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Severity};

pub(super) const CHECK: Check = Check {
    id: "shell-completion",
    section: "Shell completion",
    scope: Scope::Everywhere,
    severity: Severity::Info,
    finds: "no completion for the shell in use; shell files are never edited",
    matters: "commands and options have to be typed out",
    repairs: "",
    inspect,
};

fn inspect(facts: &Facts<'_>) -> Vec<Finding> {
    let env = facts.host.env();
    let Some(shell) = env.get("SHELL").and_then(|path| path.rsplit('/').next()) else {
        return Vec::new();
    };
    let home = PathBuf::from(env.get("HOME").unwrap_or("/"));
    let system = |path: &str| facts.host.system_path(path);
    let (files, startup, target) = match shell {
        "bash" => (
            vec![
                home.join(".local/share/bash-completion/completions/openclaw"),
                system("usr/share/bash-completion/completions/openclaw"),
                system("etc/bash_completion.d/openclaw"),
            ],
            home.join(".bashrc"),
            "~/.local/share/bash-completion/completions/openclaw",
        ),
        "zsh" => (
            vec![
                system("usr/share/zsh/vendor-completions/_openclaw"),
                system("usr/share/zsh/site-functions/_openclaw"),
                system("usr/local/share/zsh/site-functions/_openclaw"),
                home.join(".zfunc/_openclaw"),
            ],
            home.join(".zshrc"),
            "~/.zfunc/_openclaw",
        ),
        "fish" => (
            vec![
                home.join(".config/fish/completions/openclaw.fish"),
                system("usr/share/fish/vendor_completions.d/openclaw.fish"),
            ],
            home.join(".config/fish/config.fish"),
            "~/.config/fish/completions/openclaw.fish",
        ),
        _ => return Vec::new(),
    };
    let sourced = std::fs::read_to_string(&startup).is_ok_and(|text| {
        text.contains("openclaw completion") || text.contains(".openclaw/completions")
    });
    if sourced || files.iter().any(|file| file.exists()) {
        return Vec::new();
    }
    vec![
        Finding::info(format!("completion for {shell} is not installed"))
            .advise(format!("openclaw completion --shell {shell} > {target}")),
    ]
}
