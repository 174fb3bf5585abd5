//! One log event as text: its subsystem, its message, its fields.
//!
//! Pure formatting, shared by all layers, so that a line reads the same on the
//! terminal, in the file and in the journal.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

use crate::base::clock;
use crate::base::redact::{self, redact};
use crate::base::secret::Secret;
use crate::logging::catalog;

/// Whether secrets are hidden (`logging.redactSensitive` is not `off`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redaction {
    On,
    Off,
}

static SHOW_ALL: AtomicBool = AtomicBool::new(false);
/// Values that no line may hold, whatever the settings.
static CONCEALED: RwLock<Vec<Secret>> = RwLock::new(Vec::new());

/// Hides or shows what looks like a secret, from here on.
pub(super) fn set_redaction(redaction: Redaction) {
    SHOW_ALL.store(redaction == Redaction::Off, Ordering::Relaxed);
}

fn redaction() -> Redaction {
    if SHOW_ALL.load(Ordering::Relaxed) { Redaction::Off } else { Redaction::On }
}

/// Keeps exactly these values out of every line from here on.
pub fn conceal(values: Vec<Secret>) {
    *CONCEALED.write().unwrap_or_else(PoisonError::into_inner) = values;
}

/// The text without concealed values, if it holds any.
fn without_concealed(text: &str) -> Option<String> {
    let concealed = CONCEALED.read().unwrap_or_else(PoisonError::into_inner);
    match redact::without(text, concealed.iter().map(Secret::expose)) {
        Cow::Owned(clean) => Some(clean),
        Cow::Borrowed(_) => None,
    }
}

/// A log event, ready to be written.
#[derive(Debug)]
pub struct Line {
    pub level: Level,
    pub subsystem: Cow<'static, str>,
    /// Message and fields, secrets hidden.
    pub text: String,
    /// Whether something was hidden in this line.
    pub hidden: bool,
    /// The fields once more, for layers that keep them apart.
    pub fields: Vec<(&'static str, String)>,
    /// The event of the gateway's life that this line is about.
    pub event: Option<String>,
    pub at: Timestamp,
}

impl Line {
    pub fn of(event: &Event<'_>) -> Self {
        let redaction = redaction();
        let mut recorded = Fields::default();
        event.record(&mut recorded);
        let (mut fields, event_name) = (recorded.rest, recorded.event);
        let mut hid = false;
        if redaction == Redaction::On {
            for (name, value) in &mut fields {
                if let Cow::Owned(hidden) = redact(&format!("{name}={value}")) {
                    hidden[name.len() + 1..].clone_into(value);
                    hid = true;
                }
            }
        }
        let text = text(recorded.message, &fields);
        let mut text = match (redaction, redact(&text)) {
            (Redaction::On, Cow::Owned(hidden)) => {
                hid = true;
                hidden
            }
            _ => text,
        };
        for text in fields.iter_mut().map(|(_, value)| value).chain([&mut text]) {
            if let Some(clean) = without_concealed(text) {
                *text = clean;
                hid = true;
            }
        }
        let meta = event.metadata();
        let millis = i64::try_from(clock::now_ms()).unwrap_or(i64::MAX);
        Self {
            level: *meta.level(),
            subsystem: subsystem(meta.target()),
            text,
            hidden: hid,
            fields,
            event: event_name,
            at: Timestamp::from_millisecond(millis).unwrap_or_default(),
        }
    }

    /// The line as the JSONL file keeps it, newline included.
    pub fn to_json(&self, host: &str, zone: &TimeZone) -> String {
        let name = json!({ "subsystem": self.subsystem }).to_string();
        let (id, level) = level_name(self.level);
        let mut line = json!({
            "0": name,
            "1": self.text,
            "_meta": {
                "runtime": "rust",
                "runtimeVersion": crate::base::VERSION,
                "hostname": host,
                "name": name,
                "parentNames": ["openclaw"],
                "date": format!("{:.3}", self.at),
                "logLevelId": id,
                "logLevelName": level,
            },
            "time": self.local_time(zone),
        })
        .to_string();
        line.push('\n');
        line
    }

    /// Local time with milliseconds and offset.
    pub fn local_time(&self, zone: &TimeZone) -> String {
        self.at.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string()
    }
}

/// Number and name of a level in the file's format.
pub fn level_name(level: Level) -> (u8, &'static str) {
    match level {
        Level::TRACE => (1, "TRACE"),
        Level::DEBUG => (2, "DEBUG"),
        Level::INFO => (3, "INFO"),
        Level::WARN => (4, "WARN"),
        Level::ERROR => (5, "ERROR"),
    }
}

/// `gateway/ws` for the target `openclaw::gateway::ws::socket`; other targets
/// stand for themselves.
fn subsystem(target: &'static str) -> Cow<'static, str> {
    let Some(module) = target.strip_prefix("openclaw::") else {
        return Cow::Borrowed(target);
    };
    let mut parts = module.split("::");
    let first = parts.next().unwrap_or("openclaw");
    match (first, parts.next()) {
        ("gateway" | "agents" | "channels", Some(second)) => format!("{first}/{second}").into(),
        _ => first.into(),
    }
}

/// The message and ` key=value` for every field.
fn text(message: String, fields: &[(&'static str, String)]) -> String {
    let mut text = message;
    for (name, value) in fields {
        let space = if text.is_empty() { "" } else { " " };
        let _written = write!(text, "{space}{name}={value}");
    }
    text
}

/// Collects message and fields of an event.
#[derive(Debug, Default)]
struct Fields {
    message: String,
    event: Option<String>,
    rest: Vec<(&'static str, String)>,
}

impl Fields {
    fn push(&mut self, field: &Field, value: String) {
        if field.name() == "message" {
            self.message = value;
        } else if field.name() == catalog::FIELD {
            self.event = Some(value);
        } else if !field.name().starts_with("log.") {
            self.rest.push((field.name(), value));
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, value.to_owned());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(error) = cause {
            let _written = write!(text, ": {error}");
            cause = error.source();
        }
        self.push(field, text);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.push(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_layout_that_readers_of_the_file_expect() {
        let line = Line {
            level: Level::WARN,
            subsystem: "gateway/ws".into(),
            text: "closed before connect code=1008".into(),
            hidden: false,
            fields: Vec::new(),
            event: None,
            at: Timestamp::from_millisecond(1_795_349_376_451).unwrap(),
        };
        let text = line.to_json("box", &TimeZone::fixed(jiff::tz::offset(1)));
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(text.ends_with("}\n"));
        assert_eq!(json["0"], r#"{"subsystem":"gateway/ws"}"#);
        assert_eq!(json["1"], "closed before connect code=1008");
        assert_eq!(json["time"], "2026-11-22T13:09:36.451+01:00");
        assert_eq!(
            json["_meta"],
            json!({
                "runtime": "rust",
                "runtimeVersion": crate::base::VERSION,
                "hostname": "box",
                "name": r#"{"subsystem":"gateway/ws"}"#,
                "parentNames": ["openclaw"],
                "date": "2026-11-22T12:09:36.451Z",
                "logLevelId": 4,
                "logLevelName": "WARN",
            })
        );
    }

    #[test]
    fn a_module_path_becomes_a_subsystem() {
        assert_eq!(subsystem("openclaw::gateway::ws::socket"), "gateway/ws");
        assert_eq!(subsystem("openclaw::supervise::systemd"), "supervise");
        assert_eq!(subsystem("health-monitor"), "health-monitor");
    }
}
