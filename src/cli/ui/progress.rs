//! One line on a terminal that says what is going on, and is gone afterwards.

use std::io::{self, IsTerminal, Write};

/// The line; nothing where nobody looks.
#[derive(Debug)]
pub struct Progress {
    on: bool,
    shown: bool,
}

impl Progress {
    /// Quiet unless stderr is a terminal.
    pub fn new(wanted: bool) -> Self {
        Self { on: wanted && io::stderr().is_terminal(), shown: false }
    }

    /// Replaces the line. Nobody can be told when that fails.
    pub fn show(&mut self, text: &str) {
        if self.on {
            let mut stderr = io::stderr().lock();
            drop(write!(stderr, "\r\x1b[2K{text}").and_then(|()| stderr.flush()));
            self.shown = true;
        }
    }

    /// Takes the line away.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let mut stderr = io::stderr().lock();
            drop(write!(stderr, "\r\x1b[2K").and_then(|()| stderr.flush()));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
