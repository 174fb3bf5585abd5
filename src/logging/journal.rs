//! Lines in the systemd journal, with their fields (`OPENCLAW_CONN=…`).
//!
//! Attached only when stderr is connected to the journal, in place of the
//! console: otherwise every line would be there twice. Speaks to journald
//! through `libsystemd`, not through a ready-made tracing layer, because such a
//! layer would write the fields before secrets are hidden.

use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use crate::logging::Options;
use crate::logging::line::Redaction;

/// Writes events to the journal.
#[derive(Debug)]
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "there is no journal"))]
pub struct JournalLayer {
    redaction: Redaction,
    profile: String,
}

/// The journal layer, or `None` where stderr is not connected to a journal.
pub fn layer(options: &Options) -> Option<JournalLayer> {
    #[cfg(target_os = "linux")]
    let connected = libsystemd::logging::connected_to_journal();
    #[cfg(not(target_os = "linux"))]
    let connected = false;
    connected.then(|| JournalLayer {
        redaction: options.redaction,
        profile: options.profile.clone().unwrap_or_else(|| "default".into()),
    })
}

impl<S: Subscriber> Layer<S> for JournalLayer {
    #[cfg(target_os = "linux")]
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        use crate::logging::line::Line;

        let line = Line::of(event, self.redaction);
        let fields = linux::fields(&line, &self.profile);
        let priority = linux::priority(line.level);
        if libsystemd::logging::journal_send(priority, &line.text, fields.iter().cloned()).is_err()
        {
            // journald is away; stderr is its stream and may be read later.
            use std::io::Write;
            let _closed = writeln!(std::io::stderr().lock(), "[{}] {}", line.subsystem, line.text);
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn on_event(&self, _event: &Event<'_>, _context: Context<'_, S>) {}
}

#[cfg(target_os = "linux")]
mod linux {
    use libsystemd::logging::Priority;
    use tracing::Level;

    use crate::logging::line::Line;

    pub(super) fn priority(level: Level) -> Priority {
        match level {
            Level::ERROR => Priority::Error,
            Level::WARN => Priority::Warning,
            Level::INFO => Priority::Info,
            Level::DEBUG | Level::TRACE => Priority::Debug,
        }
    }

    /// Journal fields of a line, besides its text and priority.
    pub(super) fn fields(line: &Line, profile: &str) -> Vec<(String, String)> {
        let mut fields = vec![
            ("SYSLOG_IDENTIFIER".to_owned(), "openclaw-gateway".to_owned()),
            ("OPENCLAW_SUBSYSTEM".to_owned(), line.subsystem.to_string()),
            ("OPENCLAW_PROFILE".to_owned(), profile.to_owned()),
        ];
        fields.extend(line.fields.iter().filter_map(|(name, value)| {
            let name: String = name
                .chars()
                .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
                .take(50)
                .collect();
            (!name.is_empty()).then(|| (format!("OPENCLAW_{name}"), value.clone()))
        }));
        fields
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn fields_of_a_line_become_journal_fields() {
            let line = Line {
                level: Level::INFO,
                subsystem: "gateway/ws".into(),
                text: "closed conn=7".into(),
                fields: vec![("conn", "7".into())],
                at: jiff::Timestamp::UNIX_EPOCH,
            };
            let fields = fields(&line, "dev");
            assert!(fields.contains(&("OPENCLAW_CONN".into(), "7".into())));
            assert!(fields.contains(&("OPENCLAW_PROFILE".into(), "dev".into())));
        }
    }
}
