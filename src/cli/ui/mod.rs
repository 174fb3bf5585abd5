//! The terminal: data goes to stdout, talk to stderr, colour only where a
//! person looks. Nothing else in the program prints.

pub mod age;
pub mod desk;
pub mod log_line;
pub mod note;
pub mod page;
pub mod paint;
pub mod parse_error;
pub mod progress;
pub mod table;

use std::io::{self, BufRead, IsTerminal, Write};

use serde::Serialize;

use crate::cli::ui::paint::Palette;
use crate::profile::env::Env;

/// The two streams of this process.
#[derive(Debug, Clone, Copy)]
pub struct Ui {
    pub out: Palette,
    pub err: Palette,
    /// Whether stdout is a terminal.
    pub terminal: bool,
}

impl Ui {
    /// Colours are used on a terminal unless the user said no.
    pub fn new(env: &Env, no_color: bool) -> Self {
        let wanted = !no_color && env.get("NO_COLOR").is_none() && env.get("TERM") != Some("dumb");
        Self {
            out: Palette::new(wanted && io::stdout().is_terminal()),
            err: Palette::new(wanted && io::stderr().is_terminal()),
            terminal: io::stdout().is_terminal(),
        }
    }

    /// Writes data; a missing final newline is added.
    pub fn out(&self, text: &str) -> io::Result<()> {
        write(io::stdout().lock(), text)
    }

    /// Whether a person is there to answer.
    pub fn interactive(&self) -> bool {
        self.terminal && io::stdin().is_terminal()
    }

    /// Asks a person; anything but a yes is a no.
    pub fn confirm(&self, question: &str) -> io::Result<bool> {
        let mut out = io::stdout().lock();
        write!(out, "{question} [y/N] ")?;
        out.flush()?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }

    /// Writes talk. Nobody can be told when that fails.
    pub fn err(&self, text: &str) {
        drop(write(io::stderr().lock(), text));
    }
}

fn write(mut stream: impl Write, text: &str) -> io::Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    stream.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        stream.write_all(b"\n")?;
    }
    stream.flush()
}

/// One JSON document, indented by two spaces, without the final newline.
pub fn json(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).expect("JSON values have string keys")
}

/// What a finished command leaves behind: data and talk in the order in which
/// a person at a terminal reads them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    parts: Vec<(Stream, String)>,
    pub code: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    Out,
    Err,
}

impl Outcome {
    pub fn text(stdout: impl Into<String>) -> Self {
        Self { parts: vec![(Stream::Out, stdout.into())], code: 0 }
    }

    pub fn json(value: &impl Serialize) -> Self {
        Self::text(json(value))
    }

    /// Adds lines of data.
    pub fn say(&mut self, text: impl AsRef<str>) {
        self.add(Stream::Out, text.as_ref());
    }

    /// Adds lines of talk.
    pub fn warn(&mut self, text: impl AsRef<str>) {
        self.add(Stream::Err, text.as_ref());
    }

    fn add(&mut self, stream: Stream, text: &str) {
        match self.parts.last_mut() {
            Some((last, lines)) if *last == stream => {
                lines.push_str(text);
                lines.push('\n');
            }
            _ => self.parts.push((stream, format!("{text}\n"))),
        }
    }

    #[must_use]
    pub fn with_code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// Puts talk before everything else.
    #[must_use]
    pub fn with_stderr(mut self, stderr: impl Into<String>) -> Self {
        self.parts.insert(0, (Stream::Err, stderr.into()));
        self
    }

    /// Everything that goes to stdout.
    pub fn stdout(&self) -> String {
        self.stream(Stream::Out)
    }

    /// Everything that goes to stderr.
    pub fn stderr(&self) -> String {
        self.stream(Stream::Err)
    }

    fn stream(&self, wanted: Stream) -> String {
        let texts = self.parts.iter().filter(|(stream, _)| *stream == wanted);
        texts.map(|(_, text)| text.as_str()).collect()
    }
}

/// Why a command stopped.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Text for stderr, shown as it is, and the exit status.
    #[error("{text}")]
    Said { text: String, code: u8 },
    /// The reader of stdout has gone, which is not our failure.
    #[error("the reader of the output is gone")]
    BrokenPipe,
}

impl Failure {
    pub fn new(text: impl Into<String>) -> Self {
        Self::Said { text: text.into(), code: 1 }
    }

    pub fn with_code(text: impl Into<String>, code: u8) -> Self {
        Self::Said { text: text.into(), code }
    }
}

impl From<io::Error> for Failure {
    fn from(err: io::Error) -> Self {
        if err.kind() == io::ErrorKind::BrokenPipe {
            Self::BrokenPipe
        } else {
            Self::new(format!("writing the output: {err}"))
        }
    }
}

pub type CommandResult = Result<Outcome, Failure>;

/// Prints what a command left behind and picks the exit status: the one place
/// where results and errors reach the terminal.
pub fn finish(ui: Ui, result: CommandResult) -> u8 {
    let outcome = match result {
        Ok(outcome) => outcome,
        Err(Failure::Said { text, code }) => {
            ui.err(&text);
            return code;
        }
        Err(Failure::BrokenPipe) => return 0,
    };
    for (stream, text) in &outcome.parts {
        match stream {
            Stream::Err => ui.err(text),
            Stream::Out => {
                if let Err(err) = ui.out(text) {
                    return finish(ui, Err(err.into()));
                }
            }
        }
    }
    outcome.code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_ends_with_exactly_one_newline() {
        for (text, expected) in [("", ""), ("a", "a\n"), ("a\n", "a\n")] {
            let mut bytes = Vec::new();
            write(&mut bytes, text).unwrap();
            assert_eq!(bytes, expected.as_bytes());
        }
    }

    #[test]
    fn data_and_talk_keep_their_order_and_their_streams() {
        let mut outcome = Outcome::default();
        outcome.say("a");
        outcome.say("b");
        outcome.warn("c");
        outcome.say("d");
        assert_eq!(outcome.parts.len(), 3);
        assert_eq!(outcome.stdout(), "a\nb\nd\n");
        assert_eq!(outcome.stderr(), "c\n");
    }

    #[test]
    fn a_closed_pipe_is_not_a_failure() {
        let err = io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(matches!(Failure::from(err), Failure::BrokenPipe));
    }
}
