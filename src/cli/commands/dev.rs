//! What `gateway --dev` finds ready: a development configuration and its
//! workspace, written only where there is none; `--reset` starts them afresh.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::json;

use crate::cli::context::Context;
use crate::cli::ui::Failure;
use crate::config::write::{self, Author, Before};
use crate::store::atomic;

/// Whether what a development profile has gathered is thrown away first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reset {
    Yes,
    No,
}

/// Prepares configuration and workspace; says on stderr what it made.
pub(super) fn prepare(context: &Context, reset: Reset) -> Result<Vec<String>, Failure> {
    let workspace = context.paths.home.join(".openclaw").join("workspace-dev");
    if reset == Reset::Yes {
        let state = &context.paths.state;
        for path in [
            context.paths.config.clone(),
            state.join("agents"),
            state.join("credentials"),
            workspace.clone(),
        ] {
            remove(&path)?;
        }
    }
    if context.paths.config.exists() {
        return Ok(Vec::new());
    }
    atomic::private_dir(&workspace).map_err(|err| failed(&workspace, &err))?;
    let config = json!({
        "gateway": {"mode": "local", "bind": "loopback"},
        "agents": {
            "defaults": {"workspace": workspace, "skipBootstrap": true},
            "list": [{
                "id": "dev",
                "default": true,
                "workspace": workspace,
                "identity": {"name": "Dev", "theme": "workbench assistant", "emoji": "🔧"},
            }],
        },
    });
    let text = serde_json::to_string_pretty(&config).expect("a JSON value can be written") + "\n";
    write::update(
        &context.paths,
        &context.env,
        &Author { argv: std::env::args().collect() },
        None,
        Before::Valid,
        |_| Ok(text),
    )
    .map_err(|err| Failure::new(format!("Error: {err}")))?;
    Ok(vec![
        format!("Dev config ready: {}", context.short(&context.paths.config)),
        format!("Dev workspace ready: {}", context.short(&workspace)),
    ])
}

fn remove(path: &Path) -> Result<(), Failure> {
    let gone = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match gone {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(failed(path, &err)),
        _ => Ok(()),
    }
}

fn failed(path: &Path, err: &io::Error) -> Failure {
    Failure::new(format!("Error: {}: {err}", path.display()))
}
