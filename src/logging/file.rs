//! The JSONL log file: one per day, private, bounded, old ones removed.
//!
//! Lines are appended where they occur, one write each, so that none is lost
//! when the process is killed. Volume is low by rule: nothing is logged per
//! token or per frame above debug level.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use crate::logging::Options;
use crate::logging::line::Line;

/// Size at which writing to a file stops (`logging.maxFileBytes`).
pub const DEFAULT_MAX_BYTES: u64 = 524_288_000;

/// Daily files that are kept besides the current one.
const KEPT_DAYS: usize = 6;

/// Name of the file that is written on `date`.
pub fn daily_name(date: Date) -> String {
    format!("openclaw-{date}.log")
}

/// The file that an unconfigured gateway writes to now.
pub fn default_file(dir: &Path, now_ms: u64) -> PathBuf {
    let millis = i64::try_from(now_ms).unwrap_or(i64::MAX);
    let at = jiff::Timestamp::from_millisecond(millis).unwrap_or_default();
    dir.join(daily_name(at.to_zoned(TimeZone::system()).date()))
}

/// Writes events to the log file.
#[derive(Debug)]
pub struct FileLayer {
    dir: PathBuf,
    host: OnceLock<String>,
    zone: OnceLock<TimeZone>,
    sink: Arc<Mutex<Sink>>,
    first: PathBuf,
}

/// Where lines go now; changed while the process runs.
#[derive(Debug)]
pub struct Sink {
    /// `None` for a file per day.
    fixed: Option<PathBuf>,
    max_bytes: u64,
    open: Option<OpenLog>,
}

impl Sink {
    /// Goes on in another file, or up to another size.
    pub fn retarget(&mut self, fixed: Option<PathBuf>, max_bytes: u64) {
        if (&self.fixed, self.max_bytes) != (&fixed, max_bytes) {
            *self = Self { fixed, max_bytes, open: None };
        }
    }
}

#[derive(Debug)]
struct OpenLog {
    path: PathBuf,
    file: File,
    bytes: u64,
    full: bool,
}

impl FileLayer {
    /// Remembers where to write; directory and file are made by the first line,
    /// and again when they go away.
    pub fn new(options: &Options) -> Self {
        let first = match &options.file {
            Some(file) => file.clone(),
            None => default_file(&options.dir, crate::base::clock::now_ms()),
        };
        Self {
            dir: options.dir.clone(),
            host: OnceLock::new(),
            zone: OnceLock::new(),
            sink: Arc::new(Mutex::new(Sink {
                fixed: options.file.clone(),
                max_bytes: options.max_file_bytes,
                open: None,
            })),
            first,
        }
    }

    /// Whether the directory can be had.
    pub fn check(&self) -> io::Result<()> {
        self.first.parent().map_or(Ok(()), create_private_dir)
    }

    /// The file that lines go to at first.
    pub fn path(&self) -> PathBuf {
        self.first.clone()
    }

    /// The part that may be changed later.
    pub fn sink(&self) -> Arc<Mutex<Sink>> {
        Arc::clone(&self.sink)
    }

    /// Appends one line; a file that cannot be written loses it, as there is
    /// nowhere left to say so.
    fn write(&self, line: &Line) {
        let zone = self.zone.get_or_init(TimeZone::system);
        let host = self.host.get_or_init(host_name);
        let text = line.to_json(host, zone);
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        let Sink { fixed, max_bytes, open } = &mut *sink;
        let path = match fixed {
            Some(path) => path.clone(),
            None => self.dir.join(daily_name(line.at.to_zoned(zone.clone()).date())),
        };
        if open.as_ref().is_none_or(|log| log.path != path) {
            *open = OpenLog::append_to(&path).ok();
            if fixed.is_none() {
                prune(&self.dir, &path);
            }
        }
        let Some(log) = open.as_mut() else { return };
        if log.full {
            return;
        }
        if log.bytes + text.len() as u64 > *max_bytes {
            log.full = true;
            let notice = Line {
                level: Level::WARN,
                subsystem: "logging".into(),
                text: format!("log file reached {max_bytes} bytes; no more lines today"),
                hidden: false,
                fields: Vec::new(),
                event: None,
                at: line.at,
            };
            let _lost = log.file.write_all(notice.to_json(host, zone).as_bytes());
            return;
        }
        if log.file.write_all(text.as_bytes()).is_ok() {
            log.bytes += text.len() as u64;
        } else {
            *open = None;
        }
    }
}

