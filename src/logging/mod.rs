//! Floor 1: where log lines go: the terminal or the journal, and the JSONL
//! file that `logs.tail`, `openclaw logs` and the Control UI read.
//!
//! A line's subsystem is its tracing target (`gateway/ws`), or follows from
//! the module that wrote it. Every layer hides secrets. Does not decide levels
//! or paths: the caller reads them from flags, environment and configuration.

pub mod catalog;
pub mod console;
pub mod file;
pub mod journal;
pub mod line;
pub mod repeats;
pub mod tail;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry;

pub use console::Style;
pub use file::{DEFAULT_MAX_BYTES, daily_name, default_file};
pub use line::{Redaction, conceal};

/// The levels in force, by destination; changed while the process runs.
static FILE_LEVEL: AtomicUsize = AtomicUsize::new(0);
static CONSOLE_LEVEL: AtomicUsize = AtomicUsize::new(0);
/// Whether the terminal's level was chosen for this run and stays.
static CONSOLE_FIXED: AtomicBool = AtomicBool::new(false);
/// Where the file's lines go.
static SINK: OnceLock<Arc<Mutex<file::Sink>>> = OnceLock::new();

/// Everything the caller decides about logging.
#[derive(Debug, Clone)]
pub struct Options {
    /// Fixed log file; `None` writes a file per day into `dir`.
    pub file: Option<PathBuf>,
    /// Where daily files are kept and pruned.
    pub dir: PathBuf,
    /// No more lines are written to a file that reached this size.
    pub max_file_bytes: u64,
    pub file_level: LevelFilter,
    pub console_level: LevelFilter,
    /// The console level was chosen for this run: no setting changes it.
    pub console_fixed: bool,
    /// The only subsystem that is shown on the console; `None` for all.
    pub console_only: Option<&'static str>,
    pub style: Style,
    /// Whether the console may use colours.
    pub colour: bool,
    pub redaction: Redaction,
    /// Shown in the journal; `None` for the default profile.
    pub profile: Option<String>,
}

impl Options {
    /// What an unconfigured gateway logs to `dir`.
    pub fn in_dir(dir: PathBuf) -> Self {
        Self {
            file: None,
            dir,
            max_file_bytes: DEFAULT_MAX_BYTES,
            file_level: LevelFilter::INFO,
            console_level: LevelFilter::INFO,
            console_fixed: false,
            console_only: None,
            style: Style::Pretty,
            colour: false,
            redaction: Redaction::On,
            profile: None,
        }
    }
}

/// Why no log lines can be written.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error("logging is already set up in this process")]
    Twice,
}

/// Sets up logging for the whole process. Returns the log file's path.
///
/// Under systemd with stderr connected to the journal, lines go to the journal
/// with their fields instead of to stderr. A directory that cannot be used costs
/// the log file, not the start.
pub fn init(options: &Options) -> Result<PathBuf, InitError> {
    let file = file::FileLayer::new(options);
    let (path, usable, sink) = (file.path(), file.check(), file.sink());
    let journal = journal::layer(options);
    let console = journal.is_none().then(|| console::ConsoleLayer::new(options));
    FILE_LEVEL.store(number(options.file_level), Ordering::Relaxed);
    CONSOLE_LEVEL.store(number(options.console_level), Ordering::Relaxed);
    CONSOLE_FIXED.store(options.console_fixed, Ordering::Relaxed);
    line::set_redaction(options.redaction);
    let subscriber = registry()
        .with(repeats::RepeatLayer.with_filter(most_relevant()))
        .with(file.with_filter(relevant(&FILE_LEVEL)))
        .with(console.map(|layer| layer.with_filter(shown(options.console_only))))
        .with(journal.map(|layer| layer.with_filter(shown(options.console_only))));
    tracing::subscriber::set_global_default(subscriber).map_err(|_taken| InitError::Twice)?;
    SINK.get_or_init(|| sink);
    report_panics();
    if let Err(err) = usable {
        tracing::warn!(file = %path.display(), %err, "no log file is written");
    }
    Ok(path)
}

