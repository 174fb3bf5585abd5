//! A rendered unit as single settings: whether another unit has them, and how
//! to put one back into its text without touching anything else.

use crate::supervise::systemd::unit::{Entry, Unit};
use crate::supervise::systemd::words::{self, Specifiers};

/// How a setting is judged and restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The last assignment counts.
    Single,
    /// Assignments add up, and exactly ours may be in force.
    Exclusive,
    /// One word of a list that others may extend.
    Word,
    /// One whole value of a list that others may extend.
    Value,
    /// One variable of `Environment=`.
    Variable,
}

/// One thing that a unit of ours says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    pub section: String,
    pub key: String,
    pub kind: Kind,
    /// As rendered: the value, the word, or `NAME=value`, quoted.
    pub text: String,
    /// Of a variable.
    pub name: Option<String>,
}

/// How a unit stands to a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    Same,
    Missing,
    /// Something else is there, as written, with its line.
    Changed {
        have: String,
        line: usize,
    },
}

const WORD_LISTS: [&str; 7] =
    ["After", "Wants", "Requires", "Documentation", "WantedBy", "Also", "ListenStream"];

/// Everything that `unit` says, one setting each, in its order.
pub fn settings(unit: &Unit) -> Vec<Setting> {
    let mut found = Vec::new();
    for entry in unit.entries() {
        let setting = |kind, text: &str, name| Setting {
            section: entry.section.clone(),
            key: entry.key.clone(),
            kind,
            text: text.to_owned(),
            name,
        };
        match entry.key.as_str() {
            "Environment" => {
                let word = words::split(&entry.value).unwrap_or_default().pop().unwrap_or_default();
                let name = word.split_once('=').map(|(name, _)| name.to_owned());
                found.push(setting(Kind::Variable, &entry.value, name));
            }
            "ExecStart" | "ExecReload" => found.push(setting(Kind::Exclusive, &entry.value, None)),
            "SystemCallFilter" => found.push(setting(Kind::Value, &entry.value, None)),
            key if WORD_LISTS.contains(&key) => {
                let words = words::split(&entry.value).unwrap_or_default();
                found.extend(words.iter().map(|word| setting(Kind::Word, word, None)));
            }
            _ => found.push(setting(Kind::Single, &entry.value, None)),
        }
    }
    found
}

impl Setting {
    /// `Service.RestartSec`, `Service.Environment PATH`.
    pub fn label(&self) -> String {
        let Self { section, key, .. } = self;
        match (&self.name, self.kind) {
            (Some(name), _) => format!("{section}.{key} {name}"),
            (None, Kind::Word | Kind::Value) => format!("{section}.{key} {}", self.text),
            (None, _) => format!("{section}.{key}"),
        }
    }

    /// Whether this is what the service runs.
    pub fn is_command(&self) -> bool {
        self.key == "ExecStart"
    }

    /// Whether an assignment of `section` and `key` is about this setting.
    pub fn is_at(&self, section: &str, key: &str) -> bool {
        self.section == section && self.key == key
    }

    /// What `unit` has in place of this setting.
    pub fn standing(&self, unit: &Unit, specifiers: &Specifiers) -> Standing {
        let last = unit.entries().iter().rfind(|entry| self.is_at(&entry.section, &entry.key));
        let changed = |have: &str, line| Standing::Changed { have: have.to_owned(), line };
        match self.kind {
            Kind::Single => match last {
                Some(entry) if means_same(&self.key, &entry.value, &self.text) => Standing::Same,
                Some(entry) => changed(&entry.value, entry.line),
                None => Standing::Missing,
            },
            Kind::Exclusive => {
                let values = unit.all(&self.section, &self.key);
                let split = |text: &str| words::split(text).ok();
                match (values.as_slice(), last) {
                    ([have], _) if split(have).is_some() && split(have) == split(&self.text) => {
                        Standing::Same
                    }
                    (_, Some(entry)) => changed(&values.join("; "), entry.line),
                    (_, None) => Standing::Missing,
                }
            }
            Kind::Word => {
                let words = unit.words(&self.section, &self.key);
                let known = words
                    .iter()
                    .any(|word| specifiers.expand(word) == specifiers.expand(&self.text));
                if known { Standing::Same } else { Standing::Missing }
            }
            Kind::Value => {
                let known = unit.all(&self.section, &self.key).contains(&self.text.as_str());
                if known { Standing::Same } else { Standing::Missing }
            }
            Kind::Variable => {
                let name = self.name.as_deref().unwrap_or_default();
                let have = unit.environment(specifiers).into_iter().find(|(key, _)| key == name);
                let word = words::split(&self.text).unwrap_or_default().pop().unwrap_or_default();
                let want = specifiers.expand(&word);
                match have {
                    None => Standing::Missing,
                    Some((_, value)) if want == format!("{name}={value}") => Standing::Same,
                    Some((_, value)) => {
                        let line = variable_entry(unit, name).map_or(0, |entry| entry.line);
                        changed(&value, line)
                    }
                }
            }
        }
    }
}

