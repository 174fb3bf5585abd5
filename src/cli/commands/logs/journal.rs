//! The journal in the shape of a log file, for when there is no log file.

use serde_json::{Value, json};

use crate::cli::context::Context;
use crate::lifecycle;
use crate::supervise::runner::{CommandLine, HostRunner, Runner};
use crate::supervise::spec::ServiceNames;

/// The entries of one unit, read on from a cursor.
#[derive(Debug, Clone)]
pub(super) struct Journal {
    unit: String,
    /// `--user` or `--system`, once one of them had entries.
    scope: Option<&'static str>,
    cursor: Option<String>,
    last: Option<String>,
}

impl Journal {
    pub(super) fn of(context: &Context) -> Self {
        let unit = ServiceNames::resolve(&context.env, &context.paths).service();
        Self { unit, scope: None, cursor: None, last: None }
    }

    /// When the last entry was written.
    pub(super) fn last_date(&self) -> Option<&str> {
        self.last.as_deref()
    }

    /// A `logs.tail` result; `None` where there is no journal, or none that may
    /// be read.
    pub(super) async fn read(self, limit: usize) -> (Self, Option<Value>) {
        let before = self.clone();
        let read = move || {
            let mut journal = self;
            let read = journal.run(&HostRunner, limit);
            (journal, read)
        };
        lifecycle::spawn_blocking(read).await.unwrap_or((before, None))
    }

    fn run(&mut self, runner: &impl Runner, limit: usize) -> Option<Value> {
        let scopes = self.scope.map_or(vec!["--user", "--system"], |scope| vec![scope]);
        for scope in scopes {
            let from = match &self.cursor {
                Some(cursor) => format!("--after-cursor={cursor}"),
                None => format!("--lines={limit}"),
            };
            let unit = format!("--unit={}", self.unit);
            let args = [scope, &unit, &from, "--output=json", "--no-pager", "--quiet"];
            let done = runner.run(&CommandLine::new("journalctl", args)).ok()?;
            let entries: Vec<Value> =
                done.stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            if !done.ok() || (entries.is_empty() && self.scope.is_none()) {
                continue;
            }
            self.scope = Some(scope);
            if let Some(cursor) = entries.last().and_then(|entry| entry["__CURSOR"].as_str()) {
                self.cursor = Some(cursor.to_owned());
                self.last = entries.last().and_then(date);
            }
            let lines: Vec<String> = entries.iter().map(line).collect();
            return Some(json!({"file": format!("journal of {}", self.unit), "lines": lines}));
        }
        None
    }
}

/// As the log file writes it.
fn date(entry: &Value) -> Option<String> {
    let micros = entry["__REALTIME_TIMESTAMP"].as_str()?.parse().ok()?;
    let at = jiff::Timestamp::from_microsecond(micros).ok()?;
    Some(format!("{at:.3}"))
}

/// An entry as a line of the log file.
fn line(entry: &Value) -> String {
    let text = |key: &str| entry[key].as_str();
    let level = match text("PRIORITY") {
        Some("0" | "1" | "2") => "FATAL",
        Some("3") => "ERROR",
        Some("4") => "WARN",
        Some("7") => "DEBUG",
        _ => "INFO",
    };
    let at = date(entry).unwrap_or_default();
    let name = text("OPENCLAW_SUBSYSTEM").or(text("TARGET")).or(text("SYSLOG_IDENTIFIER"));
    let name = json!({"subsystem": name.unwrap_or("gateway")}).to_string();
    json!({
        // What is no UTF-8 comes as numbers.
        "1": text("MESSAGE").unwrap_or("(binary)"),
        "_meta": {"name": name, "date": at, "logLevelName": level},
        "time": at,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ui::log_line::{Form, Line};
    use crate::supervise::runner::fake::Script;

    const ENTRY: &str = r#"{"__CURSOR":"c1","__REALTIME_TIMESTAMP":"1795349376451000","PRIORITY":"4","MESSAGE":"slow disk","OPENCLAW_SUBSYSTEM":"supervise"}"#;

    #[test]
    fn an_entry_reads_like_a_line_of_the_file() {
        let line = line(&serde_json::from_str(ENTRY).unwrap());
        assert_eq!(
            Line::parse(&line).render(&Form::default()),
            "2026-11-22T12:09:36.451Z warn supervise slow disk"
        );
    }

    #[test]
    fn the_scope_with_entries_is_read_on_after_its_cursor() {
        let script = Script::default()
            .on("journalctl --user", 0, "", "")
            .on("journalctl --system", 0, ENTRY, "")
            .on("journalctl --system", 0, "", "");
        let mut journal =
            Journal { unit: "x.service".into(), scope: None, cursor: None, last: None };
        let lines = |read: Option<Value>| read.unwrap()["lines"].as_array().unwrap().len();
        assert_eq!(lines(journal.run(&script, 5)), 1);
        assert_eq!(lines(journal.run(&script, 5)), 0);
        let asked = script.commands();
        assert_eq!(asked.len(), 3);
        assert!(asked[1].contains("--lines=5") && asked[2].contains("--after-cursor=c1"));
    }
}
