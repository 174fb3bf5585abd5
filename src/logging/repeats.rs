//! The same line over and over is written a few times, then counted: a loop
//! somewhere must not push everything else out of the journal and the file.
//!
//! [`told`] says what was left out; somebody has to ask now and then.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use crate::logging::line::Line;

/// How often one line is written within [`WINDOW`].
const BUDGET: u32 = 20;
const WINDOW: Duration = Duration::from_secs(30);
/// Distinct lines that are remembered.
const MOST: usize = 512;

/// Refuses lines that are repeated too often, for every layer at once.
#[derive(Debug, Clone, Copy, Default)]
pub struct RepeatLayer;

/// A line that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    pub level: Level,
    pub subsystem: String,
    pub text: String,
    pub times: u64,
}

#[derive(Debug, Default)]
struct Book(HashMap<u64, Entry>);

#[derive(Debug)]
struct Entry {
    since: Instant,
    written: u32,
    left_out: Option<LeftOut>,
}

static BOOK: Mutex<Option<Book>> = Mutex::new(None);

impl<S: Subscriber> Layer<S> for RepeatLayer {
    fn event_enabled(&self, event: &Event<'_>, _context: Context<'_, S>) -> bool {
        let line = Line::of(event);
        let mut book = BOOK.lock().unwrap_or_else(PoisonError::into_inner);
        book.get_or_insert_default().admit(line, Instant::now())
    }
}

/// What was left out since the last call, and in which number.
pub fn told() -> Vec<LeftOut> {
    let mut book = BOOK.lock().unwrap_or_else(PoisonError::into_inner);
    book.as_mut().map(Book::settle).unwrap_or_default()
}

impl Book {
    fn admit(&mut self, line: Line, now: Instant) -> bool {
        let mut hasher = DefaultHasher::new();
        (line.level.as_str(), &line.subsystem, &line.text).hash(&mut hasher);
        let key = hasher.finish();
        if self.0.len() >= MOST && !self.0.contains_key(&key) {
            self.0.retain(|_, entry| {
                entry.left_out.is_some() || now.duration_since(entry.since) < WINDOW
            });
            if self.0.len() >= MOST {
                // So many different lines are no loop.
                return true;
            }
        }
        let entry = self.0.entry(key).or_insert(Entry { since: now, written: 0, left_out: None });
        if now.duration_since(entry.since) >= WINDOW {
            (entry.since, entry.written) = (now, 0);
        }
        if entry.written < BUDGET {
            entry.written += 1;
            return true;
        }
        let left_out = entry.left_out.get_or_insert_with(|| LeftOut {
            level: line.level,
            subsystem: line.subsystem.into_owned(),
            text: line.text,
            times: 0,
        });
        left_out.times += 1;
        false
    }

    fn settle(&mut self) -> Vec<LeftOut> {
        self.0.values_mut().filter_map(|entry| entry.left_out.take()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        Line {
            level: Level::WARN,
            subsystem: "gateway".into(),
            text: text.into(),
            hidden: false,
            fields: Vec::new(),
            event: None,
            at: jiff::Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_repeated_line_is_counted_and_a_new_window_begins() {
        let mut book = Book::default();
        let now = Instant::now();
        let written = (0..100).filter(|_| book.admit(line("again"), now)).count();
        assert_eq!(written, 20);
        assert!(book.admit(line("another"), now));
        let told = book.settle();
        assert_eq!((told.len(), told[0].times, told[0].text.as_str()), (1, 80, "again"));
        assert_eq!(book.settle(), []);
        assert!(!book.admit(line("again"), now));
        assert!(book.admit(line("again"), now + WINDOW));
    }

    #[test]
    fn many_different_lines_are_all_written() {
        let mut book = Book::default();
        let now = Instant::now();
        assert!((0..2 * MOST).all(|n| book.admit(line(&n.to_string()), now)));
        assert!(book.0.len() <= MOST);
    }
}