/// Whether two values of a key mean the same to systemd.
fn means_same(key: &str, have: &str, want: &str) -> bool {
    let seconds = |text: &str| {
        let compact: String = text.split_whitespace().collect();
        let text = compact.strip_suffix("sec").or(compact.strip_suffix('s')).unwrap_or(&compact);
        text.parse::<u64>().ok()
    };
    have == want
        || key.ends_with("Sec") && seconds(have).is_some() && seconds(have) == seconds(want)
        || truth(have).is_some() && truth(have) == truth(want)
}

fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "true" | "on" | "y" | "t" => Some(true),
        "no" | "false" | "off" | "n" | "f" => Some(false),
        _ => None,
    }
}

/// The assignment of `Environment=` that decides about `name`.
fn variable_entry<'u>(unit: &'u Unit, name: &str) -> Option<&'u Entry> {
    unit.entries().iter().rfind(|entry| {
        let words = words::split(&entry.value).unwrap_or_default();
        entry.section == "Service"
            && entry.key == "Environment"
            && words.iter().any(|word| word.split_once('=').is_some_and(|(key, _)| key == name))
    })
}

/// The text with every setting of `wanted` in force. A value that is alone on
/// its line is replaced there; otherwise a line is added behind, so that every
/// byte that is not such a value stays.
pub fn mend(bytes: &[u8], wanted: &[&Setting], specifiers: &Specifiers) -> Vec<u8> {
    let mut text = bytes.to_vec();
    for setting in wanted {
        let (unit, _) = Unit::parse(&text);
        if setting.standing(&unit, specifiers) != Standing::Same {
            text = restore(&text, setting, &unit);
        }
    }
    text
}

/// The text without the variable `name`; `None` when it is not alone on its
/// line and cannot be taken out without touching another one.
pub fn without_variable(bytes: &[u8], name: &str) -> Option<Vec<u8>> {
    let mut text = bytes.to_vec();
    loop {
        let (unit, _) = Unit::parse(&text);
        let Some(entry) = variable_entry(&unit, name) else { return Some(text) };
        let alone = words::split(&entry.value).is_ok_and(|words| words.len() == 1);
        if !alone || entry.line != entry.last_line {
            return None;
        }
        let (start, end) = line_span(&text, entry.line);
        text.drain(start..end);
    }
}

fn restore(text: &[u8], setting: &Setting, unit: &Unit) -> Vec<u8> {
    let Setting { section, key, .. } = setting;
    let same_key: Vec<&Entry> =
        unit.entries().iter().filter(|entry| setting.is_at(&entry.section, &entry.key)).collect();
    let last = same_key.last().copied();
    let replaceable = match setting.kind {
        Kind::Single => last,
        // Empty assignments in front of the only command reset what came before.
        Kind::Exclusive if same_key.iter().filter(|entry| !entry.value.is_empty()).count() < 2 => {
            last.filter(|entry| same_key.len() == 1 || !entry.value.is_empty())
        }
        Kind::Variable => setting
            .name
            .as_deref()
            .and_then(|name| variable_entry(unit, name))
            // An empty assignment further down would take it away again.
            .filter(|entry| {
                !same_key.iter().any(|other| other.line > entry.line && other.value.is_empty())
            })
            .filter(|entry| words::split(&entry.value).is_ok_and(|words| words.len() == 1)),
        _ => None,
    };
    if let Some(entry) = replaceable.filter(|entry| entry.line == entry.last_line) {
        return replace_value(text, entry.line, &setting.text);
    }
    let reset = setting.kind == Kind::Exclusive && !same_key.is_empty();
    let reset = if reset { format!("{key}=\n") } else { String::new() };
    let lines = format!("{reset}{key}={}\n", setting.text);
    let place = last.map(|entry| entry.last_line).or_else(|| unit.section_end(section));
    if let Some(line) = place {
        return insert_after(text, line, &lines);
    }
    let end = text.split(|byte| *byte == b'\n').count();
    let gap = if text.is_empty() { "" } else { "\n" };
    insert_after(text, end, &format!("{gap}[{section}]\n{lines}"))
}

/// First byte of a line and the byte after its newline.
fn line_span(text: &[u8], line: usize) -> (usize, usize) {
    let mut start = 0;
    for (index, part) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
        if index + 1 == line {
            return (start, start + part.len());
        }
        start += part.len();
    }
    (text.len(), text.len())
}

