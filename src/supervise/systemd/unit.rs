//! Unit files as values: parsed with systemd's rules (comments, continuation
//! lines, resets, drop-ins), compared as values, never as text.
//!
//! A line that systemd would ignore becomes an [`Issue`] with its line number;
//! the rest of the file still counts.

use std::fmt::{self, Write as _};

use crate::supervise::systemd::words::{self, Specifiers};

/// One assignment, in file order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub section: String,
    pub key: String,
    /// As written, continuation lines joined.
    pub value: String,
    /// First line of the assignment, counted from 1; 0 when rendered.
    pub line: usize,
    /// Its last line: another one when it is continued.
    pub last_line: usize,
}

/// A unit file, or a fragment with its drop-ins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unit {
    entries: Vec<Entry>,
    /// Section headers with their lines.
    headers: Vec<(String, usize)>,
}

/// A line that has no effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    pub line: usize,
    pub problem: String,
}

impl fmt::Display for Issue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.problem)
    }
}

impl Unit {
    /// Reads a unit file. Never fails: what cannot be used is reported.
    pub fn parse(bytes: &[u8]) -> (Self, Vec<Issue>) {
        Parser::default().run(bytes)
    }

    /// Adds an assignment at the end.
    pub fn push(&mut self, section: &str, key: &str, value: impl Into<String>) {
        self.entries.push(Entry {
            section: section.into(),
            key: key.into(),
            value: value.into(),
            line: 0,
            last_line: 0,
        });
    }

    /// This unit with the drop-ins applied in the order given.
    #[must_use]
    pub fn with_drop_ins(mut self, drop_ins: impl IntoIterator<Item = Self>) -> Self {
        for drop_in in drop_ins {
            self.entries.extend(drop_in.entries);
        }
        self
    }

    /// All assignments, in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The line after which a setting of `section` can be added: its last
    /// assignment, else its last header. `None` when there is no such section.
    pub fn section_end(&self, section: &str) -> Option<usize> {
        let headers = self.headers.iter().filter(|(name, _)| name == section);
        let entries = self.entries.iter().filter(|entry| entry.section == section);
        headers.map(|(_, line)| *line).chain(entries.map(|entry| entry.last_line)).max()
    }

    /// The value of a setting that has one: the last assignment; `None` when
    /// absent or reset by an empty one.
    pub fn get(&self, section: &str, key: &str) -> Option<&str> {
        self.assignments(section, key).pop().filter(|value| !value.is_empty())
    }

    /// The values of a setting that accumulates; an empty one clears the list.
    pub fn all(&self, section: &str, key: &str) -> Vec<&str> {
        let mut values = Vec::new();
        for value in self.assignments(section, key) {
            if value.is_empty() {
                values.clear();
            } else {
                values.push(value);
            }
        }
        values
    }

    /// The words of all values of a list such as `After=`.
    pub fn words(&self, section: &str, key: &str) -> Vec<String> {
        self.all(section, key)
            .into_iter()
            .flat_map(|value| words::split(value).unwrap_or_default())
            .collect()
    }

    /// `Environment=` of the service, expanded; the last assignment of a name wins.
    pub fn environment(&self, specifiers: &Specifiers) -> Vec<(String, String)> {
        let mut vars: Vec<(String, String)> = Vec::new();
        for word in self.words("Service", "Environment") {
            let word = specifiers.expand(&word);
            let Some((key, value)) = word.split_once('=') else { continue };
            match vars.iter_mut().find(|(known, _)| known == key) {
                Some(var) => value.clone_into(&mut var.1),
                None => vars.push((key.to_owned(), value.to_owned())),
            }
        }
        vars
    }

    /// The program and arguments of the service, expanded, without the prefix
    /// characters that change how systemd runs it.
    pub fn exec_start(&self, specifiers: &Specifiers) -> Option<Vec<String>> {
        let value = self.all("Service", "ExecStart").pop()?;
        let mut words = words::split(value).ok()?;
        let first = words.first_mut()?;
        let program = first.trim_start_matches(['-', '@', ':', '+', '!']).to_owned();
        if first.contains('@') && first.starts_with(['-', '@', ':', '+', '!']) && words.len() > 1 {
            words.remove(1);
        }
        words[0] = program;
        Some(words.iter().map(|word| specifiers.expand(word).replace("$$", "$")).collect())
    }

    /// Every value of a setting as written, resets included.
    pub fn assignments(&self, section: &str, key: &str) -> Vec<&str> {
        self.entries
            .iter()
            .filter(|entry| entry.section == section && entry.key == key)
            .map(|entry| entry.value.as_str())
            .collect()
    }
}

/// Renders sections in the order of their first appearance.
impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        let mut section = None;
        for entry in &self.entries {
            if section != Some(&entry.section) {
                let gap = if section.is_some() { "\n" } else { "" };
                let _ = writeln!(text, "{gap}[{}]", entry.section);
                section = Some(&entry.section);
            }
            let _ = writeln!(text, "{}={}", entry.key, entry.value);
        }
        f.write_str(&text)
    }
}

#[derive(Default)]
struct Parser {
    unit: Unit,
    issues: Vec<Issue>,
    section: Option<String>,
}

