//! Unified differences of what a repair would write, with secrets hidden.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use similar::TextDiff;

use crate::config::redact::{self, References};
use crate::config::{Snapshot, json5};
use crate::doctor::finding::Repair;
use crate::doctor::steps::{self, Step};
use crate::supervise::audit::is_secret_name;

/// What the repairs would do, as text: one difference per file, then the rest.
pub fn preview(repairs: &[&Repair], current: &Snapshot) -> String {
    let mut text = String::new();
    let mut config = Vec::new();
    let mut rest = Vec::new();
    for step in repairs.iter().flat_map(|repair| &repair.steps) {
        match step {
            Step::Write { path, before, after, .. } => {
                text.push_str(&of_file(path, before.as_deref(), after));
            }
            Step::Config(change) => config.push(change),
            Step::Remove { path } => rest.push(format!("remove {}", path.display())),
            Step::Mode { path, mode } => {
                rest.push(format!("set the permissions of {} to {mode:04o}", path.display()));
            }
            Step::Directory { path } => rest.push(format!("make the directory {}", path.display())),
            Step::Ask(verb) => rest.push(verb.describe()),
        }
    }
    if !config.is_empty() {
        match steps::edited(config, current) {
            Ok(next) => text.push_str(&of_config(&current.path, &current.raw, &next)),
            Err(err) => rest.push(format!("nothing in {}: {err}", current.path.display())),
        }
    }
    let mut said = HashSet::new();
    rest.retain(|line| said.insert(line.clone()));
    for line in rest {
        let _ = writeln!(text, "# then: {line}");
    }
    text
}

/// The difference of one file.
pub fn of_file(path: &Path, before: Option<&[u8]>, after: &[u8]) -> String {
    let old = hide(&String::from_utf8_lossy(before.unwrap_or_default()));
    let new = hide(&String::from_utf8_lossy(after));
    unified(path, before.is_some(), &old, &new)
}

fn of_config(path: &Path, before: &str, after: &str) -> String {
    let shown = |text: &str| match json5::parse(text) {
        Ok(root) => redact::redact_text(text, &root, References::Shown),
        Err(_) => hide(text),
    };
    unified(path, !before.is_empty(), &shown(before), &shown(after))
}

fn unified(path: &Path, exists: bool, old: &str, new: &str) -> String {
    let path = path.display().to_string();
    let from: PathBuf = if exists { path.clone().into() } else { "/dev/null".into() };
    // Lines end at line feeds alone, as `patch` counts them: a lone carriage
    // return in a damaged file is text.
    let lines = |text| str::split_inclusive(text, '\n').collect::<Vec<&str>>();
    let (old, new) = (lines(old), lines(new));
    TextDiff::configure()
        .newline_terminated(true)
        .diff_slices(&old, &new)
        .unified_diff()
        .context_radius(2)
        .header(&from.to_string_lossy(), &path)
        .to_string()
}

/// Replaces values of variables that are named like a secret.
fn hide(text: &str) -> String {
    text.split_inclusive('\n').map(hide_line).collect()
}

fn hide_line(line: &str) -> String {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(sign) = rest.find('=') {
        let (before, after) = (&rest[..sign], &rest[sign + 1..]);
        out.push_str(&rest[..=sign]);
        rest = after;
        let mut letters = before.char_indices();
        let start = letters.rfind(|(_, c)| !is_name(*c)).map_or(0, |(at, c)| at + c.len_utf8());
        if !is_secret_name(&before[start..]) {
            continue;
        }
        // Up to the quote around the value or around the whole pair.
        let outer = before[..start].chars().last().filter(|c| matches!(c, '"' | '\''));
        let inner = after.chars().next().filter(|c| matches!(c, '"' | '\''));
        let body = &after[usize::from(inner.is_some())..];
        let end = match inner.or(outer) {
            Some(quote) => body.find(quote).unwrap_or_else(|| body.trim_end().len()),
            None => body.find(char::is_whitespace).unwrap_or(body.len()),
        };
        if end > 0 {
            out.extend(inner);
            out.push_str("[hidden]");
            rest = &body[end..];
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_names_the_file_and_hides_secrets() {
        let before = b"[Service]\nRestartSec=30\nEnvironment=A_TOKEN=hush \"B_KEY=hush\"\n";
        let after = b"[Service]\nRestartSec=5\nEnvironment=A_TOKEN=hush \"B_KEY=hush\"\n";
        assert_eq!(
            of_file(Path::new("/u/x.service"), Some(before), after),
            "--- /u/x.service\n+++ /u/x.service\n@@ -1,3 +1,3 @@\n [Service]\n-RestartSec=30\n+RestartSec=5\n Environment=A_TOKEN=[hidden] \"B_KEY=[hidden]\"\n"
        );
        assert_eq!(
            hide("A_TOKEN='a b' C_KEY=x D=1 \"E_SECRET=y z\"\n"),
            "A_TOKEN='[hidden]' C_KEY=[hidden] D=1 \"E_SECRET=[hidden]\"\n"
        );
        assert_eq!(hide("# größe=1 éA_TOKEN=x\n"), "# größe=1 éA_TOKEN=[hidden]\n");
        assert!(of_file(Path::new("/n"), None, b"a\n").starts_with("--- /dev/null\n+++ /n\n"));
    }

    #[test]
    fn lines_are_counted_as_patch_counts_them() {
        let shown = of_file(Path::new("/u"), Some(b"a\r\r\nb\rc\nd\n"), b"a\r\r\nb\rc\nd\ne");
        assert_eq!(
            shown,
            "--- /u\n+++ /u\n@@ -2,2 +2,3 @@\n b\rc\n d\n+e\n\\ No newline at end of file\n"
        );
    }
}