/// Replaces what stands between `=` and the end of a line, blanks excepted.
fn replace_value(text: &[u8], line: usize, value: &str) -> Vec<u8> {
    let (start, end) = line_span(text, line);
    let whole = &text[start..end];
    let sign = whole.iter().position(|byte| *byte == b'=').map_or(whole.len(), |at| at + 1);
    let blank = |byte: &u8| byte.is_ascii_whitespace();
    let lead = whole[sign..].iter().take_while(|byte| **byte == b' ' || **byte == b'\t').count();
    let old = &whole[sign + lead..];
    let tail = old.iter().rev().take_while(|byte| blank(byte)).count();
    let from = start + sign + lead;
    let to = (end - tail).max(from);
    [&text[..from], value.as_bytes(), &text[to..]].concat()
}

fn insert_after(text: &[u8], line: usize, lines: &str) -> Vec<u8> {
    let (start, end) = line_span(text, line);
    let before = &text[..end];
    let mut added = String::new();
    if !before.is_empty() && !before.ends_with(b"\n") {
        added.push('\n');
    }
    // A file that ends inside a continued line would swallow ours.
    let shown = &text[start..end];
    let bare = shown.strip_suffix(b"\n").unwrap_or(shown);
    let bare = bare.strip_suffix(b"\r").unwrap_or(bare);
    if end == text.len() && bare.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1 {
        added.push('\n');
    }
    added.push_str(lines);
    [before, added.as_bytes(), &text[end..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervise::spec::ServiceSpec;
    use crate::supervise::systemd::render::{self, Values};

    fn ours() -> Unit {
        render::service(&ServiceSpec::packaged_user(), Values::WithSpecifiers)
    }

    /// Restores everything of ours in `text` and shows the result.
    #[track_caller]
    fn mended(text: &str) -> String {
        let settings = settings(&ours());
        let all: Vec<&Setting> = settings.iter().collect();
        let none = Specifiers::default();
        let fixed = mend(text.as_bytes(), &all, &none);
        let (unit, _) = Unit::parse(&fixed);
        for setting in &settings {
            let text = String::from_utf8_lossy(&fixed);
            assert_eq!(setting.standing(&unit, &none), Standing::Same, "{setting:?}\n{text}");
        }
        String::from_utf8(fixed).unwrap()
    }

    #[test]
    fn a_unit_of_ours_is_left_alone() {
        let text = ours().to_string();
        assert_eq!(mended(&text), text);
    }

    #[test]
    fn a_value_is_replaced_in_its_line_with_its_blanks() {
        let text = ours().to_string().replace("RestartSec=5\n", "RestartSec =  30  \r\n");
        assert!(mended(&text).contains("RestartSec =  5  \r\n"));
        let same = ours().to_string().replace("RestartSec=5\n", "RestartSec=5s\n");
        assert_eq!(mended(&same), same);
    }

    #[test]
    fn what_shares_a_line_with_others_stays_and_ours_is_added_behind() {
        let old = ours().to_string();
        let path = old.lines().find(|line| line.starts_with("Environment=PATH=")).unwrap();
        let text = old.replace(path, "Environment=MINE=1 \"PATH=/x\" # no comment");
        let fixed = mended(&text);
        assert!(fixed.contains("Environment=MINE=1 \"PATH=/x\" # no comment\n"), "{fixed}");
    }

    #[test]
    fn a_reset_behind_ours_does_not_win() {
        for line in ["After=", "Environment=", "ExecStart=", "KillMode=", "ExecStart=/bin/other"] {
            let section = if line.starts_with("After") { "Unit" } else { "Service" };
            let text = format!("{}\n[{section}]\n{line}\n", ours());
            mended(&text);
        }
    }

    #[test]
    fn awkward_ends_do_not_swallow_what_is_added() {
        for text in [
            "",
            "[Unit]",
            "[Service]\nExecStart=/bin/x \\",
            "[Service]\nNice=5 \\\n",
            "[Service]\r\nNice=5\r\n",
            "# only a remark \\",
            "[bad\nType=notify\n",
            "[Service]\nType=\\\n# why\n simple\n",
        ] {
            let fixed = mended(text);
            assert!(
                fixed.starts_with(text.trim_end_matches('\\')) || text.contains("Exec"),
                "{fixed}"
            );
        }
    }

    #[test]
    fn a_secret_is_taken_out_only_where_it_stands_alone() {
        let text = "[Service]\nEnvironment=A=1\nEnvironment=T_TOKEN=x\n";
        let left = without_variable(text.as_bytes(), "T_TOKEN").unwrap();
        assert_eq!(left, b"[Service]\nEnvironment=A=1\n");
        assert_eq!(without_variable(b"[Service]\nEnvironment=A=1 T_TOKEN=x\n", "T_TOKEN"), None);
    }
}
