//! Lines in the systemd journal, with their fields (`OPENCLAW_CONN_ID=…`).
//!
//! Attached only when stderr is connected to the journal, in place of the
//! console: otherwise every line would be there twice. `tracing-journald`
//! writes the entries; a line in which something had to be hidden goes another
//! way, because that layer would write the fields as they were given, and so
//! does one with a message id, which that layer would not know as one.

use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use crate::logging::Options;

/// `SYSLOG_IDENTIFIER=` of every entry.
pub const IDENTIFIER: &str = "openclaw-gateway";

/// Writes events to the journal.
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "there is no journal"))]
#[expect(missing_debug_implementations, reason = "the layer inside has none")]
pub struct JournalLayer {
    profile: String,
    #[cfg(target_os = "linux")]
    native: tracing_journald::Layer,
}

/// The journal layer, or `None` where stderr is not connected to a journal.
#[cfg(target_os = "linux")]
pub fn layer(options: &Options) -> Option<JournalLayer> {
    if !libsystemd::logging::connected_to_journal() {
        return None;
    }
    let profile = options.profile.clone().unwrap_or_else(|| "default".into());
    let native = linux::native(&profile)?;
    Some(JournalLayer { profile, native })
}

/// The journal layer; there is no journal here.
#[cfg(not(target_os = "linux"))]
pub fn layer(_options: &Options) -> Option<JournalLayer> {
    None
}

impl<S> Layer<S> for JournalLayer
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
{
    #[cfg(target_os = "linux")]
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        use crate::logging::line::Line;

        let line = Line::of(event);
        if !line.hidden && line.event.is_none() {
            self.native.on_event(event, context);
            return;
        }
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

    use crate::logging::catalog;
    use crate::logging::journal::IDENTIFIER;
    use crate::logging::line::Line;

    /// The ready-made layer with the priorities that `journalctl -p` users
    /// expect; `None` where there is no journal socket.
    pub(super) fn native(profile: &str) -> Option<tracing_journald::Layer> {
        use tracing_journald::{Priority, PriorityMappings};

        let layer = tracing_journald::layer().ok()?;
        Some(
            layer
                .with_syslog_identifier(IDENTIFIER.to_owned())
                .with_field_prefix(Some("OPENCLAW".to_owned()))
                .with_custom_fields([("OPENCLAW_PROFILE", profile)])
                .with_priority_mappings(PriorityMappings {
                    info: Priority::Informational,
                    debug: Priority::Debug,
                    trace: Priority::Debug,
                    ..PriorityMappings::new()
                }),
        )
    }

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
            ("SYSLOG_IDENTIFIER".to_owned(), IDENTIFIER.to_owned()),
            ("OPENCLAW_SUBSYSTEM".to_owned(), line.subsystem.to_string()),
            ("OPENCLAW_PROFILE".to_owned(), profile.to_owned()),
        ];
        if let Some(event) = &line.event {
            fields.push(("OPENCLAW_EVENT".to_owned(), event.clone()));
            fields.extend(catalog::id(event).map(|id| ("MESSAGE_ID".to_owned(), id.to_owned())));
        }
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
                hidden: false,
                fields: vec![("conn", "7".into())],
                event: Some("ready".into()),
                at: jiff::Timestamp::UNIX_EPOCH,
            };
            let fields = fields(&line, "dev");
            assert!(fields.contains(&("OPENCLAW_CONN".into(), "7".into())));
            assert!(fields.contains(&("OPENCLAW_PROFILE".into(), "dev".into())));
            let id = catalog::id("ready").unwrap().to_owned();
            assert!(fields.contains(&("MESSAGE_ID".into(), id)));
        }
    }
}
