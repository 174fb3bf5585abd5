//! `--container NAME`: the same command, in a running container.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::cli::args::root::{Root, RootError};
use crate::cli::ui::{CommandResult, Failure, Outcome};
use crate::lifecycle::child;
use crate::profile::env::Env;

const RUNTIMES: [&str; 2] = ["podman", "docker"];

/// Settings of this host that would mislead the command inside.
const HOST_ONLY: [&str; 5] = [
    "OPENCLAW_PROFILE",
    "OPENCLAW_GATEWAY_PORT",
    "OPENCLAW_GATEWAY_URL",
    "OPENCLAW_GATEWAY_TOKEN",
    "OPENCLAW_GATEWAY_PASSWORD",
];

/// The container that flag or environment name.
pub(super) fn target<'a>(env: &'a Env, root: &'a Root) -> Option<&'a str> {
    if env.get("OPENCLAW_CLI_CONTAINER_BYPASS") == Some("1") {
        return None;
    }
    let named = root.container.as_deref().or_else(|| env.get("OPENCLAW_CONTAINER"));
    named.map(str::trim).filter(|name| !name.is_empty())
}

/// Runs the command line in the container `name`.
pub(super) fn run(env: &Env, name: &str, root: &Root) -> CommandResult {
    let failed = |text: String| Failure::new(format!("[openclaw] {text}"));
    if root.profile.is_some() {
        return Err(Failure::with_code(
            format!("[openclaw] {}", RootError::ContainerAndProfile),
            2,
        ));
    }
    if root.rest.first().is_some_and(|word| word == "update") {
        return Err(failed(
            "openclaw update is not supported with --container; rebuild or restart the container image instead."
                .to_owned(),
        ));
    }
    let running: Vec<(&str, PathBuf)> = RUNTIMES
        .into_iter()
        .filter_map(|runtime| Some((runtime, program(env, runtime)?)))
        .filter(|(_, program)| is_running(env, program, name))
        .collect();
    let (runtime, program) = match running.as_slice() {
        [one] => one,
        [] => {
            return Err(failed(format!(
                "No running container matched \"{name}\" under podman or docker."
            )));
        }
        _ => {
            return Err(failed(format!(
                "Container \"{name}\" is running under multiple runtimes ({}); use a unique container name.",
                RUNTIMES.join(", ")
            )));
        }
    };
    let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let mut command = child::blocking(program);
    command.args(arguments(runtime, name, terminal, root)).env("OPENCLAW_CONTAINER", "");
    for variable in HOST_ONLY {
        command.env_remove(variable);
    }
    let status = command.status().map_err(|err| failed(format!("{}: {err}", program.display())))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(Outcome::default().with_code(code))
}

fn program(env: &Env, name: &str) -> Option<PathBuf> {
    let path = env.get("PATH").unwrap_or("/usr/local/bin:/usr/bin:/bin");
    std::env::split_paths(path).map(|dir| dir.join(name)).find(|program| program.is_file())
}

fn is_running(env: &Env, program: &Path, name: &str) -> bool {
    let mut inspect = child::blocking(program);
    inspect.args(["inspect", "--format", "{{.State.Running}}", name]);
    inspect.env("PATH", env.get("PATH").unwrap_or_default());
    inspect.stdin(Stdio::null()).stderr(Stdio::null());
    inspect.output().is_ok_and(|said| said.status.success() && said.stdout.trim_ascii() == b"true")
}

fn arguments(runtime: &str, name: &str, terminal: bool, root: &Root) -> Vec<String> {
    let variable = if runtime == "docker" { "-e" } else { "--env" };
    let hint = format!("OPENCLAW_CONTAINER_HINT={name}");
    let mut words = vec!["exec", "-i"];
    words.extend(terminal.then_some("-t"));
    words.extend([variable, &hint, variable, "OPENCLAW_CLI_CONTAINER_BYPASS=1", name, "openclaw"]);
    words.extend(root.no_color.then_some("--no-color"));
    words.extend(root.version.then_some("--version"));
    if let Some(level) = &root.log_level {
        words.extend(["--log-level", level.as_str()]);
    }
    let words = words.into_iter().map(str::to_owned);
    words.chain(root.rest.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::root;

    #[test]
    fn the_command_goes_into_the_container_as_it_was_typed() {
        let typed = "--container box --no-color gateway status --json";
        let root = root::parse(typed.split(' ').map(str::to_owned).collect()).unwrap();
        let words = arguments("podman", "box", false, &root).join(" ");
        assert_eq!(
            words,
            "exec -i --env OPENCLAW_CONTAINER_HINT=box --env OPENCLAW_CLI_CONTAINER_BYPASS=1 box \
             openclaw --no-color gateway status --json"
        );
    }

    #[test]
    fn inside_the_container_the_variable_is_ignored() {
        let env: Env = [("OPENCLAW_CONTAINER", "box"), ("OPENCLAW_CLI_CONTAINER_BYPASS", "1")]
            .into_iter()
            .collect();
        assert_eq!(target(&env, &Root::default()), None);
        let env: Env = [("OPENCLAW_CONTAINER", "box")].into_iter().collect();
        assert_eq!(target(&env, &Root::default()), Some("box"));
    }
}
