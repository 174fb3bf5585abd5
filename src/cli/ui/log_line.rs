//! One line of the log file for people and for scripts.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use crate::cli::ui::paint::Palette;

/// How lines are shown.
#[derive(Debug, Clone, Default)]
pub struct Form {
    pub json: bool,
    pub local_time: bool,
    pub palette: Palette,
}

/// A line of the log file, understood as far as it goes.
#[derive(Debug, PartialEq, Eq)]
pub struct Line<'a> {
    raw: &'a str,
    parsed: Option<Parsed>,
}

#[derive(Debug, PartialEq, Eq)]
struct Parsed {
    time: Option<String>,
    level: Option<String>,
    subsystem: Option<String>,
    module: Option<String>,
    /// Begins, in the file, with the source once more.
    message: String,
    source: Option<String>,
}

impl<'a> Line<'a> {
    pub fn parse(raw: &'a str) -> Self {
        let parsed = serde_json::from_str::<Map<String, Value>>(raw).ok().map(|line| parse(&line));
        Self { raw, parsed }
    }

    /// The line without its newline.
    pub fn render(&self, form: &Form) -> String {
        let Some(line) = &self.parsed else {
            return if form.json {
                json!({ "type": "raw", "raw": self.raw }).to_string()
            } else {
                self.raw.to_owned()
            };
        };
        if form.json {
            return line.json(self.raw);
        }
        let time = line.time.as_deref().map(|time| shown_time(time, form.local_time));
        let label = line.subsystem.as_ref().or(line.module.as_ref());
        let level = line.level.as_deref().unwrap_or_default();
        let palette = form.palette;
        let tone = |text: &str| match level {
            "error" | "fatal" => palette.bad(text),
            "warn" => palette.warn(text),
            "debug" | "trace" => palette.dim(text),
            _ => text.to_owned(),
        };
        let message = line.own_message();
        let parts = [
            time.map(|time| palette.dim(&time)),
            (!level.is_empty()).then(|| tone(level)),
            label.map(|label| palette.accent(label)),
            (!message.is_empty()).then(|| tone(message)),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

impl Parsed {
    /// The message for people, who are told the source before it.
    fn own_message(&self) -> &str {
        let source = self.source.as_deref().unwrap_or_default();
        self.message.strip_prefix(source).map_or(self.message.as_str(), str::trim_start)
    }

    fn json(&self, raw: &str) -> String {
        let mut line = Map::new();
        line.insert("type".to_owned(), json!("log"));
        let optional = [
            ("time", &self.time),
            ("level", &self.level),
            ("subsystem", &self.subsystem),
            ("module", &self.module),
        ];
        for (key, value) in optional {
            if let Some(value) = value {
                line.insert(key.to_owned(), json!(value));
            }
        }
        line.insert("message".to_owned(), json!(self.message));
        line.insert("raw".to_owned(), json!(raw));
        Value::Object(line).to_string()
    }
}

fn parse(line: &Map<String, Value>) -> Parsed {
    let meta = line.get("_meta").unwrap_or(&Value::Null);
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let name: Value =
        meta["name"].as_str().and_then(|name| serde_json::from_str(name).ok()).unwrap_or_default();
    let mut numbered: Vec<(u32, &Value)> =
        line.iter().filter_map(|(key, value)| Some((key.parse().ok()?, value))).collect();
    numbered.sort_by_key(|(number, _)| *number);
    let message: Vec<String> = numbered
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(_, value)| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        .collect();
    Parsed {
        time: line.get("time").and_then(text).or_else(|| text(&meta["date"])),
        level: meta["logLevelName"].as_str().map(str::to_lowercase),
        subsystem: text(&name["subsystem"]),
        module: text(&name["module"]),
        message: message.join(" "),
        source: text(&meta["name"]),
    }
}

/// The time in UTC, or with this host's offset; as written if it is no time.
fn shown_time(text: &str, local: bool) -> String {
    let Ok(time) = text.parse::<Timestamp>() else { return text.to_owned() };
    if local {
        time.to_zoned(TimeZone::system()).strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string()
    } else {
        time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAW: &str = r#"{"0":"{\"module\":\"cron\"}","1":{"enabled":true},"2":"cron: started","_meta":{"name":"{\"module\":\"cron\"}","date":"2026-11-22T12:30:26.662Z","logLevelName":"INFO"},"time":"2026-11-22T13:30:26.662+01:00"}"#;

    #[test]
    fn a_line_is_time_level_source_and_message() {
        assert_eq!(
            Line::parse(RAW).render(&Form::default()),
            r#"2026-11-22T12:30:26.662Z info cron {"enabled":true} cron: started"#
        );
    }

    #[test]
    fn scripts_get_the_parts_and_the_line_itself() {
        let form = Form { json: true, ..Form::default() };
        let line: Value = serde_json::from_str(&Line::parse(RAW).render(&form)).unwrap();
        let keys: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["type", "time", "level", "module", "message", "raw"]);
        assert_eq!(line["time"], "2026-11-22T13:30:26.662+01:00");
        assert_eq!(line["raw"], RAW);
    }

    #[test]
    fn what_is_not_json_is_shown_as_it_is() {
        assert_eq!(Line::parse("panicked at").render(&Form::default()), "panicked at");
        let form = Form { json: true, ..Form::default() };
        assert_eq!(Line::parse("x").render(&form), r#"{"type":"raw","raw":"x"}"#);
    }
}
