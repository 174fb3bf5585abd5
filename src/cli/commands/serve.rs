//! `gateway run`: the gateway in the foreground, until it is asked to stop.

use std::sync::Arc;

use crate::cli::args::gateway::RunArgs;
use crate::cli::context::Context;
use crate::cli::ui::{CommandResult, Failure, Outcome};
use crate::config::Snapshot;
use crate::gateway::{self, RunOptions, Setup};
use crate::logging;
use crate::profile::paths;
use crate::supervise::activation;
use crate::supervise::notify::Notifier;
use crate::supervise::signals::Signals;

/// Threads that serve; more of them wait than work.
const MAX_WORKERS: usize = 8;

/// Runs the gateway to its end.
pub fn run(context: &Context, args: RunArgs) -> CommandResult {
    let options = args.into_options();
    if options.reset && !is_dev(context, &options) {
        return Err(Failure::new("Use --reset with --dev."));
    }
    if let Some(style) = options.ws_log.as_deref()
        && !matches!(style, "auto" | "full" | "compact")
    {
        return Err(Failure::new("Invalid --ws-log (use \"auto\", \"full\", \"compact\")"));
    }
    let inherited = activation::inherited_listeners(&context.env)
        .map_err(|err| Failure::new(err.to_string()))?;
    let snapshot = context.config().clone();
    let log_file = logging::init(&log_options(context, &snapshot, &options))
        .map_err(|err| Failure::new(format!("{err}")))?;
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_keep_alive(std::time::Duration::from_secs(2))
        .enable_all()
        .build()
        .map_err(|err| Failure::new(format!("starting the runtime: {err}")))?;
    let ended = runtime.block_on(async {
        let signals = Signals::install()
            .map_err(|err| Failure::new(format!("installing signal handlers: {err}")))?;
        let env = Arc::clone(&snapshot.env);
        let mut setup = Setup::new(snapshot, (*env).clone(), context.paths.clone(), options);
        setup.inherited = inherited;
        let built = gateway::build(setup)
            .await
            .map_err(|err| Failure::with_code(err.to_string(), err.exit_code(&env)))?;
        tracing::info!("log file: {}", log_file.display());
        let notifier = Notifier;
        let status = built
            .addresses()
            .first()
            .map(|address| format!("listening on {address}"))
            .unwrap_or_default();
        notifier.ready(&status);
        let exit = built.run(signals).await;
        if exit.clean {
            Ok(Outcome::default())
        } else {
            Err(Failure::with_code("shutdown timed out; exiting without full cleanup", 1))
        }
    });
    // A blocking read of a file somewhere must not hold the process.
    runtime.shutdown_background();
    ended
}

fn is_dev(context: &Context, options: &RunOptions) -> bool {
    options.dev || context.paths.profile.as_deref() == Some("dev")
}

fn log_options(context: &Context, snapshot: &Snapshot, options: &RunOptions) -> logging::Options {
    let setting = |key: &str| snapshot.config.logging.get(key).and_then(serde_json::Value::as_str);
    let mut chosen = logging::Options::in_dir(context.paths.logs());
    chosen.file = setting("file").map(|file| paths::expand(file, &context.paths.home));
    chosen.profile.clone_from(&context.paths.profile);
    chosen.colour = false;
    let level = |text: Option<&str>| text.and_then(logging::parse_level);
    if let Some(file_level) = level(setting("level")) {
        chosen.file_level = file_level;
    }
    if let Some(console_level) =
        level(context.log_level.as_deref()).or_else(|| level(setting("consoleLevel")))
    {
        chosen.console_level = console_level;
    }
    if options.verbose {
        chosen.console_level = logging::parse_level("debug").unwrap_or(chosen.console_level);
    }
    chosen
}