impl Parser {
    fn run(mut self, bytes: &[u8]) -> (Unit, Vec<Issue>) {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let mut pending: Option<(usize, String)> = None;
        let mut last = 0;
        for (index, raw) in bytes.split(|byte| *byte == b'\n').enumerate() {
            let line = index + 1;
            last = line;
            let Ok(text) = std::str::from_utf8(raw) else {
                self.issue(line, "not UTF-8, ignored");
                pending = None;
                continue;
            };
            let text = text.strip_suffix('\r').unwrap_or(text);
            if text.trim_start().starts_with(['#', ';']) {
                continue;
            }
            if text.contains('\0') {
                self.issue(line, "contains a NUL byte, ignored");
                pending = None;
                continue;
            }
            let (first, mut joined) = pending.take().unwrap_or((line, String::new()));
            let continues = text.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1;
            if continues {
                joined.push_str(&text[..text.len() - 1]);
                joined.push(' ');
                pending = Some((first, joined));
            } else {
                joined.push_str(text);
                self.statement(first, line, joined.trim());
            }
        }
        if let Some((first, joined)) = pending {
            self.issue(first, "the file ends inside a continued line");
            self.statement(first, last, joined.trim());
        }
        (self.unit, self.issues)
    }

    fn statement(&mut self, line: usize, last_line: usize, text: &str) {
        if text.is_empty() {
            return;
        }
        if let Some(rest) = text.strip_prefix('[') {
            self.section =
                rest.strip_suffix(']').filter(|name| !name.is_empty()).map(str::to_owned);
            match &self.section {
                Some(name) => self.unit.headers.push((name.clone(), last_line)),
                None => self.issue(line, "not a section header"),
            }
            return;
        }
        let Some((key, value)) = text.split_once('=') else {
            self.issue(line, "neither a section nor an assignment, ignored");
            return;
        };
        let key = key.trim();
        match &self.section {
            _ if key.is_empty() => self.issue(line, "an assignment without a name, ignored"),
            None => self.issue(line, "an assignment outside a section, ignored"),
            Some(section) => self.unit.entries.push(Entry {
                section: section.clone(),
                key: key.to_owned(),
                value: value.trim().to_owned(),
                line,
                last_line,
            }),
        }
    }

    fn issue(&mut self, line: usize, problem: &str) {
        self.issues.push(Issue { line, problem: problem.into() });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Unit {
        let (unit, issues) = Unit::parse(text.as_bytes());
        assert_eq!(issues, [], "{text}");
        unit
    }

    #[test]
    fn continuation_lines_and_comments_inside_them_are_joined() {
        let unit = parse("[Service]\nExecStart=/bin/x \\\n# why\n  a \\\n  b\n");
        assert_eq!(unit.exec_start(&Specifiers::default()).unwrap(), ["/bin/x", "a", "b"]);
    }

    #[test]
    fn an_empty_assignment_resets_a_list_across_drop_ins() {
        let fragment = parse("[Service]\nEnvironment=A=1\nExecStart=/bin/one\n");
        let drop_in =
            parse("[Service]\nExecStart=\nExecStart=-/bin/two x\nEnvironment=\"B=x y\" A=2\n");
        let unit = fragment.with_drop_ins([drop_in]);
        let none = Specifiers::default();
        assert_eq!(unit.exec_start(&none).unwrap(), ["/bin/two", "x"]);
        assert_eq!(
            unit.environment(&none),
            [("A".to_owned(), "2".to_owned()), ("B".to_owned(), "x y".to_owned())]
        );
    }

    #[test]
    fn what_systemd_ignores_is_reported_with_its_line() {
        let (unit, issues) =
            Unit::parse(b"Stray=1\n[Service]\nType=notify\nnonsense\nB=\xff\xfe\n[bad\nC=1\n");
        assert_eq!(unit.get("Service", "Type"), Some("notify"));
        let lines: Vec<usize> = issues.iter().map(|issue| issue.line).collect();
        assert_eq!(lines, [1, 4, 5, 6, 7]);
    }

    #[test]
    fn the_last_value_wins_and_an_empty_one_means_the_default() {
        let unit = parse("[Service]\nRestartSec=5\nRestartSec=30\nKillMode=mixed\nKillMode=\n");
        assert_eq!(unit.get("Service", "RestartSec"), Some("30"));
        assert_eq!(unit.get("Service", "KillMode"), None);
    }

    proptest! {
        #[test]
        fn rendered_units_parse_back(
            entries in proptest::collection::vec(
                ("(Unit|Service|Socket|Install)", "[A-Z][A-Za-z]{0,10}", "[ -\\[\\]-~]{0,30}"), 0..12)
        ) {
            let mut unit = Unit::default();
            for (section, key, value) in &entries {
                unit.push(section, key, value.trim());
            }
            let (back, issues) = Unit::parse(unit.to_string().as_bytes());
            prop_assert!(issues.is_empty(), "{:?}", issues);
            prop_assert_eq!(back.entries.len(), unit.entries.len());
            for (read, written) in back.entries.iter().zip(&unit.entries) {
                prop_assert_eq!((&read.section, &read.key, &read.value),
                    (&written.section, &written.key, &written.value));
            }
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let (unit, _) = Unit::parse(&bytes);
            drop(unit.exec_start(&Specifiers::default()));
            drop(unit.environment(&Specifiers::default()));
        }
    }
}
