//! Reads the end of a log file for `logs.tail` and `openclaw logs`.
//!
//! A cursor is a byte offset into the file; it moves to the end with every
//! read. Blocking: call it where blocking is allowed.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::logging::file::is_daily;

/// What to read. Limits are applied, not refused: the caller has validated.
#[derive(Debug, Clone, Copy)]
pub struct TailRequest {
    /// Offset that an earlier read returned.
    pub cursor: Option<u64>,
    /// Lines, counted from the end.
    pub limit: usize,
    pub max_bytes: u64,
}

impl Default for TailRequest {
    fn default() -> Self {
        Self { cursor: None, limit: 500, max_bytes: 250_000 }
    }
}

/// Result of `logs.tail`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tail {
    pub file: PathBuf,
    pub cursor: u64,
    pub size: u64,
    pub lines: Vec<String>,
    /// Lines before the first one were left out.
    pub truncated: bool,
    /// The cursor did not fit the file any more; this is a fresh tail.
    pub reset: bool,
}

/// Reads what was added since the cursor, or the end of the file.
///
/// A missing daily file is replaced by the newest daily file beside it; when
/// there is none the result is empty.
pub fn read(file: &Path, request: TailRequest) -> io::Result<Tail> {
    let file = if file.exists() { file.to_owned() } else { newest_daily(file) };
    let empty =
        |file| Tail { file, cursor: 0, size: 0, lines: Vec::new(), truncated: false, reset: false };
    let mut open = match File::open(&file) {
        Ok(open) => open,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(empty(file)),
        Err(err) => return Err(err),
    };
    let size = open.metadata()?.len();
    let max_bytes = request.max_bytes.clamp(1, 1_000_000);
    let tail_start = size.saturating_sub(max_bytes);
    let (start, truncated, reset) = match request.cursor {
        Some(cursor) if cursor > size => (tail_start, tail_start > 0, true),
        Some(cursor) if size - cursor > max_bytes => (tail_start, true, true),
        Some(cursor) => (cursor, false, false),
        None => (tail_start, tail_start > 0, false),
    };
    if size == start {
        return Ok(Tail { cursor: size, size, truncated, reset, ..empty(file) });
    }
    // One byte more tells whether the first line is whole.
    let from = start.saturating_sub(1);
    open.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    open.take(size - from).read_to_end(&mut bytes)?;
    let whole = start == 0 || bytes.first() == Some(&b'\n');
    let text = String::from_utf8_lossy(&bytes[usize::from(start > 0).min(bytes.len())..]);
    let mut lines: Vec<&str> = text.split('\n').collect();
    if !whole && !lines.is_empty() {
        lines.remove(0);
    }
    if lines.last() == Some(&"") {
        lines.pop();
    }
    let surplus = lines.len().saturating_sub(request.limit.clamp(1, 5000));
    let lines = lines[surplus..].iter().map(|line| (*line).to_owned()).collect();
    Ok(Tail { file, cursor: size, size, lines, truncated, reset })
}

/// The newest daily log beside a missing daily log; else the path itself.
fn newest_daily(file: &Path) -> PathBuf {
    if !is_daily(file) {
        return file.to_owned();
    }
    let newest = file
        .parent()
        .and_then(|dir| fs::read_dir(dir).ok())
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| is_daily(path))
        .max_by_key(|path| fs::metadata(path).and_then(|meta| meta.modified()).ok());
    newest.unwrap_or_else(|| file.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(path: &Path, cursor: Option<u64>, limit: usize, max_bytes: u64) -> Tail {
        read(path, TailRequest { cursor, limit, max_bytes }).unwrap()
    }

    #[test]
    fn a_cursor_continues_where_the_last_read_ended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        fs::write(&path, "one\ntwo\n").unwrap();
        let first = tail(&path, None, 500, 250_000);
        assert_eq!((first.lines.len(), first.cursor, first.truncated), (2, 8, false));
        fs::write(&path, "one\ntwo\nthree\n").unwrap();
        let next = tail(&path, Some(first.cursor), 500, 250_000);
        assert_eq!(next.lines, ["three"]);
        let idle = tail(&path, Some(next.cursor), 500, 250_000);
        assert_eq!((idle.lines.len(), idle.cursor, idle.reset), (0, 14, false));
    }

    #[test]
    fn a_cursor_beyond_the_end_or_too_far_back_starts_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        fs::write(&path, "one\ntwo\nthree\n").unwrap();
        let rotated = tail(&path, Some(99), 500, 250_000);
        assert_eq!((rotated.lines.len(), rotated.reset, rotated.truncated), (3, true, false));
        let far = tail(&path, Some(0), 500, 6);
        assert_eq!((far.lines, far.reset, far.truncated), (vec!["three".to_owned()], true, true));
    }

    #[test]
    fn a_partial_first_line_is_dropped_and_the_last_lines_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        fs::write(&path, "one\ntwo\nthree\nfour").unwrap();
        assert_eq!(tail(&path, None, 500, 10).lines, ["three", "four"]);
        assert_eq!(tail(&path, None, 500, 9).lines, ["four"]);
        assert_eq!(tail(&path, None, 1, 250_000).lines, ["four"]);
    }

    #[test]
    fn a_missing_daily_file_falls_back_to_the_newest_one() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("openclaw-2026-11-23.log");
        let none = tail(&missing, None, 500, 250_000);
        assert_eq!((none.file, none.cursor, none.lines.len()), (missing.clone(), 0, 0));
        fs::write(dir.path().join("openclaw-2026-11-22.log"), "x\n").unwrap();
        fs::write(dir.path().join("other.log"), "y\n").unwrap();
        assert_eq!(tail(&missing, None, 500, 250_000).lines, ["x"]);
        let fixed = dir.path().join("mine.log");
        assert_eq!(tail(&fixed, None, 500, 250_000).lines.len(), 0);
    }
}