/// A panic becomes a log line, so that what it says is hidden like any other.
fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let payload = panic.payload();
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message");
        tracing::error!(target: "panic", place, "{text}");
    }));
}

/// The settings of a changed configuration.
#[derive(Debug, Clone)]
pub struct Settings<'a> {
    pub file: Option<&'a str>,
    pub console: Option<&'a str>,
    pub redact: bool,
    /// As in [`Options`].
    pub log_file: Option<PathBuf>,
    pub max_file_bytes: u64,
}

/// Takes over changed settings; what is absent or unknown is the default.
pub fn adjust(settings: &Settings<'_>) {
    if let Some(sink) = SINK.get() {
        let mut sink = sink.lock().unwrap_or_else(PoisonError::into_inner);
        sink.retarget(settings.log_file.clone(), settings.max_file_bytes);
    }
    let level = |text: Option<&str>| text.and_then(parse_level).unwrap_or(LevelFilter::INFO);
    let mut changed = FILE_LEVEL.swap(number(level(settings.file)), Ordering::Relaxed)
        != number(level(settings.file));
    if !CONSOLE_FIXED.load(Ordering::Relaxed) {
        let wanted = number(level(settings.console));
        changed |= CONSOLE_LEVEL.swap(wanted, Ordering::Relaxed) != wanted;
    }
    line::set_redaction(if settings.redact { Redaction::On } else { Redaction::Off });
    if changed {
        tracing::callsite::rebuild_interest_cache();
    }
}

/// More detail is a larger number; nothing at all is 0.
fn number(level: LevelFilter) -> usize {
    level.into_level().map_or(0, |level| match level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    })
}

/// Reads a level in the reference's spelling; `None` when it is not one.
pub fn parse_level(text: &str) -> Option<LevelFilter> {
    Some(match text.trim().to_ascii_lowercase().as_str() {
        "silent" => LevelFilter::OFF,
        "fatal" | "error" => LevelFilter::ERROR,
        "warn" => LevelFilter::WARN,
        "info" => LevelFilter::INFO,
        "debug" => LevelFilter::DEBUG,
        "trace" => LevelFilter::TRACE,
        _ => return None,
    })
}

/// Our own lines up to `level`; of libraries only warnings and errors.
fn relevant(level: &'static AtomicUsize) -> FilterFn<impl Fn(&Metadata<'_>) -> bool> {
    FilterFn::new(move |meta: &Metadata<'_>| is_relevant(meta, level))
}

fn is_relevant(meta: &Metadata<'_>, level: &'static AtomicUsize) -> bool {
    number(LevelFilter::from_level(*meta.level())) <= level.load(Ordering::Relaxed)
        && (is_ours(meta.target()) || *meta.level() <= Level::WARN)
}

/// What the console shows: what is relevant there, of one subsystem if told so.
fn shown(only: Option<&'static str>) -> FilterFn<impl Fn(&Metadata<'_>) -> bool> {
    FilterFn::new(move |meta: &Metadata<'_>| {
        is_relevant(meta, &CONSOLE_LEVEL) && only.is_none_or(|only| meta.target() == only)
    })
}

/// What any destination wants.
fn most_relevant() -> FilterFn<impl Fn(&Metadata<'_>) -> bool> {
    FilterFn::new(|meta: &Metadata<'_>| {
        let most = FILE_LEVEL.load(Ordering::Relaxed).max(CONSOLE_LEVEL.load(Ordering::Relaxed));
        number(LevelFilter::from_level(*meta.level())) <= most
            && (is_ours(meta.target()) || *meta.level() <= Level::WARN)
    })
}

fn is_ours(target: &str) -> bool {
    target == "openclaw" || target.starts_with("openclaw::") || !target.contains("::")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_in_the_spelling_of_the_configuration() {
        assert_eq!(parse_level("silent"), Some(LevelFilter::OFF));
        assert_eq!(parse_level(" WARN "), Some(LevelFilter::WARN));
        assert_eq!(parse_level("loud"), None);
    }

    #[test]
    fn a_library_is_not_ours() {
        assert!(is_ours("gateway/ws"));
        assert!(is_ours("openclaw::gateway::ws"));
        assert!(!is_ours("hyper::proto"));
    }
}
