//! `gateway run`: the gateway in the foreground, until it is asked to stop.

use std::net::TcpListener;

use serde_json::Value;

use crate::cli::args::gateway::RunArgs;
use crate::cli::commands::dev::{self, Reset};
use crate::cli::context::Context;
use crate::cli::ui::{CommandResult, Failure, Outcome};
use crate::config::Snapshot;
use crate::config::gate::StartRefusal;
use crate::gateway::RunOptions;
use crate::gateway::process::{self, Ended, Process};
use crate::lifecycle::child;
use crate::logging::{self, Redaction};
use crate::supervise::activation::{self, Inherited};
use crate::supervise::signals::Signals;
use crate::supervise::spec::IDLE_STATUS;

/// Threads that serve; more of them wait than work.
const MAX_WORKERS: usize = 8;
/// How long threads that still block may hold the end.
const LAST_THREADS: std::time::Duration = std::time::Duration::from_millis(500);

/// Runs the gateway to its end.
pub fn run(context: &Context, args: RunArgs) -> CommandResult {
    let options = args.into_options();
    match refuse(context, &options) {
        Some(refusal) => stay(context, options, Failure::new(refusal)),
        None => serve(context, options, None),
    }
}

/// What arguments like these mean for a process that a socket unit started:
/// leaving would have it started again by every client, so it stays and says
/// why. Anywhere else they are the end.
pub fn misused(context: &Context, failure: Failure) -> CommandResult {
    stay(context, RunOptions::default(), failure)
}

fn stay(context: &Context, options: RunOptions, failure: Failure) -> CommandResult {
    if activation::is_activated(&context.env) {
        let text = failure.to_string();
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let lines: Vec<&str> = lines.collect();
        serve(context, options, Some(StartRefusal::plain([lines.join("; ")])))
    } else {
        Err(failure)
    }
}

/// Flags that cannot be meant.
fn refuse(context: &Context, options: &RunOptions) -> Option<&'static str> {
    if options.reset && !is_dev(context, options) {
        return Some("Use --reset with --dev.");
    }
    let style = options.ws_log.as_deref();
    style
        .is_some_and(|style| !matches!(style, "auto" | "full" | "compact"))
        .then_some("Invalid --ws-log (use \"auto\", \"full\", \"compact\")")
}

fn serve(context: &Context, options: RunOptions, refusal: Option<StartRefusal>) -> CommandResult {
    if is_dev(context, &options) {
        let reset = if options.reset { Reset::Yes } else { Reset::No };
        for line in dev::prepare(context, reset)? {
            context.ui.err(&format!("{line}\n"));
        }
    }
    let passed = activation::inherited(&context.env)
        // They will be as unusable the next time.
        .map_err(|err| Failure::with_code(err.to_string(), 78))?;
    let Inherited { listeners, unfinished } = passed;
    let (inherited, kept) = if activation::is_own(&context.env) {
        (Vec::new(), listeners)
    } else {
        (listeners, Vec::new())
    };
    // Its own: what the context holds would outlive the secrets in it.
    let snapshot = crate::config::load::read(&context.paths, &context.env);
    without_core_dumps();
    let log_file = logging::init(&log_options(context, &snapshot, &options))
        .map_err(|err| Failure::new(format!("{err}")))?;
    if options.cli_backend_logs {
        context.ui.err(&format!(
            "Only lines of command-line model backends are shown here, and this gateway runs \
             none; all others are in {}\n",
            log_file.display()
        ));
    }
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_keep_alive(std::time::Duration::from_secs(2))
        .enable_all()
        .build()
        .map_err(|err| Failure::new(format!("starting the runtime: {err}")))?;
    let setup = Process {
        env: (*context.env).clone(),
        paths: context.paths.clone(),
        options,
        inherited,
        unfinished,
        kept,
        refusal,
    };
    let ended = runtime.block_on(async {
        let signals = Signals::install()
            .map_err(|err| Failure::new(format!("installing signal handlers: {err}")))?;
        tracing::info!("log file: {}", log_file.display());
        Ok::<_, Failure>(Box::pin(process::run(setup, snapshot, signals)).await)
    });
    // A blocking read of a file somewhere must not hold the process.
    runtime.shutdown_timeout(LAST_THREADS);
    match ended? {
        Ended::Done { clean: true } => Ok(Outcome::default()),
        Ended::Done { clean: false } => {
            Err(Failure::with_code("shutdown timed out; exiting without full cleanup", 1))
        }
        Ended::Idle => Ok(Outcome::default().with_code(IDLE_STATUS)),
        Ended::Restart(listeners) => Err(restart_in_place(&listeners)),
        Ended::Refused(err) => {
            Err(Failure::with_code(err.to_string(), err.exit_code(&context.env)))
        }
    }
}

/// A dump of this process would hold every secret. The hard limit stays, so
/// that a program run by an agent may have its own. The value is the one that
/// also keeps a dump from a collecting program.
fn without_core_dumps() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let limited = getrlimit(Resource::RLIMIT_CORE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_CORE, hard.min(1), hard));
    if let Err(err) = limited {
        tracing::warn!(%err, "core dumps are not switched off");
    }
}

fn is_dev(context: &Context, options: &RunOptions) -> bool {
    options.dev || context.paths.profile.as_deref() == Some("dev")
}

fn log_options(context: &Context, snapshot: &Snapshot, options: &RunOptions) -> logging::Options {
    let setting = |key: &str| snapshot.config.logging.get(key).and_then(Value::as_str);
    let mut chosen = logging::Options::in_dir(context.paths.logs());
    chosen.file = snapshot.log_file();
    chosen.profile.clone_from(&context.paths.profile);
    chosen.colour = false;
    if setting("redactSensitive") == Some("off") {
        chosen.redaction = Redaction::Off;
    }
    if let Some(bytes) = snapshot.config.logging.get("maxFileBytes").and_then(Value::as_u64) {
        chosen.max_file_bytes = bytes;
    }
    let level = |text: Option<&str>| text.and_then(logging::parse_level);
    if let Some(file_level) = level(setting("level")) {
        chosen.file_level = file_level;
    }
    if let Some(console_level) =
        level(context.log_level.as_deref()).or_else(|| level(setting("consoleLevel")))
    {
        chosen.console_level = console_level;
    }
    chosen.console_fixed = options.verbose || context.log_level.is_some();
    chosen.console_only = options.cli_backend_logs.then_some("agent/cli-backend");
    if options.verbose {
        chosen.console_level = logging::parse_level("debug").unwrap_or(chosen.console_level);
    }
    chosen
}

/// Replaces this process by a fresh one with the same arguments; the process id
/// and the listeners stay. Returns only when that fails.
fn restart_in_place(listeners: &[TcpListener]) -> Failure {
    use std::os::unix::process::CommandExt as _;
    match std::env::current_exe() {
        Ok(program) => {
            let mut fresh = child::blocking(program);
            fresh.args(std::env::args_os().skip(1));
            match activation::hand_over(listeners) {
                Ok(variables) => drop(fresh.envs(variables)),
                Err(err) => tracing::warn!(%err, "the port is closed for a moment"),
            }
            let err = fresh.exec();
            Failure::new(format!("starting over: {err}"))
        }
        Err(err) => Failure::new(format!("finding this program: {err}")),
    }
}
