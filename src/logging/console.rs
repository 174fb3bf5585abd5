//! Lines on stderr: `<local time> [<subsystem>] <message>`.

use std::io::Write;
use std::sync::OnceLock;

use anstyle::{AnsiColor, Style as Colour};
use jiff::tz::TimeZone;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use crate::logging::Options;
use crate::logging::line::{Line, level_name};

/// `logging.consoleStyle`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Style {
    /// Time, subsystem, message.
    #[default]
    Pretty,
    /// Subsystem and message; the reader knows the time.
    Compact,
    /// One JSON object per line.
    Json,
}

impl Style {
    /// Reads the configured spelling; unknown ones are `Pretty`.
    pub fn parse(text: &str) -> Self {
        match text {
            "compact" => Self::Compact,
            "json" => Self::Json,
            _ => Self::Pretty,
        }
    }
}

/// Writes events to stderr.
#[derive(Debug)]
pub struct ConsoleLayer {
    style: Style,
    colour: bool,
    zone: OnceLock<TimeZone>,
}

impl ConsoleLayer {
    pub fn new(options: &Options) -> Self {
        Self { style: options.style, colour: options.colour, zone: OnceLock::new() }
    }

    fn render(&self, line: &Line) -> String {
        let zone = self.zone.get_or_init(TimeZone::system);
        let (on, off) = match (self.colour, colour_of(line.level)) {
            (true, Some(colour)) => (colour.render().to_string(), "\u{1b}[0m"),
            _ => (String::new(), ""),
        };
        let Line { subsystem, text, .. } = line;
        match self.style {
            Style::Pretty => {
                format!("{} [{subsystem}] {on}{text}{off}\n", line.local_time(zone))
            }
            Style::Compact => format!("[{subsystem}] {on}{text}{off}\n"),
            Style::Json => {
                let (_, level) = level_name(line.level);
                let mut out = serde_json::json!({
                    "time": line.local_time(zone),
                    "level": level.to_ascii_lowercase(),
                    "subsystem": subsystem,
                    "message": text,
                })
                .to_string();
                out.push('\n');
                out
            }
        }
    }
}

impl<S: Subscriber> Layer<S> for ConsoleLayer {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let text = self.render(&Line::of(event));
        // A closed stderr must not stop the gateway.
        let _closed = std::io::stderr().lock().write_all(text.as_bytes());
    }
}

fn colour_of(level: Level) -> Option<Colour> {
    match level {
        Level::ERROR => Some(AnsiColor::Red.on_default()),
        Level::WARN => Some(AnsiColor::Yellow.on_default()),
        Level::INFO => None,
        Level::DEBUG | Level::TRACE => Some(AnsiColor::BrightBlack.on_default()),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn each_style_shows_subsystem_and_message() {
        let line = Line {
            level: Level::ERROR,
            subsystem: "gateway".into(),
            text: "port taken".into(),
            hidden: false,
            fields: Vec::new(),
            event: None,
            at: Timestamp::from_millisecond(1_795_349_376_451).unwrap(),
        };
        let render = |style, colour| {
            let options =
                Options { style, colour, ..Options::in_dir(std::path::PathBuf::from("/")) };
            let layer = ConsoleLayer::new(&options);
            layer.zone.set(TimeZone::UTC).unwrap();
            layer.render(&line)
        };
        assert_eq!(
            render(Style::Pretty, false),
            "2026-11-22T12:09:36.451+00:00 [gateway] port taken\n"
        );
        assert_eq!(render(Style::Compact, true), "[gateway] \u{1b}[31mport taken\u{1b}[0m\n");
        assert_eq!(
            render(Style::Json, true),
            concat!(
                r#"{"time":"2026-11-22T12:09:36.451+00:00","level":"error","#,
                r#""subsystem":"gateway","message":"port taken"}"#,
                "\n"
            )
        );
    }
}
