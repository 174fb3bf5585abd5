//! `completion`: scripts for the shells, printed, kept or loaded at start.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::cli::args::shell::{CompletionArgs, Shell};
use crate::cli::args::tree;
use crate::cli::context::Context;
use crate::cli::ui::page::Page;
use crate::cli::ui::{CommandResult, Failure, Outcome};

/// First line of what we add to a start-up file; finds it again.
const MARK: &str = "# OpenClaw Completion";

pub fn completion(context: &Context, args: &CompletionArgs) -> CommandResult {
    if args.install {
        return install(context, args);
    }
    if args.write_state {
        let shells = [Shell::Zsh, Shell::Bash, Shell::Powershell, Shell::Fish];
        let mut page = Page::default();
        for shell in shells {
            let path = write_script(context, shell)?;
            page.line(format!("Wrote {}", context.short(&path)));
        }
        return Ok(Outcome::text(page));
    }
    Ok(Outcome::text(script(args.shell)))
}

/// The completion script of a shell.
pub fn script(shell: Shell) -> String {
    let generator = match shell {
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Powershell => clap_complete::Shell::PowerShell,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut bytes = Vec::new();
    clap_complete::generate(generator, &mut tree(), "openclaw", &mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn write_script(context: &Context, shell: Shell) -> Result<PathBuf, Failure> {
    let extension = match shell {
        Shell::Zsh => "zsh",
        Shell::Bash => "bash",
        Shell::Powershell => "ps1",
        Shell::Fish => "fish",
    };
    let dir = context.paths.state.join("completions");
    let path = dir.join(format!("openclaw.{extension}"));
    fs::create_dir_all(&dir)
        .and_then(|()| fs::write(&path, script(shell)))
        .map_err(|err| Failure::new(format!("Error: {}: {err}", path.display())))?;
    Ok(path)
}

/// Writes the script and makes the shell load it. Touches a file of the user,
/// so it happens only on request and after a yes.
fn install(context: &Context, args: &CompletionArgs) -> CommandResult {
    let home = &context.paths.home;
    let (profile, shell) = match args.shell {
        Shell::Zsh => (home.join(".zshrc"), "zsh"),
        Shell::Bash => (home.join(".bashrc"), "bash"),
        Shell::Fish => (home.join(".config/fish/config.fish"), "fish"),
        Shell::Powershell => {
            return Err(Failure::new(
                "Error: completion --install does not know where PowerShell keeps its profile; run `openclaw completion --shell powershell` and add the output there",
            ));
        }
    };
    let wrong = |err: io::Error| Failure::new(format!("Error: {}: {err}", profile.display()));
    let text = match fs::read_to_string(&profile) {
        Ok(text) => text,
        Err(err) if err.kind() == io::ErrorKind::NotFound => String::new(),
        Err(err) => return Err(wrong(err)),
    };
    if !args.yes && !confirmed(context, &profile)? {
        return Ok(Outcome::text("Nothing was changed."));
    }
    let script = write_script(context, args.shell)?;
    if text.contains(MARK) {
        return Ok(Outcome::text(format!(
            "{} already loads the completion; {} is up to date.",
            context.short(&profile),
            context.short(&script)
        )));
    }
    let line = format!("source {}", quoted(&script));
    let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    let new = format!("{text}{gap}{MARK}\n{line}\n");
    if let Some(dir) = profile.parent() {
        fs::create_dir_all(dir).map_err(wrong)?;
    }
    fs::write(&profile, new).map_err(wrong)?;
    Ok(Outcome::text(format!(
        "Completion for {shell} installed in {}. Open a new shell to use it.",
        context.short(&profile)
    )))
}

fn confirmed(context: &Context, profile: &Path) -> Result<bool, Failure> {
    if !context.ui.terminal {
        return Err(Failure::new("Error: completion --install needs --yes when nobody can answer"));
    }
    Ok(context.ui.confirm(&format!("Add a line to {}?", context.short(profile)))?)
}

/// The path in single quotes, which every shell here understands.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_gets_a_script_that_knows_the_commands() {
        for shell in [Shell::Zsh, Shell::Bash, Shell::Powershell, Shell::Fish] {
            let script = script(shell);
            assert!(script.contains("gateway") && script.contains("usage-cost"), "{shell:?}");
        }
    }
}