impl<S: Subscriber> Layer<S> for FileLayer {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        self.write(&Line::of(event));
    }
}

impl OpenLog {
    fn append_to(path: &Path) -> io::Result<Self> {
        if let Some(dir) = path.parent() {
            create_private_dir(dir)?;
        }
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        let meta = file.metadata()?;
        if meta.permissions().mode() & 0o077 != 0 {
            // Owned by someone else: not ours to change, still good to write to.
            let _refused = file.set_permissions(Permissions::from_mode(0o600));
        }
        Ok(Self { path: path.to_owned(), file, bytes: meta.len(), full: false })
    }
}

/// Creates missing directories private; leaves an existing one as it is.
fn create_private_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Removes the oldest daily files beyond [`KEPT_DAYS`].
fn prune(dir: &Path, current: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    let mut daily: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path != current && is_daily(path))
        .collect();
    daily.sort_unstable();
    let surplus = daily.len().saturating_sub(KEPT_DAYS);
    for path in &daily[..surplus] {
        let _in_use = fs::remove_file(path);
    }
}

/// Whether the name is `openclaw-YYYY-MM-DD.log`.
pub fn is_daily(path: &Path) -> bool {
    path.file_name()
        .and_then(|name| name.to_str())
        .and_then(|name| name.strip_prefix("openclaw-")?.strip_suffix(".log"))
        .is_some_and(|date| date.len() == 10 && date.parse::<Date>().is_ok())
}

fn host_name() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .unwrap_or_else(|| "unknown".into())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn line(text: &str, day: i64) -> Line {
        Line {
            level: Level::INFO,
            subsystem: "gateway".into(),
            text: text.into(),
            hidden: false,
            fields: Vec::new(),
            event: None,
            at: Timestamp::from_second(1_795_349_376 + day * 86_400).unwrap(),
        }
    }

    fn layer(options: &Options) -> FileLayer {
        let layer = FileLayer::new(options);
        layer.check().unwrap();
        layer.zone.set(TimeZone::UTC).unwrap();
        layer
    }

    #[test]
    fn a_day_has_its_own_private_file_and_old_ones_go() {
        let dir = tempfile::tempdir().unwrap();
        let logs = dir.path().join("state/logs");
        let layer = layer(&Options::in_dir(logs.clone()));
        fs::write(logs.join("gateway.log"), "kept").unwrap();
        for day in 0..9 {
            layer.write(&line("hello", day));
        }
        let mut names: Vec<String> = fs::read_dir(&logs)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names.len(), KEPT_DAYS + 2);
        assert_eq!(names[0], "gateway.log");
        assert_eq!(names.last().unwrap(), "openclaw-2026-11-30.log");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&logs.join("openclaw-2026-11-30.log")), 0o600);
        assert_eq!(mode(&logs), 0o700);
    }

    #[test]
    fn lines_go_to_another_file_when_told_so_and_back() {
        let dir = tempfile::tempdir().unwrap();
        let layer = layer(&Options::in_dir(dir.path().to_owned()));
        let (daily, other) = (dir.path().join("openclaw-2026-11-22.log"), dir.path().join("o.log"));
        let counts = || {
            let lines = |path| fs::read_to_string(path).unwrap_or_default().lines().count();
            (lines(&daily), lines(&other))
        };
        layer.write(&line("hello", 0));
        layer.sink().lock().unwrap().retarget(Some(other.clone()), DEFAULT_MAX_BYTES);
        layer.write(&line("hello", 0));
        assert_eq!(counts(), (1, 1));
        layer.sink().lock().unwrap().retarget(Some(other.clone()), 1);
        layer.write(&line("hello", 0));
        assert_eq!(counts(), (1, 2), "one line says that it is full");
        layer.sink().lock().unwrap().retarget(None, DEFAULT_MAX_BYTES);
        layer.write(&line("hello", 0));
        assert_eq!(counts(), (2, 2));
    }

    #[test]
    fn a_full_file_says_so_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("one.log");
        let options = Options {
            file: Some(file.clone()),
            max_file_bytes: 700,
            ..Options::in_dir(dir.path().to_owned())
        };
        let layer = layer(&options);
        for _ in 0..9 {
            layer.write(&line("hello", 0));
        }
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(text.matches("no more lines").count(), 1);
        assert_eq!(text.matches("hello").count(), 2);
    }
}
