//! The bootstrap files as the model sees them: in a fixed order, cut to a
//! budget, kept in memory until one of them changes.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::SystemTime;

use crate::config::Config;

/// Files in the order of the prompt; the flag says whether a missing one is
/// mentioned.
const ORDER: &[(&str, bool)] = &[
    ("AGENTS.md", true),
    ("SOUL.md", true),
    ("TOOLS.md", true),
    ("IDENTITY.md", true),
    ("USER.md", true),
    ("HEARTBEAT.md", true),
    ("BOOTSTRAP.md", false),
    ("MEMORY.md", false),
    ("memory.md", false),
];
/// Share of a cut file that its beginning keeps.
const HEAD_PERCENT: usize = 70;
/// Workspaces kept in memory.
const MOST_CACHED: usize = 64;

/// Characters that files may take in the prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Limits {
    pub(crate) per_file: usize,
    pub(crate) total: usize,
}

impl Limits {
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            per_file: config.agents.defaults.bootstrap_max_chars.unwrap_or(20_000).max(200),
            total: config.agents.defaults.bootstrap_total_max_chars.unwrap_or(150_000).max(200),
        }
    }
}

/// One file as injected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContextFile {
    pub(crate) name: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) missing: bool,
    pub(crate) raw_chars: usize,
    pub(crate) text: String,
}

/// All files as injected.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ProjectContext {
    pub(crate) files: Vec<ContextFile>,
    /// The rendered section, headings included; empty without files.
    pub(crate) text: String,
    /// Whether HEARTBEAT.md says nothing to do.
    pub(crate) heartbeat_idle: bool,
    pub(crate) has_memory: bool,
}

type Key = (PathBuf, Limits);
type Stamps = Vec<Option<(SystemTime, u64)>>;

/// Rendered contexts by workspace.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    known: Mutex<HashMap<Key, (Stamps, Arc<ProjectContext>)>>,
}

impl Cache {
    pub(crate) fn read(&self, dir: &Path, limits: Limits) -> Arc<ProjectContext> {
        let stamps: Stamps = ORDER
            .iter()
            .map(|(name, _)| {
                let meta = std::fs::metadata(dir.join(name)).ok()?;
                Some((meta.modified().ok()?, meta.len()))
            })
            .collect();
        let key = (dir.to_path_buf(), limits);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((seen, context)) = known.get(&key)
            && *seen == stamps
        {
            return Arc::clone(context);
        }
        drop(known);
        let context = Arc::new(render(dir, limits));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_CACHED {
            known.clear();
        }
        known.insert(key, (stamps, Arc::clone(&context)));
        context
    }
}

fn render(dir: &Path, limits: Limits) -> ProjectContext {
    let mut context = ProjectContext { heartbeat_idle: false, ..ProjectContext::default() };
    let mut left = limits.total;
    for (name, mention) in ORDER {
        if *name == "memory.md" && context.has_memory {
            continue;
        }
        let path = dir.join(name);
        // A pipe of that name would keep the turn waiting for ever.
        let Some(bytes) = path.is_file().then(|| std::fs::read(&path).ok()).flatten() else {
            if *mention {
                let text = format!("[missing file: {}]", path.display());
                context.files.push(ContextFile { name, path, missing: true, raw_chars: 0, text });
            }
            continue;
        };
        let content = String::from_utf8_lossy(&bytes);
        if *name == "HEARTBEAT.md" {
            context.heartbeat_idle = is_idle(&content);
        }
        context.has_memory |= name.eq_ignore_ascii_case("memory.md");
        let content = content.trim_end();
        if content.trim().is_empty() || left == 0 {
            continue;
        }
        let raw_chars = content.chars().count();
        let text = cut(content, raw_chars, limits.per_file.min(left), name);
        left = left.saturating_sub(text.chars().count());
        context.files.push(ContextFile { name, path, missing: false, raw_chars, text });
    }
    for file in &context.files {
        // Writing to a String cannot fail.
        let _ = write!(context.text, "\n\n## {}\n\n{}", file.path.display(), file.text);
    }
    context
}

/// Beginning and end of a file that is too long, with a note between them.
fn cut(content: &str, chars: usize, most: usize, name: &str) -> String {
    if chars <= most {
        return content.to_owned();
    }
    let head = most * HEAD_PERCENT / 100;
    let tail = most - head;
    let at = |index: usize| content.char_indices().nth(index).map_or(content.len(), |(at, _)| at);
    format!(
        "{}\n\n[… {} of {chars} characters left out here; read {name} for the rest …]\n\n{}",
        &content[..at(head)],
        chars - most,
        &content[at(chars - tail)..]
    )
}

/// Whether a heartbeat file has only headings, comments, empty list items and
/// blank lines.
pub(crate) fn is_idle(content: &str) -> bool {
    let mut in_comment = false;
    content.lines().all(|line| {
        let mut line = line.trim();
        if in_comment {
            match line.split_once("-->") {
                Some((_, rest)) => {
                    in_comment = false;
                    line = rest.trim();
                }
                None => return true,
            }
        }
        if let Some((before, after)) = line.split_once("<!--") {
            in_comment = !after.contains("-->");
            line = before.trim();
        }
        line.is_empty()
            || line.starts_with('#')
            || line.starts_with("```")
            || matches!(line, "-" | "*" | "+" | "- [ ]" | "* [ ]")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: Limits = Limits { per_file: 20_000, total: 150_000 };

    #[test]
    fn files_come_in_order_under_their_path_and_missing_ones_are_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("SOUL.md"), "be kind").unwrap();
        std::fs::write(dir.path().join("AGENTS.md"), "rules").unwrap();
        std::fs::write(dir.path().join("USER.md"), "  \n").unwrap();
        let pipe = dir.path().join("TOOLS.md");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let context = Cache::default().read(dir.path(), WIDE);
        let names: Vec<(&str, bool)> =
            context.files.iter().map(|file| (file.name, file.missing)).collect();
        assert_eq!(
            names,
            [
                ("AGENTS.md", false),
                ("SOUL.md", false),
                ("TOOLS.md", true),
                ("IDENTITY.md", true),
                ("HEARTBEAT.md", true)
            ]
        );
        assert!(context.text.contains(&format!("## {}/AGENTS.md\n\nrules", dir.path().display())));
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::default();
        std::fs::write(dir.path().join("SOUL.md"), "one").unwrap();
        let first = cache.read(dir.path(), WIDE);
        assert!(Arc::ptr_eq(&first, &cache.read(dir.path(), WIDE)));
        std::fs::write(dir.path().join("SOUL.md"), "three").unwrap();
        assert!(cache.read(dir.path(), WIDE).text.contains("three"));
    }

    #[test]
    fn a_long_file_keeps_its_head_and_tail() {
        let text = format!("{}{}", "a".repeat(500), "z".repeat(500));
        let short = cut(&text, 1000, 100, "AGENTS.md");
        assert!(short.starts_with(&"a".repeat(70)) && short.ends_with(&"z".repeat(30)));
        assert!(short.contains("900 of 1000"));
    }

    #[test]
    fn a_heartbeat_file_of_comments_is_idle() {
        for idle in ["", "# Title\n\n# note\n", "<!-- a\nb -->\n- [ ]\n"] {
            assert!(is_idle(idle), "{idle:?}");
        }
        assert!(!is_idle("# Title\n- check the mail\n"));
    }
}
